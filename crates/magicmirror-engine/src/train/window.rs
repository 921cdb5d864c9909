//! Parts of examples as tensors, for the objectives that learn from pixels.

use burn::tensor::{Device, Tensor, TensorData};

use super::data::Example;

/// A part of a picture in pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Window {
    /// Left edge.
    pub(super) x: usize,
    /// Upper edge.
    pub(super) y: usize,
    /// Width.
    pub(super) width: usize,
    /// Height.
    pub(super) height: usize,
}

impl Example {
    /// The window in all frames from `first` on, `[3, frames, height, width]` in −1..=1, and where they are known to show
    /// the face, `[1, frames, height, width]` in 0..=1.
    ///
    /// # Panics
    /// When there are not so many frames or the window reaches out of them.
    pub(super) fn tensors(
        &self,
        first: usize,
        frames: usize,
        window: Window,
        device: &Device,
    ) -> (Tensor<4>, Tensor<4>) {
        let Window { x, y, width, height } = window;
        let area = width * height;
        let mut pixels = vec![0.0; 3 * frames * area];
        let mut faces = vec![0.0; frames * area];
        for frame in 0..frames {
            let image = &self.frames[first + frame];
            let face = self.faces.as_ref().and_then(|faces| faces[first + frame].as_ref());
            let image_width = image.width() as usize;
            for row in 0..height {
                for column in 0..width {
                    let at = (y + row) * image_width + x + column;
                    let out = frame * area + row * width + column;
                    for channel in 0..3 {
                        pixels[channel * frames * area + out] =
                            f32::from(image.as_raw()[3 * at + channel]) / 127.5 - 1.0;
                    }
                    faces[out] = face.map_or(0.0, |face| f32::from(face.mask[at]) / 255.0);
                }
            }
        }
        let tensor =
            |values, channels| Tensor::from_data(TensorData::new(values, [channels, frames, height, width]), device);
        (tensor(pixels, 3), tensor(faces, 1))
    }
}

#[cfg(test)]
mod tests {
    use super::super::data::Examples;
    use super::super::drawn::Drawn;
    use super::*;

    #[test]
    fn windows_are_cut_where_they_are() {
        let example = Drawn { identities: 1, frames: 3, side: 12, broken: None }.get(0).unwrap();
        let window = Window { x: 2, y: 4, width: 5, height: 3 };
        let (pixels, faces) = example.tensors(1, 2, window, &Device::flex());
        assert_eq!((pixels.dims(), faces.dims()), ([3, 2, 3, 5], [1, 2, 3, 5]));
        let (pixels, faces): (Vec<f32>, Vec<f32>) =
            (pixels.into_data().iter().collect(), faces.into_data().iter().collect());
        for (channel, frame, row, column) in [(0, 0, 0, 0), (1, 1, 2, 4), (2, 1, 0, 3)] {
            let (x, y) = (2 + column, 4 + row);
            let expected = f32::from(example.frames[1 + frame].get_pixel(x as u32, y as u32)[channel]) / 127.5 - 1.0;
            assert!((pixels[((channel * 2 + frame) * 3 + row) * 5 + column] - expected).abs() < 1e-6);
            let mask = &example.faces.as_ref().unwrap()[1 + frame].as_ref().unwrap().mask;
            let covered = f32::from(mask[y * 12 + x]) / 255.0;
            assert!((faces[(frame * 3 + row) * 5 + column] - covered).abs() < 1e-6);
        }
    }
}
