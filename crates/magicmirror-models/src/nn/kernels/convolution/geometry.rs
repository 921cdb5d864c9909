//! Where values lie in the padded planes, and which of them each output is made of.

use std::array::from_fn;
use std::ops::Range;

use burn::tensor::Shape;
use rayon::prelude::*;

use super::ConvolutionOptions;
use super::tiles::Segment;

/// What a tile may read beyond the last plane.
const SLACK: usize = 64;

/// Values by which the end of a plane of gradients is kept zero, for vectors that reach over it.
const ZEROS: usize = 16;

/// Sizes of one convolution and of the planes its operands are copied to.
///
/// A plane of the input has `stride²` phases (every `stride`-th row and column), each of `rows` by `columns` values;
/// positions of the output count in the same columns, so that each tap of the kernel is an offset. A plane of the
/// output's gradient has the same columns, `margins` rows and columns of zeros before its values, and zeros after.
pub(super) struct Geometry {
    pub(super) batch: usize,
    pub(super) inputs: usize,
    pub(super) outputs: usize,
    /// Frames of the kernel.
    pub(super) depth: usize,
    /// Rows and columns of the kernel.
    sides: [usize; 2],
    pub(super) frames: usize,
    pub(super) out_frames: usize,
    size: [usize; 2],
    out_size: [usize; 2],
    options: ConvolutionOptions,
    rows: usize,
    pub(super) columns: usize,
    margins: [usize; 2],
    pub(super) plane_len: usize,
    pub(super) gradient_plane_len: usize,
}

/// One sum over taps that fills every `step`-th row and column of the output.
pub(super) struct Pass {
    /// Offsets of the taps from a position, for each channel of the source.
    pub(super) taps: Vec<usize>,
    /// Index in the kernel's plane of each tap of one channel.
    pub(super) kernel: Vec<usize>,
    pub(super) step: usize,
    /// Position of row and column zero of the source minus that of the output's, times step.
    phase: [usize; 2],
    padding: [usize; 2],
    /// Rows and columns before the source's values, and how many of them the last tap of a position reaches back.
    margins: [usize; 2],
    reach: [usize; 2],
}

/// The part of an output that a pass fills.
pub(super) struct Area {
    /// First row and column in the source.
    pub(super) row: usize,
    pub(super) column: usize,
    pub(super) rows: usize,
    pub(super) columns: usize,
    /// First row, counted from the first of those asked for, and column in the output.
    pub(super) out_row: usize,
    pub(super) out_column: usize,
}

impl Pass {
    /// The part of the given rows of the output that this pass fills.
    pub(super) fn area(&self, rows: Range<usize>, width: usize) -> Area {
        let first = |axis: usize, start: usize| {
            (start + self.padding[axis]).saturating_sub(self.phase[axis]).div_ceil(self.step)
        };
        let place = |axis: usize, position: usize| position * self.step + self.phase[axis] - self.padding[axis];
        let count =
            |axis: usize, position: usize, end: usize| (end.saturating_sub(place(axis, position))).div_ceil(self.step);
        let (row, column) = (first(0, rows.start), first(1, 0));
        Area {
            row: row + self.margins[0] - self.reach[0],
            column: column + self.margins[1] - self.reach[1],
            rows: count(0, row, rows.end),
            columns: count(1, column, width),
            out_row: place(0, row) - rows.start,
            out_column: place(1, column),
        }
    }
}

impl Geometry {
    pub(super) fn new(x: &Shape, weight: &Shape, options: ConvolutionOptions) -> Self {
        let [batch, inputs, frames, height, width] = [0, 1, 2, 3, 4].map(|axis| x[axis]);
        let [outputs, _, depth, rows, columns] = [0, 1, 2, 3, 4].map(|axis| weight[axis]);
        let (stride, size, sides) = (options.stride, [height, width], [rows, columns]);
        let before = options.padding.map(|[before, _]| before);
        let out_frames = if options.repeat_first { frames } else { frames + 1 - depth };
        let padded: [usize; 2] = from_fn(|axis| size[axis] + options.padding[axis].iter().sum::<usize>());
        let out_size: [usize; 2] = from_fn(|axis| (padded[axis] - sides[axis]) / stride + 1);
        // For each phase, rows of the gradient that its first row needs before row zero; the same for columns.
        let margins: [usize; 2] = from_fn(|axis| {
            let (side, before) = (sides[axis], before[axis]);
            let margin = (0..stride.min(side)).map(|phase| {
                ((side - 1 - phase) / stride).saturating_sub(before.saturating_sub(phase).div_ceil(stride))
            });
            margin.max().unwrap_or(0)
        });
        let reach = (sides[1] - 1) / stride;
        let rows = padded[0].div_ceil(stride);
        let columns = padded[1].div_ceil(stride).max(out_size[1] + reach.max(margins[1]));
        let last_row = (height - 1 + before[0]) / stride;
        let gradient_rows = margins[0] + (last_row + 1).max(out_size[0]);
        Self {
            batch,
            inputs,
            outputs,
            depth,
            sides,
            frames,
            out_frames,
            size,
            out_size,
            options,
            rows,
            columns,
            margins,
            plane_len: stride * stride * rows * columns,
            gradient_plane_len: gradient_rows * columns + margins[1] + ZEROS,
        }
    }

    /// Taps of one frame of the kernel.
    pub(super) fn area(&self) -> usize {
        self.sides[0] * self.sides[1]
    }

    pub(super) fn input_shape(&self) -> [usize; 5] {
        [self.batch, self.inputs, self.frames, self.size[0], self.size[1]]
    }

    pub(super) fn output_shape(&self) -> [usize; 5] {
        [self.batch, self.outputs, self.out_frames, self.out_size[0], self.out_size[1]]
    }

    /// `[batch, in, frames, height, width]` to planes `[batch, frames, in, plane]`.
    pub(super) fn planes_of_input(&self, x: &[f32]) -> Vec<f32> {
        let ([height, width], stride) = (self.size, self.options.stride);
        let [above, before] = self.options.padding.map(|[before, _]| before);
        let mut planes = vec![0.0; self.batch * self.frames * self.inputs * self.plane_len + SLACK];
        let len = planes.len() - SLACK;
        planes[..len].par_chunks_mut(self.plane_len).enumerate().for_each(|(index, plane)| {
            let (channel, frame, sample) =
                (index % self.inputs, index / self.inputs % self.frames, index / self.inputs / self.frames);
            let start = ((sample * self.inputs + channel) * self.frames + frame) * height * width;
            for (row, values) in x[start..start + height * width].chunks(width).enumerate() {
                let row = row + above;
                for phase in 0..stride {
                    let first = (phase + stride - before % stride) % stride;
                    let column = (first + before) / stride;
                    let start = ((row % stride * stride + phase) * self.rows + row / stride) * self.columns + column;
                    let plane = &mut plane[start..];
                    if stride == 1 {
                        plane[..width].copy_from_slice(values);
                    } else {
                        let values = values.iter().skip(first).step_by(stride);
                        plane.iter_mut().zip(values).for_each(|(plane, value)| *plane = *value);
                    }
                }
            }
        });
        planes
    }

    /// `[batch, out, frames, height, width]` to planes `[batch, frames, out, plane]`.
    pub(super) fn planes_of_gradient(&self, gradient: &[f32]) -> Vec<f32> {
        let [height, width] = self.out_size;
        let mut planes = vec![0.0; self.batch * self.out_frames * self.outputs * self.gradient_plane_len + SLACK];
        let len = planes.len() - SLACK;
        planes[..len].par_chunks_mut(self.gradient_plane_len).enumerate().for_each(|(index, plane)| {
            let (channel, frame, sample) =
                (index % self.outputs, index / self.outputs % self.out_frames, index / self.outputs / self.out_frames);
            let start = ((sample * self.outputs + channel) * self.out_frames + frame) * height * width;
            for (row, values) in gradient[start..start + height * width].chunks(width).enumerate() {
                let start = (row + self.margins[0]) * self.columns + self.margins[1];
                plane[start..start + width].copy_from_slice(values);
            }
        });
        planes
    }

    /// From planes of the input to the output.
    pub(super) fn forward_pass(&self) -> Pass {
        let stride = self.options.stride;
        let taps = (0..self.inputs).flat_map(|channel| {
            (0..self.area()).map(move |tap| {
                let (row, column) = (tap / self.sides[1], tap % self.sides[1]);
                let phase = row % stride * stride + column % stride;
                channel * self.plane_len + (phase * self.rows + row / stride) * self.columns + column / stride
            })
        });
        Pass {
            taps: taps.collect(),
            kernel: (0..self.area()).collect(),
            step: 1,
            phase: [0; 2],
            padding: [0; 2],
            margins: [0; 2],
            reach: [0; 2],
        }
    }

    /// From planes of the gradient to the input's gradient, one for each phase of rows and columns.
    pub(super) fn backward_passes(&self) -> Vec<Pass> {
        let stride = self.options.stride;
        (0..stride * stride)
            .map(|index| {
                let phase = [index / stride, index % stride];
                let steps: [usize; 2] = from_fn(|axis| (phase[axis]..self.sides[axis]).step_by(stride).count());
                let mut kernel = Vec::new();
                let mut offsets = Vec::new();
                for (row, column) in (0..steps[0]).flat_map(|row| (0..steps[1]).map(move |column| (row, column))) {
                    kernel.push((phase[0] + row * stride) * self.sides[1] + phase[1] + column * stride);
                    offsets.push((steps[0] - 1 - row) * self.columns + steps[1] - 1 - column);
                }
                let taps = (0..self.outputs)
                    .flat_map(|channel| offsets.iter().map(move |offset| channel * self.gradient_plane_len + offset));
                Pass {
                    taps: taps.collect(),
                    step: stride,
                    phase,
                    padding: self.options.padding.map(|[before, _]| before),
                    margins: self.margins,
                    reach: steps.map(|steps| steps.saturating_sub(1)),
                    kernel,
                }
            })
            .collect()
    }

    /// Sets of weights: one for each frame of the kernel, then the sums of the first two, three, … of them.
    pub(super) fn sets(&self) -> usize {
        if self.options.repeat_first { 2 * self.depth - 1 } else { self.depth }
    }

    /// The set of the sum of the kernel's frames up to `last`.
    fn sum_up_to(&self, last: usize) -> usize {
        if last == 0 { 0 } else { self.depth + last - 1 }
    }

    /// Frames of the input that a frame of the output is made of, each with its set of weights.
    pub(super) fn sources(&self, out_frame: usize) -> Vec<(usize, usize)> {
        if !self.options.repeat_first {
            return (0..self.depth).map(|frame| (out_frame + frame, frame)).collect();
        }
        let repeated = (self.depth - 1).saturating_sub(out_frame);
        let first =
            if out_frame < self.depth { (0, self.sum_up_to(repeated)) } else { (out_frame + 1 - self.depth, 0) };
        let rest = (repeated + 1..self.depth).map(|frame| (out_frame + 1 + frame - self.depth, frame));
        std::iter::once(first).chain(rest).collect()
    }

    /// Frames of the output that a frame of the input goes into, each with its set of weights.
    pub(super) fn targets(&self, frame: usize) -> Vec<(usize, usize)> {
        (0..self.out_frames)
            .flat_map(|out_frame| {
                let sources = self.sources(out_frame).into_iter();
                sources.filter(move |(source, _)| *source == frame).map(move |(_, set)| (out_frame, set))
            })
            .collect()
    }

    /// Where the input that a set of weights meets lies, and the gradient of what it contributes to.
    pub(super) fn segments(&self, set: usize) -> Vec<Segment> {
        let len = ((self.out_size[0] - 1) * self.columns + self.out_size[1]).next_multiple_of(ZEROS);
        let first = self.margins[0] * self.columns + self.margins[1];
        (0..self.batch * self.out_frames)
            .flat_map(|index| {
                let (sample, out_frame) = (index / self.out_frames, index % self.out_frames);
                let sources = self.sources(out_frame).into_iter().filter(move |(_, found)| *found == set);
                sources.map(move |(frame, _)| Segment {
                    source: (sample * self.frames + frame) * self.inputs * self.plane_len,
                    gradient: index * self.outputs * self.gradient_plane_len + first,
                    len,
                })
            })
            .collect()
    }

    /// Adds gradients `[in · taps, out]` of a set of weights to those of `[out, in, depth, rows, columns]`.
    pub(super) fn scatter_slopes(&self, set: usize, slopes: &[f32], out: &mut [f32]) {
        let area = self.area();
        let frames = if set < self.depth { set..set + 1 } else { 0..set - self.depth + 2 };
        for (tap, slopes) in slopes.chunks(self.outputs).enumerate() {
            for (output, slope) in slopes.iter().enumerate() {
                for frame in frames.clone() {
                    let kernel = (output * self.inputs + tap / area) * self.depth + frame;
                    out[kernel * area + tap % area] += slope;
                }
            }
        }
    }
}
