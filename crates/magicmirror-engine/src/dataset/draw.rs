//! One sample: a pure function of the recipe, its split and its index.

use std::path::Path;

use magicmirror_media::{MediaError, RgbImage, encode_mp4, encode_png};
use magicmirror_people::captions::caption;
use magicmirror_people::development::Development;
use magicmirror_people::graph::SceneGraph;
use magicmirror_people::scene::{Moment, Picture, Size};
use magicmirror_people::{Person, Scene, Set};
use rand::Rng;

use super::{DatasetError, Identity, Kind, Mask, Metadata, Recipe, Reference, Split, Truth};

/// A sample as it is stored.
pub(super) struct Drawn {
    /// What the names of its files begin with.
    pub(super) key: String,
    /// Extension and content of each file, sorted by extension.
    pub(super) files: Vec<(String, Vec<u8>)>,
    /// How many pictures were drawn for it.
    pub(super) pictures: usize,
}

pub(super) fn key(kind: Kind, split: Split, index: u64) -> String {
    format!("{}-{}-{index:07}", split.name(), kind.name())
}

/// How many pictures a sample of this kind takes, in the mean.
pub(super) fn pictures(recipe: &Recipe, kind: Kind) -> f64 {
    match kind {
        Kind::Pair => 2.0,
        Kind::Clip => recipe.frames as f64 + 2.5,
    }
}

/// Draws a sample; `members` are the identities of its split.
pub(super) fn draw(
    recipe: &Recipe,
    kind: Kind,
    split: Split,
    index: u64,
    members: &[u64],
) -> Result<Drawn, DatasetError> {
    let random = &mut recipe.random(kind, split, index);
    let number = members[(index % members.len() as u64) as usize];
    let group = Recipe::group(number);
    let person = Person::from_seed(number, group);
    let (scene, count, key_frames) = match kind {
        Kind::Pair => (SceneGraph::picture(group, &recipe.choices, random.random()), 1, vec![0]),
        Kind::Clip => {
            let references: usize = random.random_range(1..=4);
            let key_frame = |reference| (2 * reference + 1) * (recipe.frames - 1) / (2 * references);
            let scene = SceneGraph::clip(group, &recipe.choices, random.random());
            (scene, recipe.frames, (0..references).map(key_frame).collect())
        }
    };
    let times: Vec<f32> = (0..count).map(|frame| (frame as f64 / recipe.fps) as f32).collect();
    let caption = caption(&scene, random.random());
    let (images, frames) = shoot(&person, &scene, random.random(), &times, recipe.size);

    let mut references = Vec::new();
    let mut photos = Vec::new();
    let size = Size { width: recipe.reference_size, height: recipe.reference_size };
    for key_frame in key_frames {
        let scene = scene.reference(&recipe.choices, random.random());
        let (mut images, mut truths) = shoot(&person, &scene, random.random(), &[0.0], size);
        photos.append(&mut images);
        references.extend(truths.drain(..).map(|truth| Reference { key_frame, scene, size, truth }));
    }
    let metadata = Metadata {
        synthetic: true,
        kind,
        split,
        index,
        identity: Identity { number, group },
        caption,
        scene,
        size: recipe.size,
        fps: (kind == Kind::Clip).then_some(recipe.fps),
        frames,
        references,
    };
    pack(key(kind, split, index), &metadata, &images, &photos, recipe.fps)
}

/// Pictures of one scene at these times, in seconds.
pub(crate) fn shoot(
    person: &Person,
    graph: &SceneGraph,
    seed: u64,
    times: &[f32],
    size: Size,
) -> (Vec<RgbImage>, Vec<Truth>) {
    let set = Set::new(&Scene {
        person: person.clone(),
        outfit: graph.outfit,
        hat: graph.hat,
        background: graph.background,
        lighting: graph.lighting,
        development: graph.development.map(Development::from_seed),
    });
    let duration = times.last().copied().unwrap_or_default().max(1.0);
    let clip = graph.perform(seed, duration, size.width as f32 / size.height as f32);
    times
        .iter()
        .map(|&time| {
            let moment = clip.moment(time);
            let picture = set.shoot(&moment, size);
            let truth = truth(&picture, &moment);
            let image = RgbImage::from_raw(size.width as u32, size.height as u32, picture.rgb);
            (image.expect("a picture has three bytes for each pixel"), truth)
        })
        .unzip()
}

fn truth(picture: &Picture, moment: &Moment) -> Truth {
    Truth {
        face_box: picture.face_box.map(hundredths),
        landmarks: picture.landmarks.map(|point| point.map(hundredths)),
        mask: Mask::from_coverage(&picture.face_mask, picture.size.width, picture.size.height),
        pose: moment.pose,
        gaze: moment.gaze,
        camera: moment.camera,
    }
}

/// A hundredth of a pixel is enough, and short to write.
fn hundredths(value: f32) -> f32 {
    (value * 100.0).round() / 100.0
}

fn pack(
    key: String,
    metadata: &Metadata,
    images: &[RgbImage],
    photos: &[RgbImage],
    fps: f64,
) -> Result<Drawn, DatasetError> {
    let target = match metadata.kind {
        Kind::Pair => encode_png(Path::new("png"), &images[0]).map(|bytes| ("png".to_owned(), bytes)),
        Kind::Clip => encode_mp4(Path::new("mp4"), images, fps).map(|bytes| ("mp4".to_owned(), bytes)),
    };
    let photos = photos.iter().enumerate().map(|(index, photo)| {
        let name = format!("reference{index}.png");
        encode_png(Path::new(&name), photo).map(|bytes| (name, bytes))
    });
    let encoded: Result<Vec<_>, MediaError> = std::iter::once(target).chain(photos).collect();
    let mut files = encoded.map_err(|source| DatasetError::Picture { key: key.clone(), source })?;
    files.push(("json".into(), serde_json::to_vec(metadata).expect("metadata is plain data")));
    files.push(("txt".into(), metadata.caption.clone().into_bytes()));
    files.sort();
    Ok(Drawn { key, files, pictures: images.len() + metadata.references.len() })
}
