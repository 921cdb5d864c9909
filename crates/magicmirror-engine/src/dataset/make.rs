//! Making a data set.

use std::collections::BTreeMap;
use std::fs;
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc;

use serde_json::Value;

use super::draw::{Drawn, draw, pictures};
use super::shard::{self, Problem, ShardWriter};
use super::{Dataset, DatasetError, Machine, Recipe, ShardPlan, Split, contact_sheet};
use crate::{Control, EngineError, Event, Stage};

/// A data set to be made, or gone on with.
#[derive(Debug, Clone)]
pub struct MakeRequest {
    /// What it consists of.
    pub recipe: Recipe,
    /// The folder to write.
    pub output: PathBuf,
    /// Threads that draw; none: one for each core.
    pub workers: Option<NonZero<usize>>,
    /// Which part of the work is done here.
    pub machine: Machine,
}

/// What was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Made {
    /// Shards that this run had to make.
    pub shards: usize,
    /// Shards of its part that were there already.
    pub found: usize,
    /// Samples made.
    pub samples: u64,
    /// The contact sheet.
    pub contact_sheet: PathBuf,
}

/// Makes all shards of this machine's part that are not there yet, then a contact sheet of what is there.
///
/// # Errors
/// Settings out of range; a folder with other things or another data set; whatever keeps files from being written; and
/// [`DatasetError::Stopped`] when the run should stop. Shards that are finished stay, others leave nothing.
pub fn make_people(request: &MakeRequest, control: &mut Control<'_>) -> Result<Made, EngineError> {
    let MakeRequest { recipe, output, machine, .. } = request;
    recipe.check()?;
    open_folder(output, recipe)?;
    let mine: Vec<ShardPlan> = recipe
        .shards()
        .into_iter()
        .enumerate()
        .filter(|(index, _)| index % machine.of == machine.index)
        .map(|(_, plan)| plan)
        .collect();
    let mut missing = Vec::new();
    for plan in &mine {
        match shard::problem(output, plan, recipe)? {
            None => {}
            Some(Problem::Missing) => missing.push(plan.clone()),
            Some(Problem::Broken(reason)) => {
                let path = shard::path(output, plan, recipe.layout);
                control.warn(format!("made anew, because {reason}: {}", path.display()));
                missing.push(plan.clone());
            }
        }
    }
    let found = mine.len() - missing.len();
    if found > 0 {
        control.emit(Event::Note(format!("{found} of {} shards are there already", mine.len())));
    }
    let samples = missing.iter().map(|plan| plan.samples.end - plan.samples.start).sum();
    if !missing.is_empty() {
        let total: f64 = missing
            .iter()
            .map(|plan| pictures(recipe, plan.kind) * (plan.samples.end - plan.samples.start) as f64)
            .sum();
        control
            .stage(Stage::DrawPeople, total.round(), |control| Ok(make_shards(request, &missing, found, control)?))?;
    }
    let name = match machine.of {
        1 => "contact-sheet.png".to_owned(),
        of => format!("contact-sheet-{}-of-{of}.png", machine.index),
    };
    let sheet = output.join(name);
    contact_sheet(&Dataset::open(output)?, &sheet)?;
    Ok(Made { shards: missing.len(), found, samples, contact_sheet: sheet })
}

/// The folder with this recipe in it, and nothing strange.
fn open_folder(folder: &Path, recipe: &Recipe) -> Result<(), DatasetError> {
    fs::create_dir_all(folder).map_err(DatasetError::write(folder))?;
    match Recipe::read(folder) {
        Ok(there) if there == *recipe => return Ok(()),
        Ok(there) => {
            let differences = differences(&there, recipe);
            return Err(DatasetError::OtherRecipe { folder: folder.to_owned(), differences });
        }
        Err(DatasetError::NotADataset { .. }) => {}
        Err(error) => return Err(error),
    }
    if let Some(entry) = shard::names(folder)?.into_iter().find(|name| !name.starts_with(shard::ASIDE)) {
        return Err(DatasetError::FolderInUse { folder: folder.to_owned(), entry: entry.into() });
    }
    shard::write_json(&folder.join(Recipe::FILE), recipe)
}

fn differences(there: &Recipe, here: &Recipe) -> Vec<String> {
    let fields = |recipe: &Recipe| match serde_json::to_value(recipe) {
        Ok(Value::Object(fields)) => fields,
        _ => unreachable!("a recipe is a JSON object"),
    };
    let (there, here) = (fields(there), fields(here));
    there
        .iter()
        .filter(|(name, value)| here.get(*name) != Some(value))
        .map(|(name, value)| format!("{name}: {value} there, {} now", here[name]))
        .collect()
}

fn make_shards(
    request: &MakeRequest,
    plans: &[ShardPlan],
    found: usize,
    control: &mut Control<'_>,
) -> Result<(), DatasetError> {
    let MakeRequest { recipe, output, .. } = request;
    let jobs: Vec<(usize, u64)> = plans
        .iter()
        .enumerate()
        .flat_map(|(plan, shard)| shard.samples.clone().map(move |index| (plan, index)))
        .collect();
    let members = Split::ALL.map(|split| recipe.members(split));
    let draw_job = |job: usize| {
        let (plan, index) = jobs[job];
        let ShardPlan { kind, split, .. } = plans[plan];
        draw(recipe, kind, split, index, &members[split as usize])
    };
    let workers = request.workers.or_else(|| std::thread::available_parallelism().ok()).map_or(1, NonZero::get);
    let mut writer: Option<ShardWriter> = None;
    let mut done = 0.0;
    let mut whole = 0;
    in_order(jobs.len(), workers, draw_job, |job, sample| {
        let sample = sample?;
        let (plan, index) = jobs[job];
        let mut shard = match writer.take() {
            Some(shard) => shard,
            None => ShardWriter::create(output, &plans[plan], recipe)?,
        };
        shard.append(&sample)?;
        if index + 1 == plans[plan].samples.end {
            shard.finish()?;
            whole += 1;
        } else {
            writer = Some(shard);
        }
        done += sample.pictures as f64;
        if control.advance(Stage::DrawPeople, done).is_break() && whole < plans.len() {
            return Err(DatasetError::Stopped { whole: found + whole, all: found + plans.len() });
        }
        Ok(())
    })
}

/// Does jobs 0, 1, … on several threads, and hands the results over in that order, on this thread, until one fails.
fn in_order(
    jobs: usize,
    workers: usize,
    work: impl Fn(usize) -> Result<Drawn, DatasetError> + Sync,
    mut take: impl FnMut(usize, Result<Drawn, DatasetError>) -> Result<(), DatasetError>,
) -> Result<(), DatasetError> {
    let (next, stop) = (AtomicUsize::new(0), AtomicBool::new(false));
    // A bound, so that drawing waits for a slow disk.
    let (sender, receiver) = mpsc::sync_channel(2 * workers);
    std::thread::scope(|scope| {
        for _ in 0..workers {
            let (sender, next, stop, work) = (sender.clone(), &next, &stop, &work);
            scope.spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    let job = next.fetch_add(1, Ordering::Relaxed);
                    if job >= jobs || sender.send((job, work(job))).is_err() {
                        break;
                    }
                }
            });
        }
        drop(sender);
        let mut early = BTreeMap::new();
        let mut expected = 0;
        for (job, result) in receiver {
            early.insert(job, result);
            while let Some(result) = early.remove(&expected) {
                if let Err(error) = take(expected, result) {
                    stop.store(true, Ordering::Relaxed);
                    return Err(error);
                }
                expected += 1;
            }
        }
        Ok(())
    })
}
