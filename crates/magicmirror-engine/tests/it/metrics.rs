//! The metrics with networks of their own, from files that are named and laid out as the released ones, with weights that
//! are drawn from a hash.

use std::path::Path;
use std::sync::atomic::AtomicBool;

use burn::tensor::{Device, TensorData};
use image::RgbImage;
use magicmirror_engine::EngineError;
use magicmirror_engine::evaluate::metric::{
    Clip, FeatureSet, Measured, Metric, NETWORK_METRICS, Opened, WeightsFolder,
};
use magicmirror_models::flow::Raft;
use magicmirror_models::vision::clip::{Clip as ClipNetwork, ClipConfig};
use magicmirror_models::vision::inception::{Inception, InceptionVariant};
use magicmirror_models::vision::viclip::{ViClip, ViClipConfig};
use magicmirror_models::weights::{Params, named_tensors, save_safetensors};
use magicmirror_testkit::hashed_network;

fn write<M: burn::module::Module>(path: &Path, extra: &[&str], build: impl FnOnce(&mut Params<'_, '_>) -> M) {
    let (network, names) = hashed_network(build);
    let scalar = |name: &&str| ((*name).to_owned(), TensorData::new(vec![1f32], [1]));
    let tensors: Vec<_> = named_tensors(&network, &names).into_iter().chain(extra.iter().map(scalar)).collect();
    save_safetensors(path, &tensors).unwrap();
}

fn write_all(folder: &Path) {
    write(&folder.join("raft-things.safetensors"), &[], Raft::new);
    for (name, variant) in [
        ("pt_inception-2015-12-05-6726825d.safetensors", InceptionVariant::TensorFlow2015),
        ("inception_v3_google-0cc3c7bd.safetensors", InceptionVariant::Torchvision),
    ] {
        write(&folder.join(name), &[], |params| Inception::new(variant, params));
    }
    let viclip = ViClipConfig {
        vision_width: 64,
        vision_layers: 1,
        patch_size: 14,
        patches: 2,
        frames: 8,
        text_width: 64,
        text_layers: 1,
        text_tokens: 32,
        vocabulary: 49408,
        embedding: 16,
    };
    write(&folder.join("ViClip-InternVid-10M-FLT.safetensors"), &["temp"], |params| ViClip::new(&viclip, params));
    let clip = folder.join("clip-vit-base-patch32");
    std::fs::create_dir(&clip).unwrap();
    let config = r#"{"projection_dim": 16,
        "text_config": {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2},
        "vision_config": {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2,
                          "image_size": 28, "patch_size": 14}}"#;
    std::fs::write(clip.join("config.json"), config).unwrap();
    let config = ClipConfig::read(&clip.join("config.json")).unwrap();
    write(&clip.join("model.safetensors"), &["logit_scale"], |params| ClipNetwork::new(&config, params));
}

fn measure(metric: &dyn Metric, frames: &[RgbImage], prompt: Option<&str>) -> Measured {
    let clip = Clip { frames, fps: 8.0, prompt, faces: &[], references: &[] };
    let measured = metric.measure(&clip, &AtomicBool::new(false)).unwrap();
    assert_eq!(measured.numbers.len(), metric.columns().len());
    measured
}

struct One(Vec<f32>);

impl FeatureSet for One {
    fn len(&self) -> usize {
        1
    }

    fn features(&self, _video: usize) -> Result<Vec<f32>, EngineError> {
        Ok(self.0.clone())
    }
}

/// With random weights only what holds for all weights can be said: ranges, what a still clip gives, and that texts differ.
#[test]
fn metrics_measure_a_still_clip() {
    let folder = tempfile::tempdir().unwrap();
    write_all(folder.path());
    let still: Vec<RgbImage> =
        vec![RgbImage::from_fn(48, 40, |x, y| image::Rgb([(5 * x) as u8, (6 * y) as u8, (x * y) as u8])); 3];
    let mut names = Vec::new();
    for open in NETWORK_METRICS {
        let Opened::Ready(metric) = open(&WeightsFolder(Some(folder.path().to_owned())), &Device::flex()).unwrap()
        else {
            panic!("all weights are there")
        };
        let measured = measure(metric.as_ref(), &still, Some("a man img smiling"));
        let column = |name: &str| {
            metric.columns().iter().position(|column| column.name == name).and_then(|i| measured.numbers[i])
        };
        names.extend(metric.columns().iter().chain(metric.set_columns()).map(|column| column.name.to_string()));
        match names.last().unwrap().as_str() {
            "overall_consistency" => {
                let cosine = column("overall_consistency").unwrap();
                assert!((-1.0..=1.0).contains(&cosine));
                assert_eq!(measured.numbers, measure(metric.as_ref(), &still, Some("a man smiling")).numbers);
                assert_ne!(measured.numbers, measure(metric.as_ref(), &still, Some("a dog")).numbers);
                assert_eq!(measure(metric.as_ref(), &still, None).numbers, [None]);
            }
            "inception_score" => {
                assert_eq!(measured.features.len(), 3 * 1008);
                assert!((measured.features.iter().sum::<f32>() - 3.0).abs() < 1e-4);
                let score = metric.measure_set(&One(measured.features.clone())).unwrap()[0].unwrap();
                assert!((score - 1.0).abs() < 1e-6, "equal frames score {score}");
            }
            "clip_score_consisid" => {
                // e¹ stands in for the released factor of 100.
                assert!(column("clip_score").unwrap().abs() <= 1f64.exp());
                assert_ne!(column("clip_score"), column("clip_score_consisid"));
            }
            "flow_change" => assert!(column("flow_change").unwrap() < 1.0),
            "fid_consisid" => assert_eq!(measured.numbers, [None]),
            _ => {}
        }
    }
    assert_eq!(
        names,
        [
            "dynamic_degree",
            "dynamic_degree_flow",
            "overall_consistency",
            "inception_score",
            "warping_error",
            "warping_error_evalcrafter",
            "flow_change",
            "clip_score",
            "clip_score_consisid",
            "fid_consisid"
        ]
    );
}

/// Without weights every metric says what it wants; with another network's, that it does not fit.
#[test]
fn metrics_without_weights_say_what_they_lack() {
    let folder = tempfile::tempdir().unwrap();
    let weights = WeightsFolder(Some(folder.path().to_owned()));
    for open in NETWORK_METRICS {
        let Opened::Absent(absent) = open(&weights, &Device::flex()).unwrap() else { panic!("there are no weights") };
        assert!(!absent.columns.is_empty() && absent.origin.contains("https://"), "{absent:?}");
    }
    write(&folder.path().join("raft-things.safetensors"), &["surprise"], Raft::new);
    let error = NETWORK_METRICS[0](&weights, &Device::flex()).map(drop).unwrap_err();
    assert!(error.to_string().contains("unexpected surprise"), "{error}");
}
