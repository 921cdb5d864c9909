//! Plots as SVG that takes its colours from the page: `.s0` to `.s7` are series, `.grid` and `text` the rest.

use std::fmt::Write;

use super::super::statistics::Estimate;
use super::page::escape;
use super::table::number;

/// Colours that the page defines.
pub(super) const COLOURS: usize = 8;
/// Size of a plot, in units of its own; text is 12 of them high.
const SIZE: [f64; 2] = [440.0, 250.0];
/// Room for axes on the left, at the top, at the right, at the bottom.
const MARGIN: [f64; 4] = [46.0, 10.0, 12.0, 36.0];

/// A line.
pub(super) struct Line {
    /// Which colour.
    pub(super) colour: usize,
    /// `mean`, `one` or `strangers`.
    pub(super) class: &'static str,
    /// From left to right; gaps are `None`.
    pub(super) points: Vec<Option<[f64; 2]>>,
}

/// Lines over the length of the video.
pub(super) fn lines(label: &str, lines: &[Line]) -> String {
    let values = || lines.iter().flat_map(|line| line.points.iter().flatten().map(|point| point[1]));
    let Some(axis) = Axis::around(values()) else { return nothing(label) };
    let [width, height] = SIZE;
    let [left, top, right, bottom] = MARGIN;
    let x = |value: f64| left + value * (width - left - right);
    let y = |value: f64| height - bottom - axis.part(value) * (height - top - bottom);
    let mut svg = start(label, SIZE);
    for tick in axis.ticks() {
        let _ = write!(
            svg,
            "<path class=grid d='M{left} {0:.1}H{1}'/><text class=end x={2} y={3:.1}>{4}</text>",
            y(tick),
            width - right,
            left - 6.0,
            y(tick) + 4.0,
            axis.show(tick)
        );
    }
    for (part, anchor, text) in [(0.0, "", "first frame"), (1.0, "end", "last frame")] {
        let _ = write!(svg, "<text class='{anchor}' x={} y={}>{text}</text>", x(part), height - 12.0);
    }
    for line in lines {
        let _ = write!(svg, "<path class='line s{} {}' d='", line.colour % COLOURS, line.class);
        let mut pen = 'M';
        for point in &line.points {
            match point {
                Some([at, value]) => {
                    let _ = write!(svg, "{pen}{:.1} {:.1}", x(*at), y(*value));
                    pen = 'L';
                }
                None => pen = 'M',
            }
        }
        svg.push_str("'/>");
    }
    svg + "</svg>"
}

/// A dot and its interval for each row.
pub(super) fn dots(label: &str, rows: &[(&str, Estimate)]) -> String {
    let ends = |e: &Estimate| [e.mean, e.low.unwrap_or(e.mean), e.high.unwrap_or(e.mean)];
    let Some(axis) = Axis::around(rows.iter().flat_map(|(_, e)| ends(e)).chain([0.0])) else { return nothing(label) };
    let (width, row) = (SIZE[0], 40.0);
    let height = row * rows.len() as f64 + 34.0;
    let [left, right, bottom] = [30.0, 30.0, 24.0];
    let x = |value: f64| left + axis.part(value) * (width - left - right);
    let mut svg = start(label, [width, height]);
    for tick in axis.ticks() {
        let class = if tick == 0.0 { "grid zero" } else { "grid" };
        let _ = write!(
            svg,
            "<path class='{class}' d='M{0:.1} 4V{1}'/><text class=middle x={0:.1} y={2}>{3}</text>",
            x(tick),
            height - bottom,
            height - 8.0,
            axis.show(tick)
        );
    }
    for (index, (name, estimate)) in rows.iter().enumerate() {
        let y = row * index as f64 + 28.0;
        let [mean, low, high] = ends(estimate).map(x);
        let _ = write!(
            svg,
            "<text x={left} y={0:.1}>{1}: {2}</text><path class='line s{3}' d='M{low:.1} {y}H{high:.1}'/>\
             <circle class=s{3} cx={mean:.1} cy={y} r=5 />",
            y - 12.0,
            escape(name),
            number(estimate.mean),
            index % COLOURS
        );
    }
    svg + "</svg>"
}

/// A small line without axes, from `range` at the bottom to its top, with the strangers' level dashed.
pub(super) fn sparkline(
    label: &str,
    values: &[Option<f64>],
    level: Option<f64>,
    range: [f64; 2],
    colour: usize,
) -> String {
    let (width, height) = (220.0, 44.0);
    let y = |value: f64| height - 3.0 - (value - range[0]) / (range[1] - range[0]) * (height - 6.0);
    let x = |index: usize| 3.0 + index as f64 / (values.len().max(2) - 1) as f64 * (width - 6.0);
    let mut svg = start(label, [width, height]);
    if let Some(level) = level {
        let _ = write!(svg, "<path class='line strangers' d='M3 {:.1}H{}'/>", y(level), width - 3.0);
    }
    let _ = write!(svg, "<path class='line s{} mean' d='", colour % COLOURS);
    let mut pen = 'M';
    for (index, value) in values.iter().enumerate() {
        match value {
            Some(value) => {
                let _ = write!(svg, "{pen}{:.1} {:.1}", x(index), y(*value));
                pen = 'L';
            }
            None => pen = 'M',
        }
    }
    svg + "'/></svg>"
}

fn start(label: &str, [width, height]: [f64; 2]) -> String {
    format!("<svg viewBox='0 0 {width} {height}' role=img aria-label='{}'>", escape(label))
}

fn nothing(label: &str) -> String {
    format!("<p class=note>{}: no values.</p>", escape(label))
}

/// A range of values with round numbers on it.
struct Axis {
    low: f64,
    high: f64,
    step: f64,
}

impl Axis {
    /// `None` where there is no value.
    fn around(values: impl Iterator<Item = f64>) -> Option<Self> {
        let finite = values.filter(|value| value.is_finite());
        let (low, high) = finite.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| (low.min(v), high.max(v)));
        if low > high {
            return None;
        }
        let span = (high - low).max(0.01);
        let rough = span / 4.0;
        let power = 10f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0].map(|digit| digit * power).into_iter().find(|step| *step >= rough)?;
        let (low, high) = ((low / step).floor() * step, (high / step).ceil() * step);
        Some(Self { low, high: if high > low { high } else { low + step }, step })
    }

    fn part(&self, value: f64) -> f64 {
        (value - self.low) / (self.high - self.low)
    }

    fn ticks(&self) -> impl Iterator<Item = f64> + '_ {
        let count = ((self.high - self.low) / self.step).round() as i64;
        let first = (self.low / self.step).round() as i64;
        (first..=first + count).map(|index| index as f64 * self.step)
    }

    fn show(&self, tick: f64) -> String {
        let digits = (-self.step.log10()).ceil().max(0.0) as usize;
        format!("{tick:.digits$}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_have_round_numbers_around_all_values() {
        let cases: [(&[f64], &[&str]); 4] = [
            (&[0.83, 0.92], &["0.80", "0.85", "0.90", "0.95"]),
            (&[-0.013, 0.004, 0.0], &["-0.015", "-0.010", "-0.005", "0.000", "0.005"]),
            (&[3.0, 41.0], &["0", "10", "20", "30", "40", "50"]),
            (&[0.5], &["0.500", "0.505"]),
        ];
        for (values, ticks) in cases {
            let axis = Axis::around(values.iter().copied()).expect("values");
            assert_eq!(axis.ticks().map(|tick| axis.show(tick)).collect::<Vec<_>>(), ticks, "{values:?}");
            assert!(values.iter().all(|value| (0.0..=1.0).contains(&axis.part(*value))));
        }
        assert!(Axis::around([f64::NAN].into_iter()).is_none());
    }
}
