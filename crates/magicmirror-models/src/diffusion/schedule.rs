use serde::Deserialize;
use thiserror::Error;

/// Why a noise schedule cannot be built or stepped as asked.
#[derive(Debug, Error, Clone, PartialEq)]
pub enum ScheduleError {
    /// A number in the configuration makes no sense.
    #[error("scheduler configuration: {field} = {value}, but it must {rule}")]
    InvalidConfig {
        /// The field.
        field: &'static str,
        /// Its value.
        value: String,
        /// What holds for valid values.
        rule: &'static str,
    },
    /// A valid configuration of a schedule that is not implemented here.
    #[error("scheduler configuration not supported: {field} = {value}\n\nhint: {hint}")]
    Unsupported {
        /// The field.
        field: &'static str,
        /// Its value.
        value: String,
        /// What is supported.
        hint: &'static str,
    },
    /// More steps than the schedule has, or none.
    #[error("{steps} steps are not possible: choose 1 to {most}")]
    Steps {
        /// Steps asked for.
        steps: usize,
        /// Steps that there are.
        most: usize,
    },
}

/// `scheduler/scheduler_config.json` of a released checkpoint.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default)]
pub struct SchedulerConfig {
    /// `CogVideoXDDIMScheduler` or `CogVideoXDPMScheduler`.
    #[serde(rename = "_class_name")]
    pub class_name: String,
    /// Timesteps of training.
    pub num_train_timesteps: usize,
    /// β of the first timestep.
    pub beta_start: f64,
    /// β of the last timestep.
    pub beta_end: f64,
    /// How β runs from the first to the last.
    pub beta_schedule: String,
    /// What the transformer predicts.
    pub prediction_type: String,
    /// Whether the last timestep is pure noise.
    pub rescale_betas_zero_snr: bool,
    /// How inference timesteps are chosen among those of training.
    pub timestep_spacing: String,
    /// Whether the step after the last is noiseless.
    pub set_alpha_to_one: bool,
    /// Whether predicted samples are clipped.
    pub clip_sample: bool,
    /// Divisor of the signal-to-noise ratio: 3 for 2B, 1 for 5B.
    pub snr_shift_scale: f64,
}

impl Default for SchedulerConfig {
    /// The defaults of the released format: what an absent field means.
    fn default() -> Self {
        Self {
            class_name: "CogVideoXDDIMScheduler".into(),
            num_train_timesteps: 1000,
            beta_start: 0.00085,
            beta_end: 0.012,
            beta_schedule: "scaled_linear".into(),
            prediction_type: "v_prediction".into(),
            rescale_betas_zero_snr: true,
            timestep_spacing: "trailing".into(),
            set_alpha_to_one: true,
            clip_sample: false,
            snr_shift_scale: 3.0,
        }
    }
}

/// How much of the clean sample is left at each timestep of training.
#[derive(Debug, Clone, PartialEq)]
pub struct NoiseSchedule {
    alphas_cumprod: Vec<f64>,
    final_alpha: f64,
}

impl NoiseSchedule {
    /// Computes ᾱ: scaled-linear β, shifted signal-to-noise ratio, zero terminal signal.
    ///
    /// # Errors
    /// When the configuration is invalid or not one of CogVideoX's.
    pub fn new(config: &SchedulerConfig) -> Result<Self, ScheduleError> {
        validate(config)?;
        let count = config.num_train_timesteps;
        let (first, last) = (config.beta_start.sqrt(), config.beta_end.sqrt());
        let mut product = 1.0;
        let mut alphas: Vec<f64> = (0..count)
            .map(|i| {
                let root = first + (last - first) * i as f64 / (count as f64 - 1.0).max(1.0);
                product *= 1.0 - root * root;
                product
            })
            .collect();
        let shift = config.snr_shift_scale;
        for alpha in &mut alphas {
            *alpha /= shift + (1.0 - shift) * *alpha;
        }
        if config.rescale_betas_zero_snr {
            let (first, last) = (alphas[0].sqrt(), alphas[count - 1].sqrt());
            for alpha in &mut alphas {
                *alpha = ((alpha.sqrt() - last) * (first / (first - last))).powi(2);
            }
        }
        let final_alpha = if config.set_alpha_to_one { 1.0 } else { alphas[0] };
        Ok(Self { alphas_cumprod: alphas, final_alpha })
    }

    /// ᾱ of every timestep of training, falling from almost 1 to 0.
    pub fn alphas_cumprod(&self) -> &[f64] {
        &self.alphas_cumprod
    }

    /// ᾱ at a timestep; before the first timestep the sample is (almost) clean.
    pub fn alpha(&self, timestep: Option<usize>) -> f64 {
        timestep.map_or(self.final_alpha, |timestep| self.alphas_cumprod[timestep])
    }

    /// Exactly `steps` trailing timesteps, from the noisiest: `round(1000 · (N − i) / N) − 1`, ties to even.
    ///
    /// # Errors
    /// When there are not so many timesteps, or `steps` is 0.
    pub fn timesteps(&self, steps: usize) -> Result<Vec<usize>, ScheduleError> {
        let most = self.alphas_cumprod.len();
        if steps == 0 || steps > most {
            return Err(ScheduleError::Steps { steps, most });
        }
        let timestep = |i: usize| (most as f64 * (steps - i) as f64 / steps as f64).round_ties_even() as usize - 1;
        Ok((0..steps).map(timestep).collect())
    }
}

fn validate(config: &SchedulerConfig) -> Result<(), ScheduleError> {
    let invalid = |field, value: String, rule| Err(ScheduleError::InvalidConfig { field, value, rule });
    if !(2..=1_000_000).contains(&config.num_train_timesteps) {
        return invalid("num_train_timesteps", config.num_train_timesteps.to_string(), "be in 2..=1000000");
    }
    for (field, value) in [("beta_start", config.beta_start), ("beta_end", config.beta_end)] {
        if !(value > 0.0 && value < 1.0) {
            return invalid(field, value.to_string(), "be between 0 and 1");
        }
    }
    if config.beta_start >= config.beta_end {
        return invalid("beta_start", config.beta_start.to_string(), "be less than beta_end");
    }
    if !(config.snr_shift_scale > 0.0 && config.snr_shift_scale.is_finite()) {
        return invalid("snr_shift_scale", config.snr_shift_scale.to_string(), "be positive");
    }
    let unsupported = |field, value: String, hint| Err(ScheduleError::Unsupported { field, value, hint });
    if config.beta_schedule != "scaled_linear" {
        return unsupported("beta_schedule", config.beta_schedule.clone(), "only scaled_linear is implemented");
    }
    if config.prediction_type != "v_prediction" {
        return unsupported("prediction_type", config.prediction_type.clone(), "only v_prediction is implemented");
    }
    if config.timestep_spacing != "trailing" {
        return unsupported("timestep_spacing", config.timestep_spacing.clone(), "only trailing is implemented");
    }
    if config.clip_sample {
        return unsupported("clip_sample", "true".into(), "no released checkpoint clips");
    }
    Ok(())
}
