//! The paper's loss (section 3.4): velocity, in the face region only for half of the samples, and identity.

use std::ops::Range;

use burn::tensor::Tensor;
use magicmirror_models::diffusion::NoiseSchedule;
use magicmirror_models::face::align::{Sampler, Similarity};
use magicmirror_models::face::recogniser::Recogniser;
use magicmirror_models::vae::{CausalState, VaeConfig, VaeDecoder, vae_layout_from_denoiser};
use serde::{Deserialize, Serialize};

use super::TrainError;
use super::whitening::Whitening;

/// Weights of the loss's parts: section `[loss]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LossConfig {
    /// Probability that a sample's velocity counts in the face region only (paper: 0.5).
    pub region_probability: f64,
    /// How much timesteps with much noise are preferred, from 1 for not at all (the paper's): of a uniform `u`, a timestep is
    /// `1 − (1 − u)^timestep_power` of the way to pure noise. It is there that it is decided whose face it will be: by
    /// another's photo the small model's loss of held-out people was 3 times that by their own at ᾱ < .01, 1.2 times at ᾱ =
    /// .25 and 1.02 times at ᾱ = .7 **(ours)**.
    pub timestep_power: f64,
    /// λ, weight of the identity term; 0 turns it off, and neither decoder nor recogniser is loaded.
    pub identity_weight: f64,
    /// The identity term counts only where ᾱ of the timestep is at least this: of a noisier sample the face cannot be
    /// told yet.
    pub identity_min_alpha: f64,
    /// Side, in latents, of the square around the face that is decoded for the identity term, a tile as tiled decoding has
    /// them: eight whole frames of 720×480 do not fit beside a transformer. A face that needs more has no identity term. 0
    /// decodes whole frames **(ours)**.
    pub identity_side: usize,
    /// How far the identity term moves each landmark before the face is cut out, a normal number in parts of the distance
    /// between the eyes, and half of the faces are mirrored, as recognisers themselves are trained; 0 does neither. What
    /// one recogniser likes of single pixels then counts less against what any of them sees **(ours)**.
    pub identity_jitter: f64,
    /// Whether the identity term compares whitened vectors, by what the people who are learnt from have in common **(ours)**.
    /// Cosines of raw vectors of dlib's recogniser are .9 between strangers; whitened, 0, so that a smaller weight does.
    pub identity_whitened: bool,
}

impl Default for LossConfig {
    /// The paper's probability and timesteps; λ and threshold are ours.
    fn default() -> Self {
        Self {
            region_probability: 0.5,
            timestep_power: 1.0,
            identity_weight: 0.1,
            identity_min_alpha: 0.5,
            identity_side: 0,
            identity_jitter: 0.0,
            identity_whitened: false,
        }
    }
}

impl LossConfig {
    /// # Errors
    /// When a number is out of range.
    pub fn validate(&self) -> Result<(), TrainError> {
        let numbers = [
            ("loss.region_probability", self.region_probability, 0.0..=1.0, "be 0 to 1"),
            ("loss.timestep_power", self.timestep_power, 1.0..=f64::MAX, "be a number from 1"),
            ("loss.identity_weight", self.identity_weight, 0.0..=f64::MAX, "be a number from 0"),
            ("loss.identity_min_alpha", self.identity_min_alpha, 0.0..=1.0, "be 0 to 1"),
            ("loss.identity_jitter", self.identity_jitter, 0.0..=1.0, "be 0 to 1"),
        ];
        for (key, value, range, rule) in numbers {
            if !range.contains(&value) {
                return Err(TrainError::OutOfRange { key, value: value.to_string(), rule });
            }
        }
        Ok(())
    }
}

/// `√ᾱ` and `√(1 − ᾱ)` of a timestep.
#[derive(Debug, Clone, Copy)]
pub struct NoiseLevel {
    /// How much of the sample is left.
    pub signal: f64,
    /// How much noise there is.
    pub noise: f64,
}

impl NoiseLevel {
    /// Of a training timestep.
    pub fn at(schedule: &NoiseSchedule, timestep: usize) -> Self {
        let alpha = schedule.alphas_cumprod()[timestep];
        Self { signal: alpha.sqrt(), noise: (1.0 - alpha).sqrt() }
    }

    /// x_t, what the transformer sees.
    pub fn noisy<const D: usize>(self, latents: Tensor<D>, noise: Tensor<D>) -> Tensor<D> {
        latents * self.signal + noise * self.noise
    }

    /// v, what it should predict.
    pub fn velocity<const D: usize>(self, latents: Tensor<D>, noise: Tensor<D>) -> Tensor<D> {
        noise * self.signal - latents * self.noise
    }

    /// x̂₀, the sample that a prediction means.
    pub fn denoised<const D: usize>(self, noisy: Tensor<D>, velocity: Tensor<D>) -> Tensor<D> {
        noisy * self.signal - velocity * self.noise
    }
}

/// Mean squared error for each sample, `[batch]`.
///
/// The error of the velocity is `1/√(1 − ᾱ)` times that of x̂₀, so this is CogVideoX's loss, the squared error of x̂₀
/// weighted with `1/(1 − ᾱ)`, without its division by almost nothing at small timesteps.
///
/// # Shapes
/// - predicted, target: `[batch, frames, channels, height, width]`
/// - regions: for each sample where it counts, `[1, frames, 1, height, width]` in 0..=1; everywhere if `None`
pub fn velocity_loss(predicted: Tensor<5>, target: Tensor<5>, regions: &[Option<Tensor<5>>]) -> Tensor<1> {
    let [batch, frames, channels, height, width] = predicted.dims();
    let device = predicted.device();
    let everywhere = 1.0 / (frames * channels * height * width) as f64;
    let weights = regions.iter().map(|region| match region {
        // Divided by the region's area, so that small faces count as much as large ones.
        Some(region) => region.clone() / (region.clone().sum() * channels as f64).reshape([1, 1, 1, 1, 1]),
        None => Tensor::ones([1, frames, 1, height, width], &device) * everywhere,
    });
    let weights = Tensor::cat(weights.collect(), 0);
    let error = predicted - target;
    (error.clone() * error * weights).sum_dims(&[1, 2, 3, 4]).reshape([batch])
}

/// Frozen networks that tell who is on a frame.
#[derive(Debug)]
pub struct IdentityLoss {
    /// The backbone's decoder.
    pub decoder: VaeDecoder,
    /// Its configuration.
    pub vae: VaeConfig,
    /// The adapter's own recogniser.
    pub recogniser: Recogniser,
    /// What is done to its vectors before they are compared, if anything.
    pub whitening: Option<Whitening>,
}

/// Which frame of a sample the identity is read from, and whose it should be.
#[derive(Debug, Clone)]
pub struct FaceTarget {
    /// Which latent frames are decoded (padding frames count): one, or the frame's own and the one before.
    pub latent_frames: Range<usize>,
    /// The frame among those decoded.
    pub frame: usize,
    /// Left eye, right eye, nose, left and right corner of the mouth in that frame, pixels.
    pub landmarks: [[f32; 2]; 5],
    /// Whether the recogniser sees the face mirrored.
    pub mirrored: bool,
    /// The recogniser's embeddings of the reference photos, `[photos, E]`.
    pub embeddings: Tensor<2>,
}

impl FaceTarget {
    /// Moves the landmarks by ten normal numbers times `jitter` times the distance between the eyes, and mirrors the face if
    /// the eleventh is positive.
    ///
    /// # Panics
    /// When there are fewer than eleven.
    #[must_use]
    pub fn moved(mut self, jitter: f64, normal: &[f32]) -> Self {
        let [left, right] = [self.landmarks[0], self.landmarks[1]];
        let scale = jitter as f32 * (right[0] - left[0]).hypot(right[1] - left[1]);
        for (value, normal) in self.landmarks.as_flattened_mut().iter_mut().zip(normal) {
            *value += scale * normal;
        }
        self.mirrored = normal[10] > 0.0;
        self
    }

    /// The latent frames that show a video frame, and the frame's place among those decoded from them.
    ///
    /// A clip's first frame is a latent frame of its own; of all others two are decoded, because the decoder looks back.
    /// What it would carry from still earlier ones is left out **(ours)**: it would have to be computed for each step.
    pub fn window(vae: &VaeConfig, frame: usize) -> (Range<usize>, usize) {
        let ratio = vae.temporal_compression_ratio;
        match frame.div_ceil(ratio) {
            0 => (0..1, 0),
            latent => (latent - 1..latent + 1, ratio + (frame - 1) % ratio),
        }
    }
}

impl IdentityLoss {
    /// `1 − cos(q_face, F_id(D(x̂₀)))` of one sample, `[1]`; `None` where the landmarks are one point, or the face does not
    /// fit into a square of `side` latents (0: whatever its size).
    ///
    /// # Shapes
    /// - denoised: `[1, frames, channels, height, width]`, scaled
    pub fn forward(&self, denoised: Tensor<5>, target: &FaceTarget, side: usize) -> Option<Tensor<1>> {
        let chip = self.recogniser.chip();
        let window = target.latent_frames.clone();
        let latents = vae_layout_from_denoiser(denoised.narrow(1, window.start, window.len()));
        let [_, _, _, rows, columns] = latents.dims();
        let ratio = self.vae.spatial_compression_ratio();
        let seen = seen_by(&chip.from_image(&target.landmarks)?, chip.size());
        let [across, down] = [(0, columns), (1, rows)].map(|(axis, length)| around(seen[axis], ratio, length, side));
        let (across, down) = (across?, down?);
        let latents = latents.narrow(3, down.start, down.len()).narrow(4, across.start, across.len());
        let landmarks =
            target.landmarks.map(|[x, y]| [x - (across.start * ratio) as f32, y - (down.start * ratio) as f32]);
        let frames = self.decoder.forward(self.vae.unscale(latents), &mut CausalState::new(1));
        // [1, 3, frames, height, width] to [3, height, width]
        let frame: Tensor<3> = frames.narrow(2, target.frame, 1).squeeze_dim::<4>(2).squeeze_dim(0);
        let [_, height, width] = frame.dims();
        let sampler = Sampler::new(&chip.from_image(&landmarks)?, chip.size(), width, height)?;
        let chip = sampler.sample((frame + 1.0) * 127.5);
        let chip = if target.mirrored { chip.flip([2]) } else { chip };
        let face = self.compared(self.recogniser.embed(chip.unsqueeze()));
        Some(cosine_distance(face, mean_direction(self.compared(target.embeddings.clone()))))
    }

    fn compared(&self, embeddings: Tensor<2>) -> Tensor<2> {
        match &self.whitening {
            Some(whitening) => whitening.forward(embeddings),
            None => embeddings,
        }
    }
}

/// Least and greatest coordinate, across and down, of what a chip shows, in pixels of the image.
fn seen_by([[a, b, x_shift], [c, d, y_shift]]: &Similarity, size: usize) -> [[f64; 2]; 2] {
    let (determinant, last) = (a * d - b * c, (size - 1) as f64);
    let corners = [[0.0, 0.0], [last, 0.0], [0.0, last], [last, last]].map(|[x, y]| {
        let (x, y) = (x - x_shift, y - y_shift);
        [(d * x - b * y) / determinant, (a * y - c * x) / determinant]
    });
    [0, 1].map(|axis| {
        let ends = corners.iter().map(|corner| corner[axis]);
        [ends.clone().fold(f64::INFINITY, f64::min), ends.fold(f64::NEG_INFINITY, f64::max)]
    })
}

/// The latents that show what lies between two pixels, with equal margins up to `side` of them; all of the `length` there
/// are where `side` is 0. `None` where they are more than `side`.
fn around([low, high]: [f64; 2], ratio: usize, length: usize, side: usize) -> Option<Range<usize>> {
    if side == 0 || side >= length {
        return Some(0..length);
    }
    // What lies outside the image is black whatever is decoded. A pixel is mixed from the two around it.
    let end = (length * ratio) as f64;
    let first = low.floor().clamp(0.0, end - 1.0) as usize / ratio;
    let last = (high.floor() + 1.0).clamp(0.0, end - 1.0) as usize / ratio;
    let margin = side.checked_sub(last + 1 - first)?;
    let start = first.saturating_sub(margin / 2).min(length - side);
    Some(start..start + side)
}

/// `1 − cos(a, b)` of rows, `[batch]`.
pub fn cosine_distance(a: Tensor<2>, b: Tensor<2>) -> Tensor<1> {
    let [batch, _] = a.dims();
    let norm = |x: &Tensor<2>| (x.clone() * x.clone()).sum_dim(1).sqrt().clamp_min(1e-12);
    let norms = norm(&a) * norm(&b);
    ((a * b).sum_dim(1) / norms).reshape([batch]).neg() + 1.0
}

/// Mean of the embeddings' directions, `[1, E]`.
fn mean_direction(embeddings: Tensor<2>) -> Tensor<2> {
    let norm = (embeddings.clone() * embeddings.clone()).sum_dim(1).sqrt().clamp_min(1e-12);
    (embeddings / norm).mean_dim(0)
}

/// Scalars for each sample, from a tensor of them.
pub(super) fn each(values: &Tensor<1>) -> Vec<f64> {
    let values = values.clone().into_data_as::<f32>();
    values.iter::<f32>().map(f64::from).collect()
}
