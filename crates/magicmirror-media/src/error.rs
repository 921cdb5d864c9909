//! What can go wrong with images and videos.

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;

/// An image or a video could not be read, prepared or written. Every variant that concerns a file names it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MediaError {
    /// The operating system refused to read.
    #[error("cannot read: {}", path.display())]
    Read {
        /// What was to be read.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// The operating system refused to write: no permission, a full disk, …
    #[error("cannot write: {}", path.display())]
    Write {
        /// What was to be written.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// The content is none of the still image formats that are read.
    #[error("not a JPEG, PNG or WebP image: {}\n\nhint: convert it to one of these", path.display())]
    UnknownImageFormat {
        /// The file.
        path: PathBuf,
    },
    /// An animation where one photograph is asked for.
    #[error("a photograph is needed, but this {format} image can hold an animation: {}\n\nhint: save one frame of it as \
             PNG or JPEG", path.display())]
    AnimatedImage {
        /// The file.
        path: PathBuf,
        /// The animation's format.
        format: &'static str,
    },
    /// The file ends too early, or its content breaks the rules of its format.
    #[error("broken or truncated image: {}", path.display())]
    DecodeImage {
        /// The file.
        path: PathBuf,
        /// The decoder's reason.
        source: image::ImageError,
    },
    /// The file stops before the image is complete.
    #[error("the image ends too early: {}\n\nhint: copy or download it again", path.display())]
    TruncatedImage {
        /// The file.
        path: PathBuf,
    },
    /// An image without a single pixel.
    #[error("the image has no pixels: {}", path.display())]
    EmptyImage {
        /// The file.
        path: PathBuf,
    },
    /// More pixels than [`MAX_PIXELS`](crate::image_file::MAX_PIXELS).
    #[error("the image has {width}x{height} pixels, more than {limit} million: {}\n\nhint: scale it down first", path.display())]
    ImageTooLarge {
        /// The file.
        path: PathBuf,
        /// Its width in pixels.
        width: u32,
        /// Its height in pixels.
        height: u32,
        /// The limit in millions of pixels.
        limit: u64,
    },
    /// A rectangle that is empty or reaches outside the image.
    #[error("the {width}x{height} crop at ({x}, {y}) is empty or outside the {image_width}x{image_height} image")]
    CropOutside {
        /// Left edge.
        x: u32,
        /// Upper edge.
        y: u32,
        /// The crop's width.
        width: u32,
        /// The crop's height.
        height: u32,
        /// The image's width.
        image_width: u32,
        /// The image's height.
        image_height: u32,
    },
    /// A size of nothing, or a resize of nothing.
    #[error("cannot resize {from_width}x{from_height} to {width}x{height}: no side may be 0")]
    EmptyResize {
        /// The image's width.
        from_width: u32,
        /// The image's height.
        from_height: u32,
        /// The width asked for.
        width: u32,
        /// The height asked for.
        height: u32,
    },
    /// `ffmpeg` or `ffprobe` is not installed.
    #[error("cannot start `{}`, which is needed to read: {}\n\nhint: install ffmpeg (https://ffmpeg.org, or the \
             system's package `ffmpeg`) so that `ffmpeg` and `ffprobe` are on PATH; GIF and WebP files, folders of PNGs \
             and MP4 files that MagicMirror wrote are read without it", program.display(), path.display())]
    FfmpegMissing {
        /// The program that was not found.
        program: PathBuf,
        /// The video.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// `ffmpeg` or `ffprobe` gave up.
    #[error("{program} failed ({status}): {}\n{message}", path.display())]
    FfmpegFailed {
        /// `ffmpeg` or `ffprobe`.
        program: &'static str,
        /// The video.
        path: PathBuf,
        /// How the program ended.
        status: ExitStatus,
        /// The end of what it said.
        message: String,
    },
    /// `ffmpeg` or `ffprobe` answered something that is not what they answer.
    #[error("{program} gave an unexpected answer, {what}: {}", path.display())]
    FfmpegAnswer {
        /// `ffmpeg` or `ffprobe`.
        program: &'static str,
        /// The video.
        path: PathBuf,
        /// What was wrong with it.
        what: &'static str,
    },
    /// The output of `ffmpeg` ended within a frame, though it claims success.
    #[error("ffmpeg stopped within a frame: {}", path.display())]
    FfmpegStopped {
        /// The video.
        path: PathBuf,
    },
    /// A video that cannot be decoded here: damaged, or of a kind that needs `ffmpeg`.
    #[error("cannot decode the video: {}", path.display())]
    DecodeVideo {
        /// The video.
        path: PathBuf,
        /// The decoder's reason.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// No frame in it.
    #[error("no video frames in: {}", path.display())]
    EmptyVideo {
        /// The file or folder.
        path: PathBuf,
    },
    /// Frames of different sizes.
    #[error("frame {index} is {width}x{height}, the first is {first_width}x{first_height}: {}", path.display())]
    MixedSizes {
        /// The file or folder read or to be written.
        path: PathBuf,
        /// The first frame that differs, from 0.
        index: usize,
        /// Its width.
        width: u32,
        /// Its height.
        height: u32,
        /// The first frame's width.
        first_width: u32,
        /// The first frame's height.
        first_height: u32,
    },
    /// An extension that names no output format.
    #[error("no video format is known by the extension `{extension}`: {}\n\nhint: use .mp4, .gif, .webp, .png (one \
             frame), or no extension for a folder of PNGs", path.display())]
    UnknownOutputFormat {
        /// The output path.
        path: PathBuf,
        /// Its extension.
        extension: String,
    },
    /// The path has no last component that could be a file's name.
    #[error("not a file or folder name: {}", path.display())]
    NoFileName {
        /// The output path.
        path: PathBuf,
    },
    /// A folder stands where the file should go.
    #[error("there is a folder at: {}\n\nhint: choose another name, or one without extension to get a folder of PNGs", path.display())]
    OutputIsFolder {
        /// The output path.
        path: PathBuf,
    },
    /// Something that is not a folder stands where a folder is needed.
    #[error("not a folder: {}", path.display())]
    NotAFolder {
        /// What should be a folder.
        path: PathBuf,
    },
    /// The folder holds something that is not ours to delete.
    #[error("the folder holds more than frame_*.png, for one `{}`, and is not replaced: {}\n\nhint: choose another \
             folder", entry.display(), path.display())]
    FolderInUse {
        /// The output folder.
        path: PathBuf,
        /// One of the things in it.
        entry: PathBuf,
    },
    /// Nothing to write.
    #[error("no frames to write to: {}", path.display())]
    NoFrames {
        /// The output path.
        path: PathBuf,
    },
    /// A still image format and several frames.
    #[error("a PNG file holds 1 frame, not {frames}: {}\n\nhint: use .mp4, .gif or .webp, or no extension for a folder \
             of PNGs", path.display())]
    OneFrameOnly {
        /// The output path.
        path: PathBuf,
        /// How many frames there were.
        frames: usize,
    },
    /// H.264 with 4:2:0 chroma, as every player reads it, has only even sizes, and the encoder an upper limit.
    #[error("MP4 needs even sizes from 16x16 to 3840x2160, not {width}x{height}: {}\n\nhint: the nearest valid size is \
             {nearest_width}x{nearest_height}", path.display())]
    VideoSize {
        /// The output path.
        path: PathBuf,
        /// The frames' width.
        width: u32,
        /// The frames' height.
        height: u32,
        /// The nearest width that can be written.
        nearest_width: u32,
        /// The nearest height that can be written.
        nearest_height: u32,
    },
    /// Larger than the format can say.
    #[error("frames of {width}x{height} are larger than the format's {limit}x{limit}: {}", path.display())]
    FrameTooLarge {
        /// The output path.
        path: PathBuf,
        /// The frames' width.
        width: u32,
        /// The frames' height.
        height: u32,
        /// The largest side.
        limit: u32,
    },
    /// A frame rate outside 0.1 to 1000.
    #[error("the frame rate must be from 0.1 to 1000 frames per second, not {fps}")]
    FrameRate {
        /// The frame rate.
        fps: f64,
    },
    /// An encoder failed; not for want of disk space, which is [`MediaError::Write`].
    #[error("cannot encode {format}: {}", path.display())]
    Encode {
        /// The output path.
        path: PathBuf,
        /// The format.
        format: &'static str,
        /// The encoder's reason.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl MediaError {
    /// For `map_err`: a [`MediaError::Read`] of this path.
    pub(crate) fn read(path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Read { path: path.to_owned(), source }
    }

    /// For `map_err`: a [`MediaError::Write`] of this path.
    pub(crate) fn write(path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Write { path: path.to_owned(), source }
    }

    /// For `map_err`: a [`MediaError::Encode`] of this path.
    pub(crate) fn encode<E>(path: &Path, format: &'static str) -> impl FnOnce(E) -> Self
    where
        E: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        move |source| Self::Encode { path: path.to_owned(), format, source: source.into() }
    }
}
