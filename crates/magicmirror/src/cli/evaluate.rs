use std::path::PathBuf;

use clap::{Args, Subcommand};
use magicmirror_engine::evaluate::{PeopleRequest, PromptsRequest, Request, evaluate, write_people, write_prompts};

use crate::device::DeviceName;
use crate::progress::{say, with_progress};

/// Judge videos, of any model, by the paper's metrics.
///
/// Writes results.json, table.md, table.csv and report.html. What was measured is kept in the sub-folder `cache`: an
/// interrupted run goes on where it stopped.
///
/// Example: magicmirror evaluate videos/manifest.jsonl --output evaluation --jobs 2
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(super) struct Evaluate {
    #[command(subcommand)]
    set: Option<Set>,
    /// JSON lines {video, references[], prompt, model, identity, seed}, paths relative to the file; or a folder of photos
    /// NAME.jpg and videos NAME_*.mp4 (.gif, .webp, folders of PNGs), the videos in sub-folders by model if there are several.
    /// Several are judged together
    #[arg(value_name = "MANIFEST|FOLDER", required = true)]
    manifests: Vec<PathBuf>,
    /// Folder for the results
    #[arg(long, short, value_name = "DIR", required = true)]
    output: Option<PathBuf>,
    /// Look for faces in every Nth frame
    #[arg(long, value_name = "N", default_value_t = 1)]
    frame_stride: usize,
    /// Videos judged at once
    #[arg(long, value_name = "N", default_value_t = 1)]
    jobs: usize,
    /// Smallest face to look for, in pixels
    #[arg(long, value_name = "PIXELS", default_value_t = 20)]
    min_face: usize,
    /// Folder with the weights of further metrics; what is missing is reported as not computed
    #[arg(long, value_name = "DIR", env = "MAGICMIRROR_METRIC_WEIGHTS")]
    weights: Option<PathBuf>,
    /// Weight file of a further recogniser (MobileFaceNet, ArcFace or CurricularFace); repeat it for several
    #[arg(long = "recogniser", value_name = "FILE")]
    recognisers: Vec<PathBuf>,
    /// Say what part of this model's identity gap and motion the others reach; repeat it for several models
    #[arg(long, value_name = "MODEL")]
    relative_to: Vec<String>,
    /// Write contact sheets: a photo, frames and the prompt of every video, ten on a sheet
    #[arg(long)]
    sheets: bool,
    /// cpu, cuda, cuda:N, rocm, rocm:N, vulkan or metal; default: the best one built in
    #[arg(long, value_name = "DEVICE", env = "MAGICMIRROR_DEVICE")]
    device: Option<DeviceName>,
}

/// What writes manifests.
#[derive(Debug, Subcommand)]
enum Set {
    /// Write the paper's set of prompts for photos of people, for `generate --manifest`
    ///
    /// Example: magicmirror evaluate prompts --people photos --output set.jsonl && magicmirror generate --manifest set.jsonl
    /// --backbone cogvideox-5b --adapter my-adapter --output videos && magicmirror evaluate videos/manifest.jsonl --output
    /// evaluation
    Prompts {
        /// Folder GROUP/NAME.jpg or GROUP/NAME/*.jpg, GROUP being man, woman, elderly-man, elderly-woman, boy, girl or baby;
        /// or JSON lines {identity, group, references[]}
        #[arg(long, value_name = "FOLDER|FILE")]
        people: PathBuf,
        /// VBench_full_info.json; default: its single-person prompts, which come with this program
        #[arg(long, value_name = "FILE")]
        prompts: Option<PathBuf>,
        /// Prompts for each person
        #[arg(long, value_name = "N", default_value_t = 4)]
        per_identity: usize,
        /// Decides which prompts; the seeds of the videos count on from it
        #[arg(long, default_value_t = 0)]
        seed: u64,
        /// Name of the model that will make the videos
        #[arg(long, value_name = "NAME", default_value = "magicmirror")]
        model: String,
        /// Kind of the videos: mp4, gif or webp
        #[arg(long, value_name = "EXT", default_value = "mp4", value_parser = ["mp4", "gif", "webp"])]
        extension: String,
        /// Manifest to write
        #[arg(long, short, value_name = "FILE")]
        output: PathBuf,
    },
    /// Draw people who were held out of a data set: photos and prompts for `generate --manifest`, and the true clips
    ///
    /// Writes manifest.jsonl, with the videos of the model and of the plain backbone that are to be made, and truth.jsonl,
    /// with drawn clips as models `truth` and, passed through the backbone's autoencoder, `truth-vae`.
    ///
    /// Example: magicmirror evaluate people --data data/people --backbone nano --output people && magicmirror generate
    /// --manifest people/manifest.jsonl --backbone nano --adapter nano/adapter --output videos && magicmirror evaluate
    /// people/truth.jsonl videos/manifest.jsonl --relative-to truth-vae --sheets --output scores
    People {
        /// Data set that the model was trained on: its test split says who was held out
        #[arg(long, value_name = "DIR")]
        data: PathBuf,
        /// Pipeline folder of the model: size and length of the clips, and the autoencoder
        #[arg(long, value_name = "DIR", env = "MAGICMIRROR_BACKBONE")]
        backbone: PathBuf,
        /// How many people
        #[arg(long, value_name = "N", default_value_t = 40)]
        identities: usize,
        /// Clips of each person; the first, third, … are before a plain backdrop whose colour the prompt names
        #[arg(long, value_name = "N", default_value_t = 2)]
        clips: usize,
        /// Photos of each person
        #[arg(long, value_name = "N", default_value_t = 1)]
        references: usize,
        /// Chooses scenes and words; the seeds of the videos count on from it
        #[arg(long, default_value_t = 0)]
        seed: u64,
        /// Name of the model that will make the videos
        #[arg(long, value_name = "NAME", default_value = "magicmirror")]
        model: String,
        /// cpu, cuda, cuda:N, rocm, rocm:N, vulkan or metal; default: the best one built in
        #[arg(long, value_name = "DEVICE", env = "MAGICMIRROR_DEVICE")]
        device: Option<DeviceName>,
        /// Folder to write
        #[arg(long, short, value_name = "DIR")]
        output: PathBuf,
    },
}

impl Set {
    fn run(self, show: bool) -> anyhow::Result<()> {
        match self {
            Self::Prompts { people, prompts, per_identity, seed, model, extension, output } => {
                let request = PromptsRequest { people, prompts, count: per_identity, seed, model, extension, output };
                let (people, videos) = write_prompts(&request)?;
                say(&format!("{people} people (the paper has 50), {videos} videos: {}", request.output.display()));
            }
            Self::People { data, backbone, identities, clips, references, seed, model, device, output } => {
                let request = PeopleRequest { data, backbone, output, identities, clips, references, seed, model };
                let device = DeviceName::open(device)?;
                let set = with_progress(show, |control| write_people(&request, &device, control))?;
                let (made, truth) = (set.manifest.display(), set.truth.display());
                say(&format!("{} clips of {identities} people: {truth}; to be made: {made}", set.clips));
            }
        }
        Ok(())
    }
}

impl Evaluate {
    pub(super) fn run(self, show: bool) -> anyhow::Result<()> {
        if let Some(set) = self.set {
            return set.run(show);
        }
        let output = self.output.expect("it is required without a subcommand");
        let device = DeviceName::open(self.device)?;
        let request = Request {
            manifests: self.manifests,
            output,
            frame_stride: self.frame_stride,
            jobs: self.jobs,
            min_face: self.min_face,
            weights: self.weights,
            recognisers: self.recognisers,
            relative_to: self.relative_to,
            sheets: self.sheets,
        };
        let results = with_progress(show, |control| evaluate(&request, &device, control))?;
        for absent in &results.not_computed {
            say(&format!(
                "not computed: {}\n  wants {} in --weights DIR ({})",
                absent.columns.join(", "),
                absent.file,
                absent.origin
            ));
        }
        say(&format!("{} videos: {}", results.videos.len(), request.output.join("report.html").display()));
        Ok(())
    }
}
