//! Pictures and clips of people for the objectives that learn from pixels.

use burn::tensor::{Device, Tensor, TensorData};
use image::RgbImage;

use crate::EngineError;
use crate::dataset::{DatasetError, Reference, Samples, Truth};

/// A picture, or a clip, and what is true of it.
#[derive(Debug, Clone)]
pub struct Shot {
    /// Frames of one size; one for a picture.
    pub frames: Vec<RgbImage>,
    /// For each frame how far each pixel shows the face, 0..=255, row by row.
    pub faces: Vec<Vec<u8>>,
    /// For each frame the box around the face: x1, y1, x2, y2 in pixels.
    pub boxes: Vec<[f32; 4]>,
    /// What it shows, in words.
    pub caption: String,
    /// Whom it shows.
    pub identity: u64,
}

/// Shots in any order, each the same whenever it is asked for.
pub trait Footage: Sync {
    /// How many there are.
    fn len(&self) -> usize;

    /// Whether there is none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// One of them, from 0.
    ///
    /// # Errors
    /// When it cannot be read.
    fn get(&self, index: usize) -> Result<Shot, EngineError>;

    /// Whom one of them shows.
    ///
    /// # Errors
    /// When it cannot be read.
    fn identity(&self, index: usize) -> Result<u64, EngineError>;
}

/// The targets of a data set.
impl Footage for Samples {
    fn len(&self) -> usize {
        Self::len(self)
    }

    fn get(&self, index: usize) -> Result<Shot, EngineError> {
        let sample = Self::get(self, index)?;
        let truths = &sample.metadata.frames;
        let faces = truths.iter().map(coverage).collect::<Option<_>>().ok_or_else(|| bad_mask(&sample.key))?;
        let boxes = truths.iter().map(|truth| truth.face_box).collect();
        let (caption, identity) = (sample.metadata.caption, sample.metadata.identity.number);
        Ok(Shot { frames: sample.frames, faces, boxes, caption, identity })
    }

    fn identity(&self, index: usize) -> Result<u64, EngineError> {
        Ok(self.metadata(index)?.identity.number)
    }
}

/// The targets of a data set of pairs and their reference photos, by turns.
#[derive(Debug, Clone)]
pub struct Photos(pub Samples);

impl Footage for Photos {
    fn len(&self) -> usize {
        2 * self.0.len()
    }

    fn get(&self, index: usize) -> Result<Shot, EngineError> {
        if index.is_multiple_of(2) {
            return Footage::get(&self.0, index / 2);
        }
        let mut sample = self.0.get(index / 2)?;
        let Reference { truth, .. } = &sample.metadata.references[0];
        let faces = vec![coverage(truth).ok_or_else(|| bad_mask(&sample.key))?];
        let boxes = vec![truth.face_box];
        let (caption, identity) = (sample.metadata.caption, sample.metadata.identity.number);
        Ok(Shot { frames: vec![sample.references.swap_remove(0)], faces, boxes, caption, identity })
    }

    fn identity(&self, index: usize) -> Result<u64, EngineError> {
        self.0.identity(index / 2)
    }
}

fn coverage(truth: &Truth) -> Option<Vec<u8>> {
    truth.mask.to_coverage()
}

fn bad_mask(key: &str) -> DatasetError {
    DatasetError::Mask { key: key.to_owned() }
}

/// A part of a picture in pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// Left edge.
    pub x: usize,
    /// Upper edge.
    pub y: usize,
    /// Width.
    pub width: usize,
    /// Height.
    pub height: usize,
}

impl Shot {
    /// The window in all frames from `first` on, `[3, frames, height, width]` in −1..=1, and where they show the face,
    /// `[1, frames, height, width]` in 0..=1.
    ///
    /// # Panics
    /// When there are not so many frames or the window reaches out of them.
    pub fn tensors(&self, first: usize, frames: usize, window: Window, device: &Device) -> (Tensor<4>, Tensor<4>) {
        let Window { x, y, width, height } = window;
        let area = width * height;
        let mut pixels = vec![0.0; 3 * frames * area];
        let mut faces = vec![0.0; frames * area];
        for frame in 0..frames {
            let (image, coverage) = (&self.frames[first + frame], &self.faces[first + frame]);
            let image_width = image.width() as usize;
            for row in 0..height {
                for column in 0..width {
                    let at = (y + row) * image_width + x + column;
                    let out = frame * area + row * width + column;
                    for channel in 0..3 {
                        pixels[channel * frames * area + out] = f32::from(image.as_raw()[3 * at + channel]) / 127.5 - 1.0;
                    }
                    faces[out] = f32::from(coverage[at]) / 255.0;
                }
            }
        }
        let tensor = |values, channels| Tensor::from_data(TensorData::new(values, [channels, frames, height, width]), device);
        (tensor(pixels, 3), tensor(faces, 1))
    }
}
