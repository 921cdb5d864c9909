//! A scene made ready, and its pictures.

use crate::backdrop::Backdrop;
use crate::figure::Figure;
use crate::light::Lights;
use crate::person::Person;
use crate::render::{Frame, Layer, draw};
use crate::scene::{Background, Hat, Lighting, Moment, Outfit, Picture, Size};
use crate::space::Vec3;

/// Who is where, in what clothes and light.
#[derive(Debug, Clone, PartialEq)]
pub struct Scene {
    /// Who.
    pub person: Person,
    /// In what clothes.
    pub outfit: Outfit,
    /// In what hat.
    pub hat: Option<Hat>,
    /// Where.
    pub background: Background,
    /// In what light.
    pub lighting: Lighting,
}

/// A scene with all that stays the same between its pictures: shapes, skin, hair, clothes, the painted place.
pub struct Set {
    figure: Figure,
    layers: Vec<Layer>,
    backdrop: Backdrop,
    lights: Lights,
}

impl Set {
    /// Makes a scene ready.
    pub fn new(scene: &Scene) -> Self {
        let figure = Figure::new(&scene.person);
        let layers = crate::body::layers(&scene.person, &figure);
        let backdrop = Backdrop::new(&scene.background, scene.lighting);
        let lights = Lights::new(scene.lighting, scene.background.seed);
        Self { figure, layers, backdrop, lights }
    }

    /// Takes a picture.
    pub fn shoot(&self, moment: &Moment, size: Size) -> Picture {
        let pose = self.figure.pose(moment);
        let backdrop = self.backdrop.view(&moment.camera, size);
        let layers: Vec<&Layer> = self.layers.iter().collect();
        let Frame { light, face } = draw(&layers, &pose, &moment.camera, &self.lights, size, &backdrop);
        let project = |point: Vec3| project(point, moment, size);
        let places = self.figure.face(&pose).into_iter().map(project);
        let face_box = places.fold([f32::MAX, f32::MAX, f32::MIN, f32::MIN], |bounds, [x, y]| {
            [bounds[0].min(x), bounds[1].min(y), bounds[2].max(x), bounds[3].max(y)]
        });
        Picture {
            size,
            rgb: light.iter().flatten().map(|&channel| srgb_byte(channel)).collect(),
            face_mask: face.iter().map(|&share| (share * 255.0 + 0.5) as u8).collect(),
            face_box,
            landmarks: self.figure.landmarks(&pose).map(project),
        }
    }
}

/// Column and row of a point.
fn project(point: Vec3, moment: &Moment, size: Size) -> [f32; 2] {
    let camera = moment.camera;
    let focal = size.height as f32 / 2.0 / libm::tanf(camera.field_of_view / 2.0);
    let near = focal / (camera.distance - point[2]).max(1e-3);
    let [right, down] = [point[0] - camera.right, camera.up - point[1]];
    [right * near + size.width as f32 / 2.0, down * near + size.height as f32 / 2.0]
}

/// A byte of sRGB from linear light 0 to 1, by a table of the thresholds between bytes.
fn srgb_byte(light: f32) -> u8 {
    static TABLE: std::sync::OnceLock<Vec<u8>> = std::sync::OnceLock::new();
    const STEPS: usize = 1 << 14;
    let table = TABLE.get_or_init(|| {
        let byte = |step: usize| {
            let light = step as f32 / STEPS as f32;
            let encoded =
                if light <= 0.003_130_8 { 12.92 * light } else { 1.055 * libm::powf(light, 1.0 / 2.4) - 0.055 };
            (encoded * 255.0 + 0.5) as u8
        };
        (0..=STEPS).map(byte).collect()
    });
    table[(light.clamp(0.0, 1.0) * STEPS as f32 + 0.5) as usize]
}
