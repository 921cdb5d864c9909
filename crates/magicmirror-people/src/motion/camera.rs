//! Where the camera stands, and how it moves.

use rand::Rng;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use super::curve::wave;
use crate::scene::Camera;

/// What the camera does in a clip.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CameraMove {
    /// Nothing.
    Still,
    /// The angle of view narrows.
    ZoomIn,
    /// The angle of view widens.
    ZoomOut,
    /// The camera comes nearer.
    PushIn,
    /// The camera goes away.
    PullBack,
    /// The camera goes to the left.
    PanLeft,
    /// The camera goes to the right.
    PanRight,
    /// The camera goes up.
    Rise,
    /// The camera goes down.
    Sink,
    /// The camera trembles, held by hand.
    HandHeld,
}

impl CameraMove {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::Still,
        Self::ZoomIn,
        Self::ZoomOut,
        Self::PushIn,
        Self::PullBack,
        Self::PanLeft,
        Self::PanRight,
        Self::Rise,
        Self::Sink,
        Self::HandHeld,
    ];

    /// Its name in data sets.
    pub fn name(self) -> &'static str {
        match self {
            Self::Still => "still",
            Self::ZoomIn => "zoom_in",
            Self::ZoomOut => "zoom_out",
            Self::PushIn => "push_in",
            Self::PullBack => "pull_back",
            Self::PanLeft => "pan_left",
            Self::PanRight => "pan_right",
            Self::Rise => "rise",
            Self::Sink => "sink",
            Self::HandHeld => "hand_held",
        }
    }

    /// The camera at a share of the clip, from 0 to 1; half way it is at `middle`.
    pub(super) fn at(self, share: f32, middle: Camera, random: &mut ChaCha8Rng) -> Camera {
        let along = share.clamp(0.0, 1.0) - 0.5;
        let strength = random.random_range(0.85..1.15) * along;
        // Of a picture at the person's distance, in metres.
        let height = 2.0 * middle.distance * libm::tanf(middle.field_of_view / 2.0);
        let grow = |by: f32| libm::expf(by * strength);
        match self {
            Self::Still => middle,
            Self::ZoomIn => Camera { field_of_view: middle.field_of_view * grow(-0.32), ..middle },
            Self::ZoomOut => Camera { field_of_view: middle.field_of_view * grow(0.32), ..middle },
            Self::PushIn => Camera { distance: middle.distance * grow(-0.32), ..middle },
            Self::PullBack => Camera { distance: middle.distance * grow(0.32), ..middle },
            Self::PanLeft => Camera { right: middle.right - 0.2 * height * strength, ..middle },
            Self::PanRight => Camera { right: middle.right + 0.2 * height * strength, ..middle },
            Self::Rise => Camera { up: middle.up + 0.15 * height * strength, ..middle },
            Self::Sink => Camera { up: middle.up - 0.15 * height * strength, ..middle },
            Self::HandHeld => {
                let mut tremble = |frequency: f32| wave(share, frequency, random.random_range(0.0..1.0));
                let right = 0.008 * (tremble(3.1) + 0.6 * tremble(7.3));
                let up = 0.008 * (tremble(2.7) + 0.6 * tremble(6.1));
                Camera { right: middle.right + right * height, up: middle.up + up * height, ..middle }
            }
        }
    }
}

/// How much of the person is in the picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Framing {
    /// The face fills most of the height.
    CloseUp,
    /// Head and shoulders.
    Portrait,
    /// Down to the chest.
    Bust,
}

impl Framing {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::CloseUp, Self::Portrait, Self::Bust];

    /// Its name in data sets.
    pub fn name(self) -> &'static str {
        match self {
            Self::CloseUp => "close_up",
            Self::Portrait => "portrait",
            Self::Bust => "bust",
        }
    }

    /// Shares of the height of a picture, at least about as wide as high, that the face may have.
    pub fn face_height(self) -> std::ops::Range<f32> {
        match self {
            Self::CloseUp => 0.60..0.72,
            Self::Portrait => 0.50..0.60,
            Self::Bust => 0.42..0.50,
        }
    }

    /// A camera that shows a frontal face at `face_height` (of the picture's height) in a picture of this aspect (width
    /// by height); `field_of_view` is in radians.
    ///
    /// In a narrow picture all faces are smaller in proportion, so that the nearest leave room at both sides.
    pub fn camera(self, aspect: f32, face_height: f32, field_of_view: f32) -> Camera {
        let share = face_height * (aspect / NARROW).min(1.0);
        let height = FACE_HEIGHT / share;
        // Shoulders are worth more than air above the hair.
        let up = FACE_UP - 0.3 * (height - FACE_HEIGHT) * self.lowering();
        Camera { field_of_view, distance: FACE_FRONT + 0.5 * height / libm::tanf(0.5 * field_of_view), right: 0.0, up }
    }

    fn lowering(self) -> f32 {
        match self {
            Self::CloseUp => 0.0,
            Self::Portrait => 0.3,
            Self::Bust => 0.5,
        }
    }
}

/// Forehead to chin, in metres. Heads are drawn equally high, whatever the age.
const FACE_HEIGHT: f32 = 0.185;
/// Width by height of a picture in which the nearest face fills two thirds of the width.
const NARROW: f32 = 0.85;
/// The face's middle against that of the head: up, and towards the viewer, in metres.
const FACE_UP: f32 = -0.02;
const FACE_FRONT: f32 = 0.07;
