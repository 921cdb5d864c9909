//! A folder with a tiny model, in which the program is run.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use burn::tensor::{Device, Tensor, TensorData};
use image::RgbImage;
use magicmirror_models::adapter::FaceFeatures;
use magicmirror_models::weights::{Checkpoint, Precision, save_safetensors};
use magicmirror_testkit::repository;
use serde_json::Value;
use tempfile::TempDir;

/// A folder with `backbone/`, `adapter/`, `person.safetensors` (an identity file), `astronaut.png`, an empty `out/` and
/// an empty `tmp/` for temporary files. The program runs in it, so paths are relative.
pub(crate) struct Lab(TempDir);

/// What the program did.
pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Lab {
    pub(crate) fn new() -> Self {
        let lab = Self(tempfile::tempdir().unwrap());
        magicmirror_engine::models::write_tiny(lab.0.path(), 3).unwrap();
        for folder in ["out", "tmp"] {
            fs::create_dir(lab.path(folder)).unwrap();
        }
        lab.write_identity("person.safetensors", 1, [128, 32]);
        fs::copy(repository().join("assets/photos/astronaut.png"), lab.path("astronaut.png")).unwrap();
        lab
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(crate) fn command<S: AsRef<str>>(&self, args: &[S]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_magicmirror"));
        for name in ["BACKBONE", "ADAPTER", "DEVICE", "NO_PROGRESS"] {
            command.env_remove(format!("MAGICMIRROR_{name}"));
        }
        command.current_dir(self.0.path()).env("TMPDIR", self.path("tmp")).args(args.iter().map(AsRef::as_ref));
        command
    }

    pub(crate) fn run<S: AsRef<str>>(&self, args: &[S]) -> Ran {
        Ran::from(self.command(args).output().unwrap())
    }

    /// Runs what must succeed.
    #[track_caller]
    pub(crate) fn run_well<S: AsRef<str>>(&self, args: &[S]) -> Ran {
        let ran = self.run(args);
        assert_eq!(ran.code, Some(0), "{:?}: {}", args.iter().map(AsRef::as_ref).collect::<Vec<_>>(), ran.stderr);
        ran
    }

    /// Names of what is in a folder, sorted.
    pub(crate) fn names_in(&self, folder: &str) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(self.path(folder))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    /// A copy of a folder, in which one thing is then changed.
    pub(crate) fn copy(&self, from: &str, to: &str) {
        fn copy(from: &Path, to: &Path) {
            fs::create_dir_all(to).unwrap();
            for entry in fs::read_dir(from).unwrap() {
                let entry = entry.unwrap();
                let target = to.join(entry.file_name());
                if entry.path().is_dir() {
                    copy(&entry.path(), &target);
                } else {
                    fs::copy(entry.path(), target).unwrap();
                }
            }
        }
        copy(&self.path(from), &self.path(to));
    }

    pub(crate) fn edit_json(&self, file: &str, change: impl FnOnce(&mut Value)) {
        let mut json = self.json(file);
        change(&mut json);
        fs::write(self.path(file), json.to_string()).unwrap();
    }

    pub(crate) fn json(&self, file: &str) -> Value {
        serde_json::from_str(&fs::read_to_string(self.path(file)).unwrap()).unwrap()
    }

    pub(crate) fn edit_tensors(&self, file: &str, change: impl FnOnce(&mut Vec<(String, TensorData)>)) {
        let path = self.path(file);
        let checkpoint = Checkpoint::open_file(&path).unwrap();
        let read = |name: &String| (name.clone(), checkpoint.read(name, Precision::Stored).unwrap());
        let mut tensors = checkpoint.entries().keys().map(read).collect();
        change(&mut tensors);
        self.write_tensors(file, &tensors);
    }

    pub(crate) fn write_tensors(&self, file: &str, tensors: &[(String, TensorData)]) {
        save_safetensors(&self.path(file), tensors).unwrap();
    }

    /// An identity file of so many references; `widths` of the recogniser and the vision encoder.
    pub(crate) fn write_identity(&self, file: &str, references: usize, widths: [usize; 2]) {
        let [id, vision] = widths;
        let wave = |count: usize| (0..count).map(|i| (i as f32 * 0.7).sin()).collect::<Vec<f32>>();
        let states = || {
            let data = TensorData::new(wave(references * 3 * vision), [references, 3, vision]);
            Tensor::<3>::from_data(data, &Device::flex())
        };
        let features = FaceFeatures {
            id_embeds: Tensor::from_data(TensorData::new(wave(references * id), [references, id]), &Device::flex()),
            vision_last: states(),
            vision_penultimate: states(),
        };
        features.save(&self.path(file)).unwrap();
    }

    pub(crate) fn astronaut(&self) -> RgbImage {
        image::open(self.path("astronaut.png")).unwrap().into_rgb8()
    }
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

/// Arguments of a short generation with the tiny model, with these options in place of or beside the usual ones. An
/// option that is followed by `-` is left out.
pub(crate) fn generate(changes: &[&str]) -> Vec<String> {
    let usual = [
        ("--backbone", "backbone"),
        ("--prompt", "a man img walking in the park"),
        ("--height", "32"),
        ("--width", "48"),
        ("--frames", "5"),
        ("--steps", "2"),
        ("--output", "out/video.mp4"),
    ];
    let mut args = vec!["generate".to_owned()];
    for (option, value) in usual.iter().filter(|(option, _)| !changes.contains(option)) {
        args.extend([(*option).to_owned(), (*value).to_owned()]);
    }
    let mut changes = changes.iter().peekable();
    while let Some(change) = changes.next() {
        if changes.next_if(|value| **value == "-").is_none() {
            args.push((*change).to_owned());
        }
    }
    args
}
