use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use super::{NoiseSchedule, ScheduleError};

/// How one step goes from noisier to cleaner latents.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Method {
    /// Deterministic.
    Ddim,
    /// SDE-DPM++(2M): stochastic, second order.
    Dpm,
}

/// A run of steps: knows the timesteps and remembers what the next step needs.
#[derive(Debug, Clone)]
pub struct Sampler {
    schedule: NoiseSchedule,
    method: Method,
    timesteps: Vec<usize>,
    stride: usize,
    last_clean: Option<Tensor<5>>,
}

/// The numbers of one step: `x ← sample · x + clean · x̂₀ + previous_clean · x̂₀(before) + noise · ε`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Coefficients {
    /// √ᾱ: `x̂₀ = signal · x − deviation · v`.
    pub signal: f64,
    /// √(1 − ᾱ).
    pub deviation: f64,
    /// Weight of the current latents.
    pub sample: f64,
    /// Weight of the clean latents predicted now.
    pub clean: f64,
    /// Weight of the clean latents predicted one step before (0 where the step is of first order).
    pub previous_clean: f64,
    /// Weight of fresh noise.
    pub noise: f64,
}

impl Sampler {
    /// A run of `steps` steps.
    ///
    /// # Errors
    /// When the schedule has not so many.
    pub fn new(schedule: NoiseSchedule, method: Method, steps: usize) -> Result<Self, ScheduleError> {
        let timesteps = schedule.timesteps(steps)?;
        let stride = schedule.alphas_cumprod().len() / steps;
        Ok(Self { schedule, method, timesteps, stride, last_clean: None })
    }

    /// The timesteps of training that are visited, from the noisiest.
    pub fn timesteps(&self) -> &[usize] {
        &self.timesteps
    }

    /// Whether a step needs fresh noise.
    pub fn is_stochastic(&self) -> bool {
        self.method == Method::Dpm
    }

    /// The coefficients of a step.
    pub fn coefficients(&self, step: usize) -> Coefficients {
        let timestep = self.timesteps[step];
        // Upstream's rule: the stride is rounded down, the timesteps are not evenly spaced for every N.
        let next = timestep.checked_sub(self.stride);
        let alpha = self.schedule.alpha(Some(timestep));
        let next_alpha = self.schedule.alpha(next);
        let (signal, deviation) = (alpha.sqrt(), (1.0 - alpha).sqrt());
        match self.method {
            Method::Ddim => {
                let sample = ((1.0 - next_alpha) / (1.0 - alpha)).sqrt();
                let clean = next_alpha.sqrt() - signal * sample;
                Coefficients { signal, deviation, sample, clean, previous_clean: 0.0, noise: 0.0 }
            }
            Method::Dpm => {
                // λ is −∞ at the first timestep (no signal) and +∞ after the last; the formulae have finite limits there
                // because exp and expm1 do.
                let lambda = |alpha: f64| (alpha / (1.0 - alpha)).sqrt().ln();
                let h = lambda(next_alpha) - lambda(alpha);
                let sample = ((1.0 - next_alpha) / (1.0 - alpha)).sqrt() * (-h).exp();
                let toward_clean = (-2.0 * h).exp_m1() * next_alpha.sqrt();
                let noise = (1.0 - next_alpha).sqrt() * (1.0 - (-2.0 * h).exp()).sqrt();
                let (clean, previous_clean) = match (step.checked_sub(1), next) {
                    (Some(before), Some(_)) => {
                        let before_alpha = self.schedule.alpha(Some(self.timesteps[before]));
                        let r = (lambda(alpha) - lambda(before_alpha)) / h;
                        let half = 1.0 / (2.0 * r);
                        (-toward_clean * (1.0 + half), toward_clean * half)
                    }
                    _ => (-toward_clean, 0.0),
                };
                Coefficients { signal, deviation, sample, clean, previous_clean, noise }
            }
        }
    }

    /// Takes one step.
    ///
    /// # Shapes
    /// - latents, velocity, noise, output: `[batch, frames, channels, height, width]`
    ///
    /// # Panics
    /// When the method is stochastic and there is no noise.
    pub fn step(
        &mut self,
        step: usize,
        latents: Tensor<5>,
        velocity: Tensor<5>,
        noise: Option<Tensor<5>>,
    ) -> Tensor<5> {
        let c = self.coefficients(step);
        let clean = latents.clone() * c.signal - velocity * c.deviation;
        let mut next = latents * c.sample + clean.clone() * c.clean;
        if self.is_stochastic() {
            if let Some(last) = self.last_clean.replace(clean).filter(|_| c.previous_clean != 0.0) {
                next = next + last * c.previous_clean;
            }
            next = next + noise.expect("a stochastic step is given noise") * c.noise;
        }
        next
    }
}
