//! What a run leaves behind: the video in each format, its statement that it is generated, and the report.

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::lab::{Lab, generate};

fn contains(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

#[test]
fn every_format_says_that_it_is_generated_and_by_which_settings() {
    let lab = Lab::new();
    let formats = [("video.mp4", "5"), ("video.gif", "5"), ("video.webp", "5"), ("image.png", "1"), ("frames", "5")];
    for (name, frames) in formats {
        let output = format!("out/{name}");
        let ran = lab.run_well(&generate(&["--output", &output, "--frames", frames, "--steps", "1"]));
        assert!(ran.stderr.contains(&format!("{output} (settings in {output}.json)")), "{}", ran.stderr);
        let report = lab.json(&format!("{output}.json"));
        let hash = report["settings_sha256"].as_str().unwrap();
        assert_eq!(hash.len(), 64);
        let file = if name == "frames" { format!("{output}/frame_0004.png") } else { output };
        let bytes = std::fs::read(lab.path(&file)).unwrap();
        for text in ["AI-generated", "MagicMirror 0.", hash] {
            assert!(contains(&bytes, text), "{file} does not hold {text:?}");
        }
    }
    let mut expected: Vec<String> =
        formats.iter().flat_map(|(name, _)| [(*name).to_owned(), format!("{name}.json")]).collect();
    expected.sort();
    assert_eq!(lab.names_in("out"), expected);
    assert_eq!(lab.names_in("out/frames").len(), 5);
    for image in ["out/image.png", "out/frames/frame_0000.png"] {
        assert_eq!(image::image_dimensions(lab.path(image)).unwrap(), (48, 32), "{image}");
    }
}

#[test]
fn the_report_says_what_was_done() {
    let lab = Lab::new();
    let options = ["--adapter", "adapter", "--identity", "person.safetensors", "--seed", "7", "--guidance", "3.5"];
    let more = ["--negative-prompt", "rain", "--scheduler", "dpm", "--face-scale", "0.5", "--fps", "12"];
    lab.run_well(&generate(&[&options[..], &more].concat()));
    let report = lab.json("out/video.mp4.json");
    let settings = json!({
        "prompt": "a man img walking in the park", "negative_prompt": "rain", "height": 32, "width": 48, "frames": 5,
        "steps": 2, "guidance": 3.5, "dynamic_guidance": false, "scheduler": "dpm", "seed": 7, "face_scale": 0.5,
        "fps": 12.0,
    });
    assert_eq!(report["settings"], settings);
    assert_eq!(report["synthetic"], true);
    assert_eq!((&report["backbone"], &report["identity"]), (&json!("backbone"), &json!("person.safetensors")));
    let files = [
        ("text_encoder", "backbone/text_encoder/model.safetensors"),
        ("transformer", "backbone/transformer/diffusion_pytorch_model.safetensors"),
        ("vae", "backbone/vae/diffusion_pytorch_model.safetensors"),
        ("adapter", "adapter/model.safetensors"),
    ];
    assert_eq!(report["weights_sha256"].as_object().unwrap().len(), files.len());
    for (part, file) in files {
        let hash: String = format!("{:x}", Sha256::digest(std::fs::read(lab.path(file)).unwrap()));
        assert_eq!(report["weights_sha256"][part], hash, "{part}");
        let folder = if part == "adapter" { "adapter" } else { "backbone" };
        let inspected = lab.run_well(&["models", "inspect", folder, "--json"]).stdout;
        let inspected: Value = serde_json::from_str(&inspected).unwrap();
        let parts = inspected["parts"].as_array().unwrap();
        let inspected = parts.iter().find(|found| found["name"] == part).unwrap();
        assert_eq!(report["parameters"][part], inspected["parameters"], "{part}");
    }
    let seconds = report["seconds"].as_object().unwrap();
    let stages = ["encode_prompt", "load_transformer", "denoise", "decode", "write"];
    assert!(stages.iter().all(|stage| seconds[*stage].as_f64().unwrap() > 0.0), "{seconds:?}");
    let sum: f64 = seconds.values().map(|value| value.as_f64().unwrap()).sum();
    let total = report["seconds_total"].as_f64().unwrap();
    assert!(sum <= total && total < 60.0, "{sum} of {total}");
    #[cfg(target_os = "linux")]
    assert!(report["peak_memory_bytes"].as_u64().unwrap() > 10 << 20);
}

#[test]
fn other_settings_have_another_hash() {
    let lab = Lab::new();
    let hash = |options: &[&str]| {
        lab.run_well(&generate(&[options, &["--steps", "1"]].concat()));
        lab.json("out/video.mp4.json")["settings_sha256"].clone()
    };
    let usual = hash(&[]);
    assert_eq!(usual, hash(&[]));
    assert_ne!(usual, hash(&["--seed", "1"]));
    assert_ne!(usual, hash(&["--prompt", "a woman img walking in the park"]));
}

/// One picture of its own size, with its own number of steps, shows one face; a clip takes the reference.
#[test]
fn without_a_backbone_the_model_that_comes_with_the_program_draws_a_face() {
    let lab = Lab::new();
    let prompt = "a close-up of a woman img with a gentle smile in front of a blue wall. she wears a red sweater";
    let run = |options: &[&str]| {
        let ran = lab.run_well(&[&["generate", "--reference", "astronaut.png", "--prompt", prompt], options].concat());
        assert!(ran.stderr.contains("warning: no --backbone given: using nano"), "{}", ran.stderr);
        assert_eq!(lab.names_in("tmp"), [""; 0]);
    };
    run(&["--frames", "1", "--output", "out/me.png"]);
    let report = lab.json("out/me.png.json");
    let settings = &report["settings"];
    for (key, expected) in [("height", json!(144)), ("width", json!(96)), ("steps", json!(4)), ("guidance", json!(2.5))]
    {
        assert_eq!(settings[key], expected, "{key}");
    }
    assert!(report["seconds"]["encode_identity"].as_f64().unwrap() > 0.0);
    assert_eq!(report["references"], json!(["astronaut.png"]));
    assert_eq!((&settings["skip_guidance"], &settings["skip_blocks"]), (&json!(0.75), &json!([6, 7])));
    let faces = lab.run_well(&["identity", "faces", "out/me.png", "--json"]).stdout;
    let faces: Vec<Value> = serde_json::from_str(&faces).unwrap();
    assert_eq!(faces.len(), 1, "{faces:?}");

    // The picture is the one that its seed alone gives, and there is none more like the photo.
    let candidates = report["candidates"].as_array().unwrap();
    let likeness: Vec<f64> = candidates.iter().map(|one| one["likeness"].as_f64().unwrap()).collect();
    let seeds = candidates.iter().map(|one| one["seed"].as_u64().unwrap());
    assert_eq!(seeds.collect::<Vec<_>>(), [0, 1, 2, 3, 4, 5]);
    let best = candidates.iter().find(|one| one["seed"] == settings["seed"]).unwrap()["likeness"].as_f64().unwrap();
    // Of strangers it is about 0.
    assert!(best > 0.1 && likeness.iter().all(|&one| one <= best), "{candidates:?}");
    let seed = settings["seed"].to_string();
    run(&["--frames", "1", "--candidates", "1", "--seed", &seed, "--output", "out/again.png"]);
    assert!(std::fs::read(lab.path("out/me.png")).unwrap() == std::fs::read(lab.path("out/again.png")).unwrap());
    let again = lab.json("out/again.png.json");
    assert_eq!((&again["settings"], again.get("candidates")), (settings, None));

    run(&["--steps", "1", "--output", "out/me.mp4"]);
    assert_eq!(lab.json("out/me.mp4.json")["settings"]["frames"], 17);
    assert_eq!(lab.names_in("out"), ["again.png", "again.png.json", "me.mp4", "me.mp4.json", "me.png", "me.png.json"]);
}
