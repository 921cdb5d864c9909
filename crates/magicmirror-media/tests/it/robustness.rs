//! No file makes a reader panic: random bytes, random cuts and random damage.

use std::fs;
use std::io::Cursor;

use image::{DynamicImage, ImageFormat};
use magicmirror_media::{FfmpegPrograms, ReadOptions, read_photo, read_video, write_video};

use crate::{clip, provenance, scene};

/// `SplitMix64`: enough randomness for damage, and the same in every run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut value = self.0;
        value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        value ^ (value >> 31)
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }
}

/// One valid file of each format that is read without other programs.
fn valid_files() -> Vec<Vec<u8>> {
    let image = DynamicImage::ImageRgb8(scene(24, 16, 0));
    let stills = [ImageFormat::Jpeg, ImageFormat::Png, ImageFormat::WebP].map(|format| {
        let mut bytes = Cursor::new(Vec::new());
        image.write_to(&mut bytes, format).unwrap();
        bytes.into_inner()
    });
    let folder = tempfile::tempdir().unwrap();
    let moving = ["a.gif", "a.webp", "a.mp4"].map(|name| {
        let path = folder.path().join(name);
        write_video(&path, &clip(24, 16, 3), 8.0, &provenance()).unwrap();
        fs::read(&path).unwrap()
    });
    stills.into_iter().chain(moving).collect()
}

/// Reads with everything; what comes of it does not matter, only that it comes.
fn survive(bytes: &[u8]) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    fs::write(&path, bytes).unwrap();
    let nowhere = folder.path().join("no-such-program");
    let programs = FfmpegPrograms { ffmpeg: nowhere.clone(), ffprobe: nowhere };
    let _ = read_photo(&path);
    let _ = read_video(&path, &ReadOptions { programs, max_frames: Some(10), ..ReadOptions::default() });
}

#[test]
fn random_bytes() {
    let mut random = Random(1);
    for start in [
        &b""[..],
        b"\x89PNG\r\n\x1a\n",
        b"\xff\xd8\xff",
        b"GIF89a",
        b"RIFF\xff\xff\0\0WEBPVP8 ",
        b"RIFF\xff\xff\0\0WEBPVP8X\n\0\0\0\x02",
    ] {
        for _ in 0..25 {
            let mut bytes = start.to_vec();
            let length = random.below(300);
            bytes.extend((0..length).map(|_| random.next() as u8));
            survive(&bytes);
        }
    }
}

#[test]
fn cut_files_are_errors_or_whole() {
    let mut random = Random(2);
    for file in valid_files() {
        for _ in 0..60 {
            survive(&file[..random.below(file.len())]);
        }
    }
}

#[test]
fn damaged_files() {
    let mut random = Random(3);
    for file in valid_files() {
        for _ in 0..120 {
            let mut bytes = file.clone();
            for _ in 0..=random.below(4) {
                // Headers are where damage can mislead most.
                let range = if random.below(2) == 0 { 64.min(bytes.len()) } else { bytes.len() };
                let position = random.below(range);
                bytes[position] = random.next() as u8;
            }
            survive(&bytes);
        }
    }
}
