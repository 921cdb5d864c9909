//! Videos through programs that stand in for `ffmpeg` and `ffprobe`, so that these tests need neither.

#![cfg(unix)]

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use magicmirror_media::{FfmpegPrograms, MediaError, ReadOptions, VideoReader, read_video, write_video};

use crate::{clip, provenance, psnr};

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

/// A video that was written here, in a folder without `ffmpeg`; the options say where it is not.
fn our_video(folder: &Path) -> (PathBuf, ReadOptions) {
    let path = folder.join("ours.mp4");
    write_video(&path, &clip(64, 48, 19), 12.5, &provenance()).unwrap();
    let nowhere = folder.join("no-such-program");
    let programs = FfmpegPrograms { ffmpeg: nowhere.clone(), ffprobe: nowhere };
    (path, ReadOptions { programs, ..ReadOptions::default() })
}

#[test]
fn our_own_videos_need_no_program() {
    let folder = tempfile::tempdir().unwrap();
    let (path, options) = our_video(folder.path());
    let video = read_video(&path, &options).unwrap();
    assert_eq!((video.frames.len(), video.fps.to_bits()), (19, 12.5_f64.to_bits()));
    for (read, written) in video.frames.iter().zip(&clip(64, 48, 19)) {
        // What 4:2:0 chroma costs included.
        assert!(psnr(read.as_raw(), written.as_raw()) > 30.0);
    }
    let shortened = read_video(&path, &ReadOptions { max_frames: Some(3), ..options }).unwrap();
    assert_eq!(shortened.frames, video.frames[..3]);
}

#[test]
fn our_own_damaged_videos_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let (path, options) = our_video(folder.path());
    let bytes = fs::read(&path).unwrap();
    fs::write(&path, &bytes[..bytes.len() - 9]).unwrap();
    let error = read_video(&path, &options).unwrap_err();
    assert!(matches!(error, MediaError::DecodeVideo { .. }) && error.to_string().contains("ours.mp4"), "{error}");
}

#[test]
fn videos_of_other_encoders_are_for_the_program() {
    let folder = tempfile::tempdir().unwrap();
    let (path, options) = our_video(folder.path());
    let mut bytes = fs::read(&path).unwrap();
    let name = bytes.windows(8).position(|window| window == b"OpenH264").unwrap();
    bytes[name..][..8].copy_from_slice(b"Lavc x26");
    fs::write(&path, &bytes).unwrap();
    let error = read_video(&path, &options).unwrap_err();
    assert!(matches!(error, MediaError::FfmpegMissing { .. }), "{error}");
    assert!(error.to_string().contains("MP4 files that MagicMirror wrote"), "{error}");
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
