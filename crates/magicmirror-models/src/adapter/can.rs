//! The adapter's modulation: of text and video by the identity, and of the face stream by time.
//!
//! Source: Magic Mirror, section 3.3 and figure 4.

use burn::module::Module;
use burn::tensor::Tensor;

use super::config::AdapterConfig;
use crate::dit::Factors;
use crate::nn::{Linear, silu};
use crate::weights::{Init, Params};

/// Conditioned Adaptive Normalization ("CAN" in the paper) of one block: what the identity adds to the block's
/// factors (m̂).
#[derive(Module, Debug)]
pub struct Can {
    fc1: Linear,
    fc2: Linear,
}

/// What [`Can`] adds to the factors of one block.
#[derive(Debug, Clone)]
pub struct CanResiduals {
    /// To those of the video.
    pub video: Factors,
    /// To those of the text.
    pub text: Factors,
}

impl Can {
    /// Declares `fc1` and `fc2`.
    pub fn new(config: &AdapterConfig, params: &mut Params<'_, '_>) -> Self {
        let (width, hidden) = (config.width(), config.can.hidden_dim);
        Self {
            fc1: Linear::new(params, "fc1", config.can.id_proj_dim + config.time_embed_dim + width, hidden),
            fc2: Linear::with_init(params, "fc2", hidden, 12 * width, Init::Zeros),
        }
    }

    /// # Shapes
    /// - condition: `[1 or batch, c1]`
    /// - time_embedding: `[batch, time width]`, before its SiLU
    /// - video_shift: `[batch, width]`, the frozen µ₁ of the video
    pub fn forward(&self, condition: &Tensor<2>, time_embedding: &Tensor<2>, video_shift: &Tensor<2>) -> CanResiduals {
        let [_, c1] = condition.dims();
        let [batch, _] = time_embedding.dims();
        let condition = condition.clone().expand([batch, c1]);
        let x = silu(Tensor::cat(vec![condition, time_embedding.clone(), video_shift.clone()], 1));
        let x = self.fc2.forward(silu(self.fc1.forward(x)));
        let half = x.dims()[1] / 2;
        CanResiduals { video: factors(x.clone().narrow(1, 0, half)), text: factors(x.narrow(1, half, half)) }
    }
}

/// Modulation of the face stream in one block (φ_face): m_face.
#[derive(Module, Debug)]
pub struct FaceModulation {
    fc1: Linear,
    fc2: Linear,
}

impl FaceModulation {
    /// Declares `fc1` and `fc2`.
    pub fn new(config: &AdapterConfig, params: &mut Params<'_, '_>) -> Self {
        let hidden = config.face_modulation.hidden_dim;
        Self {
            fc1: Linear::new(params, "fc1", config.time_embed_dim, hidden),
            fc2: Linear::with_init(params, "fc2", hidden, 6 * config.width(), Init::Zeros),
        }
    }

    /// # Shapes
    /// - time_embedding: `[batch, time width]`, before its SiLU
    pub fn forward(&self, time_embedding: &Tensor<2>) -> Factors {
        factors(self.fc2.forward(silu(self.fc1.forward(silu(time_embedding.clone())))))
    }
}

/// `[batch, 6 · width]`, in the order µ₁ σ₁ γ₁ µ₂ σ₂ γ₂.
fn factors(x: Tensor<2>) -> Factors {
    let width = x.dims()[1] / 6;
    let factor = |i: usize| x.clone().narrow(1, i * width, width);
    Factors {
        shift1: factor(0),
        scale1: factor(1),
        gate1: factor(2),
        shift2: factor(3),
        scale2: factor(4),
        gate2: factor(5),
    }
}
