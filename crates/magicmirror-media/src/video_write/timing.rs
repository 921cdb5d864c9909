//! Frame rates as each container counts time.

use crate::MediaError;

/// Refuse frame rates outside 0.1 to 1000.
pub(crate) fn check(fps: f64) -> Result<(), MediaError> {
    if (0.1..=1000.0).contains(&fps) { Ok(()) } else { Err(MediaError::FrameRate { fps }) }
}

/// Ticks per second, and ticks per frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TrackTiming {
    pub(super) timescale: u32,
    pub(super) frame_ticks: u32,
}

impl TrackTiming {
    /// Exact for rates with up to three decimals and for the NTSC family (30000/1001), else right to 1e-6.
    pub(super) fn from_fps(fps: f64) -> Self {
        for frame_ticks in [1000, 1001] {
            let timescale = (fps * f64::from(frame_ticks)).round();
            if (timescale / f64::from(frame_ticks) - fps).abs() <= 1e-7 * fps {
                return Self { timescale: timescale as u32, frame_ticks };
            }
        }
        let frame_ticks = (1e6 / fps).round() as u32;
        Self { timescale: (fps * f64::from(frame_ticks)).round() as u32, frame_ticks }
    }
}

/// How long each frame lasts in whole units of `1 / units_per_second` s, at least one: frames end at the rounded
/// times, so that errors do not add up.
pub(super) fn durations(count: usize, fps: f64, units_per_second: f64) -> impl Iterator<Item = u32> {
    let end = move |frame: usize| (frame as f64 / fps * units_per_second).round() as u32;
    (0..count).map(move |frame| (end(frame + 1) - end(frame)).max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn common_rates_are_exact() {
        let cases = [(8.0, 8000, 1000), (7.5, 7500, 1000), (16.0, 16000, 1000), (30000.0 / 1001.0, 30000, 1001)];
        for (fps, timescale, frame_ticks) in cases {
            assert_eq!(TrackTiming::from_fps(fps), TrackTiming { timescale, frame_ticks });
        }
    }

    #[test]
    fn odd_rates_are_close() {
        for fps in [0.1, 1.0 / 3.0, std::f64::consts::PI, 12.345_678, 999.999_9] {
            let TrackTiming { timescale, frame_ticks } = TrackTiming::from_fps(fps);
            let stored = f64::from(timescale) / f64::from(frame_ticks);
            assert!((stored / fps - 1.0).abs() < 1e-3, "{fps}: {stored}");
        }
    }

    #[test]
    fn rounding_does_not_add_up() {
        let gif: Vec<u32> = durations(16, 8.0, 100.0).collect();
        assert_eq!(gif.iter().sum::<u32>(), 200);
        assert!(gif.iter().all(|duration| [12, 13].contains(duration)));
        assert!(durations(5, 1000.0, 100.0).all(|duration| duration == 1));
    }

    #[test]
    fn impossible_rates_are_errors() {
        for fps in [0.0, -1.0, f64::NAN, f64::INFINITY, 1e6] {
            check(fps).unwrap_err();
        }
        check(7.5).unwrap();
    }
}
