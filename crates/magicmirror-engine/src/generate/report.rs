use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use magicmirror_models::adapter::Adapter;
use magicmirror_models::weights::{Precision, write_aside};
use serde::Serialize;

use super::candidates::Judged;
use super::{Request, Settings};
use crate::EngineError;
use crate::backbone::{Backbone, Part};
use crate::event::Stage;
use crate::memory;

/// SHA-256 of the weights of each part.
pub(super) type WeightHashes = BTreeMap<String, String>;

/// What a run did, written as JSON beside its output.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    generator: &'static str,
    synthetic: bool,
    settings: Settings,
    /// How much each of several videos was like the photos; that with the seed of `settings` was kept.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    candidates: Vec<Judged>,
    settings_sha256: String,
    backbone: Option<PathBuf>,
    adapter: Option<PathBuf>,
    references: Vec<PathBuf>,
    identity: Option<PathBuf>,
    latents: Option<PathBuf>,
    dtype: &'static str,
    weights_sha256: WeightHashes,
    parameters: BTreeMap<&'static str, usize>,
    seconds: BTreeMap<String, f64>,
    seconds_total: f64,
    peak_memory_bytes: Option<u64>,
    /// Hash of all that the video depends on; by it a run of many videos knows which are done.
    #[serde(skip_serializing_if = "Option::is_none")]
    inputs_sha256: Option<String>,
}

impl Report {
    pub(super) fn new(
        backbone: &Backbone,
        settings: Settings,
        request: &Request,
        weights_sha256: WeightHashes,
        seconds_total: f64,
        stages: &[(Stage, f64)],
    ) -> Result<Self, EngineError> {
        let mut parameters = BTreeMap::new();
        for part in Part::ALL {
            parameters.insert(part.folder(), backbone.weights(part)?.parameters());
        }
        if let Some(adapter) = &request.adapter {
            parameters.insert("adapter", Adapter::open(adapter)?.parameters());
        }
        let mut seconds = BTreeMap::new();
        for (stage, duration) in stages {
            let name = serde_json::to_value(stage).ok().and_then(|name| name.as_str().map(str::to_owned));
            *seconds.entry(name.unwrap_or_default()).or_insert(0.0) += duration;
        }
        Ok(Self {
            generator: concat!("MagicMirror ", env!("CARGO_PKG_VERSION")),
            synthetic: true,
            settings_sha256: settings.sha256(),
            settings,
            candidates: Vec::new(),
            backbone: request.backbone.clone(),
            adapter: request.adapter.clone(),
            references: request.references.clone(),
            identity: request.identity.clone(),
            latents: request.latents.clone(),
            dtype: match request.precision {
                Precision::Stored => "as stored",
                Precision::F32 => "f32",
                Precision::Bf16 => "bf16",
                Precision::F16 => "f16",
            },
            weights_sha256,
            parameters,
            seconds,
            seconds_total,
            peak_memory_bytes: memory::peak(),
            inputs_sha256: None,
        })
    }

    /// Says which videos there were to choose from.
    pub(super) fn set_candidates(&mut self, judged: Vec<Judged>) {
        self.candidates = judged;
    }

    /// Says what the video depends on.
    pub(super) fn set_inputs(&mut self, sha256: &str) {
        self.inputs_sha256 = Some(sha256.to_owned());
    }

    /// What the report beside a video says it depends on, if there is both.
    pub(super) fn inputs_of(output: &Path) -> Option<String> {
        let text = std::fs::read_to_string(Self::path_beside(output)).ok().filter(|_| output.exists())?;
        let report: serde_json::Value = serde_json::from_str(&text).ok()?;
        report.get("inputs_sha256")?.as_str().map(str::to_owned)
    }

    /// `<output>.json`.
    fn path_beside(output: &Path) -> PathBuf {
        let mut path = output.as_os_str().to_owned();
        path.push(".json");
        PathBuf::from(path)
    }

    /// Makes sure that nothing stands in the report's way. That the folder takes files is known from the output.
    pub(super) fn ensure_writable_beside(output: &Path) -> Result<(), EngineError> {
        let path = Self::path_beside(output);
        if path.is_dir() {
            return Err(EngineError::Io { path, source: ErrorKind::IsADirectory.into() });
        }
        Ok(())
    }

    /// Writes `<output>.json`.
    pub(super) fn write_beside(&self, output: &Path) -> Result<PathBuf, EngineError> {
        let path = Self::path_beside(output);
        let json = serde_json::to_string_pretty(self).expect("a report is plain data");
        write_aside(&path, json.as_bytes())?;
        Ok(path)
    }
}
