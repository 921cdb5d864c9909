//! Shards: whole or not there.
//!
//! A shard is written under another name and renamed; then its record is written. What has no record, or not the length
//! and hash that the record says, is made anew. The hash is that of the tar file; that of a folder is the hash of the
//! tar file that its files would make.

use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tempfile::{Builder, NamedTempFile, TempDir};

use super::draw::Drawn;
use super::{DatasetError, Layout, Recipe, ShardPlan};
use crate::files::hex;

/// What is known of a finished shard.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    /// Samples in it.
    pub(super) samples: u64,
    /// Length of the tar file.
    pub(super) bytes: u64,
    /// Of the tar file.
    pub(super) sha256: String,
    /// Of the recipe.
    pub(super) recipe_sha256: String,
}

/// Where a shard is.
pub(super) fn path(folder: &Path, plan: &ShardPlan, layout: Layout) -> PathBuf {
    match layout {
        Layout::Webdataset => folder.join(plan.name() + ".tar"),
        Layout::Folder => folder.join(plan.name()),
    }
}

fn record_path(folder: &Path, plan: &ShardPlan) -> PathBuf {
    folder.join(plan.name() + ".json")
}

/// What is wrong with a shard; `None` if it is whole.
pub(super) fn problem(folder: &Path, plan: &ShardPlan, recipe: &Recipe) -> Result<Option<Problem>, DatasetError> {
    let (path, record) = (path(folder, plan, recipe.layout), record_path(folder, plan));
    let text = match fs::read(&record) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Ok(Some(if path.exists() { Problem::Broken("it was not finished") } else { Problem::Missing }));
        }
        text => text.map_err(DatasetError::read(&record))?,
    };
    let Ok(record) = serde_json::from_slice::<Record>(&text) else {
        return Ok(Some(Problem::Broken("its record cannot be read")));
    };
    if record.recipe_sha256 != recipe.hash() || record.samples != plan.samples.end - plan.samples.start {
        return Ok(Some(Problem::Broken("it was made with other settings")));
    }
    if !path.exists() {
        return Ok(Some(Problem::Broken("only its record is there")));
    }
    let found = match recipe.layout {
        Layout::Webdataset if file_length(&path)? != record.bytes => (0, String::new()),
        Layout::Webdataset => hash_file(&path)?,
        Layout::Folder => hash_folder(&path)?,
    };
    Ok((found != (record.bytes, record.sha256)).then_some(Problem::Broken("it is not as it was written")))
}

/// Why a shard cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Problem {
    /// Nobody has made it yet.
    Missing,
    /// It is there, but wrong.
    Broken(&'static str),
}

/// A shard that is being written. Dropped before [`Self::finish`], it leaves nothing.
pub(super) struct ShardWriter {
    destination: Destination,
    folder: PathBuf,
    plan: ShardPlan,
    samples: u64,
    recipe_sha256: String,
}

enum Destination {
    Tar(tar::Builder<Hashing<BufWriter<NamedTempFile>>>),
    Folder(TempDir, tar::Builder<Hashing<io::Sink>>),
}

impl ShardWriter {
    pub(super) fn create(folder: &Path, plan: &ShardPlan, recipe: &Recipe) -> Result<Self, DatasetError> {
        let mut builder = Builder::new();
        let builder = builder.prefix(ASIDE);
        let destination = match recipe.layout {
            Layout::Webdataset => {
                let file = readable(builder, 0o666).tempfile_in(folder).map_err(DatasetError::write(folder))?;
                Destination::Tar(tar::Builder::new(Hashing::new(BufWriter::new(file))))
            }
            Layout::Folder => {
                let aside = readable(builder, 0o777).tempdir_in(folder).map_err(DatasetError::write(folder))?;
                Destination::Folder(aside, tar::Builder::new(Hashing::new(io::sink())))
            }
        };
        let (folder, plan, recipe_sha256) = (folder.to_owned(), plan.clone(), recipe.hash());
        Ok(Self { destination, folder, plan, samples: 0, recipe_sha256 })
    }

    fn path(&self) -> PathBuf {
        let layout = match self.destination {
            Destination::Tar(_) => Layout::Webdataset,
            Destination::Folder(..) => Layout::Folder,
        };
        path(&self.folder, &self.plan, layout)
    }

    pub(super) fn append(&mut self, sample: &Drawn) -> Result<(), DatasetError> {
        let path = self.path();
        for (extension, bytes) in &sample.files {
            let name = format!("{}.{extension}", sample.key);
            match &mut self.destination {
                Destination::Tar(tar) => append(tar, &name, bytes),
                Destination::Folder(aside, tar) => {
                    fs::write(aside.path().join(&name), bytes).and_then(|()| append(tar, &name, bytes))
                }
            }
            .map_err(DatasetError::write(&path))?;
        }
        self.samples += 1;
        Ok(())
    }

    /// Gives the shard its name, and writes its record.
    pub(super) fn finish(self) -> Result<(), DatasetError> {
        let (path, record_path) = (self.path(), record_path(&self.folder, &self.plan));
        let failed = || DatasetError::write(&path);
        // A record of what was there before must not outlive it.
        match fs::remove_file(&record_path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(DatasetError::write(&record_path)(error));
            }
            _ => {}
        }
        let (bytes, sha256) = match self.destination {
            Destination::Tar(tar) => {
                let hashing = tar.into_inner().map_err(failed())?;
                let digest = hashing.digest();
                let file = hashing.inner.into_inner().map_err(|error| failed()(error.into_error()))?;
                file.as_file().sync_all().map_err(failed())?;
                file.persist(&path).map_err(|error| failed()(error.error))?;
                digest
            }
            Destination::Folder(aside, tar) => {
                let digest = tar.into_inner().map_err(failed())?.digest();
                if path.exists() {
                    fs::remove_dir_all(&path).map_err(failed())?;
                }
                fs::rename(aside.path(), &path).map_err(failed())?;
                // It has another name now: there is nothing to remove.
                let _renamed = aside.keep();
                digest
            }
        };
        let record = Record { samples: self.samples, bytes, sha256, recipe_sha256: self.recipe_sha256 };
        write_json(&record_path, &record)
    }
}

/// What the names of unfinished files begin with.
pub(super) const ASIDE: &str = ".writing-";

/// Writes a JSON file beside its place and renames it.
pub(super) fn write_json(path: &Path, value: &impl Serialize) -> Result<(), DatasetError> {
    let text = serde_json::to_string_pretty(value).expect("it is plain data") + "\n";
    let folder = path.parent().expect("it is a file in the data set's folder");
    let write = || {
        let mut file = readable(Builder::new().prefix(ASIDE), 0o666).tempfile_in(folder)?;
        file.write_all(text.as_bytes())?;
        file.as_file().sync_all()?;
        file.persist(path).map_err(|error| error.error)
    };
    write().map(drop).map_err(DatasetError::write(path))
}

/// Temporary files are private by default; these become the user's own files, so the usual rights less umask apply.
#[cfg(unix)]
fn readable<'a, 'p, 's>(builder: &'a mut Builder<'p, 's>, mode: u32) -> &'a mut Builder<'p, 's> {
    use std::os::unix::fs::PermissionsExt;
    builder.permissions(fs::Permissions::from_mode(mode))
}

#[cfg(not(unix))]
fn readable<'a, 'p, 's>(builder: &'a mut Builder<'p, 's>, _mode: u32) -> &'a mut Builder<'p, 's> {
    builder
}

/// Adds a file that is the same on every machine: no owner, no time.
fn append(tar: &mut tar::Builder<impl Write>, name: &str, bytes: &[u8]) -> io::Result<()> {
    let mut header = tar::Header::new_ustar();
    header.set_size(bytes.len() as u64);
    header.set_mode(0o644);
    header.set_mtime(0);
    tar.append_data(&mut header, name, bytes)
}

fn file_length(path: &Path) -> Result<u64, DatasetError> {
    Ok(fs::metadata(path).map_err(DatasetError::read(path))?.len())
}

fn hash_file(path: &Path) -> Result<(u64, String), DatasetError> {
    let mut hashing = Hashing::new(io::sink());
    let mut file = File::open(path).map_err(DatasetError::read(path))?;
    io::copy(&mut file, &mut hashing).map_err(DatasetError::read(path))?;
    Ok(hashing.digest())
}

fn hash_folder(path: &Path) -> Result<(u64, String), DatasetError> {
    let mut tar = tar::Builder::new(Hashing::new(io::sink()));
    for name in names(path)? {
        let file = path.join(&name);
        let mut bytes = Vec::new();
        let read = File::open(&file).and_then(|file| BufReader::new(file).read_to_end(&mut bytes));
        read.and_then(|_| append(&mut tar, &name, &bytes)).map_err(DatasetError::read(&file))?;
    }
    Ok(tar.into_inner().map_err(DatasetError::read(path))?.digest())
}

/// Names of what is in a folder, sorted.
pub(super) fn names(folder: &Path) -> Result<Vec<String>, DatasetError> {
    let entries = fs::read_dir(folder).map_err(DatasetError::read(folder))?;
    let name = |entry: io::Result<fs::DirEntry>| entry.map(|entry| entry.file_name().to_string_lossy().into_owned());
    let mut names = entries.map(name).collect::<io::Result<Vec<_>>>().map_err(DatasetError::read(folder))?;
    names.sort();
    Ok(names)
}

/// Counts and hashes what goes through.
struct Hashing<W> {
    inner: W,
    hasher: Sha256,
    bytes: u64,
}

impl<W> Hashing<W> {
    fn new(inner: W) -> Self {
        Self { inner, hasher: Sha256::new(), bytes: 0 }
    }

    fn digest(&self) -> (u64, String) {
        (self.bytes, hex(&self.hasher.clone().finalize()))
    }
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.hasher.update(&bytes[..written]);
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}
