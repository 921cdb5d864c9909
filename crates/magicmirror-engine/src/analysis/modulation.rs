//! The scale factors σ over timesteps and layers (figure 13): how the streams differ, and what the identity changes.
//!
//! A point is one stream in one layer at one timestep: its σ₁ and σ₂ side by side. "Invariance to time" is our number for
//! what the figure shows: the share of the variance of all points of a stream that lies between layers, η² in the analysis of
//! variance. It is 1 where a stream's factors depend on the layer alone, and small where they follow the timestep.

use std::collections::BTreeMap;
use std::path::Path;

use burn::tensor::{Device, Tensor};
use magicmirror_models::adapter::IdentityConditioner;
use magicmirror_models::dit::{Factors, LayerConditioner};
use magicmirror_models::weights::write_aside;
use serde::Serialize;

use super::{Prepared, prepare_folder, scatter, tsne, write_json};
use crate::EngineError;
use crate::event::{Control, Stage};
use crate::generate::{self, Request};

const JSON: &str = "modulation.json";
const PNG: &str = "modulation.png";
const HTML: &str = "modulation.html";

/// A stream of tokens, with or without what the identity adds (m̂).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Stream {
    /// Video, as the backbone has it.
    Video,
    /// Video with m̂.
    VideoWithIdentity,
    /// Text, as the backbone has it.
    Text,
    /// Text with m̂.
    TextWithIdentity,
    /// The face tokens.
    Face,
}

impl Stream {
    /// For people to read.
    pub fn label(self) -> &'static str {
        match self {
            Self::Video => "video",
            Self::VideoWithIdentity => "video with identity",
            Self::Text => "text",
            Self::TextWithIdentity => "text with identity",
            Self::Face => "face",
        }
    }
}

/// One stream in one layer at one timestep.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Point {
    /// The stream.
    pub stream: Stream,
    /// Index of the block.
    pub layer: usize,
    /// Training timestep, 0..1000.
    pub timestep: usize,
    /// Length of the vector (σ₁, σ₂).
    pub norm: f64,
    /// Place in the plane.
    pub x: f64,
    /// Place in the plane.
    pub y: f64,
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Modulation {
    /// Share of the variance between layers, 0 to 1, for each stream; `None` where all its factors are equal.
    pub invariance_to_time: BTreeMap<Stream, Option<f64>>,
    /// Length of what the identity adds, relative to the length of what it is added to, mean over points, for video and
    /// text; `None` without conditioned adaptive normalization.
    pub relative_change: BTreeMap<Stream, Option<f64>>,
    /// Seed of the picture.
    pub seed: u64,
    /// All points.
    pub points: Vec<Point>,
}

/// Reads the factors of an adapter's blocks at `timesteps` evenly spaced timesteps, and writes `modulation.json`,
/// `modulation.png` and `modulation.html` into a folder.
///
/// # Errors
/// When the model cannot be loaded, there is no identity, or the folder cannot be written.
pub fn modulation(
    request: &Request,
    timesteps: usize,
    folder: &Path,
    device: &Device,
    control: &mut Control<'_>,
) -> Result<Modulation, EngineError> {
    if !(2..=1000).contains(&timesteps) {
        return Err(EngineError::OutOfRange {
            option: "--timesteps",
            value: timesteps.to_string(),
            rule: "be 2 to 1000".into(),
            hint: "10 is usual".into(),
        });
    }
    let prepared = Prepared::with_identity(request, control)?;
    prepare_folder(folder, &[JSON, PNG, HTML])?;
    let loaded = generate::load(&prepared.request, device, control)?;
    let result = control.stage(Stage::Analyze, 0.0, |control| {
        let factors = read_factors(&loaded, timesteps, device, control)?;
        Ok(Modulation::new(factors, prepared.request.seed))
    })?;
    control.stage(Stage::Write, 0.0, |_| {
        write_json(&folder.join(JSON), &result)?;
        magicmirror_media::write_png(folder.join(PNG), &scatter::draw(&result.points))?;
        Ok(write_aside(&folder.join(HTML), scatter::page(&result).as_bytes())?)
    })?;
    Ok(result)
}

/// σ of one point.
struct Factor {
    stream: Stream,
    layer: usize,
    timestep: usize,
    values: Vec<f32>,
}

fn read_factors(
    loaded: &generate::Loaded,
    timesteps: usize,
    device: &Device,
    control: &Control<'_>,
) -> Result<Vec<Factor>, EngineError> {
    let conditioner = IdentityConditioner::new(&loaded.adapter, &loaded.conditions, 1.0);
    let config = loaded.adapter.config();
    let mut found = Vec::new();
    for timestep in (0..timesteps).map(|i| i * 999 / (timesteps - 1)) {
        control.check()?;
        let time_embedding = loaded.dit.time_embedding(&[timestep as f64], device);
        for &layer in &config.adapter_layers {
            let frozen = loaded.dit.blocks()[layer].factors(&time_embedding);
            let changed = conditioner.modulate(layer, &time_embedding, frozen.clone());
            let mut add = |stream, factors: &Factors| {
                let values = Tensor::cat(vec![factors.scale1.clone(), factors.scale2.clone()], 1);
                let values = values.into_data_as::<f32>().iter::<f32>().collect();
                found.push(Factor { stream, layer, timestep, values });
            };
            add(Stream::Video, &frozen.video);
            add(Stream::Text, &frozen.text);
            if config.modules.can {
                add(Stream::VideoWithIdentity, &changed.video);
                add(Stream::TextWithIdentity, &changed.text);
            }
            if let Some(face) = &changed.extra {
                add(Stream::Face, face);
            }
        }
    }
    Ok(found)
}

impl Modulation {
    fn new(factors: Vec<Factor>, seed: u64) -> Self {
        let mut streams: Vec<Stream> = factors.iter().map(|factor| factor.stream).collect();
        streams.sort_unstable();
        streams.dedup();
        let of = |stream: Stream| factors.iter().filter(move |factor| factor.stream == stream);
        let invariance_to_time = streams
            .iter()
            .map(|&stream| {
                let labelled: Vec<_> = of(stream).map(|factor| (factor.layer, factor.values.as_slice())).collect();
                (stream, share_between(&labelled))
            })
            .collect();
        let change = |plain, with| {
            let pairs = of(plain).zip(of(with)).map(|(plain, with)| {
                let difference: Vec<f32> = with.values.iter().zip(&plain.values).map(|(a, b)| a - b).collect();
                length(&difference) / length(&plain.values).max(f64::MIN_POSITIVE)
            });
            let pairs: Vec<f64> = pairs.collect();
            (!pairs.is_empty()).then(|| pairs.iter().sum::<f64>() / pairs.len() as f64)
        };
        let relative_change = BTreeMap::from([
            (Stream::Video, change(Stream::Video, Stream::VideoWithIdentity)),
            (Stream::Text, change(Stream::Text, Stream::TextWithIdentity)),
        ]);
        let norms: Vec<f64> = factors.iter().map(|factor| length(&factor.values)).collect();
        let labels: Vec<_> = factors.iter().map(|factor| (factor.stream, factor.layer, factor.timestep)).collect();
        let values: Vec<Vec<f32>> = factors.into_iter().map(|factor| factor.values).collect();
        let places = tsne::embed(&values, seed);
        let points = labels
            .into_iter()
            .zip(norms)
            .zip(places)
            .map(|(((stream, layer, timestep), norm), [x, y])| Point { stream, layer, timestep, norm, x, y })
            .collect();
        Self { invariance_to_time, relative_change, seed, points }
    }
}

fn length(values: &[f32]) -> f64 {
    values.iter().map(|&value| f64::from(value).powi(2)).sum::<f64>().sqrt()
}

/// Share of the variance of labelled vectors that lies between the labels' means (η²); `None` where there is none.
fn share_between(vectors: &[(usize, &[f32])]) -> Option<f64> {
    let width = vectors.first()?.1.len();
    let mean = |chosen: &[&[f32]]| -> Vec<f64> {
        let mut sums = vec![0.0; width];
        for vector in chosen {
            sums.iter_mut().zip(*vector).for_each(|(sum, &value)| *sum += f64::from(value));
        }
        sums.into_iter().map(|sum| sum / chosen.len() as f64).collect()
    };
    let mut groups: BTreeMap<usize, Vec<&[f32]>> = BTreeMap::new();
    for (label, vector) in vectors {
        groups.entry(*label).or_default().push(vector);
    }
    let all: Vec<&[f32]> = vectors.iter().map(|(_, vector)| *vector).collect();
    let centre = mean(&all);
    let square = |a: f64, b: f64| (a - b).powi(2);
    let total: f64 =
        all.iter().flat_map(|vector| vector.iter().zip(&centre).map(|(&a, &b)| square(f64::from(a), b))).sum();
    let between: f64 = groups
        .values()
        .map(|group| {
            let spread: f64 = mean(group).iter().zip(&centre).map(|(a, b)| square(*a, *b)).sum();
            group.len() as f64 * spread
        })
        .sum();
    // Rounding of f32 makes equal vectors differ by less than this.
    let magnitude: f64 = all.iter().map(|vector| length(vector).powi(2)).sum();
    (total > 1e-12 * magnitude).then(|| between / total)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two layers, three timesteps.
    fn share(value: impl Fn(f32, f32) -> f32) -> Option<f64> {
        let vectors: Vec<(usize, Vec<f32>)> =
            (0..6u8).map(|i| (usize::from(i % 2), vec![value(f32::from(i % 2), f32::from(i / 2)), 1.0])).collect();
        let labelled: Vec<(usize, &[f32])> =
            vectors.iter().map(|(layer, vector)| (*layer, vector.as_slice())).collect();
        share_between(&labelled)
    }

    #[test]
    fn invariance_is_one_for_layers_and_zero_for_time() {
        assert_eq!(share(|layer, _| layer), Some(1.0));
        assert_eq!(share(|_, time| time), Some(0.0));
        assert_eq!(share(|_, _| 0.3), None);
        // Between layers 6 · 1²; in all besides 2 · (1 + 0 + 1) · 1².
        assert!((share(|layer, time| 2.0 * layer + time).unwrap() - 6.0 / 10.0).abs() < 1e-6);
    }
}
