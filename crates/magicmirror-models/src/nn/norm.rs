use burn::module::{Module, Param};
use burn::tensor::Tensor;

use super::kernels;
use crate::weights::{Init, Params};

/// Layer normalisation over the last axis, with weight and bias.
#[derive(Module, Debug)]
pub struct LayerNorm {
    weight: Param<Tensor<1>>,
    bias: Param<Tensor<1>>,
    #[module(skip)]
    epsilon: f64,
}

impl LayerNorm {
    /// `name.weight` and `name.bias`, both `[width]`.
    pub fn new(params: &mut Params<'_, '_>, name: &str, width: usize, epsilon: f64) -> Self {
        let mut params = params.at(name);
        Self {
            weight: params.tensor("weight", [width], Init::Ones),
            bias: params.tensor("bias", [width], Init::Zeros),
            epsilon,
        }
    }

    /// # Shapes
    /// - x, output: `[..., width]`
    pub fn forward<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        kernels::layer_norm(x, self.weight.val(), self.bias.val(), self.epsilon)
    }

    /// `forward(x) · (1 + scale) + shift`, in one pass where the device allows it.
    ///
    /// # Shapes
    /// - x, output: `[batch, tokens, width]`
    /// - shift, scale: `[batch, width]`
    pub fn modulate(&self, x: Tensor<3>, shift: Tensor<2>, scale: Tensor<2>) -> Tensor<3> {
        kernels::modulated_layer_norm(x, self.weight.val(), self.bias.val(), shift, scale, self.epsilon)
    }
}

/// Root-mean-square normalisation over the last axis: no mean, no bias (T5).
#[derive(Module, Debug)]
pub struct RmsNorm {
    weight: Param<Tensor<1>>,
    #[module(skip)]
    epsilon: f64,
}

impl RmsNorm {
    /// `name.weight` `[width]`.
    pub fn new(params: &mut Params<'_, '_>, name: &str, width: usize, epsilon: f64) -> Self {
        Self { weight: params.at(name).tensor("weight", [width], Init::Ones), epsilon }
    }

    /// # Shapes
    /// - x, output: `[..., width]`
    pub fn forward<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        let variance = (x.clone() * x.clone()).mean_dim(D - 1);
        let weight = kernels::in_precision_of(self.weight.val(), &x);
        x / (variance + self.epsilon).sqrt() * weight.unsqueeze()
    }
}

/// Group normalisation over `[batch, channels, ...]`.
#[derive(Module, Debug)]
pub struct GroupNorm {
    weight: Param<Tensor<1>>,
    bias: Param<Tensor<1>>,
    #[module(skip)]
    groups: usize,
    #[module(skip)]
    epsilon: f64,
}

impl GroupNorm {
    /// `name.weight` and `name.bias`, both `[channels]`.
    ///
    /// # Panics
    /// When `groups` does not divide `channels`.
    pub fn new(params: &mut Params<'_, '_>, name: &str, groups: usize, channels: usize, epsilon: f64) -> Self {
        assert!(channels.is_multiple_of(groups), "{channels} channels cannot be divided into {groups} groups");
        let mut params = params.at(name);
        Self {
            weight: params.tensor("weight", [channels], Init::Ones),
            bias: params.tensor("bias", [channels], Init::Zeros),
            groups,
            epsilon,
        }
    }

    /// # Shapes
    /// - x, output: `[batch, channels, ...]`
    pub fn forward<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        self.normalise(x, false)
    }

    /// `silu(forward(x))`, in one pass where the device allows it.
    ///
    /// # Shapes
    /// - x, output: `[batch, channels, ...]`
    pub fn forward_silu<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        self.normalise(x, true)
    }

    fn normalise<const D: usize>(&self, x: Tensor<D>, silu: bool) -> Tensor<D> {
        let options = kernels::GroupNormOptions { groups: self.groups, epsilon: self.epsilon, silu };
        kernels::group_norm(x, self.weight.val(), self.bias.val(), options)
    }
}

/// Batch normalisation over `[batch, channels, height, width]` with the statistics of training.
#[derive(Module, Debug)]
pub struct BatchNorm {
    weight: Param<Tensor<1>>,
    bias: Param<Tensor<1>>,
    running_mean: Param<Tensor<1>>,
    running_var: Param<Tensor<1>>,
    #[module(skip)]
    epsilon: f64,
}

impl BatchNorm {
    /// `name.weight`, `name.bias`, `name.running_mean` and `name.running_var`, all `[channels]`.
    pub fn new(params: &mut Params<'_, '_>, name: &str, channels: usize, epsilon: f64) -> Self {
        let mut params = params.at(name);
        Self {
            weight: params.tensor("weight", [channels], Init::Ones),
            bias: params.tensor("bias", [channels], Init::Zeros),
            running_mean: params.tensor("running_mean", [channels], Init::Zeros),
            running_var: params.tensor("running_var", [channels], Init::Ones),
            epsilon,
        }
    }

    /// # Shapes
    /// - x, output: `[batch, channels, height, width]`
    pub fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let scale = self.weight.val() / (self.running_var.val() + self.epsilon).sqrt();
        let shift = self.bias.val() - self.running_mean.val() * scale.clone();
        let shape = [1, scale.dims()[0], 1, 1];
        x * scale.reshape(shape) + shift.reshape(shape)
    }
}

/// Instance normalisation without parameters: every channel of every sample for itself, over `[batch, channels, ...]`.
pub fn instance_norm<const D: usize>(x: Tensor<D>, epsilon: f64) -> Tensor<D> {
    let channels = x.dims()[1];
    let options = kernels::GroupNormOptions { groups: channels, epsilon, silu: false };
    let (device, dtype) = (x.device(), x.dtype());
    let weight = Tensor::ones([channels], (&device, dtype));
    let bias = Tensor::zeros([channels], (&device, dtype));
    kernels::group_norm(x, weight, bias, options)
}
