use std::ops::ControlFlow;

use burn::module::Module;
use burn::tensor::{Device, Tensor};

use super::block::{Block, BlockContext, Streams};
use super::embed::{PatchEmbed, TimeEmbedding};
use super::{DitConfig, LayerConditioner, Positions};
use crate::nn::{LayerNorm, Linear, RotaryEmbedding, silu};
use crate::weights::{Names, Params};

/// The diffusion transformer: predicts the velocity of noisy latents.
#[derive(Module, Debug)]
pub struct Dit {
    patch_embed: PatchEmbed,
    time_embedding: TimeEmbedding,
    blocks: Vec<Block>,
    norm_final: LayerNorm,
    norm_out: OutputNorm,
    projection: Linear,
}

/// What the transformer is given in one call.
#[derive(Debug, Clone)]
pub struct DitInput<'a> {
    /// Noisy latents `[batch, frames, channels, height, width]`.
    pub latents: Tensor<5>,
    /// Text embeddings `[batch, text tokens, text width]`.
    pub text: Tensor<3>,
    /// One training timestep, 0..1000, for each sample.
    pub timesteps: &'a [f64],
    /// Positions of the video tokens.
    pub positions: &'a Positions,
}

impl Dit {
    /// Early releases of 2B stored their position table, which is computed here.
    pub const NAMES: Names<'static> = Names { prefix: "", ignored: &["patch_embed.pos_embedding"] };

    /// Declares the transformer's parameters under diffusers' names. The configuration must be valid.
    pub fn new(config: &DitConfig, params: &mut Params<'_, '_>) -> Self {
        let width = config.width();
        let patch_values = config.patch_size * config.patch_size * config.patch_size_t.unwrap_or(1);
        let mut blocks = params.at("transformer_blocks");
        let blocks = (0..config.num_layers).map(|i| Block::new(config, &mut blocks.at(i))).collect();
        Self {
            patch_embed: PatchEmbed::new(config, params),
            time_embedding: TimeEmbedding::new(config, params),
            blocks,
            norm_final: LayerNorm::new(params, "norm_final", width, config.norm_eps),
            norm_out: OutputNorm::new(config, &mut params.at("norm_out")),
            projection: Linear::new(params, "proj_out", width, patch_values * config.out_channels),
        }
    }

    /// The velocity of the latents, `[batch, frames, channels, height, width]`; `None` if `on_block`, which is told how
    /// many blocks are done, breaks off.
    pub fn forward(
        &self,
        input: DitInput<'_>,
        conditioner: &dyn LayerConditioner,
        on_block: &mut dyn FnMut(usize) -> ControlFlow<()>,
    ) -> Option<Tensor<5>> {
        self.forward_without(&[], input, conditioner, on_block)
    }

    /// As [`Self::forward`], but some blocks, numbered from 0, leave the tokens as they are: a worse model of the same kind.
    pub fn forward_without(
        &self,
        skipped: &[usize],
        input: DitInput<'_>,
        conditioner: &dyn LayerConditioner,
        on_block: &mut dyn FnMut(usize) -> ControlFlow<()>,
    ) -> Option<Tensor<5>> {
        let grid = self.patch_embed.patch().grid(input.latents.dims());
        let (mut streams, context) = self.embed(input, conditioner);
        for (layer, block) in self.blocks.iter().enumerate() {
            if !skipped.contains(&layer) {
                streams = block.forward(layer, streams, &context, conditioner);
            }
            if on_block(layer + 1).is_break() {
                return None;
            }
        }
        Some(self.project(streams.video, &context, grid))
    }

    /// The blocks, for callers that run them one by one.
    pub fn blocks(&self) -> &[Block] {
        &self.blocks
    }

    /// Time embeddings `[timesteps, time width]`, before their SiLU, as the blocks and a conditioner are given them.
    pub fn time_embedding(&self, timesteps: &[f64], device: &Device) -> Tensor<2> {
        self.time_embedding.forward(timesteps, &Tensor::zeros([1, 1, 1], device))
    }

    /// Everything before the first block.
    pub fn embed(&self, input: DitInput<'_>, conditioner: &dyn LayerConditioner) -> (Streams, BlockContext) {
        let text = self.patch_embed.text(input.text);
        let mut video = self.patch_embed.video(input.latents);
        let extra = conditioner.extra_tokens();
        let rotary = match input.positions {
            Positions::Absolute(table) => {
                video = video + table.clone().unsqueeze();
                None
            }
            Positions::Rotary(rotary) => {
                Some(rotary.clone().padded(text.dims()[1], extra.as_ref().map_or(0, |extra| extra.dims()[1])))
            }
        };
        let time_embedding = self.time_embedding.forward(input.timesteps, &video);
        (Streams { text, video, extra }, BlockContext { time_embedding, rotary })
    }

    /// Everything after the last block; `grid` is the number of patches in time, height and width.
    pub fn project(&self, video: Tensor<3>, context: &BlockContext, grid: [usize; 3]) -> Tensor<5> {
        let normed = self.norm_out.forward(self.norm_final.forward(video), &context.time_embedding);
        self.patch_embed.patch().latents_from_patches(self.projection.forward(normed), grid)
    }
}

/// The last norm, modulated by time.
#[derive(Module, Debug)]
struct OutputNorm {
    linear: Linear,
    norm: LayerNorm,
}

impl OutputNorm {
    fn new(config: &DitConfig, params: &mut Params<'_, '_>) -> Self {
        Self {
            linear: Linear::new(params, "linear", config.time_embed_dim, 2 * config.width()),
            norm: LayerNorm::new(params, "norm", config.width(), config.norm_eps),
        }
    }

    fn forward(&self, x: Tensor<3>, time_embedding: &Tensor<2>) -> Tensor<3> {
        let factors = self.linear.forward(silu(time_embedding.clone())).chunk(2, 1);
        self.norm.modulate(x, factors[0].clone(), factors[1].clone())
    }
}

impl RotaryEmbedding {
    /// Adds tokens without a position (angle zero) before and after.
    fn padded(self, before: usize, after: usize) -> Self {
        let [_, head_dim] = self.cos.dims();
        let options = (self.cos.device(), self.cos.dtype());
        let ones = |count| Tensor::ones([count, head_dim], (&options.0, options.1));
        let zeros = |count| Tensor::zeros([count, head_dim], (&options.0, options.1));
        Self {
            cos: Tensor::cat(vec![ones(before), self.cos, ones(after)], 0),
            sin: Tensor::cat(vec![zeros(before), self.sin, zeros(after)], 0),
        }
    }
}
