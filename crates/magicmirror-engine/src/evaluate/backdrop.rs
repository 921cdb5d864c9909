//! Whether the backdrop has the colour that the prompt names, for prompts in the words of drawn people's captions.
//!
//! What is behind the person is taken to be what the upper half of the outer columns shows, most of the time. The colour
//! of a wall depends on the light, so videos drawn by the program itself say what can be reached.

use std::sync::atomic::AtomicBool;

use image::RgbImage;
use magicmirror_people::captions::backdrop_colour;
use magicmirror_people::colour::{Rgb, linear_from_srgb, nearest_name};

use super::metric::{Better, Clip, Column, Measured, Metric};
use crate::EngineError;

/// The outer columns at either side: this part of the width.
const COLUMNS: u32 = 6;

/// The metric.
pub(super) struct Backdrop {
    columns: [Column; 1],
}

impl Backdrop {
    /// The metric, which has no weights.
    pub(super) fn new() -> Self {
        let column = Column::new(
            "backdrop_colour",
            Better::Higher,
            "Success: whether the median colour left and right of the head looks most like the one of twelve named \
             colours that the prompt asks for (\u{201c}in front of a blue wall\u{201d}, \u{201c}against a plain red \
             backdrop\u{201d}); only for prompts that do.",
        );
        Self { columns: [column] }
    }
}

impl Metric for Backdrop {
    fn columns(&self) -> &[Column] {
        &self.columns
    }

    fn fingerprint(&self) -> &'static str {
        "backdrop colour 1"
    }

    fn measure(&self, clip: &Clip<'_>, _: &AtomicBool) -> Result<Measured, EngineError> {
        let asked = clip.prompt.and_then(backdrop_colour);
        let number = asked.map(|asked| f64::from(u8::from(nearest_name(median(clip.frames)) == asked)));
        Ok(Measured { numbers: vec![number], features: Vec::new() })
    }
}

/// Median of each channel in the upper half of the outer columns of all frames, as linear light.
fn median(frames: &[RgbImage]) -> Rgb {
    let mut counts = [[0usize; 256]; 3];
    for frame in frames {
        let (width, height) = frame.dimensions();
        let outer = width.div_ceil(COLUMNS);
        let seen =
            frame.enumerate_pixels().filter(|(x, y, _)| *y < height.div_ceil(2) && (*x < outer || *x >= width - outer));
        for (_, _, pixel) in seen {
            (0..3).for_each(|channel| counts[channel][usize::from(pixel[channel])] += 1);
        }
    }
    counts.map(|counts| {
        let half = counts.iter().sum::<usize>().div_ceil(2);
        let mut below = 0;
        let middle = counts.iter().position(|count| {
            below += count;
            below >= half
        });
        linear_from_srgb(middle.unwrap_or_default() as f32 / 255.0)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measured(prompt: Option<&str>, wall: [u8; 3]) -> Option<f64> {
        let person = |x: u32, y: u32| (12..36).contains(&x) && y > 8 || y > 40;
        let frame = RgbImage::from_fn(48, 64, |x, y| image::Rgb(if person(x, y) { [200, 40, 30] } else { wall }));
        let frames = vec![frame; 2];
        let clip = Clip { frames: &frames, fps: 8.0, prompt, faces: &[], references: &[] };
        Backdrop::new().measure(&clip, &AtomicBool::new(false)).expect("nothing to fail").numbers[0]
    }

    #[test]
    fn the_wall_counts_and_the_person_does_not() {
        let prompt = Some("A man img nods in front of a blue wall, wearing a red jacket");
        assert_eq!(measured(prompt, [40, 70, 180]), Some(1.0));
        assert_eq!(measured(prompt, [46, 139, 61]), Some(0.0));
        assert_eq!(measured(Some("a man img in a blue jacket on a beach"), [40, 70, 180]), None);
        assert_eq!(measured(None, [40, 70, 180]), None);
    }
}
