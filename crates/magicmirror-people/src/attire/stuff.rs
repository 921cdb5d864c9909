//! What worn things are made of, and how light falls on them.

use super::hair::hash;
use crate::colour::{Rgb, mix, plus, scale, times};
use crate::render::{Fragment, Illumination, Material, Shade};
use crate::space::{Vec3, add, dot, scaled, unit};

/// A stuff.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Stuff {
    /// Ribbed wool: ribs follow each other along the first axis of the pattern, in metres.
    Knit,
    /// Woven cloth.
    Cloth,
    /// Woven cloth with buttons down its middle; the pattern is the place on the template body.
    Buttoned,
    /// Cloth in panels: the pattern counts them along its first axis.
    Panels,
    /// Braided straw, in rows along the second axis.
    Straw,
    /// Paper with dots.
    Dotted,
    /// Polished metal.
    Metal,
    /// Glossy plastic.
    Plastic,
}

/// A surface of one stuff. The texture is the place in its pattern.
pub(crate) struct Made {
    pub(crate) of: Stuff,
    pub(crate) colour: Rgb,
}

impl Material for Made {
    fn shade(&self, at: &Fragment, light: &Illumination) -> Shade {
        Shade { light: self.of.shade(self.colour, at.normal, at.texture, at, light), alpha: 1.0 }
    }
}

/// Glass of glasses. The texture is the place on the lens, -1 to 1.
pub(crate) struct Lens;

impl Material for Lens {
    fn shade(&self, at: &Fragment, light: &Illumination) -> Shade {
        let grazing = 1.0 - dot(at.normal, at.viewer).abs();
        let [across, up] = at.texture;
        let streak = (1.0 - (across * 0.8 + up * 0.6 - 0.25).abs() * 3.5).max(0.0);
        let sky = light.lights.ambient(mirrored(at.viewer, at.normal));
        Shade { light: mix(sky, [1.0; 3], 0.15), alpha: 0.03 + 0.3 * grazing * grazing + 0.06 * streak * streak }
    }
}

impl Stuff {
    /// Light that leaves a point of a surface with this normal and place in the pattern.
    pub(crate) fn shade(
        self,
        albedo: Rgb,
        normal: Vec3,
        pattern: [f32; 2],
        at: &Fragment,
        light: &Illumination,
    ) -> Rgb {
        let colour = scale(albedo, self.tone(pattern, at.footprint));
        let colour = if self == Self::Dotted && dotted(pattern) { dots(albedo) } else { colour };
        let (gloss, power, wrap) = match self {
            Self::Knit => (0.0, 1, 0.30),
            Self::Cloth | Self::Buttoned | Self::Panels => (0.01, 8, 0.15),
            Self::Straw => (0.02, 12, 0.1),
            Self::Dotted => (0.05, 20, 0.1),
            Self::Metal => (1.1, 30, 0.0),
            Self::Plastic => (0.30, 50, 0.0),
        };
        let tint = if self == Self::Metal { albedo } else { [1.0; 3] };
        let mut sum = times(colour, light.lights.ambient(normal));
        for (index, lamp) in light.lights.lamps.iter().enumerate() {
            let arriving = if index == 0 { light.direct } else { 1.0 };
            let facing = (dot(lamp.direction, normal) + wrap).max(0.0) / (1.0 + wrap) * arriving;
            let half = unit(add(lamp.direction, at.viewer));
            let shine = gloss * power_of(dot(half, normal).max(0.0), power) * (3.3 * facing).min(1.0);
            sum = plus(sum, times(lamp.colour, plus(scale(colour, facing), scale(tint, shine))));
        }
        if self == Self::Metal {
            // It mirrors a room that is light above and dark below.
            sum = plus(sum, times(albedo, scale(light.lights.ambient(mirrored(at.viewer, normal)), 0.8)));
        }
        sum
    }

    /// Lightness at a place of the pattern; what is finer than a pixel fades.
    fn tone(self, [u, v]: [f32; 2], footprint: f32) -> f32 {
        let fine = |size: f32| (size / (2.0 * footprint)).min(1.0);
        match self {
            Self::Knit => {
                let (rib, stitch) = (ripple(u / 0.006), ripple(v / 0.004 + 0.5 * (u / 0.003).floor()));
                0.91 + fine(0.006) * (0.08 * rib + 0.04 * stitch)
            }
            Self::Cloth => 0.98 + 0.05 * fine(0.0015) * (grain(u, v, 0.0015) - 0.5),
            Self::Buttoned => {
                let row = v / 0.075 - (v / 0.075).floor() - 0.5;
                let button = u * u + 0.0056 * row * row < 0.000_03;
                let edge = (u.abs() - 0.014).abs() < 0.0012;
                if button {
                    0.62
                } else if edge {
                    0.86
                } else {
                    1.0
                }
            }
            Self::Panels => {
                let seam = (u - u.floor() - 0.5).abs() > 0.485;
                if seam { 0.75 } else { 1.0 }
            }
            Self::Straw => 0.94 + fine(0.004) * (0.07 * ripple(v / 0.004) + 0.08 * (grain(u, v, 0.004) - 0.5)),
            Self::Dotted | Self::Plastic => 1.0,
            Self::Metal => 0.55,
        }
    }
}

/// Colour of the dots on paper: white, dark on white paper.
fn dots(paper: Rgb) -> Rgb {
    if paper.iter().sum::<f32>() > 2.0 { [0.25; 3] } else { [0.85; 3] }
}

/// Whether a dot is at a place of dotted paper: rows of dots, every other one shifted.
fn dotted([u, v]: [f32; 2]) -> bool {
    const APART: f32 = 0.026;
    let (row, column) = ((v / APART).floor(), u / APART);
    let column = column + 0.5 * (row - 2.0 * (row / 2.0).floor());
    let (x, y) = (column - column.floor() - 0.5, v / APART - row - 0.5);
    x * x + y * y < 0.07
}

/// A wave of period 1 between -1 and 1, from parabolas.
pub(crate) fn ripple(phase: f32) -> f32 {
    let part = phase - phase.floor();
    let (half, sign) = if part < 0.5 { (part, 1.0) } else { (part - 0.5, -1.0) };
    sign * 16.0 * half * (0.5 - half)
}

/// Noise of cells of a size.
fn grain(u: f32, v: f32, size: f32) -> f32 {
    hash((u / size + 4096.0) as u32, (v / size + 4096.0) as u32)
}

fn mirrored(viewer: Vec3, normal: Vec3) -> Vec3 {
    add(scaled(viewer, -1.0), scaled(normal, 2.0 * dot(normal, viewer)))
}

/// Whole power by multiplication: the same on every machine.
pub(crate) fn power_of(base: f32, exponent: u32) -> f32 {
    (0..32 - exponent.leading_zeros()).rev().fold(1.0, |power, bit| {
        let squared = power * power;
        if exponent >> bit & 1 == 1 { squared * base } else { squared }
    })
}
