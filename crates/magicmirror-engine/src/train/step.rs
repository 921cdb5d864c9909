//! One training step of the adapter: section 3.4 of the paper, from samples to gradients.

use std::ops::ControlFlow;

use burn::module::Module;
use burn::tensor::{Device, Tensor};
use magicmirror_models::adapter::{Adapter, Conditions, FaceFeatures, IdentityConditioner};
use magicmirror_models::diffusion::NoiseSchedule;
use magicmirror_models::dit::{Dit, DitConfig, DitInput, Positions};

use super::loss::{FaceTarget, IdentityLoss, LossConfig, NoiseLevel, each, velocity_loss};
use super::{Frames, Losses, MicroBatch, ParameterSet, recompute};
use crate::EngineError;

/// One sample with everything drawn.
#[derive(Debug, Clone)]
pub struct Sample {
    /// Clean latents `[1, frames, channels, height, width]`, scaled, padding frames included.
    pub latents: Tensor<5>,
    /// Which of a clip's latent frames these are; all if `None`.
    pub frames: Option<Frames>,
    /// Noise of the same shape.
    pub noise: Tensor<5>,
    /// Training timestep.
    pub timestep: usize,
    /// Embeddings of the expanded prompt `[1, tokens, text width]`.
    pub text: Tensor<3>,
    /// Which tokens are the class word's.
    pub class_token_mask: Vec<bool>,
    /// Features of the reference photos.
    pub features: FaceFeatures,
    /// Where the velocity counts, `[1, frames, 1, height, width]`; everywhere if `None`.
    pub region: Option<Tensor<5>>,
    /// Frame and person of the identity term; `None` if that does not apply.
    pub face: Option<FaceTarget>,
}

/// The networks of one replica.
#[derive(Debug)]
pub struct Networks {
    /// The frozen transformer, on a device with autodiff.
    pub dit: Dit,
    /// Its configuration.
    pub dit_config: DitConfig,
    /// The noise schedule.
    pub schedule: NoiseSchedule,
    /// The adapter that is trained: f32, its parameters are leaves.
    pub adapter: Adapter,
    /// For the identity term, if that is on.
    pub identity: Option<IdentityLoss>,
    /// Whether the graph is that of one block at a time or of all.
    pub recompute: bool,
    /// A device with autodiff.
    pub device: Device,
}

/// The samples of a group, as the transformer takes them.
struct Inputs {
    noisy: Tensor<5>,
    target: Tensor<5>,
    text: Tensor<3>,
    conditions: Conditions,
    timesteps: Vec<f64>,
    positions: Positions,
    /// Number of patches in time, height and width.
    grid: [usize; 3],
}

impl Networks {
    /// Losses of some samples of one size, and the gradients of their mean for the adapter.
    ///
    /// # Errors
    /// When the samples' size does not divide into patches.
    ///
    /// # Panics
    /// When the samples differ in size, in their frames, or in their number of references.
    pub fn gradients(
        &self,
        samples: &[Sample],
        config: &LossConfig,
        set: &ParameterSet,
    ) -> Result<MicroBatch, EngineError> {
        let inputs = self.inputs(samples)?;
        let conditioner = IdentityConditioner::new(&self.adapter, &inputs.conditions, 1.0);
        if !self.recompute {
            let velocity = self.velocity(&inputs, &conditioner);
            let (loss, losses) = self.loss(velocity, &inputs, samples, config);
            let mut gradients = set.gradients();
            set.add(&self.adapter, &loss.backward(), &mut gradients);
            return Ok(MicroBatch { gradients, losses });
        }
        let (streams, context) = self.dit.embed(inputs.dit_input(), &conditioner);
        let can_condition = inputs.conditions.can_condition.clone();

        let (video, blocks) =
            recompute::forward(&self.dit, &self.adapter, streams.clone(), &context, can_condition.clone());
        let video = recompute::leaf(video);
        let velocity = self.dit.project(video.clone(), &context, inputs.grid);
        let (loss, losses) = self.loss(velocity, &inputs, samples, config);
        let video = video.grad(&loss.backward()).expect("the loss depends on the last block's output");

        let mut gradients = set.gradients();
        let pulled = blocks.backward(&self.adapter, video, set, &mut gradients);
        let heads = [
            recompute::product(Some(streams.text), pulled.text),
            recompute::product(streams.extra, pulled.extra),
            recompute::product(can_condition, pulled.can_condition),
        ];
        if let Some(found) = recompute::backward(heads) {
            set.add(&self.adapter, &found, &mut gradients);
        }
        Ok(MicroBatch { gradients, losses })
    }

    /// The same without autodiff, and without the identity term.
    pub(super) fn valid(&self) -> Self {
        Self {
            dit: self.dit.clone().valid(),
            dit_config: self.dit_config.clone(),
            schedule: self.schedule.clone(),
            adapter: self.adapter.clone().valid(),
            identity: None,
            recompute: false,
            device: self.device.clone().without_autodiff(),
        }
    }

    /// The velocity's loss of a sample, of networks that are [`Self::valid`].
    pub(super) fn held_out_loss(&self, sample: &Sample) -> Result<f64, EngineError> {
        let inputs = self.inputs(std::slice::from_ref(sample))?;
        let conditioner = IdentityConditioner::new(&self.adapter, &inputs.conditions, 1.0);
        let velocity = self.velocity(&inputs, &conditioner);
        Ok(each(&velocity_loss(velocity, inputs.target, std::slice::from_ref(&sample.region)))[0])
    }

    /// What the whole transformer makes of them at once.
    fn velocity(&self, inputs: &Inputs, conditioner: &IdentityConditioner<'_>) -> Tensor<5> {
        let mut go_on = |_| ControlFlow::Continue(());
        self.dit.forward(inputs.dit_input(), conditioner, &mut go_on).expect("nothing breaks off")
    }

    /// Identity into conditions and text, noise onto latents.
    fn inputs(&self, samples: &[Sample]) -> Result<Inputs, EngineError> {
        let levels = samples.iter().map(|sample| NoiseLevel::at(&self.schedule, sample.timestep));
        let pairs: Vec<_> = samples.iter().zip(levels).collect();
        let all = |tensor: &dyn Fn(&Sample, NoiseLevel) -> Tensor<5>| {
            Tensor::cat(pairs.iter().map(|(sample, level)| tensor(sample, *level)).collect(), 0)
        };
        let noisy = all(&|sample, level| level.noisy(sample.latents.clone(), sample.noise.clone()));
        let target = all(&|sample, level| level.velocity(sample.latents.clone(), sample.noise.clone()));
        let features: Vec<_> = samples.iter().map(|sample| sample.features.clone()).collect();
        let conditions = self.adapter.conditions_of(samples.len(), &FaceFeatures::cat(features));
        let text = Tensor::cat(samples.iter().map(|sample| sample.text.clone()).collect(), 0);
        let mask: Vec<bool> = samples.iter().flat_map(|sample| &sample.class_token_mask).copied().collect();
        let text = self.adapter.fuse(text, &mask, &conditions);
        let [_, frames, _, height, width] = noisy.dims();
        let DitConfig { patch_size, patch_size_t, .. } = self.dit_config;
        let (all, shown) = samples[0].frames.map_or((frames, None), |shown| (shown.all(), Some(shown)));
        let positions = Positions::new(&self.dit_config, all, height, width, &self.device)?;
        Ok(Inputs {
            positions: match shown {
                Some(shown) => shown.of_positions(positions, 1),
                None => positions,
            },
            grid: [frames / patch_size_t.unwrap_or(1), height / patch_size, width / patch_size],
            timesteps: samples.iter().map(|sample| sample.timestep as f64).collect(),
            text,
            conditions,
            noisy,
            target,
        })
    }

    /// `L_noise + λ · identity`, averaged over the samples.
    fn loss(
        &self,
        velocity: Tensor<5>,
        inputs: &Inputs,
        samples: &[Sample],
        config: &LossConfig,
    ) -> (Tensor<1>, Losses) {
        let regions: Vec<_> = samples.iter().map(|sample| sample.region.clone()).collect();
        let noise = velocity_loss(velocity.clone(), inputs.target.clone(), &regions);
        let mut losses = Losses::default();
        for (sample, loss) in samples.iter().zip(each(&noise)) {
            losses.add("loss/velocity", loss, 1);
            losses.add(if sample.region.is_some() { "loss/region" } else { "loss/whole" }, loss, 1);
        }
        let mut loss = noise.mean();
        for (index, sample) in samples.iter().enumerate() {
            let (Some(face), Some(identity)) = (&sample.face, &self.identity) else { continue };
            let level = NoiseLevel::at(&self.schedule, sample.timestep);
            let one = |tensor: &Tensor<5>| tensor.clone().narrow(0, index, 1);
            let denoised = level.denoised(one(&inputs.noisy), one(&velocity));
            if let Some(distance) = identity.forward(denoised, face, config.identity_side) {
                losses.add("loss/identity", each(&distance)[0], 1);
                loss = loss + distance * (config.identity_weight / samples.len() as f64);
            }
        }
        losses.add(Losses::TOTAL, each(&loss)[0], samples.len());
        (loss, losses)
    }
}

impl Inputs {
    fn dit_input(&self) -> DitInput<'_> {
        DitInput {
            latents: self.noisy.clone(),
            text: self.text.clone(),
            timesteps: &self.timesteps,
            positions: &self.positions,
        }
    }
}

#[cfg(test)]
mod tests;
