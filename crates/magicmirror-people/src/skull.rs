//! The head's surface seen from its middle: where hair and hats find it.

use crate::vector::{Vec3, add, cross, dot, minus, scaled, unit};

/// Distances from a point inside the head to its outermost surface, by direction. The pole is the whorl at the back of the
/// crown; a direction is an azimuth (0: forehead, positive: right in the picture) and a polar angle (0: whorl).
pub(crate) struct Skull {
    /// The point inside.
    pub(crate) centre: Vec3,
    /// Towards the whorl.
    pole: Vec3,
    /// Towards the forehead, at a right angle to the pole.
    front: Vec3,
    radius: Vec<f32>,
    /// How much hair grows, 0 to 1.
    growth: Vec<f32>,
}

const COLUMNS: usize = 96;
const ROWS: usize = 48;
/// The whorl is this far behind the top.
const TILT: f32 = 0.40;

impl Skull {
    /// Measures a head: corners of triangles, and how much hair grows at each vertex.
    pub(crate) fn new(positions: &[Vec3], triangles: &[[u32; 3]], growth: &[f32], centre: Vec3) -> Self {
        let (sin, cos) = libm::sincosf(TILT);
        let mut skull = Self {
            centre,
            pole: [0.0, cos, -sin],
            front: [0.0, sin, cos],
            radius: vec![0.0; ROWS * COLUMNS],
            growth: vec![0.0; ROWS * COLUMNS],
        };
        for triangle in triangles {
            let corners = triangle.map(|index| minus(positions[index as usize], centre));
            skull.measure(corners, triangle.map(|index| growth[index as usize]));
        }
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
        Self::sample(&self.radius, azimuth, polar)
    }

    /// How much hair grows there, 0 to 1.
    pub(crate) fn growth(&self, azimuth: f32, polar: f32) -> f32 {
        Self::sample(&self.growth, azimuth, polar)
    }

    /// The point `lift` metres above the skin.
    pub(crate) fn point(&self, azimuth: f32, polar: f32, lift: f32) -> Vec3 {
        add(self.centre, scaled(self.direction(azimuth, polar), self.radius(azimuth, polar) + lift))
    }

    /// Outward unit normal, of a smoothed surface.
    pub(crate) fn normal(&self, azimuth: f32, polar: f32) -> Vec3 {
        const STEP: f32 = 0.12;
        let polar = polar.max(STEP + 0.01);
        let down = minus(self.point(azimuth, polar + STEP, 0.0), self.point(azimuth, polar - STEP, 0.0));
        let across = minus(self.point(azimuth + STEP, polar, 0.0), self.point(azimuth - STEP, polar, 0.0));
        unit(cross(down, across))
    }

    /// The point of the surface, and of its hair's growth, below a point.
    pub(crate) fn below(&self, point: Vec3) -> (f32, f32, f32) {
        let (azimuth, polar) = self.angles(minus(point, self.centre));
        (azimuth, polar, self.growth(azimuth, polar))
    }

    /// Moves a point that is nearer than `lift` to the skin out to it.
    pub(crate) fn keep_out(&self, point: Vec3, lift: f32) -> Vec3 {
        let from_centre = minus(point, self.centre);
        let (azimuth, polar) = self.angles(from_centre);
        let least = self.radius(azimuth, polar) + lift;
        let distance = dot(from_centre, from_centre).sqrt();
        if distance < least { add(self.centre, scaled(from_centre, least / distance.max(1e-6))) } else { point }
    }

    fn sample(field: &[f32], azimuth: f32, polar: f32) -> f32 {
        let row = (polar / std::f32::consts::PI * ROWS as f32 - 0.5).clamp(0.0, (ROWS - 1) as f32);
        let column = azimuth / std::f32::consts::TAU * COLUMNS as f32;
        let (above, left) = (row.floor(), column.floor());
        let (down, right) = (row - above, column - left);
        let at =
            |row: usize, column: i32| field[row.min(ROWS - 1) * COLUMNS + column.rem_euclid(COLUMNS as i32) as usize];
        let line = |row: usize| at(row, left as i32) * (1.0 - right) + at(row, left as i32 + 1) * right;
        line(above as usize) * (1.0 - down) + line(above as usize + 1) * down
    }

    /// Enters one triangle, given relative to the centre.
    fn measure(&mut self, corners: [Vec3; 3], growth: [f32; 3]) {
        let angles = corners.map(|corner| self.angles(corner));
        let row_of = |polar: f32| polar / std::f32::consts::PI * ROWS as f32 - 0.5;
        let rows = angles.map(|(_, polar)| row_of(polar));
        let (first, last) = (rows[0].min(rows[1]).min(rows[2]), rows[0].max(rows[1]).max(rows[2]));
        let columns = angles.map(|(azimuth, _)| {
            let turn = azimuth - angles[0].0;
            let turn = turn - std::f32::consts::TAU * (turn / std::f32::consts::TAU + 0.5).floor();
            (angles[0].0 + turn) / std::f32::consts::TAU * COLUMNS as f32
        });
        let mut span = (columns[0].min(columns[1]).min(columns[2]), columns[0].max(columns[1]).max(columns[2]));
        let mut row_span = (first.floor() as i32, last.ceil() as i32);
        if span.1 - span.0 > COLUMNS as f32 * 0.3 || first < 1.5 {
            span = (0.0, (COLUMNS - 1) as f32);
            row_span.0 = 0;
        }
        for row in row_span.0.max(0)..=row_span.1.min(ROWS as i32 - 1) {
            for column in span.0.floor() as i32..=span.1.ceil() as i32 {
                let polar = (row as f32 + 0.5) / ROWS as f32 * std::f32::consts::PI;
                let azimuth = column as f32 / COLUMNS as f32 * std::f32::consts::TAU;
                if let Some((distance, weights)) = hit(self.direction(azimuth, polar), corners) {
                    let index = row as usize * COLUMNS + column.rem_euclid(COLUMNS as i32) as usize;
                    if distance > self.radius[index] {
                        self.radius[index] = distance;
                        self.growth[index] = (0..3).map(|corner| weights[corner] * growth[corner]).sum();
                    }
                }
            }
        }
    }
}

/// Where a ray from the origin meets a triangle: distance, barycentric weights.
fn hit(ray: Vec3, [a, b, c]: [Vec3; 3]) -> Option<(f32, [f32; 3])> {
    let (first, second) = (minus(b, a), minus(c, a));
    let normal = cross(ray, second);
    let determinant = dot(first, normal);
    if determinant.abs() < 1e-12 {
        return None;
    }
    let to_origin = scaled(a, -1.0);
    let u = dot(to_origin, normal) / determinant;
    let around = cross(to_origin, first);
    let v = dot(ray, around) / determinant;
    let distance = dot(second, around) / determinant;
    let slack = -1e-4;
    (u >= slack && v >= slack && u + v <= 1.0 - slack && distance > 0.0).then_some((distance, [1.0 - u - v, u, v]))
}
