//! Garments: shells over the skin, cut by curves on the template body, with collars and hoods of their own.

use crate::colour::{Rgb, rgb, scale};
use crate::material::Material;
use crate::scene::{Garment, Outfit};
use crate::solid::Solid;
use crate::torso::Neck;
use crate::vector::{Vec3, add, minus, scaled, unit};

/// What is worn, for one body.
pub(crate) struct Clothing {
    /// Layers over the skin, the inner one first.
    pub(crate) layers: Vec<Layer>,
    /// Collars, hoods, buttons.
    pub(crate) solids: Vec<(Solid, Material, Rgb)>,
}

/// A shell over the skin.
pub(crate) struct Layer {
    pub(crate) cut: Cut,
    pub(crate) material: Material,
    pub(crate) colour: Rgb,
    /// Metres above the skin.
    pub(crate) thickness: f32,
}

/// Where a layer ends.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Cut {
    /// Height of the neckline in front, at the side and behind, on the template.
    front: f32,
    side: f32,
    back: f32,
    /// Half the width of the neckline on the shoulder.
    half_width: f32,
    /// Bare from here outwards on the shoulder; beyond the arm for sleeves.
    shoulder: f32,
    /// Open down the front like a jacket.
    open: bool,
    /// Width of the ribbed band at the edge.
    band: f32,
}

impl Cut {
    /// How deep in the cloth a point of the template body lies, metres; negative outside.
    pub(crate) fn depth(&self, [x, y, z]: Vec3) -> f32 {
        let x = x.abs();
        let lowest = self.side
            + if z > 0.0 { self.front - self.side } else { self.back - self.side } * (z.abs() / 0.05).min(1.0);
        // Round in front and behind; past the neck the line climbs over the shoulder.
        let across = (x / self.half_width).min(1.0);
        let line = lowest + (self.side - lowest) * across * across * across + 1.6 * (x - self.half_width).max(0.0);
        // Armholes run down from the shoulder, wider below.
        let armhole = self.shoulder - x + 0.25 * (-0.19 - y).clamp(0.0, 0.08);
        let opening = if self.open && z > 0.0 { x - 0.018 - 0.40 * (y + 0.34).max(0.0) } else { f32::MAX };
        (line - y).min(armhole).min(opening)
    }
}

impl Layer {
    /// Place in the material's pattern of a point of the template body.
    pub(crate) fn pattern(&self, [x, y, z]: Vec3) -> [f32; 2] {
        if self.material == Material::Buttoned { [x + if z < 0.0 { 1.0 } else { 0.0 }, y] } else { [x - 0.4 * z, y] }
    }

    /// Colour at a depth in the cloth: a band at the edge, and a fine shadow at its inner side.
    pub(crate) fn tone(&self, depth: f32) -> Rgb {
        if depth > self.cut.band {
            self.colour
        } else if depth > self.cut.band - 0.0015 {
            scale(self.colour, 0.72)
        } else {
            scale(self.colour, 0.9)
        }
    }
}

/// The normal of cloth with folds at a point of the template body: creases that run from the shoulders inwards and down.
pub(crate) fn folded(normal: Vec3, [x, y, z]: Vec3, layer: &Layer) -> Vec3 {
    let strength = if layer.material == Material::Knit { 0.10 } else { 0.17 };
    let side = x.abs();
    let slow = ripple(5.1 * y + 3.3 * side + 0.3);
    let first = ripple(14.0 * side + 9.0 * y + 1.5 * slow);
    let second = ripple(11.0 * y - 17.0 * side + 6.0 * z + 2.0 * slow);
    let fold = strength * (0.4 + 0.6 * slow.abs());
    [normal[0] + fold * first * x.signum(), normal[1] + fold * second, normal[2]]
}

/// A wave of period 1 between -1 and 1, from parabolas.
fn ripple(phase: f32) -> f32 {
    let part = phase - phase.floor();
    let (half, sign) = if part < 0.5 { (part, 1.0) } else { (part - 0.5, -1.0) };
    sign * 16.0 * half * (0.5 - half)
}

/// What of a body garments need.
pub(crate) struct Body<'a> {
    /// Its neck.
    pub(crate) neck: &'a Neck,
    /// Throat, corner of neck and shoulder, nape at the usual neckline: heights on this body.
    pub(crate) front: f32,
    pub(crate) side: f32,
    pub(crate) back: f32,
    /// Of the body, 1 for an adult's.
    pub(crate) size: f32,
}

impl Clothing {
    /// Makes an outfit.
    pub(crate) fn new(outfit: Outfit, body: &Body) -> Self {
        let colour = outfit.colour.albedo();
        let round = Cut {
            front: -0.192,
            side: -0.152,
            back: -0.138,
            half_width: 0.066,
            shoulder: 1.0,
            open: false,
            band: 0.014,
        };
        let layer = |cut, material, colour, thickness| Layer { cut, material, colour, thickness };
        let mut clothing = Self { layers: Vec::new(), solids: Vec::new() };
        match outfit.garment {
            Garment::TShirt => clothing.layers.push(layer(round, Material::Cloth, colour, 0.006)),
            Garment::Shirt => {
                let cut = Cut { front: -0.178, band: 0.0, ..round };
                clothing.layers.push(layer(cut, Material::Buttoned, colour, 0.006));
                clothing.solids.push((collar(body, 0.0), Material::Cloth, scale(colour, 1.05)));
            }
            Garment::Sweater => {
                let cut = Cut { front: -0.184, band: 0.02, ..round };
                clothing.layers.push(layer(cut, Material::Knit, colour, 0.011));
            }
            Garment::Turtleneck => {
                let cut = Cut { front: -0.170, half_width: 0.060, band: 0.0, ..round };
                clothing.layers.push(layer(cut, Material::Knit, colour, 0.009));
                clothing.solids.push((roll(body), Material::Knit, colour));
            }
            Garment::Hoodie => {
                let cut = Cut { front: -0.190, band: 0.018, ..round };
                clothing.layers.push(layer(cut, Material::Cloth, colour, 0.012));
                clothing.solids.push((hood(body), Material::Cloth, scale(colour, 0.97)));
                clothing.solids.push((strings(body), Material::Cloth, rgb(0xE8_E6_E0)));
            }
            Garment::Jacket => {
                let white = rgb(0xEC_EC_EA);
                let inner = Cut { front: -0.178, band: 0.0, ..round };
                clothing.layers.push(layer(inner, Material::Buttoned, white, 0.005));
                let outer = Cut { front: -0.20, open: true, half_width: 0.070, ..inner };
                clothing.layers.push(layer(outer, Material::Cloth, colour, 0.014));
                clothing.solids.push((collar(body, 0.0), Material::Cloth, white));
                clothing.solids.push((lapels(body), Material::Cloth, scale(colour, 1.08)));
            }
            Garment::TankTop => {
                let cut = Cut {
                    front: -0.245,
                    side: -0.175,
                    back: -0.20,
                    half_width: 0.080,
                    shoulder: 0.142,
                    open: false,
                    band: 0.010,
                };
                clothing.layers.push(layer(cut, Material::Knit, colour, 0.006));
            }
            Garment::Dress => {
                let cut = Cut {
                    front: -0.228,
                    side: -0.165,
                    back: -0.19,
                    half_width: 0.105,
                    shoulder: 0.165,
                    open: false,
                    band: 0.006,
                };
                clothing.layers.push(layer(cut, Material::Cloth, colour, 0.005));
            }
        }
        clothing
    }
}

/// A point of the neck at an azimuth (0: front) and height above the neckline, `lift` above the skin.
fn on_neck(body: &Body, azimuth: f32, above: f32, lift: f32) -> Vec3 {
    let ahead = libm::cosf(azimuth);
    let line = body.side + if ahead > 0.0 { body.front - body.side } else { body.back - body.side } * ahead.abs();
    body.neck.point(azimuth, line + above * body.size, lift * body.size)
}

/// A shirt's collar: a stand round the neck and two flaps that end in points.
fn collar(body: &Body, lift: f32) -> Solid {
    let mut solid = Solid::default();
    let half_turn = 0.97 * std::f32::consts::PI;
    for side in [-1.0, 1.0] {
        solid.sheet(5, 16, |down, right| {
            // From the back to the front; the left flap runs the other way, so that both look outwards.
            let part = if side > 0.0 { 1.0 - right } else { right };
            let azimuth = side * (half_turn - (half_turn - 0.10) * part);
            let tip = ((part - 0.72) / 0.28).max(0.0);
            let (above, out) = if down < 0.25 {
                (0.014 + 0.018 * (down / 0.25), 0.005 + 0.002 * down)
            } else {
                let fall = (down - 0.25) / 0.75;
                (0.032 - (0.038 + 0.036 * tip) * fall, 0.008 + (0.016 + 0.012 * tip) * fall)
            };
            let back = 1.0 - part;
            let mut point = on_neck(body, azimuth, above.max(-0.004) - 0.012 * part + 0.004 * back, out + lift);
            if above < -0.004 {
                point = add(point, scaled([0.45 * side, -1.0, 0.75], (-0.004 - above) * body.size));
            }
            (point, [part * 0.2, down * 0.05])
        });
    }
    solid
}

/// A turtleneck's roll, from the jaw to the neckline.
fn roll(body: &Body) -> Solid {
    let mut solid = Solid::default();
    solid.sheet(7, 40, |down, right| {
        let azimuth = turn(right);
        let front = 0.5 + 0.5 * libm::cosf(azimuth);
        let top = 0.052 + 0.006 * front;
        let bulge = 0.010 + 0.004 * libm::sinf(down * std::f32::consts::PI);
        let point = on_neck(body, azimuth, top - (top + 0.012) * down, bulge + 0.004 * down);
        (point, [azimuth * 0.055, down * 0.06])
    });
    solid
}

/// A hood that lies on the back, open at the throat.
fn hood(body: &Body) -> Solid {
    let mut solid = Solid::default();
    let path: Vec<Vec3> = (0..=22)
        .map(|index| {
            let azimuth = std::f32::consts::PI * (-0.90 + 1.80 * index as f32 / 22.0) + std::f32::consts::PI;
            let back = (1.0 - libm::cosf(azimuth)) / 2.0;
            on_neck(body, azimuth, 0.004 + 0.022 * back, 0.016 + 0.020 * back)
        })
        .collect();
    solid.tube(&path, |along| body.size * (0.010 + 0.020 * libm::sinf(along * std::f32::consts::PI)), 10, false);
    solid
}

/// The strings of a hood.
fn strings(body: &Body) -> Solid {
    let mut solid = Solid::default();
    for side in [-1.0, 1.0] {
        let start = on_neck(body, 0.42 * side, 0.0, 0.022);
        let path: Vec<Vec3> = (0..6)
            .map(|index| {
                let down = index as f32 / 5.0;
                add(start, scaled([0.05 * side * down, -0.75 * down, 0.36 * down], 0.13 * body.size))
            })
            .collect();
        solid.tube(&path, |_| 0.0022 * body.size, 5, false);
    }
    solid
}

/// The lapels of a jacket, from the nape to the opening.
fn lapels(body: &Body) -> Solid {
    let mut solid = Solid::default();
    for side in [-1.0, 1.0] {
        solid.sheet(3, 14, |down, right| {
            let part = if side > 0.0 { 1.0 - right } else { right };
            let width = 0.020 + 0.026 * libm::sinf((part * 1.15).min(1.0) * 2.6).max(0.0) * (part * 2.0).min(1.0);
            let azimuth = side * (3.05 - 2.25 * (part * 1.6).min(1.0));
            let top = on_neck(body, azimuth, 0.010 - 0.016 * part, 0.016);
            let inner = if part < 0.625 {
                top
            } else {
                let fall = (part - 0.625) / 0.375;
                add(top, scaled([-0.30 * side, -1.0, 0.42], 0.17 * fall * body.size))
            };
            let out = unit([side * 1.0, -0.35 + 0.15 * part, 0.25 * part]);
            (add(inner, scaled(out, width * down * body.size)), [part * 0.3, down * 0.05])
        });
    }
    solid
}

fn turn(right: f32) -> f32 {
    (right - 0.5) * std::f32::consts::TAU
}
