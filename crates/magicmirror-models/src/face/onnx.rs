//! Finds the weights of an [`super::iresnet::IResNet`] in an ONNX graph by following it, since the exporter names most
//! of them by numbers.

use std::collections::BTreeMap;
use std::path::Path;

use burn::tensor::TensorData;

use super::iresnet::{BlockConfig, IResNetConfig};
use crate::weights::{Checkpoint, OnnxGraph, OnnxNode, WeightsError};

/// No known network has more blocks; a cyclic graph would have them without end.
const MAX_BLOCKS: usize = 200;

/// Reads the file; norms that follow a convolution or the last linear layer are folded into it.
pub(super) fn read_iresnet(path: &Path) -> Result<(IResNetConfig, Checkpoint), WeightsError> {
    let graph = OnnxGraph::read(path)?;
    let [input] = graph.inputs() else {
        return Err(unsupported(&graph, format!("{} inputs instead of one image", graph.inputs().len())));
    };
    let mut walk = Walk { graph: &graph, tensors: BTreeMap::new() };

    let stem = walk.convolution("conv1", walk.only_consumer(input)?, 3)?;
    if stem.inputs != 3 || stem.stride != 1 {
        return Err(unsupported(
            &graph,
            format!("a first convolution over {} channels, stride {}", stem.inputs, stem.stride),
        ));
    }
    let mut value = walk.prelu("prelu", walk.only_consumer(&stem.output)?)?;
    let mut blocks = Vec::new();
    let head = loop {
        let readers: Vec<&OnnxNode> = graph.consumers(&value).collect();
        let norm = readers.iter().find(|node| node.operation == "BatchNormalization");
        match (readers.as_slice(), norm) {
            (&[norm], Some(_)) => break norm,
            (&[first, second], Some(&norm)) if blocks.len() < MAX_BLOCKS => {
                let shortcut = if std::ptr::eq(norm, first) { second } else { first };
                let (block, output) = walk.block(blocks.len(), norm, shortcut)?;
                let channels = blocks.last().map_or(stem.outputs, |block: &BlockConfig| block.outputs);
                if block.inputs != channels {
                    return Err(walk.wrong(norm, &format!("{} channels follow {channels}", block.inputs)));
                }
                blocks.push(block);
                value = output;
            }
            _ => {
                let operations: Vec<_> = readers.iter().map(|node| node.operation.as_str()).collect();
                return Err(unsupported(
                    &graph,
                    format!("{value} goes to [{}], which is no residual block", operations.join(", ")),
                ));
            }
        }
    };
    let embedding = walk.head(head)?;
    let config = IResNetConfig { stem: stem.outputs, blocks, embedding };
    Ok((config, Checkpoint::from_memory(path, walk.tensors)))
}

fn unsupported(graph: &OnnxGraph, reason: String) -> WeightsError {
    WeightsError::Unsupported {
        path: graph.path().to_owned(),
        reason: format!("{reason}; only InsightFace's IResNet is known"),
    }
}

struct Convolution {
    inputs: usize,
    outputs: usize,
    stride: usize,
    output: String,
}

struct Walk<'a> {
    graph: &'a OnnxGraph,
    tensors: BTreeMap<String, TensorData>,
}

impl<'a> Walk<'a> {
    fn wrong(&self, node: &OnnxNode, what: &str) -> WeightsError {
        unsupported(self.graph, format!("node {} ({}): {what}", node.name, node.operation))
    }

    fn expect(&self, node: &OnnxNode, operation: &str) -> Result<(), WeightsError> {
        if node.operation == operation {
            Ok(())
        } else {
            Err(self.wrong(node, &format!("{operation} is expected here")))
        }
    }

    fn only_consumer(&self, value: &str) -> Result<&'a OnnxNode, WeightsError> {
        let mut readers = self.graph.consumers(value);
        match (readers.next(), readers.next()) {
            (Some(node), None) => Ok(node),
            (None, _) => Err(unsupported(self.graph, format!("nothing reads {value}"))),
            (Some(node), Some(_)) => Err(self.wrong(node, "not the only one that reads its input")),
        }
    }

    fn output(&self, node: &'a OnnxNode) -> Result<&'a str, WeightsError> {
        node.outputs.first().map(String::as_str).ok_or_else(|| self.wrong(node, "no output"))
    }

    fn values(&self, node: &OnnxNode, input: usize) -> Result<TensorData, WeightsError> {
        let name = node.inputs.get(input).ok_or_else(|| self.wrong(node, &format!("no input {input}")))?;
        self.graph.constant(name)
    }

    fn vector(&self, node: &OnnxNode, input: usize, length: usize) -> Result<Vec<f32>, WeightsError> {
        let data = self.values(node, input)?;
        match data.try_into_vec() {
            Ok(values) if values.len() == length => Ok(values),
            _ => Err(self.wrong(node, &format!("input {input} does not have {length} values"))),
        }
    }

    fn keep(&mut self, name: String, values: Vec<f32>, shape: Vec<usize>) {
        self.tensors.insert(name, TensorData::new(values, shape));
    }

    /// Scale and shift of a batch norm.
    fn norm(&self, node: &OnnxNode, channels: usize) -> Result<(Vec<f32>, Vec<f32>), WeightsError> {
        self.expect(node, "BatchNormalization")?;
        let [gamma, beta, mean, variance] = [1, 2, 3, 4].map(|input| self.vector(node, input, channels));
        let (gamma, beta, mean, variance) = (gamma?, beta?, mean?, variance?);
        let epsilon = f64::from(node.float("epsilon").unwrap_or(1e-5));
        let scale = |i: usize| f64::from(gamma[i]) / (f64::from(variance[i]) + epsilon).sqrt();
        let shift = |i: usize| f64::from(beta[i]) - f64::from(mean[i]) * scale(i);
        Ok(((0..channels).map(|i| scale(i) as f32).collect(), (0..channels).map(|i| shift(i) as f32).collect()))
    }

    /// The norm that alone follows a value, if one does.
    fn following_norm(&self, value: &str) -> Option<&'a OnnxNode> {
        self.only_consumer(value).ok().filter(|node| node.operation == "BatchNormalization")
    }

    fn convolution(&mut self, name: &str, node: &'a OnnxNode, kernel: usize) -> Result<Convolution, WeightsError> {
        self.expect(node, "Conv")?;
        let weight = self.values(node, 1)?;
        let &[outputs, inputs, rows, columns] = weight.shape().as_slice() else {
            return Err(self.wrong(node, "not a 2-D convolution"));
        };
        let stride = match node.integers("strides") {
            [] => 1,
            &[y, x] if y == x && (1..=8).contains(&x) => x as usize,
            _ => return Err(self.wrong(node, "strides")),
        };
        let padding = (kernel as i64 - 1) / 2;
        let padded = match node.integers("pads") {
            [] => padding == 0,
            pads => pads.len() == 4 && pads.iter().all(|&pad| pad == padding),
        };
        let dilated = node.integers("dilations").iter().any(|&dilation| dilation != 1);
        if outputs == 0
            || inputs == 0
            || [rows, columns] != [kernel; 2]
            || !padded
            || dilated
            || node.integer("group").unwrap_or(1) != 1
        {
            return Err(self.wrong(node, &format!("not a plain {kernel}×{kernel} convolution")));
        }
        let mut weights = self.vector(node, 1, outputs * inputs * rows * columns)?;
        let mut biases = match node.inputs.get(2) {
            Some(input) if !input.is_empty() => self.vector(node, 2, outputs)?,
            _ => vec![0.0; outputs],
        };
        let mut output = self.output(node)?;
        if let Some(norm) = self.following_norm(output) {
            fold(&mut weights, &mut biases, &self.norm(norm, outputs)?);
            output = self.output(norm)?;
        }
        self.keep(format!("{name}.weight"), weights, vec![outputs, inputs, rows, columns]);
        self.keep(format!("{name}.bias"), biases, vec![outputs]);
        Ok(Convolution { inputs, outputs, stride, output: output.to_owned() })
    }

    fn prelu(&mut self, name: &str, node: &'a OnnxNode) -> Result<String, WeightsError> {
        self.expect(node, "PRelu")?;
        let slopes = self.values(node, 1)?;
        let channels = slopes.num_elements();
        let slopes = self.vector(node, 1, channels)?;
        self.keep(format!("{name}.weight"), slopes, vec![channels]);
        Ok(self.output(node)?.to_owned())
    }

    fn affine(&mut self, name: &str, node: &'a OnnxNode) -> Result<&'a str, WeightsError> {
        let channels = self.values(node, 1)?.num_elements();
        let (scale, shift) = self.norm(node, channels)?;
        self.keep(format!("{name}.weight"), scale, vec![channels]);
        self.keep(format!("{name}.bias"), shift, vec![channels]);
        self.output(node)
    }

    /// A block that begins with `norm`; `shortcut` is the other reader of its input. Returns the block's output too.
    fn block(
        &mut self,
        index: usize,
        norm: &'a OnnxNode,
        shortcut: &'a OnnxNode,
    ) -> Result<(BlockConfig, String), WeightsError> {
        let name = |layer: &str| format!("blocks.{index}.{layer}");
        let normed = self.affine(&name("bn1"), norm)?;
        let conv1 = self.convolution(&name("conv1"), self.only_consumer(normed)?, 3)?;
        if conv1.stride != 1 {
            return Err(self.wrong(norm, "the convolution that follows has a stride"));
        }
        let rectified = self.prelu(&name("prelu"), self.only_consumer(&conv1.output)?)?;
        let conv2 = self.convolution(&name("conv2"), self.only_consumer(&rectified)?, 3)?;
        let sum = self.only_consumer(&conv2.output)?;
        self.expect(sum, "Add")?;
        let projected = shortcut.operation == "Conv";
        if projected {
            let conv = self.convolution(&name("downsample"), shortcut, 1)?;
            let same = conv.stride == conv2.stride && conv.outputs == conv2.outputs && conv.inputs == conv1.inputs;
            if !same || !std::ptr::eq(self.only_consumer(&conv.output)?, sum) {
                return Err(self.wrong(shortcut, "not the shortcut of its block"));
            }
        } else if !std::ptr::eq(shortcut, sum) || conv2.stride != 1 || conv2.outputs != conv1.inputs {
            return Err(self.wrong(shortcut, "not the shortcut of its block"));
        }
        let block = BlockConfig {
            inputs: conv1.inputs,
            width: conv1.outputs,
            outputs: conv2.outputs,
            stride: conv2.stride,
            projected,
        };
        Ok((block, self.output(sum)?.to_owned()))
    }

    /// Norm, flattening, linear layer and, as a rule, one more norm. Returns the size of the embedding.
    fn head(&mut self, norm: &'a OnnxNode) -> Result<usize, WeightsError> {
        let value = self.affine("bn2", norm)?;
        let mut node = self.only_consumer(value)?;
        if node.operation == "Dropout" {
            node = self.only_consumer(self.output(node)?)?;
        }
        let flattens = match node.operation.as_str() {
            "Flatten" => node.integer("axis").unwrap_or(1) == 1,
            "Reshape" => true,
            _ => false,
        };
        if !flattens {
            return Err(self.wrong(node, "the flattening of the last feature map is expected here"));
        }
        let linear = self.only_consumer(self.output(node)?)?;
        self.expect(linear, "Gemm")?;
        let plain = |name| linear.float(name).is_none_or(|factor| (factor - 1.0).abs() < f32::EPSILON);
        if linear.integer("transB") != Some(1)
            || linear.integer("transA").unwrap_or(0) != 0
            || !plain("alpha")
            || !plain("beta")
        {
            return Err(self.wrong(linear, "not a plain linear layer with weights [out, in]"));
        }
        let weight = self.values(linear, 1)?;
        let &[outputs, inputs] = weight.shape().as_slice() else {
            return Err(self.wrong(linear, "weights that are no matrix"));
        };
        if outputs == 0 {
            return Err(self.wrong(linear, "an embedding without numbers"));
        }
        let mut weights = self.vector(linear, 1, outputs * inputs)?;
        let mut biases = match linear.inputs.get(2) {
            Some(_) => self.vector(linear, 2, outputs)?,
            None => vec![0.0; outputs],
        };
        let mut output = self.output(linear)?;
        if let Some(norm) = self.following_norm(output) {
            fold(&mut weights, &mut biases, &self.norm(norm, outputs)?);
            output = self.output(norm)?;
        }
        if self.graph.outputs() != [output] {
            return Err(self.wrong(linear, "not the last layer"));
        }
        self.keep("fc.weight".to_owned(), weights, vec![outputs, inputs]);
        self.keep("fc.bias".to_owned(), biases, vec![outputs]);
        Ok(outputs)
    }
}

/// Makes a norm part of the layer before it; `weights` has the output channel outermost.
fn fold(weights: &mut [f32], biases: &mut [f32], (scale, shift): &(Vec<f32>, Vec<f32>)) {
    let row = (weights.len() / biases.len().max(1)).max(1);
    for (weights, scale) in weights.chunks_exact_mut(row).zip(scale) {
        for weight in weights {
            *weight *= scale;
        }
    }
    for ((bias, scale), shift) in biases.iter_mut().zip(scale).zip(shift) {
        *bias = *bias * scale + shift;
    }
}
