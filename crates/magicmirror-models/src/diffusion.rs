//! Sampling: CogVideoX's noise schedule, its two step rules and classifier-free guidance.
//!
//! All tables and coefficients are f64; tensors appear only where a step is taken.
//!
//! Source: diffusers 58eb52c, `schedulers/scheduling_ddim_cogvideox.py`, `schedulers/scheduling_dpm_cogvideox.py`,
//! `pipelines/cogvideo/pipeline_cogvideox.py`.

mod guidance;
mod sampler;
mod schedule;

pub use guidance::{Guidance, SkipGuidance};
pub use sampler::{Coefficients, Method, Sampler};
pub use schedule::{NoiseSchedule, ScheduleError, SchedulerConfig};
