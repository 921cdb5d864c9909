//! How hair looks: which parts of ribbons and shells are hair, and how light falls on it.

use super::strips::{HairMesh, hash};
use crate::attire::fitting::Fitting;
use crate::attire::stuff::{power_of, ripple};
use crate::colour::{Rgb, plus, scale, times};
use crate::render::{FaceCover, Fragment, Illumination, Layer, Material, Mesh, Opacity, Shade};
use crate::space::{Vec3, add, dot, scaled, unit};

/// Strands across a ribbon.
const STRANDS: f32 = 9.0;

/// Ribbons of strands. The texture is the place across (-1 to 1) and along (0 root to 1 tip).
struct Locks {
    colour: Rgb,
    /// Number of each vertex' ribbon.
    keys: Vec<u32>,
    /// Curls along each vertex' ribbon.
    turns: Vec<f32>,
    openness: Vec<f32>,
}

/// Shells of hairs that stand up. The texture is a place on the skin, in metres.
pub(crate) struct Fur {
    pub(crate) colour: Rgb,
    /// How thick hairs stand at each vertex, 0 to 1.
    pub(crate) density: Vec<f32>,
    /// Height of each vertex in the fur, 0 to 1.
    pub(crate) level: Vec<f32>,
    /// How open to light each vertex is, 0 to 1.
    pub(crate) openness: Vec<f32>,
    /// Size of a tuft in metres.
    pub(crate) tuft: f32,
    /// How much each vertex counts as face; empty for hair on the head.
    pub(crate) face: Vec<f32>,
    /// How far short hairs that are blended cover the skin, 0 to 1.
    pub(crate) cover: f32,
}

/// A layer of ribbons.
pub(crate) fn locks(hair: &HairMesh, colour: Rgb, head: &Fitting) -> Layer {
    let material = Locks {
        colour,
        keys: hair.vertices.iter().map(|vertex| vertex.key).collect(),
        turns: hair.vertices.iter().map(|vertex| vertex.turns).collect(),
        openness: hair.vertices.iter().map(|vertex| vertex.openness).collect(),
    };
    layer(hair, Box::new(material), head)
}

/// Shells of fur. Where hairs are thin, at the hair line, they are blended with the skin, so that it is soft.
pub(crate) fn fur(hair: &HairMesh, colour: Rgb, head: &Fitting) -> [Layer; 2] {
    let (thick, thin) = hair.parted(|vertex| vertex.density >= 0.55);
    let soft = Layer { opacity: Opacity::Blended, shadow: false, ..shells(&thin, colour, head) };
    [shells(&thick, colour, head), soft]
}

/// A layer of shells that are cut out: the silhouette of thick hair is ragged.
pub(crate) fn shells(hair: &HairMesh, colour: Rgb, head: &Fitting) -> Layer {
    const TUFT: f32 = 0.0012;
    let material = Fur {
        colour,
        density: hair.vertices.iter().map(|vertex| vertex.density).collect(),
        level: hair.vertices.iter().map(|vertex| vertex.along).collect(),
        openness: hair.vertices.iter().map(|vertex| vertex.openness).collect(),
        tuft: TUFT,
        face: Vec::new(),
        cover: 1.0,
    };
    layer(hair, Box::new(material), head)
}

fn layer(hair: &HairMesh, material: Box<dyn Material>, head: &Fitting) -> Layer {
    let mesh = Mesh {
        positions: hair.vertices.iter().map(|vertex| vertex.position).collect(),
        normals: hair.vertices.iter().map(|vertex| vertex.normal).collect(),
        tangents: hair.vertices.iter().map(|vertex| vertex.tangent).collect(),
        texture: hair.vertices.iter().map(|vertex| vertex.texture).collect(),
        triangles: hair.triangles.clone(),
        bend: hair.vertices.iter().map(|vertex| head.bend(vertex.position)).collect(),
        ..Mesh::default()
    };
    Layer { mesh, material, opacity: Opacity::Cutout, face: FaceCover::Hides, shadow: true }
}

impl Locks {
    /// Place across the strands, -1 to 1 where there are any, and their slope: curls swing inside their ribbon.
    fn curled(&self, [across, along]: [f32; 2], vertex: u32, key: u32) -> (f32, f32) {
        let turns = self.turns[vertex as usize];
        if turns == 0.0 {
            return (across, 0.0);
        }
        let phase = turns * along + hash(key, 5);
        (1.75 * across - 0.75 * ripple(phase), ripple(phase + 0.25))
    }
}

impl Material for Locks {
    fn shade(&self, at: &Fragment, light: &Illumination) -> Shade {
        let key = self.keys[at.vertices[0] as usize];
        let (across, slope) = self.curled(at.texture, at.vertices[0], key);
        let place = (across * 0.5 + 0.5).clamp(0.0, 1.0) * STRANDS;
        let (strand, fine) = (hash(key, place as u32), hash(key.wrapping_add(77), (place * 3.0) as u32));
        let tone = at.mean(&self.openness) * (0.80 + 0.26 * strand + 0.12 * (fine - 0.5)) * (1.0 + 0.3 * slope);
        Shade { light: shade(scale(self.colour, tone), at, light), alpha: 1.0 }
    }

    fn alpha(&self, texture: [f32; 2], vertices: [u32; 3], _weights: Vec3) -> f32 {
        let key = self.keys[vertices[0] as usize];
        let (across, _) = self.curled(texture, vertices[0], key);
        let along = texture[1];
        let place = (across * 0.5 + 0.5).clamp(0.0, 1.0) * STRANDS;
        // Strands end at different lengths, and the edges of a ribbon are ragged.
        let tip = 0.80 + 0.2 * hash(key.wrapping_add(13), place as u32);
        let ragged = 0.35 + 0.65 * hash(key.wrapping_add(77), (place * 3.0) as u32);
        if along > tip { 0.0 } else { (1.0 - across.abs()) * 4.5 - 0.5 * ragged }
    }
}

impl Material for Fur {
    fn shade(&self, at: &Fragment, light: &Illumination) -> Shade {
        let tone = 0.85 + 0.3 * cell(at.texture, self.tuft * 0.6);
        let colour = scale(self.colour, at.mean(&self.openness) * tone);
        let dense = (at.mean(&self.density) * 1.6 - 0.1).clamp(0.0, 1.0);
        let alpha = self.cover * dense * (0.55 + 0.9 * cell(at.texture, self.tuft));
        Shade { light: shade(colour, at, light), alpha }
    }

    fn alpha(&self, texture: [f32; 2], vertices: [u32; 3], weights: Vec3) -> f32 {
        let mean = |values: &[f32]| dot(vertices.map(|vertex| values[vertex as usize]), weights);
        let dense = (mean(&self.density) * 1.6 - 0.3).clamp(0.0, 1.0);
        3.0 * (dense * (1.75 - 1.2 * mean(&self.level)) - cell(texture, self.tuft)) + 0.5
    }

    fn face(&self, at: &Fragment) -> f32 {
        if self.face.is_empty() { 0.0 } else { at.mean(&self.face) }
    }
}

fn cell(texture: [f32; 2], size: f32) -> f32 {
    let [column, row] = texture.map(|place| (place / size + 4096.0) as u32);
    hash(column, row)
}

/// Light on hair, after Kajiya and Kay (1989): a strand is a cylinder, bright where light meets it at a right angle.
fn shade(colour: Rgb, at: &Fragment, light: &Illumination) -> Rgb {
    let lights = light.lights;
    let mut sum = times(colour, lights.ambient(at.normal));
    for (index, lamp) in lights.lamps.iter().enumerate() {
        let arriving = if index == 0 { 0.25 + 0.75 * light.direct } else { 1.0 };
        let facing = (dot(lamp.direction, at.normal) * 0.75 + 0.25).max(0.0) * arriving;
        let along = dot(lamp.direction, at.tangent);
        let diffuse = (1.0 - along * along).max(0.0).sqrt();
        let half = unit(add(lamp.direction, at.viewer));
        let gloss = |shift: f32, power: u32| {
            let slope = dot(half, unit(add(at.tangent, scaled(at.normal, shift))));
            power_of((1.0 - slope * slope).max(0.0).sqrt(), power)
        };
        // The first gleam is the lamp's colour, the second, from inside the strand, that of the hair.
        let gleam = plus([0.05 * gloss(-0.12, 60); 3], scale(colour, 0.55 * gloss(0.15, 18)));
        sum = plus(sum, times(lamp.colour, scale(plus(scale(colour, 0.85 * diffuse), gleam), facing)));
    }
    sum
}
