//! Files in, files out: everything through the public interface.

#![allow(clippy::unwrap_used)]

mod animations;
mod memory;
mod mp4;
mod paths;
mod photos;
mod resize;
mod robustness;
mod video_read;

use std::fs;
use std::path::Path;

use magicmirror_media::{Provenance, RgbImage};

/// Smooth moving shapes over a gradient with some grain: easier than a film, harder than a flat area.
fn scene(width: u32, height: u32, time: u32) -> RgbImage {
    RgbImage::from_fn(width, height, |x, y| {
        let (u, v) = (f64::from(x) / 24.0, f64::from(y) / 18.0);
        let t = f64::from(time) / 4.0;
        let grain = f64::from((x * 7919 + y * 104_729 + time * 31) % 7) - 3.0;
        let wave = |phase: f64| 127.0 + 80.0 * ((u + t).sin() * (v - t + phase).cos()) + grain;
        image::Rgb([wave(0.0) as u8, wave(0.3) as u8, wave(0.9) as u8])
    })
}

fn clip(width: u32, height: u32, frames: u32) -> Vec<RgbImage> {
    (0..frames).map(|time| scene(width, height, time)).collect()
}

fn provenance() -> Provenance {
    Provenance {
        generator: "MagicMirror 0.1.0".into(),
        description: "Personalised video, “test”.".into(),
        settings_sha256: "9f86d081884c7d65".into(),
    }
}

/// Peak signal-to-noise ratio in dB.
fn psnr(a: &[u8], b: &[u8]) -> f64 {
    assert_eq!(a.len(), b.len());
    let squares: f64 = a.iter().zip(b).map(|(&a, &b)| (f64::from(a) - f64::from(b)).powi(2)).sum();
    10.0 * (255.0 * 255.0 * a.len() as f64 / squares).log10()
}

fn contains(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

fn names_in(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}
