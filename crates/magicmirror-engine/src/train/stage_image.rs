//! Stage 1 (paper, section 3.4): images. The adapter learns who somebody is.

use std::path::{Path, PathBuf};

use burn::tensor::Device;
use serde::{Deserialize, Serialize};

use super::loss::LossConfig;
use super::objective::{AdapterObjective, DataOptions, ModelConfig, WeightedExamples, weight_hashes};
use super::plan::TrainingPlan;
use super::validation::ValidationConfig;
use super::{
    Finished, FrameSize, GuardConfig, OptimiserConfig, RunConfig, RunRequest, SourceConfig, TrainError, train,
};
use crate::EngineError;
use crate::event::Control;

/// Configuration of `train image`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImageConfig {
    /// Backbone and adapter.
    pub model: ModelConfig,
    /// Images and reference photos.
    pub data: ImageData,
    /// Weights of the loss's parts.
    #[serde(default)]
    pub loss: LossConfig,
    /// Length and batch.
    pub run: RunConfig,
    /// AdamW.
    pub optimiser: OptimiserConfig,
    /// When to stop by itself.
    #[serde(default)]
    pub guard: GuardConfig,
    /// What is rendered every now and then.
    #[serde(default)]
    pub validation: ValidationConfig,
}

/// Section `[data]` of `train image`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImageData {
    /// Data sets, drawn by weight.
    pub images: Vec<SourceConfig>,
    /// Sizes that are trained; each image takes that of the nearest shape.
    pub sizes: Vec<FrameSize>,
    /// Folder for latents, text embeddings and face features; runs may share it.
    pub cache: PathBuf,
    /// Part of the examples that may be broken before the run stops.
    #[serde(default = "super::most_bad")]
    pub most_bad: f64,
}

impl ImageConfig {
    /// Checks every number that can be checked without models and data.
    ///
    /// # Errors
    /// When one is out of range.
    pub fn validate(&self) -> Result<(), TrainError> {
        self.run.validate()?;
        self.optimiser.validate()?;
        self.loss.validate()
    }

    /// The data sets of the configuration, training split.
    ///
    /// # Errors
    /// When one cannot be opened.
    pub fn examples(&self) -> Result<Vec<WeightedExamples>, EngineError> {
        super::people::open(&self.data.images, 1)
    }

    /// The memory that such a run needs.
    ///
    /// # Errors
    /// When a model's configuration cannot be read.
    pub fn plan(&self) -> Result<TrainingPlan, EngineError> {
        let Self { model, data, loss, run, optimiser, .. } = self;
        TrainingPlan::new(model, loss, run, optimiser, &data.sizes, 1, 1)
    }
}

/// Trains an adapter on images, one replica a device. `examples` are those of `config.data.images`.
///
/// # Errors
/// When configuration, data or weights do not fit, a file cannot be read or written, or the loss goes wrong.
pub fn train_image(
    config: &ImageConfig,
    examples: &[WeightedExamples],
    folder: &Path,
    resume: bool,
    devices: &[Device],
    control: &mut Control<'_>,
) -> Result<Finished, EngineError> {
    config.validate()?;
    let ImageConfig { model, data, loss, run, optimiser, guard, validation } = config;
    let options = DataOptions { cache: &data.cache, sizes: &data.sizes, most_bad: data.most_bad };
    let weights = weight_hashes(model)?;
    let request = RunRequest { folder, resume, config, run, optimiser, guard, weights };
    request.check("image")?;
    let mut objective = AdapterObjective::prepare(
        "image", model, loss, validation, run.seed, options, examples, folder, devices, control,
    )?;
    train(&mut objective, &request, control)
}
