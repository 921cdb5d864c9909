//! Attention by blocks of queries and keys, so that scores never leave the cache.
//!
//! Source: FlashAttention-2 (arXiv 2307.08691), algorithms 1 and 2.

use burn_flex::FlexTensor;
use burn_flex::ops::matmul::matmul;
use rayon::prelude::*;

use super::math::exp;
use super::storage::{contiguous, tensor, transposed, values, view};

/// Queries and keys of a block: a quarter of a megabyte of scores, and products small enough that Burn leaves them on
/// the thread that asks.
const QUERIES: usize = 128;
const KEYS: usize = 512;
const LANES: usize = 16;

/// What goes into one attention: query `[batch, heads, tokens, head_dim]`, key and value over the memory's tokens, and
/// a bias `[1 or batch, 1 or heads, tokens, memory tokens]`.
#[derive(Debug, Clone)]
pub(super) struct Inputs {
    query: FlexTensor,
    key: FlexTensor,
    value: FlexTensor,
    bias: Option<FlexTensor>,
    scale: f32,
}

/// The output `[batch, heads, tokens, value_dim]` and, for the way back, `ln Σ exp(score)` of each query.
#[derive(Debug, Clone)]
pub(super) struct Output {
    pub(super) attended: FlexTensor,
    log_sums: Vec<f32>,
}

impl Inputs {
    pub(super) fn new(
        query: FlexTensor,
        key: FlexTensor,
        value: FlexTensor,
        bias: Option<FlexTensor>,
        scale: f64,
    ) -> Self {
        let [query, key, value] =
            [query, key, value].map(|x| if x.layout().has_positive_strides() { x } else { x.to_contiguous() });
        Self { query, key, value, bias: bias.map(contiguous), scale: scale as f32 }
    }

    fn heads(&self) -> usize {
        self.query.layout().shape()[1]
    }

    fn queries(&self) -> usize {
        self.query.layout().shape()[2]
    }

    fn keys(&self) -> usize {
        self.key.layout().shape()[2]
    }

    /// `scale · Q Kᵀ + bias`; returns queries × keys.
    fn scores(&self, head: usize, query: Span, key: Span) -> FlexTensor {
        let rows = block(&self.query, self.heads(), head, query);
        let columns = transposed(&block(&self.key, self.heads(), head, key));
        let mut scores = matmul(rows, columns);
        let memory: &mut [f32] = scores.storage_mut();
        match &self.bias {
            None => scale_by(memory, self.scale),
            Some(bias) => {
                let shape = bias.layout().shape();
                let (entry, head) = (head / self.heads() % shape[0], head % self.heads() % shape[1]);
                let first = (entry * shape[1] + head) * self.queries();
                let bias = values(bias);
                for (row, scores) in memory.chunks_mut(key.len).enumerate() {
                    let start = (first + query.start + row) * self.keys() + key.start;
                    for (score, bias) in scores.iter_mut().zip(&bias[start..]) {
                        *score = *score * self.scale + bias;
                    }
                }
            }
        }
        scores
    }
}

fn scale_by(values: &mut [f32], factor: f32) {
    for value in values {
        *value *= factor;
    }
}

/// A range of tokens.
#[derive(Clone, Copy)]
struct Span {
    start: usize,
    len: usize,
}

fn spans(total: usize, len: usize) -> impl Iterator<Item = Span> {
    (0..total).step_by(len).map(move |start| Span { start, len: len.min(total - start) })
}

/// Tokens `span` of the `head`-th head of the batch, `[tokens, width]`, in place.
fn block(x: &FlexTensor, heads: usize, head: usize, span: Span) -> FlexTensor {
    let x = x.clone();
    let layout = x.layout();
    let stride = |axis: usize| layout.strides()[axis].unsigned_abs();
    let offset = layout.start_offset() + head / heads * stride(0) + head % heads * stride(1) + span.start * stride(2);
    view(&x, [span.len, layout.shape()[3]], &[stride(2), stride(3)], offset)
}

pub(super) fn forward(inputs: &Inputs) -> Output {
    let width = inputs.value.layout().shape()[3];
    let [batch, heads, queries] = [0, 1, 2].map(|axis| inputs.query.layout().shape()[axis]);
    let mut attended = vec![0.0; batch * heads * queries * width];
    let mut log_sums = vec![0.0; batch * heads * queries];
    if !attended.is_empty() && inputs.keys() > 0 {
        let heads = attended.chunks_mut(queries * width).zip(log_sums.chunks_mut(queries)).enumerate();
        let blocks = heads.flat_map(|(head, (out, log_sums))| {
            let blocks = out.chunks_mut(QUERIES * width).zip(log_sums.chunks_mut(QUERIES));
            spans(queries, QUERIES).zip(blocks).map(move |(span, block)| (head, span, block))
        });
        let blocks: Vec<_> = blocks.collect();
        blocks.into_par_iter().for_each(|(head, span, (out, log_sums))| {
            attend(inputs, head, span, out, log_sums);
        });
    }
    Output { attended: tensor(attended, [batch, heads, queries, width]), log_sums }
}

/// Running maximum of the scores of a query, and sum of their exponentials relative to it.
#[derive(Clone, Copy)]
struct Softmax {
    maximum: f32,
    sum: f32,
}

/// One block of queries of one head against all keys.
fn attend(inputs: &Inputs, head: usize, query: Span, out: &mut [f32], log_sums: &mut [f32]) {
    let width = out.len() / query.len;
    let mut states = vec![Softmax { maximum: f32::NEG_INFINITY, sum: 0.0 }; query.len];
    for key in spans(inputs.keys(), KEYS) {
        let mut scores = inputs.scores(head, query, key);
        let rows = scores.storage_mut::<f32>().chunks_mut(key.len);
        for ((row, state), out) in rows.zip(&mut states).zip(out.chunks_mut(width)) {
            let fade = state.take_in(row);
            if fade < 1.0 {
                scale_by(out, fade);
            }
        }
        let weighted = matmul(scores, block(&inputs.value, inputs.heads(), head, key));
        out.iter_mut().zip(values(&weighted)).for_each(|(out, weighted)| *out += weighted);
    }
    for ((state, out), log_sum) in states.iter().zip(out.chunks_mut(width)).zip(log_sums) {
        // A query with every key masked attends to nothing.
        let factor = if state.sum == 0.0 { 0.0 } else { state.sum.recip() };
        scale_by(out, factor);
        *log_sum = if state.sum == 0.0 { f32::INFINITY } else { state.maximum + state.sum.ln() };
    }
}

impl Softmax {
    /// Replaces scores by their exponentials; returns the factor for what was summed before.
    fn take_in(&mut self, scores: &mut [f32]) -> f32 {
        let (whole, rest) = scores.as_chunks::<LANES>();
        let mut lanes = [f32::NEG_INFINITY; LANES];
        for chunk in whole {
            for (lane, &score) in lanes.iter_mut().zip(chunk) {
                *lane = if score > *lane { score } else { *lane };
            }
        }
        let maximum = lanes.iter().chain(rest).fold(self.maximum, |a, &b| if b > a { b } else { a });
        let reference = if maximum == f32::NEG_INFINITY { 0.0 } else { maximum };
        let (whole, rest) = scores.as_chunks_mut::<LANES>();
        let mut lanes = [0.0; LANES];
        for chunk in whole {
            for (lane, score) in lanes.iter_mut().zip(chunk) {
                *score = exp(*score - reference);
                *lane += *score;
            }
        }
        for (lane, score) in lanes.iter_mut().zip(rest) {
            *score = exp(*score - reference);
            *lane += *score;
        }
        let fade = exp(self.maximum - reference);
        self.sum = self.sum * fade + lanes.iter().sum::<f32>();
        self.maximum = maximum;
        fade
    }
}

/// Gradients of query, key and value.
pub(super) fn backward(inputs: &Inputs, output: &Output, gradient: FlexTensor) -> [FlexTensor; 3] {
    let gradient = contiguous(gradient);
    let sizes = [&inputs.query, &inputs.key, &inputs.value].map(|x| x.layout().shape().clone());
    let mut gradients = sizes.clone().map(|shape| vec![0.0; shape.num_elements()]);
    let [head_len_q, head_len_k, head_len_v] =
        sizes.clone().map(|shape| shape.num_elements() / (shape[0] * shape[1]).max(1));
    if gradients.iter().all(|gradient| !gradient.is_empty()) {
        let [dq, dk, dv] = &mut gradients;
        let heads = dq.par_chunks_mut(head_len_q).zip(dk.par_chunks_mut(head_len_k)).zip(dv.par_chunks_mut(head_len_v));
        heads.enumerate().for_each(|(head, ((dq, dk), dv))| {
            for query in spans(inputs.queries(), QUERIES) {
                backward_of_block(inputs, output, &gradient, head, query, [dq, dk, dv]);
            }
        });
    }
    let [dq, dk, dv] = gradients;
    let [query, key, value] = sizes;
    [tensor(dq, query), tensor(dk, key), tensor(dv, value)]
}

/// Adds what one block of queries contributes to the gradients of one head.
fn backward_of_block(
    inputs: &Inputs,
    output: &Output,
    gradient: &FlexTensor,
    head: usize,
    query: Span,
    [dq, dk, dv]: [&mut [f32]; 3],
) {
    let heads = inputs.heads();
    let [width, value_width] = [&inputs.query, &inputs.value].map(|x| x.layout().shape()[3]);
    let first = head * inputs.queries() + query.start;
    let rows = first * value_width..(first + query.len) * value_width;
    // Σ gradient · output, which the softmax takes off every score's gradient.
    let pairs =
        values(gradient)[rows.clone()].chunks(value_width).zip(values(&output.attended)[rows].chunks(value_width));
    let offsets: Vec<f32> = pairs.map(|(g, out)| g.iter().zip(out).map(|(g, out)| g * out).sum()).collect();
    let log_sums = &output.log_sums[first..first + query.len];
    let block_gradient = block(gradient, heads, head, query);
    for key in spans(inputs.keys(), KEYS) {
        let mut weights = inputs.scores(head, query, key);
        for (row, log_sum) in weights.storage_mut::<f32>().chunks_mut(key.len).zip(log_sums) {
            for score in row {
                *score = exp(*score - log_sum);
            }
        }
        let add = |sum: &mut [f32], start: usize, part: &FlexTensor| {
            sum[start..].iter_mut().zip(values(part)).for_each(|(sum, part)| *sum += part);
        };
        add(dv, key.start * value_width, &matmul(transposed(&weights), block_gradient.clone()));
        let mut scores = matmul(block_gradient.clone(), transposed(&block(&inputs.value, heads, head, key)));
        let rows = scores.storage_mut::<f32>().chunks_mut(key.len).zip(values(&weights).chunks(key.len));
        for ((row, weights), offset) in rows.zip(&offsets) {
            for (score, weight) in row.iter_mut().zip(weights) {
                *score = weight * (*score - offset) * inputs.scale;
            }
        }
        add(dq, query.start * width, &matmul(scores.clone(), block(&inputs.key, heads, head, key)));
        add(dk, key.start * width, &matmul(transposed(&scores), block(&inputs.query, heads, head, query)));
    }
}
