//! Hats: on the skull, over pressed hair.

use super::fitting::Fitting;
use super::skull::Skull;
use super::solid::Solid;
use crate::scene::HatKind;
use crate::space::{Vec3, add, scaled, sub, unit};

/// A hat on one head: the parts in its own colour, and those in a second one.
pub(crate) struct HatShape {
    pub(crate) main: Solid,
    pub(crate) trim: Solid,
}

/// Where a hat ends on the head: a plane that falls to the back.
#[derive(Clone, Copy)]
pub(crate) struct Rim {
    /// Height at the depth of the head's centre.
    height: f32,
    /// How much it falls towards the back.
    slope: f32,
    centre: Vec3,
}

impl Rim {
    /// The rim of a hat above the brows; `None` for hats that stand on the hair.
    pub(crate) fn of(kind: HatKind, head: &Fitting) -> Option<Self> {
        let (size, centre) = (head.size, head.skull.centre);
        let (above, slope) = match kind {
            HatKind::Beanie => (0.022, 0.22),
            HatKind::Cap => (0.028, 0.20),
            HatKind::SunHat => (0.030, 0.16),
            HatKind::PartyHat => return None,
        };
        let front = 0.085 * size;
        Some(Self { height: head.brows + above * size - slope * front, slope, centre })
    }

    /// Metres that a point lies above it.
    pub(crate) fn above(&self, point: Vec3) -> f32 {
        point[1] - self.height - self.slope * (point[2] - self.centre[2])
    }

    /// Where the skin meets it.
    fn polar(&self, skull: &Skull, azimuth: f32) -> f32 {
        let (mut inside, mut outside) = (0.1, 2.4);
        for _ in 0..14 {
            let middle = f32::midpoint(inside, outside);
            if self.above(skull.point(azimuth, middle, 0.0)) > 0.0 { inside = middle } else { outside = middle }
        }
        inside
    }

    /// Presses a point of hair under the hat, and lets it swell below.
    pub(crate) fn press(&self, skull: &Skull, point: Vec3) -> Vec3 {
        const UNDER: f32 = 0.004;
        let from_centre = sub(point, skull.centre);
        let distance = from_centre.iter().map(|axis| axis * axis).sum::<f32>().sqrt();
        let (azimuth, polar) = skull.angles(from_centre);
        let skin = skull.radius(azimuth, polar);
        let most = skin + UNDER + (-self.above(point)).max(0.0) * 0.9;
        if distance > most { add(skull.centre, scaled(from_centre, most / distance)) } else { point }
    }
}

impl HatShape {
    /// Makes the hat. `hair` is the height of the hair on top, for hats that stand on it.
    pub(crate) fn new(kind: HatKind, head: &Fitting, hair: f32) -> Self {
        let (skull, size) = (&head.skull, head.size);
        let mut hat = Self { main: Solid::default(), trim: Solid::default() };
        let Some(rim) = Rim::of(kind, head) else {
            hat.party(skull, size, hair);
            return hat;
        };
        // Rims by column, so that the sheets below need not search again.
        let rims: Vec<f32> =
            (0..=COLUMNS).map(|column| rim.polar(skull, turn(column as f32 / COLUMNS as f32))).collect();
        let rim_at = |right: f32| {
            let place = right * COLUMNS as f32;
            let index = (place as usize).min(COLUMNS - 1);
            rims[index] + (rims[index + 1] - rims[index]) * (place - index as f32)
        };
        match kind {
            HatKind::Beanie => hat.beanie(skull, size, rim_at),
            HatKind::Cap => hat.cap(skull, size, rim_at),
            _ => hat.sun_hat(skull, size, rim_at),
        }
        hat
    }

    fn beanie(&mut self, skull: &Skull, size: f32, rim: impl Fn(f32) -> f32) {
        self.main.sheet(10, COLUMNS, |down, right| {
            let polar = 0.02 + (rim(right) - 0.12) * down;
            let slack = 0.016 * (1.0 - down) * (1.0 - down);
            (skull.point(turn(right), polar, (0.008 + slack) * size), [turn(right) * 0.1, polar * 0.1])
        });
        // The turned-up edge.
        self.trim.sheet(4, COLUMNS, |down, right| {
            let polar = rim(right) - 0.36 + 0.36 * down;
            let bulge = 0.0125 + 0.003 * libm::sinf(down * std::f32::consts::PI);
            (skull.point(turn(right), polar, bulge * size), [turn(right) * 0.1, polar * 0.1])
        });
    }

    fn cap(&mut self, skull: &Skull, size: f32, rim: impl Fn(f32) -> f32) {
        self.main.sheet(10, COLUMNS, |down, right| {
            let polar = 0.02 + (rim(right) - 0.02) * down;
            let azimuth = turn(right);
            let stiff = 0.012 * (0.5 + 0.5 * libm::cosf(azimuth)) * libm::sinf(down * std::f32::consts::PI);
            (skull.point(azimuth, polar, (0.009 + stiff) * size), [azimuth / std::f32::consts::TAU * 6.0, down])
        });
        self.main.ball(skull.point(0.0, 0.0, 0.011 * size), 0.006 * size, 8);
        // The peak, a curved tongue from the front of the rim.
        self.trim.sheet(6, 20, |down, right| {
            let across = 2.0 * right - 1.0;
            let azimuth = 1.05 * across;
            let root = skull.point(azimuth, rim(0.5 + azimuth / std::f32::consts::TAU), 0.0095 * size);
            let reach = 0.076 * size * (1.0 - across * across * across * across) * down;
            let arch = -0.020 * across * across * down - 0.28 * reach;
            (add(root, [0.0, arch * size.min(1.2), reach]), [across, down])
        });
    }

    fn sun_hat(&mut self, skull: &Skull, size: f32, rim: impl Fn(f32) -> f32) {
        self.main.sheet(9, COLUMNS, |down, right| {
            let polar = 0.02 + (rim(right) - 0.02) * down;
            (skull.point(turn(right), polar, 0.012 * size), [turn(right) * 0.1, polar * 0.1])
        });
        self.main.sheet(6, COLUMNS, |down, right| {
            let azimuth = turn(right);
            let edge = skull.point(azimuth, rim(right), 0.011 * size);
            let outward = sub(edge, skull.centre);
            let level = unit([outward[0], 0.0, outward[2]]);
            let width = 0.085 * size * down;
            let wave = 0.006 * libm::sinf(3.0 * azimuth + 0.7) * down;
            let fall = -0.30 * width * down + wave + 0.02 * size * down * libm::cosf(azimuth).max(0.0);
            (add(edge, add(scaled(level, width), [0.0, fall, 0.0])), [azimuth * 0.1, 0.2 + width])
        });
        self.trim.sheet(2, COLUMNS, |down, right| {
            let polar = rim(right) - 0.30 + 0.28 * down;
            (skull.point(turn(right), polar, 0.0135 * size), [turn(right) * 0.1, down])
        });
    }

    fn party(&mut self, skull: &Skull, size: f32, hair: f32) {
        // On the top of the head, which is in front of the whorl.
        let top = skull.point(0.0, 0.38, 0.0);
        let up = unit(sub(top, skull.centre));
        let foot = add(top, scaled(up, hair - 0.022 * size));
        let apex = add(top, scaled(up, hair + 0.135 * size));
        let radius = 0.056 * size;
        let ring = |right: f32| {
            let (sin, cos) = libm::sincosf(turn(right));
            let ahead = unit([0.0, -up[2], up[1]]);
            add(scaled([1.0, 0.0, 0.0], radius * sin), scaled(ahead, radius * cos))
        };
        self.main.sheet(8, 24, |down, right| {
            let axis = sub(foot, apex);
            (
                add(apex, add(scaled(axis, down), scaled(ring(right), down))),
                [turn(right) * radius * down, down * 0.16 * size],
            )
        });
        self.trim.ball(apex, 0.014 * size, 10);
    }
}

const COLUMNS: usize = 40;

/// Azimuth of a part of the way round, from the back over the left of the picture... to the back.
fn turn(right: f32) -> f32 {
    (right - 0.5) * std::f32::consts::TAU
}
