//! One block: modulated joint attention over all streams, then a modulated feed-forward layer.

use burn::module::Module;
use burn::tensor::Tensor;

use super::{BlockFactors, DitConfig, Factors, LayerConditioner};
use crate::nn::{LayerNorm, Linear, RotaryEmbedding, attention, gelu_tanh, heads_from_tokens, silu, tokens_from_heads};
use crate::weights::Params;

/// Epsilon of the query and key norms.
const QUERY_KEY_EPSILON: f64 = 1e-6;

/// The tokens that flow through the blocks, each `[batch, tokens, width]`.
#[derive(Debug, Clone)]
pub struct Streams {
    /// Text tokens.
    pub text: Tensor<3>,
    /// Video tokens.
    pub video: Tensor<3>,
    /// Extra tokens of a [`LayerConditioner`].
    pub extra: Option<Tensor<3>>,
}

/// What is the same in every block of one call.
#[derive(Debug, Clone)]
pub struct BlockContext {
    /// `[batch, time width]`, before its SiLU.
    pub time_embedding: Tensor<2>,
    /// Rotary positions of text (none), video and extra tokens (none), for the longest sequence.
    pub rotary: Option<RotaryEmbedding>,
}

/// A block of the transformer.
#[derive(Module, Debug)]
pub struct Block {
    norm1: ModulatedNorm,
    attention: JointAttention,
    norm2: ModulatedNorm,
    feed_forward: FeedForward,
}

impl Block {
    pub(super) fn new(config: &DitConfig, params: &mut Params<'_, '_>) -> Self {
        Self {
            norm1: ModulatedNorm::new(config, &mut params.at("norm1")),
            attention: JointAttention::new(config, &mut params.at("attn1")),
            norm2: ModulatedNorm::new(config, &mut params.at("norm2")),
            feed_forward: FeedForward::new(config, &mut params.at("ff")),
        }
    }

    /// The block's own modulation factors for a time embedding.
    pub fn factors(&self, time_embedding: &Tensor<2>) -> BlockFactors {
        let time = silu(time_embedding.clone());
        // Each: shift, scale, gate of the video, then of the text.
        let first = self.norm1.linear.forward(time.clone()).chunk(6, 1);
        let second = self.norm2.linear.forward(time).chunk(6, 1);
        let factors = |offset: usize| Factors {
            shift1: first[offset].clone(),
            scale1: first[offset + 1].clone(),
            gate1: first[offset + 2].clone(),
            shift2: second[offset].clone(),
            scale2: second[offset + 1].clone(),
            gate2: second[offset + 2].clone(),
        };
        BlockFactors { video: factors(0), text: factors(3), extra: None }
    }

    /// Runs block number `layer` on all streams.
    ///
    /// # Panics
    /// When the streams' widths are not the transformer's.
    pub fn forward(
        &self,
        layer: usize,
        streams: Streams,
        context: &BlockContext,
        conditioner: &dyn LayerConditioner,
    ) -> Streams {
        let Streams { text, video, extra } = streams;
        let factors = conditioner.modulate(layer, &context.time_embedding, self.factors(&context.time_embedding));
        // An extra stream without factors skips the block.
        let (mut extra, skipped) = if factors.extra.is_some() { (extra, None) } else { (None, extra) };
        let lengths = [&Some(text.clone()), &Some(video.clone()), &extra]
            .map(|stream| stream.as_ref().map_or(0, |stream| stream.dims()[1]));
        let mut streams = [Some(text), Some(video), extra.take()];
        let factors = [Some(factors.text), Some(factors.video), factors.extra];

        let normed = each(&streams, &factors, |x, f| self.norm1.modulate(x.clone(), &f.shift1, &f.scale1));
        let modulated_extra = normed[2].clone();
        let joint = self.attention.forward(
            join(normed),
            context.rotary.as_ref(),
            |query| modulated_extra.as_ref().and_then(|extra| conditioner.attend(layer, query, extra)),
            |query, key| conditioner.observe(layer, query, key, lengths),
        );
        let attended = split(joint, lengths);
        streams = add_gated(streams, attended, &factors, |f| &f.gate1);

        let normed = each(&streams, &factors, |x, f| self.norm2.modulate(x.clone(), &f.shift2, &f.scale2));
        let fed = split(self.feed_forward.forward(join(normed)), lengths);
        let [text, video, extra] = add_gated(streams, fed, &factors, |f| &f.gate2);
        Streams {
            text: text.expect("the text stream takes part in every block"),
            video: video.expect("the video stream takes part in every block"),
            extra: extra.or(skipped),
        }
    }
}

type Three<T> = [Option<T>; 3];

fn each(
    streams: &Three<Tensor<3>>,
    factors: &Three<Factors>,
    apply: impl Fn(&Tensor<3>, &Factors) -> Tensor<3>,
) -> Three<Tensor<3>> {
    std::array::from_fn(|i| Some(apply(streams[i].as_ref()?, factors[i].as_ref()?)))
}

fn join(streams: Three<Tensor<3>>) -> Tensor<3> {
    Tensor::cat(streams.into_iter().flatten().collect(), 1)
}

fn split(joint: Tensor<3>, lengths: [usize; 3]) -> Three<Tensor<3>> {
    let mut start = 0;
    lengths.map(|length| {
        let part = (length > 0).then(|| joint.clone().narrow(1, start, length));
        start += length;
        part
    })
}

fn add_gated(
    streams: Three<Tensor<3>>,
    updates: Three<Tensor<3>>,
    factors: &Three<Factors>,
    gate: impl Fn(&Factors) -> &Tensor<2>,
) -> Three<Tensor<3>> {
    let mut updates = updates.into_iter();
    let mut factors = factors.iter();
    streams.map(|stream| {
        let (update, factors) = (updates.next().flatten(), factors.next().and_then(Option::as_ref));
        Some(stream? + gate(factors?).clone().unsqueeze_dim::<3>(1) * update?)
    })
}

/// Layer normalisation whose result is scaled and shifted by factors that depend on time.
#[derive(Module, Debug)]
struct ModulatedNorm {
    linear: Linear,
    norm: LayerNorm,
}

impl ModulatedNorm {
    fn new(config: &DitConfig, params: &mut Params<'_, '_>) -> Self {
        Self {
            linear: Linear::new(params, "linear", config.time_embed_dim, 6 * config.width()),
            norm: LayerNorm::new(params, "norm", config.width(), config.norm_eps),
        }
    }

    fn modulate(&self, x: Tensor<3>, shift: &Tensor<2>, scale: &Tensor<2>) -> Tensor<3> {
        self.norm.modulate(x, shift.clone(), scale.clone())
    }
}

/// Attention over all streams at once, with normed queries and keys.
#[derive(Module, Debug)]
struct JointAttention {
    query: Linear,
    key: Linear,
    value: Linear,
    output: Linear,
    query_norm: LayerNorm,
    key_norm: LayerNorm,
    #[module(skip)]
    heads: usize,
    #[module(skip)]
    scale: f64,
}

impl JointAttention {
    fn new(config: &DitConfig, params: &mut Params<'_, '_>) -> Self {
        let (width, head_dim) = (config.width(), config.attention_head_dim);
        Self {
            query: Linear::new(params, "to_q", width, width),
            key: Linear::new(params, "to_k", width, width),
            value: Linear::new(params, "to_v", width, width),
            output: Linear::new(params, "to_out.0", width, width),
            query_norm: LayerNorm::new(params, "norm_q", head_dim, QUERY_KEY_EPSILON),
            key_norm: LayerNorm::new(params, "norm_k", head_dim, QUERY_KEY_EPSILON),
            heads: config.num_attention_heads,
            scale: (head_dim as f64).powf(-0.5),
        }
    }

    /// # Shapes
    /// - x, output: `[batch, tokens, width]`
    /// - `extra` sees the query `[batch, heads, tokens, head_dim]` and may return what is added to the attention's output;
    ///   `observe` sees query and key as the attention does
    fn forward(
        &self,
        x: Tensor<3>,
        rotary: Option<&RotaryEmbedding>,
        extra: impl FnOnce(&Tensor<4>) -> Option<Tensor<4>>,
        observe: impl FnOnce(&Tensor<4>, &Tensor<4>),
    ) -> Tensor<3> {
        let query = self.query_norm.forward(heads_from_tokens(self.query.forward(x.clone()), self.heads));
        let key = self.key_norm.forward(heads_from_tokens(self.key.forward(x.clone()), self.heads));
        let value = heads_from_tokens(self.value.forward(x), self.heads);
        let added = extra(&query);
        let tokens = query.dims()[2];
        let (query, key) = match rotary {
            None => (query, key),
            Some(rotary) => {
                let rotary = rotary.first(tokens);
                (rotary.rotate(query), rotary.rotate(key))
            }
        };
        observe(&query, &key);
        let attended = attention(query, key, value, None, self.scale);
        let attended = match added {
            None => attended,
            Some(added) => attended + added,
        };
        self.output.forward(tokens_from_heads(attended))
    }
}

/// Two layers, four times as wide between them.
#[derive(Module, Debug)]
struct FeedForward {
    widen: Linear,
    narrow: Linear,
}

impl FeedForward {
    fn new(config: &DitConfig, params: &mut Params<'_, '_>) -> Self {
        let width = config.width();
        Self {
            widen: Linear::new(params, "net.0.proj", width, 4 * width),
            narrow: Linear::new(params, "net.2", 4 * width, width),
        }
    }

    fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        self.narrow.forward(gelu_tanh(self.widen.forward(x)))
    }
}
