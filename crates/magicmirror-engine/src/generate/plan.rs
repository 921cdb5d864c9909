//! What a run needs, said before anything is loaded.

use std::path::Path;

use burn::tensor::Device;
use magicmirror_models::adapter::Adapter;
use magicmirror_models::vae::Tiling;
use magicmirror_models::weights::{Checkpoint, Precision};

use super::{Request, Settings};
use crate::EngineError;
use crate::backbone::{Backbone, Part};
use crate::event::{Control, Event};
use crate::memory::{self, MemoryPlan, StageMemory};

const F32: u64 = 4;

/// Says what the run needs, and whether it decodes in tiles: as asked, or else only where whole frames do not fit.
///
/// # Errors
/// When the run does not fit into memory either way.
pub(super) fn choose_tiling(
    backbone: &Backbone,
    settings: &Settings,
    adapter: Option<&Path>,
    request: &Request,
    device: &Device,
    control: &mut Control<'_>,
) -> Result<Tiling, EngineError> {
    let plan = |tiling| memory(backbone, settings, adapter, request.precision, tiling);
    let mut tiling = request.tiling.unwrap_or(Tiling::Off);
    let mut needs = plan(tiling)?;
    // How much memory a graphics card has free is not known here.
    let in_main_memory = *device == Device::flex();
    if in_main_memory && !needs.fits() && request.tiling.is_none() {
        tiling = Tiling::Auto;
        needs = plan(tiling)?;
        if needs.fits() {
            control.emit(Event::Note("frames are decoded in tiles: whole ones need more memory than there is".into()));
        }
    }
    if in_main_memory && !needs.fits() {
        return Err(EngineError::Memory {
            plan: needs,
            hint: "use a smaller --height, --width or --frames, --dtype bf16, or a machine with more memory",
        });
    }
    control.emit(Event::Plan(needs));
    Ok(tiling)
}

/// Memory of each stage. Weights are exact. Activations are estimates: the decoder's was measured, those of text encoder
/// and transformer are counted from the shapes and were not checked at large sizes.
fn memory(
    backbone: &Backbone,
    settings: &Settings,
    adapter: Option<&Path>,
    precision: Precision,
    tiling: Tiling,
) -> Result<MemoryPlan, EngineError> {
    let weights = |part: Part| Ok::<_, EngineError>(bytes_in_memory(&backbone.weights(part)?, precision));
    let mut transformer = weights(Part::Transformer)?;
    if let Some(folder) = adapter {
        transformer += bytes_in_memory(&Adapter::open(folder)?, precision);
    }
    let decoder = weights(Part::Vae)?;
    let text_tokens = backbone.dit.max_text_seq_length as u64;
    let pixels = (settings.height * settings.width) as u64;
    let scale = (backbone.spatial_compression() * backbone.dit.patch_size).pow(2) as u64;
    let latent_frames = (settings.frames / 4 + 1) as u64;
    let tokens = text_tokens + latent_frames * pixels / scale;
    Ok(MemoryPlan {
        stages: vec![
            StageMemory {
                stage: "text encoder",
                weights: weights(Part::TextEncoder)?,
                // Both halves of the gated layer and the scores of all heads.
                activations: F32
                    * text_tokens
                    * (4 * backbone.text.d_ff as u64 + 3 * backbone.text.num_heads as u64 * text_tokens),
            },
            StageMemory {
                stage: "transformer",
                weights: transformer,
                // The feed-forward layer is widest: its hidden tokens (4 × width) before and after the activation, and
                // the streams, their norms and updates.
                activations: F32 * tokens * backbone.dit.width() as u64 * 16,
            },
            StageMemory {
                stage: "decoder",
                weights: decoder,
                activations: decoder_activations(backbone, settings, tiling),
            },
        ],
        available: memory::available(),
    })
}

/// The last level works on frames of full size with the fewest channels, on as many frames as one chunk gives; there are
/// about ten tensors of that size at the peak, what convolutions carry from chunk to chunk included (measured: 8.4).
fn decoder_activations(backbone: &Backbone, settings: &Settings, tiling: Tiling) -> u64 {
    let (height, width) = (settings.height, settings.width);
    // Tiles have half the sides of the training frames.
    let (tile_height, tile_width) = (backbone.vae.sample_height / 2, backbone.vae.sample_width / 2);
    let (working_height, working_width) = match tiling {
        Tiling::Off => (height, width),
        Tiling::Auto | Tiling::On => (height.min(tile_height), width.min(tile_width)),
    };
    let frames = settings.frames.min(9) as u64;
    let channels = backbone.vae.block_out_channels.first().copied().unwrap_or(1) as u64;
    let all_frames = F32 * 3 * (settings.frames * height * width) as u64;
    3 * all_frames + 10 * F32 * frames * channels * (working_height * working_width) as u64
}

fn bytes_in_memory(checkpoint: &Checkpoint, precision: Precision) -> u64 {
    checkpoint
        .entries()
        .values()
        .map(|entry| match precision {
            Precision::Stored => entry.bytes(),
            Precision::F32 => entry.elements() as u64 * 4,
            Precision::Bf16 | Precision::F16 => entry.elements() as u64 * 2,
        })
        .sum()
}
