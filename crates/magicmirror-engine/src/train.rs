//! Training: one run loop for all objectives.
//!
//! [`train`] is the loop: the samples of a step, their gradients, one AdamW update, and everything around it (metrics,
//! checkpoints, validation, guards). What is trained, and by which loss, is an [`Objective`].
//!
//! A run is a pure function of its configuration, its data and its initial weights. Every draw is a function of the
//! seed, the step and the position in the global batch ([`random`]), so neither a stop in between nor the number of
//! devices changes what is trained.

mod checkpoint;
mod config;
mod error;
mod folder;
mod guard;
mod metrics;
mod optimiser;
mod parameters;
pub mod random;
mod run;
mod tensorboard;

pub use config::{GuardConfig, LearningRate, OptimiserConfig, RunConfig, load_config};
pub use error::{ChangedKey, TrainError};
pub use metrics::Losses;
pub use optimiser::{AdamW, Parameter};
pub use parameters::{Gradients, ParameterSet};
pub use run::{Finished, MicroBatch, Objective, RunRequest, train};
