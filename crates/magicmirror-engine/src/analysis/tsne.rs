//! t-SNE (van der Maaten and Hinton, 2008), exact: the plane picture of points in many dimensions that keeps neighbours
//! together.

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, StandardNormal};
use rayon::prelude::*;

const ITERATIONS: usize = 750;
/// In the first iterations neighbours attract each other so much more, and find together.
const EXAGGERATION: f64 = 12.0;
const EXAGGERATED: usize = 250;
const PERPLEXITY: f64 = 30.0;

/// Places of the points in the plane, from a seed. Time and memory grow with the square of their number.
///
/// # Panics
/// When the points have different numbers of coordinates.
pub(super) fn embed(points: &[Vec<f32>], seed: u64) -> Vec<[f64; 2]> {
    let count = points.len();
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut normal = || -> f64 { StandardNormal.sample(&mut random) };
    let mut places: Vec<[f64; 2]> = (0..count).map(|_| [1e-4 * normal(), 1e-4 * normal()]).collect();
    if count < 3 {
        return places;
    }
    let affinities = affinities(points);
    let rate = (count as f64 / EXAGGERATION / 4.0).max(50.0);
    let mut steps = vec![[0.0; 2]; count];
    let mut gains = vec![[1.0f64; 2]; count];
    for iteration in 0..ITERATIONS {
        let early = iteration < EXAGGERATED;
        let (exaggeration, momentum) = if early { (EXAGGERATION, 0.5) } else { (1.0, 0.8) };
        let gradients = gradients(&places, &affinities, exaggeration);
        for i in 0..count {
            for axis in 0..2 {
                let against = gradients[i][axis] * steps[i][axis] < 0.0;
                gains[i][axis] = if against { gains[i][axis] + 0.2 } else { (gains[i][axis] * 0.8).max(0.01) };
                steps[i][axis] = momentum * steps[i][axis] - rate * gains[i][axis] * gradients[i][axis];
                places[i][axis] += steps[i][axis];
            }
        }
    }
    places
}

/// How much each pair of points are neighbours; all sum to one. `[count, count]`
fn affinities(points: &[Vec<f32>]) -> Vec<f64> {
    let count = points.len();
    let distance = |a: &[f32], b: &[f32]| -> f64 {
        assert_eq!(a.len(), b.len(), "coordinates of two points");
        a.iter().zip(b).map(|(a, b)| f64::from(a - b).powi(2)).sum()
    };
    let perplexity = PERPLEXITY.min((count - 1) as f64 / 3.0).max(1.0);
    let rows: Vec<Vec<f64>> = (0..count)
        .into_par_iter()
        .map(|i| {
            let distances: Vec<f64> = points.iter().map(|point| distance(&points[i], point)).collect();
            conditional(&distances, i, perplexity.ln())
        })
        .collect();
    let mut joint = vec![0.0; count * count];
    for i in 0..count {
        for j in 0..count {
            joint[i * count + j] = ((rows[i][j] + rows[j][i]) / (2.0 * count as f64)).max(1e-12);
        }
    }
    joint
}

/// Probabilities of point `own`'s neighbours, from squared distances: a Gaussian so wide that their entropy is as wanted.
fn conditional(distances: &[f64], own: usize, entropy: f64) -> Vec<f64> {
    let others = || distances.iter().enumerate().filter(|(j, _)| *j != own).map(|(_, distance)| *distance);
    // Only differences of distances count.
    let nearest = others().fold(f64::INFINITY, f64::min);
    let spread = others().map(|distance| distance - nearest).sum::<f64>() / (distances.len() - 1) as f64;
    let mut precision = 1.0 / spread.max(f64::MIN_POSITIVE);
    let (mut low, mut high) = (0.0, f64::INFINITY);
    for _ in 0..64 {
        let (mut sum, mut weighted) = (0.0, 0.0);
        for distance in others().map(|distance| distance - nearest) {
            let weight = (-precision * distance).exp();
            sum += weight;
            weighted += weight * distance;
        }
        let found = sum.ln() + precision * weighted / sum;
        if (found - entropy).abs() < 1e-6 {
            break;
        }
        if found > entropy {
            low = precision;
            precision = if high.is_finite() { f64::midpoint(low, high) } else { 2.0 * precision };
        } else {
            high = precision;
            precision = f64::midpoint(low, high);
        }
    }
    let weight = |j: usize| if j == own { 0.0 } else { (-precision * (distances[j] - nearest)).exp() };
    let weights: Vec<f64> = (0..distances.len()).map(weight).collect();
    let sum: f64 = weights.iter().sum();
    weights.into_iter().map(|weight| weight / sum).collect()
}

fn gradients(places: &[[f64; 2]], affinities: &[f64], exaggeration: f64) -> Vec<[f64; 2]> {
    let count = places.len();
    let closeness = |a: [f64; 2], b: [f64; 2]| 1.0 / (1.0 + (a[0] - b[0]).powi(2) + (a[1] - b[1]).powi(2));
    let row_sum = |i: usize| places.iter().map(|place| closeness(places[i], *place)).sum::<f64>() - 1.0;
    let sums: Vec<f64> = (0..count).into_par_iter().map(row_sum).collect();
    let total: f64 = sums.iter().sum();
    (0..count)
        .into_par_iter()
        .map(|i| {
            let mut gradient = [0.0; 2];
            for j in (0..count).filter(|j| *j != i) {
                let close = closeness(places[i], places[j]);
                let pull = 4.0 * (exaggeration * affinities[i * count + j] - close / total) * close;
                gradient[0] += pull * (places[i][0] - places[j][0]);
                gradient[1] += pull * (places[i][1] - places[j][1]);
            }
            gradient
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Three clouds in ten dimensions, with more points than the perplexity.
    fn clouds() -> Vec<Vec<f32>> {
        let mut random = ChaCha8Rng::seed_from_u64(1);
        let mut normal = || -> f32 { StandardNormal.sample(&mut random) };
        (0..120).map(|i| (0..10).map(|axis| normal() + if axis == i % 3 { 12.0 } else { 0.0 }).collect()).collect()
    }

    #[test]
    fn neighbours_stay_together() {
        let places = embed(&clouds(), 7);
        let distance = |i: usize, j: usize| (places[i][0] - places[j][0]).hypot(places[i][1] - places[j][1]);
        for i in 0..places.len() {
            let nearest = (0..places.len())
                .filter(|j| *j != i)
                .min_by(|a, b| distance(i, *a).total_cmp(&distance(i, *b)))
                .unwrap();
            assert_eq!(nearest % 3, i % 3, "point {i}");
        }
        assert_eq!(places, embed(&clouds(), 7), "one seed, one picture");
    }

    #[test]
    fn perplexity_is_as_asked() {
        let distances: Vec<f64> = (0..50).map(|i| f64::from(i * i) * 1e-3).collect();
        let row = conditional(&distances, 0, 10f64.ln());
        let entropy: f64 = row.iter().filter(|p| **p > 0.0).map(|p| -p * p.ln()).sum();
        assert!((entropy.exp() - 10.0).abs() < 1e-3, "{}", entropy.exp());
    }

    #[test]
    fn equal_points_are_no_trouble() {
        assert!(embed(&vec![vec![1.0; 4]; 20], 0).iter().flatten().all(|value| value.is_finite()));
        assert_eq!(embed(&[], 0), Vec::<[f64; 2]>::new());
    }
}
