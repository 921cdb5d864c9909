//! The model that comes with the program.
//!
//! A trained one is still to come: until then it is a tiny one with random weights, whose videos are noise.

use tempfile::TempDir;

use crate::EngineError;
use crate::event::Control;
use crate::generate::Request;
use crate::models::tiny::{TINY_SIZE, write_tiny};

/// Seed of the tiny model's weights.
const SEED: u64 = 20_250_103;

/// Where no backbone was named, points the request to the model that comes with the program, which is unpacked to a
/// temporary folder. The folder lasts as long as the second value.
///
/// # Errors
/// When the folder cannot be written, or an adapter is named without a backbone.
pub(crate) fn fill_in(request: &Request, control: &mut Control<'_>) -> Result<(Request, Option<TempDir>), EngineError> {
    let mut request = request.clone();
    if request.backbone.is_some() {
        return Ok((request, None));
    }
    if request.adapter.is_some() {
        return Err(EngineError::options(
            "--adapter without --backbone",
            "say which checkpoint the adapter was made for with --backbone DIR",
        ));
    }
    control.warn(
        "no --backbone given: using the tiny model that comes with this program. Its weights are random, nobody has \
         trained it: the video will be noise. For real videos give a CogVideoX checkpoint with --backbone",
    );
    let folder =
        tempfile::Builder::new().prefix("magicmirror-").tempdir().map_err(EngineError::io(std::env::temp_dir()))?;
    write_tiny(folder.path(), SEED)?;
    request.backbone = Some(folder.path().join("backbone"));
    if !request.references.is_empty() || request.identity.is_some() {
        request.adapter = Some(folder.path().join("adapter"));
    }
    let (height, width, frames) = TINY_SIZE;
    request.height.get_or_insert(height);
    request.width.get_or_insert(width);
    request.frames.get_or_insert(frames);
    request.steps.get_or_insert(10);
    Ok((request, Some(folder)))
}
