//! Reading all examples once before a run: broken ones are counted, listed and left out.

use std::error::Error;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use rayon::prelude::*;
use serde_json::json;
use sha2::{Digest, Sha256};

use super::TrainError;
use super::data::{Example, Examples};
use crate::EngineError;
use crate::event::{Control, Stage};
use crate::files::hex;

/// Examples that are read between two looks at the wish to stop.
const AT_ONCE: usize = 64;

/// Why an example was not taken.
pub(super) enum Refusal {
    /// It is broken; the others may do.
    Broken(String),
    /// Nothing can go on.
    Fatal(EngineError),
}

impl From<String> for Refusal {
    fn from(reason: String) -> Self {
        Self::Broken(reason)
    }
}

impl From<EngineError> for Refusal {
    fn from(error: EngineError) -> Self {
        Self::Fatal(error)
    }
}

/// Counts and lists broken examples of a data set.
pub(super) struct Skipped<'a> {
    list: &'a Path,
    count: usize,
    most: f64,
    all: usize,
}

impl<'a> Skipped<'a> {
    /// Of `all` examples a part of at most `most_bad` may be broken.
    pub(super) fn new(list: &'a Path, most_bad: f64, all: usize) -> Self {
        Self { list, count: 0, most: most_bad, all }
    }

    /// # Errors
    /// [`TrainError::TooManyBad`], or when the list cannot be written.
    pub(super) fn add(&mut self, key: &str, reason: &str) -> Result<(), EngineError> {
        self.count += 1;
        let mut file = File::options().create(true).append(true).open(self.list).map_err(EngineError::io(self.list))?;
        writeln!(file, "{}", json!({"key": key, "reason": reason})).map_err(EngineError::io(self.list))?;
        if self.count as f64 > self.most * self.all as f64 {
            return Err(TrainError::TooManyBad {
                count: self.count,
                all: self.all,
                key: key.to_owned(),
                reason: reason.to_owned(),
                list: self.list.to_owned(),
            }
            .into());
        }
        Ok(())
    }
}

/// The list of a run's broken examples, `skipped.jsonl`, written anew: what is broken is found again each time.
///
/// # Errors
/// When it cannot be written.
pub(super) fn begin_list(folder: &Path) -> Result<PathBuf, EngineError> {
    fs::create_dir_all(folder).map_err(EngineError::io(folder))?;
    let list = folder.join("skipped.jsonl");
    fs::write(&list, "").map_err(EngineError::io(&list))?;
    Ok(list)
}

/// Reads the first `count` examples, several at the same time, and gives what `take` makes of those that are sound, in
/// order. Progress counts from `done`.
///
/// # Errors
/// When too many are broken, `take` finds that nothing can go on, or the run should stop.
pub(super) fn survey<T: Send>(
    examples: &dyn Examples,
    count: usize,
    done: usize,
    skipped: &mut Skipped<'_>,
    control: &mut Control<'_>,
    take: impl Fn(usize, Example) -> Result<T, Refusal> + Sync,
) -> Result<Vec<T>, EngineError> {
    let mut taken = Vec::new();
    for first in (0..count.min(examples.len())).step_by(AT_ONCE) {
        advance(control, done + first)?;
        let indices = first..count.min(examples.len()).min(first + AT_ONCE);
        let read = |index| take(index, examples.get(index).map_err(|error| Refusal::Broken(reason(&error)))?);
        let found: Vec<Result<T, Refusal>> = indices.clone().into_par_iter().map(read).collect();
        for (index, found) in indices.zip(found) {
            match found {
                Ok(found) => taken.push(found),
                Err(Refusal::Broken(reason)) => skipped.add(&examples.key(index), &reason)?,
                Err(Refusal::Fatal(error)) => return Err(error),
            }
        }
    }
    Ok(taken)
}

/// Values that examples encoded at the same time may have together. One alone keeps no more than one processor busy; more
/// would need more memory than they gain.
const VALUES_AT_ONCE: usize = 4 << 20;

/// Works on items whose examples have so many values each, as many at a time as fit, and hands each item and what was made
/// of it to `take`, in order. Progress counts from `done`.
///
/// # Errors
/// What `work` and `take` say, or when the run should stop.
pub(super) fn each<T: Send + Sync, R: Send>(
    items: Vec<T>,
    values: usize,
    done: usize,
    control: &mut Control<'_>,
    work: impl Fn(&T) -> Result<R, EngineError> + Sync,
    mut take: impl FnMut(T, R) -> Result<(), EngineError>,
) -> Result<(), EngineError> {
    let at_once = (VALUES_AT_ONCE / values.max(1)).max(1);
    let (mut items, mut done) = (items.into_iter(), done);
    loop {
        let next: Vec<T> = items.by_ref().take(at_once).collect();
        if next.is_empty() {
            return Ok(());
        }
        advance(control, done)?;
        done += next.len();
        let made: Vec<R> = next.par_iter().map(&work).collect::<Result<_, _>>()?;
        next.into_iter().zip(made).try_for_each(|(item, made)| take(item, made))?;
    }
}

/// Says how many examples are prepared.
///
/// # Errors
/// When the run should stop.
pub(super) fn advance(control: &mut Control<'_>, done: usize) -> Result<(), EngineError> {
    if control.advance(Stage::PrepareData, done as f64).is_break() { Err(EngineError::Cancelled) } else { Ok(()) }
}

/// An error with its causes in one line, without hints.
fn reason(error: &EngineError) -> String {
    let mut parts = Vec::new();
    let mut next: Option<&dyn Error> = Some(error);
    while let Some(error) = next {
        let text = error.to_string();
        let text = text.split("\n\n").next().unwrap_or_default().to_owned();
        // A transparent error says what its cause says.
        if parts.last() != Some(&text) {
            parts.push(text);
        }
        next = error.source();
    }
    parts.join(": ")
}

/// Those examples of a data set that a survey took.
pub(super) struct Sound<'a> {
    examples: &'a dyn Examples,
    indices: Vec<usize>,
}

impl<'a> Sound<'a> {
    pub(super) fn new(examples: &'a dyn Examples, indices: Vec<usize>) -> Self {
        Self { examples, indices }
    }

    pub(super) fn len(&self) -> usize {
        self.indices.len()
    }

    /// SHA-256 of their names, in order.
    pub(super) fn hash(&self) -> String {
        let mut hasher = Sha256::new();
        for index in &self.indices {
            hasher.update(self.examples.key(*index));
            hasher.update([0]);
        }
        hex(&hasher.finalize())
    }

    /// # Errors
    /// When it cannot be read any more.
    pub(super) fn get(&self, index: usize) -> Result<Example, EngineError> {
        let index = self.indices[index];
        self.examples.get(index).map_err(|error| changed(self.examples.key(index), reason(&error)))
    }
}

/// What could be read in the survey cannot be read any more.
pub(super) fn changed(key: String, reason: String) -> EngineError {
    TrainError::DataChanged { key, reason }.into()
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

    use super::super::drawn::Drawn;
    use super::*;

    fn indices(most_bad: f64, list: &Path) -> Result<Vec<usize>, EngineError> {
        let drawn = Drawn { identities: 5, frames: 1, side: 8, broken: Some(3) };
        let cancelled = AtomicBool::new(false);
        let mut skipped = Skipped::new(list, most_bad, 5);
        survey(&drawn, 5, 0, &mut skipped, &mut Control::new(&mut |_| (), &cancelled), |index, example| {
            if example.identity == Some(7) { Err("nobody wants it".to_owned().into()) } else { Ok(index) }
        })
    }

    #[test]
    fn what_cannot_be_read_or_is_refused_is_listed_and_left_out() {
        let folder = tempfile::tempdir().unwrap();
        let list = begin_list(folder.path()).unwrap();
        assert_eq!(indices(0.4, &list).unwrap(), [0, 2, 4]);
        let text = fs::read_to_string(&list).unwrap();
        let lines: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let expected = [
            json!({"key": "drawn-1", "reason": "nobody wants it"}),
            json!({"key": "drawn-3", "reason": "it was torn"}),
        ];
        assert_eq!(lines, expected);
    }

    #[test]
    fn items_are_taken_in_order_and_no_more_are_worked_on_after_a_refusal() {
        let (cancelled, worked, mut taken) = (AtomicBool::new(false), AtomicUsize::new(0), Vec::new());
        let mut listener = |_| ();
        let mut control = Control::new(&mut listener, &cancelled);
        let double = |item: &usize| {
            worked.fetch_add(1, Ordering::Relaxed);
            Ok(2 * item)
        };
        // Three fit at a time.
        let result = each((0..10).collect(), VALUES_AT_ONCE / 3, 0, &mut control, double, |item, doubled| {
            if item == 4 {
                return Err(EngineError::Cancelled);
            }
            taken.push((item, doubled));
            Ok(())
        });
        assert!(matches!(result, Err(EngineError::Cancelled)));
        assert_eq!(taken, [(0, 0), (1, 2), (2, 4), (3, 6)]);
        assert_eq!(worked.into_inner(), 6);
    }

    #[test]
    fn too_many_broken_ones_stop_the_run() {
        let folder = tempfile::tempdir().unwrap();
        let list = begin_list(folder.path()).unwrap();
        let error = indices(0.2, &list).unwrap_err();
        assert!(matches!(error, EngineError::Train(TrainError::TooManyBad { count: 2, all: 5, .. })), "{error}");
        assert!(error.to_string().contains("drawn-3 (it was torn)"), "{error}");
    }
}
