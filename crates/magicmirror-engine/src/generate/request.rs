use std::path::PathBuf;

use magicmirror_models::diffusion::{Guidance, Method, SkipGuidance};
use magicmirror_models::vae::Tiling;
use magicmirror_models::weights::Precision;
use serde::Serialize;

use crate::EngineError;
use crate::backbone::Backbone;
use crate::event::Control;
use crate::files::sha256;

/// What was asked for: only what the user said is set.
#[derive(Debug, Clone, Default)]
pub struct Request {
    /// Pipeline folder; without it the model that comes with the program.
    pub backbone: Option<PathBuf>,
    /// Adapter folder.
    pub adapter: Option<PathBuf>,
    /// Reference photos of one person.
    pub references: Vec<PathBuf>,
    /// Identity features computed before (`identity encode`), instead of photos.
    pub identity: Option<PathBuf>,
    /// What the video shows.
    pub prompt: String,
    /// What it should not show.
    pub negative_prompt: String,
    /// Values that replace the defaults of the backbone.
    pub preset: Option<Preset>,
    /// Pixels.
    pub height: Option<usize>,
    /// Pixels.
    pub width: Option<usize>,
    /// Frames of video: 4k + 1.
    pub frames: Option<usize>,
    /// Sampling steps.
    pub steps: Option<usize>,
    /// Guidance scale; at 1 or below the negative prompt is not used.
    pub guidance: Option<f64>,
    /// Guidance that varies over the steps.
    pub dynamic_guidance: bool,
    /// Scale of the guidance away from the transformer without `skip_blocks`; by default 0, none.
    pub skip_guidance: Option<f64>,
    /// Blocks of the transformer, from 0.
    pub skip_blocks: Vec<usize>,
    /// Step rule.
    pub method: Option<Method>,
    /// Seed of all noise.
    pub seed: u64,
    /// Videos that are made with seeds of their own, `seed`, `seed + 1`, …, of which the one most like the photos is kept;
    /// by default one.
    pub candidates: Option<usize>,
    /// Weight of the adapter's cross-attention; 1 in training.
    pub face_scale: Option<f64>,
    /// Frames a second of the file that is written.
    pub fps: Option<f64>,
    /// Whether frames are decoded in tiles; by default only where memory is short.
    pub tiling: Option<Tiling>,
    /// File with the initial noise, and for DPM the noise of each step.
    pub latents: Option<PathBuf>,
    /// File to write all intermediate tensors to.
    pub tensors: Option<PathBuf>,
    /// How faces are read from reference photos.
    pub faces: crate::identity::FaceOptions,
    /// Precision of the weights in memory.
    pub precision: Precision,
    /// The video file, image file or folder to write.
    pub output: PathBuf,
}

/// Recommended values for a released checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum Preset {
    /// CogVideoX-2B.
    #[serde(rename = "cogvideox-2b")]
    Cogvideox2b,
    /// CogVideoX-5B.
    #[serde(rename = "cogvideox-5b")]
    Cogvideox5b,
    /// CogVideoX1.5-5B.
    #[serde(rename = "cogvideox-1.5-5b")]
    Cogvideox15,
}

impl Preset {
    fn size(self) -> (usize, usize, usize) {
        match self {
            Self::Cogvideox2b | Self::Cogvideox5b => (480, 720, 49),
            Self::Cogvideox15 => (768, 1360, 81),
        }
    }

    fn method(self) -> Method {
        match self {
            Self::Cogvideox2b => Method::Ddim,
            Self::Cogvideox5b | Self::Cogvideox15 => Method::Dpm,
        }
    }
}

/// A request with nothing left open, checked against the backbone.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Settings {
    /// What the video shows.
    pub prompt: String,
    /// What it should not show.
    pub negative_prompt: String,
    /// Pixels.
    pub height: usize,
    /// Pixels.
    pub width: usize,
    /// Frames of video.
    pub frames: usize,
    /// Sampling steps.
    pub steps: usize,
    /// Guidance scale.
    pub guidance: f64,
    /// Guidance that varies over the steps.
    pub dynamic_guidance: bool,
    /// Scale of the guidance away from the transformer without `skip_blocks`; 0 is none.
    #[serde(skip_serializing_if = "is_zero")]
    pub skip_guidance: f64,
    /// Blocks of the transformer, from 0.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub skip_blocks: Vec<usize>,
    /// Step rule.
    pub scheduler: Method,
    /// Seed of all noise.
    pub seed: u64,
    /// Weight of the adapter's cross-attention.
    pub face_scale: f64,
    /// Frames a second.
    pub fps: f64,
}

impl Settings {
    /// Fills in defaults and checks every number.
    ///
    /// # Errors
    /// When a number is out of range, with the nearest valid one.
    pub fn new(request: &Request, backbone: &Backbone, control: &mut Control<'_>) -> Result<Self, EngineError> {
        let trained = backbone.trained_size();
        let (height, width, frames) = request.preset.map_or(trained, Preset::size);
        let settings = Self {
            prompt: request.prompt.clone(),
            negative_prompt: request.negative_prompt.clone(),
            height: request.height.unwrap_or(height),
            width: request.width.unwrap_or(width),
            frames: request.frames.unwrap_or(frames),
            steps: request.steps.unwrap_or(50),
            guidance: request.guidance.unwrap_or(6.0),
            dynamic_guidance: request.dynamic_guidance,
            skip_guidance: request.skip_guidance.unwrap_or(0.0),
            skip_blocks: request.skip_blocks.clone(),
            scheduler: request.method.or(request.preset.map(Preset::method)).unwrap_or(backbone.method),
            seed: request.seed,
            face_scale: request.face_scale.unwrap_or(1.0),
            fps: request.fps.unwrap_or(backbone.fps()),
        };
        settings.validate(backbone)?;
        let size = (settings.height, settings.width, settings.frames);
        if size != trained {
            control.warn(format!(
                "{}×{}, {} frames: this checkpoint was trained for {}×{}, {} frames; other sizes often show noise",
                size.0, size.1, size.2, trained.0, trained.1, trained.2
            ));
        }
        Ok(settings)
    }

    /// SHA-256 of all settings.
    pub(super) fn sha256(&self) -> String {
        sha256(serde_json::to_string(self).expect("settings are plain data").as_bytes())
    }

    /// How predictions are combined.
    pub fn guidance(&self) -> Guidance {
        Guidance { scale: self.guidance, dynamic: self.dynamic_guidance }
    }

    /// Whether and how sampling is led away from a worse model.
    pub fn skip_guidance(&self) -> SkipGuidance {
        SkipGuidance { scale: self.skip_guidance, blocks: self.skip_blocks.clone() }
    }

    fn validate(&self, backbone: &Backbone) -> Result<(), EngineError> {
        if self.prompt.trim().is_empty() {
            return Err(EngineError::options("the prompt is empty", "say what the video shows with --prompt"));
        }
        let multiple = backbone.spatial_compression() * backbone.dit.patch_size;
        for (option, value) in [("--height", self.height), ("--width", self.width)] {
            if value == 0 || !value.is_multiple_of(multiple) || value > 8192 {
                return Err(EngineError::OutOfRange {
                    option,
                    value: value.to_string(),
                    rule: format!("be a multiple of {multiple} up to 8192"),
                    hint: format!("the nearest is {}", nearest_multiple(value.min(8192), multiple)),
                });
            }
        }
        let ratio = backbone.vae.temporal_compression_ratio;
        let most = MOST_FRAMES / ratio * ratio + 1;
        if self.frames == 0 || !(self.frames - 1).is_multiple_of(ratio) || self.frames > most {
            let nearest = (self.frames.clamp(1, most) - 1 + (ratio - 1) / 2) / ratio * ratio + 1;
            return Err(EngineError::OutOfRange {
                option: "--frames",
                value: self.frames.to_string(),
                rule: format!("be {ratio}k + 1, up to {most}"),
                hint: format!("the nearest is {nearest}"),
            });
        }
        let most = backbone.schedule.alphas_cumprod().len();
        if self.steps == 0 || self.steps > most {
            return Err(EngineError::OutOfRange {
                option: "--steps",
                value: self.steps.to_string(),
                rule: format!("be 1 to {most}"),
                hint: "50 is usual".into(),
            });
        }
        for (option, value, range, usual) in [
            ("--guidance", self.guidance, 0.0..=100.0, "6 is usual"),
            ("--skip-guidance", self.skip_guidance, 0.0..=100.0, "1 is usual"),
            ("--face-scale", self.face_scale, 0.0..=10.0, "1 is what the adapter was trained with"),
            ("--fps", self.fps, 0.1..=240.0, "leave it out for the model's own"),
        ] {
            if !range.contains(&value) {
                return Err(EngineError::OutOfRange {
                    option,
                    value: value.to_string(),
                    rule: format!("be {} to {}", range.start(), range.end()),
                    hint: usual.into(),
                });
            }
        }
        let last = backbone.dit.num_layers - 1;
        if let Some(block) = self.skip_blocks.iter().find(|&&block| block > last) {
            return Err(EngineError::OutOfRange {
                option: "--skip-blocks",
                value: block.to_string(),
                rule: format!("be 0 to {last}"),
                hint: "those in the middle are usual".into(),
            });
        }
        if self.skip_guidance().is_active() == self.skip_blocks.is_empty() {
            return Err(EngineError::options(
                "--skip-guidance and --skip-blocks go together",
                "say both how much, and away from the transformer without which blocks: --skip-guidance 1 --skip-blocks 6,7",
            ));
        }
        Ok(())
    }
}

/// More frames than this are a slip of the keyboard.
const MOST_FRAMES: usize = 4096;

#[expect(clippy::trivially_copy_pass_by_ref, reason = "as serde calls it")]
fn is_zero(value: &f64) -> bool {
    *value == 0.0
}

fn nearest_multiple(value: usize, multiple: usize) -> usize {
    ((value + multiple / 2) / multiple * multiple).max(multiple)
}
