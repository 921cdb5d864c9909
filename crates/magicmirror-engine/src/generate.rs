//! From photos and a prompt to a video.
//!
//! [`generate`] reads like the paper: extract the identity, encode the prompt, prepare the latents, denoise, decode,
//! write. [`generate_manifest`] does so for many videos, loading each part of the model once.

mod batch;
mod candidates;
mod denoise;
mod noise;
mod pipeline;
mod plan;
mod report;
mod request;

pub use batch::{GeneratedSet, generate_manifest};
pub use pipeline::{Generated, generate};
pub(crate) use pipeline::{Loaded, load, observe};
pub use report::Report;
pub use request::{Preset, Request, Settings};
