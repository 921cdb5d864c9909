//! The frames of a GIF or WebP animation.

use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use image::codecs::{gif::GifDecoder, webp::WebPDecoder};
use image::{AnimationDecoder, DynamicImage, Frame, ImageDecoder, ImageError, ImageFormat};

use super::Frames;
use crate::MediaError;
use crate::image_file::{check_size, limits, over_white};

/// How long viewers show a frame that says it lasts less than 2/100 s, in milliseconds.
const DEFAULT_DELAY: f64 = 100.0;

/// The frames, transparency over white, and the mean frame rate. Reads the file twice, because the times stand beside
/// the pictures.
pub(super) fn open(path: &Path, format: ImageFormat) -> Result<(Frames, f64), MediaError> {
    let (mut milliseconds, mut count) = (0.0, 0.0);
    for frame in frames(path, format)? {
        milliseconds += delay(&frame.map_err(broken(path))?);
        count += 1.0;
    }
    if count == 0.0 {
        return Err(MediaError::EmptyVideo { path: path.to_owned() });
    }
    let path = path.to_owned();
    let frames = frames(&path, format)?.map(move |frame| {
        let frame = frame.map_err(broken(&path))?;
        Ok(over_white(DynamicImage::ImageRgba8(frame.into_buffer())))
    });
    Ok((Box::new(frames), count * 1000.0 / milliseconds))
}

fn frames(path: &Path, format: ImageFormat) -> Result<image::Frames<'static>, MediaError> {
    let file = BufReader::new(File::open(path).map_err(MediaError::read(path))?);
    if format == ImageFormat::Gif {
        into_frames(path, GifDecoder::new(file).map_err(broken(path))?)
    } else {
        into_frames(path, WebPDecoder::new(file).map_err(broken(path))?)
    }
}

fn into_frames<D>(path: &Path, mut decoder: D) -> Result<image::Frames<'static>, MediaError>
where
    D: ImageDecoder + AnimationDecoder<'static>,
{
    let (width, height) = decoder.dimensions();
    check_size(path, width, height)?;
    decoder.set_limits(limits()).map_err(broken(path))?;
    Ok(decoder.into_frames())
}

fn delay(frame: &Frame) -> f64 {
    let (numerator, denominator) = frame.delay().numer_denom_ms();
    let milliseconds = f64::from(numerator) / f64::from(denominator.max(1));
    if milliseconds < 20.0 { DEFAULT_DELAY } else { milliseconds }
}

fn broken(path: &Path) -> impl FnOnce(ImageError) -> MediaError {
    |source| MediaError::DecodeImage { path: path.to_owned(), source }
}
