//! Images and video for `MagicMirror`: no tensors here, only 8-bit RGB pixels and files.
//!
//! The main path of a generation:
//!
//! 1. [`read_photo`] reads a reference photograph upright and opaque;
//! 2. [`crop`], [`resize()`] and [`center_crop`] cut a face out for the vision encoder;
//! 3. [`read_video`] (or, frame by frame, [`VideoReader`]) reads a video to be encoded;
//! 4. [`check_writable`] says, before hours of work, whether the result can be stored, and [`write_video`] stores it,
//!    with a [`Provenance`] that says it is generated.
//!
//! Every writer writes beside its target and renames: a failure leaves what was there before. No reader panics,
//! whatever the bytes. Deliberately not here: ICC colour management (pixels are taken as sRGB), sound, and decoders for
//! other people's videos (`ffmpeg` is started as a program; MP4 files written here are read without it).

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod aside;
mod error;
pub mod image_file;
pub mod memory;
pub mod resize;
pub mod video_read;
pub mod video_write;

pub use error::MediaError;
pub use image_file::{read_photo, write_png};
pub use memory::{decode_image, decode_mp4, encode_mp4, encode_png};
pub use resize::{Filter, center_crop, crop, resize};
pub use video_read::{FfmpegPrograms, ReadOptions, Video, VideoReader, read_video};
pub use video_write::{OutputFormat, Provenance, check_video, check_writable, write_video};

pub use image::RgbImage;
