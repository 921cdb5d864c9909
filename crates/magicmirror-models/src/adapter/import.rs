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
use crate::vision::vit::{VisionConfig, VisionTransformer};
use crate::weights::{Checkpoint, Names, Precision, WeightsError, save_safetensors, write_aside};

const PREFIX: &str = "id_encoder.";
const PERCEIVER: &str = "id_encoder.qformer_perceiver.";
const VISION: &str = "id_encoder.vision_model.";
/// A buffer that older files carry; positions are always 0, 1, 2, …
const POSITION_IDS: &str = ".position_ids";
/// Parts that only PhotoMaker's own pipeline uses.
const UNUSED: [&str; 3] = ["id_encoder.visual_projection", "id_encoder.fuse_module.", "lora_weights."];
/// Not used here either, but `CLIPVisionModel` has it: it is copied unchecked.
const POST_NORM: &str = "id_encoder.vision_model.post_layernorm.";
/// Folder of the imported vision encoder, inside the adapter's.
const VISION_FOLDER: &str = "vision";

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
    vision: &VisionConfig,
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
    vision: &VisionConfig,
    config: &AdapterConfig,
) -> Result<(), AdapterError> {
    let identity = config.modules.identity_branch;
    let mut ignored = [&UNUSED[..], &[POSITION_IDS, POST_NORM]].concat();
    ignored.extend((!identity).then_some(PERCEIVER));
    Ok(checkpoint.check(Names { prefix: PREFIX, ignored: &ignored }, |params| {
        VisionTransformer::new(vision, params);
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
fn write_vision_encoder(checkpoint: &Checkpoint, vision: &VisionConfig, folder: &Path) -> Result<(), WeightsError> {
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
    let mut config = json!({"architectures": ["CLIPVisionModel"], "model_type": "clip_vision_model"});
    let sizes = serde_json::to_value(vision).expect("sizes are plain data");
    config.as_object_mut().expect("an object").extend(sizes.as_object().expect("a struct").clone());
    write_aside(&folder.join("config.json"), format!("{config:#}\n").as_bytes())
}
