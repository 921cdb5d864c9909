//! The ablation of the paper's table 3 on a small model: every row trained from a fresh adapter with the same budget, and
//! scored on the same held-out people.
//!
//! A row is an ordinary run of `train image` and `train video` in a folder of its own. What is finished is not done again,
//! and what was stopped goes on, so the whole can be spread over many sessions.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use burn::tensor::Device;
use magicmirror_models::adapter::{AdapterConfig, Modules};
use magicmirror_models::weights::write_aside;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::EngineError;
use crate::evaluate::{self, Estimate, Manifest, PeopleRequest, PeopleSet, Results, evaluate, write_people};
use crate::event::{Control, Event};
use crate::files::read_text;
use crate::generate::{self, generate_manifest};
use crate::models::init_adapter;
use crate::train::{
    Finished, ImageData, OptimiserConfig, StageConfig, StageData, TrainError, VideoData, load_config, train_stage,
};

/// What `evaluate people` calls the true clips that passed through the autoencoder.
const CEILING: &str = "truth-vae";

/// The row of what the prompt alone says of a person: the backbone without an adapter.
const PLAIN: &str = "backbone";

/// Configuration of `train ablation`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ablation {
    /// Pipeline folder of the frozen backbone.
    pub backbone: PathBuf,
    /// Sizes of the adapter: an `adapter_config.json`, whose switches each row sets.
    pub adapter: PathBuf,
    /// The vision encoder's folder.
    pub vision: PathBuf,
    /// Data set whose test split is scored on.
    pub data: PathBuf,
    /// Configuration of stage 1, of which steps, seed, backbone and adapter are replaced.
    pub image: PathBuf,
    /// The same of stage 2.
    pub video: PathBuf,
    /// How long rows are trained.
    pub budget: Budget,
    /// How they are scored.
    pub scoring: Scoring,
}

/// Steps of a row. They should cost the same time with stage 1 and without.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Budget {
    /// Stage 1.
    pub image_steps: u64,
    /// Stage 2 after it.
    pub video_steps: u64,
    /// Stage 2 of rows without stage 1.
    pub video_steps_alone: u64,
}

/// How rows are scored.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scoring {
    /// Held-out people.
    pub identities: usize,
    /// Clips of each person.
    pub clips: usize,
    /// Sampling steps.
    pub steps: usize,
    /// Guidance scale.
    pub guidance: f64,
    /// Weight files of recognisers beside dlib's, none of which may condition the adapter.
    #[serde(default)]
    pub recognisers: Vec<PathBuf>,
}

/// A row of table 3.
struct Row {
    name: &'static str,
    /// Identity branch, structure branch, the face stream's modulation, conditioned adaptive normalization.
    modules: [bool; 4],
    image_stage: bool,
    seeds: u64,
}

/// Table 3 as SPEC reads its check marks; the rows that its argument rests on are trained three times.
const ROWS: [Row; 8] = [
    row("A", [true, false, false, false], false, 3),
    row("B", [false, true, false, false], false, 3),
    row("C", [true, true, false, false], false, 1),
    row("D", [false, true, true, false], false, 1),
    row("E", [true, false, false, true], false, 1),
    row("F", [true, true, false, false], true, 3),
    row("G", [true, true, true, true], false, 1),
    row("full", [true, true, true, true], true, 3),
];

const fn row(name: &'static str, modules: [bool; 4], image_stage: bool, seeds: u64) -> Row {
    Row { name, modules, image_stage, seeds }
}

/// Trains and scores all rows, and writes `ablation.md`; returns its path. Batches are shared among the devices; pictures
/// are made and judged on the first.
///
/// # Errors
/// When a configuration, data or weights do not fit, a file cannot be read or written, or a run is stopped.
pub fn ablate(
    config: &Ablation,
    folder: &Path,
    devices: &[Device],
    control: &mut Control<'_>,
) -> Result<PathBuf, EngineError> {
    let device = devices.first().ok_or_else(|| EngineError::options("no device", "name one with --device"))?;
    // Its last part, hours later, needs them.
    let missing = config.scoring.recognisers.iter().find(|path| !path.is_file());
    if let Some(path) = missing {
        return Err(EngineError::options(
            format!("there is no recogniser at: {}", path.display()),
            "put its weights there, or name others, or none, with --set scoring.recognisers=[]",
        ));
    }
    let people = draw_people(config, folder, device, control)?;
    let mut manifests = vec![people.truth.clone()];
    let mut generate = |row: &str, name: &str, adapter: Option<PathBuf>, control: &mut Control<'_>| {
        let manifest = own_manifest(&people, row, name)?;
        let request = config.scoring.request(&config.backbone, adapter);
        let videos = folder.join("videos").join(name);
        manifests.push(generate_manifest(&request, &manifest, &videos, device, control)?.manifest);
        Ok::<_, EngineError>(())
    };
    generate(PLAIN, PLAIN, None, control)?;
    for row in &ROWS {
        for seed in 0..row.seeds {
            let name = format!("{}-{seed}", row.name);
            let adapter = train_row(config, row, seed, &folder.join(&name), devices, control)?;
            generate(row.name, &name, Some(adapter), control)?;
        }
    }
    let results = evaluate(&config.scoring.judges(manifests, folder.join("scores"), devices.len()), device, control)?;
    let table = folder.join("ablation.md");
    write_aside(&table, describe(config, folder, &results).as_bytes())?;
    Ok(table)
}

/// The held-out people, drawn once.
fn draw_people(
    config: &Ablation,
    folder: &Path,
    device: &Device,
    control: &mut Control<'_>,
) -> Result<PeopleSet, EngineError> {
    let Scoring { identities, clips, .. } = config.scoring;
    let output = folder.join("people");
    let set = PeopleSet {
        manifest: output.join("manifest.jsonl"),
        truth: output.join("truth.jsonl"),
        clips: identities * clips,
    };
    // The manifest is written last.
    if set.manifest.exists() {
        return Ok(set);
    }
    let request = PeopleRequest {
        data: config.data.clone(),
        backbone: config.backbone.clone(),
        output,
        identities,
        clips,
        references: 1,
        seed: 0,
        model: "row".into(),
    };
    write_people(&request, device, control)
}

/// Trains one row with one seed; returns the adapter's folder.
fn train_row(
    config: &Ablation,
    row: &Row,
    seed: u64,
    folder: &Path,
    devices: &[Device],
    control: &mut Control<'_>,
) -> Result<PathBuf, EngineError> {
    let fresh = fresh_adapter(config, row, seed, folder)?;
    let Budget { image_steps, video_steps, video_steps_alone } = config.budget;
    let image = Leg {
        file: &config.image,
        adapter: fresh.clone(),
        steps: image_steps,
        seed,
        rates: None,
        folder: folder.join("image"),
    };
    let (adapter, steps, rates) = if row.image_stage {
        (image.train::<ImageData>(&config.backbone, devices, control)?, video_steps, None)
    } else {
        // What starts from nothing here does so with stage 1's learning rates.
        (fresh, video_steps_alone, Some(load_config::<StageConfig<ImageData>>(&config.image, &[])?.optimiser))
    };
    let video = Leg { file: &config.video, adapter, steps, seed, rates, folder: folder.join("video") };
    video.train::<VideoData>(&config.backbone, devices, control)
}

/// A fresh adapter with the row's switches, and the vision encoder in it.
fn fresh_adapter(config: &Ablation, row: &Row, seed: u64, folder: &Path) -> Result<PathBuf, EngineError> {
    let fresh = folder.join("fresh");
    let vision = fresh.join("vision");
    if vision.join("config.json").exists() {
        return Ok(fresh);
    }
    if fresh.exists() {
        // It was begun and not finished.
        fs::remove_dir_all(&fresh).map_err(EngineError::io(&fresh))?;
    }
    let mut sizes = AdapterConfig::from_json(&read_text(&config.adapter)?)?;
    let [identity_branch, structure_branch, face_modulation, can] = row.modules;
    sizes.modules = Modules { identity_branch, structure_branch, face_modulation, can };
    fs::create_dir_all(folder).map_err(EngineError::io(folder))?;
    let switched = folder.join("adapter_config.json");
    write_aside(&switched, sizes.to_json().as_bytes())?;
    init_adapter(&config.backbone, Some(&switched), &fresh, seed)?;
    fs::create_dir_all(&vision).map_err(EngineError::io(&vision))?;
    for name in ["model.safetensors", "config.json"] {
        let from = config.vision.join(name);
        fs::copy(&from, vision.join(name)).map_err(EngineError::io(from))?;
    }
    Ok(fresh)
}

/// One stage of one row.
struct Leg<'a> {
    /// The stage's configuration.
    file: &'a Path,
    /// Where it starts.
    adapter: PathBuf,
    steps: u64,
    seed: u64,
    /// Whose learning rates replace the configuration's.
    rates: Option<OptimiserConfig>,
    /// Folder of the run.
    folder: PathBuf,
}

impl Leg<'_> {
    /// Begins the run, goes on with it, or finds it finished; returns the adapter's folder.
    fn train<D>(&self, backbone: &Path, devices: &[Device], control: &mut Control<'_>) -> Result<PathBuf, EngineError>
    where
        D: StageData,
        StageConfig<D>: DeserializeOwned,
    {
        let Self { file, adapter, steps, seed, rates, folder } = self;
        let model = folder.join("model");
        if folder.join(format!("checkpoints/step-{steps:08}")).exists() && model.join("model.safetensors").exists() {
            return Ok(model);
        }
        control.emit(Event::Note(format!("training {}", folder.display())));
        let mut set = vec![
            format!("model.backbone={}", backbone.display()),
            format!("model.adapter={}", adapter.display()),
            format!("run.steps={steps}"),
            format!("run.seed={seed}"),
            // The losses of held-out people once, after the last stage; what rows make is looked at when all are trained.
            format!("run.validate_every={}", if D::KIND == VideoData::KIND { *steps } else { 0 }),
            "validation.prompts=[]".to_owned(),
        ];
        if let Some(OptimiserConfig { learning_rate, muon_learning_rate, .. }) = rates {
            set.push(format!("optimiser.learning_rate={learning_rate}"));
            set.extend(muon_learning_rate.map(|rate| format!("optimiser.muon_learning_rate={rate}")));
        }
        let stage: StageConfig<D> = load_config(file, &set)?;
        let examples = stage.data.examples()?;
        let resume = folder.join("run.json").exists();
        let Finished { step, complete, checkpoint, model } =
            train_stage(&stage, &examples, folder, resume, devices, control)?;
        if complete { Ok(model) } else { Err(TrainError::Stopped { step, checkpoint }.into()) }
    }
}

/// The people's prompts, with their photos but for the plain backbone, as a manifest of one row's videos.
fn own_manifest(people: &PeopleSet, row: &str, name: &str) -> Result<Manifest, EngineError> {
    let all = Manifest::read(&people.manifest)?;
    let mut lines = String::new();
    for mut entry in all.entries.into_iter().filter(|entry| (entry.model == PLAIN) == (row == PLAIN)) {
        row.clone_into(&mut entry.model);
        entry.video = entry.video.file_name().unwrap_or_default().into();
        lines += &entry.to_line();
    }
    // Beside the other, because photos are named from there.
    let path = people.manifest.with_file_name(format!("{name}.jsonl"));
    write_aside(&path, lines.as_bytes())?;
    Manifest::read(&path)
}

impl Scoring {
    fn request(&self, backbone: &Path, adapter: Option<PathBuf>) -> generate::Request {
        generate::Request {
            backbone: Some(backbone.to_owned()),
            adapter,
            steps: Some(self.steps),
            guidance: Some(self.guidance),
            ..generate::Request::default()
        }
    }

    fn judges(&self, manifests: Vec<PathBuf>, output: PathBuf, jobs: usize) -> evaluate::Request {
        evaluate::Request {
            manifests,
            output,
            frame_stride: 1,
            jobs,
            min_face: 20,
            weights: None,
            recognisers: self.recognisers.clone(),
            relative_to: vec![CEILING.to_owned()],
            sheets: true,
        }
    }
}

/// `ablation.md`: budget, then a line for each row with its mean over the videos of all seeds, and each seed's own.
fn describe(config: &Ablation, folder: &Path, results: &Results) -> String {
    let Budget { image_steps, video_steps, video_steps_alone } = config.budget;
    let mut text = format!(
        "Budget: {image_steps} steps of stage 1 and {video_steps} of stage 2, or {video_steps_alone} of stage 2 alone. \
         {} people, {} clips each, {} sampling steps, guidance {}.\n\n",
        config.scoring.identities, config.scoring.clips, config.scoring.steps, config.scoring.guidance
    );
    let gaps: Vec<String> = results.settings.recognisers.iter().map(|name| format!("{name}_gap")).collect();
    let mut columns: Vec<&str> = gaps.iter().map(String::as_str).collect();
    columns.extend(["fm_inter", "face_found", "backdrop_colour", "action"]);
    let judge = gaps.last().map_or("dlib_gap", String::as_str);
    let _ = writeln!(
        text,
        "| row | stage 1 | identity, structure, m_face, m̂ | minutes | loss of pictures | loss of clips | {} | {judge} by seed |",
        columns.join(" | ")
    );
    let _ = writeln!(text, "|{}", " --- |".repeat(columns.len() + 7));
    for model in &results.models {
        let row = ROWS.iter().find(|row| row.name == model.model);
        let (stage, switches) = row.map_or(("", String::new()), |row| {
            let mark = |on: &bool| if *on { "✓" } else { "–" };
            (mark(&row.image_stage), row.modules.iter().map(mark).collect::<Vec<_>>().join(" "))
        });
        let values: Vec<String> = columns.iter().map(|name| cell(results, &model.model, name)).collect();
        let minutes = row.map_or(String::new(), |row| minutes(row, folder));
        let [pictures, clips] =
            ["images", "clips"].map(|kind| row.map_or(String::new(), |row| held_out_losses(row, kind, folder)));
        let each = row.map_or(String::new(), |row| by_seed(row, results, judge));
        let _ = writeln!(
            text,
            "| {} | {stage} | {switches} | {minutes} | {pictures} | {clips} | {} | {each} |",
            model.model,
            values.join(" | ")
        );
    }
    text + "\nMeans with 95 % bootstrap intervals over the people, each with the mean of all seeds; the last column has each \
            seed's mean. Losses are those of held-out people's faces by their own photos, then by somebody else's: the \
            first says how much of a face is known, their difference how much of that comes from the photo; means of the \
            seeds, and the lowest and highest of them. Minutes are those of the training steps of one seed. Judge an adapter \
            that is conditioned on dlib's recogniser by another's gap.\n"
}

/// The last losses of held-out pictures or clips, by people's own photos and by others'.
fn held_out_losses(row: &Row, kind: &str, folder: &Path) -> String {
    let of_seeds = |name: String| -> Vec<f64> {
        let of_seed = |seed: u64| {
            let metrics = metrics(&folder.join(format!("{}-{seed}/video", row.name)));
            metrics.iter().rev().find_map(|line| line[&name].as_f64())
        };
        (0..row.seeds).filter_map(of_seed).collect()
    };
    let text = |losses: Vec<f64>| {
        if losses.len() < row.seeds as usize {
            return "–".to_owned();
        }
        let mean = losses.iter().sum::<f64>() / losses.len() as f64;
        let (low, high) = losses.iter().fold((mean, mean), |(low, high), &loss| (low.min(loss), high.max(loss)));
        match losses.len() {
            1 => format!("{mean:.4}"),
            _ => format!("{mean:.4} ({low:.4} to {high:.4})"),
        }
    };
    let names = [format!("validation/{kind}"), format!("validation/{kind}_swapped")];
    names.map(|name| text(of_seeds(name))).join(", ")
}

/// What a run has measured.
fn metrics(run: &Path) -> Vec<serde_json::Value> {
    let lines = fs::read_to_string(run.join("metrics.jsonl")).unwrap_or_default();
    lines.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

/// A metric's mean over people. Videos of one person, of several seeds too, are not independent of each other.
fn cell(results: &Results, model: &str, name: &str) -> String {
    let mut people: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    for video in results.videos.iter().filter(|video| video.model == model) {
        people.entry(&video.identity).or_default().extend(video.metric(name));
    }
    let means: Vec<f64> = people
        .values()
        .filter(|values| !values.is_empty())
        .map(|values| values.iter().sum::<f64>() / values.len() as f64)
        .collect();
    match Estimate::of_mean(&means) {
        Some(Estimate { mean, low: Some(low), high: Some(high), .. }) => format!("{mean:.3} ({low:.3} to {high:.3})"),
        Some(Estimate { mean, .. }) => format!("{mean:.3}"),
        None => "–".into(),
    }
}

/// How long a seed's training steps took, in the mean.
fn minutes(row: &Row, folder: &Path) -> String {
    let seconds_of = |seed: u64, stage: &str| -> f64 {
        let run = folder.join(format!("{}-{seed}/{stage}", row.name));
        metrics(&run).iter().filter_map(|line| line["seconds"].as_f64()).sum()
    };
    let all = (0..row.seeds).map(|seed| seconds_of(seed, "image") + seconds_of(seed, "video"));
    format!("{:.1}", all.sum::<f64>() / row.seeds as f64 / 60.0)
}

fn by_seed(row: &Row, results: &Results, name: &str) -> String {
    let mean = |seed: u64| {
        let folder = format!("{}-{seed}", row.name);
        let of_seed = results.videos.iter().filter(|video| {
            video.model == row.name
                && Path::new(&video.video).components().any(|part| part.as_os_str() == folder.as_str())
        });
        let values: Vec<f64> = of_seed.filter_map(|video| video.metric(name)).collect();
        Estimate::of_mean(&values).map_or("–".into(), |estimate| format!("{:.3}", estimate.mean))
    };
    (0..row.seeds).map(mean).collect::<Vec<_>>().join(", ")
}
