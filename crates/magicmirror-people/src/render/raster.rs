//! Triangles to samples.

use crate::scene::{Camera, Size};
use crate::space::Vec3;

/// Nearest distance that is drawn, in metres.
const NEAR: f32 = 0.03;

/// A camera with a grid of samples.
#[derive(Debug, Clone, Copy)]
pub(super) struct View {
    /// The viewer's eye.
    pub(super) eye: Vec3,
    /// Samples per metre at a distance of one metre.
    pub(super) focal: f32,
    /// Samples across and down.
    pub(super) size: Size,
}

impl View {
    pub(super) fn new(camera: &Camera, size: Size) -> Self {
        let focal = size.height as f32 / 2.0 / libm::tanf(camera.field_of_view / 2.0);
        Self { eye: [camera.right, camera.up, camera.distance], focal, size }
    }

    /// Column and row (centres of samples at halves), and one over the distance.
    pub(super) fn project(&self, point: Vec3) -> Option<Vec3> {
        let distance = self.eye[2] - point[2];
        if distance < NEAR {
            return None;
        }
        let near = 1.0 / distance;
        let column = (point[0] - self.eye[0]) * self.focal * near + self.size.width as f32 / 2.0;
        let row = (self.eye[1] - point[1]) * self.focal * near + self.size.height as f32 / 2.0;
        Some([column, row, near])
    }
}

/// A projected triangle: weights of its vertices and nearness as linear functions of column and row.
pub(super) struct Plane {
    edges: [Vec3; 3],
    /// One over the distance of each vertex.
    near: Vec3,
    columns: [usize; 2],
    rows: [usize; 2],
    /// Whether the outside is seen.
    pub(super) outside: bool,
}

impl Plane {
    /// None for a triangle that is not seen.
    pub(super) fn new(corners: [Vec3; 3], size: Size) -> Option<Self> {
        let [a, b, c] = corners;
        let area = (b[0] - a[0]) * (c[1] - a[1]) - (c[0] - a[0]) * (b[1] - a[1]);
        if area.abs() < 1e-9 {
            return None;
        }
        let bounds = |axis: usize, limit: usize| {
            let (low, high) = (a[axis].min(b[axis]).min(c[axis]), a[axis].max(b[axis]).max(c[axis]));
            let first = ceiling(low - 0.5);
            // One past the last sample: `as` rounds towards zero, and makes negative numbers zero.
            let last = ((high + 0.5) as usize).min(limit);
            (first < last).then_some([first, last])
        };
        let (columns, rows) = (bounds(0, size.width)?, bounds(1, size.height)?);
        let edge = |p: Vec3, q: Vec3| {
            let (across, down) = ((p[1] - q[1]) / area, (q[0] - p[0]) / area);
            [across, down, -(across * p[0] + down * p[1])]
        };
        Some(Self {
            edges: [edge(b, c), edge(c, a), edge(a, b)],
            near: [a[2], b[2], c[2]],
            columns,
            rows,
            outside: area < 0.0,
        })
    }

    /// Calls `visit` with column, row, weights on the screen and nearness of every sample inside.
    pub(super) fn each(&self, mut visit: impl FnMut(usize, usize, f32)) {
        let slope = |axis: usize| {
            self.edges[0][axis] * self.near[0] + self.edges[1][axis] * self.near[1] + self.edges[2][axis] * self.near[2]
        };
        let nearness = [slope(0), slope(1), slope(2)];
        for row in self.rows[0]..self.rows[1] {
            let y = row as f32 + 0.5;
            let at = self.edges.map(|edge| edge[1] * y + edge[2]);
            // The span of the row that is on the inner side of all edges.
            let (mut first, mut last) = (self.columns[0] as f32 + 0.5, self.columns[1] as f32 - 0.5);
            for (edge, at) in self.edges.iter().zip(at) {
                let across = edge[0];
                if across > 1e-12 {
                    first = first.max(-at / across);
                } else if across < -1e-12 {
                    last = last.min(-at / across);
                } else if at < 0.0 {
                    last = -1.0;
                }
            }
            if last < first {
                continue;
            }
            let near = nearness[1] * y + nearness[2];
            let first = ceiling(first - 0.5);
            for column in first..self.columns[1] {
                let place = column as f32 + 0.5;
                if place > last {
                    break;
                }
                visit(column, row, nearness[0] * place + near);
            }
        }
    }

    /// Weights of the vertices at a place of the picture, corrected for perspective; kept inside the triangle.
    pub(super) fn weights(&self, column: f32, row: f32) -> Vec3 {
        let raw = [0, 1, 2].map(|corner| {
            let edge = self.edges[corner];
            (edge[0] * column + edge[1] * row + edge[2]).max(0.0) * self.near[corner]
        });
        let sum = raw[0] + raw[1] + raw[2];
        if sum > 0.0 { raw.map(|weight| weight / sum) } else { [1.0 / 3.0; 3] }
    }
}

/// The next whole number, 0 for what is below: a fraction of the time of `f32::ceil`, which is a call on old processors.
fn ceiling(value: f32) -> usize {
    let below = value as usize;
    below + usize::from((below as f32) < value)
}
