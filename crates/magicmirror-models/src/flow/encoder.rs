//! The encoder that RAFT uses for features and for context: six residual blocks at an eighth of the size.

use burn::module::Module;
use burn::tensor::{Tensor, activation::relu};

use crate::nn::{BatchNorm, Conv2d, instance_norm};
use crate::weights::Params;

const EPSILON: f64 = 1e-5;

/// Which norm follows every convolution.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Normalisation {
    Instance,
    Batch,
}

/// Images to features of an eighth of their size.
#[derive(Module, Debug)]
pub(super) struct Encoder {
    conv1: Conv2d,
    norm1: Norm,
    blocks: Vec<ResidualBlock>,
    conv2: Conv2d,
}

impl Encoder {
    pub(super) fn new(params: &mut Params<'_, '_>, outputs: usize, norm: Normalisation) -> Self {
        // Layer number, channels before and after, stride of its first block.
        let layers = [(1, 64, 64, 1), (2, 64, 96, 2), (3, 96, 128, 2)];
        let blocks = layers.into_iter().flat_map(|(layer, inputs, outputs, stride)| {
            [
                ResidualBlock::new(&mut params.at(format!("layer{layer}.0")), inputs, outputs, stride, norm),
                ResidualBlock::new(&mut params.at(format!("layer{layer}.1")), outputs, outputs, 1, norm),
            ]
        });
        let blocks = blocks.collect();
        Self {
            conv1: Conv2d::new(params, "conv1", 3, 64, 7).with_padding(3).with_stride(2),
            norm1: Norm::new(params, "norm1", 64, norm),
            blocks,
            conv2: Conv2d::new(params, "conv2", 128, outputs, 1),
        }
    }

    /// `[batch, 3, height, width]` to `[batch, outputs, height / 8, width / 8]`.
    pub(super) fn forward(&self, image: Tensor<4>) -> Tensor<4> {
        let x = relu(self.norm1.forward(self.conv1.forward(image)));
        self.conv2.forward(self.blocks.iter().fold(x, |x, block| block.forward(x)))
    }
}

#[derive(Module, Debug)]
struct ResidualBlock {
    conv1: Conv2d,
    norm1: Norm,
    conv2: Conv2d,
    norm2: Norm,
    shortcut: Option<Shortcut>,
}

impl ResidualBlock {
    fn new(params: &mut Params<'_, '_>, inputs: usize, outputs: usize, stride: usize, norm: Normalisation) -> Self {
        Self {
            conv1: Conv2d::new(params, "conv1", inputs, outputs, 3).with_padding(1).with_stride(stride),
            norm1: Norm::new(params, "norm1", outputs, norm),
            conv2: Conv2d::new(params, "conv2", outputs, outputs, 3).with_padding(1),
            norm2: Norm::new(params, "norm2", outputs, norm),
            shortcut: (stride > 1).then(|| Shortcut {
                conv: Conv2d::new(params, "downsample.0", inputs, outputs, 1).with_stride(stride),
                norm: Norm::new(params, "downsample.1", outputs, norm),
            }),
        }
    }

    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let y = relu(self.norm1.forward(self.conv1.forward(x.clone())));
        let y = relu(self.norm2.forward(self.conv2.forward(y)));
        let x = match &self.shortcut {
            Some(Shortcut { conv, norm }) => norm.forward(conv.forward(x)),
            None => x,
        };
        relu(x + y)
    }
}

#[derive(Module, Debug)]
struct Shortcut {
    conv: Conv2d,
    norm: Norm,
}

/// A batch norm, or an instance norm, which has no parameters.
#[derive(Module, Debug)]
struct Norm {
    batch: Option<BatchNorm>,
}

impl Norm {
    fn new(params: &mut Params<'_, '_>, name: &str, channels: usize, norm: Normalisation) -> Self {
        Self { batch: (norm == Normalisation::Batch).then(|| BatchNorm::new(params, name, channels, EPSILON)) }
    }

    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        match &self.batch {
            Some(norm) => norm.forward(x),
            None => instance_norm(x, EPSILON),
        }
    }
}
