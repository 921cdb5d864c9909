//! The folder of a run: locked while a process trains in it; it says what was started, with which configuration.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use magicmirror_models::weights::write_aside;
use serde_json::json;
use toml::Table;

use super::config::changes;
use super::{ChangedKey, TrainError};
use crate::EngineError;
use crate::backbone::read_json;
use crate::files::read_text;

const CONFIG: &str = "config.toml";
const RUN: &str = "run.json";

/// What a run is.
pub(super) struct About<'a> {
    pub(super) kind: &'a str,
    pub(super) config: &'a Table,
    pub(super) weights: &'a BTreeMap<String, String>,
}

impl About<'_> {
    fn json(&self, examples: &str) -> serde_json::Value {
        let version = env!("CARGO_PKG_VERSION");
        json!({ "kind": self.kind, "version": version, "weights": self.weights, "examples": examples })
    }
}

/// A run's folder; nobody else trains in it while this lives.
pub(super) struct RunFolder {
    pub(super) path: PathBuf,
    _lock: File,
}

impl RunFolder {
    /// Makes the folder for a new run, or opens that of a run to resume; writes nothing of the run yet.
    ///
    /// # Errors
    /// When another process trains in it, it holds a run that is not to be resumed, or none that is; or the run was
    /// started with another configuration or other weights.
    pub(super) fn open(path: &Path, resume: bool, about: &About<'_>) -> Result<Self, EngineError> {
        fs::create_dir_all(path).map_err(EngineError::io(path))?;
        let lock_file = path.join("lock");
        let lock = File::create(&lock_file).map_err(EngineError::io(&lock_file))?;
        if lock.try_lock().is_err() {
            return Err(TrainError::Locked { folder: path.to_owned() }.into());
        }
        let folder = Self { path: path.to_owned(), _lock: lock };
        match (path.join(RUN).exists(), resume) {
            (true, false) => Err(TrainError::RunExists { folder: path.to_owned() }.into()),
            (false, true) => Err(TrainError::NoRun { folder: path.to_owned() }.into()),
            (true, true) => folder.check(about).map(|()| folder),
            (false, false) => Ok(folder),
        }
    }

    /// Writes down what is started, or gone on with, on examples of this hash.
    ///
    /// # Errors
    /// When the run was started on other examples, or a file cannot be read or written.
    pub(super) fn begin(&self, about: &About<'_>, examples: &str) -> Result<(), EngineError> {
        let run = self.path.join(RUN);
        let now = about.json(examples);
        if run.exists() {
            let started: serde_json::Value = read_json(&run, "run description")?;
            // Runs of versions that did not write it down may go on.
            if started.get("examples").is_some() {
                refuse(change("examples", &started, &now).into_iter())?;
            }
        }
        write_aside(&self.path.join(CONFIG), about.config.to_string().as_bytes())?;
        Ok(write_aside(&run, format!("{now:#}\n").as_bytes())?)
    }

    /// Compares what the run was started with.
    fn check(&self, about: &About<'_>) -> Result<(), EngineError> {
        let path = self.path.join(CONFIG);
        let before: Table = read_text(&path)?.parse().map_err(|error: toml::de::Error| EngineError::InvalidFile {
            what: "run configuration",
            reason: error.to_string(),
            path: path.clone(),
        })?;
        let started: serde_json::Value = read_json(&self.path.join(RUN), "run description")?;
        let now = about.json("");
        // Another version of the program may go on with a run; other weights may not.
        let other = ["kind", "weights"].into_iter().filter_map(|key| change(key, &started, &now));
        refuse(changes(&before, about.config).into_iter().chain(other))
    }
}

/// What differs under a key of the run's description.
fn change(key: &str, started: &serde_json::Value, now: &serde_json::Value) -> Option<ChangedKey> {
    let text = |value: &serde_json::Value| Some(value.to_string());
    let changed = started[key] != now[key];
    changed.then(|| ChangedKey { key: key.into(), before: text(&started[key]), now: text(&now[key]) })
}

fn refuse(changes: impl Iterator<Item = ChangedKey>) -> Result<(), EngineError> {
    let changes: Vec<ChangedKey> = changes.collect();
    if changes.is_empty() { Ok(()) } else { Err(TrainError::ChangedConfig { changes }.into()) }
}
