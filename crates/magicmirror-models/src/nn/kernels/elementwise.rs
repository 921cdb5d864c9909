use burn_flex::FlexTensor;
use rayon::prelude::*;

use super::math;
use super::storage::{contiguous, tensor, values};

/// Values a task works on; smaller tensors are not worth a second thread.
const CHUNK: usize = 1 << 14;

/// The activation functions of the networks.
#[derive(Debug, Clone, Copy)]
pub(super) enum Activation {
    Silu,
    GeluTanh,
    GeluErf,
    QuickGelu,
}

impl Activation {
    pub(super) fn forward(self, x: FlexTensor) -> FlexTensor {
        match self {
            Self::Silu => map(x, math::silu),
            Self::GeluTanh => map(x, math::gelu_tanh),
            Self::GeluErf => map(x, math::gelu_erf),
            Self::QuickGelu => map(x, math::quick_gelu),
        }
    }

    /// `gradient · f′(x)`
    pub(super) fn backward(self, x: FlexTensor, gradient: FlexTensor) -> FlexTensor {
        match self {
            Self::Silu => zip(x, gradient, |x, g| g * math::silu_slope(x)),
            Self::GeluTanh => zip(x, gradient, |x, g| g * math::gelu_tanh_slope(x)),
            Self::GeluErf => zip(x, gradient, |x, g| g * math::gelu_erf_slope(x)),
            Self::QuickGelu => zip(x, gradient, |x, g| g * math::quick_gelu_slope(x)),
        }
    }
}

fn map(mut x: FlexTensor, f: impl Fn(f32) -> f32 + Sync) -> FlexTensor {
    let count = x.layout().num_elements();
    if x.storage::<f32>().len() != count {
        x = contiguous(x);
    }
    if x.storage::<f32>().len() != count {
        // A contiguous part of a longer tensor.
        let mut out = vec![0.0; count];
        map_into(values(&x), &mut out, f);
        return tensor(out, x.layout().shape().clone());
    }
    // All of the memory belongs to this tensor, so its order does not matter and the layout can stay.
    if let Some(memory) = x.try_storage_mut::<f32>() {
        let in_place = |chunk: &mut [f32]| {
            for value in chunk {
                *value = f(*value);
            }
        };
        if count <= CHUNK {
            in_place(memory);
        } else {
            memory.par_chunks_mut(CHUNK).for_each(in_place);
        }
        return x;
    }
    let mut out = vec![0.0; count];
    map_into(x.storage(), &mut out, f);
    let shape = x.layout().shape().clone();
    tensor(out, shape).with_layout(x.layout().clone())
}

fn map_into(x: &[f32], out: &mut [f32], f: impl Fn(f32) -> f32 + Sync) {
    let run = |(out, x): (&mut [f32], &[f32])| out.iter_mut().zip(x).for_each(|(out, &x)| *out = f(x));
    if x.len() <= CHUNK {
        run((out, x));
    } else {
        out.par_chunks_mut(CHUNK).zip(x.par_chunks(CHUNK)).for_each(run);
    }
}

/// Of two tensors of one shape.
fn zip(a: FlexTensor, b: FlexTensor, f: impl Fn(f32, f32) -> f32 + Sync) -> FlexTensor {
    let (a, b) = (contiguous(a), contiguous(b));
    let (x, y) = (values(&a), values(&b));
    let mut out = vec![0.0; x.len()];
    let run = |((out, x), y): ((&mut [f32], &[f32]), &[f32])| {
        out.iter_mut().zip(x).zip(y).for_each(|((out, &x), &y)| *out = f(x, y));
    };
    if x.len() <= CHUNK {
        run(((&mut out, x), y));
    } else {
        out.par_chunks_mut(CHUNK).zip(x.par_chunks(CHUNK)).zip(y.par_chunks(CHUNK)).for_each(run);
    }
    tensor(out, a.layout().shape().clone())
}
