//! Reading a data set, sample by sample, in any order.

use std::path::{Path, PathBuf};

use magicmirror_media::{MediaError, RgbImage, decode_image, decode_mp4};

use super::shard::{self, Problem};
use super::{DatasetError, Files, Kind, Metadata, Recipe, ShardPlan, Split};

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
            samples.0.add(&self.path(&plan), self.recipe.layout)?;
        }
        Ok(samples)
    }

    /// The samples of one shard.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn samples_of(&self, plan: &ShardPlan) -> Result<Samples, DatasetError> {
        let mut samples = Samples::default();
        samples.0.add(&self.path(plan), self.recipe.layout)?;
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
pub struct Samples(Files);

impl Samples {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Reads a sample; the index counts from 0.
    ///
    /// # Errors
    /// When a file of it is missing, cannot be read or decoded, or does not fit the others.
    ///
    /// # Panics
    /// If there is no such sample.
    pub fn get(&self, index: usize) -> Result<Sample, DatasetError> {
        let key = self.key(index);
        let metadata = self.metadata(index)?;
        let picture = |extension: &str| {
            let name = PathBuf::from(format!("{key}.{extension}"));
            decode_image(&name, &self.0.read(index, extension)?).map_err(self.broken_picture(index))
        };
        let frames = match metadata.kind {
            Kind::Pair => vec![picture("png")?],
            Kind::Clip => {
                let name = PathBuf::from(format!("{key}.mp4"));
                decode_mp4(&name, &self.0.read(index, "mp4")?).map_err(self.broken_picture(index))?.frames
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
            return Err(self.0.broken(index, "its pictures are not those that it describes"));
        }
        Ok(Sample { key: key.to_owned(), metadata, frames, references })
    }

    /// Reads what is true of a sample, without its pictures.
    ///
    /// # Errors
    /// When it is missing or cannot be read.
    ///
    /// # Panics
    /// If there is no such sample.
    pub fn metadata(&self, index: usize) -> Result<Metadata, DatasetError> {
        serde_json::from_slice(&self.0.read(index, "json")?)
            .map_err(|error| self.0.broken(index, &format!("its JSON says nothing useful: {error}")))
    }

    /// What the names of a sample's files begin with.
    ///
    /// # Panics
    /// If there is no such sample.
    pub fn key(&self, index: usize) -> &str {
        self.0.key(index)
    }

    /// All samples in order.
    pub fn iter(&self) -> impl Iterator<Item = Result<Sample, DatasetError>> + '_ {
        (0..self.len()).map(|index| self.get(index))
    }

    fn broken_picture(&self, index: usize) -> impl Fn(MediaError) -> DatasetError + '_ {
        move |source| DatasetError::Picture { key: self.key(index).to_owned(), source }
    }
}
