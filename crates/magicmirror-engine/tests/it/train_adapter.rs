//! Both stages of training, on a tiny backbone and a few drawn pictures.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use burn::tensor::Device;
use image::RgbImage;
use magicmirror_engine::identity::DetectedFace;
use magicmirror_engine::train::{
    Example, Examples, Finished, FrameSize, GuardConfig, ImageConfig, ImageData, LearningRate, LossConfig, ModelConfig,
    OptimiserConfig, ReferencePhoto, RunConfig, SourceConfig, TargetFace, TrainError, ValidationConfig, VideoConfig,
    VideoData, WeightedExamples, mix, train_stage,
};
use magicmirror_engine::{Control, EngineError, Event};
use magicmirror_testkit::repository;
use tempfile::TempDir;

/// Drawn pictures: a disc with two eyes that moves a little from frame to frame. Some may be broken.
struct Drawn {
    count: usize,
    frames: usize,
    broken: Vec<usize>,
}

impl Examples for Drawn {
    fn len(&self) -> usize {
        self.count
    }

    fn key(&self, index: usize) -> String {
        format!("drawn-{index}")
    }

    fn get(&self, index: usize) -> Result<Example, EngineError> {
        if self.broken.contains(&index) {
            return Err(EngineError::Options { problem: "it was torn".into(), hint: String::new() });
        }
        // Upright and lying pictures: two buckets.
        let (width, height) = if index.is_multiple_of(2) { (48, 32) } else { (32, 48) };
        let frames = (0..self.frames).map(|frame| face(width, height, 1.5 * frame as f32, index));
        let (frames, faces): (Vec<_>, Vec<_>) = frames.unzip();
        let (photo, known) = face(64, 64, 0.0, index);
        let known = DetectedFace { bounds: [20.0, 20.0, 44.0, 44.0], score: 1.0, landmarks: known.landmarks };
        Ok(Example {
            frames,
            faces: Some(faces.into_iter().map(Some).collect()),
            caption: format!("a man img walking in the {}", ["park", "street", "room"][index % 3]),
            references: vec![ReferencePhoto { image: photo, face: Some(known) }],
            identity: None,
        })
    }
}

fn face(width: u32, height: u32, shift: f32, index: usize) -> (RgbImage, TargetFace) {
    let (x0, y0) = (width as f32 / 2.0 + shift, height as f32 / 2.0);
    let radius = 11.0;
    let distance = |x: u32, y: u32| ((x as f32 - x0).powi(2) + (y as f32 - y0).powi(2)).sqrt();
    let image = RgbImage::from_fn(width, height, |x, y| {
        let skin = 100 + 20 * index as u8;
        if distance(x, y) < radius { image::Rgb([skin, 90, (x * 5) as u8]) } else { image::Rgb([20, y as u8, 90]) }
    });
    let mask = (0..width * height).map(|i| if distance(i % width, i / width) < radius { 255 } else { 0 }).collect();
    let at = |x: f32, y: f32| [x0 + x, y0 + y];
    let landmarks = [at(-4.0, -3.0), at(4.0, -3.0), at(0.0, 1.0), at(-3.0, 5.0), at(3.0, 5.0)];
    (image, TargetFace { bounds: [x0 - radius, y0 - radius, x0 + radius, y0 + radius], landmarks, mask })
}

/// A folder with `backbone/` and `adapter/`.
struct Lab(TempDir);

impl Lab {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        magicmirror_engine::models::write_tiny(folder.path(), 3).unwrap();
        Self(folder)
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.0.path().join(name)
    }

    fn model(&self) -> ModelConfig {
        ModelConfig {
            backbone: self.path("backbone"),
            adapter: self.path("adapter"),
            dtype: magicmirror_engine::train::FrozenPrecision::Stored,
            recompute: true,
        }
    }

    fn config(&self, steps: u64) -> ImageConfig {
        ImageConfig {
            model: self.model(),
            data: ImageData {
                images: vec![SourceConfig { path: "drawn".into(), weight: 1.0 }],
                sizes: sizes(),
                cache: self.path("cache"),
                most_bad: 0.3,
            },
            loss: LossConfig { identity_min_alpha: 0.3, ..LossConfig::default() },
            run: RunConfig {
                seed: 1,
                steps,
                batch: 4,
                micro_batch: 2,
                checkpoint_every: 2,
                keep: 3,
                validate_every: 0,
                log_every: 1,
            },
            optimiser: OptimiserConfig {
                learning_rate: 1e-3,
                warmup_steps: 1,
                schedule: LearningRate::Constant,
                final_fraction: 0.0,
                beta1: 0.9,
                beta2: 0.95,
                epsilon: 1e-8,
                weight_decay: 1e-4,
                clip_norm: 1.0,
                average_decay: 0.5,
                muon_learning_rate: None,
            },
            guard: GuardConfig::default(),
            validation: ValidationConfig::default(),
        }
    }

    fn image(&self, run: &str, config: &ImageConfig, resume: bool, replicas: usize) -> Result<Finished, EngineError> {
        self.image_of(run, config, resume, replicas, Drawn { count: 6, frames: 1, broken: vec![4] }, None)
    }

    fn image_of(
        &self,
        run: &str,
        config: &ImageConfig,
        resume: bool,
        replicas: usize,
        drawn: Drawn,
        stop: Option<u64>,
    ) -> Result<Finished, EngineError> {
        let examples = [weighted(drawn)];
        let devices = vec![Device::flex(); replicas];
        stoppable(stop, |control| train_stage(config, &examples, &self.path(run), resume, &devices, control))
    }

    fn files(&self, folder: &str) -> BTreeMap<String, Vec<u8>> {
        let mut found = BTreeMap::new();
        collect(&self.path(folder), &mut found);
        found
    }
}

fn sizes() -> Vec<FrameSize> {
    vec![FrameSize { width: 48, height: 32 }, FrameSize { width: 32, height: 48 }]
}

fn collect(folder: &Path, into: &mut BTreeMap<String, Vec<u8>>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, into);
        } else {
            into.insert(path.display().to_string(), fs::read(&path).unwrap());
        }
    }
}

fn weighted(drawn: Drawn) -> WeightedExamples {
    WeightedExamples {
        path: "drawn".into(),
        frames: drawn.frames,
        examples: Box::new(drawn),
        held_out: None,
        weight: 1.0,
    }
}

fn stoppable<T>(stop: Option<u64>, work: impl FnOnce(&mut Control<'_>) -> T) -> T {
    let cancelled = AtomicBool::new(false);
    let mut listener = |event| {
        if let Event::Training(training) = event
            && Some(training.step) == stop
        {
            cancelled.store(true, Ordering::Relaxed);
        }
    };
    work(&mut Control::new(&mut listener, &cancelled))
}

/// Lines of a run's metrics without the time they took.
fn metrics(folder: &Path) -> Vec<serde_json::Value> {
    let text = fs::read_to_string(folder.join("metrics.jsonl")).unwrap();
    let mut lines: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    for line in &mut lines {
        line.as_object_mut().unwrap().remove("seconds");
    }
    lines
}

#[test]
fn images_train_an_adapter_that_generates() {
    let lab = Lab::new();
    let before = lab.files("backbone");
    let mut config = lab.config(3);
    config.run.validate_every = 2;
    config.validation = ValidationConfig {
        prompts: vec!["a man img in the park".into()],
        references: vec![repository().join("assets/photos/astronaut.png")],
        frames: Some(1),
        height: Some(32),
        width: Some(48),
        steps: Some(1),
        ..ValidationConfig::default()
    };
    let finished = lab.image("run", &config, false, 1).unwrap();
    assert!(finished.complete && finished.step == 3);
    assert!(lab.path("run/validation/step-00000002/0-0.png").is_file(), "rendered with the model of step 2");
    assert!(lab.files("run/model").keys().any(|name| name.ends_with("vision/config.json")), "encoders go with it");
    assert!(before == lab.files("backbone"), "frozen files have changed");
    assert_ne!(
        fs::read(lab.path("run/model/model.safetensors")).unwrap(),
        fs::read(lab.path("adapter/model.safetensors")).unwrap()
    );
    let skipped = fs::read_to_string(lab.path("run/skipped.jsonl")).unwrap();
    assert_eq!(skipped.lines().count(), 1);
    assert!(skipped.contains("drawn-4") && skipped.contains("it was torn"), "{skipped}");
    let lines = metrics(&lab.path("run"));
    for name in ["loss", "loss/velocity", "gradient_norm", "learning_rate"] {
        assert!(lines.iter().all(|line| line[name].is_number()), "{name}: {lines:?}");
    }
    for name in ["loss/region", "loss/whole", "loss/identity"] {
        assert!(lines.iter().any(|line| line[name].is_number()), "{name}: {lines:?}");
    }
}

#[test]
fn the_loss_of_held_out_people_tells_their_own_photos_from_others() {
    let lab = Lab::new();
    let mut config = lab.config(20);
    config.run.validate_every = 10;
    config.optimiser.learning_rate = 1e-2;
    config.loss.identity_weight = 0.0;
    // Some of those who are trained are the ones held out, so that something is learnt in so few steps. Two of the eight are
    // broken, which is not too many.
    let drawn = |broken| Drawn { count: 4, frames: 1, broken };
    let examples = [WeightedExamples { held_out: Some(Box::new(drawn(vec![2, 3]))), ..weighted(drawn(Vec::new())) }];
    let train = |run: &str, config: &ImageConfig| {
        let train = |control: &mut Control<'_>| {
            train_stage(config, &examples, &lab.path(run), false, &[Device::flex()], control).unwrap();
        };
        stoppable(None, train);
        assert_eq!(fs::read_to_string(lab.path(run).join("skipped.jsonl")).unwrap().lines().count(), 2);
        let lines = metrics(&lab.path(run));
        let losses = lines.into_iter().filter(|line| line["validation/images"].is_number());
        losses.map(|line| ["images", "images_swapped"].map(|name| line[format!("validation/{name}")].as_f64().unwrap()))
    };
    let learnt: Vec<[f64; 2]> = train("run", &config).collect();
    assert!(learnt[1][0] < learnt[0][0] && learnt[1][0] < learnt[1][1], "{learnt:?}");
    config.run.seed = 2;
    config.optimiser.learning_rate = 1e-12;
    let untouched: Vec<[f64; 2]> = train("untouched", &config).collect();
    for (first, second) in untouched[0].iter().zip(untouched[1]) {
        assert!((first - second).abs() < 1e-5 * first, "the same noise and timesteps each time: {untouched:?}");
    }
}

#[test]
fn a_stopped_run_goes_on_bit_for_bit_and_two_devices_equal_one() {
    let lab = Lab::new();
    let mut config = lab.config(4);
    (config.loss.identity_whitened, config.loss.identity_jitter) = (true, 0.1);
    // AdamW's first steps are as long for a gradient of 1e-9 as for one of 1, and turn where its sign does: sums in another order
    // would show in the second step. With this they are as small as the gradient.
    config.optimiser.epsilon = 1e-3;
    lab.image("whole", &config, false, 1).unwrap();
    let drawn = || Drawn { count: 6, frames: 1, broken: vec![4] };
    lab.image_of("parts", &config, false, 1, drawn(), Some(3)).unwrap();
    lab.image("parts", &config, true, 1).unwrap();
    let last = |run: &str| {
        let files = lab.files(&format!("{run}/checkpoints/step-00000004"));
        files.into_values().collect::<Vec<_>>()
    };
    assert!(last("whole") == last("parts"), "weights, moments, average or state differ");
    assert_eq!(metrics(&lab.path("whole")), metrics(&lab.path("parts")));

    lab.image("two", &config, false, 2).unwrap();
    for (one, two) in metrics(&lab.path("whole")).iter().zip(metrics(&lab.path("two"))) {
        for name in ["loss", "gradient_norm"] {
            let (one, two) = (one[name].as_f64().unwrap(), two[name].as_f64().unwrap());
            assert!((one - two).abs() <= 1e-5 * one.abs(), "{name}: {one} and {two}");
        }
    }
}

#[test]
fn what_another_model_has_cached_is_not_read() {
    let lab = Lab::new();
    let config = lab.config(1);
    lab.image("first", &config, false, 1).unwrap();
    let first = lab.files("cache");
    lab.image("again", &config, false, 1).unwrap();
    assert!(first == lab.files("cache"), "the same data and models add nothing");

    let path = lab.path("backbone/vae/diffusion_pytorch_model.safetensors");
    let mut bytes = fs::read(&path).unwrap();
    let last = bytes.len() - 3;
    bytes[last] ^= 1;
    fs::write(&path, bytes).unwrap();
    lab.image("other", &config, false, 1).unwrap();
    let second = lab.files("cache");
    assert_eq!(second.len(), first.len() + 5, "five latents anew, and nothing else");
    assert!(first.iter().all(|(name, bytes)| second[name] == *bytes));
}

#[test]
fn too_many_broken_examples_stop_the_run() {
    let lab = Lab::new();
    let drawn = Drawn { count: 6, frames: 1, broken: vec![1, 4] };
    match lab.image_of("run", &lab.config(1), false, 1, drawn, None) {
        Err(EngineError::Train(error @ TrainError::TooManyBad { count: 2, all: 6, .. })) => {
            assert!(error.to_string().contains("drawn-4 (it was torn"), "{error}");
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn clips_and_images_train_together() {
    let lab = Lab::new();
    let ImageConfig { model, data, loss, mut run, optimiser, guard, validation } = lab.config(2);
    run.batch = 6;
    let config = VideoConfig {
        model,
        data: VideoData {
            clips: data.images.clone(),
            images: data.images,
            image_share: 0.5,
            frames: 5,
            clip_frames: None,
            fps: None,
            sizes: data.sizes,
            cache: data.cache,
            most_bad: 0.0,
        },
        loss,
        run,
        optimiser,
        guard,
        validation,
    };
    let clips = vec![weighted(Drawn { count: 4, frames: 5, broken: Vec::new() })];
    let images = vec![weighted(Drawn { count: 4, frames: 1, broken: Vec::new() })];
    let examples = mix(clips, images, config.data.image_share);
    let train_with = |config: &VideoConfig, run: &str, stop, resume| {
        let train = |control: &mut Control<'_>| {
            train_stage(config, &examples, &lab.path(run), resume, &[Device::flex()], control)
        };
        stoppable(stop, train)
    };
    let train = |run: &str, stop, resume| train_with(&config, run, stop, resume).unwrap();
    assert!(train("whole", None, false).complete);
    assert!(!train("parts", Some(1), false).complete);
    assert!(train("parts", None, true).complete);
    let [whole, parts] = ["whole", "parts"].map(|run| metrics(&lab.path(run)));
    assert_eq!(whole.len(), 2);
    assert_eq!(whole, parts);
    let last = |run: &str| lab.files(&format!("{run}/checkpoints/step-00000002")).into_values().collect::<Vec<_>>();
    assert!(last("whole") == last("parts"), "weights, moments, average or state differ");

    // One of the two latent frames that five frames are.
    let mut some = config.clone();
    some.loss.identity_weight = 0.0;
    assert!(train_with(&some, "all", None, false).unwrap().complete);
    some.data.clip_frames = Some(1);
    assert!(train_with(&some, "some", None, false).unwrap().complete);
    assert!(last("some") != last("all"));
    some.loss.identity_weight = 0.1;
    let refused = train_with(&some, "refused", None, false);
    assert!(
        matches!(refused, Err(EngineError::Train(TrainError::OutOfRange { key: "data.clip_frames", .. }))),
        "{refused:?}"
    );
}

#[test]
fn images_keep_their_share_whatever_the_weights() {
    let source = |weight| WeightedExamples { weight, ..weighted(Drawn { count: 1, frames: 1, broken: Vec::new() }) };
    let weights: Vec<f64> =
        mix(vec![source(5.0)], vec![source(3.0), source(1.0)], 0.4).iter().map(|source| source.weight).collect();
    for (found, expected) in weights.iter().zip([0.6, 0.3, 0.1]) {
        assert!((found - expected).abs() < 1e-12, "{weights:?}");
    }
}

#[test]
fn photos_of_ones_own_train_with_faces_that_are_found() {
    let lab = Lab::new();
    let portrait = magicmirror_media::read_photo(repository().join("assets/photos/astronaut.png")).unwrap();
    fs::create_dir(lab.path("photos")).unwrap();
    let photo = |name: &str| lab.path("photos").join(name);
    magicmirror_media::write_png(photo("a.png"), &portrait).unwrap();
    magicmirror_media::write_png(photo("b.png"), &RgbImage::new(300, 300)).unwrap();
    fs::write(photo("c.png"), "not a picture").unwrap();
    magicmirror_media::write_png(photo("d.png"), &portrait).unwrap();
    for (name, caption) in [("a", "a woman img in orange"), ("b", "a woman img"), ("c", "a woman img"), ("d", "a tree")]
    {
        fs::write(photo(&format!("{name}.txt")), caption).unwrap();
    }
    let mut config = lab.config(2);
    config.data.images = vec![SourceConfig { path: lab.path("photos"), weight: 1.0 }];
    config.data.sizes = vec![FrameSize { width: 224, height: 224 }];
    config.data.most_bad = 0.8;
    config.loss.region_probability = 1.0;
    let examples = magicmirror_engine::train::StageData::examples(&config.data).unwrap();
    for run in ["first", "again"] {
        let train = |control: &mut Control<'_>| {
            train_stage(&config, &examples, &lab.path(run), false, &[Device::flex()], control)
        };
        assert!(stoppable(None, train).unwrap().complete);
        let skipped = fs::read_to_string(lab.path(run).join("skipped.jsonl")).unwrap();
        let expected = [("photos/b\"", "no face"), ("photos/c\"", "c.png"), ("photos/d\"", "person")];
        assert_eq!(skipped.lines().count(), 3, "{skipped}");
        for (line, (key, reason)) in skipped.lines().zip(expected) {
            assert!(line.contains(key) && line.contains(reason), "{line}");
        }
        let lines = metrics(&lab.path(run));
        assert!(lines.iter().all(|line| line["loss/region"].is_number()), "the face is known: {lines:?}");
    }
    let cached = lab.files("cache").len();
    assert_eq!(cached, 5, "truth of two pictures, text, latents and features of one");

    let mut other = portrait;
    other.get_pixel_mut(0, 0).0 = [1, 2, 3];
    magicmirror_media::write_png(photo("a.reference0.png"), &other).unwrap();
    let examples = magicmirror_engine::train::StageData::examples(&config.data).unwrap();
    let train = |control: &mut Control<'_>| {
        train_stage(&config, &examples, &lab.path("again"), true, &[Device::flex()], control)
    };
    let error = stoppable(None, train).unwrap_err().to_string();
    assert!(error.contains("examples: was"), "another photo to go by is another example: {error}");
}
