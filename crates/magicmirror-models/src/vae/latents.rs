//! Between the denoiser's latents and the autoencoder's: scale, order of axes, numbers of frames.

use burn::tensor::Tensor;

use super::VaeConfig;

/// `[batch, frames, channels, height, width]`, as the denoiser has them, to `[batch, channels, frames, height, width]`.
pub fn vae_layout_from_denoiser(latents: Tensor<5>) -> Tensor<5> {
    latents.swap_dims(1, 2)
}

/// `[batch, channels, frames, height, width]` to `[batch, frames, channels, height, width]`, as the denoiser has them.
pub fn denoiser_layout_from_vae(latents: Tensor<5>) -> Tensor<5> {
    latents.swap_dims(1, 2)
}

impl VaeConfig {
    /// Scales the encoder's latents to the denoiser's.
    pub fn scale<const D: usize>(&self, latents: Tensor<D>) -> Tensor<D> {
        latents * self.scaling_factor
    }

    /// Scales the denoiser's latents back to the decoder's.
    pub fn unscale<const D: usize>(&self, latents: Tensor<D>) -> Tensor<D> {
        latents * (1.0 / self.scaling_factor)
    }

    /// Latent frames that `frames` video frames are encoded to.
    pub fn latent_frames(&self, frames: usize) -> usize {
        frames.div_ceil(self.temporal_compression_ratio)
    }

    /// Video frames that `latent_frames` are decoded to.
    ///
    /// The first of an odd number stands for one frame; with an even number every one stands for a full set.
    pub fn decoded_frames(&self, latent_frames: usize) -> usize {
        let all = self.temporal_compression_ratio * latent_frames;
        if latent_frames.is_multiple_of(2) { all } else { all + 1 - self.temporal_compression_ratio }
    }
}
