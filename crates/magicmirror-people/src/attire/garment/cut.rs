//! Shells of cloth over the skin.

use crate::attire::stuff::{Stuff, ripple};
use crate::colour::{Rgb, scale};
use crate::figure::Figure;
use crate::head::{HeadModel, Mask};
use crate::render::{FaceCover, Fragment, Illumination, Layer, Material, Mesh, Opacity, Shade};
use crate::space::{Vec3, add, between, scaled, unit};

/// Where cloth ends, on the template body; lengths in metres.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Cut {
    /// Height of the neckline in front.
    pub(crate) front: f32,
    /// At the side of the neck.
    pub(crate) side: f32,
    /// Behind.
    pub(crate) back: f32,
    /// Half the width of the neckline on the shoulder.
    pub(crate) half_width: f32,
    /// Bare from here outwards on the shoulder; 1 for sleeves.
    pub(crate) shoulder: f32,
    /// Open down the front like a jacket.
    pub(crate) open: bool,
    /// Width of the ribbed band at the edge.
    pub(crate) band: f32,
}

/// A shell of cloth.
pub(crate) struct Shell {
    pub(crate) cut: Cut,
    pub(crate) stuff: Stuff,
    pub(crate) colour: Rgb,
    /// Metres above the skin.
    pub(crate) thickness: f32,
}

/// Cloth ends below this height of the template: above are jaw and face.
const HIGHEST: f32 = -0.09;

impl Cut {
    /// How deep in the cloth a point of the template body lies, metres; negative outside.
    pub(crate) fn depth(&self, [x, y, z]: Vec3) -> f32 {
        let x = x.abs();
        // The neck's axis lies 3 cm behind the ears' line.
        let ahead = (z + 0.03) / 0.03;
        let end = if ahead > 0.0 { self.front } else { self.back };
        let lowest = self.side + (end - self.side) * ahead.abs().min(1.0);
        // Round in front and behind; past the neck the line climbs over the shoulder.
        let across = (x / self.half_width).min(1.0);
        let line = lowest + (self.side - lowest) * across * across * across + 1.6 * (x - self.half_width).max(0.0);
        // Armholes run down from the shoulder, wider below.
        let armhole = self.shoulder - x + 0.25 * (-0.19 - y).clamp(0.0, 0.08);
        let opening = if self.open && z > 0.0 { x - 0.018 - 0.40 * (y + 0.34).max(0.0) } else { f32::MAX };
        (line.min(HIGHEST) - y).min(armhole).min(opening)
    }
}

/// A corner of cloth while it is cut out.
#[derive(Clone, Copy)]
struct Corner {
    place: Vec3,
    normal: Vec3,
    template: Vec3,
    bend: f32,
    depth: f32,
}

impl Shell {
    /// Cuts the shell out of the skin: triangles that cross the edge are divided there.
    pub(crate) fn layer(&self, figure: &Figure, skin: &Mesh) -> Layer {
        let model = HeadModel::shared();
        let bend = model.mask(Mask::Bend);
        let corner = |index: u32| {
            let vertex = skin.follows[index as usize] as usize;
            let template = model.base()[vertex];
            let normal = skin.normals[index as usize];
            let place = add(figure.rest[vertex], scaled(normal, self.thickness));
            Corner { place, normal, template, bend: bend[vertex], depth: self.cut.depth(template) }
        };
        let mut mesh = Mesh::default();
        let mut cloth = Cloth {
            stuff: self.stuff,
            colour: self.colour,
            band: self.cut.band,
            template: Vec::new(),
            depth: Vec::new(),
        };
        let mut placed = vec![None; skin.positions.len()];
        for triangle in &skin.triangles {
            let kept = triangle.map(corner);
            if kept.iter().all(|corner| corner.depth < 0.0) {
                continue;
            }
            if kept.iter().all(|corner| corner.depth >= 0.0) {
                let whole = [0, 1, 2].map(|index| {
                    *placed[triangle[index] as usize].get_or_insert_with(|| cloth.place(&mut mesh, kept[index]))
                });
                mesh.triangles.push(whole);
                continue;
            }
            let outline: Vec<u32> = self.clip(kept).into_iter().map(|corner| cloth.place(&mut mesh, corner)).collect();
            mesh.triangles.extend((2..outline.len()).map(|index| [outline[0], outline[index - 1], outline[index]]));
        }
        Layer { mesh, material: Box::new(cloth), opacity: Opacity::Solid, face: FaceCover::Hides, shadow: true }
    }

    /// The part of a triangle that is cloth.
    fn clip(&self, triangle: [Corner; 3]) -> Vec<Corner> {
        let mut outline = Vec::with_capacity(4);
        for index in 0..3 {
            let (here, next) = (triangle[index], triangle[(index + 1) % 3]);
            if here.depth >= 0.0 {
                outline.push(here);
            }
            if (here.depth < 0.0) != (next.depth < 0.0) {
                // The edge is curved: halve towards it.
                let (mut low, mut high) = (0.0, 1.0);
                for _ in 0..10 {
                    let middle = f32::midpoint(low, high);
                    let depth = self.cut.depth(between(here.template, next.template, middle));
                    if (depth < 0.0) == (here.depth < 0.0) { low = middle } else { high = middle }
                }
                let part = f32::midpoint(low, high);
                outline.push(Corner {
                    place: between(here.place, next.place, part),
                    normal: unit(between(here.normal, next.normal, part)),
                    template: between(here.template, next.template, part),
                    bend: here.bend + (next.bend - here.bend) * part,
                    depth: 0.0,
                });
            }
        }
        outline
    }
}

/// Hides the skin that lies well below cloth.
pub(crate) fn cover(skin: &mut Mesh, shells: &[Shell]) {
    let model = HeadModel::shared();
    let covered: Vec<bool> = skin
        .follows
        .iter()
        .map(|&vertex| {
            let template = model.base()[vertex as usize];
            shells.iter().any(|shell| shell.cut.depth(template) > 0.012)
        })
        .collect();
    skin.triangles.retain(|triangle| !triangle.iter().all(|&corner| covered[corner as usize]));
}

/// Looks of a shell.
struct Cloth {
    stuff: Stuff,
    colour: Rgb,
    band: f32,
    /// Place of each vertex on the template body.
    template: Vec<Vec3>,
    /// How deep in the cloth it lies.
    depth: Vec<f32>,
}

impl Cloth {
    fn place(&mut self, mesh: &mut Mesh, corner: Corner) -> u32 {
        mesh.positions.push(corner.place);
        mesh.normals.push(corner.normal);
        mesh.bend.push(corner.bend);
        self.template.push(corner.template);
        self.depth.push(corner.depth);
        mesh.positions.len() as u32 - 1
    }

    /// What folds add to the normal at a point of the template body: creases from the shoulders inwards and down.
    fn folds(&self, [x, y, z]: Vec3) -> Vec3 {
        let strength = if self.stuff == Stuff::Knit { 0.10 } else { 0.17 };
        let side = x.abs();
        let slow = ripple(5.1 * y + 3.3 * side + 0.3);
        let first = ripple(14.0 * side + 9.0 * y + 1.5 * slow);
        let second = ripple(11.0 * y - 17.0 * side + 6.0 * z + 2.0 * slow);
        let fold = strength * (0.4 + 0.6 * slow.abs());
        [fold * first * x.signum(), fold * second, 0.0]
    }
}

impl Material for Cloth {
    fn shade(&self, at: &Fragment, light: &Illumination) -> Shade {
        let template = at.mean3(&self.template);
        let depth = at.mean(&self.depth);
        let [x, y, z] = template;
        let pattern = if self.stuff == Stuff::Buttoned { [if z < 0.0 { 1.0 } else { x }, y] } else { [x - 0.4 * z, y] };
        let tone = if depth > self.band {
            1.0
        } else if depth > self.band - 0.0015 {
            0.72
        } else {
            0.9
        };
        let normal = unit(add(at.normal, self.folds(template)));
        Shade { light: self.stuff.shade(scale(self.colour, tone), normal, pattern, at, light), alpha: 1.0 }
    }

    fn face(&self, _at: &Fragment) -> f32 {
        0.0
    }
}
