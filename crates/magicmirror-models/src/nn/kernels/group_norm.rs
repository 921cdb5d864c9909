use burn_flex::FlexTensor;
use rayon::prelude::*;

use super::math::{BLOCK, lane_sum, lane_sum2, mean_and_variance, silu, silu_slope};
use super::storage::{contiguous, own_memory, tensor, values};

/// What a group norm does besides its weight and bias.
#[derive(Debug, Clone, Copy)]
pub(in crate::nn) struct GroupNormOptions {
    pub(in crate::nn) groups: usize,
    pub(in crate::nn) epsilon: f64,
    /// Whether [`silu`] follows.
    pub(in crate::nn) silu: bool,
}

/// The affine map of one channel of one group: `(x − mean) · rstd · weight + bias`.
struct Channel {
    mean: f32,
    rstd: f32,
    weight: f32,
    bias: f32,
}

impl Channel {
    fn normed(&self, x: f32) -> f32 {
        (x - self.mean) * self.rstd
    }

    fn affine(&self, x: f32) -> f32 {
        (x - self.mean) * (self.rstd * self.weight) + self.bias
    }
}

/// Sizes of `[batch, channels, ...]` cut into groups.
struct Cut {
    channels_per_group: usize,
    positions: usize,
    options: GroupNormOptions,
}

impl Cut {
    fn new(x: &FlexTensor, options: GroupNormOptions) -> Self {
        let dims = x.layout().shape();
        Self { channels_per_group: dims[1] / options.groups, positions: dims[2..].iter().product(), options }
    }

    fn group_len(&self) -> usize {
        self.channels_per_group * self.positions
    }

    /// The channels of the `index`-th group of the batch, whose values are `x`.
    fn channels<'a>(
        &self,
        index: usize,
        x: &[f32],
        weight: &'a [f32],
        bias: &'a [f32],
    ) -> impl Iterator<Item = Channel> + use<'a> {
        let (mean, variance) = mean_and_variance(x);
        let rstd = (variance + self.options.epsilon).sqrt().recip();
        let first = index % self.options.groups * self.channels_per_group;
        let range = first..first + self.channels_per_group;
        let parameters = weight[range.clone()].iter().zip(&bias[range]);
        parameters.map(move |(&weight, &bias)| Channel { mean: mean as f32, rstd: rstd as f32, weight, bias })
    }
}

pub(super) fn forward(x: FlexTensor, weight: FlexTensor, bias: FlexTensor, options: GroupNormOptions) -> FlexTensor {
    let (mut x, weight, bias) = (contiguous(x), contiguous(weight), contiguous(bias));
    let cut = Cut::new(&x, options);
    let (weight, bias) = (values(&weight), values(&bias));
    if x.layout().num_elements() == 0 {
        return x;
    }
    let len = cut.group_len();
    if let Some(memory) = own_memory(&mut x) {
        let groups = memory.par_chunks_mut(len).enumerate();
        groups.for_each(|(index, group)| {
            let channels = cut.channels(index, group, weight, bias);
            for (channel, row) in channels.zip(group.chunks_mut(cut.positions)) {
                if options.silu {
                    map_in_place(row, |x| silu(channel.affine(x)));
                } else {
                    map_in_place(row, |x| channel.affine(x));
                }
            }
        });
        return x;
    }
    let input = values(&x);
    let mut out = vec![0.0; input.len()];
    let groups = out.par_chunks_mut(len).zip(input.par_chunks(len)).enumerate();
    groups.for_each(|(index, (out, x))| {
        let rows = out.chunks_mut(cut.positions).zip(x.chunks(cut.positions));
        for (channel, (out, x)) in cut.channels(index, x, weight, bias).zip(rows) {
            if options.silu {
                out.iter_mut().zip(x).for_each(|(out, &x)| *out = silu(channel.affine(x)));
            } else {
                out.iter_mut().zip(x).for_each(|(out, &x)| *out = channel.affine(x));
            }
        }
    });
    tensor(out, x.layout().shape().clone())
}

fn map_in_place(values: &mut [f32], f: impl Fn(f32) -> f32) {
    for value in values {
        *value = f(*value);
    }
}

/// Gradients of input, weight and bias.
pub(super) fn backward(
    x: FlexTensor,
    weight: FlexTensor,
    bias: FlexTensor,
    gradient: FlexTensor,
    options: GroupNormOptions,
) -> [FlexTensor; 3] {
    let (x, weight, bias, gradient) = (contiguous(x), contiguous(weight), contiguous(bias), contiguous(gradient));
    let cut = Cut::new(&x, options);
    let (input, weight, bias, gradient) = (values(&x), values(&weight), values(&bias), values(&gradient));
    let mut dx = vec![0.0; input.len()];
    let (mut weight_sums, mut bias_sums) = (vec![0.0; weight.len()], vec![0.0; bias.len()]);
    if !input.is_empty() {
        let len = cut.group_len();
        let groups = dx.par_chunks_mut(len).zip(input.par_chunks(len)).zip(gradient.par_chunks(len)).enumerate();
        let sums: Vec<Vec<[f64; 2]>> = groups
            .map(|(index, ((dx, x), g))| {
                let channels: Vec<Channel> = cut.channels(index, x, weight, bias).collect();
                backward_of_group(&channels, dx, x, g, &cut)
            })
            .collect();
        for (index, [weight_sum, bias_sum]) in sums.into_iter().flatten().enumerate() {
            let channel = index % weight.len();
            weight_sums[channel] += weight_sum;
            bias_sums[channel] += bias_sum;
        }
    }
    let narrow = |sums: Vec<f64>| tensor(sums.iter().map(|&sum| sum as f32).collect(), [weight.len()]);
    [tensor(dx, x.layout().shape().clone()), narrow(weight_sums), narrow(bias_sums)]
}

/// Fills `dx`; returns for each channel the gradients of its weight and bias.
fn backward_of_group(channels: &[Channel], dx: &mut [f32], x: &[f32], g: &[f32], cut: &Cut) -> Vec<[f64; 2]> {
    let n = cut.positions;
    let mut sums = Vec::with_capacity(channels.len());
    for (channel, ((dy, x), g)) in channels.iter().zip(dx.chunks_mut(n).zip(x.chunks(n)).zip(g.chunks(n))) {
        let (mut weight_sum, mut bias_sum) = (0.0, 0.0);
        for ((dy, x), g) in dy.chunks_mut(BLOCK).zip(x.chunks(BLOCK)).zip(g.chunks(BLOCK)) {
            if cut.options.silu {
                dy.iter_mut().zip(x).zip(g).for_each(|((dy, &x), &g)| *dy = g * silu_slope(channel.affine(x)));
            } else {
                dy.copy_from_slice(g);
            }
            weight_sum += lane_sum2(dy, x, |dy, x| dy * channel.normed(x));
            bias_sum += lane_sum(dy, |dy| dy);
        }
        sums.push([weight_sum, bias_sum]);
    }
    let mean_over_group = |which: usize| {
        let total: f64 = channels.iter().zip(&sums).map(|(channel, sum)| f64::from(channel.weight) * sum[which]).sum();
        (total / cut.group_len() as f64) as f32
    };
    let (along, shift) = (mean_over_group(0), mean_over_group(1));
    for (channel, (dx, x)) in channels.iter().zip(dx.chunks_mut(n).zip(x.chunks(n))) {
        for (dx, &x) in dx.iter_mut().zip(x) {
            *dx = channel.rstd * (channel.weight * *dx - shift - channel.normed(x) * along);
        }
    }
    sums
}
