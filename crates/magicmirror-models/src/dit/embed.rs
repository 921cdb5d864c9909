//! Into tokens and back: patches, text projection, time embedding.

use burn::module::{Module, Param};
use burn::tensor::{Tensor, TensorData};

use super::DitConfig;
use crate::nn::{Linear, silu};
use crate::weights::{Init, Params};

/// Cuts latents into patches and projects patches and text to tokens.
#[derive(Module, Debug)]
pub(super) struct PatchEmbed {
    projection: PatchProjection,
    text_projection: Linear,
    #[module(skip)]
    patch: Patch,
}

/// 1.0 stores its projection as a convolution kernel, 1.5 as a matrix.
#[derive(Module, Debug)]
enum PatchProjection {
    Kernel(PatchKernel),
    Matrix(Linear),
}

#[derive(Module, Debug)]
struct PatchKernel {
    weight: Param<Tensor<4>>,
    bias: Param<Tensor<1>>,
}

/// Size of a patch.
#[derive(Debug, Clone, Copy)]
pub(super) struct Patch {
    frames: usize,
    side: usize,
    channels: usize,
}

impl PatchEmbed {
    pub(super) fn new(config: &DitConfig, params: &mut Params<'_, '_>) -> Self {
        let patch =
            Patch { frames: config.patch_size_t.unwrap_or(1), side: config.patch_size, channels: config.in_channels };
        let mut params = params.at("patch_embed");
        let projection = if config.patch_size_t.is_some() {
            PatchProjection::Matrix(Linear::new(&mut params, "proj", patch.values(), config.width()))
        } else {
            let mut params = params.at("proj");
            let shape = [config.width(), patch.channels, patch.side, patch.side];
            PatchProjection::Kernel(PatchKernel {
                weight: params.tensor("weight", shape, Init::fan_in(patch.values())),
                bias: params.tensor("bias", [config.width()], Init::Zeros),
            })
        };
        let text_projection = Linear::new(&mut params, "text_proj", config.text_embed_dim, config.width());
        Self { projection, text_projection, patch }
    }

    /// `[batch, text tokens, text width]` to `[batch, text tokens, width]`.
    pub(super) fn text(&self, text: Tensor<3>) -> Tensor<3> {
        self.text_projection.forward(text)
    }

    /// `[batch, frames, channels, height, width]` to `[batch, video tokens, width]`.
    pub(super) fn video(&self, latents: Tensor<5>) -> Tensor<3> {
        let patches = self.patch.patches_from_latents(latents);
        match &self.projection {
            PatchProjection::Matrix(linear) => linear.forward(patches),
            PatchProjection::Kernel(PatchKernel { weight, bias }) => {
                let [width, ..] = weight.dims();
                let weight = weight.val().reshape([width, self.patch.values()]).cast(patches.dtype());
                patches.matmul(weight.transpose().unsqueeze()) + bias.val().unsqueeze()
            }
        }
    }

    pub(super) fn patch(&self) -> Patch {
        self.patch
    }
}

impl Patch {
    /// Values in one patch.
    fn values(&self) -> usize {
        self.channels * self.frames * self.side * self.side
    }

    /// `[batch, frames, channels, height, width]` to `[batch, patches, channels · frames · side · side]`.
    fn patches_from_latents(self, latents: Tensor<5>) -> Tensor<3> {
        let [batch, frames, channels, height, width] = latents.dims();
        let (times, rows, columns) = (frames / self.frames, height / self.side, width / self.side);
        latents
            .reshape([batch, times, self.frames, channels, rows, self.side, columns, self.side])
            .permute([0, 1, 4, 6, 3, 2, 5, 7]) // [batch, times, rows, columns, channels, frames, side, side]
            .reshape([batch, times * rows * columns, self.values()])
    }

    /// The inverse for a velocity of the latents' size.
    pub(super) fn latents_from_patches(self, patches: Tensor<3>, [times, rows, columns]: [usize; 3]) -> Tensor<5> {
        let [batch, ..] = patches.dims();
        patches
            .reshape([batch, times, rows, columns, self.channels, self.frames, self.side, self.side])
            .permute([0, 1, 5, 4, 2, 6, 3, 7]) // [batch, times, frames, channels, rows, side, columns, side]
            .reshape([batch, times * self.frames, self.channels, rows * self.side, columns * self.side])
    }

    /// Number of patches in time, height and width.
    pub(super) fn grid(self, [_, frames, _, height, width]: [usize; 5]) -> [usize; 3] {
        [frames / self.frames, height / self.side, width / self.side]
    }
}

/// Sinusoids of the timestep, then two layers.
#[derive(Module, Debug)]
pub(super) struct TimeEmbedding {
    first: Linear,
    second: Linear,
    #[module(skip)]
    width: usize,
    #[module(skip)]
    cosines_first: bool,
    #[module(skip)]
    frequency_shift: f64,
}

impl TimeEmbedding {
    pub(super) fn new(config: &DitConfig, params: &mut Params<'_, '_>) -> Self {
        let mut params = params.at("time_embedding");
        Self {
            first: Linear::new(&mut params, "linear_1", config.width(), config.time_embed_dim),
            second: Linear::new(&mut params, "linear_2", config.time_embed_dim, config.time_embed_dim),
            width: config.width(),
            cosines_first: config.flip_sin_to_cos,
            frequency_shift: config.freq_shift,
        }
    }

    /// One timestep (0..1000) for each sample of the batch to `[batch, time width]`.
    pub(super) fn forward(&self, timesteps: &[f64], like: &Tensor<3>) -> Tensor<2> {
        let half = self.width / 2;
        let mut values = Vec::with_capacity(timesteps.len() * self.width);
        for timestep in timesteps {
            let angle = |i: usize| {
                let exponent = -(10_000f64.ln()) * i as f64 / (half as f64 - self.frequency_shift);
                // Rounded like upstream, which multiplies in f32.
                f64::from(*timestep as f32 * exponent.exp() as f32)
            };
            let sines = (0..half).map(|i| angle(i).sin() as f32);
            let cosines = (0..half).map(|i| angle(i).cos() as f32);
            if self.cosines_first { values.extend(cosines.chain(sines)) } else { values.extend(sines.chain(cosines)) }
        }
        let data = TensorData::new(values, [timesteps.len(), self.width]);
        let waves = Tensor::from_data(data, (&like.device(), like.dtype()));
        self.second.forward(silu(self.first.forward(waves)))
    }
}
