//! No file can panic the program: every reader on random bytes, random cuts and random changes of valid files.
//!
//! Most of what comes out is an error, and some is still valid; both are fine. All is drawn from fixed seeds.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use burn::tensor::{Device, Tensor};
use magicmirror_models::adapter::{AdapterConfig, FaceFeatures};
use magicmirror_models::diffusion::{Method, NoiseSchedule, Sampler, SchedulerConfig};
use magicmirror_models::dit::{Dit, DitConfig, Positions};
use magicmirror_models::face::mtcnn::{Mtcnn, MtcnnConfig};
use magicmirror_models::face::recogniser::Recogniser;
use magicmirror_models::text::{T5Config, T5Encoder, Tokenizer};
use magicmirror_models::vae::{Vae, VaeConfig};
use magicmirror_models::vision::preprocess::Preprocessing;
use magicmirror_models::vision::vit::VisionConfig;
use magicmirror_models::weights::{Checkpoint, Names, OnnxGraph, Precision};
use magicmirror_testkit::golden;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};

/// A damaged version of a valid file.
fn damaged(valid: &[u8], random: &mut ChaCha8Rng) -> Vec<u8> {
    let mut bytes = valid.to_vec();
    let place = |bytes: &[u8], random: &mut ChaCha8Rng| {
        // Headers are at the start, or (zip) at the end, and matter most.
        match random.random_range(0..4) {
            0 => random.random_range(0..bytes.len().min(64)),
            1 => bytes.len() - 1 - random.random_range(0..bytes.len().min(256)),
            _ => random.random_range(0..bytes.len()),
        }
    };
    match random.random_range(0..8) {
        0 => bytes = (0..random.random_range(0..200)).map(|_| random.random()).collect(),
        1 => bytes.truncate(random.random_range(0..valid.len())),
        2 => {
            let (a, b) = (place(&bytes, random), place(&bytes, random));
            bytes.drain(a.min(b)..a.max(b));
        }
        3 => {
            let (at, from) = (place(&bytes, random), random.random_range(0..valid.len()));
            let piece = valid[from..valid.len().min(from + random.random_range(1..64))].to_vec();
            bytes.splice(at..at, piece);
        }
        _ => {
            for _ in 0..random.random_range(1..6) {
                let at = place(&bytes, random);
                bytes[at] = match random.random_range(0..4) {
                    0 => 0,
                    1 => 0xff,
                    2 => bytes[at] ^ (1 << random.random_range(0..8)),
                    _ => random.random(),
                };
            }
        }
    }
    bytes
}

/// Calls `read` with many damaged versions of a file under this name.
fn damage(name: &str, valid: &[u8], times: usize, mut read: impl FnMut(&Path)) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    let mut random = ChaCha8Rng::seed_from_u64(valid.len() as u64);
    for time in 0..times {
        fs::write(&path, damaged(valid, &mut random)).unwrap();
        let outcome = catch_unwind(AssertUnwindSafe(|| read(&path)));
        assert!(outcome.is_ok(), "{name}, damage {time}");
    }
}

fn bytes(path: &str) -> Vec<u8> {
    fs::read(golden(path)).unwrap()
}

fn read_all(checkpoint: &Checkpoint) {
    for name in checkpoint.entries().keys() {
        let _ = checkpoint.read(name, Precision::F32);
        let _ = checkpoint.read_bytes(name);
    }
}

/// Puts surprising values into a configuration, one field or several at a time.
fn strange(valid: &Value, random: &mut ChaCha8Rng) -> Value {
    const NUMBERS: [i64; 14] = [-1, 0, 1, 2, 3, 5, 7, 16, 17, 48, 1000, 1 << 24, u32::MAX as i64 + 1, i64::MAX];
    let mut json = valid.clone();
    let names: Vec<String> = json.as_object().unwrap().keys().cloned().collect();
    for _ in 0..random.random_range(1..4) {
        let value = match random.random_range(0..12) {
            0 => Value::Null,
            1 => json!("silu"),
            2 => json!(random.random::<bool>()),
            3 => json!([1e300, -1e300, 1e-300, 0.5][random.random_range(0..4)]),
            4 => json!([1, 2, 0]),
            5 => json!({}),
            6 => json!(u64::MAX),
            _ => json!(*NUMBERS.choose(random).unwrap()),
        };
        json[names.choose(random).unwrap().as_str()] = value;
    }
    json
}

fn configurations(name: &str, valid: &str, mut read: impl FnMut(&str)) {
    let valid: Value = serde_json::from_str(valid).unwrap();
    let mut random = ChaCha8Rng::seed_from_u64(9);
    for time in 0..400 {
        let text = strange(&valid, &mut random).to_string();
        let outcome = catch_unwind(AssertUnwindSafe(|| read(&text)));
        assert!(outcome.is_ok(), "{name}, {time}: {text}");
    }
    for time in 0..200 {
        let text = damaged(valid.to_string().as_bytes(), &mut random);
        let text = String::from_utf8_lossy(&text);
        let outcome = catch_unwind(AssertUnwindSafe(|| read(&text)));
        assert!(outcome.is_ok(), "{name}, damage {time}: {text}");
    }
}

fn text(path: &str) -> String {
    fs::read_to_string(golden(path)).unwrap()
}

/// An empty file: everything that a network asks for is missing.
fn no_weights(folder: &Path) -> Checkpoint {
    let path = folder.join("empty.safetensors");
    fs::write(&path, b"\x02\0\0\0\0\0\0\0{}").unwrap();
    Checkpoint::open_file(&path).unwrap()
}

#[test]
fn weight_files() {
    let device = Device::flex();
    let safetensors = bytes("adapter/ablation_a/expected.safetensors");
    damage("model.safetensors", &safetensors, 600, |path| {
        if let Ok(checkpoint) = Checkpoint::open_file(path) {
            read_all(&checkpoint);
        }
    });
    damage("model.bin", &bytes("vision/photomaker/photomaker-v2.bin"), 300, |path| {
        if let Ok(checkpoint) = Checkpoint::open_torch(path) {
            read_all(&checkpoint);
        }
    });
    damage("identity.safetensors", &bytes("adapter/three_references/identity.safetensors"), 600, |path| {
        let _ = FaceFeatures::load(path, &device);
    });
}

#[test]
fn weight_indexes() {
    let index = bytes("backbone/rope_ddim/transformer/diffusion_pytorch_model.safetensors.index.json");
    let shards = [1, 2].map(|shard| format!("diffusion_pytorch_model-0000{shard}-of-00002.safetensors"));
    let shards = shards.map(|name| (bytes(&format!("backbone/rope_ddim/transformer/{name}")), name));
    damage("model.safetensors.index.json", &index, 200, |path| {
        let folder = path.parent().unwrap();
        for (bytes, name) in &shards {
            if !folder.join(name).exists() {
                fs::write(folder.join(name), bytes).unwrap();
            }
        }
        if let Ok(checkpoint) = Checkpoint::open_folder(folder, "model") {
            read_all(&checkpoint);
        }
    });
}

#[test]
fn tokenizers() {
    let try_text = |path: &Path| {
        if let Ok(tokenizer) = Tokenizer::open(path.parent().unwrap()) {
            for text in ["", "a man walking, café!", "</s> <pad>\u{0}\u{301} 😀 ①"] {
                let encoding = tokenizer.encode(text, 12).unwrap();
                assert_eq!(encoding.ids.len(), 12);
                let _ = encoding.cut_text(text);
            }
        }
    };
    damage("spiece.model", &bytes("backbone/image_rope/tokenizer/spiece.model"), 400, try_text);
    let pieces = [["<pad>", "</s>", "<unk>", "▁"], ["▁man", "▁a", "walk", "ing"]].concat();
    let vocabulary: Vec<Value> = pieces.iter().map(|piece| json!([piece, -1.0])).collect();
    let tokenizer = json!({
        "version": "1.0",
        "added_tokens": [{"id": 1, "content": "</s>", "special": true, "normalized": false, "lstrip": false,
                          "rstrip": false, "single_word": false}],
        "model": {"type": "Unigram", "unk_id": 2, "vocab": vocabulary},
    });
    damage("tokenizer.json", tokenizer.to_string().as_bytes(), 600, try_text);
    let spiece = bytes("backbone/image_rope/tokenizer/spiece.model");
    damage("tokenizer_config.json", &bytes("adapter/backbone/tokenizer/tokenizer_config.json"), 300, |path| {
        fs::write(path.with_file_name("spiece.model"), &spiece).unwrap();
        try_text(path);
    });
}

#[test]
fn face_networks() {
    let device = Device::flex();
    damage("net.onnx", &bytes("iresnet_separate/model.onnx"), 300, |path| {
        if let Ok(graph) = OnnxGraph::read(path) {
            for input in graph.inputs() {
                let _ = (graph.consumers(input).count(), graph.constant(input));
            }
        }
        let _ = Recogniser::load(path, &device);
    });
    damage("net.safetensors", &bytes("mobilefacenet_tiny.safetensors"), 300, |path| {
        let _ = Recogniser::load(path, &device);
    });
    damage("mtcnn.safetensors", &bytes("mtcnn_nets.safetensors"), 100, |path| {
        let _ = Mtcnn::load(path, MtcnnConfig::default(), &device);
    });
    // dlib's own file as far as its first layer: kind, version and sizes of a tensor, its values, sizes of the layer.
    let mut first_layer = b"\x01\x05con_4\x01\x02\x01\x0a\x01\x01\x01\x01\x01\x01".to_vec();
    first_layer.extend([0x3f; 40]);
    first_layer.extend(b"\x01\x01\x01\x03\x01\x03\x01\x01\x01\x01\x01\x00\x01\x00");
    first_layer.extend(b"\x01\x07affine_\x01\x02\x01\x02\x01\x01\x01\x01\x01\x01");
    first_layer.extend([0x3f; 8]);
    damage("net.dat", &first_layer, 1000, |path| {
        assert!(Recogniser::load(path, &device).is_err());
    });
    let manifest = json!([{"weights": [
        {"name": "conv32_down/conv/filters", "shape": [7, 7, 3, 32], "quantization": {"dtype": "uint8", "scale": 0.1, "min": -1}},
        {"name": "conv32_down/conv/bias", "shape": [32]},
        {"name": "fc", "shape": [256, 128]},
    ]}]);
    damage("net.json", manifest.to_string().as_bytes(), 600, |path| {
        fs::write(path.with_extension("bin"), [7; 6000]).unwrap();
        assert!(Recogniser::load(path, &device).is_err());
    });
}

/// A file of no bytes can hold tensors of any size, if one of their axes is empty.
#[test]
fn manifests_of_empty_tensors() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("net.json");
    fs::write(folder.path().join("net.bin"), []).unwrap();
    let huge = 1u64 << 60;
    let manifest = json!([{"weights": [
        {"name": "conv32_down/conv/filters", "shape": [0, 0, huge, huge]},
        {"name": "conv32_down/conv/bias", "shape": [0]},
        {"name": "conv32_down/scale/weights", "shape": [0]},
        {"name": "conv32_down/scale/biases", "shape": [0]},
    ]}]);
    fs::write(&path, manifest.to_string()).unwrap();
    assert!(Recogniser::load(&path, &Device::flex()).is_err());
}

#[test]
fn transformer_configurations() {
    let folder = tempfile::tempdir().unwrap();
    let weights = no_weights(folder.path());
    let read = |text: &str| {
        let Ok(config) = serde_json::from_str::<DitConfig>(text) else { return };
        if config.validate().is_err() {
            return;
        }
        if config.num_layers <= 50 {
            assert!(weights.check(Names::default(), |params| Dit::new(&config, params)).is_err());
        }
        if config.width() > 1 << 12 {
            return;
        }
        for [frames, height, width] in [[1, 1, 1], [2, 3, 5], [3, 6, 4], [1, 48, 48], [5, 0, 2], [0, 2, 2], [2, 34, 7]]
        {
            let _ = Positions::new(&config, frames, height, width, &Device::flex());
        }
    };
    for case in ["rope_ddim", "sincos_ddim", "v15_ddim"] {
        configurations(case, &text(&format!("backbone/{case}/transformer/config.json")), read);
    }
}

#[test]
fn other_configurations() {
    let folder = tempfile::tempdir().unwrap();
    let weights = no_weights(folder.path());
    configurations("vae", &text("vae/config.json"), |text| {
        let Ok(config) = serde_json::from_str::<VaeConfig>(text) else { return };
        if config.validate().is_ok() {
            let _ = config.spatial_compression_ratio();
            assert!(weights.check(Names::default(), |params| Vae::new(&config, params)).is_err());
        }
    });
    configurations("t5", &text("t5/text_encoder/config.json"), |text| {
        if let Ok(config) = T5Config::from_json(text) {
            assert!(weights.check(T5Encoder::NAMES, |params| T5Encoder::new(&config, params)).is_err());
        }
    });
    configurations("scheduler", &text("backbone/rope_dpm_dyn/scheduler/scheduler_config.json"), |text| {
        let Ok(config) = serde_json::from_str::<SchedulerConfig>(text) else { return };
        let Ok(schedule) = NoiseSchedule::new(&config) else { return };
        for steps in [0, 1, 2, 7, usize::MAX] {
            for method in [Method::Ddim, Method::Dpm] {
                let Ok(mut sampler) = Sampler::new(schedule.clone(), method, steps) else { continue };
                let sample = || Tensor::<5>::ones([1, 1, 1, 1, 1], &Device::flex());
                for step in 0..steps {
                    let noise = sampler.is_stochastic().then(sample);
                    let _ = sampler.step(step, sample(), sample(), noise);
                }
            }
        }
    });
    configurations("adapter", &text("adapter/three_references/adapter/adapter_config.json"), |text| {
        if let Ok(config) = AdapterConfig::from_json(text) {
            assert_eq!(AdapterConfig::from_json(&config.to_json()).unwrap(), config);
        }
    });
    configurations("vision", &text("vision/gelu/config.json"), |text| {
        let path = folder.path().join("config.json");
        fs::write(&path, text).unwrap();
        if let Ok(config) = VisionConfig::read(&path) {
            assert!(config.tokens() > 1);
        }
    });
    configurations("preprocessing", &text("vision/gelu/preprocessor_config.json"), |text| {
        let path = folder.path().join("preprocessor_config.json");
        fs::write(&path, text).unwrap();
        let _ = Preprocessing::read(&path);
    });
}
