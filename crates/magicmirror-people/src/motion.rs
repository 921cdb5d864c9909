//! How a person moves before the camera: one action, an expression, a camera move, and the small motion of the living
//! under it all.
//!
//! A [`Clip`] is a pure function of time: [`Clip::moment`] of equal clips and times is equal on every machine, so frames
//! can be drawn in any order, at any rate. An action fits into the clip's duration, and repeats in long ones.

mod action;
mod camera;
mod curve;
mod expression;
mod idle;

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

pub use action::Action;
pub use camera::{CameraMove, Framing};
pub use expression::{Expression, Facing};

use crate::scene::{Camera, EXPRESSION_UNITS, Gaze, HeadPose, Moment};

/// A stretch of time before the camera.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Clip {
    /// Chooses how exactly everything is done.
    pub seed: u64,
    /// Seconds in which the action is to be seen.
    pub duration: f32,
    /// What the person does.
    pub action: Action,
    /// The face that the person makes all the while.
    pub expression: Expression,
    /// How the head is held before the action.
    pub pose: HeadPose,
    /// What the camera does.
    pub camera_move: CameraMove,
    /// The camera in the middle of its move.
    pub camera: Camera,
}

impl Clip {
    /// How everything stands `seconds` after the start.
    pub fn moment(&self, seconds: f32) -> Moment {
        let mut change = Change::of(self.expression.units(), 1.0);
        change.pose = self.pose;
        change.gaze = self.resting_gaze();
        change.add(self.action.at(seconds, self.duration, &mut self.random(0)));
        change.add(idle::at(seconds, self.seed, self.action.leaves_eyes_alone()));
        Moment {
            pose: change.pose,
            gaze: Gaze { yaw: change.gaze.yaw.clamp(-0.5, 0.5), pitch: change.gaze.pitch.clamp(-0.35, 0.35) },
            expression: change.units.iter().map(|weight| weight.clamp(0.0, 1.0)).collect(),
            sway: change.sway,
            camera: self.camera_move.at(seconds / self.duration, self.camera, &mut self.random(1)),
        }
    }

    /// The eyes of a turned head look at the viewer, or on ahead.
    fn resting_gaze(&self) -> Gaze {
        let share = if self.seed.is_multiple_of(2) { -0.7 } else { 0.15 };
        Gaze { yaw: share * self.pose.yaw, pitch: share * self.pose.pitch }
    }

    fn random(&self, stream: u64) -> ChaCha8Rng {
        random(self.seed, stream)
    }
}

fn random(seed: u64, stream: u64) -> ChaCha8Rng {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    random.set_stream(stream);
    random
}

/// What is added to a person at rest.
struct Change {
    pose: HeadPose,
    gaze: Gaze,
    units: [f32; EXPRESSION_UNITS.len()],
    sway: [f32; 3],
}

impl Change {
    fn none() -> Self {
        Self { pose: HeadPose::default(), gaze: Gaze::default(), units: [0.0; EXPRESSION_UNITS.len()], sway: [0.0; 3] }
    }

    /// These units, so far.
    fn of(units: &[(&str, f32)], strength: f32) -> Self {
        let mut change = Self::none();
        change.face(units, strength);
        change
    }

    fn face(&mut self, units: &[(&str, f32)], strength: f32) {
        for (name, weight) in units {
            let index = EXPRESSION_UNITS.iter().position(|unit| unit == name);
            self.units[index.expect("the tables of this module hold ARKit's names")] += weight * strength;
        }
    }

    fn add(&mut self, other: Self) {
        self.pose.yaw += other.pose.yaw;
        self.pose.pitch += other.pose.pitch;
        self.pose.roll += other.pose.roll;
        self.gaze.yaw += other.gaze.yaw;
        self.gaze.pitch += other.gaze.pitch;
        self.units.iter_mut().zip(other.units).for_each(|(unit, more)| *unit += more);
        self.sway.iter_mut().zip(other.sway).for_each(|(sway, more)| *sway += more);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clip(action: Action, seed: u64, duration: f32) -> Clip {
        Clip {
            seed,
            duration,
            action,
            expression: Expression::Neutral,
            pose: HeadPose::default(),
            camera_move: CameraMove::Still,
            camera: Framing::Portrait.camera(1.0, 0.45, 0.35),
        }
    }

    /// As [`distance`], but for the eyelids, which also move by themselves.
    fn distance_but_for_lids(a: &Moment, b: &Moment) -> f32 {
        let open = |moment: &Moment| {
            let mut moment = moment.clone();
            moment.expression[8..10].fill(0.0);
            moment
        };
        distance(&open(a), &open(b))
    }

    /// How far two moments of one person are apart: radians, units and decimetres are about equally visible.
    fn distance(a: &Moment, b: &Moment) -> f32 {
        let pose = [a.pose.yaw - b.pose.yaw, a.pose.pitch - b.pose.pitch, a.pose.roll - b.pose.roll];
        let sway = (0..3).map(|axis| 10.0 * (a.sway[axis] - b.sway[axis]));
        let units = a.expression.iter().zip(&b.expression).map(|(a, b)| 0.5 * (a - b));
        pose.into_iter().chain(sway).chain(units).map(f32::abs).fold(0.0, f32::max)
    }

    fn frames(clip: &Clip, count: usize, fps: f32) -> Vec<Moment> {
        (0..count).map(|frame| clip.moment(frame as f32 / fps)).collect()
    }

    #[test]
    fn every_action_shows_in_two_seconds_of_eight_frames() {
        for action in Action::ALL {
            for seed in 0..20 {
                let frames = frames(&clip(action, seed, 16.0 / 8.0), 17, 8.0);
                let lids = matches!(action, Action::Blink | Action::Wink);
                let distance = if lids { distance } else { distance_but_for_lids };
                let most = frames.iter().map(|frame| distance(frame, &frames[0])).fold(0.0, f32::max);
                let shown = frames.iter().filter(|frame| distance(frame, &frames[0]) > 0.15).count();
                match action {
                    Action::HoldStill => assert!(most < 0.12, "{action:?} {seed}: {most}"),
                    Action::Blink | Action::Wink => assert!(shown >= 2 && most > 0.35, "{action:?} {seed}: {most}"),
                    _ => assert!(shown >= 5 && most > 0.18, "{action:?} {seed}: {most}, {shown} frames"),
                }
            }
        }
    }

    #[test]
    fn motion_is_continuous_at_any_rate_and_length() {
        for action in Action::ALL {
            for (duration, seed) in [(0.5, 1), (2.0, 2), (11.0, 3)] {
                let clip = clip(action, seed, duration);
                let fps = 240.0 / duration.min(1.0);
                let frames = frames(&clip, (duration * fps) as usize, fps);
                for (frame, pair) in frames.windows(2).enumerate() {
                    let step = distance(&pair[0], &pair[1]);
                    // A lid may close within a twentieth of a second, at 240 frames a second.
                    assert!(step < 0.09, "{action:?} jumps by {step} at frame {frame} of {duration} s");
                }
            }
        }
    }

    #[test]
    fn directions_are_as_named() {
        for seed in 0..20 {
            let end = |action| clip(action, seed, 2.0).moment(2.0).pose;
            assert!(end(Action::TurnLeft).yaw < -0.3 && end(Action::TurnRight).yaw > 0.3);
            assert!(end(Action::LookUp).pitch > 0.2 && end(Action::LookDown).pitch < -0.2);
            assert!(end(Action::TiltHead).roll.abs() > 0.15);
        }
    }

    #[test]
    fn weights_are_weights() {
        for action in Action::ALL {
            for expression in Expression::ALL {
                let clip = Clip { expression, ..clip(action, 5, 3.0) };
                for moment in frames(&clip, 30, 10.0) {
                    assert_eq!(moment.expression.len(), EXPRESSION_UNITS.len());
                    assert!(moment.expression.iter().all(|weight| (0.0..=1.0).contains(weight)));
                    assert!(moment.pose.yaw.abs() < 1.0 && moment.pose.pitch.abs() < 0.7);
                }
            }
        }
    }

    #[test]
    fn camera_moves_are_as_named() {
        let camera = |camera_move, seconds| Clip { camera_move, ..clip(Action::Nod, 4, 2.0) }.moment(seconds).camera;
        // How large one metre at the origin is in the picture.
        let scale = |camera: Camera| 1.0 / (camera.distance * libm::tanf(camera.field_of_view / 2.0));
        for (camera_move, grows) in [
            (CameraMove::ZoomIn, true),
            (CameraMove::PushIn, true),
            (CameraMove::ZoomOut, false),
            (CameraMove::PullBack, false),
        ] {
            let ratio = scale(camera(camera_move, 2.0)) / scale(camera(camera_move, 0.0));
            assert!(if grows { ratio > 1.15 } else { ratio < 0.87 }, "{camera_move:?}: {ratio}");
        }
        let moved = |camera_move| {
            let (start, end) = (camera(camera_move, 0.0), camera(camera_move, 2.0));
            [end.right - start.right, end.up - start.up]
        };
        assert!(moved(CameraMove::PanRight)[0] > 0.04 && moved(CameraMove::PanLeft)[0] < -0.04);
        assert!(moved(CameraMove::Rise)[1] > 0.03 && moved(CameraMove::Sink)[1] < -0.03);
        assert_eq!(camera(CameraMove::Still, 0.0), camera(CameraMove::Still, 2.0));
        assert_ne!(camera(CameraMove::HandHeld, 0.0), camera(CameraMove::HandHeld, 0.5));
    }
}
