//! Between modules on devices and the optimiser's parameters in main memory.

use std::collections::HashMap;

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param, ParamId};
use burn::tensor::{DType, Device, Gradients as BurnGradients, Tensor, TensorData};
use magicmirror_models::weights::{ParamNames, named_tensors};

use super::Parameter;

/// Which parameters of a module are trained, in a fixed order (by name).
#[derive(Debug, Clone)]
pub struct ParameterSet {
    index: HashMap<ParamId, usize>,
    count: usize,
}

impl ParameterSet {
    /// All named parameters of a module, and their values.
    ///
    /// # Panics
    /// When a parameter is not floating point.
    pub fn new<M: Module>(module: &M, names: &ParamNames) -> (Self, Vec<Parameter>) {
        let tensors = named_tensors(module, names);
        let order: HashMap<&str, usize> = tensors.iter().enumerate().map(|(i, (name, _))| (name.as_str(), i)).collect();
        let index = names.iter().filter_map(|(id, name)| Some((*id, *order.get(name.as_str())?))).collect();
        let count = tensors.len();
        let parameters = tensors.into_iter().map(|(name, data)| {
            let shape = data.shape().to_vec();
            let values = data.convert_dtype(DType::F32).try_to_vec::<f32>().expect("f32 after conversion");
            Parameter::new(name, shape, values)
        });
        (Self { index, count }, parameters.collect())
    }

    /// The module with new values (f32), each a trained leaf.
    ///
    /// # Panics
    /// When the parameters are not those of [`Self::new`].
    pub fn load<M: Module>(&self, module: M, parameters: &[Parameter]) -> M {
        struct Load<'a>(&'a ParameterSet, &'a [Parameter]);
        impl ModuleMapper for Load<'_> {
            fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
                let Some(index) = self.0.index.get(&param.id) else { return param };
                let Parameter { values, shape, .. } = &self.1[*index];
                param.map(|tensor| {
                    let data = TensorData::new(values.clone(), shape.clone());
                    Tensor::from_data(data, (&tensor.device(), DType::F32)).require_grad()
                })
            }
        }
        module.map(&mut Load(self, parameters))
    }

    /// An empty sum.
    pub fn gradients(&self) -> Gradients {
        Gradients { sums: vec![None; self.count] }
    }

    /// Adds what a backward pass found for the module's parameters.
    pub fn add<M: Module>(&self, module: &M, found: &BurnGradients, into: &mut Gradients) {
        struct Collect<'a>(&'a ParameterSet, &'a BurnGradients, &'a mut Gradients);
        impl ModuleVisitor for Collect<'_> {
            fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
                let Some(index) = self.0.index.get(&param.id) else { return };
                let tensor = param.val();
                if let Some(gradient) = tensor.grad(self.1) {
                    self.2.add(*index, gradient.reshape([tensor.shape().num_elements()]));
                }
            }
        }
        module.visit(&mut Collect(self, found, into));
    }
}

/// What is trained, on every device that computes a part of the batch.
pub(super) struct Replicas<M>(Vec<(M, Device)>);

impl<M: Module> Replicas<M> {
    /// Copies for all devices, with autodiff. They have the same parameter ids, so one [`ParameterSet`] serves all.
    pub(super) fn new(module: &M, devices: &[Device]) -> Self {
        let devices = devices.iter().map(|device| device.clone().autodiff());
        Self(devices.map(|device| (module.clone().fork(&device), device)).collect())
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// The module with autodiff, and its device.
    pub(super) fn get(&self, replica: usize) -> (&M, &Device) {
        let (module, device) = &self.0[replica];
        (module, device)
    }

    pub(super) fn set(&mut self, set: &ParameterSet, parameters: &[Parameter]) {
        for (module, _) in &mut self.0 {
            *module = set.load(module.clone(), parameters);
        }
    }

    /// The first module without autodiff, and its device.
    pub(super) fn valid(&self) -> (M, Device) {
        let (module, device) = self.get(0);
        (module.valid(), device.clone().without_autodiff())
    }
}

/// Gradients of trained parameters, flat, on the device where they were computed; `None` where none arrived.
#[derive(Debug, Clone)]
pub struct Gradients {
    sums: Vec<Option<Tensor<1>>>,
}

impl Gradients {
    /// Adds a gradient for one parameter.
    pub fn add(&mut self, index: usize, gradient: Tensor<1>) {
        let sum = &mut self.sums[index];
        *sum = Some(match sum.take() {
            Some(sum) => sum + gradient,
            None => gradient,
        });
    }

    /// Adds `other · weight`.
    pub(super) fn add_weighted(&mut self, other: Self, weight: f64) {
        self.sums.resize(self.sums.len().max(other.sums.len()), None);
        for (index, gradient) in other.sums.into_iter().enumerate() {
            if let Some(gradient) = gradient {
                self.add(index, gradient * weight);
            }
        }
    }

    /// The gradient of one parameter.
    pub(super) fn get(&self, index: usize) -> Option<&Tensor<1>> {
        self.sums.get(index)?.as_ref()
    }

    /// Puts another in the place of each that is there, in order.
    pub(super) fn replace_each(&mut self, mut with: impl FnMut(Tensor<1>) -> Tensor<1>) {
        for sum in &mut self.sums {
            *sum = sum.take().map(&mut with);
        }
    }

    /// Where they were computed; none where nothing was.
    pub(super) fn device(&self) -> Option<Device> {
        self.sums.iter().flatten().next().map(Tensor::device)
    }

    /// Waits until they are computed: devices queue what they are asked for, and some begin only when a result is wanted. What
    /// fails shows when they are read.
    pub(super) fn wait(&self) {
        if let Some(device) = self.device() {
            let _ = device.sync();
        }
    }

    /// Number of parameters, with or without a gradient.
    pub(super) fn len(&self) -> usize {
        self.sums.len()
    }

    /// An empty sum of as many.
    pub(super) fn empty(count: usize) -> Self {
        Self { sums: vec![None; count] }
    }

    /// Brings them to main memory.
    ///
    /// # Panics
    /// When a gradient is not f32, which those of f32 masters are.
    pub fn into_values(self) -> Vec<Option<Vec<f32>>> {
        let values = |tensor: Tensor<1>| tensor.into_data().try_to_vec::<f32>().expect("gradients are f32");
        self.sums.into_iter().map(|sum| sum.map(values)).collect()
    }
}
