//! How skin, wet and dull surfaces throw light back.

use crate::colour::{Rgb, mix, plus, scale, times};
use crate::render::{Fragment, Illumination};
use crate::space::{Vec3, add, dot, unit};

/// What a point throws back.
pub(super) struct Surface {
    /// Share of light, by channel, that is scattered.
    pub(super) albedo: Rgb,
    /// Unit normal, bumps included.
    pub(super) normal: Vec3,
    /// Share of the sky that the point sees.
    pub(super) open: f32,
    /// Strength of highlights against skin's.
    pub(super) gloss: f32,
    /// How far light that enters creeps round edges, by channel; 0 for what is solid.
    pub(super) softness: Rgb,
}

/// Light that creeps through skin: red the farthest.
pub(super) const SKIN_SOFTNESS: Rgb = [0.34, 0.14, 0.08];

/// Light from the surface towards the viewer, before exposure.
pub(super) fn lit(surface: &Surface, at: &Fragment, light: &Illumination) -> Rgb {
    let Surface { albedo, normal, open, gloss, softness } = surface;
    let facing = dot(*normal, at.viewer).clamp(0.0, 1.0);
    let grazing = squared(squared(1.0 - facing)) * (1.0 - facing);
    // Light that is thrown back and forth in hollows takes the surface's colour.
    let hollow = albedo.map(|channel| open / (1.0 - channel * 0.55 * (1.0 - open)));
    let mut sum = times(times(light.lights.ambient(*normal), hollow), *albedo);
    sum =
        plus(sum, scale(light.lights.ambient(reflected(*normal, at.viewer)), (0.012 + 0.22 * grazing) * open * gloss));
    for (index, lamp) in light.lights.lamps.iter().enumerate() {
        let direct = if index == 0 { light.direct } else { 0.35 + 0.65 * open };
        let slant = dot(*normal, lamp.direction);
        let scattered = [0, 1, 2].map(|channel| {
            let soft = softness[channel];
            let spread = ((slant + soft) / (1.0 + soft)).max(0.0);
            // A shadow's edge is as soft as the terminator.
            spread * (direct + soft * direct * (1.0 - direct) * 1.6) * (1.0 - 0.25 * soft)
        });
        sum = plus(sum, times(times(lamp.colour, scattered), *albedo));
        if slant > 0.0 {
            let half = unit(add(lamp.direction, at.viewer));
            let aligned = dot(*normal, half).max(0.0);
            let wide = squared(squared(squared(aligned)));
            let narrow = squared(squared(wide));
            let grazed = 1.0 - dot(half, at.viewer).clamp(0.0, 1.0);
            let mirror = 0.028 + 0.97 * squared(squared(grazed)) * grazed;
            let highlight = mirror * (1.2 * wide + 2.6 * narrow) * gloss * slant * direct;
            sum = plus(sum, scale(lamp.colour, highlight));
        }
    }
    sum
}

/// The direction whose light is mirrored towards the viewer.
pub(super) fn reflected(normal: Vec3, viewer: Vec3) -> Vec3 {
    let twice = 2.0 * dot(normal, viewer);
    [0, 1, 2].map(|axis| normal[axis] * twice - viewer[axis])
}

pub(super) fn squared(x: f32) -> f32 {
    x * x
}

/// `a` towards `b` times `a`: a stain.
pub(super) fn stained(a: Rgb, stain: Rgb, amount: f32) -> Rgb {
    mix(a, times(a, stain), amount.clamp(0.0, 1.0))
}
