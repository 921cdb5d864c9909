use std::path::PathBuf;

use clap::Subcommand;
use magicmirror_engine::ensure_writable;
use magicmirror_engine::identity::{Encoders, detect_faces, encode};

use super::{Compute, Faces};
use crate::device::DeviceName;
use crate::progress::{print_data, say, with_progress};

/// Read faces from photos.
#[derive(Debug, Subcommand)]
pub(super) enum Identity {
    /// Compute identity features from photos of one person, for `generate --identity`
    ///
    /// Writes `id_embeds` (N×E), `vision_last` and `vision_penultimate` (N×P×V), f32.
    Encode {
        /// Photo of the person (JPEG, PNG, WebP); repeat it for several photos
        #[arg(long = "reference", value_name = "IMG", required = true, num_args = 1..)]
        references: Vec<PathBuf>,
        /// Adapter whose encoders are used; or name them with --recogniser and --vision
        #[arg(long, value_name = "DIR", env = "MAGICMIRROR_ADAPTER")]
        adapter: Option<PathBuf>,
        #[command(flatten)]
        faces: Faces,
        #[command(flatten)]
        compute: Compute,
        /// Safetensors file to write
        #[arg(long, short, value_name = "FILE")]
        output: PathBuf,
    },
    /// List the faces of a photo: boxes, scores and five landmarks, in pixels of the photo
    Faces {
        /// A photo (JPEG, PNG, WebP)
        #[arg(value_name = "IMG")]
        image: PathBuf,
        /// Print JSON
        #[arg(long)]
        json: bool,
        /// Smallest face to look for, in pixels
        #[arg(long, value_name = "PIXELS", default_value_t = 20)]
        min_face: usize,
    },
}

impl Identity {
    pub(super) fn run(self, show: bool) -> anyhow::Result<()> {
        match self {
            Self::Encode { references, adapter, faces, compute, output } => {
                let device = DeviceName::open(compute.device)?;
                let options = faces.options();
                ensure_writable(&output)?;
                let encoders = Encoders::new(adapter.as_deref(), &options)?;
                with_progress(show, |control| {
                    let features = encode(&references, &encoders, &options, &device, control)?;
                    Ok(features.save(&output)?)
                })?;
                say(&output.display().to_string());
                Ok(())
            }
            Self::Faces { image, json, min_face } => {
                let faces = detect_faces(&image, min_face)?;
                if json {
                    return print_data(&serde_json::to_string(&faces)?);
                }
                if faces.is_empty() {
                    say(&format!("no face found in: {}", image.display()));
                }
                for (index, face) in faces.iter().enumerate() {
                    print_data(&format!("{index}: {face}"))?;
                }
                Ok(())
            }
        }
    }
}
