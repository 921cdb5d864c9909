use std::path::{Path, PathBuf};

use anyhow::Context;
use burn::tensor::Device;
use clap::{Args, Subcommand};
use magicmirror_engine::train::{
    Finished, ImageData, StageConfig, StageData, TrainError, VideoData, load_config, train_backbone, train_encoder,
    train_stage, train_vae,
};
use magicmirror_engine::{Ablation, Control, EngineError, ablate};

use crate::device::DeviceName;
use crate::progress::{print_data, say, with_progress};

/// Train an adapter on a frozen backbone, or the parts of a small model from nothing.
#[derive(Debug, Subcommand)]
pub(super) enum Train {
    /// Stage 1: images, from which the adapter learns who somebody is
    Image(Run),
    /// Stage 2: clips mixed with images, from which it learns to keep them while they move
    Video(Run),
    /// A small model's autoencoder: images, then clips
    Vae(Run),
    /// A small model's text encoder and transformer, on latents of its autoencoder: images, then clips
    Backbone(Run),
    /// A small vision encoder that tells people apart
    Encoder(Run),
    /// Table 3 of the paper: every row trained with the same budget, and scored on held-out people; goes on where it was
    Ablation {
        /// Configuration: TOML, as configs/nano-ablation.toml
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
        /// Folder of all runs, their videos and scores
        #[arg(long, value_name = "DIR")]
        run: PathBuf,
        /// Devices as for the other kinds of training
        #[arg(long, value_name = "DEVICE", env = "MAGICMIRROR_DEVICE", value_delimiter = ',')]
        device: Vec<DeviceName>,
    },
}

/// What all kinds of training are told.
#[derive(Debug, Args)]
#[expect(clippy::struct_field_names, reason = "fields are named as their flags, and one is --run")]
pub(super) struct Run {
    /// Configuration: TOML, as in configs/
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Folder of the run: checkpoints, metrics, validation pictures and the model
    #[arg(long, value_name = "DIR", required_unless_present = "plan")]
    run: Option<PathBuf>,
    /// Go on with the run in the folder
    #[arg(long)]
    resume: bool,
    /// Put a value over the file's, as in --set optimiser.learning_rate=1e-4 (repeatable)
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Checkpoints to keep; default: the configuration's
    #[arg(long, value_name = "N")]
    keep: Option<usize>,
    /// Say what memory the run would need, and do nothing
    #[arg(long)]
    plan: bool,
    /// Devices that each compute a part of the batch: cpu, cuda:N, rocm:N, vulkan or metal, separated by commas; default:
    /// the best one built in
    #[arg(long, value_name = "DEVICE", env = "MAGICMIRROR_DEVICE", value_delimiter = ',')]
    device: Vec<DeviceName>,
}

impl Train {
    pub(super) fn run(self, show: bool) -> anyhow::Result<()> {
        match self {
            Self::Image(run) => run.stage::<ImageData>(show, &load_config(&run.config, &run.set())?),
            Self::Video(run) => run.stage::<VideoData>(show, &load_config(&run.config, &run.set())?),
            Self::Vae(run) => run.part(show, &load_config(&run.config, &run.set())?, train_vae),
            Self::Backbone(run) => run.part(show, &load_config(&run.config, &run.set())?, train_backbone),
            Self::Encoder(run) => run.part(show, &load_config(&run.config, &run.set())?, train_encoder),
            Self::Ablation { config, run, device } => {
                let (config, devices) = (load_config::<Ablation>(&config, &[])?, open_all(&device)?);
                let table = with_progress(show, |control| ablate(&config, &run, &devices, control))?;
                say(&format!("all rows are trained and scored: {}", table.display()));
                Ok(())
            }
        }
    }
}

impl Run {
    fn stage<D: StageData>(&self, show: bool, config: &StageConfig<D>) -> anyhow::Result<()> {
        config.validate()?;
        let Some(folder) = self.folder(|| Ok(config.plan(self.device.len().max(1))?.to_string()))? else {
            return Ok(());
        };
        let (examples, devices) = (config.data.examples()?, open_all(&self.device)?);
        finish(with_progress(show, |control| train_stage(config, &examples, &folder, self.resume, &devices, control))?)
    }

    /// A part of a small model, which has no memory plan.
    fn part<C>(
        &self,
        show: bool,
        config: &C,
        train: impl FnOnce(&C, &Path, bool, &[Device], &mut Control<'_>) -> Result<Finished, EngineError>,
    ) -> anyhow::Result<()> {
        let folder = self.run.as_deref().filter(|_| !self.plan);
        let folder = folder.context("--plan is for train image and train video: small models fit anywhere")?;
        let devices = open_all(&self.device)?;
        finish(with_progress(show, |control| train(config, folder, self.resume, &devices, control))?)
    }

    /// What is put over the file's values.
    fn set(&self) -> Vec<String> {
        let keep = self.keep.map(|keep| format!("run.keep={keep}"));
        self.set.iter().cloned().chain(keep).collect()
    }

    /// The run's folder; `None` if only the plan was asked for, which is then printed.
    fn folder(&self, plan: impl FnOnce() -> anyhow::Result<String>) -> anyhow::Result<Option<PathBuf>> {
        if self.plan {
            print_data(&plan()?)?;
            return Ok(None);
        }
        Ok(self.run.clone())
    }
}

/// The devices of these names, or the best one built in.
fn open_all(names: &[DeviceName]) -> anyhow::Result<Vec<Device>> {
    if names.is_empty() {
        return Ok(vec![DeviceName::open(None)?]);
    }
    names.iter().map(|name| DeviceName::open(Some(*name))).collect()
}

fn finish(finished: Finished) -> anyhow::Result<()> {
    let Finished { step, complete, checkpoint, model } = finished;
    if !complete {
        return Err(EngineError::from(TrainError::Stopped { step, checkpoint }).into());
    }
    say(&format!("{step} steps done: the model is {}", model.display()));
    Ok(())
}
