//! The head's surface seen from its middle: where hair and hats find it.

use super::grid::{Grid, near};
use crate::space::{Vec3, add, cross, dot, scaled, sub, unit};

/// Distances from a point inside the head to its outermost surface, by direction. The pole is the whorl at the back of the
/// crown; a direction is an azimuth (0: forehead, positive: right in the picture) and a polar angle (0: whorl).
pub(crate) struct Skull {
    /// The point inside.
    pub(crate) centre: Vec3,
    /// Towards the whorl.
    pole: Vec3,
    /// Towards the forehead, at a right angle to the pole.
    front: Vec3,
    radius: Grid,
    /// How much hair grows, 0 to 1.
    growth: Grid,
}

const COLUMNS: usize = 96;
const ROWS: usize = 48;
/// The whorl is this far behind the top.
const TILT: f32 = 0.40;

impl Skull {
    /// Measures a head: corners of triangles, and how much hair grows at each vertex.
    pub(crate) fn new(
        positions: &[Vec3],
        triangles: impl Iterator<Item = [usize; 3]>,
        growth: &[f32],
        centre: Vec3,
    ) -> Self {
        let (sin, cos) = libm::sincosf(TILT);
        let field = |empty| Grid::new(COLUMNS, ROWS, true, empty);
        let mut skull =
            Self { centre, pole: [0.0, cos, -sin], front: [0.0, sin, cos], radius: field(0.0), growth: field(-1.0) };
        for triangle in triangles {
            let corners = triangle.map(|index| sub(positions[index], centre));
            let angles = corners.map(|corner| skull.angles(corner));
            let distances = corners.map(|corner| dot(corner, corner).sqrt());
            // Next to the pole azimuths differ by anything: its few triangles are left to `fill`.
            let apart = angles.iter().any(|&(azimuth, _)| (near(azimuth, angles[0].0) - angles[0].0).abs() > 1.6);
            if apart {
                continue;
            }
            let places = angles.map(|(azimuth, polar)| place(near(azimuth, angles[0].0), polar));
            let mean = |values: [f32; 3], weights: [f32; 3]| {
                (0..3).map(|corner| values[corner] * weights[corner]).sum::<f32>()
            };
            skull.radius.draw(places, |value, weights| *value = value.max(mean(distances, weights)));
            let grows = triangle.map(|index| growth[index]);
            skull.growth.draw(places, |value, weights| *value = value.max(mean(grows, weights)));
        }
        skull.radius.fill(0.0);
        skull.growth.fill(-1.0);
        skull
    }

    /// The unit vector of a direction.
    pub(crate) fn direction(&self, azimuth: f32, polar: f32) -> Vec3 {
        let (sin, cos) = libm::sincosf(polar);
        let (side, ahead) = libm::sincosf(azimuth);
        let level = add(scaled(self.front, ahead), [side, 0.0, 0.0]);
        add(scaled(self.pole, cos), scaled(level, sin))
    }

    /// The unit vector along which the polar angle grows: the way hair grows.
    pub(crate) fn away_from_whorl(&self, azimuth: f32, polar: f32) -> Vec3 {
        let (sin, cos) = libm::sincosf(polar);
        let (side, ahead) = libm::sincosf(azimuth);
        add(scaled(self.pole, -sin), scaled(add(scaled(self.front, ahead), [side, 0.0, 0.0]), cos))
    }

    /// Azimuth and polar angle of a vector from the centre.
    pub(crate) fn angles(&self, from_centre: Vec3) -> (f32, f32) {
        let ahead = dot(from_centre, self.front);
        let level = (ahead * ahead + from_centre[0] * from_centre[0]).sqrt();
        (libm::atan2f(from_centre[0], ahead), libm::atan2f(level, dot(from_centre, self.pole)))
    }

    /// Metres from the centre to the skin.
    pub(crate) fn radius(&self, azimuth: f32, polar: f32) -> f32 {
        let [column, row] = place(azimuth, polar);
        self.radius.at(column, row)
    }

    /// How much hair grows there, 0 to 1.
    pub(crate) fn growth(&self, azimuth: f32, polar: f32) -> f32 {
        let [column, row] = place(azimuth, polar);
        self.growth.at(column, row)
    }

    /// The point `lift` metres above the skin.
    pub(crate) fn point(&self, azimuth: f32, polar: f32, lift: f32) -> Vec3 {
        add(self.centre, scaled(self.direction(azimuth, polar), self.radius(azimuth, polar) + lift))
    }

    /// Outward unit normal, of a smoothed surface.
    pub(crate) fn normal(&self, azimuth: f32, polar: f32) -> Vec3 {
        const STEP: f32 = 0.12;
        let polar = polar.max(STEP + 0.01);
        let down = sub(self.point(azimuth, polar + STEP, 0.0), self.point(azimuth, polar - STEP, 0.0));
        let across = sub(self.point(azimuth + STEP, polar, 0.0), self.point(azimuth - STEP, polar, 0.0));
        unit(cross(down, across))
    }

    /// The point of the surface, and of its hair's growth, below a point.
    pub(crate) fn below(&self, point: Vec3) -> (f32, f32, f32) {
        let (azimuth, polar) = self.angles(sub(point, self.centre));
        (azimuth, polar, self.growth(azimuth, polar))
    }

    /// Moves a point that is nearer than `lift` to the skin out to it.
    pub(crate) fn keep_out(&self, point: Vec3, lift: f32) -> Vec3 {
        let from_centre = sub(point, self.centre);
        let (azimuth, polar) = self.angles(from_centre);
        let least = self.radius(azimuth, polar) + lift;
        let distance = dot(from_centre, from_centre).sqrt();
        if distance < least { add(self.centre, scaled(from_centre, least / distance.max(1e-6))) } else { point }
    }
}

/// Column and row of a direction.
fn place(azimuth: f32, polar: f32) -> [f32; 2] {
    [azimuth / std::f32::consts::TAU * COLUMNS as f32, polar / std::f32::consts::PI * ROWS as f32 - 0.5]
}
