//! The class word: the word in a prompt that stands for the person, where the identity is put.
//!
//! The rules are this project's; the idea of a trigger after the class word is PhotoMaker's.

use std::ops::Range;

use thiserror::Error;

/// Words that are taken for the class word in a prompt without a trigger.
pub const CLASS_WORDS: &[&str] = &[
    "man",
    "woman",
    "boy",
    "girl",
    "baby",
    "child",
    "person",
    "lady",
    "gentleman",
    "guy",
    "gal",
    "kid",
    "toddler",
    "infant",
    "teenager",
    "lad",
    "grandmother",
    "grandfather",
];

/// Why a prompt has no place for the identity.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ClassWordError {
    /// Neither trigger nor a word of the list.
    #[error(
        "no word for the person found in the prompt: \"{prompt}\"\n\n\
         hint: write the person as one of {}, or put \"{trigger}\" after another word, as in \"a violinist {trigger} on stage\"",
        CLASS_WORDS[..9].join(", ")
    )]
    NotFound {
        /// The prompt.
        prompt: String,
        /// The adapter's trigger.
        trigger: String,
    },
    /// The trigger stands more than once.
    #[error(
        "the trigger \"{trigger}\" may stand once in the prompt, found: {count} times\n\nhint: one identity at a time"
    )]
    SeveralTriggers {
        /// The trigger.
        trigger: String,
        /// How often it stands.
        count: usize,
    },
    /// Nothing stands before the trigger.
    #[error(
        "the trigger \"{trigger}\" is the first word of the prompt\n\n\
         hint: it belongs after the word for the person, as in \"a woman {trigger} reading\""
    )]
    TriggerFirst {
        /// The trigger.
        trigger: String,
    },
    /// Only punctuation stands before the trigger.
    #[error(
        "the trigger \"{trigger}\" must follow the word for the person, found: \"{found}\"\n\n\
         hint: as in \"a woman {trigger} reading\""
    )]
    NotAWord {
        /// The trigger.
        trigger: String,
        /// What stands before it.
        found: String,
    },
    /// The tokenizer gives one of the repeats no token of its own.
    #[error("the tokenizer has no token for the word \"{word}\"\n\nhint: write the person in another way")]
    NoToken {
        /// The class word.
        word: String,
    },
    /// A marked token lies behind the end of what the text encoder takes.
    #[error(
        "the prompt is too long: the word \"{word}\" must end within the first {available} tokens, found: it ends after {needed}\n\n\
         hint: cut the first {words} words, or as much anywhere before \"{word}\""
    )]
    Truncated {
        /// The class word.
        word: String,
        /// Tokens up to the last repeat.
        needed: usize,
        /// Tokens there is room for.
        available: usize,
        /// Number of words to cut.
        words: usize,
    },
    /// The repeats alone need more tokens than the text encoder takes.
    #[error(
        "too many references: \"{word}\" stands {repeats} times and needs {needed} tokens, found room for: {available}\n\n\
         hint: give fewer references"
    )]
    TooManyRepeats {
        /// The class word.
        word: String,
        /// How often it stands.
        repeats: usize,
        /// Tokens of the repeats.
        needed: usize,
        /// Tokens there is room for.
        available: usize,
    },
}

/// A prompt with its class word repeated once for each identity token, and without the trigger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExpandedPrompt {
    /// The prompt, to be tokenised as a whole.
    pub text: String,
    /// Bytes of each repeat in `text`, without trailing punctuation.
    pub repeats: Vec<Range<usize>>,
}

/// Finds the class word and repeats it.
///
/// The class word is the one before the trigger, or else the first word of [`CLASS_WORDS`] (punctuation and case
/// apart). Trailing punctuation of class word and trigger follows the last repeat; words are joined by single spaces.
/// With `repeats` 0 the trigger is dropped and nothing else changes; then a prompt need not have a class word.
///
/// # Errors
/// When there is no class word, or the trigger stands twice, first, or behind mere punctuation.
pub fn expand_class_word(prompt: &str, trigger: &str, repeats: usize) -> Result<ExpandedPrompt, ClassWordError> {
    let words: Vec<&str> = prompt.split_whitespace().collect();
    let triggers: Vec<usize> = (0..words.len()).filter(|i| split_punctuation(words[*i]).0 == trigger).collect();
    let trigger_owned = || trigger.to_owned();
    let class = match *triggers {
        [] => words.iter().position(|word| {
            let bare = word.trim_matches(is_punctuation).to_lowercase();
            CLASS_WORDS.contains(&bare.as_str())
        }),
        [0] => return Err(ClassWordError::TriggerFirst { trigger: trigger_owned() }),
        [at] => Some(at - 1),
        _ => return Err(ClassWordError::SeveralTriggers { trigger: trigger_owned(), count: triggers.len() }),
    };
    if class.is_none() && repeats > 0 {
        return Err(ClassWordError::NotFound { prompt: prompt.to_owned(), trigger: trigger_owned() });
    }

    let mut expanded =
        ExpandedPrompt { text: String::with_capacity(prompt.len()), repeats: Vec::with_capacity(repeats) };
    for (i, word) in words.iter().enumerate() {
        if triggers.contains(&i) {
            expanded.text.push_str(split_punctuation(word).1);
        } else if class == Some(i) {
            let (bare, punctuation) = split_punctuation(word);
            if bare.trim_start_matches(is_punctuation).is_empty() {
                return Err(ClassWordError::NotAWord { trigger: trigger_owned(), found: (*word).to_owned() });
            }
            for _ in 0..repeats.max(1) {
                let start = expanded.push_word(bare);
                if repeats > 0 {
                    expanded.repeats.push(start..start + bare.len());
                }
            }
            expanded.text.push_str(punctuation);
        } else {
            expanded.push_word(word);
        }
    }
    Ok(expanded)
}

impl ExpandedPrompt {
    /// Marks the last token of each repeat, in a mask over `length` positions.
    ///
    /// `tokens` are the bytes of `text` that each token covers, in order, before truncation and without the
    /// end-of-text token, for which the last position is kept free.
    ///
    /// # Errors
    /// When a marked token falls behind the end (with the number of words to cut), or a repeat has no token of its own.
    pub fn class_token_mask(&self, tokens: &[Range<usize>], length: usize) -> Result<Vec<bool>, ClassWordError> {
        let mut marked: Vec<usize> = Vec::with_capacity(self.repeats.len());
        for repeat in &self.repeats {
            let holds_end = |token: &Range<usize>| token.start < repeat.end && repeat.end <= token.end;
            let overlaps = |token: &Range<usize>| token.start < repeat.end && repeat.start < token.end;
            // Normalisation may drop a word's last characters; then the last token that is left counts.
            let last = tokens.iter().rposition(holds_end).or_else(|| tokens.iter().rposition(overlaps));
            match last {
                Some(token) if marked.last().is_none_or(|before| *before < token) => marked.push(token),
                _ => return Err(ClassWordError::NoToken { word: self.class_word().to_owned() }),
            }
        }
        let available = length.saturating_sub(1);
        let needed = marked.last().map_or(0, |last| last + 1);
        if needed > available {
            return Err(self.truncated(tokens, needed, available));
        }
        let mut mask = vec![false; length];
        for token in marked {
            mask[token] = true;
        }
        Ok(mask)
    }

    fn class_word(&self) -> &str {
        self.repeats.first().map_or("", |repeat| &self.text[repeat.clone()])
    }

    fn truncated(&self, tokens: &[Range<usize>], needed: usize, available: usize) -> ClassWordError {
        let word = self.class_word().to_owned();
        let class_start = self.repeats.first().map_or(0, |repeat| repeat.start);
        let tokens_before = |end: usize| tokens.iter().filter(|token| token.end <= end).count();
        // Ends of the words before the class word, with the space that follows (a token may begin with it).
        let word_ends = self.text[..class_start].match_indices(' ').map(|(space, _)| space);
        match word_ends.zip(1..).find(|(end, _)| needed - tokens_before(*end) <= available) {
            Some((_, words)) => ClassWordError::Truncated { word, needed, available, words },
            None => ClassWordError::TooManyRepeats {
                word,
                repeats: self.repeats.len(),
                needed: needed - tokens_before(class_start),
                available,
            },
        }
    }

    /// Appends a word after a space; returns where it starts.
    fn push_word(&mut self, word: &str) -> usize {
        if !self.text.is_empty() {
            self.text.push(' ');
        }
        let start = self.text.len();
        self.text.push_str(word);
        start
    }
}

/// Punctuation that may follow a word: ASCII's, Latin-1's, and the blocks of general, CJK and full-width punctuation.
pub(super) fn is_punctuation(c: char) -> bool {
    c.is_ascii_punctuation()
        || matches!(c, '¡' | '«' | '»' | '¿' | '\u{2010}'..='\u{2027}' | '\u{2030}'..='\u{205e}')
        || matches!(c, '\u{3001}'..='\u{3003}' | '\u{3008}'..='\u{3011}' | '\u{ff01}'..='\u{ff0f}' | '\u{ff1a}'..='\u{ff1f}')
}

/// A word and the punctuation it ends with.
fn split_punctuation(word: &str) -> (&str, &str) {
    word.split_at(word.trim_end_matches(is_punctuation).len())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Expands with trigger `img` and marks the repeats with brackets.
    fn marked(prompt: &str, repeats: usize) -> Result<String, ClassWordError> {
        let expanded = expand_class_word(prompt, "img", repeats)?;
        let mut text = expanded.text.clone();
        for repeat in expanded.repeats.iter().rev() {
            text.insert(repeat.end, ']');
            text.insert(repeat.start, '[');
        }
        Ok(text)
    }

    #[test]
    fn prompts_are_expanded() {
        struct Case(&'static str, usize, &'static str);
        let cases = [
            Case("a woman img reading", 2, "a [woman] [woman] reading"),
            Case("a woman img reading", 1, "a [woman] reading"),
            Case("a woman img reading", 4, "a [woman] [woman] [woman] [woman] reading"),
            Case("woman img", 2, "[woman] [woman]"),
            Case("man", 2, "[man] [man]"),
            Case("a man walks", 2, "a [man] [man] walks"),
            // The first word of the list, and only that occurrence.
            Case("a man and a woman and a man", 2, "a [man] [man] and a woman and a man"),
            Case("a baby with a lady", 2, "a [baby] [baby] with a lady"),
            // The trigger wins over the list, and any word may stand before it.
            Case("a man with a woman img", 2, "a man with a [woman] [woman]"),
            Case("a man with a violinist img on stage", 2, "a man with a [violinist] [violinist] on stage"),
            Case("the man woman img", 2, "the man [woman] [woman]"),
            // Case: the prompt's is kept.
            Case("Man img, at work", 2, "[Man] [Man], at work"),
            Case("A WOMAN reading", 2, "A [WOMAN] [WOMAN] reading"),
            Case("Gentleman!", 3, "[Gentleman] [Gentleman] [Gentleman]!"),
            // Punctuation of class word and trigger follows the last repeat.
            Case("a man, smiling", 2, "a [man] [man], smiling"),
            Case("a woman img, smiling", 2, "a [woman] [woman], smiling"),
            Case("a woman, img; smiling", 2, "a [woman] [woman],; smiling"),
            Case("portrait of a girl img.", 2, "portrait of a [girl] [girl]."),
            Case("a boy...", 2, "a [boy] [boy]..."),
            Case("a person\u{2026} walks", 2, "a [person] [person]\u{2026} walks"),
            Case("a person\u{ff0c} walks", 2, "a [person] [person]\u{ff0c} walks"),
            Case("\"a man\" he said", 2, "\"a [man] [man]\" he said"),
            Case("(man) outside", 2, "[(man] [(man]) outside"),
            Case("a \u{ab}lady\u{bb} sings", 2, "a [\u{ab}lady] [\u{ab}lady]\u{bb} sings"),
            // Words that only contain a class word or a trigger are others.
            Case("a manly woman", 2, "a manly [woman] [woman]"),
            Case("the man's child", 2, "the man's [child] [child]"),
            Case("a snowman and a kid", 2, "a snowman and a [kid] [kid]"),
            Case("an imgur page with a man", 2, "an imgur page with a [man] [man]"),
            Case("IMG 1234 of a man", 2, "IMG 1234 of a [man] [man]"),
            Case("img-tag of a man", 2, "img-tag of a [man] [man]"),
            Case("a well-known man img", 2, "a well-known [man] [man]"),
            // White space of any kind becomes one space.
            Case("  a\tman \n img   runs ", 2, "a [man] [man] runs"),
            Case("a\u{a0}man\u{3000}walks", 2, "a [man] [man] walks"),
            // Not ASCII.
            Case("d\u{e9}j\u{e0} vu: a man", 2, "d\u{e9}j\u{e0} vu: a [man] [man]"),
            Case(
                "a \u{7537}\u{4eba} img\u{3002} \u{1f600}",
                2,
                "a [\u{7537}\u{4eba}] [\u{7537}\u{4eba}]\u{3002} \u{1f600}",
            ),
            Case("eine Gr\u{f6}\u{df}e img!", 2, "eine [Gr\u{f6}\u{df}e] [Gr\u{f6}\u{df}e]!"),
            // Without an identity branch only the trigger goes.
            Case("a woman img, reading", 0, "a woman, reading"),
            Case("a man reading", 0, "a man reading"),
            Case("a quiet  street", 0, "a quiet street"),
            Case("", 0, ""),
        ];
        let wrong: Vec<String> = cases
            .iter()
            .filter_map(|Case(prompt, repeats, expected)| match marked(prompt, *repeats) {
                Ok(found) if found == *expected => None,
                other => Some(format!("{prompt:?} × {repeats}: expected {expected:?}, found {other:?}")),
            })
            .collect();
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }

    #[test]
    fn prompts_without_a_place_are_refused() {
        let trigger = || "img".to_owned();
        let not_found = |prompt: &str| ClassWordError::NotFound { prompt: prompt.to_owned(), trigger: trigger() };
        let not_a_word = |found: &str| ClassWordError::NotAWord { trigger: trigger(), found: found.to_owned() };
        let cases = [
            ("", 2, not_found("")),
            ("a quiet street", 2, not_found("a quiet street")),
            ("two men and some people", 2, not_found("two men and some people")),
            ("img", 2, ClassWordError::TriggerFirst { trigger: trigger() }),
            ("img woman reading", 2, ClassWordError::TriggerFirst { trigger: trigger() }),
            ("img, a man", 0, ClassWordError::TriggerFirst { trigger: trigger() }),
            ("a man img and a woman img", 2, ClassWordError::SeveralTriggers { trigger: trigger(), count: 2 }),
            ("img img img", 2, ClassWordError::SeveralTriggers { trigger: trigger(), count: 3 }),
            ("a man img img.", 0, ClassWordError::SeveralTriggers { trigger: trigger(), count: 2 }),
            ("a man - img reading", 2, not_a_word("-")),
            ("a man \u{2026} img", 2, not_a_word("\u{2026}")),
        ];
        for (prompt, repeats, expected) in cases {
            assert_eq!(marked(prompt, repeats).unwrap_err(), expected, "{prompt:?}");
        }
        let message = marked("a quiet street", 2).unwrap_err().to_string();
        assert!(message.contains("man, woman, boy") && message.contains("\"a violinist img on stage\""), "{message}");
    }

    #[test]
    fn the_trigger_is_the_adapters() {
        let expanded = expand_class_word("a cook sks, frying img", "sks", 2).unwrap();
        assert_eq!(expanded.text, "a cook cook, frying img");
    }

    /// Tokens of at most `size` bytes, none across a space; a token includes the space before its word.
    fn pieces(text: &str, size: usize) -> Vec<Range<usize>> {
        let mut tokens = Vec::new();
        for word in text.split(' ') {
            let start = word.as_ptr() as usize - text.as_ptr() as usize;
            let mut at = 0;
            while at < word.len() {
                let end = (at + size).min(word.len());
                let space = usize::from(at == 0 && start > 0);
                tokens.push(start + at - space..start + end);
                at = end;
            }
        }
        tokens
    }

    fn mask(prompt: &str, repeats: usize, size: usize, length: usize) -> Result<Vec<usize>, ClassWordError> {
        let expanded = expand_class_word(prompt, "img", repeats).unwrap();
        let mask = expanded.class_token_mask(&pieces(&expanded.text, size), length)?;
        assert_eq!(mask.len(), length);
        Ok((0..length).filter(|i| mask[*i]).collect())
    }

    #[test]
    fn the_last_token_of_each_repeat_is_marked() {
        assert_eq!(mask("a woman img reads", 2, 99, 8), Ok(vec![1, 2]));
        // wom-an
        assert_eq!(mask("a woman img reads", 2, 3, 9), Ok(vec![2, 4]));
        // "girl," is one token, "girl" in "gi|rl|," two and punctuation its own.
        assert_eq!(mask("a girl, reads", 2, 99, 8), Ok(vec![1, 2]));
        assert_eq!(mask("a girl, reads", 2, 2, 12), Ok(vec![2, 4]));
        assert_eq!(mask("a street", 0, 99, 4), Ok(vec![]));
    }

    #[test]
    #[expect(clippy::single_range_in_vec_init, reason = "one token")]
    fn normalisation_may_drop_characters() {
        let expanded = ExpandedPrompt { text: "man\u{ad} x".into(), repeats: vec![0..5] };
        assert_eq!(expanded.class_token_mask(&[0..3, 5..7], 3), Ok(vec![true, false, false]));
        let word = "man\u{ad}".to_owned();
        assert_eq!(expanded.class_token_mask(&[5..7], 3), Err(ClassWordError::NoToken { word: word.clone() }));
        assert_eq!(expanded.class_token_mask(&[], 3), Err(ClassWordError::NoToken { word }));
        // One token for both repeats cannot carry two identity tokens.
        let expanded = ExpandedPrompt { text: "man man".into(), repeats: vec![0..3, 4..7] };
        assert_eq!(
            expanded.class_token_mask(std::slice::from_ref(&(0..7)), 3),
            Err(ClassWordError::NoToken { word: "man".into() })
        );
        // Several tokens that cover the same bytes (one character that becomes several): the last counts.
        assert_eq!(expanded.class_token_mask(&[0..3, 0..3, 3..7], 4), Ok(vec![false, true, true, false]));
    }

    #[test]
    fn truncation_says_how_many_words_to_cut() {
        // old(1) happy(2 of 3 bytes) man man: tokens 0 | 1 2 | 3 | 4, and one position for the end of text.
        assert_eq!(mask("old happy man", 2, 3, 6), Ok(vec![3, 4]));
        let truncated =
            |needed, available, words| Err(ClassWordError::Truncated { word: "man".into(), needed, available, words });
        assert_eq!(mask("old happy man", 2, 3, 5), truncated(5, 4, 1));
        assert_eq!(mask("old happy man", 2, 3, 4), truncated(5, 3, 2));
        assert_eq!(mask("old happy man", 2, 3, 3), truncated(5, 2, 2));
        let too_many = |repeats, needed, available| {
            Err(ClassWordError::TooManyRepeats { word: "man".into(), repeats, needed, available })
        };
        assert_eq!(mask("old happy man", 2, 3, 2), too_many(2, 2, 1));
        assert_eq!(mask("old happy man", 2, 3, 0), too_many(2, 2, 0));
        // As many words less as it says is enough, one fewer is not.
        let prompt = "one two three four five six seven eight nine ten man img runs";
        let Err(ClassWordError::Truncated { words, .. }) = mask(prompt, 4, 3, 15) else { panic!("must be truncated") };
        let after = |cut: usize| prompt.split(' ').skip(cut).collect::<Vec<_>>().join(" ");
        assert!(mask(&after(words), 4, 3, 15).is_ok());
        assert!(mask(&after(words - 1), 4, 3, 15).is_err());
    }
}
