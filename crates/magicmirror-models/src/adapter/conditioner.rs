use burn::tensor::Tensor;

use super::Adapter;
use super::can::CanResiduals;
use crate::dit::{BlockFactors, Factors, LayerConditioner};

/// What the references make of one generation; the same in every step.
///
/// Parts whose module is off are `None`.
#[derive(Debug, Clone)]
pub struct Conditions {
    /// Identity tokens `[references of all persons, tokens, dim]`, for [`Adapter::fuse`].
    pub x_id: Option<Tensor<3>>,
    /// Face tokens `[batch, tokens, width]`, those of all references in the order given.
    pub x_face: Option<Tensor<3>>,
    /// Condition of the adaptive normalization, `[batch, c1]`.
    pub can_condition: Option<Tensor<2>>,
}

/// Lets the identity of some references take part in the transformer's blocks.
#[derive(Debug)]
pub struct IdentityConditioner<'a> {
    adapter: &'a Adapter,
    x_face: Option<Tensor<3>>,
    can_condition: Option<Tensor<2>>,
    face_scale: f64,
}

impl<'a> IdentityConditioner<'a> {
    /// `face_scale` scales the decoupled cross-attention: 1 as trained, 0 none.
    ///
    /// The face tokens' batch must be that of the latents; the condition's may also be 1.
    pub fn new(adapter: &'a Adapter, conditions: &Conditions, face_scale: f64) -> Self {
        Self { adapter, x_face: conditions.x_face.clone(), can_condition: conditions.can_condition.clone(), face_scale }
    }
}

impl LayerConditioner for IdentityConditioner<'_> {
    fn extra_tokens(&self) -> Option<Tensor<3>> {
        self.x_face.clone()
    }

    fn modulate(&self, layer: usize, time_embedding: &Tensor<2>, frozen: BlockFactors) -> BlockFactors {
        let Some(layer) = self.adapter.layer(layer) else { return frozen };
        let extra = self.x_face.is_some().then(|| match &layer.face_modulation {
            Some(modulation) => modulation.forward(time_embedding),
            None => frozen.text.clone(),
        });
        let (text, video) = match (&layer.can, &self.can_condition) {
            (Some(can), Some(condition)) => {
                let CanResiduals { video, text } = can.forward(condition, time_embedding, &frozen.video.shift1);
                (sum(frozen.text, text), sum(frozen.video, video))
            }
            _ => (frozen.text, frozen.video),
        };
        BlockFactors { text, video, extra }
    }

    fn attend(&self, layer: usize, query: &Tensor<4>, extra: &Tensor<3>) -> Option<Tensor<4>> {
        let attention = self.adapter.layer(layer)?.cross_attention.as_ref()?;
        Some(attention.forward(query, extra) * self.face_scale)
    }
}

fn sum(a: Factors, b: Factors) -> Factors {
    Factors {
        shift1: a.shift1 + b.shift1,
        scale1: a.scale1 + b.scale1,
        gate1: a.gate1 + b.gate1,
        shift2: a.shift2 + b.shift2,
        scale2: a.scale2 + b.scale2,
        gate2: a.gate2 + b.gate2,
    }
}
