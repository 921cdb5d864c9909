//! MP4 files of our own making: one H.264 track in one chunk, BT.709 limited range, decoded by `OpenH264`.

use std::fs::{self, File};
use std::io::Read;
use std::ops::Range;
use std::path::Path;

use image::RgbImage;
use mp4_atom::{Any, Atom, Avc1, Codec, Compressor, Ftyp, Header, Moov, ReadAtom, ReadFrom, StszSamples, Trak};
use openh264::decoder::Decoder;
use openh264::formats::YUVSource;

use super::{Frames, Video};
use crate::MediaError;
use crate::video_write::mp4::COMPRESSOR;

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// The frames of a file and their rate. `None` for a file that was not written here.
pub(super) fn open(path: &Path) -> Result<Option<(Frames, f64)>, MediaError> {
    // Whatever is wrong with the header of a stranger's file is for `ffmpeg` to say.
    if !is_ours(&mut File::open(path).map_err(MediaError::read(path))?).unwrap_or(false) {
        return Ok(None);
    }
    let path = path.to_owned();
    let broken = |source| MediaError::DecodeVideo { path: path.clone(), source };
    let frames = Mp4Frames::new(fs::read(&path).map_err(MediaError::read(&path))?).map_err(broken)?;
    let fps = frames.fps;
    let named = move |source| MediaError::DecodeVideo { path: path.clone(), source };
    Ok(Some((Box::new(frames.map(move |frame| frame.map_err(&named))), fps)))
}

/// All frames; at least one.
pub(crate) fn decode(file: &[u8]) -> Result<Video, BoxError> {
    let frames = Mp4Frames::new(file)?;
    let fps = frames.fps;
    Ok(Video { frames: frames.collect::<Result<_, _>>()?, fps })
}

/// Whether a file begins as those written here do: `ftyp`, then a header that names the encoder.
fn is_ours(file: &mut impl Read) -> mp4_atom::Result<bool> {
    let ftyp = Header::read_from(file)?;
    if ftyp.kind != Ftyp::KIND {
        return Ok(false);
    }
    Ftyp::read_atom(&ftyp, file)?;
    let moov = Header::read_from(file)?;
    if moov.kind != Moov::KIND {
        return Ok(false);
    }
    let moov = Moov::read_atom(&moov, file)?;
    Ok(track(&moov).is_ok_and(|(_, codec)| codec.visual.compressor == Compressor::from(COMPRESSOR)))
}

/// The frames one after the other.
struct Mp4Frames<F> {
    file: F,
    samples: std::vec::IntoIter<Range<usize>>,
    decoder: Decoder,
    /// What the decoder wants before the first sample.
    parameter_sets: Vec<u8>,
    size: (u32, u32),
    fps: f64,
}

impl<F: AsRef<[u8]>> Mp4Frames<F> {
    fn new(file: F) -> Result<Self, BoxError> {
        let moov = header(file.as_ref())?;
        let (track, codec) = track(&moov)?;
        Ok(Self {
            samples: samples(file.as_ref().len(), track)?.into_iter(),
            decoder: Decoder::new()?,
            parameter_sets: parameter_sets(codec),
            size: (u32::from(codec.visual.width), u32::from(codec.visual.height)),
            fps: fps(track)?,
            file,
        })
    }

    fn decode(&mut self, sample: Range<usize>) -> Result<RgbImage, BoxError> {
        let mut units = std::mem::take(&mut self.parameter_sets);
        append_units(&mut units, &self.file.as_ref()[sample])?;
        let picture = self.decoder.decode(&units)?.ok_or("a sample without a picture")?;
        let frame = to_rgb(&picture);
        if frame.dimensions() != self.size {
            return Err("a picture of another size than the header says".into());
        }
        Ok(frame)
    }
}

impl<F: AsRef<[u8]>> Iterator for Mp4Frames<F> {
    type Item = Result<RgbImage, BoxError>;

    fn next(&mut self) -> Option<Self::Item> {
        let sample = self.samples.next()?;
        Some(self.decode(sample))
    }
}

fn header(mut file: &[u8]) -> Result<Moov, BoxError> {
    while !file.is_empty() {
        if let Any::Moov(moov) = Any::read_from(&mut file)? {
            return Ok(moov);
        }
    }
    Err("no header".into())
}

/// The one track, and how it is coded.
fn track(moov: &Moov) -> Result<(&Trak, &Avc1), BoxError> {
    let [track] = &moov.trak[..] else { return Err("not one track".into()) };
    let [Codec::Avc1(codec)] = &track.mdia.minf.stbl.stsd.codecs[..] else { return Err("not H.264".into()) };
    Ok((track, codec))
}

fn fps(track: &Trak) -> Result<f64, BoxError> {
    match &track.mdia.minf.stbl.stts.entries[..] {
        [entry] if entry.sample_delta > 0 => Ok(f64::from(track.mdia.mdhd.timescale) / f64::from(entry.sample_delta)),
        _ => Err("frames of different lengths".into()),
    }
}

/// Where the samples are in a file of so many bytes; at least one.
fn samples(file_size: usize, track: &Trak) -> Result<Vec<Range<usize>>, BoxError> {
    let table = &track.mdia.minf.stbl;
    let StszSamples::Different { sizes } = &table.stsz.samples else { return Err("samples of one size".into()) };
    let [start] = table.stco.as_ref().map_or(&[][..], |offsets| &offsets.entries) else {
        return Err("not one chunk".into());
    };
    let mut samples = Vec::with_capacity(sizes.len());
    let mut start = *start as usize;
    for size in sizes {
        let end = start.checked_add(*size as usize).filter(|&end| end <= file_size).ok_or("the file ends early")?;
        samples.push(start..end);
        start = end;
    }
    if samples.is_empty() { Err("no frames".into()) } else { Ok(samples) }
}

const START_CODE: [u8; 4] = [0, 0, 0, 1];

fn parameter_sets(codec: &Avc1) -> Vec<u8> {
    let sets = codec.avcc.sequence_parameter_sets.iter().chain(&codec.avcc.picture_parameter_sets);
    sets.flat_map(|set| [&START_CODE[..], set].concat()).collect()
}

/// From units after their lengths to units after start codes.
fn append_units(units: &mut Vec<u8>, mut sample: &[u8]) -> Result<(), BoxError> {
    while let Some((length, after)) = sample.split_first_chunk() {
        let length = u32::from_be_bytes(*length) as usize;
        let (unit, after) = after.split_at_checked(length).ok_or("a unit ends early")?;
        units.extend(START_CODE);
        units.extend(unit);
        sample = after;
    }
    Ok(())
}

/// BT.709, limited range; chroma interpolated between where H.264's default says it was sampled.
fn to_rgb(picture: &impl YUVSource) -> RgbImage {
    let (width, height) = picture.dimensions();
    let (luma_stride, blue_stride, red_stride) = picture.strides();
    let chroma = |plane: &[u8], stride: usize, x: usize, y: usize| {
        let (column, row) = (x / 2, y / 2);
        let right = (column + x % 2).min(width / 2 - 1);
        let other = if y.is_multiple_of(2) { row.saturating_sub(1) } else { (row + 1).min(height / 2 - 1) };
        let at = |row: usize| f32::from(plane[row * stride + column]) + f32::from(plane[row * stride + right]);
        ((0.75 * at(row) + 0.25 * at(other)) * 0.5 - 128.0) * (255.0 / 224.0)
    };
    RgbImage::from_fn(width as u32, height as u32, |x, y| {
        let (x, y) = (x as usize, y as usize);
        let grey = (f32::from(picture.y()[y * luma_stride + x]) - 16.0) * (255.0 / 219.0);
        let blue = chroma(picture.u(), blue_stride, x, y);
        let red = chroma(picture.v(), red_stride, x, y);
        let rgb = [grey + 1.5748 * red, grey - 0.187_324 * blue - 0.468_124 * red, grey + 1.8556 * blue];
        image::Rgb(rgb.map(|value| value.round().clamp(0.0, 255.0) as u8))
    })
}
