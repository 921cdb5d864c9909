use burn::module::{Module, Param};
use burn::tensor::module::{conv2d, conv3d};
use burn::tensor::ops::ConvOptions;
use burn::tensor::{DType, Tensor};

use crate::weights::{Init, Params};

/// A 2-D convolution with bias or without.
#[derive(Module, Debug)]
pub struct Conv2d {
    weight: Param<Tensor<4>>,
    bias: Option<Param<Tensor<1>>>,
    #[module(skip)]
    stride: usize,
    #[module(skip)]
    padding: [usize; 2],
}

impl Conv2d {
    /// `name.weight` `[out, in, kernel, kernel]` and `name.bias` `[out]`; stride 1, no padding.
    pub fn new(params: &mut Params<'_, '_>, name: &str, inputs: usize, outputs: usize, kernel: usize) -> Self {
        Self::without_bias(params, name, inputs, outputs, kernel).and_bias(params, name, outputs)
    }

    /// `name.weight` only.
    pub fn without_bias(params: &mut Params<'_, '_>, name: &str, inputs: usize, outputs: usize, kernel: usize) -> Self {
        Self::rectangular(params, name, inputs, outputs, [kernel; 2]).with_padding(0)
    }

    /// `name.weight` `[out, in, height, width]` only; zero padding that keeps the size where the kernel's sides are odd.
    pub fn rectangular(
        params: &mut Params<'_, '_>,
        name: &str,
        inputs: usize,
        outputs: usize,
        [height, width]: [usize; 2],
    ) -> Self {
        let init = Init::fan_in(inputs * height * width);
        let weight = params.at(name).tensor("weight", [outputs, inputs, height, width], init);
        Self { weight, bias: None, stride: 1, padding: [height / 2, width / 2] }
    }

    /// Declares `name.bias` `[out]` too.
    #[must_use]
    pub fn and_bias(mut self, params: &mut Params<'_, '_>, name: &str, outputs: usize) -> Self {
        self.bias = Some(params.at(name).tensor("bias", [outputs], Init::Zeros));
        self
    }

    /// Sets the stride, the same both ways.
    #[must_use]
    pub fn with_stride(mut self, stride: usize) -> Self {
        self.stride = stride;
        self
    }

    /// Sets the zero padding, the same on all four sides.
    #[must_use]
    pub fn with_padding(mut self, padding: usize) -> Self {
        self.padding = [padding; 2];
        self
    }

    /// # Shapes
    /// - x: `[batch, in, height, width]`
    /// - output: `[batch, out, height', width']`
    pub fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let options = ConvOptions::new([self.stride; 2], self.padding, [1; 2], 1);
        let weight = self.weight.val().cast(x.dtype());
        let bias = self.bias_like(x.dtype());
        conv2d(x, weight, bias, options)
    }

    /// Convolves each frame of a video by itself.
    ///
    /// # Shapes
    /// - x: `[batch, in, frames, height, width]`
    /// - output: `[batch, out, frames, height', width']`
    pub fn forward_frames(&self, x: Tensor<5>) -> Tensor<5> {
        let (stride, [vertical, horizontal]) = (self.stride, self.padding);
        let options = ConvOptions::new([1, stride, stride], [0, vertical, horizontal], [1; 3], 1);
        let weight = self.weight.val().cast(x.dtype()).unsqueeze_dim(2);
        let bias = self.bias_like(x.dtype());
        conv3d(x, weight, bias, options)
    }

    fn bias_like(&self, dtype: DType) -> Option<Tensor<1>> {
        self.bias.as_ref().map(|bias| bias.val().cast(dtype))
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
        let padding = [0, self.spatial_padding, self.spatial_padding];
        let weight = self.weight.val().cast(x.dtype());
        let bias = self.bias.val().cast(x.dtype());
        conv3d(x, weight, Some(bias), ConvOptions::new([1; 3], padding, [1; 3], 1))
    }
}
