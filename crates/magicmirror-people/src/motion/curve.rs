//! Curves over time from which motion is put together.

use std::f32::consts::TAU;

/// 0 before `start`, 1 after `start + length`, smooth between.
pub(super) fn ramp(time: f32, start: f32, length: f32) -> f32 {
    let x = ((time - start) / length).clamp(0.0, 1.0);
    x * x * (3.0 - 2.0 * x)
}

/// Rises from `start`, is 1 from the middle third of `length` on, and is 0 again at its end.
pub(super) fn bump(time: f32, start: f32, length: f32) -> f32 {
    let third = length / 3.0;
    ramp(time, start, third) - ramp(time, start + 2.0 * third, third)
}

/// A sine of `time`; `phase` in turns.
pub(super) fn wave(time: f32, frequency: f32, phase: f32) -> f32 {
    libm::sinf(TAU * (frequency * time + phase))
}

/// The time within its part of a clip. Long clips are cut into equal parts of about 3 s, in each of which the action is
/// done once.
#[derive(Debug, Clone, Copy)]
pub(super) struct Part {
    /// Seconds since the part began.
    pub(super) time: f32,
    /// Seconds that the part lasts.
    pub(super) length: f32,
    /// Whether the clip ends with this part.
    pub(super) last: bool,
}

impl Part {
    pub(super) fn of(seconds: f32, duration: f32) -> Self {
        let parts = (duration / 3.0).round().max(1.0);
        let length = duration / parts;
        let index = (seconds / length).floor().clamp(0.0, parts - 1.0);
        Self { time: seconds - index * length, length, last: index + 1.5 > parts }
    }

    /// Begins soon, is 1 before the middle, and stays; in all but the last part it ends before the next begins.
    pub(super) fn hold(self) -> f32 {
        let rise = ramp(self.time, 0.08 * self.length, (0.4 * self.length).min(0.9));
        if self.last { rise } else { rise - ramp(self.time, 0.8 * self.length, 0.2 * self.length) }
    }

    /// As [`Self::hold`], but begins at once and ends in every part: for what is done over and over.
    pub(super) fn busy(self) -> f32 {
        let rise = ramp(self.time, 0.0, (0.2 * self.length).min(0.4));
        if self.last { rise } else { rise - ramp(self.time, 0.85 * self.length, 0.15 * self.length) }
    }
}
