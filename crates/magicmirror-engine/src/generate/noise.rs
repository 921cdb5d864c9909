use std::path::Path;

use burn::tensor::{Device, Tensor, TensorData};
use magicmirror_models::weights::{Checkpoint, Precision};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, StandardNormal};

use crate::EngineError;

/// Where the noise of a run comes from: a seed, or a file for what it holds and the seed for the rest.
pub(super) struct Noise {
    pub(super) seed: u64,
    shape: [usize; 5],
    random: ChaCha8Rng,
    initial: Option<TensorData>,
    steps: Option<Vec<f32>>,
}

impl Noise {
    /// Normal noise of the latents' shape `[1, frames, channels, height, width]`.
    pub(super) fn seeded(seed: u64, shape: [usize; 5]) -> Self {
        Self { seed, shape, random: ChaCha8Rng::seed_from_u64(seed), initial: None, steps: None }
    }

    /// Noise from a file: `latents`, and optionally `sde_noise` `[steps, 1, frames, channels, height, width]`.
    pub(super) fn from_file(path: &Path, seed: u64, shape: [usize; 5], steps: usize) -> Result<Self, EngineError> {
        let file = Checkpoint::open_file(path)?;
        let read = |name: &'static str, expected: Vec<usize>| -> Result<TensorData, EngineError> {
            if let Some(entry) = file.entries().get(name).filter(|entry| entry.shape != expected) {
                return Err(EngineError::TensorShape {
                    name,
                    found: entry.shape.clone(),
                    expected,
                    path: path.to_owned(),
                });
            }
            Ok(file.read(name, Precision::F32)?)
        };
        let mut noise = Self::seeded(seed, shape);
        noise.initial = Some(read("latents", shape.to_vec())?);
        if file.entries().contains_key("sde_noise") {
            let expected = [vec![steps], shape.to_vec()].concat();
            let values = read("sde_noise", expected)?;
            noise.steps = Some(values.try_to_vec().expect("read as f32"));
        }
        Ok(noise)
    }

    /// The latents that sampling starts from.
    pub(super) fn initial(&mut self, device: &Device) -> Tensor<5> {
        match self.initial.take() {
            Some(data) => Tensor::from_data(data, device),
            None => self.draw(device),
        }
    }

    /// Fresh noise for one step.
    pub(super) fn for_step(&mut self, step: usize, device: &Device) -> Tensor<5> {
        let count: usize = self.shape.iter().product();
        match &self.steps {
            Some(values) => {
                let values = values[step * count..(step + 1) * count].to_vec();
                Tensor::from_data(TensorData::new(values, self.shape), device)
            }
            None => self.draw(device),
        }
    }

    fn draw(&mut self, device: &Device) -> Tensor<5> {
        let count: usize = self.shape.iter().product();
        let values: Vec<f32> = StandardNormal.sample_iter(&mut self.random).take(count).collect();
        Tensor::from_data(TensorData::new(values, self.shape), device)
    }
}
