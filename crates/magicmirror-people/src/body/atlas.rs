//! The skin of the head unrolled: for every texel the place on the base mesh and what grows there.

use std::sync::OnceLock;

use crate::head::{HeadModel, Mask, Part};
use crate::space::{Vec3, dot, scaled, sub, weighted};

/// Texels across (towards the crown) and down (from ear to ear).
pub(super) const WIDTH: usize = 384;
pub(super) const HEIGHT: usize = 576;
/// The part of the model's texture that is the head: left, bottom, width, height.
const HEAD: [f32; 4] = [0.640, 0.145, 0.360, 0.680];

/// A texel of the head.
#[derive(Debug, Clone, Copy)]
pub(super) struct Texel {
    /// Place on the base mesh.
    pub(super) place: Vec3,
    /// Vectors whose scalar product with a slope per texel (across, down) gives the slope in space.
    pub(super) slope: [Vec3; 2],
    pub(super) lips: f32,
    pub(super) eyelids: f32,
    pub(super) ears: f32,
    pub(super) scalp: f32,
    pub(super) beard: f32,
    /// 1 on the head, falling to 0 down the neck.
    pub(super) head: f32,
}

/// Place in the atlas, in texels, of a place in the model's texture.
pub(super) fn place(texture: [f32; 2]) -> [f32; 2] {
    [(texture[0] - HEAD[0]) / HEAD[2] * WIDTH as f32, (texture[1] - HEAD[1]) / HEAD[3] * HEIGHT as f32]
}

/// Whether a place of the model's texture is in the atlas.
pub(super) fn covers(texture: [f32; 2]) -> bool {
    let [x, y] = place(texture);
    (0.0..WIDTH as f32).contains(&x) && (0.0..HEIGHT as f32).contains(&y)
}

/// The texels, row by row; none where no skin is.
pub(super) fn texels() -> &'static [Option<Texel>] {
    static TEXELS: OnceLock<Vec<Option<Texel>>> = OnceLock::new();
    TEXELS.get_or_init(|| {
        let model = HeadModel::shared();
        let mut texels = vec![None; WIDTH * HEIGHT];
        for triangle in model.triangles(Part::Skin) {
            if triangle.iter().all(|&corner| covers(model.texture()[corner as usize])) {
                unroll(model, *triangle, &mut texels);
            }
        }
        texels
    })
}

fn unroll(model: &HeadModel, triangle: [u16; 3], texels: &mut [Option<Texel>]) {
    let vertices = triangle.map(|corner| model.source()[corner as usize] as usize);
    let [a, b, c] = triangle.map(|corner| place(model.texture()[corner as usize]));
    let area = (b[0] - a[0]) * (c[1] - a[1]) - (c[0] - a[0]) * (b[1] - a[1]);
    if area.abs() < 1e-6 {
        return;
    }
    let places = vertices.map(|vertex| model.base()[vertex]);
    let slope = slopes([a, b, c], places, area);
    let range = |axis: usize, limit: usize| {
        let (low, high) = (a[axis].min(b[axis]).min(c[axis]), a[axis].max(b[axis]).max(c[axis]));
        (low - 1.0).max(0.0) as usize..((high + 2.0) as usize).min(limit)
    };
    for row in range(1, HEIGHT) {
        for column in range(0, WIDTH) {
            let (x, y) = (column as f32 + 0.5, row as f32 + 0.5);
            let edge = |p: [f32; 2], q: [f32; 2]| ((q[0] - p[0]) * (y - p[1]) - (q[1] - p[1]) * (x - p[0])) / area;
            let weights = [edge(b, c), edge(c, a), edge(a, b)];
            let inside = weights.iter().all(|&weight| weight >= 0.0);
            // A rim of texels around the skin keeps its edge from bleeding.
            if !inside && (texels[row * WIDTH + column].is_some() || weights.iter().any(|&weight| weight < -0.4)) {
                continue;
            }
            let mean = |mask: Mask| dot(vertices.map(|vertex| model.mask(mask)[vertex]), weights).clamp(0.0, 1.0);
            texels[row * WIDTH + column] = Some(Texel {
                place: weighted(places, weights),
                slope,
                lips: mean(Mask::Lips),
                eyelids: mean(Mask::Eyelids),
                ears: mean(Mask::Ears),
                scalp: mean(Mask::Scalp),
                beard: mean(Mask::Beard),
                head: mean(Mask::Bend),
            });
        }
    }
}

/// The dual vectors of the triangle's sides in the atlas, in space: they turn slopes per texel into slopes per metre.
fn slopes(corners: [[f32; 2]; 3], places: [Vec3; 3], area: f32) -> [Vec3; 2] {
    let [a, b, c] = corners;
    let (side, other) = (sub(places[1], places[0]), sub(places[2], places[0]));
    let combine = |p: f32, q: f32| [0, 1, 2].map(|axis| (side[axis] * p + other[axis] * q) / area);
    let across = combine(c[1] - a[1], a[1] - b[1]);
    let down = combine(a[0] - c[0], b[0] - a[0]);
    let (xx, xy, yy) = (dot(across, across), dot(across, down), dot(down, down));
    let determinant = (xx * yy - xy * xy).max(1e-18);
    let dual = |p: f32, q: f32| {
        let vector = [0, 1, 2].map(|axis| across[axis] * p + down[axis] * q);
        scaled(vector, 1.0 / determinant)
    };
    [dual(yy, -xy), dual(-xy, xx)]
}
