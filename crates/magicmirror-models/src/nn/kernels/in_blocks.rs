//! Attention by blocks of queries in operations that every back-end has: for graphics cards, where Burn's under autodiff
//! holds all scores at once, 61 GB a layer at CogVideoX-5B's full size. The way back computes scores again.

use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::ops::{AttentionModuleOptions, ModuleOps};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend, Flex, TensorMetadata, backend_extension};
use burn::tensor::Slice;

use super::extension::Optional;

/// Bytes that the scores of one block may take, in f32.
const SCORES: usize = 256 << 20;

/// Queries of a block, for so many heads of all samples together and so many keys.
pub(super) fn rows(heads: usize, keys: usize) -> usize {
    (SCORES / size_of::<f32>() / (heads * keys).max(1)).max(1)
}

#[backend_extension(Autodiff, Flex, Cube: cfg(feature = "gpu"))]
pub(super) trait AttentionInBlocks: Backend {
    /// `softmax(q kᵀ · scale + bias) v` by blocks of `rows` queries; shapes as in [`super::attention()`].
    fn attention_in_blocks(
        query: FloatTensor<Self>,
        key: FloatTensor<Self>,
        value: FloatTensor<Self>,
        #[extension_type] bias: Optional<Self>,
        scale: f64,
        rows: usize,
    ) -> FloatTensor<Self> {
        Inputs::<Self> { query, key, value, bias: bias.into_option(), scale, rows }.forward()
    }
}

impl AttentionInBlocks for Flex {}

#[cfg(feature = "gpu")]
impl AttentionInBlocks for burn::backend::Cube {}

impl<B: Backend, C: CheckpointStrategy> AttentionInBlocks for Autodiff<B, C> {
    fn attention_in_blocks(
        query: FloatTensor<Self>,
        key: FloatTensor<Self>,
        value: FloatTensor<Self>,
        bias: Optional<Self>,
        scale: f64,
        rows: usize,
    ) -> FloatTensor<Self> {
        let bias = bias.into_option();
        if bias.as_ref().is_some_and(FloatTensor::<Self>::is_tracked) {
            return <Self as ModuleOps<Self>>::attention(query, key, value, None, bias, options(scale));
        }
        let prep = InBlocksBackward.prepare::<C>([query.node(), key.node(), value.node()]).compute_bound().stateful();
        let [query, key, value] = [query, key, value].map(FloatTensor::<Self>::into_primitive);
        let bias = bias.map(FloatTensor::<Self>::into_primitive);
        let inputs = Inputs::<B> { query, key, value, bias, scale, rows };
        let attended = inputs.forward();
        match prep {
            OpsKind::Tracked(prep) => prep.finish(inputs, attended),
            OpsKind::UnTracked(prep) => prep.finish(attended),
        }
    }
}

#[derive(Debug)]
struct InBlocksBackward;

impl<B: Backend> Backward<B, 3> for InBlocksBackward {
    type State = Inputs<B>;

    fn backward(self, ops: Ops<Self::State, 3>, grads: &mut Gradients, _: &mut Checkpointer) {
        let gradient = grads.consume::<B>(&ops.node);
        for (parent, gradient) in ops.parents.into_iter().zip(ops.state.backward(gradient)) {
            if let Some(parent) = parent {
                grads.register::<B>(parent.id, gradient);
            }
        }
    }
}

fn options(scale: f64) -> AttentionModuleOptions {
    AttentionModuleOptions { scale: Some(scale), ..AttentionModuleOptions::default() }
}

/// What goes into one attention, shapes as in [`super::attention()`], and the queries of a block.
#[derive(Debug, Clone)]
struct Inputs<B: Backend> {
    query: FloatTensor<B>,
    key: FloatTensor<B>,
    value: FloatTensor<B>,
    bias: Option<FloatTensor<B>>,
    scale: f64,
    rows: usize,
}

impl<B: Backend> Inputs<B> {
    /// Slices of the third axis, a block each.
    fn blocks(&self) -> impl Iterator<Item = [Slice; 4]> {
        let (queries, rows) = (self.query.shape()[2], self.rows.max(1));
        (0..queries).step_by(rows).map(move |first| {
            let all = Slice::full();
            [all, all, Slice::from(first..queries.min(first + rows)), all]
        })
    }

    fn bias_of(&self, block: &[Slice; 4]) -> Option<FloatTensor<B>> {
        self.bias.clone().map(|bias| B::float_slice(bias, block))
    }

    fn forward(&self) -> FloatTensor<B> {
        let attend = |block: [Slice; 4]| {
            let query = B::float_slice(self.query.clone(), &block);
            let bias = self.bias_of(&block);
            B::attention(query, self.key.clone(), self.value.clone(), None, bias, options(self.scale))
        };
        let mut attended: Vec<_> = self.blocks().map(attend).collect();
        match attended.len() {
            0 => attend([Slice::full(); 4]),
            1 => attended.remove(0),
            _ => B::float_cat(attended, 2),
        }
    }

    /// Gradients of query, key and value.
    fn backward(self, gradient: FloatTensor<B>) -> [FloatTensor<B>; 3] {
        let [mut of_key, mut of_value]: [Option<FloatTensor<B>>; 2] = [None, None];
        let mut of_query = Vec::new();
        let add = |sum: Option<FloatTensor<B>>, part| match sum {
            Some(sum) => Some(B::float_add(sum, part)),
            None => Some(part),
        };
        for block in self.blocks() {
            let query = B::float_slice(self.query.clone(), &block);
            let gradient = B::float_slice(gradient.clone(), &block);
            let scores = B::float_matmul(query.clone(), B::float_transpose(self.key.clone()));
            let scores = B::float_mul_scalar(scores, self.scale.into());
            let scores = match self.bias_of(&block) {
                Some(bias) => B::float_add(scores, bias),
                None => scores,
            };
            let weights = B::softmax(scores, 3);
            of_value = add(of_value, B::float_matmul(B::float_transpose(weights.clone()), gradient.clone()));
            let towards = B::float_matmul(gradient, B::float_transpose(self.value.clone()));
            let weighted = B::float_mul(weights.clone(), towards);
            // What the softmax takes off every score's gradient.
            let mean = B::float_sum_dim(weighted.clone(), 3);
            let of_scores = B::float_sub(weighted, B::float_mul(weights, mean));
            let of_scores = B::float_mul_scalar(of_scores, self.scale.into());
            of_query.push(B::float_matmul(of_scores.clone(), self.key.clone()));
            of_key = add(of_key, B::float_matmul(B::float_transpose(of_scores), query));
        }
        // Without a query nothing is attended to.
        let none = |x: FloatTensor<B>| B::float_mul_scalar(x, 0.0.into());
        let Self { query, key, value, .. } = self;
        let of_query = if of_query.is_empty() { none(query) } else { B::float_cat(of_query, 2) };
        [of_query, of_key.unwrap_or_else(|| none(key)), of_value.unwrap_or_else(|| none(value))]
    }
}
