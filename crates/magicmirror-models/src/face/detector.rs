//! What a face detector takes and gives.

use burn::tensor::{Device, Tensor, TensorData};

/// An 8-bit RGB image, rows from the top, without padding.
#[derive(Debug, Clone, Copy)]
pub struct RgbPixels<'a> {
    width: usize,
    height: usize,
    bytes: &'a [u8],
}

impl<'a> RgbPixels<'a> {
    /// Three bytes a pixel.
    ///
    /// # Panics
    /// When there are not exactly `3 · width · height` bytes.
    pub fn new(width: usize, height: usize, bytes: &'a [u8]) -> Self {
        assert_eq!(bytes.len(), 3 * width * height, "bytes of an RGB image of {width}×{height}");
        Self { width, height, bytes }
    }

    /// Pixels in a row.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Rows.
    pub fn height(&self) -> usize {
        self.height
    }

    /// All bytes, row by row.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// One row, three bytes a pixel.
    pub fn row(&self, y: usize) -> &'a [u8] {
        &self.bytes[3 * self.width * y..][..3 * self.width]
    }

    /// `[3, height, width]`, values 0..=255.
    pub fn to_tensor(&self, device: &Device) -> Tensor<3> {
        let plane = self.width * self.height;
        let mut values = vec![0f32; 3 * plane];
        for (index, pixel) in self.bytes.chunks_exact(3).enumerate() {
            for (channel, &value) in pixel.iter().enumerate() {
                values[channel * plane + index] = f32::from(value);
            }
        }
        Tensor::from_data(TensorData::new(values, [3, self.height, self.width]), device)
    }
}

/// A face that a detector found, in pixels of the image; coordinates grow to the right and down.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Face {
    /// Left, top, right, bottom; may reach outside the image.
    pub bounds: [f32; 4],
    /// The detector's confidence, 0 to 1.
    pub score: f32,
    /// Left eye, right eye, nose, left and right corner of the mouth, left and right as seen in the image.
    pub landmarks: [[f32; 2]; 5],
}

impl Face {
    /// Area of the bounds in pixels.
    pub fn area(&self) -> f32 {
        let [left, top, right, bottom] = self.bounds;
        (right - left) * (bottom - top)
    }
}

/// Finds faces and their landmarks.
pub trait FaceDetector {
    /// All faces, the largest first.
    fn detect(&self, image: &RgbPixels<'_>) -> Vec<Face>;
}
