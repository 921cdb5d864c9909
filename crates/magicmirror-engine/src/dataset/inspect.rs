//! What is in a data set: counts, balance, and what is wrong with it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use magicmirror_people::scene::Place;
use serde::Serialize;
use serde_json::Value;

use super::shard::{self, Problem};
use super::{Dataset, DatasetError, Kind, Metadata, Recipe, Split};
use crate::{Control, EngineError, Stage};

/// What was found in a data set.
#[derive(Debug, Clone, Serialize)]
pub struct Inspection {
    /// What it should consist of.
    pub recipe: Recipe,
    /// What there is of each split.
    pub splits: BTreeMap<Split, SplitCounts>,
    /// Shards that are whole.
    pub shards: usize,
    /// Shards that nobody has made yet.
    pub missing_shards: Vec<String>,
    /// Bytes of all files.
    pub bytes: u64,
    /// The face's height by the picture's, in the targets' first frames: the 5th, 50th and 95th of 100.
    pub face_height: Option<[f32; 3]>,
    /// How often there is what, in targets: group, expression, action, place, lighting, ….
    pub balance: BTreeMap<&'static str, BTreeMap<String, u64>>,
    /// All that is wrong: broken shards and samples, unfinished files, identities in two splits.
    pub problems: Vec<String>,
}

/// What there is of a split.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct SplitCounts {
    /// Different people.
    pub identities: u64,
    /// Pairs.
    pub pairs: u64,
    /// Clips.
    pub clips: u64,
    /// Reference photos.
    pub references: u64,
}

/// Checks the hash of every shard and reads the JSON of every sample.
///
/// # Errors
/// When there is no data set, or the run should stop. What is wrong inside is reported, not an error.
pub fn inspect(folder: &Path, control: &mut Control<'_>) -> Result<Inspection, EngineError> {
    let dataset = Dataset::open(folder)?;
    let plans = dataset.recipe().shards();
    control.stage(Stage::ReadDataset, plans.len() as f64, |control| {
        let mut found = Found::default();
        for (index, plan) in plans.iter().enumerate() {
            match dataset.problem(plan)? {
                Some(Problem::Missing) => found.missing.push(plan.name()),
                Some(Problem::Broken(reason)) => found.problems.push(format!("shard {}: {reason}", plan.name())),
                None => match dataset.samples_of(plan) {
                    Ok(samples) => {
                        found.shards += 1;
                        (0..samples.len()).for_each(|sample| found.add(samples.metadata(sample)));
                    }
                    Err(error) => found.problems.push(message(&error)),
                },
            }
            if control.advance(Stage::ReadDataset, (index + 1) as f64).is_break() {
                return Err(EngineError::Cancelled);
            }
        }
        Ok(found.finish(&dataset)?)
    })
}

#[derive(Default)]
struct Found {
    shards: usize,
    missing: Vec<String>,
    splits: BTreeMap<Split, SplitCounts>,
    identities: BTreeMap<Split, BTreeSet<u64>>,
    face_heights: Vec<f32>,
    balance: BTreeMap<&'static str, BTreeMap<String, u64>>,
    problems: Vec<String>,
}

impl Found {
    fn add(&mut self, metadata: Result<Metadata, DatasetError>) {
        let metadata = match metadata {
            Ok(metadata) => metadata,
            Err(error) => return self.problems.push(message(&error)),
        };
        let counts = self.splits.entry(metadata.split).or_default();
        match metadata.kind {
            Kind::Pair => counts.pairs += 1,
            Kind::Clip => counts.clips += 1,
        }
        counts.references += metadata.references.len() as u64;
        self.identities.entry(metadata.split).or_default().insert(metadata.identity.number);
        if let Some(first) = metadata.frames.first() {
            let [_, top, _, bottom] = first.face_box;
            self.face_heights.push((bottom - top) / metadata.size.height as f32);
        }
        let scene = metadata.scene;
        let mut count = |what, name: String| *self.balance.entry(what).or_default().entry(name).or_default() += 1;
        count("group", name(metadata.identity.group));
        count("expression", scene.expression.name().into());
        count("framing", scene.framing.name().into());
        count("lighting", name(scene.lighting));
        count("garment", name(scene.outfit.garment));
        count("hat", scene.hat.map_or("none".into(), |hat| name(hat.kind)));
        count(
            "place",
            match scene.background.place {
                Place::Plain(_) => "plain".into(),
                place => name(place),
            },
        );
        match scene.action {
            None => count("facing", scene.facing.name().into()),
            Some(action) => count("action", action.name().into()),
        }
        if let Some(camera_move) = scene.camera_move {
            count("camera_move", camera_move.name().into());
        }
    }

    fn finish(mut self, dataset: &Dataset) -> Result<Inspection, DatasetError> {
        for (split, identities) in &self.identities {
            self.splits.entry(*split).or_default().identities = identities.len() as u64;
            for (other, theirs) in self.identities.range(..split) {
                let shared = identities.intersection(theirs).count();
                if shared > 0 {
                    self.problems.push(format!(
                        "{shared} identities are both in {} and {}",
                        other.name(),
                        split.name()
                    ));
                }
            }
        }
        let names = shard::names(dataset.folder())?;
        let unfinished = names.iter().filter(|name| name.starts_with(shard::ASIDE));
        self.problems
            .extend(unfinished.map(|name| format!("left over from a run that was killed, can be deleted: {name}")));
        self.face_heights.sort_by(f32::total_cmp);
        let heights = &self.face_heights;
        let at = |percent: usize| heights[(heights.len() - 1) * percent / 100];
        Ok(Inspection {
            recipe: dataset.recipe().clone(),
            face_height: (!heights.is_empty()).then(|| [at(5), at(50), at(95)]),
            splits: self.splits,
            shards: self.shards,
            missing_shards: self.missing,
            bytes: bytes(dataset.folder())?,
            balance: self.balance,
            problems: self.problems,
        })
    }
}

/// As data sets spell it.
fn name(value: impl Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(Value::String(name)) => name,
        other => unreachable!("a plain enum is a string, not {other:?}"),
    }
}

/// The error without its hint, and its causes, in one line.
fn message(error: &DatasetError) -> String {
    let text = error.to_string();
    let mut text = text.split("\n\n").next().unwrap_or_default().to_owned();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text = format!("{text}: {}", cause.to_string().split("\n\n").next().unwrap_or_default());
        source = cause.source();
    }
    text
}

fn bytes(folder: &Path) -> Result<u64, DatasetError> {
    let mut sum = 0;
    for name in shard::names(folder)? {
        let path = folder.join(name);
        let metadata = std::fs::metadata(&path).map_err(DatasetError::read(&path))?;
        sum += if metadata.is_dir() { bytes(&path)? } else { metadata.len() };
    }
    Ok(sum)
}
