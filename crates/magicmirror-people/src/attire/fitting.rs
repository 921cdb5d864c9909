//! The measures that a tailor and a hairdresser take of one person at rest.

use std::sync::OnceLock;

use super::skull::Skull;
use super::torso::{Neck, Torso};
use crate::figure::{Eyeball, Figure};
use crate::head::{HeadModel, Mask, Part};
use crate::space::{Vec3, add, dot, scaled, sub};

/// Measures of one head and body, in metres.
pub(crate) struct Fitting {
    pub(crate) skull: Skull,
    pub(crate) torso: Torso,
    pub(crate) neck: Neck,
    /// Size of the head, 1 for a grown person's.
    pub(crate) size: f32,
    /// Size of the body, 1 for a grown person's.
    pub(crate) build: f32,
    /// Height of the brows.
    pub(crate) brows: f32,
    /// Height of the chin's lower edge.
    pub(crate) chin: f32,
    /// Half the distance from cheek to cheek.
    pub(crate) half_width: f32,
    /// Depth of the ears' front.
    pub(crate) ears_front: f32,
    /// Centres of the pupils, left and right as seen in the picture.
    pub(crate) eyes: [Vec3; 2],
    /// The bridge of the nose, between the eyes.
    pub(crate) bridge: Vec3,
    /// Where the ears' upper ends meet the head.
    pub(crate) ears: [Vec3; 2],
    /// Lower ends of the ear lobes.
    pub(crate) lobes: [Vec3; 2],
    /// Heights of the usual neckline at the throat, at the side and at the nape.
    pub(crate) neckline: [f32; 3],
    /// How far the body follows the head's turn, from the shoulders up.
    bend: Vec<f32>,
}

/// Points of the base mesh that are looked for: the nearest vertices of the skin.
const MARKS: [Vec3; 15] = [
    [0.030, 0.022, 0.092],
    [0.0, -0.116, 0.085],
    [0.068, -0.030, 0.035],
    [0.076, -0.012, 0.018],
    [0.0, 0.004, 0.105],
    [-0.076, 0.006, 0.004],
    [0.076, 0.006, 0.004],
    [-0.0728, -0.0477, 0.013],
    [0.0728, -0.0477, 0.013],
    [0.0, -0.166, 0.025],
    [0.063, -0.145, -0.050],
    [0.0, -0.142, -0.070],
    [-0.075, 0.02, -0.012],
    [0.075, 0.02, -0.012],
    [0.0, 0.119, -0.012],
];
/// Heights of the bend's profile: from this upwards, this far apart.
const LOWEST: f32 = -0.22;
const STEP: f32 = 0.01;

impl Fitting {
    /// Measures a body at rest.
    pub(crate) fn new(figure: &Figure) -> Self {
        static VERTICES: OnceLock<Vec<usize>> = OnceLock::new();
        let (model, shape) = (HeadModel::shared(), figure.rest.as_slice());
        let vertices = VERTICES.get_or_init(|| MARKS.iter().map(|&mark| nearest(model, mark)).collect());
        let [
            brow,
            chin,
            cheek,
            ear,
            bridge,
            left_ear,
            right_ear,
            left_lobe,
            right_lobe,
            throat,
            corner,
            nape,
            left,
            right,
            crown,
        ] = std::array::from_fn(|index| shape[vertices[index]]);
        let base = model.base();
        let size = (crown[1] - chin[1]) / (MARKS[14][1] - MARKS[1][1]);
        let centre = scaled(add(left, right), 0.5);
        let ears = model.mask(Mask::Ears);
        let skin = |keep: fn(Vec3) -> bool| {
            model
                .triangles(Part::Skin)
                .iter()
                .map(|corners| corners.map(|corner| model.source()[corner as usize] as usize))
                .filter(move |vertices| vertices.iter().all(|&vertex| keep(base[vertex])))
        };
        let head = skin(|[_, y, _]| y > -0.125).filter(|vertices| vertices.iter().all(|&vertex| ears[vertex] < 0.5));
        let [left_eye, right_eye] = &figure.eyes;
        let pupil = |eye: &Eyeball| add(eye.centre, [0.0, 0.0, eye.radius]);
        Self {
            skull: Skull::new(shape, head, model.mask(Mask::Scalp), centre),
            torso: Torso::new(shape, skin(|[_, y, _]| y < -0.075)),
            neck: Neck::new(
                shape,
                skin(|[x, y, z]| y < -0.07 && x.abs() < 0.14 && (z < 0.03 || y < -0.16)),
                nape[2] + 0.45 * (throat[2] - nape[2]),
                chin[1] + 0.03 * size,
            ),
            size,
            build: corner[0] / MARKS[10][0],
            brows: brow[1],
            chin: chin[1],
            half_width: cheek[0],
            ears_front: ear[2] - 0.02 * size,
            eyes: [pupil(right_eye), pupil(left_eye)],
            bridge,
            ears: [left_ear, right_ear],
            lobes: [left_lobe, right_lobe],
            neckline: [throat[1], corner[1], nape[1]],
            bend: bend_profile(model, shape),
        }
    }

    /// How far what lies at a point outside the skin follows the head's turn, 0 to 1.
    pub(crate) fn bend(&self, point: Vec3) -> f32 {
        let place = ((point[1] - LOWEST) / STEP).clamp(0.0, (self.bend.len() - 1) as f32);
        let below = (place as usize).min(self.bend.len() - 2);
        self.bend[below] + (self.bend[below + 1] - self.bend[below]) * (place - below as f32)
    }
}

fn nearest(model: &HeadModel, mark: Vec3) -> usize {
    let distance = |vertex: usize| {
        let offset = sub(model.base()[vertex], mark);
        dot(offset, offset)
    };
    let skin = model.triangles(Part::Skin).iter().flatten().map(|&corner| model.source()[corner as usize] as usize);
    skin.min_by(|&one, &other| distance(one).total_cmp(&distance(other))).unwrap_or(0)
}

/// Mean bend of the neck's and the head's vertices by height.
fn bend_profile(model: &HeadModel, shape: &[Vec3]) -> Vec<f32> {
    let mut sums = vec![(0.0, 0.0); 22];
    let bend = model.mask(Mask::Bend);
    for &corner in model.triangles(Part::Skin).iter().flatten() {
        let vertex = model.source()[corner as usize] as usize;
        let place = (shape[vertex][1] - LOWEST) / STEP;
        // The chin hangs before the neck and would count twice.
        if model.base()[vertex][2] < 0.05 && place >= 0.0 && (place as usize) < sums.len() {
            let (sum, count) = &mut sums[place as usize];
            *sum += bend[vertex];
            *count += 1.0;
        }
    }
    let mut last = 0.0;
    sums.into_iter()
        .map(|(sum, count)| {
            last = if count > 0.0 { (sum / count).max(last) } else { last };
            last
        })
        .collect()
}
