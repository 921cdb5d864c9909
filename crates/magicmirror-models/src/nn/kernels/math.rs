//! Branch-free scalar functions that the compiler turns into vector code.
#![expect(clippy::inline_always, reason = "a call in the innermost loop would keep it from being vectorised")]

use std::f32::consts::FRAC_1_SQRT_2;

/// `√(2/π)`, of the tanh form of GELU.
const SQRT_2_OVER_PI: f32 = 0.797_884_6;
/// The factor of `x³` in the tanh form of GELU.
const CUBIC: f32 = 0.044_715;
/// `1/√(2π)`.
const FRAC_1_SQRT_TAU: f32 = 0.398_942_3;

/// `eˣ` to about one unit in the last place; overflow is infinity, below `e⁻⁸⁶` is zero, NaN stays NaN.
///
/// Source: the range reduction and polynomial of Cephes, `expf.c`.
#[inline(always)]
pub(super) fn exp(x: f32) -> f32 {
    // Adding 1.5 · 2²³ rounds to an integer, which is then in the low bits of the sum.
    const ROUND: f32 = 12_582_912.0;
    const LN_2_HIGH: f32 = 0.693_359_4;
    const LN_2_LOW: f32 = -2.121_944_4e-4;
    // A comparison rather than `min`, whose NaN rule costs instructions.
    let capped = if x > 89.0 { 89.0 } else { x };
    let shifted = capped * std::f32::consts::LOG2_E + ROUND;
    let exponent = shifted.to_bits().wrapping_sub(ROUND.to_bits());
    let rounded = shifted - ROUND;
    let r = (capped - rounded * LN_2_HIGH) - rounded * LN_2_LOW;
    // In pairs (Estrin's scheme), so that the next step seldom waits for the last.
    let square = r * r;
    let high = 1.987_569_1e-4 * r + 1.398_199_9e-3;
    let middle = 8.333_452e-3 * r + 4.166_579_6e-2;
    let low = 0.166_666_66 * r + 0.5;
    let y = (1.0 + r) + square * (low + square * (middle + square * high));
    // Half the power times two, since 2¹²⁸ is no f32.
    let half_power = f32::from_bits(exponent.wrapping_add(126) << 23);
    let power = y * 2.0 * half_power;
    if x < -86.0 { 0.0 } else { power }
}

#[inline(always)]
fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}

/// The standard normal distribution function.
///
/// Source: the Chebyshev fit of erfc in Numerical Recipes, `erfcc`, within 1.2e-7 of the true value relatively.
#[inline(always)]
fn normal_cdf(x: f32) -> f32 {
    let z = x.abs() * FRAC_1_SQRT_2;
    let t = 1.0 / (1.0 + 0.5 * z);
    let square = t * t;
    let fourth = square * square;
    let p = ((1.000_023_7 * t - 1.265_512_2) + square * (0.096_784_18 * t + 0.374_091_96))
        + fourth * ((0.278_868_07 * t - 0.186_288_06) + square * (1.488_515_9 * t - 1.135_204))
        + fourth * fourth * (0.170_872_77 * t - 0.822_152_23);
    let tail = 0.5 * t * exp(p - z * z);
    if x >= 0.0 { 1.0 - tail } else { tail }
}

#[inline(always)]
pub(super) fn silu(x: f32) -> f32 {
    x / (1.0 + exp(-x))
}

#[inline(always)]
pub(super) fn silu_slope(x: f32) -> f32 {
    let s = sigmoid(x);
    s * (1.0 + x * (1.0 - s))
}

#[inline(always)]
pub(super) fn gelu_tanh(x: f32) -> f32 {
    // ½ (1 + tanh u) = σ(2u)
    x / (1.0 + exp(-2.0 * SQRT_2_OVER_PI * (x + CUBIC * x * x * x)))
}

#[inline(always)]
pub(super) fn gelu_tanh_slope(x: f32) -> f32 {
    let s = sigmoid(2.0 * SQRT_2_OVER_PI * (x + CUBIC * x * x * x));
    s + x * s * (1.0 - s) * (2.0 * SQRT_2_OVER_PI * (1.0 + 3.0 * CUBIC * x * x))
}

#[inline(always)]
pub(super) fn gelu_erf(x: f32) -> f32 {
    x * normal_cdf(x)
}

#[inline(always)]
pub(super) fn gelu_erf_slope(x: f32) -> f32 {
    normal_cdf(x) + x * FRAC_1_SQRT_TAU * exp(-0.5 * x * x)
}

#[inline(always)]
pub(super) fn quick_gelu(x: f32) -> f32 {
    x / (1.0 + exp(-1.702 * x))
}

#[inline(always)]
pub(super) fn quick_gelu_slope(x: f32) -> f32 {
    let s = sigmoid(1.702 * x);
    s * (1.0 + 1.702 * x * (1.0 - s))
}

/// Sum in f64 of independent f32 lanes; at most a few thousand values, so that the lanes stay exact enough.
#[inline(always)]
pub(super) fn lane_sum(values: &[f32], f: impl Fn(f32) -> f32) -> f64 {
    const LANES: usize = 16;
    let (whole, rest) = values.as_chunks::<LANES>();
    let mut lanes = [0.0f32; LANES];
    for chunk in whole {
        for (lane, &value) in lanes.iter_mut().zip(chunk) {
            *lane += f(value);
        }
    }
    lanes.iter().map(|&lane| f64::from(lane)).sum::<f64>() + rest.iter().map(|&value| f64::from(f(value))).sum::<f64>()
}

/// As [`lane_sum`], of a function of two equally long slices.
#[inline(always)]
pub(super) fn lane_sum2(a: &[f32], b: &[f32], f: impl Fn(f32, f32) -> f32) -> f64 {
    const LANES: usize = 16;
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<LANES>(), b.as_chunks::<LANES>());
    let mut lanes = [0.0f32; LANES];
    for (a, b) in a.iter().zip(b) {
        for ((lane, &a), &b) in lanes.iter_mut().zip(a).zip(b) {
            *lane += f(a, b);
        }
    }
    let rest = a_rest.iter().zip(b_rest).map(|(&a, &b)| f64::from(f(a, b))).sum::<f64>();
    lanes.iter().map(|&lane| f64::from(lane)).sum::<f64>() + rest
}

/// Values summed in f32 lanes at a time; what two passes over it read stays in the first-level cache.
pub(super) const BLOCK: usize = 2048;

/// Mean and biased variance, by blocks merged in f64 (Chan et al. 1979), in one pass over memory.
pub(super) fn mean_and_variance(values: &[f32]) -> (f64, f64) {
    let (mut count, mut mean, mut square_sum) = (0.0, 0.0, 0.0);
    for block in values.chunks(BLOCK) {
        let n = block.len() as f64;
        let block_mean = lane_sum(block, |value| value) / n;
        let centre = block_mean as f32;
        let block_squares = lane_sum(block, |value| (value - centre) * (value - centre));
        let delta = block_mean - mean;
        let total = count + n;
        mean += delta * n / total;
        square_sum += block_squares + delta * delta * count * n / total;
        count = total;
    }
    (mean, square_sum / count)
}
