//! Inception v3 (arXiv 1512.00567) in both forms that metrics use: the network of 2015 as ported from TensorFlow
//! (`pt_inception-2015-12-05-6726825d.pth`, for inception scores) and torchvision's.
//!
//! Source: torchvision 0.24, `models/inception.py`; pytorch-fid, `inception.py`, for what the port does differently:
//! 1008 classes, averages that leave padding out, and a maximum in the last block.

use std::path::Path;

use burn::module::Module;
use burn::tensor::module::{avg_pool2d, interpolate, max_pool2d};
use burn::tensor::ops::{AvgPoolOptions, InterpolateMode, InterpolateOptions, MaxPoolOptions};
use burn::tensor::{Device, Tensor, activation::relu};

use crate::nn::{BatchNorm, Conv2d, Linear};
use crate::weights::{Checkpoint, Names, Params, Precision, WeightsError};

/// Side of the images, in pixels.
pub const IMAGE_SIZE: usize = 299;
/// Width of [`InceptionFeatures::pooled`].
pub const FEATURES: usize = 2048;

/// Which of the two networks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InceptionVariant {
    /// Ported from TensorFlow.
    TensorFlow2015,
    /// torchvision's `Inception_V3_Weights.IMAGENET1K_V1`.
    Torchvision,
}

impl InceptionVariant {
    /// Number of classes.
    pub fn classes(self) -> usize {
        match self {
            Self::TensorFlow2015 => 1008,
            Self::Torchvision => 1000,
        }
    }
}

/// What the network makes of images.
#[derive(Debug, Clone)]
pub struct InceptionFeatures {
    /// Means of the last feature maps, `[batch, 2048]`.
    pub pooled: Tensor<2>,
    /// Scores of the classes without the classifier's bias, as inception scores are computed, `[batch, classes]`.
    pub logits: Tensor<2>,
}

/// The network.
#[derive(Module, Debug)]
pub struct Inception {
    stem: Vec<BasicConv>,
    mixed: Vec<Mixed>,
    classifier: Linear,
    #[module(skip)]
    variant: InceptionVariant,
}

impl Inception {
    /// Declares the parameters under torchvision's names, which the port has too; not the auxiliary classifier, nor the
    /// bias of the last layer.
    pub fn new(variant: InceptionVariant, params: &mut Params<'_, '_>) -> Self {
        let mut conv = |name: &str, inputs, outputs, kernel| BasicConv::new(params, name, inputs, outputs, [kernel; 2]);
        let stem = vec![
            conv("Conv2d_1a_3x3", 3, 32, 3).reducing(2),
            conv("Conv2d_2a_3x3", 32, 32, 3).reducing(1),
            conv("Conv2d_2b_3x3", 32, 64, 3),
            conv("Conv2d_3b_1x1", 64, 80, 1),
            conv("Conv2d_4a_3x3", 80, 192, 3).reducing(1),
        ];
        let (average, last) = match variant {
            InceptionVariant::TensorFlow2015 => (Pool::AverageInside, Pool::Max),
            InceptionVariant::Torchvision => (Pool::Average, Pool::Average),
        };
        let mixed = vec![
            Mixed::a(&mut params.at("Mixed_5b"), 192, 32, average),
            Mixed::a(&mut params.at("Mixed_5c"), 256, 64, average),
            Mixed::a(&mut params.at("Mixed_5d"), 288, 64, average),
            Mixed::b(&mut params.at("Mixed_6a"), 288),
            Mixed::c(&mut params.at("Mixed_6b"), 128, average),
            Mixed::c(&mut params.at("Mixed_6c"), 160, average),
            Mixed::c(&mut params.at("Mixed_6d"), 160, average),
            Mixed::c(&mut params.at("Mixed_6e"), 192, average),
            Mixed::d(&mut params.at("Mixed_7a")),
            Mixed::e(&mut params.at("Mixed_7b"), 1280, average),
            Mixed::e(&mut params.at("Mixed_7c"), FEATURES, last),
        ];
        Self { stem, mixed, classifier: Linear::without_bias(params, "fc", FEATURES, variant.classes()), variant }
    }

    /// Reads a released `.pth` file, or a safetensors file with the same names.
    ///
    /// # Errors
    /// When it cannot be read, or holds another network.
    pub fn load(path: &Path, variant: InceptionVariant, device: &Device) -> Result<Self, WeightsError> {
        let names = Names { prefix: "", ignored: &["num_batches_tracked", "AuxLogits.", "fc.bias"] };
        let build = |params: &mut Params<'_, '_>| Self::new(variant, params);
        Ok(Checkpoint::open_any(path)?.load(names, Precision::F32, device, build)?.0)
    }

    /// Number of classes.
    pub fn classes(&self) -> usize {
        self.variant.classes()
    }

    /// Images of any size to the network's, by bilinear interpolation between pixel centres, without antialiasing: what
    /// the port does before its first layer.
    ///
    /// # Shapes
    /// - images: `[batch, 3, height, width]`
    /// - output: `[batch, 3, 299, 299]`
    pub fn resize(images: Tensor<4>) -> Tensor<4> {
        let options = InterpolateOptions::new(InterpolateMode::Bilinear).with_align_corners(false);
        interpolate(images, options.with_output_size([IMAGE_SIZE; 2]))
    }

    /// # Shapes
    /// - images: `[batch, 3, 299, 299]`, RGB, 0 to 1
    pub fn forward(&self, images: Tensor<4>) -> InceptionFeatures {
        let reduced = |x| max_pool(x, 2, 0);
        let mut x = self.normalise(images);
        for (index, conv) in self.stem.iter().enumerate() {
            x = conv.forward(x);
            // After the third and the fifth convolution.
            if index == 2 || index == 4 {
                x = reduced(x);
            }
        }
        let maps = self.mixed.iter().fold(x, |x, block| block.forward(x));
        let pooled = maps.flatten::<3>(2, 3).mean_dim(2).squeeze_dim::<2>(2);
        InceptionFeatures { logits: self.classifier.forward(pooled.clone()), pooled }
    }

    /// From 0 to 1 to −1 to 1; torchvision's weights want it by way of ImageNet's statistics.
    fn normalise(&self, images: Tensor<4>) -> Tensor<4> {
        match self.variant {
            InceptionVariant::TensorFlow2015 => images * 2.0 - 1.0,
            InceptionVariant::Torchvision => {
                let device = images.device();
                let channel = |values: [f32; 3]| Tensor::<1>::from_floats(values, &device).reshape([1, 3, 1, 1]);
                images * channel([0.229, 0.224, 0.225].map(|std| std / 0.5))
                    + channel([0.485, 0.456, 0.406].map(|mean| (mean - 0.5) / 0.5))
            }
        }
    }
}

/// Convolution, batch norm, rectifier.
#[derive(Module, Debug)]
struct BasicConv {
    conv: Conv2d,
    norm: BatchNorm,
}

impl BasicConv {
    /// Keeps the size of its input.
    fn new(params: &mut Params<'_, '_>, name: &str, inputs: usize, outputs: usize, kernel: [usize; 2]) -> Self {
        let mut params = params.at(name);
        Self {
            conv: Conv2d::without_bias(&mut params, "conv", inputs, outputs, kernel)
                .with_padding(kernel.map(|side| side / 2)),
            norm: BatchNorm::new(&mut params, "bn", outputs, 1e-3),
        }
    }

    /// Without padding, at this stride.
    fn reducing(mut self, stride: usize) -> Self {
        self.conv = self.conv.with_stride(stride).with_padding(0);
        self
    }

    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        relu(self.norm.forward(self.conv.forward(x)))
    }
}

/// What the branch without a first convolution does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pool {
    /// Mean of 3×3 pixels, zeros beyond the border counted.
    Average,
    /// Mean of those of 3×3 pixels that are inside.
    AverageInside,
    /// Maximum of 3×3 pixels.
    Max,
    /// Maximum of 3×3 pixels, at half the size.
    MaxReducing,
}

impl Pool {
    fn forward(self, x: Tensor<4>) -> Tensor<4> {
        let average = |x, inside: bool| {
            let options = AvgPoolOptions { stride: [1, 1], padding: [(1, 1); 2], ..AvgPoolOptions::new([3, 3]) };
            avg_pool2d(x, AvgPoolOptions { count_include_pad: !inside, ..options })
        };
        match self {
            Self::Average => average(x, false),
            Self::AverageInside => average(x, true),
            Self::Max => max_pool(x, 1, 1),
            Self::MaxReducing => max_pool(x, 2, 0),
        }
    }
}

fn max_pool(x: Tensor<4>, stride: usize, padding: usize) -> Tensor<4> {
    let padding = [(padding, padding); 2];
    max_pool2d(x, MaxPoolOptions { stride: [stride; 2], padding, ..MaxPoolOptions::new([3, 3]) })
}

/// Branches side by side, their channels joined.
#[derive(Module, Debug)]
struct Mixed {
    branches: Vec<Branch>,
    pool_conv: Option<BasicConv>,
    #[module(skip)]
    pool: Pool,
}

/// Convolutions one after the other, then perhaps two side by side.
#[derive(Module, Debug)]
struct Branch {
    chain: Vec<BasicConv>,
    fork: Vec<BasicConv>,
}

/// Name, channels and kernel of a convolution.
type Step = (&'static str, usize, [usize; 2]);

impl Branch {
    fn new(params: &mut Params<'_, '_>, inputs: usize, chain: &[Step], fork: &[Step]) -> Self {
        let mut width = inputs;
        let chain = chain.iter().map(|&(name, outputs, kernel)| {
            let conv = BasicConv::new(params, name, width, outputs, kernel);
            width = outputs;
            conv
        });
        let chain = chain.collect();
        let fork = fork.iter().map(|&(name, outputs, kernel)| BasicConv::new(params, name, width, outputs, kernel));
        Self { fork: fork.collect(), chain }
    }

    /// The last convolution halves the size.
    fn halving(mut self) -> Self {
        let last = self.chain.pop().map(|conv| conv.reducing(2));
        self.chain.extend(last);
        self
    }

    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let x = self.chain.iter().fold(x, |x, conv| conv.forward(x));
        match self.fork.as_slice() {
            [] => x,
            fork => Tensor::cat(fork.iter().map(|conv| conv.forward(x.clone())).collect(), 1),
        }
    }
}

impl Mixed {
    fn a(params: &mut Params<'_, '_>, inputs: usize, pool_features: usize, pool: Pool) -> Self {
        let branches = [
            &[("branch1x1", 64, [1, 1])][..],
            &[("branch5x5_1", 48, [1, 1]), ("branch5x5_2", 64, [5, 5])],
            &[("branch3x3dbl_1", 64, [1, 1]), ("branch3x3dbl_2", 96, [3, 3]), ("branch3x3dbl_3", 96, [3, 3])],
        ];
        Self::keeping(params, inputs, &branches, pool_features, pool)
    }

    fn b(params: &mut Params<'_, '_>, inputs: usize) -> Self {
        let branches = [
            &[("branch3x3", 384, [3, 3])][..],
            &[("branch3x3dbl_1", 64, [1, 1]), ("branch3x3dbl_2", 96, [3, 3]), ("branch3x3dbl_3", 96, [3, 3])],
        ];
        Self::halving(params, inputs, &branches)
    }

    fn c(params: &mut Params<'_, '_>, width: usize, pool: Pool) -> Self {
        let branches = [
            &[("branch1x1", 192, [1, 1])][..],
            &[("branch7x7_1", width, [1, 1]), ("branch7x7_2", width, [1, 7]), ("branch7x7_3", 192, [7, 1])],
            &[
                ("branch7x7dbl_1", width, [1, 1]),
                ("branch7x7dbl_2", width, [7, 1]),
                ("branch7x7dbl_3", width, [1, 7]),
                ("branch7x7dbl_4", width, [7, 1]),
                ("branch7x7dbl_5", 192, [1, 7]),
            ],
        ];
        Self::keeping(params, 768, &branches, 192, pool)
    }

    fn d(params: &mut Params<'_, '_>) -> Self {
        let branches = [
            &[("branch3x3_1", 192, [1, 1]), ("branch3x3_2", 320, [3, 3])][..],
            &[
                ("branch7x7x3_1", 192, [1, 1]),
                ("branch7x7x3_2", 192, [1, 7]),
                ("branch7x7x3_3", 192, [7, 1]),
                ("branch7x7x3_4", 192, [3, 3]),
            ],
        ];
        Self::halving(params, 768, &branches)
    }

    fn e(params: &mut Params<'_, '_>, inputs: usize, pool: Pool) -> Self {
        let mut branch = |chain: &[Step], fork: &[Step]| Branch::new(params, inputs, chain, fork);
        let branches = vec![
            branch(&[("branch1x1", 320, [1, 1])], &[]),
            branch(&[("branch3x3_1", 384, [1, 1])], &[("branch3x3_2a", 384, [1, 3]), ("branch3x3_2b", 384, [3, 1])]),
            branch(
                &[("branch3x3dbl_1", 448, [1, 1]), ("branch3x3dbl_2", 384, [3, 3])],
                &[("branch3x3dbl_3a", 384, [1, 3]), ("branch3x3dbl_3b", 384, [3, 1])],
            ),
        ];
        Self { branches, pool_conv: Some(BasicConv::new(params, "branch_pool", inputs, 192, [1, 1])), pool }
    }

    fn keeping(params: &mut Params<'_, '_>, inputs: usize, branches: &[&[Step]], pooled: usize, pool: Pool) -> Self {
        let branches = branches.iter().map(|chain| Branch::new(params, inputs, chain, &[])).collect();
        Self { branches, pool_conv: Some(BasicConv::new(params, "branch_pool", inputs, pooled, [1, 1])), pool }
    }

    fn halving(params: &mut Params<'_, '_>, inputs: usize, branches: &[&[Step]]) -> Self {
        let branches = branches.iter().map(|chain| Branch::new(params, inputs, chain, &[]).halving()).collect();
        Self { branches, pool_conv: None, pool: Pool::MaxReducing }
    }

    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let mut parts: Vec<Tensor<4>> = self.branches.iter().map(|branch| branch.forward(x.clone())).collect();
        let pooled = self.pool.forward(x);
        parts.push(match &self.pool_conv {
            Some(conv) => conv.forward(pooled),
            None => pooled,
        });
        Tensor::cat(parts, 1)
    }
}
