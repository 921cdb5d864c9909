use std::fmt;

use magicmirror_models::face::detector::Face;
use serde::{Deserialize, Serialize};

/// A face in a photo, in pixels of the photo.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct DetectedFace {
    /// Left, top, right, bottom; may reach outside the photo.
    #[serde(rename = "box")]
    pub bounds: [f32; 4],
    /// The detector's confidence, 0 to 1.
    pub score: f32,
    /// Left eye, right eye, nose, left and right corner of the mouth, left and right as seen in the photo.
    pub landmarks: [[f32; 2]; 5],
}

impl DetectedFace {
    /// Width and height.
    pub fn size(&self) -> [f32; 2] {
        let [left, top, right, bottom] = self.bounds;
        [right - left, bottom - top]
    }

    /// Whether the middle of another face is in this one's box.
    pub(crate) fn holds(&self, other: &Self) -> bool {
        let inside = |axis: usize| {
            let middle = f32::midpoint(other.bounds[axis], other.bounds[axis + 2]);
            (self.bounds[axis]..self.bounds[axis + 2]).contains(&middle)
        };
        inside(0) && inside(1)
    }
}

impl From<Face> for DetectedFace {
    fn from(Face { bounds, score, landmarks }: Face) -> Self {
        Self { bounds, score, landmarks }
    }
}

impl fmt::Display for DetectedFace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [left, top, ..] = self.bounds;
        let [width, height] = self.size();
        write!(f, "{width:.0}×{height:.0} pixels at ({left:.0}, {top:.0}), score {:.3}", self.score)
    }
}
