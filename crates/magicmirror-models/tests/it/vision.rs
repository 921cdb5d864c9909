//! CLIP's vision tower, its preprocessing, and the reader of `PyTorch` files.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::Path;

use burn::tensor::Device;
use magicmirror_models::face::detector::RgbPixels;
use magicmirror_models::vision::preprocess::Preprocessing;
use magicmirror_models::vision::vit::{Activation, VisionConfig, VisionTransformer, open_photomaker};
use magicmirror_models::weights::{Checkpoint, Precision, WeightsError};
use magicmirror_testkit::{ONE_CALL, Values, assert_close, golden};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

fn check_features(tower: &VisionTransformer, expected: &Values) {
    let features = tower.forward(expected.tensor("pixel_values"));
    assert_close("last", features.last.into_data(), &expected.data("last_hidden_state"), ONE_CALL);
    assert_close("penultimate", features.penultimate.into_data(), &expected.data("penultimate"), ONE_CALL);
}

#[test]
fn tower_agrees_with_transformers() {
    for (name, activation) in [("quick_gelu", Activation::QuickGelu), ("gelu", Activation::Gelu)] {
        let folder = golden("vision").join(name);
        let (config, tower, _) = VisionTransformer::load_folder(&folder, Precision::Stored, &Device::flex()).unwrap();
        assert_eq!(config.hidden_act, activation);
        check_features(&tower, &Values::open(&format!("vision/{name}/expected.safetensors")));
    }
}

#[test]
fn tower_is_found_in_both_formats_of_photomaker() {
    let folder = golden("vision/photomaker");
    let config = VisionConfig::read(&folder.join("config.json")).unwrap();
    for file in ["photomaker-v2.bin", "photomaker-v2.safetensors"] {
        let (tower, _) =
            VisionTransformer::load_photomaker(&folder.join(file), &config, Precision::F32, &Device::flex()).unwrap();
        check_features(&tower, &Values::open("vision/photomaker/expected.safetensors"));
    }
}

#[test]
fn one_of_a_batch_equals_a_batch_of_one() {
    let folder = golden("vision/quick_gelu");
    let (_, tower, _) = VisionTransformer::load_folder(&folder, Precision::Stored, &Device::flex()).unwrap();
    let pixels = Values::open("vision/quick_gelu/expected.safetensors").tensor::<4>("pixel_values");
    let both = tower.forward(pixels.clone()).last.narrow(0, 1, 1);
    let alone = tower.forward(pixels.narrow(0, 1, 1)).last;
    assert_close("second image", both.into_data(), &alone.into_data(), 1e-5);
}

#[test]
fn configuration_of_a_whole_clip_model() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config.json");
    fs::write(&path, r#"{"text_config": {"hidden_size": 1}, "vision_config": {"hidden_size": 36, "patch_size": 14}}"#)
        .unwrap();
    let config = VisionConfig::read(&path).unwrap();
    assert_eq!((config.hidden_size, config.patch_size, config.num_attention_heads), (36, 14, 12));
}

#[test]
fn impossible_configurations_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config.json");
    for text in [
        "",
        "[]",
        r#"{"hidden_size": 0}"#,
        r#"{"num_attention_heads": 7}"#,
        r#"{"hidden_act": "swish"}"#,
        r#"{"patch_size": 225}"#,
        r#"{"num_hidden_layers": 99999999999}"#,
        r#"{"vision_config": 3}"#,
    ] {
        fs::write(&path, text).unwrap();
        let error = VisionConfig::read(&path).unwrap_err();
        assert!(matches!(error, WeightsError::Invalid { .. }), "{text}: {error}");
    }
}

/// The drawing that needs no resizing tests the normalisation alone.
#[test]
fn normalisation_agrees_with_transformers() {
    let image = image::open(golden("vision/drawing_28x28.png")).unwrap().into_rgb8();
    let preprocessing = Preprocessing::read(&golden("vision/quick_gelu/preprocessor_config.json")).unwrap();
    assert_eq!(preprocessing, Preprocessing::clip(28));
    let pixels = RgbPixels::new(28, 28, image.as_raw());
    let found = preprocessing.normalise(&pixels, &Device::flex()).squeeze_dim::<3>(0);
    let expected = Values::open("vision/preprocessing.safetensors").data("drawing_28x28.28");
    assert_close("pixels", found.into_data(), &expected, 1e-6);
}

#[test]
fn other_preprocessings_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("preprocessor_config.json");
    for text in [
        r#"{"do_normalize": false}"#,
        r#"{"resample": 2}"#,
        r#"{"rescale_factor": 1.0}"#,
        r#"{"size": {"height": 10, "width": 20}}"#,
        r#"{"size": 100, "crop_size": 200}"#,
        r#"{"image_std": [1.0, 0.0, 1.0]}"#,
    ] {
        fs::write(&path, text).unwrap();
        let error = Preprocessing::read(&path).unwrap_err();
        assert!(matches!(error, WeightsError::Unsupported { .. }), "{text}: {error}");
    }
}

#[test]
fn torch_file_holds_what_the_safetensors_file_holds() {
    let folder = golden("vision/photomaker");
    let torch = open_photomaker(&folder.join("photomaker-v2.bin")).unwrap();
    let plain = open_photomaker(&folder.join("photomaker-v2.safetensors")).unwrap();
    let buffer = "id_encoder.vision_model.embeddings.position_ids";
    assert_eq!(torch.read_bytes(buffer).unwrap().len(), 5 * 8);
    assert_eq!(torch.entries().len(), plain.entries().len() + 1);
    for name in plain.entries().keys() {
        let (found, expected) =
            (torch.read(name, Precision::Stored).unwrap(), plain.read(name, Precision::Stored).unwrap());
        assert_eq!(found, expected, "{name}");
    }
    let strided = "id_encoder.visual_projection.weight";
    assert!(matches!(torch.read_bytes(strided), Err(WeightsError::Unsupported { .. })));
}

/// Whatever happens to a file, reading it ends with a value or an error.
fn read_all(path: &Path) -> Result<(), WeightsError> {
    let checkpoint = Checkpoint::open_torch(path)?;
    for name in checkpoint.entries().keys() {
        let _ = checkpoint.read(name, Precision::F32);
    }
    Ok(())
}

#[test]
fn damaged_torch_files_are_errors() {
    let whole = fs::read(golden("vision/photomaker/photomaker-v2.bin")).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("weights.bin");
    let mut random = ChaCha8Rng::seed_from_u64(3);
    for _ in 0..60 {
        let cut = random.random_range(0..whole.len());
        fs::write(&path, &whole[..cut]).unwrap();
        assert!(read_all(&path).is_err(), "cut at {cut}");
    }
    // The pickle is the first member: damage there, where every byte matters.
    for _ in 0..400 {
        let mut bytes = whole.clone();
        for _ in 0..random.random_range(1..5) {
            let place = random.random_range(0..6000);
            bytes[place] = random.random();
        }
        fs::write(&path, &bytes).unwrap();
        let _ = read_all(&path);
    }
    for length in [0, 1, 4, 22, 1000] {
        let bytes: Vec<u8> = (0..length).map(|_| random.random()).collect();
        fs::write(&path, &bytes).unwrap();
        assert!(read_all(&path).is_err(), "{length} random bytes");
    }
}

/// A file as `torch.save` would write it, with this pickle and one storage of eight bytes.
fn torch_file(pickle: &[u8]) -> tempfile::NamedTempFile {
    use std::io::Write;
    use zip::write::SimpleFileOptions;

    let file = tempfile::NamedTempFile::new().unwrap();
    let mut archive = zip::ZipWriter::new(file.reopen().unwrap());
    let stored = SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
    for (name, bytes) in [("root/data.pkl", pickle), ("root/data/0", &[0, 0, 128, 63, 0, 0, 0, 64])] {
        archive.start_file(name, stored).unwrap();
        archive.write_all(bytes).unwrap();
    }
    archive.finish().unwrap();
    file
}

/// `{"w": tensor}` with the given arguments of the tensor after its storage.
fn tensor_pickle(arguments: &[u8]) -> Vec<u8> {
    let mut pickle = b"\x80\x02}X\x01\x00\x00\x00wctorch._utils\n_rebuild_tensor_v2\n((X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpuK\x02tQ".to_vec();
    pickle.extend(arguments);
    pickle.extend(b"\x89NtRs.");
    pickle
}

#[test]
fn hostile_pickles_are_refused() {
    // offset 0, shape (2,), stride (1,)
    let good = torch_file(&tensor_pickle(b"K\x00K\x02\x85K\x01\x85"));
    let checkpoint = Checkpoint::open_torch(good.path()).unwrap();
    assert_eq!(checkpoint.read("w", Precision::F32).unwrap().try_to_vec::<f32>().unwrap(), [1.0, 2.0]);

    let mut deep = vec![b')'];
    deep.extend(vec![0x85; 1_000_000]);
    deep.push(b'.');
    let mut nested = b"\x80\x02}q\x00".to_vec();
    nested.extend(b"(X\x01\x00\x00\x00ah\x00X\x01\x00\x00\x00bh\x00u.");
    let pickles: [(&str, Vec<u8>); 11] = [
        ("call of os.system", b"\x80\x02cos\nsystem\nX\x02\x00\x00\x00ls\x85R.".to_vec()),
        ("eval through STACK_GLOBAL", b"\x80\x04\x8c\x08builtins\x8c\x04eval\x93\x8c\x011\x85R.".to_vec()),
        ("beyond the storage", tensor_pickle(b"K\x01K\x02\x85K\x01\x85")),
        (
            "huge shape",
            tensor_pickle(b"K\x00J\xff\xff\xff\x7fJ\xff\xff\xff\x7fJ\xff\xff\xff\x7f\x87K\x01K\x01K\x01\x87"),
        ),
        ("overlapping strides", tensor_pickle(b"K\x00J\xff\xff\xff\x7f\x85K\x00\x85")),
        ("negative offset", tensor_pickle(b"J\xff\xff\xff\xffK\x02\x85K\x01\x85")),
        ("shape without strides", tensor_pickle(b"K\x00K\x02\x85)")),
        ("tuples a million deep", deep),
        ("dict within itself", nested),
        ("empty stack", b"\x80\x02R.".to_vec()),
        ("no end", b"\x80\x02}".to_vec()),
    ];
    for (name, pickle) in pickles {
        let file = torch_file(&pickle);
        assert!(Checkpoint::open_torch(file.path()).is_err(), "{name}");
    }
}
