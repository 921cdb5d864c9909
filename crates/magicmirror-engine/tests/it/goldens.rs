//! Every case that was computed with diffusers and transformers, from its files to its frames.

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use burn::tensor::Device;
use magicmirror_engine::generate::Request;
use magicmirror_engine::latents::{LatentsRequest, encode_latents};
use magicmirror_engine::{Control, Event};
use magicmirror_models::diffusion::Method;
use magicmirror_models::vae::Tiling;
use magicmirror_models::weights::{Precision, save_safetensors};
use magicmirror_testkit::{ONE_CALL, Values, WHOLE_RUN, golden, relative_error};
use serde_json::Value;

use crate::Workbench;

/// Not of a generation: one call of the transformer at another timestep, and the encoder of the autoencoder.
const OTHER_COMMANDS: [&str; 3] = ["transformer_t517", "vae_mean", "vae_logvar"];

fn cases(kind: &str) -> Vec<PathBuf> {
    cases_in(&golden(kind))
}

fn cases_in(folder: &Path) -> Vec<PathBuf> {
    let folders = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut cases: Vec<PathBuf> = folders.filter(|folder| folder.join("case.json").is_file()).collect();
    cases.sort();
    cases
}

fn request(case: &Path) -> Request {
    let json: Value = serde_json::from_str(&std::fs::read_to_string(case.join("case.json")).unwrap()).unwrap();
    let text = |name: &str| json[name].as_str().unwrap().to_owned();
    let size = |name: &str| Some(json[name].as_u64().unwrap() as usize);
    let adapter = case.join("adapter");
    Request {
        backbone: Some(match json["backbone"].as_str().map(|path| [case.join(path), case.with_file_name(path)]) {
            None => case.to_owned(),
            Some([below, beside]) => {
                if below.is_dir() {
                    below
                } else {
                    beside
                }
            }
        }),
        identity: adapter.is_dir().then(|| case.join("identity.safetensors")),
        adapter: adapter.is_dir().then_some(adapter),
        prompt: text("prompt"),
        negative_prompt: text("negative_prompt"),
        height: size("height"),
        width: size("width"),
        frames: size("frames"),
        steps: size("steps"),
        guidance: json["guidance"].as_f64(),
        dynamic_guidance: json["dynamic_guidance"].as_bool().unwrap_or(false),
        method: Some(if json["scheduler"] == "dpm" { Method::Dpm } else { Method::Ddim }),
        face_scale: json["face_scale"].as_f64(),
        latents: Some(case.join("inputs.safetensors")),
        ..Request::default()
    }
}

/// Compares all tensors that the reference run has; returns what does not agree.
fn differences(name: &str, actual: &Values, expected: &Values) -> Vec<String> {
    let mut differences = Vec::new();
    for tensor in expected.names().iter().map(String::as_str).filter(|tensor| !OTHER_COMMANDS.contains(tensor)) {
        if !actual.has(tensor) {
            differences.push(format!("{name}: {tensor} is missing"));
            continue;
        }
        let tolerance = match tensor {
            "token_ids" | "class_token_mask" => {
                if actual.bytes(tensor) != expected.bytes(tensor) {
                    differences.push(format!("{name}: {tensor} differs"));
                }
                continue;
            }
            "latents" | "frames" => WHOLE_RUN,
            _ => ONE_CALL,
        };
        let error = relative_error(actual.data(tensor), &expected.data(tensor));
        if error.is_nan() || error > tolerance {
            differences.push(format!("{name}: relative error of {tensor} {error:.1e}, allowed {tolerance:.0e}"));
        }
    }
    differences
}

#[track_caller]
fn check_all(kind: &str, count: usize, always: &[&str]) {
    let cases = cases(kind);
    assert_eq!(cases.len(), count, "cases of {kind}: {cases:?}");
    check_each(&cases, always);
}

#[track_caller]
fn check_each(cases: &[PathBuf], always: &[&str]) {
    let bench = Workbench::new();
    let mut found = Vec::new();
    for case in cases {
        let name = case.file_name().unwrap().to_str().unwrap();
        let expected = Values::at(&case.join("expected.safetensors"));
        for tensor in always {
            assert!(expected.has(tensor), "{name} has no reference for {tensor}");
        }
        found.extend(differences(name, &bench.run(name, request(case)), &expected));
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn generations_of_the_backbone_equal_diffusers() {
    let tensors = ["token_ids", "prompt_embeds", "negative_prompt_embeds", "velocity_first_step", "latents", "frames"];
    check_all("backbone", 6, &tensors);
}

#[test]
fn generations_with_an_identity_equal_the_reference() {
    let tensors = ["token_ids", "prompt_embeds", "negative_prompt_embeds", "class_token_mask", "velocity_first_step"];
    check_all("adapter", 13, &tensors);
}

/// Cases of the same form that are not part of the repository, in a folder `shared/goldens` beside it.
#[test]
fn generations_equal_the_references_beside_the_repository() {
    let repository = golden("..").canonicalize().unwrap();
    let folder = repository.ancestors().map(|folder| folder.join("shared/goldens")).find(|folder| folder.is_dir());
    let Some(folder) = folder else { return };
    let (with_identity, plain): (Vec<_>, Vec<_>) =
        cases_in(&folder).into_iter().partition(|case| case.join("adapter").is_dir());
    assert!(!with_identity.is_empty() && !plain.is_empty(), "{}", folder.display());
    check_each(&plain, &["token_ids", "prompt_embeds", "latents", "frames"]);
    check_each(&with_identity, &["x_id", "x_face"]);
    latents_equal(&plain);
}

#[test]
fn every_tensor_of_the_adapter_has_a_reference_somewhere() {
    let all: Vec<String> =
        cases("adapter").iter().flat_map(|case| Values::at(&case.join("expected.safetensors")).names()).collect();
    for tensor in ["x_id", "x_face", "can_condition", "prompt_embeds_fused", "latents", "frames"] {
        assert!(all.iter().any(|name| name == tensor), "{tensor}");
    }
}

#[test]
fn latents_of_frames_equal_diffusers() {
    latents_equal(&cases("backbone"));
}

fn latents_equal(cases: &[PathBuf]) {
    let bench = Workbench::new();
    let (input, output) = (bench.path("frames.safetensors"), bench.path("latents.safetensors"));
    for case in cases {
        let frames = Values::at(&case.join("inputs.safetensors")).data("video_in");
        save_safetensors(&input, &[("frames".to_owned(), frames)]).unwrap();
        let request = LatentsRequest {
            backbone: case.clone(),
            input: input.clone(),
            output: output.clone(),
            tiling: Tiling::Off,
            precision: Precision::Stored,
        };
        let mut listener = |_: Event| ();
        let cancelled = AtomicBool::new(false);
        let mut control = Control::new(&mut listener, &cancelled);
        encode_latents(&request, &Device::flex(), &mut control).unwrap();
        let (actual, expected) = (Values::at(&output), Values::at(&case.join("expected.safetensors")));
        for (tensor, reference) in [("mean", "vae_mean"), ("logvar", "vae_logvar")] {
            let error = relative_error(actual.data(tensor), &expected.data(reference));
            assert!(error <= ONE_CALL, "{}: relative error of {tensor} {error:.1e}", case.display());
        }
    }
}
