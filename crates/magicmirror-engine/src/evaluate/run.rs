use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc;

use burn::tensor::Device;
use image::RgbImage;
use magicmirror_media::{ReadOptions, VideoReader};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::action::FaceAction;
use super::backdrop::Backdrop;
use super::cache::Cache;
use super::faces::{FaceNetworks, Person, SeenFaces, SeenPhoto, recogniser_files, sha256_of_video};
use super::manifest::{Entry, Manifest};
use super::metric::{Absent, Clip, Column, FeatureSet, Measured, Metric, NETWORK_METRICS, Opened, WeightsFolder};
use super::relative::Relative;
use super::results::{ModelResult, ResultSettings, Results, VideoResult};
use super::statistics::Estimate;
use super::thumbnail::Thumbnail;
use super::{identity, report};
use crate::EngineError;
use crate::event::{Control, Stage};
use crate::identity::RECOGNISER_FILES;
use crate::memory::{self, Bytes};

/// Pictures of each video in the report.
const THUMBNAILS: usize = 6;

/// What is to be judged, and how.
#[derive(Debug, Clone)]
pub struct Request {
    /// JSON lines, or folders (see [`Manifest`]); at least one.
    pub manifests: Vec<PathBuf>,
    /// Folder for the results.
    pub output: PathBuf,
    /// Faces are looked for in every so-manyth frame.
    pub frame_stride: usize,
    /// Videos judged at once.
    pub jobs: usize,
    /// Smallest face looked for, in pixels.
    pub min_face: usize,
    /// Folder with weights of further metrics.
    pub weights: Option<PathBuf>,
    /// Files of further recognisers, beside those in the weights folder.
    pub recognisers: Vec<PathBuf>,
    /// Models with which all others are compared.
    pub relative_to: Vec<String>,
    /// Whether to write contact sheets.
    pub sheets: bool,
}

/// Judges all videos, and writes `results.json`, `table.md`, `table.csv` and `report.html` into a folder. What was measured
/// of a video is kept in its sub-folder `cache`, under a name made from the video's content and all that matters of the
/// settings: a run that was interrupted, or that knows more videos, measures only what is new.
///
/// # Errors
/// When the manifest is wrong, a photo shows no face, or a video cannot be read: then nothing is written but the cache.
pub fn evaluate(request: &Request, device: &Device, control: &mut Control<'_>) -> Result<Results, EngineError> {
    let manifest = Manifest::read_all(&request.manifests)?;
    let run = Run::prepare(request, manifest, device, control)?;
    let kept = || EngineError::kept_in(&request.output);
    let people = run.read_people(control).map_err(kept())?;
    let (videos, keys) = run.judge_all(&people, control).map_err(kept())?;
    let results = run.sum_up(videos, &keys)?;
    control.stage(Stage::Write, 0.0, |_| {
        let thumbnails = |video: usize| Ok(run.seen(&keys[video])?.thumbnails);
        report::write(&request.output, &results, &people, &thumbnails)?;
        if request.sheets { report::write_sheets(&request.output, &results, &people, &thumbnails) } else { Ok(()) }
    })?;
    Ok(results)
}

/// Everything that is settled before the first video is read.
struct Run<'a> {
    request: &'a Request,
    manifest: Manifest,
    /// Photos of each identity, by name.
    photos: BTreeMap<String, Vec<PathBuf>>,
    networks: FaceNetworks,
    metrics: Vec<Box<dyn Metric>>,
    not_computed: Vec<Absent>,
    cache: Cache,
}

/// All identities, in the order of their names.
pub(super) struct People {
    pub(super) names: Vec<String>,
    pub(super) people: Vec<Person>,
}

/// What is kept of a video besides the numbers of its network metrics.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct SeenVideo {
    fps: f64,
    frame_count: usize,
    faces: SeenFaces,
    thumbnails: Vec<Thumbnail>,
}

/// Names in the cache: of what was seen of a video, then of each metric's numbers.
struct Keys {
    seen: String,
    metrics: Vec<String>,
}

impl<'a> Run<'a> {
    fn prepare(
        request: &'a Request,
        manifest: Manifest,
        device: &Device,
        control: &mut Control<'_>,
    ) -> Result<Self, EngineError> {
        for (option, value) in [("--frame-stride", request.frame_stride), ("--jobs", request.jobs)] {
            if value == 0 {
                return Err(EngineError::OutOfRange {
                    option,
                    value: value.to_string(),
                    rule: "be 1 or more".into(),
                    hint: "1 is the default".into(),
                });
            }
        }
        for name in &request.relative_to {
            if !manifest.entries.iter().any(|entry| entry.model == *name) {
                return Err(EngineError::options(
                    format!("--relative-to {name}: no video is of that model"),
                    "give the name of a model as the manifest has it",
                ));
            }
        }
        let photos = find_files(&manifest)?;
        let output = &request.output;
        std::fs::create_dir_all(output).map_err(EngineError::io(output))?;
        report::ensure_writable_in(output)?;
        let cache = Cache::new(output.join("cache"))?;

        if let Some(folder) = request.weights.as_ref().filter(|folder| !folder.is_dir()) {
            return Err(EngineError::options(
                format!("--weights is no folder: {}", folder.display()),
                "leave it out, or give the folder that holds the weights of metrics",
            ));
        }
        let weights = WeightsFolder(request.weights.clone());
        let mut files = recogniser_files(&weights);
        files.extend(request.recognisers.iter().cloned());
        let networks = FaceNetworks::load(&files, request.min_face, device)?;
        let mut not_computed: Vec<Absent> = RECOGNISER_FILES
            .iter()
            .filter(|(name, _)| !networks.recognisers().any(|known| known == *name))
            .map(|(name, files)| Absent {
                columns: identity::columns_of(name).into_iter().map(|column| column.name).collect(),
                file: files.join(" or ").into(),
                origin: identity::origin_of(name).into(),
            })
            .collect();
        let mut metrics: Vec<Box<dyn Metric>> = vec![Box::new(Backdrop::new()), Box::new(FaceAction::new())];
        for open in NETWORK_METRICS {
            match open(&weights, device)? {
                Opened::Ready(metric) => metrics.push(metric),
                Opened::Absent(absent) => not_computed.push(absent),
            }
        }
        if photos.is_empty() {
            control.warn("no video has reference photos: similarities cannot be computed");
        } else if photos.len() == 1 {
            control.warn("all videos mean the same person: there are no strangers to compare with");
        }
        Ok(Self { request, manifest, photos, networks, metrics, not_computed, cache })
    }

    /// Finds the face on every reference photo.
    fn read_people(&self, control: &mut Control<'_>) -> Result<People, EngineError> {
        let total = self.photos.values().map(Vec::len).sum::<usize>();
        control.stage(Stage::EncodeIdentity, total as f64, |control| {
            let mut people = People { names: Vec::new(), people: Vec::new() };
            let mut done = 0;
            for (name, photos) in &self.photos {
                let mut person = Person::default();
                for path in photos {
                    control.check()?;
                    let content = crate::files::sha256_of_files(std::slice::from_ref(path))?;
                    let key = Cache::key(&["photo", &content, self.networks.fingerprint()]);
                    let photo: SeenPhoto = self.cache.read_or(&key, || self.networks.look_at_photo(path))?;
                    person.add(path, photo);
                    done += 1;
                    let _ = control.advance(Stage::EncodeIdentity, f64::from(done));
                }
                people.names.push(name.clone());
                people.people.push(person);
            }
            Ok(people)
        })
    }

    /// Judges all videos, several at once; the numbers of each, and its names in the cache.
    fn judge_all(
        &self,
        people: &People,
        control: &mut Control<'_>,
    ) -> Result<(Vec<VideoResult>, Vec<Keys>), EngineError> {
        let count = self.manifest.entries.len();
        control.stage(Stage::Evaluate, count as f64, |control| {
            let next = AtomicUsize::new(0);
            let cancelled = AtomicBool::new(false);
            let (sender, receiver) = mpsc::channel();
            let mut judged: Vec<Option<(VideoResult, Keys)>> = (0..count).map(|_| None).collect();
            let mut problems: Vec<(usize, EngineError)> = Vec::new();
            std::thread::scope(|scope| {
                for _ in 0..self.request.jobs.min(count) {
                    let (sender, next, cancelled) = (sender.clone(), &next, &cancelled);
                    scope.spawn(move || {
                        while !cancelled.load(Ordering::Relaxed) {
                            let index = next.fetch_add(1, Ordering::Relaxed);
                            let Some(entry) = self.manifest.entries.get(index) else { break };
                            if sender.send((index, self.judge(entry, people, cancelled))).is_err() {
                                break;
                            }
                        }
                    });
                }
                drop(sender);
                let mut done = 0;
                for (index, result) in receiver {
                    match result {
                        Ok(result) => judged[index] = Some(result),
                        Err(error) => problems.push((index, error)),
                    }
                    done += 1;
                    if control.advance(Stage::Evaluate, f64::from(done)).is_break() {
                        cancelled.store(true, Ordering::Relaxed);
                    }
                }
            });
            control.check()?;
            if problems.is_empty() { Ok(judged.into_iter().flatten().unzip()) } else { Err(self.unreadable(problems)) }
        })
    }

    /// All numbers of one video, measured or read from the cache.
    fn judge(
        &self,
        entry: &Entry,
        people: &People,
        cancelled: &AtomicBool,
    ) -> Result<(VideoResult, Keys), EngineError> {
        let path = self.manifest.resolve(&entry.video);
        let own = people.names.iter().position(|name| *name == entry.identity);
        let keys = self.keys(entry, &path)?;
        let mut seen: Option<SeenVideo> = self.cache.read(&keys.seen);
        let mut measured: Vec<Option<Measured>> = keys.metrics.iter().map(|key| self.cache.read(key)).collect();
        if seen.is_none() || measured.iter().any(Option::is_none) {
            let (frames, fps) = read_frames(&path, self.request.jobs)?;
            if seen.is_none() {
                let video = self.look_at(&frames, fps)?;
                self.cache.write(&keys.seen, &video)?;
                seen = Some(video);
            }
            let faces = seen.as_ref().map_or(&[][..], |seen| &seen.faces.faces);
            let references = own.map_or(&[][..], |own| &people.people[own].faces);
            let clip = Clip { frames: &frames, fps, prompt: entry.prompt.as_deref(), faces, references };
            for ((metric, key), measured) in self.metrics.iter().zip(&keys.metrics).zip(&mut measured) {
                if measured.is_none() {
                    let found = metric.measure(&clip, cancelled)?;
                    self.cache.write(key, &found)?;
                    *measured = Some(found);
                }
            }
        }
        let seen = seen.expect("it was read or measured");
        let mut found = identity::measure(&seen.faces, &people.people, own);
        for (metric, measured) in self.metrics.iter().zip(measured.into_iter().flatten()) {
            for (column, number) in metric.columns().iter().zip(measured.numbers) {
                found.metrics.insert(column.name.clone().into_owned(), Value::from(number));
            }
        }
        let mut video = VideoResult::of_entry(entry, seen.frame_count, seen.fps);
        video.set(&self.video_columns(), seen.faces.faces, found, own);
        Ok((video, keys))
    }

    fn look_at(&self, frames: &[RgbImage], fps: f64) -> Result<SeenVideo, EngineError> {
        let shown = THUMBNAILS.min(frames.len());
        let at = |index: usize| if shown == 1 { 0 } else { index * (frames.len() - 1) / (shown - 1) };
        let thumbnails = (0..shown).map(|index| Thumbnail::new(&frames[at(index)])).collect::<Result<_, _>>()?;
        let faces = self.networks.look_at(frames, self.request.frame_stride);
        Ok(SeenVideo { fps, frame_count: frames.len(), faces, thumbnails })
    }

    fn keys(&self, entry: &Entry, path: &Path) -> Result<Keys, EngineError> {
        let content = sha256_of_video(path)?;
        let stride = self.request.frame_stride.to_string();
        let seen = Cache::key(&["video", &content, &stride, self.networks.fingerprint()]);
        let prompt = entry.prompt.as_deref().unwrap_or_default();
        let photos = self.photos.get(&entry.identity).map_or(&[][..], Vec::as_slice);
        let photos = crate::files::sha256_of_files(photos)?;
        let parts = self.metrics.iter().map(|metric| ["metric", &seen, prompt, &photos, metric.fingerprint()]);
        let metrics = parts.map(|parts| Cache::key(&parts)).collect();
        Ok(Keys { seen, metrics })
    }

    fn seen(&self, keys: &Keys) -> Result<SeenVideo, EngineError> {
        self.cache.read_again(&keys.seen)
    }

    /// Columns of videos, in the order of the tables.
    fn video_columns(&self) -> Vec<Column> {
        let mut columns = identity::columns(&self.networks.recognisers().collect::<Vec<_>>());
        columns.extend(self.metrics.iter().flat_map(|metric| metric.columns().to_vec()));
        columns
    }

    /// Means, intervals, and what is measured of all videos of a model together.
    fn sum_up(&self, videos: Vec<VideoResult>, keys: &[Keys]) -> Result<Results, EngineError> {
        let recognisers: Vec<&'static str> = self.networks.recognisers().collect();
        let video_columns = self.video_columns();
        let mut columns = video_columns.clone();
        columns.extend(identity::set_columns(&recognisers));
        columns.extend(self.metrics.iter().flat_map(|metric| metric.set_columns().to_vec()));
        let mut names: Vec<&str> = Vec::new();
        for video in &videos {
            if !names.contains(&video.model.as_str()) {
                names.push(&video.model);
            }
        }
        let mut models = Vec::new();
        for name in names {
            let of_model: Vec<usize> = (0..videos.len()).filter(|&index| videos[index].model == name).collect();
            let chosen: Vec<&VideoResult> = of_model.iter().map(|&index| &videos[index]).collect();
            let mut model = ModelResult::new(name, &chosen, &video_columns, &recognisers);
            for (number, metric) in self.metrics.iter().enumerate() {
                let keys = of_model.iter().map(|&index| keys[index].metrics[number].as_str()).collect();
                let values = metric.measure_set(&ModelFeatures { cache: &self.cache, keys })?;
                for (column, value) in metric.set_columns().iter().zip(values) {
                    let videos = of_model.len();
                    let estimate = value.map(|mean| Estimate { mean, low: None, high: None, videos });
                    model.metrics.insert(column.name.clone().into_owned(), estimate);
                }
            }
            models.push(model);
        }
        let relative = self.request.relative_to.iter().map(|to| Relative::new(to, &videos, &columns)).collect();
        Ok(Results {
            generator: concat!("MagicMirror ", env!("CARGO_PKG_VERSION")),
            settings: ResultSettings {
                frame_stride: self.request.frame_stride,
                min_face: self.request.min_face,
                detector: "MTCNN",
                recognisers,
                identities: self.photos.len(),
            },
            columns,
            not_computed: self.not_computed.clone(),
            videos,
            models,
            relative,
        })
    }

    fn unreadable(&self, mut problems: Vec<(usize, EngineError)>) -> EngineError {
        problems.sort_by_key(|(index, _)| *index);
        let describe = |(index, error): &(usize, EngineError)| {
            let message = error.to_string();
            let (what, hint) = message.split_once("\n\nhint: ").unwrap_or((&message, ""));
            let mut text = format!("{}: {what}", self.manifest.place(*index));
            let mut cause = std::error::Error::source(error);
            while let Some(error) = cause {
                let _ = write!(text, ": {error}");
                cause = error.source();
            }
            if !hint.is_empty() {
                let _ = write!(text, "; {hint}");
            }
            text
        };
        EngineError::Videos {
            total: self.manifest.entries.len(),
            problems: problems.iter().map(describe).collect(),
            cache: self.request.output.join("cache"),
        }
    }
}

/// What a metric left of each video of one model.
struct ModelFeatures<'a> {
    cache: &'a Cache,
    keys: Vec<&'a str>,
}

impl FeatureSet for ModelFeatures<'_> {
    fn len(&self) -> usize {
        self.keys.len()
    }

    fn features(&self, video: usize) -> Result<Vec<f32>, EngineError> {
        Ok(self.cache.read_again::<Measured>(self.keys[video])?.features)
    }
}

/// Makes sure that all files of a manifest are there; returns the photos of each identity.
fn find_files(manifest: &Manifest) -> Result<BTreeMap<String, Vec<PathBuf>>, EngineError> {
    let mut photos: BTreeMap<String, Vec<PathBuf>> = BTreeMap::new();
    for (index, entry) in manifest.entries.iter().enumerate() {
        let found = |what: &str, path: &Path| {
            let path = manifest.resolve(path);
            if path.exists() {
                return Ok(path);
            }
            Err(manifest.invalid(index, format!("there is no {what} at {}", path.display())))
        };
        found("video", &entry.video)?;
        for reference in &entry.references {
            let photo = found("reference photo", reference)?;
            let known = photos.entry(entry.identity.clone()).or_default();
            let same = |other: &PathBuf| same_file(other, &photo);
            if !known.iter().any(same) {
                known.push(photo);
            }
        }
    }
    Ok(photos)
}

/// Whether two paths lead to one file.
fn same_file(one: &Path, other: &Path) -> bool {
    one == other || one.canonicalize().is_ok_and(|one| other.canonicalize().is_ok_and(|other| one == other))
}

/// All frames of a video, as long as they fit into a job's part of half the memory there is.
fn read_frames(path: &Path, jobs: usize) -> Result<(Vec<RgbImage>, f64), EngineError> {
    let reader = VideoReader::open(path, &ReadOptions::default())?;
    let fps = reader.fps();
    let most = memory::available() / 2 / jobs as u64;
    let mut frames: Vec<RgbImage> = Vec::new();
    let mut bytes = 0;
    for frame in reader {
        let frame = frame?;
        bytes += frame.len() as u64;
        if bytes > most {
            return Err(EngineError::options(
                format!(
                    "more than {} frames of {}×{} pixels do not fit into memory ({} for a video): {}",
                    frames.len(),
                    frame.width(),
                    frame.height(),
                    Bytes(most),
                    path.display()
                ),
                "cut the video into clips, or use fewer --jobs",
            ));
        }
        frames.push(frame);
    }
    if frames.is_empty() {
        return Err(magicmirror_media::MediaError::EmptyVideo { path: path.to_owned() }.into());
    }
    Ok((frames, fps))
}
