//! Stage 2 (paper, section 3.4): clips, mixed with images. The adapter learns to keep a person while they move, and loses
//! the colour shift that images alone leave.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::objective::WeightedExamples;
use super::stage::{StageConfig, StageData};
use super::{FrameSize, SourceConfig, TrainError, sources};
use crate::EngineError;

/// Configuration of `train video`; its adapter is that of stage 1.
pub type VideoConfig = StageConfig<VideoData>;

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
    /// Latent frames of a clip that are learnt at once: evenly spaced ones, others in each step, at their places in time
    /// **(ours)**; see [`Frames`](super::Frames). All if absent, which is what an adapter should see last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clip_frames: Option<usize>,
    /// Frames per second that are taken of clips of your own; 8 if absent, as CogVideoX was trained (1.5: 16).
    pub fps: Option<f64>,
    /// Sizes that are trained; each clip takes that of the nearest shape.
    pub sizes: Vec<FrameSize>,
    /// Folder for latents, text embeddings and face features; runs may share it.
    pub cache: PathBuf,
    /// Part of the examples that may be broken before the run stops.
    #[serde(default = "super::most_bad")]
    pub most_bad: f64,
}

impl StageData for VideoData {
    const KIND: &'static str = "video";

    fn validate(&self) -> Result<(), TrainError> {
        let out_of_range = |key, value: String, rule| Err(TrainError::OutOfRange { key, value, rule });
        let Self { frames, clip_frames, fps, images, image_share, .. } = self;
        if frames % 4 != 1 {
            return out_of_range("data.frames", frames.to_string(), "be 4k + 1, as 49");
        }
        if *clip_frames == Some(0) {
            return out_of_range("data.clip_frames", "0".into(), "be 1 or more");
        }
        if let Some(fps) = fps.filter(|fps| !(0.1..=240.0).contains(fps)) {
            return out_of_range("data.fps", fps.to_string(), "be 0.1 to 240");
        }
        if !(0.0..1.0).contains(image_share) || images.is_empty() != (*image_share <= 0.0) {
            let rule = "be at least 0 and below 1, and above 0 exactly where data.images names data sets";
            return out_of_range("data.image_share", image_share.to_string(), rule);
        }
        if !images.is_empty() {
            sources::check("data.images", images)?;
        }
        sources::check("data.clips", &self.clips)
    }

    fn examples(&self) -> Result<Vec<WeightedExamples>, EngineError> {
        let Self { clips, images, image_share, frames, fps, .. } = self;
        Ok(mix(sources::open(clips, *frames, *fps)?, sources::open(images, 1, None)?, *image_share))
    }

    /// Clips have up to four reference photos.
    fn largest(&self) -> [usize; 2] {
        [self.frames, 4]
    }

    fn sizes(&self) -> &[FrameSize] {
        &self.sizes
    }

    fn clip_frames(&self) -> Option<usize> {
        self.clip_frames
    }

    fn cache(&self) -> &Path {
        &self.cache
    }

    fn most_bad(&self) -> f64 {
        self.most_bad
    }
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
