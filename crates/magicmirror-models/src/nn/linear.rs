use burn::module::{Module, Param};
use burn::tensor::Tensor;

use super::kernels;
use crate::weights::{Init, Params};

/// A linear layer whose weight is stored `[out, in]`, as released files have it.
#[derive(Module, Debug)]
pub struct Linear {
    weight: Param<Tensor<2>>,
    bias: Option<Param<Tensor<1>>>,
}

impl Linear {
    /// A layer with bias: `name.weight` `[out, in]` and `name.bias` `[out]`.
    pub fn new(params: &mut Params<'_, '_>, name: &str, inputs: usize, outputs: usize) -> Self {
        Self::with_init(params, name, inputs, outputs, Init::fan_in(inputs))
    }

    /// A layer with bias whose weight starts as `init` and whose bias starts at zero.
    pub fn with_init(params: &mut Params<'_, '_>, name: &str, inputs: usize, outputs: usize, init: Init) -> Self {
        let mut params = params.at(name);
        Self {
            weight: params.tensor("weight", [outputs, inputs], init),
            bias: Some(params.tensor("bias", [outputs], Init::Zeros)),
        }
    }

    /// A layer without bias: `name.weight` only.
    pub fn without_bias(params: &mut Params<'_, '_>, name: &str, inputs: usize, outputs: usize) -> Self {
        let weight = params.at(name).tensor("weight", [outputs, inputs], Init::fan_in(inputs));
        Self { weight, bias: None }
    }

    /// `x · Wᵀ + b`.
    ///
    /// # Shapes
    /// - x: `[..., in]`
    /// - output: `[..., out]`, in the precision of `x`
    pub fn forward<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        kernels::linear(x, self.weight.val(), self.bias.as_ref().map(Param::val))
    }
}
