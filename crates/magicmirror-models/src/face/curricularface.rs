//! `CurricularFace`'s recogniser (arXiv 2004.00288): the residual network IR-101, from
//! `glint360k_curricular_face_r101_backbone.bin` or any other state dict of TFace's.
//!
//! Source: TFace, `recognition/torchkit/backbone/model_irse.py`, as ConsisID @60429e4 has it under
//! `util/on_going_module/curricularface`; what comes before the network is in ConsisID's `eval/get_facesim_fid.py`.

use std::path::Path;

use burn::module::{Module, Param};
use burn::tensor::module::{avg_pool2d, max_pool2d};
use burn::tensor::ops::{AvgPoolOptions, MaxPoolOptions};
use burn::tensor::{Device, Tensor};

use super::layers::PRelu;
use crate::nn::{BatchNorm, Conv2d, Linear};
use crate::weights::{Checkpoint, Init, Names, Params, Precision, WeightsError};

/// Side of the aligned face, in pixels, before it is halved for the network.
pub const CHIP_SIZE: usize = 224;

const EPSILON: f64 = 1e-5;

/// Sizes of a [`CurricularFace`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CurricularFaceConfig {
    /// Channels of the first convolution.
    pub stem: usize,
    /// Channels of each of the four groups of blocks, and how many blocks it has; the first of them halves the image.
    pub groups: [(usize, usize); 4],
    /// Numbers in the embedding.
    pub embedding: usize,
}

impl CurricularFaceConfig {
    /// The released network.
    pub fn ir_101() -> Self {
        Self { stem: 64, groups: [(64, 3), (128, 13), (256, 30), (512, 3)], embedding: 512 }
    }
}

/// The network.
#[derive(Module, Debug)]
pub struct CurricularFace {
    conv: Conv2d,
    norm: BatchNorm,
    prelu: PRelu,
    body: Vec<Block>,
    last_norm: BatchNorm,
    linear: Linear,
    mean: Param<Tensor<1>>,
    variance: Param<Tensor<1>>,
    #[module(skip)]
    embedding: usize,
}

impl CurricularFace {
    /// Declares `input_layer`, `body.{i}` and `output_layer`.
    pub fn new(config: &CurricularFaceConfig, params: &mut Params<'_, '_>) -> Self {
        let mut channels = config.stem;
        let mut body = Vec::new();
        for (outputs, count) in config.groups {
            for index in 0..count {
                let stride = if index == 0 { 2 } else { 1 };
                body.push(Block::new(channels, outputs, stride, &mut params.at(format!("body.{}", body.len()))));
                channels = outputs;
            }
        }
        // Four groups halve 112 pixels to 7.
        let features = channels * 7 * 7;
        Self {
            conv: Conv2d::without_bias(params, "input_layer.0", 3, config.stem, 3).with_padding(1),
            norm: BatchNorm::new(params, "input_layer.1", config.stem, EPSILON),
            prelu: PRelu::new(params, "input_layer.2", config.stem),
            body,
            last_norm: BatchNorm::new(params, "output_layer.0", channels, EPSILON),
            linear: Linear::new(params, "output_layer.3", features, config.embedding),
            mean: params.tensor("output_layer.4.running_mean", [config.embedding], Init::Zeros),
            variance: params.tensor("output_layer.4.running_var", [config.embedding], Init::Ones),
            embedding: config.embedding,
        }
    }

    /// Reads a released `.bin` file, or a safetensors file with the same names.
    ///
    /// # Errors
    /// When it cannot be read, or holds a network of other sizes.
    pub fn load(path: &Path, config: &CurricularFaceConfig, device: &Device) -> Result<Self, WeightsError> {
        let names = Names { ignored: &["num_batches_tracked"], ..Names::default() };
        let build = |params: &mut Params<'_, '_>| Self::new(config, params);
        Ok(Checkpoint::open_any(path)?.load(names, Precision::F32, device, build)?.0)
    }

    /// Numbers in the embedding.
    pub fn embedding_size(&self) -> usize {
        self.embedding
    }

    /// # Shapes
    /// - chips: `[batch, 3, 224, 224]`, RGB, 0 to 255
    /// - output: `[batch, embedding]`, not normalised
    pub fn forward(&self, chips: Tensor<4>) -> Tensor<2> {
        let halved = avg_pool2d(chips, AvgPoolOptions { stride: [2; 2], ..AvgPoolOptions::new([2, 2]) });
        let x = self.conv.forward((halved - 127.5) / 127.5);
        let mut x = self.prelu.forward(self.norm.forward(x));
        for block in &self.body {
            x = block.forward(x);
        }
        let x = self.linear.forward(self.last_norm.forward(x).flatten(1, 3));
        (x - self.mean.val().unsqueeze()) / (self.variance.val() + EPSILON).sqrt().unsqueeze()
    }
}

/// Norm, convolution, norm, rectifier, convolution, norm, beside a shortcut.
#[derive(Module, Debug)]
struct Block {
    norm1: BatchNorm,
    conv1: Conv2d,
    norm2: BatchNorm,
    prelu: PRelu,
    conv2: Conv2d,
    norm3: BatchNorm,
    /// Where the width changes.
    shortcut: Option<(Conv2d, BatchNorm)>,
    #[module(skip)]
    stride: usize,
}

impl Block {
    fn new(inputs: usize, outputs: usize, stride: usize, params: &mut Params<'_, '_>) -> Self {
        let shortcut = (inputs != outputs).then(|| {
            let conv = Conv2d::without_bias(params, "shortcut_layer.0", inputs, outputs, 1).with_stride(stride);
            (conv, BatchNorm::new(params, "shortcut_layer.1", outputs, EPSILON))
        });
        let mut params = params.at("res_layer");
        let conv = |params: &mut Params<'_, '_>, name, inputs| {
            Conv2d::without_bias(params, name, inputs, outputs, 3).with_padding(1)
        };
        Self {
            norm1: BatchNorm::new(&mut params, "0", inputs, EPSILON),
            conv1: conv(&mut params, "1", inputs),
            norm2: BatchNorm::new(&mut params, "2", outputs, EPSILON),
            prelu: PRelu::new(&mut params, "3", outputs),
            conv2: conv(&mut params, "4", outputs).with_stride(stride),
            norm3: BatchNorm::new(&mut params, "5", outputs, EPSILON),
            shortcut,
            stride,
        }
    }

    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let y = self.norm2.forward(self.conv1.forward(self.norm1.forward(x.clone())));
        let y = self.norm3.forward(self.conv2.forward(self.prelu.forward(y)));
        let shortcut = match &self.shortcut {
            Some((conv, norm)) => norm.forward(conv.forward(x)),
            None if self.stride == 1 => x,
            // Every second pixel of every second row.
            None => max_pool2d(x, MaxPoolOptions { stride: [self.stride; 2], ..MaxPoolOptions::new([1, 1]) }),
        };
        y + shortcut
    }
}
