//! `models`: looking into folders, making adapters.

use magicmirror_testkit::golden;
use serde_json::{Value, json};

use crate::lab::Lab;

fn inspect(lab: &Lab, path: &str) -> Value {
    serde_json::from_str(&lab.run_well(&["models", "inspect", path, "--json"]).stdout).unwrap()
}

#[test]
fn inspect_says_what_a_folder_holds() {
    let lab = Lab::new();
    let backbone = inspect(&lab, "backbone");
    assert_eq!(backbone["kind"], "cogvideox backbone");
    assert_eq!(backbone["problems"], json!([]));
    assert_eq!(backbone["facts"]["trained size"], "96×144, 17 frames, 8 fps");
    assert_eq!(backbone["facts"]["transformer"], "4 blocks, 4 heads × 16");
    let parts = backbone["parts"].as_array().unwrap();
    let names: Vec<&str> = parts.iter().map(|part| part["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["text_encoder", "transformer", "vae"]);
    for part in parts {
        assert_eq!(part["bytes"], json!(part["parameters"].as_u64().unwrap() * 4), "all is f32: {part}");
        assert_eq!(part["dtypes"]["F32"], part["parameters"]);
        assert_eq!(part["files"], 1);
    }
    let text = lab.run_well(&["models", "inspect", "backbone"]).stdout;
    for part in ["cogvideox backbone", "96×144, 17 frames", "rotary (5B)", "transformer: ", " parameters, F32, "] {
        assert!(text.contains(part), "{part}: {text}");
    }

    let adapter = inspect(&lab, "adapter");
    assert_eq!(adapter["kind"], "magicmirror adapter");
    assert_eq!(adapter["facts"]["blocks"], "[0, 2]");
    assert_eq!(adapter["problems"], json!([]));
    let file = inspect(&lab, "person.safetensors");
    assert_eq!((&file["kind"], &file["parts"][0]["parameters"]), (&json!("weights"), &json!(128 + 2 * 3 * 32)));
}

#[test]
fn inspect_lists_all_that_keeps_a_folder_from_being_used() {
    let lab = Lab::new();
    lab.edit_tensors("backbone/transformer/diffusion_pytorch_model.safetensors", |tensors| {
        tensors.retain(|(name, _)| name != "proj_out.bias");
    });
    std::fs::remove_file(lab.path("backbone/vae/diffusion_pytorch_model.safetensors")).unwrap();
    std::fs::remove_file(lab.path("backbone/tokenizer/tokenizer.json")).unwrap();
    let ran = lab.run(&["models", "inspect", "backbone", "--json"]);
    assert_eq!(ran.code, Some(2));
    for part in [
        "error: backbone cannot be used",
        "missing    proj_out.bias [32]",
        "no tokenizer found",
        "no weights found in backbone/vae",
    ] {
        assert!(ran.stderr.contains(part), "{part}: {}", ran.stderr);
    }
    let inspection: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(inspection["problems"].as_array().unwrap().len(), 3);

    std::fs::remove_file(lab.path("adapter/model.safetensors")).unwrap();
    let ran = lab.run(&["models", "inspect", "adapter"]);
    assert_eq!(ran.code, Some(2));
    assert!(ran.stderr.contains("no weights found in adapter"), "{}", ran.stderr);
    let ran = lab.run(&["models", "inspect", "nowhere"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(2), ""));
    assert!(ran.stderr.contains("there is no such folder"), "{}", ran.stderr);
}

#[test]
fn an_adapter_is_not_overwritten() {
    let lab = Lab::new();
    let before = std::fs::read(lab.path("adapter/model.safetensors")).unwrap();
    let photomaker = golden("vision/photomaker/photomaker-v2.safetensors");
    for args in [&["init-adapter"][..], &["import", "photomaker", photomaker.to_str().unwrap()]] {
        let ran = lab.run(&[&["models"], args, &["--backbone", "backbone", "--output", "adapter"]].concat());
        assert_eq!(ran.code, Some(2));
        assert!(ran.stderr.contains("there is an adapter already in: adapter"), "{}", ran.stderr);
    }
    assert!(std::fs::read(lab.path("adapter/model.safetensors")).unwrap() == before);
}

#[test]
fn a_file_that_is_not_photomakers_is_refused_with_all_differences() {
    let lab = Lab::new();
    for file in ["photomaker-v2.safetensors", "photomaker-v2.bin"] {
        let file = golden("vision/photomaker").join(file);
        let args =
            ["models", "import", "photomaker", file.to_str().unwrap(), "--backbone", "backbone", "--output", "out/new"];
        let ran = lab.run(&args);
        assert_eq!(ran.code, Some(2), "{}", ran.stderr);
        for part in [
            "do not fit the configuration",
            "missing ",
            "mis-shaped ",
            "vision_model.embeddings.class_embedding: expected [1024]",
        ] {
            assert!(ran.stderr.contains(part), "{part}: {}", ran.stderr);
        }
        assert_eq!(lab.names_in("out"), [""; 0]);
    }
}

#[test]
fn a_tiny_model_is_the_same_for_the_same_seed() {
    let lab = Lab::new();
    lab.run_well(&["models", "tiny", "--seed", "3", "--output", "same"]);
    lab.run_well(&["models", "tiny", "--seed", "4", "--output", "other"]);
    let bytes = |path: &str| std::fs::read(lab.path(path)).unwrap();
    for file in [
        "backbone/vae/diffusion_pytorch_model.safetensors",
        "adapter/model.safetensors",
        "backbone/tokenizer/tokenizer.json",
    ] {
        assert!(bytes(file) == bytes(&format!("same/{file}")), "{file}");
    }
    assert!(bytes("adapter/model.safetensors") != bytes("other/adapter/model.safetensors"));
}
