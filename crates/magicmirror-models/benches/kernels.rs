//! Times of the CPU operations in `nn` against the same in plain Burn operations: `cargo bench --bench kernels`.
//! Arguments choose rows of the table by the start of their name.
#![expect(clippy::print_stdout, reason = "the table is what this program is for")]

use std::time::Instant;

use burn::tensor::module::{attention, layer_norm, linear};
use burn::tensor::ops::AttentionModuleOptions;
use burn::tensor::{DType, Device, Distribution, Tensor, TensorData, activation};
use magicmirror_models::nn;
use magicmirror_models::weights::{Init, Params, TensorSource};

/// The size of one transformer of the 5B model, with fewer tokens.
const WIDTH: usize = 3072;
const TOKENS: usize = 1024;

/// Parameters that are zero in f32 or, for weights of two axes and more, random in a chosen precision.
struct Weights(DType);

impl TensorSource for Weights {
    fn tensor(&mut self, _name: &str, shape: &[usize], _init: Init) -> Option<TensorData> {
        let count = shape.iter().product();
        if shape.len() == 1 {
            return Some(TensorData::new(vec![0.5f32; count], shape.to_vec()));
        }
        let values = Tensor::<1>::random([count], Distribution::Normal(0.0, 0.02), &Device::flex());
        Some(TensorData::from_bytes(values.cast(self.0).into_data().into_bytes(), shape.to_vec(), self.0))
    }
}

fn build<T>(dtype: DType, build: impl FnOnce(&mut Params<'_, '_>) -> T) -> T {
    Params::build(&mut Weights(dtype), &Device::flex(), build).0
}

fn random<const D: usize>(dims: [usize; D]) -> Tensor<D> {
    Tensor::random(dims, Distribution::Normal(0.0, 1.0), &Device::flex())
}

struct Table(Vec<String>);

impl Table {
    fn row<T>(&self, name: &str, size: &str, plain: impl Fn() -> T, fused: impl Fn() -> T) {
        if self.0.is_empty() || self.0.iter().any(|start| name.starts_with(start)) {
            let (plain, fused) = fastest(plain, fused);
            println!("{name:24} {size:30} {plain:>10.2} {fused:>10.2} {:>7.1}", plain / fused);
        }
    }
}

/// The shortest time of each in milliseconds; they take turns, so that other load meets both.
fn fastest<T>(plain: impl Fn() -> T, fused: impl Fn() -> T) -> (f64, f64) {
    let time = |run: &dyn Fn() -> T| {
        let start = Instant::now();
        std::hint::black_box(run());
        start.elapsed().as_secs_f64() * 1e3
    };
    let mut best = (f64::INFINITY, f64::INFINITY);
    let start = Instant::now();
    while start.elapsed().as_secs_f64() < 2.0 {
        best = (best.0.min(time(&plain)), best.1.min(time(&fused)));
    }
    best
}

fn main() {
    let table = Table(std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect());
    println!("{:24} {:30} {:>10} {:>10} {:>7}", "operation", "size", "plain/ms", "fused/ms", "ratio");
    activations(&table);
    norms(&table);
    products(&table);
    attentions(&table);
}

fn activations(table: &Table) {
    let x = random([1, TOKENS, WIDTH]);
    let size = format!("{TOKENS} x {WIDTH}");
    table.row("silu", &size, || activation::silu(x.clone()), || nn::silu(x.clone()));
    table.row("gelu_tanh", &size, || activation::gelu_approximate(x.clone()), || nn::gelu_tanh(x.clone()));
    table.row("gelu_erf", &size, || activation::gelu(x.clone()), || nn::gelu_erf(x.clone()));
    let quick = || x.clone() * activation::sigmoid(x.clone() * 1.702);
    table.row("quick_gelu", &size, quick, || nn::quick_gelu(x.clone()));
    let device = Device::flex().autodiff();
    let trained = |f: &dyn Fn(Tensor<3>) -> Tensor<3>| {
        let x = Tensor::from_inner(x.clone()).require_grad();
        assert_eq!(x.device(), device);
        x.grad(&f(x.clone()).backward())
    };
    let (plain, fused) = (|| trained(&activation::silu::<3>), || trained(&nn::silu::<3>));
    table.row("silu, with gradient", &size, plain, fused);
}

fn norms(table: &Table) {
    let x = random([1, 128, 4, 160, 240]);
    let norm = build(DType::F32, |params| nn::GroupNorm::new(params, "norm", 32, 128, 1e-6));
    let weight = Tensor::<1>::full([128], 0.5, &Device::flex());
    let plain = || {
        let dims = x.dims();
        let x = x.clone().reshape([1, 32, 4 * 4 * 160 * 240]);
        let centred = x.clone() - x.mean_dim(2);
        let variance = (centred.clone() * centred.clone()).mean_dim(2);
        let normed: Tensor<5> = (centred / (variance + 1e-6).sqrt()).reshape(dims);
        let weight = weight.clone().reshape([1, 128, 1, 1, 1]);
        normed * weight.clone() + weight
    };
    let size = "128 x 4 x 160 x 240";
    table.row("group_norm", size, plain, || norm.forward(x.clone()));
    table.row("group_norm, silu", size, || activation::silu(plain()), || norm.forward_silu(x.clone()));

    let x = random([1, TOKENS, WIDTH]);
    let norm = build(DType::F32, |params| nn::LayerNorm::new(params, "norm", WIDTH, 1e-5));
    let weight = Tensor::<1>::full([WIDTH], 0.5, &Device::flex());
    let plain = || layer_norm(x.clone(), weight.clone(), Some(weight.clone()), 1e-5);
    let size = format!("{TOKENS} x {WIDTH}");
    table.row("layer_norm", &size, plain, || norm.forward(x.clone()));
    let (shift, scale) = (random([1, WIDTH]), random([1, WIDTH]));
    let modulated = || plain() * (scale.clone().unsqueeze_dim(1) + 1.0) + shift.clone().unsqueeze_dim(1);
    table.row("layer_norm, modulated", &size, modulated, || norm.modulate(x.clone(), shift.clone(), scale.clone()));
}

fn products(table: &Table) {
    for dtype in [DType::F32, DType::BF16, DType::F16] {
        let weight: Tensor<2> = random([WIDTH, WIDTH]).cast(dtype);
        let layer = build(dtype, |params| nn::Linear::new(params, "linear", WIDTH, WIDTH));
        let bias = Tensor::<1>::full([WIDTH], 0.5, &Device::flex());
        for tokens in [1, 4, 5, 16, 226, TOKENS] {
            let x = random([1, tokens, WIDTH]);
            let plain = || linear(x.clone(), weight.clone().cast(DType::F32).transpose(), Some(bias.clone()));
            let size = format!("{tokens} x {WIDTH} x {WIDTH}");
            table.row(&format!("linear, {dtype:?} weight"), &size, plain, || layer.forward(x.clone()));
        }
    }
    // What a weight stored the other way round would give, which needs no transposition.
    let x = random([1, TOKENS, WIDTH]);
    let weight: Tensor<2> = random([WIDTH, WIDTH]);
    let size = format!("{TOKENS} x {WIDTH} x {WIDTH}");
    let plain = || linear(x.clone(), weight.clone(), None);
    table.row("linear, [in, out] first", &size, plain, || linear(x.clone(), weight.clone().transpose(), None));
}

fn attentions(table: &Table) {
    let x: Tensor<3> = random([1, TOKENS, WIDTH]);
    let heads = nn::heads_from_tokens(x, WIDTH / 64);
    let embedding = nn::RotaryEmbedding { cos: random([TOKENS, 64]), sin: random([TOKENS, 64]) };
    let plain = || {
        let x = heads.clone();
        let pairs = x.clone().reshape([1, WIDTH / 64, TOKENS, 32, 2]);
        let turned = Tensor::cat(vec![-pairs.clone().narrow(4, 1, 1), pairs.narrow(4, 0, 1)], 4).reshape(x.dims());
        x * embedding.cos.clone().unsqueeze() + turned * embedding.sin.clone().unsqueeze()
    };
    let size = format!("{} x {TOKENS} x 64", WIDTH / 64);
    table.row("rotary", &size, plain, || embedding.rotate(heads.clone()));

    for (count, queries, keys) in [(16, 257, 257), (48, 226, 226), (8, 2048, 32), (8, 2048, 2048), (4, 4096, 4096)] {
        let of_heads = |tokens: usize| nn::heads_from_tokens(random([1, tokens, count * 64]), count);
        let [query, key, value] = [of_heads(queries), of_heads(keys), of_heads(keys)];
        let inputs = || (query.clone(), key.clone(), value.clone());
        let plain = || {
            let (query, key, value) = inputs();
            attention(query, key, value, None, None, AttentionModuleOptions::default())
        };
        let fused = || {
            let (query, key, value) = inputs();
            nn::attention(query, key, value, None, 0.125)
        };
        table.row("attention", &format!("{count} x {queries} x {keys} x 64"), plain, fused);
    }
}
