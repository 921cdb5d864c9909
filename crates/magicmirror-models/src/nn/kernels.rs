//! The operations that Burn's CPU back-end runs on one thread, element by element, or with needless copies.
//!
//! Each has a twin in plain Burn operations, which every other device and precision runs and which the tests
//! compare it to.

mod attention;
mod convolution;
mod elementwise;
mod extension;
mod group_norm;
mod in_blocks;
mod layer_norm;
mod linear;
mod math;
mod rotary;
mod storage;

use burn::backend::{Dispatch, DispatchDevice};
use burn::tensor::module::{
    attention as burn_attention, conv3d as burn_conv3d, layer_norm as burn_layer_norm, linear as burn_linear,
};
use burn::tensor::ops::{AttentionModuleOptions, ConvOptions, PadMode};
use burn::tensor::{DType, Tensor, activation};

pub(super) use convolution::ConvolutionOptions;
use elementwise::Activation;
use extension::{FusedOps, Optional};
pub(super) use group_norm::GroupNormOptions;
use in_blocks::AttentionInBlocks;

/// `x · σ(x)`.
pub(super) fn silu<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    activate(x, Activation::Silu)
}

/// `0.5 x (1 + tanh(√(2/π) (x + 0.044715 x³)))`.
pub(super) fn gelu_tanh<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    activate(x, Activation::GeluTanh)
}

/// `x · Φ(x)`.
pub(super) fn gelu_erf<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    activate(x, Activation::GeluErf)
}

/// `x · σ(1.702 x)`.
pub(super) fn quick_gelu<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    activate(x, Activation::QuickGelu)
}

fn activate<const D: usize>(x: Tensor<D>, activation: Activation) -> Tensor<D> {
    if is_fused(&x) {
        Tensor::from_dispatch(Dispatch::fused_activation(x.into_dispatch(), activation))
    } else {
        plain_activation(x, activation)
    }
}

fn plain_activation<const D: usize>(x: Tensor<D>, activation: Activation) -> Tensor<D> {
    match activation {
        Activation::Silu => activation::silu(x),
        Activation::GeluTanh => activation::gelu_approximate(x),
        Activation::GeluErf => activation::gelu(x),
        Activation::QuickGelu => x.clone() * activation::sigmoid(x * 1.702),
    }
}

/// `x · Wᵀ + b`; the weight `[out, in]` and the bias may have less precision than `x`.
///
/// The weight is not copied, nor one in 16 bits held in f32 as a whole, on the CPU back-end.
pub(super) fn linear<const D: usize>(x: Tensor<D>, weight: Tensor<2>, bias: Option<Tensor<1>>) -> Tensor<D> {
    assert_eq!(x.dims()[D - 1], weight.dims()[1], "input width {:?}, weight {:?}", x.dims(), weight.dims());
    let bias = bias.map(|bias| in_precision_of(bias, &x));
    let fused_weight = matches!(weight.dtype(), DType::F32 | DType::BF16 | DType::F16) && is_on_flex(&weight);
    if is_fused(&x) && fused_weight {
        let bias = bias.map_or(Optional::Absent, |bias| Optional::Given(bias.into_dispatch()));
        Tensor::from_dispatch(Dispatch::fused_linear(x.into_dispatch(), weight.into_dispatch(), bias))
    } else {
        plain_linear(x, weight, bias)
    }
}

fn plain_linear<const D: usize>(x: Tensor<D>, weight: Tensor<2>, bias: Option<Tensor<1>>) -> Tensor<D> {
    let weight = in_precision_of(weight, &x);
    burn_linear(x, weight.transpose(), bias)
}

/// A convolution of x `[batch, in, frames, height, width]` with a weight `[out, in, depth, rows, columns]`.
pub(super) fn convolution(
    x: Tensor<5>,
    weight: Tensor<5>,
    bias: Option<Tensor<1>>,
    options: ConvolutionOptions,
) -> Tensor<5> {
    assert_eq!(x.dims()[1], weight.dims()[1], "input {:?}, weight {:?}", x.dims(), weight.dims());
    let weight = in_precision_of(weight, &x);
    let bias = bias.map(|bias| in_precision_of(bias, &x));
    if is_fused(&x) && is_on_flex(&weight) {
        let bias = bias.map_or(Optional::Absent, |bias| Optional::Given(bias.into_dispatch()));
        let [x, weight] = [x.into_dispatch(), weight.into_dispatch()];
        Tensor::from_dispatch(Dispatch::fused_convolution(x, weight, bias, options))
    } else {
        plain_convolution(x, weight, bias, options)
    }
}

fn plain_convolution(
    x: Tensor<5>,
    weight: Tensor<5>,
    bias: Option<Tensor<1>>,
    options: ConvolutionOptions,
) -> Tensor<5> {
    let ConvolutionOptions { stride, padding, repeat_first } = options;
    let x = if repeat_first {
        let mut parts = vec![x.clone().narrow(2, 0, 1); weight.dims()[2] - 1];
        parts.push(x);
        Tensor::cat(parts, 2)
    } else {
        x
    };
    let [below, right] = padding.map(|[before, after]| after.saturating_sub(before));
    let x = if below + right > 0 { x.pad((0, right, 0, below), PadMode::Constant(0.0)) } else { x };
    let [above, left] = padding.map(|[before, _]| before);
    burn_conv3d(x, weight, bias, ConvOptions::new([1, stride, stride], [0, above, left], [1; 3], 1))
}

/// Group normalisation over `[batch, channels, ...]` with biased variance; `silu` if that follows.
pub(super) fn group_norm<const D: usize>(
    x: Tensor<D>,
    weight: Tensor<1>,
    bias: Tensor<1>,
    options: GroupNormOptions,
) -> Tensor<D> {
    assert_eq!([weight.dims(), bias.dims()], [[x.dims()[1]]; 2], "parameters for an input {:?}", x.dims());
    let (weight, bias) = (in_precision_of(weight, &x), in_precision_of(bias, &x));
    if is_fused(&x) && is_on_flex(&weight) && is_on_flex(&bias) {
        let [weight, bias] = [weight, bias].map(Tensor::into_dispatch);
        Tensor::from_dispatch(Dispatch::fused_group_norm(x.into_dispatch(), weight, bias, options))
    } else {
        plain_group_norm(x, weight, bias, options)
    }
}

fn plain_group_norm<const D: usize>(
    x: Tensor<D>,
    weight: Tensor<1>,
    bias: Tensor<1>,
    options: GroupNormOptions,
) -> Tensor<D> {
    let dims = x.dims();
    let (batch, channels) = (dims[0], dims[1]);
    let group_len = channels / options.groups * dims[2..].iter().product::<usize>();
    let x = x.reshape([batch, options.groups, group_len]);
    let mean = x.clone().mean_dim(2);
    let centred = x - mean;
    let variance = (centred.clone() * centred.clone()).mean_dim(2);
    let normed: Tensor<D> = (centred / (variance + options.epsilon).sqrt()).reshape(dims);
    let mut per_channel = [1; D];
    per_channel[1] = channels;
    let out = normed * weight.reshape(per_channel) + bias.reshape(per_channel);
    if options.silu { activation::silu(out) } else { out }
}

/// Layer normalisation over the last axis.
pub(super) fn layer_norm<const D: usize>(x: Tensor<D>, weight: Tensor<1>, bias: Tensor<1>, epsilon: f64) -> Tensor<D> {
    assert_eq!([weight.dims(), bias.dims()], [[x.dims()[D - 1]]; 2], "parameters for an input {:?}", x.dims());
    let (weight, bias) = (in_precision_of(weight, &x), in_precision_of(bias, &x));
    if is_fused(&x) && is_on_flex(&weight) && is_on_flex(&bias) {
        scale_and_shift_normed(x, weight.unsqueeze(), bias.unsqueeze(), epsilon)
    } else {
        burn_layer_norm(x, weight, Some(bias), epsilon)
    }
}

/// `layer_norm(x) · (1 + scale) + shift`; x `[batch, tokens, width]`, shift and scale `[batch, width]`.
pub(super) fn modulated_layer_norm(
    x: Tensor<3>,
    weight: Tensor<1>,
    bias: Tensor<1>,
    shift: Tensor<2>,
    scale: Tensor<2>,
    epsilon: f64,
) -> Tensor<3> {
    let (weight, bias) = (in_precision_of(weight, &x), in_precision_of(bias, &x));
    let [batch, _, width] = x.dims();
    assert_eq!([shift.dims(), scale.dims()], [[batch, width]; 2], "shift and scale for an input {:?}", x.dims());
    let fused = is_fused(&x) && is_fused(&shift) && is_fused(&scale) && is_on_flex(&weight) && is_on_flex(&bias);
    if fused {
        let scale: Tensor<2> = scale + 1.0;
        let shift = scale.clone() * bias.unsqueeze() + shift;
        scale_and_shift_normed(x, scale * weight.unsqueeze(), shift, epsilon)
    } else {
        plain_modulated_layer_norm(x, weight, bias, shift, scale, epsilon)
    }
}

fn scale_and_shift_normed<const D: usize>(x: Tensor<D>, scale: Tensor<2>, shift: Tensor<2>, epsilon: f64) -> Tensor<D> {
    let [x, scale, shift] = [x.into_dispatch(), scale.into_dispatch(), shift.into_dispatch()];
    Tensor::from_dispatch(Dispatch::fused_layer_norm(x, scale, shift, epsilon))
}

fn plain_modulated_layer_norm(
    x: Tensor<3>,
    weight: Tensor<1>,
    bias: Tensor<1>,
    shift: Tensor<2>,
    scale: Tensor<2>,
    epsilon: f64,
) -> Tensor<3> {
    let normed = burn_layer_norm(x, weight, Some(bias), epsilon);
    normed * (scale.unsqueeze_dim(1) + 1.0) + shift.unsqueeze_dim(1)
}

/// Turns pairs of adjacent channels of `[batch, heads, tokens, head_dim]`; the tables `[tokens, head_dim]` are
/// constants and get no gradient.
pub(super) fn rotate(x: Tensor<4>, cos: Tensor<2>, sin: Tensor<2>) -> Tensor<4> {
    let [_, _, tokens, head_dim] = x.dims();
    assert_eq!([cos.dims(), sin.dims()], [[tokens, head_dim]; 2], "angles for an input {:?}", x.dims());
    if is_fused(&x) && is_fused(&cos) && is_fused(&sin) {
        let [x, cos, sin] = [x.into_dispatch(), cos.into_dispatch(), sin.into_dispatch()];
        Tensor::from_dispatch(Dispatch::fused_rotate(x, cos, sin))
    } else {
        plain_rotate(x, cos, sin)
    }
}

fn plain_rotate(x: Tensor<4>, cos: Tensor<2>, sin: Tensor<2>) -> Tensor<4> {
    let [batch, heads, tokens, head_dim] = x.dims();
    let pairs = x.clone().reshape([batch, heads, tokens, head_dim / 2, 2]);
    let real = pairs.clone().narrow(4, 0, 1);
    let imaginary = pairs.narrow(4, 1, 1);
    let turned = Tensor::cat(vec![-imaginary, real], 4).reshape([batch, heads, tokens, head_dim]);
    x * cos.unsqueeze() + turned * sin.unsqueeze()
}

/// `softmax(q kᵀ · scale + bias) v`, shapes as in [`super::attention()`].
pub(super) fn attention(
    query: Tensor<4>,
    key: Tensor<4>,
    value: Tensor<4>,
    bias: Option<Tensor<4>>,
    scale: f64,
) -> Tensor<4> {
    let ([batch, heads, queries, head_dim], [_, _, keys, value_dim]) = (query.dims(), value.dims());
    assert_eq!(key.dims(), [batch, heads, keys, head_dim], "key for a query {:?} and {keys} values", query.dims());
    assert_eq!(value.dims(), [batch, heads, keys, value_dim], "value for a query {:?}", query.dims());
    if let Some(bias) = &bias {
        let [bias_batch, bias_heads, rows, columns] = bias.dims();
        let fits = [1, batch].contains(&bias_batch) && [1, heads].contains(&bias_heads);
        assert!(fits && [rows, columns] == [queries, keys], "bias {:?} for a query {:?}", bias.dims(), query.dims());
    }
    if [&query, &key, &value].into_iter().chain(&bias).all(is_fused) {
        let [query, key, value] = [query, key, value].map(Tensor::into_dispatch);
        let bias = bias.map_or(Optional::Absent, |bias| Optional::Given(bias.into_dispatch()));
        Tensor::from_dispatch(Dispatch::blocked_attention(query, key, value, bias, scale))
    } else if cfg!(feature = "gpu") && !is_on_flex(&query) {
        attention_in_blocks(query, key, value, bias, scale, in_blocks::rows(batch * heads, keys))
    } else {
        plain_attention(query, key, value, bias, scale)
    }
}

fn attention_in_blocks(
    query: Tensor<4>,
    key: Tensor<4>,
    value: Tensor<4>,
    bias: Option<Tensor<4>>,
    scale: f64,
    rows: usize,
) -> Tensor<4> {
    let [query, key, value] = [query, key, value].map(Tensor::into_dispatch);
    let bias = bias.map_or(Optional::Absent, |bias| Optional::Given(bias.into_dispatch()));
    Tensor::from_dispatch(Dispatch::attention_in_blocks(query, key, value, bias, scale, rows))
}

fn plain_attention(
    query: Tensor<4>,
    key: Tensor<4>,
    value: Tensor<4>,
    bias: Option<Tensor<4>>,
    scale: f64,
) -> Tensor<4> {
    let options = AttentionModuleOptions { scale: Some(scale), ..AttentionModuleOptions::default() };
    burn_attention(query, key, value, None, bias, options)
}

/// The tensor in the precision of `x`.
pub(super) fn in_precision_of<const D: usize, const E: usize>(tensor: Tensor<D>, x: &Tensor<E>) -> Tensor<D> {
    if tensor.dtype() == x.dtype() { tensor } else { tensor.cast(x.dtype()) }
}

/// Whether the fused operations, which exist for f32 on the CPU back-end, can take `x`.
fn is_fused<const D: usize>(x: &Tensor<D>) -> bool {
    x.dtype() == DType::F32 && is_on_flex(x)
}

fn is_on_flex<const D: usize>(x: &Tensor<D>) -> bool {
    matches!(x.device().without_autodiff().as_dispatch(), DispatchDevice::Flex(_))
}

#[cfg(test)]
mod tests;
