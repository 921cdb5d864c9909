//! What places are painted on, and with.

use rand::Rng;
use rand_chacha::ChaCha8Rng;

use crate::colour::{Rgb, mix, plus, scale};
use crate::space::floor;

/// An image that is [`Canvas::ASPECT`] wide and 1 high, `y` downwards.
pub(super) struct Canvas {
    pub(super) width: usize,
    pub(super) height: usize,
    pub(super) pixels: Vec<Rgb>,
}

/// `[left, top, right, bottom]`.
pub(super) type Area = [f32; 4];

impl Canvas {
    /// Width, where the height is 1.
    pub(super) const ASPECT: f32 = 2.0;

    pub(super) fn new(height: usize) -> Self {
        let width = height * Self::ASPECT as usize;
        Self { width, height, pixels: vec![[0.0; 3]; width * height] }
    }

    /// Repaints `area`: from place and old colour to the new colour.
    pub(super) fn paint(&mut self, area: Area, colour: impl Fn(f32, f32, Rgb) -> Rgb) {
        let unit = self.height as f32;
        let bound = |value: f32, limit: usize| ((value * unit + 0.5).max(0.0) as usize).min(limit);
        let (left, right) = (bound(area[0], self.width), bound(area[2], self.width));
        for row in bound(area[1], self.height)..bound(area[3], self.height) {
            let y = (row as f32 + 0.5) / unit;
            for column in left..right {
                let pixel = &mut self.pixels[row * self.width + column];
                *pixel = colour((column as f32 + 0.5) / unit, y, *pixel);
            }
        }
    }

    /// An area, from `top` to `bottom` colour.
    pub(super) fn gradient(&mut self, area: Area, top: Rgb, bottom: Rgb) {
        self.paint(area, |_, y, _| mix(top, bottom, ((y - area[1]) / (area[3] - area[1])).clamp(0.0, 1.0)));
    }

    pub(super) fn rectangle(&mut self, area: Area, colour: Rgb) {
        self.paint(area, |_, _, _| colour);
    }

    /// A rectangle whose upper edge catches light and whose lower one is in shade.
    pub(super) fn block(&mut self, area: Area, colour: Rgb) {
        let height = area[3] - area[1];
        self.paint(area, |_, y, _| scale(colour, 1.12 - 0.3 * (y - area[1]) / height));
    }

    /// An ellipse, rounded by light from above by `shading`, 0 (flat) to 1.
    pub(super) fn ellipse(&mut self, centre: [f32; 2], radii: [f32; 2], colour: Rgb, shading: f32) {
        self.paint(around(centre, radii), |x, y, old| {
            let (across, down) = ((x - centre[0]) / radii[0], (y - centre[1]) / radii[1]);
            if across * across + down * down > 1.0 { old } else { scale(colour, 1.0 - 0.5 * shading * (down + 0.25)) }
        });
    }

    /// A soft blob that covers what is behind by `strength` at its centre.
    pub(super) fn puff(&mut self, centre: [f32; 2], radii: [f32; 2], colour: Rgb, strength: f32) {
        self.paint(around(centre, radii), |x, y, old| {
            mix(old, colour, strength * bump((x - centre[0]) / radii[0], (y - centre[1]) / radii[1]))
        });
    }

    /// Light added around a lamp.
    pub(super) fn glow(&mut self, centre: [f32; 2], radius: f32, colour: Rgb) {
        self.paint(around(centre, [radius; 2]), |x, y, old| {
            plus(old, scale(colour, bump((x - centre[0]) / radius, (y - centre[1]) / radius)))
        });
    }

    /// All below a line, `top(x)`; the colour may depend on the depth below it.
    pub(super) fn below(&mut self, top: impl Fn(f32) -> f32, colour: impl Fn(f32, f32) -> Rgb) {
        let unit = self.height as f32;
        for column in 0..self.width {
            let x = (column as f32 + 0.5) / unit;
            let edge = top(x);
            for row in ((edge * unit + 0.5).max(0.0) as usize).min(self.height)..self.height {
                self.pixels[row * self.width + column] = colour(x, (row as f32 + 0.5) / unit - edge);
            }
        }
    }

    /// Puts the place out of focus: three box filters in each direction, near enough to a Gaussian. The radius is part of
    /// the canvas' height.
    pub(super) fn blur(&mut self, radius: f32) {
        let taps = (radius * self.height as f32) as usize;
        if taps == 0 {
            return;
        }
        let mut line = Vec::new();
        for _ in 0..3 {
            for row in self.pixels.chunks_exact_mut(self.width) {
                box_filter(row, 0, 1, self.width, taps, &mut line);
            }
        }
        for column in 0..self.width {
            for _ in 0..3 {
                box_filter(&mut self.pixels, column, self.width, self.height, taps, &mut line);
            }
        }
    }
}

/// Averages `count` pixels, `stride` apart from `start`, over `2 taps + 1` neighbours; ends are repeated.
fn box_filter(pixels: &mut [Rgb], start: usize, stride: usize, count: usize, taps: usize, line: &mut Vec<Rgb>) {
    line.clear();
    line.extend((0..count).map(|index| pixels[start + index * stride]));
    let at = |index: usize| line[index.saturating_sub(taps).min(count - 1)];
    let mut sum = (0..=2 * taps).fold([0.0; 3], |sum, index| plus(sum, at(index)));
    let share = 1.0 / (2 * taps + 1) as f32;
    for index in 0..count {
        pixels[start + index * stride] = scale(sum, share);
        let (entering, leaving) = (at(index + 2 * taps + 1), at(index));
        sum = [0, 1, 2].map(|channel| sum[channel] + entering[channel] - leaving[channel]);
    }
}

fn around(centre: [f32; 2], radii: [f32; 2]) -> Area {
    [centre[0] - radii[0], centre[1] - radii[1], centre[0] + radii[0], centre[1] + radii[1]]
}

/// 1 at the centre, 0 from distance 1 on, smooth.
fn bump(across: f32, down: f32) -> f32 {
    let rest = (1.0 - across * across - down * down).max(0.0);
    rest * rest
}

/// Smooth noise, 0 to 1, that changes over a distance of 1; three octaves.
pub(super) fn noise(seed: u32, x: f32, y: f32) -> f32 {
    let octave = |shift: u32, frequency: f32| value_noise(seed.wrapping_add(shift), x * frequency, y * frequency);
    octave(0, 1.0) * 0.57 + octave(1, 2.1) * 0.28 + octave(2, 4.3) * 0.15
}

fn value_noise(seed: u32, x: f32, y: f32) -> f32 {
    let (left, top) = (floor(x), floor(y));
    let smooth = |part: f32| part * part * (3.0 - 2.0 * part);
    let (right, down) = (smooth(x - left as f32), smooth(y - top as f32));
    let corner = |dx: i32, dy: i32| lattice(seed, left + dx, top + dy);
    let upper = corner(0, 0) + (corner(1, 0) - corner(0, 0)) * right;
    let lower = corner(0, 1) + (corner(1, 1) - corner(0, 1)) * right;
    upper + (lower - upper) * down
}

/// A number from 0 to 1 for a lattice point: a multiplicative hash with two rounds of mixing.
pub(super) fn lattice(seed: u32, x: i32, y: i32) -> f32 {
    let mut hash =
        seed.wrapping_mul(0x9E37_79B9) ^ (x as u32).wrapping_mul(0x85EB_CA6B) ^ (y as u32).wrapping_mul(0xC2B2_AE35);
    hash = (hash ^ (hash >> 15)).wrapping_mul(0x2C1B_3C6D);
    hash = (hash ^ (hash >> 12)).wrapping_mul(0x297A_2D39);
    ((hash ^ (hash >> 15)) >> 8) as f32 / 16_777_216.0
}

/// A number between two others.
pub(super) fn between(random: &mut ChaCha8Rng, low: f32, high: f32) -> f32 {
    low + (high - low) * random.random::<f32>()
}

/// One of several.
pub(super) fn pick<T: Copy>(random: &mut ChaCha8Rng, choices: &[T]) -> T {
    choices[random.random_range(0..choices.len() as u32) as usize]
}
