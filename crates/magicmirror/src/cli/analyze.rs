use std::fmt::Write;
use std::path::PathBuf;

use clap::{Args, Subcommand};
use magicmirror_engine::analysis::{attention, modulation, overhead};
use magicmirror_engine::generate::Request;

use super::{Compute, Faces};
use crate::device::DeviceName;
use crate::progress::{print_data, say, with_progress};

/// Look into an adapter at work in a backbone.
#[derive(Debug, Subcommand)]
pub(super) enum Analyze {
    /// Scale factors over timesteps and layers, with and without identity (figure 13)
    ///
    /// Writes modulation.json, modulation.png and modulation.html (interactive, one file) to a folder, and prints how far
    /// each stream's factors are the same at all timesteps.
    Modulation {
        #[command(flatten)]
        subject: Subject,
        /// Timesteps to look at, evenly spaced, 2 to 1000
        #[arg(long, value_name = "N", default_value_t = 10)]
        timesteps: usize,
        /// Folder to write to
        #[arg(long, short, value_name = "DIR")]
        output: PathBuf,
    },
    /// Parameters, memory, seconds and operations with and without the adapter (table 6)
    Overhead {
        #[command(flatten)]
        subject: Subject,
        #[command(flatten)]
        run: Run,
        /// JSON file to write
        #[arg(long, short, value_name = "FILE")]
        output: PathBuf,
    },
    /// How much attention the face tokens receive, for each layer and step
    Attention {
        #[command(flatten)]
        subject: Subject,
        #[command(flatten)]
        run: Run,
        /// JSON file to write
        #[arg(long, short, value_name = "FILE")]
        output: PathBuf,
    },
}

/// What is looked into.
#[derive(Debug, Args)]
pub(super) struct Subject {
    /// Pipeline folder of a CogVideoX checkpoint; default: the model that comes with this program
    #[arg(long, value_name = "DIR", env = "MAGICMIRROR_BACKBONE")]
    backbone: Option<PathBuf>,
    /// Adapter folder (needed with --backbone)
    #[arg(long, value_name = "DIR", env = "MAGICMIRROR_ADAPTER")]
    adapter: Option<PathBuf>,
    /// Photo of the person; repeat it for several photos of the same person
    #[arg(long = "reference", value_name = "IMG")]
    references: Vec<PathBuf>,
    /// Features from `identity encode`, instead of photos
    #[arg(long, value_name = "FILE")]
    identity: Option<PathBuf>,
    /// Seed of all noise, and of the picture
    #[arg(long, default_value_t = 0)]
    seed: u64,
    #[command(flatten)]
    faces: Faces,
    #[command(flatten)]
    compute: Compute,
}

/// What is run.
#[derive(Debug, Args)]
pub(super) struct Run {
    /// What the video shows
    #[arg(long, default_value = "a person img")]
    prompt: String,
    /// Height in pixels; default: what the checkpoint was trained for
    #[arg(long, value_name = "PIXELS")]
    height: Option<usize>,
    /// Width in pixels; default: what the checkpoint was trained for
    #[arg(long, value_name = "PIXELS")]
    width: Option<usize>,
    /// Frames of video, 4k + 1; default: what the checkpoint was trained for
    #[arg(long, value_name = "N")]
    frames: Option<usize>,
    /// Sampling steps
    #[arg(long, value_name = "N", default_value_t = 2)]
    steps: usize,
}

impl Analyze {
    pub(super) fn run(self, show: bool) -> anyhow::Result<()> {
        match self {
            Self::Modulation { subject, timesteps, output } => {
                let (device, request) = subject.open(None)?;
                let found = with_progress(show, |control| {
                    modulation::modulation(&request, timesteps, &output, &device, control)
                })?;
                say(&output.display().to_string());
                print_data(invariance_table(&found).trim_end())
            }
            Self::Overhead { subject, run, output } => {
                let (device, request) = subject.open(Some(run))?;
                let found = with_progress(show, |control| overhead::overhead(&request, &output, &device, control))?;
                say(&output.display().to_string());
                print_data(found.table().trim_end())
            }
            Self::Attention { subject, run, output } => {
                let (device, request) = subject.open(Some(run))?;
                let found = with_progress(show, |control| attention::attention(&request, &output, &device, control))?;
                say(&output.display().to_string());
                print_data(found.table().trim_end())
            }
        }
    }
}

impl Subject {
    fn open(self, run: Option<Run>) -> anyhow::Result<(burn::tensor::Device, Request)> {
        let device = DeviceName::open(self.compute.device)?;
        let request = Request {
            precision: self.compute.precision(),
            faces: self.faces.options(),
            backbone: self.backbone,
            adapter: self.adapter,
            references: self.references,
            identity: self.identity,
            seed: self.seed,
            prompt: run.as_ref().map_or_else(|| "a person".to_owned(), |run| run.prompt.clone()),
            height: run.as_ref().and_then(|run| run.height),
            width: run.as_ref().and_then(|run| run.width),
            frames: run.as_ref().and_then(|run| run.frames),
            steps: run.as_ref().map(|run| run.steps),
            ..Request::default()
        };
        Ok((device, request))
    }
}

fn invariance_table(found: &modulation::Modulation) -> String {
    let mut table = "| stream | invariance to time | change by the identity |\n|---|---|---|\n".to_owned();
    let number = |value: Option<f64>| value.map_or("–".to_owned(), |value| format!("{value:.3}"));
    for (stream, invariance) in &found.invariance_to_time {
        let change = found.relative_change.get(stream).copied().flatten();
        let _ = writeln!(table, "| {} | {} | {} |", stream.label(), number(*invariance), number(change));
    }
    table
}
