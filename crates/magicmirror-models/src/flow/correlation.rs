//! How well every cell of one feature map matches every cell of another, at four scales.

use burn::tensor::ops::AvgPoolOptions;
use burn::tensor::{Int, Tensor, module::avg_pool2d};

/// Cells looked at to each side.
const RADIUS: usize = 4;
/// Scales, each half of the one before.
const LEVELS: usize = 4;
/// Channels that a look-up gives.
pub(super) const CHANNELS: usize = LEVELS * (2 * RADIUS + 1) * (2 * RADIUS + 1);

/// The correlations, `[batch · cells, 1, height / 2ⁱ, width / 2ⁱ]` for level i.
pub(super) struct CorrelationPyramid {
    levels: Vec<Tensor<4>>,
}

impl CorrelationPyramid {
    /// From features `[batch, channels, height, width]`. A level of which nothing would be left is as the one before.
    pub(super) fn new(first: Tensor<4>, second: Tensor<4>) -> Self {
        let [batch, channels, height, width] = first.dims();
        let flat = |x: Tensor<4>| x.reshape([batch, channels, height * width]);
        let products = flat(first).swap_dims(1, 2).matmul(flat(second)) / (channels as f64).sqrt();
        let mut levels = vec![products.reshape([batch * height * width, 1, height, width])];
        for _ in 1..LEVELS {
            let last = levels[levels.len() - 1].clone();
            let [.., height, width] = last.dims();
            let halved = height > 1 && width > 1;
            levels.push(if halved { avg_pool2d(last, AvgPoolOptions::new([2, 2])) } else { last });
        }
        Self { levels }
    }

    /// The correlations around the place to which each cell has moved, bilinear, zero outside.
    ///
    /// Neighbours are a whole cell apart, so all of a window lie equally far between cells: the cells of a window one
    /// larger are gathered, then blended.
    ///
    /// # Shapes
    /// - places: `[batch, 2, height, width]`, column and row
    /// - output: `[batch, CHANNELS, height, width]`; within a level the column varies slowest
    pub(super) fn look_up(&self, places: Tensor<4>) -> Tensor<4> {
        let [batch, _, height, width] = places.dims();
        let cells = batch * height * width;
        let places = places.permute([0, 2, 3, 1]).reshape([cells, 2]);
        let side = 2 * RADIUS + 1;
        let windows = self.levels.iter().enumerate().map(|(level, correlations)| {
            let places = places.clone() / f64::from(1 << level);
            let corner = places.clone().floor();
            let between = places - corner.clone();
            let along = |axis: usize| between.clone().narrow(1, axis, 1).reshape([cells, 1, 1]);
            // [cells, columns, rows], one larger than the window
            let gathered = gather(correlations.clone(), corner - RADIUS as f64);
            let blend = |x: Tensor<3>, axis: usize, weight: Tensor<3>| {
                x.clone().narrow(axis, 0, side) * (-weight.clone() + 1.0) + x.narrow(axis, 1, side) * weight
            };
            let window = blend(blend(gathered, 1, along(0)), 2, along(1));
            window.reshape([batch, height, width, side * side])
        });
        Tensor::cat(windows.collect(), 3).permute([0, 3, 1, 2])
    }
}

/// The cells of a square whose corner is at `corner` (`[cells, 2]`, column and row), zero where there are none;
/// `[cells, columns, rows]`.
fn gather(correlations: Tensor<4>, corner: Tensor<2>) -> Tensor<3> {
    const SIDE: usize = 2 * RADIUS + 2;
    let [cells, _, height, width] = correlations.dims();
    let device = corner.device();
    let steps = Tensor::<1, Int>::arange(0..SIDE as i64, &device).float();
    let axis = |axis: usize, length: usize| {
        let shape = if axis == 0 { [1, SIDE, 1] } else { [1, 1, SIDE] };
        let at = corner.clone().narrow(1, axis, 1).reshape([cells, 1, 1]) + steps.clone().reshape(shape);
        let last = length as f64 - 1.0;
        let inside = at.clone().greater_equal_elem(0.0).float() * at.clone().lower_equal_elem(last).float();
        (at.clamp(0.0, last), inside)
    };
    let (columns, column_inside) = axis(0, width);
    let (rows, row_inside) = axis(1, height);
    let index = (rows * width as f64 + columns).int().reshape([cells, SIDE * SIDE]);
    let found = correlations.reshape([cells, height * width]).gather(1, index);
    found.reshape([cells, SIDE, SIDE]) * (column_inside * row_inside)
}
