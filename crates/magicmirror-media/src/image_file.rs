//! Photographs from files, and PNG files.

use std::fs;
use std::io::Cursor;
use std::path::Path;

use image::codecs::{jpeg::JpegDecoder, png::PngDecoder, webp::WebPDecoder};
use image::{DynamicImage, ImageDecoder, ImageFormat, Limits, Rgb, RgbImage};

use crate::MediaError;
use crate::aside::write_file;
use crate::video_write::png::encode_png;

/// The largest image that is read, in pixels.
pub const MAX_PIXELS: u64 = 100_000_000;

/// What a decoder may allocate: 16-bit RGBA of the largest image, and as much again for its own work.
const MAX_DECODER_BYTES: u64 = MAX_PIXELS * 8 * 2;

/// Read a photograph as 8-bit RGB, upright and opaque.
///
/// JPEG, PNG and WebP are told apart by content, whatever the file's name. The EXIF orientation is applied;
/// transparency is laid over white; grey, palette and 16-bit images are converted. An embedded colour profile is
/// ignored.
///
/// # Errors
///
/// The file cannot be read, is none of these formats, can hold an animation (GIF, animated WebP, APNG), is broken or
/// truncated, has no pixels or more than [`MAX_PIXELS`].
pub fn read_photo(path: impl AsRef<Path>) -> Result<RgbImage, MediaError> {
    let path = path.as_ref();
    let bytes = fs::read(path).map_err(MediaError::read(path))?;
    decode_photo(path, &bytes)
}

/// Write an 8-bit RGB PNG file: beside the target first, then renamed over it.
///
/// # Errors
///
/// The image has no pixels, or the file cannot be written; then an older file of that name is as it was.
pub fn write_png(path: impl AsRef<Path>, image: &RgbImage) -> Result<(), MediaError> {
    let path = path.as_ref();
    if image.is_empty() {
        return Err(MediaError::EmptyImage { path: path.to_owned() });
    }
    write_file(path, |writer| encode_png(path, writer, image, None))
}

pub(crate) fn decode_photo(path: &Path, bytes: &[u8]) -> Result<RgbImage, MediaError> {
    let broken = |source| MediaError::DecodeImage { path: path.to_owned(), source };
    let animated = |format| Err(MediaError::AnimatedImage { path: path.to_owned(), format });
    let reader = Cursor::new(bytes);
    match image::guess_format(bytes) {
        Ok(ImageFormat::Jpeg) => {
            let image = decode(path, JpegDecoder::new(reader).map_err(broken)?)?;
            // The decoder paints what is missing grey instead of reporting it.
            if jpeg_is_complete(bytes) { Ok(image) } else { Err(MediaError::TruncatedImage { path: path.to_owned() }) }
        }
        Ok(ImageFormat::Png) => {
            let decoder = PngDecoder::with_limits(reader, limits()).map_err(broken)?;
            if decoder.is_apng().map_err(broken)? { animated("APNG") } else { decode(path, decoder) }
        }
        Ok(ImageFormat::WebP) => {
            let decoder = WebPDecoder::new(reader).map_err(broken)?;
            if decoder.has_animation() { animated("animated WebP") } else { decode(path, decoder) }
        }
        Ok(ImageFormat::Gif) => animated("GIF"),
        _ => Err(MediaError::UnknownImageFormat { path: path.to_owned() }),
    }
}

fn decode(path: &Path, mut decoder: impl ImageDecoder) -> Result<RgbImage, MediaError> {
    let broken = |source| MediaError::DecodeImage { path: path.to_owned(), source };
    let (width, height) = decoder.dimensions();
    check_size(path, width, height)?;
    decoder.set_limits(limits()).map_err(broken)?;
    let orientation = decoder.orientation().map_err(broken)?;
    let mut image = DynamicImage::from_decoder(decoder).map_err(broken)?;
    image.apply_orientation(orientation);
    Ok(over_white(image))
}

/// Refuse images without pixels and those with more than [`MAX_PIXELS`].
pub(crate) fn check_size(path: &Path, width: u32, height: u32) -> Result<(), MediaError> {
    match u64::from(width) * u64::from(height) {
        0 => Err(MediaError::EmptyImage { path: path.to_owned() }),
        1..=MAX_PIXELS => Ok(()),
        _ => Err(MediaError::ImageTooLarge { path: path.to_owned(), width, height, limit: MAX_PIXELS / 1_000_000 }),
    }
}

/// The limits every decoder gets.
pub(crate) fn limits() -> Limits {
    let mut limits = Limits::no_limits();
    limits.max_alloc = Some(MAX_DECODER_BYTES);
    limits
}

/// Lay the image over a white ground.
pub(crate) fn over_white(image: DynamicImage) -> RgbImage {
    if !image.color().has_alpha() {
        return image.into_rgb8();
    }
    let image = image.into_rgba8();
    RgbImage::from_fn(image.width(), image.height(), |x, y| {
        let [red, green, blue, alpha] = image.get_pixel(x, y).0.map(u32::from);
        Rgb([red, green, blue].map(|value| ((value * alpha + 255 * (255 - alpha) + 127) / 255) as u8))
    })
}

/// Whether an end-of-image marker follows the last start-of-scan marker. Neither occurs in the compressed data, where
/// the byte FF is always escaped; a thumbnail's own markers come before the image's last scan.
fn jpeg_is_complete(bytes: &[u8]) -> bool {
    let last = |marker: [u8; 2]| bytes.windows(2).rposition(|pair| pair == marker);
    last([0xff, 0xd9]) > last([0xff, 0xda])
}
