//! Places under the sky.

use rand::Rng;
use rand_chacha::ChaCha8Rng;

use super::Mood;
use super::canvas::{Canvas, between, lattice, noise, pick};
use crate::colour::{Rgb, mix, plus, rgb, scale, times};

/// Sky all over, with clouds.
pub(super) fn sky(canvas: &mut Canvas, random: &mut ChaCha8Rng, mood: &Mood) {
    heaven(canvas, random, mood, 1.05);
    for _ in 0..9 {
        let centre = [between(random, 0.0, 2.0), between(random, 0.15, 0.9)];
        let size = between(random, 0.14, 0.30);
        cloud(canvas, random, mood, centre, size);
    }
}

/// Lawn, path, trees near and far.
pub(super) fn park(canvas: &mut Canvas, random: &mut ChaCha8Rng, mood: &Mood) {
    heaven(canvas, random, mood, 0.6);
    let haze = |hex: u32, distance: f32| mix(mood.lit(hex), mood.horizon, distance);
    let (far, near) = (random.random::<u32>(), random.random::<u32>());
    canvas.below(|x| 0.47 - 0.12 * noise(far, x * 6.0, 0.0), |_, depth| scale(haze(0x4E_7A_48, 0.35), 1.1 - depth));
    let lawn = mood.lit(pick(random, &[0x6F_9E_3E, 0x5C_8C_3A, 0x84_A8_4C]));
    canvas
        .below(|_| 0.60, |x, depth| scale(lawn, 0.8 + 0.5 * depth + 0.3 * (noise(near, x * 9.0, depth * 40.0) - 0.5)));
    let path = between(random, 0.7, 1.3);
    let gravel = mood.lit(0xCF_BE_98);
    canvas.paint([0.0, 0.60, Canvas::ASPECT, 1.0], |x, y, old| {
        let bend = path + 0.35 * (y - 0.6) - 0.12 * libm::sinf(y * 9.0);
        if (x - bend).abs() < 0.02 + (y - 0.6) * 0.45 { gravel } else { old }
    });
    let shift = between(random, -0.1, 0.1);
    for index in [0, 5, 1, 4, 2, 3] {
        let x = shift + 0.16 + 0.34 * index as f32 + between(random, -0.05, 0.05);
        let y = between(random, 0.60, 0.66);
        tree(canvas, random, mood, [x, y]);
    }
    for _ in 0..60 {
        let flower = mood.lit(pick(random, &[0xF4_F0_E0, 0xE8_C8_3A, 0xD8_5A_6A]));
        canvas.puff([between(random, 0.0, 2.0), between(random, 0.66, 1.0)], [0.012, 0.009], flower, 0.9);
    }
}

fn tree(canvas: &mut Canvas, random: &mut ChaCha8Rng, mood: &Mood, foot: [f32; 2]) {
    let width = between(random, 0.016, 0.026);
    let crown = [foot[0], foot[1] - between(random, 0.32, 0.42)];
    canvas.paint([foot[0] - width, crown[1], foot[0] + width, foot[1]], |x, _, _| {
        scale(mood.lit(0x5E_46_30), 0.9 + 0.4 * mood.side * (x - foot[0]) / width)
    });
    let leaves = pick(random, &[0x3E_6E_2E, 0x55_80_34, 0x2F_5E_34, 0x74_8E_3A]);
    for index in 0..44 {
        let (across, down) = (between(random, -1.0, 1.0), between(random, -1.0, 1.0));
        if across * across + down * down < 1.0 {
            let light = 0.62 + 0.012 * index as f32 - 0.25 * down + 0.18 * across * mood.side;
            let centre = [crown[0] + 0.15 * across, crown[1] + 0.17 * down];
            canvas.puff(centre, [0.075, 0.065], scale(mood.lit(leaves), light.max(0.3)), 1.0);
        }
    }
}

/// A row of houses with windows, shops below.
pub(super) fn street(canvas: &mut Canvas, random: &mut ChaCha8Rng, mood: &Mood) {
    heaven(canvas, random, mood, 0.6);
    let mut left = between(random, -0.25, 0.0);
    while left < Canvas::ASPECT {
        let (width, top) = (between(random, 0.26, 0.42), between(random, 0.06, 0.22));
        house(canvas, random, mood, [left, top, left + width]);
        left += width;
    }
    let stone = random.random::<u32>();
    canvas.below(
        |_| 0.80,
        |x, depth| scale(mood.lit(0x9A_96_90), 0.9 + 0.2 * (noise(stone, x * 12.0, depth * 30.0) - 0.5)),
    );
    canvas.below(
        |_| 0.87,
        |x, depth| scale(mood.lit(0x55_56_58), 0.9 + 0.2 * (noise(stone, x * 20.0, depth * 50.0) - 0.5)),
    );
    for x in [1.0 - between(random, 0.22, 0.3), 1.0 + between(random, 0.26, 0.4)] {
        canvas.rectangle([x - 0.008, 0.34, x + 0.008, 0.82], mood.lit(0x2A_2E_30));
        canvas.ellipse([x, 0.33], [0.03, 0.035], if mood.dark { rgb(0xFF_E2_A0) } else { mood.lit(0xE8_E8_E0) }, 0.2);
        if mood.dark {
            canvas.glow([x, 0.33], 0.2, scale(rgb(0xFF_C0_70), 0.5));
        }
    }
}

/// One front, `[left, top, right]`.
fn house(canvas: &mut Canvas, random: &mut ChaCha8Rng, mood: &Mood, [left, top, right]: [f32; 3]) {
    let front =
        mood.lit(pick(random, &[0xB8_6A_4E, 0xE2_C9_98, 0xC9_9A_8A, 0xD9_D2_C4, 0x8F_A2_A8, 0xA8_4E_40, 0xD8_A8_5A]));
    let brick = random.random::<u32>();
    canvas.paint([left, top, right, 0.80], |x, y, _| {
        let tone = lattice(brick, (x / 0.03) as i32, (y / 0.013) as i32);
        scale(front, 0.92 + 0.16 * (tone - 0.5) + 0.1 * mood.side * (x - (left + right) / 2.0) / (right - left))
    });
    canvas.rectangle([left, top, right, top + 0.022], scale(front, 1.25));
    canvas.rectangle([right - 0.006, top, right, 0.80], scale(front, 0.5));
    let columns = ((right - left) / 0.115) as usize;
    let frame = mood.lit(0xEE_EA_E0);
    for row in 0..3 {
        for column in 0..columns {
            let x = left + (right - left) * (column as f32 + 0.5) / columns as f32;
            let y = top + 0.05 + 0.165 * row as f32;
            let glass = if mood.dark && random.random::<f32>() < 0.55 {
                rgb(pick(random, &[0xFF_D8_8A, 0xFF_C0_60, 0xF4_E4_B8]))
            } else {
                mix(mood.lit(0x2C_38_46), mood.horizon, between(random, 0.05, 0.4))
            };
            canvas.rectangle([x - 0.037, y - 0.008, x + 0.037, y + 0.112], frame);
            canvas.gradient([x - 0.029, y, x + 0.029, y + 0.10], glass, scale(glass, 0.7));
            canvas.rectangle([x - 0.003, y, x + 0.003, y + 0.10], frame);
        }
    }
    let awning = mood.lit(pick(random, &[0xB8_2E_2E, 0x2E_6B_4A, 0x2E_4A_7A, 0xD8_9A_2E]));
    let white = mood.lit(0xF0_EC_E2);
    canvas.gradient([left + 0.02, 0.62, right - 0.02, 0.80], scale(mood.lit(0x3A_3E_44), 1.1), mood.lit(0x1E_20_22));
    canvas.paint([left + 0.01, 0.585, right - 0.01, 0.64], |x, _, _| {
        if ((x - left) / 0.03) as i32 % 2 == 0 { awning } else { white }
    });
}

/// Sand, surf, sea, a sail.
pub(super) fn beach(canvas: &mut Canvas, random: &mut ChaCha8Rng, mood: &Mood) {
    heaven(canvas, random, mood, 0.5);
    for _ in 0..4 {
        let centre = [between(random, 0.1, 1.9), between(random, 0.2, 0.36)];
        let size = between(random, 0.10, 0.18);
        cloud(canvas, random, mood, centre, size);
    }
    let horizon = between(random, 0.46, 0.50);
    let (deep, shallow) = pick(random, &[(0x1F_5F_96, 0x4F_B2_B8), (0x2A_6A_8C, 0x6F_B8_B0), (0x15_52_8A, 0x3A_9A_C0)]);
    let waves = random.random::<u32>();
    canvas.below(
        |_| horizon,
        |x, depth| {
            let water = mix(mix(mood.lit(deep), mood.zenith, 0.25), mood.lit(shallow), (depth / 0.2).min(1.0));
            let crest = noise(waves, x * (14.0 - 30.0 * depth), depth * 90.0);
            plus(water, scale(mood.horizon, 0.45 * ((crest - 0.6) * 3.0).max(0.0)))
        },
    );
    let sail = 1.0 + pick(random, &[-1.0, 1.0]) * between(random, 0.18, 0.36);
    canvas.paint([sail - 0.04, horizon - 0.12, sail + 0.04, horizon], |x, y, old| {
        let rise = horizon - y;
        if x > sail - 0.03 && x < sail + 0.042 * (1.0 - rise / 0.12) { mood.lit(0xF6_F2_E8) } else { old }
    });
    canvas.rectangle([sail - 0.04, horizon - 0.008, sail + 0.045, horizon + 0.008], mood.lit(0x6A_3A_2A));
    let shore = random.random::<u32>();
    let edge = |x: f32| horizon + 0.19 + 0.05 * (noise(shore, x * 3.0, 0.5) - 0.5);
    let sand = mood.lit(pick(random, &[0xE6_CF_A0, 0xD8_BC_8A, 0xEE_DD_B8]));
    canvas.below(|x| edge(x) - 0.018, |_, _| mood.lit(0xF6_FA_FA));
    canvas.below(|x| edge(x) + 0.008, |_, depth| scale(sand, 0.72 + 2.0 * depth.min(0.12)));
    canvas
        .below(|x| edge(x) + 0.10, |x, depth| scale(sand, 0.96 + 0.16 * (noise(shore, x * 30.0, depth * 60.0) - 0.5)));
    let pole = 1.0 + pick(random, &[-1.0, 1.0]) * between(random, 0.24, 0.4);
    let cloth = mood.lit(pick(random, &[0xD8_3A_36, 0x2E_7A_B8, 0xE8_A8_2E]));
    canvas.rectangle([pole - 0.006, 0.50, pole + 0.006, 0.86], mood.lit(0xEE_E6_D6));
    canvas.paint([pole - 0.15, 0.40, pole + 0.15, 0.52], |x, y, old| {
        let (across, rise) = ((x - pole) / 0.15, (0.52 - y) / 0.12);
        let stripe = ((across + 1.0) * 4.0) as i32 % 2 == 0;
        if across * across + rise * rise > 1.0 {
            old
        } else if stripe {
            cloth
        } else {
            mood.lit(0xF4_F0_E8)
        }
    });
}

/// Ridges one behind the other, snow above, a wood at the foot.
pub(super) fn mountains(canvas: &mut Canvas, random: &mut ChaCha8Rng, mood: &Mood) {
    heaven(canvas, random, mood, 0.62);
    for _ in 0..3 {
        let centre = [between(random, 0.1, 1.9), between(random, 0.18, 0.3)];
        let size = between(random, 0.10, 0.2);
        cloud(canvas, random, mood, centre, size);
    }
    let snow = mood.lit(0xF2_F5_FA);
    for (base, height, pitch, rock, distance) in
        [(0.56, 0.46, 2.6, 0x6E_7A_8C, 0.45), (0.68, 0.36, 3.4, 0x5A_60_68, 0.18), (0.78, 0.22, 4.6, 0x4E_5A_44, 0.05)]
    {
        let (seed, shift) = (random.random::<u32>(), between(random, 0.0, 1.0));
        let edge = |x: f32| base - height * ridge(seed, x * pitch + shift) - 0.03 * (noise(seed, x * 24.0, 9.0) - 0.5);
        canvas.below(edge, |x, depth| {
            let rough = noise(seed, x * 16.0 + depth * 10.0 * mood.side, depth * 12.0);
            let face = 0.68 + 0.7 * (rough - 0.3);
            let high = base - edge(x) - depth * 1.6 > height * 0.36 + 0.2 * (rough - 0.5);
            let colour = if high { snow } else { mood.lit(rock) };
            mix(scale(colour, face), mood.horizon, distance)
        });
    }
    let wood = random.random::<u32>();
    canvas.below(
        |x| {
            let tip = (x / 0.028 - (x / 0.028).floor() - 0.5).abs();
            0.80 - 0.07 * lattice(wood, (x / 0.028) as i32, 0) - 0.05 * (1.0 - 2.0 * tip) + 0.03 * libm::sinf(x * 5.0)
        },
        |_, depth| scale(mood.lit(0x2E_48_34), 1.0 - depth.min(0.5)),
    );
}

/// Peaks, 0 to 1.
fn ridge(seed: u32, x: f32) -> f32 {
    let cell = x.floor();
    let summit =
        |index: f32| (index + 0.3 + 0.4 * lattice(seed, index as i32, 1), 0.45 + 0.55 * lattice(seed, index as i32, 2));
    [cell - 1.0, cell, cell + 1.0].into_iter().fold(0.0, |best: f32, index| {
        let (place, height) = summit(index);
        best.max(height - 0.62 * (x - place).abs())
    })
}

/// Towers with lit windows, lamps out of focus. As dark in daylight as at night: the name says so.
pub(super) fn night_city(canvas: &mut Canvas, random: &mut ChaCha8Rng, mood: &Mood) {
    canvas.gradient([0.0, 0.0, Canvas::ASPECT, 0.7], rgb(0x07_0A_18), rgb(0x2A_21_3E));
    for (depth, tone) in [(0.0, 0x14_18_2C), (0.12, 0x0C_0F_1E)] {
        let mut left = between(random, -0.1, 0.0);
        while left < Canvas::ASPECT {
            let width = between(random, 0.09, 0.2);
            let top = depth + between(random, 0.10, 0.42);
            canvas.rectangle([left, top, left + width, 1.0], plus(rgb(tone), scale(mood.light, 0.006)));
            let seed = random.random::<u32>();
            let lit = rgb(pick(random, &[0xFF_C8_70, 0xFF_E0_A8, 0x9E_C8_FF, 0xFF_A8_50]));
            canvas.paint([left + 0.01, top + 0.015, left + width - 0.01, 0.92], |x, y, old| {
                let (column, row) = (((x - left) / 0.019) as i32, ((y - top) / 0.026) as i32);
                let inside = (x - left) / 0.019 - column as f32 > 0.35 && (y - top) / 0.026 - row as f32 > 0.42;
                if inside && lattice(seed, column, row) < 0.42 {
                    scale(lit, 0.3 + 0.7 * lattice(seed, row, column))
                } else {
                    old
                }
            });
            left += width + between(random, -0.01, 0.05);
        }
    }
    for _ in 0..46 {
        let colour: Rgb = rgb(pick(random, &[0xFF_B0_50, 0xFF_5A_4A, 0xFF_E0_B0, 0x5A_9A_FF, 0xFF_50_A0, 0x50_E0_B0]));
        let centre = [between(random, 0.0, 2.0), between(random, 0.38, 0.95)];
        let radius = between(random, 0.014, 0.034);
        canvas.paint([centre[0] - radius, centre[1] - radius, centre[0] + radius, centre[1] + radius], |x, y, old| {
            let distance = ((x - centre[0]) * (x - centre[0]) + (y - centre[1]) * (y - centre[1])).sqrt() / radius;
            if distance < 1.0 { plus(old, scale(colour, 0.35 + 0.2 * distance)) } else { old }
        });
    }
}

/// The sky down to `horizon`, with sun or moon, and stars when it is dark.
fn heaven(canvas: &mut Canvas, random: &mut ChaCha8Rng, mood: &Mood, horizon: f32) {
    canvas.rectangle([0.0, 0.0, Canvas::ASPECT, 1.0], mood.horizon);
    canvas.gradient([0.0, 0.0, Canvas::ASPECT, horizon], mood.zenith, mood.horizon);
    if mood.dark {
        for _ in 0..90 {
            let place = [between(random, 0.0, 2.0), between(random, 0.0, horizon)];
            canvas.puff(place, [0.006, 0.006], rgb(0xF0_F4_FF), between(random, 0.4, 1.0));
        }
    }
    if let Some(disc) = mood.disc {
        let centre = [1.0 + mood.side * between(random, 0.26, 0.42), horizon * between(random, 0.30, 0.5)];
        canvas.glow(centre, 0.5, times(disc, scale(mood.horizon, 0.6)));
        canvas.ellipse(centre, [0.05, 0.05], scale(disc, 1.1), 0.0);
    }
}

/// Puffs over a flat base, lit from above.
fn cloud(canvas: &mut Canvas, random: &mut ChaCha8Rng, mood: &Mood, centre: [f32; 2], size: f32) {
    for index in 0..16 {
        let across = between(random, -1.0, 1.0);
        let rise = between(random, -0.1, 0.45) * (1.0 - across * across);
        let colour = mix(scale(mood.cloud, 0.86), mood.cloud, (index as f32 / 10.0).min(1.0));
        let radius = size * between(random, 0.28, 0.5);
        canvas.puff([centre[0] + size * across, centre[1] - size * rise], [radius * 1.25, radius * 0.8], colour, 0.85);
    }
}
