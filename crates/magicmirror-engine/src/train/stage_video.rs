//! Stage 2 (paper, section 3.4): clips, mixed with images. The adapter learns to keep a person while they move, and loses
//! the colour shift that images alone leave.

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

/// Configuration of `train video`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VideoConfig {
    /// Backbone and adapter: that of stage 1.
    pub model: ModelConfig,
    /// Clips, images and reference photos.
    pub data: VideoData,
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

/// Section `[data]` of `train video`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VideoData {
    /// Data sets of clips, drawn by weight.
    pub clips: Vec<SourceConfig>,
    /// Data sets of images, drawn by weight.
    #[serde(default)]
    pub images: Vec<SourceConfig>,
    /// Part of the samples that are images.
    #[serde(default)]
    pub image_share: f64,
    /// Frames of a clip that are trained: 4k + 1, from its start.
    pub frames: usize,
    /// Sizes that are trained; each clip takes that of the nearest shape.
    pub sizes: Vec<FrameSize>,
    /// Folder for latents, text embeddings and face features; runs may share it.
    pub cache: PathBuf,
    /// Part of the examples that may be broken before the run stops.
    #[serde(default = "super::most_bad")]
    pub most_bad: f64,
}

impl VideoConfig {
    /// Checks every number that can be checked without models and data.
    ///
    /// # Errors
    /// When one is out of range, or there are images but no share for them, or the other way round.
    pub fn validate(&self) -> Result<(), TrainError> {
        self.run.validate()?;
        self.optimiser.validate()?;
        self.loss.validate()?;
        let out_of_range = |key, value: String, rule| Err(TrainError::OutOfRange { key, value, rule });
        let VideoData { frames, images, image_share, .. } = &self.data;
        if frames % 4 != 1 {
            return out_of_range("data.frames", frames.to_string(), "be 4k + 1, as 49");
        }
        if !(0.0..1.0).contains(image_share) || images.is_empty() != (*image_share <= 0.0) {
            let rule = "be at least 0 and below 1, and above 0 exactly where data.images names data sets";
            return out_of_range("data.image_share", image_share.to_string(), rule);
        }
        Ok(())
    }

    /// The data sets of the configuration, training split.
    ///
    /// # Errors
    /// When one cannot be opened.
    pub fn examples(&self) -> Result<Vec<WeightedExamples>, EngineError> {
        let VideoData { clips, images, image_share, frames, .. } = &self.data;
        Ok(mix(super::people::open(clips, *frames)?, super::people::open(images, 1)?, *image_share))
    }

    /// The memory that such a run needs, with four reference photos.
    ///
    /// # Errors
    /// When a model's configuration cannot be read.
    pub fn plan(&self) -> Result<TrainingPlan, EngineError> {
        let Self { model, data, loss, run, optimiser, .. } = self;
        TrainingPlan::new(model, loss, run, optimiser, &data.sizes, self.data.frames, 4)
    }
}

/// Trains an adapter on clips and images, one replica a device. `examples` are those of `config.data`, with weights that
/// keep its share of images ([`mix`]).
///
/// # Errors
/// When configuration, data or weights do not fit, a file cannot be read or written, or the loss goes wrong.
pub fn train_video(
    config: &VideoConfig,
    examples: &[WeightedExamples],
    folder: &Path,
    resume: bool,
    devices: &[Device],
    control: &mut Control<'_>,
) -> Result<Finished, EngineError> {
    config.validate()?;
    let VideoConfig { model, data, loss, run, optimiser, guard, validation } = config;
    let options = DataOptions { cache: &data.cache, sizes: &data.sizes, most_bad: data.most_bad };
    let weights = weight_hashes(model)?;
    let request = RunRequest { folder, resume, config, run, optimiser, guard, weights };
    request.check("video")?;
    let mut objective = AdapterObjective::prepare(
        "video", model, loss, validation, run.seed, options, examples, folder, devices, control,
    )?;
    train(&mut objective, &request, control)
}

/// Clips and images in one list; their weights are scaled so that images have a given share.
pub fn mix(
    mut clips: Vec<WeightedExamples>,
    mut images: Vec<WeightedExamples>,
    image_share: f64,
) -> Vec<WeightedExamples> {
    for (examples, share) in [(&mut clips, 1.0 - image_share), (&mut images, image_share)] {
        let total: f64 = examples.iter().map(|examples| examples.weight).sum();
        for examples in examples {
            examples.weight *= share / total;
        }
    }
    clips.append(&mut images);
    clips
}
