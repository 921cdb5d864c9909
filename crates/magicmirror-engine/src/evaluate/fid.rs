//! ConsisID's "FID": how far a frame's face and the reference's are apart in the features of torchvision's Inception v3.
//!
//! With one image on each side the covariances vanish, and what is left of the Fréchet distance is the squared distance of
//! two feature vectors.
//!
//! Source: ConsisID @60429e4, `eval`. Faces are aligned to 224×224 by five landmarks (insightface's `norm_crop`), and
//! resized to 299×299. The frames are those in which faces were looked for; the reference is the first.

use std::sync::atomic::{AtomicBool, Ordering};

use burn::tensor::{Device, Tensor};
use image::RgbImage;
use magicmirror_media::{Filter, read_photo, resize};
use magicmirror_models::face::align::Chip;
use magicmirror_models::face::detector::RgbPixels;
use magicmirror_models::vision::inception::{IMAGE_SIZE, Inception, InceptionVariant};

use super::metric::{Better, Clip, Column, Measured, Metric, Opened, Released, WeightsFolder};
use crate::EngineError;
use crate::files::sha256_of_files;
use crate::frames::{frames_from_rgb, rgb_from_frames};

const RELEASED: Released = Released {
    files: &["inception_v3_google-0cc3c7bd.pth", "inception_v3_google-0cc3c7bd.safetensors"],
    origin: "https://download.pytorch.org/models/inception_v3_google-0cc3c7bd.pth",
};

struct FaceFid {
    network: Inception,
    device: Device,
    columns: Vec<Column>,
    fingerprint: String,
}

/// Opens the metric.
pub(super) fn open(folder: &WeightsFolder, device: &Device) -> Result<Opened, EngineError> {
    let columns = vec![Column::new(
        "fid_consisid",
        Better::Lower,
        "ConsisID FID: squared distance of the aligned face and the first reference's in the pooled features of \
         torchvision's Inception v3, mean over frames with a face",
    )];
    folder.open(&RELEASED, columns, |path, columns| {
        let network = Inception::load(&path, InceptionVariant::Torchvision, device)?;
        let fingerprint = format!("ConsisID FID 1, {}", sha256_of_files(&[path])?);
        Ok(FaceFid { network, device: device.clone(), columns, fingerprint })
    })
}

impl Metric for FaceFid {
    fn columns(&self) -> &[Column] {
        &self.columns
    }

    fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    fn measure(&self, clip: &Clip<'_>, cancelled: &AtomicBool) -> Result<Measured, EngineError> {
        let mut distances = Vec::new();
        let reference = match clip.references.first() {
            Some(reference) => self.features(&read_photo(&reference.path)?, &reference.face.landmarks)?,
            None => None,
        };
        if let Some(reference) = reference {
            for seen in clip.faces {
                if cancelled.load(Ordering::Relaxed) {
                    return Err(EngineError::Cancelled);
                }
                let Some(face) = seen.face else { continue };
                if let Some(features) = self.features(&clip.frames[seen.frame], &face.landmarks)? {
                    let difference = features - reference.clone();
                    distances.push(f64::from((difference.clone() * difference).sum().into_scalar::<f32>()));
                }
            }
        }
        let mean = (!distances.is_empty()).then(|| distances.iter().sum::<f64>() / distances.len() as f64);
        Ok(Measured { numbers: vec![mean], features: Vec::new() })
    }
}

impl FaceFid {
    /// `[1, 2048]`; `None` where the landmarks are one point.
    fn features(&self, image: &RgbImage, landmarks: &[[f32; 2]; 5]) -> Result<Option<Tensor<2>>, EngineError> {
        let Some(face) = aligned_face(image, landmarks) else { return Ok(None) };
        let face = resize(&face, IMAGE_SIZE as u32, IMAGE_SIZE as u32, Filter::Bilinear)?;
        let images = frames_from_rgb(&[face], &self.device) * 0.5 + 0.5;
        Ok(Some(self.network.forward(images).pooled))
    }
}

/// The face at the place of ArcFace's template, at twice its size; black outside the image.
fn aligned_face(image: &RgbImage, landmarks: &[[f32; 2]; 5]) -> Option<RgbImage> {
    let pixels = RgbPixels::new(image.width() as usize, image.height() as usize, image.as_raw());
    let face = Chip::ArcFace224.cut(&pixels, landmarks, &Device::flex())?;
    rgb_from_frames(face.unsqueeze::<4>() / 255.0).pop()
}

#[cfg(test)]
mod tests {
    use magicmirror_models::face::align::ARCFACE_TEMPLATE;

    use super::*;

    /// Where the landmarks lie at the template's places already, the face is the image.
    #[test]
    fn an_aligned_face_stays_where_it_is() {
        let image = RgbImage::from_fn(224, 224, |x, y| image::Rgb([x as u8, y as u8, (x ^ y) as u8]));
        let landmarks = ARCFACE_TEMPLATE.map(|point| point.map(|value| 2.0 * value as f32));
        let face = aligned_face(&image, &landmarks).unwrap();
        let worst = face.as_raw().iter().zip(image.as_raw()).map(|(a, b)| a.abs_diff(*b)).max();
        assert!(worst <= Some(1), "{worst:?}");
        assert!(aligned_face(&image, &[[3.0, 3.0]; 5]).is_none());
    }
}
