//! The objective of both stages: an adapter on a frozen backbone.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use burn::module::Module;
use burn::tensor::{DType, Device, Tensor, TensorData};
use magicmirror_models::adapter::{Adapter, AdapterConfig, FaceFeatures};
use magicmirror_models::dit::Dit;
use magicmirror_models::vae::VaeDecoder;
use magicmirror_models::weights::Precision;
use serde::{Deserialize, Serialize};

use super::cache::{Cache, CacheKey};
use super::frames::Frames;
use super::item::{Bucket, Cached, Item};
use super::loss::{FaceTarget, IdentityLoss, LossConfig};
use super::prepare::Preparation;
use super::random::{self, Draw};
use super::stage::{StageConfig, StageData};
use super::step::{Networks, Sample};
use super::survey::Skipped;
use super::validation::{ValidationConfig, render};
use super::whitening::Whitening;
use super::{Examples, FrameSize, MicroBatch, Objective, Parameter, ParameterSet, RunConfig, TrainError};
use crate::EngineError;
use crate::backbone::{Backbone, Part};
use crate::event::{Control, Stage};
use crate::files::sha256_of_files;
use crate::identity::{Encoders, FaceOptions};

/// What is trained on what: section `[model]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelConfig {
    /// Pipeline folder of the frozen backbone.
    pub backbone: PathBuf,
    /// Adapter folder to start from: fresh, imported, or of the stage before. It says which face encoders to use.
    pub adapter: PathBuf,
    /// Precision of the frozen weights in memory. The adapter is always f32.
    #[serde(default)]
    pub dtype: FrozenPrecision,
    /// Whether blocks are run again on the way back, which needs the memory of one block instead of all. A small model is
    /// quicker without.
    #[serde(default = "yes")]
    pub recompute: bool,
}

fn yes() -> bool {
    true
}

/// Precision of frozen weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FrozenPrecision {
    /// As in the files.
    #[default]
    Stored,
    /// 16-bit brain floating point.
    Bf16,
    /// 32-bit floating point.
    F32,
}

impl From<FrozenPrecision> for Precision {
    fn from(precision: FrozenPrecision) -> Self {
        match precision {
            FrozenPrecision::Stored => Self::Stored,
            FrozenPrecision::Bf16 => Self::Bf16,
            FrozenPrecision::F32 => Self::F32,
        }
    }
}

/// Examples of one data set, and how often they are drawn.
pub struct WeightedExamples {
    /// The data set, for messages.
    pub path: PathBuf,
    /// The examples.
    pub examples: Box<dyn Examples>,
    /// Examples of people who are not trained on, where the data set holds some out.
    pub held_out: Option<Box<dyn Examples>>,
    /// Frames that are trained: 1 for images.
    pub frames: usize,
    /// Relative to those of the other sets.
    pub weight: f64,
}

/// Held-out examples of each data set that a validation computes the loss of.
const VALIDATED: usize = 64;

/// People by whose vectors those of the identity term are whitened.
const WHITENED: usize = 4096;

/// Where a sample stands, and what is decided about it.
struct Place {
    seed: u64,
    step: u64,
    position: usize,
    timestep: usize,
    /// Whether its face region counts alone.
    in_region: bool,
}

/// An adapter in training, on one device or several.
pub(super) struct AdapterObjective<'a> {
    model: &'a ModelConfig,
    loss: &'a LossConfig,
    validation: &'a ValidationConfig,
    seed: u64,
    replicas: Vec<Networks>,
    set: ParameterSet,
    initial: Vec<Parameter>,
    encoders: Encoders,
    cache: Cache,
    /// Items of each data set, and the weights added up so far.
    sources: Vec<(f64, Vec<Item>)>,
    /// Items of people who are held out: images, and clips.
    held_out: [Vec<Item>; 2],
    patch_frames: usize,
    /// Latent frames of a clip that are learnt at once, if not all.
    clip_frames: Option<usize>,
    scaling_factor: f64,
}

impl<'a> AdapterObjective<'a> {
    /// Checks that everything fits, fills the cache, then loads the networks of each device.
    pub(super) fn prepare<D: StageData>(
        StageConfig { model, data, loss, run, validation, .. }: &'a StageConfig<D>,
        examples: &[WeightedExamples],
        skipped: &Path,
        devices: &[Device],
        control: &mut Control<'_>,
    ) -> Result<Self, EngineError> {
        if run.validate_every > 0 {
            validation.check()?;
        }
        let backbone = Backbone::open(&model.backbone)?;
        let adapter = AdapterConfig::load(&model.adapter)?;
        adapter.check_backbone(&(&backbone.dit).into())?;
        Adapter::check(&model.adapter)?;
        if let (Some(frames), Some(_)) = (data.clip_frames(), backbone.dit.patch_size_t) {
            let rule = "be left out where patches of the transformer go over several frames";
            return Err(TrainError::OutOfRange { key: "data.clip_frames", value: frames.to_string(), rule }.into());
        }
        let encoders = Encoders::of_adapter(&model.adapter, &adapter, &FaceOptions::default())?;
        check_sizes(&backbone, data.sizes())?;
        let cache = Cache::open(data.cache())?;
        let preparation = Preparation::new(
            &backbone,
            &adapter,
            &encoders,
            model.dtype.into(),
            &devices[0],
            cache.clone(),
            data.sizes(),
        )?;
        let (mut sources, mut total, mut validated) = (Vec::new(), 0.0, [Vec::new(), Vec::new()]);
        for WeightedExamples { path, examples, held_out, frames, weight } in examples {
            total += weight;
            let held_out = held_out.as_ref().filter(|_| run.validate_every > 0);
            let count = held_out.map_or(0, |held_out| held_out.len().min(VALIDATED));
            let mut skipped = Skipped::new(skipped, data.most_bad(), examples.len() + count);
            if let Some(held_out) = held_out {
                let items = preparation.run(held_out.as_ref(), count, *frames, &mut skipped, control)?;
                validated[usize::from(*frames > 1)].extend(items);
            }
            let items = preparation.run(examples.as_ref(), examples.len(), *frames, &mut skipped, control)?;
            if items.is_empty() {
                return Err(TrainError::NoExamples { path: path.clone() }.into());
            }
            sources.push((total, items));
        }
        let whitened = loss.identity_weight > 0.0 && loss.identity_whitened;
        let people = if whitened { people(&sources, &cache)? } else { Vec::new() };
        let (networks, set, initial) = control
            .stage(Stage::LoadTransformer, 0.0, |_| load(&backbone, model, loss, &encoders, &people, devices))?;
        Ok(Self {
            model,
            loss,
            validation,
            seed: run.seed,
            replicas: networks,
            set,
            initial,
            encoders,
            cache,
            sources,
            held_out: validated,
            patch_frames: backbone.dit.patch_size_t.unwrap_or(1),
            clip_frames: data.clip_frames(),
            scaling_factor: backbone.vae.scaling_factor,
        })
    }

    /// The item at a position: a data set by its weight, then the next of that set's order.
    fn item(&self, step: u64, position: usize, batch: usize) -> &Item {
        let total = self.sources.last().map_or(0.0, |(total, _)| *total);
        let drawn = total * random::unit(self.seed, step, position, Draw::Source);
        let source = self.sources.iter().position(|(until, _)| drawn < *until).unwrap_or(self.sources.len() - 1);
        let items = &self.sources[source].1;
        &items[random::sample(items.len(), self.seed, step * batch as u64 + position as u64)]
    }

    fn place(&self, step: u64, position: usize, batch: usize) -> Place {
        let timesteps = self.replicas[0].schedule.alphas_cumprod().len();
        Place {
            seed: self.seed,
            step,
            position,
            timestep: random::timestep(timesteps, self.loss.timestep_power, self.seed, step, [position, batch]),
            in_region: random::unit(self.seed, step, position, Draw::Region) < self.loss.region_probability,
        }
    }

    /// A held-out sample, the same in each validation of each run.
    fn held_out_sample(
        &self,
        item: &Item,
        [index, count]: [usize; 2],
        networks: &Networks,
    ) -> Result<Sample, EngineError> {
        let timestep = (2 * index + 1) * networks.schedule.alphas_cumprod().len() / (2 * count);
        let place = Place { seed: 0, step: 0, position: index, timestep, in_region: true };
        self.sample(item, &place, None, networks)
    }

    /// Features of the next item's photos that are as many as this one's: its own where there is none.
    fn features_of_another(
        &self,
        items: &[Item],
        index: usize,
        networks: &Networks,
    ) -> Result<FaceFeatures, EngineError> {
        let references = items[index].bucket.references;
        let mut others = items[index + 1..].iter().chain(&items[..=index]);
        let another = others.find(|other| other.bucket.references == references).expect("itself is the last");
        Ok(another.read(&self.cache, &networks.device)?.features)
    }

    /// Reads an item and draws what else belongs to a sample.
    fn sample(
        &self,
        item: &Item,
        place: &Place,
        clip_frames: Option<usize>,
        networks: &Networks,
    ) -> Result<Sample, EngineError> {
        let Place { seed, step, position, timestep, in_region } = *place;
        let device = &networks.device;
        let Cached { mean, logvar, text, class_token_mask, features, region, landmarks } =
            item.read(&self.cache, device)?;
        let tensor = |data: TensorData| Tensor::<5>::from_data(data, (device, DType::F32));
        let normal = |count: usize, shape: [usize; 5], draw: Draw| {
            tensor(TensorData::new(random::normal(count, seed, step, position, draw), shape))
        };
        let (mean, logvar, region) = (tensor(mean), tensor(logvar), tensor(region));
        let frames = clip_frames.map(|count| Frames::drawn(count, mean.dims()[1], self.seed, step));
        let [mean, logvar, region] = [mean, logvar, region].map(|clip| match frames {
            Some(frames) => frames.of_tensor(&clip),
            None => clip,
        });
        let posterior = normal(mean.shape().num_elements(), mean.dims(), Draw::Posterior);
        let latents = (mean + (logvar * 0.5).exp() * posterior) * self.scaling_factor;
        let [_, latent_frames, ..] = latents.dims();
        // 1.5 takes latent frames in pairs: the first is repeated, as upstream trains it.
        let padding = latent_frames.next_multiple_of(self.patch_frames) - latent_frames;
        let padded = |x: Tensor<5>| {
            let first = x.clone().narrow(1, 0, 1);
            Tensor::cat([vec![first; padding], vec![x]].concat(), 1)
        };
        let latents = padded(latents);
        let noise = normal(latents.shape().num_elements(), latents.dims(), Draw::Noise);
        let has_face = region.clone().max().into_scalar::<f32>() > 0.0;
        let region = (has_face && in_region).then(|| padded(region));
        let face = networks.identity.as_ref().and_then(|identity| {
            let alpha = networks.schedule.alphas_cumprod()[timestep];
            let frame = random::below(landmarks.len(), seed, step, position, Draw::Frame);
            let landmarks = landmarks[frame].filter(|_| alpha >= self.loss.identity_min_alpha)?;
            let (window, frame) = FaceTarget::window(&identity.vae, frame);
            let target = FaceTarget {
                latent_frames: window.start + padding..window.end + padding,
                frame,
                landmarks,
                mirrored: false,
                embeddings: features.id_embeds.clone(),
            };
            let jitter = self.loss.identity_jitter;
            let normal = || random::normal(11, seed, step, position, Draw::Jitter);
            Some(if jitter > 0.0 { target.moved(jitter, &normal()) } else { target })
        });
        let text = Tensor::from_data(text, (device, DType::F32));
        Ok(Sample { latents, frames, noise, timestep, text, class_token_mask, features, region, face })
    }
}

impl Objective for AdapterObjective<'_> {
    fn parameters(&mut self) -> Vec<Parameter> {
        std::mem::take(&mut self.initial)
    }

    fn examples(&self) -> String {
        let items = self.sources.iter().flat_map(|(_, items)| items);
        let keys = items.flat_map(|item| [&item.latents, &item.truth, &item.text].into_iter().chain(&item.faces));
        let keys = keys.map(|key| key.as_str().as_bytes());
        CacheKey::new(&keys.collect::<Vec<_>>()).as_str().to_owned()
    }

    fn set_parameters(&mut self, parameters: &[Parameter]) {
        for networks in &mut self.replicas {
            networks.adapter = self.set.load(networks.adapter.clone(), parameters);
        }
    }

    fn replicas(&self) -> usize {
        self.replicas.len()
    }

    fn micro_batches(&self, step: u64, run: &RunConfig) -> Vec<Vec<usize>> {
        let mut buckets: BTreeMap<Bucket, Vec<usize>> = BTreeMap::new();
        for position in 0..run.batch {
            buckets.entry(self.item(step, position, run.batch).bucket).or_default().push(position);
        }
        buckets.values().flat_map(|positions| positions.chunks(run.micro_batch)).map(<[usize]>::to_vec).collect()
    }

    fn micro_batch(
        &self,
        replica: usize,
        step: u64,
        positions: &[usize],
        run: &RunConfig,
    ) -> Result<MicroBatch, EngineError> {
        let networks = &self.replicas[replica];
        let samples = positions
            .iter()
            .map(|&position| {
                let (item, place) = (self.item(step, position, run.batch), self.place(step, position, run.batch));
                self.sample(item, &place, self.clip_frames, networks)
            })
            .collect::<Result<Vec<_>, EngineError>>()?;
        networks.gradients(&samples, self.loss, &self.set)
    }

    /// The loss of held-out people's faces, by their own photos and by somebody else's, and renderings of prompts.
    fn validate(
        &mut self,
        _step: u64,
        model: &Path,
        folder: &Path,
        control: &mut Control<'_>,
    ) -> Result<Vec<(String, f64)>, EngineError> {
        let networks = self.replicas[0].valid();
        let mut losses = Vec::new();
        for (name, items) in ["images", "clips"].iter().zip(&self.held_out) {
            let [mut own, mut other] = [0.0; 2];
            for (index, item) in items.iter().enumerate() {
                control.check()?;
                let sample = self.held_out_sample(item, [index, items.len()], &networks)?;
                let features = self.features_of_another(items, index, &networks)?;
                own += networks.held_out_loss(&sample)? / items.len() as f64;
                other += networks.held_out_loss(&Sample { features, ..sample })? / items.len() as f64;
            }
            if !items.is_empty() {
                losses.push(((*name).to_owned(), own));
                losses.push((format!("{name}_swapped"), other));
            }
        }
        let precision = self.model.dtype.into();
        render(self.validation, &self.model.backbone, model, folder, precision, &networks.device, control)?;
        Ok(losses)
    }

    fn export(&self, folder: &Path, parameters: &[Parameter]) -> Result<(), EngineError> {
        let exported: Vec<Parameter> = parameters.iter().map(Parameter::as_exported).collect();
        let adapter = self.replicas[0].adapter.clone().to_device(&Device::flex().autodiff());
        self.set.load(adapter, &exported).save(folder)?;
        // Face encoders that lie in the adapter's folder go with it.
        for name in self.encoders.within(&self.model.adapter) {
            copy_missing(&self.model.adapter.join(&name), &folder.join(&name))?;
        }
        Ok(())
    }
}

/// The recogniser's vectors of up to [`WHITENED`] examples' first photos, evenly from all.
fn people(sources: &[(f64, Vec<Item>)], cache: &Cache) -> Result<Vec<Vec<f32>>, EngineError> {
    let faces: Vec<_> = sources.iter().flat_map(|(_, items)| items).filter_map(|item| item.faces.first()).collect();
    let every = faces.len().div_ceil(WHITENED).max(1);
    let vector = |key: &CacheKey| -> Result<Vec<f32>, EngineError> {
        let [vector] = cache.get(key, ["id_embeds"])?;
        Ok(vector.iter().collect())
    };
    faces.into_iter().step_by(every).map(vector).collect()
}

/// The networks of each device, and the adapter's parameters.
fn load(
    backbone: &Backbone,
    model: &ModelConfig,
    loss: &LossConfig,
    encoders: &Encoders,
    people: &[Vec<f32>],
    devices: &[Device],
) -> Result<(Vec<Networks>, ParameterSet, Vec<Parameter>), EngineError> {
    let precision: Precision = model.dtype.into();
    let first = Adapter::load(&model.adapter, Precision::F32, &devices[0].clone().autodiff())?;
    let (set, initial) = ParameterSet::new(&first, first.param_names());
    let replicas = devices.iter().map(|device| {
        let device = device.clone().autodiff();
        let (dit, _) = backbone
            .weights(Part::Transformer)?
            .load(Dit::NAMES, precision, &device, |params| Dit::new(&backbone.dit, params))?;
        let identity = if loss.identity_weight > 0.0 {
            let weights = backbone.weights(Part::Vae)?;
            let (decoder, _) =
                weights.load(VaeDecoder::NAMES, precision, &device, |params| VaeDecoder::new(&backbone.vae, params))?;
            let recogniser = encoders.load_recogniser(&device)?;
            let whitening = match people {
                [] => None,
                people => Some(Whitening::of(people, &device).ok_or(TrainError::OutOfRange {
                    key: "loss.identity_whitened",
                    value: true.to_string(),
                    rule: "be left out where all photos show the same face",
                })?),
            };
            Some(IdentityLoss { decoder: decoder.no_grad(), vae: backbone.vae.clone(), recogniser, whitening })
        } else {
            None
        };
        Ok(Networks {
            dit: dit.no_grad(),
            dit_config: backbone.dit.clone(),
            schedule: backbone.schedule.clone(),
            // Copies have the same parameter ids, so one set serves all.
            adapter: first.clone().fork(&device),
            identity,
            recompute: model.recompute,
            device,
        })
    });
    Ok((replicas.collect::<Result<_, EngineError>>()?, set, initial))
}

/// SHA-256 of all weights that a run computes with or starts from.
pub(super) fn weight_hashes(model: &ModelConfig) -> Result<BTreeMap<String, String>, EngineError> {
    let config = AdapterConfig::load(&model.adapter)?;
    let backbone = Backbone::open(&model.backbone)?;
    let mut hashes = BTreeMap::new();
    for part in Part::ALL {
        hashes.insert(part.folder().to_owned(), sha256_of_files(backbone.weights(part)?.files())?);
    }
    hashes.insert("adapter".into(), sha256_of_files(Adapter::open(&model.adapter)?.files())?);
    hashes.insert("encoders".into(), Encoders::of_adapter(&model.adapter, &config, &FaceOptions::default())?.sha256()?);
    Ok(hashes)
}

/// Every size must divide into latents and patches.
fn check_sizes(backbone: &Backbone, sizes: &[FrameSize]) -> Result<(), EngineError> {
    let multiple = backbone.spatial_compression() * backbone.dit.patch_size;
    for size in sizes {
        if !size.width.is_multiple_of(multiple) || !size.height.is_multiple_of(multiple) {
            return Err(EngineError::OutOfRange {
                option: "data.sizes",
                value: String::from(*size),
                rule: format!("have sides that are multiples of {multiple}"),
                hint: format!(
                    "the nearest is {}x{}",
                    size.width.next_multiple_of(multiple),
                    size.height.next_multiple_of(multiple)
                ),
            });
        }
    }
    if sizes.is_empty() {
        return Err(TrainError::OutOfRange { key: "data.sizes", value: "[]".into(), rule: "name at least one" }.into());
    }
    Ok(())
}

/// Copies a file or a folder of files, where there is one and not yet a copy.
fn copy_missing(from: &Path, to: &Path) -> Result<(), EngineError> {
    if from.is_file() && !to.exists() {
        fs::copy(from, to).map_err(EngineError::io(to))?;
    }
    if from.is_dir() {
        fs::create_dir_all(to).map_err(EngineError::io(to))?;
        for entry in fs::read_dir(from).map_err(EngineError::io(from))? {
            let path = entry.map_err(EngineError::io(from))?.path();
            if let Some(name) = path.file_name().filter(|_| path.is_file()) {
                copy_missing(&path, &to.join(name))?;
            }
        }
    }
    Ok(())
}
