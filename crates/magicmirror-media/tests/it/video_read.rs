//! Videos through programs that stand in for `ffmpeg` and `ffprobe`, so that these tests need neither.

#![cfg(unix)]

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use magicmirror_media::{FfmpegPrograms, MediaError, ReadOptions, VideoReader, read_video};

const RATE: &str = r#"echo '{"streams": [{"avg_frame_rate": "15/2", "r_frame_rate": "0/0"}]}'"#;
const FRAME: &str = r"printf 'P6\n2 1\n255\nabcdef'";

/// A program that does what the shell script `body` says.
fn script(folder: &Path, name: &str, body: &str) -> PathBuf {
    let path = folder.join(name);
    fs::write(folder.join(format!("{name}.body")), body).unwrap();
    symlink(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/fixtures/run_body.sh"), &path).unwrap();
    path
}

/// Read a file that is no image with these two programs.
fn read_with(ffprobe: &str, ffmpeg: &str) -> Result<magicmirror_media::Video, MediaError> {
    let folder = tempfile::tempdir().unwrap();
    let clip = folder.path().join("clip.mp4");
    fs::write(&clip, "not looked into").unwrap();
    let programs = FfmpegPrograms {
        ffmpeg: script(folder.path(), "ffmpeg", ffmpeg),
        ffprobe: script(folder.path(), "ffprobe", ffprobe),
    };
    read_video(&clip, &ReadOptions { programs, ..ReadOptions::default() })
}

#[test]
fn frames_and_rate_come_from_the_programs() {
    let video = read_with(RATE, &format!("{FRAME}; {FRAME}; {FRAME}")).unwrap();
    assert_eq!(video.frames.len(), 3);
    assert_eq!(video.frames[2].as_raw(), b"abcdef");
    assert_eq!(video.fps.to_bits(), 7.5_f64.to_bits());
}

#[test]
fn a_program_that_dies_midway_is_an_error_with_its_words() {
    let body = format!("{FRAME}; printf 'P6\\n2 1\\n255\\nabc'; echo 'it broke' >&2; exit 3");
    let error = read_with(RATE, &body).unwrap_err();
    assert!(matches!(error, MediaError::FfmpegFailed { program: "ffmpeg", .. }), "{error}");
    assert!(error.to_string().contains("it broke"), "{error}");
    let error = read_with(RATE, &format!("{FRAME}; kill -9 $$")).unwrap_err();
    assert!(matches!(error, MediaError::FfmpegFailed { .. }), "{error}");
    let error = read_with(RATE, &format!("{FRAME}; printf 'P6\\n2 1\\n'")).unwrap_err();
    assert!(matches!(error, MediaError::FfmpegStopped { .. }), "{error}");
}

#[test]
fn strange_answers_are_errors() {
    let many_words =
        "i=0; while [ $i -lt 3000 ]; do echo 'words words words words words' >&2; i=$((i+1)); done; exit 1";
    for (ffprobe, ffmpeg) in [
        ("exit 1", FRAME),
        ("echo nonsense", FRAME),
        ("echo '{}'", FRAME),
        ("echo '{\"streams\": [{}]}'", FRAME),
        (RATE, "exit 0"),
        (RATE, "echo hello"),
        (RATE, "yes"),
        (RATE, many_words),
    ] {
        let error = read_with(ffprobe, ffmpeg).expect_err(ffmpeg);
        assert!(error.to_string().contains("clip.mp4") && error.to_string().len() < 4000, "{error}");
    }
}

#[test]
fn a_missing_program_is_named_with_advice() {
    let folder = tempfile::tempdir().unwrap();
    let clip = folder.path().join("clip.mp4");
    fs::write(&clip, "not looked into").unwrap();
    let missing = folder.path().join("no-such-program");
    let ffprobe = script(folder.path(), "ffprobe", RATE);
    for programs in [
        FfmpegPrograms { ffmpeg: missing.clone(), ffprobe },
        FfmpegPrograms { ffprobe: missing, ..FfmpegPrograms::default() },
    ] {
        let error = read_video(&clip, &ReadOptions { programs, ..ReadOptions::default() }).unwrap_err();
        let message = error.to_string();
        assert!(matches!(error, MediaError::FfmpegMissing { .. }), "{message}");
        assert!(message.contains("no-such-program") && message.contains("hint: install ffmpeg"), "{message}");
    }
}

#[test]
fn a_reader_that_is_dropped_stops_the_program() {
    let folder = tempfile::tempdir().unwrap();
    let clip = folder.path().join("clip.mp4");
    fs::write(&clip, "not looked into").unwrap();
    let programs = FfmpegPrograms {
        ffmpeg: script(folder.path(), "ffmpeg", &format!("while true; do {FRAME}; done")),
        ffprobe: script(folder.path(), "ffprobe", RATE),
    };
    let options = ReadOptions { programs, max_frames: Some(5), ..ReadOptions::default() };
    assert_eq!(VideoReader::open(&clip, &options).unwrap().count(), 5);
}

#[test]
fn missing_and_empty_sources_are_errors() {
    let folder = tempfile::tempdir().unwrap();
    let options = ReadOptions::default();
    let error = read_video(folder.path().join("missing.mp4"), &options).unwrap_err();
    assert!(matches!(error, MediaError::Read { .. }), "{error}");
    let error = read_video(folder.path(), &options).unwrap_err();
    assert!(matches!(error, MediaError::EmptyVideo { .. }), "{error}");
    fs::write(folder.path().join("empty.mp4"), "").unwrap();
    let error = read_video(folder.path().join("empty.mp4"), &options).unwrap_err();
    assert!(matches!(error, MediaError::EmptyVideo { .. }), "{error}");
}
