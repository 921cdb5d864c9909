//! How a lock of hair grows: along the scalp as it is combed, then down, round the head and over the shoulders.

use crate::attire::fitting::Fitting;
use crate::space::{Vec3, add, dot, scaled, sub, unit};

/// One lock, to be grown.
pub(crate) struct Lock {
    pub(crate) azimuth: f32,
    pub(crate) polar: f32,
    /// The way it is combed at the root.
    pub(crate) comb: Vec3,
    /// Metres.
    pub(crate) length: f32,
    /// Metres above the skin that it reaches.
    pub(crate) lift: f32,
    /// 0 keeps its way, 1 hangs at once.
    pub(crate) weight: f32,
    /// Whether it may cross the brows.
    pub(crate) over_face: bool,
    /// Whether it falls before the shoulder, not behind.
    pub(crate) ahead: bool,
    /// 0 to 1: how near to the face it falls.
    pub(crate) spread: f32,
}

/// Points of the lock from root to tip. Over the scalp a lock keeps its height above the skin and follows the comb; past
/// the hair line it falls.
pub(crate) fn grow(head: &Fitting, lock: &Lock, comb: impl Fn(f32, f32) -> Vec3) -> Vec<Vec3> {
    /// Metres from point to point while growing.
    const STEP: f32 = 0.011;
    let skull = &head.skull;
    let normal = skull.normal(lock.azimuth, lock.polar);
    let mut point = skull.point(lock.azimuth, lock.polar, 0.0004);
    let mut way = unit(sub(lock.comb, scaled(normal, dot(lock.comb, normal))));
    let steps = ((lock.length / STEP) as usize).max(4);
    let step = lock.length / steps as f32;
    let mut points = vec![point];
    for index in 1..=steps {
        let lift = lock.lift * rise(step * index as f32);
        let mut next = add(point, scaled(way, step));
        let (azimuth, polar, growth) = skull.below(next);
        let forehead = next[1] > head.brows && next[2] > head.ears_front;
        // Long hair leaves the head where the head turns inwards.
        let overhanging = lock.weight > 0.1 && next[1] < skull.centre[1];
        let lying = growth > 0.25 && !overhanging || forehead;
        if lying {
            next = skull.point(azimuth, polar, lift);
        } else {
            next = past_shoulder(head, skull.keep_out(next, lift), step, lock);
        }
        if !lock.over_face {
            next = beside_face(head, next, lock.spread);
        }
        way = unit(sub(next, point));
        if !lying {
            way = unit(add(scaled(way, 0.62), [0.0, -0.38, 0.0]));
        } else if !lock.over_face {
            let (guided, pull) = if forehead { (0.5, 0.0) } else { (0.2, lock.weight) };
            way = unit(add(scaled(way, 0.8), add(scaled(comb(azimuth, polar), guided), [0.0, -pull, 0.0])));
        } else {
            way = unit(add(scaled(way, 0.9), [0.0, -0.1, 0.0]));
        }
        point = next;
        points.push(point);
    }
    points
}

/// The lock without kinks, and with fewer points: as many as `spacing` metres between them make.
pub(crate) fn eased(mut points: Vec<Vec3>, length: f32, spacing: f32) -> Vec<Vec3> {
    for _ in 0..3 {
        let before = points.clone();
        for index in 1..points.len() - 1 {
            let middle = scaled(add(before[index - 1], before[index + 1]), 0.5);
            points[index] = scaled(add(before[index], middle), 0.5);
        }
    }
    let spans = ((length / spacing) as usize).max(3).min(points.len() - 1);
    let last = points.len() - 1;
    (0..=spans).map(|index| points[(index * last + spans / 2) / spans]).collect()
}

/// Lets a falling point keep out of neck and shoulders, before or behind which it passes, as the lock says.
fn past_shoulder(head: &Fitting, point: Vec3, step: f32, lock: &Lock) -> Vec3 {
    let lift = 0.010 + 0.5 * lock.lift;
    let mut point = head.torso.keep_out(point, lift, lock.ahead);
    // What is below turns the lock aside before it gets there.
    if let Some([front, back]) = head.torso.depths(point[0], point[1] - 0.05) {
        let away = if lock.ahead { (front + lift - point[2]).max(0.0) } else { (back - lift - point[2]).min(0.0) };
        point[2] += away.clamp(-0.8 * step, 0.8 * step);
    }
    point
}

/// Part of the final height above the skin that a lock has after so many metres.
fn rise(grown: f32) -> f32 {
    let part = (grown / 0.03).min(1.0);
    part * (2.0 - part)
}

/// Moves a point before the face to its side, and back to the cheek; how far both, `spread` (0 to 1) says.
fn beside_face(head: &Fitting, point: Vec3, spread: f32) -> Vec3 {
    let [x, y, z] = point;
    let depth = head.ears_front + 0.03 - 0.05 * spread;
    if z < depth || y > head.brows || y < head.chin - 0.01 {
        return point;
    }
    // The window opens by and by below its top, so that locks turn aside smoothly.
    let open = ((head.brows - y) / 0.045).min(1.0);
    let side = x.abs().max(0.93 * head.half_width * (1.0 + 0.28 * spread) * open);
    [side.copysign(x), y, z.min(depth + 0.07 * (1.0 - open))]
}

/// Whether a point lies before the eyes or below them, between the temples.
pub(crate) fn before_eyes(head: &Fitting, [x, y, z]: Vec3) -> bool {
    z > head.ears_front + 0.03 && y < head.brows - 0.008 && y > head.chin && x.abs() < 0.8 * head.half_width
}
