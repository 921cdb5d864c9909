use std::path::PathBuf;

use clap::Args;
use magicmirror_engine::latents::{LatentsRequest, encode_latents};
use magicmirror_models::vae::Tiling;

use super::Compute;
use crate::device::DeviceName;
use crate::progress::{say, with_progress};

/// Encode a video or frames to latents with a backbone's VAE.
///
/// Writes the posterior `mean` and `logvar` `[1, channels, latent frames, height / 8, width / 8]`, not scaled.
#[derive(Debug, Args)]
pub(super) struct Latents {
    /// Pipeline folder of a CogVideoX checkpoint
    #[arg(long, value_name = "DIR", env = "MAGICMIRROR_BACKBONE")]
    backbone: PathBuf,
    /// A video, or a .safetensors file with `frames` (F×3×H×W) in -1..1
    #[arg(long, value_name = "VIDEO|FILE")]
    input: PathBuf,
    /// Encode in tiles, which needs less memory
    #[arg(long)]
    vae_tiling: bool,
    #[command(flatten)]
    compute: Compute,
    /// Safetensors file to write
    #[arg(long, short, value_name = "FILE")]
    output: PathBuf,
}

impl Latents {
    pub(super) fn run(self, show: bool) -> anyhow::Result<()> {
        let device = DeviceName::open(self.compute.device)?;
        let request = LatentsRequest {
            precision: self.compute.precision(),
            backbone: self.backbone,
            input: self.input,
            output: self.output,
            tiling: if self.vae_tiling { Tiling::Auto } else { Tiling::Off },
        };
        with_progress(show, |control| encode_latents(&request, &device, control))?;
        say(&request.output.display().to_string());
        Ok(())
    }
}
