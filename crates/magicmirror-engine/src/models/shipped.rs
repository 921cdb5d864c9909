//! `nano`, the model that comes with the program: a small one for laptops, trained on people who do not exist. Its weights
//! and what is known of it are in `assets/nano`.

use std::fs;

use tempfile::TempDir;

use crate::EngineError;
use crate::event::Control;
use crate::generate::Request;

/// Steps that its scores in `assets/nano/README.md` are of.
const STEPS: usize = 4;

/// Guidance that its scores are of.
const GUIDANCE: f64 = 2.5;

/// Guidance away from the transformer without some blocks that its scores are of.
const SKIP_GUIDANCE: f64 = 0.75;
const SKIP_BLOCKS: [usize; 2] = [6, 7];

/// Videos of which the one most like the photos is kept, for its scores.
const CANDIDATES: usize = 6;

/// The adapter's folder beside the parts of the backbone.
const ADAPTER: &str = "adapter";

macro_rules! shipped {
    ($($name:literal),* $(,)?) => {
        [$(($name, include_bytes!(concat!("../../../../assets/nano/", $name)))),*]
    };
}

/// Where each file belongs in the unpacked folder, and what is in it. `assets/nano/pack.py` reads the names here.
const FILES: [(&str, &[u8]); 14] = shipped![
    "model_index.json",
    "scheduler/scheduler_config.json",
    "tokenizer/spiece.model",
    "tokenizer/tokenizer_config.json",
    "text_encoder/config.json",
    "text_encoder/model.safetensors",
    "transformer/config.json",
    "transformer/diffusion_pytorch_model.safetensors",
    "vae/config.json",
    "vae/diffusion_pytorch_model.safetensors",
    "adapter/adapter_config.json",
    "adapter/model.safetensors",
    "adapter/vision/config.json",
    "adapter/vision/model.safetensors",
];

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
        "no --backbone given: using nano, the small model that comes with this program. It draws soft synthetic heads \
         at 96x144 that turn left or right, look up or down, with the skin, the hair and the shape of the photo's face at \
         best. For real videos give a CogVideoX checkpoint with --backbone",
    );
    let folder =
        tempfile::Builder::new().prefix("magicmirror-").tempdir().map_err(EngineError::io(std::env::temp_dir()))?;
    for (name, bytes) in FILES {
        let path = folder.path().join(name);
        let parent = path.parent().expect("a file in a folder");
        fs::create_dir_all(parent).map_err(EngineError::io(parent))?;
        fs::write(&path, bytes).map_err(EngineError::io(&path))?;
    }
    request.backbone = Some(folder.path().to_owned());
    if !request.references.is_empty() || request.identity.is_some() {
        request.adapter = Some(folder.path().join(ADAPTER));
        if request.latents.is_none() {
            request.candidates.get_or_insert(CANDIDATES);
        }
    }
    request.steps.get_or_insert(STEPS);
    request.guidance.get_or_insert(GUIDANCE);
    if *request.skip_guidance.get_or_insert(SKIP_GUIDANCE) > 0.0 && request.skip_blocks.is_empty() {
        request.skip_blocks = SKIP_BLOCKS.to_vec();
    }
    Ok((request, Some(folder)))
}
