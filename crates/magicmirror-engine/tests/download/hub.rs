//! A hub in small: file list, small files, large files behind a redirect to another host, ranges, gates, and faults.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;

use serde_json::{Value, json};
use sha1::Sha1;
use sha2::{Digest, Sha256};

pub(crate) const REPOSITORY: &str = "someone/Model";
pub(crate) const COMMIT: &str = "8fa1c0de8fa1c0de8fa1c0de8fa1c0de8fa1c0de";

/// What the hub holds, and how it misbehaves.
#[derive(Default)]
pub(crate) struct Hub {
    files: BTreeMap<String, RepoFile>,
    token: Option<String>,
    listing: Option<String>,
    no_ranges: bool,
    /// File, and after how many bytes its first connection breaks.
    drop_once: Mutex<Option<(String, usize)>>,
}

struct RepoFile {
    content: Vec<u8>,
    served: Vec<u8>,
    lfs: bool,
}

impl Hub {
    pub(crate) fn file(self, path: &str, content: &[u8]) -> Self {
        self.add(path, content, false)
    }

    /// A large file, which is stored elsewhere.
    pub(crate) fn lfs(self, path: &str, content: &[u8]) -> Self {
        self.add(path, content, true)
    }

    /// Sends other bytes than the list promises.
    pub(crate) fn corrupt(mut self, path: &str, served: &[u8]) -> Self {
        self.files.get_mut(path).unwrap().served = served.to_vec();
        self
    }

    /// Gives files only to those with this token.
    pub(crate) fn gated(mut self, token: &str) -> Self {
        self.token = Some(token.to_owned());
        self
    }

    /// Gives this instead of the file list.
    pub(crate) fn listing(mut self, body: &str) -> Self {
        self.listing = Some(body.to_owned());
        self
    }

    /// Always sends whole files.
    pub(crate) fn without_ranges(mut self) -> Self {
        self.no_ranges = true;
        self
    }

    pub(crate) fn drop_after(mut self, path: &str, bytes: usize) -> Self {
        self.drop_once = Mutex::new(Some((path.to_owned(), bytes)));
        self
    }

    /// Serves until the test program ends.
    pub(crate) fn start(self) -> Running {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let log = Arc::new(Mutex::new(Vec::new()));
        let server = Arc::new(Server { hub: self, port, log: Arc::clone(&log) });
        thread::spawn(move || {
            for stream in listener.incoming() {
                let server = Arc::clone(&server);
                // A client that goes away is part of the tests.
                thread::spawn(move || drop(server.answer(&stream.unwrap())));
            }
        });
        Running { endpoint: format!("http://127.0.0.1:{port}"), log }
    }

    fn add(mut self, path: &str, content: &[u8], lfs: bool) -> Self {
        let file = RepoFile { content: content.to_vec(), served: content.to_vec(), lfs };
        self.files.insert(path.to_owned(), file);
        self
    }
}

/// A hub at work.
pub(crate) struct Running {
    pub(crate) endpoint: String,
    log: Arc<Mutex<Vec<Request>>>,
}

impl Running {
    pub(crate) fn requests(&self) -> MutexGuard<'_, Vec<Request>> {
        self.log.lock().unwrap()
    }
}

pub(crate) struct Request {
    pub(crate) path: String,
    headers: BTreeMap<String, String>,
}

impl Request {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }

    fn read(stream: &TcpStream) -> std::io::Result<Self> {
        let mut lines = BufReader::new(stream).lines();
        let first = lines.next().unwrap_or(Ok(String::new()))?;
        let path = first.split(' ').nth(1).unwrap_or_default().to_owned();
        let mut headers = BTreeMap::new();
        for line in lines {
            match line?.split_once(": ") {
                Some((name, value)) => headers.insert(name.to_lowercase(), value.to_owned()),
                None => break,
            };
        }
        Ok(Self { path, headers })
    }
}

struct Server {
    hub: Hub,
    port: u16,
    log: Arc<Mutex<Vec<Request>>>,
}

impl Server {
    fn answer(&self, stream: &TcpStream) -> std::io::Result<()> {
        let request = Request::read(stream)?;
        let (path, query) = request.path.split_once('?').unwrap_or((&request.path, ""));
        let range = request.header("range").map(str::to_owned);
        let token = request.header("authorization").map(str::to_owned);
        let (path, query) = (path.to_owned(), query.to_owned());
        self.log.lock().unwrap().push(request);

        if let Some(revision) = path.strip_prefix(&format!("/api/models/{REPOSITORY}/revision/")) {
            if revision != "main" && revision != COMMIT {
                return fail(stream, 404, "RevisionNotFound", "Invalid rev id");
            }
            let listing = self.hub.listing.clone().unwrap_or_else(|| self.list(&query).to_string());
            return send(stream, 200, &[("Content-Type", "application/json")], listing.as_bytes());
        }
        let prefix = format!("/{REPOSITORY}/resolve/{COMMIT}/");
        if let Some((name, file)) = path.strip_prefix(&prefix).and_then(|name| self.hub.files.get_key_value(name)) {
            if let Some(expected) = &self.hub.token
                && token != Some(format!("Bearer {expected}"))
            {
                let status = if token.is_some() { 403 } else { 401 };
                return fail(stream, status, "GatedRepo", "Access to this model is restricted.");
            }
            let commit = ("X-Repo-Commit", COMMIT);
            if !file.lfs {
                let etag = format!("\"{}\"", git_hash(&file.content));
                return self.send_range(stream, name, file, range.as_deref(), &[commit, ("ETag", &etag)]);
            }
            let etag = format!("\"{}\"", hex(&Sha256::digest(&file.content)));
            let size = file.content.len().to_string();
            // Another host name for the same server.
            let location = format!("http://localhost:{}/lfs/{name}", self.port);
            let headers = [commit, ("X-Linked-Etag", &etag), ("X-Linked-Size", &size), ("Location", &location)];
            return send(stream, 302, &headers, b"");
        }
        if let Some((name, file)) = path.strip_prefix("/lfs/").and_then(|name| self.hub.files.get_key_value(name)) {
            return self.send_range(stream, name, file, range.as_deref(), &[]);
        }
        fail(stream, 401, "RepoNotFound", "Repository not found")
    }

    fn list(&self, query: &str) -> Value {
        let siblings: Vec<Value> = self
            .hub
            .files
            .iter()
            .map(|(path, file)| {
                let mut sibling = json!({ "rfilename": path });
                if query == "blobs=true" {
                    sibling["size"] = file.content.len().into();
                    sibling["blobId"] = git_hash(&file.content).into();
                    if file.lfs {
                        let sha256 = hex(&Sha256::digest(&file.content));
                        sibling["blobId"] = git_hash(sha256.as_bytes()).into();
                        sibling["lfs"] = json!({ "sha256": sha256, "size": file.content.len(), "pointerSize": 134 });
                    }
                }
                sibling
            })
            .collect();
        json!({ "id": REPOSITORY, "sha": COMMIT, "siblings": siblings })
    }

    fn send_range(
        &self,
        stream: &TcpStream,
        name: &str,
        file: &RepoFile,
        range: Option<&str>,
        headers: &[(&str, &str)],
    ) -> std::io::Result<()> {
        let all = &file.served;
        let start = range.filter(|_| !self.hub.no_ranges);
        let start = start.and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-')?.parse::<usize>().ok());
        let drop_at = self.hub.drop_once.lock().unwrap().take_if(|(path, _)| path == name).map(|(_, bytes)| bytes);
        if let Some(bytes) = drop_at {
            head(stream, 200, headers, all.len())?;
            return (&*stream).write_all(&all[..bytes]);
        }
        match start {
            None => send(stream, 200, headers, all),
            Some(start) if start < all.len() => {
                let content_range = format!("bytes {start}-{}/{}", all.len() - 1, all.len());
                send(stream, 206, &[headers, &[("Content-Range", &content_range)]].concat(), &all[start..])
            }
            Some(_) => send(stream, 416, headers, b""),
        }
    }
}

fn fail(stream: &TcpStream, status: u16, code: &str, message: &str) -> std::io::Result<()> {
    send(stream, status, &[("X-Error-Code", code), ("X-Error-Message", message)], message.as_bytes())
}

fn send(stream: &TcpStream, status: u16, headers: &[(&str, &str)], body: &[u8]) -> std::io::Result<()> {
    head(stream, status, headers, body.len())?;
    (&*stream).write_all(body)
}

fn head(mut stream: &TcpStream, status: u16, headers: &[(&str, &str)], length: usize) -> std::io::Result<()> {
    let lines: Vec<String> = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let first = format!("HTTP/1.1 {status} -\r\nConnection: close\r\nContent-Length: {length}\r\n");
    stream.write_all(format!("{first}{}\r\n", lines.concat()).as_bytes())
}

fn git_hash(content: &[u8]) -> String {
    let mut hasher = Sha1::new_with_prefix(format!("blob {}\0", content.len()));
    hasher.update(content);
    hex(&hasher.finalize())
}

fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .flat_map(|byte| [byte >> 4, byte & 15])
        .filter_map(|digit| char::from_digit(digit.into(), 16))
        .collect()
}
