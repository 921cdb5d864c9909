//! `adapter_config.json`: the adapter's sizes and switches.

use std::path::{Component, Path};

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::dit::DitConfig;

/// What `format` says in an adapter's configuration.
const FORMAT: &str = "magicmirror-adapter";
/// The one version of the format there is.
const VERSION: u64 = 1;
/// No size in a configuration may be larger: far beyond any real network, and products of three cannot overflow.
const MAX_SIZE: usize = 1 << 20;

/// Why a configuration is refused.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// Not JSON, or a field is missing or has another type.
    #[error("not a valid adapter configuration")]
    Json(#[from] serde_json::Error),
    /// Some other JSON file.
    #[error("not an adapter configuration: \"format\" should be \"{FORMAT}\", found {found}")]
    Format {
        /// What `format` is, as JSON (`null` where absent).
        found: String,
    },
    /// Written by a newer program.
    #[error("adapter format version not supported: {found}\n\nhint: this program reads version {VERSION}")]
    Version {
        /// What `version` is, as JSON (`null` where absent).
        found: String,
    },
    /// Values that make no sense; all of them at once.
    #[error("adapter configuration makes no sense:\n{}", list(problems))]
    Invalid {
        /// All problems.
        problems: Vec<ConfigProblem>,
    },
}

/// One thing that is wrong with a configuration.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ConfigProblem {
    /// A size that is zero or absurd.
    #[error("{field} must be 1 to {MAX_SIZE}: {value}")]
    Size {
        /// The field.
        field: &'static str,
        /// Its value.
        value: usize,
    },
    /// A width that cannot be cut into heads.
    #[error("{field} must be a multiple of {divisor_field}, {divisor}: {value}")]
    NotDivisible {
        /// The field.
        field: &'static str,
        /// Its value.
        value: usize,
        /// The field that should divide it.
        divisor_field: &'static str,
        /// The value of that field.
        divisor: usize,
    },
    /// Block indices out of order, repeated, or absurdly large.
    #[error("adapter_layers must be ascending block indices below {MAX_SIZE}: {found:?}")]
    Layers {
        /// The indices.
        found: Vec<usize>,
    },
    /// A module that acts on blocks, and no block for it.
    #[error("adapter_layers is empty, but modules.{switch} is on")]
    NoLayers {
        /// The switch that needs blocks.
        switch: &'static str,
    },
    /// A module is on whose input is off.
    #[error("modules.{switch} needs modules.{needs}, which is off")]
    Switch {
        /// The switch that is on.
        switch: &'static str,
        /// The one it needs.
        needs: &'static str,
    },
    /// A trigger that can never be found in a prompt.
    #[error("trigger_word must be one word that does not end in punctuation: {found:?}")]
    TriggerWord {
        /// The word.
        found: String,
    },
    /// An encoder outside the adapter's folder.
    #[error("encoders.{field} must stay inside the adapter's folder: {found}")]
    EncoderPath {
        /// The field.
        field: &'static str,
        /// The path.
        found: String,
    },
}

/// Sizes of the transformer that an adapter works on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BackboneSizes {
    /// Number of blocks.
    pub num_layers: usize,
    /// Attention heads.
    pub num_attention_heads: usize,
    /// Channels of one head.
    pub attention_head_dim: usize,
    /// Width of the time embedding.
    pub time_embed_dim: usize,
    /// Width of the text encoder's output.
    pub text_embed_dim: usize,
}

impl From<&DitConfig> for BackboneSizes {
    fn from(config: &DitConfig) -> Self {
        Self {
            num_layers: config.num_layers,
            num_attention_heads: config.num_attention_heads,
            attention_head_dim: config.attention_head_dim,
            time_embed_dim: config.time_embed_dim,
            text_embed_dim: config.text_embed_dim,
        }
    }
}

/// A number in which adapter and backbone differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("{field}: adapter {adapter}, backbone {backbone}")]
pub struct SizeDifference {
    /// What differs.
    pub field: &'static str,
    /// The adapter's value.
    pub adapter: usize,
    /// The backbone's value.
    pub backbone: usize,
}

/// The adapter was made for another transformer.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("the adapter was made for another backbone:\n{}", list(differences))]
pub struct OtherBackbone {
    /// All differences.
    pub differences: Vec<SizeDifference>,
}

/// The adapter's sizes and switches.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AdapterConfig {
    /// The backbone's attention heads.
    pub num_attention_heads: usize,
    /// Channels of one head of the backbone.
    pub attention_head_dim: usize,
    /// Width of the backbone's time embedding.
    pub time_embed_dim: usize,
    /// Width of the text encoder's output.
    pub text_embed_dim: usize,
    /// Width of the face recogniser's embedding.
    pub id_embed_dim: usize,
    /// Width of the vision encoder.
    pub vision_hidden_size: usize,
    /// Indices of the blocks that the adapter takes part in, ascending.
    pub adapter_layers: Vec<usize>,
    /// τ_id.
    pub id_perceiver: IdPerceiverConfig,
    /// τ_face.
    pub face_perceiver: FacePerceiverConfig,
    /// Conditioned adaptive normalization.
    pub can: CanConfig,
    /// Modulation of the face stream.
    pub face_modulation: FaceModulationConfig,
    /// The word after the class word in a prompt.
    pub trigger_word: String,
    /// Which modules there are.
    pub modules: Modules,
    /// The encoders that the adapter was trained with; absent where unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encoders: Option<Encoders>,
}

/// Sizes of τ_id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdPerceiverConfig {
    /// Width.
    pub dim: usize,
    /// Identity tokens for each reference.
    pub tokens: usize,
    /// Layers of the resampler.
    pub depth: usize,
    /// Channels of one head.
    pub head_dim: usize,
    /// Width of the feed-forward layers, in widths.
    pub ff_mult: usize,
    /// Hidden width of the token projection, in widths of the recogniser's embedding.
    pub mlp_ratio: usize,
}

/// Sizes of τ_face.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct FacePerceiverConfig {
    /// Width.
    pub dim: usize,
    /// Learned queries: face tokens for each reference.
    pub tokens: usize,
    /// Layers of the resampler.
    pub depth: usize,
    /// Channels of one head.
    pub head_dim: usize,
    /// Width of the feed-forward layers, in widths.
    pub ff_mult: usize,
}

/// Sizes of the conditioned adaptive normalization.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct CanConfig {
    /// Width of the condition that all blocks share.
    pub id_proj_dim: usize,
    /// Hidden width in each block.
    pub hidden_dim: usize,
}

/// Sizes of the face stream's modulation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct FaceModulationConfig {
    /// Hidden width in each block.
    pub hidden_dim: usize,
}

/// The modules, each of which can be switched off (the paper's table 3).
///
/// A module that is off has no parameters. Those that a file holds for it all the same are passed over, so a trained
/// adapter can be ablated by editing its configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Modules {
    /// τ_id and its fusion into the class word's text embeddings.
    pub identity_branch: bool,
    /// τ_face, the face stream and the decoupled cross-attention.
    pub structure_branch: bool,
    /// The face stream's own modulation. Off: it uses the block's frozen text factors. Without effect when there is no
    /// structure branch.
    pub face_modulation: bool,
    /// Conditioned adaptive normalization; needs the identity branch.
    pub can: bool,
}

/// The encoders that make an adapter's inputs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Encoders {
    /// `arcface`, `curricularface`, `dlib`, `mobilefacenet`, or a file in the adapter's folder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recogniser: Option<String>,
    /// The vision encoder: a folder in the adapter's folder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vision: Option<String>,
}

impl AdapterConfig {
    /// The paper's adapter for a backbone: in every block with an even index.
    pub fn for_backbone(backbone: &BackboneSizes) -> Self {
        Self {
            num_attention_heads: backbone.num_attention_heads,
            attention_head_dim: backbone.attention_head_dim,
            time_embed_dim: backbone.time_embed_dim,
            text_embed_dim: backbone.text_embed_dim,
            id_embed_dim: 512,
            vision_hidden_size: 1024,
            adapter_layers: (0..backbone.num_layers).step_by(2).collect(),
            id_perceiver: IdPerceiverConfig { dim: 2048, tokens: 2, depth: 4, head_dim: 128, ff_mult: 4, mlp_ratio: 4 },
            face_perceiver: FacePerceiverConfig { dim: 1024, tokens: 32, depth: 4, head_dim: 64, ff_mult: 4 },
            can: CanConfig { id_proj_dim: 512, hidden_dim: 1024 },
            face_modulation: FaceModulationConfig { hidden_dim: 512 },
            trigger_word: "img".to_owned(),
            modules: Modules { identity_branch: true, structure_branch: true, face_modulation: true, can: true },
            encoders: None,
        }
    }

    /// An adapter for tests: small perceivers, over [`DitConfig::tiny`].
    pub fn tiny() -> Self {
        Self {
            id_embed_dim: 12,
            vision_hidden_size: 14,
            id_perceiver: IdPerceiverConfig { dim: 32, tokens: 2, depth: 2, head_dim: 16, ff_mult: 2, mlp_ratio: 4 },
            face_perceiver: FacePerceiverConfig { dim: 24, tokens: 4, depth: 2, head_dim: 8, ff_mult: 2 },
            can: CanConfig { id_proj_dim: 10, hidden_dim: 18 },
            face_modulation: FaceModulationConfig { hidden_dim: 12 },
            ..Self::for_backbone(&BackboneSizes::from(&DitConfig::tiny()))
        }
    }

    /// Reads and validates a configuration.
    ///
    /// # Errors
    /// When it is not an adapter's, or values make no sense.
    pub fn from_json(text: &str) -> Result<Self, ConfigError> {
        let json: serde_json::Value = serde_json::from_str(text)?;
        let field = |name: &str| json.get(name).unwrap_or(&serde_json::Value::Null);
        if field("format").as_str() != Some(FORMAT) {
            return Err(ConfigError::Format { found: field("format").to_string() });
        }
        if field("version").as_u64() != Some(VERSION) {
            return Err(ConfigError::Version { found: field("version").to_string() });
        }
        let config: Self = serde_json::from_value(json)?;
        config.validate()?;
        Ok(config)
    }

    /// The configuration as it is written to a file.
    ///
    /// # Panics
    /// Never: plain data can be written as JSON.
    pub fn to_json(&self) -> String {
        #[derive(Serialize)]
        struct File<'a> {
            format: &'static str,
            version: u64,
            #[serde(flatten)]
            config: &'a AdapterConfig,
        }
        let file = File { format: FORMAT, version: VERSION, config: self };
        serde_json::to_string_pretty(&file).expect("plain structs of numbers, strings and flags always serialise")
            + "\n"
    }

    /// Checks that the values make sense.
    ///
    /// # Errors
    /// [`ConfigError::Invalid`] with every problem at once.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let mut problems: Vec<ConfigProblem> = self
            .sizes()
            .into_iter()
            .filter(|(_, value)| !(1..=MAX_SIZE).contains(value))
            .map(|(field, value)| ConfigProblem::Size { field, value })
            .collect();
        let heads = [
            ("id_perceiver.dim", self.id_perceiver.dim, "id_perceiver.head_dim", self.id_perceiver.head_dim),
            ("face_perceiver.dim", self.face_perceiver.dim, "face_perceiver.head_dim", self.face_perceiver.head_dim),
        ];
        for (field, value, divisor_field, divisor) in heads {
            if divisor > 0 && !value.is_multiple_of(divisor) {
                problems.push(ConfigProblem::NotDivisible { field, value, divisor_field, divisor });
            }
        }
        let layers = &self.adapter_layers;
        if !layers.is_sorted_by(|a, b| a < b) || layers.last().is_some_and(|last| *last >= MAX_SIZE) {
            problems.push(ConfigProblem::Layers { found: layers.clone() });
        }
        for (switch, on) in [("structure_branch", self.modules.structure_branch), ("can", self.modules.can)] {
            if on && layers.is_empty() {
                problems.push(ConfigProblem::NoLayers { switch });
            }
        }
        if self.modules.can && !self.modules.identity_branch {
            problems.push(ConfigProblem::Switch { switch: "can", needs: "identity_branch" });
        }
        let trigger = &self.trigger_word;
        if trigger.is_empty()
            || trigger.contains(char::is_whitespace)
            || trigger.ends_with(super::class_word::is_punctuation)
        {
            problems.push(ConfigProblem::TriggerWord { found: trigger.clone() });
        }
        if let Some(encoders) = &self.encoders {
            for (field, path) in [("recogniser", &encoders.recogniser), ("vision", &encoders.vision)] {
                let inside = |path: &str| Path::new(path).components().all(|part| matches!(part, Component::Normal(_)));
                if let Some(path) = path.as_ref().filter(|path| path.is_empty() || !inside(path)) {
                    problems.push(ConfigProblem::EncoderPath { field, found: path.clone() });
                }
            }
        }
        if problems.is_empty() { Ok(()) } else { Err(ConfigError::Invalid { problems }) }
    }

    /// Checks that the adapter was made for this backbone.
    ///
    /// # Errors
    /// With every number that differs.
    pub fn check_backbone(&self, backbone: &BackboneSizes) -> Result<(), OtherBackbone> {
        let numbers = [
            ("attention heads", self.num_attention_heads, backbone.num_attention_heads),
            ("attention head width", self.attention_head_dim, backbone.attention_head_dim),
            ("time embedding width", self.time_embed_dim, backbone.time_embed_dim),
            ("text embedding width", self.text_embed_dim, backbone.text_embed_dim),
        ];
        let mut differences: Vec<SizeDifference> = numbers
            .into_iter()
            .filter(|(_, adapter, backbone)| adapter != backbone)
            .map(|(field, adapter, backbone)| SizeDifference { field, adapter, backbone })
            .collect();
        if let Some(needed) = self.adapter_layers.last().map(|last| last + 1).filter(|n| *n > backbone.num_layers) {
            let field = "number of blocks (at least)";
            differences.push(SizeDifference { field, adapter: needed, backbone: backbone.num_layers });
        }
        if differences.is_empty() { Ok(()) } else { Err(OtherBackbone { differences }) }
    }

    /// Width of the backbone.
    pub fn width(&self) -> usize {
        self.num_attention_heads * self.attention_head_dim
    }

    /// How often the class word is repeated for so many references: once for each identity token, 0 without the identity
    /// branch.
    pub fn class_word_repeats(&self, references: usize) -> usize {
        if self.modules.identity_branch { references * self.id_perceiver.tokens } else { 0 }
    }

    fn sizes(&self) -> [(&'static str, usize); 20] {
        let (id, face) = (&self.id_perceiver, &self.face_perceiver);
        [
            ("num_attention_heads", self.num_attention_heads),
            ("attention_head_dim", self.attention_head_dim),
            ("time_embed_dim", self.time_embed_dim),
            ("text_embed_dim", self.text_embed_dim),
            ("id_embed_dim", self.id_embed_dim),
            ("vision_hidden_size", self.vision_hidden_size),
            ("id_perceiver.dim", id.dim),
            ("id_perceiver.tokens", id.tokens),
            ("id_perceiver.depth", id.depth),
            ("id_perceiver.head_dim", id.head_dim),
            ("id_perceiver.ff_mult", id.ff_mult),
            ("id_perceiver.mlp_ratio", id.mlp_ratio),
            ("face_perceiver.dim", face.dim),
            ("face_perceiver.tokens", face.tokens),
            ("face_perceiver.depth", face.depth),
            ("face_perceiver.head_dim", face.head_dim),
            ("face_perceiver.ff_mult", face.ff_mult),
            ("can.id_proj_dim", self.can.id_proj_dim),
            ("can.hidden_dim", self.can.hidden_dim),
            ("face_modulation.hidden_dim", self.face_modulation.hidden_dim),
        ]
    }
}

/// One indented line for each item.
fn list(items: &[impl std::fmt::Display]) -> String {
    items.iter().map(|item| format!("  {item}")).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use rand::Rng;
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;
    use serde_json::{Value, json};

    use super::*;

    fn tiny_json() -> Value {
        serde_json::from_str(&AdapterConfig::tiny().to_json()).unwrap()
    }

    fn problems(change: impl FnOnce(&mut AdapterConfig)) -> Vec<ConfigProblem> {
        let mut config = AdapterConfig::tiny();
        change(&mut config);
        match config.validate() {
            Ok(()) => Vec::new(),
            Err(ConfigError::Invalid { problems }) => problems,
            Err(other) => panic!("{other}"),
        }
    }

    #[test]
    fn what_is_written_is_read_back() {
        let mut config = AdapterConfig::tiny();
        assert!(!config.to_json().contains("encoders"), "encoders are optional");
        assert_eq!(AdapterConfig::from_json(&config.to_json()).unwrap(), config);
        config.encoders = Some(Encoders { recogniser: Some("dlib".into()), vision: Some("vision".into()) });
        assert_eq!(AdapterConfig::from_json(&config.to_json()).unwrap(), config);
    }

    #[test]
    fn the_papers_sizes() {
        let config = AdapterConfig::for_backbone(&BackboneSizes::from(&DitConfig::cogvideox_5b()));
        config.validate().unwrap();
        assert_eq!(config.adapter_layers, (0..42).step_by(2).collect::<Vec<_>>());
        assert_eq!((config.width(), config.time_embed_dim, config.text_embed_dim), (3072, 512, 4096));
        assert_eq!((config.class_word_repeats(1), config.class_word_repeats(3)), (2, 6));
    }

    #[test]
    fn other_files_are_refused() {
        let refused = |change: &dyn Fn(&mut Value)| {
            let mut json = tiny_json();
            change(&mut json);
            AdapterConfig::from_json(&json.to_string()).unwrap_err()
        };
        assert!(matches!(AdapterConfig::from_json("{").unwrap_err(), ConfigError::Json(_)));
        assert!(
            matches!(AdapterConfig::from_json("[1]").unwrap_err(), ConfigError::Format { found } if found == "null")
        );
        assert!(
            matches!(refused(&|j| j["format"] = json!("lora")), ConfigError::Format { found } if found == "\"lora\"")
        );
        assert!(matches!(refused(&|j| j["version"] = json!(2)), ConfigError::Version { found } if found == "2"));
        assert!(matches!(refused(&|j| j["can"] = json!({})), ConfigError::Json(_)));
        assert!(matches!(refused(&|j| j["time_embed_dim"] = json!(-1)), ConfigError::Json(_)));
        assert!(matches!(refused(&|j| j["time_embed_dim"] = json!(0)), ConfigError::Invalid { .. }));
    }

    #[test]
    fn every_problem_is_reported_at_once() {
        let found = problems(|config| {
            config.id_perceiver.dim = 33;
            config.face_perceiver.tokens = 0;
            config.num_attention_heads = usize::MAX;
            config.adapter_layers = vec![2, 0];
            config.modules.identity_branch = false;
            config.trigger_word = "two words".into();
            config.encoders = Some(Encoders { recogniser: Some("arcface".into()), vision: Some("../vit".into()) });
        });
        let expected = [
            ConfigProblem::Size { field: "num_attention_heads", value: usize::MAX },
            ConfigProblem::Size { field: "face_perceiver.tokens", value: 0 },
            ConfigProblem::NotDivisible {
                field: "id_perceiver.dim",
                value: 33,
                divisor_field: "id_perceiver.head_dim",
                divisor: 16,
            },
            ConfigProblem::Layers { found: vec![2, 0] },
            ConfigProblem::Switch { switch: "can", needs: "identity_branch" },
            ConfigProblem::TriggerWord { found: "two words".into() },
            ConfigProblem::EncoderPath { field: "vision", found: "../vit".into() },
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn edges_of_what_is_valid() {
        assert_eq!(problems(|c| c.adapter_layers = vec![1, 1]), [ConfigProblem::Layers { found: vec![1, 1] }]);
        assert_eq!(problems(|c| c.adapter_layers = vec![MAX_SIZE]), [ConfigProblem::Layers { found: vec![MAX_SIZE] }]);
        assert_eq!(problems(|c| c.adapter_layers = vec![]).len(), 2, "structure branch and CAN need a block");
        assert_eq!(problems(|c| c.trigger_word = "img,".into()).len(), 1);
        assert_eq!(problems(|c| c.trigger_word = String::new()).len(), 1);
        for path in ["/vit", "", "."] {
            let encoders = Encoders { recogniser: None, vision: Some(path.into()) };
            assert_eq!(problems(|c| c.encoders = Some(encoders)).len(), 1, "{path:?}");
        }
        let none = Modules { identity_branch: false, structure_branch: false, face_modulation: true, can: false };
        assert_eq!(problems(|c| (c.modules, c.adapter_layers) = (none, vec![])), []);
    }

    #[test]
    fn another_backbone_is_named_number_by_number() {
        let config = AdapterConfig::tiny();
        let backbone = BackboneSizes::from(&DitConfig::tiny());
        config.check_backbone(&backbone).unwrap();
        config.check_backbone(&BackboneSizes { num_layers: 3, ..backbone }).unwrap();
        let other = BackboneSizes { num_layers: 2, time_embed_dim: 25, ..backbone };
        let error = config.check_backbone(&other).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the adapter was made for another backbone:\n  time embedding width: adapter 24, backbone 25\n  \
             number of blocks (at least): adapter 3, backbone 2"
        );
        let all = BackboneSizes {
            num_layers: 1,
            num_attention_heads: 1,
            attention_head_dim: 1,
            time_embed_dim: 1,
            text_embed_dim: 1,
        };
        assert_eq!(config.check_backbone(&all).unwrap_err().differences.len(), 5);
    }

    /// Any JSON gives a configuration or an error; a configuration that is accepted passes its own checks again.
    #[test]
    fn random_json_never_panics() {
        fn random(rng: &mut ChaCha8Rng) -> Value {
            match rng.random_range(0..9) {
                0 => Value::Null,
                1 => json!(rng.random::<u64>()),
                2 => json!(rng.random_range(-3..40)),
                3 => json!(rng.random::<f64>()),
                4 => json!((0..rng.random_range(0..4)).map(|_| rng.random_range(0..9)).collect::<Vec<u32>>()),
                5 => json!(rng.random::<bool>()),
                6 => json!({"dim": 8, "tokens": rng.random::<u32>()}),
                7 => json!((0..rng.random_range(0..6)).map(|_| rng.random::<char>()).collect::<String>()),
                _ => json!("img"),
            }
        }
        fn mutate(json: &mut Value, rng: &mut ChaCha8Rng) {
            match json {
                Value::Object(map) if rng.random_range(0..8) > 0 => {
                    let at = rng.random_range(0..map.len());
                    let key = map.keys().nth(at).unwrap().clone();
                    if rng.random_range(0..16) == 0 { drop(map.remove(&key)) } else { mutate(&mut map[&key], rng) }
                }
                other => *other = random(rng),
            }
        }
        let mut rng = ChaCha8Rng::seed_from_u64(3);
        let (mut accepted, mut refused) = (0, 0);
        for _ in 0..4000 {
            let mut json = tiny_json();
            mutate(&mut json, &mut rng);
            let mut text = json.to_string();
            if rng.random_range(0..4) == 0 {
                let at = rng.random_range(0..text.len());
                text.truncate((0..=at).rev().find(|at| text.is_char_boundary(*at)).unwrap());
            }
            match AdapterConfig::from_json(&text) {
                Ok(config) => {
                    config.validate().unwrap();
                    assert_eq!(AdapterConfig::from_json(&config.to_json()).unwrap(), config);
                    accepted += 1;
                }
                Err(_) => refused += 1,
            }
        }
        assert!(accepted > 100 && refused > 100, "{accepted} accepted, {refused} refused: the test reaches both sides");
    }
}
