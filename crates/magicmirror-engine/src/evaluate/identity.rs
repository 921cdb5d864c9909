//! How much the person in a video is the person on the photos (paper section 4.1: average ID similarity and its decay).
//!
//! The paper gives no formula. Its numbers are matched by the cosine of dlib's descriptors as they are, neither
//! normalised nor centred; being all positive-sided these are similar for any two people, so every similarity has one to
//! strangers beside it. Two readings of "the average similarity of a group of reference images" are both given: similarity
//! to the mean of the photos' vectors, and the mean of the similarities to each (`…_each`).

mod columns;

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::faces::{Person, SeenFaces};
use super::{motion, statistics};
use crate::identity::DetectedFace;

pub(super) use columns::{columns, columns_of, origin_of, set_columns};

/// dlib's own threshold: closer descriptors are of one person.
const DLIB_SAME_PERSON: f64 = 0.6;
/// Frames that ConsisID's FaceSim looks at.
const FACESIM_FRAMES: usize = 16;

/// How alike a video's faces are to one person, by one recogniser.
#[derive(Debug, Clone, PartialEq)]
struct Likeness {
    /// Cosine to the mean of the photos, for each frame.
    cosine: Vec<Option<f64>>,
    cosine_each: Vec<Option<f64>>,
    /// Cosines below 0 taken as 0, averaged over the photos.
    cosine_clamped: Vec<Option<f64>>,
    distance: Vec<Option<f64>>,
    distance_each: Vec<Option<f64>>,
}

impl Likeness {
    /// `None` where the person has no photos.
    fn new(frames: &[Option<Vec<f32>>], photos: &[Vec<f32>]) -> Option<Self> {
        let photos: Vec<Vec<f64>> = photos.iter().map(|photo| wide(photo)).collect();
        let size = photos.first()?.len();
        let center: Vec<f64> =
            (0..size).map(|i| photos.iter().map(|photo| photo[i]).sum::<f64>() / photos.len() as f64).collect();
        let over = |measure: &dyn Fn(&[f64]) -> f64| {
            frames.iter().map(|frame| frame.as_ref().map(|frame| measure(&wide(frame)))).collect::<Vec<_>>()
        };
        let each = |frame: &[f64], of: fn(&[f64], &[f64]) -> f64| {
            photos.iter().map(|photo| of(frame, photo)).sum::<f64>() / photos.len() as f64
        };
        Some(Self {
            cosine: over(&|frame| cosine(frame, &center)),
            cosine_each: over(&|frame| each(frame, cosine)),
            cosine_clamped: over(&|frame| each(frame, |a, b| cosine(a, b).max(0.0))),
            distance: over(&|frame| distance(frame, &center)),
            distance_each: over(&|frame| each(frame, distance)),
        })
    }
}

/// What is known of one video's faces.
#[derive(Debug, Clone, Default)]
pub(super) struct Measurement {
    /// All face metrics, by column; those that this video has not are left out.
    pub(super) metrics: Map<String, Value>,
    /// Mean cosine to each person, by recogniser.
    pub(super) similarities: BTreeMap<String, Vec<Option<f64>>>,
    /// Cosine and distance of every sampled frame to the person meant, by name.
    pub(super) series: BTreeMap<String, Vec<Option<f64>>>,
}

/// Compares a video with the person meant (a number of `people`, if anybody is) and with all others.
pub(super) fn measure(seen: &SeenFaces, people: &[Person], own: Option<usize>) -> Measurement {
    let faces: Vec<Option<DetectedFace>> = seen.faces.iter().map(|frame| frame.face).collect();
    let found = faces.iter().flatten().count();
    let Measurement { mut metrics, mut similarities, mut series } = Measurement::default();
    let mut add = |name: String, value: Option<f64>| {
        metrics.extend(value.map(|value| (name, Value::from(value))));
    };
    add("face_found".into(), Some(found as f64 / faces.len() as f64));
    add("face_in_every_frame".into(), Some(f64::from(u8::from(found == faces.len()))));
    for (name, vectors) in &seen.embeddings {
        let mut all: Vec<Option<Likeness>> =
            people.iter().map(|person| Likeness::new(vectors, person.embeddings.get(name)?)).collect();
        let to_each = |of: fn(&Likeness) -> &[Option<f64>]| -> Vec<Option<f64>> {
            all.iter().map(|likeness| mean(of(likeness.as_ref()?))).collect()
        };
        let strangers = |to_each: &[Option<f64>]| {
            mean(&to_each.iter().enumerate().filter(|(i, _)| Some(*i) != own).map(|(_, v)| *v).collect::<Vec<_>>())
        };
        let cosines = to_each(|likeness| &likeness.cosine);
        let to_strangers = strangers(&cosines);
        add(format!("{name}_cosine_strangers"), to_strangers);
        similarities.insert(name.clone(), cosines);
        if name == "dlib" {
            add("dlib_distance_strangers".into(), strangers(&to_each(|likeness| &likeness.distance)));
        }
        let Some(own) = own.and_then(|own| all[own].take()) else { continue };
        let all_frames = own.cosine.iter().map(|cosine| cosine.unwrap_or(0.0)).sum::<f64>() / faces.len() as f64;
        let (positions, values) = curve(seen, &own.cosine);
        let to_own = mean(&own.cosine);
        add(format!("{name}_cosine"), to_own);
        let gap = if found == 0 { Some(0.0) } else { to_own.zip(to_strangers).map(|(own, others)| own - others) };
        add(format!("{name}_gap"), gap.filter(|_| people.len() > 1));
        add(format!("{name}_cosine_each"), mean(&own.cosine_each));
        add(format!("{name}_cosine_all_frames"), Some(all_frames));
        add(format!("{name}_decay"), statistics::fall(&positions, &values));
        let ends = values.first().zip(values.last()).filter(|_| values.len() > 1);
        add(format!("{name}_decay_ends"), ends.map(|(first, last)| first - last));
        series.insert(format!("{name}_cosine"), own.cosine);
        match name.as_str() {
            "dlib" => {
                series.insert("dlib_distance".into(), own.distance.clone());
                let each = mean(&own.distance_each);
                let same = each.is_some_and(|distance| distance <= DLIB_SAME_PERSON);
                add("dlib_distance".into(), mean(&own.distance));
                add("dlib_distance_each".into(), each);
                add("dlib_same_person".into(), Some(f64::from(u8::from(same))));
            }
            "arcface" => add("facesim_arc".into(), Some(facesim(&own.cosine_clamped))),
            "curricularface" => add("facesim_cur".into(), Some(facesim(&own.cosine_clamped))),
            _ => {}
        }
    }
    let references = own.map_or(&[][..], |own| &people[own].faces);
    let expressions: Vec<motion::Distance> = faces
        .iter()
        .flatten()
        .flat_map(|face| references.iter().filter_map(|photo| motion::from_reference(face, &photo.face)))
        .collect();
    let over = |of: fn(&motion::Distance) -> f64| mean(&expressions.iter().map(|e| Some(of(e))).collect::<Vec<_>>());
    add("fm_ref".into(), over(|distance| distance.together));
    add("fm_ref_points".into(), over(|distance| distance.points));
    let movement = motion::between_frames(&faces);
    add("fm_inter".into(), movement.map(|movement| movement.consecutive));
    add("fm_inter_points".into(), movement.map(|movement| movement.consecutive_points));
    add("fm_inter_any".into(), movement.map(|movement| movement.any));
    Measurement { metrics, similarities, series }
}

/// Positions in the video, from 0 to 1, and values, of the frames that have one.
fn curve(seen: &SeenFaces, values: &[Option<f64>]) -> (Vec<f64>, Vec<f64>) {
    let last = seen.faces.last().map_or(1, |frame| frame.frame.max(1)) as f64;
    let at = |(frame, value): (&super::metric::FrameFace, &Option<f64>)| Some((frame.frame as f64 / last, (*value)?));
    seen.faces.iter().zip(values).filter_map(at).unzip()
}

/// ConsisID's mean: over 16 frames from the first to the last, one of them several times where there are fewer.
fn facesim(cosines: &[Option<f64>]) -> f64 {
    let chosen: Vec<Option<f64>> =
        (0..FACESIM_FRAMES).map(|index| cosines[index * (cosines.len() - 1) / (FACESIM_FRAMES - 1)]).collect();
    mean(&chosen).unwrap_or(0.0)
}

fn mean(values: &[Option<f64>]) -> Option<f64> {
    let count = values.iter().flatten().count();
    (count > 0).then(|| values.iter().flatten().sum::<f64>() / count as f64)
}

fn wide(vector: &[f32]) -> Vec<f64> {
    vector.iter().copied().map(f64::from).collect()
}

fn cosine(a: &[f64], b: &[f64]) -> f64 {
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt().max(f64::MIN_POSITIVE)
}

fn distance(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| (a - b).powi(2)).sum::<f64>().sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evaluate::metric::{FrameFace, ReferenceFace};

    /// A face somewhere, so that a frame counts as having one.
    const FACE: DetectedFace = DetectedFace {
        bounds: [10.0, 10.0, 50.0, 60.0],
        score: 1.0,
        landmarks: [[20.0, 25.0], [40.0, 25.0], [30.0, 35.0], [22.0, 45.0], [38.0, 45.0]],
    };

    fn video(frames: &[Option<[f32; 3]>]) -> SeenFaces {
        let face = |(frame, vector): (usize, &Option<[f32; 3]>)| FrameFace {
            frame,
            faces: usize::from(vector.is_some()),
            face: vector.map(|_| FACE),
        };
        let faces = frames.iter().enumerate().map(face).collect();
        let vectors = || frames.iter().map(|vector| vector.map(|vector| vector.to_vec())).collect::<Vec<_>>();
        let embeddings = ["dlib", "arcface", "curricularface"].map(|name| (name.to_owned(), vectors())).into();
        SeenFaces { faces, embeddings }
    }

    fn person(photos: &[[f32; 3]]) -> Person {
        let vectors = || photos.iter().map(|vector| vector.to_vec()).collect::<Vec<_>>();
        Person {
            faces: photos.iter().map(|_| ReferenceFace { path: "photo.jpg".into(), face: FACE }).collect(),
            embeddings: ["dlib", "arcface", "curricularface"].map(|name| (name.to_owned(), vectors())).into(),
            thumbnails: Vec::new(),
        }
    }

    fn number(measured: &Measurement, name: &str) -> Option<f64> {
        measured.metrics.get(name).and_then(Value::as_f64)
    }

    #[track_caller]
    fn is(measured: &Measurement, name: &str, expected: f64) {
        let found = number(measured, name).unwrap_or(f64::NAN);
        assert!((found - expected).abs() < 1e-6, "{name}: {found}, not {expected}");
    }

    #[test]
    fn the_reference_itself_scores_one() {
        let people = [person(&[[1.0, 2.0, 3.0]]), person(&[[3.0, 0.0, -1.0]])];
        let measured = measure(&video(&[Some([1.0, 2.0, 3.0]); 5]), &people, Some(0));
        for (name, value) in [
            ("face_found", 1.0),
            ("dlib_cosine", 1.0),
            ("dlib_cosine_each", 1.0),
            ("dlib_cosine_strangers", 0.0),
            ("dlib_gap", 1.0),
            ("dlib_distance", 0.0),
            ("dlib_same_person", 1.0),
            ("dlib_decay", 0.0),
            ("dlib_decay_ends", 0.0),
            ("facesim_arc", 1.0),
            ("facesim_cur", 1.0),
            ("fm_ref", 0.0),
            ("fm_inter", 0.0),
            ("fm_inter_any", 0.0),
        ] {
            is(&measured, name, value);
        }
        assert_eq!(measured.similarities["dlib"].len(), 2);
    }

    #[test]
    fn shuffling_keeps_the_mean_and_changes_the_decay() {
        let people = [person(&[[1.0, 0.0, 0.0]])];
        let at = |angle: f32| Some([angle.cos(), angle.sin(), 0.0]);
        let falling = measure(&video(&[at(0.0), at(0.3), at(0.6), at(0.9)]), &people, Some(0));
        let shuffled = measure(&video(&[at(0.6), at(0.0), at(0.9), at(0.3)]), &people, Some(0));
        is(&shuffled, "dlib_cosine", number(&falling, "dlib_cosine").unwrap_or(f64::NAN));
        is(&falling, "dlib_decay_ends", 1.0 - f64::from(0.9f32.cos()));
        let decay = |measured| number(measured, "dlib_decay").unwrap_or(f64::NAN);
        assert!(decay(&falling) > 0.3 && decay(&shuffled) < 0.1, "{} {}", decay(&falling), decay(&shuffled));
    }

    #[test]
    fn two_readings_of_several_photos_by_hand() {
        // Their mean has half the length, and the direction between them.
        let people = [person(&[[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])];
        let measured = measure(&video(&[Some([2.0, 0.0, 0.0])]), &people, Some(0));
        is(&measured, "dlib_cosine", 0.5f64.sqrt());
        is(&measured, "dlib_cosine_each", 0.5);
        is(&measured, "dlib_distance", 2.5f64.sqrt());
        is(&measured, "dlib_distance_each", f64::midpoint(1.0, 5f64.sqrt()));
        is(&measured, "dlib_same_person", 0.0);
        assert_eq!(number(&measured, "dlib_cosine_strangers"), None);
        assert_eq!(number(&measured, "dlib_decay"), None, "one frame has no decay");
    }

    #[test]
    fn frames_without_a_face_count_where_a_number_says_so() {
        let people = [person(&[[1.0, 0.0, 0.0]]), person(&[[-1.0, 0.0, 0.0]])];
        let measured = measure(&video(&[Some([1.0, 0.0, 0.0]), None, None, Some([-1.0, 0.0, 0.0])]), &people, Some(0));
        is(&measured, "face_found", 0.5);
        is(&measured, "face_in_every_frame", 0.0);
        is(&measured, "dlib_cosine", 0.0);
        is(&measured, "dlib_cosine_all_frames", 0.0);
        // Of 16 places in four frames, five fall on the first and one on the last.
        is(&measured, "facesim_arc", 5.0 / 6.0);
        is(&measured, "dlib_decay_ends", 2.0);
        let faceless = measure(&video(&[None, None]), &people, Some(0));
        for name in ["dlib_cosine", "dlib_distance", "dlib_decay", "dlib_cosine_strangers", "fm_ref", "fm_inter"] {
            assert_eq!(number(&faceless, name), None, "{name}");
        }
        for name in ["face_found", "dlib_gap", "dlib_cosine_all_frames", "dlib_same_person", "facesim_arc"] {
            is(&faceless, name, 0.0);
        }
    }

    #[test]
    fn every_number_has_a_column() {
        let people = [person(&[[1.0, 2.0, 3.0]]), person(&[[3.0, 0.0, -1.0]])];
        let measured = measure(&video(&[Some([1.0, 2.0, 3.0]); 2]), &people, Some(0));
        let names: Vec<String> =
            columns(&["dlib", "arcface", "curricularface"]).into_iter().map(|c| c.name.into_owned()).collect();
        let mut unknown = measured.metrics.keys().filter(|name| !names.contains(name));
        assert_eq!(unknown.next(), None);
        assert_eq!(measured.metrics.len(), names.len(), "and every column a number");
        assert!(columns::HEADLINES.iter().all(|headline| names.iter().any(|name| name == headline)));
    }
}
