//! What a run holds at most, stage by stage, against what its plan said. A process of its own: nothing else may run in it.
//!
//! Linux alone tells a process its peak, so the tests exist there only.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used)]
#![expect(clippy::print_stdout, reason = "a table for people, and what a child process tells its parent")]

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::AtomicBool;

use burn::module::Module;
use burn::tensor::{Device, Tensor};
use magicmirror_engine::generate::{Request, generate};
use magicmirror_engine::memory::{self, Bytes, StageMemory};
use magicmirror_engine::{Control, Event, Stage};
use magicmirror_models::adapter::FaceFeatures;
use magicmirror_models::dit::{Dit, DitConfig};
use magicmirror_models::text::{T5Config, T5Encoder};
use magicmirror_models::vae::{CausalState, Tiling, Vae, VaeConfig, VaeDecoder};
use magicmirror_models::weights::{Init, Params, Precision, initialise, named_tensors, save_safetensors};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// A run of the tiny model with some sizes changed.
#[derive(Default)]
struct Case {
    name: &'static str,
    /// Height, width, frames.
    size: [usize; 3],
    text: Option<Value>,
    transformer: Option<Value>,
    vae: Option<Value>,
    /// References of one person, if the adapter takes part.
    references: usize,
    image_tokens: usize,
    tiling: Option<Tiling>,
    precision: Precision,
    /// Extension of the output.
    output: &'static str,
}

/// Writes the model and the person of a case.
fn prepare(case: &Case, folder: &Path) {
    magicmirror_engine::models::write_tiny(folder, 3).unwrap();
    let backbone = folder.join("backbone");
    if let Some(changes) = &case.text {
        rewrite(&backbone.join("text_encoder"), "model", changes, |config, params| {
            T5Encoder::new(&T5Config::from_json(&config.to_string()).unwrap(), params)
        });
    }
    if let Some(changes) = &case.transformer {
        rewrite(&backbone.join("transformer"), "diffusion_pytorch_model", changes, |config, params| {
            Dit::new(&serde_json::from_value::<DitConfig>(config).unwrap(), params)
        });
    }
    if let Some(changes) = &case.vae {
        rewrite(&backbone.join("vae"), "diffusion_pytorch_model", changes, |config, params| {
            Vae::new(&serde_json::from_value::<VaeConfig>(config).unwrap(), params)
        });
    }
    if case.references > 0 {
        face_features(case.references, case.image_tokens).save(&folder.join("person.safetensors")).unwrap();
    }
}

/// Runs a case; returns the peak of each stage beside what the plan said.
fn run(case: &Case, folder: &Path) -> Vec<Measured> {
    let [height, width, frames] = case.size.map(Some);
    let request = Request {
        backbone: Some(folder.join("backbone")),
        adapter: (case.references > 0).then(|| folder.join("adapter")),
        identity: (case.references > 0).then(|| folder.join("person.safetensors")),
        prompt: "a man img walking in the park".into(),
        height,
        width,
        frames,
        steps: Some(1),
        tiling: case.tiling,
        precision: case.precision,
        output: folder.join("out").with_extension(case.output),
        ..Request::default()
    };
    let (mut plan, mut peaks) = (None, BTreeMap::new());
    let mut listener = |event: Event| match event {
        Event::Plan(said) => plan = Some(said),
        Event::Started { .. } => forget_peak(),
        Event::Finished { stage, .. } => {
            let name = match stage {
                Stage::EncodeIdentity => "faces",
                Stage::EncodePrompt => "text encoder",
                Stage::LoadTransformer | Stage::Denoise => "transformer",
                Stage::Decode => "decoder",
                Stage::Write => "output",
                _ => return,
            };
            let peak = peaks.entry(name).or_insert(0);
            *peak = memory::peak().unwrap().max(*peak);
        }
        _ => {}
    };
    let never = AtomicBool::new(false);
    generate(&request, &Device::flex(), &mut Control::new(&mut listener, &never))
        .unwrap_or_else(|error| panic!("{}: {error}", case.name));
    let measured = |stage: &StageMemory| Measured {
        stage: stage.stage.to_owned(),
        planned: stage.weights + stage.activations,
        peak: peaks[stage.stage],
    };
    plan.unwrap().stages.iter().map(measured).collect()
}

/// Lets the process's peak start again from what it holds now.
fn forget_peak() {
    std::fs::write("/proc/self/clear_refs", "5").unwrap();
}

/// Changes some fields of a part's configuration, and writes weights that fit it.
fn rewrite<M: Module>(folder: &Path, stem: &str, changes: &Value, build: impl FnOnce(Value, &mut Params<'_, '_>) -> M) {
    let path = folder.join("config.json");
    let mut config: Value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
    config.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
    std::fs::write(&path, config.to_string()).unwrap();
    let (module, names) = initialise(1, &Device::flex(), |params| build(config, params));
    save_safetensors(&folder.join(format!("{stem}.safetensors")), &named_tensors(&module, &names)).unwrap();
}

fn face_features(references: usize, image_tokens: usize) -> FaceFeatures {
    let random = |shape: [usize; 3]| -> Tensor<3> {
        initialise(1, &Device::flex(), |params| params.tensor("x", shape, Init::Normal(1.0)).val()).0
    };
    FaceFeatures {
        id_embeds: random([1, references, 128]).squeeze_dim(0),
        vision_last: random([references, image_tokens, 32]),
        vision_penultimate: random([references, image_tokens, 32]),
    }
}

/// What a stage was said to need, and what the process held at its peak.
#[derive(Serialize, Deserialize)]
struct Measured {
    stage: String,
    planned: u64,
    peak: u64,
}

/// A whole run: its largest stage as planned, and the peak.
fn whole(stages: &[Measured]) -> Measured {
    let largest = stages.iter().max_by_key(|stage| stage.planned).unwrap();
    let peak = stages.iter().map(|stage| stage.peak).max().unwrap();
    Measured { stage: largest.stage.clone(), planned: largest.planned, peak }
}

/// Runs one case in a process of its own: memory that earlier work left behind would count.
fn measure(index: usize) -> Vec<Measured> {
    let folder = tempfile::tempdir().unwrap();
    prepare(&cases()[index], folder.path());
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "one_case", "--ignored", "--nocapture"])
        .env(CASE, index.to_string())
        .env(FOLDER, folder.path())
        // Each thread holds a piece of what it works on.
        .env("RAYON_NUM_THREADS", std::env::var("RAYON_NUM_THREADS").unwrap_or_else(|_| "2".into()))
        .output()
        .unwrap();
    let stdout = String::from_utf8_lossy(&output.stdout);
    let line = stdout.lines().find_map(|line| line.strip_prefix(MEASURED));
    let line = line.unwrap_or_else(|| panic!("{stdout}{}", String::from_utf8_lossy(&output.stderr)));
    serde_json::from_str(line).unwrap()
}

const CASE: &str = "MAGICMIRROR_MEMORY_CASE";
const FOLDER: &str = "MAGICMIRROR_MEMORY_FOLDER";
const MEASURED: &str = "measured: ";

#[test]
#[ignore = "the child process of the others"]
fn one_case() {
    let (Ok(index), Ok(folder)) = (std::env::var(CASE), std::env::var(FOLDER)) else { return };
    let measured = run(&cases()[index.parse::<usize>().unwrap()], Path::new(&folder));
    println!("\n{MEASURED}{}", serde_json::to_string(&measured).unwrap());
}

/// One case for each stage that may be the largest.
#[test]
fn plans_cover_what_runs_take() {
    for name in ["text of 1024 tokens", "wide transformer", "square 768×768×1"] {
        let index = cases().iter().position(|case| case.name == name).unwrap();
        let Measured { planned, peak, .. } = whole(&measure(index));
        let found = format!("{name}: planned {}, held {}", Bytes(planned), Bytes(peak));
        assert!(peak <= planned, "{found}");
        assert!(planned as f64 <= 1.6 * peak as f64, "{found}");
    }
}

#[test]
#[ignore = "a table for people; takes minutes and 3 GB"]
fn table() {
    println!("| run | largest stage | planned | peak | planned / peak |\n| --- | --- | --- | --- | --- |");
    for (index, case) in cases().iter().enumerate() {
        let stages = measure(index);
        let Measured { stage, planned, peak } = whole(&stages);
        let ratio = planned as f64 / peak as f64;
        println!("| {} | {stage} | {} | {} | {ratio:.2} |", case.name, Bytes(planned), Bytes(peak));
        for Measured { stage, planned, peak } in stages {
            eprintln!("    {stage}: {} {}", Bytes(planned), Bytes(peak));
        }
    }
}

/// What the identity loss holds, in tensors of full frames and fewest channels: the difference between two sizes, so that
/// weights do not count. See `DECODER_TENSORS` in `train/plan.rs`.
#[test]
#[ignore = "a table for people; takes a minute and 3 GB"]
fn decoder_gradients() {
    // The released decoder at a quarter of its widths.
    let config = VaeConfig { block_out_channels: vec![32, 64, 64, 128], ..VaeConfig::cogvideox() };
    let device = Device::flex().autodiff();
    let (decoder, _) = initialise(1, &device, |params| VaeDecoder::new(&config, params));
    let decoder = decoder.no_grad();
    // One latent frame for an image; two, which are eight frames, for a frame of a clip.
    for (latent_frames, frames) in [(1, 1), (2, 8)] {
        let held = [96, 192].map(|side| {
            let (shape, spread) = ([1, config.latent_channels, latent_frames, side / 8, side / 8], Init::Normal(1.0));
            let latents = initialise(1, &device, |params| params.tensor("latents", shape, spread).val()).0;
            forget_peak();
            let before = memory::peak().unwrap();
            let out = decoder.forward(latents.require_grad(), &mut CausalState::new(1));
            assert_eq!(out.dims(), [1, 3, frames, side, side]);
            out.sum().backward();
            let tensor = 4 * frames * side * side * config.block_out_channels[0];
            (memory::peak().unwrap().saturating_sub(before) as f64, tensor as f64)
        });
        let [(small, one), (large, other)] = held;
        println!(
            "{frames} frames: {:.0} tensors of a further pixel, {:.0} of all",
            (large - small) / (other - one),
            large / other
        );
    }
}

fn cases() -> Vec<Case> {
    let case = |name, size| Case { name, size, output: "gif", ..Case::default() };
    vec![
        case("tiny 32×48×5", [32, 48, 5]),
        Case {
            text: Some(json!({"num_heads": 16, "d_kv": 16})),
            transformer: Some(json!({"max_text_seq_length": 1024})),
            ..case("text of 1024 tokens", [32, 48, 1])
        },
        Case {
            text: Some(json!({"num_heads": 16, "d_kv": 16})),
            transformer: Some(json!({"max_text_seq_length": 2048})),
            ..case("text of 2048 tokens", [32, 48, 1])
        },
        Case {
            text: Some(json!({"num_heads": 8, "d_kv": 128, "d_ff": 16384})),
            transformer: Some(json!({"max_text_seq_length": 1024})),
            ..case("wide text encoder", [32, 48, 1])
        },
        case("square 768×768×1", [768, 768, 1]),
        case("square 1536×1536×1", [1536, 1536, 1]),
        Case {
            transformer: Some(json!({"num_layers": 1})),
            tiling: Some(Tiling::On),
            vae: Some(json!({"sample_height": 480, "sample_width": 720})),
            ..case("square 4096×4096×1 in tiles", [4096, 4096, 1])
        },
        case("film 32×48×997", [32, 48, 997]),
        Case { output: "mp4", ..case("film 256×384×49", [256, 384, 49]) },
        Case { output: "webp", ..case("film 128×192×197", [128, 192, 197]) },
        Case {
            tiling: Some(Tiling::On),
            vae: Some(json!({"sample_height": 480, "sample_width": 720})),
            ..case("tiles 480×720×17", [480, 720, 17])
        },
        Case {
            transformer: Some(json!({"num_attention_heads": 16, "attention_head_dim": 64, "num_layers": 1})),
            vae: Some(json!({"block_out_channels": [4, 4, 4, 4]})),
            ..case("wide transformer", [256, 384, 17])
        },
        Case {
            transformer: Some(json!({"num_attention_heads": 16, "attention_head_dim": 64, "num_layers": 1})),
            vae: Some(json!({"block_out_channels": [4, 4, 4, 4]})),
            precision: Precision::Bf16,
            ..case("wide transformer bf16", [256, 384, 17])
        },
        Case {
            transformer: Some(json!({"max_text_seq_length": 512})),
            references: 200,
            image_tokens: 257,
            ..case("200 references", [128, 192, 5])
        },
        Case {
            vae: Some(
                json!({"block_out_channels": [128, 256, 256, 512], "norm_num_groups": 32, "layers_per_block": 3}),
            ),
            ..case("released VAE's widths", [96, 144, 17])
        },
        Case {
            vae: Some(json!({"block_out_channels": [64, 128, 128, 256], "norm_num_groups": 32})),
            ..case("half the released VAE's widths", [192, 288, 9])
        },
    ]
}
