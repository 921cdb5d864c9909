//! What may be written where, and what is left behind when it may not.

use std::fs;
use std::path::Path;

use magicmirror_media::{MediaError, OutputFormat, check_writable, write_video};

use crate::{clip, names_in, provenance};

const NOTHING: [&str; 0] = [];

#[test]
fn the_extension_names_the_format() {
    let cases = [
        ("a.mp4", Some(OutputFormat::Mp4)),
        ("a.b.GIF", Some(OutputFormat::Gif)),
        ("a.webp", Some(OutputFormat::WebP)),
        ("a.Png", Some(OutputFormat::Png)),
        ("folder", Some(OutputFormat::Folder)),
        ("folder/", Some(OutputFormat::Folder)),
        ("a.avi", None),
        ("..", None),
        ("", None),
    ];
    for (path, expected) in cases {
        assert_eq!(OutputFormat::from_path(Path::new(path)).ok(), expected, "{path}");
    }
    let message = OutputFormat::from_path(Path::new("a.avi")).unwrap_err().to_string();
    assert!(message.contains("`avi`") && message.contains(".mp4"), "{message}");
}

#[test]
fn checking_leaves_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["a.mp4", "new/deep/a.gif", "frames", "new/frames"] {
        check_writable(folder.path().join(name)).unwrap();
    }
    assert_eq!(names_in(folder.path()), NOTHING);
}

#[test]
fn bad_targets_are_refused_by_the_check_and_by_the_writer() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    fs::write(root.join("file"), "").unwrap();
    fs::create_dir(root.join("taken.mp4")).unwrap();
    fs::create_dir(root.join("mine")).unwrap();
    fs::write(root.join("mine/frame_0000.png"), "old").unwrap();
    fs::write(root.join("mine/diary.txt"), "secret").unwrap();
    let before = names_in(root);
    for name in ["taken.mp4", "file/a.mp4", "file/deep/a.mp4", "file", "mine", "a.avi", ".."] {
        let path = root.join(name);
        let checked = check_writable(&path).expect_err(name);
        let written = write_video(&path, &clip(16, 16, 1), 8.0, &provenance()).expect_err(name);
        assert!(!checked.to_string().is_empty() && !written.to_string().is_empty());
        assert_eq!(names_in(root), before, "{name}");
    }
    assert_eq!(fs::read(root.join("mine/diary.txt")).unwrap(), b"secret");
    assert_eq!(names_in(&root.join("mine")), ["diary.txt", "frame_0000.png"]);
    let message = check_writable(root.join("mine")).unwrap_err().to_string();
    assert!(message.contains("diary.txt"), "{message}");
}

#[test]
fn bad_frames_are_refused_and_leave_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let mut mixed = clip(16, 16, 2);
    mixed.extend(clip(18, 16, 1));
    for name in ["a.mp4", "a.gif", "a.webp", "frames"] {
        let path = folder.path().join(name);
        let error = write_video(&path, &[], 8.0, &provenance()).unwrap_err();
        assert!(matches!(error, MediaError::NoFrames { .. }), "{error}");
        let error = write_video(&path, &mixed, 8.0, &provenance()).unwrap_err();
        assert!(matches!(error, MediaError::MixedSizes { index: 2, .. }), "{error}");
        let error = write_video(&path, &[magicmirror_media::RgbImage::new(0, 0)], 8.0, &provenance()).unwrap_err();
        assert!(matches!(error, MediaError::EmptyImage { .. }), "{error}");
        let error = write_video(&path, &clip(16, 16, 1), f64::NAN, &provenance()).unwrap_err();
        assert!(matches!(error, MediaError::FrameRate { .. }), "{error}");
    }
    assert_eq!(names_in(folder.path()), NOTHING);
}

/// Root may write everywhere, but not where there is no place for files.
#[cfg(target_os = "linux")]
#[test]
fn a_place_that_takes_no_files_is_refused() {
    for path in ["/proc/a.mp4", "/proc/frames", "/dev/null/a.gif"] {
        check_writable(path).expect_err(path);
        write_video(path, &clip(16, 16, 1), 8.0, &provenance()).expect_err(path);
    }
}
