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

    /// Puts `count` earlier frames before `x`: the previous chunk's last ones, or copies of the first frame.
    fn extend(&mut self, x: Tensor<5>, count: usize) -> Tensor<5> {
        let extended = if self.chunk == 0 {
            let mut parts = vec![x.clone().narrow(2, 0, 1); count];
            parts.push(x);
            Tensor::cat(parts, 2)
        } else {
            let tail = self.tails.pop_front().expect("the convolutions of a network always run in the same order");
            Tensor::cat(vec![tail, x], 2)
        };
        if self.chunk + 1 < self.chunks {
            let frames = extended.dims()[2];
            // A slice would keep all of `extended` in memory; concatenation copies.
            let last = (frames - count..frames).map(|frame| extended.clone().narrow(2, frame, 1)).collect();
            self.tails.push_back(Tensor::cat(last, 2));
        }
        extended
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
        self.conv.forward(state.extend(x, self.earlier_frames))
    }
}
