//! What people do.

use rand::Rng;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use super::Change;
use super::curve::{Part, bump, ramp, wave};
use super::expression::{Expression, FROWN, POUT, SURPRISE};
use crate::scene::{Gaze, HeadPose};

/// What a person does in a clip. Left and right are those of the picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// Nothing but breathe and blink.
    HoldStill,
    /// Turn the head to the left.
    TurnLeft,
    /// Turn the head to the right.
    TurnRight,
    /// Turn the head from side to side.
    LookAround,
    /// Nod, as for yes.
    Nod,
    /// Shake the head, as for no.
    ShakeHead,
    /// Tilt the head to one side.
    TiltHead,
    /// Raise the head.
    LookUp,
    /// Lower the head.
    LookDown,
    /// Lean towards the viewer.
    LeanForward,
    /// Sway from side to side.
    Sway,
    /// Begin to smile.
    Smile,
    /// Laugh.
    Laugh,
    /// Talk.
    Talk,
    /// Sing: as talking, slower and wider.
    Sing,
    /// Become surprised.
    Surprise,
    /// Blink slowly, more than once.
    Blink,
    /// Begin to frown.
    Frown,
    /// Close one eye.
    Wink,
    /// Push the lips out.
    Pout,
    /// Raise the brows, twice or more.
    RaiseBrows,
    /// Yawn.
    Yawn,
    /// Blow up the cheeks.
    PuffCheeks,
}

impl Action {
    /// All of them.
    pub const ALL: [Self; 23] = [
        Self::HoldStill,
        Self::TurnLeft,
        Self::TurnRight,
        Self::LookAround,
        Self::Nod,
        Self::ShakeHead,
        Self::TiltHead,
        Self::LookUp,
        Self::LookDown,
        Self::LeanForward,
        Self::Sway,
        Self::Smile,
        Self::Laugh,
        Self::Talk,
        Self::Sing,
        Self::Surprise,
        Self::Blink,
        Self::Frown,
        Self::Wink,
        Self::Pout,
        Self::RaiseBrows,
        Self::Yawn,
        Self::PuffCheeks,
    ];

    /// Its name in data sets.
    pub fn name(self) -> &'static str {
        match self {
            Self::HoldStill => "hold_still",
            Self::TurnLeft => "turn_left",
            Self::TurnRight => "turn_right",
            Self::LookAround => "look_around",
            Self::Nod => "nod",
            Self::ShakeHead => "shake_head",
            Self::TiltHead => "tilt_head",
            Self::LookUp => "look_up",
            Self::LookDown => "look_down",
            Self::LeanForward => "lean_forward",
            Self::Sway => "sway",
            Self::Smile => "smile",
            Self::Laugh => "laugh",
            Self::Talk => "talk",
            Self::Sing => "sing",
            Self::Surprise => "surprise",
            Self::Blink => "blink",
            Self::Frown => "frown",
            Self::Wink => "wink",
            Self::Pout => "pout",
            Self::RaiseBrows => "raise_brows",
            Self::Yawn => "yawn",
            Self::PuffCheeks => "puff_cheeks",
        }
    }

    /// Whether the face does it, so that no other expression may be held meanwhile.
    pub fn moves_face(self) -> bool {
        self >= Self::Smile
    }

    /// Whether the head ends up elsewhere, so that it should begin facing the viewer.
    pub fn turns_head(self) -> bool {
        (Self::TurnLeft..=Self::LookDown).contains(&self)
    }

    /// Whether natural blinks may come on top.
    pub(super) fn leaves_eyes_alone(self) -> bool {
        !matches!(self, Self::Blink | Self::Wink | Self::Surprise | Self::Yawn | Self::Laugh)
    }

    /// What the action has changed `seconds` after the start of a clip that lasts `duration`.
    pub(super) fn at(self, seconds: f32, duration: f32, random: &mut ChaCha8Rng) -> Change {
        let part = Part::of(seconds, duration);
        let strength = random.random_range(0.85..1.15);
        let speed = random.random_range(0.9..1.15);
        let side = if random.random_bool(0.5) { 1.0 } else { -1.0 };
        // Seconds from which on something is done again and again.
        let cycle = |frequency: f32| wave(part.time, frequency * speed, 0.0);
        let (hold, busy) = (part.hold(), part.busy());
        match self {
            Self::HoldStill => Change::none(),
            Self::TurnLeft => head([-0.62 * strength * hold, 0.0, 0.0], 0.2),
            Self::TurnRight => head([0.62 * strength * hold, 0.0, 0.0], 0.2),
            Self::LookAround => {
                let sweep = side * wave(part.time, 1.0 / part.length.max(1.5), 0.0);
                head([0.5 * strength * busy * sweep, 0.0, 0.0], 0.3)
            }
            Self::Nod => head([0.0, (0.26 * cycle(1.3) - 0.06) * strength * busy, 0.0], -0.9),
            Self::ShakeHead => head([side * 0.34 * strength * busy * cycle(1.1), 0.0, 0.0], -0.8),
            Self::TiltHead => head([0.0, 0.0, side * 0.31 * strength * hold], 0.0),
            Self::LookUp => head([0.0, 0.38 * strength * hold, 0.0], 0.4),
            Self::LookDown => head([0.0, -0.38 * strength * hold, 0.0], 0.4),
            Self::LeanForward => {
                let lean = strength * hold;
                Change { sway: [0.0, -0.015 * lean, 0.15 * lean], ..head([0.0, 0.06 * lean, 0.0], -0.9) }
            }
            Self::Sway => {
                let swing = side * strength * busy * cycle(0.7);
                Change { sway: [0.035 * swing, 0.0, 0.0], ..head([0.0, 0.0, 0.16 * swing], 0.0) }
            }
            Self::Talk => speech(part.time * speed, strength * busy, 1.0),
            Self::Sing => speech(part.time * speed * 0.45, strength * busy, 1.7),
            Self::Laugh => laugh(part.time * speed, strength * hold),
            Self::Smile => Change::of(Expression::Grin.units(), hold),
            Self::Surprise => Change {
                sway: [0.0, 0.0, -0.02 * hold],
                ..with_head(Change::of(SURPRISE, hold * strength), 0.06 * hold)
            },
            Self::Frown => with_head(Change::of(FROWN, hold), -0.12 * hold),
            Self::Pout => with_head(Change::of(POUT, hold), -0.05 * hold),
            Self::RaiseBrows => {
                let times: f32 = (0..2)
                    .map(|time| bump(part.time, part.length * (0.1 + 0.45 * time as f32), part.length * 0.4))
                    .sum();
                with_head(Change::of(BROWS_UP, times), 0.07 * times)
            }
            Self::Yawn => {
                with_head(Change::of(YAWN, bump(part.time, 0.1 * part.length, 0.85 * part.length)), 0.1 * hold)
            }
            Self::PuffCheeks => with_head(Change::of(PUFFED, hold), 0.04 * hold),
            Self::Blink => {
                let gap = part.length / 3.0;
                let lids = (0..3).map(|time| bump(part.time, gap * (0.2 + time as f32), (0.8 * gap).min(0.6))).sum();
                Change::of(LIDS, lids)
            }
            Self::Wink => {
                let lid = bump(part.time, 0.25 * part.length, (0.6 * part.length).min(1.2));
                let left = side > 0.0;
                let units: &[_] = if left { WINK_LEFT } else { WINK_RIGHT };
                with_head(Change::of(units, lid), 0.0).tilted(if left { 0.06 } else { -0.06 } * lid)
            }
        }
    }
}

impl Change {
    fn tilted(mut self, roll: f32) -> Self {
        self.pose.roll += roll;
        self
    }
}

/// A turned head, and eyes that go with it by a share of the turn (or stay on the viewer, if that is negative).
fn head([yaw, pitch, roll]: [f32; 3], eyes: f32) -> Change {
    Change {
        pose: HeadPose { yaw, pitch, roll },
        gaze: Gaze { yaw: eyes * yaw, pitch: eyes * pitch },
        ..Change::none()
    }
}

fn with_head(mut change: Change, pitch: f32) -> Change {
    change.add(head([0.0, pitch, 0.0], -0.9));
    change
}

/// Syllables: the jaw opens about three times a second, wider on some, and the lips round or stretch.
fn speech(time: f32, strength: f32, width: f32) -> Change {
    let syllable = 0.5 - 0.5 * wave(time, 2.9, 0.25);
    let stress = 0.75 + 0.25 * wave(time, 0.83, 0.1);
    let rounding = wave(time, 1.31, 0.3);
    let jaw = 0.42 * width * syllable * stress;
    let mut change = Change::of(&[("jawOpen", jaw.min(0.85))], strength);
    change.face(&[("mouthFunnel", 0.5), ("mouthPucker", 0.25)], strength * rounding.max(0.0));
    change.face(&[("mouthStretchLeft", 0.4), ("mouthStretchRight", 0.4)], strength * (-rounding).max(0.0));
    change
        .face(&[("browInnerUp", 0.3), ("browOuterUpLeft", 0.2), ("browOuterUpRight", 0.2)], strength * (stress - 0.5));
    change.add(head([0.05 * wave(time, 0.47, 0.0), 0.05 * (stress - 0.75) * 4.0, 0.03 * wave(time, 0.61, 0.2)], -0.9));
    change.pose.yaw *= strength.min(1.0);
    change
}

/// A wide open smile, head back, shaken by bursts.
fn laugh(time: f32, strength: f32) -> Change {
    let burst = 0.5 + 0.5 * wave(time, 2.6, 0.0);
    let mut change = Change::of(Expression::Grin.units(), strength);
    change.face(&[("jawOpen", 0.3), ("eyeSquintLeft", 0.35), ("eyeSquintRight", 0.35)], strength);
    change.face(&[("jawOpen", 0.2), ("cheekSquintLeft", 0.2), ("cheekSquintRight", 0.2)], strength * burst);
    change.add(head([0.0, (0.1 + 0.05 * burst) * strength, 0.04 * wave(time, 0.6, 0.0) * strength], -0.5));
    change.sway[1] += 0.006 * burst * strength;
    change
}

const LIDS: &[(&str, f32)] = &[("eyeBlinkLeft", 1.0), ("eyeBlinkRight", 1.0)];

const BROWS_UP: &[(&str, f32)] = &[
    ("browInnerUp", 0.9),
    ("browOuterUpLeft", 1.0),
    ("browOuterUpRight", 1.0),
    ("eyeWideLeft", 0.8),
    ("eyeWideRight", 0.8),
];

const PUFFED: &[(&str, f32)] = &[
    ("cheekPuff", 1.0),
    ("mouthPucker", 0.45),
    ("mouthPressLeft", 0.3),
    ("mouthPressRight", 0.3),
    ("browInnerUp", 0.5),
    ("eyeWideLeft", 0.5),
    ("eyeWideRight", 0.5),
];

const YAWN: &[(&str, f32)] = &[
    ("jawOpen", 0.95),
    ("eyeBlinkLeft", 0.85),
    ("eyeBlinkRight", 0.85),
    ("browDownLeft", 0.2),
    ("browDownRight", 0.2),
    ("browInnerUp", 0.4),
    ("mouthStretchLeft", 0.3),
    ("mouthStretchRight", 0.3),
];

const WINK_LEFT: &[(&str, f32)] = &[
    ("eyeBlinkLeft", 1.0),
    ("cheekSquintLeft", 0.8),
    ("mouthSmileLeft", 0.65),
    ("mouthSmileRight", 0.25),
    ("browDownLeft", 0.3),
];

const WINK_RIGHT: &[(&str, f32)] = &[
    ("eyeBlinkRight", 1.0),
    ("cheekSquintRight", 0.8),
    ("mouthSmileRight", 0.65),
    ("mouthSmileLeft", 0.25),
    ("browDownRight", 0.3),
];

/// Opens a natural blink of 0.25 s that is shut after a third of it.
pub(super) fn natural_blink(time: f32) -> Change {
    Change::of(LIDS, ramp(time, 0.0, 0.09) - ramp(time, 0.12, 0.13))
}
