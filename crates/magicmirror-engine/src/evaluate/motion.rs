//! How much a face moves, from its five landmarks (FM in the paper, section 4.1).
//!
//! The paper gives no formula for the distance between two sets of landmarks: it is read here as the length of all ten
//! differences together (`fm_ref`, `fm_inter`) and as the mean over the five points (`…_points`). Its landmarks come from
//! RetinaFace, these from the detector of this program.

use crate::identity::DetectedFace;

/// Five points, in whatever unit.
type Points = [[f64; 2]; 5];

/// How far two sets of landmarks are from each other.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Distance {
    /// The square root of the sum of all ten squared differences.
    pub(super) together: f64,
    /// The mean of the distances of the five points.
    pub(super) points: f64,
}

/// Distance of a frame's expression from that of a reference photo (FM_ref): position and size of the face count nothing.
/// `None` where a box has no area.
pub(super) fn from_reference(face: &DetectedFace, reference: &DetectedFace) -> Option<Distance> {
    Some(distance(&in_box(face)?, &in_box(reference)?))
}

/// The largest movements of a face (FM_inter): landmarks in the frame, in units of the first face's diagonal.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Movement {
    /// Between two frames that follow each other, by [`Distance::together`].
    pub(super) consecutive: f64,
    /// The same by [`Distance::points`].
    pub(super) consecutive_points: f64,
    /// Between any two frames, by [`Distance::together`].
    pub(super) any: f64,
}

/// Movement between the frames of a video, those without a face being gaps. `None` where no two frames follow each other.
pub(super) fn between_frames(faces: &[Option<DetectedFace>]) -> Option<Movement> {
    let steps = steps(faces);
    let largest = |of: fn(&Distance) -> f64| steps.iter().flatten().map(of).max_by(f64::total_cmp);
    let found: Vec<Points> = points_in_frames(faces).into_iter().flatten().collect();
    let any = found.iter().enumerate().flat_map(|(index, a)| found[..index].iter().map(|b| distance(a, b).together));
    Some(Movement {
        consecutive: largest(|step| step.together)?,
        consecutive_points: largest(|step| step.points)?,
        any: any.max_by(f64::total_cmp)?,
    })
}

/// How far the landmarks move from each frame to the next; `None` where one of the two shows no face.
pub(super) fn steps(faces: &[Option<DetectedFace>]) -> Vec<Option<Distance>> {
    points_in_frames(faces).windows(2).map(|pair| Some(distance(&pair[0]?, &pair[1]?))).collect()
}

/// Landmarks in units of the first face's diagonal.
fn points_in_frames(faces: &[Option<DetectedFace>]) -> Vec<Option<Points>> {
    let [width, height] = faces.iter().flatten().next().map_or([1.0; 2], DetectedFace::size);
    let diagonal = f64::from(width).hypot(f64::from(height));
    let scaled = |face: DetectedFace| face.landmarks.map(|point| point.map(|value| f64::from(value) / diagonal));
    faces.iter().map(|face| face.map(scaled)).collect()
}

fn in_box(face: &DetectedFace) -> Option<Points> {
    let [left, top, ..] = face.bounds.map(f64::from);
    let [width, height] = face.size().map(f64::from);
    (width > 0.0 && height > 0.0)
        .then(|| face.landmarks.map(|[x, y]| [(f64::from(x) - left) / width, (f64::from(y) - top) / height]))
}

fn distance(a: &Points, b: &Points) -> Distance {
    let squared: Vec<f64> = a.iter().zip(b).map(|(a, b)| (a[0] - b[0]).powi(2) + (a[1] - b[1]).powi(2)).collect();
    Distance {
        together: squared.iter().sum::<f64>().sqrt(),
        points: squared.iter().map(|squared| squared.sqrt()).sum::<f64>() / squared.len() as f64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FACE: DetectedFace = DetectedFace {
        bounds: [100.0, 50.0, 180.0, 150.0],
        score: 1.0,
        landmarks: [[120.0, 85.0], [155.0, 83.0], [140.0, 105.0], [125.0, 128.0], [152.0, 126.0]],
    };

    /// The face under `x -> scale·x + shift` along both axes.
    fn moved(face: &DetectedFace, scale: f32, shift: [f32; 2]) -> DetectedFace {
        let point = |[x, y]: [f32; 2]| [scale * x + shift[0], scale * y + shift[1]];
        let [left, top, right, bottom] = face.bounds;
        let ([left, top], [right, bottom]) = (point([left, top]), point([right, bottom]));
        DetectedFace { bounds: [left, top, right, bottom], landmarks: face.landmarks.map(point), ..*face }
    }

    /// The face in a picture of so many pixels' width turned left to right: what was left is right.
    fn mirrored(face: &DetectedFace, width: f32) -> DetectedFace {
        let [left, top, right, bottom] = face.bounds;
        let flip = |[x, y]: [f32; 2]| [width - x, y];
        let [left_eye, right_eye, nose, left_mouth, right_mouth] = face.landmarks.map(flip);
        DetectedFace {
            bounds: [width - right, top, width - left, bottom],
            landmarks: [right_eye, left_eye, nose, right_mouth, left_mouth],
            ..*face
        }
    }

    fn smiling(face: &DetectedFace) -> DetectedFace {
        let mut face = *face;
        face.landmarks[3][0] -= 8.0;
        face.landmarks[4][1] -= 6.0;
        face
    }

    fn close(a: f64, b: f64) -> bool {
        (a - b).abs() < 1e-5
    }

    #[test]
    fn distances_by_hand() {
        let found = from_reference(&smiling(&FACE), &FACE).expect("boxes");
        // A tenth of the width, six hundredths of the height.
        assert!(close(found.together, (0.01_f64 + 0.0036).sqrt()) && close(found.points, 0.16 / 5.0), "{found:?}");
        let found = between_frames(&[Some(FACE), Some(smiling(&FACE))]).expect("two frames");
        let diagonal = 80f64.hypot(100.0);
        assert!(close(found.consecutive, 10.0 / diagonal) && close(found.consecutive_points, 14.0 / 5.0 / diagonal));
    }

    #[test]
    fn a_still_face_does_not_move() {
        let found = between_frames(&[Some(FACE); 4]).expect("frames");
        assert_eq!(found, Movement { consecutive: 0.0, consecutive_points: 0.0, any: 0.0 });
        assert_eq!(from_reference(&FACE, &FACE), Some(Distance { together: 0.0, points: 0.0 }));
    }

    #[test]
    fn translation_is_motion_between_frames_but_no_other_expression() {
        let face = moved(&FACE, 1.0, [30.0, -40.0]);
        let found = between_frames(&[Some(FACE), Some(face)]).expect("two frames");
        assert!(close(found.consecutive_points, 50.0 / 80f64.hypot(100.0)), "{found:?}");
        let expression = from_reference(&face, &FACE).expect("boxes");
        assert!(expression.together < 1e-6, "{expression:?}");
    }

    #[test]
    fn size_counts_nothing() {
        let clip = [FACE, smiling(&moved(&FACE, 1.0, [5.0, 2.0]))];
        let larger = clip.map(|face| moved(&face, 3.0, [0.0, 0.0]));
        let (small, large) = (between_frames(&clip.map(Some)), between_frames(&larger.map(Some)));
        assert!(close(small.expect("frames").consecutive, large.expect("frames").consecutive));
        let expressions = [clip[1], larger[1]].map(|face| from_reference(&face, &FACE).expect("boxes").together);
        assert!(close(expressions[0], expressions[1]));
    }

    #[test]
    fn mirroring_clip_and_reference_changes_nothing() {
        let clip = [FACE, smiling(&moved(&FACE, 1.1, [5.0, 2.0])), moved(&FACE, 0.9, [-9.0, 4.0])];
        let mirror = clip.map(|face| mirrored(&face, 720.0));
        let (plain, turned) = (between_frames(&clip.map(Some)), between_frames(&mirror.map(Some)));
        let (plain, turned) = (plain.expect("frames"), turned.expect("frames"));
        assert!(close(plain.consecutive, turned.consecutive) && close(plain.any, turned.any));
        for (face, turned) in clip.iter().zip(&mirror) {
            let plain = from_reference(face, &FACE).expect("boxes");
            let turned = from_reference(turned, &mirrored(&FACE, 720.0)).expect("boxes");
            assert!(close(plain.together, turned.together) && close(plain.points, turned.points));
        }
        // Mirroring the clip alone does change it: the test can fail.
        let alone = from_reference(&mirror[1], &FACE).expect("boxes");
        assert!(!close(alone.together, from_reference(&clip[1], &FACE).expect("boxes").together));
    }

    #[test]
    fn frames_without_a_face_are_gaps() {
        let far = moved(&FACE, 1.0, [100.0, 0.0]);
        assert_eq!(between_frames(&[Some(FACE), None, Some(far)]), None);
        assert_eq!(between_frames(&[None, None]), None);
        let found = between_frames(&[Some(FACE), None, Some(far), Some(far)]).expect("two frames in a row");
        assert!(found.consecutive == 0.0 && found.any > 1.0, "{found:?}");
    }
}
