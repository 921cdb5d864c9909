use std::io;
use std::path::{Path, PathBuf};

use magicmirror_media::MediaError;
use magicmirror_models::adapter::{AdapterError, ClassWordError, ConfigError, IdentityError, OtherBackbone};
use magicmirror_models::diffusion::ScheduleError;
use magicmirror_models::dit::DitError;
use magicmirror_models::text::{T5ConfigError, TokenizerError};
use magicmirror_models::vae::VaeError;
use magicmirror_models::weights::WeightsError;
use thiserror::Error;

use crate::dataset::DatasetError;
use crate::memory::{Bytes, MemoryPlan};
use crate::models::DownloadError;
use crate::train::TrainError;

/// Why a request could not be carried out.
#[derive(Debug, Error)]
pub enum EngineError {
    /// The run was asked to stop.
    #[error("stopped: nothing was written")]
    Cancelled,
    /// The run was asked to stop, and can go on later.
    #[error("stopped: what is finished is kept in {}\n\nhint: the same command goes on from there", folder.display())]
    Paused {
        /// Where it is kept.
        folder: PathBuf,
    },
    /// The file system refused.
    #[error("cannot access file: {}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A JSON file that is not what it should be.
    #[error("not a valid {what} ({reason}): {}", path.display())]
    InvalidFile {
        /// What it should be.
        what: &'static str,
        /// What is wrong.
        reason: String,
        /// The file.
        path: PathBuf,
    },
    /// A folder that is not a pipeline folder, or not one of a supported kind.
    #[error("not a CogVideoX pipeline folder ({reason}): {}\n\nhint: {hint}", folder.display())]
    NotABackbone {
        /// The folder.
        folder: PathBuf,
        /// What is missing or wrong.
        reason: String,
        /// What to do.
        hint: &'static str,
    },
    /// Parts of a backbone that do not belong together.
    #[error("the parts of this backbone do not fit together: {reason}: {}", folder.display())]
    PartsDisagree {
        /// The folder.
        folder: PathBuf,
        /// Both numbers.
        reason: String,
    },
    /// Options that cannot be used together, or need another one.
    #[error("{problem}\n\nhint: {hint}")]
    Options {
        /// What is wrong, with the options' names.
        problem: String,
        /// What to do.
        hint: String,
    },
    /// A number outside its range.
    #[error("{option} is {value}, but must {rule}\n\nhint: {hint}")]
    OutOfRange {
        /// The option.
        option: &'static str,
        /// Its value.
        value: String,
        /// What holds for valid values.
        rule: String,
        /// The nearest valid value, or what to do.
        hint: String,
    },
    /// A tensor in a file given by the user has another shape than the run needs.
    #[error("tensor {name} has shape {found:?}, this run needs {expected:?}: {}", path.display())]
    TensorShape {
        /// Name of the tensor.
        name: &'static str,
        /// Shape in the file.
        found: Vec<usize>,
        /// Shape needed.
        expected: Vec<usize>,
        /// The file.
        path: PathBuf,
    },
    /// The run needs more memory than there is.
    #[error(
        "not enough memory: {} needed for {}, {} available\n{plan}\n\nhint: {hint}",
        Bytes(plan.needed()), plan.largest().map_or("", |stage| stage.stage), Bytes(plan.available)
    )]
    Memory {
        /// Needs by stage.
        plan: MemoryPlan,
        /// What to do.
        hint: &'static str,
    },
    /// The latents stopped being numbers.
    #[error("the latents are no longer finite at step {step} of {steps}\n\nhint: {hint}")]
    NotFinite {
        /// The step, from 1.
        step: usize,
        /// Steps in all.
        steps: usize,
        /// What to do.
        hint: &'static str,
    },
    /// No face, where one is needed.
    #[error("no face found in: {}\n\nhint: use a photo in which the face is sharp, upright and at least {min_face} pixels high, or lower --min-face", path.display())]
    NoFace {
        /// The photo.
        path: PathBuf,
        /// Smallest face looked for.
        min_face: usize,
    },
    /// A face that is not there was asked for.
    #[error("--face-index {index}, but there are {} faces (0 to {}) in: {}\n{}", faces.len(), faces.len() - 1, path.display(), faces.join("\n"))]
    FaceIndex {
        /// The index asked for.
        index: usize,
        /// All faces, described.
        faces: Vec<String>,
        /// The photo.
        path: PathBuf,
    },
    /// A line of a manifest that cannot be carried out.
    #[error("{place}: {error}")]
    Line {
        /// File and line.
        place: String,
        /// What is wrong.
        error: Box<EngineError>,
    },
    /// Videos that cannot be judged.
    #[error("{} of {total} videos cannot be judged:\n  {}\n\nhint: mend or remove them; what was measured of the others is kept in {}", problems.len(), problems.join("\n  "), cache.display())]
    Videos {
        /// Videos in all.
        total: usize,
        /// Each such video, with its place in the manifest.
        problems: Vec<String>,
        /// Where measurements are kept.
        cache: PathBuf,
    },
    /// Reading or writing weights.
    #[error(transparent)]
    Weights(#[from] WeightsError),
    /// Building or running the transformer.
    #[error(transparent)]
    Dit(#[from] DitError),
    /// Building or stepping the noise schedule.
    #[error(transparent)]
    Schedule(#[from] ScheduleError),
    /// Building or running the VAE.
    #[error(transparent)]
    Vae(VaeError),
    /// Building the text encoder.
    #[error(transparent)]
    TextEncoder(#[from] T5ConfigError),
    /// Reading the tokenizer, or a prompt that it cannot take.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    /// Building the adapter, or a prompt or identity that it cannot take.
    #[error(transparent)]
    Adapter(#[from] AdapterError),
    /// Finding room for the identity in the prompt.
    #[error(transparent)]
    ClassWord(#[from] ClassWordError),
    /// Reading identity features, or features that do not fit the adapter.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// An adapter for another backbone.
    #[error(transparent)]
    OtherBackbone(#[from] OtherBackbone),
    /// An adapter's configuration made in the program.
    #[error(transparent)]
    AdapterConfig(#[from] ConfigError),
    /// Starting or resuming a training run, or what stopped one.
    #[error(transparent)]
    Train(#[from] TrainError),
    /// Downloading a model.
    #[error(transparent)]
    Download(#[from] DownloadError),
    /// Making or reading a data set.
    #[error(transparent)]
    Dataset(#[from] DatasetError),
    /// Reading or writing images and video.
    #[error(transparent)]
    Media(#[from] MediaError),
}

impl From<VaeError> for EngineError {
    fn from(error: VaeError) -> Self {
        match error {
            VaeError::Cancelled => Self::Cancelled,
            error => Self::Vae(error),
        }
    }
}

impl EngineError {
    pub(crate) fn io(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        |source| Self::Io { path, source }
    }

    /// Whether nothing went wrong, but somebody asked the run to stop.
    pub fn is_stop(&self) -> bool {
        matches!(
            self,
            Self::Cancelled
                | Self::Paused { .. }
                | Self::Dataset(DatasetError::Stopped { .. })
                | Self::Train(TrainError::Stopped { .. })
        )
    }

    /// Says where a run that was asked to stop keeps what it has.
    pub(crate) fn kept_in(folder: &Path) -> impl FnOnce(Self) -> Self {
        |error| match error {
            Self::Cancelled => Self::Paused { folder: folder.to_owned() },
            error => error,
        }
    }

    pub(crate) fn options(problem: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::Options { problem: problem.into(), hint: hint.into() }
    }
}
