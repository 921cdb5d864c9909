//! Skin: an atlas painted per person, and how it takes light.

use std::cell::RefCell;
use std::sync::Arc;

use super::atlas::{self, HEIGHT, WIDTH};
use super::features::{Painter, Spot};
use super::shading::{SKIN_SOFTNESS, Surface, lit, squared};
use crate::colour::{mix, plus, scale};
use crate::figure::Figure;
use crate::head::{HeadModel, Mask, Part};
use crate::person::Person;
use crate::render::{FaceCover, Fragment, Illumination, Layer, Material, Mesh, Opacity, Shade};
use crate::space::{add, dot, rotated, scaled, sub, unit};

/// Halvings of the atlas for pictures in which the head is small.
const LEVELS: usize = 4;
/// Slope that is stored as 1.
const STEEPEST: f32 = 1.6;

/// The skin of a person.
pub(super) fn layer(person: &Person, figure: &Figure) -> Layer {
    let model = HeadModel::shared();
    let (mesh, corners) = Mesh::of_part(figure, Part::Skin);
    let mask = |mask: Mask| -> Vec<f32> {
        corners.iter().map(|&corner| model.mask(mask)[model.source()[corner as usize] as usize]).collect()
    };
    let in_atlas = corners.iter().map(|&corner| f32::from(atlas::covers(model.texture()[corner as usize]))).collect();
    let material = Skin {
        levels: painted(person),
        plain: Painter::new(person).plain(),
        in_atlas,
        face: mask(Mask::Face),
        inside_mouth: mask(Mask::InsideMouth),
        open: mask(Mask::Occlusion),
        ears: mask(Mask::Ears),
        gloss: person.skin.gloss,
    };
    Layer { mesh, material: Box::new(material), opacity: Opacity::Solid, face: FaceCover::Face, shadow: true }
}

struct Skin {
    /// The atlas: square roots of colour, gloss, slopes in space (128 is none), wetness; each level half the last.
    levels: Arc<Atlas>,
    plain: Spot,
    in_atlas: Vec<f32>,
    face: Vec<f32>,
    inside_mouth: Vec<f32>,
    open: Vec<f32>,
    ears: Vec<f32>,
    gloss: f32,
}

impl Material for Skin {
    fn shade(&self, at: &Fragment, light: &Illumination) -> Shade {
        let spot = if at.vertices.iter().all(|&vertex| self.in_atlas[vertex as usize] > 0.5) {
            self.look_up(at)
        } else {
            self.plain
        };
        let inside = at.mean(&self.inside_mouth);
        let open = at.mean(&self.open);
        let slope = rotated(&light.pose.head(), spot.slope);
        let normal = unit(sub(at.normal, sub(slope, scaled(at.normal, dot(at.normal, slope)))));
        let albedo = mix(spot.colour, [0.30, 0.085, 0.075], inside);
        let ears = at.mean(&self.ears);
        let surface = Surface {
            albedo,
            normal,
            open: open * (1.0 - 0.75 * inside),
            gloss: (0.35 + 0.65 * self.gloss) * spot.gloss * (1.0 - 0.5 * inside),
            softness: scale(SKIN_SOFTNESS, 1.0 + 0.5 * ears),
        };
        let light_out = lit(&surface, at, light);
        // Thin edges of the ears glow when the lamp is behind them.
        let glow = light.lights.lamps.first().map_or([0.0; 3], |lamp| {
            let behind = (-dot(at.normal, lamp.direction)).max(0.0) * ears;
            [lamp.colour[0] * behind * 0.10, lamp.colour[1] * behind * 0.02, lamp.colour[2] * behind * 0.012]
        });
        Shade { light: plus(light_out, glow), alpha: 1.0 }
    }

    fn face(&self, at: &Fragment) -> f32 {
        at.mean(&self.face)
    }
}

impl Skin {
    fn look_up(&self, at: &Fragment) -> Spot {
        let [x, y] = atlas::place(at.texture);
        // A texel of the finest level is some 0.6 mm wide.
        let level = match at.footprint {
            ..0.0012 => 0,
            ..0.0024 => 1,
            ..0.0048 => 2,
            _ => 3,
        };
        let (width, height) = (WIDTH >> level, HEIGHT >> level);
        let half = (1 << level) as f32;
        let (x, y) =
            ((x / half - 0.5).clamp(0.0, width as f32 - 1.001), (y / half - 0.5).clamp(0.0, height as f32 - 1.001));
        let (left, top) = (x as usize, y as usize);
        let (across, down) = (x - left as f32, y - top as f32);
        let texels = &self.levels[level];
        let line = |row: usize| {
            let (a, b) = (&texels[row * width + left], &texels[row * width + left + 1]);
            let mut values = [0.0; 7];
            for channel in 0..7 {
                values[channel] = a[channel] as f32 + (b[channel] as f32 - a[channel] as f32) * across;
            }
            values
        };
        let (upper, lower) = (line(top), line(top + 1));
        let value = |channel: usize| upper[channel] + (lower[channel] - upper[channel]) * down;
        Spot {
            colour: [0, 1, 2].map(|channel| squared(value(channel) / 255.0)),
            gloss: value(3) / 128.0,
            slope: [4, 5, 6].map(|channel| (value(channel) - 128.0) / 127.0 * STEEPEST),
        }
    }
}

type Atlas = Vec<Vec<[u8; 8]>>;

/// The atlas of a person. A thread keeps the one it painted last: the same person is drawn for several pictures in
/// succession, and painting is half of the work of making a scene ready.
fn painted(person: &Person) -> Arc<Atlas> {
    thread_local! {
        static LAST: RefCell<Option<(Person, Arc<Atlas>)>> = const { RefCell::new(None) };
    }
    LAST.with_borrow_mut(|last| match last {
        Some((of, atlas)) if of == person => Arc::clone(atlas),
        _ => {
            let atlas = Arc::new(paint(person));
            *last = Some((person.clone(), Arc::clone(&atlas)));
            atlas
        }
    })
}

/// All levels of the atlas of a person.
fn paint(person: &Person) -> Atlas {
    let painter = Painter::new(person);
    let texels = atlas::texels();
    let relief: Vec<f32> =
        texels.iter().map(|texel| texel.as_ref().map_or(0.0, |texel| painter.height(texel))).collect();
    let plain = encode(&painter.plain());
    let mut finest = vec![plain; WIDTH * HEIGHT];
    for (index, texel) in texels.iter().enumerate() {
        let Some(texel) = texel else { continue };
        let (row, column) = (index / WIDTH, index % WIDTH);
        let difference = |low: usize, high: usize, inside: bool| {
            if inside && texels[low].is_some() && texels[high].is_some() {
                (relief[high] - relief[low]) * 0.5
            } else {
                0.0
            }
        };
        let across =
            difference(index.saturating_sub(1), (index + 1).min(WIDTH * HEIGHT - 1), column > 0 && column + 1 < WIDTH);
        let down = difference(
            index.saturating_sub(WIDTH),
            (index + WIDTH).min(WIDTH * HEIGHT - 1),
            row > 0 && row + 1 < HEIGHT,
        );
        let mut spot = painter.spot(texel, relief[index]);
        spot.slope = add(scaled(texel.slope[0], across), scaled(texel.slope[1], down));
        finest[index] = encode(&spot);
    }
    let mut levels = vec![finest];
    for level in 1..LEVELS {
        let (width, height) = (WIDTH >> level, HEIGHT >> level);
        let fine = &levels[level - 1];
        let mut coarse = Vec::with_capacity(width * height);
        for row in 0..height {
            for column in 0..width {
                let at = |dx: usize, dy: usize| fine[(2 * row + dy) * 2 * width + 2 * column + dx];
                let four = [at(0, 0), at(1, 0), at(0, 1), at(1, 1)];
                coarse.push(std::array::from_fn(|channel| {
                    ((four.iter().map(|texel| texel[channel] as u32).sum::<u32>() + 2) / 4) as u8
                }));
            }
        }
        levels.push(coarse);
    }
    levels
}

fn encode(spot: &Spot) -> [u8; 8] {
    let byte = |value: f32| (value * 255.0 + 0.5).clamp(0.0, 255.0) as u8;
    let slope = spot.slope.map(|slope| ((slope / STEEPEST).clamp(-1.0, 1.0) * 127.0 + 128.5) as u8);
    let [r, g, b] = spot.colour.map(|channel| byte(channel.max(0.0).sqrt()));
    [r, g, b, (spot.gloss * 128.0).clamp(0.0, 255.0) as u8, slope[0], slope[1], slope[2], 0]
}
