//! AdamW and Muon over named parameters, held in main memory in f32 (masters, moments, moving average).
//!
//! Devices hold a copy of the masters for computing. A graphics card therefore needs room for neither moments nor
//! average, and all replicas share one update.

use burn::tensor::{Device, Tensor, TensorData};
use magicmirror_models::weights::WeightsError;
use rayon::prelude::*;

use super::OptimiserConfig;

/// Elements that one task updates.
const CHUNK: usize = 1 << 14;

/// Size that a parameter at zero is taken to have where steps are relative: Adafactor's.
const SMALLEST_SCALE: f64 = 1e-3;

/// A trained parameter and what the optimiser remembers of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Parameter {
    /// Name in the released file.
    pub name: String,
    /// Shape.
    pub shape: Vec<usize>,
    /// The f32 master.
    pub values: Vec<f32>,
    /// First moment of the gradient.
    pub(super) first: Vec<f32>,
    /// Second moment; zeros where Muon is used.
    pub(super) second: Vec<f32>,
    /// Moving average of the values; empty where there is none.
    pub(super) average: Vec<f32>,
}

impl Parameter {
    /// A parameter that no gradient has reached yet.
    pub fn new(name: String, shape: Vec<usize>, values: Vec<f32>) -> Self {
        let zeros = vec![0.0; values.len()];
        Self { name, shape, first: zeros.clone(), second: zeros, values, average: Vec::new() }
    }

    /// What is exported: the moving average where there is one.
    pub fn exported(&self) -> &[f32] {
        if self.average.is_empty() { &self.values } else { &self.average }
    }

    /// Whether all values are numbers.
    pub(super) fn is_finite(&self) -> bool {
        self.values.par_chunks(CHUNK).all(|values| values.iter().all(|value| value.is_finite()))
    }

    /// A copy whose values are those exported, for looking at the model; moments are left out.
    pub(super) fn as_exported(&self) -> Self {
        let values = self.exported().to_vec();
        let (name, shape) = (self.name.clone(), self.shape.clone());
        Self { name, shape, values, first: Vec::new(), second: Vec::new(), average: Vec::new() }
    }
}

impl Parameter {
    /// Whether it is a matrix, or the kernels of a convolution, in one of many equal blocks, as opposed to what maps in,
    /// out, or ids to vectors. T5's are left out: see [`Self::step_scale`].
    fn is_hidden_matrix(&self) -> bool {
        let mut path = self.name.split('.');
        self.shape.len() >= 2 && !self.is_of_t5_block() && path.any(|part| part.parse::<usize>().is_ok())
    }

    fn is_of_t5_block(&self) -> bool {
        self.name.contains("SelfAttention") || self.name.contains("DenseReluDense")
    }

    /// What its steps are multiplied by. T5 is made for Adafactor, whose steps are relative to the size of what they change
    /// (arXiv 1804.04235, section 8): nothing scales or normalises the products of its queries and keys, and steps as large
    /// as elsewhere make attention all or nothing, which then learns no more.
    fn step_scale(&self) -> f64 {
        if !self.is_of_t5_block() {
            return 1.0;
        }
        let squares: f64 = self.values.iter().map(|value| f64::from(*value).powi(2)).sum();
        (squares / self.values.len() as f64).sqrt().max(SMALLEST_SCALE)
    }

    /// AdamW (arXiv 1711.05101); each element is read and written once.
    fn adamw(&mut self, config: &OptimiserConfig, gradient: &[f32], learning_rate: f64, step: u64) {
        let OptimiserConfig { beta1, beta2, epsilon, weight_decay, .. } = *config;
        let corrected = |beta: f64| 1.0 - beta.powf(step as f64);
        let rate = (learning_rate / corrected(beta1)) as f32;
        let root = corrected(beta2).sqrt() as f32;
        let (beta1, beta2, epsilon) = (beta1 as f32, beta2 as f32, epsilon as f32);
        let kept = if self.shape.len() > 1 { (1.0 - learning_rate * weight_decay) as f32 } else { 1.0 };
        let chunks = self.values.par_chunks_mut(CHUNK).zip(self.first.par_chunks_mut(CHUNK));
        let chunks = chunks.zip(self.second.par_chunks_mut(CHUNK)).zip(gradient.par_chunks(CHUNK));
        chunks.for_each(|(((values, first), second), gradient)| {
            for (((value, m), v), g) in values.iter_mut().zip(first).zip(second).zip(gradient) {
                *m += (1.0 - beta1) * (g - *m);
                *v = beta2 * *v + (1.0 - beta2) * g * g;
                *value = *value * kept - rate * *m / (v.sqrt() / root + epsilon);
            }
        });
    }

    /// Muon: momentum (Nesterov's, decay `beta1`), made orthogonal, and scaled to be as large as AdamW's updates usually
    /// are (arXiv 2502.16982, section 2.2).
    fn muon(&mut self, config: &OptimiserConfig, gradient: &[f32], learning_rate: f64) {
        let momentum = config.beta1 as f32;
        let ahead = self.first.iter_mut().zip(gradient).map(|(m, g)| {
            *m += (1.0 - momentum) * (g - *m);
            g + momentum * (*m - g)
        });
        let [rows, columns] = [self.shape[0], self.shape[1..].iter().product()];
        let update = orthogonalise(ahead.collect(), [rows, columns]);
        let rate = (learning_rate * 0.2 * (rows.max(columns) as f64).sqrt()) as f32;
        let kept = (1.0 - learning_rate * config.weight_decay) as f32;
        for (value, update) in self.values.iter_mut().zip(update) {
            *value = *value * kept - rate * update;
        }
    }
}

/// The nearest matrix with orthonormal rows or columns, roughly (singular values .7 to 1.2; zero stays zero): five steps of
/// a Newton–Schulz iteration, whose coefficients are those of Muon (Jordan et al., 2024,
/// <https://kellerjordan.github.io/posts/muon/>).
fn orthogonalise(matrix: Vec<f32>, shape: [usize; 2]) -> Vec<f32> {
    let norm = matrix.iter().map(|value| f64::from(*value).powi(2)).sum::<f64>().sqrt();
    let matrix = Tensor::<2>::from_data(TensorData::new(matrix, shape), &Device::flex()) / (norm + 1e-7);
    let tall = shape[0] > shape[1];
    let mut x = if tall { matrix.transpose() } else { matrix };
    for _ in 0..5 {
        let square = x.clone().matmul(x.clone().transpose());
        let factor = square.clone() * -4.775 + square.clone().matmul(square) * 2.0315;
        x = x.clone() * 3.4445 + factor.matmul(x);
    }
    let x = if tall { x.transpose() } else { x };
    x.into_data().try_to_vec().expect("f32")
}

/// The optimiser with all it remembers.
#[derive(Debug, Clone, PartialEq)]
pub struct Optimiser {
    config: OptimiserConfig,
    /// Updates done.
    pub(super) step: u64,
    pub(super) parameters: Vec<Parameter>,
}

impl Optimiser {
    /// Starts with given parameters.
    pub fn new(config: OptimiserConfig, mut parameters: Vec<Parameter>) -> Self {
        if config.average_decay > 0.0 {
            for parameter in &mut parameters {
                parameter.average.clone_from(&parameter.values);
            }
        }
        Self { config, step: 0, parameters }
    }

    /// The parameters, in their fixed order.
    pub fn parameters(&self) -> &[Parameter] {
        &self.parameters
    }

    /// One update, at a part of the highest learning rates. `gradients` are in the order of the parameters; a parameter
    /// without a gradient stays as it is, moments included.
    ///
    /// # Panics
    /// When there are not as many gradients as parameters, or one has another length.
    pub fn update(&mut self, gradients: &[Option<Vec<f32>>], part: f64) {
        assert_eq!(gradients.len(), self.parameters.len(), "gradients and parameters");
        self.step += 1;
        let (step, config) = (self.step, &self.config);
        let average_decay = config.average_decay.min(step as f64 / (9.0 + step as f64)) as f32;
        self.parameters.par_iter_mut().zip(gradients).for_each(|(parameter, gradient)| {
            if let Some(gradient) = gradient {
                assert_eq!(gradient.len(), parameter.values.len(), "gradient of {}", parameter.name);
                match config.muon_learning_rate {
                    Some(rate) if parameter.is_hidden_matrix() => parameter.muon(config, gradient, rate * part),
                    _ => {
                        let rate = config.learning_rate * part * parameter.step_scale();
                        parameter.adamw(config, gradient, rate, step);
                    }
                }
            }
            let averages = parameter.average.par_chunks_mut(CHUNK).zip(parameter.values.par_chunks(CHUNK));
            averages.for_each(|(averages, values)| {
                for (average, value) in averages.iter_mut().zip(values) {
                    *average += (1.0 - average_decay) * (value - *average);
                }
            });
        });
    }

    /// Replaces values and memory by those of a checkpoint, which `read` gives by parameter and kind.
    pub(super) fn restore(
        &mut self,
        step: u64,
        mut read: impl FnMut(&str, Kind) -> Result<Vec<f32>, WeightsError>,
    ) -> Result<(), WeightsError> {
        self.step = step;
        for parameter in &mut self.parameters {
            for kind in Kind::ALL {
                if kind == Kind::Average && parameter.average.is_empty() {
                    continue;
                }
                *kind.of_mut(parameter) = read(&parameter.name, kind)?;
            }
        }
        Ok(())
    }
}

/// What is kept of a parameter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Value,
    First,
    Second,
    Average,
}

impl Kind {
    pub(super) const ALL: [Self; 4] = [Self::Value, Self::First, Self::Second, Self::Average];

    pub(super) fn of(self, parameter: &Parameter) -> &[f32] {
        match self {
            Self::Value => &parameter.values,
            Self::First => &parameter.first,
            Self::Second => &parameter.second,
            Self::Average => &parameter.average,
        }
    }

    fn of_mut(self, parameter: &mut Parameter) -> &mut Vec<f32> {
        match self {
            Self::Value => &mut parameter.values,
            Self::First => &mut parameter.first,
            Self::Second => &mut parameter.second,
            Self::Average => &mut parameter.average,
        }
    }
}

/// The norm of all gradients together.
pub(super) fn global_norm(gradients: &[Option<Vec<f32>>]) -> f64 {
    let squares = gradients.iter().flatten().map(|gradient| {
        // Summed chunk by chunk in a fixed order, so that the number of threads does not change the result.
        let chunks = gradient.par_chunks(CHUNK).map(|chunk| chunk.iter().map(|g| f64::from(*g).powi(2)).sum::<f64>());
        chunks.collect::<Vec<f64>>().into_iter().sum::<f64>()
    });
    squares.sum::<f64>().sqrt()
}

/// Multiplies all gradients.
pub(super) fn scale(gradients: &mut [Option<Vec<f32>>], factor: f32) {
    for gradient in gradients.iter_mut().flatten() {
        gradient.par_chunks_mut(CHUNK).for_each(|chunk| chunk.iter_mut().for_each(|g| *g *= factor));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::LearningRate;

    fn config() -> OptimiserConfig {
        OptimiserConfig {
            learning_rate: 0.01,
            warmup_steps: 0,
            schedule: LearningRate::Constant,
            final_fraction: 0.0,
            beta1: 0.9,
            beta2: 0.95,
            epsilon: 1e-8,
            weight_decay: 0.1,
            clip_norm: 0.0,
            average_decay: 0.0,
            muon_learning_rate: None,
        }
    }

    fn parameters() -> Vec<Parameter> {
        vec![
            Parameter::new("weight".into(), vec![2, 2], vec![0.5, -1.0, 2.0, 0.1]),
            Parameter::new("bias".into(), vec![2], vec![0.3, -0.2]),
        ]
    }

    const GRADIENTS: [([f32; 4], [f32; 2]); 3] = [
        ([0.1, -0.2, 0.3, 1e-4], [1.0, -0.5]),
        ([0.05, 0.2, -0.3, 2e-4], [-1.0, 0.25]),
        ([-0.15, 0.4, 0.0, 1e-4], [0.5, 0.125]),
    ];

    #[test]
    fn three_updates_are_those_of_torch() {
        let mut optimiser = Optimiser::new(config(), parameters());
        for (weight, bias) in GRADIENTS {
            optimiser.update(&[Some(weight.to_vec()), Some(bias.to_vec())], 1.0);
        }
        // torch 2.15, goldens/make_training.py.
        let expected =
            [0.479_950_37, -0.992_932_98, 1.984_964, 0.070_730_83, 0.288_764_12, -0.186_691_14].map(f64::from);
        let found = optimiser.parameters().iter().flat_map(|parameter| &parameter.values);
        for (found, expected) in found.zip(expected) {
            assert!((f64::from(*found) - expected).abs() < 1e-6, "found {found}, torch has {expected}");
        }
    }

    /// An orthogonal matrix times a diagonal one: the nearest orthogonal matrix is known.
    #[test]
    fn muon_steps_along_the_nearest_orthogonal_matrix() {
        let (sin, cos) = 0.7f32.sin_cos();
        let orthogonal = [[cos, -sin, 0.0], [sin, cos, 0.0]];
        let stretched = [3.0, 0.4].iter().zip(orthogonal).flat_map(|(factor, row)| row.map(|value| value * factor));
        let stretched: Vec<f32> = stretched.collect();
        let config = OptimiserConfig { muon_learning_rate: Some(0.02), weight_decay: 0.0, ..config() };
        let names = ["blocks.0.weight", "proj_out.weight", "block.0.layer.0.SelfAttention.q.weight"];
        let mut parameters = names.map(|name| Parameter::new(name.into(), vec![2, 3], vec![0.0; 6])).to_vec();
        parameters.push(Parameter::new("blocks.1.conv.weight".into(), vec![2, 1, 1, 3], vec![0.0; 6]));
        let mut optimiser = Optimiser::new(config, parameters);
        optimiser.update(&vec![Some(stretched); 4], 1.0);
        let [hidden, outer, t5, convolution] = optimiser.parameters() else { panic!("four parameters") };
        let size = 0.02 * 0.2 * 3f32.sqrt();
        for (value, expected) in hidden.values.iter().zip(orthogonal.as_flattened()) {
            let found = -value / size;
            assert!((found - expected).abs() < 0.31 * expected.abs() + 1e-6, "{found}, nearest is {expected}");
        }
        assert!(hidden.second.iter().all(|moment| *moment == 0.0));
        let signs =
            orthogonal.as_flattened().iter().map(|value| if *value == 0.0 { 0.0 } else { -0.01 * value.signum() });
        for (value, expected) in outer.values.iter().zip(signs) {
            assert!((value - expected).abs() < 1e-5, "AdamW: {value}, {expected}");
        }
        for (value, outer) in t5.values.iter().zip(&outer.values) {
            assert!((value - outer * 1e-3).abs() < 1e-8, "T5's are left to AdamW, with steps relative to their size");
        }
        assert_eq!(convolution.values, hidden.values, "a row for each output");
        assert_eq!(orthogonalise(vec![0.0; 6], [3, 2]), vec![0.0; 6]);
    }

    #[test]
    fn the_average_follows_the_values_and_what_has_no_gradient_stays() {
        let mut optimiser = Optimiser::new(OptimiserConfig { average_decay: 0.5, ..config() }, parameters());
        optimiser.update(&[Some(vec![1.0; 4]), None], 1.0);
        let [weight, bias] = optimiser.parameters() else { panic!("two parameters") };
        // The decay of the first step is (1 + 0) / (10 + 0).
        let expected = 0.1 * 0.5 + 0.9 * weight.values[0];
        assert!((weight.average[0] - expected).abs() < 1e-7 && weight.average[0] > weight.values[0]);
        assert_eq!(weight.exported(), weight.average);
        assert_eq!((&bias.values, &bias.first), (&vec![0.3, -0.2], &vec![0.0; 2]));
    }

    #[test]
    fn the_norm_is_over_all_gradients_together() {
        let mut gradients = [Some(vec![3.0f32, 0.0]), None, Some(vec![4.0])];
        assert!((global_norm(&gradients) - 5.0).abs() < 1e-12);
        scale(&mut gradients, 0.2);
        assert!((global_norm(&gradients) - 1.0).abs() < 1e-6);
    }

    #[test]
    fn the_learning_rate_rises_then_falls_to_its_last_part() {
        let config =
            OptimiserConfig { warmup_steps: 4, schedule: LearningRate::Cosine, final_fraction: 0.1, ..config() };
        let at = |step| config.part_of_rate(step, 104);
        let expected = [(0, 0.25), (3, 1.0), (4, 1.0), (54, 0.55), (104, 0.1)];
        for (step, rate) in expected {
            assert!((at(step) - rate).abs() < 1e-12, "step {step}: {}", at(step));
        }
        let constant = OptimiserConfig { schedule: LearningRate::Constant, ..config };
        assert!((constant.part_of_rate(90, 104) - 1.0).abs() < 1e-15);
    }
}
