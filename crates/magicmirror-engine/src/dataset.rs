//! Data sets of people who do not exist: pairs of pictures for the first stage of training, clips for the second.
//!
//! [`make_people`] writes one, [`Dataset`] reads it, [`inspect()`] counts what is in it. A [`Recipe`] says everything
//! about a data set; each sample is a pure function of the recipe and its index, so any number of machines and workers
//! make the same bytes, each its own shards, without knowing of each other.
//!
//! On disk: `dataset.json` holds the recipe. Each shard is a tar file as WebDataset and img2dataset have them
//! (`KEY.txt` caption, `KEY.json` [`Metadata`], `KEY.png` or `KEY.mp4` the target, `KEY.reference0.png` …), or a folder
//! of the same files; a JSON file beside it, written last, holds its count and hash, and makes it whole.

mod draw;
mod error;
mod files;
mod inspect;
mod make;
mod mask;
mod metadata;
mod read;
mod recipe;
mod shard;
mod sheet;

pub(crate) use draw::shoot;
pub use error::DatasetError;
pub(crate) use files::Files;
pub use inspect::{Inspection, SplitCounts, inspect};
pub use make::{Made, MakeRequest, make_people};
pub use mask::Mask;
pub use metadata::{Identity, Metadata, Reference, Truth};
pub use read::{Dataset, Sample, Samples};
pub use recipe::{Kind, Layout, Machine, Recipe, ShardPlan, Split};
pub use sheet::contact_sheet;
pub(crate) use sheet::{GROUND as SHEET_GROUND, paste};
