//! What the frozen networks make of the data, computed once and kept on disk.
//!
//! A file is named by the hash of everything its content depends on: the data, the weights and configuration of the network, and
//! the options. What another model or other data left there is therefore never read.

use std::fs;
use std::path::{Path, PathBuf};

use burn::tensor::TensorData;
use magicmirror_models::weights::{Checkpoint, Precision, WeightsError, save_safetensors};
use sha2::{Digest, Sha256};

use crate::EngineError;
use crate::files::hex;

/// The name of some cached content.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct CacheKey(String);

impl CacheKey {
    /// From everything the content depends on, in order.
    pub(super) fn new(parts: &[&[u8]]) -> Self {
        let mut hasher = Sha256::new();
        for part in parts {
            // With its length, so that parts cannot run into each other.
            hasher.update((part.len() as u64).to_le_bytes());
            hasher.update(part);
        }
        Self(hex(&hasher.finalize()))
    }

    /// SHA-256 in hexadecimal.
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

/// A folder of cached content.
#[derive(Debug, Clone)]
pub(super) struct Cache {
    folder: PathBuf,
}

impl Cache {
    pub(super) fn open(folder: &Path) -> Result<Self, EngineError> {
        fs::create_dir_all(folder).map_err(EngineError::io(folder))?;
        Ok(Self { folder: folder.to_owned() })
    }

    fn path(&self, key: &CacheKey) -> PathBuf {
        self.folder.join(&key.0[..2]).join(format!("{}.safetensors", &key.0[2..]))
    }

    pub(super) fn holds(&self, key: &CacheKey) -> bool {
        self.path(key).is_file()
    }

    pub(super) fn put(&self, key: &CacheKey, tensors: &[(&str, TensorData)]) -> Result<(), EngineError> {
        let path = self.path(key);
        let folder = path.parent().unwrap_or(&self.folder);
        fs::create_dir_all(folder).map_err(EngineError::io(folder))?;
        let tensors: Vec<_> = tensors.iter().map(|(name, data)| ((*name).to_owned(), data.clone())).collect();
        Ok(save_safetensors(&path, &tensors)?)
    }

    /// Reads some tensors of one file, as f32.
    pub(super) fn get<const N: usize>(&self, key: &CacheKey, names: [&str; N]) -> Result<[TensorData; N], EngineError> {
        let file = Checkpoint::open_file(&self.path(key))?;
        let tensors: Vec<TensorData> =
            names.iter().map(|name| file.read(name, Precision::F32)).collect::<Result<_, WeightsError>>()?;
        Ok(tensors.try_into().expect("as many as names"))
    }
}
