//! Back-propagation through the transformer that keeps the inputs of its blocks and nothing else.
//!
//! On the way forward no graph is built. On the way back each block, with the adapter's part in it, runs once more under
//! autodiff, and its gradient is pulled through: activation memory is that of one block, for a third more time
//! (Chen et al., arXiv 1604.06174, one segment a block).

use burn::module::Module;
use burn::tensor::{Gradients as BurnGradients, Tensor};
use magicmirror_models::adapter::{Adapter, Conditions, IdentityConditioner};
use magicmirror_models::dit::{BlockContext, Dit, Streams};

use super::{Gradients, ParameterSet};

/// What has been kept of one forward pass: the inputs of all blocks.
pub(super) struct BlockInputs<'a> {
    dit: &'a Dit,
    context: &'a BlockContext,
    can_condition: Option<Tensor<2>>,
    inputs: Vec<Streams>,
}

/// Gradients that leave the first block; `None` where none arrive.
#[derive(Default)]
pub(super) struct Pulled {
    pub(super) text: Option<Tensor<3>>,
    pub(super) extra: Option<Tensor<3>>,
    pub(super) can_condition: Option<Tensor<2>>,
}

/// Runs all blocks without a graph; returns the video tokens after the last.
pub(super) fn forward<'a>(
    dit: &'a Dit,
    adapter: &Adapter,
    streams: Streams,
    context: &'a BlockContext,
    can_condition: Option<Tensor<2>>,
) -> (Tensor<3>, BlockInputs<'a>) {
    let frozen = adapter.clone().no_grad();
    let mut streams = without_graph(streams);
    let can_condition = can_condition.map(Tensor::inner);
    let conditioner = conditioner(&frozen, &streams, can_condition.clone().map(Tensor::autodiff));
    let mut inputs = Vec::with_capacity(dit.blocks().len());
    for (layer, block) in dit.blocks().iter().enumerate() {
        inputs.push(streams.clone());
        streams = without_graph(block.forward(layer, with_autodiff(streams), context, &conditioner));
    }
    (streams.video, BlockInputs { dit, context, can_condition, inputs })
}

impl BlockInputs<'_> {
    /// Pulls the gradient of the last block's video tokens (without autodiff) back to the first block's inputs, and adds
    /// up those of the adapter's parameters.
    pub(super) fn backward(
        self,
        adapter: &Adapter,
        video: Tensor<3>,
        set: &ParameterSet,
        gradients: &mut Gradients,
    ) -> Pulled {
        let mut pulled = Pulled::default();
        let mut video = Some(video);
        for (layer, input) in self.inputs.into_iter().enumerate().rev() {
            let input = Streams { text: leaf(input.text), video: leaf(input.video), extra: input.extra.map(leaf) };
            let can_condition = self.can_condition.clone().map(leaf);
            let conditioner = conditioner(adapter, &input, can_condition.clone());
            let output = self.dit.blocks()[layer].forward(layer, input.clone(), self.context, &conditioner);
            let terms = [
                product(Some(output.text), pulled.text.take()),
                product(Some(output.video), video.take()),
                product(output.extra, pulled.extra.take()),
            ];
            let scalar = terms.into_iter().flatten().reduce(|a, b| a + b).expect("the video has a gradient");
            let found = scalar.backward();
            set.add(adapter, &found, gradients);
            pulled.text = input.text.grad(&found);
            video = input.video.grad(&found);
            pulled.extra = input.extra.as_ref().and_then(|extra| extra.grad(&found));
            pulled.can_condition =
                sum(pulled.can_condition.take(), can_condition.and_then(|condition| condition.grad(&found)));
        }
        pulled
    }
}

/// The scalar whose gradient with respect to `output` is `gradient`.
pub(super) fn product<const D: usize>(output: Option<Tensor<D>>, gradient: Option<Tensor<D>>) -> Option<Tensor<1>> {
    Some((output? * Tensor::from_inner(gradient?)).sum())
}

/// A backward pass from the sum of some scalars.
pub(super) fn backward(scalars: impl IntoIterator<Item = Option<Tensor<1>>>) -> Option<BurnGradients> {
    let sum = scalars.into_iter().flatten().reduce(|a, b| a + b)?;
    sum.is_tracked().then(|| sum.backward())
}

/// The same values, as the start of a new graph.
pub(super) fn leaf<const D: usize>(tensor: Tensor<D>) -> Tensor<D> {
    Tensor::from_inner(tensor.inner()).require_grad()
}

fn sum<const D: usize>(a: Option<Tensor<D>>, b: Option<Tensor<D>>) -> Option<Tensor<D>> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a + b),
        (a, b) => a.or(b),
    }
}

fn conditioner<'a>(
    adapter: &'a Adapter,
    streams: &Streams,
    can_condition: Option<Tensor<2>>,
) -> IdentityConditioner<'a> {
    let conditions = Conditions { x_id: None, x_face: streams.extra.clone(), can_condition };
    IdentityConditioner::new(adapter, &conditions, 1.0)
}

fn without_graph(streams: Streams) -> Streams {
    Streams { text: streams.text.inner(), video: streams.video.inner(), extra: streams.extra.map(Tensor::inner) }
}

fn with_autodiff(streams: Streams) -> Streams {
    Streams {
        text: streams.text.autodiff(),
        video: streams.video.autodiff(),
        extra: streams.extra.map(Tensor::autodiff),
    }
}
