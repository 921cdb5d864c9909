use std::collections::BTreeMap;

use prost::Message;
use serde::Deserialize;
use tokenizers::AddedToken;

use super::config::{Config, TokenEntry, sentinel};
use super::error::Fault;

/// Id of the unknown token in every T5 vocabulary.
pub(super) const UNKNOWN: usize = 2;

/// Longer pieces are a mistake in the file. (The limit also bounds the depth of the tree of pieces, whose clean-up is
/// recursive.)
const MAX_PIECE_BYTES: usize = 1024;

/// Pieces and character map, from either file.
#[derive(Debug)]
pub(super) struct Vocabulary {
    /// Piece and log probability, by id; sentinels included.
    pub(super) pieces: Vec<(String, f64)>,
    /// Empty where the text is not normalised.
    pub(super) charsmap: Vec<u8>,
    /// Control and user-defined symbols of a `SentencePiece` model; none in a `tokenizer.json`.
    pub(super) symbols: Vec<AddedToken>,
    /// The added tokens of a `tokenizer.json`; none in a `SentencePiece` model.
    pub(super) added: BTreeMap<u32, TokenEntry>,
}

impl Vocabulary {
    /// From the bytes of `spiece.model`.
    pub(super) fn from_sentencepiece(bytes: &[u8], config: &Config) -> Result<Self, Fault> {
        let model = proto::Model::decode(bytes).map_err(Fault::invalid)?;
        let kind = model.trainer_spec.unwrap_or_default().model_type();
        if kind != proto::ModelType::Unigram {
            return Err(Fault::unsupported(format!("a SentencePiece model of type {}", kind.as_str_name())));
        }
        if model.pieces.get(UNKNOWN).is_none_or(|piece| piece.r#type() != proto::PieceType::Unknown) {
            return Err(Fault::unsupported(format!("piece {UNKNOWN} is not the unknown token: not a model of T5")));
        }
        let symbols = model
            .pieces
            .iter()
            .filter(|piece| matches!(piece.r#type(), proto::PieceType::Control | proto::PieceType::UserDefined))
            .map(|piece| AddedToken::from(piece.text(), piece.r#type() == proto::PieceType::Control).normalized(false))
            .collect();
        let sentinels = (0..config.extra_ids()).rev().map(|index| (sentinel(index), 0.0));
        let pieces = model.pieces.iter().map(|piece| (piece.text().to_owned(), f64::from(piece.score())));
        Self {
            pieces: pieces.chain(sentinels).collect(),
            charsmap: model.normalizer_spec.unwrap_or_default().precompiled_charsmap.unwrap_or_default(),
            symbols,
            added: BTreeMap::new(),
        }
        .checked()
    }

    /// From the bytes of `tokenizer.json`. Only vocabulary, character map and added tokens count, as upstream, which
    /// builds the rest itself.
    pub(super) fn from_json(bytes: &[u8]) -> Result<Self, Fault> {
        let json::Root { model, normalizer, added_tokens } = serde_json::from_slice(bytes).map_err(Fault::invalid)?;
        if model.kind.as_deref().is_some_and(|kind| kind != "Unigram") {
            return Err(Fault::unsupported(format!("a model of type {}", model.kind.unwrap_or_default())));
        }
        if model.unk_id.is_some_and(|id| id != UNKNOWN) {
            return Err(Fault::unsupported(format!("piece {UNKNOWN} is not the unknown token: not a model of T5")));
        }
        let charsmap = match normalizer.as_ref().and_then(json::Normalizer::charsmap) {
            Some(text) => decode_base64(text).ok_or_else(|| Fault::invalid("damaged character map"))?,
            None => Vec::new(),
        };
        let added = added_tokens.into_iter().map(|json::Added { id, token }| (id, token)).collect();
        Self { pieces: model.vocab, charsmap, symbols: Vec::new(), added }.checked()
    }

    fn checked(self) -> Result<Self, Fault> {
        if self.pieces.len() <= UNKNOWN {
            return Err(Fault::invalid(format!("a vocabulary of {} pieces", self.pieces.len())));
        }
        match self.pieces.iter().find(|(piece, _)| piece.len() > MAX_PIECE_BYTES) {
            Some((piece, _)) => Err(Fault::unsupported(format!("a piece of {} bytes", piece.len()))),
            None => Ok(self),
        }
    }
}

/// The fields used here of `sentencepiece_model.proto`.
mod proto {
    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Model {
        #[prost(message, repeated, tag = "1")]
        pub(super) pieces: Vec<Piece>,
        #[prost(message, optional, tag = "2")]
        pub(super) trainer_spec: Option<TrainerSpec>,
        #[prost(message, optional, tag = "3")]
        pub(super) normalizer_spec: Option<NormalizerSpec>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Piece {
        #[prost(string, optional, tag = "1")]
        pub(super) text: Option<String>,
        #[prost(float, optional, tag = "2")]
        pub(super) score: Option<f32>,
        #[prost(enumeration = "PieceType", optional, tag = "3", default = "Normal")]
        pub(super) r#type: Option<i32>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct TrainerSpec {
        #[prost(enumeration = "ModelType", optional, tag = "3", default = "Unigram")]
        pub(super) model_type: Option<i32>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct NormalizerSpec {
        #[prost(bytes = "vec", optional, tag = "2")]
        pub(super) precompiled_charsmap: Option<Vec<u8>>,
    }

    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
    #[repr(i32)]
    pub(super) enum PieceType {
        Normal = 1,
        Unknown = 2,
        Control = 3,
        UserDefined = 4,
        Unused = 5,
        Byte = 6,
    }

    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
    #[repr(i32)]
    pub(super) enum ModelType {
        Unigram = 1,
        Bpe = 2,
        Word = 3,
        Char = 4,
    }

    impl ModelType {
        pub(super) fn as_str_name(self) -> &'static str {
            match self {
                Self::Unigram => "unigram",
                Self::Bpe => "BPE",
                Self::Word => "word",
                Self::Char => "char",
            }
        }
    }
}

/// The fields used here of `tokenizer.json`.
mod json {
    use super::{Deserialize, TokenEntry};

    #[derive(Deserialize)]
    pub(super) struct Root {
        pub(super) model: Model,
        #[serde(default)]
        pub(super) normalizer: Option<Normalizer>,
        #[serde(default)]
        pub(super) added_tokens: Vec<Added>,
    }

    #[derive(Deserialize)]
    pub(super) struct Model {
        #[serde(default, rename = "type")]
        pub(super) kind: Option<String>,
        #[serde(default)]
        pub(super) unk_id: Option<usize>,
        pub(super) vocab: Vec<(String, f64)>,
    }

    #[derive(Deserialize)]
    pub(super) struct Added {
        pub(super) id: u32,
        #[serde(flatten)]
        pub(super) token: TokenEntry,
    }

    #[derive(Deserialize)]
    pub(super) struct Normalizer {
        #[serde(default)]
        precompiled_charsmap: Option<String>,
        #[serde(default)]
        normalizers: Vec<Normalizer>,
    }

    impl Normalizer {
        pub(super) fn charsmap(&self) -> Option<&str> {
            let inner = || self.normalizers.iter().find_map(Self::charsmap);
            self.precompiled_charsmap.as_deref().or_else(inner)
        }
    }
}

/// `None` for anything but the standard alphabet with padding.
fn decode_base64(text: &str) -> Option<Vec<u8>> {
    let (groups, rest) = text.as_bytes().as_chunks::<4>();
    if !rest.is_empty() {
        return None;
    }
    let mut bytes = Vec::with_capacity(groups.len() * 3);
    for (index, group) in groups.iter().enumerate() {
        let padding = group.iter().rev().take_while(|&&c| c == b'=').count();
        if padding > 2 || (padding > 0 && index + 1 < groups.len()) {
            return None;
        }
        let mut bits = 0;
        for &c in &group[..4 - padding] {
            let digit = match c {
                b'A'..=b'Z' => c - b'A',
                b'a'..=b'z' => c - b'a' + 26,
                b'0'..=b'9' => c - b'0' + 52,
                b'+' => 62,
                b'/' => 63,
                _ => return None,
            };
            bits = bits << 6 | u32::from(digit);
        }
        let [_, decoded @ ..] = (bits << (6 * padding)).to_be_bytes();
        bytes.extend_from_slice(&decoded[..3 - padding]);
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::decode_base64;

    #[test]
    fn base64_examples_of_rfc_4648() {
        for (text, bytes) in
            [("", ""), ("Zg==", "f"), ("Zm8=", "fo"), ("Zm9v", "foo"), ("Zm9vYg==", "foob"), ("Zm9vYmFy", "foobar")]
        {
            assert_eq!(decode_base64(text).as_deref(), Some(bytes.as_bytes()), "{text}");
        }
        for text in ["Z", "Zg=", "Zg=a", "Z===", "====", "Zg==Zg==", "Zm9\n"] {
            assert_eq!(decode_base64(text), None, "{text}");
        }
    }
}
