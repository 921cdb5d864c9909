//! The run loop, with a small regression as the objective.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor, TensorData};
use magicmirror_engine::models::init_adapter;
use magicmirror_engine::train::{
    BackboneTraining, EncoderTraining, Finished, GuardConfig, ImageData, LearningRate, Losses, MicroBatch, Objective,
    OptimiserConfig, Parameter, ParameterSet, RunConfig, RunRequest, StageConfig, TrainError, VaeTraining, VideoData,
    load_config, random, train,
};
use magicmirror_engine::{Ablation, Control, EngineError};
use magicmirror_models::weights::{Init, Params, initialise};
use magicmirror_testkit::repository;
use serde::{Deserialize, Serialize};

#[derive(Module, Debug)]
struct Line {
    weight: Param<Tensor<2>>,
    bias: Param<Tensor<1>>,
}

/// Fits a line through noisy points that are drawn anew in every step.
struct Fit {
    replicas: Vec<Line>,
    set: ParameterSet,
    initial: Vec<Parameter>,
    seed: u64,
    /// From this step (from 0) on the loss is `broken` times as large.
    broken_from: u64,
    broken: f32,
    /// What it learns from.
    examples: &'static str,
    validated: AtomicU64,
}

impl Fit {
    fn new(replicas: usize, seed: u64) -> Self {
        let device = Device::flex().autodiff();
        let (line, names) = initialise(5, &device, |params: &mut Params<'_, '_>| Line {
            weight: params.tensor("weight", [2, 3], Init::Normal(0.5)),
            bias: params.tensor("bias", [2], Init::Zeros),
        });
        let (set, initial) = ParameterSet::new(&line, &names);
        let validated = AtomicU64::new(0);
        Self {
            replicas: vec![line; replicas],
            set,
            initial,
            seed,
            broken_from: u64::MAX,
            broken: f32::NAN,
            examples: "a",
            validated,
        }
    }
}

impl Objective for Fit {
    fn parameters(&mut self) -> Vec<Parameter> {
        self.initial.clone()
    }

    fn examples(&self) -> String {
        self.examples.into()
    }

    fn set_parameters(&mut self, parameters: &[Parameter]) {
        let lines = std::mem::take(&mut self.replicas);
        self.replicas = lines.into_iter().map(|line| self.set.load(line, parameters)).collect();
    }

    fn replicas(&self) -> usize {
        self.replicas.len()
    }

    fn micro_batch(
        &self,
        replica: usize,
        step: u64,
        positions: &[usize],
        _run: &RunConfig,
    ) -> Result<MicroBatch, EngineError> {
        let line = &self.replicas[replica];
        let device = line.weight.device();
        let points: Vec<f32> = positions
            .iter()
            .flat_map(|position| random::normal(3, self.seed, step, *position, random::Draw::Noise))
            .collect();
        let x = Tensor::<2>::from_data(TensorData::new(points, [positions.len(), 3]), &device);
        let target = x.clone().sum_dim(1) * 0.5 + 0.25;
        let y = x.matmul(line.weight.val().transpose()) + line.bias.val().unsqueeze();
        let mut loss = (y - target).powf_scalar(2.0).mean();
        if step >= self.broken_from {
            loss = loss * self.broken;
        }
        let mut gradients = self.set.gradients();
        self.set.add(line, &loss.backward(), &mut gradients);
        let mut losses = Losses::default();
        losses.add(Losses::TOTAL, f64::from(loss.into_scalar::<f32>()), positions.len());
        Ok(MicroBatch { gradients, losses })
    }

    fn validate(
        &mut self,
        step: u64,
        _model: &Path,
        _folder: &Path,
        _control: &mut Control<'_>,
    ) -> Result<Vec<(String, f64)>, EngineError> {
        self.validated.store(step, Ordering::Relaxed);
        Ok(vec![("score".into(), 1.0)])
    }

    fn export(&self, folder: &Path, parameters: &[Parameter]) -> Result<(), EngineError> {
        fs::create_dir_all(folder).unwrap();
        fs::write(folder.join("model"), format!("{:?}", parameters[1].exported())).unwrap();
        Ok(())
    }
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    run: RunConfig,
    optimiser: OptimiserConfig,
    #[serde(default)]
    guard: GuardConfig,
}

fn config(steps: u64) -> Config {
    let run = RunConfig {
        seed: 3,
        steps,
        batch: 8,
        micro_batch: 4,
        checkpoint_every: 5,
        keep: 2,
        validate_every: 0,
        log_every: 5,
    };
    let optimiser = OptimiserConfig {
        learning_rate: 0.05,
        warmup_steps: 3,
        schedule: LearningRate::Cosine,
        final_fraction: 0.0,
        beta1: 0.9,
        beta2: 0.95,
        epsilon: 1e-8,
        weight_decay: 0.01,
        clip_norm: 1.0,
        average_decay: 0.9,
        muon_learning_rate: None,
    };
    Config { run, optimiser, guard: GuardConfig::default() }
}

/// Trains; stops after step `stop` where that is given.
fn run(
    fit: &mut Fit,
    config: &Config,
    folder: &Path,
    resume: bool,
    stop: Option<u64>,
) -> Result<Finished, EngineError> {
    let request = RunRequest {
        kind: "fit",
        folder,
        resume,
        config,
        run: &config.run,
        optimiser: &config.optimiser,
        guard: &config.guard,
        weights: BTreeMap::new(),
    };
    let cancelled = AtomicBool::new(false);
    let mut listener = |event| {
        if let magicmirror_engine::Event::Training(training) = event
            && Some(training.step) == stop
        {
            cancelled.store(true, Ordering::Relaxed);
        }
    };
    train(fit, &request, &mut Control::new(&mut listener, &cancelled))
}

/// Lines of `metrics.jsonl` without the time they took.
fn metrics(folder: &Path) -> Vec<serde_json::Value> {
    let text = fs::read_to_string(folder.join("metrics.jsonl")).unwrap();
    let mut lines: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    for line in &mut lines {
        line.as_object_mut().unwrap().remove("seconds");
    }
    lines
}

fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
    entries.map(|entry| (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap())).collect()
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn a_resumed_run_equals_one_that_never_stopped() {
    let (whole, parts) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let config = config(23);
    let finished = run(&mut Fit::new(1, 3), &config, whole.path(), false, None).unwrap();
    assert!(finished.complete && finished.step == 23);
    let stopped = run(&mut Fit::new(1, 3), &config, parts.path(), false, Some(7)).unwrap();
    assert!(!stopped.complete && stopped.step == 7);
    run(&mut Fit::new(1, 3), &config, parts.path(), true, Some(8)).unwrap();
    // A process that is killed leaves metrics of steps that no checkpoint has.
    let lines = fs::read_to_string(parts.path().join("metrics.jsonl")).unwrap();
    fs::write(parts.path().join("metrics.jsonl"), format!("{lines}{{\"step\": 9, \"loss\": 0}}\n{{\"st")).unwrap();
    run(&mut Fit::new(1, 3), &config, parts.path(), true, None).unwrap();

    let last = |folder: &Path| files(&folder.join("checkpoints/step-00000023"));
    let (whole_files, parts_files) = (last(whole.path()), last(parts.path()));
    let expected = ["average.safetensors", "optimiser.safetensors", "state.json", "weights.safetensors"];
    assert_eq!(whole_files.keys().collect::<Vec<_>>(), expected);
    for (name, bytes) in whole_files {
        assert!(bytes == parts_files[&name], "{name} differs");
    }
    assert_eq!(metrics(whole.path()), metrics(parts.path()));
    assert_eq!(metrics(whole.path()).len(), 23);
    assert_eq!(names(&whole.path().join("checkpoints")), ["step-00000020", "step-00000023"], "two are kept");
    assert_eq!(
        fs::read(whole.path().join("model/model")).unwrap(),
        fs::read(parts.path().join("model/model")).unwrap()
    );
}

#[test]
fn the_loss_falls() {
    let folder = tempfile::tempdir().unwrap();
    run(&mut Fit::new(1, 3), &config(200), folder.path(), false, None).unwrap();
    let lines = metrics(folder.path());
    let loss = |line: usize| lines[line]["loss"].as_f64().unwrap();
    assert!(loss(199) < loss(0) / 100.0, "{} to {}", loss(0), loss(199));
}

#[test]
fn two_replicas_equal_one_device_with_the_same_global_batch() {
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    run(&mut Fit::new(1, 3), &config(30), one.path(), false, None).unwrap();
    run(&mut Fit::new(2, 3), &config(30), two.path(), false, None).unwrap();
    for (a, b) in metrics(one.path()).iter().zip(metrics(two.path())) {
        let (a, b) = (a["loss"].as_f64().unwrap(), b["loss"].as_f64().unwrap());
        assert!((a - b).abs() <= 1e-5 * a.abs(), "{a} and {b}");
    }
}

#[test]
fn validation_comes_when_it_is_due() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = config(10);
    config.run.validate_every = 4;
    let mut fit = Fit::new(1, 3);
    run(&mut fit, &config, folder.path(), false, Some(9)).unwrap();
    assert_eq!(fit.validated.load(Ordering::Relaxed), 8);
    let with_score = metrics(folder.path()).into_iter().filter(|line| line.get("validation/score").is_some());
    assert_eq!(with_score.map(|line| line["step"].as_u64().unwrap()).collect::<Vec<_>>(), [4, 8]);
}

#[track_caller]
fn train_error(result: Result<Finished, EngineError>) -> TrainError {
    match result {
        Err(EngineError::Train(error)) => error,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_loss_that_is_no_number_stops_the_run_and_names_the_last_good_checkpoint() {
    let folder = tempfile::tempdir().unwrap();
    let mut fit = Fit { broken_from: 7, ..Fit::new(1, 3) };
    let error = train_error(run(&mut fit, &config(20), folder.path(), false, None));
    let TrainError::NotFinite { step: 8, checkpoint: Some(checkpoint), .. } = &error else { panic!("{error}") };
    assert!(checkpoint.ends_with("checkpoints/step-00000005"), "{error}");
    assert_eq!(names(&folder.path().join("checkpoints")), ["step-00000005"]);
    let last = metrics(folder.path()).pop().unwrap();
    assert_eq!((last["step"].as_u64(), &last["loss"]), (Some(8), &serde_json::Value::Null), "the bad step can be seen");
}

#[test]
fn a_loss_that_stays_up_stops_the_run_which_goes_on_where_that_is_called_normal() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = config(20);
    config.run.keep = 1;
    config.run.validate_every = 1;
    config.guard = GuardConfig { spike_factor: 20.0, spike_patience: 6, window: 5 };
    let broken = || Fit { broken_from: 9, broken: 1e4, ..Fit::new(1, 3) };
    let mut fit = broken();
    let error = train_error(run(&mut fit, &config, folder.path(), false, None));
    let TrainError::LossSpike { step: 15, steps: 6, checkpoint: Some(checkpoint), .. } = &error else {
        panic!("{error}")
    };
    // Steps 10 and 15 are spikes, whose checkpoints would have taken its place.
    assert!(checkpoint.ends_with("checkpoints/step-00000005"), "{error}");
    assert_eq!(names(&folder.path().join("checkpoints")), ["step-00000005"]);
    assert_eq!(fit.validated.load(Ordering::Relaxed), 9, "nor is their model looked at");

    // Who stops it during a spike keeps both.
    run(&mut broken(), &config, folder.path(), true, Some(12)).unwrap();
    assert_eq!(names(&folder.path().join("checkpoints")), ["step-00000005", "step-00000012"]);
    config.guard.spike_factor = 0.0;
    assert!(run(&mut broken(), &config, folder.path(), true, None).unwrap().complete);
}

#[test]
fn weights_that_are_no_numbers_are_not_kept() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = config(20);
    // Loss and gradient of the first step are still numbers; its update is none.
    config.optimiser.learning_rate = 1e39;
    config.optimiser.warmup_steps = 0;
    let error = train_error(run(&mut Fit::new(1, 3), &config, folder.path(), false, Some(1)));
    assert!(matches!(error, TrainError::NotFinite { what: "a weight", step: 1, .. }), "{error}");
    assert!(!folder.path().join("checkpoints").exists() && !folder.path().join("model").exists());
}

#[test]
fn a_folder_with_a_run_is_not_overwritten_and_an_empty_one_not_resumed() {
    let folder = tempfile::tempdir().unwrap();
    let error = train_error(run(&mut Fit::new(1, 3), &config(5), folder.path(), true, None));
    assert!(matches!(error, TrainError::NoRun { .. }), "{error}");
    run(&mut Fit::new(1, 3), &config(5), folder.path(), false, None).unwrap();
    let error = train_error(run(&mut Fit::new(1, 3), &config(5), folder.path(), false, None));
    assert!(matches!(error, TrainError::RunExists { .. }), "{error}");
}

#[test]
fn two_trainers_do_not_share_a_folder() {
    let folder = tempfile::tempdir().unwrap();
    let other = fs::File::create(folder.path().join("lock")).unwrap();
    other.lock().unwrap();
    let error = train_error(run(&mut Fit::new(1, 3), &config(5), folder.path(), false, None));
    assert!(matches!(error, TrainError::Locked { .. }), "{error}");
}

#[test]
fn a_changed_configuration_is_refused_with_its_keys() {
    let folder = tempfile::tempdir().unwrap();
    run(&mut Fit::new(1, 3), &config(20), folder.path(), false, Some(5)).unwrap();
    let mut changed = config(30);
    changed.optimiser.learning_rate = 0.1;
    changed.run.keep = 7;
    let error = train_error(run(&mut Fit::new(1, 3), &changed, folder.path(), true, None));
    let TrainError::ChangedConfig { changes } = &error else { panic!("{error}") };
    let keys: Vec<&str> = changes.iter().map(|change| change.key.as_str()).collect();
    assert_eq!(keys, ["optimiser.learning_rate", "run.steps"], "keep does not change what is trained");
    assert!(error.to_string().contains("optimiser.learning_rate: was 0.05, is now 0.1"), "{error}");
}

#[test]
fn other_examples_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    run(&mut Fit::new(1, 3), &config(20), folder.path(), false, Some(5)).unwrap();
    let mut fit = Fit { examples: "b", ..Fit::new(1, 3) };
    let error = train_error(run(&mut fit, &config(20), folder.path(), true, None));
    assert!(error.to_string().contains(r#"examples: was "a", is now "b""#), "{error}");
    run(&mut Fit::new(1, 3), &config(20), folder.path(), true, None).unwrap();
}

#[test]
fn settings_on_the_command_line_go_over_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config.toml");
    fs::write(
        &path,
        "[run]\nsteps = 10\nbatch = 4\ncheckpoint_every = 5\n[optimiser]\nlearning_rate = 1e-3\nschedule = \"cosine\"\n",
    )
    .unwrap();
    let load = |set: &[&str]| load_config::<Config>(&path, &set.iter().map(|&s| s.to_owned()).collect::<Vec<_>>());
    let config = load(&["run.steps=20", "optimiser.schedule=constant", "guard.window=7"]).unwrap();
    assert_eq!((config.run.steps, config.run.batch, config.guard.window), (20, 4, 7));
    assert_eq!(config.optimiser.schedule, LearningRate::Constant);
    for (set, expected) in
        [("run.stepz=1", "unknown field `stepz`"), ("run.steps", "there is no ="), ("run.steps=many", "invalid type")]
    {
        let error = load(&[set]).unwrap_err().to_string();
        assert!(error.contains(expected), "{set}: {error}");
    }
}

#[test]
fn the_recipes_of_the_repository_are_valid() {
    let configs = repository().join("configs");
    let file = |name: &str| configs.join(format!("{name}.toml"));
    load_config::<VaeTraining>(&file("nano-vae"), &[]).unwrap();
    load_config::<EncoderTraining>(&file("nano-encoder"), &[]).unwrap();
    load_config::<Ablation>(&file("nano-ablation"), &[]).unwrap();
    for part in ["pictures", "clips", "actions"] {
        load_config::<BackboneTraining>(&file(&format!("nano-backbone-{part}")), &[]).unwrap();
    }
    load_config::<StageConfig<ImageData>>(&file("nano-stage1-identity"), &[]).unwrap().validate().unwrap();
    for size in ["nano", "nano-ablation", "paper"] {
        load_config::<StageConfig<ImageData>>(&file(&format!("{size}-stage1")), &[]).unwrap().validate().unwrap();
        load_config::<StageConfig<VideoData>>(&file(&format!("{size}-stage2")), &[]).unwrap().validate().unwrap();
    }
    let folder = tempfile::tempdir().unwrap();
    let (backbone, adapter) = (configs.join("nano"), folder.path().join("adapter"));
    init_adapter(&backbone, Some(&backbone.join("adapter_config.json")), &adapter, 0).unwrap();
}
