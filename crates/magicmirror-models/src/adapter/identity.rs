//! What the face encoders make of the reference photos, and its file.

use std::path::{Path, PathBuf};

use burn::tensor::{DType, Device, Tensor, TensorData};
use thiserror::Error;

use super::config::AdapterConfig;
use crate::weights::{Checkpoint, Precision, WeightsError, save_safetensors};

/// Why face features cannot be used.
#[derive(Debug, Error)]
pub enum IdentityError {
    /// The file cannot be read or written.
    #[error(transparent)]
    Weights(#[from] WeightsError),
    /// The file is not a file of face features; all problems at once.
    #[error("not an identity file: {}\n  {}\n\nhint: `magicmirror identity encode` makes one", path.display(), problems.join("\n  "))]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong with its tensors.
        problems: Vec<String>,
    },
    /// Made by other encoders than the adapter's; all differences at once.
    #[error(
        "the identity was made for another adapter:\n  {}\n\nhint: make it again with this adapter's encoders",
        differences.join("\n  ")
    )]
    OtherEncoders {
        /// Each width that differs, with both values.
        differences: Vec<String>,
    },
}

/// Face features of one person's reference photos, in the order given.
#[derive(Debug, Clone)]
pub struct FaceFeatures {
    /// The recogniser's embeddings `[references, E]`, as it puts them out (q_id).
    pub id_embeds: Tensor<2>,
    /// Last hidden states of the vision encoder `[references, tokens, V]` (f_last).
    pub vision_last: Tensor<3>,
    /// Penultimate hidden states of the vision encoder `[references, tokens, V]` (f_pen).
    pub vision_penultimate: Tensor<3>,
}

const ID_EMBEDS: &str = "id_embeds";
const VISION_LAST: &str = "vision_last";
const VISION_PENULTIMATE: &str = "vision_penultimate";

impl FaceFeatures {
    /// Reads a file that [`Self::save`] wrote; values become f32.
    ///
    /// # Errors
    /// When a tensor is missing, shapes disagree, a value is not finite, or reading fails. Further tensors are allowed.
    pub fn load(path: &Path, device: &Device) -> Result<Self, IdentityError> {
        let file = Checkpoint::open_file(path)?;
        let malformed = |problems| IdentityError::Malformed { path: path.to_owned(), problems };
        let problems = file_problems(&file);
        if !problems.is_empty() {
            return Err(malformed(problems));
        }
        let id_embeds = file.read(ID_EMBEDS, Precision::F32)?;
        let vision_last = file.read(VISION_LAST, Precision::F32)?;
        let vision_penultimate = file.read(VISION_PENULTIMATE, Precision::F32)?;
        let not_finite: Vec<String> =
            [(ID_EMBEDS, &id_embeds), (VISION_LAST, &vision_last), (VISION_PENULTIMATE, &vision_penultimate)]
                .into_iter()
                .filter(|(_, data)| data.iter::<f32>().any(|value| !value.is_finite()))
                .map(|(name, _)| format!("{name} holds values that are not finite"))
                .collect();
        if !not_finite.is_empty() {
            return Err(malformed(not_finite));
        }
        let options = (device, DType::F32);
        Ok(Self {
            id_embeds: Tensor::from_data(id_embeds, options),
            vision_last: Tensor::from_data(vision_last, options),
            vision_penultimate: Tensor::from_data(vision_penultimate, options),
        })
    }

    /// Writes `id_embeds`, `vision_last` and `vision_penultimate` as f32: a whole file or none.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn save(&self, path: &Path) -> Result<(), IdentityError> {
        let single = |data: TensorData| data.convert_dtype(DType::F32);
        let tensors = [
            (ID_EMBEDS.to_owned(), single(self.id_embeds.to_data())),
            (VISION_LAST.to_owned(), single(self.vision_last.to_data())),
            (VISION_PENULTIMATE.to_owned(), single(self.vision_penultimate.to_data())),
        ];
        Ok(save_safetensors(path, &tensors)?)
    }

    /// The references of several persons, one after the other.
    ///
    /// # Panics
    /// When there is nobody, or not all have equally many.
    pub fn cat(of_people: Vec<Self>) -> Self {
        let equal = of_people.windows(2).all(|pair| pair[0].references() == pair[1].references());
        assert!(equal, "people differ in their number of references");
        let (mut embeds, mut last, mut penultimate) = (Vec::new(), Vec::new(), Vec::new());
        for Self { id_embeds, vision_last, vision_penultimate } in of_people {
            embeds.push(id_embeds);
            last.push(vision_last);
            penultimate.push(vision_penultimate);
        }
        Self {
            id_embeds: Tensor::cat(embeds, 0),
            vision_last: Tensor::cat(last, 0),
            vision_penultimate: Tensor::cat(penultimate, 0),
        }
    }

    /// Number of reference photos.
    pub fn references(&self) -> usize {
        self.id_embeds.dims()[0]
    }

    /// Checks the widths against an adapter's; those that its modules do not read are not looked at.
    ///
    /// # Errors
    /// [`IdentityError::OtherEncoders`] with every difference.
    pub fn check(&self, config: &AdapterConfig) -> Result<(), IdentityError> {
        let modules = &config.modules;
        let widths = [
            (modules.identity_branch, ID_EMBEDS, self.id_embeds.dims()[1], config.id_embed_dim),
            (modules.identity_branch, VISION_LAST, self.vision_last.dims()[2], config.vision_hidden_size),
            (
                modules.structure_branch,
                VISION_PENULTIMATE,
                self.vision_penultimate.dims()[2],
                config.vision_hidden_size,
            ),
        ];
        let differences: Vec<String> = widths
            .into_iter()
            .filter(|(read, _, found, expected)| *read && found != expected)
            .map(|(_, name, found, expected)| format!("{name}: the adapter reads width {expected}, found {found}"))
            .collect();
        if differences.is_empty() { Ok(()) } else { Err(IdentityError::OtherEncoders { differences }) }
    }
}

fn file_problems(file: &Checkpoint) -> Vec<String> {
    let mut problems = Vec::new();
    let expected = [(ID_EMBEDS, 2), (VISION_LAST, 3), (VISION_PENULTIMATE, 3)];
    let mut references = None;
    for (name, rank) in expected {
        let Some(shape) = file.entries().get(name).map(|entry| &entry.shape) else {
            problems.push(format!("missing {name}"));
            continue;
        };
        if shape.len() != rank || shape.contains(&0) {
            problems.push(format!("{name} must have {rank} axes, none of them empty, found shape {shape:?}"));
            continue;
        }
        let first = *references.get_or_insert(shape[0]);
        if shape[0] != first {
            problems.push(format!("{name} is of {} references, the tensors before it of {first}", shape[0]));
        }
    }
    let shape = |name| file.entries().get(name).map(|entry| &entry.shape);
    if let (Some(last), Some(penultimate)) = (shape(VISION_LAST), shape(VISION_PENULTIMATE))
        && problems.is_empty()
        && last != penultimate
    {
        problems.push(format!("{VISION_LAST} and {VISION_PENULTIMATE} differ in shape: {last:?} and {penultimate:?}"));
    }
    problems
}
