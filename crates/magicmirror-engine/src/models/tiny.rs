use std::fs;
use std::path::Path;

use burn::module::Module;
use burn::tensor::Device;
use magicmirror_models::adapter::{Adapter, AdapterConfig, Encoders};
use magicmirror_models::dit::{Dit, DitConfig};
use magicmirror_models::text::{T5Config, T5Encoder};
use magicmirror_models::vae::{Vae, VaeConfig};
use magicmirror_models::vision::vit::{VisionConfig, VisionTransformer};
use magicmirror_models::weights::{Params, initialise, named_tensors, save_safetensors, write_aside};
use serde_json::{Value, json};

use crate::EngineError;

/// Height, width and frames that the tiny model is made for.
const TINY_SIZE: (usize, usize, usize) = (96, 144, 17);

const PROMPT_TOKENS: usize = 48;

/// Words that the tiny model's tokenizer knows as a whole; all else is spelt.
const WORDS: &str = "a an the of in on at to and with man woman boy girl baby person child elderly img smiling walking \
                     talking reading playing guitar park beach street room light warm soft red blue green camera \
                     portrait looking close up";

/// Writes a complete tiny model with random weights: `backbone/` (a pipeline folder), `adapter/` and in it `vision/`.
///
/// It passes through every stage of a run in seconds. Its videos are noise.
///
/// # Errors
/// When the folder cannot be written.
pub fn write_tiny(folder: &Path, seed: u64) -> Result<(), EngineError> {
    let backbone = folder.join("backbone");
    let (height, width, frames) = TINY_SIZE;
    write_json(
        &backbone.join("model_index.json"),
        &json!({
            "_class_name": "CogVideoXPipeline",
            "scheduler": ["diffusers", "CogVideoXDDIMScheduler"],
            "text_encoder": ["transformers", "T5EncoderModel"],
            "tokenizer": ["transformers", "T5Tokenizer"],
            "transformer": ["diffusers", "CogVideoXTransformer3DModel"],
            "vae": ["diffusers", "AutoencoderKLCogVideoX"],
        }),
    )?;
    write_json(
        &backbone.join("scheduler/scheduler_config.json"),
        &json!({"_class_name": "CogVideoXDDIMScheduler", "snr_shift_scale": 1.0}),
    )?;
    let vocabulary = write_tokenizer(&backbone.join("tokenizer"))?;
    write_part(
        &backbone.join("text_encoder"),
        "model",
        &json!({
            "architectures": ["T5EncoderModel"], "model_type": "t5", "vocab_size": vocabulary, "d_model": 32,
            "d_kv": 8, "d_ff": 64, "num_layers": 2, "num_heads": 4, "feed_forward_proj": "gated-gelu",
            "relative_attention_num_buckets": 32, "relative_attention_max_distance": 128, "layer_norm_epsilon": 1e-6,
        }),
        seed,
        |config, params| Ok(T5Encoder::new(&T5Config::from_json(&config.to_string())?, params)),
    )?;
    write_part(
        &backbone.join("transformer"),
        "diffusion_pytorch_model",
        &json!({
            "_class_name": "CogVideoXTransformer3DModel", "num_attention_heads": 4, "attention_head_dim": 16,
            "in_channels": 8, "out_channels": 8, "time_embed_dim": 64, "text_embed_dim": 32, "num_layers": 4,
            "sample_height": height / 8, "sample_width": width / 8, "sample_frames": frames,
            "max_text_seq_length": PROMPT_TOKENS, "use_rotary_positional_embeddings": true,
        }),
        seed + 1,
        |config, params| Ok(Dit::new(&parse::<DitConfig>(config), params)),
    )?;
    write_part(
        &backbone.join("vae"),
        "diffusion_pytorch_model",
        &json!({
            "_class_name": "AutoencoderKLCogVideoX", "block_out_channels": [8, 8, 16, 16], "latent_channels": 8,
            "layers_per_block": 1, "norm_num_groups": 4, "scaling_factor": 0.7, "temporal_compression_ratio": 4,
            "sample_height": height, "sample_width": width,
        }),
        seed + 2,
        |config, params| Ok(Vae::new(&parse::<VaeConfig>(config), params)),
    )?;
    write_adapter(&folder.join("adapter"), seed + 3)
}

fn write_adapter(folder: &Path, seed: u64) -> Result<(), EngineError> {
    let config = json!({
        "format": "magicmirror-adapter", "version": 1, "num_attention_heads": 4, "attention_head_dim": 16,
        "time_embed_dim": 64, "text_embed_dim": 32, "id_embed_dim": 128, "vision_hidden_size": 32,
        "adapter_layers": [0, 2],
        "id_perceiver": {"dim": 64, "tokens": 2, "depth": 2, "head_dim": 16, "ff_mult": 2, "mlp_ratio": 2},
        "face_perceiver": {"dim": 32, "tokens": 8, "depth": 2, "head_dim": 16, "ff_mult": 2},
        "can": {"id_proj_dim": 32, "hidden_dim": 64}, "face_modulation": {"hidden_dim": 32}, "trigger_word": "img",
        "modules": {"identity_branch": true, "structure_branch": true, "face_modulation": true, "can": true},
    });
    let mut config: AdapterConfig = parse(&config);
    config.encoders = Some(Encoders { recogniser: Some("dlib".into()), vision: Some("vision".into()) });
    Adapter::initialise(&config, seed, &Device::flex())?.save(folder)?;
    write_part(
        &folder.join("vision"),
        "model",
        &json!({
            "architectures": ["CLIPVisionModel"], "model_type": "clip_vision_model", "hidden_size": 32,
            "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 56,
            "patch_size": 14, "hidden_act": "quick_gelu", "layer_norm_eps": 1e-5,
        }),
        seed + 1,
        |config, params| Ok(VisionTransformer::new(&parse::<VisionConfig>(config), params)),
    )
}

/// Writes `config.json` and freshly initialised weights.
fn write_part<M: Module>(
    folder: &Path,
    stem: &str,
    config: &Value,
    seed: u64,
    build: impl FnOnce(&Value, &mut Params<'_, '_>) -> Result<M, EngineError>,
) -> Result<(), EngineError> {
    write_json(&folder.join("config.json"), config)?;
    let (module, names) = initialise(seed, &Device::flex(), |params| build(config, params));
    Ok(save_safetensors(&folder.join(format!("{stem}.safetensors")), &named_tensors(&module?, &names))?)
}

/// Writes a unigram tokenizer of words and characters; returns the size of its vocabulary.
fn write_tokenizer(folder: &Path) -> Result<usize, EngineError> {
    let mut pieces: Vec<Value> = ["<pad>", "</s>", "<unk>", "▁"].iter().map(|piece| json!([piece, 0.0])).collect();
    pieces.extend(WORDS.split_whitespace().map(|word| json!([format!("▁{word}"), -4.0])));
    pieces.extend((' '..='~').skip(1).map(|character| json!([character.to_string(), -8.0])));
    let count = pieces.len();
    let special = |id: usize, content: &str| {
        json!({"id": id, "content": content, "special": true, "normalized": false, "lstrip": false, "rstrip": false,
               "single_word": false})
    };
    write_json(
        &folder.join("tokenizer.json"),
        &json!({
            "version": "1.0",
            "added_tokens": [special(0, "<pad>"), special(1, "</s>"), special(2, "<unk>")],
            "model": {"type": "Unigram", "unk_id": 2, "vocab": pieces},
        }),
    )?;
    Ok(count)
}

fn write_json(path: &Path, value: &Value) -> Result<(), EngineError> {
    let folder = path.parent().unwrap_or(path);
    fs::create_dir_all(folder).map_err(EngineError::io(folder))?;
    Ok(write_aside(path, serde_json::to_string_pretty(value).expect("JSON prints").as_bytes())?)
}

fn parse<T: serde::de::DeserializeOwned>(config: &Value) -> T {
    serde_json::from_value(config.clone()).expect("the tiny model's configurations are valid")
}
