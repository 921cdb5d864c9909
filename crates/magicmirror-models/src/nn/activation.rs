use burn::tensor::Tensor;

use super::kernels;

/// `x · σ(x)`.
pub fn silu<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    kernels::silu(x)
}

/// GELU in its tanh approximation (`gelu_new`, `gelu-approximate`).
pub fn gelu_tanh<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    kernels::gelu_tanh(x)
}

/// Exact GELU, `x · Φ(x)`.
pub fn gelu_erf<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    kernels::gelu_erf(x)
}

/// CLIP's `x · σ(1.702 x)`.
pub fn quick_gelu<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    kernels::quick_gelu(x)
}
