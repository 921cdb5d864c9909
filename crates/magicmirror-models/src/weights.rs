//! Weights: from released files to networks, and back.
//!
//! A network's constructor declares every parameter it has, under the released name, through [`Params`]. The same
//! constructor therefore serves to check a file before anything is read ([`Checkpoint::check`]), to load it
//! ([`Checkpoint::load`]) and to write a freshly initialised one ([`initialise`]). Constructors must not compute on the
//! tensors they are given: while a file is checked these are placeholders.
//!
//! This is the only part of the crate that touches the file system.

mod checkpoint;
mod error;
mod onnx;
mod params;
mod save;
mod torch;

pub use checkpoint::{Checkpoint, Entry, Names, Precision};
pub use error::{Mismatch, Misshapen, WeightsError};
pub use onnx::{OnnxGraph, OnnxNode};
pub use params::{Init, ParamNames, Params, TensorSource, initialise, named_tensors};
pub use save::{save_safetensors, write_aside};
