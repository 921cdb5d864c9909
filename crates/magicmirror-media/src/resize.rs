//! Resampling as Pillow does it, to the bit, and crops.
//!
//! Source: the algorithm of Pillow's `Image.resize` for 8-bit images (checked against Pillow's output, see the tests):
//! an antialiased separable filter, each weight rounded to 22 fractional bits, the horizontal pass first, its result
//! rounded and clipped to 8 bits before the vertical pass. The reference implementations of the image encoders and
//! face networks preprocess with it, and another resampler shifts their features measurably.

use image::RgbImage;

use crate::MediaError;

/// The interpolation kernel, widened by the scale when an image is made smaller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Filter {
    /// Triangle, 1 pixel to each side.
    Bilinear,
    /// Cubic convolution with a = -0.5, 2 pixels to each side.
    Bicubic,
}

impl Filter {
    fn radius(self) -> f64 {
        match self {
            Self::Bilinear => 1.0,
            Self::Bicubic => 2.0,
        }
    }

    fn weight(self, x: f64) -> f64 {
        const A: f64 = -0.5;
        let x = x.abs();
        match self {
            Self::Bilinear if x < 1.0 => 1.0 - x,
            Self::Bicubic if x < 1.0 => ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0,
            Self::Bicubic if x < 2.0 => (((x - 5.0) * x + 8.0) * x - 4.0) * A,
            _ => 0.0,
        }
    }
}

/// Resize to `width` x `height`, bit for bit as Pillow's `image.resize((width, height), filter)`.
///
/// # Errors
///
/// [`MediaError::EmptyResize`] if any side is 0.
pub fn resize(image: &RgbImage, width: u32, height: u32, filter: Filter) -> Result<RgbImage, MediaError> {
    let (from_width, from_height) = image.dimensions();
    if [from_width, from_height, width, height].contains(&0) {
        return Err(MediaError::EmptyResize { from_width, from_height, width, height });
    }
    let across = (width != from_width).then(|| horizontal(image, width, filter));
    let across = across.as_ref().unwrap_or(image);
    Ok(if height == from_height { across.clone() } else { vertical(across, height, filter) })
}

/// The `width` x `height` rectangle whose upper left corner is (`x`, `y`).
///
/// # Errors
///
/// [`MediaError::CropOutside`] if it is empty or not wholly inside the image.
pub fn crop(image: &RgbImage, x: u32, y: u32, width: u32, height: u32) -> Result<RgbImage, MediaError> {
    let (image_width, image_height) = image.dimensions();
    let inside =
        |start: u32, length: u32, all: u32| length > 0 && start.checked_add(length).is_some_and(|end| end <= all);
    if !inside(x, width, image_width) || !inside(y, height, image_height) {
        return Err(MediaError::CropOutside { x, y, width, height, image_width, image_height });
    }
    Ok(image::imageops::crop_imm(image, x, y, width, height).to_image())
}

/// The middle `width` x `height`; where the margin is odd, the extra pixel is cut off at the right and below.
///
/// # Errors
///
/// [`MediaError::CropOutside`] if the image is smaller than that, or a side is 0.
pub fn center_crop(image: &RgbImage, width: u32, height: u32) -> Result<RgbImage, MediaError> {
    let x = image.width().saturating_sub(width) / 2;
    let y = image.height().saturating_sub(height) / 2;
    crop(image, x, y, width, height)
}

const FRACTION_BITS: u32 = 32 - 8 - 2;

/// What one output pixel is made of: input pixels from `start`, one weight each.
struct Taps {
    start: usize,
    weights: Vec<i32>,
}

fn taps(input: u32, output: u32, filter: Filter) -> Vec<Taps> {
    let scale = f64::from(input) / f64::from(output);
    let widening = scale.max(1.0);
    let radius = filter.radius() * widening;
    // The order of these operations is part of the result: it decides the last bit of a weight.
    let inverse = 1.0 / widening;
    (0..output)
        .map(|index| {
            let center = (f64::from(index) + 0.5) * scale;
            let start = (center - radius + 0.5).max(0.0) as usize;
            let end = ((center + radius + 0.5) as usize).min(input as usize);
            let mut weights: Vec<f64> =
                (0..end - start).map(|tap| filter.weight(((tap + start) as f64 - center + 0.5) * inverse)).collect();
            let sum = weights.iter().sum::<f64>();
            if sum != 0.0 {
                for weight in &mut weights {
                    *weight /= sum;
                }
            }
            Taps { start, weights: weights.into_iter().map(fixed_point).collect() }
        })
        .collect()
}

fn fixed_point(weight: f64) -> i32 {
    (weight * f64::from(1 << FRACTION_BITS)).round() as i32
}

/// Rounds a fixed-point sum to 8 bits.
fn to_u8(sum: i32) -> u8 {
    (sum >> FRACTION_BITS).clamp(0, 255) as u8
}

const HALF: i32 = 1 << (FRACTION_BITS - 1);

fn horizontal(image: &RgbImage, width: u32, filter: Filter) -> RgbImage {
    let taps = taps(image.width(), width, filter);
    let mut output = RgbImage::new(width, image.height());
    let row_bytes = image.width() as usize * 3;
    let rows = image.as_raw().chunks_exact(row_bytes).zip(output.chunks_exact_mut(width as usize * 3));
    for (from, to) in rows {
        for (taps, pixel) in taps.iter().zip(to.chunks_exact_mut(3)) {
            let mut sums = [HALF; 3];
            for (weight, rgb) in taps.weights.iter().zip(from[taps.start * 3..].chunks_exact(3)) {
                for (sum, &value) in sums.iter_mut().zip(rgb) {
                    *sum += weight * i32::from(value);
                }
            }
            pixel.copy_from_slice(&sums.map(to_u8));
        }
    }
    output
}

fn vertical(image: &RgbImage, height: u32, filter: Filter) -> RgbImage {
    let row_bytes = image.width() as usize * 3;
    let mut output = RgbImage::new(image.width(), height);
    let mut sums = vec![HALF; row_bytes];
    for (taps, to) in taps(image.height(), height, filter).iter().zip(output.chunks_exact_mut(row_bytes)) {
        sums.fill(HALF);
        let rows = image.as_raw()[taps.start * row_bytes..].chunks_exact(row_bytes);
        for (weight, row) in taps.weights.iter().zip(rows) {
            for (sum, &value) in sums.iter_mut().zip(row) {
                *sum += weight * i32::from(value);
            }
        }
        for (value, &sum) in to.iter_mut().zip(&sums) {
            *value = to_u8(sum);
        }
    }
    output
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ramp(width: u32, height: u32) -> RgbImage {
        RgbImage::from_fn(width, height, |x, y| image::Rgb([x as u8, y as u8, (x + y) as u8]))
    }

    #[test]
    fn crops_are_where_they_should_be() {
        let image = ramp(10, 7);
        let middle = center_crop(&image, 5, 4).unwrap();
        assert_eq!(middle.get_pixel(0, 0).0, [2, 1, 3]);
        assert_eq!(middle.dimensions(), (5, 4));
        assert_eq!(crop(&image, 0, 0, 10, 7).unwrap(), image);
    }

    #[test]
    fn crops_outside_are_errors() {
        let image = ramp(10, 7);
        for (x, y, width, height) in [(0, 0, 11, 1), (6, 0, 5, 1), (0, 7, 1, 1), (0, 0, 0, 1), (u32::MAX, 0, 2, 1)] {
            let error = crop(&image, x, y, width, height).unwrap_err();
            assert!(matches!(error, MediaError::CropOutside { .. }), "{error}");
        }
        center_crop(&image, 8, 8).unwrap_err();
    }

    #[test]
    fn a_size_of_nothing_is_an_error() {
        resize(&ramp(3, 3), 0, 3, Filter::Bicubic).unwrap_err();
        resize(&RgbImage::new(0, 0), 3, 3, Filter::Bicubic).unwrap_err();
    }

    #[test]
    fn a_flat_image_stays_flat() {
        let image = RgbImage::from_pixel(37, 23, image::Rgb([3, 128, 255]));
        for filter in [Filter::Bilinear, Filter::Bicubic] {
            for (width, height) in [(1, 1), (19, 100), (300, 2)] {
                let resized = resize(&image, width, height, filter).unwrap();
                assert!(resized.pixels().all(|pixel| pixel.0 == [3, 128, 255]), "{filter:?} {width}x{height}");
            }
        }
    }
}
