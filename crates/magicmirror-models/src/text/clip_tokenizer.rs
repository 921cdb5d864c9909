//! CLIP's tokenizer: byte-level pair encoding of lower-case text, with the vocabulary of all released CLIP models.
//!
//! Source: OpenAI CLIP, `clip/simple_tokenizer.py`. Departures: text is not repaired by `ftfy` beyond Unicode's canonical
//! composition, and HTML entities are left as they are.

use std::collections::HashMap;

use serde_json::json;
use tokenizers::Tokenizer;

/// The pairs that are merged, most frequent first, after a line that names the format.
const MERGES: &str = include_str!("../../../../assets/text/clip_merges.txt");
const START: &str = "<|startoftext|>";
const END: &str = "<|endoftext|>";

/// The tokenizer.
#[derive(Debug, Clone)]
pub struct ClipTokenizer {
    tokenizer: Tokenizer,
    start: u32,
    end: u32,
}

impl Default for ClipTokenizer {
    fn default() -> Self {
        Self::new()
    }
}

impl ClipTokenizer {
    /// The tokenizer with the vocabulary of 49,408 tokens.
    pub fn new() -> Self {
        let merges: Vec<&str> = MERGES.lines().skip(1).filter(|line| !line.is_empty()).collect();
        let characters = byte_characters();
        let words = characters.iter().map(|character| format!("{character}</w>"));
        let alone = characters.iter().map(char::to_string);
        let merged = merges.iter().map(|pair| pair.replace(' ', ""));
        let tokens = alone.chain(words).chain(merged).chain([START.to_owned(), END.to_owned()]);
        let vocabulary: HashMap<String, u32> = tokens.zip(0..).collect();
        let (start, end) = (vocabulary[START], vocabulary[END]);
        let tokenizer = json!({
            "version": "1.0",
            "normalizer": {"type": "Sequence", "normalizers": [
                {"type": "NFC"},
                {"type": "Replace", "pattern": {"Regex": r"\s+"}, "content": " "},
                {"type": "Lowercase"},
            ]},
            "pre_tokenizer": {"type": "Sequence", "pretokenizers": [
                {"type": "Split", "behavior": "Removed", "invert": true, "pattern": {
                    "Regex": r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"
                }},
                {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false},
            ]},
            "model": {"type": "BPE", "unk_token": END, "continuing_subword_prefix": "", "end_of_word_suffix": "</w>",
                      "fuse_unk": false, "vocab": vocabulary, "merges": merges},
        });
        Self { tokenizer: built_in(tokenizer), start, end }
    }

    /// Token ids of a text, first and last token included; what goes beyond `length` is cut before the last token, as CLIP
    /// does where it truncates. There is no padding.
    ///
    /// # Panics
    /// When `length` leaves no room for the first and last token.
    pub fn encode(&self, text: &str, length: usize) -> Vec<u32> {
        assert!(length >= 2, "{length} tokens hold no first and last one");
        let encoding = self.tokenizer.encode(text, false).expect("every byte has a token");
        let words = encoding.get_ids().iter().copied().take(length - 2);
        [self.start].into_iter().chain(words).chain([self.end]).collect()
    }
}

fn built_in(description: serde_json::Value) -> Tokenizer {
    serde_json::from_value(description).expect("the description is part of the program")
}

/// A printable character for every byte, in the order of the vocabulary: first those that are printable themselves.
fn byte_characters() -> Vec<char> {
    let printable = |byte: &u8| matches!(byte, b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff);
    let themselves = (0..=u8::MAX).filter(printable).map(char::from);
    let others = (0..=u8::MAX).filter(|byte| !printable(byte)).count();
    themselves.chain((0..others as u32).filter_map(|index| char::from_u32(256 + index))).collect()
}
