//! Held-out people who do not exist, to score a small model on: photos, prompts, and clips that are true.
//!
//! The people are identities of the test split of a data set, so training on it has seen none of them. Everybody is drawn
//! anew: photos, and clips under another pose, light, place, in other clothes. Truth is a model like any other: `truth` is
//! what a perfect model of pixels would make of a prompt, `truth-vae` what the backbone's autoencoder leaves of that.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use burn::tensor::Device;
use image::RgbImage;
use magicmirror_media::{Provenance, write_png, write_video};
use magicmirror_models::face::detector::{FaceDetector, RgbPixels};
use magicmirror_models::face::mtcnn::Mtcnn;
use magicmirror_models::vae::{Tiling, Vae, denoiser_layout_from_vae, vae_layout_from_denoiser};
use magicmirror_models::weights::{Names, Precision, write_aside};
use magicmirror_people::Person;
use magicmirror_people::captions::{backdrop_colour, caption};
use magicmirror_people::graph::{Choices, SceneGraph};
use magicmirror_people::scene::{Group, Lighting, Place, Size};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::consistency::without_trigger;
use super::manifest::Entry;
use crate::EngineError;
use crate::backbone::{Backbone, Part};
use crate::dataset::{Dataset, Recipe, Split, shoot};
use crate::event::{Control, Stage};
use crate::files::sha256;
use crate::frames::{frames_from_rgb, rgb_from_frames};
use crate::identity::load_detector;

/// Smallest face that must be found on a photo, in pixels.
const MIN_FACE: usize = 20;
/// Clips of one person: a photo must be unlike each.
const MOST_CLIPS: usize = 4;
/// Photos drawn for one that shows a face: not every one does.
const TRIES: usize = 20;

/// Whom to draw, for which model.
#[derive(Debug, Clone)]
pub struct PeopleRequest {
    /// Data set that the model was trained on: says who was held out.
    pub data: PathBuf,
    /// Pipeline folder: its size, length and frame rate, and its autoencoder.
    pub backbone: PathBuf,
    /// Folder to write.
    pub output: PathBuf,
    /// How many people.
    pub identities: usize,
    /// Clips of each person: every other one before a plain backdrop whose colour the prompt names.
    pub clips: usize,
    /// Photos of each person.
    pub references: usize,
    /// Chooses scenes and words; the seeds of the videos count on from it.
    pub seed: u64,
    /// Name of the model that will make the videos.
    pub model: String,
}

/// What was written.
#[derive(Debug, Clone)]
pub struct PeopleSet {
    /// For `generate --manifest`: the model's videos, and those of the plain backbone.
    pub manifest: PathBuf,
    /// For `evaluate`: the clips themselves, and through the autoencoder.
    pub truth: PathBuf,
    /// How many clips there are.
    pub clips: usize,
}

/// Draws people and clips, and writes two manifests: what is to be generated, and the truth to compare with.
///
/// # Errors
/// When data set or backbone cannot be read, fewer people were held out, or a file cannot be written.
pub fn write_people(
    request: &PeopleRequest,
    device: &Device,
    control: &mut Control<'_>,
) -> Result<PeopleSet, EngineError> {
    let recipe = Dataset::open(&request.data)?.recipe().clone();
    let members = recipe.members(Split::Test);
    request.check(members.len())?;
    let studio = Studio::open(request, &recipe, device)?;
    let folder = &request.output;
    std::fs::create_dir_all(folder).map_err(EngineError::io(folder))?;
    let clips = request.identities * request.clips;
    let (mut to_make, mut truth) = (String::new(), String::new());
    control.stage(Stage::DrawPeople, clips as f64, |control| {
        for (place, &number) in members[..request.identities].iter().enumerate() {
            let mut sitting = Sitting::new(request, &recipe.choices, number);
            let references = studio.write_references(&mut sitting)?;
            for (clip, scene) in sitting.scenes.iter().enumerate() {
                let index = place * request.clips + clip;
                let (frames, caption) = studio.shoot(&sitting.person, scene, request.seed, index);
                let passed = studio.through_autoencoder(&frames, control)?;
                let name = format!("{number}-{}", clip + 1);
                let entry = |model: &str, references: &[PathBuf], prompt: &str| Entry {
                    video: Path::new(model).join(&name),
                    references: references.to_vec(),
                    prompt: Some(prompt.to_owned()),
                    model: model.to_owned(),
                    identity: number.to_string(),
                    seed: Some(request.seed + index as u64),
                };
                for (model, frames) in [("truth", &frames), ("truth-vae", &passed)] {
                    studio.write_clip(&folder.join(model).join(&name), frames)?;
                    truth += &entry(model, &references, &caption).to_line();
                }
                to_make += &entry(&request.model, &references, &caption).to_line();
                // Without photos it is the plain backbone's; by its identity it is judged all the same.
                to_make += &entry("backbone", &[], &without_trigger(&caption)).to_line();
                if control.advance(Stage::DrawPeople, (index + 1) as f64).is_break() {
                    return Err(EngineError::Cancelled);
                }
            }
        }
        Ok(())
    })?;
    let set = PeopleSet { manifest: folder.join("manifest.jsonl"), truth: folder.join("truth.jsonl"), clips };
    write_aside(&set.truth, truth.as_bytes())?;
    write_aside(&set.manifest, to_make.as_bytes())?;
    Ok(set)
}

impl PeopleRequest {
    fn check(&self, held_out: usize) -> Result<(), EngineError> {
        for (option, value, most, what) in [
            ("--identities", self.identities, held_out, "the people of the data set's test split"),
            ("--clips", self.clips, MOST_CLIPS, "or no photo is unlike all clips"),
            ("--references", self.references, 16, "sixteen"),
        ] {
            if !(1..=most).contains(&value) {
                return Err(EngineError::OutOfRange {
                    option,
                    value: value.to_string(),
                    rule: format!("be from 1 to {most}, {what}"),
                    hint: "a data set that is made with more --identities or a larger --test holds out more".into(),
                });
            }
        }
        if ["truth", "truth-vae", "backbone"].contains(&self.model.as_str()) {
            return Err(EngineError::options(
                format!("--model {}: this name is taken", self.model),
                "truth, truth-vae and backbone are what the model is compared with",
            ));
        }
        Ok(())
    }
}

/// One person, and the scenes of their clips.
struct Sitting {
    number: u64,
    person: Person,
    scenes: Vec<SceneGraph>,
    choices: Choices,
    random: ChaCha8Rng,
}

impl Sitting {
    fn new(request: &PeopleRequest, choices: &Choices, number: u64) -> Self {
        let group = Recipe::group(number);
        let mut random = ChaCha8Rng::seed_from_u64(request.seed);
        random.set_stream(number);
        let scenes =
            (0..request.clips).map(|clip| scene(group, choices, clip.is_multiple_of(2), &mut random)).collect();
        Self { number, person: Person::from_seed(number, group), scenes, choices: choices.clone(), random }
    }

    /// A scene for a photo that is unlike every clip.
    fn photo(&mut self) -> SceneGraph {
        loop {
            let photo = self.scenes[0].reference(&self.choices, self.random.random());
            let unlike = |clip: &SceneGraph| {
                (photo.background.place != clip.background.place)
                    && (self.choices.few_lights() || photo.lighting != clip.lighting)
                    && photo.outfit != clip.outfit
                    && (self.choices.one_facing() || photo.facing != clip.facing)
            };
            if self.scenes.iter().all(unlike) {
                return photo;
            }
        }
    }
}

/// Scenes drawn for one that is as wished: some choices, as that of one lighting, allow none.
const MOST_SCENES: usize = 1000;

/// A clip's scene, if wished before a plain backdrop in a light that leaves colours as they are; any scene where the
/// choices allow none that is as wished.
fn scene(group: Group, choices: &Choices, plain: bool, random: &mut ChaCha8Rng) -> SceneGraph {
    let white = [Lighting::SoftDaylight, Lighting::Window, Lighting::Studio];
    let fits = |scene: &SceneGraph| {
        let is_plain = matches!(scene.background.place, Place::Plain(_));
        is_plain == plain && (!plain || white.contains(&scene.lighting))
    };
    let mut draw = || SceneGraph::clip(group, choices, random.random());
    let found = (0..MOST_SCENES).map(|_| draw()).find(fits);
    found.unwrap_or_else(draw)
}

/// All that draws.
struct Studio {
    folder: PathBuf,
    size: Size,
    times: Vec<f32>,
    fps: f64,
    reference_size: Size,
    references: usize,
    detector: Mtcnn,
    vae: Vae,
    device: Device,
    provenance: Provenance,
}

impl Studio {
    fn open(request: &PeopleRequest, recipe: &Recipe, device: &Device) -> Result<Self, EngineError> {
        let backbone = Backbone::open(&request.backbone)?;
        let (height, width, frames) = backbone.trained_size();
        let fps = backbone.fps();
        let weights = backbone.weights(Part::Vae)?;
        let (vae, _) =
            weights.load(Names::default(), Precision::F32, device, |params| Vae::new(&backbone.vae, params))?;
        Ok(Self {
            folder: request.output.clone(),
            size: Size { width, height },
            times: (0..frames).map(|frame| (frame as f64 / fps) as f32).collect(),
            fps,
            reference_size: Size { width: recipe.reference_size, height: recipe.reference_size },
            references: request.references,
            detector: load_detector(MIN_FACE)?,
            vae,
            device: device.clone(),
            provenance: Provenance {
                generator: concat!("MagicMirror ", env!("CARGO_PKG_VERSION")).into(),
                description: "A drawn person who does not exist.".into(),
                settings_sha256: sha256(
                    format!("{} {:?} {recipe:?}", request.seed, (width, height, frames)).as_bytes(),
                ),
            },
        })
    }

    /// Frames and prompt of a clip.
    fn shoot(&self, person: &Person, scene: &SceneGraph, seed: u64, index: usize) -> (Vec<RgbImage>, String) {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        random.set_stream(u64::MAX - index as u64);
        let names_colour = matches!(scene.background.place, Place::Plain(_));
        let caption = loop {
            let caption = caption(scene, random.random());
            if !names_colour || backdrop_colour(&caption).is_some() {
                break caption;
            }
        };
        (shoot(person, scene, random.random(), &self.times, self.size).0, caption)
    }

    /// Writes a person's photos, those in which the detector finds a face; returns their paths from the folder.
    fn write_references(&self, sitting: &mut Sitting) -> Result<Vec<PathBuf>, EngineError> {
        let folder = self.folder.join("references");
        std::fs::create_dir_all(&folder).map_err(EngineError::io(&folder))?;
        let mut paths = Vec::new();
        for photo in 0..self.references {
            let image = self.photo(sitting)?;
            let name = format!("{}-{}.png", sitting.number, photo + 1);
            write_png(folder.join(&name), &image)?;
            paths.push(Path::new("references").join(name));
        }
        Ok(paths)
    }

    /// A photo that shows a face: a large hat may hide one.
    fn photo(&self, sitting: &mut Sitting) -> Result<RgbImage, EngineError> {
        for _ in 0..TRIES {
            let scene = sitting.photo();
            let image =
                shoot(&sitting.person, &scene, sitting.random.random(), &[0.0], self.reference_size).0.remove(0);
            let pixels = RgbPixels::new(image.width() as usize, image.height() as usize, image.as_raw());
            if !self.detector.detect(&pixels).is_empty() {
                return Ok(image);
            }
        }
        let hint = "photos of data sets are 256 pixels high; this one's may be too small";
        Err(EngineError::options(format!("no face is found on {TRIES} photos of person {}", sitting.number), hint))
    }

    /// Encoded to the mean of the posterior, and decoded.
    fn through_autoencoder(
        &self,
        frames: &[RgbImage],
        control: &mut Control<'_>,
    ) -> Result<Vec<RgbImage>, EngineError> {
        let cancelled = control.cancelled();
        let mut go_on = |_, _| {
            if cancelled.load(Ordering::Relaxed) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        let input = vae_layout_from_denoiser(frames_from_rgb(frames, &self.device).unsqueeze::<5>());
        let latents = self.vae.encoder.encode(input, Tiling::Off, &mut go_on)?.mean;
        let decoded = self.vae.decoder.decode(latents, Tiling::Off, &mut go_on)?;
        let decoded = denoiser_layout_from_vae((decoded / 2.0 + 0.5).clamp(0.0, 1.0)).squeeze_dim(0);
        let mut decoded = rgb_from_frames(decoded);
        decoded.truncate(frames.len());
        Ok(decoded)
    }

    fn write_clip(&self, path: &Path, frames: &[RgbImage]) -> Result<(), EngineError> {
        Ok(write_video(path, frames, self.fps, &self.provenance)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scenes_are_as_wished_where_the_choices_allow_it() {
        let random = &mut ChaCha8Rng::seed_from_u64(1);
        let free = Choices::default();
        for plain in [true, false] {
            let scene = scene(Group::Man, &free, plain, random);
            assert_eq!(matches!(scene.background.place, Place::Plain(_)), plain);
        }
        for lighting in Lighting::ALL {
            let choices = Choices { lightings: vec![lighting], ..Choices::default() };
            for plain in [true, false] {
                assert_eq!(scene(Group::Man, &choices, plain, random).lighting, lighting);
            }
        }
    }
}
