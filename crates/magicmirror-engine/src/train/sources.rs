//! Which reader opens a data set.

use super::TrainError;
use super::album::{Album, MANIFEST};
use super::data::{Examples, SourceConfig};
use super::objective::WeightedExamples;
use super::people::People;
use crate::EngineError;
use crate::dataset::{Kind, Split};

/// Checks that there is a data set, and how often each is drawn.
///
/// # Errors
/// When there is none, or a weight is no positive number.
pub(super) fn check(key: &'static str, sources: &[SourceConfig]) -> Result<(), TrainError> {
    let out_of_range = |value, rule| Err(TrainError::OutOfRange { key, value, rule });
    if sources.is_empty() {
        return out_of_range("[]".into(), "name a data set, as [{ path = \"data/people\" }]");
    }
    match sources.iter().find(|source| !(source.weight.is_finite() && source.weight > 0.0)) {
        Some(source) => out_of_range(format!("weight = {}", source.weight), "have weights that are numbers above 0"),
        None => Ok(()),
    }
}

/// Opens data sets to train on: images where one frame is trained, else clips.
///
/// # Errors
/// When one cannot be opened.
pub(super) fn open(
    sources: &[SourceConfig],
    frames: usize,
    fps: Option<f64>,
) -> Result<Vec<WeightedExamples>, EngineError> {
    let kind = if frames == 1 { Kind::Pair } else { Kind::Clip };
    let open = |SourceConfig { path, weight }: &SourceConfig| {
        let manifest = if path.is_file() { path.clone() } else { path.join(MANIFEST) };
        let mut held_out: Option<Box<dyn Examples>> = None;
        let examples: Box<dyn Examples> = if manifest.is_file() {
            Box::new(Album::of_manifest(&manifest, frames, fps)?)
        } else if path.is_dir() && !path.join("dataset.json").exists() {
            Box::new(Album::of_files(path, frames, fps)?)
        } else {
            held_out = Some(Box::new(People::open(path, kind, Split::Validation)?));
            Box::new(People::open(path, kind, Split::Train)?)
        };
        Ok(WeightedExamples { path: path.clone(), examples, held_out, frames, weight: *weight })
    };
    sources.iter().map(open).collect()
}
