use std::fmt;
use std::path::PathBuf;

use thiserror::Error;

/// Why a run cannot start, go on or be resumed.
#[derive(Debug, Error)]
pub enum TrainError {
    /// A configuration file that is not valid.
    #[error("not a valid configuration ({reason}): {}\n\nhint: the files in configs/ name every key", path.display())]
    Config {
        /// The file.
        path: PathBuf,
        /// What is wrong, with line and key.
        reason: String,
    },
    /// A `--set` that is not `key=value`.
    #[error("--set {text}: {reason}\n\nhint: write it as --set section.key=value, for example --set run.seed=1")]
    Set {
        /// What was given.
        text: String,
        /// What is wrong.
        reason: &'static str,
    },
    /// A number outside its range.
    #[error("{key} is {value}, but must {rule}")]
    OutOfRange {
        /// The key, with its section.
        key: &'static str,
        /// Its value.
        value: String,
        /// What holds for valid values.
        rule: &'static str,
    },
    /// The folder holds a run, and it was not said that this goes on.
    #[error("there is a run already in: {}\n\nhint: go on with --resume, or choose another folder", folder.display())]
    RunExists {
        /// The run folder.
        folder: PathBuf,
    },
    /// Nothing to resume.
    #[error("there is no run to resume in: {}\n\nhint: start it without --resume", folder.display())]
    NoRun {
        /// The run folder.
        folder: PathBuf,
    },
    /// Another process trains in the folder.
    #[error("another process is training in: {}\n\nhint: wait for it, or choose another folder", folder.display())]
    Locked {
        /// The run folder.
        folder: PathBuf,
    },
    /// The configuration is not the one the run was started with.
    #[error(
        "the configuration has changed since the run was started:\n{}\n\nhint: restore these keys to resume, or start a new run",
        changes.iter().map(|change| format!("  {change}")).collect::<Vec<_>>().join("\n")
    )]
    ChangedConfig {
        /// Every key that differs.
        changes: Vec<ChangedKey>,
    },
    /// A checkpoint that does not fit the run.
    #[error("this checkpoint cannot be resumed ({reason}): {}", folder.display())]
    BadCheckpoint {
        /// The checkpoint's folder.
        folder: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A manifest of photos or clips that is not as it should be.
    #[error(
        "line {line}: {reason}, in: {}\n\nhint: a line is {{\"image\": PATH or \"video\": PATH, \"caption\": TEXT}}, and perhaps \
         \"references\": [PATH] or \"person\": NAME",
        path.display()
    )]
    Manifest {
        /// The manifest.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong.
        reason: String,
    },
    /// More of the data is broken than is allowed.
    #[error(
        "{count} of {all} examples are broken, the last is {key} ({reason}); all are listed in: {}\n\nhint: repair the data, \
         or raise most_bad in the configuration",
        list.display()
    )]
    TooManyBad {
        /// Broken ones so far.
        count: usize,
        /// Examples in all.
        all: usize,
        /// The last broken one.
        key: String,
        /// What is wrong with it.
        reason: String,
        /// Where all are listed.
        list: PathBuf,
    },
    /// A data set without a single example.
    #[error("there are no examples in: {}", path.display())]
    NoExamples {
        /// The data set.
        path: PathBuf,
    },
    /// An example that could be read before cannot be read any more.
    #[error("the data has changed while it was prepared: {key} ({reason})")]
    DataChanged {
        /// The example.
        key: String,
        /// What is wrong with it now.
        reason: String,
    },
    /// The run was asked to stop.
    #[error(
        "stopped after step {step}: all is kept in {}\n\nhint: run the same command with --resume to go on",
        checkpoint.display()
    )]
    Stopped {
        /// Steps done.
        step: u64,
        /// The checkpoint to go on from.
        checkpoint: PathBuf,
    },
    /// Loss or gradients stopped being numbers.
    #[error(
        "{what} is no longer finite at step {step}; {}\n\nhint: look at metrics.jsonl; what helps most often is a new run \
         that starts from this one's model, with a lower optimiser.learning_rate or optimiser.clip_norm",
        last_good(checkpoint.as_ref())
    )]
    NotFinite {
        /// The loss, the gradient or a weight.
        what: &'static str,
        /// The step, from 1.
        step: u64,
        /// The last good checkpoint.
        checkpoint: Option<PathBuf>,
    },
    /// The loss rose and stayed up.
    #[error(
        "the loss is {loss:.4} at step {step}, {steps} steps in a row far above its mean {mean:.4}; {}\n\nhint: if \
         this is normal, raise guard.spike_factor and go on with --resume; if not, start a new run from this one's model with a \
         lower optimiser.learning_rate",
        last_good(checkpoint.as_ref())
    )]
    LossSpike {
        /// The step, from 1.
        step: u64,
        /// The loss.
        loss: f64,
        /// Its running mean.
        mean: f64,
        /// How many steps in a row.
        steps: u64,
        /// The last good checkpoint.
        checkpoint: Option<PathBuf>,
    },
}

fn last_good(checkpoint: Option<&PathBuf>) -> String {
    match checkpoint {
        Some(folder) => format!("the last good checkpoint is {}", folder.display()),
        None => "there is no checkpoint yet".into(),
    }
}

/// A key whose value is not that of the run's start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChangedKey {
    /// The key, with its section.
    pub key: String,
    /// Value at the start; `None` if the key is new.
    pub before: Option<String>,
    /// Value now; `None` if the key is gone.
    pub now: Option<String>,
}

impl fmt::Display for ChangedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = |value: &Option<String>| value.clone().unwrap_or_else(|| "(not set)".into());
        write!(f, "{}: was {}, is now {}", self.key, value(&self.before), value(&self.now))
    }
}
