//! T5's tokenizer: exactly the ids that transformers' `T5Tokenizer` gives diffusers' `CogVideoXPipeline`.
//!
//! Special tokens are found first, in the raw text. What is between them is normalised by the model's character map,
//! split at white space, each word gets a leading `▁`, and the unigram model splits the words.

mod charsmap;
mod config;
mod error;
mod vocabulary;

use std::fs::File;
use std::io::Read;
use std::ops::Range;
use std::path::Path;

use tokenizers::models::unigram::Unigram;
use tokenizers::pre_tokenizers::metaspace::{Metaspace, PrependScheme};
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::pre_tokenizers::whitespace::WhitespaceSplit;
use tokenizers::{
    AddedToken, DecoderWrapper, NormalizedString, Normalizer, PostProcessorWrapper, PreTokenizerWrapper, TokenizerImpl,
};

use charsmap::Charsmap;
use config::Config;
use error::Fault;
pub use error::TokenizerError;
use vocabulary::{UNKNOWN, Vocabulary};

/// Larger files are no tokenizers.
const MAX_FILE_BYTES: u64 = 32 << 20;

/// T5's tokenizer.
#[derive(Debug)]
pub struct Tokenizer {
    inner: TokenizerImpl<Unigram, Charsmap, Sequence, PostProcessorWrapper, DecoderWrapper>,
    pad: u32,
    eos: u32,
}

impl Tokenizer {
    /// Opens a folder that has `tokenizer.json` or, where that is missing, `spiece.model`; `tokenizer_config.json` is
    /// honoured if there is one.
    ///
    /// # Errors
    /// When there is neither, a file is damaged, or it belongs to another kind of tokenizer.
    pub fn open(folder: &Path) -> Result<Self, TokenizerError> {
        const JSON: &str = "tokenizer.json";
        const SENTENCEPIECE: &str = "spiece.model";
        let path = folder.join("tokenizer_config.json");
        let config = match read(&path)? {
            Some(bytes) => Config::parse(&bytes).map_err(|fault| fault.at(path))?,
            None => Config::default(),
        };
        let path = folder.join(JSON);
        if let Some(bytes) = read(&path)? {
            let build = || Self::new(Vocabulary::from_json(&bytes)?, &config);
            return build().map_err(|fault| fault.at(path));
        }
        let path = folder.join(SENTENCEPIECE);
        if let Some(bytes) = read(&path)? {
            let build = || Self::new(Vocabulary::from_sentencepiece(&bytes, &config)?, &config);
            return build().map_err(|fault| fault.at(path));
        }
        Err(TokenizerError::NotFound { folder: folder.to_owned(), tried: vec![JSON, SENTENCEPIECE] })
    }

    fn new(vocabulary: Vocabulary, config: &Config) -> Result<Self, Fault> {
        let added = config.added_tokens(&vocabulary);
        let charsmap = match vocabulary.charsmap.as_slice() {
            [] => None,
            bytes => Some(Charsmap::new(bytes)?),
        };
        if let Some(token) = added.iter().find(|token| vanishes(token, charsmap.as_ref())) {
            return Err(Fault::unsupported(format!("normalisation removes token {:?}", token.content)));
        }
        let model = Unigram::from(vocabulary.pieces, Some(UNKNOWN), false).map_err(Fault::invalid)?;
        let mut inner = TokenizerImpl::new(model);
        let words = Sequence::new(vec![
            PreTokenizerWrapper::WhitespaceSplit(WhitespaceSplit),
            PreTokenizerWrapper::Metaspace(Metaspace::new('▁', PrependScheme::Always, true)),
        ]);
        inner.with_normalizer(charsmap).with_pre_tokenizer(Some(words));
        inner.add_tokens(&added);
        inner.set_encode_special_tokens(config.split_special_tokens);
        let id = |token: &str| inner.token_to_id(token).ok_or_else(|| Fault::invalid(format!("no token {token:?}")));
        let (pad, eos) = (id(config.pad())?, id(config.eos())?);
        Ok(Self { inner, pad, eos })
    }

    /// One more than the largest id that [`Self::encode`] can give.
    pub fn vocab_size(&self) -> usize {
        let added = self.inner.get_added_vocabulary().get_added_tokens_decoder().keys().max();
        self.inner.get_vocab_size(false).max(added.map_or(0, |id| *id as usize + 1))
    }

    /// Splits a text into tokens: as many as fit into `length` with the end token after them, then padding.
    ///
    /// # Errors
    /// When the tokenizer refuses the text. (No text is known that it refuses.)
    pub fn encode(&self, text: &str, length: usize) -> Result<Encoding, TokenizerError> {
        let encoded =
            self.inner.encode(text, false).map_err(|error| TokenizerError::Encode { reason: error.to_string() })?;
        let kept = encoded.get_ids().len().min(length.saturating_sub(1));
        let mut ids = encoded.get_ids()[..kept].to_vec();
        if kept < length {
            ids.push(self.eos);
        }
        ids.resize(length, self.pad);
        let offsets = encoded.get_offsets().iter().map(|&(start, end)| start..end).collect();
        Ok(Encoding { ids, kept, offsets })
    }
}

/// A text as tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Encoding {
    /// Token ids: the text, the end token, padding.
    pub ids: Vec<u32>,
    kept: usize,
    offsets: Vec<Range<usize>>,
}

impl Encoding {
    /// Number of tokens before the padding, the end token included.
    pub fn tokens_without_padding(&self) -> usize {
        self.ids.len().min(self.kept + 1)
    }

    /// Bytes of the original text that each of its tokens stands for, those that were cut off included, without end token
    /// and padding.
    ///
    /// A token that only marks the start of a word has the range of the word's first character.
    pub fn offsets(&self) -> &[Range<usize>] {
        &self.offsets
    }

    /// Number of tokens cut off because the text is too long.
    pub fn truncated(&self) -> usize {
        self.offsets.len() - self.kept
    }

    /// The part of the text that was cut off; empty if nothing was. `text` is the one that was encoded.
    pub fn cut_text<'a>(&self, text: &'a str) -> &'a str {
        self.offsets.get(self.kept).and_then(|first| text.get(first.start..)).unwrap_or_default()
    }
}

/// True for a token that would match everywhere, because its normal form is empty.
fn vanishes(token: &AddedToken, charsmap: Option<&Charsmap>) -> bool {
    let mut content = NormalizedString::from(token.content.as_str());
    let normalised = charsmap.filter(|_| token.normalized).map_or(Ok(()), |charsmap| charsmap.normalize(&mut content));
    !token.content.is_empty() && (normalised.is_err() || content.is_empty())
}

/// Contents of a file, `None` if there is no such file.
fn read(path: &Path) -> Result<Option<Vec<u8>>, TokenizerError> {
    let io = |source| TokenizerError::Io { path: path.to_owned(), source };
    if !path.is_file() {
        return Ok(None);
    }
    let mut bytes = Vec::new();
    File::open(path).map_err(io)?.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes).map_err(io)?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err(Fault::unsupported(format!("more than {MAX_FILE_BYTES} bytes")).at(path));
    }
    Ok(Some(bytes))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use rand::rngs::StdRng;
    use rand::{Rng, SeedableRng};
    use tokenizers::normalizers::Precompiled;

    use super::*;

    const TEXTS: [&str; 6] = [
        "",
        "a man walking in the park, cafe\u{301}!",
        "\u{7}\u{1b}ﬁ\u{301} ①½™\r\n\u{85}a\0b ",
        "<extra_id_0> a</s>b <pad>\u{200b}<foo> ",
        "男の人が公園を歩く 😀👨\u{200d}👩",
        "Å\u{327}ngström \u{1100}\u{1161}\u{11a8} क्षि ﷺ ",
    ];

    fn golden(path: &str) -> Vec<u8> {
        fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../goldens").join(path)).unwrap()
    }

    fn from_sentencepiece(bytes: &[u8], config: &Config) -> Result<Tokenizer, Fault> {
        Tokenizer::new(Vocabulary::from_sentencepiece(bytes, config)?, config)
    }

    fn from_json(bytes: &[u8], config: &Config) -> Result<Tokenizer, Fault> {
        Tokenizer::new(Vocabulary::from_json(bytes)?, config)
    }

    fn configured(json: &str) -> Tokenizer {
        from_sentencepiece(&golden("t5/tokenizer/spiece.model"), &Config::parse(json.as_bytes()).unwrap()).unwrap()
    }

    /// The `tokenizer.json` of the same tokenizer, written by the crate's own serialiser.
    fn as_json(spiece: &[u8]) -> Vec<u8> {
        let vocabulary = Vocabulary::from_sentencepiece(spiece, &Config::default()).unwrap();
        let normalizer = (!vocabulary.charsmap.is_empty()).then(|| Precompiled::from(&vocabulary.charsmap).unwrap());
        let added = [(0, "<pad>"), (1, "</s>"), (2, "<unk>")].map(|(id, content)| {
            serde_json::json!({"id": id, "content": content, "single_word": false, "lstrip": false, "rstrip": false,
                "normalized": false, "special": true})
        });
        let root = serde_json::json!({
            "added_tokens": added,
            "normalizer": {"type": "Sequence", "normalizers": [normalizer]},
            "model": {"type": "Unigram", "unk_id": 2, "vocab": vocabulary.pieces, "byte_fallback": false},
        });
        serde_json::to_vec(&root).unwrap()
    }

    fn check_invariants(tokenizer: &Tokenizer, text: &str, length: usize) {
        let encoding = tokenizer.encode(text, length).unwrap();
        assert_eq!(encoding.ids.len(), length);
        assert!(encoding.tokens_without_padding() <= length);
        assert!(encoding.ids.iter().all(|&id| (id as usize) < tokenizer.vocab_size()));
        assert!(encoding.offsets().iter().all(|range| range.start <= range.end && range.end <= text.len()));
        assert_eq!(encoding.cut_text(text).is_empty(), encoding.truncated() == 0, "{text:?}");
    }

    #[test]
    fn both_files_give_the_same_ids() {
        let spiece = golden("t5/tokenizer/spiece.model");
        let config = Config::default();
        let first = from_sentencepiece(&spiece, &config).unwrap();
        let second = from_json(&as_json(&spiece), &config).unwrap();
        for text in TEXTS {
            assert_eq!(first.encode(text, 40).unwrap(), second.encode(text, 40).unwrap(), "{text:?}");
        }
    }

    #[test]
    fn json_comes_before_spiece_model() {
        let folder = std::env::temp_dir().join(format!("magicmirror-tokenizer-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let spiece = golden("t5/tokenizer/spiece.model");
        fs::write(folder.join("spiece.model"), &spiece).unwrap();
        fs::write(folder.join("tokenizer_config.json"), r#"{"extra_ids": 1}"#).unwrap();
        let pieces = Tokenizer::open(&folder).unwrap().vocab_size();
        fs::write(folder.join("tokenizer.json"), as_json(&spiece)).unwrap();
        let with_json = Tokenizer::open(&folder).unwrap().vocab_size();
        fs::write(folder.join("tokenizer.json"), "{").unwrap();
        let damaged = Tokenizer::open(&folder).unwrap_err();
        fs::remove_dir_all(&folder).unwrap();
        // The JSON file brings its hundred sentinels with it.
        assert_eq!(with_json, pieces + 99);
        assert!(matches!(damaged, TokenizerError::Invalid { path, .. } if path.ends_with("tokenizer.json")));
    }

    /// Expected values: transformers 5.23 with this `spiece.model` (P pieces), relative to P.
    #[test]
    fn configuration_changes_special_tokens() {
        let default = configured("{}");
        let pieces = default.vocab_size() as u32 - 100;
        let first = |tokenizer: &Tokenizer, text| tokenizer.encode(text, 20).unwrap().ids[0];
        let foo = |tokenizer: &Tokenizer| first(tokenizer, "<foo> man");
        let sentinel = |tokenizer: &Tokenizer| first(tokenizer, "<extra_id_0>man");
        assert_eq!((sentinel(&default), foo(&default)), (pieces + 99, 3));
        // A list of special tokens takes the sentinels' place; what is listed by role or by id does not.
        for list in [r#"{"additional_special_tokens": ["<foo>"]}"#, r#"{"extra_special_tokens": ["<foo>"]}"#] {
            let tokenizer = configured(list);
            assert_eq!((sentinel(&tokenizer), foo(&tokenizer)), (3, pieces + 100), "{list}");
        }
        for roles in [
            r#"{"extra_special_tokens": {"foo_token": "<foo>"}}"#,
            r#"{"added_tokens_decoder": {"7000": {"content": "<foo>"}}}"#,
            r#"{"bos_token": {"content": "<foo>", "lstrip": false}}"#,
            r#"{"unk_token": "<foo>"}"#,
        ] {
            let tokenizer = configured(roles);
            assert_eq!((sentinel(&tokenizer), foo(&tokenizer)), (pieces + 99, pieces + 100), "{roles}");
        }
        let few = configured(r#"{"extra_ids": 5}"#);
        assert_eq!((sentinel(&few), few.vocab_size() as u32), (pieces + 4, pieces + 5));
        let pad = configured(r#"{"pad_token": "<foo>"}"#).encode("", 2).unwrap();
        assert_eq!(pad.ids, [1, pieces + 100]);
        let eos = configured(r#"{"eos_token": "<foo>"}"#).encode("", 2).unwrap();
        assert_eq!(eos.ids, [pieces + 100, 0]);
        assert_eq!(sentinel(&configured(r#"{"split_special_tokens": true}"#)), 3);
    }

    #[test]
    fn files_of_other_tokenizers_are_refused() {
        let fault = |json: &str| from_json(json.as_bytes(), &Config::default()).err();
        for (json, reason) in [
            (r#"{"model": {"type": "BPE", "vocab": []}}"#, "a model of type BPE"),
            (r#"{"model": {"vocab": [["a", 0], ["b", 0], ["c", 0]], "unk_id": 0}}"#, "not the unknown token"),
        ] {
            assert!(matches!(fault(json), Some(Fault::Unsupported(text)) if text.contains(reason)), "{json}");
        }
        assert!(matches!(fault(r#"{"model": {"vocab": [["a", 0]]}}"#), Some(Fault::Invalid(_))));
        assert!(matches!(from_sentencepiece(b"", &Config::default()), Err(Fault::Unsupported(_))));
        for config in [r#"{"padding_side": "left"}"#, r#"{"truncation_side": "left"}"#, r#"{"extra_ids": 1000000}"#] {
            assert!(matches!(Config::parse(config.as_bytes()), Err(Fault::Unsupported(_))), "{config}");
        }
        // Normalised, the control character is nothing, and nothing is everywhere.
        let config = Config::parse(br#"{"added_tokens_decoder": {"9": {"content": "\u0007"}}}"#).unwrap();
        let fault = from_sentencepiece(&golden("t5/tokenizer/spiece.model"), &config).err();
        assert!(matches!(fault, Some(Fault::Unsupported(text)) if text.contains("removes token")));
    }

    #[test]
    fn offsets_behind_removed_characters() {
        let text = "\u{7}\u{1b}\u{1}man \u{7}man";
        let encoding = configured("{}").encode(text, 20).unwrap();
        let spans: Vec<&str> = encoding.offsets().iter().map(|range| &text[range.clone()]).collect();
        assert_eq!(spans.len(), 2, "{spans:?}");
        assert_eq!(spans[0], "man");
        assert!(spans[1].ends_with("man"), "{spans:?}");
    }

    #[test]
    fn any_text_can_be_encoded() {
        let tokenizer =
            configured(r#"{"added_tokens_decoder": {"7": {"content": " x", "lstrip": true, "rstrip": true}}}"#);
        let mut rng = StdRng::seed_from_u64(1);
        for _ in 0..3000 {
            let count = rng.random_range(0..20);
            let text: String = (0..count)
                .map(|_| match rng.random_range(0..4) {
                    0 => char::from(rng.random_range(0..128u8)),
                    1 => ['\u{301}', '\u{200d}', '\u{85}', '▁', 'ﬁ', '\u{e33}', '<', 'x', ' '][rng.random_range(0..9)],
                    2 => char::from_u32(rng.random_range(0..0x3000)).unwrap_or('a'),
                    _ => char::from_u32(rng.random_range(0..0x11_0000)).unwrap_or('a'),
                })
                .collect();
            check_invariants(&tokenizer, &text, rng.random_range(0..12));
        }
    }

    /// Damages a file in a few places, or all over, or cuts it.
    fn damage(bytes: &[u8], rng: &mut StdRng) -> Vec<u8> {
        let mut bytes = bytes.to_vec();
        match rng.random_range(0..8) {
            0 => bytes.truncate(rng.random_range(0..bytes.len())),
            1 => bytes.iter_mut().for_each(|byte| *byte = rng.random()),
            _ => {
                let near = rng.random_range(1..=bytes.len());
                for _ in 0..rng.random_range(1..4) {
                    bytes[rng.random_range(0..near)] = rng.random();
                }
            }
        }
        bytes
    }

    #[test]
    fn damaged_files_give_errors_or_other_tokens() {
        let mut rng = StdRng::seed_from_u64(2);
        for (file, rounds) in [("backbone/image_rope/tokenizer/spiece.model", 600), ("t5/tokenizer/spiece.model", 100)]
        {
            let spiece = golden(file);
            let json = as_json(&spiece);
            let mut opened = [0, 0];
            for _ in 0..rounds {
                let config = Config::default();
                let spiece = from_sentencepiece(&damage(&spiece, &mut rng), &config);
                let json = from_json(&damage(&json, &mut rng), &config);
                for (opened, tokenizer) in opened.iter_mut().zip([spiece, json]) {
                    let Ok(tokenizer) = tokenizer else { continue };
                    *opened += 1;
                    for text in TEXTS {
                        check_invariants(&tokenizer, text, 12);
                    }
                }
            }
            assert!(!opened.contains(&0), "no damaged file was opened: the texts were not tried");
        }
    }

    #[test]
    fn damaged_character_maps_give_errors_or_other_tokens() {
        let mut rng = StdRng::seed_from_u64(4);
        let spiece = golden("t5/tokenizer/spiece.model");
        let charsmap = Vocabulary::from_sentencepiece(&spiece, &Config::default()).unwrap().charsmap;
        let (mut opened, mut refused) = (0, 0);
        for _ in 0..200 {
            match Charsmap::new(&damage(&charsmap, &mut rng)) {
                Err(_) => refused += 1,
                Ok(charsmap) => {
                    opened += 1;
                    for text in TEXTS {
                        charsmap.normalize(&mut NormalizedString::from(text)).unwrap();
                    }
                }
            }
        }
        assert!(opened > 20 && refused > 20, "{opened} opened, {refused} refused");
    }

    #[test]
    fn damaged_configurations_give_errors_or_other_tokens() {
        let spiece = golden("backbone/image_rope/tokenizer/spiece.model");
        let json = golden("t5/tokenizer/tokenizer_config.json");
        let mut rng = StdRng::seed_from_u64(3);
        for _ in 0..1000 {
            let Ok(config) = Config::parse(&damage(&json, &mut rng)) else { continue };
            let Ok(tokenizer) = from_sentencepiece(&spiece, &config) else { continue };
            for text in TEXTS {
                check_invariants(&tokenizer, text, 12);
            }
        }
    }
}
