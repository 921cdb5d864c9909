use burn::tensor::Tensor;

use super::kernels;

/// Rotary position embedding: one angle for each token and pair of adjacent channels.
#[derive(Debug, Clone)]
pub struct RotaryEmbedding {
    /// Cosines `[tokens, head_dim]`, each value twice.
    pub cos: Tensor<2>,
    /// Sines `[tokens, head_dim]`, each value twice.
    pub sin: Tensor<2>,
}

impl RotaryEmbedding {
    /// The angles of the first `tokens` tokens.
    #[must_use]
    pub fn first(&self, tokens: usize) -> Self {
        Self { cos: self.cos.clone().narrow(0, 0, tokens), sin: self.sin.clone().narrow(0, 0, tokens) }
    }

    /// Rotates each pair `(x₀, x₁)` of adjacent channels to `(x₀ cos − x₁ sin, x₁ cos + x₀ sin)`.
    ///
    /// Gradients reach x alone: the angles are constants.
    ///
    /// # Shapes
    /// - x, output: `[batch, heads, tokens, head_dim]`
    pub fn rotate(&self, x: Tensor<4>) -> Tensor<4> {
        kernels::rotate(x, self.cos.clone(), self.sin.clone())
    }
}
