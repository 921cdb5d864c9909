use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use burn::tensor::{DType, TensorData};
use safetensors::tensor::{Dtype, TensorView};

use super::WeightsError;

/// Writes tensors to a safetensors file: aside first, then renamed, so that a file is whole or absent.
///
/// # Errors
/// When the file cannot be written, or a tensor has an element type that safetensors lacks.
pub fn save_safetensors(path: &Path, tensors: &[(String, TensorData)]) -> Result<(), WeightsError> {
    let views = tensors
        .iter()
        .map(|(name, data)| {
            let dtype = match data.dtype() {
                DType::F32 | DType::Flex32 => Dtype::F32,
                DType::F16 => Dtype::F16,
                DType::BF16 => Dtype::BF16,
                DType::F64 => Dtype::F64,
                DType::I64 => Dtype::I64,
                DType::I32 => Dtype::I32,
                DType::U8 => Dtype::U8,
                other => {
                    return Err(WeightsError::Unsupported {
                        path: path.to_owned(),
                        reason: format!("element type {other:?} of {name}"),
                    });
                }
            };
            let view = TensorView::new(dtype, data.shape().to_vec(), data.as_bytes())
                .map_err(|error| WeightsError::invalid(path, error.to_string()))?;
            Ok((name.as_str(), view))
        })
        .collect::<Result<Vec<_>, _>>()?;
    // Other libraries refuse files that do not name the layout of their tensors.
    let metadata = HashMap::from([("format".to_owned(), "pt".to_owned())]);
    put_aside(path, |aside| {
        safetensors::serialize_to_file(views, Some(metadata), aside)
            .map_err(|error| io::Error::other(error.to_string()))
            .and_then(|()| File::open(aside)?.sync_all())
    })
}

/// Writes a file beside its final place and renames it, so that readers see the old or the new one, never a part.
///
/// # Errors
/// When the folder cannot be written.
pub fn write_aside(path: &Path, bytes: &[u8]) -> Result<(), WeightsError> {
    put_aside(path, |aside| {
        let mut file = File::create(aside)?;
        file.write_all(bytes)?;
        file.sync_all()
    })
}

fn put_aside(path: &Path, write: impl FnOnce(&Path) -> io::Result<()>) -> Result<(), WeightsError> {
    // Threads may write the same file at once; the last one's stays.
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}-{}.part", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed)));
    let aside = path.with_file_name(name);
    let written = write(&aside).and_then(|()| fs::rename(&aside, path));
    if written.is_err() {
        // Best effort: the error that is returned tells more than a failure to clean up.
        let _ = fs::remove_file(&aside);
    }
    written.map_err(WeightsError::io(path))
}
