use std::collections::HashMap;

use burn::module::{Module, ModuleVisitor, Param, ParamId};
use burn::tensor::{Device, Tensor, TensorData};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, StandardNormal};

/// How a parameter starts when it is not read from a file.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Init {
    /// All zero.
    Zeros,
    /// All one.
    Ones,
    /// Normal, mean zero, with this standard deviation.
    Normal(f32),
}

impl Init {
    /// Normal with standard deviation `1/√fan_in`, which keeps the scale of activations.
    pub fn fan_in(fan_in: usize) -> Self {
        Self::Normal((fan_in.max(1) as f32).powf(-0.5))
    }
}

/// Where parameters come from: a file, a random generator, or nowhere (to collect names and shapes).
pub trait TensorSource {
    /// The values of the named parameter, or `None` for a placeholder.
    fn tensor(&mut self, name: &str, shape: &[usize], init: Init) -> Option<TensorData>;
}

/// Released name of each parameter of a module, by Burn's parameter id (which survives optimiser steps and copies).
pub type ParamNames = HashMap<ParamId, String>;

struct Context<'a> {
    source: &'a mut dyn TensorSource,
    names: ParamNames,
    device: Device,
}

/// Hands a constructor its parameters under a name prefix.
pub struct Params<'a, 'b> {
    context: &'a mut Context<'b>,
    prefix: String,
}

impl<'b> Params<'_, 'b> {
    /// Runs `build` with parameters from `source`; returns its result and the names of the parameters.
    pub fn build<T>(
        source: &'b mut dyn TensorSource,
        device: &Device,
        build: impl FnOnce(&mut Params<'_, '_>) -> T,
    ) -> (T, ParamNames) {
        let mut context = Context { source, names: ParamNames::new(), device: device.clone() };
        let built = build(&mut Params { context: &mut context, prefix: String::new() });
        (built, context.names)
    }

    /// The parameters below `name`: `params.at("attn1").at("to_q")` declares `attn1.to_q.…`.
    pub fn at(&mut self, name: impl std::fmt::Display) -> Params<'_, 'b> {
        Params { prefix: format!("{}{name}.", self.prefix), context: &mut *self.context }
    }

    /// Declares one parameter.
    pub fn tensor<const D: usize>(&mut self, name: &str, shape: [usize; D], init: Init) -> Param<Tensor<D>> {
        let name = format!("{}{name}", self.prefix);
        let tensor = match self.context.source.tensor(&name, &shape, init) {
            Some(data) => {
                let dtype = data.dtype();
                Tensor::from_data(data, (&self.context.device, dtype))
            }
            None => Tensor::zeros([1; D], &self.context.device),
        };
        let id = ParamId::new();
        self.context.names.insert(id, name);
        Param::initialized(id, tensor)
    }

    /// The device on which the parameters are put.
    pub fn device(&self) -> &Device {
        &self.context.device
    }
}

/// Builds a module with fresh parameters, as its constructor declares them, from a seed (f32).
pub fn initialise<T>(seed: u64, device: &Device, build: impl FnOnce(&mut Params<'_, '_>) -> T) -> (T, ParamNames) {
    struct Fresh(ChaCha8Rng);
    impl TensorSource for Fresh {
        fn tensor(&mut self, _name: &str, shape: &[usize], init: Init) -> Option<TensorData> {
            let count: usize = shape.iter().product();
            let values: Vec<f32> = match init {
                Init::Zeros => vec![0.0; count],
                Init::Ones => vec![1.0; count],
                Init::Normal(std) => (0..count)
                    .map(|_| std * <StandardNormal as Distribution<f32>>::sample(&StandardNormal, &mut self.0))
                    .collect(),
            };
            Some(TensorData::new(values, shape.to_vec()))
        }
    }
    Params::build(&mut Fresh(ChaCha8Rng::seed_from_u64(seed)), device, build)
}

/// All parameters of a module under their released names, sorted by name: what [`super::save_safetensors`] writes.
pub fn named_tensors<M: Module>(module: &M, names: &ParamNames) -> Vec<(String, TensorData)> {
    struct Collect<'a> {
        names: &'a ParamNames,
        tensors: Vec<(String, TensorData)>,
    }
    impl ModuleVisitor for Collect<'_> {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            if let Some(name) = self.names.get(&param.id) {
                self.tensors.push((name.clone(), param.val().into_data()));
            }
        }
    }
    let mut collect = Collect { names, tensors: Vec::new() };
    module.visit(&mut collect);
    collect.tensors.sort_by(|a, b| a.0.cmp(&b.0));
    collect.tensors
}
