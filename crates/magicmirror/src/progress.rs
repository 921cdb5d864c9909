//! What a person sees on stderr while the engine works: bars, warnings, errors.

use std::io::{IsTerminal, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use indicatif::{HumanDuration, ProgressBar, ProgressDrawTarget, ProgressStyle};
use magicmirror_engine::memory::Bytes;
use magicmirror_engine::{Control, EngineError, Event, Stage, Training};

/// Bars count in thousandths of a unit, so that blocks within a step show.
const FINE: f64 = 1000.0;

/// Exit code of a program that Ctrl-C has ended: 128 and the number of the signal, as shells have it.
pub(crate) const STOPPED: u8 = 130;

static CANCELLED: AtomicBool = AtomicBool::new(false);

/// Runs engine work with bars on stderr; Ctrl-C asks it to stop, a second Ctrl-C ends the program.
pub(crate) fn with_progress<T>(
    show: bool,
    work: impl FnOnce(&mut Control<'_>) -> Result<T, EngineError>,
) -> Result<T, EngineError> {
    let handler = ctrlc::set_handler(|| {
        if CANCELLED.swap(true, Ordering::Relaxed) {
            std::process::exit(STOPPED.into());
        }
        say("stopping after the current block (press again to end at once)");
    });
    if let Err(error) = handler {
        say(&format!("warning: Ctrl-C will not stop cleanly: {error}"));
    }
    let mut bars = Bars { show: show && std::io::stderr().is_terminal(), bar: None };
    let mut listener = |event| bars.on(event);
    let mut control = Control::new(&mut listener, &CANCELLED);
    work(&mut control)
}

/// Prints an error with its causes, and its hint last.
pub(crate) fn print_error(error: &anyhow::Error) {
    let message = error.to_string();
    let (what, hint) = message.split_once("\n\nhint: ").unwrap_or((&message, ""));
    say(&format!("error: {what}"));
    for cause in error.chain().skip(1) {
        say(&format!("  caused by: {cause}"));
    }
    if !hint.is_empty() {
        say(&format!("\nhint: {hint}"));
    }
}

/// One line on stderr. Nothing can be done where even that fails.
pub(crate) fn say(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// Data on stdout. A reader that has gone away (a closed pipe) is no error.
pub(crate) fn print_data(text: &str) -> anyhow::Result<()> {
    match writeln!(std::io::stdout(), "{text}") {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        written => Ok(written?),
    }
}

struct Bars {
    show: bool,
    bar: Option<ProgressBar>,
}

impl Bars {
    fn on(&mut self, event: Event) {
        match event {
            Event::Plan(plan) => self.say(&plan.to_string()),
            Event::Warning(message) => self.say(&format!("warning: {message}")),
            Event::Note(message) => self.say(&message),
            Event::Started { stage, total } => self.bar = Some(self.start(stage, total)),
            Event::Advanced { stage, done } => {
                if let Some(bar) = &self.bar {
                    bar.set_position((done * FINE) as u64);
                    let total = bar.length().unwrap_or_default() as f64 / FINE;
                    bar.set_message(amount(stage, done, total, bar.elapsed().as_secs_f64()));
                }
            }
            Event::Training(training) => self.training(training),
            Event::Finished { stage, seconds } => {
                if let Some(bar) = self.bar.take() {
                    bar.finish_and_clear();
                }
                self.say(&format!("{} {seconds:.1} s", stage.label()));
            }
        }
    }

    fn training(&mut self, training: Training) {
        let Training { step, steps, loss, gradient_norm, learning_rate, samples_per_second, seconds_left, milestone } =
            training;
        let left = HumanDuration(Duration::from_secs_f64(seconds_left));
        let message = format!(
            "step {step} of {steps}, loss {loss:.4}, gradient {gradient_norm:.2}, learning rate {learning_rate:.1e}, \
             {samples_per_second:.2} samples/s, {left} left"
        );
        // The stages of a validation have bars of their own, which take the place of this one.
        let bar = self.bar.take().unwrap_or_else(|| self.start(Stage::Train, steps as f64));
        bar.set_position((step as f64 * FINE) as u64);
        bar.set_message(message.clone());
        self.bar = Some(bar);
        if milestone {
            self.say(&message);
        }
    }

    fn say(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| say(text)),
            None => say(text),
        }
    }

    fn start(&self, stage: Stage, total: f64) -> ProgressBar {
        if !self.show {
            return ProgressBar::hidden();
        }
        let (template, length) = if total > 0.0 {
            ("{prefix} [{wide_bar}] {msg} ({elapsed} elapsed, {eta} left)", total * FINE)
        } else {
            ("{prefix} {spinner} {elapsed}", 0.0)
        };
        let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
        let bar = ProgressBar::with_draw_target(Some(length as u64), ProgressDrawTarget::stderr());
        bar.set_style(style);
        bar.set_prefix(stage.label());
        bar.enable_steady_tick(Duration::from_millis(250));
        bar
    }
}

/// How much of a stage is done, and at which rate.
fn amount(stage: Stage, done: f64, total: f64, seconds: f64) -> String {
    match stage {
        Stage::Download => {
            let rate = done / seconds.max(f64::MIN_POSITIVE);
            format!("{} of {}, {} a second", Bytes(done as u64), Bytes(total as u64), Bytes(rate as u64))
        }
        Stage::DrawPeople => {
            let rate = done / seconds.max(f64::MIN_POSITIVE);
            format!("{done:.0} of {total:.0} pictures, {rate:.0} a second")
        }
        Stage::Decode | Stage::EncodeFrames => format!("{:.0} %", 100.0 * done / total),
        Stage::Denoise => format!("step {done:.1} of {total:.0}, {:.1} s each", seconds / done.max(f64::MIN_POSITIVE)),
        _ => format!("{done:.0} of {total:.0}"),
    }
}
