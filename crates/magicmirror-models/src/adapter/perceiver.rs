//! The perceivers: queries that read an image's tokens.
//!
//! Source: PhotoMaker @060b4fc, `photomaker/resampler.py` and `photomaker/model_v2.py`, whose released weights load
//! here unchanged; τ_face is Magic Mirror's (section 3.2 and appendix A.5).

use burn::module::{Module, Param};
use burn::tensor::Tensor;

use super::config::{AdapterConfig, FacePerceiverConfig, IdPerceiverConfig};
use crate::nn::{LayerNorm, Linear, attention, gelu_erf, heads_from_tokens, tokens_from_heads};
use crate::weights::{Init, Params};

const EPSILON: f64 = 1e-5;

/// Sizes of a [`Resampler`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ResamplerSizes {
    /// Width of the queries and inside.
    pub dim: usize,
    /// Layers.
    pub depth: usize,
    /// Channels of one head.
    pub head_dim: usize,
    /// Width of the feed-forward layers, in widths.
    pub ff_mult: usize,
    /// Width of the memory.
    pub memory_dim: usize,
}

/// Queries that read a memory, layer after layer ("`FacePerceiverResampler`" in PhotoMaker).
#[derive(Module, Debug)]
pub struct Resampler {
    proj_in: Linear,
    layers: Vec<ResamplerLayer>,
    proj_out: Linear,
    norm_out: LayerNorm,
}

impl Resampler {
    /// Declares `proj_in`, `layers.{i}.…`, `proj_out` and `norm_out`.
    pub fn new(sizes: &ResamplerSizes, params: &mut Params<'_, '_>) -> Self {
        let layers = (0..sizes.depth).map(|i| ResamplerLayer::new(sizes, &mut params.at("layers").at(i))).collect();
        Self {
            proj_in: Linear::new(params, "proj_in", sizes.memory_dim, sizes.dim),
            layers,
            proj_out: Linear::new(params, "proj_out", sizes.dim, sizes.dim),
            norm_out: LayerNorm::new(params, "norm_out", sizes.dim, EPSILON),
        }
    }

    /// # Shapes
    /// - queries: `[batch, queries, dim]`
    /// - memory: `[batch, tokens, memory_dim]`
    /// - output: as queries
    pub fn forward(&self, queries: Tensor<3>, memory: Tensor<3>) -> Tensor<3> {
        let memory = self.proj_in.forward(memory);
        let queries = self.layers.iter().fold(queries, |queries, layer| layer.forward(queries, &memory));
        self.norm_out.forward(self.proj_out.forward(queries))
    }
}

#[derive(Module, Debug)]
struct ResamplerLayer {
    attention: PerceiverAttention,
    feed_forward: FeedForward,
}

impl ResamplerLayer {
    fn new(sizes: &ResamplerSizes, params: &mut Params<'_, '_>) -> Self {
        Self {
            attention: PerceiverAttention::new(sizes, &mut params.at(0)),
            feed_forward: FeedForward::new(sizes, &mut params.at(1)),
        }
    }

    fn forward(&self, queries: Tensor<3>, memory: &Tensor<3>) -> Tensor<3> {
        let queries = queries.clone() + self.attention.forward(queries, memory.clone());
        queries.clone() + self.feed_forward.forward(queries)
    }
}

/// Attention of the queries over the memory and themselves.
#[derive(Module, Debug)]
struct PerceiverAttention {
    memory_norm: LayerNorm,
    query_norm: LayerNorm,
    to_q: Linear,
    to_kv: Linear,
    to_out: Linear,
    #[module(skip)]
    heads: usize,
}

impl PerceiverAttention {
    fn new(sizes: &ResamplerSizes, params: &mut Params<'_, '_>) -> Self {
        let dim = sizes.dim;
        Self {
            memory_norm: LayerNorm::new(params, "norm1", dim, EPSILON),
            query_norm: LayerNorm::new(params, "norm2", dim, EPSILON),
            to_q: Linear::without_bias(params, "to_q", dim, dim),
            to_kv: Linear::without_bias(params, "to_kv", dim, 2 * dim),
            to_out: Linear::without_bias(params, "to_out", dim, dim),
            heads: dim / sizes.head_dim,
        }
    }

    fn forward(&self, queries: Tensor<3>, memory: Tensor<3>) -> Tensor<3> {
        let queries = self.query_norm.forward(queries);
        let memory = Tensor::cat(vec![self.memory_norm.forward(memory), queries.clone()], 1);
        let query = heads_from_tokens(self.to_q.forward(queries), self.heads);
        let [key, value] = halves(self.to_kv.forward(memory)).map(|x| heads_from_tokens(x, self.heads));
        let scale = (query.dims()[3] as f64).powf(-0.5);
        self.to_out.forward(tokens_from_heads(attention(query, key, value, None, scale)))
    }
}

#[derive(Module, Debug)]
struct FeedForward {
    norm: LayerNorm,
    up: Linear,
    down: Linear,
}

impl FeedForward {
    fn new(sizes: &ResamplerSizes, params: &mut Params<'_, '_>) -> Self {
        let hidden = sizes.ff_mult * sizes.dim;
        // 2 is the activation in the released file's numbering.
        Self {
            norm: LayerNorm::new(params, "0", sizes.dim, EPSILON),
            up: Linear::without_bias(params, "1", sizes.dim, hidden),
            down: Linear::without_bias(params, "3", hidden, sizes.dim),
        }
    }

    fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        self.down.forward(gelu_erf(self.up.forward(self.norm.forward(x))))
    }
}

/// τ_id: from a face recogniser's embedding and the face's image tokens to identity tokens ("`QFormerPerceiver`" in
/// PhotoMaker-V2).
#[derive(Module, Debug)]
pub struct IdentityPerceiver {
    token_up: Linear,
    token_down: Linear,
    token_norm: LayerNorm,
    resampler: Resampler,
    #[module(skip)]
    tokens: usize,
}

impl IdentityPerceiver {
    /// Declares `token_proj.{0,2}`, `token_norm` and `perceiver_resampler`.
    pub fn new(config: &AdapterConfig, params: &mut Params<'_, '_>) -> Self {
        let IdPerceiverConfig { dim, tokens, depth, head_dim, ff_mult, mlp_ratio } = config.id_perceiver;
        let hidden = mlp_ratio * config.id_embed_dim;
        let sizes = ResamplerSizes { dim, depth, head_dim, ff_mult, memory_dim: config.vision_hidden_size };
        Self {
            token_up: Linear::new(params, "token_proj.0", config.id_embed_dim, hidden),
            token_down: Linear::new(params, "token_proj.2", hidden, tokens * dim),
            token_norm: LayerNorm::new(params, "token_norm", dim, EPSILON),
            resampler: Resampler::new(&sizes, &mut params.at("perceiver_resampler")),
            tokens,
        }
    }

    /// The identity tokens, x_id.
    ///
    /// # Shapes
    /// - id_embeds: `[references, embedding]`, as the recogniser puts it out, not normalised
    /// - vision: `[references, image tokens, vision width]`, the last hidden states
    /// - output: `[references, tokens, dim]`
    pub fn forward(&self, id_embeds: Tensor<2>, vision: Tensor<3>) -> Tensor<3> {
        let x = self.token_down.forward(gelu_erf(self.token_up.forward(id_embeds)));
        let [references, width] = x.dims();
        let x = self.token_norm.forward(x.reshape([references, self.tokens, width / self.tokens]));
        x.clone() + self.resampler.forward(x, vision)
    }
}

/// τ_face: learned queries that read the structure of a face from its image tokens.
#[derive(Module, Debug)]
pub struct FacePerceiver {
    latents: Param<Tensor<3>>,
    resampler: Resampler,
}

impl FacePerceiver {
    /// Declares `latents` `[1, tokens, dim]` and the resampler's names.
    pub fn new(config: &AdapterConfig, params: &mut Params<'_, '_>) -> Self {
        let FacePerceiverConfig { dim, tokens, depth, head_dim, ff_mult } = config.face_perceiver;
        let sizes = ResamplerSizes { dim, depth, head_dim, ff_mult, memory_dim: config.vision_hidden_size };
        Self {
            latents: params.tensor("latents", [1, tokens, dim], Init::fan_in(dim)),
            resampler: Resampler::new(&sizes, params),
        }
    }

    /// # Shapes
    /// - vision: `[references, image tokens, vision width]`, the penultimate hidden states
    /// - output: `[references, tokens, dim]`
    pub fn forward(&self, vision: Tensor<3>) -> Tensor<3> {
        let latents = self.latents.val().cast(vision.dtype());
        let [_, tokens, dim] = latents.dims();
        self.resampler.forward(latents.expand([vision.dims()[0], tokens, dim]), vision)
    }
}

/// Cuts the last axis in two.
fn halves(x: Tensor<3>) -> [Tensor<3>; 2] {
    let width = x.dims()[2] / 2;
    [x.clone().narrow(2, 0, width), x.narrow(2, width, width)]
}
