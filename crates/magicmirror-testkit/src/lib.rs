//! Test tooling: reference tensors made by other implementations, and comparison with a report.

mod hashed;

use std::path::{Path, PathBuf};

use burn::tensor::{DType, Device, Tensor, TensorData};
use magicmirror_models::weights::{Checkpoint, Precision};

pub use hashed::{hashed_image, hashed_network, hashed_weight};

/// Relative to the largest absolute value of the tensor: one network call in f32.
pub const ONE_CALL: f64 = 3e-5;
/// Relative to the largest absolute value of the tensor: a whole generation in f32.
pub const WHOLE_RUN: f64 = 3e-4;

/// A path below the repository's `goldens/`.
pub fn golden(path: &str) -> PathBuf {
    repository().join("goldens").join(path)
}

/// The root of the repository.
pub fn repository() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// A safetensors file of reference values.
pub struct Values(Checkpoint);

impl Values {
    /// Opens a file below `goldens/`.
    ///
    /// # Panics
    /// When it cannot be read.
    pub fn open(path: &str) -> Self {
        Self::at(&golden(path))
    }

    /// Opens a file that a test wrote.
    ///
    /// # Panics
    /// When it cannot be read.
    pub fn at(path: &Path) -> Self {
        Self(Checkpoint::open_file(path).unwrap_or_else(|error| panic!("{error}")))
    }

    /// Whether there is such a tensor.
    pub fn has(&self, name: &str) -> bool {
        self.0.entries().contains_key(name)
    }

    /// Names of all tensors.
    pub fn names(&self) -> Vec<String> {
        self.0.entries().keys().cloned().collect()
    }

    /// One floating-point tensor as f32 data.
    ///
    /// # Panics
    /// When there is no such tensor.
    pub fn data(&self, name: &str) -> TensorData {
        self.0.read(name, Precision::F32).unwrap_or_else(|error| panic!("{error}"))
    }

    /// One floating-point tensor on the CPU.
    ///
    /// # Panics
    /// When there is no such tensor, or it has another rank.
    pub fn tensor<const D: usize>(&self, name: &str) -> Tensor<D> {
        Tensor::from_data(self.data(name), &Device::flex())
    }

    /// One tensor of 64-bit integers.
    ///
    /// # Panics
    /// When there is no such tensor.
    pub fn integers(&self, name: &str) -> Vec<i64> {
        self.bytes(name).as_chunks::<8>().0.iter().map(|bytes| i64::from_le_bytes(*bytes)).collect()
    }

    /// One tensor of 64-bit floating-point numbers.
    ///
    /// # Panics
    /// When there is no such tensor.
    pub fn doubles(&self, name: &str) -> Vec<f64> {
        self.bytes(name).as_chunks::<8>().0.iter().map(|bytes| f64::from_le_bytes(*bytes)).collect()
    }

    /// One tensor of bytes.
    ///
    /// # Panics
    /// When there is no such tensor.
    pub fn bytes(&self, name: &str) -> Vec<u8> {
        self.0.read_bytes(name).unwrap_or_else(|error| panic!("{error}"))
    }
}

/// Largest absolute difference, relative to the largest absolute expected value.
///
/// # Panics
/// When the shapes differ.
pub fn relative_error(actual: TensorData, expected: &TensorData) -> f64 {
    assert_eq!(actual.shape(), expected.shape(), "shapes differ");
    let values = |data: TensorData| data.convert_dtype(DType::F32).try_to_vec::<f32>().expect("f32 after conversion");
    let (actual, expected) = (values(actual), values(expected.clone()));
    let scale = expected.iter().fold(0f64, |most, x| most.max(f64::from(x.abs())));
    let mut worst = 0f64;
    for (a, e) in actual.iter().zip(&expected) {
        let difference = f64::from((a - e).abs());
        if difference.is_nan() {
            return f64::NAN;
        }
        worst = worst.max(difference);
    }
    worst / scale.max(f64::MIN_POSITIVE)
}

/// Fails unless all values agree within `tolerance`, relative to the largest absolute expected value.
///
/// # Panics
/// When they do not.
pub fn assert_close(what: &str, actual: TensorData, expected: &TensorData, tolerance: f64) {
    let error = relative_error(actual, expected);
    assert!(error <= tolerance, "{what}: relative error {error:.2e}, at most {tolerance:.0e} is allowed");
}
