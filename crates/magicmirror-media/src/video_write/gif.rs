//! Frames as an endless GIF.

use std::io::Write;
use std::path::Path;

use image::codecs::gif::{GifEncoder, Repeat};
use image::{Delay, DynamicImage, Frame, ImageError, RgbImage};

use super::{Provenance, timing};
use crate::MediaError;

/// How many pixels share one sample when the palette is learnt: 1 is best, 30 fastest, 10 the usual.
const PALETTE_SAMPLING: i32 = 10;

/// The largest side.
pub(super) const MAX_SIDE: u32 = u16::MAX as u32;

const TRAILER: u8 = 0x3b;

/// Write GIF; `frames` are at least one, of one size of at most [`MAX_SIDE`].
pub(super) fn write_gif(
    path: &Path,
    writer: &mut impl Write,
    frames: &[RgbImage],
    fps: f64,
    provenance: &Provenance,
) -> Result<(), MediaError> {
    let mut bytes = Vec::new();
    encode(&mut bytes, frames, fps).map_err(MediaError::encode(path, "GIF"))?;
    // The encoder has no way to add a comment; one may stand before the trailer.
    if bytes.last() == Some(&TRAILER) {
        bytes.pop();
        bytes.extend(comment_extension(&provenance.comment()));
        bytes.push(TRAILER);
    }
    writer.write_all(&bytes).map_err(MediaError::write(path))
}

fn encode(bytes: &mut Vec<u8>, frames: &[RgbImage], fps: f64) -> Result<(), ImageError> {
    let mut encoder = GifEncoder::new_with_speed(bytes, PALETTE_SAMPLING);
    encoder.set_repeat(Repeat::Infinite)?;
    for (frame, hundredths) in frames.iter().zip(timing::durations(frames.len(), fps, 100.0)) {
        let delay = Delay::from_numer_denom_ms(hundredths * 10, 1);
        let frame = DynamicImage::ImageRgb8(frame.clone()).into_rgba8();
        encoder.encode_frame(Frame::from_parts(frame, 0, 0, delay))?;
    }
    Ok(())
}

/// The text in a comment extension, whose blocks hold up to 255 bytes each.
fn comment_extension(text: &str) -> Vec<u8> {
    let mut bytes = vec![0x21, 0xfe];
    for block in text.as_bytes().chunks(255) {
        bytes.push(block.len() as u8);
        bytes.extend(block);
    }
    bytes.push(0);
    bytes
}
