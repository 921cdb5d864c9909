//! What a face detector takes and gives.

use burn::tensor::{Device, Tensor, TensorData};

/// What detectors take for nothing: about the middle of the values.
const GREY: u8 = 128;

/// Intersection over union from which two boxes are of one face; a cut-off face's first box may be half its width off.
const SAME_FACE: f32 = 0.2;

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

    /// A square of the plane around the image, grey where the image ends.
    fn square(&self, x0: i64, y0: i64, side: usize) -> Vec<u8> {
        let mut pixels = vec![GREY; 3 * side * side];
        let clip = |start: i64, size: usize| {
            let end = start + side as i64;
            start.clamp(0, size as i64)..end.clamp(0, size as i64)
        };
        let columns = clip(x0, self.width);
        if columns.is_empty() {
            return pixels;
        }
        for y in clip(y0, self.height) {
            let target = 3 * (side * (y - y0) as usize + (columns.start - x0).max(0) as usize);
            let seen = &self.row(y as usize)[3 * columns.start as usize..3 * columns.end as usize];
            pixels[target..][..seen.len()].copy_from_slice(seen);
        }
        pixels
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

    /// Whether the bounds reach beyond the image.
    fn leaves(&self, image: &RgbPixels<'_>) -> bool {
        let [left, top, right, bottom] = self.bounds;
        left < 0.0 || top < 0.0 || right > image.width as f32 || bottom > image.height as f32
    }

    /// Intersection over union.
    fn overlap(&self, other: &Self) -> f32 {
        let (a, b) = (self.bounds, other.bounds);
        let width = (a[2].min(b[2]) - a[0].max(b[0])).max(0.0);
        let height = (a[3].min(b[3]) - a[1].max(b[1])).max(0.0);
        width * height / (self.area() + other.area() - width * height)
    }
}

/// Finds faces and their landmarks.
pub trait FaceDetector {
    /// All faces, the largest first.
    fn detect(&self, image: &RgbPixels<'_>) -> Vec<Face>;

    /// All faces, the largest first; those that the image's edge cuts off are looked at again with grey beyond the edge.
    ///
    /// MTCNN's last network sees what is left of such a face stretched to a square, and places its landmarks where a
    /// whole face would have them: half the face's width off, which no recogniser bears.
    fn detect_whole(&self, image: &RgbPixels<'_>) -> Vec<Face> {
        let mut faces = self.detect(image);
        for face in &mut faces {
            if face.leaves(image) {
                *face = second_look(self, image, face).unwrap_or(*face);
            }
        }
        faces.sort_by(|a, b| b.area().total_cmp(&a.area()));
        faces
    }
}

/// The face again, in a square of three times its size with grey where the image ends; `None` when it is not found there.
fn second_look(detector: &(impl FaceDetector + ?Sized), image: &RgbPixels<'_>, face: &Face) -> Option<Face> {
    let [left, top, right, bottom] = face.bounds;
    let side = (3.0 * (right - left).max(bottom - top)).round();
    let x0 = (f32::midpoint(left, right) - side / 2.0).round() as i64;
    let y0 = (f32::midpoint(top, bottom) - side / 2.0).round() as i64;
    let square = image.square(x0, y0, side as usize);
    let moved = |[x, y]: [f32; 2]| [x + x0 as f32, y + y0 as f32];
    let found = detector.detect(&RgbPixels::new(side as usize, side as usize, &square)).into_iter().map(|found| {
        let [left, top, right, bottom] = found.bounds;
        let ([left, top], [right, bottom]) = (moved([left, top]), moved([right, bottom]));
        Face { bounds: [left, top, right, bottom], landmarks: found.landmarks.map(moved), ..found }
    });
    found
        .map(|found| (found.overlap(face), found))
        .filter(|(overlap, _)| *overlap > SAME_FACE)
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .map(|(_, found)| found)
}
