//! Faces that are held, and the ways a head is held.

use serde::{Deserialize, Serialize};

use crate::scene::HeadPose;

/// A face that is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Expression {
    /// At rest.
    Neutral,
    /// Lips closed.
    Smile,
    /// A smile that shows teeth.
    Grin,
    /// Brows up, mouth open.
    Surprise,
    /// Brows together and down.
    Frown,
    /// Inner brows up, corners of the mouth down.
    Sadness,
    /// Lips pushed out.
    Pout,
    /// A smile of one side.
    Smirk,
}

impl Expression {
    /// All of them.
    pub const ALL: [Self; 8] =
        [Self::Neutral, Self::Smile, Self::Grin, Self::Surprise, Self::Frown, Self::Sadness, Self::Pout, Self::Smirk];

    /// Its name in data sets.
    pub fn name(self) -> &'static str {
        match self {
            Self::Neutral => "neutral",
            Self::Smile => "smile",
            Self::Grin => "grin",
            Self::Surprise => "surprise",
            Self::Frown => "frown",
            Self::Sadness => "sadness",
            Self::Pout => "pout",
            Self::Smirk => "smirk",
        }
    }

    /// Weights of facial units.
    pub(super) fn units(self) -> &'static [(&'static str, f32)] {
        match self {
            Self::Neutral => &[],
            Self::Smile => &[
                ("mouthSmileLeft", 0.75),
                ("mouthSmileRight", 0.75),
                ("cheekSquintLeft", 0.45),
                ("cheekSquintRight", 0.45),
                ("eyeSquintLeft", 0.2),
                ("eyeSquintRight", 0.2),
            ],
            Self::Grin => &[
                ("mouthSmileLeft", 0.9),
                ("mouthSmileRight", 0.9),
                ("jawOpen", 0.16),
                ("mouthUpperUpLeft", 0.35),
                ("mouthUpperUpRight", 0.35),
                ("mouthLowerDownLeft", 0.15),
                ("mouthLowerDownRight", 0.15),
                ("cheekSquintLeft", 0.6),
                ("cheekSquintRight", 0.6),
                ("eyeSquintLeft", 0.3),
                ("eyeSquintRight", 0.3),
            ],
            Self::Surprise => SURPRISE,
            Self::Frown => FROWN,
            Self::Sadness => &[
                ("browInnerUp", 0.9),
                ("mouthFrownLeft", 0.7),
                ("mouthFrownRight", 0.7),
                ("mouthShrugLower", 0.35),
                ("eyeSquintLeft", 0.15),
                ("eyeSquintRight", 0.15),
            ],
            Self::Pout => POUT,
            Self::Smirk => &[("mouthSmileLeft", 0.85), ("cheekSquintLeft", 0.4), ("mouthDimpleLeft", 0.4)],
        }
    }
}

/// Of a face that is surprised.
pub(super) const SURPRISE: &[(&str, f32)] = &[
    ("browInnerUp", 0.8),
    ("browOuterUpLeft", 0.85),
    ("browOuterUpRight", 0.85),
    ("eyeWideLeft", 0.8),
    ("eyeWideRight", 0.8),
    ("jawOpen", 0.5),
    ("mouthFunnel", 0.25),
];

/// Of a face that frowns.
pub(super) const FROWN: &[(&str, f32)] = &[
    ("browDownLeft", 0.95),
    ("browDownRight", 0.95),
    ("eyeSquintLeft", 0.35),
    ("eyeSquintRight", 0.35),
    ("mouthFrownLeft", 0.5),
    ("mouthFrownRight", 0.5),
    ("mouthPressLeft", 0.35),
    ("mouthPressRight", 0.35),
    ("noseSneerLeft", 0.25),
    ("noseSneerRight", 0.25),
];

/// Of a face that pouts.
pub(super) const POUT: &[(&str, f32)] = &[
    ("mouthPucker", 0.85),
    ("mouthShrugLower", 0.5),
    ("browInnerUp", 0.25),
    ("mouthFrownLeft", 0.2),
    ("mouthFrownRight", 0.2),
];

/// Where a face is turned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Facing {
    /// To the viewer.
    Camera,
    /// To the left of the picture.
    Left,
    /// To the right of the picture.
    Right,
    /// Up.
    Up,
    /// Down.
    Down,
}

impl Facing {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Camera, Self::Left, Self::Right, Self::Up, Self::Down];

    /// Its name in data sets.
    pub fn name(self) -> &'static str {
        match self {
            Self::Camera => "camera",
            Self::Left => "left",
            Self::Right => "right",
            Self::Up => "up",
            Self::Down => "down",
        }
    }

    /// The head held so; `variation` are three numbers from -1 to 1.
    pub fn pose(self, variation: [f32; 3]) -> HeadPose {
        let [a, b, c] = variation;
        let (yaw, pitch) = match self {
            Self::Camera => (0.14 * a, 0.08 * b),
            Self::Left => (-0.5 + 0.15 * a, 0.08 * b),
            Self::Right => (0.5 + 0.15 * a, 0.08 * b),
            Self::Up => (0.15 * a, 0.31 + 0.07 * b),
            Self::Down => (0.15 * a, -0.31 + 0.07 * b),
        };
        HeadPose { yaw, pitch, roll: 0.08 * c }
    }
}
