//! Reading and writing the memory of a [`FlexTensor`].

use burn::tensor::{Bytes, DType, Shape};
use burn_flex::{FlexTensor, Layout};

/// The tensor with its values in row-major order; copies only when they are not.
pub(super) fn contiguous(x: FlexTensor) -> FlexTensor {
    if x.is_contiguous() { x } else { x.to_contiguous() }
}

/// All values of a contiguous f32 tensor.
pub(super) fn values(x: &FlexTensor) -> &[f32] {
    x.as_slice().expect("a contiguous f32 tensor")
}

/// A contiguous f32 tensor of these values.
pub(super) fn tensor(values: Vec<f32>, shape: impl Into<Shape>) -> FlexTensor {
    FlexTensor::new(Bytes::from_elems(values), Layout::contiguous(shape.into()), DType::F32)
}

/// Another view of the same memory.
pub(super) fn view(x: &FlexTensor, shape: impl Into<Shape>, strides: &[usize], offset: usize) -> FlexTensor {
    let strides = strides.iter().map(|&stride| stride as isize).collect();
    FlexTensor::from_arc(x.data_arc(), Layout::new(shape.into(), strides, offset), x.dtype())
}

/// A contiguous tensor `[.., width]` as `[rows, width]`.
pub(super) fn as_matrix(x: &FlexTensor, width: usize) -> FlexTensor {
    let rows = x.layout().num_elements() / width.max(1);
    view(x, [rows, width], &[width, 1], x.layout().start_offset())
}

/// A matrix transposed in place.
pub(super) fn transposed(x: &FlexTensor) -> FlexTensor {
    x.clone().with_layout(x.layout().transpose(0, 1))
}

/// A contiguous tensor in another shape.
pub(super) fn with_shape(x: FlexTensor, shape: Shape) -> FlexTensor {
    debug_assert!(x.is_contiguous() && x.layout().start_offset() == 0, "a new tensor");
    x.with_layout(Layout::contiguous(shape))
}

/// The memory of a contiguous tensor that nobody else reads, to be overwritten: a fresh allocation of the size of a
/// video's activations costs more than most passes over it.
pub(super) fn own_memory(x: &mut FlexTensor) -> Option<&mut [f32]> {
    let whole = x.is_contiguous() && x.storage::<f32>().len() == x.layout().num_elements();
    if whole { x.try_storage_mut() } else { None }
}
