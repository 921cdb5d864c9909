//! `ArcFace`'s recogniser: `InsightFace`'s improved residual network, from its ONNX releases (`w600k_r50`, `glintr100`).
//!
//! Source: `InsightFace`, `recognition/arcface_torch/backbones/iresnet.py`. Each norm that follows a convolution is part
//! of it, as the releases have it.

use std::path::Path;

use burn::module::Module;
use burn::tensor::{Device, Tensor};

use super::layers::{ChannelAffine, PRelu};
use super::onnx::read_iresnet;
use crate::nn::{Conv2d, Linear};
use crate::weights::{Names, Params, Precision, WeightsError};

/// Side of the aligned face, in pixels.
pub const CHIP_SIZE: usize = 112;

/// One residual block: norm, convolution, rectifier, convolution.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlockConfig {
    /// Channels before.
    pub inputs: usize,
    /// Channels between the convolutions.
    pub width: usize,
    /// Channels after.
    pub outputs: usize,
    /// Stride of the second convolution.
    pub stride: usize,
    /// Whether a 1×1 convolution brings the input to the output's shape.
    pub projected: bool,
}

/// Sizes of an [`IResNet`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IResNetConfig {
    /// Channels of the first convolution.
    pub stem: usize,
    /// The blocks, from the input on.
    pub blocks: Vec<BlockConfig>,
    /// Numbers in the embedding.
    pub embedding: usize,
}

impl IResNetConfig {
    /// Side of the last feature map.
    fn last_size(&self) -> usize {
        self.blocks.iter().fold(CHIP_SIZE, |size, block| (size - 1) / block.stride + 1)
    }

    /// Channels of the last feature map.
    fn last_channels(&self) -> usize {
        self.blocks.last().map_or(self.stem, |block| block.outputs)
    }

    /// Width of the last feature map, flattened.
    pub fn features(&self) -> usize {
        self.last_channels() * self.last_size() * self.last_size()
    }
}

/// The network.
#[derive(Module, Debug)]
pub struct IResNet {
    conv1: Conv2d,
    prelu: PRelu,
    blocks: Vec<Block>,
    bn2: ChannelAffine,
    fc: Linear,
    #[module(skip)]
    embedding: usize,
}

impl IResNet {
    /// Declares the parameters. The names are our own: `conv1`, `prelu`, `blocks.{i}.{bn1,conv1,prelu,conv2,downsample}`,
    /// `bn2`, `fc`, each with `weight` and, but for `prelu`, `bias`.
    pub fn new(config: &IResNetConfig, params: &mut Params<'_, '_>) -> Self {
        let blocks = config.blocks.iter().enumerate();
        Self {
            conv1: Conv2d::new(params, "conv1", 3, config.stem, 3).with_padding(1),
            prelu: PRelu::new(params, "prelu", config.stem),
            blocks: blocks.map(|(i, block)| Block::new(*block, &mut params.at(format!("blocks.{i}")))).collect(),
            bn2: ChannelAffine::new(params, "bn2", config.last_channels()),
            fc: Linear::new(params, "fc", config.features(), config.embedding),
            embedding: config.embedding,
        }
    }

    /// Reads an ONNX file; depth and widths are those of its graph.
    ///
    /// # Errors
    /// When it cannot be read, or is not this kind of network.
    pub fn load(path: &Path, device: &Device) -> Result<Self, WeightsError> {
        let (config, checkpoint) = read_iresnet(path)?;
        let build = |params: &mut Params<'_, '_>| Self::new(&config, params);
        Ok(checkpoint.load(Names::default(), Precision::F32, device, build)?.0)
    }

    /// Numbers in the embedding.
    pub fn embedding_size(&self) -> usize {
        self.embedding
    }

    /// # Shapes
    /// - chips: `[batch, 3, 112, 112]`, RGB, 0 to 255
    /// - output: `[batch, embedding]`, not normalised
    pub fn forward(&self, chips: Tensor<4>) -> Tensor<2> {
        let mut x = self.prelu.forward(self.conv1.forward((chips - 127.5) / 127.5));
        for block in &self.blocks {
            x = block.forward(x);
        }
        self.fc.forward(self.bn2.forward(x).flatten(1, 3))
    }
}

#[derive(Module, Debug)]
struct Block {
    bn1: ChannelAffine,
    conv1: Conv2d,
    prelu: PRelu,
    conv2: Conv2d,
    downsample: Option<Conv2d>,
}

impl Block {
    fn new(config: BlockConfig, params: &mut Params<'_, '_>) -> Self {
        let BlockConfig { inputs, width, outputs, stride, projected } = config;
        Self {
            bn1: ChannelAffine::new(params, "bn1", inputs),
            conv1: Conv2d::new(params, "conv1", inputs, width, 3).with_padding(1),
            prelu: PRelu::new(params, "prelu", width),
            conv2: Conv2d::new(params, "conv2", width, outputs, 3).with_padding(1).with_stride(stride),
            downsample: projected.then(|| Conv2d::new(params, "downsample", inputs, outputs, 1).with_stride(stride)),
        }
    }

    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let y = self.prelu.forward(self.conv1.forward(self.bn1.forward(x.clone())));
        let shortcut = match &self.downsample {
            Some(conv) => conv.forward(x),
            None => x,
        };
        self.conv2.forward(y) + shortcut
    }
}
