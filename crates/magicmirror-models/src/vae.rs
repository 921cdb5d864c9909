//! The 3-D causal variational autoencoder of `CogVideoX`: frames to latents and back.
//!
//! Source: `CogVideoX` (arXiv 2408.06072), section 2.1; checked against diffusers 0.42.1,
//! `models/autoencoders/autoencoder_kl_cogvideox.py`, `models/downsampling.py`, `models/upsampling.py`.
//!
//! Videos pass in chunks of a few frames; what the convolutions need of earlier frames is carried along in a
//! [`CausalState`]. Group norms see one chunk at a time, so the chunks are part of the result, not only of its cost.

mod causal;
mod chunks;
mod config;
mod decoder;
mod encoder;
mod latents;
mod resnet;
mod tiling;

use burn::module::Module;

pub use causal::{CausalConv3d, CausalState};
pub use config::{VaeConfig, VaeError};
pub use decoder::VaeDecoder;
pub use encoder::{Posterior, VaeEncoder};
pub use latents::{denoiser_layout_from_vae, vae_layout_from_denoiser};
pub use tiling::Tiling;

use crate::weights::Params;

/// Both halves of the autoencoder.
#[derive(Module, Debug)]
pub struct Vae {
    /// Frames to latents.
    pub encoder: VaeEncoder,
    /// Latents to frames.
    pub decoder: VaeDecoder,
}

impl Vae {
    /// Declares the parameters of both halves under diffusers' names. The configuration must be valid.
    pub fn new(config: &VaeConfig, params: &mut Params<'_, '_>) -> Self {
        Self { encoder: VaeEncoder::new(config, params), decoder: VaeDecoder::new(config, params) }
    }
}
