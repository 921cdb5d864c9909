//! Stage 1 (paper, section 3.4): images. The adapter learns who somebody is.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::objective::WeightedExamples;
use super::stage::{StageConfig, StageData};
use super::{FrameSize, SourceConfig, TrainError, sources};
use crate::EngineError;

/// Configuration of `train image`.
pub type ImageConfig = StageConfig<ImageData>;

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

impl StageData for ImageData {
    const KIND: &'static str = "image";

    fn validate(&self) -> Result<(), TrainError> {
        sources::check("data.images", &self.images)
    }

    fn examples(&self) -> Result<Vec<WeightedExamples>, EngineError> {
        sources::open(&self.images, 1, None)
    }

    fn largest(&self) -> [usize; 2] {
        [1, 1]
    }

    fn sizes(&self) -> &[FrameSize] {
        &self.sizes
    }

    fn cache(&self) -> &Path {
        &self.cache
    }

    fn most_bad(&self) -> f64 {
        self.most_bad
    }
}
