//! The table of models, as Markdown and as CSV.

use std::fmt::Write;

use super::super::metric::Column;
use super::super::relative::Relative;
use super::super::results::{ModelResult, Results};
use super::super::statistics::Estimate;

/// A number with as many digits as the paper gives.
pub(super) fn number(value: f64) -> String {
    format!("{value:.3}")
}

/// A mean and its interval.
pub(super) fn estimate(value: Option<&Estimate>) -> String {
    let Some(value) = value else { return "–".to_owned() };
    match (value.low, value.high) {
        (Some(low), Some(high)) => format!("{} ({} to {})", number(value.mean), number(low), number(high)),
        _ => number(value.mean),
    }
}

/// A model's value of a column.
pub(super) fn of<'a>(model: &'a ModelResult, column: &Column) -> Option<&'a Estimate> {
    model.metrics.get(column.name.as_ref())?.as_ref()
}

/// One sentence on how many videos and frames show no face.
pub(super) fn faceless(model: &ModelResult) -> String {
    format!(
        "{} of {} videos and {} of {} sampled frames show no face",
        model.videos_without_face, model.videos, model.frames_without_face, model.frames
    )
}

/// Rows are numbers, columns are models.
pub(super) fn markdown(results: &Results) -> String {
    let mut text = String::from("| |");
    for model in &results.models {
        let _ = write!(text, " {} |", cell(&model.model));
    }
    text.push_str("\n|---|");
    text.push_str(&"---|".repeat(results.models.len()));
    let _ = write!(text, "\n| videos |");
    for model in &results.models {
        let _ = write!(text, " {} |", model.videos);
    }
    let (first, rest): (Vec<&Column>, Vec<&Column>) = results.columns.iter().partition(|column| column.headline);
    for column in first.into_iter().chain(rest) {
        let _ = write!(text, "\n| {}{} |", column.name, column.better.arrow());
        for model in &results.models {
            let _ = write!(text, " {} |", estimate(of(model, column)));
        }
    }
    text.push_str("\n\nMeans over videos, with 95 % bootstrap intervals over videos.\n");
    for model in &results.models {
        let _ = writeln!(
            text,
            "{}: {}; numbers about faces leave these out unless they say otherwise.",
            cell(&model.model),
            faceless(model)
        );
    }
    results.relative.iter().for_each(|relative| add_relative(&mut text, relative));
    for absent in &results.not_computed {
        let _ = writeln!(text, "Not computed for lack of {}: {}.", absent.file, absent.columns.join(", "));
    }
    text
}

/// What part of another model's numbers the models reach.
fn add_relative(text: &mut String, relative: &Relative) {
    let _ = write!(text, "\n| by {} |", cell(&relative.to));
    for model in relative.models.keys() {
        let _ = write!(text, " {} |", cell(model));
    }
    let _ = write!(text, "\n|---|{}", "---|".repeat(relative.models.len()));
    for column in &relative.columns {
        let _ = write!(text, "\n| {column} |");
        for numbers in relative.models.values() {
            let _ = write!(text, " {} |", estimate(numbers[column].as_ref()));
        }
    }
    let to = cell(&relative.to);
    let _ = writeln!(text, "\n\nMean by the mean of {to}, over the videos that both have of an identity and seed.\n");
}

/// One row a model: each number, the ends of its interval, and how many videos have it.
pub(super) fn csv(results: &Results) -> String {
    let mut text = String::from("model,videos,videos_without_face,frames,frames_without_face");
    for column in &results.columns {
        let _ = write!(text, ",{0},{0}_low,{0}_high,{0}_videos", column.name);
    }
    for model in &results.models {
        let ModelResult { videos, videos_without_face, frames, frames_without_face, .. } = model;
        let name = quoted(&model.model);
        let _ = write!(text, "\n{name},{videos},{videos_without_face},{frames},{frames_without_face}");
        for column in &results.columns {
            let value = of(model, column);
            let show = |value: Option<f64>| value.map_or_else(String::new, |value| value.to_string());
            let (mean, low, high) = (value.map(|v| v.mean), value.and_then(|v| v.low), value.and_then(|v| v.high));
            let videos = value.map_or(0, |value| value.videos);
            let _ = write!(text, ",{},{},{},{videos}", show(mean), show(low), show(high));
        }
    }
    text.push('\n');
    text
}

fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace(['\n', '\r'], " ")
}

fn quoted(text: &str) -> String {
    if text.contains([',', '"', '\n', '\r']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text.to_owned() }
}
