use std::io;
use std::path::PathBuf;

use magicmirror_media::MediaError;
use thiserror::Error;

/// Why a data set could not be made or read.
#[derive(Debug, Error)]
pub enum DatasetError {
    /// No `dataset.json`.
    #[error("no data set (there is no dataset.json) in: {}\n\nhint: make one with `magicmirror data people --output {}`", folder.display(), folder.display())]
    NotADataset {
        /// The folder.
        folder: PathBuf,
    },
    /// The folder holds other things, which would get mixed up with the data set.
    #[error("the folder holds other things already, for one `{}`: {}\n\nhint: choose another folder, or an empty one", entry.display(), folder.display())]
    FolderInUse {
        /// The folder.
        folder: PathBuf,
        /// One of the things in it.
        entry: PathBuf,
    },
    /// The folder holds a data set of another recipe.
    #[error("the data set that is there was made with other settings ({}): {}\n\nhint: choose another folder, or use the same settings to go on with it", differences.join(", "), folder.display())]
    OtherRecipe {
        /// The folder.
        folder: PathBuf,
        /// Each as `name: there, here`.
        differences: Vec<String>,
    },
    /// The operating system refused to write: no permission, a full disk, …
    #[error("cannot write: {}\n\nhint: shards that are finished stay; make room or allow writing, and run the same command again to go on", path.display())]
    Write {
        /// What was to be written.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// The operating system refused to read.
    #[error("cannot read: {}", path.display())]
    Read {
        /// What was to be read.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// A shard that is not as it was written, or no shard at all.
    #[error("broken shard ({reason}): {}\n\nhint: run the command that made the data set again; it makes broken shards anew", path.display())]
    Shard {
        /// The shard.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A sample that lacks a part, or whose parts do not fit together.
    #[error("broken sample {key} ({reason}): {}", shard.display())]
    Sample {
        /// Its key.
        key: String,
        /// What is wrong with it.
        reason: String,
        /// Its shard.
        shard: PathBuf,
    },
    /// A picture or clip of a sample that cannot be encoded or decoded.
    #[error("broken picture in sample {key}")]
    Picture {
        /// The sample's key.
        key: String,
        /// What is wrong.
        source: MediaError,
    },
    /// A mask that is no run lengths, or of another size than its picture.
    #[error("broken mask in sample {key}")]
    Mask {
        /// The sample's key.
        key: String,
    },
    /// A JSON file that is not what it should be.
    #[error("not a valid {what} ({reason}): {}", path.display())]
    Json {
        /// What it should be.
        what: &'static str,
        /// What is wrong.
        reason: String,
        /// The file.
        path: PathBuf,
    },
    /// The run was asked to stop.
    #[error(
        "stopped: {whole} of {all} shards are finished, nothing else was written\n\nhint: run the same command again to go on"
    )]
    Stopped {
        /// Shards that are there.
        whole: usize,
        /// Shards that this run was to make.
        all: usize,
    },
}

impl DatasetError {
    pub(super) fn write(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        |source| Self::Write { path, source }
    }

    pub(super) fn read(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        |source| Self::Read { path, source }
    }
}
