//! Layers that the face networks share.

use burn::module::{Module, Param};
use burn::tensor::{Tensor, activation};

use crate::weights::{Init, Params};

/// Leaky rectifier with one slope for each channel.
#[derive(Module, Debug)]
pub(super) struct PRelu {
    weight: Param<Tensor<1>>,
}

impl PRelu {
    /// `name.weight` `[channels]`.
    pub(super) fn new(params: &mut Params<'_, '_>, name: &str, channels: usize) -> Self {
        Self { weight: params.at(name).tensor("weight", [channels], Init::Zeros) }
    }

    /// `[batch, channels, ...]`
    pub(super) fn forward<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        activation::prelu(x, self.weight.val())
    }
}

/// A scale and a shift for each channel: a batch norm whose statistics are fixed.
#[derive(Module, Debug)]
pub(super) struct ChannelAffine {
    weight: Param<Tensor<1>>,
    bias: Param<Tensor<1>>,
}

impl ChannelAffine {
    /// `name.weight` and `name.bias`, both `[channels]`.
    pub(super) fn new(params: &mut Params<'_, '_>, name: &str, channels: usize) -> Self {
        let mut params = params.at(name);
        Self {
            weight: params.tensor("weight", [channels], Init::Ones),
            bias: params.tensor("bias", [channels], Init::Zeros),
        }
    }

    /// `[batch, channels, height, width]`
    pub(super) fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let channels = x.dims()[1];
        let shape = [1, channels, 1, 1];
        x * self.weight.val().reshape(shape) + self.bias.val().reshape(shape)
    }
}
