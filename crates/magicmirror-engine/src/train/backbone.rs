//! `train backbone`: text encoder and transformer together, from nothing, on latents of a trained autoencoder: pictures,
//! clips, or both, for clips alone make it forget pictures.
//!
//! Loss: the mean squared error of the velocity at timesteps that are more often noisy ones, where prompts matter. Some
//! prompts are left out, so that the empty prompt becomes the unconditional branch of guidance. Captions lose their
//! trigger word, as they do when an identity is given.

use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use burn::module::Module;
use burn::tensor::{Device, Int, Tensor, TensorData, f16};
use image::RgbImage;
use magicmirror_models::diffusion::{NoiseSchedule, SchedulerConfig};
use magicmirror_models::dit::{Dit, DitConfig, DitInput, Positions, Unconditioned};
use magicmirror_models::text::{T5Config, T5Encoder, Tokenizer};
use magicmirror_models::vae::{VaeConfig, VaeEncoder};
use magicmirror_models::weights::{Checkpoint, ParamNames, Precision, initialise};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::cache::{Cache, CacheKey};
use super::data::{Example, Examples, TargetFace};
use super::export::{copy_folder, has_weights, hashes, prefixed, save_half};
use super::frames::Frames;
use super::loss::{NoiseLevel, velocity_loss};
use super::parameters::Replicas;
use super::people::People;
use super::posterior::{network_hash, posterior_key, put_posterior};
use super::random::{self, Draw};
use super::survey::{Skipped, changed, each, survey};
use super::{
    Finished, GuardConfig, Losses, MicroBatch, Objective, OptimiserConfig, Parameter, ParameterSet, RunConfig,
    RunRequest, TrainError, ValidationConfig,
};
use crate::EngineError;
use crate::backbone::{Part, read_json};
use crate::dataset::{Kind, Split};
use crate::event::{Control, Stage};
use crate::files::{hex, read_text};
use crate::generate::{Request, generate};

const TEXT: &str = "text_encoder.";
const TRANSFORMER: &str = "transformer.";

/// Samples that a validation computes the loss of.
const VALIDATED: usize = 32;

/// A run of `train backbone`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BackboneTraining {
    /// Length and traces of the run.
    pub run: RunConfig,
    /// The optimiser.
    pub optimiser: OptimiserConfig,
    /// When it stops by itself.
    #[serde(default)]
    pub guard: GuardConfig,
    /// Folder with `model_index.json`, `scheduler/`, `tokenizer/`, and the configurations of `text_encoder/` and
    /// `transformer/`; weights beside these are where training starts.
    pub pipeline: PathBuf,
    /// Folder of the trained autoencoder.
    pub vae: PathBuf,
    /// What is learnt from.
    pub data: BackboneData,
    /// Weights of the loss's parts.
    #[serde(default)]
    pub loss: BackboneLoss,
    /// What is rendered every now and then; references are not used.
    #[serde(default)]
    pub validation: ValidationConfig,
}

/// Weights of the loss's parts: section `[loss]`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BackboneLoss {
    /// How much more a place of the latents counts that shows a face, where the data set says so **(ours)**: eyes and mouth
    /// are a few latents of some hundreds, and what a small network learns last. Validation losses are without it.
    pub face: f64,
}

/// What is learnt from: section `[data]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BackboneData {
    /// A data set, as `data people` makes it.
    pub folder: PathBuf,
    /// Part of the places in a batch that are for pictures instead of a clip: 1 for pictures only, 0 for clips only. Beside
    /// clips, a place is for as many pictures as are learnt of a clip's latent frames, so that every frame counts alike.
    pub picture_share: f64,
    /// Latent frames of a clip that are learnt at once: evenly spaced ones, others in each step, at their places in time
    /// **(ours)**; see [`Frames`]. All if absent, which is what a model should see last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clip_frames: Option<usize>,
    /// Places in time from one frame of the clips to the next: 4 for clips of 2 frames a second and a model of 8. Frames so far
    /// apart are encoded as a picture each, for the autoencoder knows what follows in time as nearly the same. What people do
    /// is then learnt from a third of the frames to draw and encode **(ours)**. 1, the model's own rate, is what it should
    /// see last.
    #[serde(default = "one")]
    pub clip_stride: usize,
    /// Folder for latents; other runs and the stages may share it.
    pub cache: PathBuf,
    /// How much timesteps with much noise are preferred, from 1 for not at all: of a uniform `u`, a timestep is
    /// `1 − (1 − u)^timestep_power` of the way to pure noise. It is there that a picture is what the prompt says, and a
    /// text encoder that starts from nothing learns little elsewhere **(ours)**.
    #[serde(default = "preferred")]
    pub timestep_power: f64,
    /// Part of the prompts that are left out.
    #[serde(default = "tenth")]
    pub prompt_dropout: f64,
    /// Part of the examples that may be broken before the run stops.
    #[serde(default = "super::most_bad")]
    pub most_bad: f64,
}

fn one() -> usize {
    1
}

fn preferred() -> f64 {
    1.5
}

fn tenth() -> f64 {
    0.1
}

/// Trains a text encoder and a transformer, one replica a device.
///
/// # Errors
/// When configuration, data or weights do not fit, a file cannot be read or written, or the loss goes wrong.
pub fn train_backbone(
    config: &BackboneTraining,
    folder: &Path,
    resume: bool,
    devices: &[Device],
    control: &mut Control<'_>,
) -> Result<Finished, EngineError> {
    let BackboneTraining { run, optimiser, guard, pipeline, vae, data, .. } = config;
    let open = |kind| -> Result<_, EngineError> {
        let [examples, held_out] =
            [Split::Train, Split::Validation].map(|split| People::open(&data.folder, kind, split));
        Ok([examples?, held_out?])
    };
    let pictures = (data.picture_share > 0.0).then(|| open(Kind::Pair)).transpose()?;
    let clips = (data.picture_share < 1.0).then(|| open(Kind::Clip)).transpose()?;
    let [text, transformer] = [Part::TextEncoder, Part::Transformer].map(|part| (part, pipeline.join(part.folder())));
    let weights = hashes(&[
        ("vae", vae, Part::Vae.stem()),
        (Part::TextEncoder.folder(), &text.1, text.0.stem()),
        (Part::Transformer.folder(), &transformer.1, transformer.0.stem()),
    ])?;
    RunRequest { kind: "backbone", folder, resume, config, run, optimiser, guard, weights }.start(
        control,
        |skipped, control| {
            let sources = [&pictures, &clips].map(|people| people.as_ref().map(|[a, b]| [a, b] as [&dyn Examples; 2]));
            BackboneObjective::new(config, sources, devices, skipped, control)
        },
    )
}

#[derive(Module, Debug)]
struct Networks {
    text_encoder: T5Encoder,
    transformer: Dit,
}

/// What a step reads of a sample.
struct Prepared {
    /// `[frames, channels, height, width]`, scaled.
    latents: Vec<f16>,
    shape: [usize; 4],
    /// How far each place shows a face, `[frames, height, width]`, 0 to 255; empty where faces count as much as all else.
    faces: Vec<u8>,
    ids: Vec<u32>,
}

impl Prepared {
    /// Values of a latent frame.
    fn of_frame(&self) -> usize {
        self.shape[1..].iter().product()
    }
}

/// Samples of one shape.
struct Pool {
    /// In metrics.
    name: &'static str,
    samples: Vec<Prepared>,
    held_out: Vec<Prepared>,
}

struct BackboneObjective<'a> {
    config: &'a BackboneTraining,
    shape: DitConfig,
    schedule: NoiseSchedule,
    networks: Replicas<Networks>,
    set: ParameterSet,
    initial: Vec<Parameter>,
    pictures: Option<Pool>,
    clips: Option<Pool>,
    empty_prompt: Vec<u32>,
}

impl<'a> BackboneObjective<'a> {
    fn new(
        config: &'a BackboneTraining,
        [pictures, clips]: [Option<[&dyn Examples; 2]>; 2],
        devices: &[Device],
        skipped: &Path,
        control: &mut Control<'_>,
    ) -> Result<Self, EngineError> {
        let BackboneData { prompt_dropout, picture_share, .. } = config.data;
        for (key, share) in [("data.prompt_dropout", prompt_dropout), ("data.picture_share", picture_share)] {
            if !(0.0..=1.0).contains(&share) {
                return Err(TrainError::OutOfRange { key, value: share.to_string(), rule: "be 0 to 1" }.into());
            }
        }
        let face = config.loss.face;
        if !(face.is_finite() && face >= 0.0) {
            let (key, value) = ("loss.face", face.to_string());
            return Err(TrainError::OutOfRange { key, value, rule: "be a number from 0" }.into());
        }
        let BackboneData { clip_frames, clip_stride, .. } = config.data;
        for (key, zero) in [("data.clip_frames", clip_frames == Some(0)), ("data.clip_stride", clip_stride == 0)] {
            if zero {
                return Err(TrainError::OutOfRange { key, value: "0".to_owned(), rule: "be 1 or more" }.into());
            }
        }
        let power = config.data.timestep_power;
        if !(power.is_finite() && power >= 1.0) {
            let (key, value) = ("data.timestep_power", power.to_string());
            return Err(TrainError::OutOfRange { key, value, rule: "be 1 or more" }.into());
        }
        let file = |name: &str| config.pipeline.join(name);
        let shape: DitConfig = read_json(&file("transformer/config.json"), "transformer configuration")?;
        shape.validate()?;
        let text = T5Config::from_json(&read_text(&file("text_encoder/config.json"))?)?;
        let scheduler: SchedulerConfig =
            read_json(&file("scheduler/scheduler_config.json"), "scheduler configuration")?;
        for (key, set) in [("data.clip_frames", clip_frames.is_some()), ("data.clip_stride", clip_stride > 1)] {
            if set && shape.patch_size_t.is_some() {
                let rule = "be left out where patches of the transformer go over several frames";
                return Err(TrainError::OutOfRange { key, value: "set".to_owned(), rule }.into());
            }
        }
        let schedule = NoiseSchedule::new(&scheduler)?;
        let tokenizer = Tokenizer::open(&file("tokenizer"))?;
        let vae: VaeConfig = read_json(&config.vae.join("config.json"), "VAE configuration")?;
        vae.validate()?;
        let disagree = |reason| Err(EngineError::PartsDisagree { folder: config.pipeline.clone(), reason });
        for (what, given, taken) in [
            ("text width", text.d_model, shape.text_embed_dim),
            ("latent channels", vae.latent_channels, shape.in_channels),
            ("frames for each latent frame", vae.temporal_compression_ratio, shape.temporal_compression_ratio),
        ] {
            if given != taken {
                return disagree(format!("{what}: {given} given, {taken} taken"));
            }
        }
        let length = shape.max_text_seq_length;
        let preparation = Preparation::new(config, &vae, &tokenizer, [length, text.vocab_size], &devices[0])?;
        let sources = [("pictures", pictures), ("clips", clips)];
        let counts = |[examples, held_out]: [&dyn Examples; 2]| [examples.len(), held_out.len().min(VALIDATED)];
        let total: usize = sources.iter().filter_map(|source| source.1).flat_map(counts).sum();
        let mut skipped = Skipped::new(skipped, config.data.most_bad, total);
        // Each is read, then encoded.
        let [pictures, clips] = control.stage(Stage::PrepareData, 2.0 * total as f64, |control| {
            let mut done = 0;
            let mut prepare = |examples: &dyn Examples, count: usize| {
                let prepared = preparation.run(examples, count, done, &mut skipped, control);
                done += 2 * count;
                prepared
            };
            let mut pools = [None, None];
            for (pool, (name, source)) in pools.iter_mut().zip(sources) {
                let Some(source) = source else { continue };
                let [count, validated] = counts(source);
                let (held_out, samples) = (prepare(source[1], validated)?, prepare(source[0], count)?);
                if samples.is_empty() {
                    return Err(TrainError::NoExamples { path: config.data.folder.clone() }.into());
                }
                *pool = Some(Pool { name, samples, held_out });
            }
            Ok(pools)
        })?;
        let (networks, names, fresh) = load(config, &shape, &text, &devices[0].clone().autodiff())?;
        let (set, mut initial) = ParameterSet::new(&networks, &names);
        prepare_to_learn(&mut initial, &fresh, text.d_kv);
        let networks = Replicas::new(&networks, devices);
        let empty_prompt = tokenizer.encode("", length)?.ids;
        Ok(Self { config, shape, schedule, networks, set, initial, pictures, clips, empty_prompt })
    }

    /// How many of a clip's frames are learnt at once.
    fn learnt(&self, all: usize) -> usize {
        self.config.data.clip_frames.unwrap_or(all).min(all)
    }

    /// The samples of a place in the batch, all of one pool.
    fn place(&self, step: u64, position: usize, run: &RunConfig) -> (&Pool, Vec<Noised<'_>>) {
        let (pool, count) = match (&self.pictures, &self.clips) {
            (Some(pictures), Some(clips)) => {
                let picture = random::unit(run.seed, step, position, Draw::Source) < self.config.data.picture_share;
                if picture { (pictures, self.learnt(clips.samples[0].shape[0])) } else { (clips, 1) }
            }
            (Some(pool), None) | (None, Some(pool)) => (pool, 1),
            (None, None) => unreachable!("one of two shares is above 0"),
        };
        let places = run.batch * count;
        let noised = (0..count).map(|number| {
            // Numbers of different places differ.
            let place = position + number * run.batch;
            let draw = step * places as u64 + place as u64;
            let sample = &pool.samples[random::sample(pool.samples.len(), run.seed, draw)];
            let without = random::unit(run.seed, step, place, Draw::Dropout) < self.config.data.prompt_dropout;
            let (timesteps, power) = (self.schedule.alphas_cumprod().len(), self.config.data.timestep_power);
            let all = sample.shape[0];
            let frames = Frames::drawn(self.learnt(all), all, run.seed, step);
            Noised {
                frames,
                noise: random::normal(sample.of_frame() * frames.count, run.seed, step, place, Draw::Noise),
                timestep: random::timestep(timesteps, power, run.seed, step, [place, places]),
                ids: if without { &self.empty_prompt } else { &sample.ids },
                sample,
            }
        });
        (pool, noised.collect())
    }

    /// Mean loss of the same frames of samples of one shape, each with noise, timestep and prompt; faces count `1 + face`
    /// times.
    fn loss(
        &self,
        networks: &Networks,
        samples: &[&Noised<'_>],
        face: f64,
        device: &Device,
    ) -> Result<Tensor<1>, EngineError> {
        let [all, channels, height, width] = samples[0].sample.shape;
        let shown = samples[0].frames;
        let frames = shown.count;
        let tensor = |values: Vec<f32>| {
            Tensor::<5>::from_data(TensorData::new(values, [1, frames, channels, height, width]), device)
        };
        let (mut noisy, mut target) = (Vec::new(), Vec::new());
        for Noised { sample, noise, timestep, .. } in samples {
            let latents = shown.of(&sample.latents, sample.of_frame());
            let latents = tensor(latents.map(f16::to_f32).collect());
            let (noise, level) = (tensor(noise.clone()), NoiseLevel::at(&self.schedule, *timestep));
            noisy.push(level.noisy(latents.clone(), noise.clone()));
            target.push(level.velocity(latents, noise));
        }
        let ids: Vec<i64> = samples.iter().flat_map(|sample| sample.ids).map(|id| i64::from(*id)).collect();
        let ids = TensorData::new(ids, [samples.len(), self.empty_prompt.len()]);
        let stride = self.config.data.clip_stride;
        let positions = Positions::new(&self.shape, (all - 1) * stride + 1, height, width, device)?;
        let positions = shown.of_positions(positions, stride);
        let timesteps: Vec<f64> = samples.iter().map(|sample| sample.timestep as f64).collect();
        let input = DitInput {
            latents: Tensor::cat(noisy, 0),
            text: networks.text_encoder.forward(Tensor::<2, Int>::from_data(ids, device)),
            timesteps: &timesteps,
            positions: &positions,
        };
        let velocity = networks.transformer.forward(input, &Unconditioned, &mut |_| ControlFlow::Continue(()));
        let velocity = velocity.expect("nothing breaks off");
        let weights = samples.iter().map(|Noised { sample, .. }| {
            (face > 0.0).then(|| {
                let covered = shown.of(&sample.faces, height * width);
                let weights: Vec<f32> = covered.map(|covered| f32::from(covered) / 255.0).collect();
                Tensor::from_data(TensorData::new(weights, [1, frames, 1, height, width]), device) * face + 1.0
            })
        });
        Ok(velocity_loss(velocity, Tensor::cat(target, 0), &weights.collect::<Vec<_>>()).mean())
    }
}

/// A sample with everything drawn.
struct Noised<'a> {
    sample: &'a Prepared,
    frames: Frames,
    /// Of these frames.
    noise: Vec<f32>,
    timestep: usize,
    ids: &'a [u32],
}

impl Objective for BackboneObjective<'_> {
    fn parameters(&mut self) -> Vec<Parameter> {
        std::mem::take(&mut self.initial)
    }

    fn examples(&self) -> String {
        let mut hasher = Sha256::new();
        for sample in [&self.pictures, &self.clips].into_iter().flatten().flat_map(|pool| &pool.samples) {
            sample.latents.iter().for_each(|value| hasher.update(value.to_le_bytes()));
            sample.ids.iter().for_each(|id| hasher.update(id.to_le_bytes()));
        }
        hex(&hasher.finalize())
    }

    fn set_parameters(&mut self, parameters: &[Parameter]) {
        self.networks.set(&self.set, parameters);
    }

    fn replicas(&self) -> usize {
        self.networks.len()
    }

    fn micro_batch(
        &self,
        replica: usize,
        step: u64,
        positions: &[usize],
        run: &RunConfig,
    ) -> Result<MicroBatch, EngineError> {
        let (networks, device) = self.networks.get(replica);
        let mut losses = Losses::default();
        let mut gradients = self.set.gradients();
        let places: Vec<_> = positions.iter().map(|&position| self.place(step, position, run)).collect();
        // Those of one shape go through the networks together.
        for pool in [&self.pictures, &self.clips].into_iter().flatten() {
            let (mut count, mut noised) = (0, Vec::new());
            for (_, samples) in places.iter().filter(|(of, _)| of.name == pool.name) {
                noised.extend(samples);
                count += 1;
            }
            if count == 0 {
                continue;
            }
            let loss = self.loss(networks, &noised, self.config.loss.face, device)?;
            let mean = f64::from(loss.clone().into_scalar::<f32>());
            losses.add(Losses::TOTAL, mean, count);
            losses.add(pool.name, mean, count);
            let gradient = (loss * (count as f64 / positions.len() as f64)).backward();
            self.set.add(networks, &gradient, &mut gradients);
        }
        Ok(MicroBatch { gradients, losses })
    }

    /// The loss of held-out samples, the same noise and timesteps each time, and renderings of prompts.
    fn validate(
        &mut self,
        _step: u64,
        model: &Path,
        folder: &Path,
        control: &mut Control<'_>,
    ) -> Result<Vec<(String, f64)>, EngineError> {
        let (networks, device) = self.networks.valid();
        let mut losses = Vec::new();
        for Pool { name, held_out, .. } in [&self.pictures, &self.clips].into_iter().flatten() {
            let (mut sum, count) = (0.0, held_out.len());
            for (index, sample) in held_out.iter().enumerate() {
                control.check()?;
                let noised = Noised {
                    frames: Frames::whole(sample.shape[0]),
                    noise: random::normal(sample.latents.len(), 0, 0, index, Draw::Noise),
                    timestep: (2 * index + 1) * self.schedule.alphas_cumprod().len() / (2 * count),
                    ids: &sample.ids,
                    sample,
                };
                sum += f64::from(self.loss(&networks, &[&noised], 0.0, &device)?.into_scalar::<f32>());
            }
            losses.extend((count > 0).then(|| ((*name).to_owned(), sum / count as f64)));
        }
        render(&self.config.validation, model, folder, &device, control)?;
        Ok(losses)
    }

    /// A whole pipeline folder.
    fn export(&self, folder: &Path, parameters: &[Parameter]) -> Result<(), EngineError> {
        let BackboneTraining { pipeline, vae, .. } = self.config;
        fs::create_dir_all(folder).map_err(EngineError::io(folder))?;
        let (from, to) = (pipeline.join("model_index.json"), folder.join("model_index.json"));
        fs::copy(&from, &to).map_err(EngineError::io(&from))?;
        for part in ["scheduler", "tokenizer"] {
            copy_folder(&pipeline.join(part), &folder.join(part))?;
        }
        copy_folder(vae, &folder.join("vae"))?;
        for (part, prefix) in [(Part::TextEncoder, TEXT), (Part::Transformer, TRANSFORMER)] {
            let (from, to) = (pipeline.join(part.folder()), folder.join(part.folder()));
            fs::create_dir_all(&to).map_err(EngineError::io(&to))?;
            fs::copy(from.join("config.json"), to.join("config.json")).map_err(EngineError::io(&to))?;
            save_half(&to.join(format!("{}.safetensors", part.stem())), prefix, parameters)?;
        }
        Ok(())
    }
}

/// Both networks, their names, and the prefixes of those that are new.
fn load(
    config: &BackboneTraining,
    shape: &DitConfig,
    text: &T5Config,
    device: &Device,
) -> Result<(Networks, ParamNames, Vec<&'static str>), EngineError> {
    let open = |part: Part| {
        let folder = config.pipeline.join(part.folder());
        has_weights(&folder, part.stem()).then(|| Checkpoint::open_folder(&folder, part.stem())).transpose()
    };
    let (text_weights, weights) = (open(Part::TextEncoder)?, open(Part::Transformer)?);
    let seed = config.run.seed;
    let (text_encoder, text_names) = match &text_weights {
        Some(weights) => {
            weights.load(T5Encoder::NAMES, Precision::F32, device, |params| T5Encoder::new(text, params))?
        }
        None => initialise(seed, device, |params| T5Encoder::new(text, params)),
    };
    let (transformer, names) = match &weights {
        Some(weights) => weights.load(Dit::NAMES, Precision::F32, device, |params| Dit::new(shape, params))?,
        None => initialise(seed.wrapping_add(1), device, |params| Dit::new(shape, params)),
    };
    let names = prefixed(TEXT, text_names).chain(prefixed(TRANSFORMER, names)).collect();
    let new = [(TEXT, text_weights.is_none()), (TRANSFORMER, weights.is_none())];
    let new = new.into_iter().filter_map(|(prefix, new)| new.then_some(prefix)).collect();
    Ok((Networks { text_encoder, transformer }, names, new))
}

/// Of new networks, starts blocks as the identity and the output at zero (adaLN-Zero, arXiv 2212.09748); T5's queries,
/// whose products with keys are not scaled, small; and each head of T5's looking at one neighbour, the next token, the one
/// before, the next but one, and so on. Without that a small encoder stays a bag of words: of "a red wall" and "a green
/// sweater" it keeps the four words, and not which colour is whose.
fn prepare_to_learn(parameters: &mut [Parameter], new: &[&str], key_width: usize) {
    for parameter in parameters {
        let name = parameter.name.as_str();
        if !new.iter().any(|prefix| name.starts_with(prefix)) {
            continue;
        }
        if [".norm1.linear.weight", ".norm2.linear.weight", ".norm_out.linear.weight", ".proj_out.weight"]
            .iter()
            .any(|end| name.ends_with(end))
        {
            parameter.values.fill(0.0);
        } else if name.ends_with("SelfAttention.q.weight") {
            let scale = (key_width as f32).powf(-0.5);
            parameter.values.iter_mut().for_each(|value| *value *= scale);
        } else if name.ends_with("relative_attention_bias.weight") {
            let [buckets, heads] = [parameter.shape[0], parameter.shape[1]];
            for head in 0..heads {
                // Small distances have a bucket each, those to tokens that follow in the second half.
                let distance = (head / 2 + 1).min((buckets / 4).saturating_sub(1));
                let bucket = if head % 2 == 0 { buckets / 2 + distance } else { distance };
                parameter.values[bucket * heads + head] = NEIGHBOUR;
            }
        }
    }
}

/// Logit of a neighbour in a new T5: it gets most of the weight among some fifty tokens.
const NEIGHBOUR: f32 = 6.0;

/// Turns examples into latents and tokens.
struct Preparation<'a> {
    encoder: VaeEncoder,
    vae: &'a VaeConfig,
    autoencoder: String,
    tokenizer: &'a Tokenizer,
    length: usize,
    vocabulary: usize,
    pipeline: PathBuf,
    cache: Cache,
    faces_matter: bool,
    /// Whether a frame is encoded for itself.
    apart: bool,
    device: &'a Device,
}

impl<'a> Preparation<'a> {
    fn new(
        config: &BackboneTraining,
        vae: &'a VaeConfig,
        tokenizer: &'a Tokenizer,
        [length, vocabulary]: [usize; 2],
        device: &'a Device,
    ) -> Result<Self, EngineError> {
        let weights = Checkpoint::open_folder(&config.vae, Part::Vae.stem())?;
        let autoencoder = network_hash(&weights, &config.vae, Precision::F32)?;
        let (encoder, _) =
            weights.load(VaeEncoder::NAMES, Precision::F32, device, |params| VaeEncoder::new(vae, params))?;
        let cache = Cache::open(&config.data.cache)?;
        Ok(Self {
            encoder,
            vae,
            autoencoder,
            tokenizer,
            length,
            vocabulary,
            pipeline: config.pipeline.clone(),
            cache,
            faces_matter: config.loss.face > 0.0,
            apart: config.data.clip_stride > 1,
            device,
        })
    }

    /// The first `count` examples; progress counts from `done`.
    fn run(
        &self,
        examples: &dyn Examples,
        count: usize,
        done: usize,
        skipped: &mut Skipped<'_>,
        control: &mut Control<'_>,
    ) -> Result<Vec<Prepared>, EngineError> {
        let found = survey(examples, count, done, skipped, control, |index, example| {
            let caption = example.caption.replace(" img", "");
            let ids = self.tokenizer.encode(&caption, self.length).map_err(|error| error.to_string())?.ids;
            if let Some(id) = ids.iter().find(|id| **id as usize >= self.vocabulary) {
                let reason = format!("the tokenizer gives token {id}, the text encoder knows {}", self.vocabulary);
                return Err(EngineError::PartsDisagree { folder: self.pipeline.clone(), reason }.into());
            }
            let keys = self.encoded(&example.frames).map(|frames| posterior_key(&self.autoencoder, frames)).collect();
            Ok((index, keys, self.faces(&example), ids))
        })?;
        let first = found.first().and_then(|(index, ..)| examples.get(*index).ok());
        let values = first.map_or(0, |first| first.values());
        let encode = |(index, keys, ..): &(usize, Vec<CacheKey>, Vec<u8>, Vec<u32>)| {
            if !keys.iter().all(|key| self.cache.holds(key)) {
                let again = examples.get(*index).map_err(|error| changed(examples.key(*index), error.to_string()))?;
                for (key, frames) in keys.iter().zip(self.encoded(&again.frames)) {
                    put_posterior(&self.cache, key, &self.encoder, frames, self.device)?;
                }
            }
            let means = keys.iter().map(|key| {
                let [mean] = self.cache.get(key, ["mean"])?;
                Ok(Tensor::<5>::from_data(mean, self.device))
            });
            let mean = Tensor::cat(means.collect::<Result<_, EngineError>>()?, 1);
            let [_, shape @ ..] = mean.dims();
            Ok((shape, self.vae.scale(mean).into_data().iter::<f32>().map(f16::from_f32).collect()))
        };
        let mut prepared: Vec<Prepared> = Vec::new();
        each(found, values, done + count, control, encode, |(index, _, faces, ids), (shape, latents)| {
            if let Some(first) = prepared.first().filter(|first| first.shape != shape) {
                let reason = format!("its latents are {shape:?}, others are {:?}", first.shape);
                return skipped.add(&examples.key(index), &reason);
            }
            prepared.push(Prepared { latents, shape, faces, ids });
            Ok(())
        })?;
        Ok(prepared)
    }

    /// What of an example's frames is encoded together.
    fn encoded<'b>(&self, frames: &'b [RgbImage]) -> impl Iterator<Item = &'b [RgbImage]> + use<'b> {
        frames.chunks(if self.apart { 1 } else { frames.len() })
    }

    /// How far each place shows a face, if that matters.
    fn faces(&self, example: &Example) -> Vec<u8> {
        if !self.faces_matter {
            return Vec::new();
        }
        let unknown = || vec![None; example.frames.len()];
        let faces = example.faces.clone().unwrap_or_else(unknown);
        let scale = self.vae.spatial_compression_ratio();
        let ratio = if self.apart { 1 } else { self.vae.temporal_compression_ratio };
        let (region, _) = TargetFace::region(&faces, example.frames[0].dimensions(), scale, ratio);
        region.into_iter().map(|covered| (covered * 255.0).round() as u8).collect()
    }
}

/// Writes `<prompt>.png` or `.mp4`, numbered from 0, to a folder.
fn render(
    config: &ValidationConfig,
    model: &Path,
    folder: &Path,
    device: &Device,
    control: &mut Control<'_>,
) -> Result<(), EngineError> {
    fs::create_dir_all(folder).map_err(EngineError::io(folder))?;
    let extension = if config.frames == Some(1) { "png" } else { "mp4" };
    for (number, prompt) in config.prompts.iter().enumerate() {
        let request = Request {
            backbone: Some(model.to_owned()),
            prompt: prompt.clone(),
            frames: config.frames,
            height: config.height,
            width: config.width,
            steps: config.steps,
            guidance: config.guidance,
            seed: config.seed,
            output: folder.join(format!("{number}.{extension}")),
            ..Request::default()
        };
        generate(&request, device, control)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::atomic::AtomicBool;

    use super::super::drawn::{Drawn, check_gradients, listed, losses, short_run, stir};
    use super::*;
    use crate::backbone::Backbone;
    use crate::models::write_tiny;

    /// A pipeline without weights of text encoder and transformer, and its autoencoder apart.
    fn pipeline(folder: &Path) -> [PathBuf; 2] {
        write_tiny(folder, 1).unwrap();
        let (pipeline, vae) = (folder.join("backbone"), folder.join("vae"));
        fs::rename(pipeline.join("vae"), &vae).unwrap();
        for part in [Part::TextEncoder, Part::Transformer] {
            fs::remove_file(pipeline.join(part.folder()).join(format!("{}.safetensors", part.stem()))).unwrap();
        }
        [pipeline, vae]
    }

    /// Steps of four places, of which the devices compute two at once: clips, or with a share of pictures, and then one
    /// latent frame of a clip. Goes on with a run in the folder.
    fn train_on(drawn: &Drawn, picture_share: f64, steps: u64, devices: &[Device], folder: &Path) -> Finished {
        let resume = folder.join("run").exists();
        let [pipeline, vae] = if resume { ["backbone", "vae"].map(|name| folder.join(name)) } else { pipeline(folder) };
        let (cache, run) = (folder.join("cache"), folder.join("run"));
        let clip_frames = if picture_share > 0.0 { "clip_frames = 1\n" } else { "" };
        let config = format!(
            "pipeline = {pipeline:?}\nvae = {vae:?}\n{}[data]\nfolder = \"\"\npicture_share = {picture_share:?}\ncache = {cache:?}\nmost_bad = 0.5\n{clip_frames}",
            short_run(steps, 4, 3e-3).replace("micro_batch = 4", "micro_batch = 2") + "schedule = \"constant\"\n"
        );
        let config: BackboneTraining = toml::from_str(&config).unwrap();
        let cancelled = AtomicBool::new(false);
        let mut listener = |_| ();
        let mut control = Control::new(&mut listener, &cancelled);
        let BackboneTraining { run: length, optimiser, guard, .. } = &config;
        let weights = BTreeMap::new();
        let (kind, folder, config) = ("backbone", run.as_path(), &config);
        let request = RunRequest { kind, folder, resume, config, run: length, optimiser, guard, weights };
        let prepare = |skipped: &Path, control: &mut Control<'_>| {
            let frames = |frames| Drawn { frames, ..*drawn };
            let (pictures, clips) = (frames(1), frames(drawn.frames));
            let source = |drawn| [drawn as &dyn Examples; 2];
            let sources =
                [(picture_share > 0.0).then(|| source(&pictures)), (picture_share < 1.0).then(|| source(&clips))];
            BackboneObjective::new(config, sources, devices, skipped, control)
        };
        request.start(&mut control, prepare).unwrap()
    }

    /// Of pictures and of clips, where there are any.
    fn objective<'a>(
        config: &'a BackboneTraining,
        sources: [Option<&Drawn>; 2],
        folder: &Path,
    ) -> BackboneObjective<'a> {
        let (cancelled, mut listener) = (AtomicBool::new(false), |_| ());
        let mut control = Control::new(&mut listener, &cancelled);
        let sources = sources.map(|drawn| drawn.map(|drawn| [drawn as &dyn Examples; 2]));
        let skipped = folder.join("skipped.jsonl");
        BackboneObjective::new(config, sources, &[Device::flex()], &skipped, &mut control).unwrap()
    }

    #[test]
    fn one_clip_is_learnt_and_exported_as_a_pipeline() {
        let folder = tempfile::tempdir().unwrap();
        let drawn = Drawn { identities: 2, frames: 5, side: 32, broken: Some(0) };
        let finished = train_on(&drawn, 0.0, 150, &[Device::flex()], folder.path());
        let run = folder.path().join("run");

        assert_eq!(listed(&run), ["drawn-0"; 2], "held out and to train");
        let found = losses(&run, Losses::TOTAL);
        let mean = |losses: &[f64]| losses.iter().sum::<f64>() / losses.len() as f64;
        let (first, last) = (mean(&found[..10]), mean(&found[140..]));
        assert!(last < first / 2.5, "{last} of {first}");
        let held_out = losses(&run, "validation/clips");
        assert!(held_out[0] < first / 2.0, "{held_out:?} of {first}");
        let exported = Backbone::open(&finished.model).unwrap();
        let autoencoder = exported.weights(Part::Vae).unwrap();
        let autoencoder = network_hash(&autoencoder, &exported.folder.join("vae"), Precision::F32).unwrap();
        let key = posterior_key(&autoencoder, &Drawn { broken: None, ..drawn }.get(1).unwrap().frames);
        assert!(Cache::open(&folder.path().join("cache")).unwrap().holds(&key), "a stage would find it");
        for part in Part::ALL {
            exported.weights(part).unwrap();
        }
        exported.tokenizer().unwrap();
    }

    #[test]
    fn two_devices_learn_what_one_does() {
        let losses = [1, 2].map(|devices| {
            let folder = tempfile::tempdir().unwrap();
            let drawn = Drawn { identities: 2, frames: 5, side: 32, broken: None };
            train_on(&drawn, 0.5, 20, &vec![Device::flex(); devices], folder.path());
            ["loss", "pictures", "clips", "validation/pictures", "validation/clips"]
                .map(|name| losses(&folder.path().join("run"), name))
        });
        for (one, two) in losses[0].iter().zip(&losses[1]) {
            assert!(!one.is_empty() && one.len() == two.len());
            for (step, (one, two)) in one.iter().zip(two).enumerate() {
                assert!((one - two).abs() < 1e-4 * one, "step {step}: {one} and {two}");
            }
        }
    }

    #[test]
    fn a_resumed_run_equals_one_that_never_stopped() {
        let drawn = Drawn { identities: 3, frames: 5, side: 32, broken: None };
        let weights = |stops: &[u64]| {
            let folder = tempfile::tempdir().unwrap();
            for steps in stops {
                train_on(&drawn, 0.5, *steps, &[Device::flex()], folder.path());
            }
            let model = folder.path().join("run/model");
            [Part::TextEncoder, Part::Transformer]
                .map(|part| fs::read(model.join(part.folder()).join(format!("{}.safetensors", part.stem()))).unwrap())
        };
        assert!(weights(&[9]) == weights(&[4, 9]));
        assert!(weights(&[9]) != weights(&[4]));
    }

    #[test]
    fn a_face_counts_as_much_more_as_is_said() {
        let folder = tempfile::tempdir().unwrap();
        let [pipeline, vae] = pipeline(folder.path());
        let config = format!(
            "pipeline = {pipeline:?}\nvae = {vae:?}\n{}[loss]\nface = 3.0\n[data]\nfolder = \"\"\npicture_share = 1.0\ncache = {:?}\n",
            short_run(1, 1, 1e-3),
            folder.path().join("cache")
        );
        let config: BackboneTraining = toml::from_str(&config).unwrap();
        let drawn = Drawn { identities: 1, frames: 1, side: 64, broken: None };
        let objective = objective(&config, [Some(&drawn), None], folder.path());

        let sample = &objective.pictures.as_ref().unwrap().samples[0];
        // The disc's radius is a third of the side.
        let covered = sample.faces.iter().map(|&covered| f64::from(covered) / 255.0);
        let area = covered.sum::<f64>() / sample.faces.len() as f64;
        assert!((area - std::f64::consts::PI / 9.0).abs() < 0.01, "{area}");
        let (frames, noise) = (Frames::whole(1), vec![0.0; sample.latents.len()]);
        let noised = Noised { frames, noise, timestep: 999, ids: &sample.ids, sample };
        let (networks, device) = objective.networks.get(0);
        let loss = |face| f64::from(objective.loss(networks, &[&noised], face, device).unwrap().into_scalar::<f32>());
        let (everywhere, in_face, both) = (loss(0.0), loss(1e6), loss(3.0));
        assert!((in_face / everywhere - 1.0).abs() > 0.01, "{in_face} and {everywhere}");
        let expected = (everywhere + 3.0 * area * in_face) / (1.0 + 3.0 * area);
        assert!((both / expected - 1.0).abs() < 1e-4, "{both}, not {expected}");
    }

    #[test]
    fn frames_of_a_lower_rate_are_encoded_apart_and_stand_at_their_places_in_time() {
        let folder = tempfile::tempdir().unwrap();
        let [pipeline, vae] = pipeline(folder.path());
        let cache = folder.path().join("cache");
        let drawn = Drawn { identities: 1, frames: 3, side: 64, broken: None };
        let sparse = |stride: usize| {
            let config = format!(
                "pipeline = {pipeline:?}\nvae = {vae:?}\n{}[data]\nfolder = \"\"\npicture_share = 0.0\ncache = {cache:?}\nclip_stride = {stride}\n",
                short_run(1, 1, 1e-3)
            );
            toml::from_str::<BackboneTraining>(&config).unwrap()
        };
        let [at_once, apart] = [1, 2].map(sparse);
        let objective = |config| objective(config, [None, Some(&drawn)], folder.path());
        let (at_once, apart) = (objective(&at_once), objective(&apart));
        let three = &apart.clips.as_ref().unwrap().samples[0];
        assert_eq!(three.shape[0], 3, "a latent frame for each");
        let of_frame = three.of_frame();
        let pictures = Cache::open(&cache).unwrap();
        let autoencoder = Checkpoint::open_folder(&vae, Part::Vae.stem()).unwrap();
        let autoencoder = network_hash(&autoencoder, &vae, Precision::F32).unwrap();
        for frame in drawn.get(0).unwrap().frames.chunks(1) {
            assert!(pictures.holds(&posterior_key(&autoencoder, frame)));
        }

        // The same three of a clip of five.
        let mut latents = vec![f16::ZERO; 5 * of_frame];
        for (number, frame) in three.latents.chunks(of_frame).enumerate() {
            latents[2 * number * of_frame..][..of_frame].copy_from_slice(frame);
        }
        let shape = [5, three.shape[1], three.shape[2], three.shape[3]];
        let five = Prepared { latents, shape, faces: Vec::new(), ids: three.ids.clone() };
        let noise = random::normal(3 * of_frame, 0, 0, 0, Draw::Noise);
        let loss = |objective: &BackboneObjective<'_>, sample, frames| {
            let noised = Noised { frames, noise: noise.clone(), timestep: 700, ids: &three.ids, sample };
            let (networks, device) = objective.networks.get(0);
            f64::from(objective.loss(networks, &[&noised], 0.0, device).unwrap().into_scalar::<f32>())
        };
        let every_other = Frames::spaced(5, 3, 2);
        let [sparse, of_five, close] = [
            loss(&apart, three, Frames::whole(3)),
            loss(&at_once, &five, every_other),
            loss(&at_once, three, Frames::whole(3)),
        ];
        assert!((sparse - of_five).abs() < 1e-6 * sparse, "{sparse} and {of_five}");
        assert!((sparse - close).abs() > 1e-5 * sparse, "{sparse} and {close}");
    }

    /// A picture and a clip in which faces count more.
    #[test]
    fn gradients_of_both_networks_equal_finite_differences() {
        let folder = tempfile::tempdir().unwrap();
        let [pipeline, vae] = pipeline(folder.path());
        for (part, from, to) in [
            (Part::TextEncoder, "layers\": 2", "layers\": 1"),
            (Part::Transformer, "layers\": 4", "layers\": 2"),
            (Part::Transformer, "length\": 48", "length\": 16"),
        ] {
            let shape = pipeline.join(part.folder()).join("config.json");
            let smaller = fs::read_to_string(&shape).unwrap().replace(from, to);
            fs::write(shape, smaller).unwrap();
        }
        let config = format!(
            "pipeline = {pipeline:?}\nvae = {vae:?}\n{}[loss]\nface = 3.0\n[data]\nfolder = \"\"\npicture_share = 0.5\ncache = {:?}\nclip_frames = 1\n",
            short_run(1, 2, 1e-3),
            folder.path().join("cache")
        );
        let config: BackboneTraining = toml::from_str(&config).unwrap();
        let [picture, clip] = [1, 5].map(|frames| Drawn { identities: 2, frames, side: 32, broken: None });
        let mut objective = objective(&config, [Some(&picture), Some(&clip)], folder.path());
        let mut parameters = objective.parameters();
        stir(&mut parameters);
        objective.set_parameters(&parameters);
        let MicroBatch { gradients, losses } = objective.micro_batch(0, 0, &[0, 1], &config.run).unwrap();
        assert!(["pictures", "clips"].iter().all(|name| losses.mean(name).is_some()), "{losses:?}");
        let places = [0, 1].map(|position| objective.place(0, position, &config.run).1);
        let (networks, device) = objective.networks.get(0);
        check_gradients(&parameters, gradients, |moved| {
            let networks = objective.set.load(networks.clone(), moved);
            let of_place = |noised: &Vec<_>| {
                let loss = objective.loss(&networks, &noised.iter().collect::<Vec<_>>(), 3.0, device).unwrap();
                f64::from(loss.into_scalar::<f32>())
            };
            places.iter().map(of_place).sum::<f64>() / 2.0
        });
    }

    #[test]
    fn a_new_transformer_starts_as_the_identity() {
        let mut parameters = [
            ("transformer.transformer_blocks.0.norm1.linear.weight", 0.0),
            ("transformer.proj_out.weight", 0.0),
            ("transformer.transformer_blocks.0.attn1.to_q.weight", 1.0),
            ("text_encoder.encoder.block.1.layer.0.SelfAttention.q.weight", 0.5),
        ]
        .map(|(name, expected)| (Parameter::new(name.to_owned(), vec![1], vec![1.0]), expected));
        for (parameter, expected) in &mut parameters {
            let other = if parameter.name.starts_with(TEXT) { TRANSFORMER } else { TEXT };
            prepare_to_learn(std::slice::from_mut(parameter), &[other], 4);
            assert_eq!(parameter.values, [1.0], "{} comes from a file", parameter.name);
            prepare_to_learn(std::slice::from_mut(parameter), &[TEXT, TRANSFORMER], 4);
            assert_eq!(parameter.values, [*expected], "{}", parameter.name);
        }
    }

    #[test]
    fn heads_of_a_new_text_encoder_look_at_neighbours() {
        let name = "text_encoder.encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight";
        let mut bias = Parameter::new(name.into(), vec![32, 3], vec![0.0; 96]);
        prepare_to_learn(std::slice::from_mut(&mut bias), &[TEXT], 4);
        // Heads 0 to 2: one token on, one back, two on.
        let mut expected = vec![0.0; 96];
        for (bucket, head) in [(17, 0), (1, 1), (18, 2)] {
            expected[bucket * 3 + head] = NEIGHBOUR;
        }
        assert_eq!(bias.values, expected);
    }
}
