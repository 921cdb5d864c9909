//! Hair: locks grown from the scalp of one head, as ribbons over a shell of fur.

mod guide;
mod strips;
mod style;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::hat::Rim;
use crate::skull::Skull;
use crate::torso::Torso;
use crate::vector::{Vec3, add, between, cross, dot, minus, scaled, unit};
use guide::{FaceWindow, Ground, Lock, eased, grow};
use strips::smooth;
pub(crate) use strips::{HairMesh, HairVertex, hash, strands};
use style::{Bound, Comb, Style};

/// How hair is worn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HairStyle {
    /// None.
    Bald,
    /// A few millimetres.
    Buzz,
    /// Short and forward.
    Short,
    /// Short, parted at one side.
    SidePart,
    /// Short, combed back.
    SweptBack,
    /// None on top, short at the sides.
    Receding,
    /// Over the forehead, to the neck.
    Fringe,
    /// To the chin.
    Bob,
    /// Over the shoulders.
    LongStraight,
    /// Over the shoulders, in waves.
    LongWavy,
    /// To the neck, curled.
    Curly,
    /// A round crown of tight curls.
    Afro,
    /// Wound up on the head.
    Bun,
    /// Bound behind.
    Ponytail,
    /// Two braids.
    Braids,
    /// A baby's down.
    BabyFuzz,
}

impl HairStyle {
    /// All of them.
    pub const ALL: [Self; 16] = [
        Self::Bald,
        Self::Buzz,
        Self::Short,
        Self::SidePart,
        Self::SweptBack,
        Self::Receding,
        Self::Fringe,
        Self::Bob,
        Self::LongStraight,
        Self::LongWavy,
        Self::Curly,
        Self::Afro,
        Self::Bun,
        Self::Ponytail,
        Self::Braids,
        Self::BabyFuzz,
    ];
}

/// Where on the head hair must end or part, in metres.
#[derive(Clone, Copy)]
pub(crate) struct FaceMarks {
    /// Height of the brows.
    pub(crate) brows: f32,
    /// Height of the chin's lower edge.
    pub(crate) chin: f32,
    /// Half the distance from cheek to cheek.
    pub(crate) half_width: f32,
    /// Depth of the ears' front.
    pub(crate) ears: f32,
}

/// Hair of one head at rest: `locks` (ribbons) over `fur` (shells).
pub(crate) struct Hair {
    pub(crate) locks: HairMesh,
    pub(crate) fur: HairMesh,
}

impl Hair {
    /// Grows the hair; under a hat with a rim it is pressed to the head.
    pub(crate) fn grow(
        style: HairStyle,
        skull: &Skull,
        torso: &Torso,
        marks: FaceMarks,
        rim: Option<&Rim>,
        seed: u64,
    ) -> Self {
        let mut hair = Self { locks: HairMesh::default(), fur: HairMesh::default() };
        let Some(mut look) = Style::of(style) else { return hair };
        let mut random = ChaCha8Rng::seed_from_u64(seed ^ 0x4A12);
        if let Comb::Parted(place) = &mut look.comb {
            *place *= if random.random::<bool>() { 1.0 } else { -1.0 };
        }
        let size = (marks.brows - marks.chin) / 0.135;
        let face = FaceWindow {
            top: marks.brows,
            bottom: marks.chin - 0.01,
            half_width: marks.half_width * 0.93,
            behind: marks.ears,
        };
        let grower = Grower { look, style, ground: Ground { skull, torso, face }, marks, size, covered: rim.is_some() };
        grower.fur(&mut hair.fur, seed as u32);
        let mut key = 1;
        for (azimuth, polar) in roots(skull, grower.look.locks, &mut random) {
            let density = grower.density(azimuth, polar);
            if density > 0.35 + 0.3 * random.random::<f32>() {
                grower.lock(&mut hair.locks, azimuth, polar, key, &mut random);
                key += 1;
            }
        }
        match grower.look.bound {
            Some(Bound::Bun) => grower.bun(&mut hair.locks),
            Some(Bound::Ponytail) => grower.ponytail(&mut hair.locks, &mut random),
            Some(Bound::Braids) => grower.braids(&mut hair.locks),
            None => {}
        }
        if let Some(rim) = rim {
            for vertex in hair.locks.vertices.iter_mut().chain(&mut hair.fur.vertices) {
                vertex.position = rim.press(skull, vertex.position);
            }
        }
        hair
    }
}

/// Evenly strewn places on the scalp, near the pole first.
fn roots(skull: &Skull, count: usize, random: &mut ChaCha8Rng) -> Vec<(f32, f32)> {
    // The scalp reaches to some 2.1 radians from the whorl: equal areas are equal steps of the cosine.
    let lowest = libm::cosf(2.15);
    (0..count)
        .map(|index| {
            let cos = 1.0 - (1.0 - lowest) * (index as f32 + random.random::<f32>()) / count as f32;
            // The golden angle spreads neighbours apart.
            let azimuth = 2.399_963 * index as f32 + 0.5 * random.random::<f32>();
            (azimuth - std::f32::consts::TAU * (azimuth / std::f32::consts::TAU + 0.5).floor(), libm::acosf(cos))
        })
        .filter(|&(azimuth, polar)| skull.growth(azimuth, polar) > 0.02)
        .collect()
}

struct Grower<'a> {
    look: Style,
    style: HairStyle,
    ground: Ground<'a>,
    marks: FaceMarks,
    /// Of the head, 1 for an adult's.
    size: f32,
    /// Whether a hat is worn over it.
    covered: bool,
}

impl Grower<'_> {
    /// How much hair grows at a place, 0 to 1.
    fn density(&self, azimuth: f32, polar: f32) -> f32 {
        let growth = self.ground.skull.growth(azimuth, polar);
        if self.style != HairStyle::Receding {
            return growth;
        }
        let up = self.ground.skull.direction(azimuth, polar);
        let bare = ((up[1] - 0.42) / 0.2).clamp(0.0, 1.0) * ((up[2] + 0.75) / 0.35).clamp(0.0, 1.0);
        growth * (1.0 - bare)
    }

    /// 1 on top of the head, 0 at ears and nape.
    fn height(&self, azimuth: f32, polar: f32) -> f32 {
        let up = self.ground.skull.direction(azimuth, polar)[1];
        ((up - 0.15) / 0.55).clamp(0.0, 1.0)
    }

    fn comb(&self, azimuth: f32, polar: f32) -> Vec3 {
        let skull = self.ground.skull;
        let [x, _, z] = skull.direction(azimuth, polar);
        let whorl = skull.away_from_whorl(azimuth, polar);
        match self.look.comb {
            Comb::Whorl => whorl,
            Comb::Back => [0.5 * x, -0.25, -1.0],
            Comb::Forward => add(whorl, [0.5 * x.signum() * x * x, 0.0, 0.15]),
            Comb::Parted(part) => {
                let side = if skull.point(azimuth, polar, 0.0)[0] > part { 1.0 } else { -1.0 };
                // There is a parting in front only.
                let parted = ((z + 0.35) / 0.5).clamp(0.0, 1.0);
                add(scaled([side, -0.25, -0.45 - 0.3 * z], parted), scaled(whorl, 1.1 - 0.8 * parted))
            }
        }
    }

    fn lock(&self, mesh: &mut HairMesh, azimuth: f32, polar: f32, key: u32, random: &mut ChaCha8Rng) {
        let look = &self.look;
        let skull = self.ground.skull;
        let height = self.height(azimuth, polar);
        let mut vary = |spread: f32| 1.0 + spread * (2.0 * random.random::<f32>() - 1.0);
        let lift = (look.side_lift + (look.lift - look.side_lift) * height) * vary(0.35) * self.size;
        let full = look.sides + (look.top - look.sides) * height;
        let front =
            skull.direction(azimuth, polar)[2] > 0.3 && skull.point(azimuth, polar, 0.0)[0].abs() < 0.042 * self.size;
        let fringe = look.fringe && front;
        let start = skull.point(azimuth, polar, 0.0);
        let mut length = full * vary(0.18) * self.size;
        let (ahead, spread) = (start[2] + 0.04 * (vary(1.0) - 1.0) > -0.015 * self.size, 0.5 * vary(1.0));
        let mut comb = self.comb(azimuth, polar);
        comb = add(comb, scaled([vary(1.0) - 1.0, 0.0, vary(1.0) - 1.0], 0.22));
        if fringe {
            comb = add([0.25 * start[0].signum() * start[0].abs() / 0.06, -0.3, 1.0], scaled(comb, 0.2));
            length = (start[1] - self.marks.brows).max(0.02) * 1.25 * vary(0.06);
        }
        let gathered = look.bound.is_some();
        let mut points = if gathered {
            self.gathered(azimuth, polar, lift)
        } else {
            let weight = if fringe { 0.12 } else { look.weight };
            let lock = Lock { azimuth, polar, comb, length, lift, weight, over_face: fringe, ahead, spread };
            let end = if fringe { self.marks.brows + 0.006 } else { look.ends * self.size };
            cut(grow(&self.ground, &lock, |azimuth, polar| self.comb(azimuth, polar)), end + 0.012 * (vary(1.0) - 1.0))
        };
        if points.len() < 3 {
            return;
        }
        let span = if look.wave > 0.0 { look.wavelength / 4.5 } else { 0.03 };
        let length = length * points.len() as f32 / (length / 0.011);
        if !gathered {
            points = eased(points, length, span.min(length / 4.0));
        }
        if look.wave > 0.0 {
            self.wave(&mut points, key, length);
        }
        let half_width = look.half_width * vary(0.25) * self.size;
        let taper = |along: f32| half_width * (0.55 + 0.45 * (along * 5.0).min(1.0)) * (1.0 - 0.55 * along * along);
        let inside = |point: Vec3| [skull.centre[0], skull.centre[1].min(point[1]), skull.centre[2]];
        mesh.ribbon(&points, inside, taper, [0.62 + 0.2 * vary(0.5) * lift / (look.lift * self.size), 1.0], key);
    }

    /// Swings the points of a lock from side to side, more towards the tip; the phase changes slowly over the head so that
    /// neighbours swing together.
    fn wave(&self, points: &mut [Vec3], key: u32, length: f32) {
        let root = points[0];
        let curly = self.style == HairStyle::Curly;
        let phase = if curly { 6.28 * hash(key, 3) } else { 40.0 * root[0] + 30.0 * root[2] + 0.8 * hash(key, 3) };
        let step = length / points.len() as f32;
        let last = points.len() - 1;
        let original = points.to_vec();
        for index in 1..=last {
            let grown = step * index as f32;
            let tangent = unit(minus(original[(index + 1).min(last)], original[index - 1]));
            let outward = unit(minus(original[index], self.ground.skull.centre));
            let side = unit(cross(tangent, outward));
            let (sin, cos) = libm::sincosf(grown / (self.look.wavelength * self.size) * std::f32::consts::TAU + phase);
            let swing = self.look.wave * self.size * (grown / if curly { 0.06 } else { 0.16 }).min(1.0);
            points[index] = add(
                original[index],
                add(scaled(side, swing * sin), scaled(outward, swing * if curly { cos } else { 0.35 * cos })),
            );
        }
    }

    /// Where bound hair comes together: one place, or one on each side.
    fn binding(&self, x: f32) -> Vec3 {
        let skull = self.ground.skull;
        let behind =
            |polar: f32| skull.point(std::f32::consts::PI, if self.covered { 1.45 } else { polar }, 0.013 * self.size);
        match self.look.bound {
            Some(Bound::Bun) => behind(0.25),
            Some(Bound::Braids) => {
                let side = if x > 0.0 { 1.0 } else { -1.0 };
                skull.point(side * 2.15, 1.72, 0.012 * self.size)
            }
            _ => behind(0.75),
        }
    }

    /// A lock from its root over the scalp to the binding.
    fn gathered(&self, azimuth: f32, polar: f32, lift: f32) -> Vec<Vec3> {
        let skull = self.ground.skull;
        let root = skull.point(azimuth, polar, 0.0004);
        let end = self.binding(root[0]);
        (0..=8)
            .map(|index| {
                let part = index as f32 / 8.0;
                let straight = between(root, end, part);
                let from_centre = minus(straight, skull.centre);
                let (azimuth, polar) = skull.angles(from_centre);
                skull.point(azimuth, polar, 0.0004 + lift * (part * 4.0).min(1.0) + 0.006 * part)
            })
            .collect()
    }

    fn bun(&self, mesh: &mut HairMesh) {
        let base = self.binding(0.0);
        let outward = unit(minus(base, self.ground.skull.centre));
        let radius = 0.034 * self.size;
        mesh.ball(add(base, scaled(outward, radius * 0.75)), scaled(outward, radius * 0.85), radius, 0.85, 900);
    }

    fn ponytail(&self, mesh: &mut HairMesh, random: &mut ChaCha8Rng) {
        let base = self.binding(0.0);
        let side = if random.random::<bool>() { 1.0 } else { -1.0 };
        mesh.ball(add(base, [0.0, 0.0, -0.006]), [0.0, 0.004, -0.012], 0.016 * self.size, 1.0, 901);
        for index in 0..26 {
            let mut vary = |spread: f32| spread * (2.0 * random.random::<f32>() - 1.0);
            let (across, depth) = (vary(0.016), vary(0.012));
            let path = [
                add(base, [0.3 * across, 0.3 * depth, -0.012]),
                add(base, [across + 0.012 * side, 0.012 + depth, -0.045]),
                add(base, [1.5 * across + 0.030 * side, -0.05, -0.055 + depth]),
                add(base, [1.6 * across + 0.055 * side, -0.12, -0.035 + depth]),
                add(base, [1.3 * across + 0.075 * side, -0.20 + vary(0.015), -0.01 + depth]),
            ];
            let points: Vec<_> = smooth(&path, 3)
                .into_iter()
                .map(|point| self.ground.torso.keep_out(point, 0.014, point[2] > -0.06))
                .collect();
            let middle = add(base, [0.04 * side, -0.08, -0.03]);
            mesh.ribbon(
                &points,
                |point| [middle[0], point[1], middle[2]],
                |along| 0.009 * (1.0 - 0.6 * along * along),
                [0.8, 1.0],
                910 + index,
            );
        }
    }

    fn braids(&self, mesh: &mut HairMesh) {
        for side in [-1.0, 1.0] {
            let base = self.binding(side);
            let path = [
                base,
                add(base, [0.016 * side, -0.04, 0.005]),
                [side * (self.marks.half_width + 0.012), base[1] - 0.10, base[2] + 0.03],
                [side * (self.marks.half_width + 0.006), base[1] - 0.17, base[2] + 0.09],
                [side * (self.marks.half_width - 0.004), base[1] - 0.26, base[2] + 0.11],
            ];
            let points: Vec<_> =
                smooth(&path, 5).into_iter().map(|point| self.ground.torso.keep_out(point, 0.022, true)).collect();
            for (index, pair) in points.windows(2).enumerate() {
                let axis = minus(pair[1], pair[0]);
                let across = unit(cross(axis, [0.0, 0.0, 1.0]));
                let swing = if index % 2 == 0 { 1.0 } else { -1.0 };
                let centre = add(between(pair[0], pair[1], 0.5), scaled(across, 0.0045 * swing));
                let slanted = add(scaled(unit(axis), 0.017), scaled(across, -0.007 * swing));
                mesh.ball(centre, slanted, 0.0115 * self.size, 0.15, 950 + index as u32);
            }
        }
    }

    /// Of the fur: below locks it fills half of their height.
    fn thickness(&self, azimuth: f32, polar: f32) -> f32 {
        let look = &self.look;
        if look.locks == 0 || look.bound.is_some() {
            return look.fur;
        }
        1.1 * (look.side_lift + (look.lift - look.side_lift) * self.height(azimuth, polar))
    }

    /// Shells of fur, one above the other; each is drawn with fewer hairs than the one below.
    fn fur(&self, mesh: &mut HairMesh, seed: u32) {
        let layers: u32 = match self.style {
            HairStyle::Afro => 7,
            HairStyle::Buzz | HairStyle::BabyFuzz => 3,
            _ => 1,
        };
        let skull = self.ground.skull;
        const COLUMNS: u32 = 56;
        const ROWS: u32 = 26;
        for layer in 0..layers {
            let level = (layer as f32 + 0.5) / layers as f32;
            let first = mesh.vertices.len() as u32;
            for row in 0..=ROWS {
                let polar = 0.02 + 2.2 * row as f32 / ROWS as f32;
                for column in 0..=COLUMNS {
                    let azimuth = std::f32::consts::TAU * column as f32 / COLUMNS as f32;
                    let bump = 1.0 + self.look.fur_bumps * (hash(seed ^ row, column % COLUMNS) - 0.5);
                    let thin = self.density(azimuth, polar).powi(2).min(1.0);
                    let lift = 0.0006 + self.thickness(azimuth, polar) * self.size * level * bump * (0.1 + 0.9 * thin);
                    let normal = skull.normal(azimuth, polar);
                    let down = skull.away_from_whorl(azimuth, polar);
                    mesh.vertices.push(HairVertex {
                        position: add(skull.point(azimuth, polar, 0.0), scaled(normal, lift)),
                        normal,
                        tangent: unit(add(down, scaled(normal, if self.look.fur > 0.02 { 1.5 } else { 0.4 }))),
                        across: self.density(azimuth, polar),
                        along: level,
                        openness: 0.4 + 0.6 * level,
                        key: layer,
                    });
                }
            }
            for row in 0..ROWS {
                for column in 0..COLUMNS {
                    let a = first + row * (COLUMNS + 1) + column;
                    let c = a + COLUMNS + 1;
                    if [a, a + 1, c, c + 1].iter().any(|&corner| mesh.vertices[corner as usize].across > 0.02) {
                        mesh.triangles.extend([[a, c, a + 1], [a + 1, c, c + 1]]);
                    }
                }
            }
        }
    }
}

/// Colour of fur at one point (`at`: the point at rest), and how much of it is there.
pub(crate) fn fur(vertex: &HairVertex, at: Vec3, coarse: f32, colour: crate::colour::Rgb) -> (crate::colour::Rgb, f32) {
    let cell = |size: f32| {
        let [x, y, z] = at.map(|axis| (axis / size + 512.0).floor() as u32);
        hash(x.wrapping_mul(7919) ^ y.wrapping_mul(104_729), z)
    };
    let tone = cell(coarse);
    let dense = (vertex.across * 1.6 - 0.3).clamp(0.0, 1.0);
    let here = (3.0 * (dense * (1.75 - 1.2 * vertex.along) - tone) + 0.5).clamp(0.0, 1.0);
    let shade = vertex.openness * (0.85 + 0.3 * cell(coarse * 0.6));
    (colour.map(|channel| channel * shade), here)
}

/// The points above a height, the last one on it.
fn cut(mut points: Vec<Vec3>, end: f32) -> Vec<Vec3> {
    if let Some(index) = points.iter().position(|point| point[1] < end).filter(|&index| index > 0) {
        let (above, below) = (points[index - 1], points[index]);
        points[index] = between(above, below, (above[1] - end) / (above[1] - below[1]));
        points.truncate(index + 1);
    }
    points
}

/// Light on hair, from Kajiya and Kay (1989): a strand is a cylinder, bright where the light meets it at a right angle.
pub(crate) fn shade(
    colour: crate::colour::Rgb,
    normal: Vec3,
    tangent: Vec3,
    to_viewer: Vec3,
    lights: &crate::light::Lights,
) -> crate::colour::Rgb {
    use crate::colour::{plus, scale, times};
    let mut light = times(colour, lights.ambient(normal));
    for lamp in &lights.lamps {
        let facing = (dot(lamp.direction, normal) * 0.75 + 0.25).max(0.0);
        let along = dot(lamp.direction, tangent);
        let diffuse = (1.0 - along * along).max(0.0).sqrt();
        let half = unit(add(lamp.direction, to_viewer));
        let gloss = |shift: f32, power: i32| {
            let slope = dot(half, unit(add(tangent, scaled(normal, shift))));
            (1.0 - slope * slope).max(0.0).sqrt().powi(power)
        };
        let shine = plus([0.05 * gloss(-0.12, 60); 3], scale(colour, 0.55 * gloss(0.15, 18)));
        light = plus(light, times(lamp.colour, scale(plus(scale(colour, 0.85 * diffuse), shine), facing)));
    }
    scale(light, lights.exposure)
}
