//! Reads the graph and the constants of an ONNX file: enough to find the weights of a network whose structure is known.
//! Graphs are not executed.
//!
//! Source: `onnx/onnx.proto3` of ONNX 1.19; only the fields that are used are declared.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use burn::tensor::TensorData;
use half::f16;
use prost::Message;

use super::WeightsError;

/// The nodes and constants of an ONNX model.
///
/// Nodes are not checked for order or cycles: who follows them needs a limit.
#[derive(Debug)]
pub struct OnnxGraph {
    path: PathBuf,
    inputs: Vec<String>,
    outputs: Vec<String>,
    nodes: Vec<OnnxNode>,
    constants: BTreeMap<String, Arc<TensorMessage>>,
    consumers: HashMap<String, Vec<usize>>,
}

/// One operation.
#[derive(Debug)]
pub struct OnnxNode {
    /// Its name, or that of its first output where it has none.
    pub name: String,
    /// The operation, as in `Conv`.
    pub operation: String,
    /// Names of the values it reads; empty where an optional one is absent.
    pub inputs: Vec<String>,
    /// Names of the values it writes.
    pub outputs: Vec<String>,
    attributes: BTreeMap<String, AttributeMessage>,
}

impl OnnxNode {
    /// An integer attribute.
    pub fn integer(&self, name: &str) -> Option<i64> {
        self.attributes.get(name).map(|attribute| attribute.i)
    }

    /// A floating-point attribute.
    pub fn float(&self, name: &str) -> Option<f32> {
        self.attributes.get(name).map(|attribute| attribute.f)
    }

    /// A list of integers; empty where it is absent.
    pub fn integers(&self, name: &str) -> &[i64] {
        self.attributes.get(name).map_or(&[], |attribute| &attribute.ints)
    }
}

impl OnnxGraph {
    /// Reads a file.
    ///
    /// # Errors
    /// When it cannot be read or is no ONNX model.
    pub fn read(path: &Path) -> Result<Self, WeightsError> {
        let bytes = std::fs::read(path).map_err(WeightsError::io(path))?;
        let model = ModelMessage::decode(bytes.as_slice())
            .map_err(|error| WeightsError::invalid(path, format!("ONNX: {error}")))?;
        drop(bytes);
        let graph = model.graph.ok_or_else(|| WeightsError::invalid(path, "an ONNX model without a graph"))?;

        let mut constants: BTreeMap<String, Arc<TensorMessage>> =
            graph.initializer.into_iter().map(|tensor| (tensor.name.clone(), Arc::new(tensor))).collect();
        let mut nodes = Vec::new();
        for mut node in graph.node {
            let output = node.output.first().cloned().unwrap_or_default();
            let value = node.attribute.iter_mut().find(|attribute| attribute.name == "value");
            if let ("Constant", Some(tensor)) = (node.op_type.as_str(), value.and_then(|value| value.t.take())) {
                constants.insert(output, Arc::new(tensor));
                continue;
            }
            // The exporter writes equal weights once and names them again through Identity.
            if let ("Identity", Some(tensor)) =
                (node.op_type.as_str(), node.input.first().and_then(|input| constants.get(input)))
            {
                let tensor = Arc::clone(tensor);
                constants.insert(output, tensor);
                continue;
            }
            nodes.push(OnnxNode {
                name: if node.name.is_empty() { output } else { node.name },
                operation: node.op_type,
                inputs: node.input,
                outputs: node.output,
                attributes: node.attribute.into_iter().map(|value| (value.name.clone(), value)).collect(),
            });
        }
        let mut consumers: HashMap<String, Vec<usize>> = HashMap::new();
        for (index, node) in nodes.iter().enumerate() {
            for input in &node.inputs {
                consumers.entry(input.clone()).or_default().push(index);
            }
        }
        // Old exporters list the weights as inputs too.
        let inputs = graph.input.into_iter().map(|input| input.name).filter(|name| !constants.contains_key(name));
        Ok(Self {
            path: path.to_owned(),
            inputs: inputs.collect(),
            outputs: graph.output.into_iter().map(|output| output.name).collect(),
            nodes,
            constants,
            consumers,
        })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Names of the values that the graph is given.
    pub fn inputs(&self) -> &[String] {
        &self.inputs
    }

    /// Names of the values that the graph gives.
    pub fn outputs(&self) -> &[String] {
        &self.outputs
    }

    /// The nodes that read a value, in file order.
    pub fn consumers(&self, value: &str) -> impl ExactSizeIterator<Item = &OnnxNode> {
        self.consumers.get(value).map_or(&[][..], Vec::as_slice).iter().map(|&index| &self.nodes[index])
    }

    /// A constant of 32- or 16-bit floats, as f32.
    ///
    /// # Errors
    /// When there is no such constant, its length is not that of its shape, or it is stored in some other way.
    pub fn constant(&self, name: &str) -> Result<TensorData, WeightsError> {
        const FLOAT: i32 = 1;
        const FLOAT16: i32 = 10;
        const EXTERNAL: i32 = 1;
        let tensor = self
            .constants
            .get(name)
            .ok_or_else(|| WeightsError::invalid(&self.path, format!("no constant named {name}")))?;
        let unsupported = |reason: String| WeightsError::Unsupported { path: self.path.clone(), reason };
        if tensor.data_location == EXTERNAL {
            return Err(unsupported(format!("{name} lies in another file")));
        }
        let values: Vec<f32> = match tensor.data_type {
            FLOAT if tensor.raw_data.is_empty() => tensor.float_data.clone(),
            FLOAT => tensor.raw_data.as_chunks().0.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect(),
            FLOAT16 => tensor.raw_data.as_chunks().0.iter().map(|&bytes| f16::from_le_bytes(bytes).to_f32()).collect(),
            other => return Err(unsupported(format!("element type {other} of {name}"))),
        };
        let shape = tensor.dims.iter().map(|&size| usize::try_from(size).ok()).collect::<Option<Vec<_>>>();
        let count = |shape: &[usize]| shape.iter().try_fold(1usize, |count, &size| count.checked_mul(size));
        match shape {
            Some(shape) if count(&shape) == Some(values.len()) => Ok(TensorData::new(values, shape)),
            _ => Err(WeightsError::invalid(
                &self.path,
                format!("{name} has {} values, its shape is {:?}", values.len(), tensor.dims),
            )),
        }
    }
}

#[derive(Clone, PartialEq, Message)]
struct ModelMessage {
    #[prost(message, optional, tag = "7")]
    graph: Option<GraphMessage>,
}

#[derive(Clone, PartialEq, Message)]
struct GraphMessage {
    #[prost(message, repeated, tag = "1")]
    node: Vec<NodeMessage>,
    #[prost(message, repeated, tag = "5")]
    initializer: Vec<TensorMessage>,
    #[prost(message, repeated, tag = "11")]
    input: Vec<ValueMessage>,
    #[prost(message, repeated, tag = "12")]
    output: Vec<ValueMessage>,
}

#[derive(Clone, PartialEq, Message)]
struct ValueMessage {
    #[prost(string, tag = "1")]
    name: String,
}

#[derive(Clone, PartialEq, Message)]
struct NodeMessage {
    #[prost(string, repeated, tag = "1")]
    input: Vec<String>,
    #[prost(string, repeated, tag = "2")]
    output: Vec<String>,
    #[prost(string, tag = "3")]
    name: String,
    #[prost(string, tag = "4")]
    op_type: String,
    #[prost(message, repeated, tag = "5")]
    attribute: Vec<AttributeMessage>,
}

#[derive(Clone, PartialEq, Message)]
struct AttributeMessage {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(float, tag = "2")]
    f: f32,
    #[prost(int64, tag = "3")]
    i: i64,
    #[prost(message, optional, tag = "5")]
    t: Option<TensorMessage>,
    #[prost(int64, repeated, tag = "8")]
    ints: Vec<i64>,
}

#[derive(Clone, PartialEq, Message)]
struct TensorMessage {
    #[prost(int64, repeated, tag = "1")]
    dims: Vec<i64>,
    #[prost(int32, tag = "2")]
    data_type: i32,
    #[prost(float, repeated, tag = "4")]
    float_data: Vec<f32>,
    #[prost(string, tag = "8")]
    name: String,
    #[prost(bytes = "vec", tag = "9")]
    raw_data: Vec<u8>,
    #[prost(int32, tag = "14")]
    data_location: i32,
}
