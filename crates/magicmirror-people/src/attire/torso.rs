//! Neck, shoulders and chest as long hair and collars meet them.

use super::grid::{Grid, near};
use crate::space::Vec3;

/// Depths of the front and of the back of the body, seen from the front.
pub(crate) struct Torso {
    front: Grid,
    back: Grid,
}

const CELL: f32 = 0.012;
const COLUMNS: usize = 48;
const ROWS: usize = 32;

/// Column and row of a place.
fn place(x: f32, y: f32) -> [f32; 2] {
    [x / CELL + COLUMNS as f32 / 2.0 - 0.5, (-0.05 - y) / CELL - 0.5]
}

impl Torso {
    /// Measures triangles below the head.
    pub(crate) fn new(positions: &[Vec3], triangles: impl Iterator<Item = [usize; 3]>) -> Self {
        let mut torso =
            Self { front: Grid::new(COLUMNS, ROWS, false, f32::MIN), back: Grid::new(COLUMNS, ROWS, false, f32::MAX) };
        for triangle in triangles {
            let corners = triangle.map(|index| positions[index]);
            let places = corners.map(|[x, y, _]| place(x, y));
            let depth = |weights: [f32; 3]| (0..3).map(|corner| weights[corner] * corners[corner][2]).sum::<f32>();
            torso.front.draw(places, |value, weights| *value = value.max(depth(weights)));
            torso.back.draw(places, |value, weights| *value = value.min(depth(weights)));
        }
        torso
    }

    /// Front and back at a place, if the body is there.
    pub(crate) fn depths(&self, x: f32, y: f32) -> Option<[f32; 2]> {
        let [column, row] = place(x, y);
        let (front, back) = (self.front.cell(column, row)?, self.back.cell(column, row)?);
        (front > back).then_some([front, back])
    }

    /// Moves a point inside the body, or nearer than `lift`, out of it, to its front or to its back.
    pub(crate) fn keep_out(&self, point: Vec3, lift: f32, ahead: bool) -> Vec3 {
        match self.depths(point[0], point[1]) {
            Some([front, back]) if point[2] > back - lift && point[2] < front + lift => {
                [point[0], point[1], if ahead { front + lift } else { back - lift }]
            }
            _ => point,
        }
    }
}

/// Distances of the neck's surface from an upright axis.
pub(crate) struct Neck {
    radius: Grid,
    /// Depth of the axis.
    axis: f32,
    top: f32,
}

const AROUND: usize = 48;
const STEP: f32 = 0.006;
const HIGH: usize = 32;

impl Neck {
    /// Measures the neck's triangles, from the height `top` downwards, around an axis at the depth `axis`.
    pub(crate) fn new(positions: &[Vec3], triangles: impl Iterator<Item = [usize; 3]>, axis: f32, top: f32) -> Self {
        let mut neck = Self { radius: Grid::new(AROUND, HIGH, true, 0.0), axis, top };
        for triangle in triangles {
            let corners = triangle.map(|index| positions[index]);
            let level = corners.map(|[x, _, z]| (x * x + (z - axis) * (z - axis)).sqrt());
            let azimuths = corners.map(|[x, _, z]| libm::atan2f(x, z - axis));
            let places = [0, 1, 2].map(|corner| neck.place(near(azimuths[corner], azimuths[0]), corners[corner][1]));
            neck.radius.draw(places, |value, weights| {
                *value = value.max((0..3).map(|corner| weights[corner] * level[corner]).sum());
            });
        }
        neck.radius.fill(0.0);
        neck
    }

    /// The point at an azimuth (0: front, positive: right in the picture) and height, `lift` outside the skin.
    pub(crate) fn point(&self, azimuth: f32, height: f32, lift: f32) -> Vec3 {
        let [column, row] = self.place(azimuth, height);
        let radius = self.radius.at(column, row) + lift;
        let (sin, cos) = libm::sincosf(azimuth);
        [radius * sin, height, self.axis + radius * cos]
    }

    fn place(&self, azimuth: f32, height: f32) -> [f32; 2] {
        [azimuth / std::f32::consts::TAU * AROUND as f32, (self.top - height) / STEP]
    }
}
