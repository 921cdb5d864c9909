//! Identities: everything about a person that stays the same in every picture.

mod look;
mod shape;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use crate::colour::Rgb;
use crate::scene::Group;

/// A person who does not exist.
#[derive(Debug, Clone, PartialEq)]
pub struct Person {
    /// What all the rest follows from.
    pub seed: u64,
    /// Age and sex.
    pub group: Group,
    /// Years.
    pub age: f32,
    /// Weights of the head model's targets, by their numbers.
    pub shape: Vec<(usize, f32)>,
    /// The skin.
    pub skin: Skin,
    /// The eyes.
    pub iris: Rgb,
    /// The brows.
    pub brows: Brows,
    /// Hair on the head.
    pub hair: Hair,
    /// Beard, of the hair's colour.
    pub beard: Beard,
    /// Glasses, if the person wears any.
    pub glasses: Option<Glasses>,
    /// Earrings, if the person wears any.
    pub earrings: Option<Earrings>,
}

/// What the skin looks like. Amounts are 0 to 1.
#[derive(Debug, Clone, PartialEq)]
pub struct Skin {
    /// What it throws back of white light, cheeks and lips aside.
    pub tone: Rgb,
    /// What the lips throw back.
    pub lips: Rgb,
    /// Redness of cheeks, nose and ears.
    pub blush: f32,
    /// Freckles.
    pub freckles: f32,
    /// Moles: where on the face (right, up in metres on the base mesh) and how big (radius in metres).
    pub moles: Vec<[f32; 3]>,
    /// Wrinkles.
    pub wrinkles: f32,
    /// Uneven colour.
    pub blotches: f32,
    /// Shine.
    pub gloss: f32,
    /// Dark rings under the eyes.
    pub rings: f32,
    /// Paint on lids and lips.
    pub makeup: f32,
}

/// What the brows look like.
#[derive(Debug, Clone, PartialEq)]
pub struct Brows {
    /// Their colour.
    pub colour: Rgb,
    /// Height in metres.
    pub thickness: f32,
    /// 0 to 1.
    pub density: f32,
    /// Rise in the middle, in metres.
    pub arch: f32,
    /// How far the outer end stands above the inner one, in metres.
    pub slant: f32,
    /// Where they stand above (positive) or below the usual place, in metres.
    pub height: f32,
    /// Length against the usual one.
    pub length: f32,
}

/// Hair on the head.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Hair {
    /// The cut.
    pub style: HairStyle,
    /// What a thick lock throws back of white light.
    pub colour: Rgb,
}

/// A hair cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HairStyle {
    /// No hair.
    Bald,
    /// A wreath round a bald top.
    Receding,
    /// Cropped to some millimetres.
    Buzz,
    /// Short all round.
    Short,
    /// Short, parted at one side.
    SidePart,
    /// Straight hair over the forehead.
    Fringe,
    /// To the chin.
    Bob,
    /// Straight, below the shoulders.
    LongStraight,
    /// Wavy, below the shoulders.
    LongWavy,
    /// Curls all round.
    Curly,
    /// A round cloud of tight curls.
    Afro,
    /// Tied to a knot on top.
    Bun,
    /// Tied behind.
    Ponytail,
    /// Two plaits.
    Braids,
    /// A baby's down.
    Fuzz,
}

impl HairStyle {
    /// All of them.
    pub const ALL: [Self; 15] = [
        Self::Bald,
        Self::Receding,
        Self::Buzz,
        Self::Short,
        Self::SidePart,
        Self::Fringe,
        Self::Bob,
        Self::LongStraight,
        Self::LongWavy,
        Self::Curly,
        Self::Afro,
        Self::Bun,
        Self::Ponytail,
        Self::Braids,
        Self::Fuzz,
    ];
}

/// Hair on the chin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Beard {
    /// None.
    None,
    /// Unshaven for some days.
    Stubble,
    /// Upper lip.
    Moustache,
    /// Round the mouth.
    Goatee,
    /// Cheeks, chin and upper lip.
    Full,
}

impl Beard {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::None, Self::Stubble, Self::Moustache, Self::Goatee, Self::Full];
}

/// Glasses.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Glasses {
    /// The frame's shape.
    pub frame: Frame,
    /// Whether the rims are thick.
    pub thick: bool,
    /// The frame's colour.
    pub colour: Rgb,
}

/// Shape of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Frame {
    /// Round lenses.
    Round,
    /// Rectangular lenses.
    Rectangular,
}

/// Earrings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Earrings {
    /// Small balls.
    Studs,
    /// Rings.
    Hoops,
}

impl Person {
    /// The person of a group that a seed stands for.
    pub fn from_seed(seed: u64, group: Group) -> Self {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        random.set_stream(group as u64);
        let age = match group {
            Group::Man | Group::Woman => random.random_range(19.0..52.0),
            Group::ElderlyMan | Group::ElderlyWoman => random.random_range(64.0..86.0),
            Group::Boy | Group::Girl => random.random_range(5.0..12.0),
            Group::Baby => random.random_range(0.6..1.8),
        };
        let male = match group {
            Group::Man | Group::ElderlyMan | Group::Boy => true,
            Group::Woman | Group::ElderlyWoman | Group::Girl => false,
            Group::Baby => random.random_bool(0.5),
        };
        let origin = look::origin(&mut random);
        let shape = shape::weights(&mut random, group, age, male, origin);
        look::dress(&mut random, Self::plain(seed, group, age, shape), male, origin)
    }
}

/// A normal deviate within three standard deviations: the sum of twelve uniform ones, exact on every machine.
fn normal(random: &mut ChaCha8Rng, deviation: f32) -> f32 {
    let sum: f32 = (0..12).map(|_| random.random_range(-0.5f32..0.5)).sum();
    sum.clamp(-3.0, 3.0) * deviation
}

#[cfg(test)]
mod tests {
    use super::*;

    fn people(group: Group) -> Vec<Person> {
        (0..120).map(|seed| Person::from_seed(seed, group)).collect()
    }

    fn share(people: &[Person], holds: impl Fn(&Person) -> bool) -> f32 {
        people.iter().filter(|person| holds(person)).count() as f32 / people.len() as f32
    }

    #[test]
    fn a_seed_is_one_person() {
        assert_eq!(Person::from_seed(5, Group::Woman), Person::from_seed(5, Group::Woman));
        let (one, other) = (Person::from_seed(5, Group::Woman), Person::from_seed(6, Group::Woman));
        let differs = |&(target, weight): &(usize, f32)| {
            !other.shape.iter().any(|&(t, w)| t == target && (w - weight).abs() < 0.02)
        };
        assert!(one.shape.iter().filter(|entry| differs(entry)).count() > 60);
    }

    #[test]
    fn groups_look_their_part() {
        for group in [Group::Woman, Group::ElderlyWoman, Group::Boy, Group::Girl, Group::Baby] {
            assert!(people(group).iter().all(|person| person.beard == Beard::None), "{group:?}");
        }
        let (men, old_men, old_women, babies) =
            (people(Group::Man), people(Group::ElderlyMan), people(Group::ElderlyWoman), people(Group::Baby));
        assert!(share(&men, |person| person.beard != Beard::None) > 0.3);
        assert!(babies.iter().all(|person| person.glasses.is_none() && person.earrings.is_none()));
        let thin = |person: &Person| matches!(person.hair.style, HairStyle::Bald | HairStyle::Receding);
        assert!(share(&old_men, thin) > 0.3 && share(&old_women, thin) == 0.0);
        let wrinkled = |person: &Person| person.skin.wrinkles > 0.35;
        assert!(share(&old_men, wrinkled) > 0.9 && share(&men, wrinkled) < 0.1);
        let tones: Vec<f32> = men.iter().map(|person| person.skin.tone[1]).collect();
        let (dark, fair) = (tones.iter().copied().fold(1.0, f32::min), tones.iter().copied().fold(0.0, f32::max));
        assert!(dark < 0.08 && fair > 0.5, "tones from {dark} to {fair}");
    }

    #[test]
    fn every_hair_style_occurs() {
        let all: Vec<Person> = Group::ALL.into_iter().flat_map(people).collect();
        for style in HairStyle::ALL {
            assert!(all.iter().any(|person| person.hair.style == style), "{style:?}");
        }
    }
}
