//! Contact sheets: pictures of many videos at a glance, to judge by eye what no number tells.

use std::path::Path;

use image::Rgb;
use magicmirror_media::{RgbImage, write_png};

use super::super::results::Results;
use super::super::run::People;
use super::super::thumbnail::Thumbnail;
use crate::EngineError;
use crate::dataset::{SHEET_GROUND, paste};
use crate::lettering;

/// Videos on a sheet.
const ROWS: usize = 10;
/// Letters in a line of a prompt.
const LETTERS: usize = 100;
/// Pixels from one line to the next.
const LINE: u32 = lettering::LETTER + 2;
const INK: Rgb<u8> = Rgb([220; 3]);

/// Writes `sheets/M-N.png`, the Nth ten videos of the Mth model: the prompt, under it a photo of the person and frames.
/// `thumbnails` reads the pictures of one video.
///
/// # Errors
/// When pictures cannot be read, or a file cannot be written.
pub(in super::super) fn write_sheets(
    folder: &Path,
    results: &Results,
    people: &People,
    thumbnails: &dyn Fn(usize) -> Result<Vec<Thumbnail>, EngineError>,
) -> Result<(), EngineError> {
    let sheets = folder.join("sheets");
    std::fs::create_dir_all(&sheets).map_err(EngineError::io(&sheets))?;
    for (number, model) in results.models.iter().enumerate() {
        let videos: Vec<usize> =
            (0..results.videos.len()).filter(|&index| results.videos[index].model == model.model).collect();
        for (sheet, videos) in videos.chunks(ROWS).enumerate() {
            let mut rows: Vec<Vec<RgbImage>> = Vec::new();
            for &index in videos {
                let video = &results.videos[index];
                let prompt = video.prompt.as_deref().unwrap_or_default();
                let photo = video.own.and_then(|own| people.people[own].thumbnails.first());
                rows.push(vec![heading(&format!("{}, {}: {prompt}", model.model, video.identity))]);
                rows.push(photo.into_iter().chain(&thumbnails(index)?).map(Thumbnail::image).collect());
            }
            write_png(sheets.join(format!("{}-{}.png", number + 1, sheet + 1)), &paste(&rows))?;
        }
    }
    Ok(())
}

fn heading(text: &str) -> RgbImage {
    let lines = lettering::lines(text, LETTERS);
    let mut image = RgbImage::from_pixel(LETTERS as u32 * lettering::LETTER, lines.len() as u32 * LINE, SHEET_GROUND);
    for (index, line) in (0..).zip(&lines) {
        lettering::write(&mut image, line, [0, index * LINE], 1, INK);
    }
    image
}
