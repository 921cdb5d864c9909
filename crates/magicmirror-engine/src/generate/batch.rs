//! Many videos in one run: `generate --manifest`.
//!
//! The parts of the model are loaded once each, in the order of [`super::pipeline`], and every part does its work for all
//! videos before the next is loaded. What a part hands on is kept in files beside the output, so that memory does not
//! grow with the number of videos, and a run that was interrupted goes on where it stopped.

use std::fmt::Write;
use std::path::{Component, Path, PathBuf};

use burn::tensor::{Device, Tensor, TensorData};
use magicmirror_media::{check_video, check_writable};
use magicmirror_models::adapter::FaceFeatures;
use magicmirror_models::text::T5Encoder;
use magicmirror_models::weights::{Checkpoint, Precision, save_safetensors, write_aside};

use super::candidates::{self, Chosen};
use super::pipeline::{FeatureSource, Prompts, Run, Tokens, write_frames};
use super::report::Report;
use super::{Request, Settings};
use crate::EngineError;
use crate::evaluate::{Entry, Manifest};
use crate::event::{Control, Event, Stage};
use crate::files::{sha256, sha256_of_files};
use crate::identity::FaceReader;
use crate::models::shipped;

/// What a run of many videos left behind.
#[derive(Debug, Clone)]
pub struct GeneratedSet {
    /// The videos as a manifest for `evaluate`.
    pub manifest: PathBuf,
    /// Videos made now.
    pub made: usize,
    /// Videos that were there already.
    pub kept: usize,
}

/// Generates the video of every line of a manifest into a folder, under the name that the line gives it. The request
/// says all that the lines do not: model, size, steps.
///
/// # Errors
/// When the request cannot be carried out. Videos that are finished stay.
pub fn generate_manifest(
    request: &Request,
    manifest: &Manifest,
    folder: &Path,
    device: &Device,
    control: &mut Control<'_>,
) -> Result<GeneratedSet, EngineError> {
    let model = fingerprint(request)?;
    let mut batch = Batch::new(request.seed, &model, manifest, folder)?;
    std::fs::create_dir_all(folder).map_err(EngineError::io(folder))?;
    let (total, common) = (batch.videos.len(), batch.common(request));
    batch.videos.retain(|video| !video.is_done());
    let made = batch.videos.len();
    control.emit(Event::Note(format!("{made} videos to make, {} are there", total - made)));
    if !batch.videos.is_empty() {
        let (request, _shipped) = shipped::fill_in(&common, control)?;
        batch.run(&request, device, control).map_err(EngineError::kept_in(folder))?;
    }
    let manifest = write_manifest(manifest, request.seed, folder)?;
    Ok(GeneratedSet { manifest, made, kept: total - made })
}

struct Batch {
    videos: Vec<Video>,
    /// For what one part hands on to the next.
    work: PathBuf,
}

/// One line of the manifest.
#[derive(Debug, Clone)]
struct Video {
    /// Where the line stands.
    place: String,
    prompt: String,
    seed: u64,
    references: Vec<PathBuf>,
    output: PathBuf,
    /// Hash of all that the video depends on.
    key: String,
    /// Hash of all that the identity's features depend on.
    person: String,
}

impl Video {
    fn is_done(&self) -> bool {
        Report::inputs_of(&self.output).is_some_and(|inputs| inputs == self.key)
    }

    /// How many photos the identity has; none for the plain backbone.
    fn references(&self) -> Option<usize> {
        (!self.references.is_empty()).then_some(self.references.len())
    }

    /// Videos made for this one; the plain backbone's has nobody to be like.
    fn candidates(&self, run: &Run<'_>) -> usize {
        self.references().map_or(1, |_| run.candidates)
    }

    fn settings(&self, run: &Run<'_>) -> Settings {
        Settings { prompt: self.prompt.clone(), seed: self.seed, ..run.settings.clone() }
    }
}

impl Batch {
    /// Checks all lines before anything is loaded.
    fn new(seed: u64, model: &str, manifest: &Manifest, folder: &Path) -> Result<Self, EngineError> {
        let mut videos = Vec::new();
        for (index, entry) in manifest.entries.iter().enumerate() {
            let invalid = |reason: String| manifest.invalid(index, reason);
            let Some(prompt) = entry.prompt.clone().filter(|prompt| !prompt.trim().is_empty()) else {
                return Err(invalid("there is no prompt".into()));
            };
            if !entry.video.components().all(|part| matches!(part, Component::Normal(_))) {
                return Err(invalid(format!("not a name within the output folder: {}", entry.video.display())));
            }
            let references: Vec<PathBuf> = entry.references.iter().map(|photo| manifest.resolve(photo)).collect();
            if let Some(missing) = references.iter().find(|photo| !photo.is_file()) {
                return Err(invalid(format!("there is no reference photo at {}", missing.display())));
            }
            let seed = entry.seed.unwrap_or(seed);
            let person = sha256(format!("{model}{}", sha256_of_files(&references)?).as_bytes());
            let key = sha256(serde_json::to_string(&(&person, &prompt, seed)).expect("plain data").as_bytes());
            let output = folder.join(&entry.video);
            videos.push(Video { place: manifest.place(index), prompt, seed, references, output, key, person });
        }
        Ok(Self { videos, work: folder.join("work") })
    }

    /// The request of the line with the most photos: what holds for it holds for all.
    fn common(&self, request: &Request) -> Request {
        let largest = self.videos.iter().max_by_key(|video| video.references.len());
        let Some(Video { references, prompt, output, .. }) = largest.cloned() else { return request.clone() };
        Request { references, prompt, output, ..request.clone() }
    }

    /// Every part of the model in turn, each for all videos.
    fn run(&self, request: &Request, device: &Device, control: &mut Control<'_>) -> Result<(), EngineError> {
        self.make_folders()?;
        let run = Run::prepare(request, device, control)?;
        for video in &self.videos {
            let settings = video.settings(&run);
            let size = (settings.width as u32, settings.height as u32);
            check_writable(&video.output)?;
            check_video(&video.output, size, settings.frames)?;
            Report::ensure_writable_beside(&video.output)?;
        }
        let tokens = self.tokenise(&run, control)?;
        self.extract_identities(&run, control)?;
        self.encode_prompts(&run, &tokens, control)?;
        self.denoise(&run, &tokens, control)?;
        self.decode(run, control)?;
        // Empty now; should anything be left in it, it does no harm.
        let _ = std::fs::remove_dir_all(&self.work);
        Ok(())
    }

    fn make_folders(&self) -> Result<(), EngineError> {
        let parents = self.videos.iter().filter_map(|video| video.output.parent());
        for folder in parents.chain([self.work.as_path()]) {
            std::fs::create_dir_all(folder).map_err(EngineError::io(folder))?;
        }
        Ok(())
    }

    /// All prompts as tokens, so that one that does not fit is told before anything is loaded.
    fn tokenise(&self, run: &Run<'_>, control: &mut Control<'_>) -> Result<Vec<Tokens>, EngineError> {
        let tokenizer = run.backbone.tokenizer()?;
        let tokens = |video: &Video| {
            let tokens = run.tokenise(&tokenizer, &video.prompt, video.references(), control);
            tokens.map_err(|error| EngineError::Line { place: video.place.clone(), error: Box::new(error) })
        };
        self.videos.iter().map(tokens).collect()
    }

    fn extract_identities(&self, run: &Run<'_>, control: &mut Control<'_>) -> Result<(), EngineError> {
        let Some(source) = &run.identity else { return Ok(()) };
        let FeatureSource::Photos(encoders) = &source.features else { return Ok(()) };
        control.stage(Stage::EncodeIdentity, self.videos.len() as f64, |control| {
            let mut reader = None;
            for (done, video) in self.videos.iter().enumerate() {
                let file = self.file("identity", &video.person);
                if !video.references.is_empty() && !file.exists() {
                    if reader.is_none() {
                        reader = Some(FaceReader::load(encoders, &run.request.faces, run.device)?);
                    }
                    let reader = reader.as_ref().expect("it was loaded");
                    let features = reader.read(&video.references, control)?;
                    features.check(&source.config)?;
                    features.save(&file)?;
                }
                control.emit(Event::Advanced { stage: Stage::EncodeIdentity, done: done as f64 + 1.0 });
                control.check()?;
            }
            Ok(())
        })
    }

    fn encode_prompts(&self, run: &Run<'_>, tokens: &[Tokens], control: &mut Control<'_>) -> Result<(), EngineError> {
        control.stage(Stage::EncodePrompt, self.videos.len() as f64, |control| {
            let mut encoder: Option<T5Encoder> = None;
            for (done, (video, tokens)) in self.videos.iter().zip(tokens).enumerate() {
                let file = self.file("prompt", &video.key);
                if !file.exists() && !self.file("latents", &video.key).exists() {
                    if encoder.is_none() {
                        encoder = Some(run.load_text_encoder()?);
                    }
                    let encoder = encoder.as_ref().expect("it was loaded");
                    let embeds = [("prompt", &tokens.prompt), ("negative", &tokens.negative)];
                    let embeds = embeds.map(|(name, ids)| (name.to_owned(), run.embed(encoder, ids).into_data()));
                    save_safetensors(&file, &embeds)?;
                }
                control.emit(Event::Advanced { stage: Stage::EncodePrompt, done: done as f64 + 1.0 });
                control.check()?;
            }
            Ok(())
        })
    }

    fn denoise(&self, run: &Run<'_>, tokens: &[Tokens], control: &mut Control<'_>) -> Result<(), EngineError> {
        let mut transformer = None;
        for (index, (video, tokens)) in self.videos.iter().zip(tokens).enumerate() {
            let file = self.file("latents", &video.key);
            if file.exists() {
                continue;
            }
            if transformer.is_none() {
                transformer = Some(run.load_transformer(control)?);
            }
            let transformer = transformer.as_ref().expect("it was loaded");
            control.emit(Event::Note(format!("video {} of {}: {}", index + 1, self.videos.len(), video.prompt)));
            let prompt = self.file("prompt", &video.key);
            let prompts = Prompts {
                token_ids: [&tokens.prompt[..], &tokens.negative].concat(),
                prompt: read(&prompt, "prompt", run.device)?,
                negative: read(&prompt, "negative", run.device)?,
                class_token_mask: tokens.class_token_mask.clone(),
            };
            let identity = video.references().map(|_| self.read_identity(video, run.device));
            let (noises, before) = (run.prepare_noises(video.seed, video.candidates(run))?, control.seconds().len());
            let (candidates, _) = run.denoise(transformer, prompts, identity.transpose()?, noises, None, control)?;
            let seconds: f64 = control.seconds()[before..].iter().map(|(_, seconds)| seconds).sum();
            let latents = candidates.into_iter().map(|one| (one.seed.to_string(), one.latents.into_data()));
            let mut tensors: Vec<_> = latents.collect();
            tensors.push(("seconds".to_owned(), TensorData::from([seconds as f32])));
            save_safetensors(&file, &tensors)?;
            remove(&prompt)?;
        }
        Ok(())
    }

    fn decode(&self, mut run: Run<'_>, control: &mut Control<'_>) -> Result<(), EngineError> {
        let (hashes, mut decoder) = (run.join_hashes()?, None);
        let judge = run.load_judge(None)?;
        for video in &self.videos {
            let (file, before) = (self.file("latents", &video.key), control.seconds().len());
            let seeds: Vec<u64> = candidates::seeds(video.seed, video.candidates(&run)).collect();
            let read_latents = |&seed: &u64| Ok((seed, read(&file, &seed.to_string(), run.device)?));
            let candidates = seeds.iter().map(read_latents).collect::<Result<Vec<_>, EngineError>>()?;
            let judge = judge.as_ref().filter(|_| candidates.len() > 1);
            let person = judge.map(|_| self.read_identity(video, run.device)).transpose()?;
            let Chosen { index, frames, judged } =
                run.choose(candidates, &mut decoder, judge.zip(person.as_ref()), control)?;
            let settings = Settings { seed: seeds[index], ..video.settings(&run) };
            write_frames(&frames, &settings, &video.output, control)?;
            let denoised = Checkpoint::open_file(&file)?.read("seconds", Precision::Stored)?;
            let mut seconds = vec![(Stage::Denoise, denoised.iter::<f64>().next().unwrap_or_default())];
            seconds.extend_from_slice(&control.seconds()[before..]);
            let total = seconds.iter().map(|(_, seconds)| seconds).sum();
            let request = Request { references: video.references.clone(), ..run.request.clone() };
            let mut report = Report::new(&run.backbone, settings, &request, hashes.clone(), total, &seconds)?;
            report.set_inputs(&video.key);
            report.set_candidates(judged);
            report.write_beside(&video.output)?;
            remove(&file)?;
        }
        Ok(())
    }

    fn read_identity(&self, video: &Video, device: &Device) -> Result<FaceFeatures, EngineError> {
        Ok(FaceFeatures::load(&self.file("identity", &video.person), device)?)
    }

    fn file(&self, what: &str, key: &str) -> PathBuf {
        self.work.join(format!("{what}-{key}.safetensors"))
    }
}

/// The videos that are there now, with photos that are found from here. Their seeds are those asked for; of a video that was
/// chosen among candidates the report has its own.
fn write_manifest(manifest: &Manifest, seed: u64, folder: &Path) -> Result<PathBuf, EngineError> {
    let mut lines = String::new();
    for entry in &manifest.entries {
        let absolute = |photo: &PathBuf| {
            let photo = manifest.resolve(photo);
            std::path::absolute(&photo).map_err(EngineError::io(&photo))
        };
        let references = entry.references.iter().map(absolute).collect::<Result<_, _>>()?;
        let entry = Entry { references, seed: Some(entry.seed.unwrap_or(seed)), ..entry.clone() };
        lines += &entry.to_line();
    }
    let path = folder.join("manifest.jsonl");
    write_aside(&path, lines.as_bytes())?;
    Ok(path)
}

/// Hash of what all videos depend on: the request, and the model's files, told apart by path, size and time.
fn fingerprint(request: &Request) -> Result<String, EngineError> {
    // Lines have a seed of their own, and the output may be moved.
    let named = Request { seed: 0, output: PathBuf::new(), ..request.clone() };
    // The model that comes with the program is as old as the program.
    let mut text = format!("{named:?} {}", env!("CARGO_PKG_VERSION"));
    for folder in [&request.backbone, &request.adapter, &request.faces.vision].into_iter().flatten() {
        add_files(folder, &mut text)?;
    }
    Ok(sha256(text.as_bytes()))
}

fn add_files(path: &Path, text: &mut String) -> Result<(), EngineError> {
    let about = std::fs::metadata(path).map_err(EngineError::io(path))?;
    if !about.is_dir() {
        let _ = writeln!(text, "{} {} {:?}", path.display(), about.len(), about.modified().ok());
        return Ok(());
    }
    let mut inside: Vec<PathBuf> = Vec::new();
    for entry in std::fs::read_dir(path).map_err(EngineError::io(path))? {
        inside.push(entry.map_err(EngineError::io(path))?.path());
    }
    inside.sort();
    inside.iter().try_for_each(|path| add_files(path, text))
}

fn read<const D: usize>(file: &Path, name: &str, device: &Device) -> Result<Tensor<D>, EngineError> {
    Ok(Tensor::from_data(Checkpoint::open_file(file)?.read(name, Precision::Stored)?, device))
}

fn remove(file: &Path) -> Result<(), EngineError> {
    std::fs::remove_file(file).map_err(EngineError::io(file))
}
