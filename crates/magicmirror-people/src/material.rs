//! What things that are worn are made of, and how light falls on it.

use crate::colour::{Rgb, mix, plus, scale, times};
use crate::hair::hash;
use crate::light::Lights;
use crate::vector::{Vec3, add, dot, scaled, unit};

/// A material.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Material {
    /// Ribbed wool; the pattern runs along the first axis, metres.
    Knit,
    /// Woven cloth.
    Cloth,
    /// Woven cloth with buttons down its middle; the pattern is the place on the template body.
    Buttoned,
    /// Cloth in panels: the pattern counts them along the first axis.
    Panels,
    /// Braided straw.
    Straw,
    /// Paper with dots of white.
    Dotted,
    /// Polished metal.
    Metal,
    /// Glossy plastic.
    Plastic,
}

/// A point of a surface, to be shaded.
pub(crate) struct Spot {
    /// Towards the viewer's side.
    pub(crate) normal: Vec3,
    /// Towards the viewer.
    pub(crate) to_viewer: Vec3,
    /// Place in the pattern.
    pub(crate) at: [f32; 2],
    /// How much of the lamp's light arrives, 0 to 1.
    pub(crate) lit: f32,
}

impl Material {
    /// Colour of a spot in light.
    pub(crate) fn shade(self, albedo: Rgb, spot: &Spot, lights: &Lights) -> Rgb {
        let [u, v] = spot.at;
        let (colour, gloss, power, wrap) = match self {
            Self::Knit => {
                let rib = libm::sinf(u * 1300.0);
                let stitch = libm::sinf(v * 2100.0 + u * 650.0);
                (scale(albedo, 0.90 + 0.10 * rib + 0.05 * stitch), 0.0, 1, 0.30)
            }
            Self::Cloth => (scale(albedo, 0.97 + 0.06 * grain(u, v, 0.0015)), 0.01, 8, 0.15),
            Self::Buttoned => {
                let (across, row) = (u.abs(), (v / 0.075) - (v / 0.075).floor() - 0.5);
                let button = across * across + 0.0056 * row * row < 0.000_03;
                let edge = (across - 0.014).abs() < 0.0012;
                (
                    scale(
                        albedo,
                        if button {
                            0.62
                        } else if edge {
                            0.86
                        } else {
                            1.0
                        },
                    ),
                    0.01,
                    8,
                    0.15,
                )
            }
            Self::Panels => {
                let seam = (u - u.floor() - 0.5).abs() > 0.485;
                (scale(albedo, if seam { 0.72 } else { 1.0 }), 0.015, 10, 0.15)
            }
            Self::Straw => {
                (scale(albedo, 0.92 + 0.08 * libm::sinf(v * 1500.0) + 0.1 * (grain(u, v, 0.004) - 0.5)), 0.02, 12, 0.1)
            }
            Self::Dotted => {
                let (row, column) = ((v / 0.026).floor(), u / 0.026);
                let shifted = column + 0.5 * (row - 2.0 * (row / 2.0).floor());
                let (x, y) = (shifted - shifted.floor() - 0.5, v / 0.026 - row - 0.5);
                (if x * x + y * y < 0.07 { [0.85; 3] } else { albedo }, 0.05, 20, 0.1)
            }
            Self::Metal => (scale(albedo, 0.55), 1.1, 30, 0.0),
            Self::Plastic => (albedo, 0.30, 50, 0.0),
        };
        let mut light = times(colour, lights.ambient(spot.normal));
        for lamp in &lights.lamps {
            let facing = (dot(lamp.direction, spot.normal) + wrap).max(0.0) / (1.0 + wrap) * spot.lit;
            let half = unit(add(lamp.direction, spot.to_viewer));
            let shine = gloss * power_of(dot(half, spot.normal).max(0.0), power);
            let tint = if self == Self::Metal { albedo } else { [1.0; 3] };
            light = plus(
                light,
                times(lamp.colour, plus(scale(colour, facing), scale(tint, shine * facing.min(0.3) * 3.3))),
            );
        }
        if self == Self::Metal {
            // A made-up room that it mirrors: light above, dark below.
            let mirrored = minus_twice(spot.to_viewer, spot.normal);
            light = plus(light, times(albedo, scale(lights.ambient(mirrored), 0.8)));
        }
        scale(light, lights.exposure)
    }
}

/// What a lens adds to what is seen through it, and how much of that it hides.
pub(crate) fn lens(at: [f32; 2], normal: Vec3, to_viewer: Vec3, lights: &Lights) -> (Rgb, f32) {
    let grazing = 1.0 - dot(normal, to_viewer).abs();
    let streak = (1.0 - (at[0] * 0.8 + at[1] * 0.6 - 0.25).abs() * 3.5).max(0.0);
    let mirrored = minus_twice(to_viewer, normal);
    let sky = lights.ambient(mirrored);
    (scale(mix(sky, [1.0; 3], 0.2), lights.exposure), 0.035 + 0.35 * grazing * grazing + 0.07 * streak * streak)
}

fn minus_twice(to_viewer: Vec3, normal: Vec3) -> Vec3 {
    add(scaled(to_viewer, -1.0), scaled(normal, 2.0 * dot(normal, to_viewer)))
}

/// Noise of cells of a size.
fn grain(u: f32, v: f32, size: f32) -> f32 {
    hash((u / size + 4096.0).floor() as u32, (v / size + 4096.0).floor() as u32)
}

/// Whole power by multiplication: the same on every machine.
pub(crate) fn power_of(base: f32, exponent: u32) -> f32 {
    (0..32 - exponent.leading_zeros()).rev().fold(1.0, |power, bit| {
        let squared = power * power;
        if exponent >> bit & 1 == 1 { squared * base } else { squared }
    })
}
