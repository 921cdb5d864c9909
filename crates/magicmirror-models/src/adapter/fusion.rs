//! Fusion of the identity tokens into the class word's text embeddings.
//!
//! Source: Magic Mirror, equation 5; the structure is that of PhotoMaker's `FuseModule` without its last norm.

use burn::module::Module;
use burn::tensor::{Int, Tensor};

use super::config::AdapterConfig;
use crate::nn::{LayerNorm, Linear, gelu_erf};
use crate::weights::{Init, Params};

/// Replaces the marked text tokens by their fusion with identity tokens.
#[derive(Module, Debug)]
pub struct Fusion {
    id_proj: Linear,
    mlp1: FusionMlp,
    mlp2: FusionMlp,
}

impl Fusion {
    /// Declares `id_proj`, `mlp1` and `mlp2`.
    pub fn new(config: &AdapterConfig, params: &mut Params<'_, '_>) -> Self {
        let width = config.text_embed_dim;
        Self {
            id_proj: Linear::new(params, "id_proj", config.id_perceiver.dim, width),
            mlp1: FusionMlp::new(2 * width, width, &mut params.at("mlp1")),
            mlp2: FusionMlp::new(width, width, &mut params.at("mlp2")),
        }
    }

    /// The text embeddings with marked token `j` replaced by `mlp2(h) + h`, `h = mlp1(concat(x[j], P·x_id[j])) + x[j]`;
    /// all others are passed on bit for bit.
    ///
    /// # Shapes
    /// - text, output: `[batch, tokens, text width]`
    /// - mask: one flag for each text token, prompt after prompt
    /// - x_id: `[references, identity tokens, dim]`; its rows go to the marked tokens in reading order
    ///
    /// # Panics
    /// When the mask does not mark as many tokens as `x_id` has rows, equally many in each prompt.
    pub fn forward(&self, text: Tensor<3>, mask: &[bool], x_id: Tensor<3>) -> Tensor<3> {
        let shape = text.dims();
        let [batch, length, width] = shape;
        let tokens = batch * length;
        let text = text.reshape([1, tokens, width]);
        let [references, id_tokens, dim] = x_id.dims();
        let marked: Vec<usize> = (0..mask.len()).filter(|i| mask[*i]).collect();
        assert_eq!(tokens, mask.len(), "text tokens and flags of the mask differ in number");
        assert_eq!(marked.len(), references * id_tokens, "marked text tokens and identity tokens differ in number");
        let in_prompt = |prompt: &[bool]| prompt.iter().filter(|marked| **marked).count();
        assert!(
            mask.chunks(length).all(|prompt| in_prompt(prompt) * batch == marked.len()),
            "prompts differ in their number of marked tokens"
        );

        let device = text.device();
        let indices = |values: Vec<i32>| Tensor::<1, Int>::from_data(values.as_slice(), &device);
        let class = text.clone().select(1, indices(marked.iter().map(|i| *i as i32).collect()));
        let identity = self.id_proj.forward(x_id.reshape([1, references * id_tokens, dim]));
        let h = self.mlp1.forward(Tensor::cat(vec![class.clone(), identity], 2)) + class;
        let fused = self.mlp2.forward(h.clone()) + h;

        // Fused rows are appended and every position picks its row, so that the others are not computed with.
        let mut picked: Vec<i32> = (0..tokens as i32).collect();
        for (row, position) in marked.into_iter().enumerate() {
            picked[position] = (tokens + row) as i32;
        }
        Tensor::cat(vec![text, fused], 1).select(1, indices(picked)).reshape(shape)
    }
}

/// `W₂ · gelu(W₁ · LN(x))`.
#[derive(Module, Debug)]
struct FusionMlp {
    layernorm: LayerNorm,
    fc1: Linear,
    fc2: Linear,
}

impl FusionMlp {
    fn new(inputs: usize, width: usize, params: &mut Params<'_, '_>) -> Self {
        Self {
            layernorm: LayerNorm::new(params, "layernorm", inputs, 1e-5),
            fc1: Linear::new(params, "fc1", inputs, width),
            fc2: Linear::with_init(params, "fc2", width, width, Init::Zeros),
        }
    }

    fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        self.fc2.forward(gelu_erf(self.fc1.forward(self.layernorm.forward(x))))
    }
}
