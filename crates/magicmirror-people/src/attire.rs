//! All that a person wears in a scene, hair and beard included, made to measure.

mod beard;
mod fitting;
mod garment;
mod glasses;
mod grid;
mod hair;
mod hat;
mod skull;
mod solid;
mod stuff;
mod torso;

use crate::colour::{Rgb, rgb, scale};
use crate::figure::Figure;
use crate::person::HairStyle;
use crate::render::{FaceCover, Layer, Mesh, Opacity};
use crate::scene::{Hat, HatKind};
use crate::set::Scene;
use beard::BeardCut;
use fitting::Fitting;
use garment::Clothing;
use glasses::{GlassesShape, earrings};
use hat::{HatShape, Rim};
use solid::Solid;
use stuff::{Lens, Made, Stuff};

/// Layers of hair, beard, hat, glasses, earrings and clothes of the scene's person. The skin that clothes cover is
/// taken out of `skin`, the mesh of [`Mesh::of_part`].
pub(crate) fn layers(scene: &Scene, figure: &Figure, skin: &mut Mesh) -> Vec<Layer> {
    let Scene { person, outfit, hat, .. } = scene;
    let body = Fitting::new(figure);
    let rim = hat.as_ref().and_then(|hat| Rim::of(hat.kind, &body));
    let mut layers = hair::layers(person, &body, rim.as_ref());
    if let Some(cut) = BeardCut::of(person.beard) {
        layers.push(beard::layer(&cut, person.hair.colour, figure, skin));
    }
    let Clothing { shells, solids } = Clothing::new(*outfit, &body);
    layers.extend(shells.iter().map(|shell| shell.layer(figure, skin)));
    garment::cover(skin, &shells);
    layers.extend(solids.into_iter().map(|(solid, stuff, colour)| worn(solid, stuff, colour, &body)));
    if let Some(hat) = hat {
        layers.extend(hat_layers(*hat, person.hair.style, &body));
    }
    if let Some(glasses) = &person.glasses {
        let shape = GlassesShape::new(glasses, &body);
        let stuff = if glasses.thick { Stuff::Plastic } else { Stuff::Metal };
        layers.push(worn(shape.frame, stuff, glasses.colour, &body));
        let mesh = mesh(shape.lenses, &body);
        layers.push(Layer {
            mesh,
            material: Box::new(Lens),
            opacity: Opacity::Blended,
            face: FaceCover::Clear,
            shadow: false,
        });
    }
    if let Some(kind) = person.earrings {
        let metal = rgb(if person.seed % 3 == 0 { 0xD8_D8_DC } else { 0xE6_B4_5A });
        layers.push(worn(earrings(kind, &body), Stuff::Metal, metal, &body));
    }
    layers
}

fn hat_layers(hat: Hat, style: HairStyle, body: &Fitting) -> [Layer; 2] {
    let shape = HatShape::new(hat.kind, body, hair::crown(style) * body.size);
    let colour = hat.colour.albedo();
    let (main, trim, trim_colour) = match hat.kind {
        HatKind::Beanie => (Stuff::Knit, Stuff::Knit, scale(colour, 0.85)),
        HatKind::Cap => (Stuff::Panels, Stuff::Cloth, scale(colour, 0.8)),
        HatKind::SunHat => (Stuff::Straw, Stuff::Cloth, scale(colour, 0.4)),
        HatKind::PartyHat => (Stuff::Dotted, Stuff::Cloth, rgb(0xF2_F2_F0)),
    };
    [worn(shape.main, main, colour, body), worn(shape.trim, trim, trim_colour, body)]
}

fn worn(solid: Solid, of: Stuff, colour: Rgb, body: &Fitting) -> Layer {
    let mesh = mesh(solid, body);
    Layer {
        mesh,
        material: Box::new(Made { of, colour }),
        opacity: Opacity::Solid,
        face: FaceCover::Hides,
        shadow: true,
    }
}

fn mesh(solid: Solid, body: &Fitting) -> Mesh {
    let vertices = &solid.vertices;
    Mesh {
        positions: vertices.iter().map(|vertex| vertex.position).collect(),
        normals: vertices.iter().map(|vertex| vertex.normal).collect(),
        texture: vertices.iter().map(|vertex| vertex.at).collect(),
        bend: vertices.iter().map(|vertex| body.bend(vertex.position)).collect(),
        triangles: solid.triangles,
        ..Mesh::default()
    }
}

#[cfg(test)]
mod tests;
