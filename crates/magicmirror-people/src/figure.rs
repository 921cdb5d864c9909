//! A person's body: its shape at rest, and how it stands at a moment.

use crate::head::{HeadModel, Joint, Mask, Part};
use crate::person::Person;
use crate::scene::{EXPRESSION_UNITS, Moment};
use crate::space::{
    Rotation, UPRIGHT, Vec3, about, add, after, between, cross, dot, length, rotated, scaled, sub, unit,
};

/// Every grown or growing head is drawn this high, chin to crown, in metres; only its proportions tell the age.
const HEAD_HEIGHT: f32 = 0.235;
/// How far the upper arms are lowered from the base mesh's stance, in radians.
const ARM_LOWERING: f32 = 0.52;
/// The eyeball's turn at weight 1 of an `eyeLook…` unit, in radians.
const LOOK: f32 = 0.5;
/// Steps of the neck's curve.
const STEPS: usize = 12;

/// The body of a person at rest: arms down, looking straight ahead, mouth closed. The origin is the head's centre.
pub struct Figure {
    /// One position per vertex of the [`HeadModel`], then its joints.
    pub rest: Vec<Vec3>,
    /// The eyeballs, the person's left one first.
    pub eyes: [Eyeball; 2],
    /// What each expression unit's offsets are multiplied by to fit this face.
    unit_scales: [f32; 52],
}

/// An eyeball at rest.
#[derive(Debug, Clone, Copy)]
pub struct Eyeball {
    /// Its centre.
    pub centre: Vec3,
    /// From the centre to the white.
    pub radius: f32,
}

/// A body at a moment.
#[derive(Debug, Clone)]
pub struct Pose {
    /// What the expression adds to each vertex at rest.
    pub moves: Vec<Vec3>,
    /// The turn of each eyeball against the head, the person's left one first.
    pub gaze: [Rotation; 2],
    sway: Vec3,
    /// Turn and shift at equal steps from chest to head.
    bends: Vec<(Rotation, Vec3)>,
}

/// Vertices of the base mesh with a meaning.
struct Marks {
    nose_tip: usize,
    mouth_corners: [usize; 2],
    /// Upper and lower lid margin above and below the pupil, left and right.
    lids: [[usize; 2]; 2],
    crown: usize,
    chin: usize,
}

impl Figure {
    /// The body of `person`.
    pub fn new(person: &Person) -> Self {
        let model = HeadModel::shared();
        let marks = marks(model);
        let mut rest = model.base().to_vec();
        for &(target, weight) in &person.shape {
            model.apply(target, weight, &mut rest);
        }
        lower_arms(model, &mut rest);
        let base = model.base();
        let size = HEAD_HEIGHT / (rest[marks.crown][1] - rest[marks.chin][1]);
        let middle = scaled(add(rest[marks.crown], rest[marks.chin]), 0.5);
        let origin = [0.0, middle[1], model.joint(Joint::Head, &rest)[2] + 0.03 / size];
        for place in &mut rest {
            *place = scaled(sub(*place, origin), size);
        }
        let eyes = [(Joint::LeftEye, Part::LeftEye), (Joint::RightEye, Part::RightEye)].map(|(joint, part)| {
            let centre = model.joint(joint, &rest);
            let corners: Vec<_> = model
                .triangles(part)
                .iter()
                .flatten()
                .map(|&corner| model.source()[corner as usize] as usize)
                .collect();
            // The back half: in front the cornea bulges.
            let back = corners.iter().filter(|&&vertex| rest[vertex][2] < centre[2]);
            let (sum, count) = back
                .fold((0.0, 0.0), |(sum, count), &vertex| (sum + length(sub(rest[vertex], centre)), count + 1.0f32));
            Eyeball { centre, radius: sum / count.max(1.0) }
        });
        let apart =
            |shape: &[Vec3]| length(sub(model.joint(Joint::LeftEye, shape), model.joint(Joint::RightEye, shape)));
        let size = apart(&rest) / apart(base);
        let mut unit_scales = [size; 52];
        for (side, lids) in marks.lids.iter().enumerate() {
            let gap = |shape: &[Vec3]| shape[lids[0]][1] - shape[lids[1]][1];
            let name = ["eyeBlinkLeft", "eyeBlinkRight"][side];
            unit_scales[unit_number(name)] = (gap(&rest) / gap(base)).clamp(0.4, 2.5);
        }
        Self { rest, eyes, unit_scales }
    }

    /// Vertices of the upper and the lower lid's margin over the pupil (0: the person's left eye, 1: the right one).
    pub(crate) fn lids(&self, side: usize) -> [usize; 2] {
        marks(HeadModel::shared()).lids[side]
    }

    /// Centre of an eyeball on the base mesh.
    pub(crate) fn base_eye(&self, left: bool) -> Vec3 {
        let model = HeadModel::shared();
        model.joint(if left { Joint::LeftEye } else { Joint::RightEye }, model.base())
    }

    /// How the body stands at `moment`.
    pub fn pose(&self, moment: &Moment) -> Pose {
        let model = HeadModel::shared();
        let mut weights = [0.0f32; 52];
        for (weight, given) in weights.iter_mut().zip(&moment.expression) {
            *weight = given.clamp(0.0, 1.0);
        }
        look(&mut weights, moment);
        let mut moves = vec![[0.0; 3]; model.base().len()];
        for (unit, &weight) in weights.iter().enumerate() {
            if weight > 0.0 {
                model.apply(model.unit(unit), weight * self.unit_scales[unit], &mut moves);
            }
        }
        let gaze = [["Left", "Out", "In"], ["Right", "In", "Out"]].map(|[side, right, left]| {
            let weight = |way: &str| weights[unit_number(&format!("eyeLook{way}{side}"))];
            let yaw = about([0.0, 1.0, 0.0], LOOK * (weight(right) - weight(left)));
            after(&yaw, &about([-1.0, 0.0, 0.0], LOOK * (weight("Up") - weight("Down"))))
        });
        let [bottom, top] = [Joint::Neck, Joint::Head].map(|joint| model.joint(joint, &self.rest));
        let step = scaled(sub(top, bottom), 1.0 / STEPS as f32);
        let mut reached = bottom;
        let bends = (0..=STEPS).map(|index| {
            let share = index as f32 / STEPS as f32;
            let turn = turn(moment, share);
            if index > 0 {
                reached = add(reached, rotated(&turn, step));
            }
            let rest = add(bottom, scaled(step, index as f32));
            (turn, sub(reached, rotated(&turn, rest)))
        });
        Pose { moves, gaze, sway: moment.sway, bends: bends.collect() }
    }

    /// Left eye, right eye, nose tip, left and right mouth corner as seen in the picture, in space.
    pub fn landmarks(&self, pose: &Pose) -> [Vec3; 5] {
        let model = HeadModel::shared();
        let marks = marks(model);
        let surface = |vertex: usize| pose.place(add(self.rest[vertex], pose.moves[vertex]), 1.0);
        let eye = |eye: &Eyeball| pose.place(add(eye.centre, [0.0, 0.0, 0.9 * eye.radius]), 1.0);
        let [left, right] = marks.mouth_corners;
        [eye(&self.eyes[1]), eye(&self.eyes[0]), surface(marks.nose_tip), surface(right), surface(left)]
    }

    /// Points whose bounds are the face's: the skin in front of the ears, hair line to chin, in space.
    pub fn face(&self, pose: &Pose) -> Vec<Vec3> {
        let model = HeadModel::shared();
        let face = model.mask(Mask::Face).iter().enumerate().filter(|(_, weight)| **weight > 0.5);
        face.map(|(vertex, _)| pose.place(add(self.rest[vertex], pose.moves[vertex]), 1.0)).collect()
    }
}

impl Pose {
    /// Where a point of the body at rest is now; `bend` says how far it follows the head (0 chest, 1 head).
    pub fn place(&self, point: Vec3, bend: f32) -> Vec3 {
        let moved = |(turn, shift): &(Rotation, Vec3)| add(rotated(turn, point), *shift);
        let (below, share) = step(bend);
        let place = if share > 0.0 {
            between(moved(&self.bends[below]), moved(&self.bends[below + 1]), share)
        } else {
            moved(&self.bends[below])
        };
        add(place, self.sway)
    }

    /// Where a direction of the body at rest points now.
    pub fn direction(&self, direction: Vec3, bend: f32) -> Vec3 {
        let (below, share) = step(bend);
        if share > 0.0 {
            let turned = |index: usize| rotated(&self.bends[index].0, direction);
            unit(between(turned(below), turned(below + 1), share))
        } else {
            rotated(&self.bends[below].0, direction)
        }
    }

    /// The turn of the head.
    pub fn head(&self) -> Rotation {
        self.bends[STEPS].0
    }
}

/// Step of the neck's curve below `bend`, and the share of the next one.
fn step(bend: f32) -> (usize, f32) {
    let place = bend.clamp(0.0, 1.0) * STEPS as f32;
    let below = place as usize;
    (below, place - below as f32)
}

/// A share of the head's turn.
fn turn(moment: &Moment, share: f32) -> Rotation {
    if share == 0.0 {
        return UPRIGHT;
    }
    let pose = moment.pose;
    let tilt = after(&about([0.0, 0.0, -1.0], share * pose.roll), &about([0.0, 1.0, 0.0], share * pose.yaw));
    after(&tilt, &about([-1.0, 0.0, 0.0], share * pose.pitch))
}

/// Adds the gaze to the units that turn eyes and move lids.
fn look(weights: &mut [f32; 52], moment: &Moment) {
    let mut add = |name: &str, angle: f32| {
        let weight = &mut weights[unit_number(name)];
        *weight = (*weight + angle / LOOK).clamp(0.0, 1.0);
    };
    let gaze = moment.gaze;
    for (side, right, left) in [("Left", "Out", "In"), ("Right", "In", "Out")] {
        add(&format!("eyeLook{right}{side}"), gaze.yaw.max(0.0));
        add(&format!("eyeLook{left}{side}"), (-gaze.yaw).max(0.0));
        add(&format!("eyeLookUp{side}"), gaze.pitch.max(0.0));
        add(&format!("eyeLookDown{side}"), (-gaze.pitch).max(0.0));
    }
}

fn unit_number(name: &str) -> usize {
    EXPRESSION_UNITS.iter().position(|unit| *unit == name).unwrap_or_default()
}

fn lower_arms(model: &HeadModel, rest: &mut [Vec3]) {
    let shoulders = [Joint::LeftShoulder, Joint::RightShoulder].map(|joint| model.joint(joint, rest));
    for (place, &arm) in rest.iter_mut().zip(model.mask(Mask::Arm)) {
        if arm > 0.0 {
            let left = place[0] > 0.0;
            let shoulder = shoulders[usize::from(!left)];
            let turn = about([0.0, 0.0, if left { -1.0 } else { 1.0 }], ARM_LOWERING * arm);
            *place = add(rotated(&turn, sub(*place, shoulder)), shoulder);
        }
    }
}

fn marks(model: &HeadModel) -> &'static Marks {
    static MARKS: std::sync::OnceLock<Marks> = std::sync::OnceLock::new();
    MARKS.get_or_init(|| {
        let base = model.base();
        let skin: Vec<usize> = (0..model.vertices())
            .filter(|&vertex| model.mask(Mask::Occlusion)[vertex] < 1.0 && model.mask(Mask::Bend)[vertex] > 0.99)
            .collect();
        let most = |score: &dyn Fn(usize) -> f32| {
            skin.iter().copied().max_by(|&a, &b| score(a).total_cmp(&score(b))).unwrap_or_default()
        };
        let lips = model.mask(Mask::Lips);
        let corner = |side: f32| most(&|vertex| if lips[vertex] > 0.3 { side * base[vertex][0] } else { -1.0 });
        let lids = [(Joint::LeftEye, "eyeBlinkLeft"), (Joint::RightEye, "eyeBlinkRight")].map(|(joint, blink)| {
            let eye = model.joint(joint, base);
            let mut moves = vec![[0.0; 3]; base.len()];
            model.apply(model.unit(unit_number(blink)), 1.0, &mut moves);
            let upper =
                most(&|vertex| if (base[vertex][0] - eye[0]).abs() < 0.003 { length(moves[vertex]) } else { -1.0 });
            let closed = add(base[upper], moves[upper]);
            let lower = most(&|vertex| {
                let still = length(moves[vertex]) < 0.4 * length(moves[upper]);
                if still { -length(sub(base[vertex], closed)) } else { -1.0 }
            });
            [upper, lower]
        });
        Marks {
            nose_tip: most(&|vertex| base[vertex][2] - 5.0 * base[vertex][0].abs()),
            mouth_corners: [corner(1.0), corner(-1.0)],
            lids,
            crown: most(&|vertex| base[vertex][1]),
            chin: most(&|vertex| {
                if base[vertex][2] > 0.07 && base[vertex][0].abs() < 0.002 { -base[vertex][1] } else { -1.0 }
            }),
        }
    })
}

/// Normals of vertices (unit length) from triangles, weighted by area; `weld` gives the vertex of each corner.
pub fn normals(places: &[Vec3], triangles: &[[u32; 3]], weld: &[u16]) -> Vec<Vec3> {
    let mut sums = vec![[0.0; 3]; places.len()];
    for triangle in triangles {
        let [a, b, c] = triangle.map(|corner| places[corner as usize]);
        let area = cross(sub(b, a), sub(c, a));
        for &corner in triangle {
            let sum = &mut sums[weld[corner as usize] as usize];
            *sum = add(*sum, area);
        }
    }
    let welded = weld.iter().map(|&vertex| {
        let sum = sums[vertex as usize];
        if dot(sum, sum) > 0.0 { unit(sum) } else { [0.0, 0.0, 1.0] }
    });
    welded.collect()
}
