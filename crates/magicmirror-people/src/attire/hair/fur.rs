//! Fur: shells over the scalp, one above the other, each with fewer hairs than the one below.

use super::strips::{HairMesh, HairVertex, hash};
use super::{Grower, HairStyle};
use crate::space::{add, scaled, unit};

const COLUMNS: u32 = 44;
const ROWS: u32 = 20;
/// Polar angle of the last row: below the hair line everywhere.
const LOWEST: f32 = 2.25;

impl Grower<'_> {
    /// Thickness at a place in metres: below locks, fur fills the space up to the skin.
    fn thickness(&self, azimuth: f32, polar: f32) -> f32 {
        let look = &self.look;
        let thickness = if look.locks == 0 || look.bound.is_some() {
            look.fur
        } else {
            1.1 * (look.side_lift + (look.lift - look.side_lift) * self.height(azimuth, polar))
        };
        thickness * self.head.size
    }

    /// Adds the shells. The texture is the place on an equal-area map of the scalp, in metres.
    pub(super) fn fur(&self, mesh: &mut HairMesh, seed: u32) {
        let layers: u32 = match self.style {
            HairStyle::Afro => 6,
            HairStyle::Buzz | HairStyle::Fuzz => 3,
            _ => 1,
        };
        let skull = &self.head.skull;
        let upright = if self.style == HairStyle::Afro { 1.5 } else { 0.4 };
        let step = |index: u32, count: u32, range: f32| range * index as f32 / count as f32;
        for row in 0..=ROWS {
            let polar = 0.02 + step(row, ROWS, LOWEST);
            for column in 0..=COLUMNS {
                let azimuth = step(column, COLUMNS, std::f32::consts::TAU);
                let bump = 1.0 + self.look.fur_bumps * (hash(seed ^ row, column % COLUMNS) - 0.5);
                let density = self.density(azimuth, polar);
                // Thin at the hair line.
                let thickness = self.thickness(azimuth, polar) * bump * (0.1 + 0.9 * density * density);
                let (skin, normal) = (skull.point(azimuth, polar, 0.0), skull.normal(azimuth, polar));
                let down = skull.away_from_whorl(azimuth, polar);
                let (sin, cos) = libm::sincosf(azimuth);
                let out = 0.18 * libm::sinf(polar / 2.0);
                for layer in 0..layers {
                    let level = (layer as f32 + 0.5) / layers as f32;
                    mesh.vertices.push(HairVertex {
                        position: add(skin, scaled(normal, 0.0006 + thickness * level)),
                        normal,
                        tangent: unit(add(down, scaled(normal, upright))),
                        texture: [out * sin, out * cos],
                        along: level,
                        turns: 0.0,
                        density: density * self.look.thickness,
                        openness: 0.4 + 0.6 * level,
                        key: 0,
                    });
                }
            }
        }
        let index = |row: u32, column: u32, layer: u32| (row * (COLUMNS + 1) + column) * layers + layer;
        for layer in 0..layers {
            for (row, column) in (0..ROWS).flat_map(|row| (0..COLUMNS).map(move |column| (row, column))) {
                let [a, b] = [index(row, column, layer), index(row, column + 1, layer)];
                let [c, d] = [index(row + 1, column, layer), index(row + 1, column + 1, layer)];
                if [a, b, c, d].iter().any(|&corner| mesh.vertices[corner as usize].density > 0.02) {
                    mesh.triangles.extend([[a, c, b], [b, c, d]]);
                }
            }
        }
    }
}
