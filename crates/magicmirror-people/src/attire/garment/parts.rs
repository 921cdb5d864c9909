//! Collars, rolls, hoods, strings and lapels.

use crate::attire::fitting::Fitting;
use crate::attire::solid::Solid;
use crate::space::{Vec3, add, scaled, unit};

/// A point of the neck at an azimuth (0: front) and height above the neckline, `lift` above the skin.
fn on_neck(body: &Fitting, azimuth: f32, above: f32, lift: f32) -> Vec3 {
    let ahead = libm::cosf(azimuth);
    let [front, side, back] = body.neckline;
    let line = side + if ahead > 0.0 { front - side } else { back - side } * ahead.abs();
    body.neck.point(azimuth, line + above * body.build, lift * body.build)
}

/// A shirt's collar: a stand round the neck and two flaps that end in points.
pub(super) fn collar(body: &Fitting, lift: f32) -> Solid {
    let mut solid = Solid::default();
    let half_turn = 0.97 * std::f32::consts::PI;
    for side in [-1.0, 1.0] {
        solid.sheet(5, 16, |down, right| {
            // From the back to the front; the left flap runs the other way, so that both look outwards.
            let part = if side > 0.0 { 1.0 - right } else { right };
            let azimuth = side * (half_turn - (half_turn - 0.10) * part);
            let tip = ((part - 0.72) / 0.28).max(0.0);
            let (above, out) = if down < 0.25 {
                (0.014 + 0.018 * (down / 0.25), 0.005 + 0.002 * down)
            } else {
                let fall = (down - 0.25) / 0.75;
                (0.032 - (0.038 + 0.036 * tip) * fall, 0.008 + (0.016 + 0.012 * tip) * fall)
            };
            let back = 1.0 - part;
            let mut point = on_neck(body, azimuth, above.max(-0.004) - 0.012 * part + 0.004 * back, out + lift);
            if above < -0.004 {
                point = add(point, scaled([0.45 * side, -1.0, 0.75], (-0.004 - above) * body.build));
            }
            (point, [part * 0.2, down * 0.05])
        });
    }
    solid
}

/// A turtleneck's roll, from the jaw to the neckline.
pub(super) fn roll(body: &Fitting) -> Solid {
    let mut solid = Solid::default();
    solid.sheet(7, 40, |down, right| {
        let azimuth = turn(right);
        let front = 0.5 + 0.5 * libm::cosf(azimuth);
        let top = 0.047 - 0.013 * front * front;
        let bulge = 0.011 + 0.005 * libm::sinf(down * std::f32::consts::PI);
        let point = on_neck(body, azimuth, top - (top + 0.012) * down, bulge + 0.004 * down);
        (point, [azimuth * 0.055, down * 0.06])
    });
    solid
}

/// A hood that lies on the back, open at the throat.
pub(super) fn hood(body: &Fitting) -> Solid {
    let mut solid = Solid::default();
    let path: Vec<Vec3> = (0..=22)
        .map(|index| {
            let azimuth = std::f32::consts::PI * (-0.90 + 1.80 * index as f32 / 22.0) + std::f32::consts::PI;
            let back = (1.0 - libm::cosf(azimuth)) / 2.0;
            on_neck(body, azimuth, 0.004 + 0.022 * back, 0.016 + 0.020 * back)
        })
        .collect();
    solid.tube(&path, |along| body.build * (0.010 + 0.020 * libm::sinf(along * std::f32::consts::PI)), 10, false);
    solid
}

/// The strings of a hood.
pub(super) fn strings(body: &Fitting) -> Solid {
    let mut solid = Solid::default();
    for side in [-1.0, 1.0] {
        let start = on_neck(body, 0.42 * side, 0.0, 0.022);
        let path: Vec<Vec3> = (0..6)
            .map(|index| {
                let down = index as f32 / 5.0;
                add(start, scaled([0.05 * side * down, -0.75 * down, 0.36 * down], 0.13 * body.build))
            })
            .collect();
        solid.tube(&path, |_| 0.0022 * body.build, 5, false);
    }
    solid
}

/// The lapels of a jacket, from the nape to the opening.
pub(super) fn lapels(body: &Fitting) -> Solid {
    let mut solid = Solid::default();
    for side in [-1.0, 1.0] {
        solid.sheet(3, 14, |down, right| {
            let part = if side > 0.0 { 1.0 - right } else { right };
            let width = 0.020 + 0.026 * libm::sinf((part * 1.15).min(1.0) * 2.6).max(0.0) * (part * 2.0).min(1.0);
            let azimuth = side * (3.05 - 2.25 * (part * 1.6).min(1.0));
            let top = on_neck(body, azimuth, 0.010 - 0.016 * part, 0.022);
            let inner = if part < 0.625 {
                top
            } else {
                let fall = (part - 0.625) / 0.375;
                add(top, scaled([-0.30 * side, -1.0, 0.42], 0.17 * fall * body.build))
            };
            let out = unit([side * 1.0, -0.35 + 0.15 * part, 0.25 * part]);
            (add(inner, scaled(out, width * down * body.build)), [part * 0.3, down * 0.05])
        });
    }
    solid
}

fn turn(right: f32) -> f32 {
    (right - 0.5) * std::f32::consts::TAU
}
