//! What an adapter costs (table 6): parameters, memory, seconds and operations, with and without it.
//!
//! Both runs are real ones, of a few steps; the seconds of all steps of a usual run are those of one times their number.
//! Operations are those of text encoder, transformer with the adapter's part in it, and decoder; those of the face networks
//! and of the adapter's perceivers, which run once a video, are not counted.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;
use std::time::Instant;

use burn::tensor::{Device, Distribution, Tensor};
use magicmirror_models::adapter::{Adapter, AdapterConfig};
use serde::Serialize;

use super::{Prepared, flops, write_json};
use crate::EngineError;
use crate::backbone::{Backbone, Part};
use crate::event::{Control, Stage};
use crate::files::ensure_writable;
use crate::generate::{Request, Settings, generate};
use crate::memory::{self, Bytes};

/// Steps of a usual run.
const USUAL_STEPS: usize = 50;
/// Side of the matrices that are multiplied to find the machine's peak.
const PEAK_SIDE: usize = 2048;

/// What was measured.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Overhead {
    /// Pixels.
    pub height: usize,
    /// Pixels.
    pub width: usize,
    /// Frames of video.
    pub frames: usize,
    /// Sampling steps that were run.
    pub steps: usize,
    /// Operations a second in products of large f32 matrices on this machine, the best of ten.
    pub peak_flops_per_second: f64,
    /// The backbone alone.
    pub base: Cost,
    /// With the adapter and an identity.
    pub with_adapter: Cost,
}

/// The cost of one run.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Cost {
    /// Values in the weights of each part.
    pub parameters: BTreeMap<&'static str, usize>,
    /// The most main memory that was held, in bytes; `None` where the system does not tell for a part of a process's life.
    pub peak_memory_bytes: Option<u64>,
    /// Of each stage.
    pub seconds: BTreeMap<&'static str, f64>,
    /// Of one sampling step.
    pub seconds_per_step: f64,
    /// Of 50 sampling steps.
    pub seconds_of_50_steps: f64,
    /// Operations of the transformer in one step, both branches of the guidance included.
    pub flops_per_step: f64,
    /// Operations of text encoder, transformer and decoder in this run, by the stage that `seconds` names.
    pub flops: BTreeMap<&'static str, f64>,
    /// Operations a second while denoising, as a share of the machine's peak.
    pub share_of_peak: f64,
}

/// Runs a request without and with its adapter, and writes what both cost as JSON.
///
/// # Errors
/// When a run fails, there is no identity, or the file cannot be written.
pub fn overhead(
    request: &Request,
    output: &Path,
    device: &Device,
    control: &mut Control<'_>,
) -> Result<Overhead, EngineError> {
    ensure_writable(output)?;
    let prepared = Prepared::with_identity(request, control)?;
    let request = &prepared.request;
    let backbone = prepared.backbone()?;
    let settings = Settings::new(request, &backbone, control)?;
    // Before and after, as other programs may be at work.
    let peak_before = control.stage(Stage::Analyze, 0.0, |_| Ok(matmul_peak(device)))?;
    let plain = Request { adapter: None, references: Vec::new(), identity: None, ..request.clone() };
    let base = cost(&plain, &backbone, &settings, device, control)?;
    let with_adapter = cost(request, &backbone, &settings, device, control)?;
    let peak = control.stage(Stage::Analyze, 0.0, |_| Ok(matmul_peak(device).max(peak_before)))?;
    let Settings { height, width, frames, steps, .. } = settings;
    let [base, with_adapter] = [base, with_adapter].map(|cost| cost.with_peak(peak));
    let result = Overhead { height, width, frames, steps, peak_flops_per_second: peak, base, with_adapter };
    write_json(output, &result)?;
    Ok(result)
}

fn cost(
    request: &Request,
    backbone: &Backbone,
    settings: &Settings,
    device: &Device,
    control: &mut Control<'_>,
) -> Result<Cost, EngineError> {
    let before = control.seconds().len();
    let peak_is_of_run = memory::forget_peak();
    generate(request, device, control)?;
    let peak_memory_bytes = memory::peak().filter(|_| peak_is_of_run);
    let mut seconds = BTreeMap::new();
    for (stage, duration) in &control.seconds()[before..] {
        *seconds.entry(stage.label()).or_insert(0.0) += duration;
    }
    let mut parameters = BTreeMap::new();
    for part in Part::ALL {
        parameters.insert(part.folder(), backbone.weights(part)?.parameters());
    }
    let adapter = match &request.adapter {
        Some(folder) => {
            parameters.insert("adapter", Adapter::open(folder)?.parameters());
            Some(AdapterConfig::load(folder)?)
        }
        None => None,
    };
    let references = request.references.len().max(1);
    let latent_frames = (settings.frames - 1) / backbone.vae.temporal_compression_ratio + 1;
    let tokens = video_tokens(backbone, settings, latent_frames);
    let call = |adapter| flops::transformer_call(&backbone.dit, tokens, adapter);
    let mut flops_per_step = call(adapter.as_ref().map(|config| (config, references)));
    if settings.guidance().is_active() {
        flops_per_step += call(None);
    }
    let latent_size = [settings.height, settings.width].map(|size| size / backbone.spatial_compression());
    let flops = BTreeMap::from([
        // The prompt and the negative one.
        (Stage::EncodePrompt.label(), 2.0 * flops::text_encoder(&backbone.text, backbone.dit.max_text_seq_length)),
        (Stage::Denoise.label(), settings.steps as f64 * flops_per_step),
        (Stage::Decode.label(), flops::decoder(&backbone.vae, latent_frames, latent_size)),
    ]);
    let seconds_per_step = seconds.get(Stage::Denoise.label()).copied().unwrap_or_default() / settings.steps as f64;
    Ok(Cost {
        parameters,
        peak_memory_bytes,
        seconds_of_50_steps: USUAL_STEPS as f64 * seconds_per_step,
        seconds,
        seconds_per_step,
        flops_per_step,
        flops,
        share_of_peak: 0.0,
    })
}

fn video_tokens(backbone: &Backbone, settings: &Settings, latent_frames: usize) -> usize {
    let scale = backbone.spatial_compression() * backbone.dit.patch_size;
    let patch_frames = backbone.dit.patch_size_t.unwrap_or(1);
    latent_frames.div_ceil(patch_frames) * (settings.height / scale) * (settings.width / scale)
}

fn matmul_peak(device: &Device) -> f64 {
    let matrix = || Tensor::<2>::random([PEAK_SIDE; 2], Distribution::Default, device);
    let (a, b) = (matrix(), matrix());
    let seconds = || {
        let start = Instant::now();
        // Reading one value waits for a device that works by itself.
        let _ = a.clone().matmul(b.clone()).narrow(0, 0, 1).narrow(1, 0, 1).into_data();
        start.elapsed().as_secs_f64()
    };
    let best = (0..5).map(|_| seconds()).fold(f64::INFINITY, f64::min);
    2.0 * (PEAK_SIDE as f64).powi(3) / best
}

impl Cost {
    fn with_peak(self, peak: f64) -> Self {
        Self { share_of_peak: self.flops_per_step / self.seconds_per_step / peak, ..self }
    }
}

impl Overhead {
    /// A table in Markdown.
    pub fn table(&self) -> String {
        let Self { height, width, frames, steps, .. } = self;
        let mut table =
            format!("| {frames}×{height}×{width}, {steps} steps | backbone | with adapter |\n|---|---|---|\n");
        let mut row = |name: &str, value: &dyn Fn(&Cost) -> String| {
            let _ = writeln!(table, "| {name} | {} | {} |", value(&self.base), value(&self.with_adapter));
        };
        let number =
            |value: Option<f64>, digits: usize| value.map_or("–".to_owned(), |value| format!("{value:.digits$}"));
        for part in self.with_adapter.parameters.keys() {
            row(&format!("parameters, {part}"), &|cost| {
                cost.parameters.get(part).map_or("–".to_owned(), usize::to_string)
            });
        }
        row("parameters, all", &|cost| cost.parameters.values().sum::<usize>().to_string());
        row("peak memory", &|cost| cost.peak_memory_bytes.map_or("–".to_owned(), |bytes| Bytes(bytes).to_string()));
        for stage in self.with_adapter.seconds.keys() {
            row(&format!("seconds, {stage}"), &|cost| number(cost.seconds.get(stage).copied(), 2));
        }
        row("seconds, one step", &|cost| number(Some(cost.seconds_per_step), 3));
        row("seconds, 50 steps", &|cost| number(Some(cost.seconds_of_50_steps), 1));
        for stage in self.with_adapter.flops.keys() {
            row(&format!("GFLOP, {stage}"), &|cost| number(cost.flops.get(stage).map(|flops| flops / 1e9), 4));
        }
        row("GFLOP, one step", &|cost| number(Some(cost.flops_per_step / 1e9), 4));
        let peak = self.peak_flops_per_second / 1e9;
        row(&format!("share of the peak of {peak:.0} GFLOP/s"), &|cost| format!("{:.1} %", 100.0 * cost.share_of_peak));
        table
    }
}
