//! Cuts a face out of an image, upright and at the size and place that a recogniser was trained on.
//!
//! A [`Chip`] says which similarity transform brings the landmarks to their places; a [`Sampler`] follows it back from
//! every pixel of the chip. Sampling is differentiable with respect to the image.

use burn::tensor::{Device, Int, Tensor, TensorData};

use super::detector::RgbPixels;
use super::{curricularface, dlib, iresnet};

/// The first two rows of a 3×3 matrix that turns, scales and moves points `(x, y, 1)`; a pixel's centre has whole
/// coordinates.
pub type Similarity = [[f64; 3]; 2];

/// Where `ArcFace` wants left eye, right eye, nose and corners of the mouth in 112×112 pixels.
///
/// Source: `InsightFace`, `python-package/insightface/utils/face_align.py`, `arcface_dst`.
pub const ARCFACE_TEMPLATE: [[f64; 2]; 5] =
    [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]];

/// Where dlib wants the centres of the left and the right eye in 150×150 pixels.
///
/// Source: the mean face of dlib's `get_face_chip_details` (`dlib/image_transforms/interpolation.h`), whose eyes lie at
/// (0.22733, 0.22140) and (0.75281, 0.22123) of the face, with a border of a quarter of the face on each side.
pub const DLIB_EYES: [[f64; 2]; 2] =
    [[in_dlib_chip(0.22733), in_dlib_chip(0.22140)], [in_dlib_chip(0.75281), in_dlib_chip(0.22123)]];

const fn in_dlib_chip(position: f64) -> f64 {
    const PADDING: f64 = 0.25;
    dlib::CHIP_SIZE as f64 * (PADDING + position) / (1.0 + 2.0 * PADDING)
}

/// Which crop a recogniser wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Chip {
    /// 112×112, all five landmarks brought to [`ARCFACE_TEMPLATE`] as well as they fit.
    ArcFace,
    /// 224×224, the same at twice the size.
    ArcFace224,
    /// 150×150, the two eyes brought to [`DLIB_EYES`].
    Dlib,
}

impl Chip {
    /// Side in pixels.
    pub fn size(self) -> usize {
        match self {
            Self::ArcFace => iresnet::CHIP_SIZE,
            Self::ArcFace224 => curricularface::CHIP_SIZE,
            Self::Dlib => dlib::CHIP_SIZE,
        }
    }

    /// From pixels of the image to pixels of the chip. `None` where all landmarks are one point.
    pub fn from_image(self, landmarks: &[[f32; 2]; 5]) -> Option<Similarity> {
        let landmarks = landmarks.map(|point| point.map(f64::from));
        match self {
            Self::ArcFace => similarity(&landmarks, &ARCFACE_TEMPLATE),
            Self::ArcFace224 => similarity(&landmarks, &ARCFACE_TEMPLATE.map(|point| point.map(|value| 2.0 * value))),
            Self::Dlib => similarity(&landmarks[..2], &DLIB_EYES),
        }
    }

    /// Cuts the chip `[3, size, size]`, 0 to 255, out of 8-bit pixels. `None` as for [`Self::from_image`].
    pub fn cut(self, image: &RgbPixels<'_>, landmarks: &[[f32; 2]; 5], device: &Device) -> Option<Tensor<3>> {
        let chip_from_image = self.from_image(landmarks)?;
        let sampler = Sampler::new(&chip_from_image, self.size(), image.width(), image.height())?;
        Some(sampler.sample_pixels(image, device))
    }
}

/// The similarity transform that brings `from` to `to` with the least sum of squared distances (Umeyama 1991; in the plane
/// it is one complex factor). `None` where all points of `from` are one point or a coordinate is not finite.
///
/// # Panics
/// When there are not as many points in `to` as in `from`.
pub fn similarity(from: &[[f64; 2]], to: &[[f64; 2]]) -> Option<Similarity> {
    assert_eq!(from.len(), to.len(), "numbers of points");
    let count = from.len() as f64;
    let mean = |points: &[[f64; 2]]| [0, 1].map(|axis| points.iter().map(|point| point[axis]).sum::<f64>() / count);
    let (from_mean, to_mean) = (mean(from), mean(to));
    let (mut real, mut imaginary, mut spread) = (0.0, 0.0, 0.0);
    for (a, b) in from.iter().zip(to) {
        let (a, b) = ([a[0] - from_mean[0], a[1] - from_mean[1]], [b[0] - to_mean[0], b[1] - to_mean[1]]);
        real += a[0] * b[0] + a[1] * b[1];
        imaginary += a[0] * b[1] - a[1] * b[0];
        spread += a[0] * a[0] + a[1] * a[1];
    }
    let (cos, sin) = (real / spread, imaginary / spread);
    let matrix = [
        [cos, -sin, to_mean[0] - cos * from_mean[0] + sin * from_mean[1]],
        [sin, cos, to_mean[1] - sin * from_mean[0] - cos * from_mean[1]],
    ];
    matrix.iter().flatten().all(|value| value.is_finite()).then_some(matrix)
}

/// For each pixel of a square chip the four pixels of the image around its origin, and how much each counts. What lies
/// outside the image is black.
#[derive(Debug, Clone)]
pub struct Sampler {
    size: usize,
    width: usize,
    height: usize,
    /// Pixel numbers in the image: first corner of all chip pixels, second corner of all, and so on.
    indices: Vec<usize>,
    /// As `indices`; corners outside count nothing.
    weights: Vec<f32>,
}

impl Sampler {
    /// Prepares bilinear sampling from images of one size. `None` where the transform cannot be inverted or the image has
    /// no pixels.
    pub fn new(chip_from_image: &Similarity, size: usize, width: usize, height: usize) -> Option<Self> {
        let [[a, b, x_shift], [c, d, y_shift]] = *chip_from_image;
        let determinant = a * d - b * c;
        if width == 0 || height == 0 || determinant == 0.0 || !determinant.is_finite() {
            return None;
        }
        let pixels = size * size;
        let mut indices = vec![0; 4 * pixels];
        let mut weights = vec![0.0; 4 * pixels];
        for pixel in 0..pixels {
            let x = (pixel % size) as f64 - x_shift;
            let y = (pixel / size) as f64 - y_shift;
            let (x, y) = ((d * x - b * y) / determinant, (a * y - c * x) / determinant);
            let (left, top) = (x.floor(), y.floor());
            let (right_part, lower_part) = (x - left, y - top);
            let corners = [
                (left, top, (1.0 - right_part) * (1.0 - lower_part)),
                (left + 1.0, top, right_part * (1.0 - lower_part)),
                (left, top + 1.0, (1.0 - right_part) * lower_part),
                (left + 1.0, top + 1.0, right_part * lower_part),
            ];
            for (corner, (x, y, weight)) in corners.into_iter().enumerate() {
                let inside = (0.0..width as f64).contains(&x) && (0.0..height as f64).contains(&y);
                if inside {
                    indices[corner * pixels + pixel] = y as usize * width + x as usize;
                    weights[corner * pixels + pixel] = weight as f32;
                }
            }
        }
        Some(Self { size, width, height, indices, weights })
    }

    /// # Shapes
    /// - image: `[channels, height, width]`
    /// - output: `[channels, size, size]`
    ///
    /// # Panics
    /// When the image does not have the size given to [`Self::new`].
    pub fn sample(&self, image: Tensor<3>) -> Tensor<3> {
        let [channels, height, width] = image.dims();
        assert_eq!([height, width], [self.height, self.width], "size of the image");
        let device = image.device();
        let indices: Vec<i64> = self.indices.iter().map(|&index| index as i64).collect();
        let indices = Tensor::<1, Int>::from_data(TensorData::new(indices, [self.indices.len()]), &device);
        let corners = image.reshape([channels, height * width]).select(1, indices);
        self.weigh(corners.reshape([channels, 4, self.size * self.size]))
    }

    /// The same from 8-bit pixels: only those that are needed are converted.
    ///
    /// # Shapes
    /// - output: `[3, size, size]`, 0 to 255
    ///
    /// # Panics
    /// As [`Self::sample`].
    pub fn sample_pixels(&self, image: &RgbPixels<'_>, device: &Device) -> Tensor<3> {
        assert_eq!([image.height(), image.width()], [self.height, self.width], "size of the image");
        let channel =
            |channel: usize| self.indices.iter().map(move |index| f32::from(image.bytes()[3 * index + channel]));
        let corners: Vec<f32> = (0..3).flat_map(channel).collect();
        self.weigh(Tensor::from_data(TensorData::new(corners, [3, 4, self.size * self.size]), device))
    }

    fn weigh(&self, corners: Tensor<3>) -> Tensor<3> {
        let [channels, ..] = corners.dims();
        let weights = TensorData::new(self.weights.clone(), [1, 4, self.size * self.size]);
        let weights = Tensor::from_data(weights, &corners.device());
        (corners * weights).sum_dim(1).reshape([channels, self.size, self.size])
    }
}
