//! Beards: shells of fur over the skin of the lower face, that move with it.

use super::hair::Fur;
use crate::colour::Rgb;
use crate::figure::Figure;
use crate::head::{HeadModel, Mask};
use crate::person::Beard;
use crate::render::{FaceCover, Layer, Mesh, Opacity};
use crate::space::{Vec3, add, scaled, smoothstep, unit};

/// What to draw for a kind of beard.
pub(crate) struct BeardCut {
    kind: Beard,
    /// Shells, one above the other.
    pub(crate) layers: u32,
    /// Metres that the outermost stands off the skin.
    pub(crate) length: f32,
    /// How thick hairs stand, 0 to 1.
    density: f32,
}

impl BeardCut {
    /// The cut of a kind; `None` for a shaven face.
    pub(crate) fn of(kind: Beard) -> Option<Self> {
        let (layers, length, density) = match kind {
            Beard::None => return None,
            Beard::Stubble => (1, 0.0003, 1.0),
            Beard::Moustache => (3, 0.005, 1.0),
            Beard::Goatee => (3, 0.006, 0.95),
            Beard::Full => (4, 0.009, 1.0),
        };
        Some(Self { kind, layers, length, density })
    }

    /// How thick hairs stand at a point of the template face whose skin grows `grows` of a beard, 0 to 1.
    pub(crate) fn density(&self, [x, y, z]: Vec3, grows: f32) -> f32 {
        let x = x.abs();
        let soft = |value: f32| smoothstep(-0.003, 0.007, value);
        // It droops towards the corners of the mouth.
        let upper = soft(y + 0.068 + 0.20 * x) * soft(0.036 - x) * soft(z - 0.070);
        let here = match self.kind {
            Beard::Moustache => upper,
            Beard::Goatee => {
                let ring = soft(0.034 - x) * soft(x - 0.022) * soft(y + 0.095) * soft(-0.060 - y);
                let (across, down) = (x / 0.031, (y + 0.098) / 0.026);
                let chin = smoothstep(1.3, 0.7, across * across + down * down);
                upper.max(ring).max(chin) * soft(z - 0.045)
            }
            _ => 1.0,
        };
        grows * here * self.density
    }

    /// Metres that the beard is longer at a point of the template face: on the chin, and hanging.
    pub(crate) fn hang(&self, [x, y, z]: Vec3) -> f32 {
        let chin = ((-0.075 - y) / 0.03).clamp(0.0, 1.0)
            * ((z - 0.03) / 0.03).clamp(0.0, 1.0)
            * (1.0 - x.abs() / 0.07).max(0.0);
        if matches!(self.kind, Beard::Full | Beard::Goatee) { 1.3 * self.length * chin } else { 0.0 }
    }
}

/// A beard on a figure: the skin where it grows, several times.
pub(crate) fn layer(cut: &BeardCut, colour: Rgb, figure: &Figure, skin: &Mesh) -> Layer {
    let model = HeadModel::shared();
    let [grows, bend, face] = [Mask::Beard, Mask::Bend, Mask::Face].map(|mask| model.mask(mask));
    let vertex = |corner: u32| skin.follows[corner as usize] as usize;
    let density: Vec<f32> = (0..skin.follows.len() as u32)
        .map(|corner| cut.density(model.base()[vertex(corner)], grows[vertex(corner)]))
        .collect();
    let mut mesh = Mesh::default();
    let mut fur = Fur {
        colour,
        density: Vec::new(),
        level: Vec::new(),
        openness: Vec::new(),
        tuft: 0.0012,
        face: Vec::new(),
        cover: 0.38,
    };
    let mut placed = vec![None; skin.follows.len()];
    for triangle in
        skin.triangles.iter().filter(|triangle| triangle.iter().any(|&corner| density[corner as usize] > 0.01))
    {
        // The first vertex of each corner; those of the other shells follow it.
        let first = triangle.map(|corner| {
            *placed[corner as usize].get_or_insert_with(|| {
                let (vertex, normal) = (vertex(corner), skin.normals[corner as usize]);
                let template = model.base()[vertex];
                let down = add(scaled(normal, 0.35), [0.0, -0.9, 0.0]);
                for layer in 1..=cut.layers {
                    let level = layer as f32 / cut.layers as f32;
                    let off = add(scaled(normal, 0.0004 + cut.length * level), [0.0, -cut.hang(template) * level, 0.0]);
                    mesh.positions.push(add(figure.rest[vertex], off));
                    mesh.normals.push(normal);
                    mesh.tangents.push(unit(down));
                    mesh.texture.push([0.09 * libm::atan2f(template[0], template[2] + 0.02), template[1]]);
                    mesh.bend.push(bend[vertex]);
                    mesh.follows.push(vertex as u16);
                    fur.density.push(density[corner as usize]);
                    fur.face.push(face[vertex]);
                    fur.level.push(level);
                    fur.openness.push(0.55 + 0.45 * level);
                }
                mesh.positions.len() as u32 - cut.layers
            })
        });
        mesh.triangles.extend((0..cut.layers).map(|layer| first.map(|vertex| vertex + layer)));
    }
    // Stubble is too fine to be cut out.
    let opacity = if cut.kind == Beard::Stubble { Opacity::Blended } else { Opacity::Cutout };
    Layer { mesh, material: Box::new(fur), opacity, face: FaceCover::Face, shadow: false }
}
