//! Every kind of photograph that is read, and every kind that is refused.

use std::fs;
use std::io::Cursor;

use image::codecs::{jpeg::JpegEncoder, png::PngEncoder, webp::WebPEncoder};
use image::{DynamicImage, ExtendedColorType, ImageEncoder, ImageFormat, Rgb, RgbImage};
use magicmirror_media::{MediaError, read_photo};

use crate::{psnr, scene};

/// Store bytes under a name that says nothing, and read them.
fn read(bytes: &[u8]) -> Result<RgbImage, MediaError> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("photo.dat");
    fs::write(&path, bytes).unwrap();
    read_photo(&path)
}

fn encoded(image: &DynamicImage, format: ImageFormat) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    image.write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

/// The smallest EXIF block with an orientation.
fn exif(orientation: u8) -> Vec<u8> {
    let mut bytes = b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0".to_vec();
    bytes.extend([orientation, 0, 0, 0, 0, 0, 0, 0]);
    bytes
}

#[test]
fn formats_are_told_apart_by_content() {
    let image = DynamicImage::ImageRgb8(scene(40, 30, 0));
    for format in [ImageFormat::Png, ImageFormat::WebP] {
        assert_eq!(read(&encoded(&image, format)).unwrap(), image.to_rgb8(), "{format:?}");
    }
    let jpeg = read(&encoded(&image, ImageFormat::Jpeg)).unwrap();
    assert!(psnr(&jpeg, &image.to_rgb8()) > 25.0);
}

#[test]
fn exif_orientation_is_applied() {
    let image = scene(20, 12, 0);
    let upright = DynamicImage::ImageRgb8(image.clone());
    let cases = [
        (1, upright.clone()),
        (2, upright.fliph()),
        (3, upright.rotate180()),
        (4, upright.flipv()),
        (5, upright.rotate90().fliph()),
        (6, upright.rotate90()),
        (7, upright.rotate270().fliph()),
        (8, upright.rotate270()),
    ];
    for (orientation, expected) in cases {
        let (mut png, mut webp, mut jpeg) = (Vec::new(), Vec::new(), Vec::new());
        let mut encoder = PngEncoder::new(&mut png);
        encoder.set_exif_metadata(exif(orientation)).unwrap();
        encoder.write_image(&image, 20, 12, ExtendedColorType::Rgb8).unwrap();
        let mut encoder = WebPEncoder::new_lossless(&mut webp);
        encoder.set_exif_metadata(exif(orientation)).unwrap();
        encoder.write_image(&image, 20, 12, ExtendedColorType::Rgb8).unwrap();
        let mut encoder = JpegEncoder::new_with_quality(&mut jpeg, 100);
        encoder.set_exif_metadata(exif(orientation)).unwrap();
        encoder.write_image(&image, 20, 12, ExtendedColorType::Rgb8).unwrap();
        let expected = expected.into_rgb8();
        assert_eq!(read(&png).unwrap(), expected, "PNG, orientation {orientation}");
        assert_eq!(read(&webp).unwrap(), expected, "WebP, orientation {orientation}");
        let found = read(&jpeg).unwrap();
        assert_eq!(found.dimensions(), expected.dimensions(), "JPEG, orientation {orientation}");
        assert!(psnr(&found, &expected) > 30.0, "JPEG, orientation {orientation}");
    }
}

#[test]
fn transparency_lies_over_white() {
    let image = image::RgbaImage::from_fn(3, 1, |x, _| image::Rgba([200, 100, 0, [255, 128, 0][x as usize]]));
    for format in [ImageFormat::Png, ImageFormat::WebP] {
        let read = read(&encoded(&DynamicImage::ImageRgba8(image.clone()), format)).unwrap();
        let pixels: Vec<[u8; 3]> = read.pixels().map(|pixel| pixel.0).collect();
        assert_eq!(pixels, [[200, 100, 0], [227, 177, 127], [255, 255, 255]], "{format:?}");
    }
}

#[test]
fn grey_16_bit_and_palette_images_become_rgb() {
    let deep = image::ImageBuffer::from_pixel(2, 2, Rgb([0_u16, 32768, 65535]));
    assert_eq!(read(&encoded(&deep.into(), ImageFormat::Png)).unwrap().get_pixel(1, 1).0, [0, 128, 255]);
    let grey = image::GrayImage::from_pixel(2, 2, image::Luma([77]));
    assert_eq!(read(&encoded(&grey.into(), ImageFormat::Png)).unwrap().get_pixel(1, 1).0, [77; 3]);

    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, 2, 1);
    encoder.set_color(png::ColorType::Indexed);
    encoder.set_palette(vec![10, 20, 30, 40, 50, 60]);
    encoder.set_trns(vec![255, 0]);
    encoder.write_header().unwrap().write_image_data(&[0, 1]).unwrap();
    let read = read(&bytes).unwrap();
    assert_eq!((read.get_pixel(0, 0).0, read.get_pixel(1, 0).0), ([10, 20, 30], [255; 3]));
}

#[test]
fn animations_are_refused_with_advice() {
    let folder = tempfile::tempdir().unwrap();
    let frames = crate::clip(16, 16, 2);
    for name in ["moving.gif", "moving.webp"] {
        magicmirror_media::write_video(folder.path().join(name), &frames, 8.0, &crate::provenance()).unwrap();
    }
    let mut apng = Vec::new();
    let mut encoder = png::Encoder::new(&mut apng, 16, 16);
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_animated(2, 0).unwrap();
    let mut writer = encoder.write_header().unwrap();
    for frame in &frames {
        writer.write_image_data(frame).unwrap();
    }
    writer.finish().unwrap();
    fs::write(folder.path().join("moving.png"), apng).unwrap();

    for name in ["moving.gif", "moving.webp", "moving.png"] {
        let error = read_photo(folder.path().join(name)).unwrap_err();
        assert!(matches!(error, MediaError::AnimatedImage { .. }), "{name}: {error}");
        let message = error.to_string();
        assert!(message.contains(name) && message.contains("hint: save one frame"), "{message}");
    }
}

#[test]
fn other_files_are_refused() {
    assert!(matches!(read(b""), Err(MediaError::UnknownImageFormat { .. })));
    assert!(matches!(read(b"BM, or so"), Err(MediaError::UnknownImageFormat { .. })));
    let folder = tempfile::tempdir().unwrap();
    assert!(matches!(read_photo(folder.path()), Err(MediaError::Read { .. })));
    let error = read_photo(folder.path().join("missing.jpg")).unwrap_err();
    assert!(error.to_string().contains("missing.jpg"), "{error}");
}

#[test]
fn truncated_images_are_errors() {
    let image = DynamicImage::ImageRgb8(scene(64, 48, 0));
    for format in [ImageFormat::Png, ImageFormat::WebP, ImageFormat::Jpeg] {
        let bytes = encoded(&image, format);
        for percent in [1, 10, 50, 90, 97] {
            let error = read(&bytes[..bytes.len() * percent / 100]);
            assert!(error.is_err(), "{format:?} cut to {percent}% was read");
        }
    }
}

#[test]
fn a_huge_image_is_refused_before_it_is_unpacked() {
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, 60_000, 60_000);
    encoder.set_color(png::ColorType::Rgb);
    encoder.write_header().unwrap().write_chunk(png::chunk::IDAT, &[0x78, 0x9c, 0]).unwrap();
    let error = read(&bytes).unwrap_err();
    assert!(matches!(error, MediaError::ImageTooLarge { width: 60_000, .. }), "{error}");
}
