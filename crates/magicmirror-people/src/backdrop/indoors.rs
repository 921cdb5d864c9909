//! Rooms.

use rand::Rng;
use rand_chacha::ChaCha8Rng;

use super::Mood;
use super::canvas::{Area, Canvas, between, noise, pick};
use crate::colour::{Rgb, mix, rgb, scale, times};

/// A sofa under pictures; a window with curtains on one side, a lamp on the other.
pub(super) fn living_room(canvas: &mut Canvas, random: &mut ChaCha8Rng, mood: &Mood) {
    wall(canvas, random, mood, &[0xE6_DA_C4, 0xC9_D3_C0, 0xBF_CB_D6, 0xD8_B9_A2, 0xD9_D4_CD, 0x9C_AE_A4]);
    let side = mood.side;
    let window = 1.0 + side * between(random, 0.30, 0.38);
    let curtain = mood.lit(pick(random, &[0xB8_5C_48, 0xE9_DF_CC, 0x5D_75_8C, 0x8A_8F_5A]));
    pane(canvas, random, mood, [window - 0.19, 0.14, window + 0.19, 0.66], 2);
    for edge in [window - 0.21, window + 0.21] {
        canvas.paint([edge - 0.065, 0.10, edge + 0.065, 0.80], |x, _, _| {
            scale(curtain, 0.85 + 0.2 * libm::sinf(x * 190.0))
        });
    }
    for (index, top) in [(0, between(random, 0.20, 0.26)), (1, between(random, 0.17, 0.24)), (2, 0.25)] {
        let left = 1.0 - side * (0.09 + 0.23 * index as f32) - 0.07;
        let (width, height) = (between(random, 0.10, 0.15), between(random, 0.12, 0.17));
        picture(canvas, random, mood, [left, top, left + width, top + height]);
    }
    let lamp = [1.0 - side * between(random, 0.30, 0.36), 0.42];
    canvas.rectangle([lamp[0] - 0.006, 0.45, lamp[0] + 0.006, 0.9], mood.lit(0x4A_3C_30));
    let shine = if mood.dark { 1.0 } else { 0.35 };
    canvas.glow(lamp, 0.42, scale(rgb(0xFF_C8_80), 0.35 * shine));
    let shade = mix(mood.lit(0xEC_DD_BC), rgb(0xFF_E2_A8), shine);
    canvas.paint([lamp[0] - 0.08, 0.34, lamp[0] + 0.08, 0.46], |x, y, old| {
        if (x - lamp[0]).abs() < 0.045 + (y - 0.34) * 0.28 { shade } else { old }
    });
    sofa(canvas, random, mood);
}

fn sofa(canvas: &mut Canvas, random: &mut ChaCha8Rng, mood: &Mood) {
    let colour = mood.lit(pick(random, &[0x6E_4A_3A, 0x4C_6A_78, 0x8C_8A_86, 0xA8_5A_3C, 0x3F_55_48, 0xC9_B3_92]));
    let width = 0.30;
    for seat in 0..6 {
        let left = 0.1 + width * seat as f32;
        canvas.block([left, 0.64, left + width - 0.008, 1.0], colour);
        canvas.ellipse([left + width / 2.0, 0.645], [width / 2.0 - 0.004, 0.03], scale(colour, 1.1), 0.3);
    }
    for _ in 0..4 {
        let centre = [between(random, 0.4, 1.6), between(random, 0.68, 0.72)];
        let cushion = mood.lit(pick(random, &[0xD9_A4_41, 0xE8_E2_D6, 0x9C_3F_3A, 0x4F_7F_86]));
        canvas.ellipse(centre, [0.085, 0.07], cushion, 0.5);
    }
}

/// Cupboards, tiles, a shelf with jars, a worktop.
pub(super) fn kitchen(canvas: &mut Canvas, random: &mut ChaCha8Rng, mood: &Mood) {
    let tile = mood.lit(pick(random, &[0xF1_F0_EA, 0xD8_E6_E4, 0xE9_DC_C0, 0xA9_C7_CC, 0xE8_C8_B4]));
    let (wide, high) = pick(random, &[(0.055, 0.055), (0.10, 0.05)]);
    canvas.paint([0.0, 0.0, Canvas::ASPECT, 1.0], |x, y, _| {
        let row = (y / high).floor();
        let across = x / wide + if wide > high { 0.5 * row } else { 0.0 };
        let grout = across - across.floor() < 0.004 / wide || y / high - row < 0.004 / high;
        scale(
            tile,
            if grout { 0.62 } else { 0.94 + 0.1 * super::canvas::lattice(7, across.floor() as i32, row as i32) },
        )
    });
    let front = mood.lit(pick(random, &[0xF4_F2_EC, 0x6F_8F_86, 0x35_50_6B, 0xA8_7A_4E, 0xC4_C9_CC]));
    let shift = between(random, 0.0, 0.26);
    for door in 0..8 {
        let left = shift - 0.26 + 0.29 * door as f32;
        canvas.block([left, 0.0, left + 0.284, 0.27], front);
        canvas.rectangle([left + 0.03, 0.0, left + 0.254, 0.235], scale(front, 0.9));
        canvas.rectangle([left + 0.22, 0.19, left + 0.235, 0.255], mood.lit(0x8F_90_92));
        canvas.block([left, 0.70, left + 0.284, 1.0], front);
    }
    canvas.rectangle([0.0, 0.27, Canvas::ASPECT, 0.285], scale(front, 0.45));
    canvas.block([0.0, 0.455, Canvas::ASPECT, 0.475], mood.lit(0x9A_6B_3F));
    let mut left = 0.02;
    while left < Canvas::ASPECT {
        let (width, height) = (between(random, 0.035, 0.06), between(random, 0.05, 0.115));
        let colour = mood.lit(pick(random, &[0xC9_4F_35, 0xE6_B8_4A, 0x5E_8C_5A, 0xE9_E4_DA, 0x7A_52_3A, 0x4E_82_A8]));
        canvas.block([left, 0.455 - height, left + width, 0.455], colour);
        canvas.rectangle([left, 0.455 - height, left + width, 0.455 - height + 0.014], mood.lit(0xB9_93_60));
        left += width + between(random, 0.012, 0.07);
    }
    canvas.block([0.0, 0.66, Canvas::ASPECT, 0.70], mood.lit(pick(random, &[0x3C_3A_38, 0xC8_A0_6A, 0xE4_E2_DE])));
    let kettle = 1.0 - mood.side * between(random, 0.22, 0.34);
    canvas.ellipse([kettle, 0.615], [0.06, 0.055], mood.lit(pick(random, &[0xB8_2E_2A, 0xBF_C3_C6, 0x2F_4F_6B])), 0.7);
    canvas.rectangle([kettle - 0.01, 0.54, kettle + 0.01, 0.57], mood.lit(0x22_22_22));
    canvas.glow([kettle - 0.02, 0.595], 0.03, scale(mood.light, 0.5));
}

/// Blinds before a window, a screen, binders on a shelf.
pub(super) fn office(canvas: &mut Canvas, random: &mut ChaCha8Rng, mood: &Mood) {
    wall(canvas, random, mood, &[0xD5_D9_DC, 0xC2_CC_D4, 0xE3_E1_DB, 0xB4_BE_BC]);
    let side = mood.side;
    let window = 1.0 + side * between(random, 0.32, 0.42);
    pane(canvas, random, mood, [window - 0.30, 0.08, window + 0.30, 0.68], 1);
    let slat = mood.lit(0xEE_EE_EA);
    canvas.paint([window - 0.30, 0.08, window + 0.30, 0.68], |_, y, old| {
        let part = y / 0.036 - (y / 0.036).floor();
        if part < 0.55 { scale(slat, 0.65 + 0.5 * part) } else { old }
    });
    let shelf = 1.0 - side * between(random, 0.42, 0.5);
    for board in [0.18, 0.36] {
        let mut left = shelf - 0.32;
        while left < shelf + 0.30 {
            let width = between(random, 0.028, 0.04);
            let colour = mood.lit(pick(random, &[0x2E_4A_7A, 0xB5_3A_34, 0x3A_3D_40, 0xD9_D5_CB, 0x4F_7F_5A]));
            canvas.block([left, board - 0.115, left + width - 0.003, board], colour);
            canvas.rectangle([left + 0.006, board - 0.09, left + width - 0.009, board - 0.055], mood.lit(0xF2_F0_E8));
            left += width;
        }
        canvas.rectangle([shelf - 0.34, board, shelf + 0.34, board + 0.014], mood.lit(0x7A_5A_3C));
    }
    let screen = 1.0 - side * between(random, 0.24, 0.30);
    canvas.rectangle([screen - 0.15, 0.48, screen + 0.15, 0.67], mood.lit(0x16_17_19));
    let glass = rgb(pick(random, &[0x4E_8F_D0, 0x3C_6E_A8, 0x7F_B2_C9]));
    canvas.gradient([screen - 0.14, 0.49, screen + 0.14, 0.66], scale(glass, 0.85), scale(glass, 0.5));
    for line in 0..5 {
        let top = 0.51 + 0.026 * line as f32;
        canvas
            .rectangle([screen - 0.12, top, screen - 0.12 + between(random, 0.08, 0.22), top + 0.008], rgb(0xE6_EE_F4));
    }
    canvas.rectangle([screen - 0.012, 0.67, screen + 0.012, 0.73], mood.lit(0x22_22_24));
    canvas.block([0.0, 0.73, Canvas::ASPECT, 1.0], mood.lit(pick(random, &[0x9A_74_4E, 0xD8_D4_CC, 0x5E_46_34])));
    let plant = 1.0 + side * between(random, 0.14, 0.2);
    for _ in 0..14 {
        let leaf = [plant + between(random, -0.07, 0.07), between(random, 0.52, 0.68)];
        canvas.ellipse(leaf, [0.022, 0.035], mood.lit(pick(random, &[0x2F_6B_35, 0x4C_8A_44, 0x3B_7A_3F])), 0.6);
    }
    canvas.block([plant - 0.035, 0.67, plant + 0.035, 0.74], mood.lit(0xC8_66_3E));
}

/// Shelves full of books.
pub(super) fn library(canvas: &mut Canvas, random: &mut ChaCha8Rng, mood: &Mood) {
    let wood = pick(random, &[0x5A_38_20, 0x7A_50_2C, 0x3F_2A_1C]);
    canvas.rectangle([0.0, 0.0, Canvas::ASPECT, 1.0], scale(mood.lit(wood), 0.25));
    let books = [
        0x7A_22_22, 0x2A_45_6E, 0x2F_5A_3C, 0xC9_A4_5C, 0x4A_30_24, 0xD8_CC_B4, 0x8A_5A_2A, 0x5C_2F_55, 0x30_30_36,
        0xA8_48_30,
    ];
    let spacing = between(random, 0.15, 0.18);
    let mut board = between(random, 0.04, 0.12);
    while board < 1.0 + spacing {
        let mut left = 0.0;
        while left < Canvas::ASPECT {
            let (width, height) = (between(random, 0.016, 0.034), spacing * between(random, 0.62, 0.88));
            let colour = mood.lit(pick(random, &books));
            if random.random::<f32>() < 0.94 {
                canvas.paint([left, board - height, left + width - 0.002, board], |x, _, _| {
                    scale(colour, 0.7 + 0.45 * libm::sinf((x - left) / width * 3.1))
                });
                let band = board - height * between(random, 0.65, 0.85);
                if width > 0.026 {
                    canvas.rectangle([left, band, left + width - 0.002, band + 0.01], scale(mood.lit(0xD9_B8_6A), 0.6));
                }
            }
            left += width;
        }
        canvas.block([0.0, board, Canvas::ASPECT, board + 0.018], mood.lit(wood));
        canvas.rectangle([0.0, board + 0.018, Canvas::ASPECT, board + 0.03], scale(mood.lit(wood), 0.15));
        board += spacing;
    }
    let shift = between(random, 0.0, 0.3);
    for post in 0..6 {
        let left = shift + 0.42 * post as f32;
        canvas.rectangle([left, 0.0, left + 0.024, 1.0], scale(mood.lit(wood), 1.15));
    }
    if mood.dark {
        canvas.glow([1.0 + mood.side * 0.3, 0.3], 0.5, scale(rgb(0xFF_C0_70), 0.16));
    }
}

/// A painted wall, brighter where the light comes from, with a skirting far below.
fn wall(canvas: &mut Canvas, random: &mut ChaCha8Rng, mood: &Mood, colours: &[u32]) {
    let colour = mood.lit(pick(random, colours));
    let seed = random.random::<u32>();
    canvas.paint([0.0, 0.0, Canvas::ASPECT, 1.0], |x, y, _| {
        let light = 0.92 + 0.22 * mood.side * (x - 1.0) - 0.1 * (y - 0.5);
        scale(colour, light + 0.05 * (noise(seed, x * 4.0, y * 4.0) - 0.5))
    });
}

/// A window: sky and a strip of green outside, with a white frame.
fn pane(canvas: &mut Canvas, random: &mut ChaCha8Rng, mood: &Mood, area: Area, across: usize) {
    canvas.gradient(area, mood.zenith, mood.horizon);
    let ground = area[3] - 0.3 * (area[3] - area[1]);
    let (seed, green) = (random.random::<u32>(), times(rgb(0x5E_86_4E), scale(mood.horizon, 1.2)));
    canvas.paint([area[0], area[1], area[2], area[3]], |x, y, old| {
        if y > ground - 0.08 * noise(seed, x * 14.0, 0.0) { green } else { old }
    });
    let frame = mood.lit(0xF2_F0_EA);
    let bar = 0.012;
    for index in 0..=across {
        let x = area[0] + (area[2] - area[0]) * index as f32 / across as f32;
        canvas.rectangle([x - bar, area[1] - bar, x + bar, area[3] + bar], frame);
    }
    for y in [area[1], (area[1] + area[3]) / 2.0, area[3]] {
        canvas.rectangle([area[0], y - bar, area[2], y + bar], frame);
    }
}

/// A framed picture with three bands of colour.
fn picture(canvas: &mut Canvas, random: &mut ChaCha8Rng, mood: &Mood, area: Area) {
    canvas.rectangle(area, mood.lit(pick(random, &[0x2E_26_20, 0x8A_6A_3A, 0xF4_F2_EE])));
    let inner = [area[0] + 0.012, area[1] + 0.012, area[2] - 0.012, area[3] - 0.012];
    let mut colour =
        || -> Rgb { mood.lit(pick(random, &[0xD9_8E_5A, 0x5E_87_9E, 0xE8_D9_B0, 0x7E_9A_6A, 0xB8_5A_52, 0x3A_4A_5E])) };
    let (upper, lower, disc) = (colour(), colour(), colour());
    canvas.gradient(inner, upper, lower);
    canvas.ellipse([(area[0] + area[2]) / 2.0, (area[1] + area[3]) / 2.0], [0.022, 0.022], disc, 0.0);
}
