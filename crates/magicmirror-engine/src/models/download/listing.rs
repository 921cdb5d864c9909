use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

use serde::Deserialize;
use sha1::Sha1;
use sha2::{Digest, Sha256};

use super::part::part_path;
use super::{CHUNK, advance, is_file_name};
use crate::files::hex;
use crate::{Control, EngineError};

#[derive(Deserialize)]
pub(super) struct Listing {
    pub(super) sha: String,
    pub(super) siblings: Vec<Sibling>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Sibling {
    rfilename: String,
    size: Option<u64>,
    blob_id: Option<String>,
    lfs: Option<Lfs>,
}

#[derive(Deserialize)]
pub(super) struct Lfs {
    sha256: String,
    size: u64,
}

/// A file on the hub.
pub(super) struct RemoteFile {
    pub(super) path: String,
    pub(super) size: u64,
    pub(super) hash: Hash,
}

/// The hub knows large files by their content, and small ones as git does.
pub(super) enum Hash {
    Sha256(String),
    GitBlob(String),
}

impl RemoteFile {
    /// Bytes still to download, as far as sizes tell.
    pub(super) fn missing(&self, output: &Path) -> u64 {
        let path = output.join(&self.path);
        let length = |path: &Path| std::fs::metadata(path).map_or(0, |metadata| metadata.len());
        if length(&path) == self.size { 0 } else { self.size.saturating_sub(length(&part_path(&path))) }
    }

    /// Whether the file is there, with the right hash. Advances from `done` on as it is read.
    pub(super) fn is_present(&self, path: &Path, done: u64, control: &mut Control<'_>) -> Result<bool, EngineError> {
        let mut file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(EngineError::io(path)(error)),
        };
        let found = self.hash.of(&mut file, path, |read| advance(control, done + read.min(self.size)))?;
        if found != self.hash.expected() {
            control.warn(format!(
                "not the hub's file (hash {found}, the hub's is {}), it will be replaced: {}",
                self.hash.expected(),
                path.display()
            ));
        }
        Ok(found == self.hash.expected())
    }
}

impl Hash {
    pub(super) fn expected(&self) -> &str {
        match self {
            Self::Sha256(hash) | Self::GitBlob(hash) => hash,
        }
    }

    /// The same kind of hash of a local file. Tells how many bytes are read so far.
    pub(super) fn of(
        &self,
        file: &mut File,
        path: &Path,
        advance: impl FnMut(u64) -> Result<(), EngineError>,
    ) -> Result<String, EngineError> {
        match self {
            Self::Sha256(_) => digest(Sha256::new(), file, path, advance),
            Self::GitBlob(_) => {
                let length = file.metadata().map_err(EngineError::io(path))?.len();
                digest(Sha1::new_with_prefix(format!("blob {length}\0")), file, path, advance)
            }
        }
    }
}

/// The files of a pipeline folder, with their hashes, or why the list cannot be used.
pub(super) fn wanted_files(siblings: Vec<Sibling>) -> Result<Vec<RemoteFile>, String> {
    let files = siblings
        .into_iter()
        .filter(|sibling| is_wanted(&sibling.rfilename))
        .map(|Sibling { rfilename: path, size, blob_id, lfs }| {
            if !path.split('/').all(is_file_name) {
                return Err(format!("unsafe file name {path:?}"));
            }
            match (lfs, size, blob_id) {
                (Some(Lfs { sha256, size }), ..) => Ok(RemoteFile { path, size, hash: Hash::Sha256(sha256) }),
                (None, Some(size), Some(hash)) => Ok(RemoteFile { path, size, hash: Hash::GitBlob(hash) }),
                _ => Err(format!("no size or hash of {path}")),
            }
        })
        .collect::<Result<Vec<_>, _>>()?;
    if files.iter().any(|file| file.path == "model_index.json") {
        Ok(files)
    } else {
        Err("it has no model_index.json, so it is no pipeline folder".to_owned())
    }
}

/// Whether a file belongs to a pipeline: its parts are one folder deep.
fn is_wanted(path: &str) -> bool {
    let extension = Path::new(path).extension().and_then(|extension| extension.to_str()).unwrap_or_default();
    match path.matches('/').count() {
        0 => extension == "json" || path == "LICENSE",
        1 => matches!(extension, "json" | "safetensors" | "model" | "txt"),
        _ => false,
    }
}

fn digest(
    mut hasher: impl Digest,
    file: &mut File,
    path: &Path,
    mut advance: impl FnMut(u64) -> Result<(), EngineError>,
) -> Result<String, EngineError> {
    file.seek(SeekFrom::Start(0)).map_err(EngineError::io(path))?;
    let mut buffer = vec![0; CHUNK];
    let mut total = 0;
    loop {
        let read = file.read(&mut buffer).map_err(EngineError::io(path))?;
        if read == 0 {
            return Ok(hex(&hasher.finalize()));
        }
        hasher.update(&buffer[..read]);
        total += read as u64;
        advance(total)?;
    }
}
