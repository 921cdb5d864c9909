//! Normalisation of rows, `(x − mean) · rstd`, followed by a scale and a shift that may differ for each batch entry.

use burn_flex::FlexTensor;
use rayon::prelude::*;

use super::math::{lane_sum, lane_sum2, mean_and_variance};
use super::storage::{contiguous, tensor, values};

/// Rows a task works on.
const ROWS: usize = 32;

/// Mean and reciprocal of the standard deviation of a row.
fn moments(row: &[f32], epsilon: f64) -> (f32, f32) {
    let (mean, variance) = mean_and_variance(row);
    (mean as f32, (variance + epsilon).sqrt().recip() as f32)
}

/// Row length, and rows that share a row of `scale` (`[entries, width]`).
fn sizes(x: &FlexTensor, scale: &FlexTensor) -> (usize, usize) {
    let [entries, width] = [0, 1].map(|axis| scale.layout().shape()[axis]);
    (width, x.layout().num_elements() / (entries * width).max(1))
}

/// `x` `[.., width]`; `scale` and `shift` `[1 or batch, width]`.
pub(super) fn forward(x: FlexTensor, scale: FlexTensor, shift: FlexTensor, epsilon: f64) -> FlexTensor {
    let (x, scale, shift) = (contiguous(x), contiguous(scale), contiguous(shift));
    let (width, rows) = sizes(&x, &scale);
    let (input, scale, shift) = (values(&x), values(&scale), values(&shift));
    let mut out = vec![0.0; input.len()];
    if !input.is_empty() {
        let tasks = out.par_chunks_mut(width).zip(input.par_chunks(width)).enumerate().with_min_len(ROWS);
        tasks.for_each(|(row, (out, x))| {
            let (mean, rstd) = moments(x, epsilon);
            let parameters = row / rows * width..(row / rows + 1) * width;
            let parameters = scale[parameters.clone()].iter().zip(&shift[parameters]);
            for ((out, &x), (&scale, &shift)) in out.iter_mut().zip(x).zip(parameters) {
                *out = (x - mean) * rstd * scale + shift;
            }
        });
    }
    tensor(out, x.layout().shape().clone())
}

/// Gradients of input, scale and shift.
pub(super) fn backward(x: FlexTensor, scale: FlexTensor, gradient: FlexTensor, epsilon: f64) -> [FlexTensor; 3] {
    let (x, scale, gradient) = (contiguous(x), contiguous(scale), contiguous(gradient));
    let (width, rows) = sizes(&x, &scale);
    let (input, factors, gradient) = (values(&x), values(&scale), values(&gradient));
    let mut dx = vec![0.0; input.len()];
    let (mut dscale, mut dshift) = (vec![0.0; factors.len()], vec![0.0; factors.len()]);
    if !input.is_empty() {
        let len = rows * width;
        let entries = dx.chunks_mut(len).zip(input.chunks(len)).zip(gradient.chunks(len));
        let parameters = factors.chunks(width).zip(dscale.chunks_mut(width).zip(dshift.chunks_mut(width)));
        for (((dx, x), g), (scale, (dscale, dshift))) in entries.zip(parameters) {
            // A fixed cut into tasks, added up in order, gives the same sums on any number of threads.
            let len = ROWS * width;
            let tasks = dx.par_chunks_mut(len).zip(x.par_chunks(len)).zip(g.par_chunks(len));
            let sums: Vec<[Vec<f32>; 2]> =
                tasks.map(|((dx, x), g)| backward_of_rows(dx, x, g, scale, epsilon)).collect();
            for [scale_part, shift_part] in sums {
                dscale.iter_mut().zip(scale_part).for_each(|(sum, part)| *sum += part);
                dshift.iter_mut().zip(shift_part).for_each(|(sum, part)| *sum += part);
            }
        }
    }
    let shape = scale.layout().shape().clone();
    [tensor(dx, x.layout().shape().clone()), tensor(dscale, shape.clone()), tensor(dshift, shape)]
}

/// Fills `dx`; returns these rows' part of the gradients of scale and shift.
fn backward_of_rows(dx: &mut [f32], x: &[f32], g: &[f32], scale: &[f32], epsilon: f64) -> [Vec<f32>; 2] {
    let width = scale.len();
    let (mut dscale, mut dshift) = (vec![0.0; width], vec![0.0; width]);
    for ((dx, x), g) in dx.chunks_mut(width).zip(x.chunks(width)).zip(g.chunks(width)) {
        let (mean, rstd) = moments(x, epsilon);
        for ((dx, &g), &scale) in dx.iter_mut().zip(g).zip(scale) {
            *dx = g * scale;
        }
        let shift = (lane_sum(dx, |dx| dx) / width as f64) as f32;
        let along = (lane_sum2(dx, x, |dx, x| dx * ((x - mean) * rstd)) / width as f64) as f32;
        let sums = dscale.iter_mut().zip(&mut dshift);
        for (((dx, &x), &g), (dscale, dshift)) in dx.iter_mut().zip(x).zip(g).zip(sums) {
            let normed = (x - mean) * rstd;
            *dx = rstd * (*dx - shift - normed * along);
            *dscale += g * normed;
            *dshift += g;
        }
    }
    [dscale, dshift]
}
