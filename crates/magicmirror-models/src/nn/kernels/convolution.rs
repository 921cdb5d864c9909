//! Convolutions over height, width and frames, and their gradients, without unfolding the input.
//!
//! An input is copied once into zero-padded planes (see [`Geometry`]) in which every tap of the kernel is one constant
//! offset, so that a convolution is a sum over taps of shifted rows: the innermost loops (`tiles.rs`) keep a tile of
//! outputs in registers and read input and weights where they lie. Inputs of [`ConvolutionOptions::repeat_first`]
//! never hold the repeated frame: weights that meet the same frame are added up first, which makes an image cost what
//! a 2-D convolution costs.

mod geometry;
mod tiles;

use burn_flex::FlexTensor;
use rayon::prelude::*;

use self::geometry::{Geometry, Pass};
use self::tiles::{CHANNELS, Segment, SlopeBlock, TAPS, Tile, add_slopes, correlate};
use super::storage::{contiguous, tensor, values};

/// What a convolution does besides its weight and bias.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::nn) struct ConvolutionOptions {
    /// Step in height and width; frames have step 1.
    pub(in crate::nn) stride: usize,
    /// Zeros before and after, of height and of width.
    pub(in crate::nn) padding: [[usize; 2]; 2],
    /// Whether copies of the first frame precede it, so that there are as many frames after as before. Otherwise
    /// frames are not padded.
    pub(in crate::nn) repeat_first: bool,
}

/// Outputs a task works on at once, per channel: what it adds up stays in the second-level cache.
const POSITIONS: usize = 1024;

/// Positions whose products are summed in registers before they are added to a gradient.
const SUMMED: usize = 4096;

/// x `[batch, in, frames, height, width]`, weight `[out, in, frames, rows, columns]`.
pub(super) fn forward(
    x: FlexTensor,
    weight: FlexTensor,
    bias: Option<FlexTensor>,
    options: ConvolutionOptions,
) -> FlexTensor {
    let (x, weight, bias) = (contiguous(x), contiguous(weight), bias.map(contiguous));
    let geometry = Geometry::new(x.layout().shape(), weight.layout().shape(), options);
    let weights = Weights::new(&geometry, values(&weight));
    let source = geometry.planes_of_input(values(&x));
    let frames: Vec<Vec<(usize, usize)>> = (0..geometry.out_frames).map(|frame| geometry.sources(frame)).collect();
    let passes = [geometry.forward_pass()];
    let packed = [weights.pack_for_outputs(&geometry)];
    let mut out = vec![0.0; geometry.output_shape().iter().product()];
    let work = Work {
        source: &source,
        frame_len: geometry.inputs * geometry.plane_len,
        source_frames: geometry.frames,
        columns: geometry.columns,
        passes: &passes,
        packed: &packed,
        frames: &frames,
        bias: bias.as_ref().map(values),
    };
    work.run(&mut out, geometry.output_shape());
    tensor(out, geometry.output_shape())
}

/// The gradient of `x`, which has shape `input`.
pub(super) fn backward_input(
    weight: FlexTensor,
    gradient: FlexTensor,
    input: &burn::tensor::Shape,
    options: ConvolutionOptions,
) -> FlexTensor {
    let (weight, gradient) = (contiguous(weight), contiguous(gradient));
    let geometry = Geometry::new(input, weight.layout().shape(), options);
    let weights = Weights::new(&geometry, values(&weight));
    let source = geometry.planes_of_gradient(values(&gradient));
    let frames: Vec<Vec<(usize, usize)>> = (0..geometry.frames).map(|frame| geometry.targets(frame)).collect();
    let passes = geometry.backward_passes();
    let packed: Vec<_> = passes.iter().map(|pass| weights.pack_for_inputs(&geometry, pass)).collect();
    let mut out = vec![0.0; input.num_elements()];
    let work = Work {
        source: &source,
        frame_len: geometry.outputs * geometry.gradient_plane_len,
        source_frames: geometry.out_frames,
        columns: geometry.columns,
        passes: &passes,
        packed: &packed,
        frames: &frames,
        bias: None,
    };
    work.run(&mut out, geometry.input_shape());
    tensor(out, geometry.input_shape())
}

/// The gradient of the weight, which has shape `weight`.
pub(super) fn backward_weight(
    x: FlexTensor,
    gradient: FlexTensor,
    weight: &burn::tensor::Shape,
    options: ConvolutionOptions,
) -> FlexTensor {
    let (x, gradient) = (contiguous(x), contiguous(gradient));
    let geometry = Geometry::new(x.layout().shape(), weight, options);
    let source = geometry.planes_of_input(values(&x));
    let gradients = geometry.planes_of_gradient(values(&gradient));
    let taps = geometry.forward_pass().taps;
    let mut out = vec![0.0; weight.num_elements()];
    for set in 0..geometry.sets() {
        let segments = geometry.segments(set);
        if segments.is_empty() {
            continue;
        }
        let blocks = blocks_of(segments);
        let block = SlopeBlock {
            source: &source,
            gradients: &gradients,
            outputs: geometry.outputs,
            gradient_plane_len: geometry.gradient_plane_len,
        };
        let mut slopes = vec![0.0; taps.len() * geometry.outputs];
        let tasks = slopes.par_chunks_mut(4 * TAPS * geometry.outputs).zip(taps.par_chunks(4 * TAPS));
        tasks.for_each(|(slopes, taps)| {
            for segments in &blocks {
                add_slopes(&block, segments, taps, slopes);
            }
        });
        geometry.scatter_slopes(set, &slopes, &mut out);
    }
    tensor(out, weight.clone())
}

/// The gradient of the bias: the sum over all but the channels.
pub(super) fn backward_bias(gradient: FlexTensor) -> FlexTensor {
    let gradient = contiguous(gradient);
    let shape = gradient.layout().shape().clone();
    let (outputs, positions) = (shape[1], shape.num_elements() / (shape[0] * shape[1]).max(1));
    let mut sums = vec![0.0f64; outputs];
    for (index, channel) in values(&gradient).chunks(positions.max(1)).enumerate() {
        let blocks = channel.chunks(super::math::BLOCK);
        sums[index % outputs] += blocks.map(|block| super::math::lane_sum(block, |value| value)).sum::<f64>();
    }
    tensor(sums.iter().map(|&sum| sum as f32).collect(), [outputs])
}

/// Groups segments, cut where they are long, so that each group has about [`SUMMED`] positions.
fn blocks_of(segments: Vec<Segment>) -> Vec<Vec<Segment>> {
    let mut blocks: Vec<Vec<Segment>> = Vec::new();
    let mut room = 0;
    for Segment { mut source, mut gradient, mut len } in segments {
        while len > 0 {
            if room == 0 {
                blocks.push(Vec::new());
                room = SUMMED;
            }
            let part = len.min(room);
            if let Some(block) = blocks.last_mut() {
                block.push(Segment { source, gradient, len: part });
            }
            (source, gradient, len, room) = (source + part, gradient + part, len - part, room - part);
        }
    }
    blocks
}

/// Weights by set: one for each frame of the kernel and, where the first frame is repeated, the sums of the first two,
/// three, … of them.
struct Weights {
    /// For each set `[out, in, rows, columns]`.
    sets: Vec<Vec<f32>>,
}

/// For each set and each group of [`CHANNELS`] channels, `[taps, CHANNELS]`.
type Packed = Vec<Vec<Vec<f32>>>;

impl Weights {
    fn new(geometry: &Geometry, weight: &[f32]) -> Self {
        let (depth, area) = (geometry.depth, geometry.area());
        let mut sets = vec![vec![0.0; weight.len() / depth.max(1)]; depth];
        for (index, kernel) in weight.chunks(depth * area).enumerate() {
            for (set, plane) in sets.iter_mut().zip(kernel.chunks(area)) {
                set[index * area..(index + 1) * area].copy_from_slice(plane);
            }
        }
        for set in depth..geometry.sets() {
            let before = if set == depth { 0 } else { set - 1 };
            let sum = sets[before].iter().zip(&sets[set - depth + 1]).map(|(a, b)| a + b).collect();
            sets.push(sum);
        }
        Self { sets }
    }

    fn pack_for_outputs(&self, geometry: &Geometry) -> Packed {
        let taps = geometry.inputs * geometry.area();
        self.pack(geometry.outputs, taps, |output, tap| output * taps + tap)
    }

    fn pack_for_inputs(&self, geometry: &Geometry, pass: &Pass) -> Packed {
        let area = geometry.area();
        let taps: Vec<usize> = (0..geometry.outputs)
            .flat_map(|output| pass.kernel.iter().map(move |tap| output * geometry.inputs * area + tap))
            .collect();
        self.pack(geometry.inputs, taps.len(), |input, tap| input * area + taps[tap])
    }

    fn pack(&self, channels: usize, taps: usize, index: impl Fn(usize, usize) -> usize) -> Packed {
        let group = |set: &Vec<f32>, first: usize| {
            let mut packed = vec![0.0; taps * CHANNELS];
            for (tap, packed) in packed.chunks_mut(CHANNELS).enumerate() {
                for (channel, packed) in (first..channels).zip(packed) {
                    *packed = set[index(channel, tap)];
                }
            }
            packed
        };
        self.sets.iter().map(|set| (0..channels).step_by(CHANNELS).map(|first| group(set, first)).collect()).collect()
    }
}

/// A sum of shifted planes, for all outputs.
struct Work<'a> {
    source: &'a [f32],
    /// Values of one frame of the source.
    frame_len: usize,
    source_frames: usize,
    /// Values from one row of the source to the next.
    columns: usize,
    passes: &'a [Pass],
    /// For each pass.
    packed: &'a [Packed],
    /// For each frame of the output, the frames of the source it is made of, each with its set of weights.
    frames: &'a [Vec<(usize, usize)>],
    bias: Option<&'a [f32]>,
}

/// Some rows of one frame of a group of output channels.
struct Task<'a> {
    sample: usize,
    group: usize,
    frame: usize,
    first_row: usize,
    rows: Vec<&'a mut [f32]>,
}

impl Work<'_> {
    fn run(&self, out: &mut [f32], [_, channels, frames, height, width]: [usize; 5]) {
        if out.is_empty() {
            return;
        }
        let rows = (POSITIONS / width).clamp(1, height);
        let mut tasks = Vec::new();
        let volume = frames * height * width;
        for (sample, out) in out.chunks_mut(channels * volume).enumerate() {
            for (group, out) in out.chunks_mut(CHANNELS * volume).enumerate() {
                let cut = |channel| <[f32]>::chunks_mut(channel, height * width);
                let mut parts: Vec<_> = out
                    .chunks_mut(volume)
                    .map(|channel| cut(channel).flat_map(|frame| frame.chunks_mut(rows * width)))
                    .collect();
                for frame in 0..frames {
                    for first_row in (0..height).step_by(rows) {
                        let rows = parts.iter_mut().filter_map(Iterator::next).collect();
                        tasks.push(Task { sample, group, frame, first_row, rows });
                    }
                }
            }
        }
        // What all groups read of the source lies in the cache when they follow each other.
        tasks.sort_by_key(|task| (task.sample, task.frame, task.first_row, task.group));
        tasks.into_par_iter().for_each(|task| self.fill(task, width));
    }

    fn fill(&self, mut task: Task<'_>, width: usize) {
        let rows = task.rows[0].len() / width;
        let mut bias = [0.0; CHANNELS];
        if let Some(values) = self.bias {
            bias.iter_mut().zip(&values[task.group * CHANNELS..]).for_each(|(bias, value)| *bias = *value);
        }
        let mut scratch = Vec::new();
        for (pass, packed) in self.passes.iter().zip(self.packed) {
            let area = pass.area(task.first_row..task.first_row + rows, width);
            if area.rows == 0 || area.columns == 0 {
                continue;
            }
            let len = (area.rows - 1) * self.columns + area.columns;
            let parts: Vec<(usize, &[f32])> = self.frames[task.frame]
                .iter()
                .map(|&(frame, set)| {
                    let start = (task.sample * self.source_frames + frame) * self.frame_len;
                    (start + area.row * self.columns + area.column, packed[set][task.group].as_slice())
                })
                .collect();
            let tile = Tile { source: self.source, parts: &parts, taps: &pass.taps, bias: &bias, len };
            let stride = correlate(&tile, &mut scratch);
            for (out, summed) in task.rows.iter_mut().zip(scratch.chunks(stride)) {
                let lines = out[area.out_row * width..].chunks_mut(width).step_by(pass.step);
                for (out, summed) in lines.zip(summed.chunks(self.columns)).take(area.rows) {
                    let out = &mut out[area.out_column..];
                    if pass.step == 1 {
                        out[..area.columns].copy_from_slice(&summed[..area.columns]);
                    } else {
                        let summed = &summed[..area.columns];
                        out.iter_mut().step_by(pass.step).zip(summed).for_each(|(out, summed)| *out = *summed);
                    }
                }
            }
        }
    }
}
