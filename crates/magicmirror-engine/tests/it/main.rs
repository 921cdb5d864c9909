//! Whole requests to the engine: against reference values, against each other, and broken off.

#![allow(clippy::unwrap_used)]

mod cancel;
mod dataset;
mod goldens;
mod metrics;
mod properties;
mod train;
mod train_adapter;

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use burn::tensor::{Device, Tensor};
use magicmirror_engine::generate::{Generated, Request, generate};
use magicmirror_engine::{Control, EngineError, Event};
use magicmirror_models::adapter::FaceFeatures;
use magicmirror_models::weights::{Init, initialise};
use magicmirror_testkit::Values;
use tempfile::TempDir;

/// A folder for the outputs of runs, and the tensors of each.
struct Workbench(TempDir);

impl Workbench {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Runs a request into the folder `name`, and returns its tensors.
    fn run(&self, name: &str, request: Request) -> Values {
        let tensors = self.path(&format!("{name}.safetensors"));
        let request = Request { output: self.path(name), tensors: Some(tensors.clone()), ..request };
        quietly(&request).unwrap_or_else(|error| panic!("{name}: {error}"));
        Values::at(&tensors)
    }

    fn bytes(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.path(&format!("{name}.safetensors"))).unwrap()
    }
}

/// Runs a request to which nobody listens.
fn quietly(request: &Request) -> Result<Generated, EngineError> {
    let mut listener = |_: Event| ();
    generate(request, &Device::flex(), &mut Control::new(&mut listener, &AtomicBool::new(false)))
}

/// A complete tiny model with random weights.
fn tiny_model(folder: &Path) -> Request {
    magicmirror_engine::models::write_tiny(folder, 3).unwrap();
    Request {
        backbone: Some(folder.join("backbone")),
        prompt: "a man img walking in the park".into(),
        height: Some(32),
        width: Some(48),
        frames: Some(5),
        steps: Some(2),
        ..Request::default()
    }
}

/// Features of so many references, as wide as the tiny model's adapter reads them.
fn face_features(references: usize, seed: u64) -> FaceFeatures {
    FaceFeatures {
        id_embeds: random([references, 128], seed),
        vision_last: random([references, 5, 32], seed + 1),
        vision_penultimate: random([references, 5, 32], seed + 2),
    }
}

fn random<const D: usize>(shape: [usize; D], seed: u64) -> Tensor<D> {
    initialise(seed, &Device::flex(), |params| params.tensor("x", shape, Init::Normal(1.0)).val()).0
}
