//! Files: hashing, reading, and whether one can be written.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::EngineError;

/// Lower-case hexadecimal SHA-256 of bytes.
pub(crate) fn sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// SHA-256 of one file, or of several as if they were one, in the order given.
///
/// # Errors
/// When a file cannot be read.
pub(crate) fn sha256_of_files(paths: &[PathBuf]) -> Result<String, EngineError> {
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    for path in paths {
        let mut file = File::open(path).map_err(EngineError::io(path))?;
        loop {
            let read = file.read(&mut buffer).map_err(EngineError::io(path))?;
            if read == 0 {
                break;
            }
            hasher.update(&buffer[..read]);
        }
    }
    Ok(hex(&hasher.finalize()))
}

/// Reads a whole text file.
///
/// # Errors
/// When it cannot be read, or is not UTF-8.
pub(crate) fn read_text(path: &Path) -> Result<String, EngineError> {
    std::fs::read_to_string(path).map_err(EngineError::io(path))
}

/// Makes sure, before long work, that a file can be written: its folder is there and takes files.
///
/// # Errors
/// When it cannot.
pub fn ensure_writable(path: &Path) -> Result<(), EngineError> {
    if path.is_dir() {
        let source = std::io::Error::new(std::io::ErrorKind::IsADirectory, "it is a folder");
        return Err(EngineError::Io { path: path.to_owned(), source });
    }
    let folder = match path.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    };
    tempfile::tempfile_in(folder).map(drop).map_err(EngineError::io(path))
}

/// Lower-case hexadecimal digits of bytes.
pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
