//! Released files of trained parameters.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use burn::tensor::{DType, TensorData};
use magicmirror_models::weights::{Checkpoint, ParamNames, save_safetensors};

use super::Parameter;
use crate::EngineError;
use crate::files::sha256_of_files;

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

/// Whether a folder holds weights as `stem.safetensors`.
pub(super) fn has_weights(folder: &Path, stem: &str) -> bool {
    folder.join(format!("{stem}.safetensors")).is_file()
}

/// SHA-256 of the weights that are there, each a name, folder and stem.
///
/// # Errors
/// When a file cannot be read.
pub(super) fn hashes(parts: &[(&str, &Path, &str)]) -> Result<BTreeMap<String, String>, EngineError> {
    let present = parts.iter().filter(|(_, folder, stem)| has_weights(folder, stem));
    present
        .map(|(name, folder, stem)| {
            Ok(((*name).to_owned(), sha256_of_files(Checkpoint::open_folder(folder, stem)?.files())?))
        })
        .collect()
}

/// Parameter names below a prefix.
pub(super) fn prefixed(prefix: &str, names: ParamNames) -> impl Iterator<Item = (burn::module::ParamId, String)> {
    names.into_iter().map(move |(id, name)| (id, format!("{prefix}{name}")))
}

/// Copies the files of a folder, and a new folder for them if need be.
///
/// # Errors
/// When one cannot be read or written.
pub(super) fn copy_folder(from: &Path, to: &Path) -> Result<(), EngineError> {
    fs::create_dir_all(to).map_err(EngineError::io(to))?;
    for entry in fs::read_dir(from).map_err(EngineError::io(from))? {
        let path = entry.map_err(EngineError::io(from))?.path();
        if let Some(name) = path.file_name().filter(|_| path.is_file()) {
            fs::copy(&path, to.join(name)).map_err(EngineError::io(to))?;
        }
    }
    Ok(())
}
