//! From examples to cached latents, text embeddings and face features.

use std::collections::HashSet;

use burn::tensor::{DType, Device, Int, Tensor, TensorData};
use magicmirror_models::adapter::{AdapterConfig, FaceFeatures, expand_class_word};
use magicmirror_models::text::T5Encoder;
use magicmirror_models::vae::VaeEncoder;
use magicmirror_models::weights::Precision;
use sha2::{Digest, Sha256};

use super::cache::{Cache, CacheKey};
use super::data::{Example, Examples, FrameSize, TargetFace};
use super::finder::FaceFinder;
use super::item::{Bucket, Item};
use super::posterior::{network_hash, posterior_key, put_posterior};
use super::survey::{Refusal, Skipped, advance, changed, each, survey};
use crate::EngineError;
use crate::backbone::{Backbone, Part};
use crate::event::{Control, Stage};
use crate::identity::{Encoders, FaceOptions, FaceReader, built_in_weights_sha256};

/// Everything that decides what is cached, besides the data.
pub(super) struct Preparation<'a> {
    pub(super) backbone: &'a Backbone,
    pub(super) adapter: &'a AdapterConfig,
    pub(super) encoders: &'a Encoders,
    pub(super) precision: Precision,
    pub(super) device: &'a Device,
    pub(super) cache: Cache,
    pub(super) sizes: &'a [FrameSize],
    finder: FaceFinder,
    hashes: Hashes,
}

/// Hashes of networks: weights and configuration.
struct Hashes {
    vae: String,
    text: String,
    /// Also of the detector.
    faces: String,
}

impl<'a> Preparation<'a> {
    pub(super) fn new(
        backbone: &'a Backbone,
        adapter: &'a AdapterConfig,
        encoders: &'a Encoders,
        precision: Precision,
        device: &'a Device,
        cache: Cache,
        sizes: &'a [FrameSize],
    ) -> Result<Self, EngineError> {
        let network =
            |part: Part| network_hash(&backbone.weights(part)?, &backbone.folder.join(part.folder()), precision);
        let faces = format!("{} {}", encoders.sha256()?, built_in_weights_sha256());
        let hashes = Hashes { vae: network(Part::Vae)?, text: network(Part::TextEncoder)?, faces };
        let finder = FaceFinder::new(sizes);
        Ok(Self { backbone, adapter, encoders, precision, device, cache, sizes, finder, hashes })
    }

    /// Reads the first `count` examples once, then computes what is not cached yet: text, latents, faces, one network after
    /// the other. Broken examples are counted, listed and left out.
    ///
    /// # Errors
    /// When too many are broken, a network or the cache cannot be read or written, or the run should stop.
    pub(super) fn run(
        &self,
        examples: &dyn Examples,
        count: usize,
        frames: usize,
        skipped: &mut Skipped<'_>,
        control: &mut Control<'_>,
    ) -> Result<Vec<Item>, EngineError> {
        control.stage(Stage::PrepareData, 4.0 * count as f64, |control| {
            let found = self.find(examples, count, frames, skipped, control)?;
            self.encode_texts(&found, count, control)?;
            self.encode_latents(&found, examples, [count, frames], control)?;
            self.encode_faces(found, examples, [count, frames], skipped, control)
        })
    }

    fn find(
        &self,
        examples: &dyn Examples,
        count: usize,
        frames: usize,
        skipped: &mut Skipped<'_>,
        control: &mut Control<'_>,
    ) -> Result<Vec<Found>, EngineError> {
        let tokenizer = self.backbone.tokenizer()?;
        let length = self.backbone.dit.max_text_seq_length;
        survey(examples, count, 0, skipped, control, |index, example| {
            let example = example.fit(self.sizes, frames)?;
            let repeats = self.adapter.class_word_repeats(example.references.len());
            let expanded = expand_class_word(&example.caption, &self.adapter.trigger_word, repeats)
                .map_err(|error| error.to_string())?;
            let ids = tokenizer.encode(&expanded.text, length).map_err(|error| error.to_string())?;
            let mask = expanded.class_token_mask(ids.offsets(), length).map_err(|error| error.to_string())?;
            self.backbone.check_tokens(&ids.ids)?;
            let item = self.item(&example, &ids.ids, &mask);
            self.put_truth(&item.truth, &example)?;
            Ok(Found { index, item, ids: ids.ids, mask })
        })
    }

    fn item(&self, example: &Example, ids: &[u32], mask: &[bool]) -> Item {
        let (width, height) = example.frames[0].dimensions();
        let size = FrameSize { width: width as usize, height: height as usize };
        let shape = format!("{width}x{height}x{}", example.frames.len());
        let ids: Vec<u8> = ids.iter().flat_map(|id| id.to_le_bytes()).collect();
        let mask: Vec<u8> = mask.iter().map(|&marked| u8::from(marked)).collect();
        let one = |face: &Option<TargetFace>| match face {
            None => vec![0],
            Some(face) => {
                let points = face.landmarks.iter().flatten().flat_map(|value| value.to_le_bytes());
                points.chain(digest([&face.mask[..]])).collect()
            }
        };
        let frames = || digest(example.frames.iter().map(|frame| &frame.as_raw()[..]));
        let truth: Vec<u8> = match &example.faces {
            Some(faces) => faces.iter().flat_map(one).collect(),
            None => [&b"looked for"[..], self.finder.version().as_bytes(), &frames()].concat(),
        };
        let scale = format!("{}/{}", self.backbone.spatial_compression(), self.backbone.vae.temporal_compression_ratio);
        let faces = example.references.iter().map(|photo| {
            let known = format!("{:?} {:?}", photo.image.dimensions(), photo.face);
            let parts = ["faces as found", &self.hashes.faces, &known].map(str::as_bytes);
            CacheKey::new(&[parts[0], parts[1], parts[2], &digest([&photo.image.as_raw()[..]])])
        });
        Item {
            latents: posterior_key(&self.hashes.vae, &example.frames),
            truth: CacheKey::new(&[b"truth", scale.as_bytes(), shape.as_bytes(), &truth]),
            text: CacheKey::new(&[b"text", self.hashes.text.as_bytes(), &ids, &mask]),
            faces: faces.collect(),
            bucket: Bucket { size, frames: example.frames.len(), references: example.references.len() },
        }
    }

    /// Face region on the latent grid, and landmarks, of faces that are known or found now.
    fn put_truth(&self, key: &CacheKey, example: &Example) -> Result<(), Refusal> {
        if !self.cache.holds(key) {
            match &example.faces {
                Some(faces) => self.put_faces(key, example, faces)?,
                None => self.put_faces(key, example, &self.finder.find(&example.frames)?)?,
            }
        }
        if example.faces.is_none() {
            let [landmarks] = self.cache.get(key, ["landmarks"])?;
            if landmarks.iter::<f32>().all(f32::is_nan) {
                return Err(Refusal::Broken("no face is seen in it, or too small a face".into()));
            }
        }
        Ok(())
    }

    fn put_faces(&self, key: &CacheKey, example: &Example, faces: &[Option<TargetFace>]) -> Result<(), EngineError> {
        let (scale, ratio) = (self.backbone.spatial_compression(), self.backbone.vae.temporal_compression_ratio);
        let size = example.frames[0].dimensions();
        let (region, [latent_frames, rows, columns]) = TargetFace::region(faces, size, scale, ratio);
        let landmarks: Vec<f32> = faces
            .iter()
            .flat_map(|face| face.as_ref().map_or([[f32::NAN; 2]; 5], |face| face.landmarks))
            .flatten()
            .collect();
        self.cache.put(
            key,
            &[
                ("region", TensorData::new(region, [1, latent_frames, 1, rows, columns])),
                ("landmarks", TensorData::new(landmarks, [faces.len(), 5, 2])),
            ],
        )
    }

    fn encode_texts(&self, found: &[Found], count: usize, control: &mut Control<'_>) -> Result<(), EngineError> {
        let missing = self.missing(found, |item| vec![&item.text]);
        if missing.is_empty() {
            return Ok(());
        }
        let weights = self.backbone.weights(Part::TextEncoder)?;
        let (encoder, _) = weights.load(T5Encoder::NAMES, self.precision, self.device, |params| {
            T5Encoder::new(&self.backbone.text, params)
        })?;
        for (done, found) in missing.into_iter().enumerate() {
            advance(control, count + done)?;
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
        [count, frames]: [usize; 2],
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
        let values = self.again(examples, missing[0], frames)?.values();
        let encode = |found: &&Found| {
            let example = self.again(examples, found, frames)?;
            put_posterior(&self.cache, &found.item.latents, &encoder, &example.frames, self.device)
        };
        each(missing, values, 2 * count, control, encode, |_, ()| Ok(()))
    }

    /// Leaves out examples in whose photos no face is found.
    fn encode_faces(
        &self,
        found: Vec<Found>,
        examples: &dyn Examples,
        [count, frames]: [usize; 2],
        skipped: &mut Skipped<'_>,
        control: &mut Control<'_>,
    ) -> Result<Vec<Item>, EngineError> {
        let cached = |found: &Found| found.item.faces.iter().all(|key| self.cache.holds(key));
        if found.iter().all(cached) {
            return Ok(found.into_iter().map(|found| found.item).collect());
        }
        let reader = FaceReader::load(self.encoders, &FaceOptions::default(), self.device)?;
        let values = self.again(examples, &found[0], frames)?.values();
        let mut items = Vec::new();
        let encode = |found: &Found| {
            Ok(cached(found) || self.put_features(&found.item, &self.again(examples, found, frames)?, &reader)?)
        };
        each(found, values, 3 * count, control, encode, |found, all_shown| {
            if all_shown {
                items.push(found.item);
                return Ok(());
            }
            skipped.add(&examples.key(found.index), "no face in a reference photo")
        })?;
        Ok(items)
    }

    /// Whether there is a face in each reference photo.
    fn put_features(&self, item: &Item, example: &Example, reader: &FaceReader<'_>) -> Result<bool, EngineError> {
        for (photo, key) in example.references.iter().zip(&item.faces) {
            if self.cache.holds(key) {
                continue;
            }
            let face = reader.find(&photo.image, photo.face);
            let features = face.map(|face| reader.features(&photo.image, &face)).transpose()?.flatten();
            let Some(FaceFeatures { id_embeds, vision_last, vision_penultimate }) = features else { return Ok(false) };
            self.cache.put(
                key,
                &[
                    ("id_embeds", id_embeds.into_data()),
                    ("vision_last", half(vision_last)),
                    ("vision_penultimate", half(vision_penultimate)),
                ],
            )?;
        }
        Ok(true)
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
        let changed = |reason| changed(examples.key(found.index), reason);
        let example = examples.get(found.index).map_err(|error| changed(error.to_string()))?;
        example.fit(self.sizes, frames).map_err(changed)
    }
}

struct Found {
    index: usize,
    item: Item,
    ids: Vec<u32>,
    mask: Vec<bool>,
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
