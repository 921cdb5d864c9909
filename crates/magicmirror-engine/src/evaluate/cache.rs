//! What was measured, kept beside the results, so that an interrupted run goes on where it stopped.

use std::fs;
use std::path::PathBuf;
use std::sync::Mutex;

use magicmirror_models::weights::write_aside;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::EngineError;
use crate::files::sha256;

/// A folder of JSON files, each named by a hash of all that its content depends on.
pub(super) struct Cache {
    folder: PathBuf,
    /// Two copies of one video have one name.
    writing: Mutex<()>,
}

impl Cache {
    /// In a folder, which is made.
    pub(super) fn new(folder: PathBuf) -> Result<Self, EngineError> {
        fs::create_dir_all(&folder).map_err(EngineError::io(&folder))?;
        Ok(Self { folder, writing: Mutex::new(()) })
    }

    /// The name of a value that depends on these and nothing else.
    pub(super) fn key(parts: &[&str]) -> String {
        sha256(serde_json::to_string(parts).expect("strings are plain data").as_bytes())
    }

    /// Reads a value. One that is missing, or that another version of the program wrote, is `None`.
    pub(super) fn read<T: DeserializeOwned>(&self, key: &str) -> Option<T> {
        serde_json::from_slice(&fs::read(self.path(key)).ok()?).ok()
    }

    /// Reads a value that this run has read or written before.
    pub(super) fn read_again<T: DeserializeOwned>(&self, key: &str) -> Result<T, EngineError> {
        self.read(key).ok_or_else(|| EngineError::InvalidFile {
            what: "measurement",
            reason: "it was there a moment ago".into(),
            path: self.path(key),
        })
    }

    /// Keeps a value.
    pub(super) fn write<T: Serialize>(&self, key: &str, value: &T) -> Result<(), EngineError> {
        let json = serde_json::to_vec(value).expect("what is kept is plain data");
        let _one_at_a_time = self.writing.lock();
        Ok(write_aside(&self.path(key), &json)?)
    }

    /// Reads a value, or makes and keeps it.
    pub(super) fn read_or<T: Serialize + DeserializeOwned>(
        &self,
        key: &str,
        make: impl FnOnce() -> Result<T, EngineError>,
    ) -> Result<T, EngineError> {
        if let Some(value) = self.read(key) {
            return Ok(value);
        }
        let value = make()?;
        self.write(key, &value)?;
        Ok(value)
    }

    fn path(&self, key: &str) -> PathBuf {
        self.folder.join(format!("{key}.json"))
    }
}
