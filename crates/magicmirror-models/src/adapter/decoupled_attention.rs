//! Decoupled cross-attention: every token of a block attends to the face tokens once more, through new keys and values.
//!
//! Source: Magic Mirror, section 3.3; the idea is IP-Adapter's.

use burn::module::Module;
use burn::tensor::Tensor;

use super::config::AdapterConfig;
use crate::nn::{LayerNorm, Linear, attention, heads_from_tokens};
use crate::weights::{Init, Params};

/// Keys and values of the face tokens in one block.
#[derive(Module, Debug)]
pub struct DecoupledAttention {
    to_k: Linear,
    to_v: Linear,
    norm_k: LayerNorm,
}

impl DecoupledAttention {
    /// Declares `to_k`, `to_v` and `norm_k` (over one head).
    pub fn new(config: &AdapterConfig, params: &mut Params<'_, '_>) -> Self {
        let width = config.width();
        Self {
            to_k: Linear::new(params, "to_k", width, width),
            to_v: Linear::with_init(params, "to_v", width, width, Init::Zeros),
            // As the frozen norms of query and key.
            norm_k: LayerNorm::new(params, "norm_k", config.attention_head_dim, 1e-6),
        }
    }

    /// `softmax(q k̂ᵀ / √head_dim) v̂`.
    ///
    /// # Shapes
    /// - query: `[batch, heads, tokens, head_dim]`, normed, without positions
    /// - face: `[batch, face tokens, width]`, normed and modulated
    /// - output: as query
    pub fn forward(&self, query: &Tensor<4>, face: &Tensor<3>) -> Tensor<4> {
        let [_, heads, _, head_dim] = query.dims();
        let key = self.norm_k.forward(heads_from_tokens(self.to_k.forward(face.clone()), heads));
        let value = heads_from_tokens(self.to_v.forward(face.clone()), heads);
        attention(query.clone(), key, value, None, (head_dim as f64).powf(-0.5))
    }
}
