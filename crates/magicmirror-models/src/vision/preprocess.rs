//! From 8-bit pixels to what a CLIP vision tower was trained on.
//!
//! Source: transformers 4.57, `CLIPImageProcessor`. Resizing (shortest side to [`Preprocessing::size`], bicubic, both
//! passes rounded to 8 bits) and cropping (centre) come before and are done on images.

use std::path::Path;

use burn::tensor::{Device, Tensor};
use serde::Deserialize;

use crate::face::detector::RgbPixels;
use crate::weights::WeightsError;

/// Mean of red, green and blue in CLIP's training images, of 0 to 1.
pub const CLIP_MEAN: [f32; 3] = [0.481_454_66, 0.457_827_5, 0.408_210_73];
/// Standard deviation of the same.
pub const CLIP_STD: [f32; 3] = [0.268_629_54, 0.261_302_6, 0.275_777_1];

/// What a vision tower's `preprocessor_config.json` says.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Preprocessing {
    /// Length of the shortest side after resizing, in pixels.
    pub size: usize,
    /// Height and width after cropping.
    pub crop: [usize; 2],
    /// Subtracted from values of 0 to 1.
    pub mean: [f32; 3],
    /// What the difference is divided by.
    pub std: [f32; 3],
}

impl Preprocessing {
    /// `OpenAI`'s CLIP, at the given size.
    pub fn clip(size: usize) -> Self {
        Self { size, crop: [size; 2], mean: CLIP_MEAN, std: CLIP_STD }
    }

    /// Reads a `preprocessor_config.json`; what it does not say is as in [`Self::clip`] at 224 pixels.
    ///
    /// # Errors
    /// When the file cannot be read, or asks for something else than a bicubic resize of the shortest side, a centre crop
    /// and a normalisation.
    pub fn read(path: &Path) -> Result<Self, WeightsError> {
        let text = std::fs::read_to_string(path).map_err(WeightsError::io(path))?;
        let file: File = serde_json::from_str(&text).map_err(|error| WeightsError::invalid(path, error.to_string()))?;
        file.checked().map_err(|reason| WeightsError::Unsupported { path: path.to_owned(), reason })
    }

    /// Brings pixels that are resized and cropped to the tower's range.
    ///
    /// # Shapes
    /// - output: `[1, 3, height, width]`
    pub fn normalise(&self, pixels: &RgbPixels<'_>, device: &Device) -> Tensor<4> {
        let channel = |values: [f32; 3]| Tensor::<1>::from_floats(values, device).reshape([3, 1, 1]);
        let x = pixels.to_tensor(device) / 255.0;
        ((x - channel(self.mean)) / channel(self.std)).unsqueeze()
    }
}

/// A size is a number in old files.
#[derive(Deserialize)]
#[serde(untagged)]
enum Size {
    Number(usize),
    Shortest { shortest_edge: usize },
    Sides { height: usize, width: usize },
}

#[derive(Deserialize)]
struct File {
    do_resize: Option<bool>,
    do_center_crop: Option<bool>,
    do_rescale: Option<bool>,
    do_normalize: Option<bool>,
    resample: Option<u32>,
    rescale_factor: Option<f64>,
    size: Option<Size>,
    crop_size: Option<Size>,
    image_mean: Option<[f32; 3]>,
    image_std: Option<[f32; 3]>,
}

impl File {
    fn checked(self) -> Result<Preprocessing, String> {
        const BICUBIC: u32 = 3;
        const DEFAULT_SIZE: usize = 224;
        let steps = [
            ("do_resize", self.do_resize),
            ("do_center_crop", self.do_center_crop),
            ("do_rescale", self.do_rescale),
            ("do_normalize", self.do_normalize),
        ];
        if let Some((name, _)) = steps.iter().find(|(_, on)| *on == Some(false)) {
            return Err(format!("{name} = false"));
        }
        if self.resample.is_some_and(|filter| filter != BICUBIC) {
            return Err(format!("resample = {:?}, which is not bicubic", self.resample));
        }
        if self.rescale_factor.is_some_and(|factor| (factor * 255.0 - 1.0).abs() > 1e-6) {
            return Err(format!("rescale_factor = {:?}, which is not 1/255", self.rescale_factor));
        }
        let size = match self.size {
            None => DEFAULT_SIZE,
            Some(Size::Number(size) | Size::Shortest { shortest_edge: size }) => size,
            Some(Size::Sides { height, width }) if height == width => height,
            Some(Size::Sides { height, width }) => return Err(format!("a size of {height}×{width}")),
        };
        let crop = match self.crop_size {
            None => [DEFAULT_SIZE; 2],
            Some(Size::Number(size) | Size::Shortest { shortest_edge: size }) => [size; 2],
            Some(Size::Sides { height, width }) => [height, width],
        };
        if size == 0 || crop.iter().any(|&side| side == 0 || side > size) {
            return Err(format!("a crop of {crop:?} pixels after resizing to {size}"));
        }
        let (mean, std) = (self.image_mean.unwrap_or(CLIP_MEAN), self.image_std.unwrap_or(CLIP_STD));
        if std.iter().any(|&value| value <= 0.0 || !value.is_finite()) {
            return Err(format!("image_std = {std:?}"));
        }
        Ok(Preprocessing { size, crop, mean, std })
    }
}
