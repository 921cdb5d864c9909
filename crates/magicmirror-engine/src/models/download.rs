//! Fetches pipeline folders from the Hugging Face hub into ordinary folders.
//!
//! The `hf-hub` crate gives addresses, authentication and the file list. Its own downloads go to a hidden cache, check no
//! hash, cannot be cancelled, and start anew for files that are already there; so the files are fetched here.

mod error;
mod hub;
mod listing;
mod part;

use std::path::{Component, Path, PathBuf};

use hf_hub::Cache;

pub use self::error::DownloadError;
use self::hub::Hub;
use self::listing::{Listing, wanted_files};
use crate::memory::Bytes;
use crate::{Control, EngineError, Event, Stage};

/// Short names of backbones, and their repositories on the hub.
pub const BACKBONES: [(&str, &str); 3] = [
    ("cogvideox-2b", "zai-org/CogVideoX-2b"),
    ("cogvideox-5b", "zai-org/CogVideoX-5b"),
    ("cogvideox-1.5-5b", "zai-org/CogVideoX1.5-5B"),
];

/// The hub that is asked unless another is named.
pub const HUB: &str = "https://huggingface.co";

/// Bytes moved at once.
const CHUNK: usize = 1 << 18;

/// What to download, from where and to where.
#[derive(Clone)]
pub struct DownloadOptions {
    /// Owner and name on the hub.
    pub repository: String,
    /// Branch, tag or commit.
    pub revision: String,
    /// Folder to write.
    pub output: PathBuf,
    /// Address of the hub.
    pub endpoint: String,
    /// Access token, for repositories that need one.
    pub token: Option<String>,
}

impl DownloadOptions {
    /// The main branch of a model (one of [`BACKBONES`], or a repository as `owner/name`) from [`HUB`] without a token,
    /// into a folder of the model's name.
    ///
    /// # Errors
    /// [`DownloadError::UnknownModel`].
    pub fn new(model: &str) -> Result<Self, DownloadError> {
        let known = BACKBONES.iter().find(|(name, _)| *name == model);
        let repository = known.map_or(model, |(_, repository)| *repository);
        match repository.split('/').collect::<Vec<_>>()[..] {
            [owner, name] if is_file_name(owner) && is_file_name(name) => Ok(Self {
                repository: repository.to_owned(),
                revision: "main".to_owned(),
                output: PathBuf::from(known.map_or(name, |(name, _)| name)),
                endpoint: HUB.to_owned(),
                token: None,
            }),
            _ => Err(DownloadError::UnknownModel {
                name: model.to_owned(),
                known: BACKBONES.map(|(name, _)| name).join(", "),
            }),
        }
    }
}

/// What a download has brought.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Downloaded {
    /// The commit that the files are from.
    pub commit: String,
    /// Files in the folder, all checked by hash.
    pub files: usize,
    /// Their bytes.
    pub bytes: u64,
    /// How many of them were not there before.
    pub fetched: usize,
}

/// The token that Hugging Face's own tools have saved, if any.
pub fn saved_token() -> Option<String> {
    // `Cache` panics where there is no home folder.
    let has_home = std::env::var_os("HF_HOME").is_some() || std::env::home_dir().is_some();
    has_home.then(Cache::from_env).and_then(|cache| cache.token())
}

/// Downloads a pipeline folder: configurations, tokenizer and safetensors weights.
///
/// Each file goes to `NAME.part` first, and is renamed once its hash is the one that the hub gives. Partial files stay
/// after an error or a wish to stop, and the next call goes on with them. Files that are there already are checked by
/// hash, and only fetched if that is wrong.
///
/// # Errors
/// [`DownloadError`], [`EngineError::Cancelled`], or that of the file system.
pub fn download(options: &DownloadOptions, control: &mut Control<'_>) -> Result<Downloaded, EngineError> {
    let hub = Hub::new(options)?;
    let Listing { sha: commit, siblings } = hub.listing()?;
    let files = wanted_files(siblings).map_err(|reason| hub.unusable(reason))?;
    let output = &options.output;
    std::fs::create_dir_all(output).map_err(EngineError::io(output))?;

    let total: u64 = files.iter().map(|file| file.size).sum();
    let needed: u64 = files.iter().map(|file| file.missing(output)).sum();
    let state = if needed == 0 { "all there, checking".to_owned() } else { format!("{} to download", Bytes(needed)) };
    let repository = &options.repository;
    control.emit(Event::Note(format!(
        "{repository} at {commit}: {} files, {} in all, {state}: {}",
        files.len(),
        Bytes(total),
        output.display()
    )));
    if let Some(free) = free_space(output).filter(|free| *free < needed) {
        return Err(DownloadError::DiskSpace { needed, free, folder: output.clone() }.into());
    }

    let mut fetched = 0;
    let outcome = control.stage(Stage::Download, total as f64, |control| {
        let mut done = 0;
        for file in &files {
            let path = output.join(&file.path);
            if !file.is_present(&path, done, control)? {
                hub.fetch(&commit, file, &path, done, control)?;
                fetched += 1;
            }
            done += file.size;
            advance(control, done)?;
        }
        Ok(())
    });
    if matches!(outcome, Err(EngineError::Cancelled)) {
        control.emit(Event::Note("what was downloaded is kept: the same command goes on with it".to_owned()));
    }
    outcome.map(|()| Downloaded { commit, files: files.len(), bytes: total, fetched })
}

fn advance(control: &mut Control<'_>, bytes: u64) -> Result<(), EngineError> {
    if control.advance(Stage::Download, bytes as f64).is_break() { Err(EngineError::Cancelled) } else { Ok(()) }
}

fn is_file_name(name: &str) -> bool {
    let mut components = Path::new(name).components();
    matches!(components.next(), Some(Component::Normal(part)) if part == name) && components.next().is_none()
}

/// Bytes that may still be written where `folder` is; `None` where the system does not tell.
#[cfg(unix)]
fn free_space(folder: &Path) -> Option<u64> {
    let system = rustix::fs::statvfs(folder).ok()?;
    Some(system.f_bavail.saturating_mul(system.f_frsize))
}

/// Bytes that may still be written where `folder` is; `None` where the system does not tell.
#[cfg(not(unix))]
fn free_space(_folder: &Path) -> Option<u64> {
    None
}
