use std::io;
use std::path::PathBuf;

use thiserror::Error;

use crate::memory::Bytes;

/// Why a model could not be downloaded.
#[derive(Debug, Error)]
pub enum DownloadError {
    /// A name that is neither one of the known models nor a repository.
    #[error("not a known model: {name}\n\nhint: use {known}, or a repository as OWNER/NAME")]
    UnknownModel {
        /// The name given.
        name: String,
        /// The known names.
        known: String,
    },
    /// The hub wants a licence accepted, or a (better) token.
    #[error(
        "the hub refuses access (HTTP {status}{reason}): {repository}\n\nhint: accept the licence at {page}, create a \
         token that may read it, and give it as HF_TOKEN or --token"
    )]
    Refused {
        /// Owner and name.
        repository: String,
        /// HTTP status.
        status: u16,
        /// What the hub said, after a separator; may be empty.
        reason: String,
        /// Where to accept the licence.
        page: String,
    },
    /// No such repository, revision or file.
    #[error("no such {what} on the hub: {name}\n\nhint: {hint}")]
    NotFound {
        /// Repository, revision or file.
        what: &'static str,
        /// Its name.
        name: String,
        /// What to do.
        hint: &'static str,
    },
    /// Any other answer that is not the file.
    #[error("the hub answered with HTTP {status}{reason}: {url}")]
    Status {
        /// HTTP status.
        status: u16,
        /// What the hub said, after a separator; may be empty.
        reason: String,
        /// The address asked.
        url: String,
    },
    /// No connection, or one that broke.
    #[error(
        "no answer from the hub: {url}\n\nhint: check the network; HF_ENDPOINT sets another hub; files received in part \
         are kept, and the same command goes on with them"
    )]
    Network {
        /// The address asked.
        url: String,
        /// What the connection said.
        #[source]
        source: io::Error,
    },
    /// A file list that cannot be used.
    #[error("cannot use the hub's file list of {repository}: {reason}")]
    Listing {
        /// Owner and name.
        repository: String,
        /// What is wrong.
        reason: String,
    },
    /// The bytes received, twice, are not those that the hub promises.
    #[error("downloaded twice, each time with a wrong hash (expected {expected}, found {found}): {}", path.display())]
    HashMismatch {
        /// The file that was to be written.
        path: PathBuf,
        /// The hub's hash.
        expected: String,
        /// That of the bytes received.
        found: String,
    },
    /// Not enough room for what is still missing.
    #[error("not enough disk space: {} needed, {} free: {}", Bytes(*needed), Bytes(*free), folder.display())]
    DiskSpace {
        /// Bytes to download.
        needed: u64,
        /// Bytes free.
        free: u64,
        /// The folder to write.
        folder: PathBuf,
    },
    /// The disk filled up.
    #[error(
        "disk full: {}\n\nhint: free some space and give the same command again: it goes on where it stopped",
        path.display()
    )]
    DiskFull {
        /// The file being written.
        path: PathBuf,
    },
    /// Another process holds the partial file.
    #[error("another download is writing this file: {}", path.display())]
    Busy {
        /// The partial file.
        path: PathBuf,
    },
}

impl DownloadError {
    /// Whether trying again soon may help.
    pub(super) fn is_transient(&self) -> bool {
        match self {
            Self::Network { .. } => true,
            Self::Status { status, .. } => *status == 429 || *status >= 500,
            _ => false,
        }
    }
}
