//! What the two stages of the paper have in common: their configuration but for the data, and how they are run.

use std::path::Path;

use burn::tensor::Device;
use serde::{Deserialize, Serialize};

use super::loss::LossConfig;
use super::objective::{AdapterObjective, ModelConfig, WeightedExamples, weight_hashes};
use super::plan::TrainingPlan;
use super::validation::ValidationConfig;
use super::{Finished, FrameSize, GuardConfig, OptimiserConfig, RunConfig, RunRequest, TrainError};
use crate::EngineError;
use crate::event::Control;

/// Configuration of a stage; `D` is its section `[data]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StageConfig<D> {
    /// Backbone and adapter.
    pub model: ModelConfig,
    /// What is learnt from.
    pub data: D,
    /// Weights of the loss's parts.
    #[serde(default)]
    pub loss: LossConfig,
    /// Length and batch.
    pub run: RunConfig,
    /// AdamW or Muon.
    pub optimiser: OptimiserConfig,
    /// When to stop by itself.
    #[serde(default)]
    pub guard: GuardConfig,
    /// What is rendered every now and then.
    #[serde(default)]
    pub validation: ValidationConfig,
}

/// What a stage learns from.
pub trait StageData: Serialize {
    /// The `KIND` of `magicmirror train KIND`.
    const KIND: &'static str;

    /// # Errors
    /// When a number is out of range.
    fn validate(&self) -> Result<(), TrainError>;

    /// The data sets, training split.
    ///
    /// # Errors
    /// When one cannot be opened.
    fn examples(&self) -> Result<Vec<WeightedExamples>, EngineError>;

    /// Frames and reference photos of the largest sample, for the memory plan.
    fn largest(&self) -> [usize; 2];

    /// Sizes that are trained.
    fn sizes(&self) -> &[FrameSize];

    /// Latent frames of a clip that are learnt at once, if not all.
    fn clip_frames(&self) -> Option<usize> {
        None
    }

    /// Folder of the cache.
    fn cache(&self) -> &Path;

    /// Part of the examples that may be broken.
    fn most_bad(&self) -> f64;
}

impl<D: StageData> StageConfig<D> {
    /// Checks every number that can be checked without models and data.
    ///
    /// # Errors
    /// When one is out of range.
    pub fn validate(&self) -> Result<(), TrainError> {
        self.run.validate()?;
        self.optimiser.validate()?;
        self.loss.validate()?;
        let most_bad = self.data.most_bad();
        if !(0.0..=1.0).contains(&most_bad) {
            let (key, value) = ("data.most_bad", most_bad.to_string());
            return Err(TrainError::OutOfRange { key, value, rule: "be 0 to 1" });
        }
        self.data.validate()?;
        if let Some(frames) = self.data.clip_frames().filter(|_| self.loss.identity_weight > 0.0) {
            let rule = "be left out where loss.identity_weight is above 0: a face is decoded from frames that follow each other";
            return Err(TrainError::OutOfRange { key: "data.clip_frames", value: frames.to_string(), rule });
        }
        Ok(())
    }

    /// The memory that such a run needs on so many devices.
    ///
    /// # Errors
    /// When a model's configuration cannot be read.
    pub fn plan(&self, devices: usize) -> Result<TrainingPlan, EngineError> {
        let Self { model, data, loss, run, optimiser, .. } = self;
        TrainingPlan::new(model, loss, run, optimiser, data.sizes(), data.largest(), devices)
    }
}

/// Trains an adapter, one replica a device. `examples` are those of `config.data`.
///
/// # Errors
/// When configuration, data or weights do not fit, a file cannot be read or written, or the loss goes wrong.
pub fn train_stage<D: StageData>(
    config: &StageConfig<D>,
    examples: &[WeightedExamples],
    folder: &Path,
    resume: bool,
    devices: &[Device],
    control: &mut Control<'_>,
) -> Result<Finished, EngineError> {
    config.validate()?;
    let StageConfig { model, run, optimiser, guard, .. } = config;
    let weights = weight_hashes(model)?;
    let request = RunRequest { kind: D::KIND, folder, resume, config, run, optimiser, guard, weights };
    request.start(control, |skipped, control| AdapterObjective::prepare(config, examples, skipped, devices, control))
}
