//! Lightings: what falls on the person and on the place behind.

use crate::colour::{Rgb, plus, scale, times};
use crate::scene::Lighting;

/// A lamp so far away that its light is parallel.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Lamp {
    /// Unit vector towards the lamp: right in the picture, up, towards the viewer.
    pub direction: [f32; 3],
    /// Light on a surface that faces the lamp.
    pub colour: Rgb,
}

/// All light of a scene, linear. A white surface under light of 1 is white in the picture.
#[derive(Debug, Clone, PartialEq)]
pub struct Lights {
    /// Light from everywhere, as it falls on surfaces that face up.
    pub sky: Rgb,
    /// The same, on surfaces that face down.
    pub ground: Rgb,
    /// The main lamp first; it alone needs to throw shadows.
    pub lamps: Vec<Lamp>,
    /// What the camera multiplies all light by.
    pub exposure: f32,
}

impl Lights {
    /// The lamps of `lighting`; half of the seeds have them mirrored.
    pub fn new(lighting: Lighting, seed: u64) -> Self {
        let mut lights = lights(lighting);
        if seed.count_ones() % 2 == 1 {
            for lamp in &mut lights.lamps {
                lamp.direction[0] = -lamp.direction[0];
            }
        }
        lights
    }

    /// Light on upright things behind the person, exposure included; `across` is -1 at the left, 1 at the right of the
    /// place: lamps light their own side more.
    pub fn on_place(&self, across: f32) -> Rgb {
        let ambient = scale(plus(self.sky, self.ground), 0.5);
        let direct = self.lamps.iter().map(|lamp| {
            let nearness = (1.0 + 1.3 * across * lamp.direction[0]).max(0.1);
            scale(lamp.colour, 0.65 * lamp.direction[2].max(0.0) * nearness)
        });
        scale(direct.fold(ambient, plus), self.exposure)
    }

    /// Ambient light on a surface with the given normal, before exposure.
    pub fn ambient(&self, normal: [f32; 3]) -> Rgb {
        let up = normal[1].clamp(-1.0, 1.0) * 0.5 + 0.5;
        plus(scale(self.sky, up), scale(self.ground, 1.0 - up))
    }

    /// Light on a dull surface with the given normal, shadows left out, exposure included.
    pub fn on_surface(&self, normal: [f32; 3]) -> Rgb {
        let direct = self.lamps.iter().map(|lamp| {
            let facing = (0..3).map(|axis| lamp.direction[axis] * normal[axis]).sum::<f32>();
            scale(lamp.colour, facing.max(0.0))
        });
        times(direct.fold(self.ambient(normal), plus), [self.exposure; 3])
    }
}

/// The levels are such that a face in front is neither burnt out nor lost in any of them.
fn lights(lighting: Lighting) -> Lights {
    let (sky, ground, lamps): (Rgb, Rgb, Vec<Lamp>) = match lighting {
        Lighting::SoftDaylight => (
            [0.60, 0.63, 0.67],
            [0.34, 0.33, 0.31],
            vec![lamp([0.35, 0.60, 0.72], [0.52, 0.51, 0.49]), lamp([-0.8, 0.2, 0.5], [0.08, 0.08, 0.08])],
        ),
        Lighting::BrightSun => (
            [0.36, 0.43, 0.55],
            [0.30, 0.28, 0.24],
            vec![lamp([0.60, 0.68, 0.55], [1.12, 1.05, 0.92]), lamp([-0.7, 0.0, 0.6], [0.10, 0.11, 0.13])],
        ),
        Lighting::Sunset => (
            [0.36, 0.29, 0.34],
            [0.25, 0.18, 0.15],
            vec![
                lamp([0.78, 0.14, 0.60], [1.20, 0.62, 0.30]),
                lamp([-0.55, 0.25, -0.80], [0.22, 0.14, 0.26]),
                lamp([-0.5, 0.1, 0.8], [0.16, 0.13, 0.16]),
            ],
        ),
        Lighting::Window => (
            [0.28, 0.30, 0.33],
            [0.20, 0.19, 0.18],
            vec![lamp([-0.85, 0.28, 0.45], [0.98, 1.02, 1.06]), lamp([0.7, 0.0, 0.7], [0.12, 0.11, 0.10])],
        ),
        Lighting::Studio => (
            [0.27, 0.27, 0.28],
            [0.20, 0.20, 0.20],
            vec![
                lamp([0.50, 0.48, 0.72], [0.74, 0.74, 0.73]),
                lamp([-0.62, 0.18, 0.76], [0.30, 0.30, 0.31]),
                lamp([-0.50, 0.50, -0.70], [0.70, 0.70, 0.72]),
            ],
        ),
        Lighting::Lamplight => (
            [0.25, 0.19, 0.13],
            [0.17, 0.12, 0.08],
            vec![lamp([0.62, 0.35, 0.70], [0.84, 0.60, 0.34]), lamp([-0.75, 0.1, 0.6], [0.24, 0.15, 0.08])],
        ),
        Lighting::Moonlight => (
            [0.12, 0.17, 0.27],
            [0.06, 0.08, 0.13],
            vec![lamp([-0.52, 0.62, 0.58], [0.36, 0.46, 0.62]), lamp([0.8, 0.1, 0.5], [0.05, 0.07, 0.11])],
        ),
        Lighting::Neon => (
            [0.15, 0.11, 0.20],
            [0.10, 0.08, 0.14],
            vec![
                lamp([-0.78, 0.18, 0.60], [0.80, 0.20, 0.50]),
                lamp([0.78, 0.12, 0.60], [0.16, 0.36, 0.92]),
                lamp([0.0, 0.3, 0.95], [0.26, 0.22, 0.28]),
            ],
        ),
    };
    Lights { sky, ground, lamps, exposure: 1.0 }
}

fn lamp(direction: [f32; 3], colour: Rgb) -> Lamp {
    let length = direction.iter().map(|axis| axis * axis).sum::<f32>().sqrt();
    Lamp { direction: direction.map(|axis| axis / length), colour }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faces_stay_legible_in_every_light() {
        for lighting in Lighting::ALL {
            for seed in [0, 1] {
                let lights = Lights::new(lighting, seed);
                let light = |normal| lights.on_surface(normal).iter().sum::<f32>() / 3.0;
                let front = light([0.0, 0.0, 1.0]);
                let side = light([0.7, 0.0, 0.7]).min(light([-0.7, 0.0, 0.7]));
                assert!((0.25..1.2).contains(&front), "{lighting:?}: front {front}");
                assert!(side > 0.12, "{lighting:?}: darker side {side}");
            }
        }
    }

    #[test]
    fn half_of_the_seeds_mirror_the_lamps() {
        let (one, other) = (Lights::new(Lighting::Window, 0), Lights::new(Lighting::Window, 1));
        assert!(one.lamps[0].direction[0] < 0.0 && other.lamps[0].direction[0] > 0.0);
        assert!((one.on_place(0.5)[0] - other.on_place(-0.5)[0]).abs() < 1e-6);
    }
}
