//! From photos and a prompt to a video.
//!
//! [`generate`] reads like the paper: extract the identity, encode the prompt, prepare the latents, denoise, decode,
//! write.

mod denoise;
mod noise;
mod pipeline;
mod plan;
mod report;
mod request;

pub use pipeline::{Generated, generate};
pub(crate) use pipeline::{Loaded, load, observe};
pub use report::Report;
pub use request::{Preset, Request, Settings};
