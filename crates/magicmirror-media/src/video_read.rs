//! Reading frames from a video file, an animation, a still or a folder of PNGs.
//!
//! GIF and WebP animations, still images, folders and the MP4 files that are written here are read here; for anything else
//! the program `ffmpeg` is started, which turns frames upright where the file says they are rotated.

mod animation;
mod ffmpeg;
mod folder;
pub(crate) mod mp4;

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use image::{ImageFormat, RgbImage};

use crate::resize::{Filter, resize};
use crate::{MediaError, read_photo};

pub use ffmpeg::FfmpegPrograms;

/// What to read, and how.
#[derive(Debug, Clone, PartialEq)]
pub struct ReadOptions {
    /// Stop after so many frames; `None` for all.
    pub max_frames: Option<usize>,
    /// Width and height to resize every frame to (bicubic, whatever the proportions); `None` for the video's own.
    pub size: Option<(u32, u32)>,
    /// The frame rate taken for folders of PNGs and still images, which have none; 8 unless set.
    pub still_fps: f64,
    /// The programs to start.
    pub programs: FfmpegPrograms,
}

impl Default for ReadOptions {
    fn default() -> Self {
        Self { max_frames: None, size: None, still_fps: 8.0, programs: FfmpegPrograms::default() }
    }
}

/// A whole video in memory.
#[derive(Debug, Clone, PartialEq)]
pub struct Video {
    /// At least one frame, all of one size.
    pub frames: Vec<RgbImage>,
    /// Frames per second; the mean, where frames last differently.
    pub fps: f64,
}

/// Read a whole video. For one too long for memory see [`VideoReader`].
///
/// # Errors
///
/// As [`VideoReader::open`] and its items; [`MediaError::EmptyVideo`] if there is no frame.
pub fn read_video(path: impl AsRef<Path>, options: &ReadOptions) -> Result<Video, MediaError> {
    let path = path.as_ref();
    let reader = VideoReader::open(path, options)?;
    let fps = reader.fps();
    let frames = reader.collect::<Result<Vec<_>, _>>()?;
    if frames.is_empty() {
        return Err(MediaError::EmptyVideo { path: path.to_owned() });
    }
    Ok(Video { frames, fps })
}

/// The frames of a video one after the other, every one as often as it is stored, upright and of one size.
///
/// Damage is an error where the format shows it; a Matroska file cut short only gives fewer frames.
///
/// After an error there is no further item.
pub struct VideoReader {
    path: PathBuf,
    frames: Frames,
    fps: f64,
    remaining: usize,
    read: usize,
    size: Option<(u32, u32)>,
    first_size: Option<(u32, u32)>,
}

impl VideoReader {
    /// Open a file (told apart by content) or a folder of PNGs (taken in the order of the numbers in their names).
    ///
    /// # Errors
    ///
    /// The path cannot be read, is broken or no video, or `ffmpeg` is needed (for any MP4 but our own) and missing.
    pub fn open(path: impl AsRef<Path>, options: &ReadOptions) -> Result<Self, MediaError> {
        let path = path.as_ref();
        let ffmpeg = || ffmpeg::open(path, &options.programs, options.max_frames);
        let (frames, fps): (Frames, f64) = match Kind::of(path)? {
            Kind::Folder => (folder::open(path)?, options.still_fps),
            Kind::Animation(format) => animation::open(path, format)?,
            Kind::Still => match read_photo(path) {
                // A PNG that moves after all.
                Err(MediaError::AnimatedImage { .. }) => ffmpeg()?,
                photo => (Box::new(std::iter::once(Ok(photo?))), options.still_fps),
            },
            Kind::Other => match mp4::open(path)? {
                Some(ours) => ours,
                None => ffmpeg()?,
            },
        };
        Ok(Self {
            path: path.to_owned(),
            frames,
            fps,
            remaining: options.max_frames.unwrap_or(usize::MAX),
            read: 0,
            size: options.size,
            first_size: None,
        })
    }

    /// Frames per second; the mean, where frames last differently.
    pub fn fps(&self) -> f64 {
        self.fps
    }

    fn prepare(&mut self, frame: RgbImage) -> Result<RgbImage, MediaError> {
        let (first_width, first_height) = *self.first_size.get_or_insert(frame.dimensions());
        let (width, height) = frame.dimensions();
        if (width, height) != (first_width, first_height) {
            let (path, index) = (self.path.clone(), self.read);
            return Err(MediaError::MixedSizes { path, index, width, height, first_width, first_height });
        }
        self.read += 1;
        match self.size {
            Some((width, height)) => resize(&frame, width, height, Filter::Bicubic),
            None => Ok(frame),
        }
    }
}

impl Iterator for VideoReader {
    type Item = Result<RgbImage, MediaError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.remaining = self.remaining.checked_sub(1)?;
        let frame = self.frames.next().map(|frame| frame.and_then(|frame| self.prepare(frame)));
        if !matches!(frame, Some(Ok(_))) {
            self.remaining = 0;
        }
        frame
    }
}

/// What each kind of source gives: frames as stored, until the end or an error.
type Frames = Box<dyn Iterator<Item = Result<RgbImage, MediaError>>>;

enum Kind {
    Folder,
    Still,
    Animation(ImageFormat),
    Other,
}

impl Kind {
    fn of(path: &Path) -> Result<Self, MediaError> {
        if path.is_dir() {
            return Ok(Self::Folder);
        }
        let mut start = Vec::new();
        let file = File::open(path).map_err(MediaError::read(path))?;
        file.take(64).read_to_end(&mut start).map_err(MediaError::read(path))?;
        if start.is_empty() {
            return Err(MediaError::EmptyVideo { path: path.to_owned() });
        }
        Ok(match image::guess_format(&start) {
            Ok(ImageFormat::Gif) => Self::Animation(ImageFormat::Gif),
            Ok(ImageFormat::WebP) if moves(&start) => Self::Animation(ImageFormat::WebP),
            Ok(ImageFormat::Png | ImageFormat::Jpeg | ImageFormat::WebP) => Self::Still,
            _ => Self::Other,
        })
    }
}

/// Whether a WebP file says it is an animation.
fn moves(start: &[u8]) -> bool {
    const ANIMATION_FLAG: u8 = 0b0000_0010;
    start.get(12..16) == Some(b"VP8X") && start.get(20).is_some_and(|features| features & ANIMATION_FLAG != 0)
}
