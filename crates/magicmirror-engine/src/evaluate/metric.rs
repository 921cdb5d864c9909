//! What a metric takes and gives.
//!
//! Metrics that need networks with weights of their own are opened from a [`WeightsFolder`] by the functions in
//! [`NETWORK_METRICS`]. One whose weights are absent says which file it wants: it is reported as not computed.

use std::borrow::Cow;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use burn::tensor::Device;
use image::RgbImage;
use serde::{Deserialize, Serialize};

use super::{clip_score, consistency, dynamic, fid, inception, warping};
use crate::EngineError;
use crate::identity::DetectedFace;

/// Opens a metric from the weights folder.
pub type Opener = fn(&WeightsFolder, &Device) -> Result<Opened, EngineError>;

/// All metrics with networks of their own but those of faces, in the order of the tables.
pub const NETWORK_METRICS: &[Opener] =
    &[dynamic::open, consistency::open, inception::open, warping::open, clip_score::open, fid::open];

/// One number of a video, or of a set of videos.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Column {
    /// Key in `results.json` and heading in tables, in snake case.
    pub name: Cow<'static, str>,
    /// Which values are better.
    pub better: Better,
    /// What it is, in one sentence that names the source.
    pub definition: Cow<'static, str>,
    /// Whether it is one of the paper's numbers, shown first.
    pub headline: bool,
}

impl Column {
    /// A column.
    pub fn new(name: impl Into<Cow<'static, str>>, better: Better, definition: impl Into<Cow<'static, str>>) -> Self {
        Self { name: name.into(), better, definition: definition.into(), headline: false }
    }

    /// The same, shown first.
    #[must_use]
    pub fn headline(self) -> Self {
        Self { headline: true, ..self }
    }
}

/// Which values of a number are better.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Better {
    /// Higher ones.
    Higher,
    /// Lower ones.
    Lower,
    /// Neither: it is there to compare with.
    Neither,
}

impl Better {
    /// An arrow behind a heading.
    pub fn arrow(self) -> &'static str {
        match self {
            Self::Higher => " ↑",
            Self::Lower => " ↓",
            Self::Neither => "",
        }
    }
}

/// One video, as a metric sees it.
#[derive(Debug, Clone, Copy)]
pub struct Clip<'a> {
    /// All frames, at least one, all of one size.
    pub frames: &'a [RgbImage],
    /// Frames a second.
    pub fps: f64,
    /// The prompt, if the manifest tells.
    pub prompt: Option<&'a str>,
    /// Every `--frame-stride`th frame, from the first.
    pub faces: &'a [FrameFace],
    /// The reference photos of the person meant; empty if there is none.
    pub references: &'a [ReferenceFace],
}

/// The face of one frame.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FrameFace {
    /// Number of the frame in the video, from 0.
    pub frame: usize,
    /// How many faces the detector found.
    pub faces: usize,
    /// The largest of them.
    pub face: Option<DetectedFace>,
}

/// The face of a reference photo.
#[derive(Debug, Clone, PartialEq)]
pub struct ReferenceFace {
    /// The photo.
    pub path: PathBuf,
    /// Its largest face, in pixels of the photo as [`magicmirror_media::read_photo`] gives it.
    pub face: DetectedFace,
}

/// What a metric found in one video.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Measured {
    /// A number for each of [`Metric::columns`]; `None` where this video has none (no prompt, no face).
    pub numbers: Vec<Option<f64>>,
    /// What [`Metric::measure_set`] will want to know of this video; any length.
    pub features: Vec<f32>,
}

/// Numbers about videos.
pub trait Metric: Send + Sync {
    /// What is measured of each video.
    fn columns(&self) -> &[Column];

    /// What is measured of all videos of a model together.
    fn set_columns(&self) -> &[Column] {
        &[]
    }

    /// Tells the metric's weights and settings from all others: what was measured before counts while it stays the same.
    fn fingerprint(&self) -> &str;

    /// Measures one video.
    ///
    /// # Errors
    /// When a file cannot be read; [`EngineError::Cancelled`] soon after `cancelled` turns true.
    fn measure(&self, clip: &Clip<'_>, cancelled: &AtomicBool) -> Result<Measured, EngineError>;

    /// A number for each of [`Self::set_columns`], from the features of all videos of one model. These are read from disk
    /// as they are asked for, each time anew, so that memory does not grow with their number.
    ///
    /// # Errors
    /// When features cannot be read.
    fn measure_set(&self, videos: &dyn FeatureSet) -> Result<Vec<Option<f64>>, EngineError> {
        let _ = videos;
        Ok(Vec::new())
    }
}

/// The features that a metric left for each video of a model.
pub trait FeatureSet {
    /// How many videos there are.
    fn len(&self) -> usize;

    /// Whether there is none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Reads the features of one video.
    ///
    /// # Errors
    /// When they cannot be read.
    fn features(&self, video: usize) -> Result<Vec<f32>, EngineError>;
}

/// A metric that can be computed, or the file that it lacks.
pub enum Opened {
    /// It can.
    Ready(Box<dyn Metric>),
    /// It cannot.
    Absent(Absent),
}

/// Metrics that are not computed, and what they lack.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Absent {
    /// The columns that will be missing.
    pub columns: Vec<Cow<'static, str>>,
    /// Name of the file (or folder) wanted in the weights folder.
    pub file: Cow<'static, str>,
    /// Where it can be had.
    pub origin: Cow<'static, str>,
}

/// Where the weights of metrics are looked for: `--weights`.
#[derive(Debug, Clone, Default)]
pub struct WeightsFolder(pub Option<PathBuf>);

/// Released weights.
pub(super) struct Released {
    /// Names in the weights folder, the released one first.
    pub(super) files: &'static [&'static str],
    /// Where they can be had.
    pub(super) origin: &'static str,
}

impl WeightsFolder {
    /// Opens a metric with the first of these files that is there; without any, says what the columns lack.
    pub(super) fn open<M: Metric + 'static>(
        &self,
        released: &Released,
        columns: Vec<Column>,
        load: impl FnOnce(PathBuf, Vec<Column>) -> Result<M, EngineError>,
    ) -> Result<Opened, EngineError> {
        match self.find(released.files) {
            Some(path) => Ok(Opened::Ready(Box::new(load(path, columns)?))),
            None => Ok(Opened::Absent(Absent {
                columns: columns.into_iter().map(|column| column.name).collect(),
                file: released.files[0].into(),
                origin: released.origin.into(),
            })),
        }
    }

    /// The first of these names that exists in the folder.
    pub fn find(&self, names: &[&str]) -> Option<PathBuf> {
        let folder: &Path = self.0.as_deref()?;
        names.iter().map(|name| folder.join(name)).find(|path| path.exists())
    }
}
