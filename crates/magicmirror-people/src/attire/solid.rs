//! Surfaces of things that are worn: built at rest on one head.

use crate::space::{Vec3, add, cross, scaled, sub, unit};

/// A corner.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct SolidVertex {
    pub(crate) position: Vec3,
    /// Outward.
    pub(crate) normal: Vec3,
    /// Place in the pattern, in metres or as the builder says.
    pub(crate) at: [f32; 2],
}

/// Triangles of one material.
#[derive(Debug, Clone, Default)]
pub(crate) struct Solid {
    pub(crate) vertices: Vec<SolidVertex>,
    pub(crate) triangles: Vec<[u32; 3]>,
}

impl Solid {
    /// Adds a surface over `rows` × `columns` quads from its points: `(row, column)`, both 0 to 1, to position and pattern.
    /// Normals look to the side from which rows (down) and columns (right) are seen as named.
    pub(crate) fn sheet(&mut self, rows: usize, columns: usize, point: impl Fn(f32, f32) -> (Vec3, [f32; 2])) {
        let first = self.vertices.len() as u32;
        let part = |index: usize, count: usize| index as f32 / count as f32;
        for row in 0..=rows {
            for column in 0..=columns {
                let (down, right) = (part(row, rows), part(column, columns));
                let (position, at) = point(down, right);
                let (above, below) = ((down - 0.02).max(0.0), (down + 0.02).min(1.0));
                let vertical = sub(point(below, right).0, point(above, right).0);
                let (before, after) = ((right - 0.02).max(0.0), (right + 0.02).min(1.0));
                let horizontal = sub(point(down, after).0, point(down, before).0);
                self.vertices.push(SolidVertex { position, normal: unit(cross(vertical, horizontal)), at });
            }
        }
        let width = columns as u32 + 1;
        for row in 0..rows as u32 {
            for column in 0..columns as u32 {
                let a = first + row * width + column;
                self.triangles.extend([[a, a + width, a + 1], [a + 1, a + width, a + width + 1]]);
            }
        }
    }

    /// Adds a tube along points; the pattern is metres along and part of the way round.
    pub(crate) fn tube(&mut self, points: &[Vec3], radius: impl Fn(f32) -> f32, around: u32, closed: bool) {
        let first = self.vertices.len() as u32;
        let count = points.len();
        let last = count - 1;
        let mut grown = 0.0;
        for (index, &point) in points.iter().enumerate() {
            let (before, after) = if closed {
                (points[(index + last) % count], points[(index + 1) % count])
            } else {
                (points[index.saturating_sub(1)], points[(index + 1).min(last)])
            };
            let way = unit(sub(after, before));
            let side = unit(cross(way, if way[1].abs() < 0.8 { [0.0, 1.0, 0.0] } else { [1.0, 0.0, 0.0] }));
            let other = cross(way, side);
            let thickness = radius(index as f32 / last as f32);
            for corner in 0..=around {
                let (sin, cos) = libm::sincosf(corner as f32 / around as f32 * std::f32::consts::TAU);
                let normal = add(scaled(side, cos), scaled(other, sin));
                let at = [grown, corner as f32 / around as f32];
                self.vertices.push(SolidVertex { position: add(point, scaled(normal, thickness)), normal, at });
            }
            let step = sub(points[(index + 1) % count], point);
            grown += step.iter().map(|axis| axis * axis).sum::<f32>().sqrt();
        }
        let spans = if closed { count } else { last };
        for index in 0..spans as u32 {
            for corner in 0..around {
                let a = first + index * (around + 1) + corner;
                let c = first + (index + 1) % count as u32 * (around + 1) + corner;
                self.triangles.extend([[a, a + 1, c], [a + 1, c + 1, c]]);
            }
        }
    }

    /// Adds a ball.
    pub(crate) fn ball(&mut self, centre: Vec3, radius: f32, round: usize) {
        self.sheet(round / 2, round, |down, right| {
            let (sin, cos) = libm::sincosf(down * std::f32::consts::PI);
            let (side, ahead) = libm::sincosf(right * std::f32::consts::TAU);
            (add(centre, scaled([sin * side, cos, sin * ahead], radius)), [right, down])
        });
        let first = self.vertices.len() - (round / 2 + 1) * (round + 1);
        for vertex in &mut self.vertices[first..] {
            vertex.normal = unit(sub(vertex.position, centre));
        }
    }
}
