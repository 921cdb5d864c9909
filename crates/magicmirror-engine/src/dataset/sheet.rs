//! A contact sheet: some samples of a data set in one picture.

use std::path::Path;

use magicmirror_media::{Filter, RgbImage, resize, write_png};

use super::{Dataset, DatasetError, Kind, Sample, Split};
use crate::EngineError;

/// Pairs in a row, and rows of them.
const PAIRS: [usize; 2] = [6, 7];
/// Clips, one in a row.
const CLIPS: usize = 7;
/// Frames of a clip that are shown.
const FRAMES: usize = 6;
/// Most references that a clip has.
const REFERENCES: usize = 4;
/// Pixels between pictures, and their colour.
const GAP: u32 = 4;
pub(crate) const GROUND: image::Rgb<u8> = image::Rgb([32; 3]);

/// Writes a PNG file with samples from all over the data set: pairs (the reference, smaller, left of its target), then
/// clips (references, then frames).
///
/// # Errors
/// When no sample can be read, or the file cannot be written.
pub fn contact_sheet(dataset: &Dataset, path: &Path) -> Result<(), EngineError> {
    let mut rows: Vec<Vec<RgbImage>> = Vec::new();
    let [in_row, count] = PAIRS;
    let pairs = some(dataset, Kind::Pair, in_row * count)?;
    for pairs in pairs.chunks(in_row) {
        let mut row = Vec::new();
        for pair in pairs {
            row.push(at_height(&pair.references[0], pair.frames[0].height() / 2)?);
            row.push(pair.frames[0].clone());
        }
        rows.push(row);
    }
    for clip in some(dataset, Kind::Clip, CLIPS)? {
        let height = clip.frames[0].height();
        let references = clip.references.iter().take(REFERENCES).map(|photo| at_height(photo, height / 2));
        let mut row = references.collect::<Result<Vec<_>, _>>()?;
        row.resize(REFERENCES, RgbImage::from_pixel(height / 2, height / 2, GROUND));
        let last = clip.frames.len() - 1;
        row.extend((0..FRAMES).map(|frame| clip.frames[frame * last / (FRAMES - 1)].clone()));
        rows.push(row);
    }
    if rows.is_empty() {
        let reason = "no sample of it can be read".into();
        return Err(DatasetError::Shard { path: dataset.folder().to_owned(), reason }.into());
    }
    Ok(write_png(path, &paste(&rows))?)
}

/// Samples from all over the data set, those for training if there are any. Broken ones are left out.
fn some(dataset: &Dataset, kind: Kind, count: usize) -> Result<Vec<Sample>, DatasetError> {
    for split in Split::ALL {
        let samples = dataset.samples(kind, split)?;
        let count = count.min(samples.len());
        if count == 0 {
            continue;
        }
        // One of each stretch, each time another place in it, or every one might be of the same group.
        let stretch = samples.len() / count;
        let chosen = (0..count).map(|nth| nth * samples.len() / count + nth % stretch);
        let readable: Vec<Sample> = chosen.filter_map(|index| samples.get(index).ok()).collect();
        if !readable.is_empty() {
            return Ok(readable);
        }
    }
    Ok(Vec::new())
}

fn at_height(image: &RgbImage, height: u32) -> Result<RgbImage, EngineError> {
    let width = (image.width() * height / image.height()).max(1);
    Ok(resize(image, width, height, Filter::Bicubic)?)
}

/// Rows of pictures, each row's lower edges in line.
pub(crate) fn paste(rows: &[Vec<RgbImage>]) -> RgbImage {
    let width_of = |row: &Vec<RgbImage>| row.iter().map(|image| image.width() + GAP).sum::<u32>() + GAP;
    let height_of = |row: &Vec<RgbImage>| row.iter().map(RgbImage::height).max().unwrap_or(0) + GAP;
    let width = rows.iter().map(width_of).max().unwrap_or(0);
    let height = rows.iter().map(height_of).sum::<u32>() + GAP;
    let mut sheet = RgbImage::from_pixel(width, height, GROUND);
    let mut y = GAP;
    for row in rows {
        let mut x = GAP;
        for picture in row {
            let bottom = y + height_of(row) - GAP - picture.height();
            image::imageops::replace(&mut sheet, picture, i64::from(x), i64::from(bottom));
            x += picture.width() + GAP;
        }
        y += height_of(row);
    }
    sheet
}
