use burn::module::{Module, Param};
use burn::tensor::Tensor;

use super::kernels::{self, ConvolutionOptions};
use crate::weights::{Init, Params};

/// Height and width: one number for both, or each.
pub trait Sides {
    /// Height, width.
    fn sides(self) -> [usize; 2];
}

impl Sides for usize {
    fn sides(self) -> [usize; 2] {
        [self; 2]
    }
}

impl Sides for [usize; 2] {
    fn sides(self) -> [usize; 2] {
        self
    }
}

/// A 2-D convolution with bias or without.
#[derive(Module, Debug)]
pub struct Conv2d {
    weight: Param<Tensor<4>>,
    bias: Option<Param<Tensor<1>>>,
    #[module(skip)]
    stride: usize,
    #[module(skip)]
    padding: [[usize; 2]; 2],
}

impl Conv2d {
    /// `name.weight` `[out, in, height, width]` and `name.bias` `[out]`; stride 1, no padding.
    pub fn new(params: &mut Params<'_, '_>, name: &str, inputs: usize, outputs: usize, kernel: impl Sides) -> Self {
        let conv = Self::without_bias(params, name, inputs, outputs, kernel);
        Self { bias: Some(params.at(name).tensor("bias", [outputs], Init::Zeros)), ..conv }
    }

    /// `name.weight` only.
    pub fn without_bias(
        params: &mut Params<'_, '_>,
        name: &str,
        inputs: usize,
        outputs: usize,
        kernel: impl Sides,
    ) -> Self {
        let [height, width] = kernel.sides();
        let init = Init::fan_in(inputs * height * width);
        let weight = params.at(name).tensor("weight", [outputs, inputs, height, width], init);
        Self { weight, bias: None, stride: 1, padding: [[0; 2]; 2] }
    }

    /// Sets the stride, the same both ways.
    #[must_use]
    pub fn with_stride(mut self, stride: usize) -> Self {
        self.stride = stride;
        self
    }

    /// Sets the zero padding, the same before and after.
    #[must_use]
    pub fn with_padding(mut self, padding: impl Sides) -> Self {
        self.padding = padding.sides().map(|padding| [padding; 2]);
        self
    }

    /// Sets the zero padding below and to the right only.
    #[must_use]
    pub fn with_padding_after(mut self, padding: usize) -> Self {
        self.padding = [[0, padding]; 2];
        self
    }

    /// # Shapes
    /// - x: `[batch, in, height, width]`
    /// - output: `[batch, out, height', width']`
    pub fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        self.forward_frames(x.unsqueeze_dim(2)).squeeze_dim(2)
    }

    /// Convolves each frame of a video by itself.
    ///
    /// # Shapes
    /// - x: `[batch, in, frames, height, width]`
    /// - output: `[batch, out, frames, height', width']`
    pub fn forward_frames(&self, x: Tensor<5>) -> Tensor<5> {
        let weight = self.weight.val().unsqueeze_dim(2);
        let options = ConvolutionOptions { stride: self.stride, padding: self.padding, repeat_first: false };
        kernels::convolution(x, weight, self.bias.as_ref().map(Param::val), options)
    }
}

/// A 3-D convolution with bias, stride 1 and no padding of its own.
#[derive(Module, Debug)]
pub struct Conv3d {
    weight: Param<Tensor<5>>,
    bias: Param<Tensor<1>>,
    #[module(skip)]
    spatial_padding: usize,
}

impl Conv3d {
    /// `name.weight` `[out, in, kernel, kernel, kernel]` and `name.bias` `[out]`.
    pub fn new(params: &mut Params<'_, '_>, name: &str, inputs: usize, outputs: usize, kernel: usize) -> Self {
        let mut params = params.at(name);
        let init = Init::fan_in(inputs * kernel * kernel * kernel);
        Self {
            weight: params.tensor("weight", [outputs, inputs, kernel, kernel, kernel], init),
            bias: params.tensor("bias", [outputs], Init::Zeros),
            spatial_padding: 0,
        }
    }

    /// Sets the zero padding of height and width; frames are never padded here.
    #[must_use]
    pub fn with_spatial_padding(mut self, padding: usize) -> Self {
        self.spatial_padding = padding;
        self
    }

    /// # Shapes
    /// - x: `[batch, in, frames, height, width]`
    /// - output: `[batch, out, frames − kernel + 1, height', width']`
    pub fn forward(&self, x: Tensor<5>) -> Tensor<5> {
        self.convolve(x, false)
    }

    /// As [`Self::forward`] with copies of the first frame before it, one fewer than the kernel has frames.
    ///
    /// # Shapes
    /// - x: `[batch, in, frames, height, width]`
    /// - output: `[batch, out, frames, height', width']`
    pub fn forward_from_first(&self, x: Tensor<5>) -> Tensor<5> {
        self.convolve(x, true)
    }

    fn convolve(&self, x: Tensor<5>, repeat_first: bool) -> Tensor<5> {
        let options = ConvolutionOptions { stride: 1, padding: [[self.spatial_padding; 2]; 2], repeat_first };
        kernels::convolution(x, self.weight.val(), Some(self.bias.val()), options)
    }
}
