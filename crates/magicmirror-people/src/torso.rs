//! Neck, shoulders and chest as long hair and collars meet them.

use crate::vector::Vec3;

/// Depths of the front and of the back of the body, over a grid that looks at it from the front.
pub(crate) struct Torso {
    /// `[front, back]` of each cell; front before back means nothing is there.
    depths: Vec<[f32; 2]>,
}

const CELL: f32 = 0.012;
const COLUMNS: usize = 48;
const ROWS: usize = 32;
/// Upper left corner of the grid.
const LEFT: f32 = -(COLUMNS as f32) * CELL / 2.0;
const TOP: f32 = -0.05;

impl Torso {
    /// Measures all triangles whose corners lie below the head, as `below` says of each vertex.
    pub(crate) fn new(positions: &[Vec3], triangles: &[[u32; 3]], below: impl Fn(usize) -> bool) -> Self {
        let mut depths = vec![[f32::MIN, f32::MAX]; COLUMNS * ROWS];
        for triangle in triangles.iter().filter(|triangle| triangle.iter().all(|&index| below(index as usize))) {
            let corners = triangle.map(|index| positions[index as usize]);
            let cells = corners.map(|[x, y, _]| [(x - LEFT) / CELL - 0.5, (TOP - y) / CELL - 0.5]);
            let span = |axis: usize, limit: usize| {
                let low = cells.iter().map(|cell| cell[axis]).fold(f32::MAX, f32::min).ceil().max(0.0) as usize;
                let high = cells.iter().map(|cell| cell[axis]).fold(f32::MIN, f32::max).floor();
                low..((high + 1.0).max(0.0) as usize).min(limit)
            };
            for row in span(1, ROWS) {
                for column in span(0, COLUMNS) {
                    if let Some(depth) = depth_at(cells, corners, [column as f32, row as f32]) {
                        let cell = &mut depths[row * COLUMNS + column];
                        *cell = [cell[0].max(depth), cell[1].min(depth)];
                    }
                }
            }
        }
        Self { depths }
    }

    /// Front and back at a place, if the body is there.
    pub(crate) fn depths(&self, x: f32, y: f32) -> Option<[f32; 2]> {
        let (column, row) = ((x - LEFT) / CELL, (TOP - y) / CELL);
        if column < 0.0 || row < 0.0 || column >= COLUMNS as f32 || row >= ROWS as f32 {
            return None;
        }
        let [front, back] = self.depths[row as usize * COLUMNS + column as usize];
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

/// Depth of the plane through `corners` where the cell lies inside the triangle.
fn depth_at(cells: [[f32; 2]; 3], corners: [Vec3; 3], at: [f32; 2]) -> Option<f32> {
    let side = |a: [f32; 2], b: [f32; 2]| (b[0] - a[0]) * (at[1] - a[1]) - (b[1] - a[1]) * (at[0] - a[0]);
    let weights = [side(cells[1], cells[2]), side(cells[2], cells[0]), side(cells[0], cells[1])];
    let area = weights[0] + weights[1] + weights[2];
    let inside = area != 0.0 && weights.iter().all(|weight| weight / area >= -1e-3);
    inside.then(|| (0..3).map(|corner| weights[corner] / area * corners[corner][2]).sum())
}
