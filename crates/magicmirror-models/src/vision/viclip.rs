//! ViCLIP (arXiv 2307.06942): videos and texts in one space, from `ViClip-InternVid-10M-FLT.pth`.
//!
//! Source: VBench @fed9982, `third_party/ViCLIP/viclip.py`, `viclip_vision.py`; InternVideo, `viclip_text.py`. All tokens
//! of all frames attend to each other; the class token is that of the first frame.

use std::path::Path;

use burn::module::{Module, Param};
use burn::tensor::module::linear;
use burn::tensor::{Device, Int, Tensor, TensorData};

use crate::nn::{LayerNorm, Linear, attention, causal_bias, heads_from_tokens, quick_gelu, tokens_from_heads};
use crate::weights::{Checkpoint, Init, Names, Params, Precision, WeightsError};

const EPSILON: f64 = 1e-5;
/// Width of a head of both towers.
const HEAD_DIM: usize = 64;

/// Sizes of a [`ViClip`], found in its file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ViClipConfig {
    /// Width of the video tokens.
    pub vision_width: usize,
    /// Layers of the video tower.
    pub vision_layers: usize,
    /// Side of a patch, in pixels.
    pub patch_size: usize,
    /// Patches in a row of the image.
    pub patches: usize,
    /// Frames of a video.
    pub frames: usize,
    /// Width of the text tokens.
    pub text_width: usize,
    /// Layers of the text tower.
    pub text_layers: usize,
    /// Tokens of the longest text, its first and last included.
    pub text_tokens: usize,
    /// Tokens that there are.
    pub vocabulary: usize,
    /// Width of the common space.
    pub embedding: usize,
}

impl ViClipConfig {
    /// Side of the frames, in pixels.
    pub fn image_size(&self) -> usize {
        self.patches * self.patch_size
    }

    /// Reads the sizes off the shapes in a file; `None` where these are not those of a ViCLIP.
    fn of(checkpoint: &Checkpoint, prefix: &str) -> Option<Self> {
        let entries = checkpoint.entries();
        let shape = |name: &str| entries.get(&format!("{prefix}{name}")).map(|entry| entry.shape.as_slice());
        let layers = |tower: &str| {
            let layer = |i: &usize| shape(&format!("{tower}.transformer.resblocks.{i}.ln_1.weight")).is_some();
            (0..entries.len()).take_while(layer).count()
        };
        let &[vision_width, 3, 1, patch_size, _] = shape("vision_encoder.conv1.weight")? else { return None };
        let &[positions, _] = shape("vision_encoder.positional_embedding")? else { return None };
        let &[1, frames, _] = shape("vision_encoder.temporal_positional_embedding")? else { return None };
        let &[vocabulary, text_width] = shape("text_encoder.token_embedding.weight")? else { return None };
        let &[text_tokens, _] = shape("text_encoder.positional_embedding")? else { return None };
        let &[_, embedding] = shape("text_encoder.text_projection")? else { return None };
        let patches = positions.checked_sub(1)?.isqrt();
        let fits = [vision_width, text_width].iter().all(|width| *width > 0 && width.is_multiple_of(HEAD_DIM));
        (fits && patches * patches + 1 == positions && frames > 0 && text_tokens > 1).then(|| Self {
            vision_width,
            vision_layers: layers("vision_encoder"),
            patch_size,
            patches,
            frames,
            text_width,
            text_layers: layers("text_encoder"),
            text_tokens,
            vocabulary,
            embedding,
        })
    }
}

/// The network.
#[derive(Module, Debug)]
pub struct ViClip {
    video: VideoTower,
    text: TextTower,
    #[module(skip)]
    config: ViClipConfig,
}

impl ViClip {
    /// Declares `vision_encoder` and `text_encoder`, as the released file has them.
    pub fn new(config: &ViClipConfig, params: &mut Params<'_, '_>) -> Self {
        Self {
            video: VideoTower::new(config, &mut params.at("vision_encoder")),
            text: TextTower::new(config, &mut params.at("text_encoder")),
            config: *config,
        }
    }

    /// Reads the released `.pth` file, or a safetensors file with the same names, with or without the prefix `model.`.
    ///
    /// # Errors
    /// When it cannot be read, or holds another network.
    pub fn load(path: &Path, device: &Device) -> Result<Self, WeightsError> {
        let checkpoint = Checkpoint::open_any(path)?;
        let nested = checkpoint.entries().keys().any(|name| name.starts_with("model."));
        let prefix = if nested { "model." } else { "" };
        let Some(config) = ViClipConfig::of(&checkpoint, prefix) else {
            return Err(WeightsError::invalid(path, "its tensors are not those of a ViCLIP"));
        };
        let temperature = format!("{prefix}temp");
        let names = Names { prefix, ignored: &[&temperature] };
        Ok(checkpoint.load(names, Precision::F32, device, |params| Self::new(&config, params))?.0)
    }

    /// Sizes.
    pub fn config(&self) -> &ViClipConfig {
        &self.config
    }

    /// # Shapes
    /// - frames: `[frames, 3, side, side]`, normalised as for CLIP
    /// - output: `[1, embedding]`, not normalised
    ///
    /// # Panics
    /// When number or size of the frames are not the configuration's.
    pub fn embed_video(&self, frames: Tensor<4>) -> Tensor<2> {
        let side = self.config.image_size();
        assert_eq!(frames.dims(), [self.config.frames, 3, side, side], "frames of a video");
        self.video.forward(frames)
    }

    /// The embedding `[1, embedding]`, not normalised, of one text's tokens, first and last included.
    ///
    /// # Panics
    /// When there are no tokens, or more than the configuration's.
    pub fn embed_text(&self, ids: &[u32]) -> Tensor<2> {
        assert!((1..=self.config.text_tokens).contains(&ids.len()), "{} tokens of text", ids.len());
        self.text.forward(ids)
    }
}

#[derive(Module, Debug)]
struct VideoTower {
    patch_embedding: Param<Tensor<5>>,
    class_embedding: Param<Tensor<1>>,
    positions: Param<Tensor<2>>,
    times: Param<Tensor<3>>,
    norm_before: LayerNorm,
    blocks: Vec<ResidualAttentionBlock>,
    norm_after: LayerNorm,
    projection: Param<Tensor<2>>,
}

impl VideoTower {
    fn new(config: &ViClipConfig, params: &mut Params<'_, '_>) -> Self {
        let ViClipConfig { vision_width: width, patch_size, patches, frames, embedding, .. } = *config;
        let init = Init::fan_in(width);
        Self {
            patch_embedding: params.at("conv1").tensor("weight", [width, 3, 1, patch_size, patch_size], init),
            class_embedding: params.tensor("class_embedding", [width], init),
            positions: params.tensor("positional_embedding", [patches * patches + 1, width], init),
            times: params.tensor("temporal_positional_embedding", [1, frames, width], Init::Zeros),
            norm_before: LayerNorm::new(params, "ln_pre", width, EPSILON),
            blocks: ResidualAttentionBlock::stack(params, config.vision_layers, width),
            norm_after: LayerNorm::new(params, "ln_post", width, EPSILON),
            projection: params.tensor("proj", [width, embedding], init),
        }
    }

    fn forward(&self, frames: Tensor<4>) -> Tensor<2> {
        let [width, _, _, patch, _] = self.patch_embedding.dims();
        let [count, channels, height, across] = frames.dims();
        let (rows, columns) = (height / patch, across / patch);
        let patches = frames
            .reshape([count, channels, rows, patch, columns, patch])
            .permute([0, 2, 4, 1, 3, 5]) // [frames, rows, columns, channels, patch, patch]
            .reshape([count, rows * columns, channels * patch * patch]);
        let weight = self.patch_embedding.val().reshape([width, channels * patch * patch]);
        let patches = linear(patches, weight.transpose(), None);

        let positions = self.positions.val();
        let class = self.class_embedding.val().reshape([1, width]) + positions.clone().narrow(0, 0, 1);
        let places = positions.narrow(0, 1, rows * columns).unsqueeze::<3>();
        let tokens = patches + places + self.times.val().swap_dims(0, 1);
        // The order of the tokens is of no consequence: after this they are a set.
        let x = Tensor::cat(vec![class, tokens.reshape([count * rows * columns, width])], 0).unsqueeze::<3>();
        let x = self.blocks.iter().fold(self.norm_before.forward(x), |x, block| block.forward(x, None));
        let class = self.norm_after.forward(x.narrow(1, 0, 1)).squeeze_dim::<2>(1);
        class.matmul(self.projection.val())
    }
}

#[derive(Module, Debug)]
struct TextTower {
    embedding: Param<Tensor<2>>,
    positions: Param<Tensor<2>>,
    blocks: Vec<ResidualAttentionBlock>,
    norm: LayerNorm,
    projection: Param<Tensor<2>>,
}

impl TextTower {
    fn new(config: &ViClipConfig, params: &mut Params<'_, '_>) -> Self {
        let ViClipConfig { text_width: width, text_tokens, vocabulary, embedding, .. } = *config;
        let init = Init::fan_in(width);
        Self {
            embedding: params.at("token_embedding").tensor("weight", [vocabulary, width], init),
            positions: params.tensor("positional_embedding", [text_tokens, width], init),
            blocks: ResidualAttentionBlock::stack(params, config.text_layers, width),
            norm: LayerNorm::new(params, "ln_final", width, EPSILON),
            projection: params.tensor("text_projection", [width, embedding], init),
        }
    }

    /// The last token, which stands for the end, has seen all others: padding after it would change nothing.
    fn forward(&self, ids: &[u32]) -> Tensor<2> {
        let device = self.embedding.device();
        let ids: Vec<i64> = ids.iter().map(|&id| i64::from(id)).collect();
        let count = ids.len();
        let ids = Tensor::<1, Int>::from_data(TensorData::new(ids, [count]), &device);
        let x = self.embedding.val().select(0, ids) + self.positions.val().narrow(0, 0, count);
        let bias = causal_bias(count, &device);
        let x = self.blocks.iter().fold(x.unsqueeze::<3>(), |x, block| block.forward(x, Some(bias.clone())));
        let end = self.norm.forward(x.narrow(1, count - 1, 1)).squeeze_dim::<2>(1);
        end.matmul(self.projection.val())
    }
}

/// A layer of OpenAI's CLIP, under its names.
#[derive(Module, Debug)]
struct ResidualAttentionBlock {
    norm1: LayerNorm,
    in_weight: Param<Tensor<2>>,
    in_bias: Param<Tensor<1>>,
    out: Linear,
    norm2: LayerNorm,
    widen: Linear,
    narrow: Linear,
}

impl ResidualAttentionBlock {
    fn stack(params: &mut Params<'_, '_>, layers: usize, width: usize) -> Vec<Self> {
        (0..layers).map(|i| Self::new(&mut params.at(format!("transformer.resblocks.{i}")), width)).collect()
    }

    fn new(params: &mut Params<'_, '_>, width: usize) -> Self {
        let mut attention = params.at("attn");
        Self {
            in_weight: attention.tensor("in_proj_weight", [3 * width, width], Init::fan_in(width)),
            in_bias: attention.tensor("in_proj_bias", [3 * width], Init::Zeros),
            out: Linear::new(&mut attention, "out_proj", width, width),
            norm1: LayerNorm::new(params, "ln_1", width, EPSILON),
            norm2: LayerNorm::new(params, "ln_2", width, EPSILON),
            widen: Linear::new(params, "mlp.c_fc", width, 4 * width),
            narrow: Linear::new(params, "mlp.c_proj", 4 * width, width),
        }
    }

    fn forward(&self, x: Tensor<3>, bias: Option<Tensor<4>>) -> Tensor<3> {
        let normed = self.norm1.forward(x.clone());
        let joined = linear(normed, self.in_weight.val().transpose(), Some(self.in_bias.val()));
        let heads = joined.dims()[2] / 3 / HEAD_DIM;
        let parts: Vec<Tensor<4>> = joined.chunk(3, 2).into_iter().map(|x| heads_from_tokens(x, heads)).collect();
        let [query, key, value] = [0, 1, 2].map(|i| parts[i].clone());
        let attended = attention(query, key, value, bias, (HEAD_DIM as f64).powf(-0.5));
        let x = x + self.out.forward(tokens_from_heads(attended));
        x.clone() + self.narrow.forward(quick_gelu(self.widen.forward(self.norm2.forward(x))))
    }
}
