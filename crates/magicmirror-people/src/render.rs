//! Drawing: a perspective camera, a z-buffer, materials, shadows of the main lamp, anti-aliasing.
//!
//! Everything that is drawn is a [`Layer`]: a surface at rest that knows how it follows the body, and a [`Material`] that
//! says how a point of it looks. Solid layers are resolved to one visible triangle a sample, then shaded once a pixel;
//! blended layers (hair, lashes, lenses) are drawn over them from back to front.

mod draw;
mod raster;
mod shadow;

use crate::colour::Rgb;
use crate::figure::{Figure, Pose, normals};
use crate::light::Lights;
use crate::space::{Vec3, add};

pub(crate) use draw::{Frame, draw};

/// A surface at rest, in the coordinates of [`Figure::rest`].
#[derive(Debug, Clone, Default)]
pub struct Mesh {
    /// Vertices.
    pub positions: Vec<Vec3>,
    /// Unit normal of each vertex.
    pub normals: Vec<Vec3>,
    /// Direction of strands or weave of each vertex; may be empty.
    pub tangents: Vec<Vec3>,
    /// Place of each vertex in whatever pattern the material has; may be empty.
    pub texture: Vec<[f32; 2]>,
    /// Triangles, counter-clockwise seen from outside. Both sides are drawn.
    pub triangles: Vec<[u32; 3]>,
    /// How far each vertex follows the head's turn: 0 chest, 1 head. Empty: all of it follows the head.
    pub bend: Vec<f32>,
    /// The vertex of the head model whose expression each vertex follows, as a beard does; may be empty.
    pub follows: Vec<u16>,
    /// For surfaces that change shape: the vertex whose normal each vertex shares; normals are then computed anew in
    /// every pose. Empty: normals turn with the surface.
    pub welds: Vec<u16>,
}

/// Something that is drawn.
pub struct Layer {
    /// Its surface.
    pub mesh: Mesh,
    /// Its looks.
    pub material: Box<dyn Material>,
    /// How it covers what is behind.
    pub opacity: Opacity,
    /// What it means for the face mask.
    pub face: FaceCover,
    /// Whether it throws a shadow.
    pub shadow: bool,
}

/// How a layer covers what is behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opacity {
    /// Fully.
    Solid,
    /// Fully where [`Material::alpha`] is above one half, not at all elsewhere.
    Cutout,
    /// By the alpha of its shade, drawn from back to front.
    Blended,
}

/// What a layer means for the face mask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FaceCover {
    /// It is face where [`Material::face`] says so.
    Face,
    /// It hides the face.
    Hides,
    /// The face is seen through it, or it is too thin to count.
    Clear,
}

/// A visible point of a layer.
#[derive(Debug, Clone, Copy)]
pub struct Fragment {
    /// Where it is.
    pub position: Vec3,
    /// Unit normal, towards the viewer's side.
    pub normal: Vec3,
    /// Unit vector along [`Mesh::tangents`]; zero if there are none.
    pub tangent: Vec3,
    /// Unit vector towards the viewer.
    pub viewer: Vec3,
    /// Place in the pattern; zero if there is none.
    pub texture: [f32; 2],
    /// Vertices of the triangle.
    pub vertices: [u32; 3],
    /// Their weights, in sum 1.
    pub weights: Vec3,
    /// Size of a pixel there, in metres.
    pub footprint: f32,
    /// Whether the outside is seen.
    pub outside: bool,
}

impl Fragment {
    /// Mean of a value of the vertices.
    pub fn mean(&self, values: &[f32]) -> f32 {
        (0..3).map(|corner| values[self.vertices[corner] as usize] * self.weights[corner]).sum()
    }

    /// Mean of a vector of the vertices.
    pub fn mean3(&self, values: &[Vec3]) -> Vec3 {
        crate::space::weighted(self.vertices.map(|vertex| values[vertex as usize]), self.weights)
    }
}

/// Light at a visible point.
#[derive(Debug, Clone, Copy)]
pub struct Illumination<'a> {
    /// All light.
    pub lights: &'a Lights,
    /// How much of the main lamp (`lights.lamps[0]`) arrives: 0 in shadow, 1 in full light.
    pub direct: f32,
    /// The pose, for what depends on more than the point.
    pub pose: &'a Pose,
}

/// Light that leaves a point, and how much it covers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Shade {
    /// Linear light, before exposure.
    pub light: Rgb,
    /// 0 to 1; solid layers ignore it.
    pub alpha: f32,
}

/// How the points of a layer look.
pub trait Material: Send + Sync {
    /// The light that leaves a point towards the viewer.
    fn shade(&self, at: &Fragment, light: &Illumination) -> Shade;

    /// Cover of a cutout layer at a place of its pattern.
    fn alpha(&self, _texture: [f32; 2]) -> f32 {
        1.0
    }

    /// How much of a point counts as face, for [`FaceCover::Face`].
    fn face(&self, _at: &Fragment) -> f32 {
        1.0
    }
}

/// A layer's surface at a moment.
pub(crate) struct Posed {
    pub(crate) positions: Vec<Vec3>,
    pub(crate) normals: Vec<Vec3>,
    pub(crate) tangents: Vec<Vec3>,
}

impl Mesh {
    /// The surface in `pose`.
    pub(crate) fn posed(&self, pose: &Pose) -> Posed {
        let bend = |vertex: usize| self.bend.get(vertex).copied().unwrap_or(1.0);
        let positions: Vec<_> = (0..self.positions.len())
            .map(|vertex| {
                let moved = self.follows.get(vertex).map_or([0.0; 3], |&skin| pose.moves[skin as usize]);
                pose.place(add(self.positions[vertex], moved), bend(vertex))
            })
            .collect();
        let turned = |directions: &[Vec3]| {
            directions.iter().enumerate().map(|(vertex, &normal)| pose.direction(normal, bend(vertex))).collect()
        };
        let normals = if self.welds.is_empty() {
            turned(&self.normals)
        } else {
            normals(&positions, &self.triangles, &self.welds)
        };
        Posed { positions, normals, tangents: turned(&self.tangents) }
    }

    /// The surface of a part of `figure`'s head model, as a mesh that follows body and expression. Its vertices are those
    /// of the part's triangles, in the order of the model's corners; `corners` receives the corner of each.
    pub fn of_part(figure: &Figure, part: crate::head::Part) -> (Self, Vec<u16>) {
        let model = crate::head::HeadModel::shared();
        let mut corners: Vec<u16> = model.triangles(part).iter().flatten().copied().collect();
        corners.sort_unstable();
        corners.dedup();
        let mut number = vec![0u32; model.source().len()];
        for (index, &corner) in corners.iter().enumerate() {
            number[corner as usize] = index as u32;
        }
        let follows: Vec<u16> = corners.iter().map(|&corner| model.source()[corner as usize]).collect();
        let mut first = vec![None; model.vertices()];
        let welds = follows
            .iter()
            .enumerate()
            .map(|(index, &vertex)| *first[vertex as usize].get_or_insert(index as u16))
            .collect();
        let mut mesh = Self {
            positions: follows.iter().map(|&vertex| figure.rest[vertex as usize]).collect(),
            texture: corners.iter().map(|&corner| model.texture()[corner as usize]).collect(),
            triangles: model
                .triangles(part)
                .iter()
                .map(|triangle| triangle.map(|corner| number[corner as usize]))
                .collect(),
            bend: follows.iter().map(|&vertex| model.mask(crate::head::Mask::Bend)[vertex as usize]).collect(),
            follows,
            welds,
            ..Self::default()
        };
        mesh.normals = normals(&mesh.positions, &mesh.triangles, &mesh.welds);
        (mesh, corners)
    }
}
