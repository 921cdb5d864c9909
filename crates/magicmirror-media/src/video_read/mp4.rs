//! MP4 files of our own making: one H.264 track in one chunk, BT.709 limited range, decoded by `OpenH264`.

use image::RgbImage;
use mp4_atom::{Any, Avc1, Codec, Moov, ReadFrom, StszSamples, Trak};
use openh264::decoder::Decoder;
use openh264::formats::YUVSource;

use super::Video;

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// All frames; at least one.
pub(crate) fn decode(file: &[u8]) -> Result<Video, BoxError> {
    let moov = header(file)?;
    let [track] = &moov.trak[..] else { return Err("not one track".into()) };
    let [Codec::Avc1(codec)] = &track.mdia.minf.stbl.stsd.codecs[..] else { return Err("not H.264".into()) };
    let size = (u32::from(codec.visual.width), u32::from(codec.visual.height));
    let mut decoder = Decoder::new()?;
    let mut frames = Vec::new();
    for sample in samples(file, track)? {
        let mut units = if frames.is_empty() { parameter_sets(codec) } else { Vec::new() };
        append_units(&mut units, sample)?;
        let picture = decoder.decode(&units)?.ok_or("a sample without a picture")?;
        let frame = to_rgb(&picture);
        if frame.dimensions() != size {
            return Err("a picture of another size than the header says".into());
        }
        frames.push(frame);
    }
    Ok(Video { frames, fps: fps(track)? })
}

fn header(mut file: &[u8]) -> Result<Moov, BoxError> {
    while !file.is_empty() {
        if let Any::Moov(moov) = Any::read_from(&mut file)? {
            return Ok(moov);
        }
    }
    Err("no header".into())
}

fn fps(track: &Trak) -> Result<f64, BoxError> {
    match &track.mdia.minf.stbl.stts.entries[..] {
        [entry] if entry.sample_delta > 0 => Ok(f64::from(track.mdia.mdhd.timescale) / f64::from(entry.sample_delta)),
        _ => Err("frames of different lengths".into()),
    }
}

fn samples<'a>(file: &'a [u8], track: &Trak) -> Result<Vec<&'a [u8]>, BoxError> {
    let table = &track.mdia.minf.stbl;
    let StszSamples::Different { sizes } = &table.stsz.samples else { return Err("samples of one size".into()) };
    let [start] = table.stco.as_ref().map_or(&[][..], |offsets| &offsets.entries) else {
        return Err("not one chunk".into());
    };
    let mut rest = file.get(*start as usize..).ok_or("the file ends early")?;
    let mut samples = Vec::new();
    for size in sizes {
        let (sample, after) = rest.split_at_checked(*size as usize).ok_or("the file ends early")?;
        samples.push(sample);
        rest = after;
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
