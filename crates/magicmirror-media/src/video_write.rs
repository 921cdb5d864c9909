//! Writing frames as a video file, an animation, a still, or a folder of PNGs.
//!
//! The extension decides the format ([`OutputFormat`]); [`check_writable`] answers beforehand what [`write_video`]
//! would say about the path. All formats carry a [`Provenance`].

mod gif;
mod h264;
mod i420;
mod mp4;
pub(crate) mod png;
mod provenance;
mod timing;
mod webp;

use std::fs;
use std::path::{Path, PathBuf};

use image::RgbImage;

use crate::MediaError;
use crate::aside::{parent_of, write_file, write_folder};

pub use provenance::Provenance;

/// What a path's extension asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OutputFormat {
    /// `.mp4`: H.264, 4:2:0 chroma, BT.709; even sizes only.
    Mp4,
    /// `.gif`: endless, a palette of 256 colours for each frame, frame times rounded to 1/100 s.
    Gif,
    /// `.webp`: endless, lossless.
    WebP,
    /// `.png`: exactly one frame.
    Png,
    /// No extension: a folder of `frame_0000.png`, `frame_0001.png`, …
    Folder,
}

impl OutputFormat {
    /// The format that the path's extension names, in upper or lower case.
    ///
    /// # Errors
    ///
    /// [`MediaError::UnknownOutputFormat`] for any other extension, [`MediaError::NoFileName`] for a path like `..`.
    pub fn from_path(path: &Path) -> Result<Self, MediaError> {
        parent_of(path)?;
        let extension = path.extension().map(|extension| extension.to_string_lossy().to_lowercase());
        match extension.as_deref() {
            Some("mp4") => Ok(Self::Mp4),
            Some("gif") => Ok(Self::Gif),
            Some("webp") => Ok(Self::WebP),
            Some("png") => Ok(Self::Png),
            None => Ok(Self::Folder),
            Some(other) => Err(MediaError::UnknownOutputFormat { path: path.to_owned(), extension: other.to_owned() }),
        }
    }
}

/// Find out before a long run whether a video can be stored at `path`. Nothing is left behind.
///
/// Missing parent folders are fine if they can be created.
///
/// # Errors
///
/// The extension is unknown, a folder stands where a file should go or the reverse, the folder of PNGs holds anything
/// but `frame_*.png`, or nothing can be written there.
pub fn check_writable(path: impl AsRef<Path>) -> Result<(), MediaError> {
    let path = path.as_ref();
    check_target(path, OutputFormat::from_path(path)?)?;
    let folder = nearest_existing(parent_of(path)?);
    if !folder.is_dir() {
        return Err(MediaError::NotAFolder { path: folder });
    }
    let probe =
        tempfile::Builder::new().prefix(".writing-").tempfile_in(&folder).map_err(MediaError::write(&folder))?;
    probe.close().map_err(MediaError::write(&folder))
}

/// Find out before a long run whether the format that the path's extension names can hold a video of this size.
///
/// # Errors
///
/// The extension is unknown, several frames for one PNG, or a size that the format does not allow.
pub fn check_video(path: impl AsRef<Path>, size: (u32, u32), frames: usize) -> Result<(), MediaError> {
    let path = path.as_ref();
    match OutputFormat::from_path(path)? {
        OutputFormat::Png if frames > 1 => Err(MediaError::OneFrameOnly { path: path.to_owned(), frames }),
        OutputFormat::Mp4 => h264::check_size(path, size),
        OutputFormat::Gif => check_sides(path, size, gif::MAX_SIDE),
        OutputFormat::WebP => check_sides(path, size, webp::MAX_SIDE),
        OutputFormat::Png | OutputFormat::Folder => Ok(()),
    }
}

fn check_sides(path: &Path, (width, height): (u32, u32), limit: u32) -> Result<(), MediaError> {
    if width.max(height) <= limit {
        return Ok(());
    }
    Err(MediaError::FrameTooLarge { path: path.to_owned(), width, height, limit })
}

/// Store frames as a video, in the format that the path's extension names.
///
/// Written beside the target, then renamed over it: on an error what was there is as before. Missing parent folders
/// are created. `fps` is without effect for PNGs.
///
/// # Errors
///
/// As [`check_writable`]; no frames; frames of different sizes; a frame rate outside 0.1 to 1000; several frames for
/// one PNG; a size that the format does not allow; a failed write.
pub fn write_video(
    path: impl AsRef<Path>,
    frames: &[RgbImage],
    fps: f64,
    provenance: &Provenance,
) -> Result<(), MediaError> {
    let path = path.as_ref();
    let format = OutputFormat::from_path(path)?;
    check_target(path, format)?;
    check_frames(path, frames)?;
    check_video(path, frames[0].dimensions(), frames.len())?;
    timing::check(fps)?;
    match format {
        OutputFormat::Mp4 => write_file(path, |writer| mp4::write_mp4(path, writer, frames, fps, provenance)),
        OutputFormat::Gif => write_file(path, |writer| gif::write_gif(path, writer, frames, fps, provenance)),
        OutputFormat::WebP => write_file(path, |writer| webp::write_webp(path, writer, frames, fps, provenance)),
        OutputFormat::Png => write_file(path, |writer| png::encode_png(path, writer, &frames[0], Some(provenance))),
        OutputFormat::Folder => write_folder(path, |folder| {
            frames.iter().enumerate().try_for_each(|(index, frame)| {
                let file = folder.join(format!("frame_{index:04}.png"));
                write_file(&file, |writer| png::encode_png(path, writer, frame, Some(provenance)))
            })
        }),
    }
}

/// What may stand at the path already.
fn check_target(path: &Path, format: OutputFormat) -> Result<(), MediaError> {
    if format != OutputFormat::Folder {
        return if path.is_dir() { Err(MediaError::OutputIsFolder { path: path.to_owned() }) } else { Ok(()) };
    }
    if !path.exists() {
        return Ok(());
    }
    if !path.is_dir() {
        return Err(MediaError::NotAFolder { path: path.to_owned() });
    }
    for entry in fs::read_dir(path).map_err(MediaError::read(path))? {
        let entry = entry.map_err(MediaError::read(path))?.file_name();
        let name = entry.to_string_lossy();
        if !(name.starts_with("frame_") && name.ends_with(".png")) {
            return Err(MediaError::FolderInUse { path: path.to_owned(), entry: entry.into() });
        }
    }
    Ok(())
}

fn check_frames(path: &Path, frames: &[RgbImage]) -> Result<(), MediaError> {
    let path = path.to_owned();
    let Some(first) = frames.first() else {
        return Err(MediaError::NoFrames { path });
    };
    if first.is_empty() {
        return Err(MediaError::EmptyImage { path });
    }
    let (first_width, first_height) = first.dimensions();
    match frames.iter().position(|frame| frame.dimensions() != first.dimensions()) {
        Some(index) => {
            let (width, height) = frames[index].dimensions();
            Err(MediaError::MixedSizes { path, index, width, height, first_width, first_height })
        }
        None => Ok(()),
    }
}

fn nearest_existing(mut folder: PathBuf) -> PathBuf {
    while !folder.exists() {
        match folder.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => folder = parent.to_owned(),
            _ => return PathBuf::from("."),
        }
    }
    folder
}

#[cfg(test)]
mod tests {
    use std::io::{self, Write};

    use super::*;

    /// A disk with room for so many bytes.
    struct Disk(usize);

    impl Write for Disk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0 = self.0.checked_sub(bytes.len()).ok_or(io::ErrorKind::StorageFull)?;
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_full_disk_is_a_write_error_that_names_the_path() {
        let path = Path::new("holiday.video");
        let frames = vec![RgbImage::from_fn(32, 16, |x, y| image::Rgb([x as u8, y as u8, (x * y) as u8])); 3];
        let provenance = Provenance { generator: "g".into(), description: "d".into(), settings_sha256: String::new() };
        for room in [0, 10, 100, 500] {
            let results = [
                mp4::write_mp4(path, &mut Disk(room), &frames, 8.0, &provenance),
                gif::write_gif(path, &mut Disk(room), &frames, 8.0, &provenance),
                webp::write_webp(path, &mut Disk(room), &frames, 8.0, &provenance),
                png::encode_png(path, &mut Disk(room), &frames[0], Some(&provenance)),
            ];
            for (index, result) in results.into_iter().enumerate() {
                let error = result.expect_err("there is no room");
                assert!(matches!(error, MediaError::Write { .. }), "{room} bytes, format {index}: {error:?}");
                assert!(error.to_string().contains("holiday.video"));
            }
        }
    }
}
