//! MP4 files: the boxes by `mp4-atom`, the pictures by `OpenH264`'s decoder.

use std::fs;

use magicmirror_media::{MediaError, RgbImage, write_video};
use mp4_atom::{Any, Codec, Colr, Moov, ReadFrom, StszSamples};
use openh264::decoder::Decoder;
use openh264::formats::YUVSource;

use crate::{clip, contains, provenance, psnr};

struct Parsed {
    names: Vec<String>,
    moov: Moov,
    /// In Annex B form, parameter sets before each key frame.
    samples: Vec<Vec<u8>>,
}

fn written(frames: &[RgbImage], fps: f64) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("out.MP4");
    write_video(&path, frames, fps, &provenance()).unwrap();
    assert_eq!(crate::names_in(folder.path()), ["out.MP4"]);
    fs::read(&path).unwrap()
}

fn parse(file: &[u8]) -> Parsed {
    let (mut names, mut moov) = (Vec::new(), None);
    let mut rest = file;
    while !rest.is_empty() {
        let atom = Any::read_from(&mut rest).unwrap();
        names.push(atom.kind().to_string());
        if let Any::Moov(found) = atom {
            moov = Some(found);
        }
    }
    let moov: Moov = moov.unwrap();
    let table = &moov.trak[0].mdia.minf.stbl;
    let Codec::Avc1(entry) = &table.stsd.codecs[0] else { panic!("not H.264") };
    let StszSamples::Different { sizes } = &table.stsz.samples else { panic!("one size") };
    let mut start = table.stco.as_ref().unwrap().entries[0] as usize;
    let key_frames = &table.stss.as_ref().unwrap().entries;
    let mut samples = Vec::new();
    for (number, &size) in (1..).zip(sizes) {
        let mut sample = Vec::new();
        if key_frames.contains(&number) {
            let parameters = entry.avcc.sequence_parameter_sets.iter().chain(&entry.avcc.picture_parameter_sets);
            parameters.for_each(|set| sample.extend([&[0, 0, 0, 1], set.as_slice()].concat()));
        }
        let mut units = &file[start..start + size as usize];
        while let Some((length, after)) = units.split_first_chunk() {
            let (unit, after) = after.split_at(u32::from_be_bytes(*length) as usize);
            sample.extend([&[0, 0, 0, 1], unit].concat());
            units = after;
        }
        samples.push(sample);
        start += size as usize;
    }
    assert_eq!(start, file.len(), "the samples fill the rest of the file");
    Parsed { names, moov, samples }
}

/// The luma of each picture, and its width and height.
fn decode(samples: &[Vec<u8>]) -> Vec<(Vec<u8>, (usize, usize))> {
    let mut decoder = Decoder::new().unwrap();
    let mut pictures = Vec::new();
    for sample in samples {
        let picture = decoder.decode(sample).unwrap().expect("one picture for each sample");
        let (width, height) = picture.dimensions();
        let rows = picture.y().chunks(picture.strides().0).take(height);
        pictures.push((rows.flat_map(|row| row[..width].to_vec()).collect(), (width, height)));
    }
    pictures
}

/// BT.709 luma in limited range.
fn luma(frame: &RgbImage) -> Vec<u8> {
    let weighted = |rgb: [u8; 3]| 0.2126 * f64::from(rgb[0]) + 0.7152 * f64::from(rgb[1]) + 0.0722 * f64::from(rgb[2]);
    frame.pixels().map(|pixel| (16.0 + weighted(pixel.0) * 219.0 / 255.0).round() as u8).collect()
}

#[test]
fn boxes_say_what_is_in_the_file() {
    let parsed = parse(&written(&clip(98, 50, 21), 8.0));
    assert_eq!(parsed.names, ["ftyp", "moov", "uuid", "mdat"]);
    let (moov, track) = (&parsed.moov, &parsed.moov.trak[0]);
    let table = &track.mdia.minf.stbl;
    assert_eq!(u64::from(moov.mvhd.timescale) * 21, moov.mvhd.duration * 8);
    assert_eq!(u64::from(track.mdia.mdhd.timescale) * 21, track.mdia.mdhd.duration * 8);
    assert_eq!((table.stts.entries.len(), table.stts.entries[0].sample_count), (1, 21));
    assert_eq!(table.stts.entries[0].sample_delta * 8, track.mdia.mdhd.timescale);
    let key_frames = &table.stss.as_ref().unwrap().entries;
    assert_eq!(key_frames[0], 1);
    assert!(key_frames.windows(2).all(|pair| pair[1] - pair[0] <= 16), "{key_frames:?}");
    assert!(key_frames.contains(&17), "{key_frames:?}");
    assert_eq!((track.tkhd.width.integer(), track.tkhd.height.integer()), (98, 50));
    let Codec::Avc1(entry) = &table.stsd.codecs[0] else { panic!("not H.264") };
    assert_eq!((entry.visual.width, entry.visual.height), (98, 50));
    assert_eq!(entry.colr, Some(Colr::new(1, 1, 1, false).unwrap()));
}

#[test]
fn pictures_survive() {
    for (width, height) in [(16, 16), (98, 50), (64, 176)] {
        let frames = clip(width, height, 9);
        let pictures = decode(&parse(&written(&frames, 7.5)).samples);
        assert_eq!(pictures.len(), frames.len());
        for (frame, (decoded, size)) in frames.iter().zip(&pictures) {
            assert_eq!(*size, (width as usize, height as usize));
            let quality = psnr(decoded, &luma(frame));
            assert!(quality > 40.0, "{width}x{height}: {quality} dB");
        }
    }
}

#[test]
fn a_cut_and_still_frames_keep_every_frame() {
    let mut frames = clip(64, 48, 4);
    frames.extend(std::iter::repeat_n(RgbImage::from_pixel(64, 48, image::Rgb([200, 30, 30])), 5));
    let pictures = decode(&parse(&written(&frames, 30000.0 / 1001.0)).samples);
    assert_eq!(pictures.len(), 9);
    assert!(psnr(&pictures[8].0, &luma(&frames[8])) > 40.0);
}

#[test]
fn the_file_says_that_it_is_generated() {
    let file = written(&clip(16, 16, 1), 8.0);
    let provenance = provenance();
    for text in [&provenance.generator, &provenance.description, &provenance.comment(), &provenance.settings_sha256] {
        assert!(contains(&file, text), "{text}");
    }
    assert!(contains(&file, "AI-generated") && contains(&file, "trainedAlgorithmicMedia"));
}

#[test]
fn equal_frames_give_equal_bytes() {
    let frames = clip(64, 48, 5);
    assert!(written(&frames, 8.0) == written(&frames, 8.0));
}

#[test]
fn odd_sizes_are_refused_and_leave_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let error = write_video(folder.path().join("out.mp4"), &clip(33, 50, 2), 8.0, &provenance()).unwrap_err();
    assert!(matches!(error, MediaError::VideoSize { nearest_width: 32, nearest_height: 50, .. }), "{error}");
    assert!(error.to_string().contains("32x50"));
    assert_eq!(crate::names_in(folder.path()), [""; 0]);
}
