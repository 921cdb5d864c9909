//! The adapter: everything that MagicMirror adds to the frozen transformer.
//!
//! Source: Magic Mirror (arXiv 2501.03931), sections 3.2 and 3.3, appendix A.5. One generation, in order:
//! [`expand_class_word`] makes room for the identity in the prompt, [`Adapter::conditions`] turns [`FaceFeatures`] into
//! identity and face tokens, [`Adapter::fuse`] puts the identity tokens into the text embeddings, and
//! [`IdentityConditioner`] takes part in the transformer's blocks.
//!
//! An adapter is a folder with `adapter_config.json` and `model.safetensors`. A module that is switched off in the
//! configuration declares no parameters; tensors that a file holds for it are passed over, all others must fit.
//!
//! Where the paper is silent: the rules of the class word, one set of face tokens for each reference, and which layers
//! start at zero (fusion and the values of the cross-attention too), so that training starts next to the base model.

mod can;
mod class_word;
mod conditioner;
mod config;
mod decoupled_attention;
mod error;
mod fusion;
mod identity;
mod import;
mod perceiver;

use std::path::Path;

use burn::module::Module;
use burn::tensor::{Device, Tensor, TensorData};

pub use can::{Can, CanResiduals, FaceModulation};
pub use class_word::{CLASS_WORDS, ClassWordError, ExpandedPrompt, expand_class_word};
pub use conditioner::{Conditions, IdentityConditioner};
pub use config::{
    AdapterConfig, BackboneSizes, CanConfig, ConfigError, ConfigProblem, Encoders, FaceModulationConfig,
    FacePerceiverConfig, IdPerceiverConfig, Modules, OtherBackbone, SizeDifference,
};
pub use decoupled_attention::DecoupledAttention;
pub use error::AdapterError;
pub use fusion::Fusion;
pub use identity::{FaceFeatures, IdentityError};
pub use import::{check_photomaker, import_photomaker};
pub use perceiver::{FacePerceiver, IdentityPerceiver, Resampler, ResamplerSizes};

use crate::nn::Linear;
use crate::weights::{
    Checkpoint, Init, Names, ParamNames, Params, Precision, TensorSource, WeightsError, initialise, named_tensors,
    save_safetensors, write_aside,
};

const CONFIG_FILE: &str = "adapter_config.json";
const WEIGHTS_STEM: &str = "model";

/// The adapter's networks.
#[derive(Module, Debug)]
pub struct Adapter {
    identity: Option<IdentityBranch>,
    structure: Option<StructureBranch>,
    layers: Vec<AdapterLayer>,
    #[module(skip)]
    config: AdapterConfig,
    #[module(skip)]
    names: ParamNames,
}

#[derive(Module, Debug)]
struct IdentityBranch {
    perceiver: IdentityPerceiver,
    fusion: Fusion,
    /// W_c, shared by all blocks.
    can_projection: Option<Linear>,
}

#[derive(Module, Debug)]
struct StructureBranch {
    perceiver: FacePerceiver,
    projection: Linear,
}

/// The adapter's part in one block.
#[derive(Module, Debug)]
struct AdapterLayer {
    face_modulation: Option<FaceModulation>,
    can: Option<Can>,
    cross_attention: Option<DecoupledAttention>,
}

impl Adapter {
    /// Reads an adapter folder.
    ///
    /// # Errors
    /// When the configuration is refused, or a tensor is missing, unexpected or mis-shaped (all of them at once).
    pub fn load(folder: &Path, precision: Precision, device: &Device) -> Result<Self, AdapterError> {
        let config = AdapterConfig::load(folder)?;
        let absent = config.absent_modules();
        let ignored: Vec<&str> = absent.iter().map(String::as_str).collect();
        let names = Names { prefix: "", ignored: &ignored };
        let checkpoint = Self::open(folder)?;
        let (adapter, names) = checkpoint.load(names, precision, device, |params| Self::new(&config, params))?;
        Ok(Self { names, ..adapter })
    }

    /// Opens the weights of an adapter folder: reads their header only.
    ///
    /// # Errors
    /// When there are none, or the file is not whole.
    pub fn open(folder: &Path) -> Result<Checkpoint, WeightsError> {
        Checkpoint::open_folder(folder, WEIGHTS_STEM)
    }

    /// Compares an adapter's weights with its configuration; reads no values.
    ///
    /// # Errors
    /// As [`Self::load`].
    pub fn check(folder: &Path) -> Result<(), AdapterError> {
        let config = AdapterConfig::load(folder)?;
        let absent = config.absent_modules();
        let ignored: Vec<&str> = absent.iter().map(String::as_str).collect();
        let names = Names { prefix: "", ignored: &ignored };
        Ok(Self::open(folder)?.check(names, |params| Self::new(&config, params))?)
    }

    /// A fresh adapter (f32): it leaves text embeddings and the block's factors as they are, and its cross-attention
    /// adds nothing.
    ///
    /// # Errors
    /// When the configuration makes no sense.
    pub fn initialise(config: &AdapterConfig, seed: u64, device: &Device) -> Result<Self, AdapterError> {
        config.validate()?;
        let (adapter, names) = initialise(seed, device, |params| Self::new(config, params));
        Ok(Self { names, ..adapter })
    }

    /// Writes the adapter to a folder, which is made if there is none. Each file is written aside and renamed, the
    /// configuration last.
    ///
    /// # Errors
    /// When the folder cannot be written.
    pub fn save(&self, folder: &Path) -> Result<(), AdapterError> {
        std::fs::create_dir_all(folder).map_err(WeightsError::io(folder))?;
        save_safetensors(&folder.join(format!("{WEIGHTS_STEM}.safetensors")), &self.named_tensors())?;
        Ok(write_aside(&folder.join(CONFIG_FILE), self.config.to_json().as_bytes())?)
    }

    /// Declares the parameters of all modules that are switched on. The configuration must be valid.
    fn new(config: &AdapterConfig, params: &mut Params<'_, '_>) -> Self {
        let Modules { identity_branch, structure_branch, face_modulation, can } = config.modules;
        let identity = identity_branch.then(|| IdentityBranch {
            perceiver: IdentityPerceiver::new(config, &mut params.at("id_perceiver")),
            fusion: Fusion::new(config, &mut params.at("fuse")),
            can_projection: can.then(|| {
                let inputs = config.id_perceiver.tokens * config.id_perceiver.dim;
                Linear::new(params, "can.id_proj", inputs, config.can.id_proj_dim)
            }),
        });
        let structure = structure_branch.then(|| StructureBranch {
            perceiver: FacePerceiver::new(config, &mut params.at("face_perceiver")),
            projection: Linear::new(params, "face_proj", config.face_perceiver.dim, config.width()),
        });
        let layers = config.adapter_layers.iter().map(|index| {
            let mut params = params.at("layers");
            let mut params = params.at(index);
            AdapterLayer {
                face_modulation: (structure_branch && face_modulation)
                    .then(|| FaceModulation::new(config, &mut params.at("face_modulation"))),
                can: can.then(|| Can::new(config, &mut params.at("can"))),
                cross_attention: structure_branch
                    .then(|| DecoupledAttention::new(config, &mut params.at("cross_attn"))),
            }
        });
        let layers = layers.collect();
        Self { identity, structure, layers, config: config.clone(), names: ParamNames::new() }
    }

    /// Names and shapes of all parameters; computes nothing.
    ///
    /// # Errors
    /// When the configuration makes no sense.
    pub fn shapes(config: &AdapterConfig) -> Result<Vec<(String, Vec<usize>)>, AdapterError> {
        struct Shapes(Vec<(String, Vec<usize>)>);
        impl TensorSource for Shapes {
            fn tensor(&mut self, name: &str, shape: &[usize], _init: Init) -> Option<TensorData> {
                self.0.push((name.to_owned(), shape.to_vec()));
                None
            }
        }
        config.validate()?;
        let mut shapes = Shapes(Vec::new());
        let _ = Params::build(&mut shapes, &Device::flex(), |params| Self::new(config, params));
        Ok(shapes.0)
    }

    /// Sizes and switches.
    pub fn config(&self) -> &AdapterConfig {
        &self.config
    }

    /// The name of each parameter in the file.
    pub fn param_names(&self) -> &ParamNames {
        &self.names
    }

    /// All parameters under their names in the file, sorted by name.
    pub fn named_tensors(&self) -> Vec<(String, TensorData)> {
        named_tensors(self, &self.names)
    }

    /// The conditions of one generation. The features' widths must be the adapter's ([`FaceFeatures::check`]).
    pub fn conditions(&self, features: &FaceFeatures) -> Conditions {
        self.conditions_of(1, features)
    }

    /// The conditions of a batch: `features` are those of `people` persons, one after the other, equally many references
    /// each.
    ///
    /// # Panics
    /// When the references do not divide so.
    pub fn conditions_of(&self, people: usize, features: &FaceFeatures) -> Conditions {
        let x_id = self
            .identity
            .as_ref()
            .map(|branch| branch.perceiver.forward(features.id_embeds.clone(), features.vision_last.clone()));
        let can_condition = self.identity.as_ref().and_then(|branch| {
            let [references, tokens, dim] = x_id.as_ref()?.dims();
            let mean = x_id.clone()?.reshape([people, references / people, tokens * dim]).mean_dim(1);
            let mean = mean.reshape([people, tokens * dim]);
            Some(branch.can_projection.as_ref()?.forward(mean))
        });
        let x_face = self.structure.as_ref().map(|branch| {
            let x = branch.projection.forward(branch.perceiver.forward(features.vision_penultimate.clone()));
            let [references, tokens, width] = x.dims();
            x.reshape([people, references / people * tokens, width])
        });
        Conditions { x_id, x_face, can_condition }
    }

    /// Puts the identity tokens into the text embeddings; without an identity branch these are returned as they are.
    ///
    /// # Shapes
    /// - prompt_embeds, output: `[batch, tokens, text width]`
    /// - class_token_mask: one flag for each token of the first prompt, then of the next, from
    ///   [`ExpandedPrompt::class_token_mask`]
    ///
    /// # Panics
    /// When the mask does not mark as many tokens as there are identity tokens.
    pub fn fuse(&self, prompt_embeds: Tensor<3>, class_token_mask: &[bool], conditions: &Conditions) -> Tensor<3> {
        match (&self.identity, &conditions.x_id) {
            (Some(branch), Some(x_id)) => branch.fusion.forward(prompt_embeds, class_token_mask, x_id.clone()),
            _ => prompt_embeds,
        }
    }

    /// The adapter's part in a block of the transformer.
    fn layer(&self, index: usize) -> Option<&AdapterLayer> {
        self.config.adapter_layers.binary_search(&index).ok().map(|at| &self.layers[at])
    }
}

impl AdapterConfig {
    /// Reads the configuration of an adapter folder.
    ///
    /// # Errors
    /// When there is none or it is refused.
    pub fn load(folder: &Path) -> Result<Self, AdapterError> {
        let path = folder.join(CONFIG_FILE);
        let text = std::fs::read_to_string(&path).map_err(WeightsError::io(&path))?;
        Self::from_json(&text).map_err(|source| AdapterError::Config { path, source })
    }

    /// Prefixes of the tensors that belong to modules that are switched off.
    fn absent_modules(&self) -> Vec<String> {
        let Modules { identity_branch, structure_branch, face_modulation, can } = self.modules;
        let mut shared = Vec::new();
        let mut in_layer = Vec::new();
        if !identity_branch {
            shared.extend(["id_perceiver.", "fuse."]);
        }
        if !can {
            shared.push("can.");
            in_layer.push("can.");
        }
        if !structure_branch {
            shared.extend(["face_perceiver.", "face_proj."]);
            in_layer.push("cross_attn.");
        }
        if !(structure_branch && face_modulation) {
            in_layer.push("face_modulation.");
        }
        let in_layers =
            self.adapter_layers.iter().flat_map(|l| in_layer.iter().map(move |name| format!("layers.{l}.{name}")));
        shared.into_iter().map(str::to_owned).chain(in_layers).collect()
    }
}
