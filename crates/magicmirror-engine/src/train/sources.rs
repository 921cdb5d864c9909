//! Which reader opens a data set.

use super::album::{Album, MANIFEST};
use super::data::{Examples, SourceConfig};
use super::objective::WeightedExamples;
use super::people::People;
use crate::EngineError;
use crate::dataset::{Kind, Split};

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
        let examples: Box<dyn Examples> = if manifest.is_file() {
            Box::new(Album::of_manifest(&manifest, frames, fps)?)
        } else if path.is_dir() && !path.join("dataset.json").exists() {
            Box::new(Album::of_files(path, frames, fps)?)
        } else {
            Box::new(People::open(path, kind, Split::Train)?)
        };
        Ok(WeightedExamples { path: path.clone(), examples, frames, weight: *weight })
    };
    sources.iter().map(open).collect()
}
