//! The scene graph: all that is decided about a picture or clip and may be said of it, but who the person is.

use std::f32::consts::PI;

use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use crate::motion::{Action, CameraMove, Clip, Expression, Facing, Framing};
use crate::scene::{Background, Garment, Group, Hat, HatKind, Lighting, NamedColour, Outfit, Place};

/// What scenes may show; a list that is empty allows anything. Photos of a person for reference keep to lights and hats only.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Choices {
    /// What people in clips do.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub actions: Vec<Action>,
    /// What the camera does in clips.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub camera_moves: Vec<CameraMove>,
    /// From how near.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub framings: Vec<Framing>,
    /// Turned where; at the start, in a clip.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub facings: Vec<Facing>,
    /// In which light.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub lightings: Vec<Lighting>,
    /// Nobody wears a hat.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub no_hats: bool,
    /// Faces are in the middle and equally large.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub centred: bool,
    /// Photos for reference are in any light, and come out as strangers' photos do.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub varied_photos: bool,
}

impl Choices {
    /// Whether a photo may be turned as its picture is: where pictures are all turned alike.
    pub fn one_facing(&self) -> bool {
        self.facings.len() == 1
    }

    /// Whether a photo may be lit as its picture is: where only some lights are allowed.
    pub fn few_lights(&self) -> bool {
        !self.lightings.is_empty() && !self.varied_photos
    }
}

/// What is to be seen. Captions are made from it alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SceneGraph {
    /// Whom it shows.
    pub group: Group,
    /// In which clothes.
    pub outfit: Outfit,
    /// With which hat.
    pub hat: Option<Hat>,
    /// Where.
    pub background: Background,
    /// In which light.
    pub lighting: Lighting,
    /// Seed of how it comes out ([`Development::from_seed`](crate::development::Development::from_seed)); none: as the light is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub development: Option<u64>,
    /// From how near.
    pub framing: Framing,
    /// Whether the face is in the middle, and as near as the framing allows.
    #[serde(default)]
    pub centred: bool,
    /// Turned where; at the start, in a clip.
    pub facing: Facing,
    /// With which face.
    pub expression: Expression,
    /// Doing what, in a clip.
    pub action: Option<Action>,
    /// With which camera move, in a clip.
    pub camera_move: Option<CameraMove>,
}

/// Mostly to the viewer.
const FACINGS: [(Facing, u32); 5] =
    [(Facing::Camera, 45), (Facing::Left, 18), (Facing::Right, 18), (Facing::Up, 9), (Facing::Down, 10)];

impl SceneGraph {
    /// A picture of somebody, chosen by the seed.
    pub fn picture(group: Group, choices: &Choices, seed: u64) -> Self {
        let random = &mut ChaCha8Rng::seed_from_u64(seed);
        let facing = weighted(&FACINGS, random);
        let hat = random.random_bool(0.15).then(|| hat(random));
        Self::staged(group, facing, hat, any(&Expression::ALL, random), choices, random)
    }

    /// A clip of somebody, chosen by the seed.
    pub fn clip(group: Group, choices: &Choices, seed: u64) -> Self {
        let random = &mut ChaCha8Rng::seed_from_u64(seed);
        let action = any(if choices.actions.is_empty() { &Action::ALL } else { &choices.actions[..] }, random);
        let expression = if action.moves_face() || random.random_bool(0.4) {
            Expression::Neutral
        } else {
            any(&Expression::ALL, random)
        };
        let turned = !action.turns_head() && random.random_bool(0.3);
        let facing = if turned { any(&[Facing::Left, Facing::Right], random) } else { Facing::Camera };
        let hat = random.random_bool(0.15).then(|| hat(random));
        let camera_move = match &choices.camera_moves[..] {
            [] if random.random_bool(0.35) => CameraMove::Still,
            [] => any(&CameraMove::ALL[1..], random),
            some => any(some, random),
        };
        let action = Some(action);
        let camera_move = Some(camera_move);
        Self { action, camera_move, ..Self::staged(group, facing, hat, expression, choices, random) }
    }

    /// A photo of the same person under other pose, light, background, clothes and expression, chosen by the seed;
    /// `choices` are those of the pictures.
    #[must_use]
    pub fn reference(&self, choices: &Choices, seed: u64) -> Self {
        let random = &mut ChaCha8Rng::seed_from_u64(seed);
        let alike = !choices.one_facing();
        let weight = |(facing, weight)| (facing, if alike && facing == self.facing { 0 } else { weight });
        let facing = weighted(&FACINGS.map(weight), random);
        let Choices { ref lightings, no_hats, varied_photos, .. } = *choices;
        let lightings = if varied_photos { Vec::new() } else { lightings.clone() };
        let kept = Choices { lightings, no_hats, ..Choices::default() };
        let hat = random.random_bool(0.06).then(|| hat(random));
        let development = varied_photos.then(|| random.random());
        loop {
            let other = Self {
                development,
                framing: Framing::Bust,
                ..Self::staged(self.group, facing, hat, any(&Expression::ALL, random), &kept, random)
            };
            if other.background.place != self.background.place
                && (choices.few_lights() || other.lighting != self.lighting)
                && other.expression != self.expression
                && other.outfit != self.outfit
            {
                return other;
            }
        }
    }

    fn staged(
        group: Group,
        facing: Facing,
        hat: Option<Hat>,
        expression: Expression,
        choices: &Choices,
        random: &mut ChaCha8Rng,
    ) -> Self {
        let outfit = Outfit { garment: any(garments(group), random), colour: any(&NamedColour::ALL, random) };
        let (place, lighting) = loop {
            let place = place(outfit.colour, random);
            let allowed = |lighting: &Lighting| choices.lightings.is_empty() || choices.lightings.contains(lighting);
            let lightings: Vec<_> = lightings(place).iter().copied().filter(allowed).collect();
            if !lightings.is_empty() {
                break (place, any(&lightings, random));
            }
        };
        let background = Background { place, seed: random.random() };
        let framing = one_of(&choices.framings, any(&Framing::ALL, random), random);
        let facing = one_of(&choices.facings, facing, random);
        let hat = hat.filter(|_| !choices.no_hats);
        Self {
            group,
            outfit,
            hat,
            background,
            lighting,
            development: None,
            framing,
            centred: choices.centred,
            facing,
            expression,
            action: None,
            camera_move: None,
        }
    }

    /// How the person stands and moves: `duration` in seconds, `aspect` the picture's width by its height. A picture is
    /// the first moment of it.
    pub fn perform(&self, seed: u64, duration: f32, aspect: f32) -> Clip {
        let random = &mut ChaCha8Rng::seed_from_u64(seed);
        let pose = self.facing.pose([(); 3].map(|()| random.random_range(-1.0..1.0)));
        let field_of_view = random.random_range(18.0..30.0f32) * PI / 180.0;
        let heights = self.framing.face_height();
        let height = random.random_range(heights.clone());
        let mut camera = self.framing.camera(aspect, if self.centred { heights.end } else { height }, field_of_view);
        // Else not everybody stands in the middle.
        let [right, up] = [0.025, 0.012f32].map(|most| random.random_range(-most..most));
        if !self.centred {
            camera.right += right * aspect;
            camera.up += up;
        }
        Clip {
            seed: random.random(),
            duration,
            action: self.action.unwrap_or(Action::HoldStill),
            expression: self.expression,
            pose,
            camera_move: self.camera_move.unwrap_or(CameraMove::Still),
            camera,
        }
    }
}

fn any<T: Copy>(choices: &[T], random: &mut ChaCha8Rng) -> T {
    *choices.choose(random).expect("there is always a choice")
}

/// What was chosen if it is allowed, else something that is.
fn one_of<T: Copy + PartialEq>(allowed: &[T], chosen: T, random: &mut ChaCha8Rng) -> T {
    if allowed.is_empty() || allowed.contains(&chosen) { chosen } else { any(allowed, random) }
}

fn weighted<T: Copy>(choices: &[(T, u32)], random: &mut ChaCha8Rng) -> T {
    choices.choose_weighted(random, |choice| choice.1).expect("some weight is not 0").0
}

fn hat(random: &mut ChaCha8Rng) -> Hat {
    Hat { kind: any(&HatKind::ALL, random), colour: any(&NamedColour::ALL, random) }
}

fn garments(group: Group) -> &'static [Garment] {
    use Garment::{Dress, Hoodie, Jacket, Shirt, Sweater, TShirt, TankTop, Turtleneck};
    match group {
        Group::Man => &[TShirt, Shirt, Sweater, Turtleneck, Hoodie, Jacket, TankTop],
        Group::Woman => &[TShirt, Shirt, Sweater, Turtleneck, Hoodie, Jacket, TankTop, Dress],
        Group::ElderlyMan => &[TShirt, Shirt, Sweater, Turtleneck, Jacket],
        Group::ElderlyWoman => &[TShirt, Shirt, Sweater, Turtleneck, Jacket, Dress],
        Group::Boy => &[TShirt, Shirt, Sweater, Hoodie, TankTop],
        Group::Girl => &[TShirt, Shirt, Sweater, Hoodie, TankTop, Dress],
        Group::Baby => &[TShirt, Sweater, Hoodie],
    }
}

/// A plain backdrop in two of five cases, then not in the colour of the clothes.
fn place(clothes: NamedColour, random: &mut ChaCha8Rng) -> Place {
    const PLACES: [Place; 10] = [
        Place::LivingRoom,
        Place::Kitchen,
        Place::Office,
        Place::Library,
        Place::Sky,
        Place::Park,
        Place::Street,
        Place::Beach,
        Place::Mountains,
        Place::NightCity,
    ];
    if random.random_bool(0.6) {
        return any(&PLACES, random);
    }
    let colours = NamedColour::ALL.map(|colour| (colour, u32::from(colour != clothes)));
    Place::Plain(weighted(&colours, random))
}

/// The lights that are found in a place.
fn lightings(place: Place) -> &'static [Lighting] {
    use Lighting::{BrightSun, Lamplight, Moonlight, Neon, SoftDaylight, Studio, Sunset, Window};
    match place {
        Place::Plain(_) => &[SoftDaylight, Window, Studio, Lamplight, Neon],
        Place::LivingRoom | Place::Kitchen | Place::Library => &[SoftDaylight, Window, Lamplight],
        Place::Office => &[SoftDaylight, Window, Lamplight, Neon],
        Place::Sky | Place::Park | Place::Beach | Place::Mountains => &[SoftDaylight, BrightSun, Sunset, Moonlight],
        Place::Street => &[SoftDaylight, BrightSun, Sunset, Moonlight, Neon],
        Place::NightCity => &[Moonlight, Lamplight, Neon],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reference_is_unlike_its_picture() {
        for seed in 0..300 {
            let group = Group::ALL[seed as usize % 7];
            let free = Choices::default();
            let scene = if seed % 2 == 0 { SceneGraph::picture } else { SceneGraph::clip };
            let graph = scene(group, &free, seed);
            let other = graph.reference(&free, seed + 1);
            assert_eq!(other.group, group);
            assert_ne!(other.background.place, graph.background.place);
            assert_ne!(other.lighting, graph.lighting);
            assert_ne!(other.expression, graph.expression);
            assert_ne!(other.facing, graph.facing);
            let [yaw, pitch] = {
                let [a, b] = [graph.perform(seed, 2.0, 1.5), other.perform(seed + 1, 2.0, 1.0)].map(|clip| clip.pose);
                [a.yaw - b.yaw, a.pitch - b.pitch]
            };
            assert!(libm::hypotf(yaw, pitch) > 0.1, "{seed}: {yaw} {pitch}");
        }
    }

    #[test]
    fn varied_photos_are_in_any_light_and_developed() {
        let choices =
            Choices { lightings: vec![Lighting::Studio], varied_photos: true, no_hats: true, ..Choices::default() };
        let graphs: Vec<_> = (0..200).map(|seed| SceneGraph::clip(Group::Man, &choices, seed)).collect();
        assert!(graphs.iter().all(|graph| graph.lighting == Lighting::Studio && graph.development.is_none()));
        let photos: Vec<_> = graphs.iter().map(|graph| graph.reference(&choices, 7 + graph.background.seed)).collect();
        for lighting in Lighting::ALL {
            assert!(
                photos.iter().any(|photo| photo.lighting == lighting) != (lighting == Lighting::Studio),
                "{lighting:?}"
            );
        }
        let seeds: std::collections::BTreeSet<_> = photos.iter().map(|photo| photo.development).collect();
        assert!(seeds.len() == 200 && !seeds.contains(&None));
        assert!(photos.iter().all(|photo| photo.hat.is_none()));
    }

    #[test]
    fn choices_are_written_by_name() {
        let choices = Choices {
            actions: Action::ALL.to_vec(),
            camera_moves: CameraMove::ALL.to_vec(),
            framings: Framing::ALL.to_vec(),
            facings: Facing::ALL.to_vec(),
            lightings: Lighting::ALL.to_vec(),
            no_hats: true,
            centred: true,
            varied_photos: true,
        };
        let names = serde_json::json!({
            "actions": Action::ALL.map(Action::name).to_vec(),
            "camera_moves": CameraMove::ALL.map(CameraMove::name).to_vec(),
            "framings": Framing::ALL.map(Framing::name).to_vec(),
            "facings": Facing::ALL.map(Facing::name).to_vec(),
            "lightings": Lighting::ALL.map(Lighting::name).to_vec(),
            "no_hats": true,
            "centred": true,
            "varied_photos": true,
        });
        assert_eq!(serde_json::to_value(&choices).unwrap(), names);
        assert_eq!(serde_json::from_value::<Choices>(names).unwrap(), choices);
        assert_eq!(serde_json::to_string(&Choices::default()).unwrap(), "{}");
    }

    #[test]
    fn what_is_asked_for_is_shown() {
        let choices = Choices {
            actions: vec![Action::Nod, Action::Wink],
            camera_moves: vec![CameraMove::Still],
            framings: vec![Framing::Portrait],
            facings: vec![Facing::Camera],
            lightings: vec![Lighting::Sunset, Lighting::Neon],
            no_hats: true,
            centred: true,
            varied_photos: false,
        };
        let mut alike = 0;
        for seed in 0..100 {
            let clip = SceneGraph::clip(Group::Woman, &choices, seed);
            assert!(matches!(clip.action, Some(Action::Nod | Action::Wink)));
            assert_eq!(clip.camera_move, Some(CameraMove::Still));
            for graph in [clip, SceneGraph::picture(Group::Man, &choices, seed)] {
                assert_eq!((graph.framing, graph.facing, graph.hat), (Framing::Portrait, Facing::Camera, None));
                assert!(matches!(graph.lighting, Lighting::Sunset | Lighting::Neon));
            }
            let [left, right] = [seed, seed + 1].map(|seed| clip.perform(seed, 2.0, 0.7).camera);
            assert_eq!((left.right, left.up), (right.right, right.up), "in the middle");
            let reference = clip.reference(&choices, seed);
            assert!(matches!(reference.lighting, Lighting::Sunset | Lighting::Neon) && reference.hat.is_none());
            assert!(!reference.centred);
            alike += usize::from(reference.facing == Facing::Camera);
        }
        assert!((20..80).contains(&alike), "{alike} photos of 100 are frontal");
    }

    #[test]
    fn everything_is_chosen_sometimes() {
        let graphs: Vec<_> =
            (0..3000).map(|seed| SceneGraph::clip(Group::ALL[seed as usize % 7], &Choices::default(), seed)).collect();
        let seen = |what: &dyn Fn(&SceneGraph) -> bool| assert!(graphs.iter().filter(|graph| what(graph)).count() > 10);
        for action in Action::ALL {
            seen(&|graph| graph.action == Some(action));
        }
        for camera in CameraMove::ALL {
            seen(&|graph| graph.camera_move == Some(camera));
        }
        for lighting in Lighting::ALL {
            seen(&|graph| graph.lighting == lighting);
        }
        for garment in Garment::ALL {
            seen(&|graph| graph.outfit.garment == garment);
        }
        for colour in NamedColour::ALL {
            seen(&|graph| graph.background.place == Place::Plain(colour));
        }
        for kind in HatKind::ALL {
            seen(&|graph| graph.hat.is_some_and(|hat| hat.kind == kind));
        }
    }
}
