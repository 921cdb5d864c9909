//! Shadow of the main lamp: depths as the lamp sees them.

use super::Posed;
use super::raster::Plane;
use crate::scene::Size;
use crate::space::{Vec3, add, cross, dot, scaled, unit};

const SIDE: usize = 224;
/// Half the side of the square that is mapped, in metres.
const REACH: f32 = 0.32;
/// Depth that a surface may seem nearer to the lamp without being in shadow, in metres.
const BIAS: f32 = 0.003;

/// Depths of what is nearest to the lamp.
pub(super) struct ShadowMap {
    axes: [Vec3; 3],
    nearest: Vec<f32>,
}

impl ShadowMap {
    /// An empty map for a lamp in a direction.
    pub(super) fn new(lamp: Vec3) -> Self {
        let right = unit(cross([0.0, 1.0, 0.0], lamp));
        let right = if dot(right, right) > 0.5 { right } else { [1.0, 0.0, 0.0] };
        Self { axes: [right, cross(lamp, right), lamp], nearest: vec![-10.0; SIDE * SIDE] }
    }

    fn project(&self, point: Vec3) -> Vec3 {
        let [across, up, towards] = self.axes.map(|axis| dot(axis, point));
        let scale = SIDE as f32 / 2.0 / REACH;
        [across * scale + SIDE as f32 / 2.0, up * scale + SIDE as f32 / 2.0, towards]
    }

    /// Adds a surface.
    pub(super) fn add(&mut self, triangles: &[[u32; 3]], posed: &Posed) {
        let places: Vec<_> = posed.positions.iter().map(|&point| self.project(point)).collect();
        for triangle in triangles {
            let corners = triangle.map(|vertex| places[vertex as usize]);
            if let Some(plane) = Plane::new(corners, Size { width: SIDE, height: SIDE }) {
                plane.each(|column, row, towards| {
                    let nearest = &mut self.nearest[row * SIDE + column];
                    *nearest = nearest.max(towards);
                });
            }
        }
    }

    /// How much of the lamp's light arrives at a point, 0 to 1, with soft edges.
    pub(super) fn light(&self, point: Vec3, normal: Vec3) -> f32 {
        let place = self.project(add(point, scaled(normal, 0.0025)));
        let (column, row) = (place[0] - 0.5, place[1] - 0.5);
        let (left, top) = (column.floor(), row.floor());
        let (across, down) = (column - left, row - top);
        if left < 1.0 || top < 1.0 || left > SIDE as f32 - 3.0 || top > SIDE as f32 - 3.0 {
            return 1.0;
        }
        let lit = |dx: usize, dy: usize| {
            let depth = self.nearest[(top as usize + dy - 1) * SIDE + left as usize + dx - 1];
            f32::from(depth < place[2] + BIAS)
        };
        // A box of 3 × 3 texels, slid smoothly: the mean of all four inside and the shares of the rim.
        let mut sum = 0.0;
        for dy in 0..4 {
            let high = [1.0 - down, 1.0, 1.0, down][dy];
            for dx in 0..4 {
                sum += lit(dx, dy) * high * [1.0 - across, 1.0, 1.0, across][dx];
            }
        }
        sum / 9.0
    }
}
