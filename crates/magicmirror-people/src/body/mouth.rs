//! Teeth and tongue.

use super::noise::smooth;
use super::shading::{SKIN_SOFTNESS, Surface, lit};
use crate::colour::{Rgb, scale};
use crate::figure::Figure;
use crate::head::{HeadModel, Part};
use crate::render::{FaceCover, Fragment, Illumination, Layer, Material, Mesh, Opacity, Shade};
use crate::space::{Vec3, smoothstep};

/// Where teeth meet, in metres from the middle on the base mesh.
const GAPS: [f32; 6] = [0.0, 0.0082, 0.0146, 0.0204, 0.0248, 0.0282];

/// Both rows of teeth, and the tongue.
pub(super) fn layers(figure: &Figure) -> Vec<Layer> {
    [Part::UpperTeeth, Part::LowerTeeth, Part::Tongue].map(|part| layer(figure, part)).into()
}

fn layer(figure: &Figure, part: Part) -> Layer {
    let (mesh, _) = Mesh::of_part(figure, part);
    let base = HeadModel::shared().base();
    let base: Vec<Vec3> = mesh.follows.iter().map(|&vertex| base[vertex as usize]).collect();
    let gum = match part {
        Part::UpperTeeth => base.iter().map(|place| place[1]).fold(f32::MIN, f32::max),
        _ => base.iter().map(|place| place[1]).fold(f32::MAX, f32::min),
    };
    let material: Box<dyn Material> =
        if part == Part::Tongue { Box::new(Tongue { base }) } else { Box::new(Teeth { base, gum }) };
    Layer { mesh, material, opacity: Opacity::Solid, face: FaceCover::Face, shadow: false }
}

/// How much of the sky is left at a depth in the mouth (metres, on the base mesh).
fn open(depth: f32) -> f32 {
    0.06 + 0.60 * smoothstep(0.072, 0.104, depth)
}

struct Teeth {
    base: Vec<Vec3>,
    /// Height of the gums' edge.
    gum: f32,
}

impl Material for Teeth {
    fn shade(&self, at: &Fragment, light: &Illumination) -> Shade {
        let place = at.mean3(&self.base);
        let gap = GAPS.iter().map(|gap| (place[0].abs() - gap).abs()).fold(f32::MAX, f32::min);
        let tooth = 0.55 + 0.45 * smoothstep(0.0001, 0.0011, gap);
        let gum = smoothstep(0.0085, 0.0065, (place[1] - self.gum).abs() + 0.0016 * smoothstep(0.0030, 0.0, gap));
        let ivory: Rgb = scale([0.74, 0.68, 0.57], tooth);
        let albedo = crate::colour::mix(ivory, [0.42, 0.16, 0.15], gum);
        let surface =
            Surface { albedo, normal: at.normal, open: open(place[2]), gloss: 1.1, softness: [0.25, 0.22, 0.18] };
        let direct = light.direct * open(place[2]);
        Shade { light: lit(&surface, at, &Illumination { direct, ..*light }), alpha: 1.0 }
    }
}

struct Tongue {
    base: Vec<Vec3>,
}

impl Material for Tongue {
    fn shade(&self, at: &Fragment, light: &Illumination) -> Shade {
        let place = at.mean3(&self.base);
        let rough = 1.0 + 0.12 * smooth(9, crate::space::scaled(place, 900.0));
        let albedo = scale([0.44, 0.17, 0.16], rough);
        let surface =
            Surface { albedo, normal: at.normal, open: open(place[2] + 0.01), gloss: 1.2, softness: SKIN_SOFTNESS };
        Shade { light: lit(&surface, at, light), alpha: 1.0 }
    }
}
