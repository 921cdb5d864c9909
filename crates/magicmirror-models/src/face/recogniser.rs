//! Who is it: a network that turns an aligned face into a vector, close to those of the same person.

use std::path::Path;

use burn::tensor::{Device, Tensor};

use super::align::Chip;
use super::curricularface::{CurricularFace, CurricularFaceConfig};
use super::dlib::{self, DlibResNet};
use super::iresnet::IResNet;
use super::mobilefacenet::MobileFaceNet;
use crate::weights::{Checkpoint, WeightsError};

/// One of the networks that are known.
#[derive(Debug)]
pub enum Recogniser {
    /// `InsightFace`'s, from ONNX.
    ArcFace(Box<IResNet>),
    /// `CurricularFace`'s IR-101.
    CurricularFace(Box<CurricularFace>),
    /// dlib's.
    Dlib(Box<DlibResNet>),
    /// The small one.
    MobileFaceNet(Box<MobileFaceNet>),
}

impl Recogniser {
    /// Reads a file; which network it holds is seen from its extension (`.onnx`, `.dat`, `.json`, `.bin`) or its tensors'
    /// names (`.safetensors`).
    ///
    /// # Errors
    /// When the file cannot be read or holds no such network.
    pub fn load(path: &Path, device: &Device) -> Result<Self, WeightsError> {
        let extension = path.extension().unwrap_or_default().to_ascii_lowercase();
        match extension.to_str() {
            Some("onnx") => Ok(Self::ArcFace(Box::new(IResNet::load(path, device)?))),
            Some("dat" | "json") => Ok(Self::Dlib(Box::new(DlibResNet::load(path, device)?))),
            Some("bin") => Self::curricularface(path, device),
            Some("safetensors") => {
                let checkpoint = Checkpoint::open_file(path)?;
                let has = |name| checkpoint.entries().contains_key(name);
                if has("stem.conv.weight") {
                    Ok(Self::Dlib(Box::new(DlibResNet::load(path, device)?)))
                } else if has("input_layer.0.weight") {
                    Self::curricularface(path, device)
                } else {
                    Ok(Self::MobileFaceNet(Box::new(MobileFaceNet::load(path, device)?)))
                }
            }
            _ => Err(WeightsError::Unsupported {
                path: path.to_owned(),
                reason: "a recogniser is read from .onnx, .dat, .json, .bin or .safetensors".to_owned(),
            }),
        }
    }

    fn curricularface(path: &Path, device: &Device) -> Result<Self, WeightsError> {
        let net = CurricularFace::load(path, &CurricularFaceConfig::ir_101(), device)?;
        Ok(Self::CurricularFace(Box::new(net)))
    }

    /// Short name: `arcface`, `curricularface`, `dlib` or `mobilefacenet`.
    pub fn name(&self) -> &'static str {
        match self {
            Self::ArcFace(_) => "arcface",
            Self::CurricularFace(_) => "curricularface",
            Self::Dlib(_) => "dlib",
            Self::MobileFaceNet(_) => "mobilefacenet",
        }
    }

    /// The crop it wants.
    pub fn chip(&self) -> Chip {
        match self {
            Self::ArcFace(_) | Self::MobileFaceNet(_) => Chip::ArcFace,
            Self::CurricularFace(_) => Chip::ArcFace224,
            Self::Dlib(_) => Chip::Dlib,
        }
    }

    /// Numbers in an embedding.
    pub fn embedding_size(&self) -> usize {
        match self {
            Self::ArcFace(net) => net.embedding_size(),
            Self::CurricularFace(net) => net.embedding_size(),
            Self::Dlib(_) => dlib::DESCRIPTOR_SIZE,
            Self::MobileFaceNet(net) => net.embedding_size(),
        }
    }

    /// The mean of many people's embeddings, where it is far from zero. What all faces have in common is most of a cosine
    /// then, and does not say whose face it is: of drawn people dlib's cosine is .97 for the same and .89 for different ones,
    /// .72 and .00 from the mean on, and the area under the ROC curve .991 and .993 (`recognise_people`).
    pub fn mean(&self) -> Option<&'static [f32]> {
        match self {
            Self::Dlib(_) => Some(&dlib::MEAN_DESCRIPTOR),
            Self::ArcFace(_) | Self::CurricularFace(_) | Self::MobileFaceNet(_) => None,
        }
    }

    /// The embeddings as the network puts them out, not normalised. Gradients flow to the chips.
    ///
    /// # Shapes
    /// - chips: `[batch, 3, size, size]` with the size of [`Self::chip`], RGB, 0 to 255
    /// - output: `[batch, embedding_size]`
    pub fn embed(&self, chips: Tensor<4>) -> Tensor<2> {
        match self {
            Self::ArcFace(net) => net.forward(chips),
            Self::CurricularFace(net) => net.forward(chips),
            Self::Dlib(net) => net.forward(chips),
            Self::MobileFaceNet(net) => net.forward(chips),
        }
    }
}
