//! From photos of a person to the features that an adapter reads (paper section 3.2).

mod encoders;
mod face;

use std::path::{Path, PathBuf};

use burn::tensor::{Device, Tensor};
use image::RgbImage;
use magicmirror_media::{Filter, center_crop, crop, read_photo, resize};
use magicmirror_models::adapter::FaceFeatures;
use magicmirror_models::face::align::Chip;
use magicmirror_models::face::detector::{FaceDetector, RgbPixels};
use magicmirror_models::face::mtcnn::Mtcnn;
use magicmirror_models::face::recogniser::Recogniser;
use magicmirror_models::vision::preprocess::Preprocessing;
use magicmirror_models::vision::vit::VisionFeatures;

pub use encoders::Encoders;
pub use face::DetectedFace;

use crate::EngineError;
use crate::event::{Control, Stage};
use encoders::Networks;
pub(crate) use encoders::{RECOGNISER_FILES, RecogniserSource, built_in_dlib, built_in_weights_sha256, load_detector};

/// A face lower than this is told to be small: the recognisers look at 112 pixels.
const SMALL_FACE: f32 = 80.0;
/// A face whose relative sharpness is lower is told to be blurred. Measured on 17 faces: at least 1.7 % in focus, at most
/// 1.4 % after a Gaussian blur of a fiftieth of the face's width.
const BLURRED: f32 = 0.01;
/// The square given to the vision encoder is so many times as wide as the face.
const CROP_SCALE: f32 = 2.0;

/// How faces are read from photos.
#[derive(Debug, Clone)]
pub struct FaceOptions {
    /// Recogniser: `arcface`, `curricularface`, `dlib`, `mobilefacenet` or a file; default: the adapter's.
    pub recogniser: Option<String>,
    /// Folder of a CLIP vision encoder; default: the adapter's.
    pub vision: Option<PathBuf>,
    /// Which face of a photo with several, from the largest.
    pub face_index: Option<usize>,
    /// Smallest face looked for, in pixels.
    pub min_face: usize,
    /// Whether the vision encoder sees a square around the face, or the whole photo.
    pub crop: bool,
}

impl Default for FaceOptions {
    fn default() -> Self {
        Self { recogniser: None, vision: None, face_index: None, min_face: 20, crop: true }
    }
}

/// All faces of a photo, the largest first.
///
/// # Errors
/// When the photo cannot be read.
pub fn detect_faces(photo: &Path, min_face: usize) -> Result<Vec<DetectedFace>, EngineError> {
    let faces = load_detector(min_face)?.detect(&pixels(&read_photo(photo)?));
    Ok(faces.into_iter().map(DetectedFace::from).collect())
}

/// All faces of a picture, the largest first, those cut off by its edge too.
pub(crate) fn faces(detector: &Mtcnn, image: &RgbImage) -> Vec<DetectedFace> {
    detector.detect_whole(&pixels(image)).into_iter().map(DetectedFace::from).collect()
}

/// Features of all reference photos, in the order given.
///
/// # Errors
/// When a photo cannot be read or shows no face, or an encoder cannot be loaded.
pub fn encode(
    photos: &[PathBuf],
    encoders: &Encoders,
    options: &FaceOptions,
    device: &Device,
    control: &mut Control<'_>,
) -> Result<FaceFeatures, EngineError> {
    control.stage(Stage::EncodeIdentity, photos.len() as f64, |control| {
        FaceReader::load(encoders, options, device)?.read(photos, control)
    })
}

/// Detector, recogniser and vision encoder, loaded.
pub(crate) struct FaceReader<'a> {
    detector: Mtcnn,
    networks: Networks,
    options: FaceOptions,
    device: &'a Device,
}

impl<'a> FaceReader<'a> {
    /// # Errors
    /// When a network cannot be loaded.
    pub(crate) fn load(encoders: &Encoders, options: &FaceOptions, device: &'a Device) -> Result<Self, EngineError> {
        let detector = load_detector(options.min_face)?;
        Ok(Self { detector, networks: encoders.load(device)?, options: options.clone(), device })
    }

    /// Features of all photos of one person, within a stage.
    ///
    /// # Errors
    /// When a photo cannot be read or shows no face.
    pub(crate) fn read(&self, photos: &[PathBuf], control: &mut Control<'_>) -> Result<FaceFeatures, EngineError> {
        let mut features = Vec::new();
        for (index, path) in photos.iter().enumerate() {
            control.check()?;
            let image = read_photo(path)?;
            let faces = faces(&self.detector, &image);
            let face = choose(&faces, path, &self.options, control)?;
            let no_face = || EngineError::NoFace { path: path.clone(), min_face: self.options.min_face };
            let chip = Chip::ArcFace.cut(&pixels(&image), &face.landmarks, self.device).ok_or_else(no_face)?;
            if relative_sharpness(chip) < BLURRED {
                let [width, height] = face.size();
                control.warn(format!(
                    "the face in {} ({width:.0}×{height:.0} pixels) is blurred: a sharper photo gives a better likeness",
                    path.display()
                ));
            }
            features.push(self.features(&image, face)?.ok_or_else(no_face)?);
            let _ = control.advance(Stage::EncodeIdentity, index as f64 + 1.0);
        }
        Ok(FaceFeatures {
            id_embeds: Tensor::cat(features.iter().map(|one| one.id_embeds.clone()).collect(), 0),
            vision_last: Tensor::cat(features.iter().map(|one| one.vision_last.clone()).collect(), 0),
            vision_penultimate: Tensor::cat(features.iter().map(|one| one.vision_penultimate.clone()).collect(), 0),
        })
    }

    /// The largest face of a photo, or where a face is known to be, the one that is found there, and if none is, the known
    /// one. The detector's box is not the one that is known: on 16 photos of `data people`, the small model's vision tokens
    /// of the two correlated by .38 to .95, and it is the detector's that generation will go by.
    pub(crate) fn find(&self, image: &RgbImage, known: Option<DetectedFace>) -> Option<DetectedFace> {
        at(known, faces(&self.detector, image))
    }

    /// Features of one face; `None` where its landmarks are one point.
    ///
    /// # Errors
    /// When the photo cannot be cut as it should.
    pub(crate) fn features(&self, image: &RgbImage, face: &DetectedFace) -> Result<Option<FaceFeatures>, EngineError> {
        let Networks { recogniser, vision, preprocessing } = &self.networks;
        let Some(chip) = recogniser.chip().cut(&pixels(image), &face.landmarks, self.device) else { return Ok(None) };
        let seen = if self.options.crop { &square_around(image, face)? } else { image };
        let VisionFeatures { last, penultimate } = vision.forward(vision_input(seen, preprocessing, self.device)?);
        Ok(Some(FaceFeatures {
            id_embeds: recogniser.embed(chip.unsqueeze()),
            vision_last: last,
            vision_penultimate: penultimate,
        }))
    }
}

/// The recogniser's vector `[1, size]` of the largest face of a picture; `None` where none is found.
pub(crate) fn embed_largest_face(
    image: &RgbImage,
    detector: &Mtcnn,
    recogniser: &Recogniser,
    device: &Device,
) -> Option<Tensor<2>> {
    let face = *faces(detector, image).first()?;
    let chip = recogniser.chip().cut(&pixels(image), &face.landmarks, device)?;
    Some(recogniser.embed(chip.unsqueeze()))
}

/// Of the faces found, the one where a face is known to be: see [`FaceReader::find`].
fn at(known: Option<DetectedFace>, found: Vec<DetectedFace>) -> Option<DetectedFace> {
    let mut found = found.into_iter();
    match known {
        None => found.next(),
        Some(known) => found.find(|face| known.holds(face)).or(Some(known)),
    }
}

/// The face meant, with warnings where that may not be the one the user thinks of.
fn choose<'a>(
    faces: &'a [DetectedFace],
    path: &Path,
    options: &FaceOptions,
    control: &mut Control<'_>,
) -> Result<&'a DetectedFace, EngineError> {
    if faces.is_empty() {
        return Err(EngineError::NoFace { path: path.to_owned(), min_face: options.min_face });
    }
    let listed = || faces.iter().enumerate().map(|(index, face)| format!("  {index}: {face}")).collect::<Vec<_>>();
    let index = options.face_index.unwrap_or(0);
    let face =
        faces.get(index).ok_or_else(|| EngineError::FaceIndex { index, faces: listed(), path: path.to_owned() })?;
    if faces.len() > 1 && options.face_index.is_none() {
        control.warn(format!(
            "{} faces in {}, using the largest (choose another with --face-index):\n{}",
            faces.len(),
            path.display(),
            listed().join("\n")
        ));
    }
    let [width, height] = face.size();
    if height.min(width) < SMALL_FACE {
        control.warn(format!(
            "the face in {} is only {width:.0}×{height:.0} pixels: a likeness needs about {SMALL_FACE:.0} or more",
            path.display()
        ));
    }
    Ok(face)
}

/// Variance of the Laplacian over the variance of the values themselves, of an aligned face `[3, size, size]`.
fn relative_sharpness(chip: Tensor<3>) -> f32 {
    let grey: Tensor<2> = chip.mean_dim(0).squeeze_dim(0);
    let [height, width] = grey.dims();
    let shifted = |y: usize, x: usize| grey.clone().narrow(0, y, height - 2).narrow(1, x, width - 2);
    let laplacian = shifted(1, 1) * 4.0 - shifted(0, 1) - shifted(2, 1) - shifted(1, 0) - shifted(1, 2);
    let variance = |x: Tensor<2>| (x.clone() - x.mean().unsqueeze()).powf_scalar(2.0).mean().into_scalar::<f32>();
    variance(laplacian) / variance(grey).max(f32::EPSILON)
}

/// A square centred on the face, clipped to the image.
pub(crate) fn square_around(image: &RgbImage, face: &DetectedFace) -> Result<RgbImage, EngineError> {
    let [left, top, right, bottom] = face.bounds;
    let [width, height] = face.size();
    let half = CROP_SCALE * width.max(height) / 2.0;
    let (x, y) = (f32::midpoint(left, right), f32::midpoint(top, bottom));
    let clip = |value: f32, most: u32| value.round().clamp(0.0, most as f32) as u32;
    let (x0, x1) = (clip(x - half, image.width()), clip(x + half, image.width()));
    let (y0, y1) = (clip(y - half, image.height()), clip(y + half, image.height()));
    if x1 <= x0 || y1 <= y0 {
        // The detector may place a face outside the picture; then there is nothing to cut.
        return Ok(image.clone());
    }
    Ok(crop(image, x0, y0, x1 - x0, y1 - y0)?)
}

/// Shortest side to the encoder's size, centre cut out, normalised.
pub(crate) fn vision_input(
    image: &RgbImage,
    preprocessing: &Preprocessing,
    device: &Device,
) -> Result<Tensor<4>, EngineError> {
    let size = preprocessing.size as f64;
    let (width, height) = (f64::from(image.width()), f64::from(image.height()));
    // The long side is cut down to whole pixels, as CLIP's own processor does.
    let (width, height) = if width <= height { (size, size * height / width) } else { (size * width / height, size) };
    let resized = resize(image, width as u32, height as u32, Filter::Bicubic)?;
    let [crop_height, crop_width] = preprocessing.crop;
    let seen = center_crop(&resized, crop_width as u32, crop_height as u32)?;
    Ok(preprocessing.normalise(&pixels(&seen), device))
}

fn pixels(image: &RgbImage) -> RgbPixels<'_> {
    RgbPixels::new(image.width() as usize, image.height() as usize, image.as_raw())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_face_found_where_one_is_known_counts_and_else_the_known_one() {
        let face = |x: f32, y: f32, side: f32| DetectedFace {
            bounds: [x, y, x + side, y + side],
            score: 0.9,
            landmarks: [[x, y]; 5],
        };
        let (large, small) = (face(100.0, 100.0, 80.0), face(0.0, 0.0, 40.0));
        let found = || vec![large, small];

        assert_eq!(at(None, found()), Some(large));
        assert_eq!(at(None, Vec::new()), None);
        assert_eq!(at(Some(face(4.0, -6.0, 50.0)), found()), Some(small), "nearly the same box");
        let elsewhere = face(300.0, 20.0, 60.0);
        assert_eq!(at(Some(elsewhere), found()), Some(elsewhere), "not seen by the detector");
    }
}
