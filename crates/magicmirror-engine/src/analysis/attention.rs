//! How much attention the face tokens receive: the share of the joint attention's weights that text and video tokens give
//! them, in each block that they take part in, at each step.
//!
//! Besides, every token attends to the face tokens alone, in the decoupled cross-attention; that share is 1 by
//! construction and not shown.

use std::cell::RefCell;
use std::fmt::Write;
use std::path::Path;

use burn::tensor::{Device, Int, Tensor, TensorData, activation};
use serde::Serialize;

use super::{Prepared, write_json};
use crate::EngineError;
use crate::event::Control;
use crate::files::ensure_writable;
use crate::generate::{self, Request};

/// Tokens of a stream whose attention is looked at, evenly spaced.
const QUERIES: usize = 128;

/// What was found.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Attention {
    /// Number of text, video and face tokens.
    pub tokens: [usize; 3],
    /// What the share would be if all tokens were attended to equally.
    pub equal_share: f64,
    /// Of each step and block.
    pub shares: Vec<Share>,
}

/// Share of the weights on face tokens, 0 to 1, mean over heads and tokens.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Share {
    /// The sampling step, from 0.
    pub step: usize,
    /// Index of the block.
    pub layer: usize,
    /// Of what text tokens attend to.
    pub text: f64,
    /// Of what video tokens attend to.
    pub video: f64,
}

/// Runs the sampling steps of a request, and writes how much attention the face tokens received as JSON.
///
/// # Errors
/// When the run fails, there is no identity, the adapter has no face tokens, or the file cannot be written.
pub fn attention(
    request: &Request,
    output: &Path,
    device: &Device,
    control: &mut Control<'_>,
) -> Result<Attention, EngineError> {
    ensure_writable(output)?;
    let prepared = Prepared::with_identity(request, control)?;
    let seen: RefCell<(Vec<Share>, [usize; 3])> = RefCell::default();
    let observer = |layer: usize, query: &Tensor<4>, key: &Tensor<4>, lengths: [usize; 3]| {
        let [text, video, face] = lengths;
        if face == 0 {
            return;
        }
        let (shares, tokens) = &mut *seen.borrow_mut();
        // Blocks come in order: a lower one, or the only one again, begins the next step.
        let step = shares.last().map_or(0, |last: &Share| last.step + usize::from(layer <= last.layer));
        let share = |start, length| face_share(query, key, start, length, face);
        shares.push(Share { step, layer, text: share(0, text), video: share(text, video) });
        *tokens = lengths;
    };
    generate::observe(&prepared.request, device, &observer, control)?;
    let (shares, tokens) = seen.into_inner();
    if shares.is_empty() {
        return Err(EngineError::options(
            "this adapter has no face tokens: its structure_branch is off",
            "use an adapter whose adapter_config.json says structure_branch: true",
        ));
    }
    let equal_share = tokens[2] as f64 / tokens.iter().sum::<usize>() as f64;
    let result = Attention { tokens, equal_share, shares };
    write_json(output, &result)?;
    Ok(result)
}

/// Share of the weights that the tokens from `start` on give to the last `face` tokens; head by head, so that the scores of
/// one fit into memory.
fn face_share(query: &Tensor<4>, key: &Tensor<4>, start: usize, length: usize, face: usize) -> f64 {
    let [_, heads, tokens, head_dim] = query.dims();
    let count = length.min(QUERIES);
    let chosen: Vec<i64> = (0..count).map(|i| (start + i * length / count) as i64).collect();
    let chosen = Tensor::<1, Int>::from_data(TensorData::new(chosen, [count]), &query.device());
    let of_head = |head: usize| {
        let query = query.clone().narrow(0, 0, 1).narrow(1, head, 1).select(2, chosen.clone());
        let key = key.clone().narrow(0, 0, 1).narrow(1, head, 1);
        let scores = query.matmul(key.swap_dims(2, 3)) / (head_dim as f64).sqrt();
        let weights = activation::softmax(scores, 3).narrow(3, tokens - face, face);
        f64::from(weights.sum_dim(3).mean().into_scalar::<f32>())
    };
    (0..heads).map(of_head).sum::<f64>() / heads as f64
}

impl Attention {
    /// A table in Markdown: mean over steps for each block, first and last step beside it.
    pub fn table(&self) -> String {
        let steps = self.shares.last().map_or(0, |last| last.step + 1);
        let mut layers: Vec<usize> = self.shares.iter().map(|share| share.layer).collect();
        layers.sort_unstable();
        layers.dedup();
        let mut table = format!(
            "| layer | text | video | video, first step | video, last step |\n|---|---|---|---|---|\n| equal attention | \
             {0:.5} | {0:.5} | {0:.5} | {0:.5} |\n",
            self.equal_share
        );
        for layer in layers {
            let of_layer = || self.shares.iter().filter(move |share| share.layer == layer);
            let mean = |value: fn(&Share) -> f64| of_layer().map(value).sum::<f64>() / steps as f64;
            let at = |step: usize| of_layer().find(|share| share.step == step).map_or(f64::NAN, |share| share.video);
            let _ = writeln!(
                table,
                "| {layer} | {:.5} | {:.5} | {:.5} | {:.5} |",
                mean(|share| share.text),
                mean(|share| share.video),
                at(0),
                at(steps - 1)
            );
        }
        table
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tensor(values: impl Fn(usize, usize) -> f32, tokens: usize) -> Tensor<4> {
        let values: Vec<f32> = (0..2 * tokens * 4).map(|i| values(i / 4 % tokens, i % 4)).collect();
        Tensor::from_data(TensorData::new(values, [1, 2, tokens, 4]), &Device::flex())
    }

    /// Keys that are all alike get equal shares; face keys that point where the queries point get nearly all.
    #[test]
    fn shares_follow_the_keys() {
        let query = tensor(|_, _| 1.0, 10);
        let share = |key: Tensor<4>| face_share(&query, &key, 2, 5, 3);
        assert!((share(tensor(|_, _| 0.5, 10)) - 0.3).abs() < 1e-6);
        let near = share(tensor(|token, _| if token >= 7 { 5.0 } else { -5.0 }, 10));
        assert!(near > 0.999, "{near}");
        // Scores 2 · ln 2 / 2 · 2 apart by hand: each face key weighs twice a plain one.
        let twice = share(tensor(|token, _| if token >= 7 { 2f32.ln() / 2.0 } else { 0.0 }, 10));
        assert!((twice - 6.0 / 13.0).abs() < 1e-6, "{twice}");
    }
}
