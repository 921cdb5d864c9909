//! For tests: pictures, discs on backgrounds, one pair of colours for each identity; and slopes by finite differences.

use std::sync::atomic::{AtomicBool, Ordering};

use image::{Rgb, RgbImage};

use super::data::{Example, Examples, ReferencePhoto, TargetFace};
use super::random::{Draw, normal};
use super::{Gradients, Parameter};
use crate::EngineError;
use crate::event::Event;
use crate::identity::DetectedFace;

/// So many identities, each once.
pub(super) struct Drawn {
    pub(super) identities: usize,
    pub(super) frames: usize,
    pub(super) side: u32,
    /// This one cannot be read.
    pub(super) broken: Option<usize>,
}

impl Examples for Drawn {
    fn len(&self) -> usize {
        self.identities
    }

    fn key(&self, index: usize) -> String {
        format!("drawn-{index}")
    }

    fn get(&self, index: usize) -> Result<Example, EngineError> {
        if Some(index) == self.broken {
            return Err(EngineError::options("it was torn", ""));
        }
        let side = f64::from(self.side);
        let inside = |frame: usize, x: u32, y: u32| {
            let centre = side / 2.0 + frame as f64;
            (f64::from(x) - centre).hypot(f64::from(y) - side / 2.0) < side / 3.0
        };
        let colours = [Rgb([40 * index as u8, 200, 90]), Rgb([250, 30, 255 - 60 * index as u8])];
        let frame = |frame| RgbImage::from_fn(self.side, self.side, |x, y| colours[usize::from(inside(frame, x, y))]);
        let pixels = || (0..self.side).flat_map(|y| (0..self.side).map(move |x| (x, y)));
        let mask = |frame| pixels().map(|(x, y)| if inside(frame, x, y) { 255 } else { 0 }).collect();
        let (low, high) = (side as f32 / 6.0, side as f32 / 1.2);
        let (bounds, landmarks) = ([low, low, high, high], [[side as f32 / 2.0; 2]; 5]);
        let face = |frame| Some(TargetFace { bounds, landmarks, mask: mask(frame) });
        let photo = ReferencePhoto { image: frame(0), face: Some(DetectedFace { bounds, score: 1.0, landmarks }) };
        Ok(Example {
            frames: (0..self.frames).map(frame).collect(),
            faces: Some((0..self.frames).map(face).collect()),
            caption: format!("a woman img and {index}"),
            references: vec![photo],
            identity: Some(7 * index as u64),
        })
    }
}

/// Sections `[run]` and `[optimiser]` of a short run.
pub(super) fn short_run(steps: u64, batch: usize, learning_rate: f64) -> String {
    format!(
        "[run]\nseed = 1\nsteps = {steps}\nbatch = {batch}\nmicro_batch = {batch}\ncheckpoint_every = {steps}\n\
         validate_every = {steps}\n[optimiser]\nlearning_rate = {learning_rate}\nwarmup_steps = 5\nbeta2 = 0.99\n"
    )
}

/// A listener that cancels a run at a step, or never.
pub(super) fn stop_at(stop: Option<u64>, cancelled: &AtomicBool) -> impl FnMut(Event) {
    move |event| {
        if let Event::Training(training) = event
            && Some(training.step) == stop
        {
            cancelled.store(true, Ordering::Relaxed);
        }
    }
}

/// A loss at the steps of a run, in order.
pub(super) fn losses(run: &std::path::Path, name: &str) -> Vec<f64> {
    let text = std::fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    let lines = text.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    lines.filter_map(|line| line[name].as_f64()).collect()
}

/// Keys of the examples that a run left out.
pub(super) fn listed(run: &std::path::Path) -> Vec<String> {
    let text = std::fs::read_to_string(run.join("skipped.jsonl")).unwrap();
    let lines = text.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    lines.map(|line| line["key"].as_str().unwrap().to_owned()).collect()
}

/// Moves every parameter, so that none is zero.
pub(super) fn stir(parameters: &mut [Parameter]) {
    for (seed, parameter) in parameters.iter_mut().enumerate() {
        let noise = normal(parameter.values.len(), seed as u64, 0, 0, Draw::Noise);
        parameter.values.iter_mut().zip(noise).for_each(|(value, noise)| *value += 0.1 * noise);
    }
}

/// Half along the gradient, where the slope is large against rounding, and half anywhere, where what is missing from the
/// gradient shows. Its length is about one, and half of that where the gradient is zero.
pub(super) fn direction(gradient: &[f32]) -> Vec<f32> {
    let other = normal(gradient.len(), 77, 0, 0, Draw::Noise);
    let (own, others) = (norm(gradient).max(f32::MIN_POSITIVE), norm(&other));
    gradient.iter().zip(&other).map(|(g, o)| 0.5 * g / own + 0.5 * o / others).collect()
}

fn norm(values: &[f32]) -> f32 {
    values.iter().map(|value| value * value).sum::<f32>().sqrt()
}

/// Checks the gradient of each parameter, one after the other, against a finite difference along [`direction`]. A parameter
/// without a gradient must not matter.
#[track_caller]
pub(super) fn check_gradients(
    parameters: &[Parameter],
    gradients: Gradients,
    mut loss: impl FnMut(&[Parameter]) -> f64,
) {
    let step = 1e-2;
    // What some roundings of the loss make of a difference.
    let rounding = 8.0 * f64::from(f32::EPSILON) * loss(parameters) / f64::from(2.0 * step);
    let mut moved = parameters.to_vec();
    for (index, gradient) in gradients.into_values().into_iter().enumerate() {
        let Parameter { name, values, .. } = &parameters[index];
        let gradient = gradient.unwrap_or_else(|| vec![0.0; values.len()]);
        let direction = direction(&gradient);
        let slope: f64 = gradient.iter().zip(&direction).map(|(g, d)| f64::from(g * d)).sum();
        let mut at = |step: f32| {
            moved[index].values = values.iter().zip(&direction).map(|(value, d)| value + step * d).collect();
            loss(&moved)
        };
        let difference = (at(step) - at(-step)) / f64::from(2.0 * step);
        moved[index].values.clone_from(values);
        let (error, largest) = ((slope - difference).abs(), slope.abs().max(difference.abs()));
        assert!(error < 1e-2 * largest + rounding, "{name}: gradient {slope}, finite difference {difference}");
    }
}
