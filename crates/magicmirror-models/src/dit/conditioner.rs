//! The seam between the transformer and whatever conditions it: two named points in each block, and one extra stream of
//! tokens. The transformer itself knows nothing of faces.

use burn::tensor::Tensor;

/// The six modulation factors of one stream in one block, each `[batch, width]`.
///
/// `1` belongs to the attention, `2` to the feed-forward layer.
#[derive(Debug, Clone)]
pub struct Factors {
    /// µ₁, added to the normed input of the attention.
    pub shift1: Tensor<2>,
    /// σ₁, scales (as `1 + σ₁`) the normed input of the attention.
    pub scale1: Tensor<2>,
    /// γ₁, scales the output of the attention.
    pub gate1: Tensor<2>,
    /// µ₂, added to the normed input of the feed-forward layer.
    pub shift2: Tensor<2>,
    /// σ₂, scales (as `1 + σ₂`) the normed input of the feed-forward layer.
    pub scale2: Tensor<2>,
    /// γ₂, scales the output of the feed-forward layer.
    pub gate2: Tensor<2>,
}

/// The factors of all streams in one block.
#[derive(Debug, Clone)]
pub struct BlockFactors {
    /// Of the text tokens.
    pub text: Factors,
    /// Of the video tokens.
    pub video: Factors,
    /// Of the extra tokens; `None` where these skip the block.
    pub extra: Option<Factors>,
}

/// What may change the transformer's blocks.
pub trait LayerConditioner {
    /// Tokens `[batch, tokens, width]` of the extra stream, as they enter the first block.
    fn extra_tokens(&self) -> Option<Tensor<3>>;

    /// First point: the block's factors. `frozen` are the transformer's own (with no extra stream); the result is used.
    /// `time_embedding` is `[batch, time width]`, before its SiLU.
    fn modulate(&self, layer: usize, time_embedding: &Tensor<2>, frozen: BlockFactors) -> BlockFactors;

    /// Second point: what is added to the joint attention, before the output projection, for all tokens. Called only in
    /// blocks that the extra stream takes part in.
    ///
    /// # Shapes
    /// - query: `[batch, heads, text + video + extra tokens, head_dim]`, normed, without positions
    /// - extra: `[batch, extra tokens, width]`, normed and modulated
    /// - output: as query
    fn attend(&self, layer: usize, query: &Tensor<4>, extra: &Tensor<3>) -> Option<Tensor<4>>;

    /// Shows what the joint attention is about to work with, for analyses; changes nothing.
    ///
    /// # Shapes
    /// - query, key: `[batch, heads, text + video + extra tokens, head_dim]`, normed, with positions
    /// - lengths: number of text, video and extra tokens
    fn observe(&self, _layer: usize, _query: &Tensor<4>, _key: &Tensor<4>, _lengths: [usize; 3]) {}
}

/// No condition: the transformer as it was trained.
#[derive(Debug, Clone, Copy)]
pub struct Unconditioned;

impl LayerConditioner for Unconditioned {
    fn extra_tokens(&self) -> Option<Tensor<3>> {
        None
    }

    fn modulate(&self, _layer: usize, _time_embedding: &Tensor<2>, frozen: BlockFactors) -> BlockFactors {
        frozen
    }

    fn attend(&self, _layer: usize, _query: &Tensor<4>, _extra: &Tensor<3>) -> Option<Tensor<4>> {
        None
    }
}
