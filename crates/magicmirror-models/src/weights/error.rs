use std::{fmt, io, path::PathBuf};

use thiserror::Error;

/// Why weights could not be read or written.
#[derive(Debug, Error)]
pub enum WeightsError {
    /// The file system refused.
    #[error("cannot access file: {}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// None of the names that a part's weights may have exists in the folder.
    #[error("no weights found in {}: looked for {}", folder.display(), tried.join(", "))]
    NotFound {
        /// The folder searched.
        folder: PathBuf,
        /// The file names tried.
        tried: Vec<String>,
    },
    /// The file is not what its name promises.
    #[error("not a valid file ({reason}): {}", path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A safetensors file that is shorter or longer than its header says.
    #[error("file is {found} bytes long, its header promises {expected} (truncated download?): {}", path.display())]
    Truncated {
        /// The file.
        path: PathBuf,
        /// Bytes promised by the header.
        expected: u64,
        /// Bytes there are.
        found: u64,
    },
    /// A valid file that uses something this program does not read.
    #[error("not supported ({reason}): {}", path.display())]
    Unsupported {
        /// The file.
        path: PathBuf,
        /// What is not supported.
        reason: String,
    },
    /// Names or shapes in the file differ from those the configuration asks for.
    #[error("weights do not fit the configuration: {}\n{mismatch}", path.display())]
    Mismatch {
        /// The file or folder.
        path: PathBuf,
        /// All differences.
        mismatch: Mismatch,
    },
}

impl WeightsError {
    pub(crate) fn io(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        |source| Self::Io { path, source }
    }

    pub(crate) fn invalid(path: impl Into<PathBuf>, reason: impl Into<String>) -> Self {
        Self::Invalid { path: path.into(), reason: reason.into() }
    }
}

/// A tensor whose shape differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Misshapen {
    /// Name of the tensor.
    pub name: String,
    /// Shape that the configuration asks for.
    pub expected: Vec<usize>,
    /// Shape in the file.
    pub found: Vec<usize>,
}

/// All differences between what a network declares and what a file holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Mismatch {
    /// Declared, not in the file; with the declared shape.
    pub missing: Vec<(String, Vec<usize>)>,
    /// In the file, not declared; with the shape found.
    pub extra: Vec<(String, Vec<usize>)>,
    /// In both, with different shapes.
    pub misshapen: Vec<Misshapen>,
}

impl Mismatch {
    /// True where file and declaration agree.
    pub fn is_empty(&self) -> bool {
        self.missing.is_empty() && self.extra.is_empty() && self.misshapen.is_empty()
    }
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut lines = Vec::new();
        for (name, shape) in &self.missing {
            lines.push(format!("  missing    {name} {shape:?}"));
        }
        for (name, shape) in &self.extra {
            lines.push(format!("  unexpected {name} {shape:?}"));
        }
        for Misshapen { name, expected, found } in &self.misshapen {
            lines.push(format!("  mis-shaped {name}: expected {expected:?}, found {found:?}"));
        }
        f.write_str(&lines.join("\n"))
    }
}
