use std::num::NonZero;
use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use magicmirror_engine::dataset::{
    Dataset, Inspection, Layout, Machine, MakeRequest, Recipe, contact_sheet, inspect, make_people,
};
use magicmirror_engine::memory::Bytes;
use magicmirror_people::graph::Choices;
use magicmirror_people::motion::{Action, CameraMove, Facing, Framing};
use magicmirror_people::scene::{Lighting, Size};

use crate::progress::{print_data, say, with_progress};

/// Make and inspect data sets.
#[derive(Debug, Subcommand)]
pub(super) enum Data {
    /// Draw people who do not exist: pairs of pictures and clips, with captions, boxes, landmarks and masks
    ///
    /// Writes WebDataset shards (`KEY.txt`, `KEY.json`, `KEY.png` or `KEY.mp4`, `KEY.reference0.png` …), train,
    /// validation and test identities apart. Run the same command again to go on after a stop, or with --shard 0/4 to
    /// --shard 3/4 on four machines.
    People(Box<People>),
    /// Show what a data set holds: counts, balance, and what is broken
    Inspect {
        /// Folder of a data set
        #[arg(value_name = "DIR")]
        folder: PathBuf,
        /// Print JSON
        #[arg(long)]
        json: bool,
        /// Write a contact sheet to this PNG file
        #[arg(long, short, value_name = "PNG")]
        output: Option<PathBuf>,
    },
}

#[derive(Debug, Args)]
pub(super) struct People {
    /// Folder to write
    #[arg(long, short, value_name = "DIR")]
    output: PathBuf,
    /// Pairs of target picture and reference photo, for stage 1
    #[arg(long, value_name = "N", default_value_t = 10_000)]
    pairs: u64,
    /// Clips with 1 to 4 reference photos, for stage 2
    #[arg(long, value_name = "N", default_value_t = 2_000)]
    clips: u64,
    /// Different people, a seventh of each group
    #[arg(long, value_name = "N", default_value_t = 2_100)]
    identities: u64,
    /// Width and height of targets in pixels, multiples of 16
    #[arg(long, value_name = "WxH", default_value = "96x144", value_parser = size)]
    size: Size,
    /// Side of the square reference photos in pixels
    #[arg(long, value_name = "PIXELS", default_value_t = 256)]
    reference_size: usize,
    /// Frames of a clip: 4k+1
    #[arg(long, value_name = "N", default_value_t = 17)]
    frames: usize,
    /// Frames per second of clips
    #[arg(long, default_value_t = 8.0)]
    fps: f64,
    /// What people in clips do (repeatable); default: anything
    #[arg(long = "action", value_name = "NAME", value_parser = |name: &str| named(name, &Action::ALL, Action::name))]
    actions: Vec<Action>,
    /// What the camera does in clips (repeatable); default: anything
    #[arg(long = "camera", value_name = "NAME", value_parser = |name: &str| named(name, &CameraMove::ALL, CameraMove::name))]
    camera_moves: Vec<CameraMove>,
    /// From how near targets are seen (repeatable); default: anything
    #[arg(long = "framing", value_name = "NAME", value_parser = |name: &str| named(name, &Framing::ALL, Framing::name))]
    framings: Vec<Framing>,
    /// Where people in targets are turned, at the start of clips (repeatable); default: anything
    #[arg(long = "facing", value_name = "NAME", value_parser = |name: &str| named(name, &Facing::ALL, Facing::name))]
    facings: Vec<Facing>,
    /// Light of targets and, without --varied-photos, of photos (repeatable); default: anything, and another for photos than for
    /// their targets
    #[arg(long = "lighting", value_name = "NAME", value_parser = |name: &str| named(name, &Lighting::ALL, Lighting::name))]
    lightings: Vec<Lighting>,
    /// No hats in targets and photos
    #[arg(long)]
    no_hats: bool,
    /// Faces of targets in the middle and equally large
    #[arg(long)]
    centred: bool,
    /// Photos in any light, as cameras take them: exposure, white balance, contrast and colour vary, some are black and white
    #[arg(long)]
    varied_photos: bool,
    /// Chooses scenes and captions; who person number 7 is never changes
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Share of the identities that are for validation
    #[arg(long, value_name = "SHARE", default_value_t = 0.02)]
    validation: f64,
    /// Share of the identities that are for tests
    #[arg(long, value_name = "SHARE", default_value_t = 0.02)]
    test: f64,
    /// How to store samples
    #[arg(long, value_enum, default_value_t = Format::Webdataset)]
    format: Format,
    /// Samples in a shard
    #[arg(long, value_name = "N", default_value_t = 250)]
    per_shard: u64,
    /// Threads that draw; default: one for each core
    #[arg(long, value_name = "N")]
    workers: Option<NonZero<usize>>,
    /// Make the i-th of n parts, from 0: one part a machine
    #[arg(long, value_name = "i/n", default_value_t = Machine::ALONE)]
    shard: Machine,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Format {
    /// Tar files that hold some hundred samples each
    Webdataset,
    /// Folders with the same files
    Folder,
}

fn size(text: &str) -> Result<Size, String> {
    let sides = text.split_once('x').and_then(|(width, height)| Some((width.parse().ok()?, height.parse().ok()?)));
    sides.map(|(width, height)| Size { width, height }).ok_or_else(|| "must be WxH, as in 96x144".into())
}

/// The one of this name.
fn named<T: Copy>(name: &str, all: &[T], name_of: fn(T) -> &'static str) -> Result<T, String> {
    let names: Vec<_> = all.iter().map(|&one| name_of(one)).collect();
    let found = all.iter().find(|&&one| name_of(one) == name);
    found.copied().ok_or_else(|| format!("must be one of {}", names.join(", ")))
}

impl Data {
    pub(super) fn run(self, show: bool) -> anyhow::Result<()> {
        match self {
            Self::People(people) => people.run(show),
            Self::Inspect { folder, json, output } => {
                let inspection = with_progress(show, |control| inspect(&folder, control))?;
                let text = if json { serde_json::to_string_pretty(&inspection)? } else { describe(&inspection) };
                print_data(&text)?;
                if let Some(output) = output {
                    contact_sheet(&Dataset::open(&folder)?, &output)?;
                    say(&output.display().to_string());
                }
                if !inspection.problems.is_empty() {
                    anyhow::bail!(
                        "{} is not all right:\n{}\n\nhint: run the command that made it again; it makes broken shards anew",
                        folder.display(),
                        inspection.problems.join("\n")
                    );
                }
                Ok(())
            }
        }
    }
}

impl People {
    fn run(self, show: bool) -> anyhow::Result<()> {
        let request = MakeRequest {
            recipe: Recipe {
                generator: concat!("MagicMirror ", env!("CARGO_PKG_VERSION")).into(),
                seed: self.seed,
                identities: self.identities,
                pairs: self.pairs,
                clips: self.clips,
                size: self.size,
                reference_size: self.reference_size,
                frames: self.frames,
                fps: self.fps,
                choices: Choices {
                    actions: self.actions,
                    camera_moves: self.camera_moves,
                    framings: self.framings,
                    facings: self.facings,
                    lightings: self.lightings,
                    no_hats: self.no_hats,
                    centred: self.centred,
                    varied_photos: self.varied_photos,
                },
                validation: self.validation,
                test: self.test,
                layout: match self.format {
                    Format::Webdataset => Layout::Webdataset,
                    Format::Folder => Layout::Folder,
                },
                samples_per_shard: self.per_shard,
            },
            output: self.output,
            workers: self.workers,
            machine: self.shard,
        };
        let made = with_progress(show, |control| make_people(&request, control))?;
        let (folder, sheet) = (request.output.display(), made.contact_sheet.display());
        say(&match made.shards {
            0 => format!("{folder}: nothing to make, all {} shards are whole (contact sheet in {sheet})", made.found),
            shards => format!("{folder}: {} samples in {shards} new shards (contact sheet in {sheet})", made.samples),
        });
        Ok(())
    }
}

fn describe(inspection: &Inspection) -> String {
    let Inspection { recipe, splits, shards, missing_shards, bytes, face_height, balance, .. } = inspection;
    let mut lines = vec![format!(
        "people who do not exist: {}x{}, clips of {} frames at {} fps, seed {}, {}",
        recipe.size.width, recipe.size.height, recipe.frames, recipe.fps, recipe.seed, recipe.generator
    )];
    lines.push(format!("  {shards} shards, {}, {} not made yet", Bytes(*bytes), missing_shards.len()));
    for (split, counts) in splits {
        lines.push(format!(
            "  {}: {} pairs, {} clips of {} people, {} reference photos",
            split.name(),
            counts.pairs,
            counts.clips,
            counts.identities,
            counts.references
        ));
    }
    if let Some([low, middle, high]) = face_height {
        lines.push(format!("  height of faces: {low:.2} to {high:.2} of the picture, median {middle:.2}"));
    }
    for (what, counts) in balance {
        let counts: Vec<String> = counts.iter().map(|(name, count)| format!("{name} {count}")).collect();
        lines.push(format!("  {what}: {}", counts.join(", ")));
    }
    lines.join("\n")
}
