//! What a data set consists of.

use std::fmt;
use std::ops::Range;
use std::path::Path;
use std::str::FromStr;

use magicmirror_people::graph::Choices;
use magicmirror_people::scene::{Group, Size};
use rand::{RngCore, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use super::DatasetError;
use crate::EngineError;
use crate::files::sha256;

/// All that decides what a data set holds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Recipe {
    /// The program that draws the pictures; another version may draw others.
    pub generator: String,
    /// Chooses scenes and captions; identities depend on their number alone.
    pub seed: u64,
    /// How many people there are.
    pub identities: u64,
    /// Pairs for stage 1, all splits together.
    pub pairs: u64,
    /// Clips for stage 2, all splits together.
    pub clips: u64,
    /// Sides of targets: multiples of 16.
    pub size: Size,
    /// Side of the square references, in pixels.
    pub reference_size: usize,
    /// Frames of a clip: 4k + 1.
    pub frames: usize,
    /// Frames per second of clips.
    pub fps: f64,
    /// What targets may show.
    #[serde(flatten)]
    pub choices: Choices,
    /// Share of the identities that are for validation.
    pub validation: f64,
    /// Share of the identities that are for tests.
    pub test: f64,
    /// Samples in a shard, but for the last of its kind and split.
    pub samples_per_shard: u64,
    /// How shards are stored.
    pub layout: Layout,
}

/// How shards are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Layout {
    /// Tar files.
    Webdataset,
    /// Folders.
    Folder,
}

/// What a sample shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A picture and one reference, for stage 1.
    Pair,
    /// A clip and 1 to 4 references, for stage 2.
    Clip,
}

/// What a sample is for. No identity is in two splits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Split {
    /// Training.
    Train,
    /// Choosing settings.
    Validation,
    /// Measuring, once.
    Test,
}

impl Split {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Train, Self::Validation, Self::Test];

    /// Its name in keys and files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Train => "train",
            Self::Validation => "validation",
            Self::Test => "test",
        }
    }
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Pair, Self::Clip];

    /// Its name in keys and files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pair => "pair",
            Self::Clip => "clip",
        }
    }
}

/// One machine of several that share the work: it makes every `of`-th shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Machine {
    /// From 0.
    pub index: usize,
    /// How many there are.
    pub of: usize,
}

impl Machine {
    /// The only one.
    pub const ALONE: Self = Self { index: 0, of: 1 };
}

impl FromStr for Machine {
    type Err = String;

    /// `i/n`, with i from 0 to n-1.
    fn from_str(text: &str) -> Result<Self, String> {
        let parsed = text.split_once('/').and_then(|(index, of)| Some((index.parse().ok()?, of.parse().ok()?)));
        match parsed {
            Some((index, of)) if index < of => Ok(Self { index, of }),
            _ => Err("must be i/n with i from 0 to n-1, as in 0/4".into()),
        }
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.index, self.of)
    }
}

/// A shard that belongs to a data set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShardPlan {
    /// What its samples show.
    pub kind: Kind,
    /// What they are for.
    pub split: Split,
    /// Which shard of its kind and split, from 0.
    pub number: u64,
    /// Indices of its samples, among those of its kind and split.
    pub samples: Range<u64>,
}

impl ShardPlan {
    /// The shard's file name, but for the extension: `train-pair-00003`.
    pub fn name(&self) -> String {
        format!("{}-{}-{:05}", self.split.name(), self.kind.name(), self.number)
    }
}

/// Smallest and largest side of a target.
const SIDES: Range<usize> = 32..1025;

impl Recipe {
    /// # Errors
    /// [`EngineError::OutOfRange`] for a number outside its range, with the nearest valid one.
    pub fn check(&self) -> Result<(), EngineError> {
        let out_of_range = |option, value: String, rule: &str, hint: String| {
            Err(EngineError::OutOfRange { option, value, rule: rule.into(), hint })
        };
        let Size { width, height } = self.size;
        let nearest = |side: usize| (side.saturating_add(8) / 16 * 16).clamp(SIDES.start, SIDES.end - 1);
        if (nearest(width), nearest(height)) != (width, height) {
            let nearest = format!("the nearest valid size is {}x{}", nearest(width), nearest(height));
            return out_of_range(
                "--size",
                format!("{width}x{height}"),
                "have sides from 32 to 1024, multiples of 16",
                nearest,
            );
        }
        if !(64..=1024).contains(&self.reference_size) {
            let hint = "256 is what face networks need".into();
            return out_of_range("--reference-size", self.reference_size.to_string(), "be from 64 to 1024", hint);
        }
        if self.frames % 4 != 1 || !(5..=1001).contains(&self.frames) {
            let nearest = format!("the nearest valid number is {}", (self.frames.clamp(5, 1001) + 1) / 4 * 4 + 1);
            return out_of_range("--frames", self.frames.to_string(), "be 4k+1, from 5 to 1001", nearest);
        }
        if self.clips == 0 && !(self.choices.actions.is_empty() && self.choices.camera_moves.is_empty()) {
            return Err(EngineError::options(
                "--action and --camera are for clips, and --clips is 0",
                "ask for some --clips, or leave them out",
            ));
        }
        if !(1.0..=120.0).contains(&self.fps) {
            return out_of_range("--fps", self.fps.to_string(), "be from 1 to 120", "CogVideoX has 8".into());
        }
        for (option, share) in [("--validation", self.validation), ("--test", self.test)] {
            if !(0.0..1.0).contains(&share) || self.validation + self.test >= 1.0 {
                let hint = "some identities must be left to train on".into();
                return out_of_range(
                    option,
                    share.to_string(),
                    "be a share from 0 to below 1, both together below 1",
                    hint,
                );
            }
        }
        if self.pairs + self.clips == 0 {
            return Err(EngineError::options("--pairs and --clips are both 0", "ask for some of either"));
        }
        if self.samples_per_shard == 0 {
            return out_of_range("--per-shard", "0".into(), "be at least 1", "250 give files of some 30 MB".into());
        }
        if self.identities == 0 || self.identities > 10_000_000 {
            let hint = "7 people are one of each group".into();
            return out_of_range("--identities", self.identities.to_string(), "be from 1 to 10000000", hint);
        }
        if self.members(Split::Train).is_empty() {
            return Err(EngineError::options(
                format!("of --identities {} none is left to train on", self.identities),
                "use more identities, or --test 0 --validation 0",
            ));
        }
        Ok(())
    }

    /// The group of an identity.
    pub fn group(identity: u64) -> Group {
        Group::ALL[(identity % 7) as usize]
    }

    /// What an identity is for: a function of its number, so that data sets of other seeds and sizes agree. The
    /// seven of each group next to each other share it, so splits are balanced.
    pub fn split(&self, identity: u64) -> Split {
        // Multiples of the golden ratio are spread evenly.
        let place = (identity / 7).wrapping_mul(0x9e37_79b9_7f4a_7c15) as f64 / 2f64.powi(64);
        if place < self.test {
            Split::Test
        } else if place < self.test + self.validation {
            Split::Validation
        } else {
            Split::Train
        }
    }

    /// The identities of a split.
    pub fn members(&self, split: Split) -> Vec<u64> {
        (0..self.identities).filter(|&identity| self.split(identity) == split).collect()
    }

    /// How many samples of a kind a split has: its share is that of its identities.
    pub fn count(&self, kind: Kind, split: Split) -> u64 {
        let all = match kind {
            Kind::Pair => self.pairs,
            Kind::Clip => self.clips,
        };
        let share = |split| (all * self.members(split).len() as u64 + self.identities / 2) / self.identities;
        match split {
            Split::Train => all - share(Split::Validation) - share(Split::Test),
            other => share(other),
        }
    }

    /// All shards, in the order in which they are made.
    pub fn shards(&self) -> Vec<ShardPlan> {
        let mut shards = Vec::new();
        let per_shard = self.samples_per_shard;
        for kind in Kind::ALL {
            for split in Split::ALL {
                let count = self.count(kind, split);
                let ranges = (0..count.div_ceil(per_shard)).map(|number| {
                    let samples = number * per_shard..((number + 1) * per_shard).min(count);
                    ShardPlan { kind, split, number, samples }
                });
                shards.extend(ranges);
            }
        }
        shards
    }

    /// Everything random in a sample comes from here.
    pub(super) fn random(&self, kind: Kind, split: Split, index: u64) -> ChaCha8Rng {
        let mut random = ChaCha8Rng::seed_from_u64(self.seed);
        random.set_stream(((kind as u64) << 62) | ((split as u64) << 60) | index);
        let seed = random.next_u64();
        ChaCha8Rng::seed_from_u64(seed)
    }

    /// SHA-256 of the recipe.
    pub(super) fn hash(&self) -> String {
        sha256(serde_json::to_string(self).expect("a recipe is plain data").as_bytes())
    }

    /// Reads `dataset.json` of a folder.
    pub(super) fn read(folder: &Path) -> Result<Self, DatasetError> {
        let path = folder.join(Self::FILE);
        let text = match std::fs::read_to_string(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Err(DatasetError::NotADataset { folder: folder.to_owned() });
            }
            text => text.map_err(DatasetError::read(&path))?,
        };
        serde_json::from_str(&text).map_err(|error| DatasetError::Json {
            what: "recipe of a data set",
            reason: error.to_string(),
            path,
        })
    }

    /// The file that holds the recipe.
    pub(super) const FILE: &'static str = "dataset.json";
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::dataset) fn small() -> Recipe {
        Recipe {
            generator: "test".into(),
            seed: 1,
            identities: 70,
            pairs: 23,
            clips: 5,
            size: Size { width: 48, height: 32 },
            reference_size: 64,
            frames: 5,
            fps: 8.0,
            choices: Choices::default(),
            validation: 0.1,
            test: 0.1,
            samples_per_shard: 4,
            layout: Layout::Webdataset,
        }
    }

    #[test]
    fn splits_are_disjoint_balanced_and_the_same_in_every_data_set() {
        let large = Recipe { identities: 2100, validation: 0.02, test: 0.03, ..small() };
        let [train, validation, test] = Split::ALL.map(|split| large.members(split));
        assert_eq!(train.len() + validation.len() + test.len(), 2100);
        assert!((35..=49).contains(&validation.len()) && (56..=70).contains(&test.len()), "{}", test.len());
        for members in [&train, &validation, &test] {
            for group in Group::ALL {
                let count = members.iter().filter(|identity| Recipe::group(**identity) == group).count();
                assert_eq!(count * 7, members.len());
            }
        }
        let other = Recipe { seed: 9, identities: 140, ..large.clone() };
        assert!((0..140).all(|identity| other.split(identity) == large.split(identity)));
    }

    #[test]
    fn shards_cover_every_sample_once() {
        let recipe = small();
        for kind in Kind::ALL {
            let total: u64 = Split::ALL.iter().map(|split| recipe.count(kind, *split)).sum();
            assert_eq!(total, if kind == Kind::Pair { 23 } else { 5 });
            for split in Split::ALL {
                let shards = recipe.shards();
                let mine = shards.iter().filter(|shard| (shard.kind, shard.split) == (kind, split));
                let indices: Vec<u64> = mine.flat_map(|shard| shard.samples.clone()).collect();
                assert_eq!(indices, (0..recipe.count(kind, split)).collect::<Vec<_>>());
            }
        }
        let names: std::collections::BTreeSet<_> = recipe.shards().iter().map(ShardPlan::name).collect();
        assert_eq!(names.len(), recipe.shards().len());
    }

    #[test]
    fn numbers_out_of_range_name_the_nearest_valid_one() {
        let says = |recipe: Recipe, part: &str| {
            let message = recipe.check().unwrap_err().to_string();
            assert!(message.contains(part), "{part}: {message}");
        };
        small().check().unwrap();
        says(Recipe { size: Size { width: 100, height: 7 }, ..small() }, "the nearest valid size is 96x32");
        says(Recipe { frames: 16, ..small() }, "the nearest valid number is 17");
        says(Recipe { frames: 18, ..small() }, "the nearest valid number is 17");
        says(Recipe { frames: 0, ..small() }, "the nearest valid number is 5");
        says(Recipe { fps: f64::NAN, ..small() }, "--fps is NaN");
        says(Recipe { validation: 0.6, test: 0.5, ..small() }, "both together below 1");
        says(Recipe { pairs: 0, clips: 0, ..small() }, "--pairs and --clips are both 0");
        says(Recipe { identities: 7, ..small() }, "none is left to train on");
        says(Recipe { identities: 0, ..small() }, "--identities is 0");
    }

    #[test]
    fn a_share_of_the_work_has_a_number() {
        assert_eq!("1/4".parse(), Ok(Machine { index: 1, of: 4 }));
        for text in ["4/4", "0/0", "1", "a/b", "-1/2", ""] {
            text.parse::<Machine>().unwrap_err();
        }
    }
}
