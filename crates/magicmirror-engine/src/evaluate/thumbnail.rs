//! Small pictures for the report.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use image::RgbImage;
use image::codecs::jpeg::JpegEncoder;
use magicmirror_media::{Filter, crop, resize};
use serde::{Deserialize, Serialize};

use crate::EngineError;
use crate::identity::DetectedFace;

/// Pixels of the longer side.
const SIDE: u32 = 160;
/// Of JPEG, 1 to 100.
const QUALITY: u8 = 80;

/// A JPEG file in base 64.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Thumbnail(String);

impl Thumbnail {
    /// A picture at most [`SIDE`] pixels wide and high.
    pub(super) fn new(image: &RgbImage) -> Result<Self, EngineError> {
        let (width, height) = image.dimensions();
        let longest = width.max(height).max(SIDE);
        let scaled = |side: u32| (side * SIDE / longest).max(1);
        let small = resize(image, scaled(width), scaled(height), Filter::Bicubic)?;
        let mut bytes = Vec::new();
        small
            .write_with_encoder(JpegEncoder::new_with_quality(&mut bytes, QUALITY))
            .expect("a JPEG of a small picture is written to memory");
        Ok(Self(STANDARD.encode(bytes)))
    }

    /// The face of a photo with some of what is around it.
    pub(super) fn of_face(image: &RgbImage, face: &DetectedFace) -> Result<Self, EngineError> {
        let [left, top, right, bottom] = face.bounds;
        let [width, height] = face.size();
        let half = 0.9 * width.max(height);
        let (x, y) = (f32::midpoint(left, right), f32::midpoint(top, bottom));
        let clip = |value: f32, most: u32| value.clamp(0.0, most as f32) as u32;
        let (x0, x1) = (clip(x - half, image.width()), clip(x + half, image.width()));
        let (y0, y1) = (clip(y - half, image.height()), clip(y + half, image.height()));
        if x1 <= x0 || y1 <= y0 {
            return Self::new(image);
        }
        Self::new(&crop(image, x0, y0, x1 - x0, y1 - y0)?)
    }

    /// The picture.
    pub(super) fn image(&self) -> RgbImage {
        let bytes = STANDARD.decode(&self.0).expect("it was encoded here");
        image::load_from_memory(&bytes).expect("it was encoded here").into_rgb8()
    }

    /// As a `data:` address.
    pub(super) fn address(&self) -> String {
        format!("data:image/jpeg;base64,{}", self.0)
    }
}
