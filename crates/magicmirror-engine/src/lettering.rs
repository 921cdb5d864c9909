//! Text in pictures, in a fixed font of 8 × 8 pixels.

use font8x8::{BASIC_FONTS, UnicodeFonts};
use image::{Rgb, RgbImage};

/// Side of a letter in pixels, at scale 1.
pub(crate) const LETTER: u32 = 8;

/// Writes one line; what the font does not know is left out.
///
/// # Panics
/// If the line does not fit into the picture.
pub(crate) fn write(image: &mut RgbImage, text: &str, [left, top]: [u32; 2], scale: u32, ink: Rgb<u8>) {
    let side = scale * LETTER;
    for (index, glyph) in (0..).zip(text.chars().filter_map(|character| BASIC_FONTS.get(character))) {
        for (x, y) in (0..side).flat_map(|x| (0..side).map(move |y| (x, y))) {
            if glyph[(y / scale) as usize] >> (x / scale) & 1 == 1 {
                image.put_pixel(left + side * index + x, top + y, ink);
            }
        }
    }
}

/// Lines of so many letters at most, broken between words; a longer word stands alone and is cut.
pub(crate) fn lines(text: &str, letters: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        let word: String = word.chars().take(letters).collect();
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= letters => {
                line.push(' ');
                line.push_str(&word);
            }
            _ => lines.push(word),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_broken_between_words() {
        assert_eq!(lines("a man  img nods, smiling", 10), ["a man img", "nods,", "smiling"]);
        assert_eq!(lines("unpronounceable words", 6), ["unpron", "words"]);
        assert_eq!(lines(" ", 6), [""; 0]);
    }

    #[test]
    fn letters_stand_where_they_should() {
        let mut image = RgbImage::new(20, 10);
        write(&mut image, "é|", [2, 1], 1, Rgb([255; 3]));
        let inked: Vec<(u32, u32)> =
            image.enumerate_pixels().filter(|(_, _, pixel)| pixel[0] > 0).map(|(x, y, _)| (x, y)).collect();
        assert!(!inked.is_empty() && inked.iter().all(|(x, y)| (2..10).contains(x) && (1..9).contains(y)), "{inked:?}");
    }
}
