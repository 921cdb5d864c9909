//! Downloads from a small hub on the loopback interface, which answers as the real one does.

#![expect(clippy::unwrap_used, reason = "these are tests")]

mod hub;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use hub::{COMMIT, Hub, REPOSITORY};
use magicmirror_engine::models::{DownloadError, DownloadOptions, Downloaded, download};
use magicmirror_engine::{Control, EngineError, Event, Stage};

const INDEX: &str = "model_index.json";
const WEIGHTS: &str = "transformer/diffusion_pytorch_model.safetensors";

/// A pipeline folder in small, with files that nobody needs.
fn pipeline() -> Hub {
    Hub::default()
        .file("README.md", b"# A model")
        .file(".gitattributes", b"*.safetensors filter=lfs")
        .file("assets/poster.png", b"PNG")
        .file("LICENSE", b"terms")
        .file(INDEX, br#"{"_class_name": "CogVideoXPipeline"}"#)
        .file("tokenizer/spiece.model", b"pieces")
        .lfs(WEIGHTS, &weights())
}

/// More than fits into one read.
fn weights() -> Vec<u8> {
    (0..700_000_u32).map(|index| (index.wrapping_mul(2_654_435_761) >> 24) as u8).collect()
}

struct Outcome {
    result: Result<Downloaded, EngineError>,
    events: Vec<Event>,
}

impl Outcome {
    fn says(&self, text: &str) -> bool {
        self.events.iter().any(|event| matches!(event, Event::Note(said) | Event::Warning(said) if said.contains(text)))
    }

    fn error(self) -> DownloadError {
        match self.result {
            Err(EngineError::Download(error)) => error,
            other => panic!("not a download error: {other:?}"),
        }
    }
}

fn options(endpoint: &str, output: &Path) -> DownloadOptions {
    DownloadOptions {
        endpoint: endpoint.to_owned(),
        output: output.to_owned(),
        ..DownloadOptions::new(REPOSITORY).unwrap()
    }
}

fn run(options: &DownloadOptions) -> Outcome {
    run_until(options, f64::INFINITY)
}

/// Asks the download to stop once that many bytes are there.
fn run_until(options: &DownloadOptions, stop: f64) -> Outcome {
    let cancelled = AtomicBool::new(false);
    let mut events = Vec::new();
    let mut listener = |event| {
        if matches!(event, Event::Advanced { done, .. } if done >= stop) {
            cancelled.store(true, Ordering::Relaxed);
        }
        events.push(event);
    };
    let result = download(options, &mut Control::new(&mut listener, &cancelled));
    Outcome { result, events }
}

fn part(output: &Path, path: &str) -> PathBuf {
    output.join(format!("{path}.part"))
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn downloads_the_files_of_the_pipeline_and_no_others() {
    let hub = pipeline().start();
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("new/model");
    let outcome = run(&options(&hub.endpoint, &output));
    let bytes = weights().len() as u64 + 36 + 6 + 5;
    let expected = Downloaded { commit: COMMIT.to_owned(), files: 4, bytes, fetched: 4 };
    assert_eq!(*outcome.result.as_ref().unwrap(), expected);
    assert_eq!(fs::read(output.join(WEIGHTS)).unwrap(), weights());
    assert_eq!(fs::read(output.join("tokenizer/spiece.model")).unwrap(), b"pieces");
    assert_eq!(names(&output), ["LICENSE", INDEX, "tokenizer", "transformer"]);
    assert_eq!(names(&output.join("transformer")), ["diffusion_pytorch_model.safetensors"]);

    let mut bar = Vec::new();
    for event in &outcome.events {
        match event {
            Event::Started { stage: Stage::Download, total } => assert_eq!(*total as u64, bytes),
            Event::Advanced { stage: Stage::Download, done } => bar.push(*done),
            _ => {}
        }
    }
    assert!(bar.is_sorted());
    assert_eq!(bar.last().map(|done| *done as u64), Some(bytes));
    assert!(outcome.says("4 files, 683.6 KiB in all, 683.6 KiB to download"));
}

#[test]
fn a_second_download_fetches_nothing_unless_a_file_has_changed() {
    let hub = pipeline().start();
    let folder = tempfile::tempdir().unwrap();
    let options = options(&hub.endpoint, folder.path());
    run(&options).result.unwrap();
    let before = hub.requests().len();
    let again = run(&options);
    assert!(again.says("all there, checking"));
    assert_eq!(again.result.unwrap().fetched, 0);
    assert_eq!(hub.requests().len(), before + 1, "only the list is asked for");

    let mut changed = weights();
    changed[5] ^= 1;
    fs::write(folder.path().join(WEIGHTS), changed).unwrap();
    fs::write(folder.path().join(INDEX), "{}").unwrap();
    let repaired = run(&options);
    assert!(repaired.says("it will be replaced"));
    assert_eq!(repaired.result.unwrap().fetched, 2);
    assert_eq!(fs::read(folder.path().join(WEIGHTS)).unwrap(), weights());
}

#[test]
fn a_stopped_download_goes_on_where_it_stopped() {
    let hub = pipeline().start();
    let folder = tempfile::tempdir().unwrap();
    let options = options(&hub.endpoint, folder.path());
    let stopped = run_until(&options, 200_000.0);
    assert!(matches!(stopped.result, Err(EngineError::Cancelled)));
    assert!(stopped.says("is kept"));
    assert!(!folder.path().join(WEIGHTS).exists());
    let kept = fs::metadata(part(folder.path(), WEIGHTS)).unwrap().len();
    assert!(kept > 0 && kept < weights().len() as u64, "{kept}");

    let before = hub.requests().len();
    let outcome = run(&options);
    outcome.result.as_ref().unwrap();
    assert_eq!(fs::read(folder.path().join(WEIGHTS)).unwrap(), weights());
    let requests = hub.requests();
    let ranges: Vec<_> = requests[before..].iter().filter_map(|request| request.header("range")).collect();
    let range = format!("bytes={kept}-");
    assert_eq!(ranges, [&range, &range], "at the hub and, redirected, at the store");
}

#[test]
fn a_broken_connection_is_made_anew_from_where_it_broke() {
    let hub = pipeline().drop_after(WEIGHTS, 300_000).start();
    let folder = tempfile::tempdir().unwrap();
    let outcome = run(&options(&hub.endpoint, folder.path()));
    assert!(outcome.says("connection lost at 293.0 KiB"));
    outcome.result.unwrap();
    assert_eq!(fs::read(folder.path().join(WEIGHTS)).unwrap(), weights());
    assert!(hub.requests().iter().any(|request| request.header("range") == Some("bytes=300000-")));
}

#[test]
fn a_hub_without_ranges_is_read_from_the_start() {
    let hub = pipeline().without_ranges().start();
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("transformer")).unwrap();
    fs::write(part(folder.path(), WEIGHTS), &weights()[..1000]).unwrap();
    let outcome = run(&options(&hub.endpoint, folder.path()));
    assert!(!outcome.says("wrong hash"));
    outcome.result.unwrap();
    assert_eq!(fs::read(folder.path().join(WEIGHTS)).unwrap(), weights());
}

#[test]
fn foreign_partial_files_are_replaced() {
    let hub = pipeline().start();
    for (case, length) in [("wrong bytes", 1000), ("too long", 800_000), ("complete but wrong", 700_000)] {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("transformer")).unwrap();
        fs::write(part(folder.path(), WEIGHTS), vec![7; length]).unwrap();
        run(&options(&hub.endpoint, folder.path())).result.unwrap();
        assert_eq!(fs::read(folder.path().join(WEIGHTS)).unwrap(), weights(), "{case}");
    }
}

#[test]
fn corrupted_files_are_fetched_once_more_and_then_refused_with_both_hashes() {
    // From sha256sum, and from git hash-object.
    let good_sha256 = "770e607624d689265ca6c44884d0807d9b054d23c473c106c72be9de08b7376c";
    let evil_sha256 = "b5c1fb2efc6d6b4674c2fdcc48ce01b43a3b7c03763c0c3355de0099ee0f8c73";
    let good_git = "476e93d5714117cb50143dbe653f4b2b5a1d4b18";
    let evil_git = "e3d35f18560c0f2a1125f8c8ba9a8210c6321ccf";
    let cases = [
        (WEIGHTS, pipeline().lfs(WEIGHTS, b"good"), good_sha256, evil_sha256),
        (INDEX, pipeline().file(INDEX, b"good"), good_git, evil_git),
    ];
    for (path, hub, good, evil) in cases {
        let hub = hub.corrupt(path, b"evil").start();
        let folder = tempfile::tempdir().unwrap();
        let outcome = run(&options(&hub.endpoint, folder.path()));
        assert!(outcome.says("downloading again"));
        match outcome.error() {
            DownloadError::HashMismatch { path: file, expected, found } => {
                assert_eq!((file, &*expected, &*found), (folder.path().join(path), good, evil));
            }
            other => panic!("{other}"),
        }
        let requests = hub.requests();
        let tries = requests.iter().filter(|request| request.path.ends_with(&format!("resolve/{COMMIT}/{path}")));
        assert_eq!(tries.count(), 2);
        assert!(!folder.path().join(path).exists());
        assert!(!part(folder.path(), path).exists());
    }
}

#[test]
fn the_token_goes_to_the_hub_and_nowhere_else() {
    let hub = pipeline().gated("hf_secret").start();
    let folder = tempfile::tempdir().unwrap();
    let mut options = options(&hub.endpoint, folder.path());
    options.token = Some("hf_secret\n".to_owned());
    run(&options).result.unwrap();
    let requests = hub.requests();
    let (store, own): (Vec<_>, Vec<_>) = requests.iter().partition(|request| request.path.starts_with("/lfs/"));
    assert_eq!((store.len(), own.len()), (1, 5));
    assert!(store.iter().all(|request| request.header("authorization").is_none()));
    assert!(own.iter().all(|request| request.header("authorization") == Some("Bearer hf_secret")));
}

#[test]
fn a_gated_repository_says_where_to_accept_its_licence() {
    let hub = pipeline().gated("hf_secret").start();
    for (token, status) in [(None, 401), (Some("hf_other"), 403)] {
        let folder = tempfile::tempdir().unwrap();
        let mut options = options(&hub.endpoint, folder.path());
        options.token = token.map(str::to_owned);
        let error = run(&options).error();
        assert!(matches!(&error, DownloadError::Refused { status: found, .. } if *found == status), "{error}");
        let text = error.to_string();
        assert!(text.contains(&format!("accept the licence at {}/{REPOSITORY}", hub.endpoint)), "{text}");
        assert!(text.contains("HF_TOKEN"), "{text}");
        assert!(text.contains("Access to this model is restricted"), "{text}");
    }
}

#[test]
fn what_is_not_there_is_named() {
    let hub = pipeline().start();
    let folder = tempfile::tempdir().unwrap();
    let mut options = options(&hub.endpoint, folder.path());
    options.revision = "v9".to_owned();
    let error = run(&options).error();
    assert!(matches!(&error, DownloadError::NotFound { what: "revision", name, .. } if name.contains("v9")), "{error}");

    options.revision = "main".to_owned();
    options.repository = "someone/nothing".to_owned();
    let error = run(&options).error();
    assert!(
        matches!(&error, DownloadError::NotFound { what: "repository", name, .. } if name == "someone/nothing"),
        "{error}"
    );
    assert!(names(folder.path()).is_empty());
}

#[test]
fn an_unreachable_hub_is_named() {
    // A port that was free a moment ago.
    let address = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let folder = tempfile::tempdir().unwrap();
    for endpoint in [format!("http://{address}"), "no address".to_owned()] {
        let error = run(&options(&endpoint, folder.path())).error();
        assert!(matches!(&error, DownloadError::Network { url, .. } if url.starts_with(&endpoint)), "{error:?}");
    }
}

#[test]
fn lists_that_cannot_be_trusted_are_refused() {
    let no_hash = r#"{"sha": "c", "siblings": [{"rfilename": "model_index.json"}]}"#;
    let cases = [
        (Hub::default().file("README.md", b"x"), "no model_index.json"),
        (pipeline().file("../outside.json", b"{}"), "unsafe file name"),
        (pipeline().listing("<html>"), "expected value"),
        (pipeline().listing(no_hash), "no size or hash of model_index.json"),
    ];
    for (hub, reason) in cases {
        let hub = hub.start();
        let folder = tempfile::tempdir().unwrap();
        let error = run(&options(&hub.endpoint, folder.path())).error();
        assert!(matches!(error, DownloadError::Listing { .. }), "{error}");
        assert!(error.to_string().contains(reason), "{error}");
    }
}

#[cfg(unix)]
#[test]
fn room_on_the_disk_is_checked_first() {
    let huge =
        r#"{"sha": "c", "siblings": [{"rfilename": "model_index.json", "size": 4611686018427387904, "blobId": "0"}]}"#;
    let hub = pipeline().listing(huge).start();
    let folder = tempfile::tempdir().unwrap();
    let error = run(&options(&hub.endpoint, folder.path())).error();
    assert!(matches!(error, DownloadError::DiskSpace { .. }), "{error}");
    assert_eq!(hub.requests().len(), 1, "only the list is asked for");
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_named() {
    let hub = pipeline().start();
    let folder = tempfile::tempdir().unwrap();
    let part = part(folder.path(), INDEX);
    std::os::unix::fs::symlink("/dev/full", &part).unwrap();
    let error = run(&options(&hub.endpoint, folder.path())).error();
    assert!(matches!(&error, DownloadError::DiskFull { path } if *path == part), "{error}");
}

#[test]
fn two_downloads_do_not_write_the_same_file() {
    let hub = pipeline().start();
    let folder = tempfile::tempdir().unwrap();
    let other = fs::File::create(part(folder.path(), "LICENSE")).unwrap();
    other.lock().unwrap();
    let error = run(&options(&hub.endpoint, folder.path())).error();
    assert!(matches!(error, DownloadError::Busy { .. }), "{error}");
}

#[test]
fn a_folder_that_cannot_be_made_is_named() {
    let hub = pipeline().start();
    let file = tempfile::NamedTempFile::new().unwrap();
    match run(&options(&hub.endpoint, file.path())).result {
        Err(EngineError::Io { path, .. }) => assert_eq!(path, file.path()),
        other => panic!("{other:?}"),
    }
}

#[test]
fn models_are_named_shortly_or_as_repositories() {
    for (name, repository, folder) in [
        ("cogvideox-2b", "zai-org/CogVideoX-2b", "cogvideox-2b"),
        ("cogvideox-5b", "zai-org/CogVideoX-5b", "cogvideox-5b"),
        ("cogvideox-1.5-5b", "zai-org/CogVideoX1.5-5B", "cogvideox-1.5-5b"),
        ("someone/Fine.Tune", "someone/Fine.Tune", "Fine.Tune"),
    ] {
        let options = DownloadOptions::new(name).unwrap();
        assert_eq!((&*options.repository, options.output.as_path()), (repository, Path::new(folder)));
    }
    for name in ["", "cogvideox", "a/b/c", "a/", "/b", "../b", "a/.."] {
        let error = DownloadOptions::new(name).err().unwrap_or_else(|| panic!("{name:?} was taken"));
        assert!(error.to_string().contains("cogvideox-1.5-5b"), "{error}");
    }
}
