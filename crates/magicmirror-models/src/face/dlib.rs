//! dlib's face recogniser, a residual network with 128 numbers a face; below a distance of 0.6 two faces are the same
//! person.
//!
//! Source: dlib 19.24, `examples/dnn_face_recognition_ex.cpp` (`anet_type`), `dlib/dnn/layers.h`; checked against dlib
//! 20.0.1. Weights: `dlib_face_recognition_resnet_model_v1.dat` (CC0) and the 8-bit copy in face-api.js.

use std::collections::BTreeMap;
use std::path::Path;

use burn::module::Module;
use burn::tensor::module::{avg_pool2d, max_pool2d};
use burn::tensor::ops::{AvgPoolOptions, MaxPoolOptions, PadMode};
use burn::tensor::{Device, Tensor, TensorData, activation};
use safetensors::tensor::Dtype;
use serde::Deserialize;

use super::layers::ChannelAffine;
use crate::nn::{Conv2d, Linear};
use crate::weights::{Checkpoint, Names, Params, Precision, WeightsError};

/// Side of the chip, in pixels.
pub const CHIP_SIZE: usize = 150;
/// Numbers in a descriptor.
pub const DESCRIPTOR_SIZE: usize = 128;

/// Mean descriptor of 280 people who do not exist, men and women of all ages, three pictures each: what `recognise_people
/// --identities 280 --pictures 3 --groups man,woman,elderly_man,elderly_woman,boy,girl,baby --first 6000000 --mean yes` prints.
pub const MEAN_DESCRIPTOR: [f32; DESCRIPTOR_SIZE] = [
    -0.111, 0.091, 0.022, -0.064, -0.086, -0.031, -0.024, -0.106, 0.118, -0.114, 0.239, -0.075, -0.225, -0.06, -0.034,
    0.188, -0.123, -0.138, -0.105, -0.038, 0.002, 0.008, -0.019, 0.057, -0.068, -0.295, -0.092, -0.065, 0.029, -0.037,
    0.005, 0.063, -0.176, -0.036, 0.026, 0.067, -0.057, -0.063, 0.188, 0.014, -0.189, -0.014, 0.035, 0.263, 0.138,
    0.002, 0.046, -0.061, 0.068, -0.217, 0.016, 0.148, 0.11, 0.083, -0.011, -0.143, 0.043, 0.134, -0.211, 0.022, 0.069,
    -0.066, -0.058, -0.051, 0.231, 0.143, -0.128, -0.161, 0.198, -0.145, -0.024, 0.052, -0.134, -0.177, -0.242, 0.039,
    0.361, 0.119, -0.136, 0.018, -0.071, -0.015, 0.022, 0.065, -0.067, -0.006, -0.063, 0.017, 0.196, -0.041, -0.018,
    0.204, 0.01, -0.032, 0.026, 0.036, -0.041, -0.015, -0.093, 0.012, -0.001, -0.117, -0.001, 0.08, -0.16, 0.18,
    -0.004, 0.015, -0.03, 0.029, -0.077, -0.042, 0.153, -0.196, 0.202, 0.166, 0.052, 0.123, 0.087, 0.095, -0.006,
    -0.041, -0.156, -0.096, 0.053, -0.026, 0.048, 0.042,
];

/// What the network subtracts from red, green, blue before it divides by 256 (`input_rgb_image_sized`).
const MEANS: [f32; 3] = [122.782, 117.001, 104.298];
/// Width of each block, from the input on, and whether it halves the resolution.
const BLOCKS: [(usize, bool); 14] = [
    (32, false),
    (32, false),
    (32, false),
    (64, true),
    (64, false),
    (64, false),
    (64, false),
    (128, true),
    (128, false),
    (128, false),
    (256, true),
    (256, false),
    (256, false),
    (256, true),
];
/// The manifest of the 8-bit copy is small text.
const MAX_MANIFEST_BYTES: u64 = 1 << 20;

/// The network.
#[derive(Module, Debug)]
pub struct DlibResNet {
    stem: Layer,
    blocks: Vec<Block>,
    fc: Linear,
}

impl DlibResNet {
    /// Declares `stem.{conv,affine}`, `blocks.{0..13}.{conv1,affine1,conv2,affine2}` and `fc.weight`.
    pub fn new(params: &mut Params<'_, '_>) -> Self {
        let mut inputs = 32;
        Self {
            stem: Layer::new(
                &mut params.at("stem"),
                "",
                Conv { inputs: 3, outputs: 32, kernel: 7, stride: 2, padding: 0 },
            ),
            blocks: BLOCKS
                .iter()
                .enumerate()
                .map(|(index, &(width, halved))| {
                    let block = Block::new(&mut params.at(format!("blocks.{index}")), inputs, width, halved);
                    inputs = width;
                    block
                })
                .collect(),
            fc: Linear::without_bias(params, "fc", 256, DESCRIPTOR_SIZE),
        }
    }

    /// Reads dlib's own `.dat`, face-api.js's `.json` (with the `.bin` beside it), or safetensors (floats, or 8-bit with
    /// `<name>_scale` and `<name>_minimum` for each filter).
    ///
    /// # Errors
    /// When the file cannot be read or holds another network.
    pub fn load(path: &Path, device: &Device) -> Result<Self, WeightsError> {
        let extension = path.extension().unwrap_or_default().to_ascii_lowercase();
        let checkpoint = match extension.to_str() {
            Some("dat") => read_dat(path)?,
            Some("json") => read_quantised(path)?,
            _ => read_safetensors(path)?,
        };
        Ok(checkpoint.load(Names::default(), Precision::F32, device, Self::new)?.0)
    }

    /// # Shapes
    /// - chips: `[batch, 3, 150, 150]`, RGB, 0 to 255
    /// - output: `[batch, 128]`, not normalised
    pub fn forward(&self, chips: Tensor<4>) -> Tensor<2> {
        let means = Tensor::<1>::from_floats(MEANS, &chips.device()).reshape([1, 3, 1, 1]);
        let x = activation::relu(self.stem.forward((chips - means) / 256.0));
        let mut x = max_pool2d(x, MaxPoolOptions::new([3; 2]).with_stride([2; 2]));
        for block in &self.blocks {
            x = block.forward(x);
        }
        let [batch, channels, height, width] = x.dims();
        let pooled = x.reshape([batch, channels, height * width]).mean_dim(2).reshape([batch, channels]);
        self.fc.forward(pooled)
    }
}

struct Conv {
    inputs: usize,
    outputs: usize,
    kernel: usize,
    stride: usize,
    padding: usize,
}

/// A convolution and the scale and shift that its norm became.
#[derive(Module, Debug)]
struct Layer {
    conv: Conv2d,
    affine: ChannelAffine,
}

impl Layer {
    fn new(params: &mut Params<'_, '_>, number: &str, conv: Conv) -> Self {
        let Conv { inputs, outputs, kernel, stride, padding } = conv;
        Self {
            conv: Conv2d::new(params, &format!("conv{number}"), inputs, outputs, kernel)
                .with_stride(stride)
                .with_padding(padding),
            affine: ChannelAffine::new(params, &format!("affine{number}"), outputs),
        }
    }

    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        self.affine.forward(self.conv.forward(x))
    }
}

#[derive(Module, Debug)]
struct Block {
    layer1: Layer,
    layer2: Layer,
    #[module(skip)]
    halved: bool,
}

impl Block {
    fn new(params: &mut Params<'_, '_>, inputs: usize, outputs: usize, halved: bool) -> Self {
        let (stride, padding) = if halved { (2, 0) } else { (1, 1) };
        let second = Conv { inputs: outputs, outputs, kernel: 3, stride: 1, padding: 1 };
        Self {
            layer1: Layer::new(params, "1", Conv { inputs, outputs, kernel: 3, stride, padding }),
            layer2: Layer::new(params, "2", second),
            halved,
        }
    }

    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let y = self.layer2.forward(activation::relu(self.layer1.forward(x.clone())));
        let shortcut = if self.halved { avg_pool2d(x, AvgPoolOptions::new([2; 2])) } else { x };
        activation::relu(sum_of_larger(shortcut, y))
    }
}

/// dlib adds tensors of different sizes: the sum has the larger of both in each axis, with zeros for what is missing at
/// its end.
fn sum_of_larger(a: Tensor<4>, b: Tensor<4>) -> Tensor<4> {
    let (size_a, size_b) = (a.dims(), b.dims());
    if size_a == size_b {
        return a + b;
    }
    let grown = |x: Tensor<4>, from: [usize; 4]| {
        let missing = |axis: usize| (0, size_a[axis].max(size_b[axis]) - from[axis]);
        x.pad([(0, 0), missing(1), missing(2), missing(3)], PadMode::Constant(0.0))
    };
    grown(a, size_a) + grown(b, size_b)
}

/// Names of the convolutions and of the scales that follow them, in the order of the files.
fn layer_names() -> impl Iterator<Item = (String, String)> {
    let blocks = (0..BLOCKS.len())
        .flat_map(|block| [1, 2].map(|n| (format!("blocks.{block}.conv{n}"), format!("blocks.{block}.affine{n}"))));
    std::iter::once(("stem.conv".to_owned(), "stem.affine".to_owned())).chain(blocks)
}

/// A safetensors file, its 8-bit tensors turned back to floats.
fn read_safetensors(path: &Path) -> Result<Checkpoint, WeightsError> {
    let checkpoint = Checkpoint::open_file(path)?;
    if checkpoint.entries().values().all(|entry| entry.dtype != Dtype::U8) {
        return Ok(checkpoint);
    }
    let mut tensors = BTreeMap::new();
    for (name, entry) in checkpoint.entries() {
        let quantised = |base: &str| checkpoint.entries().get(base).is_some_and(|entry| entry.dtype == Dtype::U8);
        if [name.strip_suffix("_scale"), name.strip_suffix("_minimum")].into_iter().flatten().any(quantised) {
            continue;
        }
        let data = if entry.dtype == Dtype::U8 {
            let rows = entry.shape.first().copied().unwrap_or(0);
            let per_row = |suffix: &str| {
                let data = checkpoint.read(&format!("{name}{suffix}"), Precision::F32)?;
                match data.try_into_vec::<f32>() {
                    Ok(values) if values.len() == rows && rows > 0 => Ok(values),
                    _ => Err(WeightsError::invalid(path, format!("{name}{suffix} does not have {rows} values"))),
                }
            };
            let (scale, minimum) = (per_row("_scale")?, per_row("_minimum")?);
            let bytes = checkpoint.read_bytes(name)?;
            let row = (bytes.len() / rows).max(1);
            let values: Vec<f32> = bytes
                .chunks_exact(row)
                .zip(scale.iter().zip(&minimum))
                .flat_map(|(row, (scale, minimum))| row.iter().map(move |&byte| f32::from(byte) * scale + minimum))
                .collect();
            TensorData::new(values, entry.shape.clone())
        } else {
            checkpoint.read(name, Precision::F32)?
        };
        tensors.insert(name.clone(), data);
    }
    Ok(Checkpoint::from_memory(path, tensors))
}

/// dlib's own format. An integer is a control byte (low half: how many bytes follow; high bit: negative) and its bytes,
/// least significant first; a string is its length and its characters; a tensor is a version, four sizes and its f32s.
/// Layers stand in order from the input; each begins with the name of its kind, and those without weights are skipped.
fn read_dat(path: &Path) -> Result<Checkpoint, WeightsError> {
    let bytes = std::fs::read(path).map_err(WeightsError::io(path))?;
    if bytes.starts_with(b"BZh") {
        return Err(WeightsError::Unsupported { path: path.to_owned(), reason: "bzip2: unpack it first".to_owned() });
    }
    let mut reader = DatReader { bytes: &bytes, at: 0 };
    let tensors = reader.network().ok_or_else(|| {
        let reason = format!("no dlib face recognition network as far as byte {}", reader.at);
        WeightsError::invalid(path, reason)
    })?;
    Ok(Checkpoint::from_memory(path, tensors))
}

struct DatReader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl DatReader<'_> {
    fn network(&mut self) -> Option<BTreeMap<String, TensorData>> {
        let mut tensors = BTreeMap::new();
        for (conv, affine) in layer_names() {
            self.find(b"con_4")?;
            let mut values = self.tensor()?;
            let [outputs, rows, columns, ..] = self.integers::<7>()?;
            let biases = values.split_off(values.len().checked_sub(outputs)?);
            let inputs = values.len().checked_div(outputs.checked_mul(rows)?.checked_mul(columns)?)?;
            if inputs * outputs * rows * columns != values.len() {
                return None;
            }
            tensors.insert(format!("{conv}.weight"), TensorData::new(values, [outputs, inputs, rows, columns]));
            tensors.insert(format!("{conv}.bias"), TensorData::new(biases, [outputs]));

            self.find(b"affine_")?;
            let mut scale = self.tensor()?;
            let shift = scale.split_off(scale.len() / 2);
            tensors.insert(format!("{affine}.weight"), vector(scale));
            tensors.insert(format!("{affine}.bias"), vector(shift));
        }
        self.find(b"fc_2")?;
        let [outputs, inputs] = self.integers::<2>()?;
        let values = self.tensor()?;
        if values.is_empty() || inputs.checked_mul(outputs)? != values.len() {
            return None;
        }
        tensors.insert("fc.weight".to_owned(), transposed(&values, inputs, outputs));
        Some(tensors)
    }

    /// Goes on behind the next name of a kind of layer. Nothing but weights, which are not searched, could hold these
    /// bytes by chance.
    fn find(&mut self, name: &[u8]) -> Option<()> {
        let length = name.len() as u8;
        let rest = self.bytes.get(self.at..)?;
        let found = rest
            .windows(name.len() + 2)
            .position(|window| window[0] == 1 && window[1] == length && &window[2..] == name)?;
        self.at += found + name.len() + 2;
        Some(())
    }

    fn integer(&mut self) -> Option<usize> {
        let control = *self.bytes.get(self.at)?;
        let length = usize::from(control & 0x0f);
        let bytes = self.bytes.get(self.at + 1..)?.get(..length)?;
        self.at += 1 + length;
        if control & 0x80 != 0 || length > 8 {
            return None;
        }
        let value = bytes.iter().rev().fold(0u64, |value, &byte| value << 8 | u64::from(byte));
        usize::try_from(value).ok()
    }

    fn integers<const N: usize>(&mut self) -> Option<[usize; N]> {
        let mut values = [0; N];
        for value in &mut values {
            *value = self.integer()?;
        }
        Some(values)
    }

    fn tensor(&mut self) -> Option<Vec<f32>> {
        let [version, sizes @ ..] = self.integers::<5>()?;
        let count = sizes.iter().try_fold(4usize, |count, &size| count.checked_mul(size))?;
        let bytes = self.bytes.get(self.at..)?.get(..count)?;
        self.at += count;
        (version == 2).then(|| bytes.as_chunks().0.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect())
    }
}

/// face-api.js's copy: a manifest of tensors, each a range of the `.bin` beside it, with a scale and a minimum where it
/// is 8-bit. Filters are stored `[rows, columns, in, out]`.
fn read_quantised(path: &Path) -> Result<Checkpoint, WeightsError> {
    #[derive(Deserialize)]
    struct Group {
        weights: Vec<Weight>,
    }
    #[derive(Deserialize)]
    struct Weight {
        name: String,
        shape: Vec<usize>,
        quantization: Option<Quantization>,
    }
    #[derive(Deserialize)]
    struct Quantization {
        dtype: String,
        scale: f64,
        min: f64,
    }
    let invalid = |reason: String| WeightsError::invalid(path, reason);
    let length = std::fs::metadata(path).map_err(WeightsError::io(path))?.len();
    if length > MAX_MANIFEST_BYTES {
        return Err(invalid(format!("a manifest of {length} bytes")));
    }
    let text = std::fs::read_to_string(path).map_err(WeightsError::io(path))?;
    let groups: Vec<Group> = serde_json::from_str(&text).map_err(|error| invalid(error.to_string()))?;
    let data_path = path.with_extension("bin");
    let data = std::fs::read(&data_path).map_err(WeightsError::io(&data_path))?;

    let mut rest = data.as_slice();
    let mut stored: BTreeMap<String, (Vec<usize>, Vec<f32>)> = BTreeMap::new();
    for Weight { name, shape, quantization } in groups.into_iter().flat_map(|group| group.weights) {
        if shape.contains(&0) {
            // Beside an empty axis the others could be of any size.
            return Err(invalid(format!("{name} is empty: {shape:?}")));
        }
        let size: usize = if quantization.is_some() { 1 } else { 4 };
        let bytes = shape.iter().try_fold(size, |count, &size| count.checked_mul(size));
        let Some((bytes, later)) = bytes.and_then(|bytes| rest.split_at_checked(bytes)) else {
            return Err(WeightsError::invalid(&data_path, format!("it ends before {name} {shape:?} does")));
        };
        rest = later;
        let values = match quantization {
            Some(Quantization { dtype, scale, min }) if dtype == "uint8" => {
                bytes.iter().map(|&byte| f32::from(byte) * scale as f32 + min as f32).collect()
            }
            Some(Quantization { dtype, .. }) => {
                return Err(WeightsError::Unsupported { path: path.to_owned(), reason: format!("{dtype} of {name}") });
            }
            None => bytes.as_chunks().0.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect(),
        };
        stored.insert(name, (shape, values));
    }

    let mut tensors = BTreeMap::new();
    let mut take = |name: &str| stored.remove(name).ok_or_else(|| invalid(format!("no {name}")));
    for ((conv, affine), stored) in layer_names().zip(manifest_names()) {
        let (shape, values) = take(&format!("{stored}/conv/filters"))?;
        let &[rows, columns, inputs, outputs] = shape.as_slice() else {
            return Err(invalid(format!("filters {shape:?} of {stored}")));
        };
        let filters = channels_first(&values, [rows * columns, inputs, outputs]);
        tensors.insert(format!("{conv}.weight"), TensorData::new(filters, [outputs, inputs, rows, columns]));
        tensors.insert(format!("{conv}.bias"), vector(take(&format!("{stored}/conv/bias"))?.1));
        tensors.insert(format!("{affine}.weight"), vector(take(&format!("{stored}/scale/weights"))?.1));
        tensors.insert(format!("{affine}.bias"), vector(take(&format!("{stored}/scale/biases"))?.1));
    }
    let (shape, values) = take("fc")?;
    let &[inputs, outputs] = shape.as_slice() else { return Err(invalid(format!("fc {shape:?}"))) };
    tensors.insert("fc.weight".to_owned(), transposed(&values, inputs, outputs));
    Ok(Checkpoint::from_memory(path, tensors))
}

/// The names of the same layers, in the same order, in face-api.js's manifest.
fn manifest_names() -> Vec<String> {
    let mut names = vec!["conv32_down".to_owned()];
    let mut plain = 0;
    for (index, &(width, halved)) in BLOCKS.iter().enumerate() {
        plain = if halved { 0 } else { plain + 1 };
        let block = match (halved, index + 1 == BLOCKS.len()) {
            (true, true) => format!("conv{width}_down_out"),
            (true, false) => format!("conv{width}_down"),
            (false, _) => format!("conv{width}_{plain}"),
        };
        names.extend([1, 2].map(|number| format!("{block}/conv{number}")));
    }
    names
}

fn vector(values: Vec<f32>) -> TensorData {
    let length = values.len();
    TensorData::new(values, [length])
}

/// `[inputs, outputs]` to `[outputs, inputs]`.
fn transposed(values: &[f32], inputs: usize, outputs: usize) -> TensorData {
    TensorData::new(channels_first(values, [1, inputs, outputs]), [outputs, inputs])
}

/// `[kernel, in, out]` to `[out, in, kernel]`.
fn channels_first(values: &[f32], [kernel, inputs, outputs]: [usize; 3]) -> Vec<f32> {
    let mut filters = Vec::with_capacity(values.len());
    for output in 0..outputs {
        for input in 0..inputs {
            filters.extend((0..kernel).map(|place| values[(place * inputs + input) * outputs + output]));
        }
    }
    filters
}
