//! `MobileFaceNet` (arXiv 1804.07573): a small ArcFace-style recogniser with 192 numbers a face.
//!
//! Reads the constants of `MobileFaceNet.tflite` (a conversion of sirius-ai's `TensorFlow` weights) as safetensors, under
//! their names and in their layout: norms are folded into the convolutions. The weights come without a clear licence, so
//! none are shipped.
//!
//! Departures from the paper, which the file has: the blocks at one resolution number 5, 6 and 2, and the embedding has
//! 192 numbers.

use std::path::Path;

use burn::module::{Module, Param};
use burn::tensor::module::conv2d;
use burn::tensor::ops::{ConvOptions, PadMode};
use burn::tensor::{Device, Tensor, activation};

use crate::weights::{Checkpoint, Init, Names, Params, Precision, WeightsError};

/// Side of the aligned face, in pixels.
pub const CHIP_SIZE: usize = 112;

const ROOT: &str = "MobileFaceNet/";
const INNER: &str = "MobileFaceNet/MobileFaceNet/";
const LOGITS: &str = "MobileFaceNet/Logits/";

/// Blocks from the input on: the first of a resolution halves it where its stride is 2, all others add their input.
fn blocks() -> Vec<(String, usize)> {
    let group = |number: usize, count: usize, stride: usize| {
        (0..count).map(move |i| (format!("{INNER}Conv2d_{number}_InvResBlock_{i}"), if i == 0 { stride } else { 1 }))
    };
    group(2, 5, 2).chain(group(3, 1, 2)).chain(group(4, 6, 1)).chain(group(5, 1, 2)).chain(group(6, 2, 1)).collect()
}

/// Channels, as they are found in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MobileFaceNetConfig {
    /// Of the first convolution.
    pub stem: usize,
    /// After the first depthwise convolution.
    pub entry: usize,
    /// Inside and after each of the 15 blocks.
    pub blocks: Vec<(usize, usize)>,
    /// After the last convolution over the image.
    pub last: usize,
    /// Numbers in the embedding.
    pub embedding: usize,
}

impl MobileFaceNetConfig {
    /// The widths that the tensors of a checkpoint have.
    ///
    /// # Errors
    /// When a tensor that decides one of them is missing.
    pub fn of(path: &Path, checkpoint: &Checkpoint) -> Result<Self, WeightsError> {
        let outputs = |name: String| match checkpoint.entries().get(&name).map(|entry| entry.shape.as_slice()) {
            Some(&[outputs, ..]) if outputs > 0 => Ok(outputs),
            _ => {
                Err(WeightsError::Invalid { path: path.to_owned(), reason: format!("no {name}, so no MobileFaceNet") })
            }
        };
        let blocks = blocks()
            .iter()
            .map(|(block, _)| {
                Ok((outputs(format!("{block}/Conv/Conv2D_bias"))?, outputs(format!("{block}/Conv_1/Conv2D_bias"))?))
            })
            .collect::<Result<_, WeightsError>>()?;
        Ok(Self {
            stem: outputs(format!("{INNER}Conv2d_0/Conv2D_bias"))?,
            entry: outputs(format!("{INNER}Conv/Conv2D_bias"))?,
            blocks,
            last: outputs(format!("{INNER}Conv2d_7/Conv2D_bias"))?,
            embedding: outputs(format!("{LOGITS}LinearConv1x1/Conv2D_bias"))?,
        })
    }
}

/// The network.
#[derive(Module, Debug)]
pub struct MobileFaceNet {
    stem: Conv,
    entry_depthwise: Conv,
    entry_pointwise: Conv,
    blocks: Vec<Block>,
    last: Conv,
    pool: Conv,
    logits: Conv,
    embedding: Conv,
    #[module(skip)]
    embedding_size: usize,
}

impl MobileFaceNet {
    /// Declares the parameters.
    pub fn new(config: &MobileFaceNetConfig, params: &mut Params<'_, '_>) -> Self {
        let mut inputs = config.entry;
        let layers = blocks();
        let blocks =
            layers.iter().zip(&config.blocks).enumerate().map(|(index, ((scope, stride), &(hidden, outputs)))| {
                let block = Block::new(params, index, scope, *stride, [inputs, hidden, outputs]);
                inputs = outputs;
                block
            });
        let blocks = blocks.collect();
        let inner = |layer: &str| format!("{INNER}{layer}");
        let MobileFaceNetConfig { stem, entry, last, embedding, .. } = *config;
        let logits = |layer: &str| format!("{LOGITS}{layer}");
        Self {
            stem: Conv::full(params, &format!("{ROOT}Conv2d_0"), &inner("Conv2d_0"), [3, stem], 3)
                .with_stride(2)
                .with_prelu(params, &inner("Conv2d_0")),
            entry_depthwise: Conv::depthwise(
                params,
                &format!("{ROOT}SeparableConv2d"),
                &inner("SeparableConv2d"),
                stem,
                3,
            )
            .with_prelu(params, &inner("SeparableConv2d")),
            entry_pointwise: Conv::full(params, &format!("{ROOT}Conv"), &inner("Conv"), [stem, entry], 1),
            blocks,
            last: Conv::full(params, &format!("{ROOT}Conv2d_7"), &inner("Conv2d_7"), [inputs, last], 1)
                .with_prelu(params, &inner("Conv2d_7")),
            pool: Conv::depthwise(params, &logits("SeparableConv2d"), &logits("SeparableConv2d"), last, 7)
                .without_padding(),
            logits: Conv::full(params, &logits("Conv"), &logits("Conv"), [last, last], 1),
            embedding: Conv::full(params, &logits("LinearConv1x1"), &logits("LinearConv1x1"), [last, embedding], 1),
            embedding_size: embedding,
        }
    }

    /// Reads a safetensors file with the constants of the `.tflite` file.
    ///
    /// # Errors
    /// When it cannot be read or holds another network.
    pub fn load(path: &Path, device: &Device) -> Result<Self, WeightsError> {
        let checkpoint = Checkpoint::open_file(path)?;
        let config = MobileFaceNetConfig::of(path, &checkpoint)?;
        let build = |params: &mut Params<'_, '_>| Self::new(&config, params);
        Ok(checkpoint.load(Names::default(), Precision::F32, device, build)?.0)
    }

    /// Numbers in the embedding.
    pub fn embedding_size(&self) -> usize {
        self.embedding_size
    }

    /// # Shapes
    /// - chips: `[batch, 3, 112, 112]`, RGB, 0 to 255
    /// - output: `[batch, embedding]`, not normalised
    pub fn forward(&self, chips: Tensor<4>) -> Tensor<2> {
        let x = self.stem.forward((chips - 127.5) / 128.0);
        let mut x = self.entry_pointwise.forward(self.entry_depthwise.forward(x));
        for block in &self.blocks {
            x = block.forward(x);
        }
        let x = self.pool.forward(self.last.forward(x));
        self.embedding.forward(self.logits.forward(x)).flatten(1, 3)
    }
}

#[derive(Module, Debug)]
struct Block {
    expand: Conv,
    depthwise: Conv,
    project: Conv,
    #[module(skip)]
    stride: usize,
}

impl Block {
    fn new(
        params: &mut Params<'_, '_>,
        index: usize,
        scope: &str,
        stride: usize,
        [inputs, hidden, outputs]: [usize; 3],
    ) -> Self {
        let conv = |number: usize| format!("{ROOT}Conv_{number}");
        let separable = format!("{ROOT}SeparableConv2d_{}", index + 1);
        let inner = |layer: &str| format!("{scope}/{layer}");
        Self {
            expand: Conv::full(params, &conv(2 * index + 1), &inner("Conv"), [inputs, hidden], 1)
                .with_prelu(params, &inner("Conv")),
            depthwise: Conv::depthwise(params, &separable, &inner("SeparableConv2d"), hidden, 3)
                .with_stride(stride)
                .with_prelu(params, &inner("SeparableConv2d")),
            project: Conv::full(params, &conv(2 * index + 2), &inner("Conv_1"), [hidden, outputs], 1),
            stride,
        }
    }

    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let y = self.project.forward(self.depthwise.forward(self.expand.forward(x.clone())));
        if self.stride == 1 { x + y } else { y }
    }
}

/// A convolution as `TFLite` stores it, with the activation that follows.
#[derive(Module, Debug)]
struct Conv {
    /// `[out, kernel, kernel, in]`, depthwise `[1, kernel, kernel, channels]`.
    weight: Param<Tensor<4>>,
    bias: Param<Tensor<1>>,
    /// Half the slope of the rectifier below zero.
    half_slope: Option<Param<Tensor<1>>>,
    #[module(skip)]
    channels: usize,
    #[module(skip)]
    depthwise: bool,
    #[module(skip)]
    padded: bool,
    #[module(skip)]
    stride: usize,
}

impl Conv {
    fn full(
        params: &mut Params<'_, '_>,
        weights: &str,
        scope: &str,
        [inputs, outputs]: [usize; 2],
        kernel: usize,
    ) -> Self {
        let init = Init::fan_in(inputs * kernel * kernel);
        Self {
            weight: params.tensor(&format!("{weights}/weights/read"), [outputs, kernel, kernel, inputs], init),
            bias: params.tensor(&format!("{scope}/Conv2D_bias"), [outputs], Init::Zeros),
            half_slope: None,
            channels: outputs,
            depthwise: false,
            padded: true,
            stride: 1,
        }
    }

    fn depthwise(params: &mut Params<'_, '_>, weights: &str, scope: &str, channels: usize, kernel: usize) -> Self {
        let init = Init::fan_in(kernel * kernel);
        Self {
            weight: params.tensor(&format!("{weights}/depthwise_weights/read"), [1, kernel, kernel, channels], init),
            bias: params.tensor(&format!("{scope}/depthwise_bias"), [channels], Init::Zeros),
            half_slope: None,
            channels,
            depthwise: true,
            padded: true,
            stride: 1,
        }
    }

    fn with_stride(mut self, stride: usize) -> Self {
        self.stride = stride;
        self
    }

    fn with_prelu(mut self, params: &mut Params<'_, '_>, scope: &str) -> Self {
        self.half_slope = Some(params.tensor(&format!("{scope}/mul"), [self.channels], Init::Zeros));
        self
    }

    fn without_padding(mut self) -> Self {
        self.padded = false;
        self
    }

    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let weight = self.weight.val();
        let kernel = weight.dims()[1];
        let (weight, groups) = if self.depthwise {
            (weight.permute([3, 0, 1, 2]), self.channels)
        } else {
            (weight.permute([0, 3, 1, 2]), 1)
        };
        let x = if self.padded { self.pad(x, kernel) } else { x };
        let options = ConvOptions::new([self.stride; 2], [0; 2], [1; 2], groups);
        let x = conv2d(x, weight, Some(self.bias.val()), options);
        match &self.half_slope {
            Some(half_slope) => activation::prelu(x, half_slope.val() * 2.0),
            None => x,
        }
    }

    /// `TensorFlow`'s "SAME": the odd pixel of padding goes to the bottom and the right.
    fn pad(&self, x: Tensor<4>, kernel: usize) -> Tensor<4> {
        let around = |size: usize| {
            let total = ((size.div_ceil(self.stride) - 1) * self.stride + kernel).saturating_sub(size);
            (total / 2, total - total / 2)
        };
        let [.., height, width] = x.dims();
        let (rows, columns) = (around(height), around(width));
        if rows == (0, 0) && columns == (0, 0) { x } else { x.pad([rows, columns], PadMode::Constant(0.0)) }
    }
}
