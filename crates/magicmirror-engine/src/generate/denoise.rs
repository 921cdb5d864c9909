use burn::tensor::{Device, Tensor};
use magicmirror_models::diffusion::{Guidance, Sampler, SkipGuidance};
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
    pub(super) skip: Option<SkipGuidance>,
}

/// One of the transformer's calls in a step.
#[derive(Clone, Copy)]
struct Call<'a> {
    number: usize,
    text: &'a Tensor<3>,
    conditioner: &'a dyn LayerConditioner,
    skipped: &'a [usize],
}

/// Final latents, the seed of the noise they come from, and the conditional prediction of the first step.
pub(super) struct Denoised {
    pub(super) seed: u64,
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
            let with_identity = Call { number: 0, text: &self.prompt, conditioner: self.conditioner, skipped: &[] };
            let mut predict = |call| self.predict(&latents, (step, timestep), call, control);
            let conditional = predict(with_identity)?;
            velocity_first_step.get_or_insert_with(|| conditional.clone());
            let mut velocity = conditional.clone();
            if let Some(negative) = &self.negative {
                let base = predict(Call { number: 1, text: negative, conditioner: &Unconditioned, skipped: &[] })?;
                velocity = base.clone() + (velocity - base) * self.guidance.weight(timestep, steps);
            }
            if let Some(skip) = &self.skip {
                let worse = predict(Call { number: self.calls() - 1, skipped: &skip.blocks, ..with_identity })?;
                velocity = skip.apply(velocity, conditional, worse);
            }
            let fresh = sampler.is_stochastic().then(|| noise.for_step(step, device));
            latents = sampler.step(step, latents, velocity, fresh);
            ensure_finite(&latents, step + 1, steps)?;
        }
        let velocity_first_step = velocity_first_step.expect("a run has at least one step");
        Ok(Denoised { seed: noise.seed, latents, velocity_first_step })
    }

    /// Calls of the transformer in a step.
    fn calls(&self) -> usize {
        1 + usize::from(self.negative.is_some()) + usize::from(self.skip.is_some())
    }

    fn predict(
        &self,
        latents: &Tensor<5>,
        (step, timestep): (usize, usize),
        Call { number, text, conditioner, skipped }: Call<'_>,
        control: &mut Control<'_>,
    ) -> Result<Tensor<5>, EngineError> {
        let blocks = self.dit.blocks().len() * self.calls();
        let before = self.dit.blocks().len() * number;
        let input = DitInput {
            latents: latents.clone(),
            text: text.clone(),
            timesteps: &[timestep as f64],
            positions: self.positions,
        };
        let velocity = self.dit.forward_without(skipped, input, conditioner, &mut |blocks_done| {
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
        hint: "try --dtype f32, a lower --guidance, --skip-guidance or --face-scale, and check the weights with `models inspect`",
    })
}
