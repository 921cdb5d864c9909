use std::path::PathBuf;

use thiserror::Error;

use super::config::{ConfigError, OtherBackbone};
use crate::weights::WeightsError;

/// Why an adapter cannot be read, written or made.
#[derive(Debug, Error)]
pub enum AdapterError {
    /// Its files cannot be read or written, or its weights do not fit its configuration.
    #[error(transparent)]
    Weights(#[from] WeightsError),
    /// Its configuration is refused.
    #[error("cannot use the adapter's configuration: {}", path.display())]
    Config {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: ConfigError,
    },
    /// A configuration made in the program is refused.
    #[error(transparent)]
    InvalidConfig(#[from] ConfigError),
    /// It belongs to another transformer.
    #[error(transparent)]
    OtherBackbone(#[from] OtherBackbone),
    /// The vision encoder to import is not the one the adapter reads.
    #[error("the adapter reads a vision encoder of width {adapter}, the one to import has width: {vision}")]
    VisionWidth {
        /// The adapter's `vision_hidden_size`.
        adapter: usize,
        /// Width of the encoder to import.
        vision: usize,
    },
}
