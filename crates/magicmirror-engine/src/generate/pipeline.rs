use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use burn::tensor::{Device, Int, Tensor, TensorData};
use magicmirror_media::{Provenance, check_video, check_writable, write_video};
use magicmirror_models::adapter::{
    Adapter, AdapterConfig, BackboneSizes, Conditions, FaceFeatures, IdentityConditioner, expand_class_word,
};
use magicmirror_models::diffusion::{Sampler, SkipGuidance};
use magicmirror_models::dit::{BlockFactors, Dit, LayerConditioner, Positions, Unconditioned};
use magicmirror_models::text::{Encoding, T5Encoder, Tokenizer};
use magicmirror_models::vae::{Tiling, VaeDecoder, denoiser_layout_from_vae, vae_layout_from_denoiser};
use magicmirror_models::weights::{ParamNames, save_safetensors};

use super::candidates::{self, Chosen, Judge};
use super::denoise::{Denoised, Denoiser};
use super::noise::Noise;
use super::plan::{self, Person, Subject};
use super::report::{Report, WeightHashes};
use super::{Request, Settings};
use crate::EngineError;
use crate::backbone::{Backbone, Part};
use crate::event::{Control, Event, Stage};
use crate::files::{ensure_writable, sha256_of_files};
use crate::frames::rgb_from_frames;
use crate::identity::{self, Encoders, RecogniserSource};
use crate::models::shipped;

/// What a run left behind.
#[derive(Debug, Clone)]
pub struct Generated {
    /// The video, image or folder of images.
    pub output: PathBuf,
    /// The report beside it.
    pub report: PathBuf,
}

/// Generates a video, of the person on the reference photos if there are any, and writes it with a report beside it.
///
/// # Errors
/// When the request cannot be carried out; then nothing is written.
pub fn generate(request: &Request, device: &Device, control: &mut Control<'_>) -> Result<Generated, EngineError> {
    let start = Instant::now();
    // Lives as long as the run: without --backbone the model is unpacked to a temporary folder.
    let (request, _shipped) = shipped::fill_in(request, control)?;
    let run = Run::prepare(&request, device, control)?;
    let noises = run.prepare_noises(run.settings.seed, run.candidates)?;
    let identity = run.extract_identity(control)?;
    let judge = run.load_judge(identity.as_ref())?;
    let prompts = run.encode_prompts(identity.as_ref(), control)?;
    let (mut candidates, conditions) =
        run.denoise(&run.load_transformer(control)?, prompts, identity.clone(), noises, None, control)?;
    let chosen = run.decode(&candidates, judge.as_ref().zip(identity.as_ref()), control)?;
    run.write(&chosen, &candidates.swap_remove(chosen.index), &conditions, start, control)
}

/// Sees layer, query, key and numbers of tokens: see [`LayerConditioner::observe`].
pub(crate) type Observer<'a> = &'a dyn Fn(usize, &Tensor<4>, &Tensor<4>, [usize; 3]);

/// The sampling steps of a run, in which `observer` sees every attention that the identity takes part in. Nothing is
/// written.
pub(crate) fn observe(
    request: &Request,
    device: &Device,
    observer: Observer<'_>,
    control: &mut Control<'_>,
) -> Result<(), EngineError> {
    let run = Run::prepare(request, device, control)?;
    let noises = run.prepare_noises(run.settings.seed, 1)?;
    let identity = run.extract_identity(control)?;
    let prompts = run.encode_prompts(identity.as_ref(), control)?;
    run.denoise(&run.load_transformer(control)?, prompts, identity, noises, Some(observer), control)?;
    Ok(())
}

/// The networks of a run, and what the references make of its adapter.
pub(crate) struct Loaded {
    pub(crate) dit: Dit,
    pub(crate) adapter: Adapter,
    pub(crate) conditions: Conditions,
}

/// Loads transformer and adapter as a run would, and reads the identity.
pub(crate) fn load(request: &Request, device: &Device, control: &mut Control<'_>) -> Result<Loaded, EngineError> {
    let run = Run::prepare(request, device, control)?;
    let identity = run.extract_identity(control)?;
    match (run.load_transformer(control)?, identity) {
        ((dit, Some(adapter)), Some(features)) => {
            let conditions = adapter.conditions(&features);
            Ok(Loaded { dit, adapter, conditions })
        }
        _ => Err(EngineError::options(
            "there is no identity to analyse",
            "add a photo with --reference IMG, or features with --identity FILE",
        )),
    }
}

/// One run: everything that is settled before the first network is loaded. What several videos have in common is here
/// as well; [`super::batch`] makes many with one of these.
pub(super) struct Run<'a> {
    pub(super) request: &'a Request,
    pub(super) device: &'a Device,
    pub(super) backbone: Backbone,
    pub(super) settings: Settings,
    pub(super) identity: Option<IdentitySource>,
    /// Videos to choose from, where somebody is to be seen.
    pub(super) candidates: usize,
    /// Who chooses, if there are several.
    judge: Option<RecogniserSource>,
    /// Latent frames with and without the padding that 1.5 needs in front.
    latent_frames: usize,
    padding_frames: usize,
    tiling: Tiling,
    positions: Positions,
    /// SHA-256 of all weights, computed beside the work, in the order in which the parts are loaded.
    hashes: Option<JoinHandle<Result<WeightHashes, EngineError>>>,
}

/// Where the identity comes from, and the adapter that understands it.
pub(super) struct IdentitySource {
    pub(super) adapter: PathBuf,
    pub(super) config: AdapterConfig,
    pub(super) features: FeatureSource,
}

pub(super) enum FeatureSource {
    /// Computed before.
    Known(Box<FaceFeatures>),
    Photos(Encoders),
}

/// Token ids of both prompts, padded, and which of the prompt's stand for the person.
pub(super) struct Tokens {
    pub(super) prompt: Vec<i64>,
    pub(super) negative: Vec<i64>,
    pub(super) class_token_mask: Option<Vec<bool>>,
}

/// Text embeddings of both prompts, and the tokens they come from.
pub(super) struct Prompts {
    pub(super) token_ids: Vec<i64>,
    pub(super) prompt: Tensor<3>,
    pub(super) negative: Tensor<3>,
    pub(super) class_token_mask: Option<Vec<bool>>,
}

/// The transformer, and the adapter if there is one.
pub(super) type Transformer = (Dit, Option<Adapter>);

/// All that `--tensors` shows of a run besides latents and frames.
pub(super) struct ShownTensors(Vec<(String, TensorData)>);

impl<'a> Run<'a> {
    /// Opens and checks everything a run needs, so that nothing fails late that can fail early.
    pub(super) fn prepare(
        request: &'a Request,
        device: &'a Device,
        control: &mut Control<'_>,
    ) -> Result<Self, EngineError> {
        let folder = request.backbone.as_ref().expect("the shipped model is filled in");
        let backbone = Backbone::open(folder)?;
        let settings = Settings::new(request, &backbone, control)?;
        check_writable(&request.output)?;
        check_video(&request.output, (settings.width as u32, settings.height as u32), settings.frames)?;
        Report::ensure_writable_beside(&request.output)?;
        if let Some(tensors) = &request.tensors {
            ensure_writable(tensors)?;
        }
        let identity = IdentitySource::new(request, &backbone, device)?;
        let (candidates, judge) = candidates::asked_for(request, identity.as_ref())?;
        let latent_frames = (settings.frames - 1) / backbone.vae.temporal_compression_ratio + 1;
        let patch_frames = backbone.dit.patch_size_t.unwrap_or(1);
        let padding_frames = latent_frames.next_multiple_of(patch_frames) - latent_frames;

        let subject = Subject {
            backbone: &backbone,
            settings: &settings,
            request,
            person: identity.as_ref().map(|source| source.person(request)).transpose()?,
            candidates,
            judge: judge.as_ref().map(RecogniserSource::bytes),
            latent_frames: [latent_frames, latent_frames + padding_frames],
        };
        let tiling = plan::choose_tiling(&subject, device, control)?;
        let [height, width] = [settings.height, settings.width].map(|size| size / backbone.spatial_compression());
        backbone.vae.check_tiling(tiling, [height, width])?;
        let positions = Positions::new(&backbone.dit, latent_frames + padding_frames, height, width, device)?;
        let files = check_weights(&backbone, identity.as_ref())?;
        let hashes = Some(thread::spawn(move || {
            files.into_iter().map(|(part, files)| Ok((part.to_owned(), sha256_of_files(&files)?))).collect()
        }));
        Ok(Self {
            request,
            device,
            backbone,
            settings,
            identity,
            candidates,
            judge,
            latent_frames,
            padding_frames,
            tiling,
            positions,
            hashes,
        })
    }

    /// Reference photos (or a file made from them) to identity features.
    fn extract_identity(&self, control: &mut Control<'_>) -> Result<Option<FaceFeatures>, EngineError> {
        let Some(source) = &self.identity else { return Ok(None) };
        let features = match &source.features {
            FeatureSource::Known(features) => features.as_ref().clone(),
            FeatureSource::Photos(encoders) => {
                identity::encode(&self.request.references, encoders, &self.request.faces, self.device, control)?
            }
        };
        features.check(&source.config)?;
        Ok(Some(features))
    }

    /// Both prompts through the text encoder, which is dropped after.
    fn encode_prompts(
        &self,
        identity: Option<&FaceFeatures>,
        control: &mut Control<'_>,
    ) -> Result<Prompts, EngineError> {
        control.stage(Stage::EncodePrompt, 2.0, |control| {
            let references = identity.map(FaceFeatures::references);
            let tokens = self.tokenise(&self.backbone.tokenizer()?, &self.settings.prompt, references, control)?;
            let encoder = self.load_text_encoder()?;
            let mut embed = |ids: &[i64], done: f64| {
                let embeds = self.embed(&encoder, ids);
                control.emit(Event::Advanced { stage: Stage::EncodePrompt, done });
                embeds
            };
            Ok(Prompts {
                prompt: embed(&tokens.prompt, 1.0),
                negative: embed(&tokens.negative, 2.0),
                token_ids: [tokens.prompt, tokens.negative].concat(),
                class_token_mask: tokens.class_token_mask,
            })
        })
    }

    /// Both prompts as tokens; with an identity of so many references, the class word stands once for each of its tokens.
    pub(super) fn tokenise(
        &self,
        tokenizer: &Tokenizer,
        prompt: &str,
        references: Option<usize>,
        control: &mut Control<'_>,
    ) -> Result<Tokens, EngineError> {
        let length = self.backbone.dit.max_text_seq_length;
        let mut expanded = None;
        if let (Some(source), Some(references)) = (&self.identity, references) {
            let repeats = source.config.class_word_repeats(references);
            expanded = Some(expand_class_word(prompt, &source.config.trigger_word, repeats)?);
        }
        let text = expanded.as_ref().map_or(prompt, |expanded| &expanded.text);
        let prompt = tokenizer.encode(text, length)?;
        let class_token_mask =
            expanded.as_ref().map(|expanded| expanded.class_token_mask(prompt.offsets(), length)).transpose()?;
        let negative = tokenizer.encode(&self.settings.negative_prompt, length)?;
        warn_if_cut("prompt", &prompt, text, length, control);
        warn_if_cut("negative prompt", &negative, &self.settings.negative_prompt, length, control);
        self.backbone.check_tokens(&prompt.ids)?;
        self.backbone.check_tokens(&negative.ids)?;
        let ids = |encoding: &Encoding| encoding.ids.iter().map(|&id| i64::from(id)).collect();
        Ok(Tokens { prompt: ids(&prompt), negative: ids(&negative), class_token_mask })
    }

    pub(super) fn load_text_encoder(&self) -> Result<T5Encoder, EngineError> {
        let weights = self.backbone.weights(Part::TextEncoder)?;
        let (encoder, _) = weights.load(T5Encoder::NAMES, self.request.precision, self.device, |params| {
            T5Encoder::new(&self.backbone.text, params)
        })?;
        Ok(encoder)
    }

    /// Token ids to `[1, tokens, width]`.
    pub(super) fn embed(&self, encoder: &T5Encoder, ids: &[i64]) -> Tensor<3> {
        encoder.forward(Tensor::<2, Int>::from_data(TensorData::new(ids.to_vec(), [1, ids.len()]), self.device))
    }

    /// The noises of so many candidates.
    pub(super) fn prepare_noises(&self, seed: u64, candidates: usize) -> Result<Vec<Noise>, EngineError> {
        candidates::seeds(seed, candidates).map(|seed| self.prepare_noise(seed)).collect()
    }

    /// The noise that sampling starts from, and that stochastic steps add.
    fn prepare_noise(&self, seed: u64) -> Result<Noise, EngineError> {
        let scale = self.backbone.spatial_compression();
        let shape = [
            1,
            self.latent_frames + self.padding_frames,
            self.backbone.dit.in_channels,
            self.settings.height / scale,
            self.settings.width / scale,
        ];
        match &self.request.latents {
            Some(path) => Noise::from_file(path, seed, shape, self.settings.steps),
            None => Ok(Noise::seeded(seed, shape)),
        }
    }

    /// The sampling steps of one video, or of each candidate for it.
    pub(super) fn denoise(
        &self,
        transformer: &Transformer,
        prompts: Prompts,
        identity: Option<FaceFeatures>,
        noises: Vec<Noise>,
        observer: Option<Observer<'_>>,
        control: &mut Control<'_>,
    ) -> Result<(Vec<Denoised>, ShownTensors), EngineError> {
        let (dit, adapter) = transformer;
        let mut shown = ShownTensors::of_prompts(&prompts);
        let mut prompt = prompts.prompt;
        let mut conditioner: Box<dyn LayerConditioner + '_> = Box::new(Unconditioned);
        if let (Some(adapter), Some(features), Some(mask)) = (adapter, identity, &prompts.class_token_mask) {
            let conditions = adapter.conditions(&features);
            prompt = adapter.fuse(prompt, mask, &conditions);
            shown.add("x_id", conditions.x_id.clone());
            shown.add("x_face", conditions.x_face.clone());
            shown.add("can_condition", conditions.can_condition.clone());
            shown.add("prompt_embeds_fused", Some(prompt.clone()));
            let identity = IdentityConditioner::new(adapter, &conditions, self.settings.face_scale);
            conditioner = match observer {
                Some(observer) => Box::new(Observed { identity, observer }),
                None => Box::new(identity),
            };
        }
        let guidance = self.settings.guidance();
        let denoiser = Denoiser {
            dit,
            positions: &self.positions,
            conditioner: conditioner.as_ref(),
            prompt,
            negative: guidance.is_active().then_some(prompts.negative),
            guidance,
            skip: Some(self.settings.skip_guidance()).filter(SkipGuidance::is_active),
        };
        let Settings { scheduler, steps, .. } = self.settings;
        let (mut candidates, count) = (Vec::new(), noises.len());
        for noise in noises {
            if count > 1 {
                control.emit(Event::Note(format!("candidate {} of {count}", candidates.len() + 1)));
            }
            let sampler = Sampler::new(self.backbone.schedule.clone(), scheduler, steps)?;
            candidates.push(
                control.stage(Stage::Denoise, steps as f64, |control| {
                    denoiser.run(sampler, noise, self.device, control)
                })?,
            );
        }
        Ok((candidates, shown))
    }

    pub(super) fn load_transformer(&self, control: &mut Control<'_>) -> Result<Transformer, EngineError> {
        control.stage(Stage::LoadTransformer, 0.0, |_| {
            let adapter = self
                .identity
                .as_ref()
                .map(|source| Adapter::load(&source.adapter, self.request.precision, self.device))
                .transpose()?;
            let weights = self.backbone.weights(Part::Transformer)?;
            let (dit, _): (Dit, ParamNames) =
                weights.load(Dit::NAMES, self.request.precision, self.device, |params| {
                    Dit::new(&self.backbone.dit, params)
                })?;
            Ok((dit, adapter))
        })
    }

    /// Latents to frames, of several candidates those of the one most like the person.
    fn decode(
        &self,
        candidates: &[Denoised],
        judge: Option<(&Judge<'_>, &FaceFeatures)>,
        control: &mut Control<'_>,
    ) -> Result<Chosen, EngineError> {
        let candidates = candidates.iter().map(|candidate| (candidate.seed, candidate.latents.clone()));
        self.choose(candidates, &mut None, judge, control)
    }

    /// Who chooses among candidates, if there are several.
    pub(super) fn load_judge(&self, person: Option<&FaceFeatures>) -> Result<Option<Judge<'_>>, EngineError> {
        let judge = self.judge.as_ref().map(|recogniser| Judge::load(recogniser, self.device)).transpose()?;
        if let (Some(judge), Some(person)) = (&judge, person) {
            judge.check(person)?;
        }
        Ok(judge)
    }

    pub(super) fn load_decoder(&self) -> Result<VaeDecoder, EngineError> {
        let weights = self.backbone.weights(Part::Vae)?;
        let (decoder, _) = weights.load(VaeDecoder::NAMES, self.request.precision, self.device, |params| {
            VaeDecoder::new(&self.backbone.vae, params)
        })?;
        Ok(decoder)
    }

    /// Latents to frames `[frames, 3, height, width]` in 0..=1, within a stage: all that the decoder gives, which may be more
    /// than asked.
    pub(super) fn decode_with(
        &self,
        decoder: &VaeDecoder,
        latents: Tensor<5>,
        control: &mut Control<'_>,
    ) -> Result<Tensor<4>, EngineError> {
        let latents = latents.narrow(1, self.padding_frames, self.latent_frames);
        let latents = self.backbone.vae.unscale(vae_layout_from_denoiser(latents));
        let mut decoded = Vec::new();
        let mut progress = |done, total| control.advance(Stage::Decode, done as f64 / total as f64);
        decoder.decode_each(latents, self.tiling, &mut progress, &mut |frames| {
            decoded.push((frames / 2.0 + 0.5).clamp(0.0, 1.0));
            ControlFlow::Continue(())
        })?;
        Ok(denoiser_layout_from_vae(Tensor::cat(decoded, 2)).squeeze_dim(0))
    }

    /// The video, the tensors asked for, and the report.
    fn write(
        mut self,
        chosen: &Chosen,
        denoised: &Denoised,
        shown: &ShownTensors,
        start: Instant,
        control: &mut Control<'_>,
    ) -> Result<Generated, EngineError> {
        let Chosen { frames, judged, .. } = chosen;
        let (settings, request) = (Settings { seed: denoised.seed, ..self.settings.clone() }, self.request);
        if let Some(path) = &request.tensors {
            shown.save(path, frames, denoised)?;
        }
        let written = write_frames(frames, &settings, &request.output, control);
        if let (Err(_), Some(tensors)) = (&written, &request.tensors) {
            // All or nothing; the error that is returned tells more than a failure to clean up.
            let _ = std::fs::remove_file(tensors);
        }
        written?;
        let hashes = self.join_hashes()?;
        let seconds = start.elapsed().as_secs_f64();
        let mut report = Report::new(&self.backbone, settings, request, hashes, seconds, control.seconds())?;
        report.set_candidates(judged.clone());
        let path = report.write_beside(&request.output)?;
        Ok(Generated { output: request.output.clone(), report: path })
    }

    /// Waits for the hashes of the weights; once they are had there are none any more.
    pub(super) fn join_hashes(&mut self) -> Result<WeightHashes, EngineError> {
        self.hashes
            .take()
            .map_or_else(|| Ok(WeightHashes::new()), |hashes| hashes.join().expect("hashing does not panic"))
    }
}

/// As many of the frames as were asked for.
pub(super) fn write_frames(
    frames: &Tensor<4>,
    settings: &Settings,
    output: &Path,
    control: &mut Control<'_>,
) -> Result<(), EngineError> {
    control.stage(Stage::Write, 0.0, |_| {
        let images = rgb_from_frames(frames.clone().narrow(0, 0, settings.frames));
        let provenance = Provenance {
            generator: concat!("MagicMirror ", env!("CARGO_PKG_VERSION")).to_owned(),
            description: "Synthetic video, generated by a neural network.".to_owned(),
            settings_sha256: settings.sha256(),
        };
        Ok(write_video(output, &images, settings.fps, &provenance)?)
    })
}

/// An identity's part in the blocks, with somebody looking on.
struct Observed<'a> {
    identity: IdentityConditioner<'a>,
    observer: Observer<'a>,
}

impl LayerConditioner for Observed<'_> {
    fn extra_tokens(&self) -> Option<Tensor<3>> {
        self.identity.extra_tokens()
    }

    fn modulate(&self, layer: usize, time_embedding: &Tensor<2>, frozen: BlockFactors) -> BlockFactors {
        self.identity.modulate(layer, time_embedding, frozen)
    }

    fn attend(&self, layer: usize, query: &Tensor<4>, extra: &Tensor<3>) -> Option<Tensor<4>> {
        self.identity.attend(layer, query, extra)
    }

    fn observe(&self, layer: usize, query: &Tensor<4>, key: &Tensor<4>, lengths: [usize; 3]) {
        (self.observer)(layer, query, key, lengths);
    }
}

/// Compares all weights with their configurations; returns the files of each part.
fn check_weights(
    backbone: &Backbone,
    identity: Option<&IdentitySource>,
) -> Result<Vec<(&'static str, Vec<PathBuf>)>, EngineError> {
    let mut files = Vec::new();
    for part in Part::ALL {
        let weights = backbone.weights(part)?;
        match part {
            Part::TextEncoder => weights.check(T5Encoder::NAMES, |params| T5Encoder::new(&backbone.text, params))?,
            Part::Transformer => weights.check(Dit::NAMES, |params| Dit::new(&backbone.dit, params))?,
            Part::Vae => weights.check(VaeDecoder::NAMES, |params| VaeDecoder::new(&backbone.vae, params))?,
        }
        files.push((part.folder(), weights.files().to_vec()));
    }
    if let Some(IdentitySource { adapter, .. }) = identity {
        Adapter::check(adapter)?;
        files.push(("adapter", Adapter::open(adapter)?.files().to_vec()));
    }
    Ok(files)
}

impl IdentitySource {
    fn new(request: &Request, backbone: &Backbone, device: &Device) -> Result<Option<Self>, EngineError> {
        let has_photos = !request.references.is_empty();
        let adapter = match (&request.adapter, has_photos, &request.identity) {
            (None, false, None) => return Ok(None),
            (None, _, _) => {
                return Err(EngineError::options(
                    "an identity needs an adapter",
                    "say which with --adapter DIR, or leave --reference and --identity out",
                ));
            }
            (Some(_), false, None) => {
                return Err(EngineError::options(
                    "an adapter needs somebody to show",
                    "add a photo with --reference IMG, or features with --identity FILE",
                ));
            }
            (Some(_), true, Some(_)) => {
                return Err(EngineError::options(
                    "--reference and --identity say the same thing twice",
                    "leave one of them out",
                ));
            }
            (Some(adapter), _, _) => adapter.clone(),
        };
        let config = AdapterConfig::load(&adapter)?;
        config.check_backbone(&BackboneSizes {
            num_layers: backbone.dit.num_layers,
            num_attention_heads: backbone.dit.num_attention_heads,
            attention_head_dim: backbone.dit.attention_head_dim,
            time_embed_dim: backbone.dit.time_embed_dim,
            text_embed_dim: backbone.dit.text_embed_dim,
        })?;
        let features = match &request.identity {
            Some(path) => FeatureSource::Known(Box::new(FaceFeatures::load(path, device)?)),
            None => FeatureSource::Photos(Encoders::of_adapter(&adapter, &config, &request.faces)?),
        };
        Ok(Some(Self { adapter, config, features }))
    }

    /// What the memory plan needs to know.
    fn person(&self, request: &Request) -> Result<Person<'_>, EngineError> {
        let (references, image_tokens, face_networks) = match &self.features {
            FeatureSource::Known(features) => (features.references(), features.vision_last.dims()[1], Vec::new()),
            FeatureSource::Photos(encoders) => {
                (request.references.len(), encoders.vision_config()?.tokens(), encoders.files())
            }
        };
        Ok(Person { adapter: &self.adapter, config: &self.config, references, image_tokens, face_networks })
    }
}

impl ShownTensors {
    fn of_prompts(prompts: &Prompts) -> Self {
        let length = prompts.token_ids.len() / 2;
        let mut shown = Self(Vec::new());
        shown.0.push(("token_ids".into(), TensorData::new(prompts.token_ids.clone(), [2, length])));
        shown.add("prompt_embeds", Some(prompts.prompt.clone()));
        shown.add("negative_prompt_embeds", Some(prompts.negative.clone()));
        if let Some(mask) = &prompts.class_token_mask {
            let mask: Vec<u8> = mask.iter().map(|&marked| u8::from(marked)).collect();
            shown.0.push(("class_token_mask".into(), TensorData::new(mask, [length])));
        }
        shown
    }

    fn add<const D: usize>(&mut self, name: &str, tensor: Option<Tensor<D>>) {
        self.0.extend(tensor.map(|tensor| (name.to_owned(), tensor.into_data())));
    }

    fn save(&self, path: &Path, frames: &Tensor<4>, denoised: &Denoised) -> Result<(), EngineError> {
        let mut tensors = self.0.clone();
        tensors.push(("latents".into(), denoised.latents.to_data()));
        tensors.push(("frames".into(), frames.to_data()));
        tensors.push(("velocity_first_step".into(), denoised.velocity_first_step.to_data()));
        Ok(save_safetensors(path, &tensors)?)
    }
}

fn warn_if_cut(what: &str, encoding: &Encoding, text: &str, length: usize, control: &mut Control<'_>) {
    if encoding.truncated() > 0 {
        control.warn(format!(
            "the {what} is too long: its last {} tokens are cut (at most {length} fit): \"{}\"",
            encoding.truncated(),
            encoding.cut_text(text)
        ));
    }
}
