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
/// The middle of the mouth on the base mesh.
const MOUTH: Vec3 = [0.0, -0.066, 0.106];
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
        even_out(model, &mut rest);
        lower_arms(model, &mut rest);
        close_mouth(model, &mut rest);
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

    /// How the body stands at `moment`.
    pub fn pose(&self, moment: &Moment) -> Pose {
        let model = HeadModel::shared();
        let mut weights = [0.0f32; 52];
        for (weight, given) in weights.iter_mut().zip(&moment.expression) {
            *weight = given.clamp(0.0, 1.0);
        }
        look(&mut weights, moment);
        // This unit closes lips over an open jaw.
        let jaw = weights[unit_number("jawOpen")];
        let close = &mut weights[unit_number("mouthClose")];
        *close = close.min(jaw);
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
        let surface =
            |vertex: usize, offset: Vec3| pose.place(add(add(self.rest[vertex], pose.moves[vertex]), offset), 1.0);
        let eye = |eye: &Eyeball| pose.place(add(eye.centre, [0.0, 0.0, 0.9 * eye.radius]), 1.0);
        let [left, right] = marks.mouth_corners.map(|corner| surface(corner, [0.0, 0.0012, 0.0]));
        // Detectors mark the ridge above the very tip.
        let nose = surface(marks.nose_tip, [0.0, 0.0036, -0.0015]);
        [eye(&self.eyes[1]), eye(&self.eyes[0]), nose, right, left]
    }

    /// Points whose bounds are the face's: the skin in front of the ears, hair line to chin, in space.
    pub fn face(&self, pose: &Pose) -> Vec<Vec3> {
        static FACE: std::sync::OnceLock<Vec<usize>> = std::sync::OnceLock::new();
        let vertices = FACE.get_or_init(|| {
            let model = HeadModel::shared();
            // The skin's alone: the masks go on over shells for hair and clothes.
            let skin = model.triangles(Part::Skin).iter().flatten();
            let mut vertices: Vec<usize> = skin.map(|&corner| model.source()[corner as usize] as usize).collect();
            vertices.sort_unstable();
            vertices.dedup();
            vertices.retain(|&vertex| model.mask(Mask::Face)[vertex] > 0.5);
            vertices
        });
        vertices.iter().map(|&vertex| pose.place(add(self.rest[vertex], pose.moves[vertex]), 1.0)).collect()
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

/// Vertices of the upper and the lower lid's margin over the pupil (0: the person's left eye, 1: the right one).
pub(crate) fn lids(side: usize) -> [usize; 2] {
    marks(HeadModel::shared()).lids[side]
}

/// Centre of an eyeball on the base mesh.
pub(crate) fn base_eye(left: bool) -> Vec3 {
    let model = HeadModel::shared();
    model.joint(if left { Joint::LeftEye } else { Joint::RightEye }, model.base())
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

/// Smooths what shapes have moved: their offsets are rounded to tenths of millimetres, which shows as ripples.
fn even_out(model: &HeadModel, rest: &mut [Vec3]) {
    let base = model.base();
    for _ in 0..2 {
        let moved: Vec<Vec3> = rest.iter().zip(base).map(|(&place, &base)| sub(place, base)).collect();
        let mut sums = vec![([0.0; 3], 0.0f32); rest.len()];
        for triangle in model.triangles(Part::Skin) {
            let vertices = triangle.map(|corner| model.source()[corner as usize] as usize);
            for (corner, &vertex) in vertices.iter().enumerate() {
                let (sum, count) = &mut sums[vertex];
                *sum = add(*sum, add(moved[vertices[(corner + 1) % 3]], moved[vertices[(corner + 2) % 3]]));
                *count += 2.0;
            }
        }
        for (vertex, (sum, count)) in sums.into_iter().enumerate().filter(|(_, (_, count))| *count > 0.0) {
            rest[vertex] = add(base[vertex], between(moved[vertex], scaled(sum, 1.0 / count), 0.5));
        }
    }
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

/// Brings lips together that shapes have parted.
fn close_mouth(model: &HeadModel, rest: &mut [Vec3]) {
    /// How far the correction reaches, in metres on the base mesh.
    const REACH: f32 = 0.009;
    let base = model.base();
    let seam = seam(model);
    let gaps: Vec<Vec3> = seam
        .iter()
        .map(|&[upper, lower]| {
            let gap = sub(rest[upper], rest[lower]);
            // On the base mesh the lips only just meet.
            [0.0, (gap[1] - (base[upper][1] - base[lower][1])).max(0.0) + 0.0008, 0.0]
        })
        .collect();
    let corrected: Vec<(usize, Vec3)> = lips(model)
        .iter()
        .map(|&(vertex, upper)| {
            let (mut sum, mut total, mut nearest) = ([0.0; 3], 1e-9, f32::MAX);
            for (pair, gap) in seam.iter().zip(&gaps) {
                let distance = length(sub(base[vertex], base[pair[usize::from(!upper)]]));
                let weight = 1.0 / (distance * distance + 1e-7);
                sum = add(sum, scaled(*gap, weight));
                total += weight;
                nearest = nearest.min(distance);
            }
            let share = crate::space::smoothstep(REACH, 0.0, nearest) * if upper { -0.5 } else { 0.5 };
            (vertex, scaled(sum, share / total))
        })
        .collect();
    for (vertex, shift) in corrected {
        rest[vertex] = add(rest[vertex], shift);
    }
}

/// Vertices round the mouth, and whether they belong to the upper lip (which an opening jaw leaves in place).
fn lips(model: &HeadModel) -> &'static [(usize, bool)] {
    static LIPS: std::sync::OnceLock<Vec<(usize, bool)>> = std::sync::OnceLock::new();
    LIPS.get_or_init(|| {
        let mut moves = vec![[0.0; 3]; model.base().len()];
        model.apply(model.unit(unit_number("jawOpen")), 1.0, &mut moves);
        let most = moves.iter().map(|&step| -step[1]).fold(0.0, f32::max);
        let skin = model.triangles(Part::Skin).iter().flatten().map(|&corner| model.source()[corner as usize] as usize);
        let mut vertices: Vec<usize> =
            skin.filter(|&vertex| length(sub(model.base()[vertex], MOUTH)) < 0.045).collect();
        vertices.sort_unstable();
        vertices.dedup();
        vertices.into_iter().map(|vertex| (vertex, -moves[vertex][1] < 0.35 * most)).collect()
    })
}

/// Pairs of vertices of the upper and the lower lip that touch on the base mesh.
fn seam(model: &HeadModel) -> &'static [[usize; 2]] {
    static SEAM: std::sync::OnceLock<Vec<[usize; 2]>> = std::sync::OnceLock::new();
    SEAM.get_or_init(|| {
        let base = model.base();
        let (upper, lower): (Vec<_>, Vec<_>) = lips(model).iter().partition(|(_, upper)| *upper);
        let pairs = upper.iter().filter_map(|&(above, _)| {
            let apart = |below: usize| length(sub(base[above], base[below]));
            let (below, _) = lower.iter().min_by(|a, b| apart(a.0).total_cmp(&apart(b.0)))?;
            (apart(*below) < 0.0022 && base[above][2] > MOUTH[2] - 0.02).then_some([above, *below])
        });
        pairs.collect()
    })
}

fn marks(model: &HeadModel) -> &'static Marks {
    static MARKS: std::sync::OnceLock<Marks> = std::sync::OnceLock::new();
    MARKS.get_or_init(|| {
        let base = model.base();
        let mut skin: Vec<usize> = model
            .triangles(Part::Skin)
            .iter()
            .flatten()
            .map(|&corner| model.source()[corner as usize] as usize)
            .collect();
        skin.sort_unstable();
        skin.dedup();
        skin.retain(|&vertex| model.mask(Mask::Bend)[vertex] > 0.99);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scene::{Camera, Gaze, Group, HeadPose};

    fn moment(pose: HeadPose) -> Moment {
        let camera = Camera { field_of_view: 0.4, distance: 1.0, right: 0.0, up: 0.0 };
        Moment { pose, gaze: Gaze::default(), expression: vec![0.0; 52], sway: [0.0; 3], camera }
    }

    /// A person with the base mesh's symmetric shape.
    fn symmetric() -> Figure {
        let mut person = Person::from_seed(1, Group::Woman);
        person.shape.clear();
        Figure::new(&person)
    }

    fn landmarks(figure: &Figure, pose: HeadPose) -> [Vec3; 5] {
        figure.landmarks(&figure.pose(&moment(pose)))
    }

    #[test]
    fn opposite_turns_mirror() {
        let figure = symmetric();
        let pose = HeadPose { yaw: 0.5, pitch: 0.2, roll: 0.1 };
        let one = landmarks(&figure, pose);
        let other = landmarks(&figure, HeadPose { yaw: -0.5, roll: -0.1, ..pose });
        for (mark, mirrored) in [(0, 1), (1, 0), (2, 2), (3, 4), (4, 3)] {
            let [x, y, z] = other[mirrored];
            assert!(length(sub(one[mark], [-x, y, z])) < 3e-4, "{mark}: {:?} against {:?}", one[mark], other[mirrored]);
        }
    }

    #[test]
    fn turns_go_where_their_names_say() {
        let figure = symmetric();
        let nose = |pose| landmarks(&figure, pose)[2];
        let rest = nose(HeadPose::default());
        assert!(nose(HeadPose { yaw: 0.4, ..HeadPose::default() })[0] > rest[0] + 0.02);
        assert!(nose(HeadPose { pitch: 0.4, ..HeadPose::default() })[1] > rest[1] + 0.02);
        let [left, right, ..] = landmarks(&figure, HeadPose { roll: 0.4, ..HeadPose::default() });
        assert!(left[1] > right[1] + 0.01 && left[0] < right[0]);
    }

    #[test]
    fn shoulders_stay() {
        let figure = symmetric();
        let pose = figure.pose(&moment(HeadPose { yaw: 0.7, pitch: -0.3, roll: 0.2 }));
        let place = [0.15, -0.3, 0.0];
        assert!(length(sub(pose.place(place, 0.0), place)) < 1e-6);
    }

    #[test]
    fn blinks_close_every_eye() {
        let blink = [unit_number("eyeBlinkLeft"), unit_number("eyeBlinkRight")];
        for group in Group::ALL {
            for seed in 0..6 {
                let figure = Figure::new(&Person::from_seed(seed, group));
                let mut closed = moment(HeadPose::default());
                for unit in blink {
                    closed.expression[unit] = 1.0;
                }
                let (open, closed) = (figure.pose(&moment(HeadPose::default())), figure.pose(&closed));
                for side in 0..2 {
                    let [upper, lower] = lids(side);
                    let gap = |pose: &Pose| {
                        figure.rest[upper][1] + pose.moves[upper][1] - figure.rest[lower][1] - pose.moves[lower][1]
                    };
                    assert!(gap(&open) > 0.003, "{group:?} {seed}: open by {}", gap(&open));
                    assert!(gap(&closed) < 0.2 * gap(&open), "{group:?} {seed}: {} of {}", gap(&closed), gap(&open));
                }
            }
        }
    }

    #[test]
    fn mouths_at_rest_are_closed() {
        let model = HeadModel::shared();
        for group in Group::ALL {
            let figure = Figure::new(&Person::from_seed(3, group));
            let gap = |&[upper, lower]: &[usize; 2]| figure.rest[upper][1] - figure.rest[lower][1];
            let widest = seam(model).iter().map(gap).fold(0.0, f32::max);
            assert!(seam(model).len() > 8 && widest < 0.0025, "{group:?}: {widest}");
        }
    }
}
