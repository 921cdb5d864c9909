//! What must hold whatever the weights are.

use std::path::Path;

use burn::tensor::{Device, Tensor};
use magicmirror_engine::generate::Request;
use magicmirror_models::adapter::{Adapter, AdapterConfig, FaceFeatures, Modules};
use magicmirror_models::weights::Precision;
use magicmirror_testkit::{Values, assert_close, relative_error};

use crate::{Workbench, face_features, tiny_model};

const OUTPUTS: [&str; 3] = ["velocity_first_step", "latents", "frames"];

/// The tiny model's adapter with other weights: a fresh one leaves much as it is, this one does not.
fn trained_adapter(folder: &Path) {
    let adapter = Adapter::load(folder, Precision::F32, &Device::flex()).unwrap();
    let mut tensors = adapter.named_tensors();
    for (seed, (_, data)) in tensors.iter_mut().enumerate() {
        let noise = crate::random([data.num_elements()], seed as u64).into_data().try_to_vec::<f32>().unwrap();
        let values: Vec<f32> = data.iter::<f32>().zip(noise).map(|(value, noise)| value + 0.1 * noise).collect();
        *data = burn::tensor::TensorData::new(values, data.shape().clone());
    }
    let path = folder.join("model.safetensors");
    magicmirror_models::weights::save_safetensors(&path, &tensors).unwrap();
}

fn with_identity(request: &Request, folder: &Path, features: &FaceFeatures, name: &str) -> Request {
    let identity = folder.join(name);
    features.save(&identity).unwrap();
    Request { adapter: Some(folder.join("adapter")), identity: Some(identity), ..request.clone() }
}

#[track_caller]
fn assert_outputs_close(actual: &Values, expected: &Values, tolerance: f64) {
    for name in OUTPUTS {
        assert_close(name, actual.data(name), &expected.data(name), tolerance);
    }
}

#[test]
fn the_same_request_gives_the_same_bytes_whatever_ran_between() {
    let (bench, model) = (Workbench::new(), tempfile::tempdir().unwrap());
    let plain = tiny_model(model.path());
    trained_adapter(&model.path().join("adapter"));
    let identity = with_identity(&plain, model.path(), &face_features(1, 5), "identity.safetensors");
    let before = bench.run("before", plain.clone());
    let person = bench.run("person", identity.clone());
    bench.run("after", plain.clone());
    bench.run("again", identity);
    let other_seed = bench.run("other seed", Request { seed: 1, ..plain });
    assert_eq!(bench.bytes("before"), bench.bytes("after"));
    assert_eq!(bench.bytes("person"), bench.bytes("again"));
    for name in OUTPUTS {
        assert!(relative_error(person.data(name), &before.data(name)) > 1e-3, "{name} knows nothing of the person");
        assert!(relative_error(other_seed.data(name), &before.data(name)) > 1e-2, "{name} is the same for two seeds");
    }
}

/// One step is linear in the velocity, so the scale must be, too.
#[test]
fn skip_guidance_leads_away_from_the_transformer_without_blocks() {
    let (bench, model) = (Workbench::new(), tempfile::tempdir().unwrap());
    let plain = Request { steps: Some(1), guidance: Some(1.0), ..tiny_model(model.path()) };
    let skip = |scale| Request { skip_guidance: Some(scale), skip_blocks: vec![1], ..plain.clone() };
    let runs = [("none", plain.clone()), ("once", skip(1.0)), ("twice", skip(2.0))];
    let [none, once, twice] = runs.map(|(name, request)| bench.run(name, request));
    assert_eq!(none.data("velocity_first_step"), twice.data("velocity_first_step"));
    let [none, once, twice] = [none, once, twice].map(|values| values.tensor::<5>("latents"));
    let (first, second) = (once.clone() - none, twice - once);
    assert!(first.clone().abs().max().into_scalar::<f32>() > 1e-3, "it changes nothing");
    assert_close("linear", second.into_data(), &first.into_data(), 1e-4);
}

#[test]
fn an_adapter_without_modules_is_the_backbone() {
    let (bench, model) = (Workbench::new(), tempfile::tempdir().unwrap());
    let plain = tiny_model(model.path());
    let adapter = model.path().join("adapter");
    let off = Modules { identity_branch: false, structure_branch: false, face_modulation: false, can: false };
    let config = AdapterConfig { modules: off, ..AdapterConfig::load(&adapter).unwrap() };
    std::fs::write(adapter.join("adapter_config.json"), config.to_json()).unwrap();
    let identity = with_identity(&plain, model.path(), &face_features(2, 5), "identity.safetensors");
    let person = bench.run("person", identity);
    // Without an identity branch only the trigger is taken out of the prompt.
    let backbone = bench.run("backbone", Request { prompt: "a man walking in the park".into(), ..plain });
    assert_eq!(person.integers("token_ids"), backbone.integers("token_ids"));
    assert_outputs_close(&person, &backbone, 1e-6);
}

#[test]
fn a_fresh_adapter_leaves_the_text_as_it_is() {
    let (bench, model) = (Workbench::new(), tempfile::tempdir().unwrap());
    let plain = tiny_model(model.path());
    let identity = with_identity(&plain, model.path(), &face_features(1, 5), "identity.safetensors");
    let person = bench.run("person", identity.clone());
    assert_eq!(person.bytes("prompt_embeds_fused"), person.bytes("prompt_embeds"));
    let stranger = with_identity(&plain, model.path(), &face_features(1, 50), "stranger.safetensors");
    let stranger = bench.run("stranger", stranger);
    assert_eq!(stranger.bytes("prompt_embeds_fused"), stranger.bytes("prompt_embeds"));
    // Its cross-attention adds nothing, whatever its weight.
    bench.run("heavier", Request { face_scale: Some(5.0), ..identity });
    assert_eq!(bench.bytes("person"), bench.bytes("heavier"));
    // Face tokens take part in self-attention, so the output does move. This prompt is what the person's becomes.
    let backbone = bench.run("backbone", Request { prompt: "a man man walking in the park".into(), ..plain });
    assert_eq!(person.integers("token_ids"), backbone.integers("token_ids"));
    let moved = relative_error(person.data("velocity_first_step"), &backbone.data("velocity_first_step"));
    eprintln!("a fresh adapter moves the first velocity by {:.1} % of its largest value", 100.0 * moved);
    assert!(moved > 0.0 && moved < 0.5, "moved by {moved}");
}

#[test]
fn the_order_of_references_permutes_the_identity_tokens_only() {
    let (bench, model) = (Workbench::new(), tempfile::tempdir().unwrap());
    let plain = tiny_model(model.path());
    trained_adapter(&model.path().join("adapter"));
    let features = face_features(2, 9);
    let swapped = FaceFeatures {
        id_embeds: features.id_embeds.clone().flip([0]),
        vision_last: features.vision_last.clone().flip([0]),
        vision_penultimate: features.vision_penultimate.clone().flip([0]),
    };
    let ordered = bench.run("ordered", with_identity(&plain, model.path(), &features, "ordered.safetensors.id"));
    let swapped = bench.run("swapped", with_identity(&plain, model.path(), &swapped, "swapped.safetensors.id"));
    let rows = |values: &Values| values.tensor::<3>("x_id");
    assert_close("x_id", rows(&swapped).flip([0]).into_data(), &rows(&ordered).into_data(), 1e-6);
    assert!(relative_error(rows(&swapped).into_data(), &rows(&ordered).into_data()) > 1e-3, "references are alike");
    assert_close("can_condition", swapped.data("can_condition"), &ordered.data("can_condition"), 1e-6);
    // The face tokens of one reference stay together.
    let halves = |values: &Values| {
        let face: Tensor<3> = values.tensor("x_face");
        let [one, tokens, width] = face.dims();
        face.reshape([one * 2, tokens / 2, width])
    };
    assert_close("x_face", halves(&swapped).flip([0]).into_data(), &halves(&ordered).into_data(), 1e-6);
    assert_eq!(ordered.bytes("prompt_embeds"), swapped.bytes("prompt_embeds"));
}

#[test]
fn without_guidance_the_negative_prompt_is_not_used() {
    let (bench, model) = (Workbench::new(), tempfile::tempdir().unwrap());
    let plain = tiny_model(model.path());
    let with = |guidance: f64, negative: &str| Request {
        guidance: Some(guidance),
        negative_prompt: negative.into(),
        ..plain.clone()
    };
    let none = bench.run("none", with(1.0, ""));
    let rain = bench.run("rain", with(1.0, "rain"));
    let less = bench.run("less", with(0.5, "rain"));
    let guided = [bench.run("guided", with(2.0, "")), bench.run("guided rain", with(2.0, "rain"))];
    assert_outputs_close(&rain, &none, 0.0);
    assert_outputs_close(&less, &none, 0.0);
    assert!(relative_error(guided[0].data("latents"), &guided[1].data("latents")) > 1e-4);
    assert!(relative_error(guided[0].data("latents"), &none.data("latents")) > 1e-4);
}
