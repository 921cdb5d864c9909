//! From PhotoMaker-V2's released weights: τ_id and the vision encoder.
//!
//! Source: `TencentARC/PhotoMaker` @060b4fc, `photomaker/model_v2.py` (what is read), and Hugging Face's
//! `CLIPVisionModel` (the folder that is written).

use std::path::Path;

use burn::module::Module;
use burn::tensor::TensorData;
use serde_json::json;

use super::config::Encoders;
use super::perceiver::IdentityPerceiver;
use super::{Adapter, AdapterConfig, AdapterError};
use crate::weights::{Checkpoint, Init, Names, Params, Precision, WeightsError, save_safetensors, write_aside};

const PREFIX: &str = "id_encoder.";
const PERCEIVER: &str = "id_encoder.qformer_perceiver.";
const VISION: &str = "id_encoder.vision_model.";
/// A buffer that older files carry; positions are always 0, 1, 2, …
const POSITION_IDS: &str = ".position_ids";
/// Parts that only PhotoMaker's own pipeline uses.
const UNUSED: [&str; 3] = ["id_encoder.visual_projection", "id_encoder.fuse_module.", "lora_weights."];
/// Folder of the imported vision encoder, inside the adapter's.
const VISION_FOLDER: &str = "vision";

/// Sizes of a CLIP vision encoder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClipVisionSizes {
    /// Width.
    pub hidden_size: usize,
    /// Width of the feed-forward layers.
    pub intermediate_size: usize,
    /// Layers.
    pub num_hidden_layers: usize,
    /// Attention heads.
    pub num_attention_heads: usize,
    /// Side of the image in pixels.
    pub image_size: usize,
    /// Side of a patch in pixels.
    pub patch_size: usize,
}

impl ClipVisionSizes {
    /// PhotoMaker-V2's: CLIP ViT-L/14.
    pub fn photomaker_v2() -> Self {
        Self {
            hidden_size: 1024,
            intermediate_size: 4096,
            num_hidden_layers: 24,
            num_attention_heads: 16,
            image_size: 224,
            patch_size: 14,
        }
    }

    fn config_json(&self) -> String {
        let config = json!({
            "architectures": ["CLIPVisionModel"],
            "model_type": "clip_vision_model",
            "hidden_size": self.hidden_size,
            "intermediate_size": self.intermediate_size,
            "num_hidden_layers": self.num_hidden_layers,
            "num_attention_heads": self.num_attention_heads,
            "num_channels": 3,
            "image_size": self.image_size,
            "patch_size": self.patch_size,
            "hidden_act": "quick_gelu",
            "layer_norm_eps": 1e-5,
            "attention_dropout": 0.0,
            "initializer_factor": 1.0,
            "initializer_range": 0.02,
        });
        format!("{config:#}\n")
    }

    /// Declares the encoder's tensors under `CLIPVisionModel`'s names, without `vision_model`.
    fn declare(&self, params: &mut Params<'_, '_>) {
        let hidden = self.hidden_size;
        let patches = (self.image_size / self.patch_size).pow(2);
        let mut embeddings = params.at("embeddings");
        embeddings.tensor("class_embedding", [hidden], Init::Zeros);
        embeddings.tensor("patch_embedding.weight", [hidden, 3, self.patch_size, self.patch_size], Init::Zeros);
        embeddings.tensor("position_embedding.weight", [patches + 1, hidden], Init::Zeros);
        declare_affine(params, "pre_layrnorm", &[], hidden);
        declare_affine(params, "post_layernorm", &[], hidden);
        let mut layers = params.at("encoder.layers");
        for i in 0..self.num_hidden_layers {
            let mut layer = layers.at(i);
            for name in ["q_proj", "k_proj", "v_proj", "out_proj"] {
                declare_affine(&mut layer.at("self_attn"), name, &[hidden], hidden);
            }
            declare_affine(&mut layer, "layer_norm1", &[], hidden);
            declare_affine(&mut layer, "layer_norm2", &[], hidden);
            declare_affine(&mut layer.at("mlp"), "fc1", &[hidden], self.intermediate_size);
            declare_affine(&mut layer.at("mlp"), "fc2", &[self.intermediate_size], hidden);
        }
    }
}

/// Brings τ_id and the vision encoder over from PhotoMaker-V2, and writes the adapter with both to a folder.
///
/// τ_id replaces the adapter's (which may be fresh or trained); without an identity branch it is passed over. The vision
/// encoder becomes the folder `vision`, to which the configuration's `encoders` then points; the recogniser stays as it
/// is or becomes ArcFace, PhotoMaker's own.
///
/// # Errors
/// When a tensor is missing, unexpected or mis-shaped (all of them at once, before anything is written), the adapter
/// reads another width of vision encoder, or the folder cannot be written.
pub fn import_photomaker(
    checkpoint: &Checkpoint,
    vision: &ClipVisionSizes,
    adapter: Adapter,
    folder: &Path,
) -> Result<Adapter, AdapterError> {
    let expected = adapter.config().vision_hidden_size;
    if vision.hidden_size != expected {
        return Err(AdapterError::VisionWidth { adapter: expected, vision: vision.hidden_size });
    }
    check_photomaker(checkpoint, vision, adapter.config())?;
    let mut adapter = with_identity_perceiver(adapter, checkpoint)?;
    write_vision_encoder(checkpoint, vision, &folder.join(VISION_FOLDER))?;
    let recogniser = adapter.config.encoders.take().and_then(|encoders| encoders.recogniser);
    adapter.config.encoders = Some(Encoders {
        recogniser: recogniser.or_else(|| Some("arcface".to_owned())),
        vision: Some(VISION_FOLDER.to_owned()),
    });
    adapter.save(folder)?;
    Ok(adapter)
}

/// Compares everything that [`import_photomaker`] would bring over with what an adapter of this configuration takes;
/// reads no values.
///
/// # Errors
/// When a tensor is missing, unexpected or mis-shaped (all of them at once).
pub fn check_photomaker(
    checkpoint: &Checkpoint,
    vision: &ClipVisionSizes,
    config: &AdapterConfig,
) -> Result<(), AdapterError> {
    let identity = config.modules.identity_branch;
    let mut ignored = [&UNUSED[..], &[POSITION_IDS]].concat();
    ignored.extend((!identity).then_some(PERCEIVER));
    Ok(checkpoint.check(Names { prefix: PREFIX, ignored: &ignored }, |params| {
        vision.declare(&mut params.at("vision_model"));
        if identity {
            IdentityPerceiver::new(config, &mut params.at("qformer_perceiver"));
        }
    })?)
}

/// Loads τ_id (f32), all of which has been checked.
fn with_identity_perceiver(mut adapter: Adapter, checkpoint: &Checkpoint) -> Result<Adapter, WeightsError> {
    let config = adapter.config.clone();
    let Some(identity) = &mut adapter.identity else { return Ok(adapter) };
    let ignored = [&UNUSED[..], &[POSITION_IDS, VISION]].concat();
    let device = identity.fusion.devices().remove(0);
    let (perceiver, names) =
        checkpoint.load(Names { prefix: PERCEIVER, ignored: &ignored }, Precision::F32, &device, |params| {
            IdentityPerceiver::new(&config, params)
        })?;
    identity.perceiver = perceiver;
    adapter.names.retain(|_, name| !name.starts_with("id_perceiver."));
    adapter.names.extend(names.into_iter().map(|(id, name)| (id, format!("id_perceiver.{name}"))));
    Ok(adapter)
}

/// Writes the vision encoder as the folder of a `CLIPVisionModel`; the configuration last, so that a folder that has one
/// is whole.
fn write_vision_encoder(checkpoint: &Checkpoint, vision: &ClipVisionSizes, folder: &Path) -> Result<(), WeightsError> {
    let tensors = checkpoint
        .entries()
        .keys()
        .filter(|name| name.starts_with(VISION) && !name.ends_with(POSITION_IDS))
        .map(|name| {
            let data = checkpoint.read(name, Precision::Stored)?;
            Ok((name.trim_start_matches(PREFIX).to_owned(), data))
        })
        .collect::<Result<Vec<(String, TensorData)>, WeightsError>>()?;
    std::fs::create_dir_all(folder).map_err(WeightsError::io(folder))?;
    save_safetensors(&folder.join("model.safetensors"), &tensors)?;
    write_aside(&folder.join("config.json"), vision.config_json().as_bytes())
}

/// Declares a weight `[outputs, inputs…]` and a bias.
fn declare_affine(params: &mut Params<'_, '_>, name: &str, inputs: &[usize], outputs: usize) {
    let mut params = params.at(name);
    match *inputs {
        [inputs] => drop(params.tensor("weight", [outputs, inputs], Init::Zeros)),
        _ => drop(params.tensor("weight", [outputs], Init::Zeros)),
    }
    params.tensor("bias", [outputs], Init::Zeros);
}
