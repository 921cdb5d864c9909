//! Frames as an endless lossless animated WebP.
//!
//! Source: the WebP container specification (extended file format, animation). The `image-webp` encoder writes single
//! images; their `VP8L` chunks become the frames here.

use std::io::{self, Write};
use std::path::Path;

use image::RgbImage;
use image_webp::{ColorType, EncodingError, WebPEncoder};

use super::{Provenance, timing};
use crate::MediaError;

/// The largest side of a lossless image.
pub(super) const MAX_SIDE: u32 = 1 << 14;

const XMP_FLAG: u8 = 0b0000_0100;
const ANIMATION_FLAG: u8 = 0b0000_0010;
/// Frames are whole and opaque: nothing to blend with, nothing to dispose of.
const NO_BLENDING: u8 = 0b0000_0010;

/// Write animated WebP; `frames` are at least one, of one size of at most [`MAX_SIDE`].
pub(super) fn write_webp(
    path: &Path,
    writer: &mut impl Write,
    frames: &[RgbImage],
    fps: f64,
    provenance: &Provenance,
) -> Result<(), MediaError> {
    let (width, height) = frames[0].dimensions();
    let mut body = b"WEBP".to_vec();
    let mut features = vec![XMP_FLAG | ANIMATION_FLAG, 0, 0, 0];
    features.extend(u24(width - 1));
    features.extend(u24(height - 1));
    push_chunk(&mut body, *b"VP8X", &features);
    // A background colour, which opaque frames hide, and 0 for "loop for ever".
    push_chunk(&mut body, *b"ANIM", &[0; 6]);
    for (frame, milliseconds) in frames.iter().zip(timing::durations(frames.len(), fps, 1000.0)) {
        let image = vp8l_chunk(frame).map_err(MediaError::encode(path, "WebP"))?;
        let mut payload = vec![0; 6];
        payload.extend(u24(width - 1));
        payload.extend(u24(height - 1));
        payload.extend(u24(milliseconds));
        payload.push(NO_BLENDING);
        payload.extend(image);
        push_chunk(&mut body, *b"ANMF", &payload);
    }
    push_chunk(&mut body, *b"XMP ", provenance.xmp().as_bytes());
    let size = u32::try_from(body.len())
        .map_err(|_| MediaError::encode(path, "WebP")("the frames need more than the 4 GiB that the format allows"))?;
    let mut write = |bytes: &[u8]| -> io::Result<()> { writer.write_all(bytes) };
    write(b"RIFF")
        .and_then(|()| write(&size.to_le_bytes()))
        .and_then(|()| write(&body))
        .map_err(MediaError::write(path))
}

/// The whole `VP8L` chunk, header and padding included, of a file of one image.
fn vp8l_chunk(frame: &RgbImage) -> Result<Vec<u8>, EncodingError> {
    let mut file = Vec::new();
    WebPEncoder::new(&mut file).encode(frame.as_raw(), frame.width(), frame.height(), ColorType::Rgb8)?;
    // "RIFF", size, "WEBP"; without metadata the image's chunk is all that follows.
    Ok(file.split_off(12))
}

fn push_chunk(body: &mut Vec<u8>, name: [u8; 4], payload: &[u8]) {
    body.extend(name);
    body.extend((payload.len() as u32).to_le_bytes());
    body.extend(payload);
    if payload.len() % 2 == 1 {
        body.push(0);
    }
}

fn u24(value: u32) -> [u8; 3] {
    let [low, middle, high, _] = value.to_le_bytes();
    [low, middle, high]
}
