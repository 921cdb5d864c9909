//! Pictures of what is worn, on a skin of one colour.

use super::*;
use crate::colour::nearest_name;
use crate::head::Part;
use crate::light::Lights;
use crate::person::{Beard, Earrings, Frame as Rim, Glasses, HairStyle, Person};
use crate::render::{Frame, draw};
use crate::scene::{
    Background, Camera, Garment, Gaze, Group, HeadPose, Lighting, Moment, NamedColour, Outfit, Place, Size,
};
use crate::space::Vec3;

const SIZE: Size = Size { width: 72, height: 72 };
const CAMERA: Camera = Camera { field_of_view: 0.42, distance: 1.2, right: 0.0, up: -0.05 };

fn scene() -> Scene {
    let mut person = Person::from_seed(3, Group::Woman);
    person.hair = crate::person::Hair { style: HairStyle::Bald, colour: [0.05, 0.03, 0.02] };
    (person.glasses, person.earrings) = (None, None);
    Scene {
        person,
        outfit: Outfit { garment: Garment::TShirt, colour: NamedColour::Blue },
        hat: None,
        background: Background { place: Place::Plain(NamedColour::Grey), seed: 1 },
        lighting: Lighting::Studio,
        development: None,
    }
}

struct Shot {
    frame: Frame,
    /// Eye centres in the picture.
    eyes: [[f32; 2]; 2],
}

/// Number of the pixel at a place.
fn pixel([x, y]: [f32; 2]) -> usize {
    y as usize * SIZE.width + x as usize
}

fn shoot(scene: &Scene) -> Shot {
    let figure = Figure::new(&scene.person);
    let mut skin = Mesh::of_part(&figure, Part::Skin).0;
    let mut layers = layers(scene, &figure, &mut skin);
    let eyes = [Part::LeftEye, Part::RightEye].map(|part| Mesh::of_part(&figure, part).0);
    for mesh in eyes.into_iter().chain([skin]) {
        let material = Box::new(Made { of: Stuff::Plastic, colour: [0.5, 0.35, 0.3] });
        layers.push(Layer { mesh, material, opacity: Opacity::Solid, face: FaceCover::Face, shadow: true });
    }
    let layers: Vec<&Layer> = layers.iter().collect();
    let moment = Moment {
        pose: HeadPose::default(),
        gaze: Gaze::default(),
        expression: vec![0.0; 52],
        sway: [0.0; 3],
        camera: CAMERA,
    };
    let pose = figure.pose(&moment);
    let backdrop = vec![[0.2; 3]; SIZE.width * SIZE.height];
    let frame = draw(&layers, &pose, &CAMERA, &Lights::new(scene.lighting, 1), SIZE, &backdrop);
    let project = |[x, y, z]: Vec3| {
        let focal = SIZE.height as f32 / 2.0 / libm::tanf(CAMERA.field_of_view / 2.0) / (CAMERA.distance - z);
        [x * focal + SIZE.width as f32 / 2.0, (CAMERA.up - y) * focal + SIZE.height as f32 / 2.0]
    };
    let [left, right, ..] = figure.landmarks(&pose).map(project);
    Shot { frame, eyes: [left, right] }
}

/// Scenes that must all look different, with names.
fn variants() -> Vec<(String, Scene)> {
    let mut all = vec![("nothing".to_owned(), scene())];
    let mut add = |name: String, change: &dyn Fn(&mut Scene)| {
        let mut scene = scene();
        change(&mut scene);
        all.push((name, scene));
    };
    for style in HairStyle::ALL.into_iter().filter(|&style| style != HairStyle::Bald) {
        add(format!("{style:?}"), &|scene| scene.person.hair.style = style);
    }
    for beard in Beard::ALL.into_iter().filter(|&beard| beard != Beard::None) {
        add(format!("{beard:?}"), &|scene| scene.person.beard = beard);
    }
    for (frame, thick) in [(Rim::Round, false), (Rim::Round, true), (Rim::Rectangular, false), (Rim::Rectangular, true)]
    {
        let glasses = Glasses { frame, thick, colour: [0.02; 3] };
        add(format!("{glasses:?}"), &|scene| scene.person.glasses = Some(glasses));
    }
    for earrings in [Earrings::Studs, Earrings::Hoops] {
        add(format!("{earrings:?}"), &|scene| scene.person.earrings = Some(earrings));
    }
    for kind in HatKind::ALL {
        add(format!("{kind:?}"), &|scene| scene.hat = Some(Hat { kind, colour: NamedColour::Red }));
    }
    for garment in Garment::ALL.into_iter().filter(|&garment| garment != Garment::TShirt) {
        add(format!("{garment:?}"), &|scene| scene.outfit.garment = garment);
    }
    for lighting in Lighting::ALL.into_iter().filter(|&lighting| lighting != Lighting::Studio) {
        add(format!("{lighting:?}"), &|scene| scene.lighting = lighting);
    }
    all
}

#[test]
fn all_that_can_be_worn_is_seen() {
    let shots: Vec<_> = variants().into_iter().map(|(name, scene)| (name, shoot(&scene).frame.light)).collect();
    for (index, (name, one)) in shots.iter().enumerate() {
        for (other_name, other) in &shots[..index] {
            assert!(one != other, "{name} looks like {other_name}");
        }
    }
}

#[test]
fn the_same_scene_gives_the_same_picture() {
    let mut scene = scene();
    scene.person.hair.style = HairStyle::LongWavy;
    let bits = |shot: Shot| shot.frame.light.iter().flatten().map(|channel| channel.to_bits()).collect::<Vec<_>>();
    assert!(bits(shoot(&scene)) == bits(shoot(&scene)));
}

#[test]
fn eyes_stay_free_and_hair_covers_the_scalp() {
    let bald = shoot(&scene());
    for (name, scene) in variants() {
        if scene.person.glasses.is_some() {
            continue;
        }
        let shot = shoot(&scene);
        for eye in shot.eyes {
            let share = shot.frame.face[pixel(eye)];
            assert!(share > 0.5, "{name}: {share} of an eye is seen");
        }
        let crown = [shot.eyes[0][0].midpoint(shot.eyes[1][0]), shot.eyes[0][1] - 13.0];
        let hairy = !matches!(name.as_str(), "Receding" | "nothing")
            && HairStyle::ALL.iter().any(|style| name == format!("{style:?}"));
        let red = |shot: &Shot| shot.frame.light[pixel(crown)][0];
        let changed = (red(&shot) - red(&bald)).abs() > 0.05;
        assert!(changed || !hairy, "{name}: no hair on the crown");
    }
}

#[test]
fn rims_hide_the_face_and_lenses_do_not() {
    let mut scene = scene();
    let bare = shoot(&scene);
    scene.person.glasses = Some(Glasses { frame: Rim::Round, thick: true, colour: [0.02; 3] });
    let worn = shoot(&scene);
    let area = |shot: &Shot| shot.frame.face.iter().sum::<f32>();
    assert!(area(&worn) < area(&bare) - 5.0, "{} of {}", area(&worn), area(&bare));
    for eye in worn.eyes {
        assert!(worn.frame.face[pixel(eye)] > 0.9);
    }
}

#[test]
fn clothes_have_the_colour_that_they_are_said_to_have() {
    for garment in [Garment::TShirt, Garment::Sweater, Garment::Turtleneck, Garment::Dress] {
        for colour in NamedColour::ALL {
            let mut scene = scene();
            scene.outfit = Outfit { garment, colour };
            let frame = shoot(&scene).frame;
            // The chest: the middle of the lowest rows.
            let chest =
                (SIZE.height - 4..SIZE.height).flat_map(|row| (28..44).map(move |column| row * SIZE.width + column));
            let sum = chest.fold([0.0; 3], |sum, pixel| crate::colour::plus(sum, frame.light[pixel]));
            let mean = scale(sum, 1.0 / 64.0);
            assert_eq!(nearest_name(mean), colour, "{garment:?}: {mean:?}");
        }
    }
}
