//! What a user can ask of MagicMirror: [`generate`](generate::generate) a video, read an [`identity`] from photos, encode
//! [`latents`], make a [`dataset`], [`train`] an adapter or a small model, look after [`models`].
//!
//! All long work reports typed [`Event`]s through a [`Control`], and stops when that says so. Nothing here knows of a
//! command line or a server; these only listen.

mod ablation;
pub mod analysis;
pub mod backbone;
pub mod dataset;
mod error;
pub mod evaluate;
mod event;
mod files;
pub mod frames;
pub mod generate;
pub mod identity;
pub mod latents;
mod lettering;
pub mod memory;
pub mod models;
pub mod train;

pub use ablation::{Ablation, Budget, Scoring, ablate};
pub use error::EngineError;
pub use event::{Control, Event, Stage, Training};
pub use files::ensure_writable;
