//! The body's own layers: skin, eyes, teeth, tongue, lashes.

use crate::colour::times;
use crate::figure::Figure;
use crate::head::{HeadModel, Mask, Part};
use crate::person::Person;
use crate::render::{FaceCover, Fragment, Illumination, Layer, Material, Mesh, Opacity, Shade};

/// Skin, eyes, teeth, tongue and lashes of `person`.
pub(crate) fn layers(person: &Person, figure: &Figure) -> Vec<Layer> {
    let model = HeadModel::shared();
    let (mesh, corners) = Mesh::of_part(figure, Part::Skin);
    let face = corners.iter().map(|&c| model.mask(Mask::Face)[model.source()[c as usize] as usize]).collect();
    let skin = Plain { tone: person.skin.tone, face };
    vec![Layer { mesh, material: Box::new(skin), opacity: Opacity::Solid, face: FaceCover::Face, shadow: true }]
}

struct Plain {
    tone: [f32; 3],
    face: Vec<f32>,
}
impl Material for Plain {
    fn shade(&self, at: &Fragment, light: &Illumination) -> Shade {
        let mut sum = light.lights.ambient(at.normal);
        for (i, lamp) in light.lights.lamps.iter().enumerate() {
            let d = crate::space::dot(lamp.direction, at.normal).max(0.0) * if i == 0 { light.direct } else { 1.0 };
            sum = crate::colour::plus(sum, crate::colour::scale(lamp.colour, d));
        }
        Shade { light: times(sum, self.tone), alpha: 1.0 }
    }
    fn face(&self, at: &Fragment) -> f32 {
        at.mean(&self.face)
    }
}
