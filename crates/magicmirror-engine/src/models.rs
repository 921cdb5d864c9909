//! Looking after model folders.

mod download;
mod init;
mod inspect;
pub(crate) mod shipped;
mod tiny;

pub use download::{BACKBONES, DownloadError, DownloadOptions, Downloaded, HUB, download, saved_token};
pub use init::{import_photomaker_v2, init_adapter};
pub use inspect::{Inspection, PartInspection, inspect};
pub use tiny::write_tiny;
