mod gradients;

use std::ops::ControlFlow;
use std::path::Path;

use burn::tensor::{Device, Tensor, TensorData};
use magicmirror_models::adapter::{
    Adapter, AdapterConfig, AdapterError, Conditions, FaceFeatures, IdentityConditioner, IdentityError, Modules,
    expand_class_word, import_photomaker,
};
use magicmirror_models::dit::{
    BlockFactors, Dit, DitConfig, DitInput, Factors, LayerConditioner, Positions, Unconditioned,
};
use magicmirror_models::text::Tokenizer;
use magicmirror_models::vision::vit::VisionConfig;
use magicmirror_models::weights::{Checkpoint, Names, Precision, WeightsError, initialise, save_safetensors};
use magicmirror_testkit::{ONE_CALL, Values, assert_close, golden, relative_error};
use serde_json::Value;

fn json(path: &Path) -> Value {
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn load(folder: &Path) -> Adapter {
    Adapter::load(folder, Precision::Stored, &Device::flex()).unwrap()
}

fn random<const D: usize>(shape: [usize; D], seed: u64) -> Tensor<D> {
    let (tensor, _) = initialise(seed, &Device::flex(), |params| {
        params.tensor("x", shape, magicmirror_models::weights::Init::Normal(1.0)).val()
    });
    tensor
}

fn features(config: &AdapterConfig, references: usize, seed: u64) -> FaceFeatures {
    FaceFeatures {
        id_embeds: random([references, config.id_embed_dim], seed),
        vision_last: random([references, 5, config.vision_hidden_size], seed + 1),
        vision_penultimate: random([references, 5, config.vision_hidden_size], seed + 2),
    }
}

/// Adds noise to every value, so that nothing that starts at zero stays there.
fn shaken(adapter: &Adapter, folder: &Path) -> Adapter {
    let mut tensors = adapter.named_tensors();
    for (seed, (_, data)) in tensors.iter_mut().enumerate() {
        let noise = random([data.num_elements()], 1000 + seed as u64).into_data().try_to_vec::<f32>().unwrap();
        let values = data.iter::<f32>().zip(noise).map(|(x, noise)| x + 0.2 * noise).collect::<Vec<_>>();
        *data = TensorData::new(values, data.shape().clone());
    }
    adapter.save(folder).unwrap();
    save_safetensors(&folder.join("model.safetensors"), &tensors).unwrap();
    load(folder)
}

fn data<const D: usize>(tensor: &Tensor<D>) -> Vec<f32> {
    tensor.to_data().try_to_vec().unwrap()
}

pub(crate) fn dit(folder: &Path) -> (DitConfig, Dit) {
    let folder = folder.join("transformer");
    let config: DitConfig = serde_json::from_value(json(&folder.join("config.json"))).unwrap();
    let checkpoint = Checkpoint::open_folder(&folder, "diffusion_pytorch_model").unwrap();
    let (dit, _) = checkpoint
        .load(Names::default(), Precision::Stored, &Device::flex(), |params| Dit::new(&config, params))
        .unwrap();
    (config, dit)
}

pub(crate) fn velocity(
    (config, dit): &(DitConfig, Dit),
    latents: &Tensor<5>,
    text: Tensor<3>,
    conditioner: &dyn LayerConditioner,
) -> Tensor<5> {
    let [_, frames, _, height, width] = latents.dims();
    let positions = Positions::new(config, frames, height, width, &Device::flex()).unwrap();
    let input = DitInput { latents: latents.clone(), text, timesteps: &[999.0], positions: &positions };
    dit.forward(input, conditioner, &mut |_| ControlFlow::Continue(())).unwrap()
}

const CASES: [&str; 13] = [
    "three_references",
    "dpm_face_scale",
    "class_word_from_list",
    "class_word_punctuation",
    "trigger_punctuation",
    "ablation_a",
    "ablation_b",
    "ablation_c",
    "ablation_d",
    "ablation_e",
    "can_without_face_modulation",
    "absolute_positions",
    "temporal_patches",
];

/// Expanded tokens, mask, conditions, fused embeddings and the first conditional velocity of each case.
#[test]
fn adapters_equal_the_reference() {
    for case in CASES {
        let folder = golden("adapter").join(case);
        let settings = json(&folder.join("case.json"));
        let expected = Values::open(&format!("adapter/{case}/expected.safetensors"));
        let backbone_folder = folder.join(settings["backbone"].as_str().unwrap());
        let backbone = dit(&backbone_folder);
        let adapter = load(&folder.join("adapter"));
        adapter.config().check_backbone(&(&backbone.0).into()).unwrap();
        let features = FaceFeatures::load(&folder.join("identity.safetensors"), &Device::flex()).unwrap();
        features.check(adapter.config()).unwrap();
        let conditions = adapter.conditions(&features);

        let tokenizer = Tokenizer::open(&backbone_folder.join("tokenizer")).unwrap();
        let repeats = adapter.config().class_word_repeats(features.references());
        let prompt = expand_class_word(settings["prompt"].as_str().unwrap(), "img", repeats).unwrap();
        let tokens = tokenizer.encode(&prompt.text, backbone.0.max_text_seq_length).unwrap();
        let ids: Vec<i64> = tokens.ids.iter().map(|id| i64::from(*id)).collect();
        assert_eq!(ids, expected.integers("token_ids")[..ids.len()], "{case}: {}", prompt.text);
        let mask = prompt.class_token_mask(tokens.offsets(), ids.len()).unwrap();
        let flags: Vec<u8> = mask.iter().map(|marked| u8::from(*marked)).collect();
        assert_eq!(flags, expected.bytes("class_token_mask"), "{case}: {}", prompt.text);

        let names = expected.names();
        let compare = |name: &str, actual: Option<TensorData>| {
            assert_eq!(actual.is_some(), names.iter().any(|known| known == name), "{case}: {name} is there or not");
            if let Some(actual) = actual {
                assert_close(&format!("{case}: {name}"), actual, &expected.data(name), ONE_CALL);
            }
        };
        let Conditions { x_id, x_face, can_condition } = conditions.clone();
        compare("x_id", x_id.map(Tensor::into_data));
        compare("x_face", x_face.map(Tensor::into_data));
        compare("can_condition", can_condition.map(Tensor::into_data));
        let fused = adapter.fuse(expected.tensor("prompt_embeds"), &mask, &conditions);
        compare("prompt_embeds_fused", Some(fused.to_data()));
        let face_scale = settings["face_scale"].as_f64().unwrap_or(1.0);
        let conditioner = IdentityConditioner::new(&adapter, &conditions, face_scale);
        let latents = Values::open(&format!("adapter/{case}/inputs.safetensors")).tensor("latents");
        let velocity = velocity(&backbone, &latents, fused, &conditioner);
        compare("velocity_first_step", Some(velocity.into_data()));
    }
}

/// A trained adapter whose modules are switched off in its configuration is the backbone, to the bit.
#[test]
fn every_switch_off_is_the_backbone() {
    let folder = golden("adapter/three_references");
    let copy = tempfile::tempdir().unwrap();
    std::fs::copy(folder.join("adapter/model.safetensors"), copy.path().join("model.safetensors")).unwrap();
    let mut config = json(&folder.join("adapter/adapter_config.json"));
    config["modules"] = serde_json::json!({"identity_branch": false, "structure_branch": false, "face_modulation": false, "can": false});
    std::fs::write(copy.path().join("adapter_config.json"), config.to_string()).unwrap();

    let adapter = load(copy.path());
    assert_eq!(adapter.named_tensors().len(), 0, "modules that are off have no parameters");
    let features = FaceFeatures::load(&folder.join("identity.safetensors"), &Device::flex()).unwrap();
    let conditions = adapter.conditions(&features);
    let text = Values::open("adapter/three_references/expected.safetensors").tensor::<3>("prompt_embeds");
    let fused = adapter.fuse(text.clone(), &[false; 20], &conditions);
    assert_eq!(data(&fused), data(&text));
    let backbone = dit(&golden("adapter/backbone"));
    let latents = Values::open("adapter/three_references/inputs.safetensors").tensor("latents");
    let conditioner = IdentityConditioner::new(&adapter, &conditions, 1.0);
    let with = velocity(&backbone, &latents, text.clone(), &conditioner);
    assert_eq!(data(&with), data(&velocity(&backbone, &latents, text, &Unconditioned)));
}

fn frozen_factors(width: usize) -> BlockFactors {
    let factors = |seed: u64| {
        let [shift1, scale1, gate1, shift2, scale2, gate2] =
            std::array::from_fn(|i| random([1, width], seed + i as u64));
        Factors { shift1, scale1, gate1, shift2, scale2, gate2 }
    };
    BlockFactors { text: factors(10), video: factors(20), extra: None }
}

fn values(factors: &Factors) -> Vec<Vec<f32>> {
    let Factors { shift1, scale1, gate1, shift2, scale2, gate2 } = factors;
    [shift1, scale1, gate1, shift2, scale2, gate2].map(data).to_vec()
}

#[test]
fn a_fresh_adapter_starts_next_to_the_backbone() {
    let config = AdapterConfig::tiny();
    let adapter = Adapter::initialise(&config, 7, &Device::flex()).unwrap();
    let conditions = adapter.conditions(&features(&config, 2, 1));
    let text = random([1, 9, config.text_embed_dim], 4);
    let mask = [false, true, true, false, true, true, false, false, false];
    assert_eq!(data(&adapter.fuse(text.clone(), &mask, &conditions)), data(&text), "fused embeddings");

    let conditioner = IdentityConditioner::new(&adapter, &conditions, 1.0);
    let (width, time) = (config.width(), random([1, config.time_embed_dim], 5));
    let frozen = frozen_factors(width);
    let factors = conditioner.modulate(2, &time, frozen.clone());
    assert_eq!(values(&factors.video), values(&frozen.video), "m̂ of the video");
    assert_eq!(values(&factors.text), values(&frozen.text), "m̂ of the text");
    let extra = values(&factors.extra.unwrap());
    assert!(extra.iter().flatten().all(|value| *value == 0.0), "m_face");
    assert_eq!(extra.iter().map(Vec::len).collect::<Vec<_>>(), [width; 6]);
    let query = random([1, config.num_attention_heads, 6, config.attention_head_dim], 6);
    let attended = conditioner.attend(2, &query, &random([1, 8, width], 7)).unwrap();
    assert_eq!(attended.dims(), query.dims());
    assert!(data(&attended).iter().all(|value| *value == 0.0), "cross-attention");

    // Blocks without an adapter are left alone.
    let factors = conditioner.modulate(1, &time, frozen.clone());
    assert!(factors.extra.is_none());
    assert_eq!(values(&factors.video), values(&frozen.video));
    assert!(conditioner.attend(1, &query, &random([1, 8, width], 7)).is_none());
}

#[test]
fn the_order_of_references_changes_only_what_it_should() {
    let config = AdapterConfig::tiny();
    let folder = tempfile::tempdir().unwrap();
    let adapter = shaken(&Adapter::initialise(&config, 7, &Device::flex()).unwrap(), folder.path());
    let features = features(&config, 3, 1);
    let order = Tensor::from_data([2, 0, 1], &Device::flex());
    let permuted = FaceFeatures {
        id_embeds: features.id_embeds.clone().select(0, order.clone()),
        vision_last: features.vision_last.clone().select(0, order.clone()),
        vision_penultimate: features.vision_penultimate.clone().select(0, order.clone()),
    };
    let (first, second) = (adapter.conditions(&features), adapter.conditions(&permuted));
    let moved = first.x_id.unwrap().select(0, order.clone());
    assert_close("x_id", second.x_id.unwrap().into_data(), &moved.into_data(), 1e-6);
    let by_reference = |x: Tensor<3>| x.reshape([3, config.face_perceiver.tokens * config.width()]);
    let moved = by_reference(first.x_face.unwrap()).select(0, order);
    assert_close("x_face", by_reference(second.x_face.unwrap()).into_data(), &moved.into_data(), 1e-6);
    let condition = first.can_condition.unwrap().into_data();
    assert_close("can_condition", second.can_condition.unwrap().into_data(), &condition, 1e-6);
    assert_eq!(*condition.shape(), [1, config.can.id_proj_dim].into());
}

#[test]
fn a_batch_of_people_is_each_of_them() {
    let config = AdapterConfig::tiny();
    let folder = tempfile::tempdir().unwrap();
    let adapter = shaken(&Adapter::initialise(&config, 7, &Device::flex()).unwrap(), folder.path());
    let people = [features(&config, 2, 1), features(&config, 2, 9)];
    let text = random([2, 7, config.text_embed_dim], 4);
    let marked = |positions: [usize; 4]| -> Vec<bool> { (0..7).map(|token| positions.contains(&token)).collect() };
    let masks = [marked([1, 2, 4, 5]), marked([0, 3, 5, 6])];

    let together = adapter.conditions_of(2, &FaceFeatures::cat(people.to_vec()));
    let fused = adapter.fuse(text.clone(), &masks.concat(), &together);
    for (index, person) in people.iter().enumerate() {
        let alone = adapter.conditions(person);
        let x_id = together.x_id.clone().unwrap().narrow(0, 2 * index, 2);
        assert_close("x_id", x_id.into_data(), &alone.x_id.clone().unwrap().into_data(), ONE_CALL);
        let x_face = together.x_face.clone().unwrap().narrow(0, index, 1);
        assert_close("x_face", x_face.into_data(), &alone.x_face.clone().unwrap().into_data(), ONE_CALL);
        let condition = together.can_condition.clone().unwrap().narrow(0, index, 1);
        assert_close(
            "can_condition",
            condition.into_data(),
            &alone.can_condition.clone().unwrap().into_data(),
            ONE_CALL,
        );
        let expected = adapter.fuse(text.clone().narrow(0, index, 1), &masks[index], &alone);
        assert_close("fused", fused.clone().narrow(0, index, 1).into_data(), &expected.into_data(), ONE_CALL);
    }
}

/// One person's identity must not get into another's prompt.
#[test]
#[should_panic(expected = "prompts differ in their number of marked tokens")]
fn prompts_of_a_batch_have_equally_many_marked_tokens() {
    let config = AdapterConfig::tiny();
    let adapter = Adapter::initialise(&config, 7, &Device::flex()).unwrap();
    let conditions =
        adapter.conditions_of(2, &FaceFeatures::cat(vec![features(&config, 1, 1), features(&config, 1, 9)]));
    let mask = [[true, true, true, false], [false, false, true, false]];
    adapter.fuse(random([2, 4, config.text_embed_dim], 4), mask.as_flattened(), &conditions);
}

#[test]
fn the_face_scale_scales_the_cross_attention_alone() {
    let config = AdapterConfig::tiny();
    let folder = tempfile::tempdir().unwrap();
    let adapter = shaken(&Adapter::initialise(&config, 7, &Device::flex()).unwrap(), folder.path());
    let conditions = adapter.conditions(&features(&config, 1, 1));
    let query = random([1, config.num_attention_heads, 6, config.attention_head_dim], 6);
    let face = random([1, 4, config.width()], 7);
    let at = |scale| IdentityConditioner::new(&adapter, &conditions, scale).attend(0, &query, &face).unwrap();
    let full = at(1.0);
    assert!(data(&full).iter().any(|value| value.abs() > 1e-3));
    assert_close("half", at(0.5).into_data(), &(full * 0.5).into_data(), 1e-6);
    assert!(data(&at(0.0)).iter().all(|value| *value == 0.0));
}

/// Unmarked tokens pass bit for bit; marked ones move.
#[test]
fn fusion_touches_only_marked_tokens() {
    let config = AdapterConfig::tiny();
    let folder = tempfile::tempdir().unwrap();
    let adapter = shaken(&Adapter::initialise(&config, 7, &Device::flex()).unwrap(), folder.path());
    let conditions = adapter.conditions(&features(&config, 1, 1));
    let text = random([1, 5, config.text_embed_dim], 4);
    let mask = [false, true, false, true, false];
    let fused = adapter.fuse(text.clone(), &mask, &conditions);
    for (position, marked) in mask.into_iter().enumerate() {
        let row = |x: &Tensor<3>| data(&x.clone().narrow(1, position, 1));
        assert_eq!(row(&fused) != row(&text), marked, "token {position}");
    }
}

#[test]
fn what_is_saved_is_loaded_bit_for_bit() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().join("new/adapter");
    let adapter = Adapter::initialise(&AdapterConfig::tiny(), 11, &Device::flex()).unwrap();
    adapter.save(&folder).unwrap();
    let again = load(&folder);
    assert_eq!(again.config(), adapter.config());
    assert_eq!(again.named_tensors(), adapter.named_tensors());
    again.save(&folder).unwrap();
    assert_eq!(load(&folder).named_tensors(), adapter.named_tensors());
    let mut files: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    files.sort();
    assert_eq!(files, ["adapter_config.json", "model.safetensors"], "nothing is left beside the files");
    let other = Adapter::initialise(&AdapterConfig::tiny(), 12, &Device::flex()).unwrap();
    assert_ne!(other.named_tensors(), adapter.named_tensors(), "the seed counts");
}

#[test]
fn misfits_are_all_listed() {
    let folder = tempfile::tempdir().unwrap();
    let adapter = Adapter::initialise(&AdapterConfig::tiny(), 11, &Device::flex()).unwrap();
    adapter.save(folder.path()).unwrap();
    let mut tensors = adapter.named_tensors();
    tensors.retain(|(name, _)| name != "fuse.id_proj.bias" && name != "layers.2.cross_attn.norm_k.weight");
    for (name, data) in &mut tensors {
        if name == "face_perceiver.latents" {
            *data = TensorData::zeros::<f32, _>([1, 5, 24]);
        }
    }
    tensors.push(("layers.1.can.fc1.bias".into(), TensorData::zeros::<f32, _>([18])));
    save_safetensors(&folder.path().join("model.safetensors"), &tensors).unwrap();
    let error = Adapter::load(folder.path(), Precision::Stored, &Device::flex()).unwrap_err();
    let AdapterError::Weights(WeightsError::Mismatch { mismatch, .. }) = &error else { panic!("{error}") };
    assert_eq!(mismatch.missing.len(), 2);
    assert_eq!(mismatch.extra, [("layers.1.can.fc1.bias".to_owned(), vec![18])]);
    let message = error.to_string();
    for part in [
        "missing    fuse.id_proj.bias [20]",
        "missing    layers.2.cross_attn.norm_k.weight [16]",
        "mis-shaped face_perceiver.latents: expected [1, 4, 24], found [1, 5, 24]",
        "unexpected layers.1.can.fc1.bias [18]",
    ] {
        assert!(message.contains(part), "{part} is not in: {message}");
    }
}

#[test]
fn a_missing_or_broken_adapter_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let load = || Adapter::load(folder.path(), Precision::Stored, &Device::flex()).unwrap_err();
    assert!(matches!(load(), AdapterError::Weights(WeightsError::Io { .. })));
    std::fs::write(folder.path().join("adapter_config.json"), "{}").unwrap();
    assert!(matches!(load(), AdapterError::Config { .. }));
    std::fs::write(folder.path().join("adapter_config.json"), AdapterConfig::tiny().to_json()).unwrap();
    assert!(matches!(load(), AdapterError::Weights(WeightsError::NotFound { .. })));
    let mut config = AdapterConfig::tiny();
    config.id_perceiver.head_dim = 5;
    assert!(matches!(Adapter::initialise(&config, 1, &Device::flex()), Err(AdapterError::InvalidConfig(_))));
}

/// Declared names of each ablation are those of the released layout: exactly what its own saved file holds.
#[test]
fn modules_that_are_off_have_no_tensors() {
    let count = |identity_branch, structure_branch, face_modulation, can, part: &str| {
        let config = AdapterConfig {
            modules: Modules { identity_branch, structure_branch, face_modulation, can },
            ..AdapterConfig::tiny()
        };
        let adapter = Adapter::initialise(&config, 1, &Device::flex()).unwrap();
        adapter.named_tensors().iter().filter(|(name, _)| name.contains(part)).count()
    };
    for part in ["id_perceiver.", "fuse."] {
        assert!(count(true, false, false, false, part) > 0, "{part}");
        assert_eq!(count(false, true, true, false, part), 0, "{part}");
    }
    for part in ["face_perceiver.", "face_proj.", ".cross_attn."] {
        assert!(count(false, true, false, false, part) > 0, "{part}");
        assert_eq!(count(true, false, true, true, part), 0, "{part}");
    }
    assert_eq!((count(true, true, true, false, "can."), count(true, false, false, true, "can.")), (0, 10));
    assert_eq!(count(true, true, false, true, "face_modulation"), 0);
    assert_eq!(count(true, false, true, true, "face_modulation"), 0, "there is no face stream to modulate");
    assert_eq!(count(false, true, true, false, "face_modulation"), 8);
}

#[test]
fn face_features_are_saved_and_checked() {
    let config = AdapterConfig::tiny();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("identity.safetensors");
    let original = features(&config, 2, 3);
    original.save(&path).unwrap();
    let read = FaceFeatures::load(&path, &Device::flex()).unwrap();
    assert_eq!(read.references(), 2);
    assert_eq!(data(&read.id_embeds), data(&original.id_embeds));
    assert_eq!(data(&read.vision_last), data(&original.vision_last));
    assert_eq!(data(&read.vision_penultimate), data(&original.vision_penultimate));
    read.check(&config).unwrap();

    let other = AdapterConfig { id_embed_dim: 512, vision_hidden_size: 1024, ..AdapterConfig::tiny() };
    let message = read.check(&other).unwrap_err().to_string();
    assert!(message.contains("id_embeds: the adapter reads width 512, found 12"), "{message}");
    assert!(message.contains("vision_penultimate: the adapter reads width 1024, found 14"), "{message}");
    let structure = Modules { identity_branch: false, structure_branch: true, face_modulation: true, can: false };
    read.check(&AdapterConfig { id_embed_dim: 512, modules: structure, ..AdapterConfig::tiny() }).unwrap();
}

#[test]
fn malformed_face_features_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("identity.safetensors");
    let refused = |tensors: &[(&str, TensorData)]| {
        let tensors: Vec<_> = tensors.iter().map(|(name, data)| ((*name).to_owned(), data.clone())).collect();
        save_safetensors(&path, &tensors).unwrap();
        match FaceFeatures::load(&path, &Device::flex()) {
            Err(IdentityError::Malformed { problems, .. }) => problems,
            other => panic!("{other:?}"),
        }
    };
    let zeros = |shape: &[usize]| TensorData::zeros::<f32, _>(shape.to_vec());
    assert_eq!(
        refused(&[("x", zeros(&[1]))]),
        ["missing id_embeds", "missing vision_last", "missing vision_penultimate"]
    );
    let problems = refused(&[
        ("id_embeds", zeros(&[2, 4])),
        ("vision_last", zeros(&[3, 5, 6])),
        ("vision_penultimate", zeros(&[2, 5])),
    ]);
    assert_eq!(
        problems,
        [
            "vision_last is of 3 references, the tensors before it of 2",
            "vision_penultimate must have 3 axes, none of them empty, found shape [2, 5]"
        ]
    );
    let none = refused(&[
        ("id_embeds", zeros(&[0, 4])),
        ("vision_last", zeros(&[0, 5, 6])),
        ("vision_penultimate", zeros(&[0, 5, 6])),
    ]);
    assert_eq!(none.len(), 3, "{none:?}");
    let shapes = refused(&[
        ("id_embeds", zeros(&[1, 4])),
        ("vision_last", zeros(&[1, 5, 6])),
        ("vision_penultimate", zeros(&[1, 7, 6])),
    ]);
    assert_eq!(shapes, ["vision_last and vision_penultimate differ in shape: [1, 5, 6] and [1, 7, 6]"]);
    let nan = TensorData::new(vec![0.0, f32::NAN], [1, 2]);
    let not_finite =
        refused(&[("id_embeds", nan), ("vision_last", zeros(&[1, 1, 1])), ("vision_penultimate", zeros(&[1, 1, 1]))]);
    assert_eq!(not_finite, ["id_embeds holds values that are not finite"]);
}

fn photomaker() -> (Checkpoint, VisionConfig, AdapterConfig) {
    let folder = golden("vision/photomaker");
    let checkpoint = Checkpoint::open_file(&folder.join("photomaker-v2.safetensors")).unwrap();
    let vision = VisionConfig::read(&folder.join("config.json")).unwrap();
    let mut config = AdapterConfig::tiny();
    (config.id_embed_dim, config.vision_hidden_size) = (10, vision.hidden_size);
    config.id_perceiver.dim = 24;
    config.id_perceiver.head_dim = 12;
    config.id_perceiver.ff_mult = 4;
    (checkpoint, vision, config)
}

#[test]
fn photomaker_is_imported() {
    imported_from(&photomaker().0);
}

/// The released file: a PyTorch one, with a buffer that is not floating point.
#[test]
fn photomaker_is_imported_from_a_torch_file() {
    imported_from(&Checkpoint::open_torch(&golden("vision/photomaker/photomaker-v2.bin")).unwrap());
}

fn imported_from(checkpoint: &Checkpoint) {
    let (_, vision, config) = photomaker();
    let folder = tempfile::tempdir().unwrap();
    let fresh = Adapter::initialise(&config, 5, &Device::flex()).unwrap();
    let before = fresh.named_tensors();
    import_photomaker(checkpoint, &vision, fresh, folder.path()).unwrap();
    let adapter = load(folder.path());

    // τ_id is PhotoMaker's, value by value and in what it computes; all else is as it was.
    for ((name, now), (old_name, old)) in adapter.named_tensors().iter().zip(&before) {
        assert_eq!(name, old_name);
        match name.strip_prefix("id_perceiver.") {
            Some(rest) => {
                let source = checkpoint.read(&format!("id_encoder.qformer_perceiver.{rest}"), Precision::F32).unwrap();
                assert_eq!(*now, source, "{name}");
            }
            None => assert_eq!(now, old, "{name}"),
        }
    }
    let expected = Values::open("vision/photomaker/expected.safetensors");
    let features = FaceFeatures {
        id_embeds: expected.tensor("id_embeds"),
        vision_last: expected.tensor("last_hidden_state"),
        vision_penultimate: expected.tensor("last_hidden_state"),
    };
    let x_id = adapter.conditions(&features).x_id.unwrap();
    assert_close("x_id", x_id.into_data(), &expected.data("x_id"), ONE_CALL);

    let encoders = adapter.config().encoders.clone().unwrap();
    assert_eq!((encoders.recogniser.as_deref(), encoders.vision.as_deref()), (Some("arcface"), Some("vision")));
    let tower = Checkpoint::open_folder(&folder.path().join("vision"), "model").unwrap();
    assert!(tower.entries().keys().all(|name| name.starts_with("vision_model.")));
    assert_eq!(tower.entries().len(), 3 + 4 + 16 * vision.num_hidden_layers);
    let name = "vision_model.encoder.layers.1.mlp.fc2.weight";
    let bytes = checkpoint.read_bytes(&format!("id_encoder.{name}")).unwrap();
    assert_eq!(tower.read_bytes(name).unwrap(), bytes, "kept in the precision it came in");
    let written = json(&folder.path().join("vision/config.json"));
    let source = json(&golden("vision/photomaker/config.json"));
    for (name, value) in source.as_object().unwrap().iter().filter(|(name, _)| *name != "projection_dim") {
        assert_eq!(written[name], *value, "{name}");
    }
}

#[test]
fn a_photomaker_that_does_not_fit_changes_nothing() {
    let (checkpoint, mut vision, mut config) = photomaker();
    let folder = tempfile::tempdir().unwrap();
    vision.intermediate_size += 1;
    config.id_perceiver.depth = 3;
    let fresh = Adapter::initialise(&config, 5, &Device::flex()).unwrap();
    let error = import_photomaker(&checkpoint, &vision, fresh.clone(), folder.path()).unwrap_err();
    let AdapterError::Weights(WeightsError::Mismatch { mismatch, .. }) = &error else { panic!("{error}") };
    assert_eq!(mismatch.missing.len(), 11, "the third layer of the resampler: {error}");
    assert_eq!(mismatch.misshapen.len(), 3 * vision.num_hidden_layers, "{error}");
    vision.hidden_size = 99;
    let error = import_photomaker(&checkpoint, &vision, fresh, folder.path()).unwrap_err();
    assert!(matches!(error, AdapterError::VisionWidth { adapter: 16, vision: 99 }), "{error}");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "nothing is written");
}

/// The output moves at initialisation only because face tokens take part in self-attention: without them it is the
/// backbone's.
#[test]
fn a_fresh_identity_branch_leaves_the_velocity_alone() {
    let backbone = dit(&golden("adapter/backbone"));
    let mut config = AdapterConfig { adapter_layers: vec![0, 2], ..AdapterConfig::for_backbone(&(&backbone.0).into()) };
    (config.id_perceiver, config.face_perceiver) =
        (AdapterConfig::tiny().id_perceiver, AdapterConfig::tiny().face_perceiver);
    (config.id_embed_dim, config.vision_hidden_size) = (12, 14);
    let latents = Values::open("adapter/three_references/inputs.safetensors").tensor("latents");
    let text = Values::open("adapter/three_references/expected.safetensors").tensor::<3>("prompt_embeds");
    let plain = velocity(&backbone, &latents, text.clone(), &Unconditioned);
    let error = |structure_branch| {
        let modules = Modules { structure_branch, face_modulation: structure_branch, identity_branch: true, can: true };
        let config = AdapterConfig { modules, ..config.clone() };
        let adapter = Adapter::initialise(&config, 3, &Device::flex()).unwrap();
        let conditions = adapter.conditions(&features(&config, 1, 2));
        let conditioner = IdentityConditioner::new(&adapter, &conditions, 1.0);
        relative_error(velocity(&backbone, &latents, text.clone(), &conditioner).into_data(), &plain.to_data())
    };
    assert!(error(false) == 0.0, "m̂ is zero");
    let moved = error(true);
    assert!(moved > 1e-4 && moved < 0.5, "face tokens move the output by {moved:.3}");
}
