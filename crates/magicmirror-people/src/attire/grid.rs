//! Measures of a surface on a grid of two coordinates, made by drawing its triangles.

/// A field over columns and rows; places are counted in cells, cell centres at whole numbers.
pub(crate) struct Grid {
    columns: usize,
    rows: usize,
    /// Whether the last column borders on the first.
    round: bool,
    values: Vec<f32>,
}

impl Grid {
    /// A grid where nothing is measured yet: `empty` everywhere.
    pub(crate) fn new(columns: usize, rows: usize, round: bool, empty: f32) -> Self {
        Self { columns, rows, round, values: vec![empty; columns * rows] }
    }

    /// Draws a triangle: `enter` gets the cell's value and the weights of the corners.
    pub(crate) fn draw(&mut self, corners: [[f32; 2]; 3], mut enter: impl FnMut(&mut f32, [f32; 3])) {
        let side =
            |a: [f32; 2], b: [f32; 2], at: [f32; 2]| (b[0] - a[0]) * (at[1] - a[1]) - (b[1] - a[1]) * (at[0] - a[0]);
        let area = side(corners[0], corners[1], corners[2]);
        if area == 0.0 {
            return;
        }
        let span = |axis: usize| {
            let low = corners.iter().map(|corner| corner[axis]).fold(f32::MAX, f32::min).ceil();
            let high = corners.iter().map(|corner| corner[axis]).fold(f32::MIN, f32::max).floor();
            low as i32..=high as i32
        };
        for row in span(1) {
            for column in span(0) {
                let at = [column as f32, row as f32];
                let weights = [
                    side(corners[1], corners[2], at),
                    side(corners[2], corners[0], at),
                    side(corners[0], corners[1], at),
                ]
                .map(|weight| weight / area);
                if weights.iter().all(|&weight| weight >= -1e-3)
                    && let Some(index) = self.index(column, row)
                {
                    enter(&mut self.values[index], weights);
                }
            }
        }
    }

    /// The value at a place, between the four cells around it; the nearest where the grid ends.
    pub(crate) fn at(&self, column: f32, row: f32) -> f32 {
        let (left, above) = (column.floor(), row.floor());
        let (right, down) = (column - left, row - above);
        let value = |dx: i32, dy: i32| {
            let row = (above as i32 + dy).clamp(0, self.rows as i32 - 1);
            let column = left as i32 + dx;
            let column = if self.round { column } else { column.clamp(0, self.columns as i32 - 1) };
            self.index(column, row).map_or(0.0, |index| self.values[index])
        };
        let line = |dy: i32| value(0, dy) + (value(1, dy) - value(0, dy)) * right;
        line(0) + (line(1) - line(0)) * down
    }

    /// The value of the cell that a place lies in, if it lies in the grid.
    pub(crate) fn cell(&self, column: f32, row: f32) -> Option<f32> {
        self.index((column + 0.5).floor() as i32, (row + 0.5).floor() as i32).map(|index| self.values[index])
    }

    /// Gives cells that are still `empty` the value of the nearest measured cell above or below.
    pub(crate) fn fill(&mut self, empty: f32) {
        for column in 0..self.columns {
            let rows = (0..self.rows).chain((0..self.rows).rev());
            let mut last = empty;
            for index in rows.map(|row| row * self.columns + column) {
                if self.values[index].to_bits() == empty.to_bits() {
                    self.values[index] = last;
                }
                last = self.values[index];
            }
        }
    }

    fn index(&self, column: i32, row: i32) -> Option<usize> {
        let column = if self.round { column.rem_euclid(self.columns as i32) } else { column };
        let inside = (0..self.columns as i32).contains(&column) && (0..self.rows as i32).contains(&row);
        inside.then_some(row as usize * self.columns + column as usize)
    }
}

/// Brings an azimuth to within half a turn of another.
pub(crate) fn near(azimuth: f32, other: f32) -> f32 {
    let turn = (azimuth - other) / std::f32::consts::TAU;
    other + (turn - (turn + 0.5).floor()) * std::f32::consts::TAU
}
