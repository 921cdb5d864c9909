//! Configuration: TOML files, with `--set` on top.

use std::path::Path;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use toml::{Table, Value};

use super::{ChangedKey, TrainError};
use crate::EngineError;
use crate::files::read_text;

/// How long a run is, and what it leaves behind: section `[run]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunConfig {
    /// Seed of all draws.
    #[serde(default)]
    pub seed: u64,
    /// Optimiser steps in all.
    pub steps: u64,
    /// Samples in one optimiser step, on all devices together.
    pub batch: usize,
    /// Samples that are computed at once on one device; gradients are accumulated up to `batch`.
    #[serde(default = "one")]
    pub micro_batch: usize,
    /// Steps from one checkpoint to the next.
    pub checkpoint_every: u64,
    /// How many checkpoints are kept, from the newest.
    #[serde(default = "two")]
    pub keep: usize,
    /// Steps from one validation to the next; 0 for none.
    #[serde(default)]
    pub validate_every: u64,
    /// Steps from one progress line to the next. All steps are in `metrics.jsonl`.
    #[serde(default = "fifty")]
    pub log_every: u64,
}

/// AdamW or Muon, their learning rate, and the moving average of the weights: section `[optimiser]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OptimiserConfig {
    /// Highest learning rate. T5's blocks take steps relative to the size of each parameter, as Adafactor's: so much of it.
    pub learning_rate: f64,
    /// Steps over which the learning rate rises from 0.
    #[serde(default)]
    pub warmup_steps: u64,
    /// How the learning rate goes on after that.
    #[serde(default)]
    pub schedule: LearningRate,
    /// Part of the learning rate that is left at the end of a cosine.
    #[serde(default)]
    pub final_fraction: f64,
    /// Highest learning rate of matrices and kernels in hidden layers, T5's excepted, which are then updated by Muon
    /// (arXiv 2502.16982): more computing for an update, fewer updates needed. Absent: all is by AdamW, as in the paper.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub muon_learning_rate: Option<f64>,
    /// Decay of the first moment, and of Muon's momentum.
    #[serde(default = "beta1")]
    pub beta1: f64,
    /// Decay of the second moment.
    #[serde(default = "beta2")]
    pub beta2: f64,
    /// Added to the root of the second moment.
    #[serde(default = "epsilon")]
    pub epsilon: f64,
    /// Decoupled weight decay, of tensors with two axes or more.
    #[serde(default)]
    pub weight_decay: f64,
    /// Gradients are scaled down to this global norm; 0 leaves them as they are.
    #[serde(default = "clip_norm")]
    pub clip_norm: f64,
    /// Decay of the moving average of the weights, which is what is exported; 0 for none. Early steps use less:
    /// `(1 + step) / (10 + step)`.
    #[serde(default)]
    pub average_decay: f64,
}

/// How the learning rate goes on after warm-up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LearningRate {
    /// Half a cosine down to `final_fraction` at the last step.
    #[default]
    Cosine,
    /// Stays.
    Constant,
}

/// When a run stops by itself: section `[guard]`. It always stops when a loss or gradient is not finite.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct GuardConfig {
    /// A loss so many times its running mean counts as a spike; 0 turns the guard off.
    pub spike_factor: f64,
    /// So many spikes in a row stop the run.
    pub spike_patience: u64,
    /// Steps that the running mean looks back, about; until then nothing is a spike.
    pub window: u64,
}

impl Default for GuardConfig {
    fn default() -> Self {
        Self { spike_factor: 10.0, spike_patience: 20, window: 100 }
    }
}

fn one() -> usize {
    1
}
fn two() -> usize {
    2
}
fn fifty() -> u64 {
    50
}
fn beta1() -> f64 {
    0.9
}
fn beta2() -> f64 {
    0.95
}
fn epsilon() -> f64 {
    1e-8
}
fn clip_norm() -> f64 {
    1.0
}

impl RunConfig {
    /// # Errors
    /// When a number is out of range.
    pub fn validate(&self) -> Result<(), TrainError> {
        let positive = [
            ("run.steps", self.steps),
            ("run.batch", self.batch as u64),
            ("run.micro_batch", self.micro_batch as u64),
            ("run.checkpoint_every", self.checkpoint_every),
            ("run.keep", self.keep as u64),
            ("run.log_every", self.log_every),
        ];
        for (key, value) in positive {
            if value == 0 {
                return Err(TrainError::OutOfRange { key, value: "0".into(), rule: "be at least 1" });
            }
        }
        Ok(())
    }
}

impl OptimiserConfig {
    /// # Errors
    /// When a number is out of range.
    pub fn validate(&self) -> Result<(), TrainError> {
        let below_one = "be at least 0 and below 1";
        let numbers = [
            ("optimiser.learning_rate", self.learning_rate, 0.0..=f64::MAX, "be a number from 0"),
            (
                "optimiser.muon_learning_rate",
                self.muon_learning_rate.unwrap_or(0.0),
                0.0..=f64::MAX,
                "be a number from 0",
            ),
            ("optimiser.final_fraction", self.final_fraction, 0.0..=1.0, "be 0 to 1"),
            ("optimiser.beta1", self.beta1, 0.0..=1.0 - f64::EPSILON, below_one),
            ("optimiser.beta2", self.beta2, 0.0..=1.0 - f64::EPSILON, below_one),
            ("optimiser.epsilon", self.epsilon, f64::MIN_POSITIVE..=1.0, "be above 0 and at most 1"),
            ("optimiser.weight_decay", self.weight_decay, 0.0..=f64::MAX, "be a number from 0"),
            ("optimiser.clip_norm", self.clip_norm, 0.0..=f64::MAX, "be a number from 0"),
            ("optimiser.average_decay", self.average_decay, 0.0..=1.0 - f64::EPSILON, below_one),
        ];
        for (key, value, range, rule) in numbers {
            if !range.contains(&value) {
                return Err(TrainError::OutOfRange { key, value: value.to_string(), rule });
            }
        }
        Ok(())
    }

    /// Which part of the highest learning rate a step (from 0) has in a run of `steps`.
    pub fn part_of_rate(&self, step: u64, steps: u64) -> f64 {
        if step < self.warmup_steps {
            return (step + 1) as f64 / self.warmup_steps as f64;
        }
        match self.schedule {
            LearningRate::Constant => 1.0,
            LearningRate::Cosine => {
                let after = (step - self.warmup_steps) as f64 / (steps - self.warmup_steps.min(steps)).max(1) as f64;
                let cosine = 0.5 * (1.0 + (std::f64::consts::PI * after.min(1.0)).cos());
                self.final_fraction + (1.0 - self.final_fraction) * cosine
            }
        }
    }
}

/// Reads a configuration and puts `--set section.key=value` on top; values are TOML, or else text.
///
/// # Errors
/// When the file cannot be read, or a key is unknown, missing or of another type.
pub fn load_config<C: DeserializeOwned>(path: &Path, set: &[String]) -> Result<C, EngineError> {
    let invalid = |reason: String| TrainError::Config { path: path.to_owned(), reason };
    let mut table: Table = read_text(path)?.parse().map_err(|error: toml::de::Error| invalid(error.to_string()))?;
    for text in set {
        let error = |reason| TrainError::Set { text: text.clone(), reason };
        let (key, value) = text.split_once('=').ok_or_else(|| error("there is no ="))?;
        let value = format!("value = {value}")
            .parse::<Table>()
            .ok()
            .and_then(|mut table| table.remove("value"))
            .unwrap_or_else(|| Value::String(value.to_owned()));
        let mut section = &mut table;
        let mut names = key.trim().split('.').peekable();
        while let Some(name) = names.next() {
            if names.peek().is_none() {
                section.insert(name.to_owned(), value);
                break;
            }
            let entry = section.entry(name).or_insert_with(|| Value::Table(Table::new()));
            section = entry.as_table_mut().ok_or_else(|| error("the key goes through something that is no section"))?;
        }
    }
    Ok(table.try_into().map_err(|error: toml::de::Error| invalid(error.to_string()))?)
}

/// The whole configuration as a table, defaults filled in.
pub(crate) fn resolved<C: Serialize>(config: &C) -> Table {
    Table::try_from(config).expect("configurations are plain data")
}

/// Keys that may change while a run is stopped: they do not change what is trained.
const FREE_KEYS: [&str; 6] =
    ["run.checkpoint_every", "run.keep", "run.validate_every", "run.log_every", "data.most_bad", "most_bad"];

/// All keys that differ and may not. More steps are allowed where the learning rate does not depend on their number.
pub(super) fn changes(before: &Table, now: &Table) -> Vec<ChangedKey> {
    let (before, now) = (flat(before), flat(now));
    let constant = now.get("optimiser.schedule").is_some_and(|schedule| schedule == "\"constant\"");
    let keys: std::collections::BTreeSet<&String> = before.keys().chain(now.keys()).collect();
    keys.into_iter()
        .filter(|key| !(FREE_KEYS.contains(&key.as_str()) || constant && key.as_str() == "run.steps"))
        .filter(|key| !key.starts_with("validation.") && !key.starts_with("guard."))
        .filter(|key| before.get(*key) != now.get(*key))
        .map(|key| ChangedKey { key: key.clone(), before: before.get(key).cloned(), now: now.get(key).cloned() })
        .collect()
}

/// Keys with their sections, and values as TOML.
fn flat(table: &Table) -> std::collections::BTreeMap<String, String> {
    fn walk(prefix: &str, table: &Table, into: &mut std::collections::BTreeMap<String, String>) {
        for (name, value) in table {
            match value {
                Value::Table(section) => walk(&format!("{prefix}{name}."), section, into),
                value => drop(into.insert(format!("{prefix}{name}"), value.to_string())),
            }
        }
    }
    let mut keys = std::collections::BTreeMap::new();
    walk("", table, &mut keys);
    keys
}
