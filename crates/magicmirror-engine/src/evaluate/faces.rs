//! What the face networks see in a video: boxes, landmarks, and for each recogniser a vector for each face.
//!
//! Nothing here knows who is meant: references are read the same way, and compared in [`super::identity`].

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use burn::tensor::{Device, Tensor};
use image::RgbImage;
use magicmirror_media::{MediaError, read_photo};
use magicmirror_models::face::detector::{FaceDetector, RgbPixels};
use magicmirror_models::face::mtcnn::Mtcnn;
use magicmirror_models::face::recogniser::Recogniser;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::metric::{FrameFace, ReferenceFace, WeightsFolder};
use super::thumbnail::Thumbnail;
use crate::EngineError;
use crate::files::{sha256, sha256_of_files};
use crate::identity::{DetectedFace, RECOGNISER_FILES, built_in_dlib, built_in_weights_sha256, load_detector};

/// Faces that a recogniser is given at once.
const BATCH: usize = 16;

/// The networks that look at faces.
pub(super) struct FaceNetworks {
    detector: Mtcnn,
    recognisers: Vec<Recogniser>,
    min_face: usize,
    fingerprint: String,
    device: Device,
}

/// A vector for each face, by recogniser, in its own scale.
pub(super) type Embeddings = BTreeMap<String, Vec<Option<Vec<f32>>>>;

/// All faces of a video's frames.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct SeenFaces {
    /// Every `--frame-stride`th frame.
    pub(super) faces: Vec<FrameFace>,
    /// For each of them, where it shows a face.
    pub(super) embeddings: Embeddings,
}

/// The largest face of a photo.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct SeenPhoto {
    pub(super) face: DetectedFace,
    /// Its vector, by recogniser.
    pub(super) embeddings: BTreeMap<String, Vec<f32>>,
    /// A picture of it, for the report.
    pub(super) thumbnail: Thumbnail,
}

/// All photos of one person.
#[derive(Debug, Clone, Default)]
pub(super) struct Person {
    pub(super) faces: Vec<ReferenceFace>,
    /// One for each photo, by recogniser.
    pub(super) embeddings: BTreeMap<String, Vec<Vec<f32>>>,
    pub(super) thumbnails: Vec<Thumbnail>,
}

impl Person {
    pub(super) fn add(&mut self, path: &Path, photo: SeenPhoto) {
        self.faces.push(ReferenceFace { path: path.to_owned(), face: photo.face });
        for (name, vector) in photo.embeddings {
            self.embeddings.entry(name).or_default().push(vector);
        }
        self.thumbnails.push(photo.thumbnail);
    }
}

impl FaceNetworks {
    /// The detector and dlib's recogniser, which come with the program, and further recognisers from files.
    pub(super) fn load(files: &[PathBuf], min_face: usize, device: &Device) -> Result<Self, EngineError> {
        let mut recognisers = vec![built_in_dlib(device)?];
        for path in files {
            let recogniser = Recogniser::load(path, device)?;
            if recognisers.iter().any(|other| other.name() == recogniser.name()) {
                return Err(EngineError::options(
                    format!("a second recogniser of the kind {}: {}", recogniser.name(), path.display()),
                    "give one of a kind; dlib's comes with the program",
                ));
            }
            recognisers.push(recogniser);
        }
        let weights = format!("{}{}", built_in_weights_sha256(), sha256_of_files(files)?);
        Ok(Self {
            detector: load_detector(min_face)?,
            recognisers,
            min_face,
            fingerprint: sha256(format!("faces 2, at least {min_face}, {weights}").as_bytes()),
            device: device.clone(),
        })
    }

    /// Recognisers that are there.
    pub(super) fn recognisers(&self) -> impl Iterator<Item = &'static str> + '_ {
        self.recognisers.iter().map(Recogniser::name)
    }

    /// Tells these networks from others.
    pub(super) fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    /// The faces of every `stride`th frame.
    pub(super) fn look_at(&self, frames: &[RgbImage], stride: usize) -> SeenFaces {
        let sampled: Vec<(usize, &RgbImage)> = frames.iter().enumerate().step_by(stride).collect();
        let faces: Vec<FrameFace> = sampled
            .par_iter()
            .map(|&(frame, image)| {
                let found = self.detector.detect_whole(&pixels(image));
                FrameFace { frame, faces: found.len(), face: found.first().copied().map(DetectedFace::from) }
            })
            .collect();
        let images: Vec<&RgbImage> = sampled.into_iter().map(|(_, image)| image).collect();
        let embeddings = self.embed(&images, &faces.iter().map(|face| face.face).collect::<Vec<_>>());
        SeenFaces { faces, embeddings }
    }

    /// The largest face of a photo.
    ///
    /// # Errors
    /// When the photo cannot be read or shows no face.
    pub(super) fn look_at_photo(&self, path: &Path) -> Result<SeenPhoto, EngineError> {
        let image = [read_photo(path)?];
        let seen = self.look_at(&image, 1);
        let no_face = || EngineError::NoFace { path: path.to_owned(), min_face: self.min_face };
        let face = seen.faces[0].face.ok_or_else(no_face)?;
        let mut embeddings = BTreeMap::new();
        for (name, mut vectors) in seen.embeddings {
            embeddings.insert(name, vectors.pop().flatten().ok_or_else(no_face)?);
        }
        Ok(SeenPhoto { face, embeddings, thumbnail: Thumbnail::of_face(&image[0], &face)? })
    }

    fn embed(&self, images: &[&RgbImage], faces: &[Option<DetectedFace>]) -> Embeddings {
        let mut all = Embeddings::new();
        for recogniser in &self.recognisers {
            let mut vectors: Vec<Option<Vec<f32>>> = vec![None; images.len()];
            let cut = |index: usize| {
                let chip = recogniser.chip().cut(&pixels(images[index]), &faces[index]?.landmarks, &self.device)?;
                Some((index, chip))
            };
            let chips: Vec<(usize, Tensor<3>)> = (0..images.len()).filter_map(cut).collect();
            for batch in chips.chunks(BATCH) {
                let stacked = Tensor::stack(batch.iter().map(|(_, chip)| chip.clone()).collect(), 0);
                let size = recogniser.embedding_size();
                let values = recogniser.embed(stacked).into_data_as::<f32>().try_to_vec::<f32>();
                let values = values.expect("f32 after conversion");
                for ((index, _), vector) in batch.iter().zip(values.chunks_exact(size)) {
                    vectors[*index] = Some(vector.to_vec());
                }
            }
            all.insert(recogniser.name().to_owned(), vectors);
        }
        all
    }
}

/// Files of recognisers that are in the weights folder.
pub(super) fn recogniser_files(weights: &WeightsFolder) -> Vec<PathBuf> {
    RECOGNISER_FILES.iter().filter_map(|(_, files)| weights.find(files)).collect()
}

/// SHA-256 of a video: of its file, or of all files of its folder.
pub(super) fn sha256_of_video(path: &Path) -> Result<String, EngineError> {
    if !path.is_dir() {
        return sha256_of_files(&[path.to_owned()]);
    }
    let mut files = super::manifest::list(path)?;
    files.retain(|path| path.is_file());
    if files.is_empty() {
        return Err(MediaError::EmptyVideo { path: path.to_owned() }.into());
    }
    // Names count: they give the frames their order.
    let names = files.iter().map(|file| super::manifest::stem(file)).collect::<Vec<_>>().join("/");
    Ok(sha256(format!("{names}{}", sha256_of_files(&files)?).as_bytes()))
}

fn pixels(image: &RgbImage) -> RgbPixels<'_> {
    RgbPixels::new(image.width() as usize, image.height() as usize, image.as_raw())
}
