//! Randomness without state: every draw is a function of the run's seed, the step and the position in the global batch.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, StandardNormal};

/// What a draw is for, so that draws for one sample do not depend on each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u64)]
pub enum Draw {
    /// Which source or bucket a sample comes from.
    Source = 1,
    /// The timestep.
    Timestep = 2,
    /// The noise.
    Noise = 3,
    /// The noise of the encoder's posterior.
    Posterior = 4,
    /// Whether the loss counts in the face region only.
    Region = 5,
    /// Which frame of a clip the identity loss looks at.
    Frame = 6,
    /// Where and how a sample is cut out.
    Crop = 7,
    /// Whether a condition is left out.
    Dropout = 8,
    /// How the identity loss moves a face.
    Jitter = 9,
}

/// The generator of one kind of draw for one sample.
pub fn generator(seed: u64, step: u64, position: usize, draw: Draw) -> ChaCha8Rng {
    let mut key = [0; 32];
    for (part, value) in key.chunks_exact_mut(8).zip([seed, step, position as u64, draw as u64]) {
        part.copy_from_slice(&value.to_le_bytes());
    }
    ChaCha8Rng::from_seed(key)
}

/// A number in `0..count`.
pub fn below(count: usize, seed: u64, step: u64, position: usize, draw: Draw) -> usize {
    generator(seed, step, position, draw).random_range(0..count)
}

/// A timestep in `0..count`, `1 − (1 − u)^power` of the way for a uniform `u`: the greater the power, the more often there is
/// much noise. Those of a batch lie evenly spread over the distribution, so that what depends on them varies less from step
/// to step (arXiv 2107.00630, appendix I.1).
pub fn timestep(count: usize, power: f64, seed: u64, step: u64, [position, batch]: [usize; 2]) -> usize {
    let place = (unit(seed, step, 0, Draw::Timestep) + position as f64 / batch as f64).fract();
    (((1.0 - (1.0 - place).powf(power)) * count as f64) as usize).min(count - 1)
}

/// A number in `0.0..1.0`.
pub fn unit(seed: u64, step: u64, position: usize, draw: Draw) -> f64 {
    generator(seed, step, position, draw).random()
}

/// `count` normal numbers.
pub fn normal(count: usize, seed: u64, step: u64, position: usize, draw: Draw) -> Vec<f32> {
    StandardNormal.sample_iter(generator(seed, step, position, draw)).take(count).collect()
}

/// Which of `count` samples is the `draw`-th of a run: each epoch visits all of them, in an order of its own.
///
/// The order is a permutation by a Feistel network over the next power of four, walked until it is in range
/// (Black and Rogaway, 2002).
///
/// # Panics
/// When `count` is 0.
pub fn sample(count: usize, seed: u64, draw: u64) -> usize {
    let count = count as u64;
    let (epoch, mut index) = (draw / count, draw % count);
    let half = (u64::BITS - (count - 1).leading_zeros()).div_ceil(2).max(1);
    let mask = (1 << half) - 1;
    loop {
        let (mut left, mut right) = (index >> half, index & mask);
        for round in 0..6 {
            (left, right) = (right, left ^ (mix(mix(seed ^ mix(epoch)) ^ (right << 3 | round)) & mask));
        }
        index = left << half | right;
        if index < count {
            return index as usize;
        }
    }
}

/// The finaliser of splitmix64.
fn mix(value: u64) -> u64 {
    let value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_epoch_visits_every_sample_once_in_its_own_order() {
        for count in [1, 2, 3, 17, 64, 1000] {
            let epoch = |epoch: u64| -> Vec<usize> {
                (0..count as u64).map(|i| sample(count, 7, epoch * count as u64 + i)).collect()
            };
            let mut sorted = epoch(0);
            sorted.sort_unstable();
            assert_eq!(sorted, (0..count).collect::<Vec<_>>());
            assert!(count < 17 || (epoch(0) != epoch(1) && epoch(0) != sorted));
        }
    }

    #[test]
    fn timesteps_of_a_batch_are_spread_and_favour_much_noise() {
        let drawn = |power, step| {
            let mut drawn: Vec<usize> = (0..8).map(|i| timestep(1000, power, 5, step, [i, 8])).collect();
            drawn.sort_unstable();
            drawn
        };
        for step in 0..100 {
            let even = drawn(1.0, step);
            assert!(even.windows(2).all(|pair| (124..=126).contains(&(pair[1] - pair[0]))), "{even:?}");
            assert!(even[0] < 126 && even[7] < 1000, "{even:?}");
        }
        let all: Vec<usize> = (0..2000).flat_map(|step| drawn(1.5, step)).collect();
        for (least, expected) in [(200, 0.8f64), (500, 0.5), (900, 0.1)] {
            let found = all.iter().filter(|timestep| **timestep >= least).count() as f64 / all.len() as f64;
            assert!((found - expected.powf(1.0 / 1.5)).abs() < 0.02, "{least}: {found}");
        }
        let mean = (0..1000).map(|step| timestep(1000, 1.0, 5, step, [3, 8]) as f64).sum::<f64>() / 1000.0;
        assert!((mean - 499.5).abs() < 30.0, "every position sees all of them: {mean}");
    }

    #[test]
    fn draws_differ_by_step_position_and_purpose() {
        let bits = |seed, step, position, draw| unit(seed, step, position, draw).to_bits();
        let base = bits(1, 2, 3, Draw::Region);
        assert_eq!(base, bits(1, 2, 3, Draw::Region));
        let others = [
            bits(0, 2, 3, Draw::Region),
            bits(1, 3, 3, Draw::Region),
            bits(1, 2, 2, Draw::Region),
            bits(1, 2, 3, Draw::Frame),
        ];
        assert!(others.iter().all(|other| *other != base));
        let mean: f64 = (0..1000).map(|step| unit(1, step, 0, Draw::Region)).sum::<f64>() / 1000.0;
        assert!((mean - 0.5).abs() < 0.03, "{mean}");
    }
}
