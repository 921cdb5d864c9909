//! What the model makes of given prompts and people, rendered every now and then by the ordinary generating pipeline.

use std::fs;
use std::path::{Path, PathBuf};

use burn::tensor::Device;
use magicmirror_models::weights::Precision;
use serde::{Deserialize, Serialize};

use crate::EngineError;
use crate::event::Control;
use crate::generate::{Request, generate};

/// What is rendered: section `[validation]`. Every person with every prompt.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ValidationConfig {
    /// Prompts with a class word.
    pub prompts: Vec<String>,
    /// One photo of each person.
    pub references: Vec<PathBuf>,
    /// Frames: 1 makes images, which is what stage 1 trains.
    pub frames: Option<usize>,
    /// Pixels; the backbone's own if not given.
    pub height: Option<usize>,
    /// Pixels; the backbone's own if not given.
    pub width: Option<usize>,
    /// Sampling steps.
    pub steps: Option<usize>,
    /// Guidance scale.
    pub guidance: Option<f64>,
    /// Seed, the same each time, so that pictures can be compared.
    pub seed: u64,
}

impl ValidationConfig {
    /// Whether all photos are there, of which the first validation, hours later, would be too late to learn.
    pub(super) fn check(&self) -> Result<(), EngineError> {
        match self.references.iter().find(|path| !path.is_file()) {
            None => Ok(()),
            Some(path) => Err(EngineError::options(
                format!("there is no photo at: {}", path.display()),
                "name others under validation.references, or leave them out",
            )),
        }
    }
}

/// Writes `<person>-<prompt>.png` or `.mp4`, numbered from 0, to a folder.
pub(super) fn render(
    config: &ValidationConfig,
    backbone: &Path,
    adapter: &Path,
    folder: &Path,
    precision: Precision,
    device: &Device,
    control: &mut Control<'_>,
) -> Result<(), EngineError> {
    fs::create_dir_all(folder).map_err(EngineError::io(folder))?;
    let extension = if config.frames == Some(1) { "png" } else { "mp4" };
    for (person, reference) in config.references.iter().enumerate() {
        for (number, prompt) in config.prompts.iter().enumerate() {
            let request = Request {
                backbone: Some(backbone.to_owned()),
                adapter: Some(adapter.to_owned()),
                references: vec![reference.clone()],
                prompt: prompt.clone(),
                frames: config.frames,
                height: config.height,
                width: config.width,
                steps: config.steps,
                guidance: config.guidance,
                seed: config.seed,
                precision,
                output: folder.join(format!("{person}-{number}.{extension}")),
                ..Request::default()
            };
            generate(&request, device, control)?;
        }
    }
    Ok(())
}
