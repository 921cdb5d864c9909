//! How much of another model's value a model reaches: of the truth, say, or of the truth through the autoencoder.

use std::collections::BTreeMap;

use serde::Serialize;

use super::metric::Column;
use super::results::VideoResult;
use super::statistics::Estimate;

/// All models beside one of them.
#[derive(Debug, Clone, Serialize)]
pub struct Relative {
    /// The model that they are compared with.
    pub to: String,
    /// What is compared, in the order of the tables.
    pub columns: Vec<String>,
    /// By model and number: the mean by the other model's mean, over the videos that both have of the same identity and
    /// seed; null where there are none.
    pub models: BTreeMap<String, BTreeMap<String, Option<Estimate>>>,
}

impl Relative {
    pub(super) fn new(to: &str, videos: &[VideoResult], columns: &[Column]) -> Self {
        let names: Vec<String> =
            columns.iter().map(|column| column.name.clone().into_owned()).filter(|name| is_compared(name)).collect();
        let mut models: BTreeMap<String, BTreeMap<String, Option<Estimate>>> = BTreeMap::new();
        for model in videos.iter().map(|video| &video.model).filter(|model| *model != to) {
            models.entry(model.clone()).or_insert_with(|| {
                let share = |name: &String| (name.clone(), share(&pairs(videos, model, to, name)));
                names.iter().map(share).collect()
            });
        }
        Self { to: to.to_owned(), columns: names, models }
    }
}

/// Numbers with a zero that means something, so that a share of them does.
fn is_compared(name: &str) -> bool {
    name.ends_with("_gap") || name == "fm_inter"
}

/// A number of the videos of two models, where both show the same identity with the same seed.
fn pairs(videos: &[VideoResult], model: &str, to: &str, name: &str) -> Vec<(f64, f64)> {
    let of = |model: &'_ str| videos.iter().filter(move |video| video.model == *model).collect::<Vec<_>>();
    let others = of(to);
    of(model)
        .into_iter()
        .filter_map(|video| {
            let same = |other: &&&VideoResult| (&other.identity, other.seed) == (&video.identity, video.seed);
            Some((video.metric(name)?, others.iter().find(same)?.metric(name)?))
        })
        .collect()
}

/// Sum by sum.
fn share(pairs: &[(f64, f64)]) -> Option<Estimate> {
    Estimate::bootstrap(pairs.len(), |chosen| {
        let sum = |of: fn(&(f64, f64)) -> f64| chosen.iter().map(|&index| of(&pairs[index])).sum::<f64>();
        let share = sum(|pair| pair.0) / sum(|pair| pair.1);
        share.is_finite().then_some(share)
    })
}

#[cfg(test)]
mod tests {
    use super::super::manifest::Entry;
    use super::*;

    fn video(model: &str, identity: &str, seed: u64, gap: Option<f64>) -> VideoResult {
        let entry = Entry {
            video: format!("{model}{identity}{seed}").into(),
            references: Vec::new(),
            prompt: None,
            model: model.into(),
            identity: identity.into(),
            seed: Some(seed),
        };
        let mut video = VideoResult::of_entry(&entry, 2, 8.0);
        video.metrics.insert("dlib_gap".into(), gap.into());
        video
    }

    #[test]
    fn a_share_is_taken_over_what_both_have() {
        let videos = [
            video("truth", "a", 0, Some(0.4)),
            video("truth", "b", 1, Some(0.6)),
            video("truth", "c", 2, None),
            video("ours", "b", 1, Some(0.1)),
            video("ours", "a", 0, Some(0.3)),
            video("ours", "c", 2, Some(9.0)),
            video("ours", "a", 7, Some(9.0)),
            video("apart", "d", 0, Some(0.3)),
        ];
        let columns =
            ["dlib_gap", "dlib_cosine"].map(|name| Column::new(name, super::super::metric::Better::Higher, ""));
        let relative = Relative::new("truth", &videos, &columns);
        assert_eq!(relative.columns, ["dlib_gap"]);
        assert_eq!(relative.models.keys().collect::<Vec<_>>(), ["apart", "ours"]);
        let ours = relative.models["ours"]["dlib_gap"].expect("two pairs");
        assert!((ours.mean - 0.4).abs() < 1e-12 && ours.videos == 2, "{ours:?}");
        // Each pair alone: 0.3 of 0.4, 0.1 of 0.6.
        assert!((ours.low.unwrap_or(0.0) - 1.0 / 6.0).abs() < 1e-12 && (ours.high.unwrap_or(0.0) - 0.75).abs() < 1e-12);
        assert_eq!(relative.models["apart"]["dlib_gap"], None);
    }
}
