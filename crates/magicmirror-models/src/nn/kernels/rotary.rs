use burn_flex::FlexTensor;
use rayon::prelude::*;

use super::storage::{contiguous, tensor, values};

/// Rows a task works on.
const ROWS: usize = 256;

/// Which way the pairs are turned.
#[derive(Debug, Clone, Copy)]
pub(super) enum Turn {
    Forward,
    /// The transposed map, which gradients take.
    Backward,
}

/// `x` `[batch, heads, tokens, head_dim]` in any layout with adjacent channels; `cos`, `sin` `[tokens, head_dim]`.
pub(super) fn rotate(x: FlexTensor, cos: FlexTensor, sin: FlexTensor, turn: Turn) -> FlexTensor {
    let x = if x.layout().strides()[3] == 1 && x.layout().has_positive_strides() { x } else { x.to_contiguous() };
    let (cos, sin) = (contiguous(cos), contiguous(sin));
    let (cos, sin) = (values(&cos), values(&sin));
    let layout = x.layout();
    let [_, heads, tokens, head_dim] = [0, 1, 2, 3].map(|axis| layout.shape()[axis]);
    let [batch_stride, head_stride, token_stride] = [0, 1, 2].map(|axis| layout.strides()[axis].unsigned_abs());
    let input: &[f32] = x.storage();
    let mut out = vec![0.0; layout.num_elements()];
    if !out.is_empty() {
        out.par_chunks_mut(head_dim).enumerate().with_min_len(ROWS).for_each(|(row, out)| {
            let (head, token) = (row / tokens, row % tokens);
            let start =
                layout.start_offset() + head / heads * batch_stride + head % heads * head_stride + token * token_stride;
            let angles = token * head_dim..(token + 1) * head_dim;
            let (cos, sin) = (&cos[angles.clone()], &sin[angles]);
            let x = &input[start..start + head_dim];
            let pairs = x.as_chunks::<2>().0.iter().zip(cos.as_chunks::<2>().0).zip(sin.as_chunks::<2>().0);
            let pairs = out.as_chunks_mut::<2>().0.iter_mut().zip(pairs);
            match turn {
                Turn::Forward => pairs.for_each(|(out, ((x, cos), sin))| {
                    *out = [x[0] * cos[0] - x[1] * sin[0], x[1] * cos[1] + x[0] * sin[1]];
                }),
                Turn::Backward => pairs.for_each(|(out, ((x, cos), sin))| {
                    *out = [x[0] * cos[0] + x[1] * sin[1], x[1] * cos[1] - x[0] * sin[0]];
                }),
            }
        });
    }
    tensor(out, layout.shape().clone())
}
