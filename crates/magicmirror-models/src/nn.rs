//! Layers that two or more networks share.
//!
//! Weights may be stored in less precision than activations have (a frozen bf16 checkpoint with f32 activations);
//! every layer here takes care of that itself.

mod activation;
mod attention;
mod conv;
mod kernels;
mod linear;
mod norm;
mod rotary;

pub use activation::{gelu_erf, gelu_tanh, quick_gelu, silu};
pub use attention::{attention, causal_bias, heads_from_tokens, tokens_from_heads};
pub use conv::{Conv2d, Conv3d, Sides};
pub use linear::Linear;
pub use norm::{BatchNorm, GroupNorm, LayerNorm, RmsNorm, instance_norm};
pub use rotary::RotaryEmbedding;
