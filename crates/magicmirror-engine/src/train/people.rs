//! Data sets of drawn people as training examples.

use std::path::Path;

use super::data::{Example, Examples, ReferencePhoto, SourceConfig, TargetFace};
use super::objective::WeightedExamples;
use crate::EngineError;
use crate::dataset::{Dataset, DatasetError, Kind, Sample, Samples, Split};
use crate::identity::DetectedFace;

/// The training split of a data set.
struct People(Samples);

impl Examples for People {
    fn len(&self) -> usize {
        self.0.len()
    }

    fn key(&self, index: usize) -> String {
        self.0.key(index).to_owned()
    }

    fn get(&self, index: usize) -> Result<Example, EngineError> {
        let Sample { key, metadata, frames, references } = self.0.get(index)?;
        let faces = metadata.frames.iter().map(|truth| {
            let mask = truth.mask.to_coverage()?;
            Some(Some(TargetFace { landmarks: truth.landmarks, mask }))
        });
        let faces: Option<Vec<_>> = faces.collect();
        let faces = faces.ok_or_else(|| DatasetError::Sample {
            key,
            reason: "a mask that is none".into(),
            shard: Path::new("").to_owned(),
        })?;
        let references = references.into_iter().zip(&metadata.references).map(|(image, reference)| {
            let truth = &reference.truth;
            let face = DetectedFace { bounds: truth.face_box, score: 1.0, landmarks: truth.landmarks };
            ReferencePhoto { image, face: Some(face) }
        });
        Ok(Example { frames, faces, caption: metadata.caption, references: references.collect() })
    }
}

/// Opens the training split of data sets: pairs where one frame is trained, else clips.
///
/// # Errors
/// When one cannot be opened.
pub(super) fn open(sources: &[SourceConfig], frames: usize) -> Result<Vec<WeightedExamples>, EngineError> {
    let kind = if frames == 1 { Kind::Pair } else { Kind::Clip };
    let open = |SourceConfig { path, weight }: &SourceConfig| {
        let samples = Dataset::open(path)?.samples(kind, Split::Train)?;
        Ok(WeightedExamples { path: path.clone(), examples: Box::new(People(samples)), frames, weight: *weight })
    };
    sources.iter().map(open).collect()
}
