//! CLIP's vision transformer (arXiv 2103.00020), from a `CLIPVisionModel` or `CLIPModel` folder or from PhotoMaker-V2.
//!
//! Source: transformers 4.57, `models/clip/modeling_clip.py`. The final norm is left out: it acts on the pooled class
//! token only, which is not used here.

use std::path::Path;

use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor};
use serde::{Deserialize, Serialize};

use crate::nn::{Conv2d, LayerNorm, Linear, attention, gelu_erf, heads_from_tokens, quick_gelu, tokens_from_heads};
use crate::weights::{Checkpoint, Init, Names, ParamNames, Params, Precision, WeightsError};

/// Activation between the two layers of the feed-forward part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Activation {
    /// `x · σ(1.702 x)`.
    #[default]
    QuickGelu,
    /// The exact GELU.
    Gelu,
}

/// Sizes of a [`VisionTransformer`]; what a file does not say is as in `CLIPVisionConfig`.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(default)]
pub struct VisionConfig {
    /// Width of the tokens.
    pub hidden_size: usize,
    /// Width inside the feed-forward part.
    pub intermediate_size: usize,
    /// Layers.
    pub num_hidden_layers: usize,
    /// Heads of the attention.
    pub num_attention_heads: usize,
    /// Channels of the image.
    pub num_channels: usize,
    /// Side of the image, in pixels.
    pub image_size: usize,
    /// Side of a patch, in pixels.
    pub patch_size: usize,
    /// Activation of the feed-forward part.
    pub hidden_act: Activation,
    /// Added to the variance in norms.
    pub layer_norm_eps: f64,
}

impl Default for VisionConfig {
    fn default() -> Self {
        Self {
            hidden_size: 768,
            intermediate_size: 3072,
            num_hidden_layers: 12,
            num_attention_heads: 12,
            num_channels: 3,
            image_size: 224,
            patch_size: 32,
            hidden_act: Activation::QuickGelu,
            layer_norm_eps: 1e-5,
        }
    }
}

impl VisionConfig {
    /// CLIP ViT-L/14 at 224 pixels: 257 tokens of width 1024. PhotoMaker-V2 has it.
    pub fn clip_vit_l14() -> Self {
        Self {
            hidden_size: 1024,
            intermediate_size: 4096,
            num_hidden_layers: 24,
            num_attention_heads: 16,
            patch_size: 14,
            ..Self::default()
        }
    }

    /// Reads the `config.json` of a vision model, or of a whole CLIP model.
    ///
    /// # Errors
    /// When it cannot be read, or its sizes do not fit each other.
    pub fn read(path: &Path) -> Result<Self, WeightsError> {
        let invalid = |reason: String| WeightsError::invalid(path, reason);
        let text = std::fs::read_to_string(path).map_err(WeightsError::io(path))?;
        let mut json: serde_json::Value = serde_json::from_str(&text).map_err(|error| invalid(error.to_string()))?;
        if let Some(vision) = json.get_mut("vision_config") {
            json = vision.take();
        }
        if !json.is_object() {
            return Err(invalid("no object with the sizes of a vision model".to_owned()));
        }
        let config: Self = serde_json::from_value(json).map_err(|error| invalid(error.to_string()))?;
        config.validate().map_err(invalid)?;
        Ok(config)
    }

    fn validate(&self) -> Result<(), String> {
        const MAX: usize = 1 << 20;
        let sizes = [
            ("hidden_size", self.hidden_size),
            ("intermediate_size", self.intermediate_size),
            ("num_hidden_layers", self.num_hidden_layers),
            ("num_attention_heads", self.num_attention_heads),
            ("num_channels", self.num_channels),
            ("image_size", self.image_size),
            ("patch_size", self.patch_size),
        ];
        if let Some((name, size)) = sizes.iter().find(|(_, size)| !(1..=MAX).contains(size)) {
            return Err(format!("{name} = {size}"));
        }
        if self.num_hidden_layers > 1000 {
            return Err(format!("num_hidden_layers = {}", self.num_hidden_layers));
        }
        if self.num_channels != 3 {
            return Err(format!("num_channels = {}, not the 3 of RGB", self.num_channels));
        }
        if !self.hidden_size.is_multiple_of(self.num_attention_heads) {
            return Err(format!(
                "hidden_size {} cannot be divided into {} heads",
                self.hidden_size, self.num_attention_heads
            ));
        }
        if self.patch_size > self.image_size {
            return Err(format!("patch_size {} exceeds image_size {}", self.patch_size, self.image_size));
        }
        Ok(())
    }

    fn layer_sizes(&self) -> LayerSizes {
        LayerSizes {
            width: self.hidden_size,
            inner: self.intermediate_size,
            heads: self.num_attention_heads,
            activation: self.hidden_act,
            epsilon: self.layer_norm_eps,
        }
    }

    /// Tokens that the network gives: one for each patch and the class token before them.
    pub fn tokens(&self) -> usize {
        let patches = self.image_size / self.patch_size;
        patches * patches + 1
    }
}

/// What the tower says of an image, class token first.
#[derive(Debug, Clone)]
pub struct VisionFeatures {
    /// After the last layer, without the final norm, `[batch, tokens, hidden]`.
    pub last: Tensor<3>,
    /// Before the last layer, `[batch, tokens, hidden]`.
    pub penultimate: Tensor<3>,
}

/// The network.
#[derive(Module, Debug)]
pub struct VisionTransformer {
    class_embedding: Param<Tensor<1>>,
    patch_embedding: Conv2d,
    position_embedding: Param<Tensor<2>>,
    pre_norm: LayerNorm,
    layers: Vec<Layer>,
    #[module(skip)]
    image_size: usize,
}

impl VisionTransformer {
    /// Declares `vision_model.…`; not its `post_layernorm`, which is not used.
    pub fn new(config: &VisionConfig, params: &mut Params<'_, '_>) -> Self {
        let width = config.hidden_size;
        let mut params = params.at("vision_model");
        let mut embeddings = params.at("embeddings");
        let mut patches =
            Conv2d::without_bias(&mut embeddings, "patch_embedding", config.num_channels, width, config.patch_size);
        patches = patches.with_stride(config.patch_size);
        let positions =
            embeddings.at("position_embedding").tensor("weight", [config.tokens(), width], Init::fan_in(width));
        Self {
            class_embedding: embeddings.tensor("class_embedding", [width], Init::fan_in(width)),
            patch_embedding: patches,
            position_embedding: positions,
            pre_norm: LayerNorm::new(&mut params, "pre_layrnorm", width, config.layer_norm_eps),
            layers: (0..config.num_hidden_layers)
                .map(|index| Layer::new(config.layer_sizes(), &mut params.at(format!("encoder.layers.{index}"))))
                .collect(),
            image_size: config.image_size,
        }
    }

    /// Reads a folder with `config.json` and `model.safetensors` (or shards, or `pytorch_model.bin`).
    ///
    /// # Errors
    /// When a file is missing, cannot be read, or does not fit the configuration.
    pub fn load_folder(
        folder: &Path,
        precision: Precision,
        device: &Device,
    ) -> Result<(VisionConfig, Self, ParamNames), WeightsError> {
        let config = VisionConfig::read(&folder.join("config.json"))?;
        let checkpoint = Checkpoint::open_model_folder(folder)?;
        let ignored = ["text_model.", "text_projection.", "visual_projection.", "logit_scale"];
        let (tower, names) = Self::load(&checkpoint, &config, "", &ignored, precision, device)?;
        Ok((config, tower, names))
    }

    /// Reads the tower of a PhotoMaker-V2 file, `.bin` or `.safetensors`; released files have
    /// [`VisionConfig::clip_vit_l14`].
    ///
    /// # Errors
    /// When it cannot be read, or holds another network.
    pub fn load_photomaker(
        path: &Path,
        config: &VisionConfig,
        precision: Precision,
        device: &Device,
    ) -> Result<(Self, ParamNames), WeightsError> {
        let checkpoint = open_photomaker(path)?;
        let ignored = [
            "lora_weights.",
            "id_encoder.visual_projection.",
            "id_encoder.visual_projection_2.",
            "id_encoder.fuse_module.",
            "id_encoder.qformer_perceiver.",
        ];
        Self::load(&checkpoint, config, "id_encoder.", &ignored, precision, device)
    }

    fn load(
        checkpoint: &Checkpoint,
        config: &VisionConfig,
        prefix: &str,
        ignored: &[&str],
        precision: Precision,
        device: &Device,
    ) -> Result<(Self, ParamNames), WeightsError> {
        let mut ignored = ignored.to_vec();
        ignored.extend([
            "vision_model.embeddings.position_ids",
            "vision_model.post_layernorm.weight",
            "vision_model.post_layernorm.bias",
        ]);
        let names = Names { prefix, ignored: &ignored };
        checkpoint.load(names, precision, device, |params| Self::new(config, params))
    }

    /// # Shapes
    /// - pixels: `[batch, channels, image_size, image_size]`, normalised
    ///
    /// # Panics
    /// When the image has another size.
    pub fn forward(&self, pixels: Tensor<4>) -> VisionFeatures {
        let [batch, _, height, width] = pixels.dims();
        assert_eq!([height, width], [self.image_size; 2], "size of the image");
        // [batch, hidden, rows, columns]
        let patches = self.patch_embedding.forward(pixels);
        let patches = patches.flatten::<3>(2, 3).swap_dims(1, 2);
        let hidden = patches.dims()[2];
        let class = self.class_embedding.val().cast(patches.dtype()).reshape([1, 1, hidden]).expand([batch, 1, hidden]);
        let positions = self.position_embedding.val().cast(patches.dtype()).unsqueeze();
        let mut x = self.pre_norm.forward(Tensor::cat(vec![class, patches], 1) + positions);
        let mut penultimate = x.clone();
        for layer in &self.layers {
            penultimate = x;
            x = layer.forward(penultimate.clone(), None);
        }
        VisionFeatures { last: x, penultimate }
    }
}

/// Opens a PhotoMaker-V2 file in either of its formats; names begin with `id_encoder.` or `lora_weights.`.
///
/// # Errors
/// When it cannot be read.
pub fn open_photomaker(path: &Path) -> Result<Checkpoint, WeightsError> {
    Checkpoint::open_any(path)
}

/// Sizes of a [`Layer`].
#[derive(Debug, Clone, Copy)]
pub(super) struct LayerSizes {
    pub(super) width: usize,
    pub(super) inner: usize,
    pub(super) heads: usize,
    pub(super) activation: Activation,
    pub(super) epsilon: f64,
}

/// A layer of either tower of CLIP.
#[derive(Module, Debug)]
pub(super) struct Layer {
    norm1: LayerNorm,
    query: Linear,
    key: Linear,
    value: Linear,
    out: Linear,
    norm2: LayerNorm,
    fc1: Linear,
    fc2: Linear,
    #[module(skip)]
    heads: usize,
    #[module(skip)]
    activation: Activation,
}

impl Layer {
    pub(super) fn new(sizes: LayerSizes, params: &mut Params<'_, '_>) -> Self {
        let LayerSizes { width, inner, heads, activation, epsilon } = sizes;
        let mut projection = |name: &str| Linear::new(&mut params.at("self_attn"), name, width, width);
        Self {
            query: projection("q_proj"),
            key: projection("k_proj"),
            value: projection("v_proj"),
            out: projection("out_proj"),
            norm1: LayerNorm::new(params, "layer_norm1", width, epsilon),
            norm2: LayerNorm::new(params, "layer_norm2", width, epsilon),
            fc1: Linear::new(params, "mlp.fc1", width, inner),
            fc2: Linear::new(params, "mlp.fc2", inner, width),
            heads,
            activation,
        }
    }

    /// `bias` as in [`attention`]: where text may attend to.
    pub(super) fn forward(&self, x: Tensor<3>, bias: Option<Tensor<4>>) -> Tensor<3> {
        let normed = self.norm1.forward(x.clone());
        let heads = |linear: &Linear| heads_from_tokens(linear.forward(normed.clone()), self.heads);
        let (query, key, value) = (heads(&self.query), heads(&self.key), heads(&self.value));
        let scale = (query.dims()[3] as f64).powf(-0.5);
        let attended = tokens_from_heads(attention(query, key, value, bias, scale));
        let x = x + self.out.forward(attended);
        let hidden = self.fc1.forward(self.norm2.forward(x.clone()));
        let hidden = match self.activation {
            Activation::QuickGelu => quick_gelu(hidden),
            Activation::Gelu => gelu_erf(hidden),
        };
        x + self.fc2.forward(hidden)
    }
}
