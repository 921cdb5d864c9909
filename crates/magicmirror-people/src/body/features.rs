//! What is painted on a head: colours, brows, lips, freckles, wrinkles. Places are those of the base mesh, in metres:
//! the eyes at (±0.031, 0), the nose tip at (0, -0.038), the mouth at (0, -0.066), the chin at (0, -0.113).

use super::atlas::Texel;
use super::noise::{lattice, smooth};
use super::shading::{squared, stained};
use crate::colour::{Rgb, mix, rgb, scale, times};
use crate::person::{Beard, HairStyle, Person};
use crate::scene::Group;
use crate::space::{Vec3, scaled, smoothstep};

/// A point of skin.
#[derive(Debug, Clone, Copy)]
pub(super) struct Spot {
    pub(super) colour: Rgb,
    /// Shine against the person's usual.
    pub(super) gloss: f32,
    /// Slope of the relief in space.
    pub(super) slope: Vec3,
}

/// Paints the skin of one person.
pub(super) struct Painter<'a> {
    person: &'a Person,
    seed: u32,
    /// Strength of beard shadow (even the shaved have one) and of the hair's shade on the scalp.
    beard: f32,
    scalp: f32,
}

impl<'a> Painter<'a> {
    pub(super) fn new(person: &'a Person) -> Self {
        let shaved = if matches!(person.group, Group::Man | Group::ElderlyMan) { 0.16 } else { 0.0 };
        let beard = match person.beard {
            Beard::None => shaved,
            Beard::Stubble => 0.62,
            Beard::Moustache | Beard::Goatee => 0.26,
            Beard::Full => 0.5,
        };
        let scalp = match person.hair.style {
            HairStyle::Bald => 0.06,
            HairStyle::Receding | HairStyle::Fuzz => 0.15,
            HairStyle::Buzz => 0.7,
            _ => 0.5,
        };
        Self { person, seed: person.seed as u32 ^ (person.seed >> 32) as u32, beard, scalp }
    }

    /// The person's own noise of a kind.
    fn noise(&self, kind: u32, place: Vec3) -> f32 {
        smooth(self.seed.wrapping_add(kind), place)
    }

    /// Skin with nothing on it.
    pub(super) fn plain(&self) -> Spot {
        Spot { colour: self.person.skin.tone, gloss: 1.0, slope: [0.0; 3] }
    }

    /// Height of the relief, in metres: wrinkles and pores.
    pub(super) fn height(&self, texel: &Texel) -> f32 {
        let place = texel.place;
        let pores = self.noise(0, scaled(place, 1000.0)) * 0.000_070;
        // Most of a head is no lips, and noise is most of the work.
        let lips = if texel.lips > 0.0 {
            texel.lips * self.noise(5, [place[0] * 1500.0, place[1] * 220.0, 0.0]) * 0.000_12
        } else {
            0.0
        };
        let rough = pores * (1.0 - texel.lips) + lips;
        let age = self.person.skin.wrinkles * texel.head * (1.0 - texel.scalp) * (1.0 - texel.lips);
        if age < 0.02 || place[2] < 0.0 { rough } else { rough - 0.001 * age * self.furrows(place) }
    }

    /// Depth of furrows at full age, 0 to about 1.
    fn furrows(&self, [x, y, _]: Vec3) -> f32 {
        let seed = self.seed ^ 0x77;
        let wave = smooth(seed, [x * 45.0, 3.0, 0.0]) * 0.0035;
        let side = x.abs();
        let mut depth = 0.0f32;
        // Across the forehead.
        for (line, at) in [0.0325f32, 0.0415, 0.050, 0.059].into_iter().enumerate() {
            let broken = 0.5 + 0.5 * smooth(seed ^ line as u32, [x * 70.0, line as f32, 1.0]);
            let rise = 0.004 * squared(side / 0.04) + wave + 0.002 * smooth(seed, [line as f32 * 7.3, 0.0, 5.0]);
            depth += 0.55 * broken * ridge(y - at - rise, 0.0011) * smoothstep(0.052, 0.030, side);
        }
        // Between the brows.
        depth += 0.6
            * ridge(side - 0.0062 - 0.08 * (y - 0.015), 0.0011)
            * smoothstep(0.004, 0.011, y)
            * smoothstep(0.033, 0.022, y);
        // Crow's feet.
        for way in 0..4 {
            let slant = -0.55 + 0.38 * way as f32;
            let out = side - 0.049;
            depth += 0.45
                * ridge(y + 0.001 - slant * out - 0.4 * wave, 0.0008)
                * smoothstep(0.0, 0.004, out)
                * smoothstep(0.021, 0.008, out);
        }
        // Under the eyes.
        for (drop, strength) in [(0.0165, 0.5), (0.0215, 0.4)] {
            let curve = -drop + squared((side - 0.031) / 0.02) * 0.006;
            depth += strength * ridge(y - curve, 0.0009) * smoothstep(0.021, 0.012, (side - 0.032).abs());
        }
        // From the nose round the mouth, and down from its corners.
        let fold = 0.0185 + 0.016 * smoothstep(-0.036, -0.068, y) + 0.3 * wave;
        depth += 0.9 * ridge(side - fold, 0.0036) * smoothstep(-0.079, -0.066, y) * smoothstep(-0.033, -0.040, y);
        depth += 0.6
            * ridge(side - 0.0285 - 0.12 * (-0.070 - y), 0.0026)
            * smoothstep(-0.096, -0.084, y)
            * smoothstep(-0.069, -0.075, y);
        // Above the upper lip.
        let pleats = ridge((side * 210.0).fract() - 0.5, 0.16);
        depth
            + 0.12
                * pleats
                * smoothstep(-0.062, -0.058, y)
                * smoothstep(-0.048, -0.053, y)
                * smoothstep(0.022, 0.016, side)
    }

    /// Colour and shine of a texel whose relief has a height.
    pub(super) fn spot(&self, texel: &Texel, height: f32) -> Spot {
        let place = texel.place;
        let skin = &self.person.skin;
        let mut colour = self.ground(texel);
        if place[2] > 0.0 && texel.head > 0.9 {
            colour = self.face(texel, colour);
        }
        // Furrows are darker and redder.
        colour = stained(colour, [0.62, 0.46, 0.42], (-height * 900.0).clamp(0.0, 0.8));
        let follicles = 0.72
            + 0.56
                * lattice(
                    self.seed ^ 31,
                    (place[0] * 1700.0) as i32,
                    (place[1] * 1700.0) as i32,
                    (place[2] * 1700.0) as i32,
                );
        let shade = mix(scale(self.person.hair.colour, 0.8), skin.tone, 0.12);
        colour = mix(colour, shade, (texel.beard * self.beard * follicles).min(0.9));
        colour = mix(colour, shade, (texel.scalp * self.scalp * (0.4 + 0.6 * follicles)).min(0.85));
        let lips = if texel.lips > 0.0 {
            smoothstep(0.25, 0.75, texel.lips + 0.12 * self.noise(8, scaled(place, 420.0)))
        } else {
            0.0
        };
        if lips > 0.0 {
            colour = mix(colour, self.lip_colour(texel), lips * 0.92);
        }
        let zone = 0.5 * bump(place[0] / 0.016, (place[1] + 0.02) / 0.03)
            + 0.4 * bump(place[0] / 0.03, (place[1] - 0.045) / 0.02);
        let gloss = 0.8 + zone + lips * (0.7 + 1.2 * skin.makeup) - 0.3 * texel.beard * self.beard;
        Spot { colour, gloss, slope: [0.0; 3] }
    }

    /// Uneven skin.
    fn ground(&self, texel: &Texel) -> Rgb {
        let skin = &self.person.skin;
        let place = texel.place;
        let redder = |colour| stained(colour, [0.93, 0.72, 0.70], texel.ears * (0.35 + 0.5 * skin.blush));
        let amount = skin.blotches * texel.head;
        if amount == 0.0 {
            return redder(skin.tone);
        }
        let broad = self.noise(1, scaled(place, 45.0)) + 0.6 * self.noise(2, scaled(place, 130.0));
        let fine = self.noise(3, scaled(place, 420.0)) + 0.7 * self.noise(4, scaled(place, 900.0));
        let brightness = 1.0 + amount * (0.055 * broad + 0.065 * fine);
        let red = amount * 0.05 * self.noise(6, scaled(place, 75.0));
        let colour = [
            skin.tone[0] * brightness * (1.0 + 0.4 * red),
            skin.tone[1] * brightness * (1.0 - red),
            skin.tone[2] * brightness * (1.0 - red),
        ];
        redder(colour)
    }

    /// What only the face has.
    fn face(&self, texel: &Texel, mut colour: Rgb) -> Rgb {
        let skin = &self.person.skin;
        let [x, y, _] = texel.place;
        let side = x.abs();
        let cheeks = bump((side - 0.043) / 0.021, (y + 0.037) / 0.021);
        let nose = bump(x / 0.013, (y + 0.039) / 0.013);
        let chin = bump(x / 0.014, (y + 0.104) / 0.012);
        colour = stained(colour, [0.95, 0.66, 0.64], skin.blush * (0.75 * cheeks + 0.8 * nose + 0.4 * chin));
        // Thin skin round the eyes.
        let rings = bump((side - 0.029) / 0.017, (y + 0.0165) / 0.0085)
            + 0.5 * bump((side - 0.014) / 0.006, (y + 0.004) / 0.012);
        colour = stained(colour, [0.66, 0.55, 0.58], skin.rings * rings);
        colour = stained(colour, [0.90, 0.74, 0.72], 0.55 * texel.eyelids);
        if skin.makeup > 0.0 {
            let shadow =
                texel.eyelids * smoothstep(-0.002, 0.004, y) + 0.7 * bump((side - 0.032) / 0.017, (y - 0.009) / 0.006);
            let shades: [Rgb; 4] = [[0.62, 0.46, 0.42], [0.55, 0.50, 0.55], [0.72, 0.52, 0.40], [0.50, 0.45, 0.50]];
            colour = stained(colour, shades[(self.seed >> 7) as usize % 4], 0.6 * skin.makeup * shadow);
        }
        if skin.freckles > 0.0 {
            colour = stained(colour, [0.62, 0.48, 0.38], 0.75 * skin.freckles * self.freckles(texel.place));
        }
        for [right, up, radius] in &skin.moles {
            let distance = (squared(x - right) + squared(y - up)).sqrt();
            colour = mix(
                colour,
                scale(times(colour, rgb(0x9A_6A_50)), 0.7),
                0.85 * smoothstep(*radius, radius * 0.5, distance),
            );
        }
        let hair = self.brow(texel.place) * (1.0 - texel.eyelids);
        mix(colour, self.person.brows.colour, hair)
    }

    /// Small irregular dots over nose and cheeks.
    fn freckles(&self, [x, y, z]: Vec3) -> f32 {
        let cell = 0.0034;
        let region = bump(x / 0.052, (y + 0.024) / 0.026) + 0.25 * bump(x / 0.06, (y - 0.03) / 0.05);
        let (column, row) = ((x / cell).floor() as i32, ((y + 0.3 * z) / cell).floor() as i32);
        let mut strongest = 0.0f32;
        for (dx, dy) in [(0, 0), (1, 0), (-1, 0), (0, 1), (0, -1)] {
            let value = |kind: i32| lattice(self.seed ^ 0x99, column + dx, row + dy, kind);
            let (cx, cy) = ((column + dx) as f32 + value(0), (row + dy) as f32 + value(1));
            let distance = (squared(x / cell - cx) + squared((y + 0.3 * z) / cell - cy)).sqrt();
            let radius = 0.14 + 0.22 * value(2);
            if value(3) < 0.15 + 0.6 * region {
                strongest = strongest.max(smoothstep(radius, radius * 0.35, distance) * (0.4 + 0.6 * value(4)));
            }
        }
        strongest * smoothstep(0.1, 0.5, region)
    }

    /// Cover of the brows: short hairs that lie upwards at the inner end and outwards at the outer one.
    fn brow(&self, [x, y, _]: Vec3) -> f32 {
        let brows = &self.person.brows;
        let side = x.abs();
        let along = (side - 0.0105) / (0.0395 * brows.length);
        if !(-0.1..1.1).contains(&along) || !(0.004..0.040).contains(&y) {
            return 0.0;
        }
        // The two sides differ a little.
        let uneven = self.noise(21, [if x > 0.0 { 4.5 } else { 9.5 }, along * 2.0, 0.5]) * 0.0009;
        let arch = brows.arch * (1.0 - squared((along - 0.62) / 0.62)).max(-0.8);
        let middle =
            0.0172 + brows.height + arch + brows.slant * (along - 0.3) + uneven - 0.0035 * smoothstep(0.72, 1.1, along);
        let half = 0.5
            * brows.thickness
            * (0.62 + 0.38 * smoothstep(-0.05, 0.3, along))
            * (1.0 - 0.72 * smoothstep(0.45, 1.02, along));
        let across = (y - middle) / half;
        let body =
            smoothstep(1.25, 0.55, across.abs()) * smoothstep(-0.06, 0.10, along) * smoothstep(1.05, 0.90, along);
        if body <= 0.0 {
            return 0.0;
        }
        let lean = 1.1 - 1.0 * along.clamp(0.0, 1.0);
        let strand = side - (y - middle) / (0.35 + lean) * (1.2 - lean.min(1.1));
        let hairs = self.noise(22, [strand * 2100.0, (y - middle) * 190.0, if x > 0.0 { 0.0 } else { 40.0 }]);
        let finer = self.noise(23, [strand * 3400.0, (y - middle) * 300.0, if x > 0.0 { 0.0 } else { 40.0 }]);
        let strokes = (0.78 + 0.30 * hairs + 0.24 * finer).clamp(0.0, 1.15);
        (body * strokes * brows.density).min(0.96)
    }

    fn lip_colour(&self, texel: &Texel) -> Rgb {
        let [x, y, _] = texel.place;
        let lines = 1.0 + 0.10 * self.noise(12, [x * 1300.0, y * 150.0, 0.0]);
        let upper = smoothstep(-0.0655, -0.062, y);
        scale(self.person.skin.lips, lines * (1.0 - 0.16 * upper))
    }
}

/// 1 at the middle of an ellipse, falling smoothly.
fn bump(across: f32, down: f32) -> f32 {
    let square = squared(across) + squared(down);
    if square > 4.0 { 0.0 } else { squared(squared(1.0 - square / 4.0)) }
}

/// 1 at `distance` 0, falling to 0 within some widths.
fn ridge(distance: f32, width: f32) -> f32 {
    bump(distance / width, 0.0)
}
