//! Colours, skin, brows, hair and what is worn for good.

use rand::Rng;
use rand_chacha::ChaCha8Rng;

use super::shape::Origin;
use super::{Beard, Brows, Earrings, Frame, Glasses, Hair, HairStyle, Person, Skin, normal};
use crate::colour::{Rgb, mix, rgb, scale};
use crate::scene::Group;

/// Mostly of one ancestry, sometimes of two.
pub(super) fn origin(random: &mut ChaCha8Rng) -> Origin {
    let main = random.random_range(0..3usize);
    let other = (main + random.random_range(1..3usize)) % 3;
    let share = if random.random_bool(0.3) { random.random_range(0.25..0.5) } else { random.random_range(0.0..0.12) };
    let mut origin = [0.0; 3];
    origin[main] = 1.0 - share;
    origin[other] = share;
    origin
}

impl Person {
    /// Someone of no particular looks.
    pub(super) fn plain(seed: u64, group: Group, age: f32, shape: Vec<(usize, f32)>) -> Self {
        let skin = Skin {
            tone: [0.5; 3],
            lips: [0.5; 3],
            blush: 0.3,
            freckles: 0.0,
            moles: Vec::new(),
            wrinkles: 0.0,
            blotches: 0.3,
            gloss: 0.5,
            rings: 0.2,
            makeup: 0.0,
        };
        let brows = Brows {
            colour: [0.03; 3],
            thickness: 0.0085,
            density: 0.8,
            arch: 0.003,
            slant: 0.0,
            height: 0.0,
            length: 1.0,
        };
        let hair = Hair { style: HairStyle::Bald, colour: [0.03; 3] };
        let (beard, glasses, earrings) = (Beard::None, None, None);
        Self { seed, group, age, shape, skin, iris: [0.1; 3], brows, hair, beard, glasses, earrings }
    }
}

/// Gives `person` skin, colours, hair and the rest.
pub(super) fn dress(random: &mut ChaCha8Rng, mut person: Person, male: bool, origin: Origin) -> Person {
    let adult = person.age > 18.0;
    let elderly = matches!(person.group, Group::ElderlyMan | Group::ElderlyWoman);
    // Melanin, 0 fair to 1 very dark.
    let usual = origin[0] * 0.74 + origin[1] * 0.30 + origin[2] * 0.17;
    let melanin = (usual + normal(random, 0.085 + 0.03 * origin[0])).clamp(0.02, 1.0);
    person.skin = skin(random, &person, male, melanin);
    let natural = hair_colour(random, melanin, origin[2]);
    let grey = ((person.age - 38.0) / 36.0 + normal(random, 0.22)).clamp(0.0, 1.0);
    let colour = mix(natural, mix(rgb(0x9C_9A_98), rgb(0xDA_D8_D4), random.random()), grey * grey);
    let fair = natural[0] > 0.12;
    person.iris = iris(random, melanin, fair);
    person.brows = Brows {
        colour: mix(scale(natural, 0.75), rgb(0x8A_86_82), if elderly { 0.55 * grey } else { 0.0 }),
        thickness: (if male { 0.0100 } else { 0.0066 }) * random.random_range(0.7..1.35),
        density: random.random_range(0.55..1.0) * if elderly { 0.75 } else { 1.0 } * if adult { 1.0 } else { 0.7 },
        arch: random.random_range(0.0005..0.0062),
        slant: normal(random, 0.0022),
        height: normal(random, 0.0017),
        length: random.random_range(0.86..1.14),
    };
    if person.group == Group::Baby {
        person.brows.density *= 0.45;
        person.brows.thickness *= 0.7;
    }
    let style = hair_style(random, person.group, origin[0]);
    person.hair = Hair { style, colour };
    if male && adult {
        person.beard = match random.random_range(0..100) {
            0..48 => Beard::None,
            48..68 => Beard::Stubble,
            68..77 => Beard::Moustache,
            77..87 => Beard::Goatee,
            _ => Beard::Full,
        };
    }
    let odds = if elderly {
        0.4
    } else if adult {
        0.2
    } else {
        0.08
    };
    if person.group != Group::Baby && random.random_bool(odds) {
        person.glasses = Some(Glasses {
            frame: if random.random_bool(0.5) { Frame::Round } else { Frame::Rectangular },
            thick: random.random_bool(0.4),
            colour: rgb([0x14_14_17, 0x4A_2A_18, 0x8C_8C_90, 0xB0_8A_3C, 0x5A_18_20][random.random_range(0..5)]),
        });
    }
    if !male && person.group != Group::Baby && random.random_bool(if adult { 0.5 } else { 0.2 }) {
        person.earrings = Some(if random.random_bool(0.6) { Earrings::Studs } else { Earrings::Hoops });
    }
    person
}

fn skin(random: &mut ChaCha8Rng, person: &Person, male: bool, melanin: f32) -> Skin {
    let adult = person.age > 18.0;
    let tone = tone(melanin, normal(random, 0.5));
    let fair = (1.0 - melanin * 2.2).max(0.0);
    let makeup = if adult && !male && random.random_bool(0.6) { random.random_range(0.3..1.0) } else { 0.0 };
    let natural = mix(
        [tone[0] * 0.74, tone[1] * 0.50, tone[2] * 0.54],
        [tone[0] * 0.92, tone[1] * 0.70, tone[2] * 0.72],
        random.random(),
    );
    let paint = rgb([0xA8_1E_2C, 0xB8_45_52, 0x8C_2A_3A, 0xC0_5A_5A, 0x9A_3C_50][random.random_range(0..5)]);
    let count = if adult { random.random_range(0..4) } else { random.random_range(0..2) };
    let moles = (0..count)
        .map(|_| {
            [random.random_range(-0.055..0.055), random.random_range(-0.10..0.05), random.random_range(0.0005..0.0015)]
        })
        .collect();
    Skin {
        tone,
        lips: mix(natural, paint, makeup * random.random_range(0.0f32..0.9)),
        blush: random.random_range(0.15..0.8) * if adult { 1.0 } else { 1.3 },
        freckles: if random.random_bool(0.06 + 0.26 * fair as f64) { random.random_range(0.3..1.0) } else { 0.0 },
        moles,
        wrinkles: wrinkles(((person.age - 24.0) / 52.0 + normal(random, 0.09)).clamp(0.0, 1.1)),
        blotches: random.random_range(0.35..0.9) + ((person.age - 45.0) / 60.0).max(0.0),
        gloss: random.random_range(0.25..0.9),
        rings: random.random_range(0.0..0.45) + ((person.age - 30.0) / 110.0).max(0.0),
        makeup,
    }
}

/// They deepen late.
fn wrinkles(years: f32) -> f32 {
    years * (0.25 + 0.75 * years)
}

/// Skin from fair to very dark through measured-like tones; `warmth` moves it between rosy and olive.
fn tone(melanin: f32, warmth: f32) -> Rgb {
    const TONES: [u32; 6] = [0xF3_D3_C2, 0xE6_BC_A0, 0xD2_A1_7E, 0xAE_7A_56, 0x84_57_3C, 0x5A_3A_29];
    let place = melanin * (TONES.len() - 1) as f32;
    let below = (place as usize).min(TONES.len() - 2);
    let tone = mix(rgb(TONES[below]), rgb(TONES[below + 1]), place - below as f32);
    let tilt = warmth.clamp(-1.5, 1.5) * 0.06;
    [tone[0] * (1.0 - 0.3 * tilt), tone[1] * (1.0 + 0.5 * tilt), tone[2] * (1.0 - 1.1 * tilt)]
}

fn hair_colour(random: &mut ChaCha8Rng, melanin: f32, european: f32) -> Rgb {
    const DARK: [u32; 3] = [0x12_0F_0E, 0x1C_14_10, 0x2A_1B_13];
    const LIGHT: [u32; 7] = [0x3A_24_17, 0x54_36_20, 0x70_4A_2A, 0x96_68_3A, 0xC0_96_5C, 0xDC_BE_86, 0x8E_3C_18];
    let light = european * (1.0 - melanin * 1.8).clamp(0.0, 1.0);
    let base = if random.random_bool(light as f64) {
        LIGHT[random.random_range(0..7)]
    } else {
        DARK[random.random_range(0..3)]
    };
    scale(rgb(base), random.random_range(0.8..1.2))
}

fn iris(random: &mut ChaCha8Rng, melanin: f32, fair: bool) -> Rgb {
    const BROWN: [u32; 4] = [0x2E_18_0C, 0x44_26_12, 0x5E_38_1A, 0x70_48_22];
    const LIGHT: [u32; 6] = [0x5C_7E_A0, 0x7A_98_B0, 0x5E_76_58, 0x76_7A_48, 0x80_8A_8E, 0x8A_64_30];
    let light = (1.0 - melanin * 2.6).clamp(0.0, 1.0) * if fair { 0.85 } else { 0.4 };
    let base = if random.random_bool(light as f64) {
        LIGHT[random.random_range(0..6)]
    } else {
        BROWN[random.random_range(0..4)]
    };
    scale(rgb(base), random.random_range(0.85..1.15))
}

/// A cut by the odds of the group; African hair is rarely straight.
fn hair_style(random: &mut ChaCha8Rng, group: Group, african: f32) -> HairStyle {
    use HairStyle::{
        Afro, Bald, Bob, Braids, Bun, Buzz, Curly, Fringe, Fuzz, LongStraight, LongWavy, Ponytail, Receding, Short,
        SidePart,
    };
    let odds: &[(HairStyle, u32)] = match (group, african > 0.5) {
        (Group::Man, false) => &[
            (Short, 30),
            (SidePart, 24),
            (Buzz, 12),
            (Bald, 6),
            (Receding, 6),
            (Curly, 8),
            (Fringe, 7),
            (LongStraight, 3),
            (LongWavy, 3),
            (Bun, 1),
        ],
        (Group::Man, true) => {
            &[(Buzz, 40), (Short, 18), (Bald, 14), (Afro, 14), (Curly, 8), (Braids, 3), (Receding, 3)]
        }
        (Group::Woman, false) => &[
            (LongStraight, 22),
            (LongWavy, 24),
            (Bob, 14),
            (Ponytail, 13),
            (Bun, 8),
            (Fringe, 8),
            (Curly, 7),
            (Braids, 2),
            (Short, 2),
        ],
        (Group::Woman, true) => {
            &[(Afro, 22), (Curly, 22), (Braids, 16), (Bun, 14), (LongWavy, 10), (Buzz, 6), (Bob, 6), (Ponytail, 4)]
        }
        (Group::ElderlyMan, _) => &[(Receding, 34), (Bald, 18), (Short, 22), (SidePart, 18), (Buzz, 8)],
        (Group::ElderlyWoman, false) => {
            &[(Bob, 26), (Short, 22), (Curly, 22), (Bun, 14), (LongWavy, 10), (SidePart, 6)]
        }
        (Group::ElderlyWoman, true) => &[(Short, 24), (Curly, 30), (Bun, 20), (Afro, 16), (Bob, 10)],
        (Group::Boy, false) => &[(Short, 36), (SidePart, 20), (Fringe, 24), (Buzz, 8), (Curly, 12)],
        (Group::Boy, true) => &[(Buzz, 44), (Short, 22), (Curly, 20), (Afro, 14)],
        (Group::Girl, false) => {
            &[(LongStraight, 20), (Ponytail, 22), (Braids, 18), (Fringe, 14), (LongWavy, 12), (Bob, 10), (Curly, 4)]
        }
        (Group::Girl, true) => &[(Braids, 30), (Afro, 22), (Curly, 24), (Bun, 24)],
        (Group::Baby, _) => &[(Fuzz, 60), (Bald, 20), (Short, 20)],
    };
    let mut ticket = random.random_range(0..odds.iter().map(|(_, share)| share).sum::<u32>());
    for &(style, share) in odds {
        if ticket < share {
            return style;
        }
        ticket -= share;
    }
    odds[0].0
}
