//! EvalCrafter's warping error, and how steady the flow itself is: two readings of the paper's "motion smoothness".
//!
//! The paper defines its motion smoothness (lower is better) as "cross-frame optical flow consistency", without a formula.
//! The nearest published number is EvalCrafter's warping error. As its script has it, frames of 0 to 1 go into RAFT, which
//! expects 0 to 255 and sees next to nothing; both that and what was meant are computed. The second reading is ours: how
//! much the flow changes along its own path.
//!
//! Source: EvalCrafter @3a69a46, `metrics/RAFT/optical_flow_scores.py`, `warp_utils.py`. Departure: borders with which frames
//! are padded for RAFT are not measured.

use std::sync::atomic::{AtomicBool, Ordering};

use burn::tensor::Device;

use super::flow::{Flow, FlowNetwork, Picture, RAFT};
use super::metric::{Better, Clip, Column, Measured, Metric, Opened, WeightsFolder};
use crate::EngineError;

struct Warping {
    network: FlowNetwork,
    columns: Vec<Column>,
    fingerprint: String,
}

/// Opens the metric.
pub(super) fn open(folder: &WeightsFolder, device: &Device) -> Result<Opened, EngineError> {
    let columns = vec![
        Column::new(
            "warping_error",
            Better::Lower,
            "EvalCrafter warping error at half size: squared difference between a frame and the next one warped back to \
             it along the flow (RAFT, given frames of 0 to 255), mean over the pixels that both show, and over pairs",
        ),
        Column::new(
            "warping_error_evalcrafter",
            Better::Lower,
            "the same as EvalCrafter's script computes it, which gives RAFT frames of 0 to 1",
        ),
        Column::new(
            "flow_change",
            Better::Lower,
            "motion smoothness as flow consistency (ours): |flow(t+1) - flow(t)| / (|flow(t+1)| + |flow(t)| + 1 pixel) \
             along the flow at half size, mean over pixels and frames; 0 for steady motion, near 1 for random motion",
        )
        .headline(),
    ];
    folder.open(&RAFT, columns, |path, columns| {
        let network = FlowNetwork::load(path, device)?;
        let fingerprint = format!("warping 1, {}", network.fingerprint);
        Ok(Warping { network, columns, fingerprint })
    })
}

impl Metric for Warping {
    fn columns(&self) -> &[Column] {
        &self.columns
    }

    fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    fn measure(&self, clip: &Clip<'_>, cancelled: &AtomicBool) -> Result<Measured, EngineError> {
        let (mut errors, mut published, mut changes) = (Mean::default(), Mean::default(), Mean::default());
        let mut before: Option<Flow> = None;
        for pair in clip.frames.windows(2) {
            if cancelled.load(Ordering::Relaxed) {
                return Err(EngineError::Cancelled);
            }
            let [first, second] = [&pair[0], &pair[1]].map(|frame| Picture::of(frame).halved());
            let flows =
                |scale| [self.network.between(&first, &second, scale), self.network.between(&second, &first, scale)];
            let [forward, backward] = flows(255.0);
            errors.add(warping_error(&first, &second, &forward, &backward));
            let [dark_forward, dark_backward] = flows(1.0);
            published.add(warping_error(&first, &second, &dark_forward, &dark_backward));
            if let Some(before) = &before {
                changes.add(flow_change(before, &forward));
            }
            before = Some(forward);
        }
        Ok(Measured { numbers: vec![errors.value(), published.value(), changes.value()], features: Vec::new() })
    }
}

#[derive(Default)]
struct Mean {
    sum: f64,
    count: usize,
}

impl Mean {
    fn add(&mut self, value: f64) {
        self.sum += value;
        self.count += 1;
    }

    fn value(&self) -> Option<f64> {
        (self.count > 0).then(|| self.sum / self.count as f64)
    }
}

/// Squared difference, summed over channels, between `first` and `second` warped back, mean over the pixels that are not
/// occluded; where all are, the sum over all is divided by the number of values, and is nothing.
fn warping_error(first: &Picture, second: &Picture, forward: &Flow, backward: &Flow) -> f64 {
    let visible: Vec<bool> = occluded(forward, backward).into_iter().map(|occluded| !occluded).collect();
    let count = visible.iter().filter(|&&visible| visible).count();
    let pixels = forward.across.len();
    let planes = first.planes.chunks_exact(pixels).zip(second.planes.chunks_exact(pixels));
    let sum: f64 = planes
        .map(|(first, second)| {
            let warped = forward.sample(second);
            let squares = first.iter().zip(warped).zip(&visible).filter(|(_, visible)| **visible);
            squares.map(|((a, b), _)| f64::from(a - b).powi(2)).sum::<f64>()
        })
        .sum();
    sum / count.max(1) as f64
}

/// Pixels that the second frame does not show, or at which the motion has an edge. All lengths are squared.
fn occluded(forward: &Flow, backward: &Flow) -> Vec<bool> {
    let returned = forward.follow(backward);
    let square = |x: f32, y: f32| x * x + y * y;
    let hidden = |i: usize| {
        let (there, back) = ([forward.across[i], forward.down[i]], [returned.across[i], returned.down[i]]);
        square(there[0] + back[0], there[1] + back[1])
            > 0.01 * (square(back[0], back[1]) + square(there[0], there[1])) + 0.5
    };
    let (width, height) = (forward.width, forward.height);
    let edge = |i: usize| {
        let steps = [(i % width + 1 < width, i + 1), (i / width + 1 < height, i + width)];
        let change: f32 = steps
            .into_iter()
            .filter(|(inside, _)| *inside)
            .map(|(_, next)| square(forward.across[i] - forward.across[next], forward.down[i] - forward.down[next]))
            .sum();
        change > 0.01 * square(forward.across[i], forward.down[i]) + 0.002
    };
    (0..width * height).map(|i| hidden(i) || edge(i)).collect()
}

/// How much the flow changes along its path, 0 to 1.
fn flow_change(before: &Flow, after: &Flow) -> f64 {
    let followed = before.follow(after);
    let lengths = (0..before.across.len()).map(|i| {
        let (x0, y0, x1, y1) = (before.across[i], before.down[i], followed.across[i], followed.down[i]);
        f64::from((x1 - x0).hypot(y1 - y0) / (x0.hypot(y0) + x1.hypot(y1) + 1.0))
    });
    lengths.sum::<f64>() / before.across.len() as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn constant(across: f32, down: f32) -> Flow {
        Flow { width: 24, height: 16, across: vec![across; 24 * 16], down: vec![down; 24 * 16] }
    }

    /// A texture that has moved by (dx, dy).
    fn texture(dx: f32, dy: f32) -> Picture {
        let value = |i: usize, channel: usize| {
            let (x, y) = ((i % 24) as f32 - dx, (i / 24) as f32 - dy);
            0.5 + 0.2 * (0.3 * x + channel as f32).sin() + 0.2 * (0.4 * y).cos()
        };
        let planes = (0..3).flat_map(|channel| (0..24 * 16).map(move |i| value(i, channel)));
        Picture { width: 24, height: 16, planes: planes.collect() }
    }

    #[test]
    fn a_still_clip_has_no_error() {
        let still = constant(0.0, 0.0);
        assert!(warping_error(&texture(0.0, 0.0), &texture(0.0, 0.0), &still, &still).abs() < 1e-12);
        assert!(flow_change(&still, &still).abs() < 1e-12);
    }

    /// The right flow explains the motion; none, or one in the opposite direction, does not. What moves in beyond the
    /// border is not seen, hence the small rest.
    #[test]
    fn the_right_direction_explains_a_translation() {
        let (first, second) = (texture(0.0, 0.0), texture(2.0, 1.0));
        let error = |x, y| warping_error(&first, &second, &constant(x, y), &constant(-x, -y));
        let (right, none, opposite) = (error(2.0, 1.0), error(0.0, 0.0), error(-2.0, -1.0));
        assert!(right < 0.2 * none && none < opposite, "{right} {none} {opposite}");
    }

    #[test]
    fn pixels_that_do_not_return_do_not_count() {
        let (first, second) = (texture(0.0, 0.0), texture(9.0, 5.0));
        assert!(occluded(&constant(2.0, 0.0), &constant(3.0, 0.0)).iter().all(|&occluded| occluded));
        assert!(warping_error(&first, &second, &constant(2.0, 0.0), &constant(3.0, 0.0)).abs() < 1e-12);
        assert!(!occluded(&constant(2.0, 0.0), &constant(-2.0, 0.0)).iter().any(|&occluded| occluded));
    }

    #[test]
    fn edges_of_the_motion_do_not_count() {
        let mut flow = constant(0.0, 0.0);
        for row in flow.across.chunks_exact_mut(24) {
            row[12..].fill(0.3);
        }
        let edges: Vec<usize> =
            occluded(&flow, &constant(0.0, 0.0)).iter().enumerate().filter(|(_, o)| **o).map(|(i, _)| i % 24).collect();
        assert_eq!(edges, vec![11; 16]);
    }

    #[test]
    fn steady_motion_changes_less_than_shaking() {
        let steady = flow_change(&constant(5.0, 0.0), &constant(5.0, 0.0));
        let shaking = flow_change(&constant(5.0, 0.0), &constant(-5.0, 0.0));
        assert!(steady.abs() < 1e-12);
        assert!((shaking - 10.0 / 11.0).abs() < 1e-6);
    }

    #[test]
    fn halving_takes_means() {
        let planes = (0..3 * 5 * 4).map(|i| i as f32).collect();
        let halved = Picture { width: 5, height: 4, planes }.halved();
        assert_eq!((halved.width, halved.height), (2, 2));
        assert_eq!(halved.planes[..4], [3.0, 5.0, 13.0, 15.0]);
    }
}
