use std::path::Path;

use burn::tensor::Device;
use magicmirror_models::adapter::{Adapter, AdapterConfig, BackboneSizes, check_photomaker, import_photomaker};
use magicmirror_models::vision::vit::{VisionConfig, open_photomaker};

use crate::EngineError;
use crate::backbone::Backbone;
use crate::files::read_text;

/// Writes a freshly initialised adapter for a backbone: the sizes of an `adapter_config.json`, or else the paper's and
/// every second block.
///
/// # Errors
/// When the backbone or the configuration cannot be read, they do not fit each other, the folder holds an adapter
/// already, or cannot be written.
pub fn init_adapter(
    backbone: &Path,
    config: Option<&Path>,
    folder: &Path,
    seed: u64,
) -> Result<AdapterConfig, EngineError> {
    refuse_existing(folder)?;
    let sizes = sizes(&Backbone::open(backbone)?);
    let config = match config {
        Some(path) => AdapterConfig::from_json(&read_text(path)?)?,
        None => AdapterConfig::for_backbone(&sizes),
    };
    config.check_backbone(&sizes)?;
    Adapter::initialise(&config, seed, &Device::flex())?.save(folder)?;
    Ok(config)
}

/// Writes an adapter whose identity perceiver and vision encoder are PhotoMaker-V2's, the rest fresh.
///
/// # Errors
/// When the backbone or the checkpoint cannot be opened, a tensor does not fit, the folder holds an adapter already, or
/// cannot be written.
pub fn import_photomaker_v2(
    checkpoint: &Path,
    backbone: &Path,
    folder: &Path,
    seed: u64,
) -> Result<AdapterConfig, EngineError> {
    refuse_existing(folder)?;
    let checkpoint = open_photomaker(checkpoint)?;
    let config = AdapterConfig::for_backbone(&sizes(&Backbone::open(backbone)?));
    let vision = VisionConfig::clip_vit_l14();
    // Before half a billion random numbers are drawn.
    check_photomaker(&checkpoint, &vision, &config)?;
    let adapter = Adapter::initialise(&config, seed, &Device::flex())?;
    let adapter = import_photomaker(&checkpoint, &vision, adapter, folder)?;
    Ok(adapter.config().clone())
}

fn refuse_existing(folder: &Path) -> Result<(), EngineError> {
    if folder.join("adapter_config.json").exists() {
        return Err(EngineError::options(
            format!("there is an adapter already in: {}", folder.display()),
            "choose another folder, or remove it first",
        ));
    }
    Ok(())
}

/// The sizes of a backbone that an adapter must fit.
pub(crate) fn sizes(backbone: &Backbone) -> BackboneSizes {
    BackboneSizes {
        num_layers: backbone.dit.num_layers,
        num_attention_heads: backbone.dit.num_attention_heads,
        attention_head_dim: backbone.dit.attention_head_dim,
        time_embed_dim: backbone.dit.time_embed_dim,
        text_embed_dim: backbone.dit.text_embed_dim,
    }
}
