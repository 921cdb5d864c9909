use burn::tensor::{Device, Tensor, TensorData};

use super::kernels;

/// `softmax(q kᵀ · scale + bias) v`, without a mask.
///
/// # Shapes
/// - query: `[batch, heads, tokens, head_dim]`
/// - key, value: `[batch, heads, memory tokens, head_dim]`
/// - bias: `[1 or batch, 1 or heads, tokens, memory tokens]`
/// - output: as query
pub fn attention(query: Tensor<4>, key: Tensor<4>, value: Tensor<4>, bias: Option<Tensor<4>>, scale: f64) -> Tensor<4> {
    kernels::attention(query, key, value, bias, scale)
}

/// `[batch, tokens, heads · head_dim]` to `[batch, heads, tokens, head_dim]`.
pub fn heads_from_tokens(x: Tensor<3>, heads: usize) -> Tensor<4> {
    let [batch, tokens, width] = x.dims();
    x.reshape([batch, tokens, heads, width / heads]).swap_dims(1, 2)
}

/// `[batch, heads, tokens, head_dim]` to `[batch, tokens, heads · head_dim]`.
pub fn tokens_from_heads(x: Tensor<4>) -> Tensor<3> {
    let [batch, heads, tokens, head_dim] = x.dims();
    x.swap_dims(1, 2).reshape([batch, tokens, heads * head_dim])
}

/// The bias `[1, 1, tokens, tokens]` with which a token attends only to itself and those before it.
pub fn causal_bias(tokens: usize, device: &Device) -> Tensor<4> {
    // Finite, so that no kernel makes a difference of infinities of it.
    let values = (0..tokens * tokens).map(|i| if i % tokens > i / tokens { -1e30 } else { 0.0 });
    let values: Vec<f32> = values.collect();
    Tensor::from_data(TensorData::new(values, [1, 1, tokens, tokens]), device)
}
