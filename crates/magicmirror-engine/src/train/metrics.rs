//! What a run measures: `metrics.jsonl` and a TensorBoard event file.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use magicmirror_models::weights::write_aside;
use serde_json::{Map, Value, json};

use super::tensorboard::EventFile;
use crate::EngineError;
use crate::files::read_text;

/// Means of the losses of some samples, by name. Not every sample need have every loss.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Losses(BTreeMap<&'static str, (f64, usize)>);

impl Losses {
    /// The loss that is minimised.
    pub const TOTAL: &'static str = "loss";

    /// Adds a mean over `samples` samples.
    pub fn add(&mut self, name: &'static str, mean: f64, samples: usize) {
        let (sum, count) = self.0.entry(name).or_default();
        *sum += mean * samples as f64;
        *count += samples;
    }

    pub(super) fn merge(&mut self, other: &Self) {
        for (name, (sum, count)) in &other.0 {
            let (own_sum, own_count) = self.0.entry(name).or_default();
            *own_sum += sum;
            *own_count += count;
        }
    }

    /// The mean of a loss; `None` where no sample had it.
    pub fn mean(&self, name: &str) -> Option<f64> {
        self.0.get(name).filter(|(_, count)| *count > 0).map(|(sum, count)| sum / *count as f64)
    }

    pub(super) fn means(&self) -> impl Iterator<Item = (&'static str, f64)> {
        self.0.keys().filter_map(|name| Some((*name, self.mean(name)?)))
    }
}

/// Both files of a run.
pub(super) struct Metrics {
    path: PathBuf,
    lines: File,
    events: EventFile,
}

impl Metrics {
    /// Goes on after `step`; what was written of later steps is dropped.
    pub(super) fn open(folder: &Path, step: u64) -> Result<Self, EngineError> {
        let path = folder.join("metrics.jsonl");
        if path.exists() {
            let of_step = |line: &&str| {
                serde_json::from_str::<Value>(line)
                    .ok()
                    .and_then(|line| line["step"].as_u64())
                    .is_some_and(|s| s <= step)
            };
            let text = read_text(&path)?;
            let kept: String = text.lines().filter(of_step).flat_map(|line| [line, "\n"]).collect();
            write_aside(&path, kept.as_bytes())?;
        }
        let lines = OpenOptions::new().create(true).append(true).open(&path).map_err(EngineError::io(&path))?;
        let events = EventFile::create(folder, step).map_err(EngineError::io(folder))?;
        Ok(Self { path, lines, events })
    }

    /// One line: the step and its scalars.
    pub(super) fn write(&mut self, step: u64, scalars: &[(String, f64)]) -> Result<(), EngineError> {
        let mut line = Map::from_iter([("step".to_owned(), json!(step))]);
        line.extend(scalars.iter().map(|(name, value)| (name.clone(), json!(value))));
        let line = format!("{}\n", Value::Object(line));
        self.lines.write_all(line.as_bytes()).map_err(EngineError::io(&self.path))?;
        let scalars = scalars.iter().map(|(name, value)| (name.as_str(), *value));
        self.events.scalars(step, scalars).map_err(EngineError::io(&self.path))
    }
}
