//! What is true of a sample: its `KEY.json`.

use magicmirror_people::graph::SceneGraph;
use magicmirror_people::scene::{Camera, Gaze, Group, HeadPose, Size};
use serde::{Deserialize, Serialize};

use super::{Kind, Mask, Split};

/// All about a sample but its pixels.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Metadata {
    /// Always true: nobody of whom there are pictures here exists.
    pub synthetic: bool,
    /// Pair or clip.
    pub kind: Kind,
    /// What it is for.
    pub split: Split,
    /// Which sample of its kind and split, from 0.
    pub index: u64,
    /// Whom it shows.
    pub identity: Identity,
    /// A sentence or two, with the trigger `img` after the class word.
    pub caption: String,
    /// Clothes, place, light, expression, action, camera move.
    pub scene: SceneGraph,
    /// Sides of the target.
    pub size: Size,
    /// Frames per second; none in a pair.
    pub fps: Option<f64>,
    /// One for each frame of the target.
    pub frames: Vec<Truth>,
    /// One for each reference photo.
    pub references: Vec<Reference>,
}

/// Somebody who does not exist.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Identity {
    /// The same number is the same person in every data set.
    pub number: u64,
    /// Their group.
    pub group: Group,
}

/// What is true of one picture.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Truth {
    /// Around the face: x1, y1, x2, y2 in pixels; may reach out of the picture.
    #[serde(rename = "box")]
    pub face_box: [f32; 4],
    /// Left eye, right eye, nose tip, left and right corner of the mouth as seen in the picture: x, y in pixels.
    pub landmarks: [[f32; 2]; 5],
    /// The pixels that show the face.
    pub mask: Mask,
    /// How the head is turned.
    pub pose: HeadPose,
    /// Where the eyes look.
    pub gaze: Gaze,
    /// From where it is seen.
    pub camera: Camera,
}

/// A photo of the same person, under other pose, light, background, clothes and expression.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Reference {
    /// The frame of the target that it belongs to.
    pub key_frame: usize,
    /// What it shows.
    pub scene: SceneGraph,
    /// Its sides.
    pub size: Size,
    /// What is true of it.
    #[serde(flatten)]
    pub truth: Truth,
}
