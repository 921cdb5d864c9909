//! The encoder of T5 v1.1.

use burn::module::{Module, Param};
use burn::tensor::{DType, Int, Tensor, TensorData};
use serde::Deserialize;
use thiserror::Error;

use crate::nn::{Linear, RmsNorm, attention, gelu_tanh, heads_from_tokens, tokens_from_heads};
use crate::weights::{Init, Names, Params};

/// Sizes of a T5 encoder: the fields used of transformers' `config.json`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct T5Config {
    /// Rows of the embedding table.
    pub vocab_size: usize,
    /// Width of the embeddings.
    pub d_model: usize,
    /// Width of one attention head.
    pub d_kv: usize,
    /// Width of the feed-forward layers.
    pub d_ff: usize,
    /// Number of blocks.
    pub num_layers: usize,
    /// Number of attention heads.
    pub num_heads: usize,
    /// Number of different biases for distances between tokens.
    #[serde(default = "default_buckets")]
    pub relative_attention_num_buckets: usize,
    /// Distance, in tokens, from which on all share one bias.
    #[serde(default = "default_max_distance")]
    pub relative_attention_max_distance: usize,
    /// Added to the mean square before the root.
    #[serde(default = "default_epsilon")]
    pub layer_norm_epsilon: f64,
    /// Kind of feed-forward layer: `gated-gelu`.
    #[serde(default = "default_feed_forward")]
    pub feed_forward_proj: String,
}

fn default_buckets() -> usize {
    32
}

fn default_max_distance() -> usize {
    128
}

fn default_epsilon() -> f64 {
    1e-6
}

fn default_feed_forward() -> String {
    "relu".to_owned()
}

/// Why a configuration cannot be used.
#[derive(Debug, Error)]
pub enum T5ConfigError {
    /// Not JSON, or a field is missing or of the wrong type.
    #[error("not a valid T5 configuration")]
    Invalid(#[from] serde_json::Error),
    /// A number that makes no sense.
    #[error("T5 configuration: {field} must be {expected}, found {found}")]
    OutOfRange {
        /// The field.
        field: &'static str,
        /// What it must be.
        expected: &'static str,
        /// What it is.
        found: String,
    },
    /// Not the feed-forward layer of T5 v1.1.
    #[error(
        "T5 with feed_forward_proj {found:?} is not supported\nhint: CogVideoX uses T5 v1.1, which has \"gated-gelu\""
    )]
    Unsupported {
        /// The kind of feed-forward layer asked for.
        found: String,
    },
}

impl T5Config {
    /// Parses and checks a `config.json`.
    ///
    /// # Errors
    /// When it is not JSON, or as [`Self::validate`].
    pub fn from_json(text: &str) -> Result<Self, T5ConfigError> {
        let config: Self = serde_json::from_str(text)?;
        config.validate()?;
        Ok(config)
    }

    /// Checks that a network can be built.
    ///
    /// # Errors
    /// When a number is out of range or the kind of feed-forward layer is not supported.
    pub fn validate(&self) -> Result<(), T5ConfigError> {
        let out_of_range = |field, expected, found: &dyn ToString| T5ConfigError::OutOfRange {
            field,
            expected,
            found: found.to_string(),
        };
        for (field, size) in [
            ("vocab_size", self.vocab_size),
            ("d_model", self.d_model),
            ("d_kv", self.d_kv),
            ("d_ff", self.d_ff),
            ("num_heads", self.num_heads),
            ("relative_attention_max_distance", self.relative_attention_max_distance),
        ] {
            if !(1..=1 << 24).contains(&size) {
                return Err(out_of_range(field, "1..=2^24", &size));
            }
        }
        if !(1..=1000).contains(&self.num_layers) {
            return Err(out_of_range("num_layers", "1..=1000", &self.num_layers));
        }
        let buckets = self.relative_attention_num_buckets;
        if !(4..=1 << 16).contains(&buckets) {
            return Err(out_of_range("relative_attention_num_buckets", "4..=2^16", &buckets));
        }
        if self.relative_attention_max_distance <= buckets / 4 {
            let distance = &self.relative_attention_max_distance;
            return Err(out_of_range(
                "relative_attention_max_distance",
                "above a quarter of relative_attention_num_buckets",
                distance,
            ));
        }
        if !(self.layer_norm_epsilon > 0.0 && self.layer_norm_epsilon < 1.0) {
            return Err(out_of_range("layer_norm_epsilon", "between 0 and 1", &self.layer_norm_epsilon));
        }
        if self.feed_forward_proj != "gated-gelu" {
            return Err(T5ConfigError::Unsupported { found: self.feed_forward_proj.clone() });
        }
        Ok(())
    }
}

/// The encoder of T5 v1.1: token ids to embeddings.
#[derive(Module, Debug)]
pub struct T5Encoder {
    embedding: Param<Tensor<2>>,
    position_bias: PositionBias,
    blocks: Vec<Block>,
    final_norm: RmsNorm,
}

impl T5Encoder {
    /// Which tensors of a released file are the encoder's.
    pub const NAMES: Names<'static> =
        Names { prefix: "", ignored: &["encoder.embed_tokens.weight", "decoder.", "lm_head.weight"] };

    /// Declares the encoder under transformers' names (`shared.weight`, `encoder.…`).
    pub fn new(config: &T5Config, params: &mut Params<'_, '_>) -> Self {
        let embedding = params.at("shared").tensor("weight", [config.vocab_size, config.d_model], Init::Normal(1.0));
        let mut params = params.at("encoder");
        let position_bias = PositionBias::new(config, &mut params.at("block.0.layer.0.SelfAttention"));
        let blocks =
            (0..config.num_layers).map(|index| Block::new(config, &mut params.at("block").at(index))).collect();
        let final_norm = RmsNorm::new(&mut params, "final_layer_norm", config.d_model, config.layer_norm_epsilon);
        Self { embedding, position_bias, blocks, final_norm }
    }

    /// Embeds token ids, all below the vocabulary's size; every token attends to every other, padding included.
    ///
    /// # Shapes
    /// - ids: `[batch, tokens]`
    /// - output: `[batch, tokens, d_model]`, f32
    pub fn forward(&self, ids: Tensor<2, Int>) -> Tensor<3> {
        let [batch, tokens] = ids.dims();
        let table = self.embedding.val();
        let [_, width] = table.dims();
        let rows = table.select(0, ids.reshape([batch * tokens])).cast(DType::F32);
        let bias = self.position_bias.forward(tokens);
        let x = rows.reshape([batch, tokens, width]);
        let x = self.blocks.iter().fold(x, |x, block| block.forward(x, bias.clone()));
        self.final_norm.forward(x)
    }
}

#[derive(Module, Debug)]
struct Block {
    attention_norm: RmsNorm,
    query: Linear,
    key: Linear,
    value: Linear,
    output: Linear,
    feed_forward_norm: RmsNorm,
    gate: Linear,
    up: Linear,
    down: Linear,
    #[module(skip)]
    heads: usize,
}

impl Block {
    fn new(config: &T5Config, params: &mut Params<'_, '_>) -> Self {
        let T5Config { d_model: width, d_ff, layer_norm_epsilon: epsilon, num_heads: heads, .. } = *config;
        let inner = heads * config.d_kv;
        let linear = Linear::without_bias;
        let mut layer = params.at("layer.0");
        let attention_norm = RmsNorm::new(&mut layer, "layer_norm", width, epsilon);
        let mut layer = layer.at("SelfAttention");
        let query = linear(&mut layer, "q", width, inner);
        let key = linear(&mut layer, "k", width, inner);
        let value = linear(&mut layer, "v", width, inner);
        let output = linear(&mut layer, "o", inner, width);
        let mut layer = params.at("layer.1");
        let feed_forward_norm = RmsNorm::new(&mut layer, "layer_norm", width, epsilon);
        let mut layer = layer.at("DenseReluDense");
        let gate = linear(&mut layer, "wi_0", width, d_ff);
        let up = linear(&mut layer, "wi_1", width, d_ff);
        let down = linear(&mut layer, "wo", d_ff, width);
        Self { attention_norm, query, key, value, output, feed_forward_norm, gate, up, down, heads }
    }

    /// # Shapes
    /// - x, output: `[batch, tokens, width]`
    /// - bias: `[1, heads, tokens, tokens]`
    fn forward(&self, x: Tensor<3>, bias: Tensor<4>) -> Tensor<3> {
        let normed = self.attention_norm.forward(x.clone());
        let heads = |layer: &Linear| heads_from_tokens(layer.forward(normed.clone()), self.heads);
        // T5 has no 1/√d: its initialisation makes up for it.
        let mixed = attention(heads(&self.query), heads(&self.key), heads(&self.value), Some(bias), 1.0);
        let x = x + self.output.forward(tokens_from_heads(mixed));
        let normed = self.feed_forward_norm.forward(x.clone());
        let hidden = gelu_tanh(self.gate.forward(normed.clone())) * self.up.forward(normed);
        x + self.down.forward(hidden)
    }
}

/// What attention scores gain by the distance between tokens: one learned number for each head and bucket of distances,
/// stored in the first block and used in all.
#[derive(Module, Debug)]
struct PositionBias {
    table: Param<Tensor<2>>,
    #[module(skip)]
    max_distance: usize,
}

impl PositionBias {
    fn new(config: &T5Config, params: &mut Params<'_, '_>) -> Self {
        let shape = [config.relative_attention_num_buckets, config.num_heads];
        let table = params.at("relative_attention_bias").tensor("weight", shape, Init::fan_in(config.d_model));
        Self { table, max_distance: config.relative_attention_max_distance }
    }

    /// `[1, heads, tokens, tokens]`, f32: queries before keys.
    fn forward(&self, tokens: usize) -> Tensor<4> {
        let table = self.table.val();
        let [buckets, heads] = table.dims();
        let of_pair = |pair: usize| bucket((pair % tokens) as i64 - (pair / tokens) as i64, buckets, self.max_distance);
        let rows: Vec<i64> = (0..tokens * tokens).map(|pair| of_pair(pair) as i64).collect();
        let rows = Tensor::from_data(TensorData::new(rows, [tokens * tokens]), &table.device());
        table.cast(DType::F32).transpose().select(1, rows).reshape([1, heads, tokens, tokens])
    }
}

/// Bucket of a distance (key's position less query's). Half the buckets are for keys after the query; in each half, small
/// distances have their own bucket, larger ones share logarithmic buckets up to `max_distance`.
fn bucket(distance: i64, buckets: usize, max_distance: usize) -> usize {
    let half = buckets / 2;
    let exact = half / 2;
    let after = if distance > 0 { half } else { 0 };
    let distance = distance.unsigned_abs() as usize;
    if distance < exact {
        return after + distance;
    }
    // In f32, as upstream: at the borders between buckets rounding decides.
    let octaves = libm::logf(distance as f32 / exact as f32) / (libm::log(max_distance as f64 / exact as f64) as f32);
    after + (exact + (octaves * (half - exact) as f32) as usize).min(half - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIG: &str = r#"{"vocab_size": 32128, "d_model": 4096, "d_kv": 64, "d_ff": 10240, "num_layers": 24,
        "num_heads": 64, "relative_attention_num_buckets": 32, "layer_norm_epsilon": 1e-6,
        "feed_forward_proj": "gated-gelu"}"#;

    #[test]
    fn buckets_at_their_borders() {
        // (distance, bucket), computed with transformers 5.23, for keys before the query.
        for (buckets, max_distance, borders) in [
            (32, 128, &[(0, 0), (7, 7), (8, 8), (11, 8), (12, 9), (15, 9), (16, 10), (22, 10), (23, 11), (31, 11)][..]),
            (32, 128, &[(32, 12), (45, 12), (46, 13), (63, 13), (64, 14), (90, 14), (91, 15), (5000, 15)]),
            (
                64,
                256,
                &[
                    (90, 25),
                    (91, 26),
                    (107, 26),
                    (108, 27),
                    (127, 27),
                    (128, 28),
                    (152, 28),
                    (153, 29),
                    (181, 29),
                    (182, 30),
                    (215, 30),
                    (216, 31),
                ],
            ),
            (12, 40, &[(7, 3), (8, 4), (16, 4), (17, 5)]),
            (6, 5, &[(2, 1), (3, 2)]),
        ] {
            for &(distance, expected) in borders {
                assert_eq!(bucket(-distance, buckets, max_distance), expected, "-{distance} of {buckets}");
                if distance > 0 {
                    assert_eq!(
                        bucket(distance, buckets, max_distance),
                        buckets / 2 + expected,
                        "{distance} of {buckets}"
                    );
                }
            }
        }
    }

    #[test]
    fn bias_is_by_query_and_key() {
        let config = T5Config { num_heads: 2, ..T5Config::from_json(CONFIG).unwrap() };
        let (bias, _) =
            crate::weights::initialise(1, &burn::tensor::Device::flex(), |params| PositionBias::new(&config, params));
        let table: Vec<f32> = bias.table.val().into_data().try_to_vec().unwrap();
        let found: Vec<f32> = bias.forward(40).into_data().try_to_vec().unwrap();
        for (head, query, key) in [(0, 0, 0), (1, 0, 39), (1, 39, 0), (0, 5, 7), (1, 30, 12)] {
            let row = bucket(key - query, 32, 128);
            let found = found[head * 1600 + query as usize * 40 + key as usize];
            assert_eq!(found.to_bits(), table[row * 2 + head].to_bits(), "head {head}, query {query}, key {key}");
        }
    }

    #[test]
    fn configurations() {
        let config = T5Config::from_json(CONFIG).unwrap();
        // The released file of T5 v1.1 XXL has no such field.
        assert_eq!(config.relative_attention_max_distance, 128);
        for (change, complaint) in [
            (("gated-gelu", "relu"), "feed_forward_proj \"relu\" is not supported"),
            (("\"num_heads\": 64", "\"num_heads\": 0"), "num_heads must be 1..=2^24, found 0"),
            (("\"num_layers\": 24", "\"num_layers\": 18446744073709551615"), "num_layers must be 1..=1000"),
            (("buckets\": 32", "buckets\": 3"), "relative_attention_num_buckets must be 4..=2^16, found 3"),
            (("buckets\": 32", "buckets\": 512"), "relative_attention_max_distance must be above a quarter"),
            (("1e-6", "-1e-6"), "layer_norm_epsilon must be between 0 and 1"),
            (("\"d_ff\": 10240,", ""), "not a valid T5 configuration"),
        ] {
            let changed = CONFIG.replace(change.0, change.1);
            assert_ne!(changed, CONFIG);
            let message = T5Config::from_json(&changed).unwrap_err().to_string();
            assert!(message.contains(complaint), "{message}");
        }
    }
}
