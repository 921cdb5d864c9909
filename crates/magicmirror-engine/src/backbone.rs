//! A pipeline folder as diffusers writes it: configurations read and checked at once, weights opened part by part.

use std::path::{Path, PathBuf};

use magicmirror_models::diffusion::{Method, NoiseSchedule, SchedulerConfig};
use magicmirror_models::dit::DitConfig;
use magicmirror_models::text::{T5Config, Tokenizer};
use magicmirror_models::vae::VaeConfig;
use magicmirror_models::weights::{Checkpoint, WeightsError};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::EngineError;
use crate::files::read_text;

const HINT: &str = "give the folder that holds model_index.json, tokenizer/, text_encoder/, transformer/, vae/ and \
                    scheduler/, as `magicmirror models download cogvideox-5b` makes it";

/// An opened CogVideoX pipeline folder.
#[derive(Debug)]
pub struct Backbone {
    /// The folder.
    pub folder: PathBuf,
    /// The transformer's configuration, valid.
    pub dit: DitConfig,
    /// The VAE's configuration, valid.
    pub vae: VaeConfig,
    /// The text encoder's configuration, valid.
    pub text: T5Config,
    /// The noise schedule.
    pub schedule: NoiseSchedule,
    /// The step rule that the scheduler's configuration names.
    pub method: Method,
}

impl Backbone {
    /// Opens a folder: reads and checks all configurations, no weights.
    ///
    /// # Errors
    /// When a part is missing, invalid or not supported, or parts disagree.
    pub fn open(folder: &Path) -> Result<Self, EngineError> {
        #[derive(Deserialize)]
        struct ModelIndex {
            #[serde(rename = "_class_name")]
            class_name: String,
        }
        let not_a_backbone =
            |reason: String| EngineError::NotABackbone { folder: folder.to_owned(), reason, hint: HINT };
        if !folder.is_dir() {
            return Err(not_a_backbone("there is no such folder".into()));
        }
        let missing: Vec<&str> = [
            "model_index.json",
            "transformer/config.json",
            "vae/config.json",
            "text_encoder/config.json",
            "scheduler/scheduler_config.json",
        ]
        .into_iter()
        .filter(|file| !folder.join(file).is_file())
        .collect();
        if !missing.is_empty() {
            return Err(not_a_backbone(format!("it lacks {}", missing.join(", "))));
        }
        let ModelIndex { class_name } = read_json(&folder.join("model_index.json"), "pipeline index")?;
        if class_name != "CogVideoXPipeline" {
            return Err(not_a_backbone(format!("it holds a {class_name}, not a CogVideoXPipeline")));
        }
        let dit: DitConfig = read_json(&folder.join("transformer/config.json"), "transformer configuration")?;
        dit.validate()?;
        let vae: VaeConfig = read_json(&folder.join("vae/config.json"), "VAE configuration")?;
        vae.validate()?;
        let text = T5Config::from_json(&read_text(&folder.join("text_encoder/config.json"))?)?;
        let scheduler: SchedulerConfig =
            read_json(&folder.join("scheduler/scheduler_config.json"), "scheduler configuration")?;
        let schedule = NoiseSchedule::new(&scheduler)?;
        let method = if scheduler.class_name.contains("DPM") { Method::Dpm } else { Method::Ddim };
        let disagree = |reason: String| Err(EngineError::PartsDisagree { folder: folder.to_owned(), reason });
        if text.d_model != dit.text_embed_dim {
            return disagree(format!(
                "the text encoder puts out {} channels, the transformer takes {}",
                text.d_model, dit.text_embed_dim
            ));
        }
        if vae.latent_channels != dit.in_channels {
            return disagree(format!(
                "the VAE has {} latent channels, the transformer takes {}",
                vae.latent_channels, dit.in_channels
            ));
        }
        if vae.temporal_compression_ratio != dit.temporal_compression_ratio {
            return disagree(format!(
                "the VAE makes one latent frame of {} frames, the transformer reckons with {}",
                vae.temporal_compression_ratio, dit.temporal_compression_ratio
            ));
        }
        if [vae.in_channels, vae.out_channels] != [3, 3] {
            return Err(not_a_backbone(format!(
                "its VAE takes {} and gives {} channels, not the 3 of RGB",
                vae.in_channels, vae.out_channels
            )));
        }
        Ok(Self { folder: folder.to_owned(), dit, vae, text, schedule, method })
    }

    /// Opens the tokenizer.
    ///
    /// # Errors
    /// When there is none, or it is not valid.
    pub fn tokenizer(&self) -> Result<Tokenizer, EngineError> {
        Ok(Tokenizer::open(&self.folder.join("tokenizer"))?)
    }

    /// Opens the weights of a part: reads their headers only.
    ///
    /// # Errors
    /// When there are none, or a file is not whole.
    pub fn weights(&self, part: Part) -> Result<Checkpoint, WeightsError> {
        Checkpoint::open_folder(&self.folder.join(part.folder()), part.stem())
    }

    /// Checks that all tokens have a row in the text encoder's table.
    ///
    /// # Errors
    /// When one has not: tokenizer and text encoder do not belong together.
    pub(crate) fn check_tokens(&self, ids: &[u32]) -> Result<(), EngineError> {
        match ids.iter().find(|&&id| id as usize >= self.text.vocab_size) {
            None => Ok(()),
            Some(id) => Err(EngineError::PartsDisagree {
                folder: self.folder.clone(),
                reason: format!("the tokenizer gives token {id}, the text encoder knows {}", self.text.vocab_size),
            }),
        }
    }

    /// Pixels for each latent pixel, in height and width.
    pub fn spatial_compression(&self) -> usize {
        self.vae.spatial_compression_ratio()
    }

    /// Height, width and frames of the training videos.
    pub fn trained_size(&self) -> (usize, usize, usize) {
        let scale = self.spatial_compression();
        (self.dit.sample_height * scale, self.dit.sample_width * scale, self.dit.sample_frames)
    }

    /// Frames a second of the training videos: 16 for 1.5, 8 for the others (no configuration file says so).
    pub fn fps(&self) -> f64 {
        if self.dit.patch_size_t.is_some() { 16.0 } else { 8.0 }
    }
}

/// A part of a backbone that has weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// The T5 encoder.
    TextEncoder,
    /// The diffusion transformer.
    Transformer,
    /// The VAE.
    Vae,
}

impl Part {
    /// All of them, in the order of a run.
    pub const ALL: [Self; 3] = [Self::TextEncoder, Self::Transformer, Self::Vae];

    /// Folder below the pipeline's.
    pub fn folder(self) -> &'static str {
        match self {
            Self::TextEncoder => "text_encoder",
            Self::Transformer => "transformer",
            Self::Vae => "vae",
        }
    }

    pub(crate) fn stem(self) -> &'static str {
        match self {
            Self::TextEncoder => "model",
            Self::Transformer | Self::Vae => "diffusion_pytorch_model",
        }
    }
}

/// Reads and parses a JSON file.
pub(crate) fn read_json<T: DeserializeOwned>(path: &Path, what: &'static str) -> Result<T, EngineError> {
    serde_json::from_str(&read_text(path)?).map_err(|error| EngineError::InvalidFile {
        what,
        reason: error.to_string(),
        path: path.to_owned(),
    })
}
