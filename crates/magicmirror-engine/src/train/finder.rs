//! Faces in pictures and clips that nobody has described.

use std::sync::OnceLock;

use image::RgbImage;
use magicmirror_models::face::mtcnn::Mtcnn;

use super::data::{FrameSize, TargetFace};
use crate::EngineError;
use crate::identity::{DetectedFace, built_in_weights_sha256, faces, load_detector};

/// A face lower than this part of a picture's shorter side is too small to learn from.
const SMALLEST: f64 = 0.1;

/// Finds the person's face in each frame.
pub(super) struct FaceFinder {
    /// Loaded when it is needed.
    detector: OnceLock<Mtcnn>,
    smallest: usize,
    version: String,
}

impl FaceFinder {
    /// For frames of these sizes.
    pub(super) fn new(sizes: &[FrameSize]) -> Self {
        let shorter = sizes.iter().map(|size| size.width.min(size.height)).min().unwrap_or(0);
        let smallest = ((shorter as f64 * SMALLEST) as usize).max(20);
        let version = format!("{} {smallest}", built_in_weights_sha256());
        Self { detector: OnceLock::new(), smallest, version }
    }

    fn detector(&self) -> Result<&Mtcnn, EngineError> {
        if let Some(detector) = self.detector.get() {
            return Ok(detector);
        }
        let detector = load_detector(self.smallest)?;
        Ok(self.detector.get_or_init(|| detector))
    }

    /// Names all that the faces depend on besides the frames.
    pub(super) fn version(&self) -> &str {
        &self.version
    }

    /// In each frame the face that overlaps most with that of the frame before, else the largest.
    ///
    /// # Errors
    /// When the detector cannot be loaded.
    pub(super) fn find(&self, frames: &[RgbImage]) -> Result<Vec<Option<TargetFace>>, EngineError> {
        let (detector, mut before) = (self.detector()?, None);
        let faces = frames.iter().map(|frame| {
            let found = faces(detector, frame);
            let face = before.and_then(|before| nearest(&found, &before)).or(found.first().copied())?;
            before = Some(face);
            let DetectedFace { bounds, landmarks, .. } = face;
            Some(TargetFace { bounds, landmarks, mask: ellipse(frame.dimensions(), bounds) })
        });
        Ok(faces.collect())
    }
}

/// The face that overlaps most with another, if any does.
fn nearest(faces: &[DetectedFace], with: &DetectedFace) -> Option<DetectedFace> {
    let overlap = |face: &DetectedFace| {
        let [a, b] = [face.bounds, with.bounds];
        let [width, height] = [0, 1].map(|axis| (a[axis + 2].min(b[axis + 2]) - a[axis].max(b[axis])).max(0.0));
        let [one, other] = [face, with].map(|face| face.size()[0] * face.size()[1]);
        width * height / (one + other - width * height)
    };
    faces.iter().filter(|face| overlap(face) > 0.0).max_by(|a, b| overlap(a).total_cmp(&overlap(b))).copied()
}

/// 255 inside the ellipse that a box bounds.
fn ellipse((width, height): (u32, u32), [left, top, right, bottom]: [f32; 4]) -> Vec<u8> {
    let (x0, y0) = (f32::midpoint(left, right), f32::midpoint(top, bottom));
    let inside = |x: u32, y: u32| {
        let across = (x as f32 - x0) / (right - left) * 2.0;
        let down = (y as f32 - y0) / (bottom - top) * 2.0;
        across * across + down * down <= 1.0
    };
    (0..height).flat_map(|y| (0..width).map(move |x| if inside(x, y) { 255 } else { 0 })).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_face_is_followed() {
        let face = |left: f32, side: f32| DetectedFace {
            bounds: [left, 0.0, left + side, side],
            score: 1.0,
            landmarks: [[0.0; 2]; 5],
        };
        let found = [face(50.0, 40.0), face(11.0, 20.0), face(25.0, 20.0)];
        assert_eq!(nearest(&found, &face(10.0, 20.0)), Some(found[1]));
        assert_eq!(nearest(&found, &face(200.0, 20.0)), None);
    }

    #[test]
    fn an_ellipse_fills_its_box() {
        let mask = ellipse((40, 30), [10.0, 5.0, 30.0, 15.0]);
        let inside = |x: usize, y: usize| mask[y * 40 + x] == 255;
        assert!(inside(20, 10) && inside(10, 10) && inside(20, 15));
        assert!(!inside(11, 6) && !inside(9, 10) && !inside(20, 16));
        let area = mask.iter().map(|&value| f32::from(value) / 255.0).sum::<f32>();
        assert!((area / (20.0 * 10.0) - std::f32::consts::FRAC_PI_4).abs() < 0.03, "{area}");
    }
}
