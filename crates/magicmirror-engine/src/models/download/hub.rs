use std::io::{self, Read};
use std::path::Path;
use std::thread;
use std::time::Duration;

use hf_hub::api::sync::{Api, ApiBuilder, ApiRepo};
use hf_hub::{Cache, Repo, RepoType};

use super::listing::{Listing, RemoteFile};
use super::part::{Part, part_path};
use super::{CHUNK, DownloadError, DownloadOptions, advance};
use crate::memory::Bytes;
use crate::{Control, EngineError};

/// How long the hub may be silent before the connection counts as broken.
const SILENCE: Duration = Duration::from_secs(30);
/// How often in a row a broken connection that brought nothing is made anew.
const RETRIES: u32 = 5;
const RETRY_DELAY: Duration = Duration::from_secs(1);

/// One repository of one hub.
pub(super) struct Hub<'a> {
    options: &'a DownloadOptions,
    token: Option<String>,
    api: Api,
    agent: ureq::Agent,
}

impl<'a> Hub<'a> {
    pub(super) fn new(options: &'a DownloadOptions) -> Result<Self, EngineError> {
        let token = options.token.as_deref().map(str::trim).filter(|token| !token.is_empty()).map(str::to_owned);
        let endpoint = options.endpoint.trim_end_matches('/').to_owned();
        // The cache is never used, but the default one panics where there is no home folder.
        let builder = ApiBuilder::from_cache(Cache::new(options.output.clone()));
        let api = builder.with_endpoint(endpoint).with_token(token.clone()).build().map_err(|error| {
            DownloadError::Network { url: options.endpoint.clone(), source: io::Error::other(error) }
        })?;
        // The hub sends large files from other hosts, which must not see the token.
        let agent = ureq::builder()
            .try_proxy_from_env(true)
            .redirect_auth_headers(ureq::RedirectAuthHeaders::SameHost)
            .timeout_connect(SILENCE)
            .timeout_read(SILENCE)
            .build();
        Ok(Self { options, token, api, agent })
    }

    fn repo(&self, revision: &str) -> ApiRepo {
        self.api.repo(Repo::with_revision(self.options.repository.clone(), RepoType::Model, revision.to_owned()))
    }

    pub(super) fn listing(&self) -> Result<Listing, EngineError> {
        let request = self.repo(&self.options.revision).info_request().query("blobs", "true").timeout(SILENCE);
        let url = request.url().to_owned();
        let response = request.call().map_err(|error| self.explain(error, url))?;
        Ok(response.into_json().map_err(|error| self.unusable(error.to_string()))?)
    }

    /// Downloads a file beside `path`, checks it, and moves it there; once more if its hash is wrong.
    pub(super) fn fetch(
        &self,
        commit: &str,
        remote: &RemoteFile,
        path: &Path,
        done: u64,
        control: &mut Control<'_>,
    ) -> Result<(), EngineError> {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(EngineError::io(folder))?;
        }
        let url = self.repo(commit).url(&remote.path);
        let mut part = Part::open(part_path(path))?;
        let mut found = String::new();
        for again in [true, false] {
            self.complete(&url, remote, &mut part, done, control)?;
            found = remote.hash.of(&mut part.file, &part.path, |_| control.check())?;
            if found == remote.hash.expected() {
                return part.finish(path);
            }
            part.restart()?;
            if again {
                control.warn(format!(
                    "wrong hash (expected {}, found {found}), downloading again: {}",
                    remote.hash.expected(),
                    path.display()
                ));
            }
        }
        part.remove()?;
        let expected = remote.hash.expected().to_owned();
        Err(DownloadError::HashMismatch { path: path.to_owned(), expected, found }.into())
    }

    /// Brings the partial file to its full length, over as many connections as that takes.
    fn complete(
        &self,
        url: &str,
        remote: &RemoteFile,
        part: &mut Part,
        done: u64,
        control: &mut Control<'_>,
    ) -> Result<(), EngineError> {
        if part.length()? > remote.size {
            part.restart()?;
        }
        let mut retries = RETRIES;
        loop {
            let start = part.length()?;
            if start == remote.size {
                return Ok(());
            }
            let error = match self.transfer(url, start, remote.size, part, done, control) {
                Err(EngineError::Download(error)) if error.is_transient() => error,
                other => return other,
            };
            if part.length()? > start {
                retries = RETRIES;
            } else if retries == 0 {
                return Err(error.into());
            } else {
                retries -= 1;
            }
            control.warn(format!("connection lost at {} of {}, trying again", Bytes(part.length()?), remote.path));
            thread::sleep(RETRY_DELAY);
            control.check()?;
        }
    }

    /// Appends what one connection gives, from byte `start` on.
    fn transfer(
        &self,
        url: &str,
        start: u64,
        size: u64,
        part: &mut Part,
        done: u64,
        control: &mut Control<'_>,
    ) -> Result<(), EngineError> {
        // Compressed answers would have other lengths than the file.
        let mut request = self.agent.get(url).set("Accept-Encoding", "identity");
        if let Some(token) = &self.token {
            request = request.set("Authorization", &format!("Bearer {token}"));
        }
        if start > 0 {
            request = request.set("Range", &format!("bytes={start}-"));
        }
        let response = request.call().map_err(|error| self.explain(error, url.to_owned()))?;
        let mut position = start;
        if response.status() != 206 {
            part.restart()?;
            position = 0;
        }
        let broken = |source| DownloadError::Network { url: url.to_owned(), source };
        let mut reader = response.into_reader().take(size - position);
        let mut buffer = vec![0; CHUNK];
        while position < size {
            let read = match reader.read(&mut buffer) {
                // A signal, such as that of Ctrl-C.
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {
                    control.check()?;
                    continue;
                }
                read => read.map_err(broken)?,
            };
            if read == 0 {
                return Err(broken(io::ErrorKind::UnexpectedEof.into()).into());
            }
            part.append(&buffer[..read])?;
            position += read as u64;
            advance(control, done + position)?;
        }
        Ok(())
    }

    /// What an answer that is not the file means. The hub names the reason in a header, and hides private repositories
    /// behind 401.
    fn explain(&self, error: ureq::Error, url: String) -> DownloadError {
        let (status, response) = match error {
            ureq::Error::Status(status, response) => (status, response),
            ureq::Error::Transport(transport) => {
                return DownloadError::Network { url, source: io::Error::other(transport) };
            }
        };
        let reason = response.header("x-error-message").map(|text| format!(", {text}")).unwrap_or_default();
        let repository = self.options.repository.clone();
        match (status, response.header("x-error-code").unwrap_or_default()) {
            (401 | 403, "GatedRepo" | "") | (403, _) => {
                let page = format!("{}/{repository}", self.options.endpoint.trim_end_matches('/'));
                DownloadError::Refused { repository, status, reason, page }
            }
            (404, "RevisionNotFound") => DownloadError::NotFound {
                what: "revision",
                name: format!("{} of {repository}", self.options.revision),
                hint: "give a branch, tag or commit; the default is main",
            },
            (404, "EntryNotFound") => {
                DownloadError::NotFound { what: "file", name: url, hint: "the repository may have changed: try again" }
            }
            (401 | 404, _) => DownloadError::NotFound {
                what: "repository",
                name: repository,
                hint: "check the spelling; a private repository needs HF_TOKEN or --token",
            },
            _ => DownloadError::Status { status, reason, url },
        }
    }

    pub(super) fn unusable(&self, reason: String) -> DownloadError {
        DownloadError::Listing { repository: self.options.repository.clone(), reason }
    }
}
