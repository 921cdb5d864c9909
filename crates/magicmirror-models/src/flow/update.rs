//! RAFT's recurrent update: what is seen at the present flow, to a change of the flow.

use burn::module::Module;
use burn::tensor::{Tensor, activation::relu, activation::sigmoid};

use super::correlation::CHANNELS;
use super::raft::HIDDEN;
use crate::nn::Conv2d;
use crate::weights::Params;

/// Motion encoder, recurrent unit and the two heads.
#[derive(Module, Debug)]
pub(super) struct UpdateBlock {
    encoder: MotionEncoder,
    unit: RecurrentUnit,
    flow1: Conv2d,
    flow2: Conv2d,
    mask1: Conv2d,
    mask2: Conv2d,
}

impl UpdateBlock {
    pub(super) fn new(params: &mut Params<'_, '_>) -> Self {
        Self {
            encoder: MotionEncoder::new(&mut params.at("encoder")),
            unit: RecurrentUnit::new(&mut params.at("gru")),
            flow1: Conv2d::new(params, "flow_head.conv1", HIDDEN, 256, 3).with_padding(1),
            flow2: Conv2d::new(params, "flow_head.conv2", 256, 2, 3).with_padding(1),
            mask1: Conv2d::new(params, "mask.0", HIDDEN, 256, 3).with_padding(1),
            mask2: Conv2d::new(params, "mask.2", 256, 64 * 9, 1),
        }
    }

    /// The next hidden state and the change of the flow; all of `[batch, channels, height, width]`.
    pub(super) fn forward(
        &self,
        hidden: Tensor<4>,
        context: Tensor<4>,
        correlation: Tensor<4>,
        flow: Tensor<4>,
    ) -> (Tensor<4>, Tensor<4>) {
        let motion = self.encoder.forward(flow, correlation);
        let hidden = self.unit.forward(hidden, &Tensor::cat(vec![context, motion], 1));
        let change = self.flow2.forward(relu(self.flow1.forward(hidden.clone())));
        (hidden, change)
    }

    /// Weights of the upsampling, before their softmax.
    pub(super) fn mask(&self, hidden: Tensor<4>) -> Tensor<4> {
        // The factor balanced gradients in training, and the weights know of it.
        self.mask2.forward(relu(self.mask1.forward(hidden))) * 0.25
    }
}

#[derive(Module, Debug)]
struct MotionEncoder {
    correlation1: Conv2d,
    correlation2: Conv2d,
    flow1: Conv2d,
    flow2: Conv2d,
    both: Conv2d,
}

impl MotionEncoder {
    fn new(params: &mut Params<'_, '_>) -> Self {
        Self {
            correlation1: Conv2d::new(params, "convc1", CHANNELS, 256, 1),
            correlation2: Conv2d::new(params, "convc2", 256, 192, 3).with_padding(1),
            flow1: Conv2d::new(params, "convf1", 2, 128, 7).with_padding(3),
            flow2: Conv2d::new(params, "convf2", 128, 64, 3).with_padding(1),
            // With the flow itself there are as many channels as in the hidden state.
            both: Conv2d::new(params, "conv", 192 + 64, HIDDEN - 2, 3).with_padding(1),
        }
    }

    fn forward(&self, flow: Tensor<4>, correlation: Tensor<4>) -> Tensor<4> {
        let correlation = relu(self.correlation2.forward(relu(self.correlation1.forward(correlation))));
        let encoded = relu(self.flow2.forward(relu(self.flow1.forward(flow.clone()))));
        let both = relu(self.both.forward(Tensor::cat(vec![correlation, encoded], 1)));
        Tensor::cat(vec![both, flow], 1)
    }
}

/// A convolutional gated recurrent unit: one step along rows, one along columns.
#[derive(Module, Debug)]
struct RecurrentUnit {
    steps: Vec<GatedStep>,
}

impl RecurrentUnit {
    fn new(params: &mut Params<'_, '_>) -> Self {
        Self { steps: vec![GatedStep::new(params, 1, [1, 5]), GatedStep::new(params, 2, [5, 1])] }
    }

    fn forward(&self, hidden: Tensor<4>, input: &Tensor<4>) -> Tensor<4> {
        self.steps.iter().fold(hidden, |hidden, step| step.forward(hidden, input.clone()))
    }
}

#[derive(Module, Debug)]
struct GatedStep {
    update: Conv2d,
    reset: Conv2d,
    candidate: Conv2d,
}

impl GatedStep {
    fn new(params: &mut Params<'_, '_>, number: usize, kernel: [usize; 2]) -> Self {
        let padding = kernel.map(|side| side / 2);
        let mut conv = |gate: char| {
            let name = format!("conv{gate}{number}");
            Conv2d::new(params, &name, 3 * HIDDEN, HIDDEN, kernel).with_padding(padding)
        };
        Self { update: conv('z'), reset: conv('r'), candidate: conv('q') }
    }

    fn forward(&self, hidden: Tensor<4>, input: Tensor<4>) -> Tensor<4> {
        let both = Tensor::cat(vec![hidden.clone(), input.clone()], 1);
        let update = sigmoid(self.update.forward(both.clone()));
        let reset = sigmoid(self.reset.forward(both));
        let candidate = self.candidate.forward(Tensor::cat(vec![reset * hidden.clone(), input], 1)).tanh();
        hidden * (-update.clone() + 1.0) + update * candidate
    }
}
