//! The folder of a run: locked while a process trains in it; it says what was started, with which configuration.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use magicmirror_models::weights::write_aside;
use serde_json::json;
use toml::Table;

use super::TrainError;
use super::config::changes;
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
    fn json(&self) -> serde_json::Value {
        json!({ "kind": self.kind, "version": env!("CARGO_PKG_VERSION"), "weights": self.weights })
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

    /// Writes down what is started, or gone on with.
    pub(super) fn begin(&self, about: &About<'_>) -> Result<(), EngineError> {
        write_aside(&self.path.join(CONFIG), about.config.to_string().as_bytes())?;
        Ok(write_aside(&self.path.join(RUN), format!("{:#}\n", about.json()).as_bytes())?)
    }

    /// Compares what the run was started with.
    fn check(&self, about: &About<'_>) -> Result<(), EngineError> {
        let path = self.path.join(CONFIG);
        let before: Table = read_text(&path)?.parse().map_err(|error: toml::de::Error| EngineError::InvalidFile {
            what: "run configuration",
            reason: error.to_string(),
            path: path.clone(),
        })?;
        let mut changed = changes(&before, about.config);
        let started: serde_json::Value = read_json(&self.path.join(RUN), "run description")?;
        let about = about.json();
        // Another version of the program may go on with a run; other weights may not.
        for key in ["kind", "weights"] {
            if started[key] != about[key] {
                let text = |value: &serde_json::Value| Some(value.to_string());
                changed.push(super::ChangedKey {
                    key: key.into(),
                    before: text(&started[key]),
                    now: text(&about[key]),
                });
            }
        }
        if changed.is_empty() { Ok(()) } else { Err(TrainError::ChangedConfig { changes: changed }.into()) }
    }
}
