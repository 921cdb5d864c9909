//! Means with confidence intervals, and how well a similarity tells people apart.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::Serialize;

/// Resamples of a bootstrap: the ends of a 95 % interval then stand on 50 values each.
const RESAMPLES: usize = 2000;
/// Seed of all resampling, so that a report can be made again.
const SEED: u64 = 20_250_103;

/// A mean over videos, and where it lies in 95 of 100 sets of videos drawn likewise (percentile bootstrap).
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Estimate {
    /// The value.
    pub mean: f64,
    /// Lower end of the interval; none where one video is all there is.
    pub low: Option<f64>,
    /// Upper end.
    pub high: Option<f64>,
    /// Videos that have a value.
    pub videos: usize,
}

impl Estimate {
    /// Of the mean. `None` where there is no value.
    pub fn of_mean(values: &[f64]) -> Option<Self> {
        Self::bootstrap(values.len(), |chosen| {
            Some(chosen.iter().map(|&index| values[index]).sum::<f64>() / chosen.len() as f64)
        })
    }

    /// Of any number that `measure` takes from so many videos, some of them taken several times, others not. `None` where
    /// all videos together have no such number.
    pub fn bootstrap(videos: usize, measure: impl Fn(&[usize]) -> Option<f64>) -> Option<Self> {
        let all: Vec<usize> = (0..videos).collect();
        let mean = if videos == 0 { None } else { measure(&all) }?;
        let mut random = ChaCha8Rng::seed_from_u64(SEED);
        let mut draw = || (0..videos).map(|_| random.random_range(0..videos)).collect::<Vec<usize>>();
        let mut drawn: Vec<f64> = (0..RESAMPLES).filter_map(|_| measure(&draw())).collect();
        drawn.sort_by(f64::total_cmp);
        let at = |part: f64| {
            (videos > 1 && !drawn.is_empty()).then(|| drawn[(part * (drawn.len() - 1) as f64).round() as usize])
        };
        Some(Self { mean, low: at(0.025), high: at(0.975), videos })
    }
}

/// Area under the receiver operating characteristic: how often a similarity to the right person is larger than one to
/// another person (ties count half). `None` where one of the two is missing.
pub(super) fn roc_auc(right: &[f64], wrong: &[f64]) -> Option<f64> {
    if right.is_empty() || wrong.is_empty() {
        return None;
    }
    let mut wrong = wrong.to_vec();
    wrong.sort_by(f64::total_cmp);
    let wins: f64 = right
        .iter()
        .map(|&value| {
            let below = wrong.partition_point(|&other| other < value);
            let equal = wrong.partition_point(|&other| other <= value) - below;
            below as f64 + equal as f64 / 2.0
        })
        .sum();
    Some(wins / (right.len() * wrong.len()) as f64)
}

/// How much a series falls from its start to its end, by the straight line that fits it best. `positions` run from 0 at
/// the first frame to 1 at the last. `None` where there are not two different positions.
pub(super) fn fall(positions: &[f64], values: &[f64]) -> Option<f64> {
    let count = positions.len() as f64;
    let (mean_x, mean_y) = (positions.iter().sum::<f64>() / count, values.iter().sum::<f64>() / count);
    let spread: f64 = positions.iter().map(|x| (x - mean_x).powi(2)).sum();
    let slope: f64 = positions.iter().zip(values).map(|(x, y)| (x - mean_x) * (y - mean_y)).sum::<f64>() / spread;
    slope.is_finite().then_some(-slope)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn area_by_counting_pairs() {
        // Of twelve pairs eight are in order and one is a tie.
        assert_eq!(roc_auc(&[0.9, 0.5, 0.7], &[0.1, 0.5, 0.8, 0.6]), Some((4.0 + 1.5 + 3.0) / 12.0));
        assert_eq!(roc_auc(&[1.0], &[0.0]), Some(1.0));
        assert_eq!(roc_auc(&[], &[0.0]), None);
    }

    #[test]
    fn a_line_falls_by_its_drop() {
        let positions = [0.0, 0.25, 0.5, 1.0];
        let fallen = fall(&positions, &positions.map(|x| 0.9 - 0.2 * x)).expect("a line");
        assert!((fallen - 0.2).abs() < 1e-12);
        assert_eq!(fall(&[0.5], &[0.9]), None);
        assert_eq!(fall(&[], &[]), None);
    }

    #[test]
    fn intervals_cover_the_mean_of_a_known_distribution() {
        // 300 sets of 40 uniform numbers: about 95 of 100 intervals hold one half.
        let mut random = ChaCha8Rng::seed_from_u64(1);
        let covered = (0..300)
            .filter(|_| {
                let values: Vec<f64> = (0..40).map(|_| random.random::<f64>()).collect();
                let found = Estimate::of_mean(&values).expect("values");
                found.low < Some(0.5) && found.high > Some(0.5)
            })
            .count();
        assert!((270..=297).contains(&covered), "{covered} of 300");
    }

    #[test]
    fn one_video_has_no_interval_and_none_no_mean() {
        let one = Estimate::of_mean(&[0.4]).expect("a value");
        assert_eq!((one.mean, one.low, one.high, one.videos), (0.4, None, None, 1));
        assert_eq!(Estimate::of_mean(&[]), None);
        let again = [0.1, 0.4, 0.3, 0.8];
        assert_eq!(Estimate::of_mean(&again), Estimate::of_mean(&again));
    }
}
