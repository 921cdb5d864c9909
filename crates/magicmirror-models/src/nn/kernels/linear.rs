//! Products with a weight `[out, in]` that is never copied: Burn's own linear layer copies a transposed weight for
//! every call on more than two axes. A weight in 16 bits is widened to f32 a panel at a time.

use burn::tensor::DType;
use burn::tensor::{bf16, f16};
use burn_flex::FlexTensor;
use burn_flex::ops::matmul::matmul;
use half::slice::HalfFloatSliceExt;
use rayon::prelude::*;

use super::math::lane_sum2;
use super::storage::{as_matrix, contiguous, tensor, transposed, values, view, with_shape};

/// Columns of the output a panel gives: enough that reading `x` again for each panel costs little.
const PANEL: usize = 512;

/// Rows a task adds the bias to.
const ROWS: usize = 16;

/// Up to this many rows the product is a sum per output, read straight from the weight.
const FEW_ROWS: usize = 4;

/// A weight `[out, in]`.
#[derive(Clone, Copy)]
struct Weight<'a> {
    values: Stored<'a>,
    inputs: usize,
}

#[derive(Clone, Copy)]
enum Stored<'a> {
    F32(&'a [f32]),
    Bf16(&'a [bf16]),
    F16(&'a [f16]),
}

impl<'a> Weight<'a> {
    fn new(weight: &'a FlexTensor) -> Self {
        let values = match weight.dtype() {
            DType::F32 => Stored::F32(values(weight)),
            DType::BF16 => Stored::Bf16(weight.as_slice().expect("a contiguous tensor")),
            DType::F16 => Stored::F16(weight.as_slice().expect("a contiguous tensor")),
            other => unreachable!("a weight in f32 or 16 bits, not {other:?}"),
        };
        Self { values, inputs: weight.layout().shape()[1] }
    }

    /// Columns `start..` of row `row`, as many as `out` holds.
    fn widen(&self, row: usize, start: usize, out: &mut [f32]) {
        let range = row * self.inputs + start..row * self.inputs + start + out.len();
        match self.values {
            Stored::F32(values) => out.copy_from_slice(&values[range]),
            Stored::Bf16(values) => {
                for (out, value) in out.iter_mut().zip(&values[range]) {
                    *out = f32::from_bits(u32::from(value.to_bits()) << 16);
                }
            }
            Stored::F16(values) => values[range].convert_to_f32_slice(out),
        }
    }
}

/// `x · Wᵀ + b` for `x` `[.., in]`.
pub(super) fn forward(x: FlexTensor, weight: FlexTensor, bias: Option<FlexTensor>) -> FlexTensor {
    let (x, weight, bias) = (contiguous(x), contiguous(weight), bias.map(contiguous));
    let [outputs, inputs] = [0, 1].map(|axis| weight.layout().shape()[axis]);
    let mut shape = x.layout().shape().clone();
    let last = shape.num_dims() - 1;
    shape[last] = outputs;
    let rows = as_matrix(&x, inputs);
    let bias = bias.as_ref().map(values);
    let out = if rows.layout().shape()[0] <= FEW_ROWS {
        dot_products(values(&rows), Weight::new(&weight), outputs, bias)
    } else if weight.dtype() == DType::F32 {
        let mut out = matmul(rows, transposed(&weight));
        if let Some(bias) = bias {
            let rows = out.storage_mut::<f32>().par_chunks_mut(outputs.max(1)).with_min_len(ROWS);
            rows.for_each(|row| row.iter_mut().zip(bias).for_each(|(out, bias)| *out += bias));
        }
        return with_shape(out, shape);
    } else {
        let weight = Weight::new(&weight);
        by_panels(&rows, outputs, bias, |first, count| Panel {
            values: widen_rows(inputs, count, |row, out| weight.widen(first + row, 0, out)),
            shape: [inputs, count],
            strides: [1, inputs],
        })
    };
    tensor(out, shape)
}

/// The gradient of `x`: `gradient · W`.
pub(super) fn backward_input(weight: FlexTensor, gradient: FlexTensor) -> FlexTensor {
    let (weight, gradient) = (contiguous(weight), contiguous(gradient));
    let [outputs, inputs] = [0, 1].map(|axis| weight.layout().shape()[axis]);
    let mut shape = gradient.layout().shape().clone();
    let last = shape.num_dims() - 1;
    shape[last] = inputs;
    if weight.dtype() == DType::F32 {
        return with_shape(matmul(as_matrix(&gradient, outputs), weight), shape);
    }
    let weight = Weight::new(&weight);
    let out = by_panels(&as_matrix(&gradient, outputs), inputs, None, |first, count| Panel {
        values: widen_rows(count, outputs, |row, out| weight.widen(row, first, out)),
        shape: [outputs, count],
        strides: [count, 1],
    });
    tensor(out, shape)
}

/// The gradient of the weight in f32: `gradientᵀ · x`.
pub(super) fn backward_weight(x: FlexTensor, gradient: FlexTensor, [outputs, inputs]: [usize; 2]) -> FlexTensor {
    let (x, gradient) = (contiguous(x), contiguous(gradient));
    matmul(transposed(&as_matrix(&gradient, outputs)), as_matrix(&x, inputs))
}

/// The gradient of the bias: the sum of the rows.
pub(super) fn backward_bias(gradient: FlexTensor, outputs: usize) -> FlexTensor {
    let gradient = contiguous(gradient);
    let mut sums = vec![0.0f64; outputs];
    for row in values(&gradient).chunks(outputs.max(1)) {
        sums.iter_mut().zip(row).for_each(|(sum, &value)| *sum += f64::from(value));
    }
    tensor(sums.iter().map(|&sum| sum as f32).collect(), [outputs])
}

/// Some columns of the right factor of a product, in f32.
struct Panel {
    values: Vec<f32>,
    shape: [usize; 2],
    strides: [usize; 2],
}

fn widen_rows(width: usize, rows: usize, widen: impl Fn(usize, &mut [f32]) + Sync) -> Vec<f32> {
    let mut panel = vec![0.0; rows * width];
    panel.par_chunks_mut(width.max(1)).enumerate().for_each(|(row, out)| widen(row, out));
    panel
}

fn by_panels(x: &FlexTensor, outputs: usize, bias: Option<&[f32]>, panel: impl Fn(usize, usize) -> Panel) -> Vec<f32> {
    let rows = x.layout().shape()[0];
    let mut out = vec![0.0; rows * outputs];
    for first in (0..outputs).step_by(PANEL) {
        let count = PANEL.min(outputs - first);
        let Panel { values: panel, shape, strides } = panel(first, count);
        let panel = tensor(panel, [shape[0] * shape[1]]);
        let product = matmul(x.clone(), view(&panel, shape, &strides, 0));
        let product = values(&product);
        out.par_chunks_mut(outputs).zip(product.par_chunks(count)).for_each(|(out, product)| {
            let out = &mut out[first..first + count];
            match bias {
                Some(bias) => {
                    let columns = out.iter_mut().zip(product).zip(&bias[first..]);
                    columns.for_each(|((out, &product), &bias)| *out = product + bias);
                }
                None => out.copy_from_slice(product),
            }
        });
    }
    out
}

/// As [`by_panels`] for a few rows, when reading the weight takes all the time.
fn dot_products(x: &[f32], weight: Weight<'_>, outputs: usize, bias: Option<&[f32]>) -> Vec<f32> {
    const SPAN: usize = 1024;
    let inputs = weight.inputs;
    let rows = x.len().checked_div(inputs).unwrap_or(0);
    let mut sums = vec![0.0; outputs * rows];
    if inputs == 0 || rows == 0 {
        return sums;
    }
    sums.par_chunks_mut(rows).enumerate().with_min_len(16).for_each(|(output, sums)| {
        let mut span = [0.0; SPAN];
        let mut totals = [0.0; FEW_ROWS];
        for start in (0..inputs).step_by(SPAN) {
            let span = &mut span[..SPAN.min(inputs - start)];
            weight.widen(output, start, span);
            for (total, row) in totals.iter_mut().zip(x.chunks(inputs)) {
                *total += lane_sum2(&row[start..start + span.len()], span, |x, weight| x * weight);
            }
        }
        let bias = bias.map_or(0.0, |bias| bias[output]);
        sums.iter_mut().zip(totals).for_each(|(sum, total)| *sum = total as f32 + bias);
    });
    if rows == 1 {
        return sums;
    }
    (0..rows * outputs).map(|index| sums[index % outputs * rows + index / outputs]).collect()
}
