//! What an adapter does inside a backbone, in numbers and pictures: [`modulation`] (the paper's figure 13), [`overhead`]
//! (its table 6) and [`attention`].

pub mod attention;
mod flops;
pub mod modulation;
pub mod overhead;
mod scatter;
mod tsne;

use std::path::Path;

use serde::Serialize;
use tempfile::TempDir;

use crate::EngineError;
use crate::backbone::Backbone;
use crate::event::Control;
use crate::files::ensure_writable;
use crate::generate::Request;
use crate::models::shipped;
use magicmirror_models::weights::write_aside;

/// A request whose model is known, and which would write to a temporary folder if it wrote.
struct Prepared {
    request: Request,
    // Held for as long as the run: the model that comes with the program, and where a run may write.
    _shipped: Option<TempDir>,
    _folder: TempDir,
}

impl Prepared {
    fn new(request: &Request, control: &mut Control<'_>) -> Result<Self, EngineError> {
        let (mut request, shipped) = shipped::fill_in(request, control)?;
        // One video by the plain sampling loop, also where the model that comes with the program would choose among several.
        request.candidates = None;
        request.skip_guidance = None;
        request.skip_blocks.clear();
        let folder = tempfile::tempdir().map_err(EngineError::io(std::env::temp_dir()))?;
        request.output = folder.path().join("frames");
        Ok(Self { request, _shipped: shipped, _folder: folder })
    }

    /// The same, where there must be somebody to show.
    fn with_identity(request: &Request, control: &mut Control<'_>) -> Result<Self, EngineError> {
        if request.references.is_empty() && request.identity.is_none() {
            return Err(EngineError::options(
                "there is no identity to analyse",
                "add a photo with --reference IMG, or features with --identity FILE",
            ));
        }
        Self::new(request, control)
    }

    fn backbone(&self) -> Result<Backbone, EngineError> {
        Backbone::open(self.request.backbone.as_ref().expect("the shipped model is filled in"))
    }
}

/// Writes a result as JSON.
fn write_json(path: &Path, result: &impl Serialize) -> Result<(), EngineError> {
    let json = serde_json::to_string_pretty(result).expect("results are plain data");
    Ok(write_aside(path, json.as_bytes())?)
}

/// Makes a folder for results, and makes sure that these files can be written to it.
fn prepare_folder(folder: &Path, files: &[&str]) -> Result<(), EngineError> {
    std::fs::create_dir_all(folder).map_err(EngineError::io(folder))?;
    files.iter().try_for_each(|file| ensure_writable(&folder.join(file)))
}
