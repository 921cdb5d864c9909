use std::collections::BTreeMap;

use serde::Deserialize;
use tokenizers::AddedToken;

use super::error::Fault;
use super::vocabulary::Vocabulary;

/// More sentinels than this are a mistake in the file.
const MAX_EXTRA_IDS: usize = 10_000;

/// The part of `tokenizer_config.json` that changes token ids.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Config {
    extra_ids: Option<usize>,
    bos_token: Option<Name>,
    eos_token: Option<Name>,
    unk_token: Option<Name>,
    sep_token: Option<Name>,
    pad_token: Option<Name>,
    cls_token: Option<Name>,
    mask_token: Option<Name>,
    additional_special_tokens: Option<Vec<Name>>,
    extra_special_tokens: Option<Names>,
    added_tokens_decoder: Option<BTreeMap<u32, TokenEntry>>,
    padding_side: Option<String>,
    truncation_side: Option<String>,
    pub(super) split_special_tokens: bool,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
enum Name {
    Text(String),
    Token { content: String },
}

impl Name {
    fn text(&self) -> &str {
        match self {
            Self::Text(text) | Self::Token { content: text } => text,
        }
    }
}

#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
enum Names {
    List(Vec<Name>),
    ByRole(BTreeMap<String, Name>),
}

/// One token on top of the vocabulary, as both JSON files describe it.
#[derive(Debug, Clone, Deserialize)]
#[expect(clippy::struct_excessive_bools, reason = "the format has them")]
pub(super) struct TokenEntry {
    content: String,
    #[serde(default)]
    single_word: bool,
    #[serde(default)]
    lstrip: bool,
    #[serde(default)]
    rstrip: bool,
    #[serde(default = "yes")]
    normalized: bool,
    #[serde(default)]
    special: bool,
}

fn yes() -> bool {
    true
}

impl From<&TokenEntry> for AddedToken {
    fn from(entry: &TokenEntry) -> Self {
        Self::from(entry.content.clone(), entry.special)
            .single_word(entry.single_word)
            .lstrip(entry.lstrip)
            .rstrip(entry.rstrip)
            .normalized(entry.normalized)
    }
}

impl Config {
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, Fault> {
        let config: Self = serde_json::from_slice(bytes).map_err(Fault::invalid)?;
        if config.extra_ids.is_some_and(|count| count > MAX_EXTRA_IDS) {
            return Err(Fault::unsupported(format!("extra_ids above {MAX_EXTRA_IDS}")));
        }
        for (name, side) in [("padding_side", &config.padding_side), ("truncation_side", &config.truncation_side)] {
            if let Some(side) = side.as_deref().filter(|side| *side != "right") {
                return Err(Fault::unsupported(format!("{name} {side:?}")));
            }
        }
        Ok(config)
    }

    /// Number of sentinels `<extra_id_0>`, `<extra_id_1>`, ….
    pub(super) fn extra_ids(&self) -> usize {
        self.extra_ids.unwrap_or(100)
    }

    pub(super) fn eos(&self) -> &str {
        self.eos_token.as_ref().map_or("</s>", Name::text)
    }

    pub(super) fn pad(&self) -> &str {
        self.pad_token.as_ref().map_or("<pad>", Name::text)
    }

    fn unk(&self) -> &str {
        self.unk_token.as_ref().map_or("<unk>", Name::text)
    }

    /// All tokens found in a text before anything else, in the order in which new ones get ids.
    ///
    /// As upstream: a list of special tokens in the configuration replaces the sentinels of a vocabulary from
    /// `spiece.model`, but not what the configuration or `tokenizer.json` list with ids.
    pub(super) fn added_tokens(&self, vocabulary: &Vocabulary) -> Vec<AddedToken> {
        let special = |text: &str| AddedToken::from(text, true);
        let listed = self.added_tokens_decoder.as_ref().unwrap_or(&vocabulary.added);
        let mut tokens: Vec<AddedToken> = listed.values().map(Into::into).collect();
        let optional = |name: &'_ Option<Name>| name.as_ref().map(|name| name.text().to_owned());
        let named = [
            optional(&self.bos_token),
            Some(self.eos().to_owned()),
            Some(self.unk().to_owned()),
            optional(&self.sep_token),
            Some(self.pad().to_owned()),
            optional(&self.cls_token),
            optional(&self.mask_token),
        ];
        tokens.extend(named.iter().flatten().map(|name| special(name)));
        if let Some(Names::ByRole(names)) = &self.extra_special_tokens {
            tokens.extend(names.values().map(|name| special(name.text())));
        }
        let list = match &self.extra_special_tokens {
            Some(Names::List(list)) => Some(list),
            _ => self.additional_special_tokens.as_ref(),
        };
        if let Some(list) = list {
            tokens.extend(list.iter().map(|name| special(name.text())));
        } else {
            tokens.extend(vocabulary.symbols.iter().cloned());
            tokens.extend((0..self.extra_ids()).map(|index| special(&sentinel(index))));
        }
        tokens
    }
}

pub(super) fn sentinel(index: usize) -> String {
    format!("<extra_id_{index}>")
}
