//! Files of samples as WebDataset has them: the part of a name before its first dot says to which sample a file belongs.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use super::{DatasetError, Layout, shard};

/// Files in shards, found but not read.
#[derive(Debug, Clone, Default)]
pub(crate) struct Files {
    shards: Vec<PathBuf>,
    entries: Vec<Entry>,
}

/// The files of one sample.
#[derive(Debug, Clone)]
struct Entry {
    key: String,
    /// Index into the shards.
    shard: usize,
    /// By extension.
    files: BTreeMap<String, Place>,
}

/// Where a file's bytes are.
#[derive(Debug, Clone)]
enum Place {
    /// In the shard, a tar file, so many bytes from there.
    Tar { position: u64, length: u64 },
    /// In the shard, a folder, under this name.
    Folder { name: String },
}

impl Files {
    /// How many samples there are.
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// What the names of a sample's files begin with.
    pub(crate) fn key(&self, index: usize) -> &str {
        &self.entries[index].key
    }

    /// Where a sample is.
    pub(crate) fn shard(&self, index: usize) -> &Path {
        &self.shards[self.entries[index].shard]
    }

    /// The path of a file that is no part of another.
    pub(crate) fn path(&self, index: usize, extension: &str) -> Option<PathBuf> {
        match self.entries[index].files.get(extension)? {
            Place::Folder { name } => Some(self.shard(index).join(name)),
            Place::Tar { .. } => None,
        }
    }

    /// Extensions of a sample's files, sorted.
    pub(crate) fn extensions(&self, index: usize) -> impl Iterator<Item = &str> {
        self.entries[index].files.keys().map(String::as_str)
    }

    /// Reads a file; indices count from 0.
    ///
    /// # Errors
    /// When there is none with that extension, or it cannot be read.
    pub(crate) fn read(&self, index: usize, extension: &str) -> Result<Vec<u8>, DatasetError> {
        let entry = &self.entries[index];
        let shard = &self.shards[entry.shard];
        let place = entry.files.get(extension);
        let mut bytes = Vec::new();
        match place.ok_or_else(|| self.broken(index, &format!("it has no {extension}")))? {
            Place::Folder { name } => fs::read(shard.join(name)).map_err(DatasetError::read(shard.join(name))),
            Place::Tar { position, length } => File::open(shard)
                .and_then(|mut file| {
                    file.seek(SeekFrom::Start(*position))?;
                    file.take(*length).read_to_end(&mut bytes)?;
                    Ok(bytes)
                })
                .map_err(DatasetError::read(shard)),
        }
    }

    pub(super) fn broken(&self, index: usize, reason: &str) -> DatasetError {
        let Entry { key, shard, .. } = &self.entries[index];
        DatasetError::Sample { key: key.clone(), reason: reason.into(), shard: self.shards[*shard].clone() }
    }

    /// Adds what is in a shard; files without extension belong to nothing.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(crate) fn add(&mut self, shard: &Path, layout: Layout) -> Result<(), DatasetError> {
        self.shards.push(shard.to_owned());
        let files = match layout {
            Layout::Webdataset => files_of_tar(shard)?,
            Layout::Folder => {
                shard::names(shard)?.into_iter().map(|name| (name.clone(), Place::Folder { name })).collect()
            }
        };
        for (name, place) in files {
            let Some((key, extension)) = name.split_once('.') else { continue };
            let shard = self.shards.len() - 1;
            if self.entries.last().is_none_or(|last| last.key != key || last.shard != shard) {
                self.entries.push(Entry { key: key.to_owned(), shard, files: BTreeMap::new() });
            }
            let entry = self.entries.last_mut().expect("one was added");
            entry.files.insert(extension.to_owned(), place);
        }
        Ok(())
    }
}

fn files_of_tar(path: &Path) -> Result<Vec<(String, Place)>, DatasetError> {
    let broken = |error: std::io::Error| DatasetError::Shard { path: path.to_owned(), reason: error.to_string() };
    let file = File::open(path).map_err(DatasetError::read(path))?;
    let end = file.metadata().map_err(DatasetError::read(path))?.len();
    let mut archive = tar::Archive::new(BufReader::new(file));
    let mut files = Vec::new();
    for entry in archive.entries_with_seek().map_err(broken)? {
        let entry = entry.map_err(broken)?;
        let name = entry.path().map_err(broken)?.to_string_lossy().into_owned();
        let (position, length) = (entry.raw_file_position(), entry.size());
        if position.checked_add(length).is_none_or(|last| last > end) {
            return Err(DatasetError::Shard { path: path.to_owned(), reason: format!("it ends within {name}") });
        }
        files.push((name, Place::Tar { position, length }));
    }
    Ok(files)
}
