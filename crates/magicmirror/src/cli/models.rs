use std::path::PathBuf;

use clap::Subcommand;
use magicmirror_engine::memory::Bytes;
use magicmirror_engine::models::{
    DownloadOptions, Downloaded, HUB, Inspection, download, import_photomaker_v2, init_adapter, inspect, saved_token,
    write_tiny,
};

use crate::progress::{print_data, say, with_progress};

/// Download, inspect, import and initialise models.
#[derive(Debug, Subcommand)]
pub(super) enum Models {
    /// Fetch the pipeline folder of a CogVideoX checkpoint from the Hugging Face hub; goes on where it stopped
    Download {
        /// cogvideox-2b, cogvideox-5b, cogvideox-1.5-5b, or a repository as OWNER/NAME
        #[arg(value_name = "MODEL")]
        model: String,
        /// Folder to write; default: named like the model
        #[arg(long, short, value_name = "DIR")]
        output: Option<PathBuf>,
        /// Branch, tag or commit
        #[arg(long, default_value = "main")]
        revision: String,
        /// Access token for repositories that need one; default: that of `hf auth login`
        #[arg(long, env = "HF_TOKEN", hide_env_values = true)]
        token: Option<String>,
        /// Address of the hub
        #[arg(long, value_name = "URL", env = "HF_ENDPOINT", default_value = HUB)]
        endpoint: String,
    },
    /// Show what a model folder holds: kind, parameter counts, and what is missing
    Inspect {
        /// A backbone or adapter folder, or a weight file
        #[arg(value_name = "DIR|FILE")]
        path: PathBuf,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Write a freshly initialised adapter for a backbone, to train
    InitAdapter {
        /// Pipeline folder of a CogVideoX checkpoint
        #[arg(long, value_name = "DIR", env = "MAGICMIRROR_BACKBONE")]
        backbone: PathBuf,
        /// Sizes: an adapter_config.json; default: the paper's
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
        /// Seed of the weights
        #[arg(long, default_value_t = 0)]
        seed: u64,
        /// Folder to write
        #[arg(long, short, value_name = "DIR")]
        output: PathBuf,
    },
    /// Bring weights over from other projects
    #[command(subcommand)]
    Import(Import),
    /// Write a complete tiny model with random weights, for trying things out: its videos are noise
    Tiny {
        /// Seed of the weights
        #[arg(long, default_value_t = 0)]
        seed: u64,
        /// Folder to write: backbone/ and adapter/ in it
        #[arg(long, short, value_name = "DIR")]
        output: PathBuf,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum Import {
    /// The identity perceiver and vision encoder of PhotoMaker-V2, into a new adapter
    Photomaker {
        /// photomaker-v2.bin or .safetensors
        #[arg(value_name = "FILE")]
        checkpoint: PathBuf,
        /// Pipeline folder of the CogVideoX checkpoint that the adapter is for
        #[arg(long, value_name = "DIR", env = "MAGICMIRROR_BACKBONE")]
        backbone: PathBuf,
        /// Seed of the weights that are not imported
        #[arg(long, default_value_t = 0)]
        seed: u64,
        /// Folder to write
        #[arg(long, short, value_name = "DIR")]
        output: PathBuf,
    },
}

impl Models {
    pub(super) fn run(self, show: bool) -> anyhow::Result<()> {
        match self {
            Self::Download { model, output, revision, token, endpoint } => {
                let mut options = DownloadOptions::new(&model)?;
                options.output = output.unwrap_or(options.output);
                options.revision = revision;
                options.endpoint = endpoint;
                options.token = token.or_else(saved_token);
                let Downloaded { files, bytes, fetched, .. } =
                    with_progress(show, |control| download(&options, control))?;
                let folder = options.output.display();
                say(&match fetched {
                    0 => format!("{folder}: nothing to download, the hashes of all {files} files are right"),
                    _ => format!(
                        "{folder}: {fetched} of {files} files downloaded, {} in all, hashes right",
                        Bytes(bytes)
                    ),
                });
            }
            Self::Inspect { path, json } => {
                let inspection = inspect(&path)?;
                let text = if json { serde_json::to_string_pretty(&inspection)? } else { describe(&inspection) };
                print_data(&text)?;
                if !inspection.problems.is_empty() {
                    anyhow::bail!("{} cannot be used:\n{}", path.display(), inspection.problems.join("\n"));
                }
            }
            Self::InitAdapter { backbone, config, seed, output } => {
                let config = init_adapter(&backbone, config.as_deref(), &output, seed)?;
                say(&format!("{}: a fresh adapter for blocks {:?}", output.display(), config.adapter_layers));
            }
            Self::Import(Import::Photomaker { checkpoint, backbone, seed, output }) => {
                import_photomaker_v2(&checkpoint, &backbone, &output, seed)?;
                say(&format!(
                    "{}: identity perceiver and vision encoder imported, the rest is fresh; put its recogniser there: InsightFace's \
                     w600k_r50.onnx (of buffalo_l, for research only)",
                    output.display()
                ));
            }
            Self::Tiny { seed, output } => {
                write_tiny(&output, seed)?;
                say(&format!("{0}/backbone and {0}/adapter: random weights", output.display()));
            }
        }
        Ok(())
    }
}

fn describe(inspection: &Inspection) -> String {
    let mut lines = vec![inspection.kind.to_owned()];
    lines.extend(inspection.facts.iter().map(|(name, value)| format!("  {name}: {value}")));
    for part in &inspection.parts {
        let dtypes: Vec<&str> = part.dtypes.keys().map(String::as_str).collect();
        lines.push(
            format!(
                "  {}: {} parameters, {}, {} in {} file(s), {}",
                part.name,
                part.parameters,
                dtypes.join("+"),
                Bytes(part.bytes),
                part.files,
                part.tensors
            ) + " tensors",
        );
    }
    lines.join("\n")
}
