//! How Burn reaches the fused operations: one trait, implemented for the CPU back-end and, with gradients, for
//! autodiff on top of it.

use burn::backend::autodiff::NodeId;
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::ops::{AttentionModuleOptions, FloatTensorOps, ModuleOps};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend, ExtensionType, Flex, backend_extension};
use burn::tensor::Shape;
use burn_flex::FlexTensor;

use super::attention::{self, Inputs, Output};
use super::convolution::{self, ConvolutionOptions};
use super::elementwise::Activation;
use super::group_norm::{self, GroupNormOptions};
use super::rotary::{self, Turn};
use super::{layer_norm, linear};

/// An `Option`, which extensions cannot take.
#[derive(ExtensionType)]
pub(super) enum Optional<B: Backend> {
    Given(FloatTensor<B>),
    Absent,
}

impl<B: Backend> Optional<B> {
    pub(super) fn into_option(self) -> Option<FloatTensor<B>> {
        match self {
            Self::Given(tensor) => Some(tensor),
            Self::Absent => None,
        }
    }
}

#[backend_extension(Autodiff, Flex)]
pub(super) trait FusedOps: Backend {
    fn fused_activation(x: FloatTensor<Self>, activation: Activation) -> FloatTensor<Self>;

    fn fused_group_norm(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        options: GroupNormOptions,
    ) -> FloatTensor<Self>;

    fn fused_linear(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        #[extension_type] bias: Optional<Self>,
    ) -> FloatTensor<Self>;

    fn fused_convolution(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        #[extension_type] bias: Optional<Self>,
        options: ConvolutionOptions,
    ) -> FloatTensor<Self>;

    fn fused_layer_norm(
        x: FloatTensor<Self>,
        scale: FloatTensor<Self>,
        shift: FloatTensor<Self>,
        epsilon: f64,
    ) -> FloatTensor<Self>;

    /// Cosines and sines get no gradient.
    fn fused_rotate(x: FloatTensor<Self>, cos: FloatTensor<Self>, sin: FloatTensor<Self>) -> FloatTensor<Self>;

    fn blocked_attention(
        query: FloatTensor<Self>,
        key: FloatTensor<Self>,
        value: FloatTensor<Self>,
        #[extension_type] bias: Optional<Self>,
        scale: f64,
    ) -> FloatTensor<Self>;
}

impl FusedOps for Flex {
    fn fused_activation(x: FlexTensor, activation: Activation) -> FlexTensor {
        activation.forward(x)
    }

    fn fused_group_norm(x: FlexTensor, weight: FlexTensor, bias: FlexTensor, options: GroupNormOptions) -> FlexTensor {
        group_norm::forward(x, weight, bias, options)
    }

    fn fused_linear(x: FlexTensor, weight: FlexTensor, bias: Optional<Self>) -> FlexTensor {
        linear::forward(x, weight, bias.into_option())
    }

    fn fused_convolution(
        x: FlexTensor,
        weight: FlexTensor,
        bias: Optional<Self>,
        options: ConvolutionOptions,
    ) -> FlexTensor {
        convolution::forward(x, weight, bias.into_option(), options)
    }

    fn fused_layer_norm(x: FlexTensor, scale: FlexTensor, shift: FlexTensor, epsilon: f64) -> FlexTensor {
        layer_norm::forward(x, scale, shift, epsilon)
    }

    fn fused_rotate(x: FlexTensor, cos: FlexTensor, sin: FlexTensor) -> FlexTensor {
        rotary::rotate(x, cos, sin, Turn::Forward)
    }

    fn blocked_attention(
        query: FlexTensor,
        key: FlexTensor,
        value: FlexTensor,
        bias: Optional<Self>,
        scale: f64,
    ) -> FlexTensor {
        attention::forward(&Inputs::new(query, key, value, bias.into_option(), scale)).attended
    }
}

impl<C: CheckpointStrategy> FusedOps for Autodiff<Flex, C> {
    fn fused_activation(x: FloatTensor<Self>, activation: Activation) -> FloatTensor<Self> {
        match ActivationBackward.prepare::<C>([x.node()]).compute_bound().stateful() {
            OpsKind::Tracked(prep) => {
                let x = x.into_primitive();
                prep.finish((x.clone(), activation), activation.forward(x))
            }
            OpsKind::UnTracked(prep) => prep.finish(activation.forward(x.into_primitive())),
        }
    }

    fn fused_group_norm(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        options: GroupNormOptions,
    ) -> FloatTensor<Self> {
        let prep = GroupNormBackward.prepare::<C>([x.node(), weight.node(), bias.node()]).compute_bound().stateful();
        let [x, weight, bias] = [x, weight, bias].map(FloatTensor::<Self>::into_primitive);
        match prep {
            OpsKind::Tracked(prep) => {
                let inputs = [x.clone(), weight.clone(), bias.clone()];
                prep.finish((inputs, options), group_norm::forward(x, weight, bias, options))
            }
            OpsKind::UnTracked(prep) => prep.finish(group_norm::forward(x, weight, bias, options)),
        }
    }

    fn fused_linear(x: FloatTensor<Self>, weight: FloatTensor<Self>, bias: Optional<Self>) -> FloatTensor<Self> {
        let saved_x = weight.is_tracked().then(|| x.primitive().clone());
        let state = (saved_x, weight.primitive().clone());
        match bias {
            Optional::Given(bias) => {
                let nodes = [x.node(), weight.node(), bias.node()];
                let out = linear::forward(x.into_primitive(), weight.into_primitive(), Some(bias.into_primitive()));
                match LinearBackward.prepare::<C>(nodes).compute_bound().stateful() {
                    OpsKind::Tracked(prep) => prep.finish(state, out),
                    OpsKind::UnTracked(prep) => prep.finish(out),
                }
            }
            Optional::Absent => {
                let nodes = [x.node(), weight.node()];
                let out = linear::forward(x.into_primitive(), weight.into_primitive(), None);
                match LinearBackward.prepare::<C>(nodes).compute_bound().stateful() {
                    OpsKind::Tracked(prep) => prep.finish(state, out),
                    OpsKind::UnTracked(prep) => prep.finish(out),
                }
            }
        }
    }

    fn fused_convolution(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: Optional<Self>,
        options: ConvolutionOptions,
    ) -> FloatTensor<Self> {
        let shape = x.primitive().layout().shape().clone();
        let saved_x = weight.is_tracked().then(|| x.primitive().clone());
        let state = (saved_x, shape, weight.primitive().clone(), options);
        match bias {
            Optional::Given(bias) => {
                let nodes = [x.node(), weight.node(), bias.node()];
                let [x, weight, bias] = [x, weight, bias].map(FloatTensor::<Self>::into_primitive);
                let out = convolution::forward(x, weight, Some(bias), options);
                match ConvolutionBackward.prepare::<C>(nodes).compute_bound().stateful() {
                    OpsKind::Tracked(prep) => prep.finish(state, out),
                    OpsKind::UnTracked(prep) => prep.finish(out),
                }
            }
            Optional::Absent => {
                let nodes = [x.node(), weight.node()];
                let out = convolution::forward(x.into_primitive(), weight.into_primitive(), None, options);
                match ConvolutionBackward.prepare::<C>(nodes).compute_bound().stateful() {
                    OpsKind::Tracked(prep) => prep.finish(state, out),
                    OpsKind::UnTracked(prep) => prep.finish(out),
                }
            }
        }
    }

    fn fused_layer_norm(
        x: FloatTensor<Self>,
        scale: FloatTensor<Self>,
        shift: FloatTensor<Self>,
        epsilon: f64,
    ) -> FloatTensor<Self> {
        let prep = LayerNormBackward.prepare::<C>([x.node(), scale.node(), shift.node()]).compute_bound().stateful();
        let [x, scale, shift] = [x, scale, shift].map(FloatTensor::<Self>::into_primitive);
        match prep {
            OpsKind::Tracked(prep) => {
                let inputs = [x.clone(), scale.clone()];
                prep.finish((inputs, epsilon), layer_norm::forward(x, scale, shift, epsilon))
            }
            OpsKind::UnTracked(prep) => prep.finish(layer_norm::forward(x, scale, shift, epsilon)),
        }
    }

    fn fused_rotate(x: FloatTensor<Self>, cos: FloatTensor<Self>, sin: FloatTensor<Self>) -> FloatTensor<Self> {
        let prep = RotateBackward.prepare::<C>([x.node()]).compute_bound().stateful();
        let [x, cos, sin] = [x, cos, sin].map(FloatTensor::<Self>::into_primitive);
        match prep {
            OpsKind::Tracked(prep) => {
                prep.finish([cos.clone(), sin.clone()], rotary::rotate(x, cos, sin, Turn::Forward))
            }
            OpsKind::UnTracked(prep) => prep.finish(rotary::rotate(x, cos, sin, Turn::Forward)),
        }
    }

    fn blocked_attention(
        query: FloatTensor<Self>,
        key: FloatTensor<Self>,
        value: FloatTensor<Self>,
        bias: Optional<Self>,
        scale: f64,
    ) -> FloatTensor<Self> {
        let bias = bias.into_option();
        if bias.as_ref().is_some_and(FloatTensor::<Self>::is_tracked) {
            let options = AttentionModuleOptions { scale: Some(scale), ..AttentionModuleOptions::default() };
            return <Self as ModuleOps<Self>>::attention(query, key, value, None, bias, options);
        }
        let prep = AttentionBackward.prepare::<C>([query.node(), key.node(), value.node()]).compute_bound().stateful();
        let [query, key, value] = [query, key, value].map(FloatTensor::<Self>::into_primitive);
        let inputs = Inputs::new(query, key, value, bias.map(FloatTensor::<Self>::into_primitive), scale);
        let output = attention::forward(&inputs);
        let attended = output.attended.clone();
        match prep {
            OpsKind::Tracked(prep) => prep.finish((inputs, output), attended),
            OpsKind::UnTracked(prep) => prep.finish(attended),
        }
    }
}

#[derive(Debug)]
struct ActivationBackward;

impl Backward<Flex, 1> for ActivationBackward {
    type State = (FlexTensor, Activation);

    fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        let gradient = grads.consume::<Flex>(&ops.node);
        let (x, activation) = ops.state;
        register(grads, ops.parents.map(|parent| parent.map(|parent| parent.id)), [activation.backward(x, gradient)]);
    }
}

#[derive(Debug)]
struct GroupNormBackward;

impl Backward<Flex, 3> for GroupNormBackward {
    type State = ([FlexTensor; 3], GroupNormOptions);

    fn backward(self, ops: Ops<Self::State, 3>, grads: &mut Gradients, _: &mut Checkpointer) {
        let gradient = grads.consume::<Flex>(&ops.node);
        let ([x, weight, bias], options) = ops.state;
        register(
            grads,
            ops.parents.map(|parent| parent.map(|parent| parent.id)),
            group_norm::backward(x, weight, bias, gradient, options),
        );
    }
}

fn register<const N: usize>(grads: &mut Gradients, parents: [Option<NodeId>; N], gradients: [FlexTensor; N]) {
    for (parent, gradient) in parents.into_iter().zip(gradients) {
        if let Some(parent) = parent {
            grads.register::<Flex>(parent, gradient);
        }
    }
}

/// Parents: x, weight and, if there is one, bias.
#[derive(Debug)]
struct LinearBackward;

impl<const N: usize> Backward<Flex, N> for LinearBackward {
    /// The input when the weight is trained; the weight.
    type State = (Option<FlexTensor>, FlexTensor);

    fn backward(self, ops: Ops<Self::State, N>, grads: &mut Gradients, _: &mut Checkpointer) {
        let gradient = grads.consume::<Flex>(&ops.node);
        let (x, weight) = ops.state;
        let [outputs, inputs] = [0, 1].map(|axis| weight.layout().shape()[axis]);
        for (index, parent) in ops.parents.into_iter().enumerate() {
            let Some(parent) = parent else { continue };
            let gradient = gradient.clone();
            let gradient = match (index, &x) {
                (0, _) => linear::backward_input(weight.clone(), gradient),
                (1, Some(x)) => {
                    let wide = linear::backward_weight(x.clone(), gradient, [outputs, inputs]);
                    Flex::float_cast(wide, weight.dtype().into())
                }
                (1, None) => continue,
                _ => linear::backward_bias(gradient, outputs),
            };
            grads.register::<Flex>(parent.id, gradient);
        }
    }
}

/// Parents: x, weight and, if there is one, bias.
#[derive(Debug)]
struct ConvolutionBackward;

impl<const N: usize> Backward<Flex, N> for ConvolutionBackward {
    /// The input when the weight is trained; the input's shape; the weight.
    type State = (Option<FlexTensor>, Shape, FlexTensor, ConvolutionOptions);

    fn backward(self, ops: Ops<Self::State, N>, grads: &mut Gradients, _: &mut Checkpointer) {
        let gradient = grads.consume::<Flex>(&ops.node);
        let (x, input, weight, options) = ops.state;
        for (index, parent) in ops.parents.into_iter().enumerate() {
            let Some(parent) = parent else { continue };
            let gradient = gradient.clone();
            let gradient = match (index, &x) {
                (0, _) => convolution::backward_input(weight.clone(), gradient, &input, options),
                (1, Some(x)) => convolution::backward_weight(x.clone(), gradient, weight.layout().shape(), options),
                (1, None) => continue,
                _ => convolution::backward_bias(gradient),
            };
            grads.register::<Flex>(parent.id, gradient);
        }
    }
}

#[derive(Debug)]
struct LayerNormBackward;

impl Backward<Flex, 3> for LayerNormBackward {
    /// Input and scale; epsilon.
    type State = ([FlexTensor; 2], f64);

    fn backward(self, ops: Ops<Self::State, 3>, grads: &mut Gradients, _: &mut Checkpointer) {
        let gradient = grads.consume::<Flex>(&ops.node);
        let ([x, scale], epsilon) = ops.state;
        register(
            grads,
            ops.parents.map(|parent| parent.map(|parent| parent.id)),
            layer_norm::backward(x, scale, gradient, epsilon),
        );
    }
}

#[derive(Debug)]
struct RotateBackward;

impl Backward<Flex, 1> for RotateBackward {
    /// Cosines and sines.
    type State = [FlexTensor; 2];

    fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        let gradient = grads.consume::<Flex>(&ops.node);
        let [cos, sin] = ops.state;
        register(
            grads,
            ops.parents.map(|parent| parent.map(|parent| parent.id)),
            [rotary::rotate(gradient, cos, sin, Turn::Backward)],
        );
    }
}

#[derive(Debug)]
struct AttentionBackward;

impl Backward<Flex, 3> for AttentionBackward {
    type State = (Inputs, Output);

    fn backward(self, ops: Ops<Self::State, 3>, grads: &mut Gradients, _: &mut Checkpointer) {
        let gradient = grads.consume::<Flex>(&ops.node);
        let (inputs, output) = ops.state;
        register(
            grads,
            ops.parents.map(|parent| parent.map(|parent| parent.id)),
            attention::backward(&inputs, &output, gradient),
        );
    }
}
