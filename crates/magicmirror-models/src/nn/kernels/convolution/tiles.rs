//! The innermost loops, in the widest vectors that the processor has.
#![expect(clippy::inline_always, reason = "the loops must be compiled together with the chosen instructions")]

use pulp::{Arch, Simd, WithSimd};

/// Channels of a tile of outputs.
pub(super) const CHANNELS: usize = 8;

/// Taps, and channels, of a tile of a weight's gradient; a third of a vector register file holds fewer taps.
pub(super) const TAPS: usize = 6;
const SLOPE_CHANNELS: usize = 4;

/// Registers from which on the larger tiles fit.
const MANY_REGISTERS: usize = 32;

/// A run of outputs of [`CHANNELS`] channels: for each part and tap, a weight for each channel times the source there.
pub(super) struct Tile<'a> {
    pub(super) source: &'a [f32],
    /// Start in the source and weights `[taps, CHANNELS]`.
    pub(super) parts: &'a [(usize, &'a [f32])],
    pub(super) taps: &'a [usize],
    pub(super) bias: &'a [f32; CHANNELS],
    pub(super) len: usize,
}

/// Fills `out` with the tile's channels; returns how far one is from the next.
pub(super) fn correlate(tile: &Tile<'_>, out: &mut Vec<f32>) -> usize {
    Arch::new().dispatch(Correlate { tile, out })
}

struct Correlate<'a, 'b> {
    tile: &'a Tile<'b>,
    out: &'a mut Vec<f32>,
}

impl WithSimd for Correlate<'_, '_> {
    type Output = usize;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> usize {
        if S::REGISTER_COUNT >= MANY_REGISTERS {
            correlate_by::<S, 3>(simd, self.tile, self.out)
        } else {
            correlate_by::<S, 1>(simd, self.tile, self.out)
        }
    }
}

#[inline(always)]
fn correlate_by<S: Simd, const VECTORS: usize>(simd: S, tile: &Tile<'_>, out: &mut Vec<f32>) -> usize {
    let width = VECTORS * S::F32_LANES;
    let stride = tile.len.next_multiple_of(width);
    out.resize(CHANNELS * stride, 0.0);
    for start in (0..tile.len).step_by(width) {
        let mut sums = tile.bias.map(|bias| [simd.splat_f32s(bias); VECTORS]);
        for &(first, weights) in tile.parts {
            let source = &tile.source[first + start..];
            let (weights, _) = weights.as_chunks::<CHANNELS>();
            for (&tap, weights) in tile.taps.iter().zip(weights) {
                let (values, _) = S::as_simd_f32s(&source[tap..tap + width]);
                let values: [S::f32s; VECTORS] = std::array::from_fn(|index| values[index]);
                for (sums, &weight) in sums.iter_mut().zip(weights) {
                    let weight = simd.splat_f32s(weight);
                    for (sum, value) in sums.iter_mut().zip(values) {
                        *sum = simd.mul_add_f32s(weight, value, *sum);
                    }
                }
            }
        }
        for (sums, out) in sums.iter().zip(out.chunks_mut(stride)) {
            let (out, _) = S::as_mut_simd_f32s(&mut out[start..start + width]);
            out.copy_from_slice(sums);
        }
    }
    stride
}

/// Where a run of positions lies in the source and in the gradients.
#[derive(Debug, Clone, Copy)]
pub(super) struct Segment {
    pub(super) source: usize,
    pub(super) gradient: usize,
    /// A multiple of a vector's length.
    pub(super) len: usize,
}

/// What the gradient of a weight is made of.
pub(super) struct SlopeBlock<'a> {
    pub(super) source: &'a [f32],
    pub(super) gradients: &'a [f32],
    pub(super) outputs: usize,
    pub(super) gradient_plane_len: usize,
}

/// Adds to `slopes` `[taps, outputs]` the sums over all segments of gradient times source at each tap.
pub(super) fn add_slopes(block: &SlopeBlock<'_>, segments: &[Segment], taps: &[usize], slopes: &mut [f32]) {
    Arch::new().dispatch(AddSlopes { block, segments, taps, slopes });
}

struct AddSlopes<'a, 'b> {
    block: &'a SlopeBlock<'b>,
    segments: &'a [Segment],
    taps: &'a [usize],
    slopes: &'a mut [f32],
}

impl WithSimd for AddSlopes<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        if S::REGISTER_COUNT >= MANY_REGISTERS {
            self.add::<S, TAPS>(simd);
        } else {
            self.add::<S, { TAPS / 2 }>(simd);
        }
    }
}

impl AddSlopes<'_, '_> {
    #[inline(always)]
    fn add<S: Simd, const T: usize>(self, simd: S) {
        let outputs = self.block.outputs;
        for (taps, slopes) in self.taps.chunks(T).zip(self.slopes.chunks_mut(T * outputs)) {
            // Past the last tap or channel, the last one again, whose sum is not used.
            let offsets: [usize; T] = std::array::from_fn(|tap| taps[tap.min(taps.len() - 1)]);
            for first in (0..outputs).step_by(SLOPE_CHANNELS) {
                let planes: [usize; SLOPE_CHANNELS] =
                    std::array::from_fn(|channel| (first + channel).min(outputs - 1) * self.block.gradient_plane_len);
                let sums = sum_products::<S, T>(simd, self.block, self.segments, &offsets, &planes);
                for (slopes, sums) in slopes.chunks_mut(outputs).zip(sums) {
                    slopes[first..].iter_mut().zip(sums).for_each(|(slope, sum)| *slope += simd.reduce_sum_f32s(sum));
                }
            }
        }
    }
}

#[inline(always)]
fn sum_products<S: Simd, const T: usize>(
    simd: S,
    block: &SlopeBlock<'_>,
    segments: &[Segment],
    taps: &[usize; T],
    planes: &[usize; SLOPE_CHANNELS],
) -> [[S::f32s; SLOPE_CHANNELS]; T] {
    let mut sums = [[simd.splat_f32s(0.0); SLOPE_CHANNELS]; T];
    for segment in segments {
        let count = segment.len / S::F32_LANES;
        let source = taps.map(|tap| &S::as_simd_f32s(&block.source[segment.source + tap..][..segment.len]).0[..count]);
        let gradients = planes
            .map(|plane| &S::as_simd_f32s(&block.gradients[segment.gradient + plane..][..segment.len]).0[..count]);
        for index in 0..count {
            let gradients: [S::f32s; SLOPE_CHANNELS] = std::array::from_fn(|channel| gradients[channel][index]);
            for (sums, source) in sums.iter_mut().zip(&source) {
                let value = source[index];
                for (sum, gradient) in sums.iter_mut().zip(gradients) {
                    *sum = simd.mul_add_f32s(value, gradient, *sum);
                }
            }
        }
    }
    sums
}
