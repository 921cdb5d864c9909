use std::fs;

use burn::tensor::{DType, Device, Int, Tensor, TensorData};
use magicmirror_models::text::{T5Config, T5Encoder, Tokenizer};
use magicmirror_models::weights::{Checkpoint, Init, Params, Precision, TensorSource, WeightsError};
use magicmirror_testkit::{ONE_CALL, Values, assert_close, golden};
use serde_json::Value;

const BACKBONES: [&str; 6] = ["image_rope", "rope_ddim", "rope_dpm_dyn", "sincos_ddim", "sincos_irregular", "v15_ddim"];

fn json(path: &str) -> Value {
    serde_json::from_slice(&fs::read(golden(path)).unwrap()).unwrap()
}

fn ids_of(value: &Value) -> Vec<u32> {
    value.as_array().unwrap().iter().map(|id| id.as_u64().unwrap() as u32).collect()
}

fn config(folder: &str) -> T5Config {
    T5Config::from_json(&fs::read_to_string(golden(folder).join("config.json")).unwrap()).unwrap()
}

fn load(folder: &str, precision: Precision) -> T5Encoder {
    let config = config(folder);
    let checkpoint = Checkpoint::open_folder(&golden(folder), "model").unwrap();
    checkpoint.load(T5Encoder::NAMES, precision, &Device::flex(), |params| T5Encoder::new(&config, params)).unwrap().0
}

fn embed(encoder: &T5Encoder, ids: &[i64], tokens: usize) -> TensorData {
    let ids = TensorData::new(ids.to_vec(), [ids.len() / tokens, tokens]);
    encoder.forward(Tensor::<2, Int>::from_data(ids, &Device::flex())).into_data()
}

#[test]
fn token_ids_of_awkward_texts() {
    let tokenizer = Tokenizer::open(&golden("t5/tokenizer")).unwrap();
    let mut failures = Vec::new();
    for case in json("t5/tokenizer_cases.json")["spiece"].as_array().unwrap() {
        let text = case["text"].as_str().unwrap();
        let expected = ids_of(&case["ids"]);
        let whole = tokenizer.encode(text, expected.len()).unwrap();
        let padded = tokenizer.encode(text, 226).unwrap();
        let padded_expected =
            case.get("padded").map_or_else(|| [expected.clone(), vec![0; 226 - expected.len()]].concat(), ids_of);
        if whole.ids != expected || whole.truncated() != 0 || padded.ids != padded_expected {
            failures.push(format!("{text:?}: expected {expected:?}, found {:?}", whole.ids));
        }
        assert_eq!(padded.truncated(), expected.len().saturating_sub(226), "{text:?}");
        assert_eq!(padded.tokens_without_padding(), expected.len().min(226), "{text:?}");
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn prompts_of_the_backbone_cases() {
    for name in BACKBONES {
        let folder = format!("backbone/{name}");
        let case = json(&format!("{folder}/case.json"));
        let expected = Values::open(&format!("{folder}/expected.safetensors"));
        let tokenizer = Tokenizer::open(&golden(&format!("{folder}/tokenizer"))).unwrap();
        let encoder = load(&format!("{folder}/text_encoder"), Precision::Stored);
        let ids = expected.integers("token_ids");
        let tokens = ids.len() / 2;
        let rows = [("prompt", "prompt_embeds"), ("negative_prompt", "negative_prompt_embeds")];
        for ((prompt, embeds), ids) in rows.into_iter().zip(ids.chunks(tokens)) {
            let found = tokenizer.encode(case[prompt].as_str().unwrap(), tokens).unwrap();
            assert_eq!(found.ids.iter().map(|id| i64::from(*id)).collect::<Vec<_>>(), ids, "{name} {prompt}");
            let what = format!("{name} {embeds}");
            assert_close(&what, embed(&encoder, ids, tokens), &expected.data(embeds), ONE_CALL);
        }
    }
}

#[test]
fn encoder_on_long_sequences() {
    let expected = Values::open("t5/encoder.safetensors");
    let ids = expected.integers("input_ids");
    let tokens = ids.len() / 2;
    let encoder = load("t5/text_encoder", Precision::Stored);
    let both = embed(&encoder, &ids, tokens);
    assert_close("hidden", both.clone(), &expected.data("hidden"), ONE_CALL);

    let rows: Vec<f32> =
        ids.chunks(tokens).flat_map(|row| embed(&encoder, row, tokens).try_to_vec::<f32>().unwrap()).collect();
    // The same sums, blocked differently.
    assert_close("one by one", TensorData::new(rows, both.shape()), &both, 1e-6);
}

#[test]
fn half_precision_weights_count_as_they_are_stored() {
    /// Rounds to half precision, and hands out f32.
    struct Rounded(Checkpoint, Precision);
    impl TensorSource for Rounded {
        fn tensor(&mut self, name: &str, _shape: &[usize], _init: Init) -> Option<TensorData> {
            Some(self.0.read(name, self.1).unwrap().convert_dtype(DType::F32))
        }
    }
    let ids = Values::open("t5/encoder.safetensors").integers("input_ids");
    let tokens = ids.len() / 2;
    let config = config("t5/text_encoder");
    for precision in [Precision::Bf16, Precision::F16] {
        let checkpoint = Checkpoint::open_folder(&golden("t5/text_encoder"), "model").unwrap();
        let mut source = Rounded(checkpoint, precision);
        let (rounded, _) = Params::build(&mut source, &Device::flex(), |params| T5Encoder::new(&config, params));
        let expected = embed(&rounded, &ids, tokens);
        let stored = load("t5/text_encoder", precision);
        assert_close(&format!("{precision:?}"), embed(&stored, &ids, tokens), &expected, ONE_CALL);
    }
}

#[test]
fn weights_that_do_not_fit_are_named() {
    let checkpoint = Checkpoint::open_folder(&golden("t5/text_encoder"), "model").unwrap();
    let mut config = config("t5/text_encoder");
    config.d_ff += 1;
    config.num_layers += 1;
    let error = checkpoint.check(T5Encoder::NAMES, |params| T5Encoder::new(&config, params)).unwrap_err();
    let WeightsError::Mismatch { mismatch, .. } = error else { panic!("{error}") };
    let misshapen: Vec<&str> = mismatch.misshapen.iter().map(|tensor| tensor.name.as_str()).collect();
    assert!(misshapen.contains(&"encoder.block.1.layer.1.DenseReluDense.wi_0.weight"), "{misshapen:?}");
    assert_eq!(mismatch.missing.len(), 9, "{:?}", mismatch.missing);
    assert!(mismatch.missing.iter().all(|(name, _)| name.starts_with("encoder.block.2.")), "{:?}", mismatch.missing);
    assert_eq!(mismatch.extra, []);
}

#[test]
fn words_cut_off_are_reported() {
    let tokenizer = Tokenizer::open(&golden("t5/tokenizer")).unwrap();
    let text = "a man xyz";
    let whole = tokenizer.encode(text, 50).unwrap();
    assert_eq!((whole.truncated(), whole.cut_text(text)), (0, ""));
    let cut = tokenizer.encode(text, whole.tokens_without_padding() - 1).unwrap();
    assert_eq!(cut.truncated(), 1);
    assert_eq!(cut.ids.last(), Some(&1));
    assert!(text.ends_with(cut.cut_text(text)) && !cut.cut_text(text).is_empty());

    let nothing = tokenizer.encode(text, 0).unwrap();
    assert_eq!((nothing.ids.len(), nothing.tokens_without_padding()), (0, 0));
    assert_eq!(tokenizer.encode(text, 1).unwrap().ids, [1]);
}

#[test]
fn folders_without_tokenizer() {
    let folder = golden("t5/text_encoder");
    let message = Tokenizer::open(&folder).unwrap_err().to_string();
    assert!(message.contains("tokenizer.json, spiece.model"), "{message}");
}
