//! `train encoder`: a small vision transformer with CLIP's layout that tells people apart.
//!
//! Loss: ArcFace (arXiv 1801.07698), a classification of identities by angle with an additive margin, on a projection of
//! the last class token, and how well the other tokens tell the pixels of their patches: an adapter draws from the hidden
//! states, and what tells known people apart is not all that is to be drawn. Projection, class centres and what reads the
//! pixels are left behind.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use burn::module::{Module, Param};
use burn::tensor::{Device, Int, Tensor, TensorData};
use image::RgbImage;
use magicmirror_models::nn::{LayerNorm, Linear};
use magicmirror_models::vision::preprocess::Preprocessing;
use magicmirror_models::vision::vit::{VisionConfig, VisionFeatures, VisionTransformer};
use magicmirror_models::weights::{Init, ParamNames, Precision, initialise, write_aside};
use rand::Rng;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::data::{Example, Examples};
use super::export::{has_weights, hashes, prefixed, save_half};
use super::parameters::Replicas;
use super::people::People;
use super::random::{self, Draw};
use super::survey::{Skipped, Sound, changed, survey};
use super::{
    Finished, GuardConfig, Losses, MicroBatch, Objective, OptimiserConfig, Parameter, ParameterSet, RunConfig,
    RunRequest, TrainError,
};
use crate::EngineError;
use crate::dataset::{Kind, Split};
use crate::event::{Control, Stage};
use crate::files::read_text;
use crate::identity::{DetectedFace, square_around, vision_input};

const STEM: &str = "model";
const TOWER: &str = "tower.";

/// How far the square around a face moves and how much its side changes, relative to the face.
const JITTER: f32 = 0.12;

/// A patch is seen as so many cells across, and as many down.
const CELLS: usize = 4;

/// Held-out photos that a validation compares.
const VALIDATED: usize = 200;

/// A run of `train encoder`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EncoderTraining {
    /// Length and traces of the run.
    pub run: RunConfig,
    /// The optimiser.
    pub optimiser: OptimiserConfig,
    /// When it stops by itself.
    #[serde(default)]
    pub guard: GuardConfig,
    /// Folder with the tower's `config.json`; weights beside it are where training starts.
    pub vision: PathBuf,
    /// A data set of pairs, as `data people` makes it.
    pub data: PathBuf,
    /// Part of the examples that may be broken before the run stops.
    #[serde(default = "super::most_bad")]
    pub most_bad: f64,
    /// The loss.
    #[serde(default)]
    pub loss: MarginConfig,
}

/// Section `[loss]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MarginConfig {
    /// Added to the angle between a photo and its own class, radians.
    pub margin: f64,
    /// Cosines are multiplied by this.
    pub scale: f64,
    /// Width of the projection that is compared.
    pub width: usize,
    /// Weight of the error of each patch's pixels, as a linear layer reads them from its token after the last layer and
    /// before it **(ours)**: without this, a linear map from the small model's tokens to a picture of the same person left
    /// 1.1 times the error of one from a photo of 36×36 pixels. 0 leaves it out.
    pub pixels: f64,
}

impl Default for MarginConfig {
    fn default() -> Self {
        Self { margin: 0.3, scale: 24.0, width: 128, pixels: 5.0 }
    }
}

/// Trains a vision encoder, one replica a device.
///
/// # Errors
/// When configuration, data or weights do not fit, a file cannot be read or written, or the loss goes wrong.
pub fn train_encoder(
    config: &EncoderTraining,
    folder: &Path,
    resume: bool,
    devices: &[Device],
    control: &mut Control<'_>,
) -> Result<Finished, EngineError> {
    let EncoderTraining { run, optimiser, guard, vision, data, .. } = config;
    let [examples, held_out] = [Split::Train, Split::Validation].map(|split| People::open(data, Kind::Pair, split));
    let (examples, held_out) = (examples?, held_out?);
    let weights = hashes(&[("vision", vision, STEM)])?;
    RunRequest { kind: "encoder", folder, resume, config, run, optimiser, guard, weights }
        .start(control, |skipped, control| {
            EncoderObjective::new(config, [&examples, &held_out], devices, skipped, control)
        })
}

#[derive(Module, Debug)]
struct Network {
    tower: VisionTransformer,
    norm: LayerNorm,
    projection: Linear,
    /// One row for each identity.
    classes: Param<Tensor<2>>,
    /// From a token to the means of the cells of its patch.
    cells: Linear,
}

impl Network {
    /// Unit vectors, `[batch, width]`, from what the tower says.
    fn embed(&self, features: &VisionFeatures) -> Tensor<2> {
        let class_token: Tensor<2> = features.last.clone().narrow(1, 0, 1).squeeze_dim(1);
        unit_rows(self.projection.forward(self.norm.forward(class_token)))
    }

    /// Both terms of the loss, weighted.
    fn loss(&self, pixels: Tensor<4>, classes: &[usize], config: &MarginConfig) -> Tensor<1> {
        let features = self.tower.forward(pixels.clone());
        let identity = self.identity_loss(self.embed(&features), classes, config);
        if config.pixels == 0.0 {
            return identity;
        }
        identity + self.pixel_loss(&features, pixels) * config.pixels
    }

    /// Mean squared error of the cells of all patches.
    fn pixel_loss(&self, VisionFeatures { last, penultimate }: &VisionFeatures, pixels: Tensor<4>) -> Tensor<1> {
        let patches = last.dims()[1] - 1;
        let target = cells(pixels, patches);
        let error = |tokens: &Tensor<3>| {
            let error = self.cells.forward(tokens.clone().narrow(1, 1, patches)) - target.clone();
            (error.clone() * error).mean()
        };
        (error(last) + error(penultimate)) / 2.0
    }

    /// ArcFace's loss.
    fn identity_loss(&self, embedded: Tensor<2>, classes: &[usize], config: &MarginConfig) -> Tensor<1> {
        let device = embedded.device();
        let cosines = embedded.matmul(unit_rows(self.classes.val()).transpose());
        let rows = classes.len();
        let indices = TensorData::new(classes.iter().map(|class| *class as i64).collect::<Vec<_>>(), [rows, 1]);
        let indices = Tensor::<2, Int>::from_data(indices, &device);
        // Clamped, so that the root has a slope.
        let own = cosines.clone().gather(1, indices.clone()).clamp(-0.9999, 0.9999);
        let sines = (own.clone() * own.clone()).neg().add_scalar(1.0).sqrt();
        let moved = own.clone() * config.margin.cos() - sines * config.margin.sin();
        // The logits of all classes, and instead of its own the moved one.
        let total = (cosines * config.scale).exp().sum_dim(1) - (own * config.scale).exp()
            + (moved.clone() * config.scale).exp();
        (total.log() - moved * config.scale).mean()
    }
}

/// Means of the cells of each patch, `[batch, patches, 3 · CELLS²]`, of square images that a whole number of square patches
/// covers, each of which a whole number of pixels divides into cells.
fn cells(pixels: Tensor<4>, patches: usize) -> Tensor<3> {
    let [batch, channels, side, _] = pixels.dims();
    let across = patches.isqrt();
    let (all, cell) = (across * CELLS, side / (across * CELLS));
    let rows: Tensor<3> = pixels.reshape([batch * channels * all, cell, side]).mean_dim(1);
    let means: Tensor<3> = rows.reshape([batch * channels * all, all, cell]).mean_dim(2);
    let patches = means.reshape([batch * channels, across, CELLS, across, CELLS]).swap_dims(2, 3);
    patches.reshape([batch, channels, across * across, CELLS * CELLS]).swap_dims(1, 2).flatten(2, 3)
}

fn unit_rows(x: Tensor<2>) -> Tensor<2> {
    let norm = (x.clone() * x.clone()).sum_dim(1).add_scalar(1e-12).sqrt();
    x / norm
}

struct EncoderObjective<'a> {
    config: &'a EncoderTraining,
    preprocessing: Preprocessing,
    network: Replicas<Network>,
    set: ParameterSet,
    initial: Vec<Parameter>,
    /// Of each the target and the first reference photo are learnt from, by turns.
    examples: Sound<'a>,
    held_out: Sound<'a>,
    /// Number of each identity's class.
    classes: BTreeMap<u64, usize>,
}

impl<'a> EncoderObjective<'a> {
    fn new(
        config: &'a EncoderTraining,
        [examples, held_out]: [&'a dyn Examples; 2],
        devices: &[Device],
        skipped: &Path,
        control: &mut Control<'_>,
    ) -> Result<Self, EngineError> {
        let shape = VisionConfig::read(&config.vision.join("config.json"))?;
        let weight = config.loss.pixels;
        if !(weight.is_finite() && weight >= 0.0) {
            return Err(out_of_range(weight, "be a number from 0"));
        }
        let divides = shape.patch_size.is_multiple_of(CELLS) && shape.image_size.is_multiple_of(shape.patch_size);
        if weight > 0.0 && !divides {
            return Err(out_of_range(
                weight,
                "be 0 where patches do not divide into 4×4 cells, or the image into patches",
            ));
        }
        let (count, looked_at) = (examples.len(), held_out.len().min(VALIDATED.div_ceil(2)));
        let total = count + looked_at;
        let mut skipped = Skipped::new(skipped, config.most_bad, total);
        let (found, held_out) = control.stage(Stage::PrepareData, total as f64, |control| {
            let found = survey(examples, count, 0, &mut skipped, control, |index, example| {
                Ok((index, photo_of(example, 0)?.identity))
            })?;
            let held_out_found = survey(held_out, looked_at, count, &mut skipped, control, |index, example| {
                photo_of(example, 1)?;
                Ok(index)
            })?;
            Ok((found, Sound::new(held_out, held_out_found)))
        })?;
        if found.is_empty() {
            return Err(TrainError::NoExamples { path: config.data.clone() }.into());
        }
        let (indices, identities): (Vec<usize>, Vec<u64>) = found.into_iter().unzip();
        let examples = Sound::new(examples, indices);
        let mut classes: BTreeMap<u64, usize> = identities.into_iter().map(|identity| (identity, 0)).collect();
        classes.values_mut().enumerate().for_each(|(number, class)| *class = number);
        let (network, names) = load(config, &shape, classes.len(), &devices[0].clone().autodiff())?;
        let (set, initial) = ParameterSet::new(&network, &names);
        let preprocessing = Preprocessing::clip(shape.image_size);
        let network = Replicas::new(&network, devices);
        Ok(Self { config, preprocessing, network, set, initial, examples, held_out, classes })
    }

    /// A photo as the tower sees it, the square around the face moved and scaled by parts of its side, and its identity.
    fn photo(
        &self,
        examples: &Sound<'_>,
        index: usize,
        [across, down, larger]: [f32; 3],
        device: &Device,
    ) -> Result<(Tensor<4>, u64), EngineError> {
        let photo =
            photo_of(examples.get(index / 2)?, index % 2).map_err(|reason| changed(index.to_string(), reason))?;
        let [left, top, right, bottom] = photo.bounds;
        let side = (right - left).max(bottom - top);
        let (x, y) = (f32::midpoint(left, right) + across * side, f32::midpoint(top, bottom) + down * side);
        let [width, height] = [right - left, bottom - top].map(|length| length * (1.0 + larger) / 2.0);
        let bounds = [x - width, y - height, x + width, y + height];
        let face = DetectedFace { bounds, score: 1.0, landmarks: [[0.0; 2]; 5] };
        let seen = square_around(&photo.image, &face)?;
        Ok((vision_input(&seen, &self.preprocessing, device)?, photo.identity))
    }
}

/// A photo of somebody, and where the face is.
struct Photo {
    image: RgbImage,
    bounds: [f32; 4],
    identity: u64,
}

/// The target of an example, or else its first reference photo.
fn photo_of(example: Example, turn: usize) -> Result<Photo, String> {
    let Example { mut frames, faces, mut references, identity, .. } = example;
    let identity = identity.ok_or("nobody has said whom it shows")?;
    let face = faces.and_then(|faces| faces.into_iter().next().flatten()).map(|face| face.bounds);
    let reference = references.first().and_then(|photo| photo.face).map(|face| face.bounds);
    let (Some(target), Some(reference)) = (face, reference) else {
        return Err("a face or its place is missing".into());
    };
    Ok(match turn {
        0 => Photo { image: frames.swap_remove(0), bounds: target, identity },
        _ => Photo { image: references.swap_remove(0).image, bounds: reference, identity },
    })
}

impl Objective for EncoderObjective<'_> {
    fn parameters(&mut self) -> Vec<Parameter> {
        std::mem::take(&mut self.initial)
    }

    fn examples(&self) -> String {
        self.examples.hash()
    }

    fn set_parameters(&mut self, parameters: &[Parameter]) {
        self.network.set(&self.set, parameters);
    }

    fn replicas(&self) -> usize {
        self.network.len()
    }

    fn micro_batch(
        &self,
        replica: usize,
        step: u64,
        positions: &[usize],
        run: &RunConfig,
    ) -> Result<MicroBatch, EngineError> {
        let (network, device) = self.network.get(replica);
        let photos: Vec<(Tensor<4>, u64)> = positions
            .par_iter()
            .map(|&position| {
                let draw = step * run.batch as u64 + position as u64;
                let index = random::sample(2 * self.examples.len(), run.seed, draw);
                let mut generator = random::generator(run.seed, step, position, Draw::Crop);
                let moved = [(); 3].map(|()| generator.random_range(-JITTER..JITTER));
                self.photo(&self.examples, index, moved, device)
            })
            .collect::<Result<_, EngineError>>()?;
        let (pixels, identities): (Vec<_>, Vec<_>) = photos.into_iter().unzip();
        let classes: Vec<usize> = identities.iter().map(|identity| self.classes[identity]).collect();
        let loss = network.loss(Tensor::cat(pixels, 0), &classes, &self.config.loss);
        let mut losses = Losses::default();
        losses.add(Losses::TOTAL, f64::from(loss.clone().into_scalar::<f32>()), positions.len());
        let mut gradients = self.set.gradients();
        self.set.add(network, &loss.backward(), &mut gradients);
        Ok(MicroBatch { gradients, losses })
    }

    /// Mean cosine of held-out photos of one person, of two people, the area under the curve between them, and the error of
    /// the pixels.
    fn validate(
        &mut self,
        _step: u64,
        _model: &Path,
        _folder: &Path,
        control: &mut Control<'_>,
    ) -> Result<Vec<(String, f64)>, EngineError> {
        let (network, device) = self.network.valid();
        let mut embedded: Vec<(Vec<f32>, u64)> = Vec::new();
        let mut error = 0.0;
        for index in 0..VALIDATED.min(2 * self.held_out.len()) {
            control.check()?;
            let (pixels, identity) = self.photo(&self.held_out, index, [0.0; 3], &device)?;
            let features = network.tower.forward(pixels.clone());
            if self.config.loss.pixels > 0.0 {
                error += f64::from(network.pixel_loss(&features, pixels).into_scalar::<f32>());
            }
            embedded.push((network.embed(&features).into_data().iter().collect(), identity));
        }
        let (mut same, mut different) = (Vec::new(), Vec::new());
        for (index, (a, who)) in embedded.iter().enumerate() {
            for (b, other) in &embedded[..index] {
                let cosine: f64 = a.iter().zip(b).map(|(a, b)| f64::from(a * b)).sum();
                if who == other { same.push(cosine) } else { different.push(cosine) }
            }
        }
        if same.is_empty() || different.is_empty() {
            return Ok(Vec::new());
        }
        let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
        let (own, other) = (mean(&same), mean(&different));
        let mut found = vec![("same", own), ("different", other), ("auc", area(&same, different))];
        if self.config.loss.pixels > 0.0 {
            found.push(("pixels", error / embedded.len() as f64));
        }
        Ok(found.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
    }

    /// A folder that CLIP's loaders read.
    fn export(&self, folder: &Path, parameters: &[Parameter]) -> Result<(), EngineError> {
        fs::create_dir_all(folder).map_err(EngineError::io(folder))?;
        save_half(&folder.join(format!("{STEM}.safetensors")), TOWER, parameters)?;
        let config = read_text(&self.config.vision.join("config.json"))?;
        Ok(write_aside(&folder.join("config.json"), config.as_bytes())?)
    }
}

fn out_of_range(pixels: f64, rule: &'static str) -> EngineError {
    TrainError::OutOfRange { key: "loss.pixels", value: pixels.to_string(), rule }.into()
}

fn load(
    config: &EncoderTraining,
    shape: &VisionConfig,
    classes: usize,
    device: &Device,
) -> Result<(Network, ParamNames), EngineError> {
    let (seed, width) = (config.run.seed, config.loss.width);
    let (tower, tower_names) = if has_weights(&config.vision, STEM) {
        let (_, tower, names) = VisionTransformer::load_folder(&config.vision, Precision::F32, device)?;
        (tower, names)
    } else {
        initialise(seed, device, |params| VisionTransformer::new(shape, params))
    };
    let ((norm, projection, classes, cells), names) = initialise(seed.wrapping_add(1), device, |params| {
        let norm = LayerNorm::new(params, "norm", shape.hidden_size, shape.layer_norm_eps);
        let projection = Linear::new(params, "projection", shape.hidden_size, width);
        let classes = params.tensor("classes", [classes, width], Init::fan_in(width));
        (norm, projection, classes, Linear::new(params, "cells", shape.hidden_size, 3 * CELLS * CELLS))
    });
    let names = prefixed(TOWER, tower_names).chain(prefixed("", names)).collect();
    Ok((Network { tower, norm, projection, classes, cells }, names))
}

/// How often a value of `same` exceeds one of `different`.
fn area(same: &[f64], mut different: Vec<f64>) -> f64 {
    different.sort_by(f64::total_cmp);
    let below = same.iter().map(|value| different.partition_point(|other| other < value) as f64);
    below.sum::<f64>() / (same.len() * different.len()) as f64
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;

    use super::super::drawn::{Drawn, check_gradients, listed, losses, short_run, stir, stop_at};
    use super::*;

    const SHAPE: &str = r#"{"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2,
        "image_size": 24, "patch_size": 8}"#;

    /// Is stopped at a step, if one is said. Goes on with a run in the folder.
    fn train_until(stop: Option<u64>, drawn: &Drawn, steps: u64, folder: &Path) -> Finished {
        let (vision, run) = (folder.join("vision"), folder.join("run"));
        fs::create_dir_all(&vision).unwrap();
        fs::write(vision.join("config.json"), SHAPE).unwrap();
        let config = format!(
            "vision = {vision:?}\ndata = \"\"\nmost_bad = 0.3\n{}[loss]\nwidth = 16\n",
            short_run(steps, 6, 3e-3)
        );
        let config: EncoderTraining = toml::from_str(&config).unwrap();
        let cancelled = AtomicBool::new(false);
        let EncoderTraining { run: length, optimiser, guard, .. } = &config;
        let weights = BTreeMap::new();
        let (kind, folder, resume, config) = ("encoder", run.as_path(), run.exists(), &config);
        let request = RunRequest { kind, folder, resume, config, run: length, optimiser, guard, weights };
        let prepare = |skipped: &Path, control: &mut Control<'_>| {
            EncoderObjective::new(config, [drawn; 2], &[Device::flex()], skipped, control)
        };
        request.start(&mut Control::new(&mut stop_at(stop, &cancelled), &cancelled), prepare).unwrap()
    }

    #[test]
    fn a_resumed_run_equals_one_that_never_stopped() {
        let drawn = Drawn { identities: 4, frames: 1, side: 40, broken: None };
        let train = |stops: &[Option<u64>]| {
            let folder = tempfile::tempdir().unwrap();
            let runs: Vec<_> = stops.iter().map(|stop| train_until(*stop, &drawn, 9, folder.path())).collect();
            let finished = &runs[runs.len() - 1];
            assert!(finished.complete);
            std::fs::read(finished.model.join("model.safetensors")).unwrap()
        };
        assert!(train(&[None]) == train(&[Some(4), None]));
    }

    #[test]
    fn a_few_people_are_told_apart() {
        let folder = tempfile::tempdir().unwrap();
        let drawn = Drawn { identities: 4, frames: 1, side: 40, broken: Some(1) };
        let finished = train_until(None, &drawn, 60, folder.path());
        let run = folder.path().join("run");
        assert_eq!(listed(&run), ["drawn-1"; 2], "to train and held out");
        let found = losses(&run, Losses::TOTAL);
        assert!(found[59] < found[0] / 20.0, "{} of {}", found[59], found[0]);
        VisionTransformer::load_folder(&finished.model, Precision::Stored, &Device::flex()).unwrap();
    }

    #[test]
    fn pixels_are_refused_where_patches_do_not_divide_into_cells() {
        let folder = tempfile::tempdir().unwrap();
        let shape = SHAPE.replace("\"patch_size\": 8", "\"patch_size\": 6");
        fs::write(folder.path().join("config.json"), shape).unwrap();
        let drawn = Drawn { identities: 4, frames: 1, side: 40, broken: None };
        let begin = |pixels: &str| {
            let (vision, run) = (folder.path(), short_run(1, 2, 1e-3));
            let config = format!("vision = {vision:?}\ndata = \"\"\n{run}[loss]\npixels = {pixels}\n");
            let config: EncoderTraining = toml::from_str(&config).unwrap();
            let cancelled = AtomicBool::new(false);
            let mut listener = |_| ();
            let mut control = Control::new(&mut listener, &cancelled);
            let skipped = super::super::survey::begin_list(folder.path()).unwrap();
            EncoderObjective::new(&config, [&drawn; 2], &[Device::flex()], &skipped, &mut control).map(|_| ())
        };
        for pixels in ["5.0", "-1.0", "nan"] {
            let refused = begin(pixels);
            assert!(
                matches!(refused, Err(EngineError::Train(TrainError::OutOfRange { key: "loss.pixels", .. }))),
                "{pixels}: {refused:?}"
            );
        }
        begin("0.0").unwrap();
    }

    #[test]
    fn cells_are_means_in_the_order_of_patches() {
        let value = |channel: i64, y: i64, x: i64| (100 * channel + 12 * y + x) as f32;
        let places = (0..3).flat_map(|channel| (0..24).flat_map(move |y| (0..24).map(move |x| (channel, y, x))));
        // Two pixels of a cell differ from its mean by as much up as down.
        let pixels: Vec<f32> = places.map(|(c, y, x)| value(c, y / 2, x / 2) + [0.5, -0.5][x as usize % 2]).collect();
        let found = cells(Tensor::from_data(TensorData::new(pixels, [1, 3, 24, 24]), &Device::flex()), 9);
        assert_eq!(found.dims(), [1, 9, 48]);
        let found: Vec<f32> = found.into_data().iter().collect();
        for (index, found) in found.into_iter().enumerate() {
            let [patch, channel, row, column] =
                [index / 48, index / 16 % 3, index / 4 % 4, index % 4].map(|x| x as i64);
            let expected = value(channel, patch / 3 * 4 + row, patch % 3 * 4 + column);
            assert!((found - expected).abs() < 1e-4, "{found} instead of {expected} at {index}");
        }
    }

    /// A new network for three people, so narrow that they are not at right angles.
    fn new(device: &Device) -> (Network, ParamNames) {
        let shape: VisionConfig = serde_json::from_str(SHAPE).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let (vision, run) = (folder.path(), short_run(1, 1, 1e-3));
        let config = format!("vision = {vision:?}\ndata = \"\"\n{run}[loss]\nwidth = 4\n");
        let config: EncoderTraining = toml::from_str(&config).unwrap();
        load(&config, &shape, 3, device).unwrap()
    }

    #[test]
    fn gradients_of_each_term_equal_finite_differences() {
        let device = Device::flex().autodiff();
        let (network, names) = new(&device);
        let (set, mut parameters) = ParameterSet::new(&network, &names);
        stir(&mut parameters);
        let network = set.load(network, &parameters);
        let pixels = random::normal(2 * 3 * 24 * 24, 1, 0, 0, Draw::Noise);
        let pixels = Tensor::<4>::from_data(TensorData::new(pixels, [2, 3, 24, 24]), &device);
        let margin = MarginConfig { margin: 0.4, scale: 5.0, width: 4, pixels: 0.0 };
        let identity = |network: &Network| network.loss(pixels.clone(), &[2, 0], &margin);
        let picture = |network: &Network| network.pixel_loss(&network.tower.forward(pixels.clone()), pixels.clone());
        for term in [&identity as &dyn Fn(&Network) -> Tensor<1>, &picture] {
            let mut gradients = set.gradients();
            set.add(&network, &term(&network).backward(), &mut gradients);
            check_gradients(&parameters, gradients, |moved| {
                f64::from(term(&set.load(network.clone(), moved)).into_scalar::<f32>())
            });
        }
    }

    #[test]
    fn the_margin_moves_the_own_class_only() {
        let device = Device::flex();
        let (network, _) = new(&device);
        let pixels = Tensor::random([2, 3, 24, 24], burn::tensor::Distribution::Default, &device);
        let cosines =
            network.embed(&network.tower.forward(pixels.clone())).matmul(unit_rows(network.classes.val()).transpose());
        let cosines: Vec<f32> = cosines.into_data().iter().collect();
        let margin = MarginConfig { margin: 0.4, scale: 5.0, width: 4, pixels: 0.0 };
        let expected: f64 = [(0, 2), (1, 0)]
            .map(|(row, class)| {
                let logit = |column: usize| {
                    let angle = f64::from(cosines[3 * row + column]).acos();
                    5.0 * (if column == class { angle + 0.4 } else { angle }).cos()
                };
                (0..3).map(|column| logit(column).exp()).sum::<f64>().ln() - logit(class)
            })
            .iter()
            .sum::<f64>()
            / 2.0;
        let found = f64::from(network.loss(pixels, &[2, 0], &margin).into_scalar::<f32>());
        assert!((found - expected).abs() < 1e-4, "{found} instead of {expected}");
    }

    #[test]
    fn area_under_the_curve() {
        assert!((area(&[0.9, 0.5], vec![0.4, 0.6, 0.1]) - 5.0 / 6.0).abs() < 1e-9);
    }
}
