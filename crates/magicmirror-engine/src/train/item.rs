//! One training example in the cache, and how a step reads it.

use burn::tensor::{DType, Device, Tensor, TensorData};
use magicmirror_models::adapter::FaceFeatures;

use super::FrameSize;
use super::cache::{Cache, CacheKey};
use crate::EngineError;

/// What is cached of one example, by name, and its size.
#[derive(Debug, Clone)]
pub(super) struct Item {
    pub(super) latents: CacheKey,
    pub(super) truth: CacheKey,
    pub(super) text: CacheKey,
    pub(super) faces: Vec<CacheKey>,
    pub(super) bucket: Bucket,
}

/// Examples of one bucket can be computed together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Bucket {
    pub(super) size: FrameSize,
    pub(super) frames: usize,
    pub(super) references: usize,
}

/// What one step reads of an example.
pub(super) struct Cached {
    /// Mean and logarithm of variance of the latents, `[1, frames, channels, height, width]`, not scaled.
    pub(super) mean: TensorData,
    pub(super) logvar: TensorData,
    /// `[1, tokens, width]`.
    pub(super) text: TensorData,
    pub(super) class_token_mask: Vec<bool>,
    pub(super) features: FaceFeatures,
    /// How far each latent pixel belongs to the face, `[1, frames, 1, height, width]`.
    pub(super) region: TensorData,
    /// Landmarks in each video frame, where there is a face.
    pub(super) landmarks: Vec<Option<[[f32; 2]; 5]>>,
}

impl Item {
    pub(super) fn read(&self, cache: &Cache, device: &Device) -> Result<Cached, EngineError> {
        let [mean, logvar] = cache.get(&self.latents, ["mean", "logvar"])?;
        let [region, landmarks] = cache.get(&self.truth, ["region", "landmarks"])?;
        let [text, mask] = cache.get(&self.text, ["text", "mask"])?;
        let faces = self.faces.iter().map(|key| cache.get(key, ["id_embeds", "vision_last", "vision_penultimate"]));
        let faces = faces.collect::<Result<Vec<_>, EngineError>>()?;
        let joined = |index: usize| -> Tensor<3> {
            Tensor::cat(
                faces.iter().map(|face| Tensor::from_data(face[index].clone(), (device, DType::F32))).collect(),
                0,
            )
        };
        let id_embeds = faces.iter().map(|face| Tensor::from_data(face[0].clone(), (device, DType::F32))).collect();
        let landmarks: Vec<f32> = landmarks.iter().collect();
        let landmarks = landmarks.chunks(10).map(|points| {
            let landmarks = std::array::from_fn(|point| [points[2 * point], points[2 * point + 1]]);
            points.iter().all(|value| value.is_finite()).then_some(landmarks)
        });
        Ok(Cached {
            mean,
            logvar,
            text,
            class_token_mask: mask.iter::<f32>().map(|marked| marked > 0.5).collect(),
            features: FaceFeatures {
                id_embeds: Tensor::cat(id_embeds, 0),
                vision_last: joined(1),
                vision_penultimate: joined(2),
            },
            region,
            landmarks: landmarks.collect(),
        })
    }
}
