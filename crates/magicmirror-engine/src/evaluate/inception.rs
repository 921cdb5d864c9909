//! EvalCrafter's inception score: how sure a classifier is of each frame, and how different the frames are. One number for
//! a set of videos.
//!
//! Source: EvalCrafter @cc66701, `metrics/is.py`, `metrics/pytorch_gan_metrics/core.py`.

use std::sync::atomic::{AtomicBool, Ordering};

use burn::tensor::{Device, activation};
use magicmirror_models::vision::inception::{Inception, InceptionVariant};

use super::metric::{Better, Clip, Column, FeatureSet, Measured, Metric, Opened, Released, WeightsFolder};
use crate::EngineError;
use crate::files::sha256_of_files;
use crate::frames::frames_from_rgb;

const RELEASED: Released = Released {
    files: &["pt_inception-2015-12-05-6726825d.pth", "pt_inception-2015-12-05-6726825d.safetensors"],
    origin: "https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/pt_inception-2015-12-05-6726825d.pth",
};
/// Frames that go through the network at once.
const BATCH: usize = 8;
/// Parts of the set, each scored by itself.
const SPLITS: usize = 10;

struct InceptionScore {
    network: Inception,
    device: Device,
    columns: Vec<Column>,
    fingerprint: String,
}

/// Opens the metric.
pub(super) fn open(folder: &WeightsFolder, device: &Device) -> Result<Opened, EngineError> {
    let columns = vec![
        Column::new(
            "inception_score",
            Better::Higher,
            "EvalCrafter inception score (Inception v3 as ported from TensorFlow) over all frames of all videos, mean of \
             10 parts; it grows with the number and variety of the videos",
        )
        .headline(),
    ];
    folder.open(&RELEASED, columns, |path, columns| {
        let network = Inception::load(&path, InceptionVariant::TensorFlow2015, device)?;
        let fingerprint = format!("inception score 1, {}", sha256_of_files(&[path])?);
        Ok(InceptionScore { network, device: device.clone(), columns, fingerprint })
    })
}

impl Metric for InceptionScore {
    fn columns(&self) -> &[Column] {
        &[]
    }

    fn set_columns(&self) -> &[Column] {
        &self.columns
    }

    fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    /// The features are the probabilities of each frame, one after the other.
    fn measure(&self, clip: &Clip<'_>, cancelled: &AtomicBool) -> Result<Measured, EngineError> {
        let mut features = Vec::with_capacity(clip.frames.len() * self.network.classes());
        for frames in clip.frames.chunks(BATCH) {
            if cancelled.load(Ordering::Relaxed) {
                return Err(EngineError::Cancelled);
            }
            let images = frames_from_rgb(frames, &self.device) * 0.5 + 0.5;
            let logits = self.network.forward(Inception::resize(images)).logits;
            let probabilities = activation::softmax(logits, 1).into_data_as::<f32>();
            features.extend(probabilities.iter::<f32>());
        }
        Ok(Measured { numbers: Vec::new(), features })
    }

    fn measure_set(&self, videos: &dyn FeatureSet) -> Result<Vec<Option<f64>>, EngineError> {
        Ok(vec![inception_score(videos, self.network.classes(), SPLITS)?])
    }
}

/// Mean over `splits` parts of all frames (as many parts as there are frames, if that is less) of
/// `exp(mean Σ p ln p − Σ p̄ ln p̄)`. `None` without frames.
fn inception_score(videos: &dyn FeatureSet, classes: usize, splits: usize) -> Result<Option<f64>, EngineError> {
    let mut frames = 0;
    for video in 0..videos.len() {
        frames += videos.features(video)?.len() / classes;
    }
    let splits = splits.min(frames);
    if splits == 0 {
        return Ok(None);
    }
    let mut part = Part::new(classes);
    let (mut seen, mut done, mut score) = (0, 0, 0.0);
    for video in 0..videos.len() {
        for probabilities in videos.features(video)?.chunks_exact(classes) {
            part.add(probabilities);
            seen += 1;
            if seen == (done + 1) * frames / splits {
                score += std::mem::replace(&mut part, Part::new(classes)).score();
                done += 1;
            }
        }
    }
    Ok(Some(score / splits as f64))
}

struct Part {
    frames: f64,
    /// Sum of `Σ p ln p` over frames.
    certainty: f64,
    /// Sum of p over frames.
    sums: Vec<f64>,
}

impl Part {
    fn new(classes: usize) -> Self {
        Self { frames: 0.0, certainty: 0.0, sums: vec![0.0; classes] }
    }

    fn add(&mut self, probabilities: &[f32]) {
        self.frames += 1.0;
        for (sum, &p) in self.sums.iter_mut().zip(probabilities) {
            let p = f64::from(p);
            *sum += p;
            self.certainty += p_ln_p(p);
        }
    }

    fn score(&self) -> f64 {
        let mean: f64 = self.sums.iter().map(|sum| p_ln_p(sum / self.frames)).sum();
        (self.certainty / self.frames - mean).exp()
    }
}

fn p_ln_p(p: f64) -> f64 {
    if p > 0.0 { p * p.ln() } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Videos(Vec<Vec<f32>>);

    impl FeatureSet for Videos {
        fn len(&self) -> usize {
            self.0.len()
        }

        fn features(&self, video: usize) -> Result<Vec<f32>, EngineError> {
            Ok(self.0[video].clone())
        }
    }

    fn score(videos: Vec<Vec<f32>>, splits: usize) -> Option<f64> {
        inception_score(&Videos(videos), 4, splits).unwrap()
    }

    fn one(class: usize) -> Vec<f32> {
        (0..4).map(|i| f32::from(u8::from(i == class))).collect()
    }

    /// As many as there are classes seen with certainty; one where all frames are alike.
    #[test]
    fn it_counts_what_is_seen() {
        let frames = |classes: &[usize]| classes.iter().flat_map(|&class| one(class)).collect::<Vec<f32>>();
        let close = |found: Option<f64>, expected: f64| assert!((found.unwrap() - expected).abs() < 1e-9, "{found:?}");
        close(score(vec![frames(&[0, 1]), frames(&[2, 3])], 1), 4.0);
        close(score(vec![frames(&[0, 1]), frames(&[2, 3])], 2), 2.0);
        close(score(vec![frames(&[1, 1, 1])], 1), 1.0);
        close(score(vec![vec![0.25; 16]], 1), 1.0);
        // Two parts of 1 and 2 frames, across videos.
        close(score(vec![frames(&[0]), frames(&[0, 3])], 2), 1.5);
        assert_eq!(score(vec![], 10), None);
    }

    /// exp((0.7 ln 0.7 + 0.3 ln 0.3 + 0.2 ln 0.2 + 0.8 ln 0.8) / 2 − 0.45 ln 0.45 − 0.55 ln 0.55)
    #[test]
    fn uncertain_frames_agree_with_the_formula() {
        let found = score(vec![vec![0.7, 0.3, 0.0, 0.0, 0.2, 0.8, 0.0, 0.0]], 1).unwrap();
        assert!((found - 1.141_685).abs() < 1e-5, "{found}");
    }
}
