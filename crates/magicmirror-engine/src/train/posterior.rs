//! What the autoencoder makes of frames, in the cache: `train backbone` and both stages share it.

use std::ops::ControlFlow;
use std::path::Path;

use burn::tensor::Device;
use image::RgbImage;
use magicmirror_models::vae::{Tiling, VaeEncoder, denoiser_layout_from_vae, vae_layout_from_denoiser};
use magicmirror_models::weights::{Checkpoint, Precision};
use sha2::{Digest, Sha256};

use super::cache::{Cache, CacheKey};
use crate::EngineError;
use crate::files::sha256_of_files;
use crate::frames::frames_from_rgb;

/// Names what a network makes: the hash of its weights and its configuration, and the precision it runs in.
///
/// # Errors
/// When a file cannot be read.
pub(super) fn network_hash(weights: &Checkpoint, folder: &Path, precision: Precision) -> Result<String, EngineError> {
    let mut files = weights.files().to_vec();
    files.push(folder.join("config.json"));
    Ok(format!("{} {precision:?}", sha256_of_files(&files)?))
}

/// Where the posterior of frames of one size is cached; `autoencoder` is its [`network_hash`].
pub(super) fn posterior_key(autoencoder: &str, frames: &[RgbImage]) -> CacheKey {
    let mut hasher = Sha256::new();
    for frame in frames {
        hasher.update(frame.as_raw());
    }
    let (width, height) = frames[0].dimensions();
    let shape = format!("{width}x{height}x{}", frames.len());
    CacheKey::new(&[b"latents", autoencoder.as_bytes(), shape.as_bytes(), &hasher.finalize()])
}

/// Computes `mean` and `logvar`, `[1, latent frames, channels, rows, columns]`, not scaled.
///
/// # Errors
/// When the cache cannot be written.
pub(super) fn put_posterior(
    cache: &Cache,
    key: &CacheKey,
    encoder: &VaeEncoder,
    frames: &[RgbImage],
    device: &Device,
) -> Result<(), EngineError> {
    let frames = frames_from_rgb(frames, device).unsqueeze::<5>();
    let mut go_on = |_, _| ControlFlow::Continue(());
    let posterior = encoder.encode(vae_layout_from_denoiser(frames), Tiling::Off, &mut go_on)?;
    let [mean, logvar] = [posterior.mean, posterior.logvar].map(|x| denoiser_layout_from_vae(x).into_data());
    cache.put(key, &[("mean", mean), ("logvar", logvar)])
}
