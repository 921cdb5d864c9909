//! From examples to cached latents, text embeddings and face features.

use std::collections::HashSet;
use std::fs::File;
use std::io::Write;
use std::path::Path;

use burn::tensor::{DType, Device, Int, Tensor, TensorData};
use magicmirror_models::adapter::{AdapterConfig, FaceFeatures, expand_class_word};
use magicmirror_models::text::T5Encoder;
use magicmirror_models::vae::{Tiling, VaeEncoder, denoiser_layout_from_vae, vae_layout_from_denoiser};
use magicmirror_models::weights::Precision;
use serde_json::json;
use sha2::{Digest, Sha256};

use super::TrainError;
use super::cache::{Cache, CacheKey};
use super::data::{Example, Examples, FrameSize};
use super::item::{Bucket, Item};
use crate::EngineError;
use crate::backbone::{Backbone, Part};
use crate::event::{Control, Stage};
use crate::files::sha256_of_files;
use crate::frames::frames_from_rgb;
use crate::identity::{Encoders, FaceOptions, FaceReader};

/// Everything that decides what is cached, besides the data.
pub(super) struct Preparation<'a> {
    pub(super) backbone: &'a Backbone,
    pub(super) adapter: &'a AdapterConfig,
    pub(super) encoders: &'a Encoders,
    pub(super) precision: Precision,
    pub(super) device: &'a Device,
    pub(super) cache: Cache,
    pub(super) sizes: &'a [FrameSize],
    /// Largest part of the examples that may be broken.
    pub(super) most_bad: f64,
    /// Where broken examples are listed, as JSON Lines.
    pub(super) skipped: &'a Path,
    hashes: Hashes,
}

/// Hashes of networks: weights and configuration.
struct Hashes {
    vae: String,
    text: String,
    faces: String,
}

impl<'a> Preparation<'a> {
    #[expect(clippy::too_many_arguments, reason = "each is a field")]
    pub(super) fn new(
        backbone: &'a Backbone,
        adapter: &'a AdapterConfig,
        encoders: &'a Encoders,
        precision: Precision,
        device: &'a Device,
        cache: Cache,
        sizes: &'a [FrameSize],
        most_bad: f64,
        skipped: &'a Path,
    ) -> Result<Self, EngineError> {
        let folder = |part: Part| -> Result<String, EngineError> {
            let mut files = backbone.weights(part)?.files().to_vec();
            files.push(backbone.folder.join(part.folder()).join("config.json"));
            Ok(format!("{} {precision:?}", sha256_of_files(&files)?))
        };
        let hashes = Hashes { vae: folder(Part::Vae)?, text: folder(Part::TextEncoder)?, faces: encoders.sha256()? };
        Ok(Self { backbone, adapter, encoders, precision, device, cache, sizes, most_bad, skipped, hashes })
    }

    /// Reads all examples once, then computes what is not cached yet: text, latents, faces, one network after the other.
    /// Broken examples are listed and left out.
    ///
    /// # Errors
    /// [`TrainError::TooManyBad`], or when a network or the cache cannot be read or written, or the run should stop.
    pub(super) fn run(
        &self,
        examples: &dyn Examples,
        frames: usize,
        control: &mut Control<'_>,
    ) -> Result<Vec<Item>, EngineError> {
        control.stage(Stage::PrepareData, 4.0 * examples.len() as f64, |control| {
            let found = self.find(examples, frames, control)?;
            self.encode_texts(&found, examples, control)?;
            self.encode_latents(&found, examples, frames, control)?;
            let bad = self.encode_faces(&found, examples, frames, control)?;
            Ok(found.into_iter().filter(|item| !bad.contains(&item.index)).map(|found| found.item).collect())
        })
    }

    /// Everything of an example but what networks compute.
    fn example(&self, examples: &dyn Examples, index: usize, frames: usize) -> Result<Example, String> {
        let example = examples.get(index).map_err(|error| error.to_string())?;
        example.fit(self.sizes, frames)
    }

    fn find(
        &self,
        examples: &dyn Examples,
        frames: usize,
        control: &mut Control<'_>,
    ) -> Result<Vec<Found>, EngineError> {
        let tokenizer = self.backbone.tokenizer()?;
        let length = self.backbone.dit.max_text_seq_length;
        let mut skipped = Skipped::new(self, examples.len());
        let mut items = Vec::new();
        for index in 0..examples.len() {
            advance(control, index)?;
            let prompt = self.example(examples, index, frames).and_then(|example| {
                let repeats = self.adapter.class_word_repeats(example.references.len());
                let expanded = expand_class_word(&example.caption, &self.adapter.trigger_word, repeats)
                    .map_err(|error| error.to_string())?;
                let encoding = tokenizer.encode(&expanded.text, length).map_err(|error| error.to_string())?;
                let mask = expanded.class_token_mask(encoding.offsets(), length).map_err(|error| error.to_string())?;
                Ok((example, encoding.ids, mask))
            });
            match prompt {
                Err(reason) => skipped.add(&examples.key(index), &reason)?,
                Ok((example, ids, mask)) => {
                    self.backbone.check_tokens(&ids)?;
                    let item = self.item(&example, &ids, &mask);
                    self.put_truth(&item.truth, &example)?;
                    items.push(Found { index, item, ids, mask });
                }
            }
        }
        Ok(items)
    }

    fn item(&self, example: &Example, ids: &[u32], mask: &[bool]) -> Item {
        let frames = digest(example.frames.iter().map(|frame| &frame.as_raw()[..]));
        let (width, height) = example.frames[0].dimensions();
        let size = FrameSize { width: width as usize, height: height as usize };
        let shape = format!("{width}x{height}x{}", example.frames.len());
        let ids: Vec<u8> = ids.iter().flat_map(|id| id.to_le_bytes()).collect();
        let mask: Vec<u8> = mask.iter().map(|&marked| u8::from(marked)).collect();
        let truth: Vec<u8> = example
            .faces
            .iter()
            .flat_map(|face| match face {
                None => vec![0],
                Some(face) => {
                    let points = face.landmarks.iter().flatten().flat_map(|value| value.to_le_bytes());
                    points.chain(digest([&face.mask[..]])).collect()
                }
            })
            .collect();
        let scale = format!("{}/{}", self.backbone.spatial_compression(), self.backbone.vae.temporal_compression_ratio);
        let faces = example.references.iter().map(|photo| {
            let known = format!("{:?} {:?}", photo.image.dimensions(), photo.face);
            let parts = ["faces", &self.hashes.faces, &known].map(str::as_bytes);
            CacheKey::new(&[parts[0], parts[1], parts[2], &digest([&photo.image.as_raw()[..]])])
        });
        Item {
            latents: CacheKey::new(&[b"latents", self.hashes.vae.as_bytes(), shape.as_bytes(), &frames]),
            truth: CacheKey::new(&[b"truth", scale.as_bytes(), shape.as_bytes(), &truth]),
            text: CacheKey::new(&[b"text", self.hashes.text.as_bytes(), &ids, &mask]),
            faces: faces.collect(),
            bucket: Bucket { size, frames: example.frames.len(), references: example.references.len() },
        }
    }

    /// Face region on the latent grid, and landmarks.
    fn put_truth(&self, key: &CacheKey, example: &Example) -> Result<(), EngineError> {
        if self.cache.holds(key) {
            return Ok(());
        }
        let (scale, ratio) = (self.backbone.spatial_compression(), self.backbone.vae.temporal_compression_ratio);
        let (width, height) = example.frames[0].dimensions();
        let (columns, rows) = (width as usize / scale, height as usize / scale);
        let frames = example.frames.len();
        let latent_frames = (frames - 1) / ratio + 1;
        let mut region = vec![0f32; latent_frames * rows * columns];
        for (frame, face) in example.faces.iter().enumerate() {
            let Some(face) = face else { continue };
            // The first latent frame stands for one frame, all others for `ratio`.
            let (latent, share) = if frame == 0 { (0, 1.0) } else { (frame.div_ceil(ratio), ratio as f32) };
            let cells = &mut region[latent * rows * columns..(latent + 1) * rows * columns];
            for (pixel, covered) in face.mask.iter().enumerate() {
                let (row, column) = (pixel / width as usize / scale, pixel % width as usize / scale);
                if row < rows && column < columns {
                    cells[row * columns + column] += f32::from(*covered) / 255.0 / (share * (scale * scale) as f32);
                }
            }
        }
        let landmarks: Vec<f32> = example
            .faces
            .iter()
            .flat_map(|face| face.as_ref().map_or([[f32::NAN; 2]; 5], |face| face.landmarks))
            .flatten()
            .collect();
        self.cache.put(
            key,
            &[
                ("region", TensorData::new(region, [1, latent_frames, 1, rows, columns])),
                ("landmarks", TensorData::new(landmarks, [frames, 5, 2])),
            ],
        )
    }

    fn encode_texts(
        &self,
        found: &[Found],
        examples: &dyn Examples,
        control: &mut Control<'_>,
    ) -> Result<(), EngineError> {
        let missing = self.missing(found, |item| vec![&item.text]);
        if missing.is_empty() {
            return Ok(());
        }
        let weights = self.backbone.weights(Part::TextEncoder)?;
        let (encoder, _) = weights.load(T5Encoder::NAMES, self.precision, self.device, |params| {
            T5Encoder::new(&self.backbone.text, params)
        })?;
        for (done, found) in missing.into_iter().enumerate() {
            advance(control, examples.len() + done)?;
            let ids: Vec<i64> = found.ids.iter().map(|&id| i64::from(id)).collect();
            let ids = Tensor::<2, Int>::from_data(TensorData::new(ids, [1, found.ids.len()]), self.device);
            let mask: Vec<f32> = found.mask.iter().map(|&marked| f32::from(u8::from(marked))).collect();
            let mask = TensorData::new(mask, [found.mask.len()]);
            self.cache.put(&found.item.text, &[("text", half(encoder.forward(ids))), ("mask", mask)])?;
        }
        Ok(())
    }

    fn encode_latents(
        &self,
        found: &[Found],
        examples: &dyn Examples,
        frames: usize,
        control: &mut Control<'_>,
    ) -> Result<(), EngineError> {
        let missing = self.missing(found, |item| vec![&item.latents]);
        if missing.is_empty() {
            return Ok(());
        }
        let weights = self.backbone.weights(Part::Vae)?;
        let (encoder, _) = weights.load(VaeEncoder::NAMES, self.precision, self.device, |params| {
            VaeEncoder::new(&self.backbone.vae, params)
        })?;
        for (done, found) in missing.into_iter().enumerate() {
            advance(control, 2 * examples.len() + done)?;
            let example = self.again(examples, found, frames)?;
            let frames = frames_from_rgb(&example.frames, self.device).unsqueeze::<5>();
            let mut go_on = |_, _| std::ops::ControlFlow::Continue(());
            let posterior = encoder.encode(vae_layout_from_denoiser(frames), Tiling::Off, &mut go_on)?;
            let [mean, logvar] = [posterior.mean, posterior.logvar].map(|x| denoiser_layout_from_vae(x).into_data());
            self.cache.put(&found.item.latents, &[("mean", mean), ("logvar", logvar)])?;
        }
        Ok(())
    }

    /// Returns the examples in whose photos no face was found.
    fn encode_faces(
        &self,
        found: &[Found],
        examples: &dyn Examples,
        frames: usize,
        control: &mut Control<'_>,
    ) -> Result<HashSet<usize>, EngineError> {
        let missing = self.missing(found, |item| item.faces.iter().collect());
        let (mut bad, mut skipped) = (HashSet::new(), Skipped::new(self, examples.len()));
        if missing.is_empty() {
            return Ok(bad);
        }
        let reader = FaceReader::load(self.encoders, &FaceOptions::default(), self.device)?;
        for (done, found) in missing.into_iter().enumerate() {
            advance(control, 3 * examples.len() + done)?;
            let example = self.again(examples, found, frames)?;
            for (photo, key) in example.references.iter().zip(&found.item.faces) {
                if self.cache.holds(key) {
                    continue;
                }
                let face = photo.face.or_else(|| reader.largest_face(&photo.image));
                let features = face.map(|face| reader.features(&photo.image, &face)).transpose()?.flatten();
                let Some(features) = features else {
                    bad.insert(found.index);
                    skipped.add(&examples.key(found.index), "no face in a reference photo")?;
                    break;
                };
                let FaceFeatures { id_embeds, vision_last, vision_penultimate } = features;
                self.cache.put(
                    key,
                    &[
                        ("id_embeds", id_embeds.into_data()),
                        ("vision_last", half(vision_last)),
                        ("vision_penultimate", half(vision_penultimate)),
                    ],
                )?;
            }
        }
        Ok(bad)
    }

    /// Items of which something is not cached; each missing content once.
    fn missing<'f>(&self, found: &'f [Found], keys: impl Fn(&Item) -> Vec<&CacheKey>) -> Vec<&'f Found> {
        let mut seen = HashSet::new();
        let is_missing = |found: &&Found| {
            let new = |key: &CacheKey| !self.cache.holds(key) && seen.insert(key.clone());
            keys(&found.item).into_iter().map(new).fold(false, |any, one| any | one)
        };
        found.iter().filter(is_missing).collect()
    }

    /// An example that could be read a moment ago.
    fn again(&self, examples: &dyn Examples, found: &Found, frames: usize) -> Result<Example, EngineError> {
        self.example(examples, found.index, frames)
            .map_err(|reason| TrainError::DataChanged { key: examples.key(found.index), reason }.into())
    }
}

struct Found {
    index: usize,
    item: Item,
    ids: Vec<u32>,
    mask: Vec<bool>,
}

/// Counts and lists broken examples.
struct Skipped<'a> {
    path: &'a Path,
    count: usize,
    most: f64,
    all: usize,
}

impl<'a> Skipped<'a> {
    fn new(preparation: &Preparation<'a>, all: usize) -> Self {
        Self { path: preparation.skipped, count: 0, most: preparation.most_bad, all }
    }

    fn add(&mut self, key: &str, reason: &str) -> Result<(), EngineError> {
        self.count += 1;
        let mut file = File::options().create(true).append(true).open(self.path).map_err(EngineError::io(self.path))?;
        writeln!(file, "{}", json!({"key": key, "reason": reason})).map_err(EngineError::io(self.path))?;
        if self.count as f64 > self.most * self.all as f64 {
            return Err(TrainError::TooManyBad {
                count: self.count,
                all: self.all,
                key: key.to_owned(),
                reason: reason.to_owned(),
                list: self.path.to_owned(),
            }
            .into());
        }
        Ok(())
    }
}

fn advance(control: &mut Control<'_>, done: usize) -> Result<(), EngineError> {
    if control.advance(Stage::PrepareData, done as f64).is_break() { Err(EngineError::Cancelled) } else { Ok(()) }
}

fn digest<'b>(parts: impl IntoIterator<Item = &'b [u8]>) -> Vec<u8> {
    let mut hasher = Sha256::new();
    parts.into_iter().for_each(|part| hasher.update(part));
    hasher.finalize().to_vec()
}

/// Half the space; the networks that made these run in no more precision at full size.
fn half<const D: usize>(tensor: Tensor<D>) -> TensorData {
    tensor.into_data().convert_dtype(DType::BF16)
}
