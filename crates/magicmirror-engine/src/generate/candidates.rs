//! Several videos of one request, of which the one most like the photos is kept.
//!
//! What of a face the adapter does not settle, the noise does, so videos of one request differ in how much they resemble the
//! person. The recogniser whose vectors the adapter reads is judge, in one frame of each latent frame.

use std::ops::RangeInclusive;

use burn::tensor::{Device, Tensor};
use magicmirror_models::adapter::FaceFeatures;
use magicmirror_models::face::mtcnn::Mtcnn;
use magicmirror_models::face::recogniser::Recogniser;
use magicmirror_models::vae::VaeDecoder;
use serde::Serialize;

use super::Request;
use super::pipeline::{IdentitySource, Run};
use crate::EngineError;
use crate::event::{Control, Event, Stage};
use crate::frames::rgb_from_frames;
use crate::identity::{FaceOptions, RecogniserSource, embed_largest_face, load_detector};

/// How many videos may be made for one.
const CANDIDATES: RangeInclusive<usize> = 1..=100;

/// The likeness of a frame without a face, the least there is.
const NO_FACE: f64 = -1.0;

/// A candidate's seed and likeness.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(super) struct Judged {
    seed: u64,
    /// Mean cosine of its faces to the mean of the photos' vectors, all seen from [`Recogniser::mean`], over the half of the
    /// frames where it is greatest: faces that look away are less like any photo, so the whole mean would be for people who
    /// keep still. A frame without a face counts −1, as unlike as can be.
    likeness: f64,
}

/// The video that is kept.
pub(super) struct Chosen {
    /// Its place among the candidates.
    pub(super) index: usize,
    /// `[frames, 3, height, width]` in 0..=1.
    pub(super) frames: Tensor<4>,
    /// All candidates; empty where there was no choice.
    pub(super) judged: Vec<Judged>,
}

/// Says how much the faces of a video are like a person.
pub(super) struct Judge<'a> {
    detector: Mtcnn,
    recogniser: Recogniser,
    device: &'a Device,
}

/// How many videos are made for one that shows somebody, and by which recogniser one is chosen, if there are several.
///
/// # Errors
/// When the number is out of range, there is nobody to be like, all would be the same, or it is not known who judges.
pub(super) fn asked_for(
    request: &Request,
    identity: Option<&IdentitySource>,
) -> Result<(usize, Option<RecogniserSource>), EngineError> {
    let count = request.candidates.unwrap_or(1);
    if !CANDIDATES.contains(&count) {
        return Err(EngineError::OutOfRange {
            option: "--candidates",
            value: count.to_string(),
            rule: format!("be {} to {}", CANDIDATES.start(), CANDIDATES.end()),
            hint: "each takes as long as the first".into(),
        });
    }
    if count == 1 {
        return Ok((count, None));
    }
    let Some(IdentitySource { adapter, config, .. }) = identity else {
        return Err(EngineError::options(
            format!("--candidates {count}, but nobody whom they should be like"),
            "add a photo with --reference IMG, or features with --identity FILE, or leave --candidates out",
        ));
    };
    if request.latents.is_some() {
        return Err(EngineError::options(
            format!("--candidates {count} would start from the same noise, that of --latents"),
            "leave one of them out",
        ));
    }
    Ok((count, Some(RecogniserSource::of_adapter(adapter, config, &request.faces)?)))
}

/// The seeds of a video's candidates.
pub(super) fn seeds(first: u64, count: usize) -> impl Iterator<Item = u64> {
    (0..count as u64).map(move |candidate| first.wrapping_add(candidate))
}

impl<'a> Judge<'a> {
    /// # Errors
    /// When a network cannot be loaded.
    pub(super) fn load(recogniser: &RecogniserSource, device: &'a Device) -> Result<Self, EngineError> {
        // The smallest face of a photo that the user is content with says nothing of videos.
        let detector = load_detector(FaceOptions::default().min_face)?;
        Ok(Self { detector, recogniser: recogniser.load(device)?, device })
    }

    /// # Errors
    /// When the person's vectors were made by another recogniser.
    pub(super) fn check(&self, person: &FaceFeatures) -> Result<(), EngineError> {
        let [own, given] = [self.recogniser.embedding_size(), person.id_embeds.dims()[1]];
        if own == given {
            return Ok(());
        }
        Err(EngineError::options(
            format!(
                "candidates cannot be compared with the identity: its vectors have {given} numbers, those of {} have {own}",
                self.recogniser.name()
            ),
            "name the recogniser that made it with --recogniser, or leave --candidates out",
        ))
    }

    /// See [`Judged::likeness`]. Frames are `[frames, 3, height, width]` in 0..=1, of which every `stride`th is looked at.
    fn likeness(&self, frames: &Tensor<4>, stride: usize, person: &FaceFeatures) -> f64 {
        let seen_from_mean = |vector: Tensor<2>| match self.recogniser.mean() {
            Some(mean) => vector - Tensor::<1>::from_data(mean, self.device).unsqueeze(),
            None => vector,
        };
        let person = seen_from_mean(person.id_embeds.clone().mean_dim(0));
        let looked_at = (0..frames.dims()[0]).step_by(stride).map(|index| frames.clone().narrow(0, index, 1));
        let images = rgb_from_frames(Tensor::cat(looked_at.collect(), 0));
        let cosine = |image| {
            let face = embed_largest_face(image, &self.detector, &self.recogniser, self.device)?;
            Some(cosine(seen_from_mean(face), person.clone()))
        };
        mean_of_better_half(images.iter().map(|image| cosine(image).unwrap_or(NO_FACE)).collect())
    }
}

/// The middle one of an odd number counts.
fn mean_of_better_half(mut values: Vec<f64>) -> f64 {
    values.sort_by(|a, b| b.total_cmp(a));
    values.truncate(values.len().div_ceil(2));
    values.iter().sum::<f64>() / values.len() as f64
}

fn cosine(a: Tensor<2>, b: Tensor<2>) -> f64 {
    let dot = |a: &Tensor<2>, b: &Tensor<2>| (a.clone() * b.clone()).sum().into_scalar::<f32>();
    f64::from(dot(&a, &b) / (dot(&a, &a) * dot(&b, &b)).sqrt().max(f32::MIN_POSITIVE))
}

impl Run<'_> {
    /// Decodes all candidates, seeds and latents `[1, frames, channels, height, width]`, and keeps the one that is most like
    /// the person, the first of equals. Without a judge that is the first. The decoder is loaded if it is not yet.
    pub(super) fn choose(
        &self,
        candidates: impl IntoIterator<Item = (u64, Tensor<5>)>,
        decoder: &mut Option<VaeDecoder>,
        judge: Option<(&Judge<'_>, &FaceFeatures)>,
        control: &mut Control<'_>,
    ) -> Result<Chosen, EngineError> {
        let stride = self.backbone.vae.temporal_compression_ratio;
        let (mut best, mut judged): (Option<(usize, Tensor<4>)>, Vec<Judged>) = (None, Vec::new());
        for (index, (seed, latents)) in candidates.into_iter().enumerate() {
            let frames = control.stage(Stage::Decode, 1.0, |control| {
                if decoder.is_none() {
                    *decoder = Some(self.load_decoder()?);
                }
                self.decode_with(decoder.as_ref().expect("it was loaded"), latents, control)
            })?;
            let Some((judge, person)) = judge else {
                return Ok(Chosen { index, frames, judged });
            };
            let likeness = control.stage(Stage::CompareFaces, 0.0, |control| {
                control.check()?;
                Ok(judge.likeness(&frames.clone().narrow(0, 0, self.settings.frames), stride, person))
            })?;
            if best.as_ref().is_none_or(|(best, _)| likeness > judged[*best].likeness) {
                best = Some((index, frames));
            }
            judged.push(Judged { seed, likeness });
        }
        let (index, frames) = best.expect("there is at least one");
        tell(&judged, index, control);
        Ok(Chosen { index, frames, judged })
    }
}

fn tell(judged: &[Judged], chosen: usize, control: &mut Control<'_>) {
    if judged.iter().all(|one| one.likeness <= NO_FACE) {
        control.warn(format!("no face was found in any of {} candidates: the first is kept", judged.len()));
        return;
    }
    let all: Vec<String> = judged.iter().map(|one| format!("{} {:.3}", one.seed, one.likeness)).collect();
    control.emit(Event::Note(format!("seed {} is most like the photos ({})", judged[chosen].seed, all.join(", "))));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_that_look_away_do_not_count() {
        assert!((mean_of_better_half(vec![0.3, NO_FACE, 0.5, 0.1]) - 0.4).abs() < 1e-12);
        assert!((mean_of_better_half(vec![NO_FACE, 0.6, 0.0]) - 0.3).abs() < 1e-12);
        assert!((mean_of_better_half(vec![NO_FACE]) - NO_FACE).abs() < 1e-12);
    }
}
