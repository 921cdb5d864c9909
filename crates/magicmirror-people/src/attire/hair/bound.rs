//! Hair that is bound: buns, tails, braids.

use rand::Rng;
use rand_chacha::ChaCha8Rng;

use super::Grower;
use super::strips::{HairMesh, smooth};
use super::style::Bound;
use crate::space::{Vec3, add, between, cross, scaled, sub, unit};

impl Grower<'_> {
    /// Where bound hair comes together: one place, or one on each side.
    fn binding(&self, x: f32) -> Vec3 {
        let skull = &self.head.skull;
        let behind = |polar: f32| {
            skull.point(std::f32::consts::PI, if self.covered { 1.45 } else { polar }, 0.013 * self.head.size)
        };
        match self.look.bound {
            Some(Bound::Bun) => behind(0.25),
            Some(Bound::Braids) => {
                let side = if x > 0.0 { 1.0 } else { -1.0 };
                skull.point(side * 2.15, 1.72, 0.012 * self.head.size)
            }
            _ => behind(0.75),
        }
    }

    /// A lock from its root over the scalp to the binding.
    pub(super) fn gathered(&self, azimuth: f32, polar: f32, lift: f32) -> Vec<Vec3> {
        let skull = &self.head.skull;
        let root = skull.point(azimuth, polar, 0.0004);
        let end = self.binding(root[0]);
        (0..=8)
            .map(|index| {
                let part = index as f32 / 8.0;
                let straight = between(root, end, part);
                let from_centre = sub(straight, skull.centre);
                let (azimuth, polar) = skull.angles(from_centre);
                skull.point(azimuth, polar, 0.0004 + lift * (part * 4.0).min(1.0) + 0.006 * part)
            })
            .collect()
    }

    pub(super) fn bun(&self, mesh: &mut HairMesh) {
        let base = self.binding(0.0);
        let outward = unit(sub(base, self.head.skull.centre));
        let radius = 0.034 * self.head.size;
        mesh.ball(add(base, scaled(outward, radius * 0.75)), scaled(outward, radius * 0.85), radius, 0.85, 900);
    }

    pub(super) fn ponytail(&self, mesh: &mut HairMesh, random: &mut ChaCha8Rng) {
        let base = self.binding(0.0);
        let side = if random.random::<bool>() { 1.0 } else { -1.0 };
        mesh.ball(add(base, [0.0, 0.0, -0.006]), [0.0, 0.004, -0.012], 0.016 * self.head.size, 1.0, 901);
        for index in 0..26 {
            let mut vary = |spread: f32| spread * (2.0 * random.random::<f32>() - 1.0);
            let (across, depth) = (vary(0.016), vary(0.012));
            let path = [
                add(base, [0.3 * across, 0.3 * depth, -0.012]),
                add(base, [across + 0.012 * side, 0.012 + depth, -0.045]),
                add(base, [1.5 * across + 0.030 * side, -0.05, -0.055 + depth]),
                add(base, [1.6 * across + 0.055 * side, -0.12, -0.035 + depth]),
                add(base, [1.3 * across + 0.075 * side, -0.20 + vary(0.015), -0.01 + depth]),
            ];
            let points: Vec<_> = smooth(&path, 3)
                .into_iter()
                .map(|point| self.head.torso.keep_out(point, 0.014, point[2] > -0.06))
                .collect();
            let middle = add(base, [0.04 * side, -0.08, -0.03]);
            mesh.ribbon(
                &points,
                |point| [middle[0], point[1], middle[2]],
                |along| 0.009 * (1.0 - 0.6 * along * along),
                [0.8, 1.0],
                910 + index,
            );
        }
    }

    pub(super) fn braids(&self, mesh: &mut HairMesh) {
        for side in [-1.0, 1.0] {
            let base = self.binding(side);
            let path = [
                base,
                add(base, [0.016 * side, -0.04, 0.005]),
                [side * (self.head.half_width + 0.012), base[1] - 0.10, base[2] + 0.03],
                [side * (self.head.half_width + 0.006), base[1] - 0.17, base[2] + 0.09],
                [side * (self.head.half_width - 0.004), base[1] - 0.26, base[2] + 0.11],
            ];
            let points: Vec<_> =
                smooth(&path, 5).into_iter().map(|point| self.head.torso.keep_out(point, 0.022, true)).collect();
            for (index, pair) in points.windows(2).enumerate() {
                let axis = sub(pair[1], pair[0]);
                let across = unit(cross(axis, [0.0, 0.0, 1.0]));
                let swing = if index % 2 == 0 { 1.0 } else { -1.0 };
                let centre = add(between(pair[0], pair[1], 0.5), scaled(across, 0.0045 * swing));
                let slanted = add(scaled(unit(axis), 0.017), scaled(across, -0.007 * swing));
                mesh.ball(centre, slanted, 0.0115 * self.head.size, 0.15, 950 + index as u32);
            }
        }
    }
}
