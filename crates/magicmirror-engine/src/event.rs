//! What long work tells whoever listens: the command line, a server, a test.

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use serde::Serialize;

use crate::EngineError;
use crate::memory::MemoryPlan;

/// A part of a run that a listener may show a bar for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// Detecting, aligning and embedding the faces of the reference photos.
    EncodeIdentity,
    /// Loading the text encoder and encoding the prompts.
    EncodePrompt,
    /// Loading the transformer and its adapter.
    LoadTransformer,
    /// The sampling steps.
    Denoise,
    /// Loading the VAE and decoding the latents.
    Decode,
    /// Comparing a video's faces with those of the reference photos.
    CompareFaces,
    /// Encoding frames to latents.
    EncodeFrames,
    /// Judging videos.
    Evaluate,
    /// Looking into networks.
    Analyze,
    /// Writing the files.
    Write,
    /// Downloading a file.
    Download,
    /// Encoding the training data once, for the cache.
    PrepareData,
    /// Training steps.
    Train,
    /// Drawing people for a data set.
    DrawPeople,
    /// Reading a data set.
    ReadDataset,
}

impl Stage {
    /// What the stage does, for a person.
    pub fn label(self) -> &'static str {
        match self {
            Self::EncodeIdentity => "reading faces",
            Self::EncodePrompt => "encoding prompt",
            Self::LoadTransformer => "loading transformer",
            Self::Denoise => "denoising",
            Self::Decode => "decoding frames",
            Self::CompareFaces => "comparing faces",
            Self::EncodeFrames => "encoding frames",
            Self::Evaluate => "judging videos",
            Self::Analyze => "analysing",
            Self::Write => "writing",
            Self::Download => "downloading",
            Self::PrepareData => "preparing data",
            Self::Train => "training",
            Self::DrawPeople => "drawing people",
            Self::ReadDataset => "reading shards",
        }
    }
}

/// Something that happened during a run.
#[derive(Debug, Clone)]
pub enum Event {
    /// What the run will need, before anything is loaded.
    Plan(MemoryPlan),
    /// Something the user should know, though the run goes on.
    Warning(String),
    /// Something worth knowing.
    Note(String),
    /// A stage begins; `total` counts its units (steps, chunks, bytes; 0 if unknown).
    Started {
        /// The stage.
        stage: Stage,
        /// Units in all.
        total: f64,
    },
    /// So many units of the current stage are done.
    Advanced {
        /// The stage.
        stage: Stage,
        /// Units done.
        done: f64,
    },
    /// A training step is done.
    Training(Training),
    /// A stage is over.
    Finished {
        /// The stage.
        stage: Stage,
        /// How long it took.
        seconds: f64,
    },
}

/// How far a training run is.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Training {
    /// Steps done.
    pub step: u64,
    /// Steps in all.
    pub steps: u64,
    /// Loss of this step.
    pub loss: f64,
    /// Norm of its gradient, before clipping.
    pub gradient_norm: f64,
    /// Its learning rate.
    pub learning_rate: f64,
    /// Samples a second since the program began to train.
    pub samples_per_second: f64,
    /// Time left at that rate.
    pub seconds_left: f64,
    /// Whether this step is worth a line of its own.
    pub milestone: bool,
}

/// A run's line to the outside: events go out, a wish to stop comes in.
pub struct Control<'a> {
    listener: &'a mut dyn FnMut(Event),
    cancelled: &'a AtomicBool,
    seconds: Vec<(Stage, f64)>,
}

impl<'a> Control<'a> {
    /// Sends events to `listener`, and stops soon after `cancelled` turns true.
    pub fn new(listener: &'a mut dyn FnMut(Event), cancelled: &'a AtomicBool) -> Self {
        Self { listener, cancelled, seconds: Vec::new() }
    }

    /// Sends an event.
    pub fn emit(&mut self, event: Event) {
        (self.listener)(event);
    }

    /// Sends a warning.
    pub fn warn(&mut self, message: impl Into<String>) {
        self.emit(Event::Warning(message.into()));
    }

    /// Says how much of a stage is done; breaks off when the run should stop.
    pub fn advance(&mut self, stage: Stage, done: f64) -> ControlFlow<()> {
        self.emit(Event::Advanced { stage, done });
        if self.is_cancelled() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    /// Whether the run should stop.
    pub fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Relaxed)
    }

    /// Turns true when the run should stop; for other threads.
    pub fn cancelled(&self) -> &'a AtomicBool {
        self.cancelled
    }

    /// # Errors
    /// [`EngineError::Cancelled`] when the run should stop.
    pub fn check(&self) -> Result<(), EngineError> {
        if self.is_cancelled() { Err(EngineError::Cancelled) } else { Ok(()) }
    }

    /// Runs one stage between its events, and notes how long it took. What was written is not thrown away: a wish to
    /// stop that comes during [`Stage::Write`] or at the end of [`Stage::DrawPeople`] comes too late, and
    /// [`Stage::Train`] ends with a checkpoint.
    ///
    /// # Errors
    /// Those of `work`, or [`EngineError::Cancelled`].
    pub fn stage<T>(
        &mut self,
        stage: Stage,
        total: f64,
        work: impl FnOnce(&mut Self) -> Result<T, EngineError>,
    ) -> Result<T, EngineError> {
        self.check()?;
        let start = Instant::now();
        self.emit(Event::Started { stage, total });
        let result = work(self)?;
        let seconds = start.elapsed().as_secs_f64();
        self.seconds.push((stage, seconds));
        self.emit(Event::Finished { stage, seconds });
        if !matches!(stage, Stage::Write | Stage::DrawPeople | Stage::Train) {
            self.check()?;
        }
        Ok(result)
    }

    /// Seconds of each finished stage, in order.
    pub fn seconds(&self) -> &[(Stage, f64)] {
        &self.seconds
    }
}
