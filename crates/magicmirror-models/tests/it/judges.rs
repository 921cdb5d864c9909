//! The networks of the video metrics: RAFT, Inception v3, CLIP, ViCLIP, CurricularFace and CLIP's tokenizer.

use std::fs;
use std::path::Path;

use burn::tensor::{Device, Tensor, TensorData};
use magicmirror_models::face::curricularface::{CurricularFace, CurricularFaceConfig};
use magicmirror_models::face::recogniser::Recogniser;
use magicmirror_models::flow::Raft;
use magicmirror_models::text::ClipTokenizer;
use magicmirror_models::vision::clip::{Clip, ClipConfig};
use magicmirror_models::vision::inception::{Inception, InceptionVariant};
use magicmirror_models::vision::viclip::{ViClip, ViClipConfig};
use magicmirror_models::weights::{Checkpoint, Precision, WeightsError, named_tensors, save_safetensors};
use magicmirror_testkit::{ONE_CALL, Values, assert_close, golden, hashed_image, hashed_network, hashed_weight};
use serde::Deserialize;

fn expected() -> Values {
    Values::open("metrics/expected.safetensors")
}

/// Writes named tensors as a released file would have them: a prefix before each name.
fn write(path: &Path, tensors: Vec<(String, TensorData)>, prefix: &str, extra: &[&str]) {
    let named = tensors.into_iter().map(|(name, data)| (format!("{prefix}{name}"), data));
    let more = extra.iter().map(|name| ((*name).to_owned(), TensorData::new(vec![0.5f32], [1])));
    save_safetensors(path, &named.chain(more).collect::<Vec<_>>()).unwrap();
}

/// Three iterations, with an image of whole cells and one that is padded.
#[test]
fn raft_agrees_with_torchvision() {
    let (raft, _) = hashed_network(Raft::new);
    for (case, [height, width]) in [("whole", [128, 136]), ("padded", [134, 133])] {
        let image = |which: &str| hashed_image(&format!("{case}.{which}"), [1, 3, height, width]);
        let flow = raft.forward(image("first"), image("second"), 3);
        assert_close(case, flow.into_data(), &expected().data(&format!("raft.{case}")), ONE_CALL);
    }
}

/// The released file has a prefix, counters, and the third norm of a block twice.
#[test]
fn raft_is_read_from_a_file_like_the_released_one() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("raft-things.safetensors");
    let (raft, names) = hashed_network(Raft::new);
    let tensors = named_tensors(&raft, &names);
    let extra = ["module.cnet.norm1.num_batches_tracked", "module.cnet.layer2.0.norm3.running_mean"];
    write(&path, tensors.clone(), "module.", &extra);
    let loaded = Raft::load(&path, &Device::flex()).unwrap();
    let images = || ["a", "b"].map(|name| hashed_image(name, [1, 3, 24, 32]));
    let [[a, b], [c, d]] = [images(), images()];
    assert_eq!(loaded.forward(a, b, 1).into_data(), raft.forward(c, d, 1).into_data());

    write(&path, tensors, "module.", &["module.surprise"]);
    assert!(matches!(Raft::load(&path, &Device::flex()), Err(WeightsError::Mismatch { .. })));
}

/// Smaller than the window that is looked at: what is outside counts as zero, nothing is divided by nothing.
#[test]
fn raft_takes_small_images() {
    let (raft, _) = hashed_network(Raft::new);
    let flow = raft.forward(hashed_image("a", [2, 3, 9, 17]), hashed_image("b", [2, 3, 9, 17]), 2);
    assert_eq!(flow.dims(), [2, 2, 9, 17]);
    assert!(flow.is_finite().all().into_scalar::<bool>());
}

#[test]
fn inception_agrees_with_torchvision() {
    let pixels = hashed_image("inception", [1, 3, 120, 170]) / 255.0;
    let resized = Inception::resize(pixels);
    let row = resized.clone().narrow(2, 150, 1).squeeze_dim::<3>(2);
    assert_close("resized", row.into_data(), &expected().data("inception.resized_row"), ONE_CALL);
    for (name, variant) in
        [("tensorflow", InceptionVariant::TensorFlow2015), ("torchvision", InceptionVariant::Torchvision)]
    {
        let (inception, _) = hashed_network(|params| Inception::new(variant, params));
        let features = inception.forward(resized.clone());
        let check = |what: &str, found: Tensor<2>| {
            let name = format!("inception.{name}.{what}");
            assert_close(&name, found.into_data(), &expected().data(&name), ONE_CALL);
        };
        check("pooled", features.pooled);
        check("logits", features.logits);
    }
}

#[test]
fn clip_agrees_with_transformers() {
    let config = ClipConfig::read(&golden("metrics/clip_config.json")).unwrap();
    let (clip, names) = hashed_network(|params| Clip::new(&config, params));
    let pixels = || hashed_image("clip", [2, 3, 28, 28]) / 127.5 - 1.0;
    assert_close("images", clip.embed_images(pixels()).into_data(), &expected().data("clip.images"), ONE_CALL);
    let texts = [&[58, 1, 2, 3, 4, 5, 6, 7, 59][..], &[58, 9, 8, 59]].map(|ids| clip.embed_text(ids));
    assert_close("texts", Tensor::cat(texts.to_vec(), 0).into_data(), &expected().data("clip.texts"), ONE_CALL);

    let folder = tempfile::tempdir().unwrap();
    fs::copy(golden("metrics/clip_config.json"), folder.path().join("config.json")).unwrap();
    write(&folder.path().join("model.safetensors"), named_tensors(&clip, &names), "", &["logit_scale"]);
    let (_, loaded, scale) = Clip::load_folder(folder.path(), &Device::flex()).unwrap();
    assert!((scale - 0.5f64.exp()).abs() < 1e-6);
    assert_eq!(loaded.embed_images(pixels()).into_data(), clip.embed_images(pixels()).into_data());
}

#[test]
fn viclip_agrees_with_its_reference() {
    let config = ViClipConfig {
        vision_width: 128,
        vision_layers: 2,
        patch_size: 14,
        patches: 2,
        frames: 8,
        text_width: 64,
        text_layers: 2,
        text_tokens: 32,
        vocabulary: 60,
        embedding: 48,
    };
    let (viclip, names) = hashed_network(|params| ViClip::new(&config, params));
    let frames = || hashed_image("viclip", [8, 3, 28, 28]) / 127.5 - 1.0;
    assert_close("video", viclip.embed_video(frames()).into_data(), &expected().data("viclip.video"), ONE_CALL);
    let text = viclip.embed_text(&[58, 3, 1, 4, 1, 59]);
    assert_close("text", text.into_data(), &expected().data("viclip.text"), ONE_CALL);

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("viclip.safetensors");
    write(&path, named_tensors(&viclip, &names), "model.", &["model.temp"]);
    let loaded = ViClip::load(&path, &Device::flex()).unwrap();
    assert_eq!(loaded.config(), &config);
    assert_eq!(loaded.embed_video(frames()).into_data(), viclip.embed_video(frames()).into_data());

    save_safetensors(&path, &[("other".to_owned(), hashed_weight("other", &[2]))]).unwrap();
    assert!(matches!(ViClip::load(&path, &Device::flex()), Err(WeightsError::Invalid { .. })));
}

/// The released file counts batches, too.
#[test]
fn curricularface_agrees_with_its_reference() {
    let config = CurricularFaceConfig { stem: 4, groups: [(4, 2), (8, 1), (12, 2), (16, 1)], embedding: 10 };
    let (network, names) = hashed_network(|params| CurricularFace::new(&config, params));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ir.safetensors");
    let counters = ["input_layer.1.num_batches_tracked", "body.0.res_layer.0.num_batches_tracked"];
    write(&path, named_tensors(&network, &names), "", &counters);
    let loaded = CurricularFace::load(&path, &config, &Device::flex()).unwrap();
    let found = loaded.forward(hashed_image("curricularface", [2, 3, 224, 224]));
    assert_close("embedding", found.into_data(), &expected().data("curricularface"), ONE_CALL);

    // What `--recogniser` takes is the released network.
    let error = Recogniser::load(&path, &Device::flex()).unwrap_err();
    assert!(matches!(error, WeightsError::Mismatch { .. }) && error.to_string().contains("body.48"), "{error}");
}

#[test]
fn tokens_are_those_of_clip() {
    #[derive(Deserialize)]
    struct Case {
        text: String,
        ids: Vec<u32>,
    }
    let cases = fs::read_to_string(golden("metrics/tokens.json")).unwrap();
    let cases: Vec<Case> = serde_json::from_str(&cases).unwrap();
    let tokenizer = ClipTokenizer::new();
    let wrong: Vec<_> = cases.iter().filter(|case| tokenizer.encode(&case.text, 77) != case.ids).collect();
    assert!(wrong.is_empty(), "{:?}", wrong.iter().map(|case| &case.text).collect::<Vec<_>>());
    let (whole, cut) = (tokenizer.encode("one two three four", 77), tokenizer.encode("one two three four", 4));
    assert_eq!(cut, [whole[0], whole[1], whole[2], whole[5]]);
}

#[test]
fn files_of_old_versions_of_torch_are_read() {
    let path = golden("metrics/legacy.pth");
    let old = Checkpoint::open_torch(&path).unwrap();
    let plain = Checkpoint::open_file(&golden("metrics/legacy.safetensors")).unwrap();
    assert_eq!(old.entries().keys().collect::<Vec<_>>(), plain.entries().keys().collect::<Vec<_>>());
    for name in plain.entries().keys().filter(|name| !name.ends_with("num_batches_tracked")) {
        let values = |checkpoint: &Checkpoint| checkpoint.read(name, Precision::Stored).unwrap();
        assert_eq!(values(&old), values(&plain), "{name}");
    }
    let counter = "model.norm.num_batches_tracked";
    assert_eq!(old.read_bytes(counter).unwrap(), plain.read_bytes(counter).unwrap());
}

/// Whatever is cut off or changed, the end is a value or an error.
#[test]
fn damaged_files_of_old_versions_of_torch_are_errors() {
    let whole = fs::read(golden("metrics/legacy.pth")).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("weights.pth");
    for cut in 0..whole.len() {
        fs::write(&path, &whole[..cut]).unwrap();
        assert!(Checkpoint::open_torch(&path).is_err(), "cut at {cut}");
    }
    for place in 0..whole.len() {
        for value in [0, b'.', b'(', 0x7f, 0xff] {
            let mut bytes = whole.clone();
            bytes[place] = value;
            fs::write(&path, &bytes).unwrap();
            if let Ok(checkpoint) = Checkpoint::open_torch(&path) {
                for name in checkpoint.entries().keys() {
                    let _ = checkpoint.read(name, Precision::F32);
                }
            }
        }
    }
}
