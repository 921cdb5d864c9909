//! Glasses and earrings.

use super::fitting::Fitting;
use super::solid::Solid;
use crate::person::{Earrings, Frame, Glasses};
use crate::space::{Vec3, add, between};

/// Glasses on one face.
pub(crate) struct GlassesShape {
    pub(crate) frame: Solid,
    pub(crate) lenses: Solid,
}

impl GlassesShape {
    /// Makes the glasses.
    pub(crate) fn new(glasses: &Glasses, face: &Fitting) -> Self {
        let mut shape = Self { frame: Solid::default(), lenses: Solid::default() };
        let apart = face.eyes[1][0] - face.eyes[0][0];
        let round = glasses.frame == Frame::Round;
        let thick = if glasses.thick { 0.0023 } else { 0.0011 } * face.size;
        let (wide, high) = if round { (0.365 * apart, 0.345 * apart) } else { (0.42 * apart, 0.28 * apart) };
        let front = (face.eyes[0][2].max(face.eyes[1][2]) + 0.013).max(face.bridge[2] - 0.004);
        let outline = |eye: Vec3, side: f32, angle: f32, part: f32| {
            let (sin, cos) = libm::sincosf(angle);
            // A superellipse: the fourth power makes a rectangle with round corners.
            let (across, up) = if round { (cos, sin) } else { (root(cos), root(sin)) };
            let x = eye[0] + side * 0.03 * apart + wide * across * part;
            let y = eye[1] - 0.05 * apart + high * up * part;
            // The front is a little bowed round the face and leans in at the cheeks.
            let away = x - face.bridge[0];
            [x, y, front - 2.2 * away * away - 0.10 * (eye[1] - y)]
        };
        for (eye, side) in face.eyes.into_iter().zip([-1.0, 1.0]) {
            let angle = |index: usize| index as f32 / 28.0 * std::f32::consts::TAU;
            let rim: Vec<Vec3> = (0..28).map(|index| outline(eye, side, angle(index), 1.0)).collect();
            shape.frame.tube(&rim, |_| thick, 6, true);
            shape.lenses.sheet(4, 28, |down, right| {
                let point = outline(eye, side, (1.0 - right) * std::f32::consts::TAU, 0.05 + 0.93 * down);
                (point, [(point[0] - eye[0]) / wide, (point[1] - eye[1]) / high])
            });
        }
        let inner = |side: usize, sign: f32| outline(face.eyes[side], sign, if sign < 0.0 { 0.35 } else { 2.79 }, 1.0);
        let (left, right) = (inner(0, -1.0), inner(1, 1.0));
        let arch = add(between(left, right, 0.5), [0.0, 0.003, 0.0025]);
        shape.frame.tube(
            &[left, between(left, arch, 0.7), arch, between(right, arch, 0.7), right],
            |_| thick * 0.95,
            6,
            false,
        );
        for (side, sign) in [(0, -1.0), (1, 1.0)] {
            let hinge = outline(face.eyes[side], sign, if sign < 0.0 { 2.75 } else { 0.39 }, 1.02);
            let ear = add(face.ears[side], [sign * 0.003, 0.003, 0.0]);
            // From the hinge back along the temple to the ear, then down behind it.
            let mut path: Vec<Vec3> =
                (0..=5).map(|step| face.skull.keep_out(between(hinge, ear, step as f32 / 5.0), 0.003)).collect();
            path.push(add(ear, [-sign * 0.003, -0.022, -0.018]));
            shape.frame.tube(&path, |_| thick * 1.1, 6, false);
        }
        shape
    }
}

/// The square root with the sign kept.
fn root(value: f32) -> f32 {
    value.abs().sqrt().copysign(value)
}

/// Makes both earrings.
pub(crate) fn earrings(kind: Earrings, face: &Fitting) -> Solid {
    let size = face.size;
    let mut rings = Solid::default();
    for (lobe, side) in face.lobes.into_iter().zip([-1.0, 1.0]) {
        match kind {
            Earrings::Studs => rings.ball(add(lobe, [side * 0.002, 0.004, 0.003]), 0.0032 * size, 8),
            Earrings::Hoops => {
                let radius = 0.013 * size;
                let centre = add(lobe, [side * 0.002, 0.003 - radius, 0.0]);
                let points: Vec<Vec3> = (0..20)
                    .map(|index| {
                        let (sin, cos) = libm::sincosf(index as f32 / 20.0 * std::f32::consts::TAU);
                        add(centre, [side * 0.25 * radius * sin, radius * cos, radius * sin])
                    })
                    .collect();
                rings.tube(&points, |_| 0.0011 * size, 5, true);
            }
        }
    }
    rings
}
