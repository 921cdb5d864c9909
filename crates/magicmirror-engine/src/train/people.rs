//! Data sets of drawn people as training examples.

use std::path::Path;

use super::data::{Example, Examples, ReferencePhoto, TargetFace};
use crate::EngineError;
use crate::dataset::{Dataset, DatasetError, Kind, Sample, Samples, Split, Truth};
use crate::identity::DetectedFace;

/// Samples of one kind and split.
pub(super) struct People(Samples);

impl People {
    /// # Errors
    /// When there is no data set, or a shard cannot be read.
    pub(super) fn open(folder: &Path, kind: Kind, split: Split) -> Result<Self, EngineError> {
        Ok(Self(Dataset::open(folder)?.samples(kind, split)?))
    }
}

impl Examples for People {
    fn len(&self) -> usize {
        self.0.len()
    }

    fn key(&self, index: usize) -> String {
        self.0.key(index).to_owned()
    }

    fn get(&self, index: usize) -> Result<Example, EngineError> {
        let Sample { key, metadata, frames, references } = self.0.get(index)?;
        let faces = metadata.frames.iter().zip(&frames).map(|(truth, frame)| {
            let Truth { face_box: bounds, landmarks, ref mask, .. } = *truth;
            let mask = mask.to_coverage().filter(|mask| mask.len() == frame.as_raw().len() / 3)?;
            Some(Some(TargetFace { bounds, landmarks, mask }))
        });
        let faces: Option<Vec<_>> = faces.collect();
        let references = references.into_iter().zip(&metadata.references).map(|(image, reference)| {
            let Truth { face_box: bounds, landmarks, .. } = reference.truth;
            ReferencePhoto { image, face: Some(DetectedFace { bounds, score: 1.0, landmarks }) }
        });
        Ok(Example {
            frames,
            faces: Some(faces.ok_or(DatasetError::Mask { key })?),
            caption: metadata.caption,
            references: references.collect(),
            identity: Some(metadata.identity.number),
        })
    }
}
