//! CLIP (arXiv 2103.00020): images and texts in one space, from a `CLIPModel` folder such as
//! `openai/clip-vit-base-patch32`.
//!
//! Source: transformers 5.23, `models/clip/modeling_clip.py`.

use std::path::Path;

use burn::module::{Module, Param};
use burn::tensor::{Device, Int, Tensor, TensorData};
use serde::Deserialize;

use super::vit::{Activation, Layer, LayerSizes, VisionConfig, VisionTransformer};
use crate::nn::{LayerNorm, Linear, causal_bias};
use crate::weights::{Checkpoint, Init, Names, Params, Precision, WeightsError};

/// Sizes of the text tower; what a file does not say is as in `CLIPTextConfig`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default)]
pub struct ClipTextConfig {
    /// Tokens that there are.
    pub vocab_size: usize,
    /// Width of the tokens.
    pub hidden_size: usize,
    /// Width inside the feed-forward part.
    pub intermediate_size: usize,
    /// Layers.
    pub num_hidden_layers: usize,
    /// Heads of the attention.
    pub num_attention_heads: usize,
    /// Tokens of the longest text, its first and last included.
    pub max_position_embeddings: usize,
    /// Activation of the feed-forward part.
    pub hidden_act: Activation,
    /// Added to the variance in norms.
    pub layer_norm_eps: f64,
}

impl Default for ClipTextConfig {
    fn default() -> Self {
        Self {
            vocab_size: 49408,
            hidden_size: 512,
            intermediate_size: 2048,
            num_hidden_layers: 12,
            num_attention_heads: 8,
            max_position_embeddings: 77,
            hidden_act: Activation::QuickGelu,
            layer_norm_eps: 1e-5,
        }
    }
}

/// Sizes of a [`Clip`].
#[derive(Debug, Clone, PartialEq)]
pub struct ClipConfig {
    /// Of the image tower.
    pub vision: VisionConfig,
    /// Of the text tower.
    pub text: ClipTextConfig,
    /// Width of the common space.
    pub projection: usize,
}

impl ClipConfig {
    /// Reads a `config.json`.
    ///
    /// # Errors
    /// When it cannot be read, or its sizes make no sense.
    pub fn read(path: &Path) -> Result<Self, WeightsError> {
        #[derive(Deserialize)]
        struct File {
            #[serde(default)]
            text_config: ClipTextConfig,
            #[serde(default = "default_projection")]
            projection_dim: usize,
        }
        fn default_projection() -> usize {
            512
        }
        let invalid = |reason: String| WeightsError::invalid(path, reason);
        let vision = VisionConfig::read(path)?;
        let file = std::fs::read_to_string(path).map_err(WeightsError::io(path))?;
        let File { text_config: text, projection_dim: projection } =
            serde_json::from_str(&file).map_err(|error| invalid(error.to_string()))?;
        let sizes = [
            text.vocab_size,
            text.hidden_size,
            text.intermediate_size,
            text.num_hidden_layers,
            text.num_attention_heads,
            text.max_position_embeddings,
            projection,
        ];
        let sensible = sizes.iter().all(|size| (1..1 << 20).contains(size))
            && text.num_hidden_layers <= 1000
            && text.hidden_size.is_multiple_of(text.num_attention_heads);
        if !sensible {
            return Err(invalid(format!("text_config and projection_dim {projection} make no sense: {text:?}")));
        }
        Ok(Self { vision, text, projection })
    }
}

/// The network.
#[derive(Module, Debug)]
pub struct Clip {
    vision: VisionTransformer,
    post_norm: LayerNorm,
    visual_projection: Linear,
    text: TextTransformer,
    text_projection: Linear,
}

impl Clip {
    /// Declares `vision_model`, `text_model` and the two projections.
    pub fn new(config: &ClipConfig, params: &mut Params<'_, '_>) -> Self {
        let ClipConfig { vision, text, projection } = config;
        Self {
            post_norm: LayerNorm::new(params, "vision_model.post_layernorm", vision.hidden_size, vision.layer_norm_eps),
            visual_projection: Linear::without_bias(params, "visual_projection", vision.hidden_size, *projection),
            text_projection: Linear::without_bias(params, "text_projection", text.hidden_size, *projection),
            vision: VisionTransformer::new(vision, params),
            text: TextTransformer::new(text, &mut params.at("text_model")),
        }
    }

    /// Reads a folder with `config.json` and `model.safetensors` (or shards, or `pytorch_model.bin`); returns the factor of
    /// the cosine in `logits_per_image` too.
    ///
    /// # Errors
    /// When a file is missing, cannot be read, or does not fit the configuration.
    pub fn load_folder(folder: &Path, device: &Device) -> Result<(ClipConfig, Self, f64), WeightsError> {
        let config = ClipConfig::read(&folder.join("config.json"))?;
        let checkpoint = Checkpoint::open_model_folder(folder)?;
        let scale = checkpoint.read("logit_scale", Precision::F32)?;
        let scale = f64::from(scale.iter::<f32>().next().unwrap_or_default()).exp();
        let names = Names { prefix: "", ignored: &["position_ids", "logit_scale"] };
        let (clip, _) = checkpoint.load(names, Precision::F32, device, |params| Self::new(&config, params))?;
        Ok((config, clip, scale))
    }

    /// # Shapes
    /// - pixels: `[batch, 3, image_size, image_size]`, normalised
    /// - output: `[batch, projection]`, not normalised
    pub fn embed_images(&self, pixels: Tensor<4>) -> Tensor<2> {
        let class = self.vision.forward(pixels).last.narrow(1, 0, 1).squeeze_dim::<2>(1);
        self.visual_projection.forward(self.post_norm.forward(class))
    }

    /// The embedding `[1, projection]`, not normalised, of one text's tokens, first and last included.
    ///
    /// # Panics
    /// When there are no tokens, or more than the tower takes.
    pub fn embed_text(&self, ids: &[u32]) -> Tensor<2> {
        self.text_projection.forward(self.text.forward(ids))
    }
}

#[derive(Module, Debug)]
struct TextTransformer {
    token_embedding: Param<Tensor<2>>,
    position_embedding: Param<Tensor<2>>,
    layers: Vec<Layer>,
    final_norm: LayerNorm,
}

impl TextTransformer {
    fn new(config: &ClipTextConfig, params: &mut Params<'_, '_>) -> Self {
        let width = config.hidden_size;
        let sizes = LayerSizes {
            width,
            inner: config.intermediate_size,
            heads: config.num_attention_heads,
            activation: config.hidden_act,
            epsilon: config.layer_norm_eps,
        };
        let init = Init::fan_in(width);
        let mut embedding = |name: &str, rows| params.at("embeddings").at(name).tensor("weight", [rows, width], init);
        Self {
            token_embedding: embedding("token_embedding", config.vocab_size),
            position_embedding: embedding("position_embedding", config.max_position_embeddings),
            layers: (0..config.num_hidden_layers)
                .map(|index| Layer::new(sizes, &mut params.at(format!("encoder.layers.{index}"))))
                .collect(),
            final_norm: LayerNorm::new(params, "final_layer_norm", width, config.layer_norm_eps),
        }
    }

    /// The last token, which stands for the end, has seen all others: padding after it would change nothing.
    fn forward(&self, ids: &[u32]) -> Tensor<2> {
        let count = ids.len();
        let most = self.position_embedding.dims()[0];
        assert!((1..=most).contains(&count), "{count} tokens of text, at most {most} fit");
        let device = self.token_embedding.device();
        let ids: Vec<i64> = ids.iter().map(|&id| i64::from(id)).collect();
        let ids = Tensor::<1, Int>::from_data(TensorData::new(ids, [count]), &device);
        let x = self.token_embedding.val().select(0, ids) + self.position_embedding.val().narrow(0, 0, count);
        let bias = causal_bias(count, &device);
        let x = self.layers.iter().fold(x.unsqueeze::<3>(), |x, layer| layer.forward(x, Some(bias.clone())));
        self.final_norm.forward(x.narrow(1, count - 1, 1)).squeeze_dim::<2>(1)
    }
}
