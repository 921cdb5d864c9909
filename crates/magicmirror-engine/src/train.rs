//! Training: one run loop for all objectives.
//!
//! [`train`] is the loop: the samples of a step, their gradients, one update, and everything around it (metrics,
//! checkpoints, validation, guards). What is trained, and by which loss, is an [`Objective`].
//!
//! A run is a pure function of its configuration, its data and its initial weights. Every draw is a function of the
//! seed, the step and the position in the global batch ([`random`]), so neither a stop in between nor the number of
//! devices changes what is trained.

mod album;
mod backbone;
mod cache;
mod checkpoint;
mod config;
mod data;
#[cfg(test)]
mod drawn;
mod encoder;
mod error;
mod export;
mod finder;
mod folder;
mod frames;
mod guard;
mod item;
mod loss;
mod metrics;
mod objective;
mod optimiser;
mod parameters;
mod people;
mod plan;
mod posterior;
mod prepare;
pub mod random;
mod recompute;
mod reduce;
mod run;
mod sources;
mod stage;
mod stage_image;
mod stage_video;
mod step;
mod survey;
mod tensorboard;
mod vae;
mod validation;
mod whitening;
mod window;

pub use backbone::{BackboneData, BackboneTraining, train_backbone};
pub use config::{GuardConfig, LearningRate, OptimiserConfig, RunConfig, load_config};
use data::most_bad;

pub use data::{Example, Examples, FrameSize, ReferencePhoto, SourceConfig, TargetFace};
pub use encoder::{EncoderTraining, MarginConfig, train_encoder};
pub use error::{ChangedKey, TrainError};
pub use frames::Frames;
pub use loss::{FaceTarget, IdentityLoss, LossConfig, NoiseLevel, cosine_distance, velocity_loss};
pub use metrics::Losses;
pub use objective::{FrozenPrecision, ModelConfig, WeightedExamples};
pub use optimiser::{Optimiser, Parameter};
pub use parameters::{Gradients, ParameterSet};
pub use plan::TrainingPlan;
pub use run::{Finished, MicroBatch, Objective, RunRequest, train};
pub use stage::{StageConfig, StageData, train_stage};
pub use stage_image::{ImageConfig, ImageData};
pub use stage_video::{VideoConfig, VideoData, mix};
pub use step::{Networks, Sample};
pub use vae::{VaeData, VaeLoss, VaeTraining, train_vae};
pub use validation::ValidationConfig;
