//! Hair: locks grown from the scalp of one head, as ribbons over a shell of fur.

mod bound;
mod fur;
mod guide;
mod looks;
mod strips;
mod style;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::fitting::Fitting;
use super::hat::Rim;
use super::skull::Skull;
use crate::person::{HairStyle, Person};
use crate::render::Layer;
use crate::space::{Vec3, add, between, cross, scaled, sub, unit};
use guide::{Lock, before_eyes, eased, grow};
pub(crate) use looks::Fur;
use strips::HairMesh;
pub(crate) use strips::hash;
use style::{Bound, Comb, Style};

/// Hair of one head at rest: `locks` (ribbons) over `fur` (shells).
struct Hair {
    locks: HairMesh,
    fur: HairMesh,
}

/// Layers of a person's hair; under a hat with a rim it is pressed to the head.
pub(crate) fn layers(person: &Person, head: &Fitting, rim: Option<&Rim>) -> Vec<Layer> {
    let hair = Hair::grow(person.hair.style, head, rim, person.seed);
    let mut layers = Vec::new();
    if person.hair.style == HairStyle::Afro {
        layers.push(looks::shells(&hair.fur, person.hair.colour, head));
    } else if !hair.fur.triangles.is_empty() {
        layers.extend(looks::fur(&hair.fur, person.hair.colour, head));
    }
    if !hair.locks.triangles.is_empty() {
        layers.push(looks::locks(&hair.locks, person.hair.colour, head));
    }
    layers
}

/// Height of the hair on the top of the head, in metres.
pub(crate) fn crown(style: HairStyle) -> f32 {
    match style {
        HairStyle::Bald | HairStyle::Receding | HairStyle::Buzz | HairStyle::Fuzz => 0.002,
        HairStyle::Afro => 0.050,
        HairStyle::Curly => 0.030,
        _ => 0.012,
    }
}

impl Hair {
    /// Grows the hair; under a hat with a rim it is pressed to the head.
    pub(crate) fn grow(style: HairStyle, head: &Fitting, rim: Option<&Rim>, seed: u64) -> Self {
        let skull = &head.skull;
        let mut hair = Self { locks: HairMesh::default(), fur: HairMesh::default() };
        let Some(look) = Style::of(style) else { return hair };
        let mut random = ChaCha8Rng::seed_from_u64(seed ^ 0x4A12);
        let look = look.varied(&mut random);
        let grower = Grower { look, style, head, covered: rim.is_some() };
        grower.fur(&mut hair.fur, seed as u32);
        let mut key = 1;
        for (azimuth, polar) in roots(skull, grower.look.locks, &mut random) {
            let density = grower.density(azimuth, polar);
            if density > 0.45 + 0.3 * random.random::<f32>() {
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
    head: &'a Fitting,
    /// Whether a hat is worn over it.
    covered: bool,
}

impl Grower<'_> {
    /// How much hair grows at a place, 0 to 1.
    fn density(&self, azimuth: f32, polar: f32) -> f32 {
        let growth = self.head.skull.growth(azimuth, polar);
        if self.style != HairStyle::Receding {
            return growth;
        }
        let up = self.head.skull.direction(azimuth, polar);
        let bare = ((up[1] - 0.42) / 0.2).clamp(0.0, 1.0) * ((up[2] + 0.75) / 0.35).clamp(0.0, 1.0);
        growth * (1.0 - bare)
    }

    /// 1 on top of the head, 0 at ears and nape.
    fn height(&self, azimuth: f32, polar: f32) -> f32 {
        let up = self.head.skull.direction(azimuth, polar)[1];
        ((up - 0.15) / 0.55).clamp(0.0, 1.0)
    }

    fn comb(&self, azimuth: f32, polar: f32) -> Vec3 {
        let skull = &self.head.skull;
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
        let skull = &self.head.skull;
        let height = self.height(azimuth, polar);
        let mut vary = |spread: f32| 1.0 + spread * (2.0 * random.random::<f32>() - 1.0);
        let lift = (look.side_lift + (look.lift - look.side_lift) * height) * vary(0.35) * self.head.size;
        let full = look.sides + (look.top - look.sides) * height;
        let front = skull.direction(azimuth, polar)[2] > 0.3
            && skull.point(azimuth, polar, 0.0)[0].abs() < 0.042 * self.head.size;
        let fringe = look.fringe && front;
        let start = skull.point(azimuth, polar, 0.0);
        let mut length = full * vary(0.18) * self.head.size;
        let (ahead, spread) = (start[2] + 0.04 * (vary(1.0) - 1.0) > -0.015 * self.head.size, 0.5 * vary(1.0));
        let mut comb = self.comb(azimuth, polar);
        comb = add(comb, scaled([vary(1.0) - 1.0, 0.0, vary(1.0) - 1.0], 0.22));
        if fringe {
            comb = add([0.25 * start[0].signum() * start[0].abs() / 0.06, -0.3, 1.0], scaled(comb, 0.2));
            length = (start[1] - self.head.brows).max(0.02) * 1.25 * vary(0.06);
        }
        let gathered = look.bound.is_some() && !fringe;
        let mut points = if gathered {
            self.gathered(azimuth, polar, lift)
        } else {
            let weight = if fringe { 0.12 } else { look.weight };
            let lock = Lock { azimuth, polar, comb, length, lift, weight, over_face: fringe, ahead, spread };
            let end = if fringe { self.head.brows + 0.006 } else { self.head.eyes[0][1] + look.ends * self.head.size };
            cut(grow(self.head, &lock, |azimuth, polar| self.comb(azimuth, polar)), end + 0.012 * (vary(1.0) - 1.0))
        };
        if points.len() < 3 {
            return;
        }
        let span = if look.wave > 0.0 { look.wavelength / 4.0 } else { 0.03 };
        let length = length * points.len() as f32 / (length / 0.011);
        if !gathered {
            points = eased(points, length, span.min(length / 4.0));
        }
        if look.wave > 0.0 {
            self.wave(&mut points, key, length);
            // A curl that swings before the face ends there.
            let free = points.iter().position(|&point| before_eyes(self.head, point)).unwrap_or(points.len());
            points.truncate(free);
            if points.len() < 3 {
                return;
            }
        }
        let half_width = look.half_width * vary(0.25) * self.head.size;
        let taper = |along: f32| half_width * (0.55 + 0.45 * (along * 5.0).min(1.0)) * (1.0 - 0.55 * along * along);
        let inside = |point: Vec3| [skull.centre[0], skull.centre[1].min(point[1]), skull.centre[2]];
        let first = mesh.vertices.len();
        mesh.ribbon(&points, inside, taper, [0.62 + 0.2 * vary(0.5) * lift / (look.lift * self.head.size), 1.0], key);
        if look.curl > 0.0 {
            let turns = length / (look.curl * self.head.size);
            mesh.vertices[first..].iter_mut().for_each(|vertex| vertex.turns = turns);
        }
    }

    /// Swings the points of a lock from side to side, more towards the tip; the phase changes slowly over the head so that
    /// neighbours swing together.
    fn wave(&self, points: &mut [Vec3], key: u32, length: f32) {
        let root = points[0];
        let curly = self.style == HairStyle::Curly;
        let phase = if curly {
            std::f32::consts::TAU * hash(key, 3)
        } else {
            40.0 * root[0] + 30.0 * root[2] + 0.8 * hash(key, 3)
        };
        let step = length / points.len() as f32;
        let last = points.len() - 1;
        let original = points.to_vec();
        for index in 1..=last {
            let grown = step * index as f32;
            let tangent = unit(sub(original[(index + 1).min(last)], original[index - 1]));
            let outward = unit(sub(original[index], self.head.skull.centre));
            let side = unit(cross(tangent, outward));
            let (sin, cos) =
                libm::sincosf(grown / (self.look.wavelength * self.head.size) * std::f32::consts::TAU + phase);
            let swing = self.look.wave * self.head.size * (grown / if curly { 0.06 } else { 0.16 }).min(1.0);
            points[index] = add(
                original[index],
                add(scaled(side, swing * sin), scaled(outward, swing * if curly { cos } else { 0.35 * cos })),
            );
        }
    }
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
