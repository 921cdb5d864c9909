use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::DownloadError;
use crate::EngineError;

/// A file being downloaded, under its temporary name; locked against a second download.
pub(super) struct Part {
    pub(super) file: File,
    pub(super) path: PathBuf,
}

impl Part {
    pub(super) fn open(path: PathBuf) -> Result<Self, EngineError> {
        let mut options = OpenOptions::new();
        let file = options.read(true).append(true).create(true).open(&path).map_err(EngineError::io(&path))?;
        match file.try_lock() {
            Err(TryLockError::WouldBlock) => Err(DownloadError::Busy { path }.into()),
            // Some file systems know no locks; the hash still catches a mix of two downloads.
            Ok(()) | Err(TryLockError::Error(_)) => Ok(Self { file, path }),
        }
    }

    pub(super) fn length(&self) -> Result<u64, EngineError> {
        Ok(self.file.metadata().map_err(EngineError::io(&self.path))?.len())
    }

    pub(super) fn restart(&mut self) -> Result<(), EngineError> {
        if self.length()? > 0 {
            self.file.set_len(0).map_err(EngineError::io(&self.path))?;
        }
        Ok(())
    }

    pub(super) fn append(&mut self, bytes: &[u8]) -> Result<(), EngineError> {
        self.file.write_all(bytes).map_err(|error| match error.kind() {
            io::ErrorKind::StorageFull => DownloadError::DiskFull { path: self.path.clone() }.into(),
            _ => EngineError::io(&self.path)(error),
        })
    }

    pub(super) fn finish(self, path: &Path) -> Result<(), EngineError> {
        self.file.sync_all().map_err(EngineError::io(&self.path))?;
        std::fs::rename(&self.path, path).map_err(EngineError::io(path))
    }

    pub(super) fn remove(self) -> Result<(), EngineError> {
        std::fs::remove_file(&self.path).map_err(EngineError::io(self.path))
    }
}

pub(super) fn part_path(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".part");
    PathBuf::from(name)
}
