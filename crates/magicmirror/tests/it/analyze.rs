//! `analyze` on the tiny model.

use serde_json::Value;

use super::lab::Lab;

/// The tiny model at its smallest, and the identity of the lab.
const SUBJECT: [&str; 6] = ["--backbone", "backbone", "--adapter", "adapter", "--identity", "person.safetensors"];

fn analyze(what: &str, more: &[&str]) -> Vec<String> {
    let parts = [&["analyze", what][..], &SUBJECT, more];
    parts.concat().into_iter().map(str::to_owned).collect()
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|number| number.as_f64().unwrap()).collect()
}

/// Figure 13: every stream in every layer of the adapter at every timestep; the backbone's own factors depend on time.
#[test]
fn modulation_of_the_tiny_model() {
    let lab = Lab::new();
    let ran = lab.run_well(&analyze("modulation", &["--timesteps", "4", "--output", "out/figure"]));
    assert!(ran.stdout.contains("invariance to time"), "{}", ran.stdout);
    assert_eq!(lab.names_in("out/figure"), ["modulation.html", "modulation.json", "modulation.png"]);
    let found = lab.json("out/figure/modulation.json");
    let layers = lab.json("adapter/adapter_config.json")["adapter_layers"].as_array().unwrap().len();
    let points = found["points"].as_array().unwrap();
    for stream in ["video", "video_with_identity", "text", "text_with_identity", "face"] {
        assert_eq!(points.iter().filter(|point| point["stream"] == stream).count(), 4 * layers, "{stream}");
    }
    let invariance = found["invariance_to_time"]["video"].as_f64().unwrap();
    assert!((0.0..1.0).contains(&invariance), "{invariance}");
    let page = std::fs::read_to_string(lab.path("out/figure/modulation.html")).unwrap();
    assert!(page.contains("\"points\"") && !page.contains("/*DATA*/") && !page.contains("http"));
    let picture = image::open(lab.path("out/figure/modulation.png")).unwrap();
    assert!(picture.width() > 1000);

    // The same seed, the same picture.
    lab.run_well(&analyze("modulation", &["--timesteps", "4", "--output", "out/again"]));
    assert_eq!(lab.json("out/again/modulation.json"), found);
}

/// Table 6: the run with the adapter has its parameters and operations on top.
#[test]
fn overhead_of_the_tiny_model() {
    let lab = Lab::new();
    let size = ["--height", "32", "--width", "48", "--frames", "5", "--steps", "1", "--output", "out/table.json"];
    let ran = lab.run_well(&analyze("overhead", &size));
    assert!(ran.stdout.contains("| parameters, adapter | –"), "{}", ran.stdout);
    let found = lab.json("out/table.json");
    let (base, with) = (&found["base"], &found["with_adapter"]);
    assert!(base["parameters"].get("adapter").is_none());
    assert!(with["parameters"]["adapter"].as_u64().unwrap() > 0);
    let flops = |cost: &Value| cost["flops_per_step"].as_f64().unwrap();
    assert!(flops(with) > flops(base));
    let of_stage = |stage: &str| with["flops"][stage].as_f64().unwrap();
    assert_eq!(with["flops"]["denoising"], with["flops_per_step"], "one step");
    assert!(of_stage("encoding prompt") > 0.0 && of_stage("decoding frames") > 0.0);
    assert!(ran.stdout.contains("| GFLOP, decoding frames |"), "{}", ran.stdout);
    assert!(with["seconds_per_step"].as_f64().unwrap() > 0.0);
    let peak = found["peak_flops_per_second"].as_f64().unwrap();
    let share = flops(with) / with["seconds_per_step"].as_f64().unwrap() / peak;
    assert!((with["share_of_peak"].as_f64().unwrap() / share - 1.0).abs() < 1e-9);
}

/// One share for each step and layer of the adapter, none of them outside 0 to 1.
#[test]
fn attention_of_the_tiny_model() {
    let lab = Lab::new();
    let size = ["--height", "32", "--width", "48", "--frames", "5", "--steps", "3", "--output", "out/attention.json"];
    lab.run_well(&analyze("attention", &size));
    let found = lab.json("out/attention.json");
    let shares = found["shares"].as_array().unwrap();
    let config = lab.json("adapter/adapter_config.json");
    let layers = config["adapter_layers"].as_array().unwrap();
    assert_eq!(shares.len(), 3 * layers.len());
    for (index, share) in shares.iter().enumerate() {
        assert_eq!(share["step"], index / layers.len());
        assert_eq!(share["layer"], layers[index % layers.len()]);
        let video = share["video"].as_f64().unwrap();
        assert!(video > 0.0 && video < 1.0, "{share}");
    }
    let tokens = numbers(&found["tokens"]);
    let equal = tokens[2] / tokens.iter().sum::<f64>();
    assert!((found["equal_share"].as_f64().unwrap() - equal).abs() < 1e-12);
}

#[test]
fn what_cannot_be_analysed() {
    let lab = Lab::new();
    let plain = ["analyze", "modulation", "--backbone", "backbone", "--adapter", "adapter", "--output", "out/a"];
    let ran = lab.run(&plain);
    assert_eq!(ran.code, Some(2));
    assert!(ran.stderr.contains("no identity") && ran.stderr.contains("--reference"), "{}", ran.stderr);
    let ran = lab.run(&analyze("modulation", &["--timesteps", "1", "--output", "out/b"]));
    assert!(ran.stderr.contains("--timesteps is 1"), "{}", ran.stderr);
    lab.edit_json("adapter/adapter_config.json", |config| {
        config["modules"] =
            serde_json::json!({"identity_branch": true, "structure_branch": false, "face_modulation": false, "can": true});
    });
    let size = ["--height", "32", "--width", "48", "--frames", "5", "--steps", "1", "--output", "out/c.json"];
    let ran = lab.run(&analyze("attention", &size));
    assert_eq!(ran.code, Some(2));
    assert!(ran.stderr.contains("no face tokens"), "{}", ran.stderr);
    assert_eq!(lab.names_in("out"), Vec::<String>::new());
}
