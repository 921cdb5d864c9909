use burn::module::Module;
use burn::tensor::Tensor;
use burn::tensor::module::interpolate;
use burn::tensor::ops::{InterpolateMode, InterpolateOptions};

use super::causal::{CausalConv3d, CausalState};
use crate::nn::{Conv3d, GroupNorm, silu};
use crate::weights::Params;

/// Epsilon of every norm but those in the encoder's residual blocks.
pub(super) const EPSILON: f64 = 1e-6;

/// How the norms of one half of the autoencoder are built.
#[derive(Debug, Clone, Copy)]
pub(super) struct NormSettings {
    pub(super) groups: usize,
    pub(super) epsilon: f64,
    /// Channels of the latents that modulate the norms: the decoder's.
    pub(super) latent_channels: Option<usize>,
}

/// Group normalisation, in the decoder scaled and shifted by functions of the latents at the same place.
#[derive(Module, Debug)]
pub(super) struct Norm {
    norm: GroupNorm,
    modulation: Option<Modulation>,
}

/// Pointwise convolutions of the latents.
#[derive(Module, Debug)]
struct Modulation {
    scale: Conv3d,
    shift: Conv3d,
}

impl Norm {
    pub(super) fn new(params: &mut Params<'_, '_>, name: &str, channels: usize, settings: NormSettings) -> Self {
        let NormSettings { groups, epsilon, latent_channels } = settings;
        let Some(latent_channels) = latent_channels else {
            return Self { norm: GroupNorm::new(params, name, groups, channels, epsilon), modulation: None };
        };
        let mut params = params.at(name);
        Self {
            norm: GroupNorm::new(&mut params, "norm_layer", groups, channels, epsilon),
            modulation: Some(Modulation {
                scale: Conv3d::new(&mut params.at("conv_y"), "conv", latent_channels, channels, 1),
                shift: Conv3d::new(&mut params.at("conv_b"), "conv", latent_channels, channels, 1),
            }),
        }
    }

    /// Normalises, then activates.
    ///
    /// # Shapes
    /// - x: `[batch, channels, frames, height, width]`
    /// - latents: `[batch, latent channels, latent frames, latent height, latent width]`, `None` in the encoder
    /// - output: as x
    pub(super) fn forward_silu(&self, x: Tensor<5>, latents: Option<&Tensor<5>>) -> Tensor<5> {
        let Some(modulation) = &self.modulation else { return self.norm.forward_silu(x) };
        let [_, _, frames, height, width] = x.dims();
        let normed = self.norm.forward(x);
        let latents = latents.expect("the decoder's norms are given the latents");
        // Pointwise convolutions commute with repetition, and cost less before it.
        let scale = repeat_to(modulation.scale.forward(latents.clone()), [frames, height, width]);
        let scaled = normed * scale;
        let shift = repeat_to(modulation.shift.forward(latents.clone()), [frames, height, width]);
        silu(scaled + shift)
    }
}

/// Two norms, activations and convolutions beside a shortcut.
#[derive(Module, Debug)]
pub(super) struct ResnetBlock {
    norm1: Norm,
    conv1: CausalConv3d,
    norm2: Norm,
    conv2: CausalConv3d,
    conv_shortcut: Option<Conv3d>,
}

impl ResnetBlock {
    pub(super) fn new(params: &mut Params<'_, '_>, inputs: usize, outputs: usize, norms: NormSettings) -> Self {
        Self {
            norm1: Norm::new(params, "norm1", inputs, norms),
            conv1: CausalConv3d::new(params, "conv1", inputs, outputs),
            norm2: Norm::new(params, "norm2", outputs, norms),
            conv2: CausalConv3d::new(params, "conv2", outputs, outputs),
            conv_shortcut: (inputs != outputs).then(|| Conv3d::new(params, "conv_shortcut", inputs, outputs, 1)),
        }
    }

    /// `count` blocks in a row named `resnets.0` and so on, the first of which changes the number of channels.
    pub(super) fn stack(
        params: &mut Params<'_, '_>,
        inputs: usize,
        outputs: usize,
        count: usize,
        norms: NormSettings,
    ) -> Vec<Self> {
        let mut params = params.at("resnets");
        (0..count)
            .map(|i| Self::new(&mut params.at(i), if i == 0 { inputs } else { outputs }, outputs, norms))
            .collect()
    }

    /// # Shapes
    /// - x: `[batch, in, frames, height, width]`
    /// - latents: as [`Norm::forward_silu`] takes them
    /// - output: `[batch, out, frames, height, width]`
    pub(super) fn forward(&self, x: Tensor<5>, latents: Option<&Tensor<5>>, state: &mut CausalState) -> Tensor<5> {
        let hidden = self.norm1.forward_silu(x.clone(), latents);
        // Before the first convolution, so that `x` is released when it narrows.
        let shortcut = match &self.conv_shortcut {
            Some(conv) => conv.forward(x),
            None => x,
        };
        let hidden = self.conv1.forward(hidden, state);
        let hidden = self.norm2.forward_silu(hidden, latents);
        self.conv2.forward(hidden, state) + shortcut
    }
}

/// Repeats values to `[frames, height, width]`, multiples of the sizes they have. Of an odd number of frames the first
/// stands for itself, and only the others are repeated in time.
pub(super) fn repeat_to(x: Tensor<5>, size: [usize; 3]) -> Tensor<5> {
    let [batch, channels, frames, height, width] = x.dims();
    let [out_frames, out_height, out_width] = size;
    let x = if (out_height, out_width) == (height, width) {
        x
    } else {
        let options = InterpolateOptions::new(InterpolateMode::Nearest).with_output_size([out_height, out_width]);
        let planes = x.reshape([batch, channels * frames, height, width]);
        interpolate(planes, options).reshape([batch, channels, frames, out_height, out_width])
    };
    if out_frames == frames {
        return x;
    }
    if out_frames % 2 == 1 {
        let first = x.clone().narrow(2, 0, 1);
        let rest = repeat_frames(x.narrow(2, 1, frames - 1), (out_frames - 1) / (frames - 1));
        return Tensor::cat(vec![first, rest], 2);
    }
    repeat_frames(x, out_frames / frames)
}

fn repeat_frames(x: Tensor<5>, times: usize) -> Tensor<5> {
    let [batch, channels, frames, height, width] = x.dims();
    x.reshape([batch, channels, frames, 1, height * width])
        .expand([batch, channels, frames, times, height * width])
        .reshape([batch, channels, frames * times, height, width])
}
