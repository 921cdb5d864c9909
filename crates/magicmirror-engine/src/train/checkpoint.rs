//! Checkpoints: all that a run needs to go on as if it had never stopped.
//!
//! `checkpoints/step-00001000/` holds `weights.safetensors`, `average.safetensors` (where there is one), the moments in
//! `optimiser.safetensors`, and `state.json`. It is written under another name and renamed when it is whole and on the disk.

use std::fs;
use std::path::{Path, PathBuf};

use burn::tensor::{DType, TensorData};
use magicmirror_models::weights::{Checkpoint, Precision, WeightsError, save_safetensors, write_aside};
use serde::{Deserialize, Serialize};

use super::TrainError;
use super::guard::Guard;
use super::optimiser::{Kind, Optimiser, Parameter};
use crate::EngineError;
use crate::backbone::read_json;

const WEIGHTS: &str = "weights.safetensors";
const AVERAGE: &str = "average.safetensors";
const OPTIMISER: &str = "optimiser.safetensors";
const STATE: &str = "state.json";

/// The part of a checkpoint that is not tensors.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(super) struct State {
    /// Steps done.
    pub(super) step: u64,
    pub(super) guard: Guard,
}

/// The checkpoints of a run.
pub(super) struct Checkpoints {
    folder: PathBuf,
}

impl Checkpoints {
    pub(super) fn new(run: &Path) -> Self {
        Self { folder: run.join("checkpoints") }
    }

    /// The newest one.
    pub(super) fn latest(&self) -> Option<PathBuf> {
        self.all().pop().map(|(_, folder)| folder)
    }

    /// Steps and folders, oldest first. What is being written does not count.
    fn all(&self) -> Vec<(u64, PathBuf)> {
        let entries = fs::read_dir(&self.folder).into_iter().flatten().flatten();
        let mut all: Vec<(u64, PathBuf)> = entries
            .filter_map(|entry| Some((entry.file_name().to_str()?.strip_prefix("step-")?.parse().ok()?, entry.path())))
            .collect();
        all.sort();
        all
    }

    /// Writes a checkpoint, then removes all but the newest `keep`. When it cannot be written, the others stay.
    pub(super) fn save(&self, state: State, optimiser: &Optimiser, keep: usize) -> Result<PathBuf, EngineError> {
        let name = format!("step-{:08}", state.step);
        let (part, done) = (self.folder.join(format!(".{name}.part")), self.folder.join(name));
        // Left by a process that was killed while it wrote.
        let _ = fs::remove_dir_all(&part);
        fs::create_dir_all(&part).map_err(EngineError::io(&part))?;
        let written = write(&part, state, optimiser).and_then(|()| {
            if done.exists() {
                // The same step after a resume from an earlier one: the same bytes.
                fs::remove_dir_all(&done).map_err(EngineError::io(&done))?;
            }
            fs::rename(&part, &done).map_err(EngineError::io(&done))
        });
        if let Err(error) = written {
            // Best effort: the error that is returned tells more than a failure to clean up.
            let _ = fs::remove_dir_all(&part);
            return Err(error);
        }
        let all = self.all();
        for (_, old) in all.iter().take(all.len().saturating_sub(keep)) {
            fs::remove_dir_all(old).map_err(EngineError::io(old))?;
        }
        Ok(done)
    }
}

fn write(folder: &Path, state: State, optimiser: &Optimiser) -> Result<(), EngineError> {
    let tensors = |kinds: &[(Kind, &str)]| -> Vec<(String, TensorData)> {
        let of = |parameter: &Parameter, kind: Kind, prefix: &str| {
            let data = TensorData::new(kind.of(parameter).to_vec(), parameter.shape.clone());
            (format!("{prefix}{}", parameter.name), data)
        };
        kinds
            .iter()
            .flat_map(|(kind, prefix)| optimiser.parameters().iter().map(move |parameter| of(parameter, *kind, prefix)))
            .collect()
    };
    save_safetensors(&folder.join(WEIGHTS), &tensors(&[(Kind::Value, "")]))?;
    save_safetensors(
        &folder.join(OPTIMISER),
        &tensors(&[(Kind::First, Kind::First.prefix()), (Kind::Second, Kind::Second.prefix())]),
    )?;
    if optimiser.parameters().iter().any(|parameter| !parameter.average.is_empty()) {
        save_safetensors(&folder.join(AVERAGE), &tensors(&[(Kind::Average, "")]))?;
    }
    let state = serde_json::to_string_pretty(&state).expect("plain data");
    Ok(write_aside(&folder.join(STATE), state.as_bytes())?)
}

impl Kind {
    fn file(self) -> &'static str {
        match self {
            Self::Value => WEIGHTS,
            Self::First | Self::Second => OPTIMISER,
            Self::Average => AVERAGE,
        }
    }

    fn prefix(self) -> &'static str {
        match self {
            Self::Value | Self::Average => "",
            Self::First => "first.",
            Self::Second => "second.",
        }
    }
}

/// Reads a checkpoint into an optimiser of the same parameters.
pub(super) fn load(folder: &Path, optimiser: &mut Optimiser) -> Result<State, EngineError> {
    let state: State = read_json(&folder.join(STATE), "checkpoint state")?;
    let bad = |reason: String| TrainError::BadCheckpoint { folder: folder.to_owned(), reason };
    let file = |kind: Kind| Checkpoint::open_file(&folder.join(kind.file()));
    let (weights, moments) = (file(Kind::Value)?, file(Kind::First)?);
    let average = if folder.join(AVERAGE).exists() { Some(file(Kind::Average)?) } else { None };
    for parameter in optimiser.parameters() {
        let found = weights.entries().get(&parameter.name).map(|entry| entry.shape.clone());
        if found.as_deref() != Some(&parameter.shape[..]) {
            let found = found.map_or_else(|| "is missing".into(), |shape| format!("has shape {shape:?}"));
            return Err(bad(format!("{} {found}, the run needs {:?}", parameter.name, parameter.shape)).into());
        }
        if !parameter.average.is_empty() && average.is_none() {
            return Err(bad(format!("{AVERAGE} is missing")).into());
        }
    }
    optimiser.restore(state.step, |name, kind| {
        let name = format!("{}{name}", kind.prefix());
        let file = match kind {
            Kind::Value => &weights,
            Kind::First | Kind::Second => &moments,
            Kind::Average => average.as_ref().expect("checked above"),
        };
        let data = file.read(&name, Precision::F32)?;
        Ok::<_, WeightsError>(data.convert_dtype(DType::F32).try_to_vec().expect("f32 after conversion"))
    })?;
    Ok(state)
}
