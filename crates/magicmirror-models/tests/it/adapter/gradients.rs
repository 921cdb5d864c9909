//! Gradients of each layer by finite differences, along random directions.

use std::collections::HashMap;

use burn::module::{Module, ModuleVisitor, Param, ParamId};
use burn::tensor::{Device, Gradients, Tensor, TensorData};
use magicmirror_models::adapter::{
    AdapterConfig, Can, DecoupledAttention, FaceModulation, FacePerceiver, Fusion, IdentityPerceiver, Resampler,
    ResamplerSizes,
};
use magicmirror_models::dit::Factors;
use magicmirror_models::weights::{Init, Params, TensorSource};

use super::random;

/// Gives every parameter random values (norms around one), moved by `step` along a random direction.
struct Moved {
    step: f32,
    directions: HashMap<String, Vec<f32>>,
}

impl TensorSource for Moved {
    fn tensor(&mut self, name: &str, shape: &[usize], init: Init) -> Option<TensorData> {
        let seed = name.bytes().fold(17u64, |seed, byte| seed.wrapping_mul(31).wrapping_add(u64::from(byte)));
        let count: usize = shape.iter().product();
        let normal = |seed| random([count], seed).into_data().try_to_vec::<f32>().unwrap();
        let (base, spread) = match init {
            Init::Ones => (1.0, 0.2),
            Init::Zeros | Init::Normal(_) => (0.0, 0.4),
        };
        let direction = normal(seed + 1);
        let values: Vec<f32> =
            normal(seed).iter().zip(&direction).map(|(x, d)| base + spread * x + self.step * d).collect();
        self.directions.insert(name.to_owned(), direction);
        Some(TensorData::new(values, shape.to_vec()))
    }
}

/// Compares `d loss / d step` along the direction of each parameter tensor, one after the other, with its gradient; and
/// the same for the input. The loss is a random weighting of the output.
fn check<M: Module>(
    what: &str,
    build: impl Fn(&mut Params<'_, '_>) -> M,
    input: Tensor<3>,
    forward: impl Fn(&M, Tensor<3>) -> Tensor<3>,
) {
    let loss = |module: &M, x: Tensor<3>| {
        let y = forward(module, x);
        let weights = random(y.dims(), 99);
        (y * weights).sum()
    };
    let mut source = Moved { step: 0.0, directions: HashMap::new() };
    let device = Device::flex().autodiff();
    let (module, names) = Params::build(&mut source, &device, &build);
    let module = module.set_require_grad(true);
    let x = input.clone().autodiff().require_grad();
    let gradients = loss(&module, x.clone()).backward();

    let mut slopes =
        Slopes { gradients: &gradients, names: &names, directions: &source.directions, total: 0.0, seen: 0 };
    module.visit(&mut slopes);
    assert_eq!(slopes.seen, names.len(), "{what}: every declared parameter is trained");

    let step = 2e-3;
    let at = |parameter_step: f32, input_step: f32| {
        let mut source = Moved { step: parameter_step, directions: HashMap::new() };
        let (module, _) = Params::build(&mut source, &Device::flex(), &build);
        let direction = random(input.dims(), 55);
        f64::from(loss(&module, input.clone() + direction * input_step).into_scalar::<f32>())
    };
    let close = |what: &str, expected: f64, found: f64| {
        let error = (found - expected).abs() / expected.abs().max(found.abs()).max(1.0);
        assert!(error < 1e-2, "{what}: finite difference {expected:.5}, gradient {found:.5}");
    };
    let difference = (at(step, 0.0) - at(-step, 0.0)) / f64::from(2.0 * step);
    close(&format!("{what}: parameters"), difference, slopes.total);
    let gradient = x.grad(&gradients).expect("the input has a gradient").into_data().try_to_vec::<f32>().unwrap();
    let direction = random([gradient.len()], 55).into_data().try_to_vec::<f32>().unwrap();
    let slope: f64 = gradient.iter().zip(direction).map(|(g, d)| f64::from(g * d)).sum();
    close(&format!("{what}: input"), (at(0.0, step) - at(0.0, -step)) / f64::from(2.0 * step), slope);
}

fn config() -> AdapterConfig {
    let mut config = AdapterConfig::tiny();
    (config.num_attention_heads, config.attention_head_dim) = (2, 4);
    (config.time_embed_dim, config.text_embed_dim) = (3, 6);
    (config.id_embed_dim, config.vision_hidden_size) = (5, 7);
    (config.id_perceiver.dim, config.id_perceiver.head_dim, config.id_perceiver.depth) = (8, 4, 1);
    (config.face_perceiver.dim, config.face_perceiver.head_dim, config.face_perceiver.depth) = (6, 3, 1);
    config
}

fn joined(factors: Factors) -> Tensor<2> {
    let Factors { shift1, scale1, gate1, shift2, scale2, gate2 } = factors;
    Tensor::cat(vec![shift1, scale1, gate1, shift2, scale2, gate2], 1)
}

#[test]
fn resampler() {
    let sizes = ResamplerSizes { dim: 6, depth: 2, head_dim: 3, ff_mult: 2, memory_dim: 5 };
    let build = |params: &mut Params<'_, '_>| Resampler::new(&sizes, params);
    check("memory", build, random([2, 4, 5], 1), |m, x| m.forward(random([2, 3, 6], 2), x));
    check("queries", build, random([2, 3, 6], 2), |m, x| m.forward(x.clone(), random([2, 4, 5], 1)));
}

#[test]
fn identity_perceiver() {
    let build = |params: &mut Params<'_, '_>| IdentityPerceiver::new(&config(), params);
    check("image", build, random([2, 4, 7], 1), |m, x| m.forward(random([2, 5], 2), x));
    check("embedding", build, random([1, 2, 5], 2), |m, x| m.forward(x.clone().squeeze_dim(0), random([2, 4, 7], 1)));
}

#[test]
fn face_perceiver() {
    let build = |params: &mut Params<'_, '_>| FacePerceiver::new(&config(), params);
    check("face perceiver", build, random([2, 4, 7], 1), FacePerceiver::forward);
}

#[test]
fn fusion() {
    let build = |params: &mut Params<'_, '_>| Fusion::new(&config(), params);
    let mask = [false, true, true, false];
    check("text", build, random([1, 4, 6], 1), |m, x| m.forward(x.clone(), &mask, random([1, 2, 8], 2)));
    check("identity", build, random([1, 2, 8], 2), |m, x| m.forward(random([1, 4, 6], 1), &mask, x));
}

#[test]
fn can() {
    let config = config();
    let build = |params: &mut Params<'_, '_>| Can::new(&config, params);
    let shapes = [[1, config.can.id_proj_dim], [2, config.time_embed_dim], [2, config.width()]];
    for (varied, shape) in shapes.into_iter().enumerate() {
        let input = random(shape, 7).unsqueeze::<3>();
        check(&format!("CAN, input {varied}"), build, input, |m, x| {
            let inputs: [Tensor<2>; 3] =
                std::array::from_fn(
                    |i| {
                        if i == varied { x.clone().squeeze_dim(0) } else { random(shapes[i], i as u64) }
                    },
                );
            let residuals = m.forward(&inputs[0], &inputs[1], &inputs[2]);
            Tensor::cat(vec![joined(residuals.video), joined(residuals.text)], 1).unsqueeze()
        });
    }
}

#[test]
fn face_modulation() {
    let build = |params: &mut Params<'_, '_>| FaceModulation::new(&config(), params);
    check("face modulation", build, random([1, 2, 3], 1), |m, x| joined(m.forward(&x.squeeze_dim(0))).unsqueeze());
}

#[test]
fn decoupled_attention() {
    let build = |params: &mut Params<'_, '_>| DecoupledAttention::new(&config(), params);
    let heads = |x: Tensor<4>| x.swap_dims(1, 2).reshape([2, 5, 8]);
    check("face", build, random([2, 3, 8], 1), |m, x| heads(m.forward(&random([2, 2, 5, 4], 2), &x)));
    check("query", build, random([2, 5, 8], 2), |m, x| {
        let query = x.clone().reshape([2, 5, 2, 4]).swap_dims(1, 2);
        heads(m.forward(&query, &random([2, 3, 8], 1)))
    });
}

/// Adds up the slopes of the loss along each parameter's direction.
struct Slopes<'a> {
    gradients: &'a Gradients,
    names: &'a HashMap<ParamId, String>,
    directions: &'a HashMap<String, Vec<f32>>,
    total: f64,
    seen: usize,
}

impl ModuleVisitor for Slopes<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let name = &self.names[&param.id];
        let gradient = param.val().grad(self.gradients).unwrap_or_else(|| panic!("no gradient for {name}"));
        let gradient = gradient.into_data().try_to_vec::<f32>().unwrap();
        let slope: f64 = gradient.iter().zip(&self.directions[name]).map(|(g, d)| f64::from(g * d)).sum();
        assert!(gradient.iter().any(|g| *g != 0.0), "the gradient of {name} is zero");
        self.total += slope;
        self.seen += 1;
    }
}
