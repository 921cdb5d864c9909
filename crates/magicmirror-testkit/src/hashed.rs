//! Weights and images drawn from a hash of their names, as `goldens/make_metrics.py` draws them: networks whose widths
//! are fixed are compared to their references without their weights being stored.

use burn::tensor::{Device, Tensor, TensorData};
use magicmirror_models::weights::{Init, ParamNames, Params, TensorSource};

/// Value `i` of `name`, −1 to 1: splitmix64 from a state that is the name's FNV-1a hash.
fn uniform(name: &str, count: usize) -> impl Iterator<Item = f64> {
    const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;
    let seed = name
        .bytes()
        .fold(0xCBF2_9CE4_8422_2325u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3));
    (1..=count as u64).map(move |i| {
        let x = seed.wrapping_add(i.wrapping_mul(GOLDEN));
        let x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        let x = x ^ (x >> 31);
        (x >> 40) as f64 / f64::from(1 << 23) - 1.0
    })
}

/// The weight of this name and shape.
pub fn hashed_weight(name: &str, shape: &[usize]) -> TensorData {
    let fan_in: usize = shape.iter().skip(1).product();
    let (offset, scale) = match shape.len() {
        2.. => (0.0, (6.0 / fan_in as f64).sqrt()),
        _ if name.ends_with("running_var") => (1.0, 0.5),
        _ if name.ends_with("weight") => (1.0, 0.2),
        _ => (0.0, 0.1),
    };
    let values = uniform(name, shape.iter().product()).map(|u| (offset + scale * u) as f32);
    TensorData::new(values.collect::<Vec<f32>>(), shape.to_vec())
}

/// The image of this name, 0 to 255.
pub fn hashed_image(name: &str, shape: [usize; 4]) -> Tensor<4> {
    let values = uniform(name, shape.iter().product()).map(|u| (127.5 * (u + 1.0)) as f32);
    Tensor::from_data(TensorData::new(values.collect::<Vec<f32>>(), shape), &Device::flex())
}

/// A network with hashed weights on the CPU.
pub fn hashed_network<T>(build: impl FnOnce(&mut Params<'_, '_>) -> T) -> (T, ParamNames) {
    struct Hashed;
    impl TensorSource for Hashed {
        fn tensor(&mut self, name: &str, shape: &[usize], _init: Init) -> Option<TensorData> {
            Some(hashed_weight(name, shape))
        }
    }
    Params::build(&mut Hashed, &Device::flex(), build)
}
