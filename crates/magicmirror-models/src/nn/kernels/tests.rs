//! Every operation against its twin in plain Burn operations, values and gradients.

#![expect(clippy::float_cmp, reason = "infinities and zeros are to be found exactly")]

use burn::tensor::{Bool, Device, Gradients, TensorData};

use super::*;

const SILU: GroupNormOptions = GroupNormOptions { groups: 3, epsilon: 1e-6, silu: true };
const ACTIVATIONS: [Activation; 4] =
    [Activation::Silu, Activation::GeluTanh, Activation::GeluErf, Activation::QuickGelu];

/// Normally distributed values, the same for the same seed and shape.
fn random<const D: usize>(dims: [usize; D], seed: u64) -> Tensor<D> {
    use rand::SeedableRng;
    use rand_distr::{Distribution as _, StandardNormal};
    let mut generator = rand_chacha::ChaCha8Rng::seed_from_u64(seed);
    let count = dims.iter().product();
    let values: Vec<f32> = (0..count).map(|_| StandardNormal.sample(&mut generator)).collect();
    Tensor::from_data(TensorData::new(values, dims), &Device::flex())
}

fn values<const D: usize>(tensor: &Tensor<D>) -> Vec<f32> {
    tensor.clone().cast(DType::F32).into_data().try_to_vec().expect("f32 values")
}

/// Asserts that two tensors agree to `tolerance` of the largest magnitude in the second.
#[track_caller]
fn assert_close<const D: usize>(found: &Tensor<D>, expected: &Tensor<D>, tolerance: f32, what: &str) {
    assert_eq!(found.dims(), expected.dims(), "{what}");
    assert_eq!(found.dtype(), expected.dtype(), "{what}");
    let (found, expected) = (values(found), values(expected));
    let scale = expected.iter().fold(0.0f32, |scale, value| scale.max(value.abs()));
    for (index, (found, expected)) in found.iter().zip(&expected).enumerate() {
        let difference = (found - expected).abs();
        assert!(
            difference <= tolerance * scale || found == expected,
            "{what}, value {index}: {found} instead of {expected}, {} of the largest",
            difference / scale
        );
    }
}

/// A scalar with a different slope for each value of `out`.
fn loss<const D: usize>(out: Tensor<D>) -> Tensor<1> {
    let slopes = random(out.dims(), 99);
    (out * Tensor::from_inner(slopes)).sum()
}

fn tracked<const D: usize>(tensor: &Tensor<D>) -> Tensor<D> {
    Tensor::from_inner(tensor.clone()).require_grad()
}

fn gradient<const D: usize>(tensor: &Tensor<D>, gradients: &Gradients) -> Tensor<D> {
    tensor.grad(gradients).expect("a tracked tensor")
}

/// Compares values, gradients and one directional derivative of a function of three tensors and its twin.
#[track_caller]
fn check<const A: usize, const B: usize, const C: usize, const D: usize>(
    what: &str,
    (a, b, c): (Tensor<A>, Tensor<B>, Tensor<C>),
    fused: impl Fn(Tensor<A>, Tensor<B>, Tensor<C>) -> Tensor<D>,
    plain: impl Fn(Tensor<A>, Tensor<B>, Tensor<C>) -> Tensor<D>,
) {
    let found = fused(a.clone(), b.clone(), c.clone());
    assert_close(&found, &plain(a.clone(), b.clone(), c.clone()), 1e-6, what);

    let gradients = |f: &dyn Fn(Tensor<A>, Tensor<B>, Tensor<C>) -> Tensor<D>| {
        let (a, b, c) = (tracked(&a), tracked(&b), tracked(&c));
        let gradients = loss(f(a.clone(), b.clone(), c.clone())).backward();
        (gradient(&a, &gradients), b.grad(&gradients), c.grad(&gradients))
    };
    let (da, db, dc) = gradients(&fused);
    let (expected_a, expected_b, expected_c) = gradients(&plain);
    assert_close(&da, &expected_a, 1e-5, &format!("{what}, first gradient"));
    if let (Some(found), Some(expected)) = (&db, &expected_b) {
        assert_close(found, expected, 1e-5, &format!("{what}, second gradient"));
    }
    if let (Some(found), Some(expected)) = (&dc, &expected_c) {
        assert_close(found, expected, 1e-5, &format!("{what}, third gradient"));
    }

    let direction = random(a.dims(), 98);
    let at = |step: f32| -> f64 {
        let out = fused(a.clone() + direction.clone() * step, b.clone(), c.clone());
        let slopes = values(&random(out.dims(), 99));
        values(&out).iter().zip(slopes).map(|(out, slope)| f64::from(*out) * f64::from(slope)).sum()
    };
    let step = 3e-3;
    let numeric = (at(step) - at(-step)) / (2.0 * f64::from(step));
    let (slopes, direction) = (values(&da), values(&direction));
    let terms = || slopes.iter().zip(&direction).map(|(slope, direction)| f64::from(slope * direction));
    let size = terms().map(|term| term * term).sum::<f64>().sqrt();
    let analytic: f64 = terms().sum();
    assert!((numeric - analytic).abs() <= 5e-3 * size, "{what}: slope {analytic}, by differences {numeric}");
}

fn nothing() -> Tensor<1> {
    random([1], 0)
}

#[test]
fn activations_match_their_twins() {
    for activation in ACTIVATIONS {
        let fused = |x, _, _| activate(x, activation);
        let plain = |x, _, _| plain_activation(x, activation);
        let check = |what: &str, x: Tensor<3>| {
            check(&format!("{activation:?} {what}"), (x, nothing(), nothing()), fused, plain);
        };
        check("contiguous", random([3, 5, 7], 1) * 3.0);
        check("of several tasks", random([3, 101, 203], 1) * 3.0);
        check("transposed", random([3, 5, 7], 2).swap_dims(0, 2));
        check("sliced", random([3, 5, 7], 3).slice([1..3, 0..5, 2..6]));
        check("part of a contiguous tensor", random([3, 5, 7], 3).narrow(0, 1, 1));
        check("flipped", random([3, 5, 7], 4).flip([1]));
        check("expanded", random([1, 5, 1], 5).expand([2, 5, 3]));
        assert_eq!(activate(random([2, 0, 3], 0), activation).dims(), [2, 0, 3]);
    }
}

#[test]
fn activations_leave_a_shared_tensor_as_it_was() {
    let x = random([4, 4], 1);
    let before = values(&x);
    let _ = activate(x.clone(), Activation::Silu);
    assert_eq!(values(&x), before);
}

#[test]
fn activations_treat_extreme_values_as_their_twins_do() {
    let extremes = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 0.0, -0.0, 60.0, -60.0, 200.0, -200.0, 1e30, -1e30];
    // Vector code and the rest of a chunk must agree, hence the repetition.
    let x = Tensor::<1>::from_data(extremes.repeat(3).as_slice(), &Device::flex());
    for activation in ACTIVATIONS {
        let found = values(&activate(x.clone(), activation));
        let expected = values(&plain_activation(x.clone(), activation));
        for ((x, found), expected) in extremes.repeat(3).iter().zip(found).zip(expected) {
            let same = found == expected || found.is_nan() && expected.is_nan() || (found - expected).abs() < 1e-20;
            assert!(same, "{activation:?} of {x}: {found} instead of {expected}");
        }
    }
}

#[test]
fn exponential_is_accurate_to_an_ulp_or_two() {
    for step in -17_000..17_700 {
        let x = step as f32 * 0.005 + 0.000_3;
        let expected = f64::from(x).exp();
        let error = (f64::from(math::exp(x)) - expected).abs() / expected;
        assert!(error < 2e-7, "exp({x}): relative error {error}");
    }
    assert_eq!(math::exp(89.5), f32::INFINITY);
    assert_eq!(math::exp(-120.0), 0.0);
    assert!(math::exp(f32::NAN).is_nan());
}

#[test]
fn other_precisions_take_the_plain_path() {
    for dtype in [DType::BF16, DType::F16, DType::F64] {
        let x = random([2, 6, 5], 1).cast(dtype);
        let (weight, bias) = (random([6], 2), random([6], 3));
        let cast = |tensor: &Tensor<1>| tensor.clone().cast(dtype);
        assert_close(&silu(x.clone()), &activation::silu(x.clone()), 0.0, "silu");
        let found = group_norm(x.clone(), weight.clone(), bias.clone(), SILU);
        assert_close(&found, &plain_group_norm(x.clone(), cast(&weight), cast(&bias), SILU), 0.0, "group norm");
        let square: Tensor<2> = random([4, 5], 4);
        let found = linear(x.clone(), square.clone(), None);
        assert_close(&found, &plain_linear(x, square, None), 0.0, "linear");
    }
}

#[test]
fn group_norm_matches_its_twin() {
    for silu in [false, true] {
        let options = GroupNormOptions { silu, ..SILU };
        let fused = |x, weight, bias| group_norm(x, weight, bias, options);
        let plain = |x, weight, bias| plain_group_norm(x, weight, bias, options);
        let parameters = || (random([6], 2) + 1.0, random([6], 3));
        let check = |what: &str, x: Tensor<4>| {
            let (weight, bias) = parameters();
            check(&format!("{what}, silu {silu}"), (x, weight, bias), fused, plain);
        };
        check("contiguous", random([2, 6, 5, 7], 1) + 0.5);
        check("longer than a block", random([1, 6, 51, 83], 1));
        check("channels last", random([2, 5, 7, 6], 1).permute([0, 3, 1, 2]));
        check("sliced", random([2, 9, 5, 7], 1).narrow(1, 2, 6));
        let (weight, bias) = parameters();
        let expected = plain(random([2, 6, 5, 7], 1), weight.clone(), bias.clone());
        assert_close(&fused(random([2, 6, 5, 7], 1), weight, bias), &expected, 1e-6, "in place");
        let (weight, bias) = parameters();
        assert_eq!(fused(random([0, 6, 5, 7], 0), weight.clone(), bias.clone()).dims(), [0, 6, 5, 7]);
        assert_eq!(fused(random([2, 6, 0, 7], 0), weight, bias).dims(), [2, 6, 0, 7]);
    }
}

#[test]
fn group_norm_keeps_a_fault_in_its_group() {
    let mut data = values(&random([1, 6, 4], 1));
    data[9] = f32::NAN;
    let x = Tensor::<3>::from_data(TensorData::new(data, [1, 6, 4]), &Device::flex());
    let options = GroupNormOptions { silu: false, ..SILU };
    let found = values(&group_norm(x, random([6], 2), random([6], 3), options));
    assert!(found[8..16].iter().all(|value| value.is_nan()));
    assert!(found[..8].iter().chain(&found[16..]).all(|value| value.is_finite()));
}

#[test]
fn group_norm_of_values_far_from_zero_is_accurate() {
    let x = random([1, 3, 4096], 1);
    let options = GroupNormOptions { silu: false, ..SILU };
    let one = || Tensor::ones([3], &Device::flex());
    let zero = || Tensor::zeros([3], &Device::flex());
    let near = group_norm(x.clone(), one(), zero(), options);
    let far = group_norm(x + 64.0, one(), zero(), options);
    // Adding 64 rounds the values to 2⁻¹⁸; the sums must not add to that.
    assert_close(&far, &near, 4e-6, "shifted input");
}

#[test]
fn layer_norm_matches_its_twin() {
    let fused = |x: Tensor<3>, weight, bias| layer_norm(x, weight, bias, 1e-5);
    let plain = |x: Tensor<3>, weight, bias| burn_layer_norm(x, weight, Some(bias), 1e-5);
    let check = |what: &str, x: Tensor<3>| {
        check(what, (x, random([37], 2) + 1.0, random([37], 3)), fused, plain);
    };
    check("contiguous", random([3, 45, 37], 1));
    check("transposed", random([3, 37, 5], 1).swap_dims(1, 2));
    check("sliced", random([3, 5, 50], 1).narrow(2, 4, 37));
    assert_eq!(fused(random([2, 0, 37], 0), random([37], 2), random([37], 3)).dims(), [2, 0, 37]);
}

#[test]
fn modulated_layer_norm_matches_its_twin() {
    let (weight, bias) = (random([37], 4) + 1.0, random([37], 5));
    let fused = |x, shift, scale| modulated_layer_norm(x, weight.clone(), bias.clone(), shift, scale, 1e-5);
    // Under autodiff too, so that the parameters are on the device of the input.
    let plain = |x: Tensor<3>, shift: Tensor<2>, scale| {
        let device = x.device();
        let at = |tensor: &Tensor<1>| Tensor::from_data(tensor.to_data(), &device);
        plain_modulated_layer_norm(x, at(&weight), at(&bias), shift, scale, 1e-5)
    };
    check("modulation", (random([3, 45, 37], 1), random([3, 37], 2), random([3, 37], 3)), fused, plain);
    let inputs = (random([3, 45, 37], 1), random([37, 3], 2).transpose(), random([3, 40], 3).narrow(1, 3, 37));
    check("modulation by strided tensors", inputs, fused, plain);
}

#[test]
fn linear_matches_its_twin() {
    for dtype in [DType::BF16, DType::F16, DType::F32] {
        let fused = |x: Tensor<3>, _, bias| linear(x, random([1030, 33], 7).cast(dtype), Some(bias));
        let plain = |x: Tensor<3>, _, bias| {
            let weight = random([1030, 33], 7).cast(dtype).cast(DType::F32);
            let weight = Tensor::from_data(weight.into_data(), &x.device());
            plain_linear(x, weight, Some(bias))
        };
        let bias = || random([1030], 3);
        for rows in [1, 3, 4, 5, 40] {
            let x = random([1, rows, 33], 1);
            check(&format!("{rows} rows, {dtype:?}"), (x, nothing(), bias()), fused, plain);
        }
        check("sliced", (random([2, 9, 40], 1).narrow(2, 3, 33), nothing(), bias()), fused, plain);
        check("transposed", (random([2, 33, 9], 1).swap_dims(1, 2), nothing(), bias()), fused, plain);
        let x = random([2, 6, 33], 1);
        let without_bias = linear(x.clone(), random([1030, 33], 7).cast(dtype), None);
        let zero = Tensor::zeros([1030], &Device::flex());
        assert_close(&without_bias, &fused(x, nothing(), zero), 0.0, "without bias");
        assert_eq!(fused(random([2, 0, 33], 0), nothing(), bias()).dims(), [2, 0, 1030]);
    }
}

#[test]
fn linear_with_a_transposed_narrow_weight() {
    let weight: Tensor<2> = random([33, 20], 7).cast(DType::BF16).transpose();
    let x: Tensor<2> = random([9, 33], 1);
    let found = linear(x.clone(), weight.clone(), None);
    assert_close(&found, &plain_linear(x, weight, None), 1e-6, "linear");
}

#[test]
fn narrow_weight_gets_the_gradient_of_its_f32_copy() {
    let narrow: Tensor<2> = random([20, 33], 7).cast(DType::BF16);
    let (x, bias) = (tracked(&random([9, 33], 1)), random([20], 2));
    let weight_gradient = |weight: &Tensor<2>| {
        let out = linear(x.clone(), weight.clone(), Some(Tensor::from_inner(bias.clone())));
        gradient(weight, &loss(out).backward())
    };
    let found = weight_gradient(&tracked(&narrow));
    let expected = weight_gradient(&tracked(&narrow.cast(DType::F32)));
    assert_eq!(found.dtype(), DType::BF16);
    assert_close(&found, &expected.cast(DType::BF16), 4e-3, "weight gradient");
}

#[test]
fn rotation_matches_its_twin() {
    let (tokens, head_dim) = (45, 8);
    let tables = || (random([tokens, head_dim], 2), random([tokens, head_dim], 3));
    let fused = |x, _, _| rotate(x, tables().0, tables().1);
    let plain = |x: Tensor<4>, _, _| {
        let device = x.device();
        let at = |table: Tensor<2>| Tensor::from_data(table.into_data(), &device);
        plain_rotate(x, at(tables().0), at(tables().1))
    };
    let check = |what: &str, x: Tensor<4>| check(what, (x, nothing(), nothing()), fused, plain);
    check("contiguous", random([2, 3, tokens, head_dim], 1));
    check("heads of tokens", random([2, tokens, 3, head_dim], 1).swap_dims(1, 2));
    check("some tokens", random([2, 3, 60, head_dim], 1).narrow(2, 7, tokens));
    check("transposed", random([2, 3, head_dim, tokens], 1).swap_dims(2, 3));
    check("flipped", random([2, 3, tokens, head_dim], 1).flip([2]));
}

/// The twin in f64, since over a thousand keys the rounding of either in f32 exceeds the tolerance.
fn exact_attention(query: Tensor<4>, key: Tensor<4>, value: Tensor<4>, bias: Option<Tensor<4>>) -> Tensor<4> {
    let bias = bias.map(|bias| Tensor::<4>::from_data(bias.into_data(), &query.device()).cast(DType::F64));
    let [query, key, value] = [query, key, value].map(|tensor| tensor.cast(DType::F64));
    plain_attention(query, key, value, bias, 0.3).cast(DType::F32)
}

#[test]
fn attention_matches_its_twin() {
    let fused = |query, key, value| attention(query, key, value, None, 0.3);
    let plain = |query, key, value| exact_attention(query, key, value, None);
    let inputs =
        |queries, keys| (random([2, 3, queries, 8], 1), random([2, 3, keys, 8], 2), random([2, 3, keys, 4], 3));
    check("one block", inputs(5, 7), fused, plain);
    check("several blocks", inputs(130, 1030), fused, plain);
    let from_tokens = |seed| random([2, 21, 3, 8], seed).swap_dims(1, 2);
    check("heads of tokens", (from_tokens(1), from_tokens(2), from_tokens(3)), fused, plain);
    let flipped = |seed| random([2, 3, 9, 8], seed).flip([1, 3]);
    check("flipped", (flipped(1), flipped(2), flipped(3)), fused, plain);
    let large = |seed| random([1, 1, 9, 8], seed) * 30.0;
    assert_close(
        &fused(large(1), large(2), large(3)),
        &plain(large(1), large(2), large(3)),
        1e-6,
        "scores in the thousands",
    );
    assert_eq!(fused(random([1, 2, 0, 8], 0), random([1, 2, 3, 8], 0), random([1, 2, 3, 8], 0)).dims(), [1, 2, 0, 8]);
}

#[test]
fn attention_adds_its_bias() {
    for dims in [[2, 3, 21, 600], [1, 3, 21, 600], [2, 1, 21, 600], [1, 1, 21, 600]] {
        let bias = random(dims, 4);
        let fused = |query, key, value| attention(query, key, value, Some(bias.clone()), 0.3);
        let plain = |query, key, value| exact_attention(query, key, value, Some(bias.clone()));
        let inputs = (random([2, 3, 21, 8], 1), random([2, 3, 600, 8], 2), random([2, 3, 600, 8], 3));
        check(&format!("bias {dims:?}"), inputs, fused, plain);
    }
}

/// What graphics cards run, on the CPU.
#[test]
fn attention_in_blocks_matches_its_twin() {
    let inputs =
        |queries, keys| (random([2, 3, queries, 8], 1), random([2, 3, keys, 8], 2), random([2, 3, keys, 4], 3));
    for (rows, queries) in [(7, 21), (8, 21), (21, 21), (100, 21), (4, 1)] {
        for bias in [None, Some([2, 3, queries, 30]), Some([1, 1, queries, 30])] {
            let bias = || bias.map(|dims| random(dims, 4));
            let in_blocks = |query, key, value| attention_in_blocks(query, key, value, bias(), 0.3, rows);
            let plain = |query, key, value| exact_attention(query, key, value, bias());
            check(
                &format!("{queries} queries, {rows} at once, {bias:?}", bias = bias().is_some()),
                inputs(queries, 30),
                in_blocks,
                plain,
            );
        }
    }
    assert_eq!(in_blocks::rows(48, 17_776), 78, "256 MiB of scores at CogVideoX-5B's full size");
}

#[test]
fn attention_ignores_masked_keys_and_finds_nothing_without_any() {
    let (query, key, value) = (random([1, 1, 4, 8], 1), random([1, 1, 700, 8], 2), random([1, 1, 700, 8], 3));
    let masked = |keys: std::ops::Range<usize>| {
        let none = Tensor::<4, Bool>::full([1, 1, 4, 700], false, &Device::flex());
        let some = none.clone().slice_fill([0..1, 0..1, 0..4, keys], true);
        Tensor::zeros([1, 1, 4, 700], &Device::flex()).mask_fill(some, f32::NEG_INFINITY)
    };
    let found = attention(query.clone(), key.clone(), value.clone(), Some(masked(0..600)), 0.3);
    let expected =
        attention(query.clone(), key.clone().narrow(2, 600, 100), value.clone().narrow(2, 600, 100), None, 0.3);
    assert_close(&found, &expected, 1e-6, "first keys masked");
    let nothing = attention(query, key, value, Some(masked(0..700)), 0.3);
    assert!(values(&nothing).iter().all(|&value| value == 0.0));
}

#[test]
fn trained_attention_bias_keeps_its_gradient() {
    let inputs = || [random([1, 2, 5, 8], 1), random([1, 2, 7, 8], 2), random([1, 2, 7, 8], 3)].map(Tensor::from_inner);
    let bias = tracked(&random([1, 2, 5, 7], 4));
    let [query, key, value] = inputs();
    let found = gradient(&bias, &loss(attention(query, key, value, Some(bias.clone()), 0.3)).backward());
    let [query, key, value] = inputs();
    let expected = gradient(&bias, &loss(plain_attention(query, key, value, Some(bias.clone()), 0.3)).backward());
    assert_close(&found, &expected, 1e-5, "bias gradient");
}

#[test]
fn results_do_not_depend_on_the_number_of_threads() {
    let run = || {
        let x = tracked(&(random([2, 6, 90, 64], 1)));
        let (weight, bias) = (tracked(&random([6], 2)), tracked(&random([6], 3)));
        let normed = group_norm(x.clone(), weight.clone(), bias.clone(), SILU);
        let (scale, shift) = (tracked(&random([2, 64], 4)), tracked(&random([2, 64], 5)));
        let one: Tensor<1> = Tensor::from_inner(Tensor::ones([64], &Device::flex()));
        let tokens = normed.clone().reshape([2, 540, 64]);
        let modulated = modulated_layer_norm(tokens.clone(), one.clone(), one, shift.clone(), scale.clone(), 1e-5);
        let wide = linear(modulated, random([700, 64], 6).cast(DType::BF16), None);
        let narrow = linear(gelu_tanh(wide), random([64, 700], 7).cast(DType::BF16), None);
        let out = (tokens + narrow).reshape([2, 6, 90, 64]);
        let out = attention(out.clone(), normed, out, None, 0.1);
        let gradients = loss(out.clone()).backward();
        let mut results = values(&out.inner());
        results.extend(values(&gradient(&x, &gradients)));
        results.extend(values(&gradient(&weight, &gradients)));
        results.extend(values(&gradient(&scale, &gradients)));
        results
    };
    let with_threads =
        |count| rayon::ThreadPoolBuilder::new().num_threads(count).build().expect("threads").install(run);
    assert!(with_threads(1) == with_threads(2), "results differ");
}

#[test]
fn linear_trains_weight_and_bias() {
    let inputs = (random([2, 9, 33], 1), random([20, 33], 2), random([20], 3));
    let plain = |x: Tensor<3>, weight, bias| plain_linear(x, weight, Some(bias));
    check("trained", inputs, |x: Tensor<3>, weight, bias| linear(x, weight, Some(bias)), plain);
}

#[test]
#[should_panic(expected = "input width")]
fn linear_refuses_another_width() {
    linear(random([4, 32], 1), random([8, 16], 2), None);
}

#[test]
#[should_panic(expected = "value for a query")]
fn attention_refuses_fewer_heads_of_values() {
    let [query, key, value] = [2, 2, 1].map(|heads| random([1, heads, 9, 4], 1));
    attention(query, key, value, None, 1.0);
}

#[test]
fn convolutions_match_their_twin() {
    let options = |stride, padding, repeat_first| ConvolutionOptions { stride, padding: [padding; 2], repeat_first };
    let check = |what: &str, x: [usize; 5], weight: [usize; 5], options: ConvolutionOptions| {
        let with_bias = (random(x, 1), random(weight, 2), random([weight[0]], 3));
        let fused = |x, weight, bias| convolution(x, weight, Some(bias), options);
        let plain = |x, weight, bias| plain_convolution(x, weight, Some(bias), options);
        check(what, with_bias, fused, plain);
        let without = (random(x, 1), random(weight, 2), nothing());
        let fused = |x, weight, _| convolution(x, weight, None, options);
        check(&format!("{what}, no bias"), without, fused, |x, weight, _| plain_convolution(x, weight, None, options));
    };
    check("image, causal", [2, 3, 1, 7, 9], [5, 3, 3, 3, 3], options(1, [1, 1], true));
    check("two frames, causal", [1, 2, 2, 6, 5], [9, 2, 3, 3, 3], options(1, [1, 1], true));
    check("five frames, causal", [2, 9, 5, 4, 6], [3, 9, 3, 3, 3], options(1, [1, 1], true));
    check("five frames", [1, 4, 5, 8, 8], [8, 4, 3, 3, 3], options(1, [1, 1], false));
    check("wider than a tile", [1, 2, 3, 40, 61], [4, 2, 3, 3, 3], options(1, [1, 1], true));
    check("pointwise", [2, 6, 3, 5, 4], [7, 6, 1, 1, 1], options(1, [0, 0], false));
    check("no padding", [1, 3, 1, 9, 8], [4, 3, 1, 3, 3], options(1, [0, 0], false));
    check("larger kernel", [1, 3, 2, 9, 8], [4, 3, 1, 5, 5], options(1, [2, 2], false));
    check("halved, even", [2, 3, 2, 8, 6], [4, 3, 1, 3, 3], options(2, [0, 1], false));
    check("halved, odd", [1, 3, 1, 9, 7], [4, 3, 1, 3, 3], options(2, [1, 1], false));
    check("halved by a point", [1, 3, 1, 6, 8], [4, 3, 1, 1, 1], options(2, [0, 0], false));
    check("patches", [2, 3, 1, 12, 8], [5, 3, 1, 4, 4], options(4, [0, 0], false));
    check("seven by two", [1, 3, 1, 17, 15], [5, 3, 1, 7, 7], options(2, [0, 0], false));
    let rectangular = |stride, padding| ConvolutionOptions { stride, padding, repeat_first: false };
    check("a row", [2, 3, 1, 6, 9], [4, 3, 1, 1, 5], rectangular(1, [[0, 0], [2, 2]]));
    check("a column", [1, 3, 2, 9, 6], [9, 3, 1, 7, 1], rectangular(1, [[3, 3], [0, 0]]));
    check("wide, no padding", [1, 2, 1, 7, 8], [3, 2, 1, 2, 5], rectangular(1, [[0, 0], [0, 0]]));
    check("tall, halved", [1, 2, 1, 11, 8], [3, 2, 1, 5, 2], rectangular(2, [[1, 2], [0, 1]]));
    check("more than summed at once", [2, 2, 1, 70, 80], [3, 2, 1, 3, 3], options(1, [1, 1], false));
    let x: Tensor<5> = random([1, 3, 4, 6, 8], 5).swap_dims(3, 4).slice([0..1, 0..3, 1..4, 1..7, 0..6]);
    let weight = random([4, 3, 3, 3, 3], 6);
    let causal = options(1, [1, 1], true);
    let found = convolution(x.clone(), weight.clone(), None, causal);
    assert_close(&found, &plain_convolution(x, weight, None, causal), 1e-6, "a view");
}
