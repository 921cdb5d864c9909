//! Ribbons and shells that hair is drawn with.

use crate::space::{Vec3, add, between, cross, dot, scaled, sub, unit};

/// A corner of hair at rest.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct HairVertex {
    pub(crate) position: Vec3,
    /// Outward.
    pub(crate) normal: Vec3,
    /// Along the strands, root to tip.
    pub(crate) tangent: Vec3,
    /// Place in the pattern: across a ribbon (-1 to 1) and along it, or on the scalp.
    pub(crate) texture: [f32; 2],
    /// From root (0) to tip (1).
    pub(crate) along: f32,
    /// Curls along the whole ribbon; 0 for straight strands.
    pub(crate) turns: f32,
    /// How thick hairs of fur stand, 0 to 1.
    pub(crate) density: f32,
    /// How open to light, 0 to 1.
    pub(crate) openness: f32,
    /// Number of the ribbon, for its pattern.
    pub(crate) key: u32,
}

/// Triangles of hair.
#[derive(Debug, Clone, Default)]
pub(crate) struct HairMesh {
    pub(crate) vertices: Vec<HairVertex>,
    pub(crate) triangles: Vec<[u32; 3]>,
}

impl HairMesh {
    /// Adds a ribbon along `points`, facing away from `inside`; `half_width` by part of the length.
    pub(crate) fn ribbon(
        &mut self,
        points: &[Vec3],
        inside: impl Fn(Vec3) -> Vec3,
        half_width: impl Fn(f32) -> f32,
        openness: [f32; 2],
        key: u32,
    ) {
        let first = self.vertices.len() as u32;
        let last = points.len() - 1;
        for (index, &point) in points.iter().enumerate() {
            let along = index as f32 / last as f32;
            let tangent = unit(sub(points[(index + 1).min(last)], points[index.saturating_sub(1)]));
            let outward = sub(point, inside(point));
            let normal = unit(sub(outward, scaled(tangent, dot(outward, tangent))));
            let side = cross(tangent, normal);
            for across in [-1.0, 1.0] {
                // A ribbon is a little vaulted: its edges look to the sides.
                self.vertices.push(HairVertex {
                    position: add(point, scaled(side, across * half_width(along))),
                    normal: unit(add(normal, scaled(side, 0.45 * across))),
                    tangent,
                    texture: [across, along],
                    along,
                    turns: 0.0,
                    density: 1.0,
                    openness: openness[0] + (openness[1] - openness[0]) * along,
                    key,
                });
            }
        }
        for index in 0..last as u32 {
            let [a, b, c, d] = [0, 1, 2, 3].map(|corner| first + 2 * index + corner);
            self.triangles.extend([[a, b, c], [b, d, c]]);
        }
    }

    /// Two meshes: triangles with `first` true for all vertices, and the others.
    pub(crate) fn parted(&self, first: impl Fn(&HairVertex) -> bool) -> (Self, Self) {
        let (mut ones, mut others) = (Self::default(), Self::default());
        let mut numbers = vec![[None; 2]; self.vertices.len()];
        for triangle in &self.triangles {
            let all = triangle.iter().all(|&vertex| first(&self.vertices[vertex as usize]));
            let part = if all { &mut ones } else { &mut others };
            let moved = triangle.map(|vertex| {
                *numbers[vertex as usize][usize::from(all)].get_or_insert_with(|| {
                    part.vertices.push(self.vertices[vertex as usize]);
                    part.vertices.len() as u32 - 1
                })
            });
            part.triangles.push(moved);
        }
        (ones, others)
    }

    /// Adds an ellipsoid of wound hair (a bun, a link of a braid) with `axis` as its long half axis.
    pub(crate) fn ball(&mut self, centre: Vec3, axis: Vec3, radius: f32, twist: f32, key: u32) {
        const ROUND: u32 = 10;
        const LONG: u32 = 6;
        let first = self.vertices.len() as u32;
        let up = unit(axis);
        let side = unit(cross(up, if up[1].abs() < 0.9 { [0.0, 1.0, 0.0] } else { [0.0, 0.0, 1.0] }));
        let other = cross(up, side);
        for row in 0..=LONG {
            let (sin, cos) = libm::sincosf(row as f32 / LONG as f32 * std::f32::consts::PI);
            for column in 0..=ROUND {
                let (across, ahead) = libm::sincosf(column as f32 / ROUND as f32 * std::f32::consts::TAU);
                let round = add(scaled(side, ahead), scaled(other, across));
                let turning = add(scaled(side, -across), scaled(other, ahead));
                self.vertices.push(HairVertex {
                    position: add(centre, add(scaled(axis, cos), scaled(round, radius * sin))),
                    normal: unit(add(scaled(up, cos * 0.9), scaled(round, sin))),
                    tangent: unit(add(scaled(turning, twist), scaled(up, 1.0 - twist))),
                    // Strands across, no edges: a part of a ribbon far from its ends.
                    texture: [1.5 * row as f32 / LONG as f32 - 0.75, 0.5],
                    along: 0.5,
                    turns: 0.0,
                    density: 1.0,
                    openness: 0.75 + 0.25 * sin,
                    key,
                });
            }
        }
        for row in 0..LONG {
            for column in 0..ROUND {
                let a = first + row * (ROUND + 1) + column;
                let c = a + ROUND + 1;
                self.triangles.extend([[a, a + 1, c], [a + 1, c + 1, c]]);
            }
        }
    }
}

/// Points between others, by Catmull and Rom's spline: `per` for each span.
pub(crate) fn smooth(points: &[Vec3], per: usize) -> Vec<Vec3> {
    let at = |index: i32| points[index.clamp(0, points.len() as i32 - 1) as usize];
    let mut curve = Vec::with_capacity((points.len() - 1) * per + 1);
    for index in 0..points.len() as i32 - 1 {
        let [p0, p1, p2, p3] = [-1, 0, 1, 2].map(|offset| at(index + offset));
        for part in 0..per {
            let t = part as f32 / per as f32;
            let (leave, arrive) = (scaled(sub(p2, p0), 0.5), scaled(sub(p3, p1), 0.5));
            let line = between(p1, p2, t * t * (3.0 - 2.0 * t));
            let bend = add(scaled(leave, t * (1.0 - t) * (1.0 - t)), scaled(arrive, -t * t * (1.0 - t)));
            curve.push(add(line, bend));
        }
    }
    curve.push(at(points.len() as i32 - 1));
    curve
}

/// A number from 0 to 1.
pub(crate) fn hash(key: u32, index: u32) -> f32 {
    let mut value = key.wrapping_mul(0x9E37_79B9) ^ index.wrapping_mul(0x85EB_CA6B).wrapping_add(0x27D4_EB2F);
    value = (value ^ (value >> 15)).wrapping_mul(0x2C1B_3C6D);
    value = (value ^ (value >> 12)).wrapping_mul(0x297A_2D39);
    ((value ^ (value >> 15)) >> 8) as f32 / 16_777_216.0
}
