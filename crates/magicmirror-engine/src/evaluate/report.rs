//! The results as files: `results.json`, `table.md`, `table.csv`, `report.html`, and contact sheets if asked for.

mod page;
mod plot;
mod sheets;
mod table;

use std::path::Path;

use magicmirror_models::weights::write_aside;

pub(super) use sheets::write_sheets;

use super::results::Results;
use super::run::People;
use super::thumbnail::Thumbnail;
use crate::EngineError;
use crate::files::ensure_writable;

/// What is written.
const FILES: [&str; 4] = ["results.json", "table.md", "table.csv", "report.html"];

/// Makes sure, before long work, that all files can be written.
pub(super) fn ensure_writable_in(folder: &Path) -> Result<(), EngineError> {
    FILES.iter().try_for_each(|file| ensure_writable(&folder.join(file)))
}

/// Writes all files. `thumbnails` reads the pictures of one video.
pub(super) fn write(
    folder: &Path,
    results: &Results,
    people: &People,
    thumbnails: &dyn Fn(usize) -> Result<Vec<Thumbnail>, EngineError>,
) -> Result<(), EngineError> {
    let json = serde_json::to_string_pretty(results).expect("results are plain data");
    let page = page::render(results, people, thumbnails)?;
    let contents = [json, table::markdown(results), table::csv(results), page];
    for (file, content) in FILES.iter().zip(contents) {
        write_aside(&folder.join(file), content.as_bytes())?;
    }
    Ok(())
}
