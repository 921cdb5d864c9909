use std::collections::VecDeque;

use burn::module::Module;
use burn::tensor::Tensor;

use crate::nn::Conv3d;
use crate::weights::Params;

/// What the causal convolutions of a network remember of earlier chunks of one video.
///
/// A network calls its convolutions in the same order for every chunk, so their memories form a queue: each takes its
/// own from the front and puts the next one at the back.
#[derive(Debug)]
pub struct CausalState {
    tails: VecDeque<Tensor<5>>,
    chunk: usize,
    chunks: usize,
}

impl CausalState {
    /// The state before the first of `chunks` chunks. None is kept beyond the last.
    pub fn new(chunks: usize) -> Self {
        Self { tails: VecDeque::new(), chunk: 0, chunks }
    }

    /// Must be called when a chunk has passed all convolutions.
    pub fn next_chunk(&mut self) {
        self.chunk += 1;
    }

    /// The `count` frames of the previous chunk that precede `x`, none in the first chunk; keeps those that precede the
    /// next.
    fn advance(&mut self, x: &Tensor<5>, count: usize) -> Option<Tensor<5>> {
        let tail = (self.chunk > 0)
            .then(|| self.tails.pop_front().expect("the convolutions of a network always run in the same order"));
        if self.chunk + 1 < self.chunks {
            let frames = x.dims()[2];
            let before = tail.clone().unwrap_or_else(|| x.clone().narrow(2, 0, 1).repeat_dim(2, count));
            // Frames `frames - count..`, counted from the first of `x`. Slices would keep all of `x` in memory;
            // concatenation copies.
            let last = (frames..frames + count).map(|frame| match frame.checked_sub(count) {
                Some(frame) => x.clone().narrow(2, frame, 1),
                None => before.clone().narrow(2, frame, 1),
            });
            self.tails.push_back(Tensor::cat(last.collect(), 2));
        }
        tail
    }
}

/// A 3-D convolution that sees no later frames; frames, height and width keep their sizes.
#[derive(Module, Debug)]
pub struct CausalConv3d {
    conv: Conv3d,
    #[module(skip)]
    earlier_frames: usize,
}

impl CausalConv3d {
    /// `name.conv.weight` `[out, in, 3, 3, 3]` and `name.conv.bias` `[out]`.
    pub fn new(params: &mut Params<'_, '_>, name: &str, inputs: usize, outputs: usize) -> Self {
        let conv = Conv3d::new(&mut params.at(name), "conv", inputs, outputs, 3).with_spatial_padding(1);
        Self { conv, earlier_frames: 2 }
    }

    /// # Shapes
    /// - x: `[batch, in, frames, height, width]`
    /// - output: `[batch, out, frames, height, width]`
    pub fn forward(&self, x: Tensor<5>, state: &mut CausalState) -> Tensor<5> {
        match state.advance(&x, self.earlier_frames) {
            None => self.conv.forward_from_first(x),
            Some(tail) => self.conv.forward(Tensor::cat(vec![tail, x], 2)),
        }
    }
}
