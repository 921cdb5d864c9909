//! `magicmirror train`, through the program.

use std::fs;

use magicmirror_models::adapter::{AdapterConfig, BackboneSizes};
use magicmirror_models::dit::DitConfig;

use super::lab::Lab;

const CONFIG: &str = r#"
[model]
backbone = "backbone"
adapter = "adapter"

[data]
sizes = ["48x32"]
cache = "cache"
images = [{ path = "people" }]

[loss]
identity_weight = 0.0

[run]
steps = 4
batch = 2
checkpoint_every = 2

[optimiser]
learning_rate = 1e-3
schedule = "constant"
"#;

/// A tiny model, a few drawn people and a configuration.
fn lab() -> Lab {
    let lab = Lab::new();
    fs::write(lab.path("config.toml"), CONFIG).unwrap();
    lab.run_well(&[
        "data",
        "people",
        "--output",
        "people",
        "--pairs",
        "4",
        "--clips",
        "0",
        "--identities",
        "14",
        "--size",
        "48x32",
        "--reference-size",
        "64",
        "--validation",
        "0",
        "--test",
        "0",
    ]);
    lab
}

const TRAIN: [&str; 6] = ["train", "image", "--config", "config.toml", "--run", "run"];

#[test]
fn a_run_from_data_to_model() {
    let lab = lab();
    let ran = lab.run_well(&[&TRAIN[..], &["--keep", "1"]].concat());
    assert!(ran.stdout.is_empty(), "{}", ran.stdout);
    assert!(ran.stderr.contains("4 steps done: the model is run/model"), "{}", ran.stderr);
    assert_eq!(lab.names_in("run/checkpoints"), ["step-00000004"]);
    let config = fs::read_to_string(lab.path("run/config.toml")).unwrap();
    assert!(config.contains("region_probability = 0.5"), "defaults are written out: {config}");
    let run = lab.json("run/run.json");
    assert_eq!(run["kind"], "image");
    assert_eq!(run["weights"]["transformer"].as_str().map(str::len), Some(64));

    let again = lab.run(&TRAIN);
    assert_eq!(again.code, Some(2));
    assert!(again.stderr.contains("there is a run already in: run"), "{}", again.stderr);
    let changed = lab.run(&[&TRAIN[..], &["--resume", "--set", "optimiser.learning_rate=1"]].concat());
    assert_eq!(changed.code, Some(2));
    assert!(changed.stderr.contains("optimiser.learning_rate: was 0.001, is now 1.0"), "{}", changed.stderr);
    // More steps are fine where the learning rate does not depend on their number.
    lab.run_well(&[&TRAIN[..], &["--resume", "--set", "run.steps=5"]].concat());
    let output = ["--prompt", "a man img in the park", "--output", "out/a.png", "--frames", "1", "--steps", "1"];
    let model = ["generate", "--backbone", "backbone", "--adapter", "run/model", "--identity", "person.safetensors"];
    lab.run_well(&[&model[..], &output[..], &["--height", "32", "--width", "48"]].concat());
}

/// A file size limit stands for a full disk: small files fit, a checkpoint's tensors do not.
#[cfg(unix)]
#[test]
fn a_full_disk_at_a_checkpoint_leaves_the_old_one() {
    let lab = lab();
    lab.run_well(&[&TRAIN[..], &["--set", "run.steps=2"]].concat());
    let before = lab.names_in("run/checkpoints/step-00000002");
    let weights = fs::read(lab.path("run/checkpoints/step-00000002/weights.safetensors")).unwrap();
    let program = env!("CARGO_BIN_EXE_magicmirror");
    let script = format!("trap '' XFSZ; ulimit -f 64; exec '{program}' {} --resume", TRAIN.join(" "));
    let output = std::process::Command::new("sh")
        .arg("-c")
        .arg(script)
        .current_dir(lab.path(""))
        .env("TMPDIR", lab.path("tmp"))
        .output()
        .unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{stderr}");
    assert!(stderr.contains("checkpoints/.step-00000004.part"), "{stderr}");
    assert_eq!(lab.names_in("run/checkpoints"), ["step-00000002"], "nothing half-written");
    assert_eq!(lab.names_in("run/checkpoints/step-00000002"), before);
    assert!(weights == fs::read(lab.path("run/checkpoints/step-00000002/weights.safetensors")).unwrap());
    lab.run_well(&[&TRAIN[..], &["--resume"]].concat());
}

#[test]
fn the_plan_is_data_and_needs_no_run() {
    let lab = Lab::new();
    fs::write(lab.path("config.toml"), CONFIG).unwrap();
    let ran = lab.run_well(&["train", "image", "--config", "config.toml", "--plan"]);
    for part in ["frozen transformer", "gradients of the adapter", "inputs of all blocks", "both moments"] {
        assert!(ran.stdout.contains(part), "{part}: {}", ran.stdout);
    }
    let whole = ["train", "image", "--config", "config.toml", "--plan", "--set", "model.recompute=false"];
    let whole = lab.run_well(&whole).stdout;
    assert!(whole.contains("all blocks under autodiff") && !whole.contains("inputs of all blocks"), "{whole}");
}

/// The paper's recipes are valid, and the plan in their headers is what the program says for models of the full size.
#[test]
fn the_papers_configurations_say_what_they_need() {
    let lab = Lab::new();
    lab.edit_json("backbone/transformer/config.json", |config| {
        *config = serde_json::json!({
            "_class_name": "CogVideoXTransformer3DModel", "num_attention_heads": 48, "num_layers": 42,
            "use_rotary_positional_embeddings": true,
        });
    });
    lab.edit_json("backbone/vae/config.json", |config| {
        *config = serde_json::json!({"_class_name": "AutoencoderKLCogVideoX", "scaling_factor": 0.7});
    });
    lab.edit_json("backbone/text_encoder/config.json", |config| config["d_model"] = 4096.into());
    let sizes = BackboneSizes::from(&DitConfig::cogvideox_5b());
    fs::write(lab.path("adapter/adapter_config.json"), AdapterConfig::for_backbone(&sizes).to_json()).unwrap();
    for (kind, name) in [("image", "paper-stage1.toml"), ("video", "paper-stage2.toml")] {
        let path = magicmirror_testkit::repository().join("configs").join(name);
        let config = path.display().to_string();
        // The number of devices counts, not what they are.
        let eight = ["cpu"; 8].join(",");
        let full_size =
            ["--set", "model.backbone=backbone", "--set", "model.adapter=adapter", "--device", &eight, "--plan"];
        let plan = lab.run_well(&[&["train", kind, "--config", &config][..], &full_size[..]].concat()).stdout;
        let text = fs::read_to_string(path).unwrap();
        let header = text.lines().filter_map(|line| line.strip_prefix("# | "));
        assert_eq!(header.collect::<Vec<_>>(), plan.lines().collect::<Vec<_>>());
    }
}

#[cfg(unix)]
#[test]
fn ctrl_c_leaves_a_checkpoint_to_go_on_from() {
    use std::io::{BufRead, BufReader};

    let lab = lab();
    let args = [&TRAIN[..], &["--set", "run.steps=100000", "--set", "run.log_every=1"]].concat();
    let mut child = lab.command(&args).stderr(std::process::Stdio::piped()).spawn().unwrap();
    let mut stderr = BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap);
    assert!(stderr.any(|line| line.starts_with("step 1 of")), "it ended before the first step");
    assert!(std::process::Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    let rest: Vec<String> = stderr.collect();
    assert_eq!(child.wait().unwrap().code(), Some(130), "{rest:?}");
    assert!(rest.iter().any(|line| line.starts_with("error: stopped after step ")), "{rest:?}");
    let steps = lab.names_in("run/checkpoints");
    assert!(!steps.is_empty());
    let last: u64 = steps.last().unwrap().trim_start_matches("step-").parse().unwrap();
    // The learning rate is constant, so that fewer steps are no other run.
    let ran = lab.run_well(&[&TRAIN[..], &["--resume", "--set", &format!("run.steps={}", last + 1)]].concat());
    assert!(ran.stderr.contains(&format!("{} steps done", last + 1)), "{}", ran.stderr);
}

#[test]
fn mistakes_are_explained() {
    let lab = lab();
    let cases = [
        ("[runs]\nsteps = 1", "unknown field `runs`"),
        (&CONFIG.replace("steps = 4", "steps = 0"), "run.steps is 0, but must be at least 1"),
        (&CONFIG.replace("1e-3", "-1"), "optimiser.learning_rate is -1, but must be a number from 0"),
        (&CONFIG.replace("48x32", "50x32"), "data.sizes is 50x32, but must have sides that are multiples of 16"),
        (&CONFIG.replace("48x32", "big"), "big is not a size"),
        (&CONFIG.replace("\"people\"", "\"nobody\""), "no data set (there is no dataset.json) in: nobody"),
        (&CONFIG.replace("\"adapter\"", "\"nothing\""), "nothing/adapter_config.json"),
    ];
    for (config, expected) in cases {
        fs::write(lab.path("config.toml"), config).unwrap();
        let ran = lab.run(&TRAIN);
        assert_eq!(ran.code, Some(2), "{expected}: {}", ran.stderr);
        assert!(ran.stderr.contains(expected), "{expected}: {}", ran.stderr);
        assert!(!lab.path("run/run.json").exists(), "{expected}: a run was begun");
    }
}

const ABLATION: &str = r#"
backbone = "backbone"
adapter = "adapter/adapter_config.json"
vision = "adapter/vision"
data = "people"
image = "config.toml"
video = "video.toml"

[budget]
image_steps = 1
video_steps = 1
video_steps_alone = 2

[scoring]
identities = 2
clips = 1
steps = 1
guidance = 1.0
"#;

/// Sixteen runs of one or two steps; what is done is not done again.
#[test]
fn every_row_of_the_ablation_is_trained_and_scored() {
    let lab = Lab::new();
    let size = ["--size", "48x32", "--reference-size", "64", "--frames", "5"];
    let counts = ["--pairs", "7", "--clips", "4", "--identities", "20", "--validation", "0.2", "--test", "0.1"];
    lab.run_well(&[&["data", "people", "--output", "people"], &size[..], &counts[..]].concat());
    let image = CONFIG.replace("batch = 2", "batch = 1").replace("checkpoint_every = 2", "checkpoint_every = 100");
    let video = image.replace("images = [", "frames = 5\nclips = [").replace("1e-3", "5e-4");
    fs::write(lab.path("config.toml"), image).unwrap();
    fs::write(lab.path("video.toml"), video).unwrap();
    fs::write(lab.path("ablation.toml"), ABLATION).unwrap();
    let run = ["train", "ablation", "--config", "ablation.toml", "--run", "ablation", "--device", "cpu,cpu"];
    lab.run_well(&run);

    let table = fs::read_to_string(lab.path("ablation/ablation.md")).unwrap();
    for (row, stage, switches) in
        [("A", "–", "✓ – – –"), ("F", "✓", "✓ ✓ – –"), ("G", "–", "✓ ✓ ✓ ✓"), ("full", "✓", "✓ ✓ ✓ ✓")]
    {
        assert!(table.contains(&format!("| {row} | {stage} | {switches} | ")), "{row}: {table}");
    }
    let row = |name: &str| {
        let line = table.lines().find(|line| line.starts_with(&format!("| {name} | "))).unwrap();
        line.split('|').map(|cell| cell.trim().to_owned()).collect::<Vec<_>>()
    };
    let losses: Vec<f64> = row("full")[6].split([' ', ',', '(', ')']).filter_map(|part| part.parse().ok()).collect();
    assert_eq!(losses.len(), 6, "own photos' mean, lowest and highest, and another's: {table}");
    assert!(losses.iter().all(|&loss| loss > 0.0), "{table}");
    assert!(row("backbone")[6].is_empty() && row("backbone")[7].contains(" to "), "{table}");
    for (run, rate) in [("A-0/video", "0.001"), ("full-0/image", "0.001"), ("full-0/video", "0.0005")] {
        let config = fs::read_to_string(lab.path(&format!("ablation/{run}/config.toml"))).unwrap();
        assert!(config.contains(&format!("\nlearning_rate = {rate}\n")), "{run}: {config}");
    }
    let steps = |run: &str| lab.names_in(&format!("ablation/{run}/checkpoints"));
    assert_eq!(steps("full-2/image"), ["step-00000001"]);
    assert_eq!(steps("full-2/video"), ["step-00000001"]);
    assert_eq!(steps("A-2/video"), ["step-00000002"]);
    assert!(!lab.path("ablation/A-2/image").exists());
    let trained = |run: &str| fs::read(lab.path(&format!("ablation/{run}/video/model/model.safetensors"))).unwrap();
    assert!(trained("A-0") != trained("A-1"), "seeds differ");
    let results = lab.json("ablation/scores/results.json");
    assert_eq!(results["videos"].as_array().unwrap().len(), 2 * (2 + 1 + 16));

    let weights = lab.path("ablation/C-0/video/model/model.safetensors");
    let written = fs::metadata(&weights).unwrap().modified().unwrap();
    lab.run_well(&run);
    assert_eq!(fs::metadata(&weights).unwrap().modified().unwrap(), written, "trained again");
}
