//! The run loop.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Instant;

use rayon::ThreadPool;
use serde::Serialize;
use toml::Table;

use super::checkpoint::{self, Checkpoints, State};
use super::config::resolved;
use super::folder::{About, RunFolder};
use super::guard::Guard;
use super::metrics::Metrics;
use super::optimiser::{Optimiser, Parameter, global_norm, scale};
use super::parameters::Gradients;
use super::reduce;
use super::survey::begin_list;
use super::{GuardConfig, Losses, OptimiserConfig, RunConfig, TrainError};
use crate::EngineError;
use crate::event::{Control, Event, Stage, Training};
use crate::files::read_text;

/// What is trained, and by which loss. The run loop does all else.
pub trait Objective: Sync {
    /// The trained parameters as they are at the start of a run, in a fixed order. Asked once: they are held by the
    /// optimiser from then on, and need not be kept.
    fn parameters(&mut self) -> Vec<Parameter>;

    /// SHA-256 of what is learnt from, in its order; empty where that is no data set. A run is gone on with on the same data
    /// only.
    fn examples(&self) -> String {
        String::new()
    }

    /// Takes over new values for all of them, on every replica.
    fn set_parameters(&mut self, parameters: &[Parameter]);

    /// Devices that compute at the same time.
    fn replicas(&self) -> usize {
        1
    }

    /// The positions `0..batch` of a step's global batch, grouped so that one group can be computed at once: samples of
    /// one size, at most `micro_batch` of them.
    fn micro_batches(&self, _step: u64, run: &RunConfig) -> Vec<Vec<usize>> {
        (0..run.batch).collect::<Vec<_>>().chunks(run.micro_batch).map(<[usize]>::to_vec).collect()
    }

    /// Losses and gradients of one group. What is drawn must depend on the run's seed, the step (from 0) and the position
    /// only.
    ///
    /// # Errors
    /// When a sample cannot be read.
    fn micro_batch(
        &self,
        replica: usize,
        step: u64,
        positions: &[usize],
        run: &RunConfig,
    ) -> Result<MicroBatch, EngineError>;

    /// Looks at the model as it would be exported now: [`Parameter::exported`] is set, and written to the folder `model`.
    /// Files go to `folder`. Returns scalars for the metrics.
    ///
    /// # Errors
    /// When it cannot, or the run should stop.
    fn validate(
        &mut self,
        _step: u64,
        _model: &Path,
        _folder: &Path,
        _control: &mut Control<'_>,
    ) -> Result<Vec<(String, f64)>, EngineError> {
        Ok(Vec::new())
    }

    /// Writes the model ([`Parameter::exported`]) in its released layout.
    ///
    /// # Errors
    /// When the folder cannot be written.
    fn export(&self, folder: &Path, parameters: &[Parameter]) -> Result<(), EngineError>;
}

/// What came of one group of samples.
#[derive(Debug)]
pub struct MicroBatch {
    /// Gradients of the mean of [`Losses::TOTAL`] over the group.
    pub gradients: Gradients,
    /// Losses of the group.
    pub losses: Losses,
}

/// What a run is started with.
#[derive(Debug)]
pub struct RunRequest<'a, C> {
    /// What is trained, in a word: the `KIND` of `magicmirror train KIND`.
    pub kind: &'static str,
    /// The run's folder.
    pub folder: &'a Path,
    /// Whether to go on with the run in the folder.
    pub resume: bool,
    /// The whole configuration; what is trained depends on it.
    pub config: &'a C,
    /// Its section `[run]`.
    pub run: &'a RunConfig,
    /// Its section `[optimiser]`.
    pub optimiser: &'a OptimiserConfig,
    /// Its section `[guard]`.
    pub guard: &'a GuardConfig,
    /// SHA-256 of all weights that the run starts from or computes with, by name.
    pub weights: BTreeMap<String, String>,
}

impl<C: Serialize> RunRequest<'_, C> {
    /// Trains what `prepare` makes, which may take long: whether the folder takes this run is checked before. `prepare` is
    /// told where to list broken examples.
    ///
    /// # Errors
    /// As [`train`], and those of `prepare`.
    pub(super) fn start<O: Objective>(
        &self,
        control: &mut Control<'_>,
        prepare: impl FnOnce(&Path, &mut Control<'_>) -> Result<O, EngineError>,
    ) -> Result<Finished, EngineError> {
        let folder = self.open()?;
        let list = begin_list(self.folder)?;
        let mut objective = prepare(&list, control)?;
        let skipped = read_text(&list)?.lines().count();
        if skipped > 0 {
            control.warn(format!("{skipped} examples are broken and left out: {} says why", list.display()));
        }
        train_in(&folder, &mut objective, self, control)
    }

    /// Checks the configuration, and locks the folder until the end of the run.
    fn open(&self) -> Result<RunFolder, EngineError> {
        self.run.validate()?;
        self.optimiser.validate()?;
        RunFolder::open(self.folder, self.resume, &self.about(&resolved(self.config)))
    }

    fn about<'b>(&'b self, config: &'b Table) -> About<'b> {
        About { kind: self.kind, config, weights: &self.weights }
    }
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finished {
    /// Steps done.
    pub step: u64,
    /// Whether these are all; if not, the run was asked to stop and can be resumed.
    pub complete: bool,
    /// The last checkpoint.
    pub checkpoint: PathBuf,
    /// The model in its released layout.
    pub model: PathBuf,
}

/// Trains until all steps are done or the run is asked to stop, which leaves a checkpoint as well.
///
/// # Errors
/// When the folder or configuration does not fit ([`TrainError`]), a file cannot be read or written, or the loss goes wrong.
pub fn train<O: Objective, C: Serialize>(
    objective: &mut O,
    request: &RunRequest<'_, C>,
    control: &mut Control<'_>,
) -> Result<Finished, EngineError> {
    train_in(&request.open()?, objective, request, control)
}

fn train_in<O: Objective, C: Serialize>(
    folder: &RunFolder,
    objective: &mut O,
    request: &RunRequest<'_, C>,
    control: &mut Control<'_>,
) -> Result<Finished, EngineError> {
    folder.begin(&request.about(&resolved(request.config)), &objective.examples())?;
    let checkpoints = Checkpoints::new(&folder.path);
    let mut optimiser = Optimiser::new(request.optimiser.clone(), objective.parameters());
    let mut state = State { step: 0, guard: Guard::default() };
    let latest = checkpoints.latest().filter(|_| request.resume);
    if let Some(latest) = &latest {
        state = checkpoint::load(latest, &mut optimiser)?;
        control.emit(Event::Note(format!("going on after step {}: {}", state.step, latest.display())));
    }
    objective.set_parameters(optimiser.parameters());
    let metrics = Metrics::open(&folder.path, state.step)?;
    let (pools, model) = (pools(objective.replicas()), folder.path.join("model"));
    let mut run = Run { request, objective, pools, optimiser, state, metrics, checkpoints, model };
    control.stage(Stage::Train, request.run.steps as f64, |control| run.go_on(control))
}

struct Run<'a, 'b, O, C> {
    request: &'a RunRequest<'b, C>,
    objective: &'a mut O,
    pools: Vec<ThreadPool>,
    optimiser: Optimiser,
    state: State,
    metrics: Metrics,
    checkpoints: Checkpoints,
    model: PathBuf,
}

impl<O: Objective, C> Run<'_, '_, O, C> {
    fn go_on(&mut self, control: &mut Control<'_>) -> Result<Finished, EngineError> {
        let RunConfig { steps, checkpoint_every, validate_every, .. } = *self.request.run;
        let (started, first) = (Instant::now(), self.state.step);
        let mut saved = None;
        while self.state.step < steps {
            let Some(done) = self.step(control.cancelled())? else { break };
            self.progress(done, first, started, control);
            // What is made during a spike is no better than what is there.
            if self.state.guard.spikes > 0 {
                continue;
            }
            let step = self.state.step;
            let due = |every| step.is_multiple_of(every) || step == steps;
            // First the checkpoint: a validation may fail.
            if due(checkpoint_every) {
                saved = Some((step, self.save()?));
            }
            if validate_every > 0 && due(validate_every) {
                self.validate(control)?;
            }
        }
        let checkpoint = match saved {
            Some((step, checkpoint)) if step == self.state.step => checkpoint,
            _ => self.save()?,
        };
        let complete = self.state.step >= steps;
        Ok(Finished { step: self.state.step, complete, checkpoint, model: self.model.clone() })
    }

    /// One optimiser step; `None` if the run should stop before it.
    fn step(&mut self, cancelled: &AtomicBool) -> Result<Option<Done>, EngineError> {
        let started = Instant::now();
        let (run, step) = (self.request.run, self.state.step);
        let Some((mut gradients, losses)) = accumulate(&*self.objective, &self.pools, step, run, cancelled)? else {
            return Ok(None);
        };
        let loss = losses.mean(Losses::TOTAL).unwrap_or(f64::NAN);
        let norm = global_norm(&gradients);
        let accepted = self.guard(loss, norm);
        let part = self.request.optimiser.part_of_rate(step, run.steps);
        if accepted.is_ok() {
            let clip = self.request.optimiser.clip_norm;
            if clip > 0.0 && norm > clip {
                scale(&mut gradients, (clip / norm) as f32);
            }
            self.optimiser.update(&gradients, part);
            self.objective.set_parameters(self.optimiser.parameters());
            self.state.step += 1;
        }
        let mut scalars: Vec<(String, f64)> = losses.means().map(|(name, mean)| (name.to_owned(), mean)).collect();
        scalars.push(("gradient_norm".into(), norm));
        let learning_rate = self.request.optimiser.learning_rate * part;
        scalars.push(("learning_rate".into(), learning_rate));
        scalars.push(("seconds".into(), started.elapsed().as_secs_f64()));
        // The step that stops the run as well: it is what one wants to see then.
        self.metrics.write(step + 1, &scalars)?;
        accepted?;
        Ok(Some(Done { loss, gradient_norm: norm, learning_rate }))
    }

    /// Stops before the update where the loss or the gradients have gone wrong.
    fn guard(&mut self, loss: f64, norm: f64) -> Result<(), TrainError> {
        let step = self.state.step + 1;
        let checkpoint = self.checkpoints.latest();
        for (what, value) in [("the loss", loss), ("the gradient", norm)] {
            if !value.is_finite() {
                return Err(TrainError::NotFinite { what, step, checkpoint });
            }
        }
        if self.state.guard.accepts(loss, self.request.guard) {
            return Ok(());
        }
        let Guard { mean, spikes, .. } = self.state.guard;
        Err(TrainError::LossSpike { step, loss, mean, steps: spikes, checkpoint })
    }

    fn validate(&mut self, control: &mut Control<'_>) -> Result<(), EngineError> {
        let step = self.state.step;
        let folder = self.request.folder.join(format!("validation/step-{step:08}"));
        self.objective.export(&self.model, self.optimiser.parameters())?;
        let exported: Vec<Parameter> = self.optimiser.parameters().iter().map(Parameter::as_exported).collect();
        self.objective.set_parameters(&exported);
        drop(exported);
        let scalars = self.objective.validate(step, &self.model, &folder, control);
        self.objective.set_parameters(self.optimiser.parameters());
        let scalars = match scalars {
            Ok(scalars) => scalars,
            // The loop sees the wish to stop as well, and leaves a checkpoint.
            Err(EngineError::Cancelled) => return Ok(()),
            Err(error) => return Err(error),
        };
        if !scalars.is_empty() {
            let named = scalars.into_iter().map(|(name, value)| (format!("validation/{name}"), value));
            self.metrics.write(step, &named.collect::<Vec<_>>())?;
        }
        Ok(())
    }

    /// Writes checkpoint and model; during a spike the last good checkpoint stays beside those to be kept.
    fn save(&self) -> Result<PathBuf, EngineError> {
        let (step, checkpoint) = (self.state.step, self.checkpoints.latest());
        if !self.optimiser.parameters().iter().all(Parameter::is_finite) {
            return Err(TrainError::NotFinite { what: "a weight", step, checkpoint }.into());
        }
        let keep = self.request.run.keep + usize::from(self.state.guard.spikes > 0);
        let folder = self.checkpoints.save(self.state, &self.optimiser, keep)?;
        self.objective.export(&self.model, self.optimiser.parameters())?;
        Ok(folder)
    }

    fn progress(&self, done: Done, first: u64, started: Instant, control: &mut Control<'_>) {
        let RunConfig { steps, batch, log_every, .. } = *self.request.run;
        let step = self.state.step;
        let seconds = started.elapsed().as_secs_f64().max(f64::MIN_POSITIVE);
        let each = seconds / (step - first) as f64;
        let Done { loss, gradient_norm, learning_rate } = done;
        control.emit(Event::Training(Training {
            step,
            steps,
            loss,
            gradient_norm,
            learning_rate,
            samples_per_second: batch as f64 / each,
            seconds_left: each * (steps - step) as f64,
            milestone: step.is_multiple_of(log_every) || step == steps,
        }));
    }
}

/// What is said of a step.
struct Done {
    loss: f64,
    gradient_norm: f64,
    learning_rate: f64,
}

/// Processors of its own for each of several replicas: what one of them cannot spread over threads, and on CPUs that is much
/// in a small model, then does not keep the others waiting. None where the system has no threads left: then they share.
fn pools(replicas: usize) -> Vec<ThreadPool> {
    if replicas < 2 {
        return Vec::new();
    }
    let threads = (rayon::current_num_threads() / replicas).max(1);
    let pool = |_| rayon::ThreadPoolBuilder::new().num_threads(threads).build();
    (0..replicas).map(pool).collect::<Result<_, _>>().unwrap_or_default()
}

/// Mean gradients of a step's global batch, in main memory, and losses.
type Sums = (Vec<Option<Vec<f32>>>, Losses);

/// Computes them; `None` if the run should stop.
///
/// Replica r computes groups r, r + R, r + 2R, …, one after the other. Only when all are done are the replicas' sums added.
fn accumulate<O: Objective>(
    objective: &O,
    pools: &[ThreadPool],
    step: u64,
    run: &RunConfig,
    cancelled: &AtomicBool,
) -> Result<Option<Sums>, EngineError> {
    let groups = objective.micro_batches(step, run);
    let replicas = objective.replicas().max(1);
    let of_replica = |replica: usize| -> Result<Option<(Gradients, Losses)>, EngineError> {
        let (mut sum, mut losses) = (Gradients::empty(0), Losses::default());
        for positions in groups.iter().skip(replica).step_by(replicas) {
            if cancelled.load(Ordering::Relaxed) {
                return Ok(None);
            }
            let micro_batch = objective.micro_batch(replica, step, positions, run)?;
            let weight = positions.len() as f64 / run.batch as f64;
            sum.add_weighted(micro_batch.gradients, weight);
            losses.merge(&micro_batch.losses);
        }
        // Here, where the other replicas compute at the same time.
        sum.wait();
        Ok(Some((sum, losses)))
    };
    if replicas == 1 {
        return Ok(of_replica(0)?.map(|(gradients, losses)| (gradients.into_values(), losses)));
    }
    let results: Vec<_> = thread::scope(|scope| {
        let of_replica = &of_replica;
        let alone = move |replica: usize| match pools.get(replica) {
            Some(pool) => pool.install(|| of_replica(replica)),
            None => of_replica(replica),
        };
        let threads: Vec<_> = (0..replicas).map(|replica| scope.spawn(move || alone(replica))).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect()
    });
    let (mut gradients, mut losses) = (Vec::new(), Losses::default());
    for result in results {
        let Some((of_one, its_losses)) = result? else { return Ok(None) };
        gradients.push(of_one);
        losses.merge(&its_losses);
    }
    Ok(Some((reduce::sum(gradients), losses)))
}

#[cfg(test)]
mod tests {
    use super::super::drawn::short_run;
    use super::*;

    enum Never {}

    impl Objective for Never {
        fn parameters(&mut self) -> Vec<Parameter> {
            match *self {}
        }

        fn set_parameters(&mut self, _: &[Parameter]) {
            match *self {}
        }

        fn micro_batch(&self, _: usize, _: u64, _: &[usize], _: &RunConfig) -> Result<MicroBatch, EngineError> {
            match *self {}
        }

        fn export(&self, _: &Path, _: &[Parameter]) -> Result<(), EngineError> {
            match *self {}
        }
    }

    #[test]
    fn the_folder_is_locked_while_examples_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let config: Table = short_run(1, 1, 1e-3).parse().unwrap();
        let (run, optimiser) =
            (config["run"].clone().try_into().unwrap(), config["optimiser"].clone().try_into().unwrap());
        let request = RunRequest {
            kind: "never",
            folder: folder.path(),
            resume: false,
            config: &config,
            run: &run,
            optimiser: &optimiser,
            guard: &GuardConfig::default(),
            weights: BTreeMap::new(),
        };
        let (cancelled, mut listener) = (AtomicBool::new(false), |_| ());
        let mut control = Control::new(&mut listener, &cancelled);
        let mut second = None;
        let result = request.start(&mut control, |_, control| -> Result<Never, _> {
            second = request.start(control, |_, _| -> Result<Never, _> { panic!("it was let in") }).err();
            Err(EngineError::Cancelled)
        });
        assert!(matches!(result, Err(EngineError::Cancelled)), "{result:?}");
        assert!(matches!(second, Some(EngineError::Train(TrainError::Locked { .. }))), "{second:?}");
        assert!(request.start(&mut control, |_, _| -> Result<Never, _> { Err(EngineError::Cancelled) }).is_err());
    }
}
