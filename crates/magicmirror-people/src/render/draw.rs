//! One frame: visibility, shading, blending, resolving.

use super::raster::{Plane, View};
use super::shadow::ShadowMap;
use super::{FaceCover, Fragment, Illumination, Layer, Opacity, Posed, Shade};
use crate::colour::{Rgb, mix};
use crate::figure::Pose;
use crate::light::Lights;
use crate::scene::{Camera, Size};
use crate::space::{Vec3, add, dot, scaled, sub, unit, weighted};

/// A drawn frame: per pixel.
pub(crate) struct Frame {
    /// Linear light, exposure included.
    pub(crate) light: Vec<Rgb>,
    /// Share of the pixel that is face, 0 to 1.
    pub(crate) face: Vec<f32>,
}

const NOTHING: u32 = u32::MAX;
/// Bits of a sample's number that count triangles; the others count layers.
const TRIANGLE_BITS: u32 = 24;
/// Samples of one layer in a pixel that are farther apart than this share of their distance are shaded each.
const APART: f32 = 0.006;

/// The scene as it is drawn.
struct Drawing<'a> {
    layers: &'a [&'a Layer],
    posed: Vec<Posed>,
    projected: Vec<Vec<Option<Vec3>>>,
    view: View,
    lights: &'a Lights,
    shadow: Option<ShadowMap>,
    pose: &'a Pose,
}

/// Draws `layers` over `backdrop` (linear light per pixel, exposure included).
pub(crate) fn draw(
    layers: &[&Layer],
    pose: &Pose,
    camera: &Camera,
    lights: &Lights,
    size: Size,
    backdrop: &[Rgb],
) -> Frame {
    let fine = if size.width * size.height <= 256 * 160 { 3 } else { 2 };
    let view = View::new(camera, Size { width: size.width * fine, height: size.height * fine });
    let posed: Vec<_> = layers.iter().map(|layer| layer.mesh.posed(pose)).collect();
    let projected =
        posed.iter().map(|posed| posed.positions.iter().map(|&point| view.project(point)).collect()).collect();
    let shadow = lights.lamps.first().map(|lamp| {
        let mut map = ShadowMap::new(unit(lamp.direction));
        for (layer, posed) in layers.iter().zip(&posed).filter(|(layer, _)| layer.shadow) {
            map.add(&layer.mesh.triangles, posed);
        }
        map
    });
    let drawing = Drawing { layers, posed, projected, view, lights, shadow, pose };
    let (nearness, numbers) = drawing.visible();
    let mut samples = drawing.shade(&nearness, &numbers, fine, backdrop);
    drawing.blend(&nearness, &mut samples, fine);
    samples.resolve(size, fine)
}

/// Light and face share of all samples.
struct Samples {
    width: usize,
    light: Vec<Rgb>,
    face: Vec<f32>,
}

impl Drawing<'_> {
    /// Nearness and number of the triangle that each sample sees.
    fn visible(&self) -> (Vec<f32>, Vec<u32>) {
        let Size { width, height } = self.view.size;
        let mut nearness = vec![0.0f32; width * height];
        let mut numbers = vec![NOTHING; width * height];
        for (index, layer) in self.layers.iter().enumerate().filter(|(_, layer)| layer.opacity != Opacity::Blended) {
            for (triangle, vertices) in layer.mesh.triangles.iter().enumerate() {
                let Some(plane) = self.plane(index, vertices) else { continue };
                let number = (index as u32) << TRIANGLE_BITS | triangle as u32;
                plane.each(|column, row, near| {
                    let sample = row * width + column;
                    if near > nearness[sample]
                        && (layer.opacity == Opacity::Solid || cut_in(layer, &plane, vertices, column, row))
                    {
                        nearness[sample] = near;
                        numbers[sample] = number;
                    }
                });
            }
        }
        (nearness, numbers)
    }

    fn plane(&self, layer: usize, vertices: &[u32; 3]) -> Option<Plane> {
        let places = &self.projected[layer];
        let [a, b, c] = vertices.map(|vertex| places[vertex as usize]);
        Plane::new([a?, b?, c?], self.view.size)
    }

    /// Shades what is visible, once a pixel and layer where the surface is whole.
    fn shade(&self, nearness: &[f32], numbers: &[u32], fine: usize, backdrop: &[Rgb]) -> Samples {
        let Size { width, height } = self.view.size;
        let mut samples = Samples { width, light: vec![[0.0; 3]; width * height], face: vec![0.0; width * height] };
        let places: Vec<(usize, usize)> = (0..fine * fine).map(|place| (place % fine, place / fine)).collect();
        for row in 0..height / fine {
            for column in 0..width / fine {
                let at = |(x, y): (usize, usize)| (row * fine + y) * width + column * fine + x;
                let mut left = (1u32 << places.len()) - 1;
                while left != 0 {
                    let first = places[left.trailing_zeros() as usize];
                    let number = numbers[at(first)];
                    if number == NOTHING {
                        samples.light[at(first)] = backdrop[row * (width / fine) + column];
                        left &= left - 1;
                        continue;
                    }
                    let near = nearness[at(first)];
                    let mut together = 0u32;
                    for (place, &other) in places.iter().enumerate() {
                        let sample = at(other);
                        let alike = numbers[sample] >> TRIANGLE_BITS == number >> TRIANGLE_BITS
                            && (nearness[sample] - near).abs() < APART * near;
                        together |= u32::from(alike) << place;
                    }
                    together &= left;
                    left &= !together;
                    // The sample in the middle of them stands for all.
                    let mut chosen = together;
                    for _ in 0..together.count_ones() / 2 {
                        chosen &= chosen - 1;
                    }
                    let chosen = places[chosen.trailing_zeros() as usize];
                    let (light, face) =
                        self.sample(numbers[at(chosen)], column * fine + chosen.0, row * fine + chosen.1, fine);
                    while together != 0 {
                        let sample = at(places[together.trailing_zeros() as usize]);
                        samples.light[sample] = light;
                        samples.face[sample] = face;
                        together &= together - 1;
                    }
                }
            }
        }
        samples
    }

    fn sample(&self, number: u32, column: usize, row: usize, fine: usize) -> (Rgb, f32) {
        let index = (number >> TRIANGLE_BITS) as usize;
        let layer = self.layers[index];
        let vertices = layer.mesh.triangles[(number & ((1 << TRIANGLE_BITS) - 1)) as usize];
        let Some(plane) = self.plane(index, &vertices) else { return ([0.0; 3], 0.0) };
        let fragment = self.fragment(index, vertices, &plane, column, row, fine);
        let shade = layer.material.shade(&fragment, &self.illumination(&fragment));
        let face = if layer.face == FaceCover::Face { layer.material.face(&fragment) } else { 0.0 };
        (scaled(shade.light, self.lights.exposure), face)
    }

    fn illumination(&self, at: &Fragment) -> Illumination<'_> {
        let direct = self.shadow.as_ref().map_or(1.0, |shadow| shadow.light(at.position, at.normal));
        Illumination { lights: self.lights, direct, pose: self.pose }
    }

    fn fragment(
        &self,
        index: usize,
        vertices: [u32; 3],
        plane: &Plane,
        column: usize,
        row: usize,
        fine: usize,
    ) -> Fragment {
        let (layer, posed) = (self.layers[index], &self.posed[index]);
        let weights = plane.weights(column as f32 + 0.5, row as f32 + 0.5);
        let mean = |values: &[Vec3]| weighted(vertices.map(|vertex| values[vertex as usize]), weights);
        let position = mean(&posed.positions);
        let normal = unit(mean(&posed.normals));
        let viewer = sub(self.view.eye, position);
        let outside = plane.outside;
        Fragment {
            position,
            normal: if outside { normal } else { scaled(normal, -1.0) },
            tangent: if posed.tangents.is_empty() { [0.0; 3] } else { unit(mean(&posed.tangents)) },
            viewer: unit(viewer),
            texture: texture(layer, &vertices, weights),
            vertices,
            weights,
            footprint: viewer[2] * fine as f32 / self.view.focal,
            outside,
        }
    }

    /// Draws blended layers, farthest triangles first.
    fn blend(&self, nearness: &[f32], samples: &mut Samples, fine: usize) {
        let mut order = Vec::new();
        for (index, layer) in self.layers.iter().enumerate().filter(|(_, layer)| layer.opacity == Opacity::Blended) {
            for (triangle, vertices) in layer.mesh.triangles.iter().enumerate() {
                if let Some(plane) = self.plane(index, vertices) {
                    let middle =
                        vertices.iter().map(|&vertex| self.posed[index].positions[vertex as usize][2]).sum::<f32>();
                    order.push((middle, index, triangle, plane));
                }
            }
        }
        // Sums of equal depth keep the order of layers and triangles: the sort is stable.
        order.sort_by(|a, b| a.0.total_cmp(&b.0));
        // A triangle is shaded once a pixel: what each pixel was last given, and by which triangle.
        let nothing = Shade { light: [0.0; 3], alpha: 0.0 };
        let mut latest = vec![(usize::MAX, nothing); samples.light.len() / (fine * fine)];
        for (number, (_, index, triangle, plane)) in order.into_iter().enumerate() {
            let layer = self.layers[index];
            let vertices = layer.mesh.triangles[triangle];
            plane.each(|column, row, near| {
                let sample = row * samples.width + column;
                if near <= nearness[sample] {
                    return;
                }
                let (last, shade) = &mut latest[row / fine * (samples.width / fine) + column / fine];
                if *last != number {
                    let fragment = self.fragment(index, vertices, &plane, column, row, fine);
                    (*last, *shade) = (number, layer.material.shade(&fragment, &self.illumination(&fragment)));
                }
                let alpha = shade.alpha.clamp(0.0, 1.0);
                samples.light[sample] = mix(samples.light[sample], scaled(shade.light, self.lights.exposure), alpha);
                if layer.face == FaceCover::Hides {
                    samples.face[sample] *= 1.0 - alpha;
                }
            });
        }
    }
}

impl Samples {
    /// Means of the samples of each pixel, bright ones compressed first.
    fn resolve(&self, size: Size, fine: usize) -> Frame {
        let share = 1.0 / (fine * fine) as f32;
        let mut frame = Frame {
            light: Vec::with_capacity(size.width * size.height),
            face: Vec::with_capacity(size.width * size.height),
        };
        for row in 0..size.height {
            for column in 0..size.width {
                let (mut light, mut face) = ([0.0; 3], 0.0);
                for y in 0..fine {
                    let start = (row * fine + y) * self.width + column * fine;
                    for sample in start..start + fine {
                        light = add(light, self.light[sample].map(compressed));
                        face += self.face[sample];
                    }
                }
                frame.light.push(scaled(light, share));
                frame.face.push(face * share);
            }
        }
        frame
    }
}

/// Linear up to a shoulder, then rolled off towards 1.
fn compressed(light: f32) -> f32 {
    const SHOULDER: f32 = 0.7;
    if light < SHOULDER {
        return light.max(0.0);
    }
    let over = (light - SHOULDER) / (1.0 - SHOULDER);
    SHOULDER + (1.0 - SHOULDER) * over / (1.0 + over) * (1.0 + over / 6.0).min(1.25)
}

fn texture(layer: &Layer, vertices: &[u32; 3], weights: Vec3) -> [f32; 2] {
    if layer.mesh.texture.is_empty() {
        return [0.0; 2];
    }
    let corners = vertices.map(|vertex| layer.mesh.texture[vertex as usize]);
    [0, 1].map(|axis| dot(corners.map(|corner| corner[axis]), weights))
}

/// Whether a sample of a cutout layer is there.
fn cut_in(layer: &Layer, plane: &Plane, vertices: &[u32; 3], column: usize, row: usize) -> bool {
    let weights = plane.weights(column as f32 + 0.5, row as f32 + 0.5);
    layer.material.alpha(texture(layer, vertices, weights), *vertices, weights) > 0.5
}
