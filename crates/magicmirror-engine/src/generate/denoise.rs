use burn::tensor::{Device, Tensor};
use magicmirror_models::diffusion::{Guidance, Sampler};
use magicmirror_models::dit::{Dit, DitInput, LayerConditioner, Positions, Unconditioned};

use super::noise::Noise;
use crate::EngineError;
use crate::event::{Control, Stage};

/// What the sampling loop works with.
pub(super) struct Denoiser<'a> {
    pub(super) dit: &'a Dit,
    pub(super) positions: &'a Positions,
    /// With the identity, if there is one.
    pub(super) conditioner: &'a dyn LayerConditioner,
    pub(super) prompt: Tensor<3>,
    pub(super) negative: Option<Tensor<3>>,
    pub(super) guidance: Guidance,
}

/// Final latents, and the conditional prediction of the first step.
pub(super) struct Denoised {
    pub(super) latents: Tensor<5>,
    pub(super) velocity_first_step: Tensor<5>,
}

impl Denoiser<'_> {
    /// The sampling loop. The unconditional branch is the plain backbone, without identity.
    pub(super) fn run(
        &self,
        mut sampler: Sampler,
        mut noise: Noise,
        device: &Device,
        control: &mut Control<'_>,
    ) -> Result<Denoised, EngineError> {
        let timesteps = sampler.timesteps().to_vec();
        let steps = timesteps.len();
        let mut latents = noise.initial(device);
        let mut velocity_first_step = None;
        for (step, &timestep) in timesteps.iter().enumerate() {
            let mut velocity = self.predict(&latents, &self.prompt, timestep, self.conditioner, (step, 0), control)?;
            velocity_first_step.get_or_insert_with(|| velocity.clone());
            if let Some(negative) = &self.negative {
                let base = self.predict(&latents, negative, timestep, &Unconditioned, (step, 1), control)?;
                velocity = base.clone() + (velocity - base) * self.guidance.weight(timestep, steps);
            }
            let fresh = sampler.is_stochastic().then(|| noise.for_step(step, device));
            latents = sampler.step(step, latents, velocity, fresh);
            ensure_finite(&latents, step + 1, steps)?;
        }
        let velocity_first_step = velocity_first_step.expect("a run has at least one step");
        Ok(Denoised { latents, velocity_first_step })
    }

    fn predict(
        &self,
        latents: &Tensor<5>,
        text: &Tensor<3>,
        timestep: usize,
        conditioner: &dyn LayerConditioner,
        (step, branch): (usize, usize),
        control: &mut Control<'_>,
    ) -> Result<Tensor<5>, EngineError> {
        let branches = if self.negative.is_some() { 2 } else { 1 };
        let blocks = self.dit.blocks().len() * branches;
        let before = self.dit.blocks().len() * branch;
        let input = DitInput {
            latents: latents.clone(),
            text: text.clone(),
            timesteps: &[timestep as f64],
            positions: self.positions,
        };
        let velocity = self.dit.forward(input, conditioner, &mut |blocks_done| {
            let done = step as f64 + (before + blocks_done) as f64 / blocks as f64;
            control.advance(Stage::Denoise, done)
        });
        velocity.ok_or(EngineError::Cancelled)
    }
}

fn ensure_finite(latents: &Tensor<5>, step: usize, steps: usize) -> Result<(), EngineError> {
    if latents.clone().is_finite().all().into_scalar::<bool>() {
        return Ok(());
    }
    Err(EngineError::NotFinite {
        step,
        steps,
        hint: "try --dtype f32, a lower --guidance or --face-scale, and check the weights with `models inspect`",
    })
}
