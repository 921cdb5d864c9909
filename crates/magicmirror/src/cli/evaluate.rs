use std::path::PathBuf;

use clap::Args;
use magicmirror_engine::evaluate::{Request, evaluate};

use crate::device::DeviceName;
use crate::progress::{say, with_progress};

/// Judge videos, of any model, by the paper's metrics.
///
/// Writes results.json, table.md, table.csv and report.html. What was measured is kept in the sub-folder `cache`: an
/// interrupted run goes on where it stopped.
///
/// Example: magicmirror evaluate videos/manifest.jsonl --output evaluation --jobs 2
#[derive(Debug, Args)]
pub(super) struct Evaluate {
    /// JSON lines {video, references[], prompt, model, identity, seed}, paths relative to the file; or a folder of photos
    /// NAME.jpg and videos NAME_*.mp4 (.gif, .webp, folders of PNGs), the videos in sub-folders by model if there are several
    #[arg(value_name = "MANIFEST|FOLDER")]
    manifest: PathBuf,
    /// Folder for the results
    #[arg(long, short, value_name = "DIR")]
    output: PathBuf,
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
    /// Weight file of a further recogniser (MobileFaceNet or ArcFace); repeat it for several
    #[arg(long = "recogniser", value_name = "FILE")]
    recognisers: Vec<PathBuf>,
    /// cpu, cuda, cuda:N, rocm, rocm:N, vulkan or metal; default: the best one built in
    #[arg(long, value_name = "DEVICE", env = "MAGICMIRROR_DEVICE")]
    device: Option<DeviceName>,
}

impl Evaluate {
    pub(super) fn run(self, show: bool) -> anyhow::Result<()> {
        let device = DeviceName::open(self.device)?;
        let request = Request {
            manifest: self.manifest,
            output: self.output,
            frame_stride: self.frame_stride,
            jobs: self.jobs,
            min_face: self.min_face,
            weights: self.weights,
            recognisers: self.recognisers,
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
