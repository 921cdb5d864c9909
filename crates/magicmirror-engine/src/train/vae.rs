//! `train vae`: the autoencoder from nothing, on whole pictures or crops, images and short clips.
//!
//! Loss: mean absolute error, the same of differences between neighbours at several scales (which is what makes edges
//! sharp where a network trained for perceptual losses is not at hand), both heavier on the face, and a small divergence
//! from the standard normal distribution. Videos pass in the chunks in which they will pass when generating. What was
//! trained on pictures alone leaves as a network that treats every frame of a clip as a picture.

use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use burn::module::Module;
use burn::tensor::module::avg_pool2d;
use burn::tensor::ops::AvgPoolOptions;
use burn::tensor::{Device, Tensor, TensorData};
use image::RgbImage;
use magicmirror_media::write_png;
use magicmirror_models::vae::{Posterior, Tiling, Vae, VaeConfig};
use magicmirror_models::weights::{Checkpoint, Names, Precision, initialise, write_aside};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::data::{Example, Examples};
use super::export::{has_weights, hashes, save_half};
use super::parameters::Replicas;
use super::people::People;
use super::random::{self, Draw};
use super::survey::{Skipped, Sound, survey};
use super::window::Window;
use super::{
    Finished, GuardConfig, Losses, MicroBatch, Objective, OptimiserConfig, Parameter, ParameterSet, RunConfig,
    RunRequest, TrainError,
};
use crate::EngineError;
use crate::backbone::read_json;
use crate::dataset::{Kind, Split};
use crate::event::{Control, Stage};
use crate::frames::rgb_from_frames;

/// Stem of the weights' file.
const STEM: &str = "diffusion_pytorch_model";

/// Pictures that are looked at in a validation.
const VALIDATED: usize = 8;

/// Pictures whose latents the scaling factor is measured on.
const MEASURED: usize = 32;

/// A run of `train vae`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VaeTraining {
    /// Length and traces of the run.
    pub run: RunConfig,
    /// The optimiser.
    pub optimiser: OptimiserConfig,
    /// When it stops by itself.
    #[serde(default)]
    pub guard: GuardConfig,
    /// Folder with the autoencoder's `config.json`; weights beside it are where training starts.
    pub vae: PathBuf,
    /// What is learnt from.
    pub data: VaeData,
    /// Weights of the loss's parts.
    #[serde(default)]
    pub loss: VaeLoss,
}

/// What is learnt from: section `[data]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VaeData {
    /// A data set, as `data people` makes it.
    pub folder: PathBuf,
    /// Part of the steps that see clips instead of pictures.
    #[serde(default)]
    pub clips: f64,
    /// Frames that are cut out of a clip: 8k + 1, so that as many are decoded.
    #[serde(default = "nine")]
    pub clip_frames: usize,
    /// Height and width of what is cut out of a frame; whole frames if absent.
    pub crop: Option<[usize; 2]>,
    /// Part of the examples that may be broken before the run stops.
    #[serde(default = "super::most_bad")]
    pub most_bad: f64,
}

fn nine() -> usize {
    9
}

/// Weights of the loss's parts beside the mean absolute error: section `[loss]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct VaeLoss {
    /// Of differences between neighbours, the mean over the scales.
    pub gradient: f64,
    /// How many scales: whole size, half, quarter, …
    pub scales: usize,
    /// How much more a pixel of the face counts.
    pub face: f64,
    /// Of the mean absolute error of colours without their brightness: most of what differs between pictures is bright or
    /// dark, and a hue is what is learnt last.
    pub colour: f64,
    /// Of the divergence, a mean over the values of the latents.
    pub divergence: f64,
}

impl Default for VaeLoss {
    fn default() -> Self {
        Self { gradient: 1.0, scales: 3, face: 2.0, colour: 0.0, divergence: 1e-4 }
    }
}

/// Trains an autoencoder, one replica a device.
///
/// # Errors
/// When configuration, data or weights do not fit, a file cannot be read or written, or the loss goes wrong.
pub fn train_vae(
    config: &VaeTraining,
    folder: &Path,
    resume: bool,
    devices: &[Device],
    control: &mut Control<'_>,
) -> Result<Finished, EngineError> {
    let VaeTraining { run, optimiser, guard, vae, data, .. } = config;
    let open = |kind, split| People::open(&data.folder, kind, split);
    let pictures = open(Kind::Pair, Split::Train)?;
    let clips = open(Kind::Clip, Split::Train)?;
    let held_out = open(Kind::Pair, Split::Validation)?;
    let weights = hashes(&[("vae", vae, STEM)])?;
    RunRequest { kind: "vae", folder, resume, config, run, optimiser, guard, weights }.start(
        control,
        |skipped, control| {
            let examples: [&dyn Examples; 3] = [&pictures, &clips, &held_out];
            VaeObjective::new(config.clone(), examples, devices, skipped, control)
        },
    )
}

/// The objective.
struct VaeObjective<'a> {
    config: VaeTraining,
    shape: VaeConfig,
    /// `config.json` as it was read.
    json: Value,
    vae: Replicas<Vae>,
    set: ParameterSet,
    initial: Vec<Parameter>,
    /// Nothing but pictures was ever seen.
    stills_only: bool,
    pictures: Sound<'a>,
    clips: Sound<'a>,
    held_out: Sound<'a>,
}

impl<'a> VaeObjective<'a> {
    /// Pictures, clips, and what validations look at.
    ///
    /// # Errors
    /// When the autoencoder's folder cannot be read, there is nothing to learn from, or too much is broken.
    fn new(
        config: VaeTraining,
        examples: [&'a dyn Examples; 3],
        devices: &[Device],
        skipped: &Path,
        control: &mut Control<'_>,
    ) -> Result<Self, EngineError> {
        let path = config.vae.join("config.json");
        let json: Value = read_json(&path, "VAE configuration")?;
        let shape: VaeConfig = read_json(&path, "VAE configuration")?;
        shape.validate()?;
        let share = config.data.clips;
        if !(0.0..=1.0).contains(&share) {
            return Err(
                TrainError::OutOfRange { key: "data.clips", value: share.to_string(), rule: "be 0 to 1" }.into()
            );
        }
        let frames = config.data.clip_frames;
        if frames == 0 || shape.decoded_frames(shape.latent_frames(frames)) != frames {
            let rule = "be a number of frames that is decoded to as many, as 9 or 17";
            return Err(TrainError::OutOfRange { key: "data.clip_frames", value: frames.to_string(), rule }.into());
        }
        let [pictures, clips, held_out] = sound(&config.data, examples, skipped, control)?;
        if (share > 0.0 && clips.len() == 0) || (share < 1.0 && pictures.len() == 0) {
            return Err(TrainError::NoExamples { path: config.data.folder.clone() }.into());
        }
        let device = devices[0].clone().autodiff();
        let started = has_weights(&config.vae, STEM);
        let (vae, names) = if started {
            let weights = Checkpoint::open_folder(&config.vae, STEM)?;
            weights
                .load(Names { prefix: "", ignored: &[] }, Precision::F32, &device, |params| Vae::new(&shape, params))?
        } else {
            initialise(config.run.seed, &device, |params| Vae::new(&shape, params))
        };
        let (set, mut initial) = ParameterSet::new(&vae, &names);
        if !started {
            let channels = shape.block_out_channels.iter().copied().chain([shape.latent_channels]).min();
            prepare_to_learn(&mut initial, channels.unwrap_or(0));
        }
        let stills_only = share == 0.0 && (!started || initial.iter().all(looks_at_frames_alone));
        let vae = Replicas::new(&vae, devices);
        Ok(Self { config, shape, json, vae, set, initial, stills_only, pictures, clips, held_out })
    }

    /// Whether a step sees clips.
    fn sees_clips(&self, step: u64) -> bool {
        random::unit(self.config.run.seed, step, 0, Draw::Source) < self.config.data.clips
    }

    /// What a position of a step sees: frames `[3, frames, height, width]` and faces `[1, frames, height, width]`.
    fn sample(&self, step: u64, position: usize, device: &Device) -> Result<(Tensor<4>, Tensor<4>), EngineError> {
        let VaeTraining { run, data, .. } = &self.config;
        let clips = self.sees_clips(step);
        let examples = if clips { &self.clips } else { &self.pictures };
        let draw = step * run.batch as u64 + position as u64;
        let example = examples.get(random::sample(examples.len(), run.seed, draw))?;
        let frames = if clips { data.clip_frames } else { 1 };
        let first = random::below(example.frames.len() - frames + 1, run.seed, step, position, Draw::Frame);
        let window = self.window(&example, step, position);
        Ok(example.tensors(first, frames, window, device))
    }

    fn window(&self, example: &Example, step: u64, position: usize) -> Window {
        let (width, height) = example.frames[0].dimensions();
        let whole = [height as usize, width as usize].map(|side| side - side % self.shape.spatial_compression_ratio());
        let [rows, columns] = self.config.data.crop.unwrap_or(whole);
        let (rows, columns) = (rows.min(whole[0]), columns.min(whole[1]));
        let places = [height as usize - rows + 1, width as usize - columns + 1];
        let place = random::below(places[0] * places[1], self.config.run.seed, step, position, Draw::Crop);
        Window { x: place % places[1], y: place / places[1], width: columns, height: rows }
    }

    /// Posterior and reconstruction of frames, the latents drawn with `noise` if there is some, else their means.
    fn reconstruct(
        vae: &Vae,
        frames: Tensor<5>,
        noise: impl FnOnce([usize; 5]) -> Option<Tensor<5>>,
    ) -> Result<(Posterior, Tensor<5>), EngineError> {
        let mut go_on = |_, _| ControlFlow::Continue(());
        let posterior = vae.encoder.encode(frames, Tiling::Off, &mut go_on)?;
        let latents = match noise(posterior.mean.dims()) {
            Some(noise) => posterior.sample(noise),
            None => posterior.mean.clone(),
        };
        let decoded = vae.decoder.decode(latents, Tiling::Off, &mut go_on)?;
        Ok((posterior, decoded))
    }

    fn noise(&self, step: u64, positions: &[usize], dims: [usize; 5], device: &Device) -> Tensor<5> {
        let each = dims[1..].iter().product();
        let values: Vec<f32> = positions
            .iter()
            .flat_map(|position| random::normal(each, self.config.run.seed, step, *position, Draw::Posterior))
            .collect();
        Tensor::from_data(TensorData::new(values, dims), device)
    }

    /// `1 / standard deviation` of the latents' means.
    fn scaling_factor(&self, vae: &Vae, device: &Device) -> Result<f64, EngineError> {
        let examples = if self.pictures.len() == 0 { &self.clips } else { &self.pictures };
        let count = MEASURED.min(examples.len());
        let (mut sum, mut squares, mut values) = (0.0, 0.0, 0.0);
        for index in 0..count {
            let example = examples.get(index * examples.len() / count)?;
            let (width, height) = example.frames[0].dimensions();
            let [width, height] =
                [width, height].map(|side| side as usize - side as usize % self.shape.spatial_compression_ratio());
            let window = Window { x: 0, y: 0, width, height };
            let (frames, _) = example.tensors(0, 1, window, device);
            let posterior =
                vae.encoder.encode(frames.unsqueeze(), Tiling::Off, &mut |_, _| ControlFlow::Continue(()))?;
            let means = posterior.mean;
            values += means.dims().iter().product::<usize>() as f64;
            sum += f64::from(means.clone().sum().into_scalar::<f32>());
            squares += f64::from((means.clone() * means).sum().into_scalar::<f32>());
        }
        let variance: f64 = squares / values - (sum / values) * (sum / values);
        // Latents that are all the same, as those of a new network may be, cannot be scaled.
        Ok(if variance > 1e-12 { variance.sqrt().recip() } else { 1.0 })
    }
}

impl Objective for VaeObjective<'_> {
    fn parameters(&mut self) -> Vec<Parameter> {
        std::mem::take(&mut self.initial)
    }

    fn examples(&self) -> String {
        self.pictures.hash() + &self.clips.hash()
    }

    fn set_parameters(&mut self, parameters: &[Parameter]) {
        self.vae.set(&self.set, parameters);
    }

    fn replicas(&self) -> usize {
        self.vae.len()
    }

    fn micro_batch(
        &self,
        replica: usize,
        step: u64,
        positions: &[usize],
        _run: &RunConfig,
    ) -> Result<MicroBatch, EngineError> {
        let (vae, device) = self.vae.get(replica);
        let samples: Vec<(Tensor<4>, Tensor<4>)> = positions
            .par_iter()
            .map(|position| self.sample(step, *position, device))
            .collect::<Result<_, EngineError>>()?;
        let (frames, faces): (Vec<_>, Vec<_>) = samples.into_iter().unzip();
        let (frames, faces) = (Tensor::stack::<5>(frames, 0), Tensor::stack::<5>(faces, 0));
        let (posterior, decoded) =
            Self::reconstruct(vae, frames.clone(), |dims| Some(self.noise(step, positions, dims, device)))?;
        let VaeLoss { gradient, scales, face, colour, divergence } = self.config.loss;
        let weights = faces * face + 1.0;
        let weights = weights.clone() / weights.mean().reshape([1; 5]);
        let error = decoded - frames;
        let hue = ((error.clone() - error.clone().mean_dim(1)).abs() * weights.clone()).mean();
        let (absolute, differences) = errors(error, weights, scales);
        let apart = divergence_from_normal(&posterior);
        let total =
            absolute.clone() + differences.clone() * gradient + hue.clone() * colour + apart.clone() * divergence;
        let mut losses = Losses::default();
        for (name, loss) in [
            (Losses::TOTAL, &total),
            ("absolute", &absolute),
            ("gradient", &differences),
            ("colour", &hue),
            ("divergence", &apart),
        ] {
            losses.add(name, f64::from(loss.clone().into_scalar::<f32>()), positions.len());
        }
        let mut gradients = self.set.gradients();
        self.set.add(vae, &total.backward(), &mut gradients);
        Ok(MicroBatch { gradients, losses })
    }

    /// PSNR of reconstructions, and a sheet of them below what they should be.
    fn validate(
        &mut self,
        _step: u64,
        _model: &Path,
        folder: &Path,
        control: &mut Control<'_>,
    ) -> Result<Vec<(String, f64)>, EngineError> {
        let (vae, device) = self.vae.valid();
        let mut columns = Vec::new();
        let (mut whole, mut face) = ((0.0, 0.0), (0.0, 0.0));
        for index in 0..VALIDATED.min(self.held_out.len()) {
            control.check()?;
            let example = self.held_out.get(index)?;
            let (width, height) = example.frames[0].dimensions();
            let [width, height] =
                [width, height].map(|side| side as usize - side as usize % self.shape.spatial_compression_ratio());
            let window = Window { x: 0, y: 0, width, height };
            let (frames, faces) = example.tensors(0, 1, window, &device);
            let (_, decoded) = Self::reconstruct(&vae, frames.clone().unsqueeze(), |_| None)?;
            let error = decoded.clone().clamp(-1.0, 1.0) - frames.clone().unsqueeze();
            let squares = error.clone() * error;
            let scalar = |tensor: Tensor<5>| f64::from(tensor.sum().into_scalar::<f32>());
            let faces: Tensor<5> = faces.unsqueeze();
            whole = (whole.0 + scalar(squares.clone()), whole.1 + (3 * width * height) as f64);
            face = (face.0 + scalar(squares * faces.clone()), face.1 + 3.0 * scalar(faces));
            columns.push([frames.unsqueeze(), decoded].map(picture));
        }
        if columns.is_empty() {
            return Ok(Vec::new());
        }
        fs::create_dir_all(folder).map_err(EngineError::io(folder))?;
        write_png(folder.join("reconstructions.png"), &sheet(&columns))?;
        // The difference of −1..=1 is 2.
        let decibels = |(squares, count): (f64, f64)| 10.0 * (4.0 * count / squares.max(1e-12)).log10();
        Ok(vec![("psnr".into(), decibels(whole)), ("psnr_face".into(), decibels(face))])
    }

    /// `vae/` with the measured scaling factor.
    fn export(&self, folder: &Path, parameters: &[Parameter]) -> Result<(), EngineError> {
        let mut exported: Vec<Parameter> = parameters.iter().map(Parameter::as_exported).collect();
        if self.stills_only {
            exported.iter_mut().for_each(look_at_frames_alone);
        }
        let (vae, device) = self.vae.get(0);
        let vae = self.set.load(vae.clone(), &exported).valid();
        let mut json = self.json.clone();
        json["scaling_factor"] = self.scaling_factor(&vae, &device.clone().without_autodiff())?.into();
        let folder = folder.join("vae");
        fs::create_dir_all(&folder).map_err(EngineError::io(&folder))?;
        save_half(&folder.join(format!("{STEM}.safetensors")), "", &exported)?;
        let text = serde_json::to_string_pretty(&json).expect("JSON prints");
        Ok(write_aside(&folder.join("config.json"), text.as_bytes())?)
    }
}

/// Those pictures, clips and held-out pictures that can be learnt from.
fn sound<'a>(
    data: &VaeData,
    examples: [&'a dyn Examples; 3],
    skipped: &Path,
    control: &mut Control<'_>,
) -> Result<[Sound<'a>; 3], EngineError> {
    let clips = if data.clips > 0.0 { usize::MAX } else { 0 };
    let parts = [(usize::MAX, 1), (clips, data.clip_frames), (VALIDATED, 1)];
    let counts: [usize; 3] = std::array::from_fn(|part| examples[part].len().min(parts[part].0));
    let total = counts.iter().sum();
    let mut skipped = Skipped::new(skipped, data.most_bad, total);
    control.stage(Stage::PrepareData, total as f64, |control| {
        let (mut done, mut found) = (0, Vec::new());
        for ((examples, count), (_, frames)) in examples.into_iter().zip(counts).zip(parts) {
            let indices = survey(examples, count, done, &mut skipped, control, |index, example| {
                check(&example, frames, data.crop)?;
                Ok(index)
            })?;
            done += count;
            found.push(Sound::new(examples, indices));
        }
        Ok(found.try_into().unwrap_or_else(|_| unreachable!("one for each part")))
    })
}

/// Whether something of that size can be cut out.
fn check(example: &Example, frames: usize, crop: Option<[usize; 2]>) -> Result<(), String> {
    if example.frames.len() < frames {
        return Err(format!("it has {} frames, data.clip_frames is {frames}", example.frames.len()));
    }
    let (width, height) = example.frames[0].dimensions();
    match crop {
        Some([rows, columns]) if (height as usize) < rows || (width as usize) < columns => {
            Err(format!("it is {width}x{height}, data.crop is [{rows}, {columns}]"))
        }
        _ => Ok(()),
    }
}

/// Logarithm of the posterior's variance that training starts with.
const FIRST_LOGVAR: f32 = -6.0;

/// Makes random weights such that hues are learnt **(ours)**. What differs most between pictures is bright or dark, and from a
/// plain start red and orange, green and brown are still the same after 2,400 steps of AdamW, or 325 with Muon; from this
/// one AdamW loses them again by step 250, Muon keeps them (26.8 dB at step 325, against 22.8).
///
/// - The decoder's norms are close to plain ones, for latents that mean nothing yet would only add noise.
/// - The posterior is narrow, so that what is faint is not drowned.
/// - So many `channels` of encoder, latents and decoder carry the mean colours from the start, each colour with both signs,
///   of which the activations let one pass.
fn prepare_to_learn(parameters: &mut [Parameter], channels: usize) {
    let sign = |channel: usize| if (channel / 3).is_multiple_of(2) { 1.0 } else { -1.0 };
    for parameter in parameters {
        let name = parameter.name.as_str();
        if name.ends_with(".conv_y.conv.bias") {
            parameter.values.fill(1.0);
        } else if [".conv_y.conv.weight", ".conv_b.conv.weight"].iter().any(|end| name.ends_with(end)) {
            parameter.values.iter_mut().for_each(|value| *value *= 0.1);
        }
        match name {
            "encoder.conv_out.conv.bias" => {
                let latents = parameter.values.len() / 2;
                parameter.values[latents..].fill(FIRST_LOGVAR);
            }
            "encoder.conv_in.conv.weight" => (0..channels).for_each(|c| carry(parameter, c, &[(c % 3, sign(c))])),
            "decoder.conv_out.conv.weight" => {
                for colour in 0..3 {
                    let of_colour: Vec<usize> = (colour..channels).step_by(3).collect();
                    let weight = |&c: &usize| (c, sign(c) / of_colour.len() as f32);
                    carry(parameter, colour, &of_colour.iter().map(weight).collect::<Vec<_>>());
                }
            }
            _ if is_trunk(name) => (0..channels).for_each(|c| carry(parameter, c, &[(c, 1.0)])),
            _ => {}
        }
    }
}

/// Whether a parameter is a convolution that all of the latents, or the colours out of them, come through.
fn is_trunk(name: &str) -> bool {
    let ends = [".conv_shortcut.weight", ".downsamplers.0.conv.weight"];
    name.starts_with("encoder.") && ends.iter().any(|end| name.ends_with(end))
        || ["encoder.conv_out.conv.weight", "decoder.norm_out.conv_b.conv.weight"].contains(&name)
}

/// Makes one output of a convolution a sum of inputs at its own place: of the mean of four pixels where it halves the
/// size, which a kernel without time does.
fn carry(parameter: &mut Parameter, output: usize, inputs: &[(usize, f32)]) {
    let (kernel, places) = match parameter.shape[1..] {
        [channels, rows, columns] => ([channels, rows * columns], vec![0, 1, columns, columns + 1]),
        [channels, frames, rows, columns] => {
            let own = (frames - 1) * rows * columns;
            ([channels, own + rows * columns], vec![own + rows / 2 * columns + columns / 2])
        }
        _ => unreachable!("convolutions have planes or volumes"),
    };
    let weights = &mut parameter.values[output * kernel[0] * kernel[1]..][..kernel[0] * kernel[1]];
    weights.fill(0.0);
    for (input, weight) in inputs {
        for place in &places {
            weights[input * kernel[1] + place] = weight / places.len() as f32;
        }
    }
}

/// Gives the weights that a kernel has for earlier frames to the frame itself **(ours)**.
///
/// The kernels look back in time, and before a picture they see the picture again. So pictures settle no more than the
/// sum of those weights, and in a clip, where frames differ, any other share of it smears what moves.
fn look_at_frames_alone(parameter: &mut Parameter) {
    let &[_, _, frames, rows, columns] = parameter.shape.as_slice() else { return };
    let plane = rows * columns;
    for kernel in parameter.values.chunks_exact_mut(frames * plane) {
        let (earlier, own) = kernel.split_at_mut((frames - 1) * plane);
        for (place, weight) in earlier.iter_mut().enumerate() {
            own[place % plane] += std::mem::take(weight);
        }
    }
}

/// Whether [`look_at_frames_alone`] would change nothing.
fn looks_at_frames_alone(parameter: &Parameter) -> bool {
    let &[_, _, frames, rows, columns] = parameter.shape.as_slice() else { return true };
    let plane = rows * columns;
    parameter.values.chunks_exact(frames * plane).all(|kernel| kernel[..(frames - 1) * plane].iter().all(|&w| w == 0.0))
}

/// Weighted means of the absolute error, and of its differences between neighbours over several scales.
///
/// # Shapes
/// - error: `[batch, channels, frames, height, width]`
/// - weights: `[batch, 1, frames, height, width]`, 1 in the mean
fn errors(error: Tensor<5>, weights: Tensor<5>, scales: usize) -> (Tensor<1>, Tensor<1>) {
    let [batch, channels, frames, height, width] = error.dims();
    let planes = [batch, channels * frames, height, width];
    let weights = weights.expand([batch, channels, frames, height, width]).reshape(planes);
    let error = error.reshape(planes);
    let absolute = (error.clone().abs() * weights.clone()).mean();
    let (mut error, mut weights, mut sum) = (error, weights, None);
    for scale in 0..scales.max(1) {
        if scale > 0 {
            let halve = |x| avg_pool2d(x, AvgPoolOptions::new([2; 2]).with_stride([2; 2]));
            (error, weights) = (halve(error), halve(weights));
        }
        let along = |axis: usize| {
            let count = error.dims()[axis] - 1;
            let difference = error.clone().narrow(axis, 1, count) - error.clone().narrow(axis, 0, count);
            (difference.abs() * weights.clone().narrow(axis, 1, count)).mean()
        };
        let differences = (along(2) + along(3)) * (1.0 / scales.max(1) as f64);
        sum = Some(match sum {
            Some(sum) => sum + differences,
            None => differences,
        });
    }
    (absolute, sum.expect("there is at least one scale"))
}

/// Kullback-Leibler divergence from the standard normal distribution, mean over the values.
fn divergence_from_normal(Posterior { mean, logvar }: &Posterior) -> Tensor<1> {
    (mean.clone() * mean.clone() + logvar.clone().exp() - logvar.clone() - 1.0).mean() * 0.5
}

fn picture(frames: Tensor<5>) -> RgbImage {
    let frame: Tensor<4> = frames.narrow(2, 0, 1).squeeze_dim(2);
    rgb_from_frames((frame + 1.0) * 0.5).remove(0)
}

/// Columns of pictures of one size side by side.
fn sheet(columns: &[[RgbImage; 2]]) -> RgbImage {
    let (width, height) = columns[0][0].dimensions();
    let mut sheet = RgbImage::new(width * columns.len() as u32, 2 * height);
    for (column, pictures) in columns.iter().enumerate() {
        for (row, picture) in pictures.iter().enumerate() {
            image::imageops::replace(
                &mut sheet,
                picture,
                i64::from(width) * column as i64,
                i64::from(height) * row as i64,
            );
        }
    }
    sheet
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::atomic::AtomicBool;

    use magicmirror_models::vae::{VaeDecoder, VaeEncoder};

    use super::super::drawn::{Drawn, listed, losses, short_run, stop_at};
    use super::*;

    const SHAPE: &str = r#"{"_class_name": "AutoencoderKLCogVideoX", "block_out_channels": [8, 8, 16],
        "down_block_types": ["CogVideoXDownBlock3D", "CogVideoXDownBlock3D", "CogVideoXDownBlock3D"],
        "up_block_types": ["CogVideoXUpBlock3D", "CogVideoXUpBlock3D", "CogVideoXUpBlock3D"],
        "latent_channels": 4, "layers_per_block": 1, "norm_num_groups": 4, "scaling_factor": 1.0}"#;

    fn train_on(drawn: &Drawn, data: &str, steps: u64, folder: &Path) -> Finished {
        train_until(None, drawn, data, steps, folder)
    }

    /// Is stopped at a step, if one is said. Goes on with a run in the folder.
    fn train_until(stop: Option<u64>, drawn: &Drawn, data: &str, steps: u64, folder: &Path) -> Finished {
        fs::create_dir_all(folder.join("shape")).unwrap();
        fs::write(folder.join("shape/config.json"), SHAPE).unwrap();
        let config =
            format!("vae = {:?}\n{}[data]\nfolder = \"\"\n{data}", folder.join("shape"), short_run(steps, 1, 5e-3));
        let config: VaeTraining = toml::from_str(&config).unwrap();
        let (run, cancelled) = (folder.join("run"), AtomicBool::new(false));
        let VaeTraining { run: length, optimiser, guard, .. } = &config;
        let request = RunRequest {
            kind: "vae",
            folder: &run,
            resume: run.exists(),
            config: &config,
            run: length,
            optimiser,
            guard,
            weights: BTreeMap::new(),
        };
        let prepare = |skipped: &Path, control: &mut Control<'_>| {
            VaeObjective::new(config.clone(), [drawn; 3], &[Device::flex()], skipped, control)
        };
        request.start(&mut Control::new(&mut stop_at(stop, &cancelled), &cancelled), prepare).unwrap()
    }

    #[test]
    fn a_resumed_run_equals_one_that_never_stopped() {
        let drawn = Drawn { identities: 3, frames: 10, side: 24, broken: None };
        let train = |stops: &[Option<u64>]| {
            let folder = tempfile::tempdir().unwrap();
            let data = "clips = 0.5\nclip_frames = 9\ncrop = [16, 16]";
            let runs: Vec<_> = stops.iter().map(|stop| train_until(*stop, &drawn, data, 9, folder.path())).collect();
            let finished = &runs[runs.len() - 1];
            assert!(finished.complete);
            fs::read(finished.model.join("vae").join(format!("{STEM}.safetensors"))).unwrap()
        };
        assert!(train(&[None]) == train(&[Some(4), None]));
    }

    /// An autoencoder as training starts with it; so many channels carry colours.
    fn new(shape: &str, channels: usize, device: &Device) -> (Vae, ParameterSet, Vec<Parameter>) {
        let shape: VaeConfig = serde_json::from_str(shape).unwrap();
        let (vae, names) = initialise(1, device, |params| Vae::new(&shape, params));
        let (set, mut parameters) = ParameterSet::new(&vae, &names);
        prepare_to_learn(&mut parameters, channels);
        (set.load(vae, &parameters), set, parameters)
    }

    #[test]
    fn gradients_agree_with_finite_differences() {
        let device = Device::flex().autodiff();
        let (vae, set, parameters) = new(SHAPE, 4, &device);
        let wave = |i: usize| (i as f32 * 0.9).sin() * 0.3 + (i as f32 / 700.0).cos() * 0.5;
        let values: Vec<f32> = (0..2 * 3 * 24 * 24).map(wave).collect();
        let frames = Tensor::<5>::from_data(TensorData::new(values, [2, 3, 1, 24, 24]), &device);
        let loss = |vae: &Vae| {
            let noise = |dims| Some(Tensor::ones(dims, &device) * 0.1);
            let (posterior, decoded) = VaeObjective::reconstruct(vae, frames.clone(), noise).unwrap();
            let error = decoded - frames.clone();
            (error.clone() * error).mean() + divergence_from_normal(&posterior) * 1e-2
        };
        let start = loss(&vae);
        let mut gradients = set.gradients();
        set.add(&vae, &start.backward(), &mut gradients);
        let value = |loss: Tensor<1>| f64::from(loss.into_scalar::<f32>());
        let start = value(start);
        // Along the gradient the loss changes by the gradient's length.
        for (index, gradient) in gradients.into_values().into_iter().enumerate() {
            let gradient = gradient.expect("every parameter has a part in it");
            let norm = gradient.iter().map(|g| f64::from(*g).powi(2)).sum::<f64>().sqrt();
            let step = 1e-3 * start / norm;
            let at = |sign: f64| {
                let mut moved = parameters.clone();
                let factor = (sign * step / norm) as f32;
                moved[index].values.iter_mut().zip(&gradient).for_each(|(value, g)| *value += factor * g);
                value(loss(&set.load(vae.clone(), &moved)))
            };
            let found = (at(1.0) - at(-1.0)) / (2.0 * step);
            assert!((found / norm - 1.0).abs() < 0.01, "{}: {norm}, found {found}", parameters[index].name);
        }
    }

    #[test]
    fn a_new_autoencoder_tells_hues_apart() {
        let device = Device::flex().autodiff();
        let shape = fs::read_to_string(magicmirror_testkit::repository().join("configs/nano/vae/config.json")).unwrap();
        let (vae, ..) = new(&shape, 16, &device);
        // Stripes of red, green and blue.
        let (side, wide) = (72, 24);
        let is_on = |i: usize| i / (side * side) == i % side / wide;
        let stripes: Vec<f32> = (0..3 * side * side).map(|i| if is_on(i) { 1.0 } else { -1.0 }).collect();
        let stripes = Tensor::from_data(TensorData::new(stripes, [1, 3, 1, side, side]), &device);
        let (posterior, decoded) = VaeObjective::reconstruct(&vae, stripes, |_| None).unwrap();
        let mean = |colour, stripe: usize| {
            let part = decoded.clone().narrow(1, colour, 1).narrow(4, wide * stripe, wide);
            part.mean().into_scalar::<f32>()
        };
        for colour in 0..3 {
            let others = f32::midpoint(mean(colour, (colour + 1) % 3), mean(colour, (colour + 2) % 3));
            assert!(mean(colour, colour) > others + 0.05, "{colour}: {} and {others}", mean(colour, colour));
        }
        let logvar = posterior.logvar.mean().into_scalar::<f32>();
        assert!((logvar - FIRST_LOGVAR).abs() < 1.0, "{logvar}");
    }

    #[test]
    fn one_picture_is_learnt_and_exported_for_the_ordinary_loaders() {
        let folder = tempfile::tempdir().unwrap();
        let finished = train_on(&Drawn { identities: 1, frames: 1, side: 16, broken: None }, "", 150, folder.path());
        let absolute = losses(&folder.path().join("run"), "absolute");
        assert!(absolute[149] < absolute[0] / 5.0, "{} of {}", absolute[149], absolute[0]);
        assert!(folder.path().join("run/validation/step-00000150/reconstructions.png").is_file());
        let psnr = losses(&folder.path().join("run"), "validation/psnr");
        assert!(psnr[0] > 20.0, "{psnr:?}");

        let vae = finished.model.join("vae");
        let shape: VaeConfig = read_json(&vae.join("config.json"), "VAE configuration").unwrap();
        assert!((shape.scaling_factor - 1.0).abs() > 1e-3, "measured");
        let weights = Checkpoint::open_folder(&vae, STEM).unwrap();
        let device = Device::flex();
        weights.load(VaeEncoder::NAMES, Precision::Stored, &device, |params| VaeEncoder::new(&shape, params)).unwrap();
        weights.load(VaeDecoder::NAMES, Precision::Stored, &device, |params| VaeDecoder::new(&shape, params)).unwrap();
    }

    #[test]
    fn what_saw_only_pictures_keeps_them_and_treats_a_clip_as_pictures() {
        let folder = tempfile::tempdir().unwrap();
        let drawn = Drawn { identities: 1, frames: 9, side: 16, broken: None };
        let finished = train_on(&drawn, "", 20, folder.path());
        let weights = Checkpoint::open_folder(&finished.model.join("vae"), STEM).unwrap();
        let shape: VaeConfig = read_json(&finished.model.join("vae/config.json"), "VAE configuration").unwrap();
        let device = Device::flex();
        let (vae, _) = weights
            .load(Names { prefix: "", ignored: &[] }, Precision::F32, &device, |params| Vae::new(&shape, params))
            .unwrap();
        // What the last validation saw was computed with the weights as they were trained.
        let window = Window { x: 0, y: 0, width: 16, height: 16 };
        let (picture, _) = drawn.get(0).unwrap().tensors(0, 1, window, &device);
        let (_, decoded) = VaeObjective::reconstruct(&vae, picture.clone().unsqueeze(), |_| None).unwrap();
        let error = decoded.clamp(-1.0, 1.0) - picture.unsqueeze();
        let psnr = 10.0 * (4.0 / f64::from((error.clone() * error).mean().into_scalar::<f32>())).log10();
        let trained = losses(&folder.path().join("run"), "validation/psnr")[0];
        assert!((psnr - trained).abs() < 0.01, "{psnr} of {trained}: only the rounding to f16");

        for name in ["encoder.conv_in.conv.weight", "decoder.conv_out.conv.weight"] {
            let kernels = weights.read(name, Precision::F32).unwrap().try_to_vec::<f32>().unwrap();
            let (earlier, own): (Vec<_>, Vec<_>) = kernels.chunks(9).enumerate().partition(|(plane, _)| plane % 3 < 2);
            assert!(earlier.iter().all(|(_, plane)| plane.iter().all(|weight| *weight == 0.0)), "{name}");
            assert!(own.iter().any(|(_, plane)| plane.iter().any(|weight| *weight != 0.0)), "{name}");
        }
    }

    #[test]
    fn clips_are_learnt_from_crops_and_broken_ones_left_out() {
        let folder = tempfile::tempdir().unwrap();
        let data = "clips = 1.0\nclip_frames = 9\ncrop = [16, 16]\nmost_bad = 0.5";
        train_on(&Drawn { identities: 2, frames: 11, side: 24, broken: Some(0) }, data, 60, folder.path());
        assert_eq!(listed(&folder.path().join("run")), ["drawn-0"; 3], "as a picture, as a clip and held out");
        let absolute = losses(&folder.path().join("run"), "absolute");
        let late = absolute[50..].iter().sum::<f64>() / 10.0;
        assert!(late < absolute[0] / 2.0, "{late} of {}", absolute[0]);
    }

    #[test]
    #[expect(clippy::float_cmp, reason = "sums of small whole numbers are exact")]
    fn errors_weigh_the_face_and_see_every_scale() {
        let device = Device::flex();
        let error = Tensor::<5>::from_floats([[[[[1.0, -1.0, 1.0, -1.0], [1.0, -1.0, 1.0, -1.0]]]]], &device);
        let error = error.repeat_dim(3, 2);
        let weights = Tensor::<5>::from_floats([[[[[2.0, 0.0, 2.0, 0.0], [2.0, 0.0, 2.0, 0.0]]]]], &device);
        let weights = weights.repeat_dim(3, 2);
        let plain = Tensor::ones([1, 1, 1, 4, 4], &device);
        let scalars = |(a, b): (Tensor<1>, Tensor<1>)| (a.into_scalar::<f32>(), b.into_scalar::<f32>());
        // Neighbours differ by 2 to the right and by nothing below; at half size all is zero.
        assert_eq!(scalars(errors(error.clone(), plain.clone(), 1)), (1.0, 2.0));
        assert_eq!(scalars(errors(error.clone() + 3.0, plain, 2)).1, 1.0, "a constant has no differences");
        assert_eq!(scalars(errors(error * weights.clone() * 0.5, weights, 1)).0, 1.0);
    }
}
