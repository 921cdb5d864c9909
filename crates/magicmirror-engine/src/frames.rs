//! Between frames as tensors and as images.

use burn::tensor::{Device, Tensor, TensorData};
use image::RgbImage;
use rayon::prelude::*;

/// `[frames, 3, height, width]` in 0..=1 to 8-bit images.
///
/// # Panics
/// When the tensor has not 3 channels.
pub fn rgb_from_frames(frames: Tensor<4>) -> Vec<RgbImage> {
    let [count, channels, height, width] = frames.dims();
    assert_eq!(channels, 3, "frames have 3 channels");
    let image = |index| {
        let frame = frames.clone().narrow(0, index, 1).into_data_as::<f32>();
        let values = frame.as_slice::<f32>().expect("f32 after conversion");
        RgbImage::from_fn(width as u32, height as u32, |x, y| {
            let at = y as usize * width + x as usize;
            image::Rgb([0, 1, 2].map(|c| (values[c * height * width + at] * 255.0).round() as u8))
        })
    };
    // One by one out of the tensor: all at once would be a copy of the whole video.
    (0..count).into_par_iter().map(image).collect()
}

/// 8-bit images, all of one size, to `[frames, 3, height, width]` in −1..=1.
pub fn frames_from_rgb(images: &[RgbImage], device: &Device) -> Tensor<4> {
    let (width, height) = images.first().map_or((0, 0), RgbImage::dimensions);
    let (width, height) = (width as usize, height as usize);
    let mut values = Vec::with_capacity(images.len() * 3 * height * width);
    for image in images {
        for channel in 0..3 {
            values.extend(image.pixels().map(|pixel| f32::from(pixel[channel]) / 127.5 - 1.0));
        }
    }
    Tensor::from_data(TensorData::new(values, [images.len(), 3, height, width]), device)
}
