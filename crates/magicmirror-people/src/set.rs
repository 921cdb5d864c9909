//! A scene made ready, and its pictures.

use crate::backdrop::Backdrop;
use crate::colour::Rgb;
use crate::development::Development;
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
    /// How its pictures come out; none: as the light is.
    pub development: Option<Development>,
}

/// A scene with all that stays the same between its pictures: shapes, skin, hair, clothes, the painted place.
pub struct Set {
    figure: Figure,
    layers: Vec<Layer>,
    backdrop: Backdrop,
    lights: Lights,
    development: Option<Development>,
}

impl Set {
    /// Makes a scene ready.
    pub fn new(scene: &Scene) -> Self {
        let figure = Figure::new(&scene.person);
        let mut layers = crate::body::layers(&scene.person, &figure);
        let worn = crate::attire::layers(scene, &figure, &mut layers[0].mesh);
        layers.extend(worn);
        let backdrop = Backdrop::new(&scene.background, scene.lighting);
        let lights = Lights::new(scene.lighting, scene.background.seed);
        Self { figure, layers, backdrop, lights, development: scene.development }
    }

    fn develop(&self, light: Rgb) -> Rgb {
        self.development.map_or(light, |development| development.apply(light))
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
            rgb: light.iter().flat_map(|&light| self.develop(light)).map(srgb_byte).collect(),
            face_mask: within(face_box, &face, size.width),
            face_box,
            landmarks: self.figure.landmarks(&pose).map(project),
        }
    }
}

/// The face's share of each pixel as a byte, none beyond the box: a beard may stand off the chin that the box ends at.
fn within([left, top, right, bottom]: [f32; 4], face: &[f32], width: usize) -> Vec<u8> {
    let byte = |(index, &share): (usize, &f32)| {
        let (column, row) = ((index % width) as f32, (index / width) as f32);
        let inside = column + 1.0 > left && column < right && row + 1.0 > top && row < bottom;
        if inside { (share * 255.0 + 0.5) as u8 } else { 0 }
    };
    face.iter().enumerate().map(byte).collect()
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::person::{Beard, HairStyle};
    use crate::scene::{Camera, Garment, Gaze, Group, HeadPose, NamedColour, Place};

    fn picture(group: Group, seed: u64, pose: HeadPose) -> Picture {
        let mut person = Person::from_seed(seed, group);
        (person.glasses, person.earrings, person.beard, person.hair.style) = (None, None, Beard::None, HairStyle::Bald);
        let scene = Scene {
            person,
            outfit: Outfit { garment: Garment::TShirt, colour: NamedColour::Blue },
            hat: None,
            background: Background { place: Place::Plain(NamedColour::Grey), seed: 1 },
            lighting: Lighting::SoftDaylight,
            development: None,
        };
        let camera = Camera { field_of_view: 0.36, distance: 1.0, right: 0.0, up: -0.02 };
        let moment = Moment { pose, gaze: Gaze::default(), expression: vec![0.0; 52], sway: [0.01, 0.0, 0.0], camera };
        Set::new(&scene).shoot(&moment, Size { width: 96, height: 96 })
    }

    #[test]
    fn box_and_landmarks_fit_the_drawn_face() {
        for (number, group) in Group::ALL.into_iter().enumerate() {
            let pose = HeadPose { yaw: 0.2, pitch: -0.05, roll: 0.1 };
            let picture = picture(group, number as u64, pose);
            let at = |x: usize, y: usize| picture.face_mask[y * 96 + x];
            let face: Vec<[f32; 2]> = (0..96 * 96)
                .filter(|&pixel| picture.face_mask[pixel] > 127)
                .map(|pixel| [pixel % 96, pixel / 96].map(|v| v as f32 + 0.5))
                .collect();
            for axis in 0..2 {
                let (low, high) = face
                    .iter()
                    .fold((f32::MAX, f32::MIN), |(low, high), place| (low.min(place[axis]), high.max(place[axis])));
                let (first, last) = (picture.face_box[axis], picture.face_box[axis + 2]);
                assert!(
                    (low - first).abs() < 4.0 && (high - last).abs() < 4.0,
                    "{group:?}: face {low} to {high}, box {first} to {last}"
                );
            }
            for (mark, [x, y]) in picture.landmarks.iter().enumerate() {
                assert!(at(*x as usize, *y as usize) > 200, "{group:?}: landmark {mark} at {x}, {y} is off the face");
            }
            let [left, right, nose, left_mouth, right_mouth] = picture.landmarks;
            assert!(left[0] < nose[0] && nose[0] < right[0] && left_mouth[0] < right_mouth[0], "{group:?}");
            assert!(left[1] < nose[1] && nose[1] < left_mouth[1], "{group:?}");
        }
    }

    #[test]
    fn bytes_follow_from_the_seed() {
        let pose = HeadPose::default();
        assert_eq!(picture(Group::Girl, 4, pose), picture(Group::Girl, 4, pose));
        assert_ne!(picture(Group::Girl, 4, pose).rgb, picture(Group::Girl, 5, pose).rgb);
    }
}
