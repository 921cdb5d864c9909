//! Encoding video to latents.

use std::path::{Path, PathBuf};

use burn::tensor::{Device, Tensor};
use magicmirror_media::{ReadOptions, read_video};
use magicmirror_models::vae::{Tiling, VaeEncoder, vae_layout_from_denoiser};
use magicmirror_models::weights::{Checkpoint, Precision, save_safetensors};

use crate::EngineError;
use crate::backbone::{Backbone, Part};
use crate::event::{Control, Stage};
use crate::files::ensure_writable;
use crate::frames::frames_from_rgb;

/// What to encode, and where to.
#[derive(Debug, Clone)]
pub struct LatentsRequest {
    /// Pipeline folder.
    pub backbone: PathBuf,
    /// A video, or a safetensors file with `frames` `[frames, 3, height, width]` in −1..=1.
    pub input: PathBuf,
    /// Safetensors file to write: posterior `mean` and `logvar`.
    pub output: PathBuf,
    /// Whether to encode in tiles.
    pub tiling: Tiling,
    /// Precision of the weights in memory.
    pub precision: Precision,
}

/// Encodes frames to the posterior `mean` and `logvar`, `[1, channels, latent frames, height, width]`, not scaled.
///
/// # Errors
/// When the input cannot be read or has a size the VAE cannot take, or the output cannot be written.
pub fn encode_latents(request: &LatentsRequest, device: &Device, control: &mut Control<'_>) -> Result<(), EngineError> {
    let backbone = Backbone::open(&request.backbone)?;
    ensure_writable(&request.output)?;
    let weights = backbone.weights(Part::Vae)?;
    weights.check(VaeEncoder::NAMES, |params| VaeEncoder::new(&backbone.vae, params))?;
    let frames = read_frames(&request.input, device)?;
    let posterior = control.stage(Stage::EncodeFrames, 1.0, |control| {
        let (encoder, _) = weights
            .load(VaeEncoder::NAMES, request.precision, device, |params| VaeEncoder::new(&backbone.vae, params))?;
        let frames = vae_layout_from_denoiser(frames.unsqueeze::<5>());
        Ok(encoder.encode(frames, request.tiling, &mut |done, total| {
            control.advance(Stage::EncodeFrames, done as f64 / total as f64)
        })?)
    })?;
    let tensors =
        [("mean".to_owned(), posterior.mean.into_data()), ("logvar".to_owned(), posterior.logvar.into_data())];
    Ok(save_safetensors(&request.output, &tensors)?)
}

/// `[frames, 3, height, width]` in −1..=1.
fn read_frames(input: &Path, device: &Device) -> Result<Tensor<4>, EngineError> {
    if input.extension().is_none_or(|extension| extension != "safetensors") {
        return Ok(frames_from_rgb(&read_video(input, &ReadOptions::default())?.frames, device));
    }
    let file = Checkpoint::open_file(input)?;
    let data = file.read("frames", Precision::F32)?;
    match data.shape()[..] {
        [frames, 3, height, width] if frames > 0 && height > 0 && width > 0 => Ok(Tensor::from_data(data, device)),
        _ => Err(EngineError::InvalidFile {
            what: "file of frames",
            reason: format!("frames has shape {:?}, not [frames, 3, height, width]", data.shape()),
            path: input.to_owned(),
        }),
    }
}
