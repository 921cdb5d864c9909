//! Where vectors of faces vary equally in all directions.

use burn::tensor::{Device, Tensor, TensorData};

/// What is added to the variances of whitened vectors, in parts of the mean variance: what varies least is noise, which
/// would count as much as what tells people apart.
const LEAST_VARIANCE: f64 = 2.0;

/// An affine map, after which a recogniser's vectors of many people have mean zero and, but for [`LEAST_VARIANCE`], variance
/// one in every direction.
///
/// Most of a vector of dlib's recogniser is what all faces have in common, and of the rest most is what a few directions say.
/// Between photos and clips of 40 people, through the small model's autoencoder, the area under the ROC curve was .970 by
/// the cosine of raw vectors, .973 seen from their mean, .983 whitened.
#[derive(Debug, Clone)]
pub struct Whitening {
    mean: Tensor<2>,
    matrix: Tensor<2>,
}

impl Whitening {
    /// From vectors of one length, one a person. `None` where all are alike.
    pub fn of(vectors: &[Vec<f32>], device: &Device) -> Option<Self> {
        let count = vectors.len() as f64;
        let size = vectors.first()?.len();
        let mut mean = vec![0.0; size];
        for vector in vectors {
            mean.iter_mut().zip(vector).for_each(|(mean, &value)| *mean += f64::from(value) / count);
        }
        let mut covariance = vec![vec![0.0; size]; size];
        for vector in vectors {
            let centred: Vec<f64> = vector.iter().zip(&mean).map(|(&value, mean)| f64::from(value) - mean).collect();
            for (row, a) in covariance.iter_mut().zip(&centred) {
                row.iter_mut().zip(&centred).for_each(|(sum, b)| *sum += a * b / count);
            }
        }
        let mean_variance = (0..size).map(|axis| covariance[axis][axis]).sum::<f64>() / size as f64;
        if mean_variance.is_nan() || mean_variance <= 0.0 {
            return None;
        }
        (0..size).for_each(|axis| covariance[axis][axis] += LEAST_VARIANCE * mean_variance);
        let lower = cholesky(covariance);
        // Vectors are rows: the matrix is the inverse of `lower`, transposed.
        let matrix = (0..size).flat_map(|axis| solve(&lower, axis)).map(|value| value as f32).collect();
        let mean = mean.into_iter().map(|value| value as f32).collect();
        let tensor = |values: Vec<f32>, shape| Tensor::from_data(TensorData::new(values, shape), device);
        Some(Self { mean: tensor(mean, [1, size]), matrix: tensor(matrix, [size, size]) })
    }

    /// # Shapes
    /// - vectors, output: `[batch, E]`
    pub fn forward(&self, vectors: Tensor<2>) -> Tensor<2> {
        (vectors - self.mean.clone()).matmul(self.matrix.clone())
    }
}

/// The lower triangular L with L Lᵀ = `matrix`, which is symmetric and positive definite.
fn cholesky(mut matrix: Vec<Vec<f64>>) -> Vec<Vec<f64>> {
    for row in 0..matrix.len() {
        for column in 0..=row {
            let known: f64 = (0..column).map(|k| matrix[row][k] * matrix[column][k]).sum();
            let rest = matrix[row][column] - known;
            matrix[row][column] = if row == column { rest.sqrt() } else { rest / matrix[column][column] };
        }
        matrix[row][row + 1..].fill(0.0);
    }
    matrix
}

/// The x with `lower` x = the unit vector of an axis, by forward substitution.
fn solve(lower: &[Vec<f64>], axis: usize) -> Vec<f64> {
    let mut x: Vec<f64> = Vec::with_capacity(lower.len());
    for (row, values) in lower.iter().enumerate() {
        let known: f64 = values.iter().zip(&x).map(|(a, b)| a * b).sum();
        x.push((f64::from(u8::from(row == axis)) - known) / values[row]);
    }
    x
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::random::{Draw, normal};

    /// Mixed normal numbers: whitened ones are mixed no more.
    #[test]
    fn whitened_vectors_vary_equally() {
        let device = Device::flex();
        let vectors: Vec<Vec<f32>> = (0..500)
            .map(|step| {
                let x = normal(3, 1, step, 0, Draw::Noise);
                vec![5.0 + x[0], 2.0 * x[1] - 3.0 * x[0], 0.5 * x[2] + x[1]]
            })
            .collect();
        let whitening = Whitening::of(&vectors, &device).unwrap();
        let rows = TensorData::new(vectors.concat(), [500, 3]);
        let white = whitening.forward(Tensor::from_data(rows.clone(), &device));
        let mean = white.clone().mean_dim(0).abs().max().into_scalar::<f32>();
        assert!(mean < 1e-4, "{mean}");
        // W is L⁻ᵀ with L Lᵀ = C + s, so Wᵀ (C + s) W is one.
        let covariance = white.clone().transpose().matmul(white) / 500.0;
        let centred: Tensor<2> = Tensor::from_data(rows, &device);
        let centred = centred.clone() - centred.mean_dim(0);
        let added = (centred.clone() * centred).mean().into_scalar::<f32>() * LEAST_VARIANCE as f32;
        let lost = whitening.matrix.clone().transpose().matmul(whitening.matrix.clone()) * added;
        let error = (covariance + lost - Tensor::<2>::eye(3, &device)).abs().max().into_scalar::<f32>();
        assert!(error < 1e-4, "{error}");
        assert!(Whitening::of(&[vec![1.0, 2.0], vec![1.0, 2.0]], &device).is_none());
        assert!(Whitening::of(&[], &device).is_none());
    }
}
