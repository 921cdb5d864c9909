//! VBench's overall consistency: the cosine of a video and its prompt in ViCLIP's space.
//!
//! Source: VBench @0171350, `overall_consistency.py`, `utils.py`, with torchvision's resizing of 8-bit tensors without
//! antialiasing, as VBench's version of it has by default. The prompt is used as it is, but for the trigger word `img`,
//! which says nothing of what is seen.

use std::sync::atomic::{AtomicBool, Ordering};

use burn::tensor::{Device, Tensor};
use image::RgbImage;
use magicmirror_models::face::detector::RgbPixels;
use magicmirror_models::text::ClipTokenizer;
use magicmirror_models::vision::preprocess::Preprocessing;
use magicmirror_models::vision::viclip::ViClip;

use super::metric::{Better, Clip, Column, Measured, Metric, Opened, Released, WeightsFolder};
use crate::EngineError;
use crate::files::sha256_of_files;

const RELEASED: Released = Released {
    files: &["ViClip-InternVid-10M-FLT.pth", "ViClip-InternVid-10M-FLT.safetensors"],
    origin: "https://pjlab-gvm-data.oss-cn-shanghai.aliyuncs.com/internvideo/viclip/ViClip-InternVid-10M-FLT.pth",
};

struct OverallConsistency {
    viclip: ViClip,
    tokenizer: ClipTokenizer,
    device: Device,
    columns: Vec<Column>,
    fingerprint: String,
}

/// Opens the metric.
pub(super) fn open(folder: &WeightsFolder, device: &Device) -> Result<Opened, EngineError> {
    let columns = vec![
        Column::new(
            "overall_consistency",
            Better::Higher,
            "text alignment: VBench overall consistency, the cosine of 8 frames and the prompt (without the trigger word) \
             in ViCLIP's space",
        )
        .headline(),
    ];
    folder.open(&RELEASED, columns, |path, columns| {
        let viclip = ViClip::load(&path, device)?;
        let fingerprint = format!("overall consistency 1, {}", sha256_of_files(&[path])?);
        let tokenizer = ClipTokenizer::new();
        Ok(OverallConsistency { viclip, tokenizer, device: device.clone(), columns, fingerprint })
    })
}

impl Metric for OverallConsistency {
    fn columns(&self) -> &[Column] {
        &self.columns
    }

    fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    fn measure(&self, clip: &Clip<'_>, cancelled: &AtomicBool) -> Result<Measured, EngineError> {
        let Some(prompt) = clip.prompt else {
            return Ok(Measured { numbers: vec![None], features: Vec::new() });
        };
        if cancelled.load(Ordering::Relaxed) {
            return Err(EngineError::Cancelled);
        }
        let config = self.viclip.config();
        let preprocessing = Preprocessing::clip(config.image_size());
        let frames = middle_frames(clip.frames.len(), config.frames).into_iter().map(|index| {
            let image = resize_and_crop(&clip.frames[index], config.image_size());
            let (width, height) = (image.width() as usize, image.height() as usize);
            preprocessing.normalise(&RgbPixels::new(width, height, image.as_raw()), &self.device)
        });
        let video = self.viclip.embed_video(Tensor::cat(frames.collect(), 0));
        let text = self.viclip.embed_text(&self.tokenizer.encode(&without_trigger(prompt), config.text_tokens));
        Ok(Measured { numbers: vec![Some(cosine(video, text))], features: Vec::new() })
    }
}

/// Cosine of two embeddings `[1, width]`.
pub(super) fn cosine(a: Tensor<2>, b: Tensor<2>) -> f64 {
    let dot = |a: &Tensor<2>, b: &Tensor<2>| f64::from((a.clone() * b.clone()).sum().into_scalar::<f32>());
    dot(&a, &b) / (dot(&a, &a) * dot(&b, &b)).sqrt()
}

/// The prompt without the word `img`; punctuation that follows it stays.
pub(super) fn without_trigger(prompt: &str) -> String {
    let words = prompt.split_whitespace().filter_map(|word| {
        let kept = word.trim_end_matches(|character: char| character.is_ascii_punctuation());
        if kept == "img" { word.strip_prefix("img").filter(|rest| !rest.is_empty()) } else { Some(word) }
    });
    words.fold(String::new(), |mut text, word| {
        if !text.is_empty() && word.chars().any(|character| !character.is_ascii_punctuation()) {
            text.push(' ');
        }
        text + word
    })
}

/// The middle frames of `count` equal parts of a video; where it has fewer frames, the last one is repeated.
fn middle_frames(length: usize, count: usize) -> Vec<usize> {
    let parts = count.min(length);
    let start = |part: usize| (part as f64 * (length as f64 / parts as f64)) as usize;
    let mut frames: Vec<usize> = (0..parts)
        .map(|part| (start(part) + if part + 1 == parts { length } else { start(part + 1) } - 1) / 2)
        .collect();
    frames.resize(count, frames[parts - 1]);
    frames
}

/// The shorter side to `size`, then the middle.
fn resize_and_crop(image: &RgbImage, size: usize) -> RgbImage {
    let (width, height) = (image.width() as usize, image.height() as usize);
    let longer = |long: usize, short: usize| size * long / short;
    let (new_width, new_height) =
        if width <= height { (size, longer(height, width)) } else { (longer(width, height), size) };
    let offset = |length: usize| ((length - size) as f64 / 2.0).round_ties_even() as usize;
    let (left, top) = (offset(new_width), offset(new_height));
    let (columns, rows) = (taps(width, new_width), taps(height, new_height));
    RgbImage::from_fn(size as u32, size as u32, |x, y| {
        let (column, row) = (&columns[left + x as usize], &rows[top + y as usize]);
        let value = |channel: usize| {
            let across = |y: usize| -> f32 {
                column.iter().map(|&(x, weight)| weight * f32::from(image.get_pixel(x as u32, y as u32)[channel])).sum()
            };
            let sum: f32 = row.iter().map(|&(y, weight)| weight * across(y)).sum();
            sum.clamp(0.0, 255.0).round_ties_even() as u8
        };
        image::Rgb([0, 1, 2].map(value))
    })
}

/// For each new pixel the four old ones around its place, and how much each counts: cubic convolution with A = −0.75, as
/// PyTorch has it, not widened where the picture is made smaller.
fn taps(old: usize, new: usize) -> Vec<[(usize, f32); 4]> {
    const A: f32 = -0.75;
    let near = |x: f32| ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0;
    let far = |x: f32| ((A * x - 5.0 * A) * x + 8.0 * A) * x - 4.0 * A;
    let scale = old as f32 / new as f32;
    let place = |index: usize| {
        let place = scale * (index as f32 + 0.5) - 0.5;
        let floor = place.floor();
        let t = place - floor;
        let weights = [far(t + 1.0), near(t), near(1.0 - t), far(2.0 - t)];
        std::array::from_fn(|tap| {
            let at = (floor as i64 + tap as i64 - 1).clamp(0, old as i64 - 1);
            (at as usize, weights[tap])
        })
    };
    (0..new).map(place).collect()
}

#[cfg(test)]
mod tests {
    use magicmirror_testkit::{Values, hashed_image};

    use super::*;

    /// As `get_frame_indices(…, sample="middle")` gives them.
    #[test]
    fn frames_are_those_of_vbench() {
        assert_eq!(middle_frames(49, 8), [2, 8, 14, 20, 26, 32, 38, 45]);
        assert_eq!(middle_frames(50, 8), [2, 8, 14, 21, 27, 33, 39, 46]);
        assert_eq!(middle_frames(17, 8), [0, 2, 4, 6, 8, 10, 12, 15]);
        assert_eq!(middle_frames(3, 8), [0, 1, 2, 2, 2, 2, 2, 2]);
        assert_eq!(middle_frames(1, 8), [0; 8]);
    }

    #[test]
    fn the_trigger_word_is_left_out() {
        assert_eq!(without_trigger("A man img, smiling"), "A man, smiling");
        assert_eq!(without_trigger("a woman img is reading"), "a woman is reading");
        assert_eq!(without_trigger("an imgage of a boy img."), "an imgage of a boy.");
    }

    /// 8-bit pixels, wider and higher than the crop, made smaller and larger.
    #[test]
    fn resizing_agrees_with_torchvision() {
        let expected = Values::open("metrics/expected.safetensors");
        for (name, height, width, size) in [("smaller", 40, 61, 28), ("larger", 30, 20, 28)] {
            let values = hashed_image(name, [1, 3, height, width]).into_data().try_to_vec::<f32>().unwrap();
            let image = RgbImage::from_fn(width as u32, height as u32, |x, y| {
                let at = y as usize * width + x as usize;
                image::Rgb([0, 1, 2].map(|channel| values[channel * width * height + at] as u8))
            });
            let resized = resize_and_crop(&image, size);
            assert_eq!(resized.as_raw(), &expected.bytes(&format!("resized.{name}")), "{name}");
        }
    }
}
