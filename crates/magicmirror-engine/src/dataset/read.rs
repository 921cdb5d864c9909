//! Reading a data set, sample by sample, in any order.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use magicmirror_media::{MediaError, RgbImage, decode_image, decode_mp4};

use super::shard::{self, Problem};
use super::{DatasetError, Kind, Layout, Metadata, Recipe, ShardPlan, Split};

/// A data set on disk.
#[derive(Debug, Clone)]
pub struct Dataset {
    folder: PathBuf,
    recipe: Recipe,
}

/// One sample, decoded.
#[derive(Debug, Clone)]
pub struct Sample {
    /// Names its files.
    pub key: String,
    /// What is true of it, caption included.
    pub metadata: Metadata,
    /// The target: one picture of a pair, all frames of a clip.
    pub frames: Vec<RgbImage>,
    /// Photos of the same person.
    pub references: Vec<RgbImage>,
}

impl Dataset {
    /// # Errors
    /// When there is no data set, or its recipe cannot be read.
    pub fn open(folder: impl Into<PathBuf>) -> Result<Self, DatasetError> {
        let folder = folder.into();
        let recipe = Recipe::read(&folder)?;
        Ok(Self { folder, recipe })
    }

    /// Where it is.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// What it consists of.
    pub fn recipe(&self) -> &Recipe {
        &self.recipe
    }

    /// Those shards that are there, by name alone; [`inspect()`](super::inspect()) looks into them.
    pub fn shards(&self) -> Vec<ShardPlan> {
        let mut shards = self.recipe.shards();
        shards.retain(|plan| self.path(plan).exists());
        shards
    }

    /// The samples of a kind and split that are there.
    ///
    /// # Errors
    /// When a shard cannot be read.
    pub fn samples(&self, kind: Kind, split: Split) -> Result<Samples, DatasetError> {
        let mut samples = Samples::default();
        for plan in self.shards().into_iter().filter(|plan| (plan.kind, plan.split) == (kind, split)) {
            samples.add(&self.path(&plan), self.recipe.layout)?;
        }
        Ok(samples)
    }

    /// The samples of one shard.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn samples_of(&self, plan: &ShardPlan) -> Result<Samples, DatasetError> {
        let mut samples = Samples::default();
        samples.add(&self.path(plan), self.recipe.layout)?;
        Ok(samples)
    }

    /// The file or folder of a shard.
    pub fn path(&self, plan: &ShardPlan) -> PathBuf {
        shard::path(&self.folder, plan, self.recipe.layout)
    }

    pub(super) fn problem(&self, plan: &ShardPlan) -> Result<Option<Problem>, DatasetError> {
        shard::problem(&self.folder, plan, &self.recipe)
    }
}

/// Samples, found but not read.
#[derive(Debug, Clone, Default)]
pub struct Samples {
    shards: Vec<PathBuf>,
    entries: Vec<Entry>,
}

#[derive(Debug, Clone)]
struct Entry {
    key: String,
    /// Index into the shards.
    shard: usize,
    /// By extension.
    files: BTreeMap<String, Place>,
}

/// Where a file's bytes are.
#[derive(Debug, Clone)]
enum Place {
    /// In the shard, a tar file, so many bytes from there.
    Tar { position: u64, length: u64 },
    /// In the shard, a folder, under this name.
    Folder { name: String },
}

impl Samples {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Reads a sample; the index counts from 0.
    ///
    /// # Errors
    /// When a file of it is missing, cannot be read or decoded, or does not fit the others.
    ///
    /// # Panics
    /// If there is no such sample.
    pub fn get(&self, index: usize) -> Result<Sample, DatasetError> {
        let key = &self.entries[index].key;
        let metadata = self.metadata(index)?;
        let picture = |extension: &str| {
            let name = PathBuf::from(format!("{key}.{extension}"));
            decode_image(&name, &self.file(index, extension)?).map_err(self.broken_picture(index))
        };
        let frames = match metadata.kind {
            Kind::Pair => vec![picture("png")?],
            Kind::Clip => {
                let name = PathBuf::from(format!("{key}.mp4"));
                decode_mp4(&name, &self.file(index, "mp4")?).map_err(self.broken_picture(index))?.frames
            }
        };
        let references: Vec<RgbImage> = (0..metadata.references.len())
            .map(|reference| picture(&format!("reference{reference}.png")))
            .collect::<Result<_, DatasetError>>()?;
        let size = |image: &RgbImage| (image.width() as usize, image.height() as usize);
        if frames.len() != metadata.frames.len()
            || frames.iter().any(|frame| size(frame) != (metadata.size.width, metadata.size.height))
            || references
                .iter()
                .zip(&metadata.references)
                .any(|(photo, is)| size(photo) != (is.size.width, is.size.height))
        {
            return Err(self.broken(index, "its pictures are not those that it describes"));
        }
        Ok(Sample { key: key.clone(), metadata, frames, references })
    }

    /// Reads what is true of a sample, without its pictures.
    ///
    /// # Errors
    /// When it is missing or cannot be read.
    ///
    /// # Panics
    /// If there is no such sample.
    pub fn metadata(&self, index: usize) -> Result<Metadata, DatasetError> {
        serde_json::from_slice(&self.file(index, "json")?)
            .map_err(|error| self.broken(index, &format!("its JSON says nothing useful: {error}")))
    }

    /// What the names of a sample's files begin with.
    ///
    /// # Panics
    /// If there is no such sample.
    pub fn key(&self, index: usize) -> &str {
        &self.entries[index].key
    }

    /// All samples in order.
    pub fn iter(&self) -> impl Iterator<Item = Result<Sample, DatasetError>> + '_ {
        (0..self.len()).map(|index| self.get(index))
    }

    fn file(&self, index: usize, extension: &str) -> Result<Vec<u8>, DatasetError> {
        let entry = &self.entries[index];
        let shard = &self.shards[entry.shard];
        let place = entry.files.get(extension);
        let mut bytes = Vec::new();
        match place.ok_or_else(|| self.broken(index, &format!("it has no {extension}")))? {
            Place::Folder { name } => fs::read(shard.join(name)).map_err(DatasetError::read(shard.join(name))),
            Place::Tar { position, length } => File::open(shard)
                .and_then(|mut file| {
                    file.seek(SeekFrom::Start(*position))?;
                    file.take(*length).read_to_end(&mut bytes)?;
                    Ok(bytes)
                })
                .map_err(DatasetError::read(shard)),
        }
    }

    fn broken(&self, index: usize, reason: &str) -> DatasetError {
        let Entry { key, shard, .. } = &self.entries[index];
        DatasetError::Sample { key: key.clone(), reason: reason.into(), shard: self.shards[*shard].clone() }
    }

    fn broken_picture(&self, index: usize) -> impl Fn(MediaError) -> DatasetError + '_ {
        move |source| DatasetError::Picture { key: self.entries[index].key.clone(), source }
    }

    fn add(&mut self, shard: &Path, layout: Layout) -> Result<(), DatasetError> {
        self.shards.push(shard.to_owned());
        let files = match layout {
            Layout::Webdataset => files_of_tar(shard)?,
            Layout::Folder => {
                shard::names(shard)?.into_iter().map(|name| (name.clone(), Place::Folder { name })).collect()
            }
        };
        for (name, place) in files {
            let Some((key, extension)) = name.split_once('.') else {
                return Err(DatasetError::Shard {
                    path: shard.to_owned(),
                    reason: format!("a file without extension: {name}"),
                });
            };
            let shard = self.shards.len() - 1;
            if self.entries.last().is_none_or(|last| last.key != key || last.shard != shard) {
                self.entries.push(Entry { key: key.to_owned(), shard, files: BTreeMap::new() });
            }
            let entry = self.entries.last_mut().expect("one was added");
            entry.files.insert(extension.to_owned(), place);
        }
        Ok(())
    }
}

fn files_of_tar(path: &Path) -> Result<Vec<(String, Place)>, DatasetError> {
    let broken = |error: std::io::Error| DatasetError::Shard { path: path.to_owned(), reason: error.to_string() };
    let file = File::open(path).map_err(DatasetError::read(path))?;
    let end = file.metadata().map_err(DatasetError::read(path))?.len();
    let mut archive = tar::Archive::new(BufReader::new(file));
    let mut files = Vec::new();
    for entry in archive.entries_with_seek().map_err(broken)? {
        let entry = entry.map_err(broken)?;
        let name = entry.path().map_err(broken)?.to_string_lossy().into_owned();
        let (position, length) = (entry.raw_file_position(), entry.size());
        if position.checked_add(length).is_none_or(|last| last > end) {
            return Err(DatasetError::Shard { path: path.to_owned(), reason: format!("it ends within {name}") });
        }
        files.push((name, Place::Tar { position, length }));
    }
    Ok(files)
}
