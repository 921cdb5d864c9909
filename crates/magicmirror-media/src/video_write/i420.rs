//! RGB to BT.709 limited-range `Y'CbCr` with 4:2:0 chroma, the video that the MP4 says it holds.

use image::RgbImage;
use openh264::formats::YUVSource;

/// One picture; width and height are even.
pub(super) struct I420 {
    width: usize,
    height: usize,
    luma: Vec<u8>,
    blue: Vec<u8>,
    red: Vec<u8>,
}

/// Shares of red, green and blue in BT.709 luma.
const LUMA: [f32; 3] = [0.2126, 0.7152, 0.0722];

impl I420 {
    /// Converts in floating point and rounds once. Chroma is sampled where H.264's default says: on every second
    /// column (weights 1 2 1) and midway between two rows.
    ///
    /// # Panics
    ///
    /// If a side is odd.
    pub(super) fn from_rgb(image: &RgbImage) -> Self {
        let (width, height) = (image.width() as usize, image.height() as usize);
        assert!(width.is_multiple_of(2) && height.is_multiple_of(2), "4:2:0 needs even sizes, not {width}x{height}");
        let rows: Vec<&[u8]> = image.as_raw().chunks_exact(width * 3).collect();
        let mut picture = Self {
            width,
            height,
            luma: Vec::with_capacity(width * height),
            blue: Vec::with_capacity(width * height / 4),
            red: Vec::with_capacity(width * height / 4),
        };
        for row in &rows {
            picture.luma.extend(row.chunks_exact(3).map(|rgb| to_u8(16.0 + 219.0 / 255.0 * luma(rgb_f32(rgb)))));
        }
        let mut sums = vec![[0.0; 3]; width];
        for pair in rows.chunks_exact(2) {
            for ((sum, upper), lower) in sums.iter_mut().zip(pair[0].chunks_exact(3)).zip(pair[1].chunks_exact(3)) {
                let (upper, lower) = (rgb_f32(upper), rgb_f32(lower));
                *sum = [0, 1, 2].map(|channel| upper[channel] + lower[channel]);
            }
            for column in (0..width).step_by(2) {
                let (left, middle, right) = (sums[column.saturating_sub(1)], sums[column], sums[column + 1]);
                let rgb = [0, 1, 2].map(|channel| (left[channel] + 2.0 * middle[channel] + right[channel]) / 8.0);
                let grey = luma(rgb);
                let chroma =
                    |value: f32, share: f32| to_u8(128.0 + 224.0 / 255.0 * (value - grey) / (2.0 * (1.0 - share)));
                picture.blue.push(chroma(rgb[2], LUMA[2]));
                picture.red.push(chroma(rgb[0], LUMA[0]));
            }
        }
        picture
    }
}

impl YUVSource for I420 {
    fn dimensions(&self) -> (usize, usize) {
        (self.width, self.height)
    }

    fn strides(&self) -> (usize, usize, usize) {
        (self.width, self.width / 2, self.width / 2)
    }

    fn y(&self) -> &[u8] {
        &self.luma
    }

    fn u(&self) -> &[u8] {
        &self.blue
    }

    fn v(&self) -> &[u8] {
        &self.red
    }
}

fn rgb_f32(rgb: &[u8]) -> [f32; 3] {
    [f32::from(rgb[0]), f32::from(rgb[1]), f32::from(rgb[2])]
}

fn luma(rgb: [f32; 3]) -> f32 {
    LUMA[0] * rgb[0] + LUMA[1] * rgb[1] + LUMA[2] * rgb[2]
}

fn to_u8(value: f32) -> u8 {
    value.round() as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn primaries_land_on_the_standards_values() {
        // Y', Cb, Cr of 8-bit BT.709, as in ITU-R BT.709-6, rounded.
        let cases = [
            ([0, 0, 0], [16, 128, 128]),
            ([255, 255, 255], [235, 128, 128]),
            ([255, 0, 0], [63, 102, 240]),
            ([0, 255, 0], [173, 42, 26]),
            ([0, 0, 255], [32, 240, 118]),
        ];
        for (rgb, expected) in cases {
            let picture = I420::from_rgb(&RgbImage::from_pixel(4, 2, image::Rgb(rgb)));
            assert_eq!(picture.luma, [expected[0]; 8], "{rgb:?}");
            assert_eq!(picture.blue, [expected[1]; 2], "{rgb:?}");
            assert_eq!(picture.red, [expected[2]; 2], "{rgb:?}");
        }
    }
}
