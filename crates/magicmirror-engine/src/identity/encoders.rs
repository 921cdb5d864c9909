use std::io::Write;
use std::path::{Path, PathBuf};

use burn::tensor::Device;
use magicmirror_models::adapter::AdapterConfig;
use magicmirror_models::face::mtcnn::{Mtcnn, MtcnnConfig};
use magicmirror_models::face::recogniser::Recogniser;
use magicmirror_models::vision::preprocess::Preprocessing;
use magicmirror_models::vision::vit::{VisionConfig, VisionTransformer};
use magicmirror_models::weights::{Precision, WeightsError};

use super::FaceOptions;
use crate::EngineError;
use crate::files::{sha256, sha256_of_files};

/// MTCNN's weights (MIT), part of the program so that faces need no download.
const MTCNN: &[u8] = include_bytes!("../../../../assets/face/mtcnn.safetensors");
/// dlib's face recogniser (CC0), likewise.
const DLIB: &[u8] = include_bytes!("../../../../assets/face/dlib_resnet.safetensors");

/// Recognisers that do not come with the program, and the files they are read from.
pub(crate) const RECOGNISER_FILES: &[(&str, &[&str])] = &[
    ("mobilefacenet", &["mobilefacenet.safetensors"]),
    ("arcface", &["arcface.onnx", "w600k_r50.onnx", "glintr100.onnx"]),
    (
        "curricularface",
        &["glint360k_curricular_face_r101_backbone.bin", "glint360k_curricular_face_r101_backbone.safetensors"],
    ),
];

/// Which networks turn a face into features.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Encoders {
    recogniser: RecogniserSource,
    vision: PathBuf,
}

/// Where a recogniser is read from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum RecogniserSource {
    BuiltInDlib,
    File(PathBuf),
}

/// The networks, loaded.
pub(super) struct Networks {
    pub(super) recogniser: Recogniser,
    pub(super) vision: VisionTransformer,
    pub(super) preprocessing: Preprocessing,
}

impl Encoders {
    /// From the options, or else from the adapter in a folder.
    ///
    /// # Errors
    /// When neither says which networks to use, or their files are missing.
    pub fn new(adapter: Option<&Path>, options: &FaceOptions) -> Result<Self, EngineError> {
        match adapter {
            Some(folder) => Self::of_adapter(folder, &AdapterConfig::load(folder)?, options),
            None => Self::resolve(None, None, None, options),
        }
    }

    /// From the options, or else from an adapter's configuration.
    pub(crate) fn of_adapter(
        folder: &Path,
        config: &AdapterConfig,
        options: &FaceOptions,
    ) -> Result<Self, EngineError> {
        let encoders = config.encoders.as_ref();
        Self::resolve(
            Some(folder),
            encoders.and_then(|encoders| encoders.recogniser.as_deref()),
            encoders.and_then(|encoders| encoders.vision.as_deref()),
            options,
        )
    }

    fn resolve(
        folder: Option<&Path>,
        recogniser: Option<&str>,
        vision: Option<&str>,
        options: &FaceOptions,
    ) -> Result<Self, EngineError> {
        let recogniser = RecogniserSource::resolve(folder, recogniser, options)?;
        let vision = match (&options.vision, vision) {
            (Some(path), _) => path.clone(),
            (None, Some(name)) => beside_adapter(folder, name),
            (None, None) => {
                return Err(EngineError::options(
                    "it is not known which vision encoder the adapter reads",
                    "say which (a CLIP vision folder, or photomaker-v2.bin) with --vision, or for good under encoders.vision \
                     in the adapter's adapter_config.json",
                ));
            }
        };
        if !vision.exists() {
            return Err(EngineError::options(
                format!("there is no vision encoder at: {}", vision.display()),
                "put a CLIP vision folder (config.json, model.safetensors) or photomaker-v2.bin there, or name one with --vision",
            ));
        }
        Ok(Self { recogniser, vision })
    }

    /// Sizes of the vision encoder.
    pub(crate) fn vision_config(&self) -> Result<VisionConfig, WeightsError> {
        if self.vision.is_dir() {
            VisionConfig::read(&self.vision.join("config.json"))
        } else {
            Ok(VisionConfig::clip_vit_l14())
        }
    }

    /// The files of weights that are read; of a folder all that it holds.
    pub(crate) fn files(&self) -> Vec<PathBuf> {
        let mut files = match std::fs::read_dir(&self.vision) {
            Ok(entries) => entries.filter_map(|entry| Some(entry.ok()?.path())).filter(|path| path.is_file()).collect(),
            Err(_) => vec![self.vision.clone()],
        };
        files.sort();
        if let RecogniserSource::File(recogniser) = &self.recogniser {
            files.push(recogniser.clone());
        }
        files
    }

    /// Of the files of the recogniser and the vision encoder (or its folder) those that lie in an adapter's folder, as they
    /// are called there.
    pub(crate) fn within(&self, adapter: &Path) -> Vec<PathBuf> {
        let recogniser = match &self.recogniser {
            RecogniserSource::BuiltInDlib => None,
            RecogniserSource::File(path) => Some(path),
        };
        let files = recogniser.into_iter().chain([&self.vision]);
        files.filter_map(|path| Some(path.strip_prefix(adapter).ok()?.to_owned())).collect()
    }

    /// SHA-256 of all files of both networks.
    ///
    /// # Errors
    /// When one cannot be read.
    pub(crate) fn sha256(&self) -> Result<String, EngineError> {
        let built_in = match &self.recogniser {
            RecogniserSource::BuiltInDlib => sha256(DLIB),
            RecogniserSource::File(_) => String::new(),
        };
        Ok(sha256(format!("{built_in} {}", sha256_of_files(&self.files())?).as_bytes()))
    }

    /// The recogniser alone.
    ///
    /// # Errors
    /// When it cannot be loaded.
    pub(crate) fn load_recogniser(&self, device: &Device) -> Result<Recogniser, EngineError> {
        self.recogniser.load(device)
    }

    pub(super) fn load(&self, device: &Device) -> Result<Networks, EngineError> {
        let recogniser = self.load_recogniser(device)?;
        let config = self.vision_config()?;
        let vision = if self.vision.is_dir() {
            VisionTransformer::load_folder(&self.vision, Precision::Stored, device)?.1
        } else {
            VisionTransformer::load_photomaker(&self.vision, &config, Precision::Stored, device)?.0
        };
        let preprocessor = self.vision.join("preprocessor_config.json");
        let preprocessing = if preprocessor.is_file() {
            Preprocessing::read(&preprocessor)?
        } else {
            Preprocessing::clip(config.image_size)
        };
        if preprocessing.crop != [config.image_size; 2] {
            return Err(EngineError::InvalidFile {
                what: "image preprocessing",
                reason: format!(
                    "it makes images of {:?}, the encoder takes {1}×{1}",
                    preprocessing.crop, config.image_size
                ),
                path: preprocessor,
            });
        }
        Ok(Networks { recogniser, vision, preprocessing })
    }
}

impl RecogniserSource {
    /// From the options, or else from an adapter's configuration.
    pub(crate) fn of_adapter(
        folder: &Path,
        config: &AdapterConfig,
        options: &FaceOptions,
    ) -> Result<Self, EngineError> {
        let named = config.encoders.as_ref().and_then(|encoders| encoders.recogniser.as_deref());
        Self::resolve(Some(folder), named, options)
    }

    fn resolve(folder: Option<&Path>, named: Option<&str>, options: &FaceOptions) -> Result<Self, EngineError> {
        match (&options.recogniser, named) {
            (Some(name), _) => Self::named(name, folder, |name| PathBuf::from(name)),
            (None, Some(name)) => Self::named(name, folder, |name| beside_adapter(folder, name)),
            (None, None) => Err(EngineError::options(
                "it is not known which recogniser made the adapter's identity vectors",
                "say which (arcface, curricularface, dlib, mobilefacenet or a file) with --recogniser, or for good under \
                 encoders.recogniser in the adapter's adapter_config.json",
            )),
        }
    }

    /// # Errors
    /// When it cannot be loaded.
    pub(crate) fn load(&self, device: &Device) -> Result<Recogniser, EngineError> {
        Ok(match self {
            Self::BuiltInDlib => built_in_dlib(device)?,
            Self::File(path) => Recogniser::load(path, device)?,
        })
    }

    /// Size of its weights.
    pub(crate) fn bytes(&self) -> u64 {
        match self {
            Self::BuiltInDlib => DLIB.len() as u64,
            Self::File(path) => path.metadata().map_or(0, |about| about.len()),
        }
    }

    /// A known name (whose file, if it is not built in, is looked for beside the adapter), or a file.
    fn named(name: &str, folder: Option<&Path>, file: impl Fn(&str) -> PathBuf) -> Result<Self, EngineError> {
        if name == "dlib" {
            return Ok(Self::BuiltInDlib);
        }
        let Some((_, candidates)) = RECOGNISER_FILES.iter().find(|(known, _)| *known == name) else {
            let path = file(name);
            if !path.is_file() {
                return Err(EngineError::options(
                    format!("there is no recogniser at: {}", path.display()),
                    "name one of arcface, curricularface, dlib, mobilefacenet, or a file (.onnx, .dat, .json, .bin, .safetensors)",
                ));
            }
            return Ok(Self::File(path));
        };
        let found =
            candidates.iter().map(|file| folder.unwrap_or(Path::new("")).join(file)).find(|path| path.is_file());
        found.map(Self::File).ok_or_else(|| {
            EngineError::options(
                format!(
                    "the weights of {name} do not come with this program and are not in: {}",
                    folder.unwrap_or(Path::new(".")).display()
                ),
                format!("put {} there, or name the file with --recogniser", candidates.join(" or ")),
            )
        })
    }
}

/// What an adapter's configuration names lies in its folder.
fn beside_adapter(folder: Option<&Path>, name: &str) -> PathBuf {
    folder.map_or_else(|| PathBuf::from(name), |folder| folder.join(name))
}

/// dlib's recogniser.
pub(crate) fn built_in_dlib(device: &Device) -> Result<Recogniser, EngineError> {
    built_in(DLIB, |path| Recogniser::load(path, device))
}

/// SHA-256 of the weights that come with the program.
pub(crate) fn built_in_weights_sha256() -> String {
    sha256(&[MTCNN, DLIB].concat())
}

/// The face detector.
pub(crate) fn load_detector(min_face: usize) -> Result<Mtcnn, EngineError> {
    if min_face < 12 {
        return Err(EngineError::OutOfRange {
            option: "--min-face",
            value: min_face.to_string(),
            rule: "be 12 or more".into(),
            hint: "20 is usual".into(),
        });
    }
    let config = MtcnnConfig { min_face_size: min_face as f64, ..MtcnnConfig::default() };
    built_in(MTCNN, |path| Mtcnn::load(path, config, &Device::flex()))
}

/// Loads built-in weights through a temporary file, so that there is one way to read weights.
fn built_in<T>(bytes: &[u8], load: impl FnOnce(&Path) -> Result<T, WeightsError>) -> Result<T, EngineError> {
    let folder = std::env::temp_dir();
    let mut file =
        tempfile::Builder::new().suffix(".safetensors").tempfile_in(&folder).map_err(EngineError::io(&folder))?;
    file.write_all(bytes).map_err(EngineError::io(file.path()))?;
    Ok(load(file.path())?)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn an_adapters_own_encoders_are_found_by_their_files() {
        let folder = tempfile::tempdir().unwrap();
        let (adapter, elsewhere) = (folder.path().join("adapter"), folder.path().join("elsewhere"));
        for path in [adapter.join("vision"), elsewhere.clone()] {
            fs::create_dir_all(path).unwrap();
        }
        fs::write(adapter.join("w600k_r50.onnx"), "").unwrap();
        let own = |vision: &str| {
            let options = FaceOptions::default();
            let encoders = Encoders::resolve(Some(&adapter), Some("arcface"), Some(vision), &options).unwrap();
            encoders.within(&adapter)
        };
        assert_eq!(own("vision"), ["w600k_r50.onnx", "vision"].map(PathBuf::from));
        assert_eq!(own(elsewhere.to_str().unwrap()), [PathBuf::from("w600k_r50.onnx")]);
    }
}
