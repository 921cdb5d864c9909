//! Whether the person does what the prompt says, for prompts in the words of drawn people's captions.
//!
//! It is read from the five landmarks of the face: where the nose is between eyes and mouth, how the eyes' line lies, how wide
//! and how low the mouth is. Face detectors are noisy, so videos drawn by the program itself say what can be reached.

use std::sync::atomic::AtomicBool;

use magicmirror_people::captions::action;
use magicmirror_people::motion::Action;

use super::metric::{Better, Clip, Column, Measured, Metric};
use crate::EngineError;
use crate::identity::DetectedFace;

/// How a face is held, by its landmarks:
/// - yaw, positive to the right of the picture, and pitch, positive down: how far the nose is from the middle of eyes and mouth,
///   and how far down between them, in units of the distance from eyes to mouth;
/// - roll, positive clockwise, in radians;
/// - how wide the mouth is, and how far it is from the eyes, in units of the distance of the eyes.
type Pose = [f64; 5];

const YAW: usize = 0;
const PITCH: usize = 1;
const ROLL: usize = 2;
const MOUTH_WIDTH: usize = 3;
const MOUTH_DISTANCE: usize = 4;

/// How much actions change these in drawn clips: medians of each action's among 80 clips.
const WHOLE: Pose = [0.29, 0.16, 0.28, 0.14, 0.105];
/// What part of that must be seen.
const ENOUGH: f64 = 0.4;
/// Part of the clip at whose start the head is at rest, and from which on it is where the action takes it.
const REST: f64 = 0.15;
const ARRIVED: f64 = 0.5;

/// What each action that is judged changes, and to which side: −1, 1, or 0 for either.
const ACTIONS: [(Action, usize, f64); 9] = [
    (Action::TurnLeft, YAW, -1.0),
    (Action::TurnRight, YAW, 1.0),
    (Action::LookUp, PITCH, -1.0),
    (Action::LookDown, PITCH, 1.0),
    (Action::TiltHead, ROLL, 0.0),
    (Action::ShakeHead, YAW, 0.0),
    (Action::Nod, PITCH, 0.0),
    (Action::Smile, MOUTH_WIDTH, 1.0),
    (Action::Surprise, MOUTH_DISTANCE, 1.0),
];

/// The metric.
pub(super) struct FaceAction {
    columns: [Column; 1],
}

impl FaceAction {
    /// The metric, which has no weights.
    pub(super) fn new() -> Self {
        let column = Column::new(
            "action",
            Better::Higher,
            "Success: whether the person does what the prompt says, by the five landmarks of the face: turning left or right, \
             looking up or down, tilting, nodding or shaking the head, starting to smile, being surprised; only for \
             prompts that say one of these, in the words of drawn people's captions.",
        );
        Self { columns: [column] }
    }
}

impl Metric for FaceAction {
    fn columns(&self) -> &[Column] {
        &self.columns
    }

    fn fingerprint(&self) -> &'static str {
        "action 1"
    }

    fn measure(&self, clip: &Clip<'_>, _: &AtomicBool) -> Result<Measured, EngineError> {
        let asked = clip.prompt.and_then(action);
        let judged = asked.and_then(|asked| ACTIONS.into_iter().find(|(action, ..)| *action == asked));
        let number = judged.map(|judged| f64::from(u8::from(seen(clip).is_some_and(|motion| motion.is(judged)))));
        Ok(Measured { numbers: vec![number], features: Vec::new() })
    }
}

/// How a face moves in a clip, in units of [`WHOLE`].
struct Motion {
    /// From the start to the second half.
    moved: Pose,
    /// Frames' poses about their mean.
    swings: Vec<Pose>,
}

impl Motion {
    fn is(&self, (action, axis, side): (Action, usize, f64)) -> bool {
        if matches!(action, Action::Nod | Action::ShakeHead) {
            return self.swings_about(axis);
        }
        let moved = self.moved[axis];
        let way = if side == 0.0 { moved.abs() } else { side * moved };
        // A mouth can be told only while the head is not turned.
        let turned = axis > ROLL && [YAW, ROLL].iter().any(|&turn| self.moved[turn].abs() >= ENOUGH);
        way >= ENOUGH && !turned && self.moved[..=ROLL].iter().all(|other| other.abs() <= way)
    }

    /// To and fro twice, more than about the other axes.
    fn swings_about(&self, axis: usize) -> bool {
        let variance =
            |axis: usize| self.swings.iter().map(|pose| pose[axis].powi(2)).sum::<f64>() / self.swings.len() as f64;
        let (mut turns, mut side) = (0, None);
        for pose in self.swings.iter().filter(|pose| pose[axis].abs() >= ENOUGH / 2.0) {
            let positive = Some(pose[axis] > 0.0);
            if side != positive {
                (turns, side) = (turns + 1, positive);
            }
        }
        // That of a sine of enough; who talks moves the head by less.
        let enough = ENOUGH.powi(2) / 2.0;
        turns >= 4 && variance(axis) >= enough && (YAW..=ROLL).all(|other| variance(other) <= variance(axis))
    }
}

/// `None` where rest or arrival shows no face.
fn seen(clip: &Clip<'_>) -> Option<Motion> {
    let frames = clip.frames.len() as f64;
    let poses: Vec<(f64, Pose)> = clip
        .faces
        .iter()
        .filter_map(|seen| Some((seen.frame as f64 / frames, pose(&seen.face?)?)))
        .map(|(time, pose)| (time, each(|axis| pose[axis] / WHOLE[axis])))
        .collect();
    let median = |within: &dyn Fn(f64) -> bool| -> Option<Pose> {
        let within: Vec<Pose> = poses.iter().filter(|(time, _)| within(*time)).map(|(_, pose)| *pose).collect();
        let middle = |axis: usize| {
            let mut values: Vec<f64> = within.iter().map(|pose| pose[axis]).collect();
            values.sort_by(f64::total_cmp);
            values[values.len() / 2]
        };
        (!within.is_empty()).then(|| each(middle))
    };
    let (rest, arrived) = (median(&|time| time < REST)?, median(&|time| time >= ARRIVED)?);
    let mean = each(|axis| poses.iter().map(|(_, pose)| pose[axis]).sum::<f64>() / poses.len() as f64);
    let swings = poses.iter().map(|(_, pose)| each(|axis| pose[axis] - mean[axis])).collect();
    Some(Motion { moved: each(|axis| arrived[axis] - rest[axis]), swings })
}

/// A pose from its numbers.
fn each(number: impl Fn(usize) -> f64) -> Pose {
    [YAW, PITCH, ROLL, MOUTH_WIDTH, MOUTH_DISTANCE].map(number)
}

/// `None` where the mouth is not below the eyes.
fn pose(face: &DetectedFace) -> Option<Pose> {
    let [left_eye, right_eye, nose, left_mouth, right_mouth] = face.landmarks.map(|point| point.map(f64::from));
    let between = |a: [f64; 2], b: [f64; 2]| [0, 1].map(|axis| f64::midpoint(a[axis], b[axis]));
    let (eyes, mouth) = (between(left_eye, right_eye), between(left_mouth, right_mouth));
    let roll = (right_eye[1] - left_eye[1]).atan2(right_eye[0] - left_eye[0]);
    let upright = |point: [f64; 2]| {
        let [x, y] = [0, 1].map(|axis| point[axis] - eyes[axis]);
        [x * roll.cos() + y * roll.sin(), y * roll.cos() - x * roll.sin()]
    };
    let ([nose_x, nose_y], [mouth_x, height]) = (upright(nose), upright(mouth));
    let distance = |a: [f64; 2], b: [f64; 2]| (a[0] - b[0]).hypot(a[1] - b[1]);
    let (apart, wide) = (distance(left_eye, right_eye), distance(left_mouth, right_mouth));
    let shown = height > 0.0 && apart > 0.0;
    shown.then(|| [(nose_x - mouth_x / 2.0) / height, nose_y / height, roll, wide / apart, height / apart])
}

#[cfg(test)]
mod tests {
    use image::RgbImage;

    use super::super::metric::FrameFace;
    use super::*;

    const FRAMES: usize = 17;

    /// A face whose landmarks have this pose, in units of [`WHOLE`] from one that looks at the viewer.
    fn face(moved: Pose) -> DetectedFace {
        let [yaw, pitch, roll, wide, drop] = each(|axis| moved[axis] * WHOLE[axis]);
        let (apart, height) = (30.0, 30.0 * (1.0 + drop));
        let half = 30.0 * (0.9 + wide) / 2.0;
        let nose = [yaw * height, (0.6 + pitch) * height];
        let upright = [[-apart / 2.0, 0.0], [apart / 2.0, 0.0], nose, [-half, height], [half, height]];
        let landmarks = upright.map(|[x, y]| {
            [48.0 + x * roll.cos() - y * roll.sin(), 60.0 + x * roll.sin() + y * roll.cos()].map(|value| value as f32)
        });
        DetectedFace { bounds: [16.0, 27.0, 80.0, 111.0], score: 1.0, landmarks }
    }

    fn measured(prompt: Option<&str>, pose: impl Fn(f64) -> Option<Pose>) -> Option<f64> {
        let faces: Vec<FrameFace> = (0..FRAMES)
            .map(|frame| FrameFace { frame, faces: 1, face: pose(frame as f64 / FRAMES as f64).map(face) })
            .collect();
        let clip =
            Clip { frames: &vec![RgbImage::new(96, 144); FRAMES], fps: 8.0, prompt, faces: &faces, references: &[] };
        FaceAction::new().measure(&clip, &AtomicBool::new(false)).expect("nothing to fail").numbers[0]
    }

    /// Moved by `size` in this one way only.
    fn on(axis: usize, size: f64) -> Pose {
        each(|other| if other == axis { size } else { 0.0 })
    }

    /// Goes there and stays.
    fn held(axis: usize, size: f64) -> impl Fn(f64) -> Option<Pose> {
        move |time| Some(on(axis, size * ((time - 0.1) / 0.35).clamp(0.0, 1.0)))
    }

    fn swung(axis: usize, size: f64) -> impl Fn(f64) -> Option<Pose> {
        move |time| Some(on(axis, size * (time * 16.0).sin()))
    }

    #[test]
    fn each_action_is_told_from_the_others() {
        let prompts =
            ["turns to the left", "looks over to the right", "lifts her chin", "is looking down", "cocks her head"];
        let prompts: Vec<&str> =
            prompts.into_iter().chain(["shakes her head", "nods", "breaks into a smile", "gasps"]).collect();
        let motions: [Box<dyn Fn(f64) -> Option<Pose>>; 9] = [
            Box::new(held(YAW, -0.7)),
            Box::new(held(YAW, 0.7)),
            Box::new(held(PITCH, -0.7)),
            Box::new(held(PITCH, 0.7)),
            Box::new(held(ROLL, -0.7)),
            Box::new(swung(YAW, 1.0)),
            Box::new(swung(PITCH, 1.0)),
            Box::new(held(MOUTH_WIDTH, 0.7)),
            Box::new(held(MOUTH_DISTANCE, 0.7)),
        ];
        for (asked, prompt) in prompts.iter().enumerate() {
            let prompt = format!("A woman img {prompt} in front of a blue wall.");
            for (done, motion) in motions.iter().enumerate() {
                let expected = if done == asked { 1.0 } else { 0.0 };
                assert_eq!(measured(Some(&prompt), motion), Some(expected), "{prompt} {done}");
            }
            assert_eq!(measured(Some(&prompt), |_| Some([0.0; 5])), Some(0.0), "{prompt} still");
            assert_eq!(measured(Some(&prompt), |_| None), Some(0.0), "{prompt} nobody");
        }
        assert_eq!(
            measured(Some("a woman img nodding"), |time| Some(on(PITCH, (time * 3.0).sin()))),
            Some(0.0),
            "once"
        );
    }

    #[test]
    fn too_small_a_movement_and_a_larger_other_one_do_not_count() {
        let left = Some("a man img turning his head left");
        assert_eq!(measured(left, held(YAW, -0.3)), Some(0.0));
        let mixed = |time: f64| Some(each(|axis| [-0.7, 0.9, 0.0, 0.0, 0.0][axis] * f64::from(u8::from(time > 0.3))));
        assert_eq!(measured(left, mixed), Some(0.0));
        let turned_smile =
            |time: f64| Some(each(|axis| [0.5, 0.0, 0.0, 2.0, 0.0][axis] * f64::from(u8::from(time > 0.3))));
        assert_eq!(measured(Some("a man img beams with joy"), turned_smile), Some(0.0));
    }

    #[test]
    fn prompts_without_such_an_action_are_left_out() {
        for prompt in [None, Some("a man img in a park"), Some("a man img telling a story")] {
            assert_eq!(measured(prompt, held(YAW, -0.7)), None, "{prompt:?}");
        }
    }
}
