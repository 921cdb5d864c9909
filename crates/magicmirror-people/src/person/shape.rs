//! The shape of a head: weights of MakeHuman's targets.

use std::sync::OnceLock;

use rand::Rng;
use rand_chacha::ChaCha8Rng;

use super::normal;
use crate::head::HeadModel;
use crate::scene::Group;

/// Shares of African, Asian and European ancestry.
pub(super) type Origin = [f32; 3];

/// A local shape that can go two ways, on both sides of the face.
struct Axis {
    name: String,
    /// Targets of one way and the other, for the one or two sides.
    sides: Vec<[Option<usize>; 2]>,
}

/// Endings of targets that are each other's opposite.
const OPPOSITES: [(&str, &str); 7] = [
    ("-incr", "-decr"),
    ("-up", "-down"),
    ("-out", "-in"),
    ("-forward", "-backward"),
    ("-convex", "-concave"),
    ("-uncompress", "-compress"),
    ("-round", "-pointed"),
];

/// Target weights of a person.
pub(super) fn weights(
    random: &mut ChaCha8Rng,
    group: Group,
    age: f32,
    male: bool,
    origin: Origin,
) -> Vec<(usize, f32)> {
    let model = HeadModel::shared();
    let mut weights = Vec::new();
    let mut add = |name: &str, weight: f32| {
        if let (true, Some(target)) = (weight != 0.0, model.target(name)) {
            weights.push((target, weight));
        }
    };
    let ages = ages(age);
    // Not quite one sex, as most people.
    let manhood = if male { random.random_range(0.78..1.0) } else { random.random_range(0.0..0.16) };
    let sexes = [("male", manhood), ("female", 1.0 - manhood)];
    let weight = (0.5 + normal(random, 0.26)).clamp(0.05, 1.0);
    let muscle = (0.5 + normal(random, 0.16)).clamp(0.1, 1.0);
    for (sex, sex_share) in sexes {
        for (name, age_share) in ages {
            for (race, race_share) in ["african", "asian", "caucasian"].into_iter().zip(origin) {
                add(&format!("race/{race}-{sex}-{name}"), sex_share * age_share * race_share);
            }
            for (muscle_name, muscle_share) in levels("muscle", muscle) {
                for (weight_name, weight_share) in levels("weight", weight) {
                    let share = sex_share * age_share * muscle_share * weight_share;
                    add(&format!("body/{sex}-{name}-{muscle_name}-{weight_name}"), share);
                }
            }
        }
    }
    let strength = match group {
        Group::Baby => 0.55,
        Group::Boy | Group::Girl => 0.75,
        _ => 1.0,
    };
    for axis in axes() {
        let value = (normal(random, deviation(&axis.name)) * strength).clamp(-0.9, 0.9);
        for side in &axis.sides {
            let uneven = if axis.sides.len() > 1 { normal(random, 0.05) } else { 0.0 };
            let value = value + uneven;
            if let Some(target) = side[usize::from(value < 0.0)] {
                weights.push((target, value.abs()));
            }
        }
    }
    weights
}

/// Shares of the ages that MakeHuman was modelled at: some 1, 11, 25 and 90 years.
fn ages(age: f32) -> [(&'static str, f32); 4] {
    let between = |low: f32, high: f32| ((age - low) / (high - low)).clamp(0.0, 1.0);
    let (child, young, old) = (between(0.5, 10.0), between(10.0, 25.0), between(25.0, 88.0));
    [("baby", 1.0 - child), ("child", child - young), ("young", young - old), ("old", old)]
}

fn levels(what: &str, amount: f32) -> [(String, f32); 3] {
    let (low, high) = ((1.0 - 2.0 * amount).max(0.0), (2.0 * amount - 1.0).max(0.0));
    [(format!("min{what}"), low), (format!("average{what}"), 1.0 - low - high), (format!("max{what}"), high)]
}

/// Standard deviation of an axis's weight: wide, yet such that three of them are still a face.
fn deviation(name: &str) -> f32 {
    let parts: [(&[&str], f32); 6] = [
        (&["eye-trans", "eye-push", "eye-height", "nose-trans", "mouth-trans"], 0.23),
        (&["lip-ext", "lip-middle", "mouth-scale-depth", "nose-septum", "nose-base", "mouth-angles"], 0.10),
        (&["head-scale", "forehead", "neck", "eye-scale", "head-fat"], 0.22),
        (&["head-rect", "head-square", "head-tri", "head-inv", "head-diamond", "head-round", "head-oval"], 0.22),
        (&["ear-shape", "ear-rot", "ear-wing", "ear-flap"], 0.16),
        (&["cheek", "chin", "ear"], 0.38),
    ];
    parts
        .iter()
        .find(|(names, _)| names.iter().any(|part| name.contains(part)))
        .map_or(0.44, |(_, deviation)| *deviation)
}

/// All local shapes but those that shift the head on the neck.
fn axes() -> &'static [Axis] {
    static AXES: OnceLock<Vec<Axis>> = OnceLock::new();
    AXES.get_or_init(|| {
        let model = HeadModel::shared();
        let mut axes: Vec<Axis> = Vec::new();
        let mut names: Vec<&str> = model.target_names().filter_map(|name| name.strip_prefix("local/")).collect();
        names.sort_unstable();
        for name in names {
            let unwanted = [
                "head-trans",
                "head-age",
                "neck-trans",
                "neck-double",
                "-trans-in",
                "-trans-out",
                "head-angle",
                "head-back",
            ];
            if unwanted.iter().any(|part| name.contains(part)) && !name.contains("eye-trans") {
                continue;
            }
            let ending = OPPOSITES.iter().find_map(|(one, other)| {
                name.strip_suffix(one).map(|stem| (stem, 0)).or_else(|| name.strip_suffix(other).map(|stem| (stem, 1)))
            });
            let (stem, way) = ending.unwrap_or((name, 0));
            let (side, stem) = match (stem.strip_prefix("l-"), stem.strip_prefix("r-")) {
                (Some(stem), _) => (0, stem),
                (_, Some(stem)) => (1, stem),
                _ => (0, stem),
            };
            let at = axes.iter().position(|axis| axis.name == stem).unwrap_or_else(|| {
                axes.push(Axis { name: stem.to_owned(), sides: Vec::new() });
                axes.len() - 1
            });
            let sides = &mut axes[at].sides;
            sides.resize(sides.len().max(side + 1), [None; 2]);
            sides[side][way] = model.target(&format!("local/{name}"));
        }
        axes
    })
}
