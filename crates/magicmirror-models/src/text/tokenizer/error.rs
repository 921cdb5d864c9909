use std::{io, path::PathBuf};

use thiserror::Error;

/// Why a tokenizer could not be opened or used.
#[derive(Debug, Error)]
pub enum TokenizerError {
    /// The file system refused.
    #[error("cannot read file: {}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The folder holds no vocabulary.
    #[error("no tokenizer found in {}: looked for {}", folder.display(), tried.join(", "))]
    NotFound {
        /// The folder searched.
        folder: PathBuf,
        /// The file names tried.
        tried: Vec<&'static str>,
    },
    /// The file is damaged, or not what its name promises.
    #[error("not a valid tokenizer file ({reason}): {}", path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A valid file that asks for something this program does not do.
    #[error("tokenizer not supported ({reason}): {}", path.display())]
    Unsupported {
        /// The file.
        path: PathBuf,
        /// What is not supported.
        reason: String,
    },
    /// The text could not be split into tokens.
    #[error("cannot tokenise text: {reason}")]
    Encode {
        /// What the tokenizer said.
        reason: String,
    },
}

/// What is wrong with a file's content, before the file is named.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Fault {
    Invalid(String),
    Unsupported(String),
}

impl Fault {
    pub(super) fn invalid(reason: impl ToString) -> Self {
        Self::Invalid(reason.to_string())
    }

    pub(super) fn unsupported(reason: impl ToString) -> Self {
        Self::Unsupported(reason.to_string())
    }

    pub(super) fn at(self, path: impl Into<PathBuf>) -> TokenizerError {
        let path = path.into();
        match self {
            Self::Invalid(reason) => TokenizerError::Invalid { path, reason },
            Self::Unsupported(reason) => TokenizerError::Unsupported { path, reason },
        }
    }
}
