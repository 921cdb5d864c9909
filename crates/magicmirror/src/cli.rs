//! The commands: one file a verb. Each parses, asks the engine, and prints data on stdout.

mod analyze;
mod data;
mod evaluate;
mod generate;
mod identity;
mod latents;
mod models;
mod train;

use clap::{Args, Parser, Subcommand, ValueEnum};
use magicmirror_models::weights::Precision;

use crate::device::DeviceName;

/// Identity-preserving video generation: a person from a photo, doing what a prompt says.
#[derive(Debug, Parser)]
#[command(name = "magicmirror", version, propagate_version = true, arg_required_else_help = true)]
#[command(after_help = "Exit codes: 0 done, 1 a check failed, 2 error, 130 stopped by Ctrl-C")]
pub(crate) struct Cli {
    #[command(subcommand)]
    command: Command,
    /// Show no progress bars
    #[arg(long, global = true, env = "MAGICMIRROR_NO_PROGRESS", value_parser = clap::builder::FalseyValueParser::new())]
    no_progress: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Generate a video from a prompt, and from photos of a person if given
    Generate(Box<generate::Generate>),
    /// Judge videos by the paper's metrics
    Evaluate(evaluate::Evaluate),
    /// Read faces from photos
    #[command(subcommand)]
    Identity(identity::Identity),
    /// Encode a video or frames to latents with a backbone's VAE
    Latents(latents::Latents),
    /// Make and inspect data sets of people who do not exist
    #[command(subcommand)]
    Data(data::Data),
    /// Train an adapter
    #[command(subcommand)]
    Train(train::Train),
    /// Look into an adapter at work: modulation, overhead, attention
    #[command(subcommand)]
    Analyze(analyze::Analyze),
    /// Download, inspect, import and initialise models
    #[command(subcommand)]
    Models(models::Models),
}

impl Cli {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let show = !self.no_progress;
        match self.command {
            Command::Generate(command) => command.run(show),
            Command::Evaluate(command) => command.run(show),
            Command::Identity(command) => command.run(show),
            Command::Latents(command) => command.run(show),
            Command::Data(command) => command.run(show),
            Command::Train(command) => command.run(show),
            Command::Analyze(command) => command.run(show),
            Command::Models(command) => command.run(show),
        }
    }
}

/// Where and in which precision to compute.
#[derive(Debug, Args)]
struct Compute {
    /// cpu, cuda, cuda:N, rocm, rocm:N, vulkan or metal; default: the best one built in
    #[arg(long, value_name = "DEVICE", env = "MAGICMIRROR_DEVICE")]
    device: Option<DeviceName>,
    /// Precision of the weights in memory; default: the checkpoint's
    #[arg(long, value_name = "DTYPE")]
    dtype: Option<Dtype>,
}

impl Compute {
    fn precision(&self) -> Precision {
        match self.dtype {
            None => Precision::Stored,
            Some(Dtype::F32) => Precision::F32,
            Some(Dtype::Bf16) => Precision::Bf16,
            Some(Dtype::F16) => Precision::F16,
        }
    }
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Dtype {
    F32,
    Bf16,
    F16,
}

/// Which networks read a face, and which face of a photo is meant.
#[derive(Debug, Args)]
struct Faces {
    /// Recogniser: arcface, curricularface, dlib, mobilefacenet or a weight file; default: the adapter's
    #[arg(long, value_name = "NAME|FILE")]
    recogniser: Option<String>,
    /// Folder of a CLIP vision encoder; default: the adapter's
    #[arg(long, value_name = "DIR")]
    vision: Option<std::path::PathBuf>,
    /// Which face of a photo with several, from 0, largest first
    #[arg(long, value_name = "N")]
    face_index: Option<usize>,
    /// Smallest face to look for, in pixels
    #[arg(long, value_name = "PIXELS", default_value_t = 20)]
    min_face: usize,
    /// Give the vision encoder the whole photo instead of a square around the face
    #[arg(long)]
    no_crop: bool,
}

impl Faces {
    fn options(&self) -> magicmirror_engine::identity::FaceOptions {
        magicmirror_engine::identity::FaceOptions {
            recogniser: self.recogniser.clone(),
            vision: self.vision.clone(),
            face_index: self.face_index,
            min_face: self.min_face,
            crop: !self.no_crop,
        }
    }
}
