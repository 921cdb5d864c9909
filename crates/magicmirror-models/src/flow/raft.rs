//! RAFT (arXiv 2003.12039), the large model, from the authors' files (`raft-things.pth` and its siblings).
//!
//! Source: princeton-vl/RAFT, `core/raft.py`, without mixed precision. The paper's numbers in VBench and EvalCrafter
//! come from it with 20 iterations.

use std::path::Path;

use burn::module::Module;
use burn::tensor::ops::{PadMode, UnfoldOptions};
use burn::tensor::{Device, Int, Tensor, activation, module::unfold4d};

use super::correlation::CorrelationPyramid;
use super::encoder::{Encoder, Normalisation};
use super::update::UpdateBlock;
use crate::weights::{Checkpoint, Names, Params, Precision, WeightsError};

/// Pixels for each cell of the flow field before it is upsampled, in height and width.
const CELL: usize = 8;
/// Channels of the hidden state, and of the context.
pub(super) const HIDDEN: usize = 128;

/// The network.
#[derive(Module, Debug)]
pub struct Raft {
    feature_encoder: Encoder,
    context_encoder: Encoder,
    update: UpdateBlock,
}

impl Raft {
    /// Declares `fnet`, `cnet` and `update_block`, as the released files have them after their prefix `module.`.
    pub fn new(params: &mut Params<'_, '_>) -> Self {
        Self {
            feature_encoder: Encoder::new(&mut params.at("fnet"), 256, Normalisation::Instance),
            context_encoder: Encoder::new(&mut params.at("cnet"), 2 * HIDDEN, Normalisation::Batch),
            update: UpdateBlock::new(&mut params.at("update_block")),
        }
    }

    /// Reads a released `.pth` file, or a safetensors file with the same names, with or without the prefix.
    ///
    /// # Errors
    /// When it cannot be read, or holds another network (the small RAFT, for one).
    pub fn load(path: &Path, device: &Device) -> Result<Self, WeightsError> {
        let checkpoint = Checkpoint::open_any(path)?;
        let parallel = checkpoint.entries().keys().any(|name| name.starts_with("module."));
        let names = Names {
            prefix: if parallel { "module." } else { "" },
            // A block's third norm is stored twice: by itself, and in the shortcut, which is where it is read here.
            ignored: &["num_batches_tracked", "norm3.weight", "norm3.bias", "norm3.running_mean", "norm3.running_var"],
        };
        Ok(checkpoint.load(names, Precision::F32, device, Self::new)?.0)
    }

    /// The flow from `first` to `second`: the pixel at `(x, y)` moves to `(x + flow[0], y + flow[1])`.
    ///
    /// # Shapes
    /// - first, second: `[batch, 3, height, width]`, RGB, 0 to 255
    /// - output: `[batch, 2, height, width]`, in pixels, to the right and down
    ///
    /// # Panics
    /// When the images differ in size or have a side of nothing.
    pub fn forward(&self, first: Tensor<4>, second: Tensor<4>, iterations: usize) -> Tensor<4> {
        assert_eq!(first.dims(), second.dims(), "sizes of the two images");
        let padding = Padding::new(first.dims());
        let [first, second] = [first, second].map(|image| padding.pad(image / 255.0 * 2.0 - 1.0));
        let features = self.feature_encoder.forward(Tensor::cat(vec![first.clone(), second], 0));
        let batch = first.dims()[0];
        let correlation =
            CorrelationPyramid::new(features.clone().narrow(0, 0, batch), features.narrow(0, batch, batch));
        let context = self.context_encoder.forward(first);
        let mut hidden = context.clone().narrow(1, 0, HIDDEN).tanh();
        let context = activation::relu(context.narrow(1, HIDDEN, HIDDEN));

        let start = grid(context.dims(), &context.device());
        let mut flow = start.zeros_like();
        for _ in 0..iterations {
            let seen = correlation.look_up(start.clone() + flow.clone());
            let (next, change) = self.update.forward(hidden, context.clone(), seen, flow.clone());
            hidden = next;
            flow = flow + change;
        }
        padding.crop(upsample(flow, self.update.mask(hidden)))
    }
}

/// Column and row of every cell, `[batch, 2, height, width]`.
fn grid([batch, _, height, width]: [usize; 4], device: &Device) -> Tensor<4> {
    let axis = |length: usize| Tensor::<1, Int>::arange(0..length as i64, device).float();
    let columns = axis(width).reshape([1, 1, 1, width]).expand([batch, 1, height, width]);
    let rows = axis(height).reshape([1, 1, height, 1]).expand([batch, 1, height, width]);
    Tensor::cat(vec![columns, rows], 1)
}

/// Every fine pixel is a convex combination of the 3×3 coarse ones around it ("convex upsampling").
///
/// # Shapes
/// - flow: `[batch, 2, height, width]`, in cells
/// - mask: `[batch, 9 · CELL², height, width]`
/// - output: `[batch, 2, CELL · height, CELL · width]`, in pixels
fn upsample(flow: Tensor<4>, mask: Tensor<4>) -> Tensor<4> {
    let [batch, _, height, width] = flow.dims();
    let mask: Tensor<5> = mask.reshape([batch, 9, CELL * CELL, height * width, 1]);
    let mask = activation::softmax(mask, 1).squeeze_dim::<4>(4);
    let around = unfold4d(flow * CELL as f64, [3, 3], UnfoldOptions::new([1, 1], [1, 1], [1, 1]));
    let around: Tensor<5> = around.reshape([batch, 2, 9, 1, height * width]);
    let fine = (around * mask.unsqueeze_dim::<5>(1)).sum_dim(2);
    fine.reshape([batch, 2, CELL, CELL, height, width])
        .permute([0, 1, 4, 2, 5, 3]) // [batch, 2, height, cell rows, width, cell columns]
        .reshape([batch, 2, CELL * height, CELL * width])
}

/// Repeated border pixels that bring an image to whole cells, half of them on each side ("sintel" padding).
struct Padding {
    top: usize,
    left: usize,
    bottom: usize,
    right: usize,
}

impl Padding {
    fn new([_, _, height, width]: [usize; 4]) -> Self {
        let missing = |length: usize| length.next_multiple_of(CELL) - length;
        let (vertical, horizontal) = (missing(height), missing(width));
        let (top, left) = (vertical / 2, horizontal / 2);
        Self { top, left, bottom: vertical - top, right: horizontal - left }
    }

    fn pad(&self, image: Tensor<4>) -> Tensor<4> {
        if self.bottom == 0 && self.right == 0 {
            return image;
        }
        image.pad((self.left, self.right, self.top, self.bottom), PadMode::Edge)
    }

    fn crop(&self, flow: Tensor<4>) -> Tensor<4> {
        let [_, _, height, width] = flow.dims();
        flow.narrow(2, self.top, height - self.top - self.bottom).narrow(3, self.left, width - self.left - self.right)
    }
}
