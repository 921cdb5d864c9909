//! `results.json`: every number of every frame, video and model.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Map, Value};

use super::identity::Measurement;
use super::manifest::Entry;
use super::metric::{Absent, Column, FrameFace};
use super::relative::Relative;
use super::statistics::{Estimate, roc_auc};

/// All results of a run.
#[derive(Debug, Clone, Serialize)]
pub struct Results {
    /// Program and version.
    pub generator: &'static str,
    /// What the numbers depend on.
    pub settings: ResultSettings,
    /// What each number is; those of videos first, then those of models.
    pub columns: Vec<Column>,
    /// What lacks its weights.
    pub not_computed: Vec<Absent>,
    /// In the order of the manifest.
    pub videos: Vec<VideoResult>,
    /// In the order in which the manifest names them first.
    pub models: Vec<ModelResult>,
    /// Models beside those that they were to be compared with.
    pub relative: Vec<Relative>,
}

/// What the numbers depend on.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ResultSettings {
    /// Every so-manyth frame was searched for faces.
    pub frame_stride: usize,
    /// Smallest face looked for, in pixels.
    pub min_face: usize,
    /// What finds faces and landmarks.
    pub detector: &'static str,
    /// What compares faces.
    pub recognisers: Vec<&'static str>,
    /// How many people there are to be confused.
    pub identities: usize,
}

/// One video.
#[derive(Debug, Clone, Serialize)]
pub struct VideoResult {
    /// As in the manifest.
    pub video: String,
    /// What made it.
    pub model: String,
    /// Who is meant; empty if nobody.
    pub identity: String,
    /// What it shows.
    pub prompt: Option<String>,
    /// Seed of its noise.
    pub seed: Option<u64>,
    /// Frames in all.
    pub frame_count: usize,
    /// Frames a second.
    pub fps: f64,
    /// Each number; null where this video has none.
    pub metrics: Map<String, Value>,
    /// Every sampled frame.
    pub frames: Vec<FrameResult>,
    /// Mean cosine to each identity, by recogniser.
    #[serde(skip)]
    pub(super) similarities: BTreeMap<String, Vec<Option<f64>>>,
    /// The identity's number.
    #[serde(skip)]
    pub(super) own: Option<usize>,
}

/// One sampled frame: where its largest face is, and how alike.
#[derive(Debug, Clone, Serialize)]
pub struct FrameResult {
    /// The face.
    #[serde(flatten)]
    pub face: FrameFace,
    /// Cosine and distance to the identity, by name.
    #[serde(flatten)]
    pub series: BTreeMap<String, Option<f64>>,
}

/// All videos of one model.
#[derive(Debug, Clone, Serialize)]
pub struct ModelResult {
    /// Its name.
    pub model: String,
    /// Its videos.
    pub videos: usize,
    /// Those without a face in any sampled frame: they have no similarity, and count in none.
    pub videos_without_face: usize,
    /// Sampled frames of all videos.
    pub frames: usize,
    /// Those without a face.
    pub frames_without_face: usize,
    /// Each number's mean over the videos that have one, with its interval; null where none has.
    pub metrics: BTreeMap<String, Option<Estimate>>,
}

impl VideoResult {
    pub(super) fn of_entry(entry: &Entry, frame_count: usize, fps: f64) -> Self {
        Self {
            video: entry.video.display().to_string(),
            model: entry.model.clone(),
            identity: entry.identity.clone(),
            prompt: entry.prompt.clone(),
            seed: entry.seed,
            frame_count,
            fps,
            metrics: Map::new(),
            frames: Vec::new(),
            similarities: BTreeMap::new(),
            own: None,
        }
    }

    /// Fills in what was found, in the order of the columns.
    pub(super) fn set(&mut self, columns: &[Column], faces: Vec<FrameFace>, found: Measurement, own: Option<usize>) {
        let Measurement { mut metrics, similarities, series } = found;
        for column in columns {
            let value = metrics.remove(column.name.as_ref()).unwrap_or(Value::Null);
            self.metrics.insert(column.name.clone().into_owned(), value);
        }
        self.similarities = similarities;
        self.own = own;
        let at = |index: usize| series.iter().map(|(name, values)| (name.clone(), values[index])).collect();
        self.frames = faces.into_iter().enumerate().map(|(i, face)| FrameResult { face, series: at(i) }).collect();
    }

    /// A number of this video.
    pub fn metric(&self, name: &str) -> Option<f64> {
        self.metrics.get(name).and_then(Value::as_f64)
    }

    /// Whether no sampled frame shows a face.
    pub fn is_faceless(&self) -> bool {
        self.frames.iter().all(|frame| frame.face.face.is_none())
    }

    /// Whether the video is most like its own identity. `None` where there is no identity, or no other.
    fn is_retrieved(&self, recogniser: &str) -> Option<bool> {
        let own = self.own?;
        let similarities = self.similarities.get(recogniser).filter(|all| all.len() > 1)?;
        let Some(to_own) = similarities[own] else { return Some(false) };
        Some(
            similarities
                .iter()
                .enumerate()
                .all(|(other, value)| other == own || value.is_none_or(|value| value < to_own)),
        )
    }
}

impl ModelResult {
    /// Of all videos of one model.
    pub(super) fn new(model: &str, videos: &[&VideoResult], columns: &[Column], recognisers: &[&str]) -> Self {
        let mut metrics = BTreeMap::new();
        for column in columns {
            let values: Vec<f64> = videos.iter().filter_map(|video| video.metric(&column.name)).collect();
            metrics.insert(column.name.clone().into_owned(), Estimate::of_mean(&values));
        }
        for name in recognisers {
            let hits: Vec<f64> = videos
                .iter()
                .filter_map(|video| video.is_retrieved(name))
                .map(|hit| f64::from(u8::from(hit)))
                .collect();
            metrics.insert(format!("{name}_retrieval_top1"), Estimate::of_mean(&hits));
            metrics.insert(format!("{name}_roc_auc"), area(videos, name));
        }
        let frames = || videos.iter().flat_map(|video| &video.frames);
        Self {
            model: model.to_owned(),
            videos: videos.len(),
            videos_without_face: videos.iter().filter(|video| video.is_faceless()).count(),
            frames: frames().count(),
            frames_without_face: frames().filter(|frame| frame.face.face.is_none()).count(),
            metrics,
        }
    }
}

/// How well a recogniser tells right pairs of video and person from wrong ones.
fn area(videos: &[&VideoResult], recogniser: &str) -> Option<Estimate> {
    let pairs: Vec<(f64, Vec<f64>)> = videos
        .iter()
        .filter_map(|video| {
            let (own, all) = (video.own?, video.similarities.get(recogniser)?);
            let others = all.iter().enumerate().filter(|(other, _)| *other != own).filter_map(|(_, value)| *value);
            Some((all[own]?, others.collect()))
        })
        .collect();
    Estimate::bootstrap(pairs.len(), |chosen| {
        let right: Vec<f64> = chosen.iter().map(|&index| pairs[index].0).collect();
        let wrong: Vec<f64> = chosen.iter().flat_map(|&index| pairs[index].1.iter().copied()).collect();
        roc_auc(&right, &wrong)
    })
}
