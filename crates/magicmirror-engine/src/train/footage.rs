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
                        pixels[channel * frames * area + out] =
                            f32::from(image.as_raw()[3 * at + channel]) / 127.5 - 1.0;
                    }
                    faces[out] = f32::from(coverage[at]) / 255.0;
                }
            }
        }
        let tensor =
            |values, channels| Tensor::from_data(TensorData::new(values, [channels, frames, height, width]), device);
        (tensor(pixels, 3), tensor(faces, 1))
    }
}

/// Pictures for tests: discs on backgrounds, one pair of colours for each identity.
#[cfg(test)]
pub(super) mod drawn {
    use image::{Rgb, RgbImage};

    use super::{Footage, Shot};
    use crate::EngineError;

    /// So many identities, each once.
    pub(in crate::train) struct Drawn {
        pub(in crate::train) identities: usize,
        pub(in crate::train) frames: usize,
        pub(in crate::train) side: u32,
    }

    impl Footage for Drawn {
        fn len(&self) -> usize {
            self.identities
        }

        fn get(&self, index: usize) -> Result<Shot, EngineError> {
            let side = f64::from(self.side);
            let inside = |frame: usize, x: u32, y: u32| {
                let centre = side / 2.0 + frame as f64;
                (f64::from(x) - centre).hypot(f64::from(y) - side / 2.0) < side / 3.0
            };
            let colours = [Rgb([40 * index as u8, 200, 90]), Rgb([250, 30, 255 - 60 * index as u8])];
            let frame =
                |frame| RgbImage::from_fn(self.side, self.side, |x, y| colours[usize::from(inside(frame, x, y))]);
            let pixels = || (0..self.side).flat_map(|y| (0..self.side).map(move |x| (x, y)));
            let face = |frame| pixels().map(|(x, y)| if inside(frame, x, y) { 255 } else { 0 }).collect();
            Ok(Shot {
                frames: (0..self.frames).map(frame).collect(),
                faces: (0..self.frames).map(face).collect(),
                boxes: vec![[side as f32 / 6.0, side as f32 / 6.0, side as f32 / 1.2, side as f32 / 1.2]; self.frames],
                caption: format!("a woman img and {index}"),
                identity: 7 * index as u64,
            })
        }

        fn identity(&self, index: usize) -> Result<u64, EngineError> {
            Ok(7 * index as u64)
        }
    }

    /// Sections `[run]` and `[optimiser]` of a short run.
    pub(in crate::train) fn short_run(steps: u64, batch: usize, learning_rate: f64) -> String {
        format!(
            "[run]\nseed = 1\nsteps = {steps}\nbatch = {batch}\nmicro_batch = {batch}\ncheckpoint_every = {steps}\n\
             validate_every = {steps}\n[optimiser]\nlearning_rate = {learning_rate}\nwarmup_steps = 5\nbeta2 = 0.99\n"
        )
    }

    /// A loss at the steps of a run, in order.
    pub(in crate::train) fn losses(run: &std::path::Path, name: &str) -> Vec<f64> {
        let text = std::fs::read_to_string(run.join("metrics.jsonl")).unwrap();
        let lines = text.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
        lines.filter_map(|line| line[name].as_f64()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::drawn::Drawn;
    use super::*;

    #[test]
    fn windows_are_cut_where_they_are() {
        let shot = Drawn { identities: 1, frames: 3, side: 12 }.get(0).unwrap();
        let window = Window { x: 2, y: 4, width: 5, height: 3 };
        let (pixels, faces) = shot.tensors(1, 2, window, &Device::flex());
        assert_eq!((pixels.dims(), faces.dims()), ([3, 2, 3, 5], [1, 2, 3, 5]));
        let (pixels, faces): (Vec<f32>, Vec<f32>) =
            (pixels.into_data().iter().collect(), faces.into_data().iter().collect());
        for (channel, frame, row, column) in [(0, 0, 0, 0), (1, 1, 2, 4), (2, 1, 0, 3)] {
            let (x, y) = (2 + column, 4 + row);
            let expected = f32::from(shot.frames[1 + frame].get_pixel(x as u32, y as u32)[channel]) / 127.5 - 1.0;
            assert!((pixels[((channel * 2 + frame) * 3 + row) * 5 + column] - expected).abs() < 1e-6);
            let covered = f32::from(shot.faces[1 + frame][y * 12 + x]) / 255.0;
            assert!((faces[(frame * 3 + row) * 5 + column] - covered).abs() < 1e-6);
        }
    }
}
