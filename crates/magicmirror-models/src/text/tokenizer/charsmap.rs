use tokenizers::normalizers::Precompiled;
use tokenizers::{NormalizedString, Normalizer};

use super::error::Fault;

/// The character map of a `SentencePiece` model (`precompiled_charsmap`), checked.
///
/// The map is a double-array trie of `u32` units, then the replacements, each ended by a zero byte. The crate that
/// walks the trie does not check its links, so this does it for every link that a text can reach.
#[derive(Debug, Clone)]
pub(super) struct Charsmap(Precompiled);

impl Charsmap {
    pub(super) fn new(bytes: &[u8]) -> Result<Self, Fault> {
        let damaged = || Fault::invalid("damaged character map");
        let (size, rest) = bytes.split_first_chunk::<4>().ok_or_else(damaged)?;
        let size = u32::from_le_bytes(*size) as usize;
        if !size.is_multiple_of(4) || size > rest.len() {
            return Err(damaged());
        }
        let (trie, replacements) = rest.split_at(size);
        let replacements = std::str::from_utf8(replacements).map_err(|_| damaged())?;
        let units: Vec<Unit> = trie.as_chunks().0.iter().map(|unit| Unit(u32::from_le_bytes(*unit))).collect();
        check_links(&units, replacements).ok_or_else(damaged)?;
        Precompiled::from(bytes).map(Self).map_err(|_| damaged())
    }

    fn removes(&self, c: char) -> bool {
        self.0.transform(c.encode_utf8(&mut [0; 4])) == Some("")
    }
}

impl Normalizer for Charsmap {
    fn normalize(&self, text: &mut NormalizedString) -> tokenizers::Result<()> {
        // The crate forgets characters removed before the first one that stays, and the offsets of all others shift.
        // Control characters are never part of a larger cluster ("\r\n" is the exception), so they can go first.
        let leading = text.get().chars().take_while(|&c| c.is_control() && c != '\r' && self.removes(c)).count();
        if leading > 0 {
            let rest: Vec<_> = text.get().chars().skip(leading).map(|c| (c, 0)).collect();
            text.transform(rest, leading);
        }
        self.0.normalize(text)
    }
}

/// A unit of Darts-clone's double array.
#[derive(Clone, Copy)]
struct Unit(u32);

impl Unit {
    fn has_value(self) -> bool {
        self.0 >> 8 & 1 == 1
    }

    fn value(self) -> usize {
        (self.0 & 0x7fff_ffff) as usize
    }

    fn label(self) -> u32 {
        self.0 & 0x8000_00ff
    }

    fn offset(self) -> usize {
        ((self.0 >> 10) << ((self.0 & 1 << 9) >> 6)) as usize
    }
}

/// `None` when some text leads out of the units, or to a replacement that is not in the text of replacements.
fn check_links(units: &[Unit], replacements: &str) -> Option<()> {
    let mut seen = vec![false; units.len()];
    let mut pending = vec![units.first()?.offset()];
    while let Some(base) = pending.pop() {
        for label in 1..=255 {
            let position = base ^ label as usize;
            let unit = *units.get(position)?;
            if unit.label() != label || std::mem::replace(&mut seen[position], true) {
                continue;
            }
            let next = position ^ unit.offset();
            if unit.has_value() && !replacements.is_char_boundary(units.get(next)?.value()) {
                return None;
            }
            pending.push(next);
        }
    }
    Some(())
}
