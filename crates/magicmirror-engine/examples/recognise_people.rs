//! How well networks that know real faces tell synthetic people apart, and find their faces.
//!
//!     cargo run --release -p magicmirror-engine --example recognise_people -- \
//!         --identities 100 --pictures 6 --groups man,woman --mobilefacenet mobilefacenet.safetensors
//!
//! `--dressed yes` puts a hat on everybody and leaves glasses on; `--first N` takes other people; `--mean yes` prints the mean
//! of each recogniser's vectors, which is where `Recogniser::mean` has its numbers from.
//!
//! Prints, per recogniser: mean cosine of the same and of different identities, and the area under the ROC curve, and both once
//! more from the mean of all vectors on; for the detector: the share of faces found up to 45° of yaw, and the distance of its
//! landmarks from the true ones.

use std::error::Error;
use std::io::Write;
use std::path::PathBuf;

use burn::tensor::Device;
use magicmirror_models::face::detector::{FaceDetector, RgbPixels};
use magicmirror_models::face::mtcnn::{Mtcnn, MtcnnConfig};
use magicmirror_models::face::recogniser::Recogniser;
use magicmirror_people::scene::{
    Background, Camera, EXPRESSION_UNITS, Garment, Gaze, Group, Hat, HatKind, HeadPose, Lighting, Moment, NamedColour,
    Outfit, Place, Size,
};
use magicmirror_people::{Person, Scene, Set};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

const SIZE: Size = Size { width: 256, height: 256 };

/// A picture's embeddings by recogniser, or none where no face was found.
struct Seen {
    identity: usize,
    embeddings: Option<Vec<Vec<f32>>>,
}

fn main() -> Result<(), Box<dyn Error>> {
    let option = |name: &str, default: &str| {
        let mut words = std::env::args().skip_while(|word| word != name);
        words.nth(1).unwrap_or_else(|| default.to_owned())
    };
    let identities: usize = option("--identities", "100").parse()?;
    let pictures: usize = option("--pictures", "6").parse()?;
    let groups: Vec<Group> =
        serde_json::from_str(&format!("[\"{}\"]", option("--groups", "man,woman").replace(',', "\",\"")))?;
    let first: u64 = option("--first", "1000000").parse()?;
    let dressed = option("--dressed", "no") == "yes";
    let print_mean = option("--mean", "no") == "yes";
    let device = Device::default();
    let assets = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../assets/face"));
    let detector = Mtcnn::load(&assets.join("mtcnn.safetensors"), MtcnnConfig::default(), &device)?;
    let mut recognisers = vec![Recogniser::load(&assets.join("dlib_resnet.safetensors"), &device)?];
    let other = option("--mobilefacenet", "");
    if !other.is_empty() {
        recognisers.push(Recogniser::load(&PathBuf::from(other), &device)?);
    }

    let mut seen = Vec::new();
    let mut errors = Vec::new();
    for identity in 0..identities {
        let group = groups[identity % groups.len()];
        let mut person = Person::from_seed(first + identity as u64, group);
        if !dressed {
            person.glasses = None;
        }
        let mut random = ChaCha8Rng::seed_from_u64(identity as u64);
        for _ in 0..pictures {
            let mut scene = scene(&mut random, person.clone());
            if dressed {
                let colour = NamedColour::ALL[random.random_range(0..12)];
                scene.hat = Some(Hat { kind: HatKind::ALL[random.random_range(0..4)], colour });
            }
            let set = Set::new(&scene);
            let picture = set.shoot(&moment(&mut random, 0.52), SIZE);
            let pixels = RgbPixels::new(SIZE.width, SIZE.height, &picture.rgb);
            let faces = detector.detect(&pixels);
            let embeddings = faces.first().map(|face| {
                errors.push(landmark_error(&face.landmarks, &picture.landmarks, picture.face_box));
                let embed = |recogniser: &Recogniser| {
                    let chip = recogniser.chip().cut(&pixels, &face.landmarks, &device)?;
                    recogniser.embed(chip.unsqueeze()).into_data().try_to_vec::<f32>().ok()
                };
                recognisers.iter().filter_map(embed).collect::<Vec<_>>()
            });
            seen.push(Seen { identity, embeddings });
        }
        eprint!("\r{} of {identities} identities", identity + 1);
    }
    eprintln!();

    let mut out = std::io::stdout().lock();
    let found = seen.iter().filter(|picture| picture.embeddings.is_some()).count();
    writeln!(out, "{} pictures of {identities} identities, faces found in {found}", seen.len())?;
    for (index, recogniser) in recognisers.iter().enumerate() {
        let vectors: Vec<(usize, &[f32])> =
            seen.iter().filter_map(|one| Some((one.identity, &*one.embeddings.as_ref()?[index]))).collect();
        let centre = centre(&vectors);
        for (from, origin) in [("", vec![0.0; centre.len()]), (" from the mean", centre.clone())] {
            let (same, different) = cosines(&vectors, &origin);
            let mean = |values: &[f32]| values.iter().sum::<f32>() / values.len().max(1) as f32;
            writeln!(
                out,
                "{:28} same {:.3}  different {:.3}  AUC {:.4}",
                format!("{}{from}", recogniser.name()),
                mean(&same),
                mean(&different),
                auc(&same, &different)
            )?;
        }
        if print_mean {
            writeln!(out, "{:?}", centre.iter().map(|x| (x * 1e3).round() / 1e3).collect::<Vec<_>>())?;
        }
    }
    report_landmarks(&mut out, "detected faces within 30°", &mut errors)?;

    let mut wide = Vec::new();
    let mut random = ChaCha8Rng::seed_from_u64(7);
    let total = identities.max(100);
    for number in 0..total {
        let person = Person::from_seed(2_000_000 + number as u64, groups[number % groups.len()]);
        let picture = Set::new(&scene(&mut random, person)).shoot(&moment(&mut random, 0.785), SIZE);
        if let Some(face) = detector.detect(&RgbPixels::new(SIZE.width, SIZE.height, &picture.rgb)).first() {
            wide.push(landmark_error(&face.landmarks, &picture.landmarks, picture.face_box));
        }
    }
    writeln!(out, "within 45°: faces found in {} of {total}", wide.len())?;
    report_landmarks(&mut out, "detected faces within 45°", &mut wide)?;
    Ok(())
}

fn scene(random: &mut ChaCha8Rng, person: Person) -> Scene {
    let colour = NamedColour::ALL[random.random_range(0..12)];
    let places = [
        Place::LivingRoom,
        Place::Kitchen,
        Place::Office,
        Place::Library,
        Place::Sky,
        Place::Park,
        Place::Street,
        Place::Plain(colour),
    ];
    Scene {
        person,
        outfit: Outfit {
            garment: Garment::ALL[random.random_range(0..8)],
            colour: NamedColour::ALL[random.random_range(0..12)],
        },
        hat: None,
        background: Background { place: places[random.random_range(0..places.len())], seed: random.random() },
        lighting: Lighting::ALL[random.random_range(0..8)],
        development: None,
    }
}

/// Any pose up to `most` of yaw, with a usual expression.
fn moment(random: &mut ChaCha8Rng, most: f32) -> Moment {
    let faces: [&[(&str, f32)]; 6] = [
        &[],
        &[("mouthSmileLeft", 0.7), ("mouthSmileRight", 0.7), ("cheekSquintLeft", 0.4), ("cheekSquintRight", 0.4)],
        &[("jawOpen", 0.35)],
        &[("browInnerUp", 0.6), ("browOuterUpLeft", 0.6), ("browOuterUpRight", 0.6), ("jawOpen", 0.2)],
        &[("browDownLeft", 0.6), ("browDownRight", 0.6)],
        &[("mouthPucker", 0.4)],
    ];
    let mut expression = vec![0.0; EXPRESSION_UNITS.len()];
    for (name, weight) in faces[random.random_range(0..faces.len())] {
        let unit = EXPRESSION_UNITS.iter().position(|unit| unit == name);
        expression[unit.unwrap_or_default()] = weight * random.random_range(0.5f32..1.0);
    }
    Moment {
        pose: HeadPose {
            yaw: random.random_range(-most..most),
            pitch: random.random_range(-0.22..0.22),
            roll: random.random_range(-0.18..0.18),
        },
        gaze: Gaze { yaw: random.random_range(-0.25..0.25), pitch: random.random_range(-0.12..0.12) },
        expression,
        sway: [random.random_range(-0.02..0.02), random.random_range(-0.02..0.02), 0.0],
        camera: Camera { field_of_view: 0.42, distance: random.random_range(0.9..1.25), right: 0.0, up: 0.0 },
    }
}

/// The mean of all vectors.
fn centre(vectors: &[(usize, &[f32])]) -> Vec<f32> {
    let mut sum = vec![0.0; vectors.first().map_or(0, |(_, vector)| vector.len())];
    for (_, vector) in vectors {
        sum.iter_mut().zip(*vector).for_each(|(sum, x)| *sum += x / vectors.len() as f32);
    }
    sum
}

/// Cosines of all pairs, seen from `origin`: of the same identity and of different ones.
fn cosines(vectors: &[(usize, &[f32])], origin: &[f32]) -> (Vec<f32>, Vec<f32>) {
    let (mut same, mut different) = (Vec::new(), Vec::new());
    for (number, (one, a)) in vectors.iter().enumerate() {
        for (two, b) in &vectors[number + 1..] {
            let group = if one == two { &mut same } else { &mut different };
            group.push(cosine(a, b, origin));
        }
    }
    (same, different)
}

fn cosine(a: &[f32], b: &[f32], origin: &[f32]) -> f32 {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).zip(origin).map(|((x, y), o)| (x - o) * (y - o)).sum::<f32>();
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
}

/// Chance that a pair of the same identity is more alike than one of different identities.
fn auc(same: &[f32], different: &[f32]) -> f64 {
    let mut all: Vec<(f32, bool)> =
        same.iter().map(|&value| (value, true)).chain(different.iter().map(|&value| (value, false))).collect();
    all.sort_by(|a, b| a.0.total_cmp(&b.0));
    let (mut below, mut sum) = (0u64, 0u64);
    for (_, same) in all {
        if same { sum += below } else { below += 1 }
    }
    sum as f64 / (same.len() as f64 * different.len() as f64)
}

/// Distance of each landmark from the true one, against the mean side of the face's box.
fn landmark_error(found: &[[f32; 2]; 5], truth: &[[f32; 2]; 5], face: [f32; 4]) -> [f32; 5] {
    let side = (face[2] - face[0] + face[3] - face[1]) / 2.0;
    [0, 1, 2, 3, 4].map(|mark| (found[mark][0] - truth[mark][0]).hypot(found[mark][1] - truth[mark][1]) / side)
}

fn report_landmarks(out: &mut impl Write, what: &str, errors: &mut [[f32; 5]]) -> std::io::Result<()> {
    let names = ["left eye", "right eye", "nose", "left mouth", "right mouth"];
    for (mark, name) in names.iter().enumerate() {
        errors.sort_by(|a, b| a[mark].total_cmp(&b[mark]));
        let at = |share: f64| {
            errors
                .get(((errors.len() as f64 * share) as usize).min(errors.len().saturating_sub(1)))
                .map_or(0.0, |error| error[mark])
        };
        let mean = errors.iter().map(|error| error[mark]).sum::<f32>() / errors.len().max(1) as f32;
        writeln!(
            out,
            "{what}, {name}: mean {:.1} %, median {:.1} %, 95 of 100 within {:.1} % of the face",
            100.0 * mean,
            100.0 * at(0.5),
            100.0 * at(0.95)
        )?;
    }
    Ok(())
}
