//! The diffusion transformer of CogVideoX (arXiv 2408.06072): 2B, 5B and 1.5-5B, text to video.
//!
//! [`Dit`] is a stack of [`Block`]s over text and video tokens; a [`LayerConditioner`] may join in at two points of each.
//!
//! Source: diffusers 58eb52c, `models/transformers/cogvideox_transformer_3d.py`, `models/embeddings.py`,
//! `models/normalization.py`. The image-to-video variants (`ofs` embedding, learned positions) are not supported.

mod block;
mod conditioner;
mod config;
mod embed;
mod model;
mod positions;

pub use block::{Block, BlockContext, Streams};
pub use conditioner::{BlockFactors, Factors, LayerConditioner, Unconditioned};
pub use config::{DitConfig, DitError};
pub use model::{Dit, DitInput};
pub use positions::Positions;
