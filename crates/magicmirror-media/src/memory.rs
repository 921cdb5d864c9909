//! Pictures and clips as bytes, for what is stored within larger files.
//!
//! The counterpart of the readers and writers of files, without their [`Provenance`](crate::Provenance): the larger
//! file says what it holds. `name` is what errors call the bytes.

use std::path::Path;

use image::RgbImage;

use crate::image_file::decode_photo;
use crate::video_write::{check_frames, h264, mp4, png, timing};
use crate::{MediaError, Video, video_read};

/// A PNG file.
///
/// # Errors
///
/// The image has no pixels.
pub fn encode_png(name: &Path, image: &RgbImage) -> Result<Vec<u8>, MediaError> {
    let mut bytes = Vec::new();
    if image.is_empty() {
        return Err(MediaError::EmptyImage { path: name.to_owned() });
    }
    png::encode_png(name, &mut bytes, image, None)?;
    Ok(bytes)
}

/// A JPEG, PNG or WebP file, as [`read_photo`](crate::read_photo) reads it.
///
/// # Errors
///
/// Those of [`read_photo`](crate::read_photo), but for the file system's.
pub fn decode_image(name: &Path, bytes: &[u8]) -> Result<RgbImage, MediaError> {
    decode_photo(name, bytes)
}

/// An MP4 file as [`write_video`](crate::write_video) makes it: H.264, more than 40 dB but for 4:2:0 chroma.
///
/// # Errors
///
/// No frames, frames of different sizes, a size that MP4 cannot have, or a frame rate outside 0.1 to 1000.
pub fn encode_mp4(name: &Path, frames: &[RgbImage], fps: f64) -> Result<Vec<u8>, MediaError> {
    check_frames(name, frames)?;
    h264::check_size(name, frames[0].dimensions())?;
    timing::check(fps)?;
    let mut bytes = Vec::new();
    mp4::write_mp4(name, &mut bytes, frames, fps, None)?;
    Ok(bytes)
}

/// The frames of an MP4 file that [`encode_mp4`] or [`write_video`](crate::write_video) has made, without `ffmpeg`.
///
/// # Errors
///
/// [`MediaError::DecodeVideo`] for damaged files, and for any other kind of MP4.
pub fn decode_mp4(name: &Path, bytes: &[u8]) -> Result<Video, MediaError> {
    video_read::mp4::decode(bytes).map_err(|source| MediaError::DecodeVideo { path: name.to_owned(), source })
}
