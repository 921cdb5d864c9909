//! GIF, WebP, PNG and folders: written, then read back.

use std::fs;

use magicmirror_media::{MediaError, ReadOptions, read_photo, read_video, write_video};

use crate::{clip, contains, provenance, psnr};

#[test]
fn webp_is_lossless() {
    let folder = tempfile::tempdir().unwrap();
    for (width, height, fps) in [(33, 17, 8.0), (2, 1, 7.5), (64, 48, 16.0)] {
        let path = folder.path().join("out.webp");
        let frames = clip(width, height, 5);
        write_video(&path, &frames, fps, &provenance()).unwrap();
        let video = read_video(&path, &ReadOptions::default()).unwrap();
        assert!(video.frames == frames, "{width}x{height}");
        assert!((video.fps / fps - 1.0).abs() < 0.01, "{}", video.fps);
        let bytes = fs::read(&path).unwrap();
        assert!(contains(&bytes, "trainedAlgorithmicMedia") && contains(&bytes, &provenance().comment()));
    }
}

#[test]
fn webp_loops_and_carries_valid_chunks() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("out.webp");
    write_video(&path, &clip(9, 9, 3), 8.0, &provenance()).unwrap();
    let bytes = std::io::Cursor::new(fs::read(&path).unwrap());
    let mut decoder = image_webp::WebPDecoder::new(bytes).unwrap();
    assert!(decoder.is_animated());
    assert_eq!((decoder.num_frames(), decoder.loop_count()), (3, image_webp::LoopCount::Forever));
    assert_eq!(decoder.loop_duration(), 375);
    assert_eq!(decoder.xmp_metadata().unwrap().unwrap(), provenance().xmp().into_bytes());
}

#[test]
fn gif_is_close_and_keeps_its_pace() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("out.gif");
    let frames = clip(64, 48, 8);
    write_video(&path, &frames, 8.0, &provenance()).unwrap();
    let video = read_video(&path, &ReadOptions::default()).unwrap();
    assert_eq!(video.frames.len(), 8);
    for (found, expected) in video.frames.iter().zip(&frames) {
        assert!(psnr(found, expected) > 30.0, "{} dB", psnr(found, expected));
    }
    assert!((video.fps - 8.0).abs() < 1e-9, "{}", video.fps);
    let bytes = fs::read(&path).unwrap();
    assert!(contains(&bytes, "NETSCAPE2.0"));
    // The comment is longer than no block: it stands in one piece.
    assert!(provenance().comment().len() < 256 && contains(&bytes, &provenance().comment()));
}

#[test]
fn png_holds_exactly_one_frame() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("out.png");
    let frames = clip(33, 17, 2);
    write_video(&path, &frames[..1], 8.0, &provenance()).unwrap();
    assert_eq!(read_photo(&path).unwrap(), frames[0]);
    let decoder = png::Decoder::new(std::io::BufReader::new(fs::File::open(&path).unwrap()));
    let reader = decoder.read_info().unwrap();
    let text = &reader.info().uncompressed_latin1_text;
    assert!(text.iter().any(|chunk| chunk.keyword == "Software" && chunk.text == "MagicMirror 0.1.0"));

    let before = fs::read(&path).unwrap();
    let error = write_video(&path, &frames, 8.0, &provenance()).unwrap_err();
    assert!(matches!(error, MediaError::OneFrameOnly { frames: 2, .. }), "{error}");
    assert_eq!(fs::read(&path).unwrap(), before);
}

#[test]
fn folders_come_back_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("new/frames");
    let frames = clip(17, 11, 12);
    write_video(&path, &frames, 8.0, &provenance()).unwrap();
    assert_eq!(crate::names_in(&path)[11], "frame_0011.png");
    let options = ReadOptions { still_fps: 16.0, ..ReadOptions::default() };
    let video = read_video(&path, &options).unwrap();
    assert!(video.frames == frames);
    assert_eq!(video.fps.to_bits(), 16_f64.to_bits());

    write_video(&path, &frames[..3], 8.0, &provenance()).unwrap();
    assert_eq!(crate::names_in(&path).len(), 3);
    assert_eq!(crate::names_in(&folder.path().join("new")), ["frames"]);
}

#[test]
fn frames_can_be_limited_and_resized() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["frames", "out.webp", "out.gif"] {
        let path = folder.path().join(name);
        write_video(&path, &clip(20, 10, 6), 8.0, &provenance()).unwrap();
        let options = ReadOptions { max_frames: Some(4), size: Some((10, 6)), ..ReadOptions::default() };
        let video = read_video(&path, &options).unwrap();
        assert_eq!(video.frames.len(), 4, "{name}");
        assert!(video.frames.iter().all(|frame| frame.dimensions() == (10, 6)), "{name}");
    }
}

#[test]
fn a_still_is_a_video_of_one_frame() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("still.png");
    crate::scene(9, 7, 0).save(&path).unwrap();
    let video = read_video(&path, &ReadOptions::default()).unwrap();
    assert_eq!(video.frames, [crate::scene(9, 7, 0)]);
}

#[test]
fn a_folder_of_mixed_sizes_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    for (index, width) in [(1, 8), (2, 8), (10, 9)] {
        let path = folder.path().join(format!("f{index}.png"));
        crate::scene(width, 8, 0).save(path).unwrap();
    }
    let error = read_video(folder.path(), &ReadOptions::default()).unwrap_err();
    assert!(matches!(error, MediaError::MixedSizes { index: 2, width: 9, .. }), "{error}");
}
