//! The body's own layers: skin, eyes, teeth, tongue, lashes.

mod atlas;
mod eye;
mod features;
mod mouth;
mod noise;
mod shading;
mod skin;

use crate::figure::Figure;
use crate::person::Person;
use crate::render::Layer;

/// Skin, eyes, teeth, tongue and lashes of `person`.
pub(crate) fn layers(person: &Person, figure: &Figure) -> Vec<Layer> {
    let mut layers = vec![skin::layer(person, figure)];
    layers.extend(eye::layers(person, figure));
    layers.extend(mouth::layers(figure));
    layers.push(eye::lashes(person, figure));
    layers
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::light::{Lamp, Lights};
    use crate::render::{Frame, draw};
    use crate::scene::{Camera, Gaze, Group, HeadPose, Moment, Size};

    /// A bare head on grey: light and face share of each pixel.
    fn portrait(group: Group, yaw: f32) -> Frame {
        let person = Person::from_seed(11, group);
        let figure = Figure::new(&person);
        let camera = Camera { field_of_view: 0.35, distance: 1.0, right: 0.0, up: 0.0 };
        let pose = HeadPose { yaw, ..HeadPose::default() };
        let moment = Moment { pose, gaze: Gaze::default(), expression: vec![0.0; 52], sway: [0.0; 3], camera };
        let lights = Lights {
            sky: [0.5; 3],
            ground: [0.3; 3],
            lamps: vec![Lamp { direction: [0.48, 0.6, 0.64], colour: [0.6, 0.55, 0.5] }],
            exposure: 1.0,
        };
        let size = Size { width: 48, height: 48 };
        let layers = layers(&person, &figure);
        draw(
            &layers.iter().collect::<Vec<_>>(),
            &figure.pose(&moment),
            &camera,
            &lights,
            size,
            &vec![[0.2; 3]; 48 * 48],
        )
    }

    /// FNV-1a over the exact bits.
    fn hash(frame: &Frame) -> u64 {
        let bytes = frame.light.iter().flatten().flat_map(|channel| channel.to_le_bytes());
        bytes.fold(0xCBF2_9CE4_8422_2325, |hash, byte| (hash ^ byte as u64).wrapping_mul(0x0100_0000_01B3))
    }

    #[test]
    fn equal_on_every_machine_and_any_number_of_threads() {
        let expected = hash(&portrait(Group::Man, 0.3));
        for threads in [2, 4] {
            std::thread::scope(|scope| {
                let drawn: Vec<_> = (0..threads).map(|_| scope.spawn(|| hash(&portrait(Group::Man, 0.3)))).collect();
                for drawn in drawn {
                    assert_eq!(drawn.join().unwrap(), expected);
                }
            });
        }
        // Changes with every change of the looks; never with machine, optimisation or threads.
        assert_eq!(expected, 0x308E_6FEC_3FA4_908C);
    }

    #[test]
    fn other_groups_and_poses_are_other_pictures() {
        let hashes = [portrait(Group::Man, 0.3), portrait(Group::Man, 0.31), portrait(Group::Girl, 0.3)]
            .map(|frame| hash(&frame));
        assert!(hashes[0] != hashes[1] && hashes[0] != hashes[2]);
    }
}
