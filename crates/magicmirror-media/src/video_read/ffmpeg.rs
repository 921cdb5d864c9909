//! Frames through the installed program `ffmpeg`.
//!
//! `ffprobe` says the frame rate; `ffmpeg` then writes one PPM image a frame into a pipe, each with its size, so that
//! rotation and odd sizes need no second opinion here.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, BufReader, ErrorKind, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};

use image::RgbImage;

use super::Frames;
use crate::MediaError;
use crate::image_file::check_size;

/// Where the programs are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FfmpegPrograms {
    /// The decoder; `ffmpeg`, looked up on PATH, by default.
    pub ffmpeg: PathBuf,
    /// The inspector; `ffprobe`, looked up on PATH, by default.
    pub ffprobe: PathBuf,
}

impl Default for FfmpegPrograms {
    fn default() -> Self {
        Self { ffmpeg: "ffmpeg".into(), ffprobe: "ffprobe".into() }
    }
}

/// The frames of the first video stream, as often as stored, and the mean frame rate.
pub(super) fn open(
    path: &Path,
    programs: &FfmpegPrograms,
    max_frames: Option<usize>,
) -> Result<(Frames, f64), MediaError> {
    let fps = probe(path, &programs.ffprobe)?;
    let mut command = Command::new(&programs.ffmpeg);
    command.args(["-nostdin", "-v", "error", "-xerror"]).args(input(path));
    command.args(["-map", "0:v:0"]);
    if let Some(count) = max_frames {
        command.arg("-frames:v").arg(count.to_string());
    }
    // Time stamps are replaced by frame numbers, or frames would be repeated and dropped to make their rate constant.
    command.args(["-vf", "settb=1/25,setpts=N", "-r", "25"]);
    command.args(["-f", "image2pipe", "-c:v", "ppm", "-pix_fmt", "rgb24", "pipe:1"]);
    let (mut child, messages) = start(path, &mut command)?;
    let Some(pipe) = child.stdout.take() else {
        return Err(answer("ffmpeg", path, "no output"));
    };
    Ok((Box::new(PipedFrames { path: path.to_owned(), child, pipe: BufReader::new(pipe), messages, count: 0 }), fps))
}

struct PipedFrames {
    path: PathBuf,
    child: Child,
    pipe: BufReader<ChildStdout>,
    messages: File,
    count: usize,
}

impl Iterator for PipedFrames {
    type Item = Result<RgbImage, MediaError>;

    fn next(&mut self) -> Option<Self::Item> {
        let frame = match read_ppm(&self.path, &mut self.pipe) {
            Ok(None) => self.finish().err(),
            Ok(Some(frame)) => {
                self.count += 1;
                return Some(Ok(frame));
            }
            // If the output stopped short, the program's own reason is the better one.
            Err(error @ MediaError::FfmpegStopped { .. }) => Some(self.finish().err().unwrap_or(error)),
            Err(error) => Some(error),
        };
        frame.map(Err)
    }
}

impl PipedFrames {
    /// At the end of the output: did the program succeed?
    fn finish(&mut self) -> Result<(), MediaError> {
        let status = self.child.wait().map_err(MediaError::read(&self.path))?;
        check_status("ffmpeg", &self.path, status, &mut self.messages)?;
        if self.count == 0 { Err(MediaError::EmptyVideo { path: self.path.clone() }) } else { Ok(()) }
    }
}

impl Drop for PipedFrames {
    fn drop(&mut self) {
        // Has no effect on a program that has ended; nobody is left to tell of a failure.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn probe(path: &Path, program: &Path) -> Result<f64, MediaError> {
    let mut command = Command::new(program);
    command.args(["-v", "error", "-select_streams", "v:0"]);
    command.args(["-show_entries", "stream=avg_frame_rate,r_frame_rate", "-of", "json"]);
    command.args(input(path));
    let (mut child, mut messages) = start(path, &mut command)?;
    let mut json = Vec::new();
    if let Some(pipe) = child.stdout.take() {
        pipe.take(1 << 20).read_to_end(&mut json).map_err(MediaError::read(path))?;
    }
    let status = child.wait().map_err(MediaError::read(path))?;
    check_status("ffprobe", path, status, &mut messages)?;
    let report: Report =
        serde_json::from_slice(&json).map_err(|_| answer("ffprobe", path, "not the JSON asked for"))?;
    let Some(stream) = report.streams.first() else {
        return Err(MediaError::EmptyVideo { path: path.to_owned() });
    };
    let rate = [&stream.avg_frame_rate, &stream.r_frame_rate].into_iter().find_map(|rate| parse_rate(rate));
    rate.ok_or_else(|| answer("ffprobe", path, "no frame rate"))
}

#[derive(serde::Deserialize)]
struct Report {
    #[serde(default)]
    streams: Vec<Stream>,
}

#[derive(serde::Deserialize)]
struct Stream {
    #[serde(default)]
    avg_frame_rate: String,
    #[serde(default)]
    r_frame_rate: String,
}

/// `30000/1001`; `0/0` stands for unknown.
fn parse_rate(rate: &str) -> Option<f64> {
    let (numerator, denominator) = rate.split_once('/')?;
    let fps = numerator.parse::<f64>().ok()? / denominator.parse::<f64>().ok()?;
    (fps.is_finite() && fps > 0.0).then_some(fps)
}

/// The file as input, whatever its name, and nothing else: a playlist may not send for files from the network.
fn input(path: &Path) -> [OsString; 4] {
    let mut file = OsString::from("file:");
    file.push(path);
    ["-protocol_whitelist".into(), "file".into(), "-i".into(), file]
}

/// Start a program; what it says goes to a file, so that it never waits for a reader.
fn start(path: &Path, command: &mut Command) -> Result<(Child, File), MediaError> {
    let messages = tempfile::tempfile().map_err(MediaError::write(&std::env::temp_dir()))?;
    let copy = messages.try_clone().map_err(MediaError::write(&std::env::temp_dir()))?;
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(copy).spawn();
    let child = child.map_err(|source| {
        let program = PathBuf::from(command.get_program());
        MediaError::FfmpegMissing { program, path: path.to_owned(), source }
    })?;
    Ok((child, messages))
}

fn check_status(program: &'static str, path: &Path, status: ExitStatus, messages: &mut File) -> Result<(), MediaError> {
    const LONGEST: u64 = 2000;
    if status.success() {
        return Ok(());
    }
    let mut end = Vec::new();
    let read = messages
        .seek(SeekFrom::End(0))
        .and_then(|length| messages.seek(SeekFrom::Start(length.saturating_sub(LONGEST))))
        .and_then(|_| messages.read_to_end(&mut end));
    let message = match read {
        Ok(_) => String::from_utf8_lossy(&end).trim().to_owned(),
        Err(error) => format!("(its messages cannot be read: {error})"),
    };
    Err(MediaError::FfmpegFailed { program, path: path.to_owned(), status, message })
}

/// The next image, or `None` at the end.
fn read_ppm(path: &Path, pipe: &mut impl Read) -> Result<Option<RgbImage>, MediaError> {
    let stopped = |error: io::Error| match error.kind() {
        ErrorKind::UnexpectedEof => MediaError::FfmpegStopped { path: path.to_owned() },
        _ => MediaError::read(path)(error),
    };
    let not_ppm = || answer("ffmpeg", path, "output that is no PPM image");
    let mut magic = Vec::new();
    pipe.take(3).read_to_end(&mut magic).map_err(stopped)?;
    match magic.as_slice() {
        [] => return Ok(None),
        b"P6\n" => {}
        _ => return Err(not_ppm()),
    }
    let mut numbers = [0; 3];
    for number in &mut numbers {
        *number = read_number(pipe).map_err(stopped)?.ok_or_else(not_ppm)?;
    }
    let [width, height, maximum] = numbers;
    if maximum != 255 {
        return Err(not_ppm());
    }
    check_size(path, width, height)?;
    let mut frame = RgbImage::new(width, height);
    pipe.read_exact(&mut frame).map_err(stopped)?;
    Ok(Some(frame))
}

/// Digits and the one space or line end behind them.
fn read_number(pipe: &mut impl Read) -> io::Result<Option<u32>> {
    let mut number: Option<u32> = None;
    loop {
        let mut byte = [0];
        pipe.read_exact(&mut byte)?;
        match byte[0] {
            digit @ b'0'..=b'9' => {
                let larger = number.unwrap_or(0).checked_mul(10).and_then(|n| n.checked_add(u32::from(digit - b'0')));
                match larger {
                    Some(larger) => number = Some(larger),
                    None => return Ok(None),
                }
            }
            b' ' | b'\n' => return Ok(number),
            _ => return Ok(None),
        }
    }
}

fn answer(program: &'static str, path: &Path, what: &'static str) -> MediaError {
    MediaError::FfmpegAnswer { program, path: path.to_owned(), what }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ppm_images_follow_each_other() {
        let mut bytes: &[u8] = b"P6\n1 2\n255\nabcdefP6\n1 1\n255\nxyz";
        let path = Path::new("clip.mp4");
        let first = read_ppm(path, &mut bytes).unwrap().unwrap();
        assert_eq!((first.dimensions(), first.as_raw().as_slice()), ((1, 2), &b"abcdef"[..]));
        assert_eq!(read_ppm(path, &mut bytes).unwrap().unwrap().as_raw(), b"xyz");
        assert_eq!(read_ppm(path, &mut bytes).unwrap(), None);
    }

    #[test]
    fn strange_output_is_an_error() {
        let cases: [&[u8]; 9] = [
            b"P",
            b"P5\n1 1\n255\nx",
            b"P6\n1 1\n255\nxy",
            b"P6\n1",
            b"P6\n1 1\n65535\nxyzxyz",
            b"P6\n0 1\n255\n",
            b"P6\n99999 99999\n255\n",
            b"P6\n99999999999 1\n255\n",
            b"P6\n-1 1\n255\n",
        ];
        for bytes in cases {
            read_ppm(Path::new("clip.mp4"), &mut &bytes[..]).unwrap_err();
        }
    }

    #[test]
    fn rates() {
        assert_eq!(parse_rate("30000/1001"), Some(30000.0 / 1001.0));
        for unknown in ["0/0", "", "25", "1/0", "-1/1", "a/b"] {
            assert_eq!(parse_rate(unknown), None, "{unknown}");
        }
    }
}
