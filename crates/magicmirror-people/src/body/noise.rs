//! Noise that is the same on every machine.

use crate::space::{Vec3, floor};

/// A number from 0 to 1 for each point of a lattice.
pub(super) fn lattice(seed: u32, x: i32, y: i32, z: i32) -> f32 {
    let mut hash = seed
        ^ (x as u32).wrapping_mul(0x9E37_79B1)
        ^ (y as u32).wrapping_mul(0x85EB_CA77)
        ^ (z as u32).wrapping_mul(0xC2B2_AE3D);
    hash = (hash ^ (hash >> 15)).wrapping_mul(0x2C1B_3C6D);
    hash = (hash ^ (hash >> 12)).wrapping_mul(0x297A_2D39);
    (hash ^ (hash >> 15)) as f32 / u32::MAX as f32
}

/// Smooth noise around 0, within ±1, whose bumps are 1 wide.
pub(super) fn smooth(seed: u32, place: Vec3) -> f32 {
    let corner = place.map(floor);
    let share = [0, 1, 2].map(|axis| {
        let t = place[axis] - corner[axis] as f32;
        t * t * (3.0 - 2.0 * t)
    });
    let [x, y, z] = corner;
    let line = |dy: i32, dz: i32| {
        let (a, b) = (lattice(seed, x, y + dy, z + dz), lattice(seed, x + 1, y + dy, z + dz));
        a + (b - a) * share[0]
    };
    let face = |dz: i32| {
        let (a, b) = (line(0, dz), line(1, dz));
        a + (b - a) * share[1]
    };
    let (a, b) = (face(0), face(1));
    (a + (b - a) * share[2]) * 2.0 - 1.0
}
