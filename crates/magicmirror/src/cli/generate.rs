use std::path::PathBuf;

use clap::{Args, ValueEnum};
use magicmirror_engine::evaluate::Manifest;
use magicmirror_engine::generate::{Preset, Request, generate, generate_manifest};
use magicmirror_models::diffusion::Method;
use magicmirror_models::vae::Tiling;

use super::{Compute, Faces};
use crate::device::DeviceName;
use crate::progress::{say, with_progress};

/// Generate a video.
///
/// Example: magicmirror generate --backbone cogvideox-5b --adapter my-adapter --reference me.jpg --prompt "a man img
/// playing the guitar on a beach" --preset cogvideox-5b --output me.mp4
#[derive(Debug, Args)]
pub(super) struct Generate {
    /// Pipeline folder of a CogVideoX checkpoint; default: the model that comes with this program
    #[arg(long, value_name = "DIR", env = "MAGICMIRROR_BACKBONE")]
    backbone: Option<PathBuf>,
    /// Adapter folder (needed with --backbone for --reference and --identity)
    #[arg(long, value_name = "DIR", env = "MAGICMIRROR_ADAPTER")]
    adapter: Option<PathBuf>,
    /// Photo of the person (JPEG, PNG, WebP); repeat it for several photos of the same person
    #[arg(long = "reference", value_name = "IMG")]
    references: Vec<PathBuf>,
    /// Features from `identity encode`, instead of photos
    #[arg(long, value_name = "FILE")]
    identity: Option<PathBuf>,
    /// What the video shows; with an identity it needs a class word, best followed by img: "a woman img reading"
    #[arg(long, required_unless_present = "manifest", default_value = "", hide_default_value = true)]
    prompt: String,
    /// Make a video for each line {video, references[], prompt, seed} of this file, into the folder --output; what is there
    /// is kept. `evaluate prompts` writes such a file
    #[arg(long, value_name = "FILE", requires = "output", conflicts_with_all = ["prompt", "references", "identity", "latents", "tensors"])]
    manifest: Option<PathBuf>,
    /// What it should not show
    #[arg(long, value_name = "PROMPT", default_value = "", hide_default_value = true)]
    negative_prompt: String,
    /// Size, steps and scheduler as recommended for a released checkpoint
    #[arg(long)]
    preset: Option<PresetName>,
    /// Height in pixels; default: what the checkpoint was trained for
    #[arg(long, value_name = "PIXELS")]
    height: Option<usize>,
    /// Width in pixels; default: what the checkpoint was trained for
    #[arg(long, value_name = "PIXELS")]
    width: Option<usize>,
    /// Frames of video, 4k + 1; default: what the checkpoint was trained for
    #[arg(long, value_name = "N")]
    frames: Option<usize>,
    /// Sampling steps, 1 to 1000 [default: 50; without --backbone 4]
    #[arg(long, value_name = "N")]
    steps: Option<usize>,
    /// Guidance scale; at 1 or below the negative prompt is not used [default: 6; without --backbone 2.5]
    #[arg(long, value_name = "G", allow_negative_numbers = true)]
    guidance: Option<f64>,
    /// Vary the guidance over the steps, as the released 5B recipe does
    #[arg(long)]
    dynamic_guidance: bool,
    /// Sharpen by guidance away from what the transformer predicts without --skip-blocks; a third call for each step, 1 is usual
    /// [default: 0; without --backbone 0.75]
    #[arg(long, value_name = "G", allow_negative_numbers = true)]
    skip_guidance: Option<f64>,
    /// Blocks of the transformer, from 0, as 6,7 [default without --backbone: 6,7]
    #[arg(long, value_name = "BLOCKS", value_delimiter = ',')]
    skip_blocks: Vec<usize>,
    /// Step rule; default: the one in `scheduler_config.json`
    #[arg(long)]
    scheduler: Option<Scheduler>,
    /// Seed of all noise
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Make N videos, with seeds SEED, SEED + 1, …, and keep the one whose faces are most like the photos by the adapter's
    /// recogniser [default: 1; without --backbone 6]
    #[arg(long, value_name = "N")]
    candidates: Option<usize>,
    /// Weight of the identity's cross-attention [default: 1]
    #[arg(long, value_name = "S", allow_negative_numbers = true)]
    face_scale: Option<f64>,
    /// Frames a second of the file; default: the model's (8, or 16 for 1.5)
    #[arg(long, allow_negative_numbers = true)]
    fps: Option<f64>,
    /// Decode the frames in tiles, which needs less memory; default: only where memory is short
    #[arg(long, value_name = "WHEN")]
    vae_tiling: Option<TilingName>,
    /// Initial noise `latents` (1×F'×C×h×w), and for dpm optionally `sde_noise` (safetensors)
    #[arg(long, value_name = "FILE")]
    latents: Option<PathBuf>,
    /// Write all intermediate tensors (safetensors)
    #[arg(long, value_name = "FILE")]
    tensors: Option<PathBuf>,
    #[command(flatten)]
    faces: Faces,
    #[command(flatten)]
    compute: Compute,
    /// .mp4, .gif, .webp, .png (one frame), or a folder for PNGs
    #[arg(long, short, value_name = "PATH", default_value = "magicmirror.mp4")]
    output: PathBuf,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum PresetName {
    #[value(name = "cogvideox-2b")]
    Cogvideox2b,
    #[value(name = "cogvideox-5b")]
    Cogvideox5b,
    #[value(name = "cogvideox-1.5-5b")]
    Cogvideox15,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Scheduler {
    Ddim,
    Dpm,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum TilingName {
    On,
    Off,
}

impl Generate {
    pub(super) fn run(self, show: bool) -> anyhow::Result<()> {
        let device = DeviceName::open(self.compute.device)?;
        let request = Request {
            precision: self.compute.precision(),
            faces: self.faces.options(),
            backbone: self.backbone,
            adapter: self.adapter,
            references: self.references,
            identity: self.identity,
            prompt: self.prompt,
            negative_prompt: self.negative_prompt,
            preset: self.preset.map(|preset| match preset {
                PresetName::Cogvideox2b => Preset::Cogvideox2b,
                PresetName::Cogvideox5b => Preset::Cogvideox5b,
                PresetName::Cogvideox15 => Preset::Cogvideox15,
            }),
            height: self.height,
            width: self.width,
            frames: self.frames,
            steps: self.steps,
            guidance: self.guidance,
            dynamic_guidance: self.dynamic_guidance,
            skip_guidance: self.skip_guidance,
            skip_blocks: self.skip_blocks,
            method: self.scheduler.map(|scheduler| match scheduler {
                Scheduler::Ddim => Method::Ddim,
                Scheduler::Dpm => Method::Dpm,
            }),
            seed: self.seed,
            candidates: self.candidates,
            face_scale: self.face_scale,
            fps: self.fps,
            tiling: self.vae_tiling.map(|tiling| match tiling {
                TilingName::On => Tiling::On,
                TilingName::Off => Tiling::Off,
            }),
            latents: self.latents,
            tensors: self.tensors,
            output: self.output,
        };
        if let Some(manifest) = self.manifest {
            let made = with_progress(show, |control| {
                let manifest = Manifest::read(&manifest)?;
                generate_manifest(&request, &manifest, &request.output, &device, control)
            })?;
            say(&format!("{} videos made, {} kept: {}", made.made, made.kept, made.manifest.display()));
            return Ok(());
        }
        let generated = with_progress(show, |control| generate(&request, &device, control))?;
        say(&format!("{} (settings in {})", generated.output.display(), generated.report.display()));
        Ok(())
    }
}
