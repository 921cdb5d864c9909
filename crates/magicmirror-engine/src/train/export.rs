//! Released files of trained parameters.

use std::path::Path;

use burn::tensor::{DType, TensorData};
use magicmirror_models::weights::save_safetensors;

use super::Parameter;
use crate::EngineError;

/// Writes what is exported of the parameters whose names start with `prefix`, without that: vectors in f32, all else in
/// f16.
///
/// # Errors
/// When the file cannot be written.
pub(super) fn save_half(path: &Path, prefix: &str, parameters: &[Parameter]) -> Result<(), EngineError> {
    let tensors = parameters.iter().filter_map(|parameter| {
        let name = parameter.name.strip_prefix(prefix)?;
        let data = TensorData::new(parameter.exported().to_vec(), parameter.shape.clone());
        let data = if parameter.shape.len() > 1 { data.convert_dtype(DType::F16) } else { data };
        Some((name.to_owned(), data))
    });
    Ok(save_safetensors(path, &tensors.collect::<Vec<_>>())?)
}
