use std::collections::BTreeMap;
use std::path::Path;

use magicmirror_models::adapter::{Adapter, AdapterConfig};
use magicmirror_models::dit::Dit;
use magicmirror_models::text::T5Encoder;
use magicmirror_models::vae::Vae;
use magicmirror_models::weights::{Checkpoint, Names, WeightsError};
use serde::Serialize;

use crate::EngineError;
use crate::backbone::{Backbone, Part};

/// What a model folder holds.
#[derive(Debug, Clone, Serialize)]
pub struct Inspection {
    /// `cogvideox backbone`, `magicmirror adapter` or `weights`.
    pub kind: &'static str,
    /// Numbers worth knowing, by name.
    pub facts: BTreeMap<&'static str, String>,
    /// Its parts.
    pub parts: Vec<PartInspection>,
    /// What keeps it from being used; empty if nothing does.
    pub problems: Vec<String>,
}

/// One set of weights.
#[derive(Debug, Clone, Serialize)]
pub struct PartInspection {
    /// Name of the part.
    pub name: String,
    /// Number of files.
    pub files: usize,
    /// Number of tensors.
    pub tensors: usize,
    /// Number of values.
    pub parameters: usize,
    /// Bytes in the files.
    pub bytes: u64,
    /// Element types, with the number of values of each.
    pub dtypes: BTreeMap<String, usize>,
}

/// Looks into a folder (or weight file) without reading weights: what it is, how large, and what is missing.
///
/// # Errors
/// When it is neither a backbone, an adapter nor a weight file.
pub fn inspect(path: &Path) -> Result<Inspection, EngineError> {
    if path.join("adapter_config.json").is_file() {
        return inspect_adapter(path);
    }
    if path.is_file() {
        let checkpoint = Checkpoint::open_file(path)?;
        let parts = vec![PartInspection::of("weights", &checkpoint)];
        return Ok(Inspection { kind: "weights", facts: BTreeMap::new(), parts, problems: Vec::new() });
    }
    inspect_backbone(path)
}

fn inspect_backbone(folder: &Path) -> Result<Inspection, EngineError> {
    let backbone = Backbone::open(folder)?;
    let (height, width, frames) = backbone.trained_size();
    let positions = match (backbone.dit.use_rotary_positional_embeddings, backbone.dit.patch_size_t) {
        (_, Some(_)) => "rotary, temporal patches (1.5)",
        (true, None) => "rotary (5B)",
        (false, None) => "absolute (2B)",
    };
    let facts = BTreeMap::from([
        ("trained size", format!("{height}×{width}, {frames} frames, {} fps", backbone.fps())),
        ("positions", positions.to_owned()),
        (
            "transformer",
            format!(
                "{} blocks, {} heads × {}",
                backbone.dit.num_layers, backbone.dit.num_attention_heads, backbone.dit.attention_head_dim
            ),
        ),
        ("prompt tokens", backbone.dit.max_text_seq_length.to_string()),
        ("scheduler", format!("{:?}", backbone.method)),
    ]);
    let mut parts = Vec::new();
    let mut problems: Vec<String> = backbone.tokenizer().err().map(|error| error.to_string()).into_iter().collect();
    for part in Part::ALL {
        let opened = backbone.weights(part);
        let checked = opened.and_then(|weights| {
            parts.push(PartInspection::of(part.folder(), &weights));
            match part {
                Part::TextEncoder => weights.check(T5Encoder::NAMES, |params| T5Encoder::new(&backbone.text, params)),
                Part::Transformer => weights.check(Dit::NAMES, |params| Dit::new(&backbone.dit, params)),
                Part::Vae => weights.check(Names::default(), |params| Vae::new(&backbone.vae, params)),
            }
        });
        problems.extend(checked.err().map(|error: WeightsError| error.to_string()));
    }
    Ok(Inspection { kind: "cogvideox backbone", facts, parts, problems })
}

fn inspect_adapter(folder: &Path) -> Result<Inspection, EngineError> {
    let config = AdapterConfig::load(folder)?;
    let modules = &config.modules;
    let facts = BTreeMap::from([
        ("for", format!("{} heads × {}", config.num_attention_heads, config.attention_head_dim)),
        ("blocks", format!("{:?}", config.adapter_layers)),
        ("trigger word", config.trigger_word.clone()),
        (
            "modules",
            format!(
                "identity {}, structure {}, face modulation {}, conditioned adaptive normalization {}",
                modules.identity_branch, modules.structure_branch, modules.face_modulation, modules.can
            ),
        ),
    ]);
    let mut parts = Vec::new();
    if let Ok(weights) = Adapter::open(folder) {
        parts.push(PartInspection::of("adapter", &weights));
    }
    let problems = Adapter::check(folder).err().map(|error| error.to_string()).into_iter().collect();
    Ok(Inspection { kind: "magicmirror adapter", facts, parts, problems })
}

impl PartInspection {
    fn of(name: &str, checkpoint: &Checkpoint) -> Self {
        let mut dtypes = BTreeMap::new();
        for entry in checkpoint.entries().values() {
            *dtypes.entry(format!("{:?}", entry.dtype)).or_insert(0) += entry.elements();
        }
        Self {
            name: name.to_owned(),
            files: checkpoint.files().len(),
            tensors: checkpoint.entries().len(),
            parameters: checkpoint.parameters(),
            bytes: checkpoint.bytes(),
            dtypes,
        }
    }
}
