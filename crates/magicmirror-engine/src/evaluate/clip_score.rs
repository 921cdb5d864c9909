//! ConsisID's CLIPScore: how well 16 frames fit the prompt, in the space of CLIP ViT-B/32.
//!
//! Source: ConsisID @60429e4, `eval`. Its script reads frames with OpenCV, whose blue and red change places; both that and
//! what was meant are computed. The prompt goes without the trigger word `img`.

use std::sync::atomic::{AtomicBool, Ordering};

use burn::tensor::{Device, Tensor};
use image::RgbImage;
use magicmirror_media::{Filter, center_crop, resize};
use magicmirror_models::face::detector::RgbPixels;
use magicmirror_models::text::ClipTokenizer;
use magicmirror_models::vision::clip::{Clip as ClipNetwork, ClipConfig};
use magicmirror_models::vision::preprocess::Preprocessing;
use magicmirror_models::weights::Checkpoint;

use super::consistency::{cosine, without_trigger};
use super::metric::{Better, Clip, Column, Measured, Metric, Opened, Released, WeightsFolder};
use crate::EngineError;
use crate::files::sha256_of_files;

const RELEASED: Released = Released {
    files: &["clip-vit-base-patch32"],
    origin: "https://huggingface.co/openai/clip-vit-base-patch32 (the folder: config.json and model.safetensors or \
             pytorch_model.bin)",
};
const FRAMES: usize = 16;

struct ClipScore {
    network: ClipNetwork,
    config: ClipConfig,
    /// What cosines are multiplied by.
    scale: f64,
    tokenizer: ClipTokenizer,
    device: Device,
    columns: Vec<Column>,
    fingerprint: String,
}

/// Opens the metric.
pub(super) fn open(folder: &WeightsFolder, device: &Device) -> Result<Opened, EngineError> {
    let columns = vec![
        Column::new(
            "clip_score",
            Better::Higher,
            "CLIPScore: 100 times the cosine of a frame and the prompt (without the trigger word) in the space of CLIP \
             ViT-B/32, mean over 16 frames",
        ),
        Column::new(
            "clip_score_consisid",
            Better::Higher,
            "the same as ConsisID's script computes it, with red and blue exchanged",
        ),
    ];
    folder.open(&RELEASED, columns, |path, columns| {
        let (config, network, scale) = ClipNetwork::load_folder(&path, device)?;
        let files = Checkpoint::open_model_folder(&path)?.files().to_vec();
        let fingerprint = format!("CLIPScore 1, {}", sha256_of_files(&files)?);
        let (tokenizer, device) = (ClipTokenizer::new(), device.clone());
        Ok(ClipScore { network, config, scale, tokenizer, device, columns, fingerprint })
    })
}

impl Metric for ClipScore {
    fn columns(&self) -> &[Column] {
        &self.columns
    }

    fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    fn measure(&self, clip: &Clip<'_>, cancelled: &AtomicBool) -> Result<Measured, EngineError> {
        let Some(prompt) = clip.prompt else {
            return Ok(Measured { numbers: vec![None; 2], features: Vec::new() });
        };
        let ids = self.tokenizer.encode(&without_trigger(prompt), self.config.text.max_position_embeddings);
        let text = self.network.embed_text(&ids);
        let mut sums = [0.0; 2];
        for index in uniform_frames(clip.frames.len()) {
            if cancelled.load(Ordering::Relaxed) {
                return Err(EngineError::Cancelled);
            }
            let image = self.prepare(&clip.frames[index])?;
            let exchanged = RgbImage::from_fn(image.width(), image.height(), |x, y| {
                let [red, green, blue] = image.get_pixel(x, y).0;
                image::Rgb([blue, green, red])
            });
            for (sum, image) in sums.iter_mut().zip([image, exchanged]) {
                *sum += self.scale * cosine(self.network.embed_images(self.pixels(&image)), text.clone());
            }
        }
        Ok(Measured { numbers: sums.map(|sum| Some(sum / FRAMES as f64)).to_vec(), features: Vec::new() })
    }
}

impl ClipScore {
    fn prepare(&self, frame: &RgbImage) -> Result<RgbImage, EngineError> {
        let side = self.config.vision.image_size as u32;
        let (width, height) = frame.dimensions();
        let longer = |long: u32, short: u32| (u64::from(side) * u64::from(long) / u64::from(short)) as u32;
        let (width, height) =
            if width <= height { (side, longer(height, width)) } else { (longer(width, height), side) };
        let resized = resize(frame, width, height, Filter::Bicubic)?;
        Ok(center_crop(&resized, side, side)?)
    }

    fn pixels(&self, image: &RgbImage) -> Tensor<4> {
        let side = self.config.vision.image_size;
        Preprocessing::clip(side).normalise(&RgbPixels::new(side, side, image.as_raw()), &self.device)
    }
}

/// Frames `i · length / 16`.
fn uniform_frames(length: usize) -> impl Iterator<Item = usize> {
    (0..FRAMES).map(move |i| i * length / FRAMES)
}
