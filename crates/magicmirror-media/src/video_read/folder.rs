//! The PNG files of a folder as frames.

use std::fs;
use std::path::Path;

use super::Frames;
use crate::{MediaError, read_photo};

/// The frames, in the order of the numbers in their names (`frame_2.png` before `frame_10.png`).
pub(super) fn open(path: &Path) -> Result<Frames, MediaError> {
    let mut files = Vec::new();
    for entry in fs::read_dir(path).map_err(MediaError::read(path))? {
        let file = entry.map_err(MediaError::read(path))?.path();
        if file.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("png")) {
            files.push(file);
        }
    }
    if files.is_empty() {
        return Err(MediaError::EmptyVideo { path: path.to_owned() });
    }
    files.sort_by_cached_key(|file| (natural_order(file), file.clone()));
    Ok(Box::new(files.into_iter().map(read_photo)))
}

/// The name with each run of digits counting as a number: its length without leading zeros, then its digits.
fn natural_order(file: &Path) -> Vec<(usize, String)> {
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    let mut parts: Vec<(usize, String)> = Vec::new();
    let mut in_number = false;
    for character in name.chars() {
        let digit = character.is_ascii_digit();
        if parts.is_empty() || digit != in_number {
            parts.push((0, String::new()));
            in_number = digit;
        }
        if let Some((length, text)) = parts.last_mut()
            && (!digit || character != '0' || *length > 0)
        {
            *length += usize::from(digit);
            text.push(character);
        }
    }
    parts
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    #[test]
    fn numbers_count_as_numbers() {
        let mut names: Vec<PathBuf> =
            ["f10.png", "f2.png", "f0001.png", "f.png", "f99999999999999999999999.png", "g1.png"]
                .map(Into::into)
                .into();
        names.sort_by_cached_key(|name| natural_order(name));
        let expected =
            ["f0001.png", "f2.png", "f10.png", "f99999999999999999999999.png", "f.png", "g1.png"].map(PathBuf::from);
        assert_eq!(names, expected);
    }
}
