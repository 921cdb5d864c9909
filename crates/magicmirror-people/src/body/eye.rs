//! Eyeballs and lashes.

use super::noise::{lattice, smooth};
use super::shading::{Surface, lit, reflected, squared};
use crate::colour::{Rgb, mix, plus, scale, times};
use crate::figure::{Figure, base_eye, lids};
use crate::head::{HeadModel, Part};
use crate::person::Person;
use crate::render::{FaceCover, Fragment, Illumination, Layer, Material, Mesh, Opacity, Shade};
use crate::scene::Group;
use crate::space::{Vec3, add, dot, length, scaled, smoothstep, sub, unit, unrotated};

/// Radius of the iris against the eyeball's.
const IRIS: f32 = 0.485;

/// Both eyeballs.
pub(super) fn layers(person: &Person, figure: &Figure) -> Vec<Layer> {
    let eyes = (0..2).map(|side| {
        let eyeball = figure.eyes[side];
        let young = if person.age < 14.0 { 1.06 } else { 1.0 };
        let material = Eye {
            side,
            iris: person.iris,
            radius: IRIS * young,
            pupil: IRIS * (0.30 + 0.16 * lattice(person.seed as u32, 5, 5, 5)),
            lids: lids(side)
                .map(|vertex| (vertex, scaled(sub(figure.rest[vertex], eyeball.centre), 1.0 / eyeball.radius))),
            size: eyeball.radius,
            age: ((person.age - 40.0) / 50.0).clamp(0.0, 1.0),
        };
        let mesh = sphere(eyeball.centre, eyeball.radius);
        Layer { mesh, material: Box::new(material), opacity: Opacity::Solid, face: FaceCover::Face, shadow: false }
    });
    eyes.collect()
}

struct Eye {
    side: usize,
    iris: Rgb,
    radius: f32,
    pupil: f32,
    /// Upper and lower lid margin: vertex, and place at rest from the centre in units of the eyeball's radius.
    lids: [(usize, Vec3); 2],
    size: f32,
    age: f32,
}

impl Material for Eye {
    fn shade(&self, at: &Fragment, light: &Illumination) -> Shade {
        // The texture of the sphere holds its direction at rest, right and up.
        let [right, up] = at.texture;
        let towards = [right, up, (1.0 - right * right - up * up).max(0.0).sqrt()];
        let [x, y, _] = unrotated(&light.pose.gaze[self.side], towards);
        let out = (x * x + y * y).sqrt();
        let iris = smoothstep(self.radius + 0.035, self.radius - 0.035, out);
        let colour = mix(self.white(right, up), self.iris_colour(x, y, out), iris);
        // The lids' edges and the shade below them.
        let [upper, lower] = self.lids.map(|(vertex, rest)| rest[1] + light.pose.moves[vertex][1] / self.size);
        let arc = 0.42 * right * right;
        let open =
            smoothstep(-0.10, 0.30, upper - arc - up) * (0.45 + 0.55 * smoothstep(-0.10, 0.22, up - lower - arc));
        let open = 0.40 + 0.60 * open * smoothstep(1.15, 0.6, right.abs());
        let surface = Surface { albedo: colour, normal: at.normal, open, gloss: 0.25, softness: [0.22, 0.16, 0.14] };
        let direct = light.direct * (0.25 + 0.75 * open);
        let shaded = lit(&surface, at, &Illumination { direct, ..*light });
        Shade { light: plus(shaded, scale(self.glint(at, light, iris), 0.25 + 0.75 * open)), alpha: 1.0 }
    }
}

impl Eye {
    fn white(&self, right: f32, up: f32) -> Rgb {
        let corner = smoothstep(0.35, 0.95, right.abs());
        let veins = smooth(17 + self.side as u32, [right * 9.0, up * 26.0, 1.0]).max(0.0) * corner;
        let white = mix([0.70, 0.67, 0.65], [0.64, 0.59, 0.48], 0.5 * self.age);
        mix(white, [0.60, 0.30, 0.27], 0.45 * corner + 0.2 * veins)
    }

    fn iris_colour(&self, x: f32, y: f32, out: f32) -> Rgb {
        let share = out / self.radius;
        let around = if out > 1e-4 { [x / out, y / out] } else { [0.0; 2] };
        let fibres = smooth(41, [around[0] * 9.0, around[1] * 9.0, share * 1.5])
            + 0.6 * smooth(42, [around[0] * 22.0, around[1] * 22.0, share * 2.0]);
        let bright = 1.25 + 0.28 * fibres + 0.35 * bump((share - 0.55) / 0.25);
        let inner = mix(
            self.iris,
            [self.iris[0] * 1.5, self.iris[1] * 1.2, self.iris[2] * 0.8],
            smoothstep(0.62, 0.40, share) * 0.6,
        );
        // Light that enters from above leaves below.
        let glow = 1.0 + 0.45 * smoothstep(0.1, -0.8, y / self.radius);
        let colour = scale(inner, bright * glow * (1.0 - 0.72 * smoothstep(0.74, 1.02, share)));
        let pupil = smoothstep(self.pupil + 0.03, self.pupil - 0.03, out);
        mix(colour, [0.006; 3], pupil)
    }

    /// Mirror images of lamps and sky on the cornea.
    fn glint(&self, at: &Fragment, light: &Illumination, iris: f32) -> Rgb {
        // The cornea bulges, so that it mirrors less of the world than the white does.
        let axis = crate::space::rotated(
            &light.pose.head(),
            crate::space::rotated(&light.pose.gaze[self.side], [0.0, 0.0, 1.0]),
        );
        let bulged = unit(add(at.normal, scaled(sub(at.normal, axis), 0.55 * iris)));
        let mirrored = reflected(bulged, at.viewer);
        let mut sum = [0.0; 3];
        for (index, lamp) in light.lights.lamps.iter().enumerate() {
            let direct = if index == 0 { 0.4 + 0.6 * light.direct } else { 0.6 };
            let near = smoothstep(0.965, 0.985, dot(mirrored, lamp.direction));
            sum = plus(sum, scale(lamp.colour, near * direct * 0.85));
        }
        let window = smoothstep(0.955, 0.975, dot(mirrored, [0.30, 0.52, 0.80]));
        let sky = plus(scale(light.lights.sky, 0.22 * window), scale(light.lights.sky, 0.012));
        plus(sum, sky)
    }
}

fn bump(x: f32) -> f32 {
    squared((1.0 - x * x).max(0.0))
}

/// The front of a sphere; its texture is the direction from the centre, right and up.
fn sphere(centre: Vec3, radius: f32) -> Mesh {
    const RINGS: usize = 12;
    const AROUND: usize = 28;
    let mut mesh = Mesh::default();
    for ring in 0..=RINGS {
        let angle = 1.5 * ring as f32 / RINGS as f32;
        for step in 0..AROUND {
            let turn = std::f32::consts::TAU * step as f32 / AROUND as f32;
            let normal =
                [libm::sinf(angle) * libm::cosf(turn), libm::sinf(angle) * libm::sinf(turn), libm::cosf(angle)];
            mesh.positions.push(add(centre, scaled(normal, radius)));
            mesh.normals.push(normal);
            mesh.texture.push([normal[0], normal[1]]);
            if ring > 0 {
                let at = |ring: usize, step: usize| (ring * AROUND + step % AROUND) as u32;
                let [a, b, c, d] = [at(ring - 1, step), at(ring - 1, step + 1), at(ring, step), at(ring, step + 1)];
                mesh.triangles.extend([[a, c, d], [a, d, b]]);
            }
        }
    }
    mesh
}

/// Lashes of both eyes.
pub(super) fn lashes(person: &Person, figure: &Figure) -> Layer {
    let (mut mesh, _) = Mesh::of_part(figure, Part::Lashes);
    let base = HeadModel::shared().base();
    // Root to tip, and along the lid, from the place on the base mesh.
    mesh.texture = mesh
        .follows
        .iter()
        .map(|&vertex| {
            let place = base[vertex as usize];
            let from = sub(place, base_eye(place[0] > 0.0));
            [from[0] * 1000.0, (length(from) - 0.0146) / 0.0055]
        })
        .collect();
    let strong = match person.group {
        Group::Woman => 0.75 + 0.25 * person.skin.makeup,
        Group::Girl | Group::ElderlyWoman => 0.6,
        _ => 0.45,
    };
    let colour = mix(person.brows.colour, [0.012, 0.010, 0.009], 0.7);
    let lower = mesh.follows.iter().map(|&vertex| {
        let place = base[vertex as usize];
        f32::from(place[1] < base_eye(place[0] > 0.0)[1] - 0.0008)
    });
    let material = Lashes { colour, strong, lower: lower.collect() };
    Layer { mesh, material: Box::new(material), opacity: Opacity::Blended, face: FaceCover::Clear, shadow: false }
}

struct Lashes {
    colour: Rgb,
    strong: f32,
    /// 1 for lashes of the lower lid.
    lower: Vec<f32>,
}

impl Material for Lashes {
    fn shade(&self, at: &Fragment, light: &Illumination) -> Shade {
        let [along, out] = at.texture;
        let lower = at.mean(&self.lower);
        let out = out.clamp(0.0, 1.0);
        // From afar the hairs melt into one line.
        let sharp = smoothstep(0.0009, 0.0003, at.footprint);
        let hairs = 0.5 + 0.5 * sharp * smooth(3, [along * 2.6 + 0.8 * out, 0.0, 0.0]);
        let cover = smoothstep(1.0, 0.0, out) * (0.35 + 0.9 * hairs) * smoothstep(0.0, 0.1, out + 0.06);
        let alpha = self.strong * (cover * (1.0 - 0.78 * lower)).min(1.0);
        Shade { light: times(self.colour, light.lights.ambient(at.normal)), alpha }
    }
}
