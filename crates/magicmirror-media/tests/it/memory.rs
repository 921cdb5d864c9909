//! Pictures and clips as bytes.

use std::path::Path;

use magicmirror_media::{MediaError, RgbImage, decode_image, decode_mp4, encode_mp4, encode_png};

use crate::{clip, psnr, scene};

#[test]
fn pictures_come_back_as_they_were() {
    let image = scene(33, 17, 1);
    let bytes = encode_png(Path::new("a.png"), &image).unwrap();
    assert_eq!(decode_image(Path::new("a.png"), &bytes).unwrap(), image);
    encode_png(Path::new("a.png"), &RgbImage::new(0, 3)).unwrap_err();
}

#[test]
fn clips_come_back_in_colour() {
    for (width, height, fps) in [(96, 144, 8.0), (16, 16, 30000.0 / 1001.0), (98, 50, 12.5)] {
        // Colours that vary slowly, as 4:2:0 chroma can hold them.
        let frames: Vec<_> = (0..19u32)
            .map(|time| {
                RgbImage::from_fn(width, height, |x, y| {
                    image::Rgb([(x * 2 + time) as u8, (255 - y) as u8, (x + y) as u8])
                })
            })
            .collect();
        let name = Path::new("a.mp4");
        let video = decode_mp4(name, &encode_mp4(name, &frames, fps).unwrap()).unwrap();
        assert!((video.fps - fps).abs() < 1e-3 * fps, "{}", video.fps);
        assert_eq!(video.frames.len(), frames.len());
        for (decoded, frame) in video.frames.iter().zip(&frames) {
            assert_eq!(decoded.dimensions(), (width, height));
            let quality = psnr(decoded.as_raw(), frame.as_raw());
            assert!(quality > 38.0, "{width}x{height}: {quality} dB");
        }
    }
}

#[test]
fn damaged_clips_are_errors() {
    let name = Path::new("a.mp4");
    let bytes = encode_mp4(name, &clip(32, 32, 5), 8.0).unwrap();
    for length in (0..bytes.len()).step_by(7) {
        let error = decode_mp4(name, &bytes[..length]).unwrap_err();
        assert!(matches!(error, MediaError::DecodeVideo { .. }) && error.to_string().contains("a.mp4"));
    }
    for position in (0..bytes.len()).step_by(3) {
        let mut bytes = bytes.clone();
        bytes[position] ^= 0x55;
        // Whatever comes, no panic.
        let _ = decode_mp4(name, &bytes);
    }
    assert!(decode_mp4(name, b"not a video at all").is_err());
}

#[test]
fn what_mp4_cannot_hold_is_refused() {
    let name = Path::new("a.mp4");
    assert!(matches!(encode_mp4(name, &[], 8.0), Err(MediaError::NoFrames { .. })));
    assert!(matches!(encode_mp4(name, &clip(33, 32, 1), 8.0), Err(MediaError::VideoSize { .. })));
    assert!(matches!(encode_mp4(name, &clip(32, 32, 1), 0.0), Err(MediaError::FrameRate { .. })));
}
