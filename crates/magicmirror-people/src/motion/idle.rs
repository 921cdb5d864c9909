//! The small motion of the living: breath, drift of head and eyes, blinks.

use rand::Rng;

use super::action::natural_blink;
use super::curve::{ramp, wave};
use super::{Change, random};

/// No blink begins earlier, so that a picture, which is the first moment of a clip, never shows one.
const FIRST_BLINK: f32 = 0.4;
/// One blink begins in every stretch of so many seconds.
const BLINK_PERIOD: f32 = 3.2;
/// The eyes jump a little every so many seconds.
const SACCADE_PERIOD: f32 = 1.1;

/// What has changed since the start.
pub(super) fn at(seconds: f32, seed: u64, blinks: bool) -> Change {
    let mut random = random(seed, 2);
    let mut drift = |amplitude: f32, slowest: f32, fastest: f32| {
        let frequency = random.random_range(slowest..fastest);
        let phase = random.random_range(0.0..1.0);
        amplitude * (wave(seconds, frequency, phase) + 0.4 * wave(seconds, 2.3 * frequency, 2.0 * phase))
    };
    let mut change = Change::none();
    change.pose.yaw = drift(0.018, 0.15, 0.4);
    change.pose.pitch = drift(0.012, 0.15, 0.4);
    change.pose.roll = drift(0.010, 0.1, 0.3);
    // Breath lifts the shoulders a few millimetres.
    change.sway = [drift(0.002, 0.1, 0.25), drift(0.0015, 0.2, 0.3), drift(0.002, 0.1, 0.25)];
    let [yaw, pitch] = saccade(seconds, seed);
    // The eyes stay where they look while the head drifts.
    change.gaze.yaw = yaw - change.pose.yaw;
    change.gaze.pitch = pitch - change.pose.pitch;
    if blinks {
        let index = (seconds / BLINK_PERIOD).floor();
        let begin = FIRST_BLINK + super::random(seed, 1000 + index as u64).random_range(0.0..BLINK_PERIOD - 0.7);
        change.add(natural_blink(seconds - index * BLINK_PERIOD - begin));
    }
    change
}

/// Where the eyes look, in radians, off their goal.
fn saccade(seconds: f32, seed: u64) -> [f32; 2] {
    let index = (seconds / SACCADE_PERIOD).floor();
    let goal = |index: u64| {
        let mut random = random(seed, 2_000_000 + index);
        [random.random_range(-0.035..0.035), random.random_range(-0.02f32..0.02)]
    };
    let (from, to) = (goal(index as u64), goal(index as u64 + 1));
    let share = ramp(seconds - index * SACCADE_PERIOD, 0.9 * SACCADE_PERIOD, 0.1 * SACCADE_PERIOD);
    [0, 1].map(|axis| from[axis] + (to[axis] - from[axis]) * share)
}
