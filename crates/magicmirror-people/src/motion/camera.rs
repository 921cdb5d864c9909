//! Where the camera stands, and how it moves.

use rand::Rng;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use super::curve::wave;
use crate::scene::{Camera, Group};

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

    /// The camera move of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|camera_move| camera_move.name() == name)
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

    /// Shares of the picture's height that the face may have.
    pub fn face_height(self) -> std::ops::Range<f32> {
        match self {
            Self::CloseUp => 0.54..0.64,
            Self::Portrait => 0.44..0.54,
            Self::Bust => 0.36..0.44,
        }
    }

    /// A camera that shows a frontal face at `face_height` (of the picture's height) in a picture of this aspect (width
    /// by height); `field_of_view` is in radians.
    ///
    /// The face leaves room at both sides, so in a narrow picture it may be smaller than asked for.
    pub fn camera(self, group: Group, aspect: f32, face_height: f32, field_of_view: f32) -> Camera {
        let share = face_height.min(0.62 * aspect / FACE_ASPECT);
        let height = face_metres(group) / share;
        // The face's middle lies below that of the head. Shoulders are worth more than air above the hair.
        let up = -0.02 - 0.3 * (height - face_metres(group)) * self.lowering();
        Camera { field_of_view, distance: 0.5 * height / libm::tanf(0.5 * field_of_view), right: 0.0, up }
    }

    fn lowering(self) -> f32 {
        match self {
            Self::CloseUp => 0.0,
            Self::Portrait => 0.3,
            Self::Bust => 0.5,
        }
    }
}

/// Width of a face by its height.
const FACE_ASPECT: f32 = 0.78;

/// Forehead to chin, in metres.
fn face_metres(group: Group) -> f32 {
    match group {
        Group::Man | Group::ElderlyMan => 0.195,
        Group::Woman | Group::ElderlyWoman => 0.182,
        Group::Boy | Group::Girl => 0.162,
        Group::Baby => 0.125,
    }
}
