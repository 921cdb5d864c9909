//! H.264 in MP4 that plays while it is still being loaded: `ftyp`, `moov`, `uuid` (XMP), `mdat`.

use std::io::Write;
use std::path::Path;

use image::RgbImage;
use mp4_atom::{
    Any, Avc1, Avcc, Colr, Compressor, Dinf, Dref, Encode, FourCC, Ftyp, Hdlr, Mdhd, Mdia, Meta, Minf, Moov, Mvhd,
    Stbl, Stco, Stsc, StscEntry, Stsd, Stss, Stsz, StszSamples, Stts, SttsEntry, Tkhd, Trak, Udta, Url, Visual, Vmhd,
};

use super::Provenance;
use super::h264::{self, Sample, Stream};
use super::timing::TrackTiming;
use crate::MediaError;

/// Marks a `uuid` box that holds XMP (XMP specification, part 3).
const XMP_UUID: [u8; 16] =
    [0xbe, 0x7a, 0xcf, 0xcb, 0x97, 0xa9, 0x42, 0xe8, 0x9c, 0x71, 0x99, 0x94, 0x91, 0xe3, 0xaf, 0xac];

/// The encoder, as the header names it. Other programs name themselves too, so that this tells our files from theirs.
pub(crate) const COMPRESSOR: &str = "OpenH264";

/// Of a box: its length and its name.
const HEADER: usize = 8;

/// Write MP4; `frames` are at least one, of one size that has passed [`h264::check_size`].
pub(crate) fn write_mp4(
    path: &Path,
    writer: &mut impl Write,
    frames: &[RgbImage],
    fps: f64,
    provenance: Option<&Provenance>,
) -> Result<(), MediaError> {
    let stream = h264::encode(path, frames, fps)?;
    let header = header(&stream, frames[0].dimensions(), fps, provenance).map_err(MediaError::encode(path, "MP4"))?;
    let write = MediaError::write(path);
    let mut parts = std::iter::once(&header[..]).chain(stream.samples.iter().map(|sample| &sample.data[..]));
    parts.try_for_each(|part| writer.write_all(part)).map_err(write)
}

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// All that comes before the samples.
fn header(stream: &Stream, size: (u32, u32), fps: f64, provenance: Option<&Provenance>) -> Result<Vec<u8>, BoxError> {
    let too_large = |_| "the video needs more than the 4 GiB that a simple MP4 can hold";
    let timing = TrackTiming::from_fps(fps);
    let brands = [b"isom", b"iso2", b"avc1", b"mp41"].map(FourCC::new);
    let ftyp = Ftyp { major_brand: b"isom".into(), minor_version: 0x200, compatible_brands: brands.into() };
    let data_size: usize = stream.samples.iter().map(|sample| sample.data.len()).sum();

    // The samples' position is in the header and depends on the header's length, which does not depend on its value.
    let mut position = 0;
    loop {
        let mut bytes = Vec::new();
        ftyp.encode(&mut bytes)?;
        moov(stream, size, timing, provenance, position)?.encode(&mut bytes)?;
        if let Some(provenance) = provenance {
            push_box(&mut bytes, *b"uuid", &[&XMP_UUID[..], provenance.xmp().as_bytes()].concat())?;
        }
        bytes.extend(u32::try_from(data_size + HEADER).map_err(too_large)?.to_be_bytes());
        bytes.extend(b"mdat");
        u32::try_from(bytes.len() + data_size).map_err(too_large)?;
        let end = bytes.len() as u32;
        if end == position {
            return Ok(bytes);
        }
        position = end;
    }
}

fn moov(
    stream: &Stream,
    size: (u32, u32),
    timing: TrackTiming,
    provenance: Option<&Provenance>,
    position: u32,
) -> Result<Moov, BoxError> {
    let ticks = u64::from(timing.frame_ticks) * stream.samples.len() as u64;
    Ok(Moov {
        mvhd: Mvhd {
            timescale: timing.timescale,
            duration: ticks,
            rate: 1.into(),
            volume: 1.into(),
            next_track_id: 2,
            ..Mvhd::default()
        },
        trak: vec![Trak {
            tkhd: Tkhd {
                track_id: 1,
                duration: ticks,
                enabled: true,
                in_movie: true,
                width: u16::try_from(size.0)?.into(),
                height: u16::try_from(size.1)?.into(),
                ..Tkhd::default()
            },
            mdia: Mdia {
                mdhd: Mdhd { timescale: timing.timescale, duration: ticks, language: "und".into(), ..Mdhd::default() },
                hdlr: Hdlr { handler: b"vide".into(), name: "VideoHandler".into() },
                minf: Minf {
                    vmhd: Some(Vmhd::default()),
                    dinf: Dinf { dref: Dref { entries: vec![Url { location: String::new() }.into()] } },
                    stbl: sample_table(stream, size, timing, position)?,
                    ..Minf::default()
                },
            },
            ..Trak::default()
        }],
        udta: match provenance {
            Some(provenance) => Some(Udta { meta: Some(metadata(provenance)?), ..Udta::default() }),
            None => None,
        },
        ..Moov::default()
    })
}

/// One chunk of all samples, in order, at `position`.
fn sample_table(stream: &Stream, size: (u32, u32), timing: TrackTiming, position: u32) -> Result<Stbl, BoxError> {
    let samples = &stream.samples;
    let count = u32::try_from(samples.len())?;
    let key_frames = (1..=count).zip(samples).filter(|(_, sample)| sample.key_frame).map(|(number, _)| number);
    let sizes = samples.iter().map(|Sample { data, .. }| u32::try_from(data.len())).collect::<Result<_, _>>()?;
    let entry = Avc1 {
        visual: Visual {
            data_reference_index: 1,
            width: u16::try_from(size.0)?,
            height: u16::try_from(size.1)?,
            compressor: Compressor::from(COMPRESSOR),
            ..Visual::default()
        },
        avcc: Avcc::new(&stream.sequence_parameters, &stream.picture_parameters)?,
        // BT.709 primaries, transfer and matrix, limited range: what the pictures were converted to.
        colr: Some(Colr::new(1, 1, 1, false)?),
        ..Avc1::default()
    };
    Ok(Stbl {
        stsd: Stsd { codecs: vec![entry.into()] },
        stts: Stts { entries: vec![SttsEntry { sample_count: count, sample_delta: timing.frame_ticks }] },
        stss: Some(Stss { entries: key_frames.collect() }),
        stsc: Stsc {
            entries: vec![StscEntry { first_chunk: 1, samples_per_chunk: count, sample_description_index: 1 }],
        },
        stsz: Stsz { samples: StszSamples::Different { sizes } },
        stco: Some(Stco { entries: vec![position] }),
        ..Stbl::default()
    })
}

/// Title, program, description and comment, as players and `ffprobe` show them.
fn metadata(provenance: &Provenance) -> Result<Meta, BoxError> {
    let comment = provenance.comment();
    let mut items = Vec::new();
    for (name, text) in [
        (b"\xa9nam", Provenance::TITLE),
        (b"\xa9too", &provenance.generator),
        (b"\xa9cmt", &comment),
        (b"desc", &provenance.description),
    ] {
        // Type 1 is UTF-8; then a locale, always 0.
        let mut data = Vec::new();
        push_box(&mut data, *b"data", &[&[0, 0, 0, 1, 0, 0, 0, 0], text.as_bytes()].concat())?;
        push_box(&mut items, *name, &data)?;
    }
    Ok(Meta {
        hdlr: Hdlr { handler: b"mdir".into(), name: String::new() },
        // As bytes, since `mp4_atom::Ilst` knows no comment.
        items: vec![Any::Unknown(FourCC::new(b"ilst"), items)],
    })
}

fn push_box(bytes: &mut Vec<u8>, name: [u8; 4], content: &[u8]) -> Result<(), BoxError> {
    bytes.extend(u32::try_from(HEADER + content.len())?.to_be_bytes());
    bytes.extend(name);
    bytes.extend(content);
    Ok(())
}
