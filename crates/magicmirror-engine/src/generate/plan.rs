//! What a run needs, said before anything is loaded.
//!
//! Counted from the code: for each stage, the tensors that are alive together at its worst moment on the CPU back-end,
//! where every activation is f32. `tests/memory` compares this with what runs really take; who changes what a network
//! holds will find the place here by its failure.

mod decoder;

use std::path::{Path, PathBuf};

use burn::tensor::Device;
use magicmirror_models::adapter::{Adapter, AdapterConfig};
use magicmirror_models::dit::Dit;
use magicmirror_models::text::T5Encoder;
use magicmirror_models::vae::{Tiling, VaeDecoder};
use magicmirror_models::weights::{Checkpoint, Names, Precision};

use super::{Request, Settings};
use crate::EngineError;
use crate::backbone::{Backbone, Part};
use crate::event::{Control, Event};
use crate::memory::{self, MemoryPlan, StageMemory};

const F32: u64 = 4;
/// The program itself: code, buffers of readers and writers, stacks of threads.
const PROGRAM: u64 = 24 << 20;
/// From this size on the allocator (glibc's) surely gives memory back at once.
const RETURNED: u64 = 32 << 20;
/// What detector and recogniser take to look at a frame, beside their weights.
const LOOK: u64 = 64 << 20;
/// Rows of a 16-bit weight that are widened to f32 at a time.
const PANEL: u64 = 512;

/// Who is to be seen, as far as memory goes.
pub(super) struct Person<'a> {
    /// Folder of the adapter.
    pub(super) adapter: &'a Path,
    pub(super) config: &'a AdapterConfig,
    pub(super) references: usize,
    /// Tokens that the vision encoder makes of a photo.
    pub(super) image_tokens: usize,
    /// Files of the face networks, where photos are still to be read.
    pub(super) face_networks: Vec<PathBuf>,
}

/// What a run is about.
pub(super) struct Subject<'a> {
    pub(super) backbone: &'a Backbone,
    pub(super) settings: &'a Settings,
    pub(super) request: &'a Request,
    pub(super) person: Option<Person<'a>>,
    /// Videos to choose from.
    pub(super) candidates: usize,
    /// Size of the recogniser that chooses, if there are several.
    pub(super) judge: Option<u64>,
    /// Without and with padding.
    pub(super) latent_frames: [usize; 2],
}

/// Says what the run needs, and whether it decodes in tiles: as asked, or else only where whole frames do not fit.
///
/// # Errors
/// When the run does not fit into memory either way.
pub(super) fn choose_tiling(
    subject: &Subject<'_>,
    device: &Device,
    control: &mut Control<'_>,
) -> Result<Tiling, EngineError> {
    let asked = subject.request.tiling;
    let mut tiling = asked.unwrap_or(Tiling::Off);
    let mut needs = subject.memory(tiling)?;
    // How much memory a graphics card has free is not known here.
    let in_main_memory = *device == Device::flex();
    if in_main_memory && !needs.fits() && asked.is_none() && subject.has_tiles() {
        tiling = Tiling::Auto;
        needs = subject.memory(tiling)?;
        if needs.fits() {
            control.emit(Event::Note("frames are decoded in tiles: whole ones need more memory than there is".into()));
        }
    }
    if in_main_memory && !needs.fits() {
        return Err(EngineError::Memory {
            plan: needs,
            hint: "use a smaller --height, --width or --frames, --dtype bf16, or a machine with more memory",
        });
    }
    control.emit(Event::Plan(needs));
    Ok(tiling)
}

impl Subject<'_> {
    fn memory(&self, tiling: Tiling) -> Result<MemoryPlan, EngineError> {
        let kept = PROGRAM + self.positions() + self.judge.map_or(0, |weights| weights + LOOK);
        let mut stages = Vec::new();
        let mut add = |stage, weights: u64, activations: u64| {
            // Two fifths more for what the allocator keeps of smaller tensors that are gone.
            stages.push(StageMemory { stage, weights, activations: kept + activations + activations * 2 / 5 });
        };
        if let Some(person) = self.person.as_ref().filter(|person| !person.face_networks.is_empty()) {
            add("faces", file_bytes(&person.face_networks), self.faces(person));
        }
        let weights = self.weights(Part::TextEncoder, &T5Encoder::NAMES)?;
        add("text encoder", weights.total, weights.conversion.max(self.text_encoder(&weights)));
        let mut weights = self.weights(Part::Transformer, &Dit::NAMES)?;
        let mut activations = self.transformer(&weights, 0);
        if let Some(person) = &self.person {
            let adapter = Adapter::open(person.adapter)?;
            weights = weights.and(Weights::new(&adapter, &Names::default(), self.request.precision));
            activations = self.transformer(&weights, person.face_tokens()).max(person.conditions());
        }
        add("transformer", weights.total, weights.conversion.max(activations) + self.sampler());
        let weights = self.weights(Part::Vae, &VaeDecoder::NAMES)?;
        let mut activations = weights.conversion.max(self.decoder(tiling));
        if self.judge.is_some() {
            // Those of the best so far.
            activations += self.frames();
        }
        add("decoder", weights.total, activations + (4 + self.denoised()) * self.latents() + self.text_kept());
        add("output", 0, self.output() + (2 + self.denoised()) * self.latents() + self.text_kept());
        Ok(MemoryPlan { stages, available: memory::available() })
    }

    /// Whether the autoencoder's tiles fit together.
    fn has_tiles(&self) -> bool {
        let latents =
            [self.settings.height, self.settings.width].map(|size| size / self.backbone.spatial_compression());
        self.backbone.vae.check_tiling(Tiling::Auto, latents).is_ok()
    }

    fn weights(&self, part: Part, names: &Names<'_>) -> Result<Weights, EngineError> {
        Ok(Weights::new(&self.backbone.weights(part)?, names, self.request.precision))
    }

    fn video_tokens(&self) -> u64 {
        let dit = &self.backbone.dit;
        let side = self.backbone.spatial_compression() * dit.patch_size;
        let frames = self.latent_frames[1] / dit.patch_size_t.unwrap_or(1);
        (frames * (self.settings.height / side) * (self.settings.width / side)) as u64
    }

    /// The latents, once.
    fn latents(&self) -> u64 {
        let scale = self.backbone.spatial_compression();
        let pixels = self.settings.height / scale * (self.settings.width / scale);
        F32 * (self.latent_frames[1] * self.backbone.dit.in_channels * pixels) as u64
    }

    /// The frames, once: all that the decoder gives.
    fn frames(&self) -> u64 {
        let frames = self.backbone.vae.decoded_frames(self.latent_frames[0]);
        F32 * 3 * (frames * self.settings.height * self.settings.width) as u64
    }

    /// Angles or a table for each video token, for the whole run.
    fn positions(&self) -> u64 {
        let dit = &self.backbone.dit;
        let values = if dit.use_rotary_positional_embeddings { 2 * dit.attention_head_dim } else { dit.width() };
        F32 * self.video_tokens() * values as u64
    }

    /// Embeddings of both prompts, and the copies that `--tensors` may ask for.
    fn text_kept(&self) -> u64 {
        6 * F32 * (self.backbone.dit.max_text_seq_length * self.backbone.dit.text_embed_dim) as u64
    }

    /// A vision encoder's layer and a photo with its copies.
    fn faces(&self, person: &Person<'_>) -> u64 {
        // Four times as wide between the feed-forward layers; before and after, attention and its inputs.
        let vision = F32 * (person.image_tokens * person.config.vision_hidden_size * 12) as u64;
        let pixels = |path: &PathBuf| image::image_dimensions(path).map_or(0, |(w, h)| u64::from(w) * u64::from(h));
        let photo = self.request.references.iter().map(pixels).max().unwrap_or(0);
        // As decoded, turned upright, in RGB, and cut out.
        vision + person.features() + 12 * photo
    }

    /// Biases of all heads by distance, and beside them attention or the two halves of the gated layer.
    fn text_encoder(&self, weights: &Weights) -> u64 {
        let text = &self.backbone.text;
        let tokens = self.backbone.dit.max_text_seq_length as u64;
        let [width, inner, hidden] = [text.d_model, text.num_heads * text.d_kv, text.d_ff].map(|size| size as u64);
        let bias = F32 * text.num_heads as u64 * tokens * tokens;
        let buckets = size_of::<i64>() as u64 * tokens * tokens;
        let layer = F32 * tokens * (3 * width + (5 * inner).max(2 * hidden));
        let panel = weights.panel(tokens, width.max(inner).max(hidden));
        bias + buckets.max(layer + panel) + self.text_kept()
    }

    /// In the feed-forward layer, seven times the tokens: these, their normed copy, hidden ones of four times the width, and
    /// what the product packs. Attention has fewer: tokens, queries, keys, values and results, and what the adapter adds.
    fn transformer(&self, weights: &Weights, face_tokens: u64) -> u64 {
        let dit = &self.backbone.dit;
        let width = dit.width() as u64;
        let tokens = dit.max_text_seq_length as u64 + self.video_tokens() + face_tokens;
        // For each token the angles, padded, and their pieces while that happens; of each head a sum.
        let angles = F32 * tokens * (4 * dit.attention_head_dim + dit.num_attention_heads) as u64;
        let stream = F32 * tokens * width;
        // Attention's tensors stay with the allocator, where they are too small to be given back.
        7 * stream + 4 * stream.min(RETURNED) + angles + weights.panel(tokens, 4 * width)
    }

    /// Two predictions more, where there is skip guidance.
    fn skipping(&self) -> u64 {
        2 * u64::from(self.settings.skip_guidance().is_active())
    }

    /// Latents and first predictions of other candidates, in latents.
    fn denoised(&self) -> u64 {
        2 * (self.candidates as u64 - 1)
    }

    /// Latents of before and after the step, predictions, noise, what came from a file, and what candidates keep; embeddings.
    fn sampler(&self) -> u64 {
        let from_file = self.request.latents.iter().cloned().collect::<Vec<_>>();
        (8 + self.skipping() + self.denoised()) * self.latents() + self.text_kept() + 2 * file_bytes(&from_file)
    }

    /// The frames decoded so far beside the network, or twice all frames when they are joined. Rows of tiles overlap.
    fn decoder(&self, tiling: Tiling) -> u64 {
        let vae = &self.backbone.vae;
        let [height, width] = [self.settings.height, self.settings.width];
        let tile = [vae.sample_height / 2, vae.sample_width / 2];
        let tiled = match tiling {
            Tiling::Off => false,
            Tiling::Auto => height > tile[0] || width > tile[1],
            Tiling::On => true,
        };
        let frames = self.frames();
        if !tiled {
            return (frames + decoder::activations(vae, self.latent_frames[0], [height, width])).max(2 * frames);
        }
        // Two rows of tiles, each half as large again as what is kept of it.
        let rows = height.div_ceil((tile[0] * 5 / 6).max(1)) as u64;
        let rows_of_tiles = 3 * frames / rows;
        let network = decoder::activations(vae, self.latent_frames[0], [height.min(tile[0]), width.min(tile[1])]);
        (frames + rows_of_tiles + network).max(2 * frames + rows_of_tiles)
    }

    /// The frames, as bytes too, and as the file that is made of them; or copies of them for `--tensors`.
    fn output(&self) -> u64 {
        let frames = self.frames();
        let pictures = frames / F32;
        let one = pictures / self.settings.frames as u64;
        let tensors = if self.request.tensors.is_some() { 2 * frames } else { 0 };
        frames + tensors.max(2 * pictures + 8 * one)
    }
}

impl Person<'_> {
    fn face_tokens(&self) -> u64 {
        let tokens = if self.config.modules.structure_branch { self.config.face_perceiver.tokens } else { 0 };
        (tokens * self.references) as u64
    }

    /// The two hidden states of the vision encoder.
    fn features(&self) -> u64 {
        F32 * (2 * self.references * self.image_tokens * self.config.vision_hidden_size) as u64
    }

    /// The widest perceiver at work on all references: its memory projected, the same normed and with the queries, keys and
    /// values of both.
    fn conditions(&self) -> u64 {
        let width = self.config.id_perceiver.dim.max(self.config.face_perceiver.dim);
        let tokens = self.image_tokens + self.config.id_perceiver.tokens.max(self.config.face_perceiver.tokens);
        self.features() + F32 * (self.references * tokens * width * 4) as u64
    }
}

/// A network's weights in memory.
struct Weights {
    total: u64,
    /// The largest tensor as the file has it, of those that are converted.
    conversion: u64,
    /// Whether some are in 16 bits, which products widen.
    narrow: bool,
}

impl Weights {
    fn new(checkpoint: &Checkpoint, names: &Names<'_>, precision: Precision) -> Self {
        let mut weights = Self { total: 0, conversion: 0, narrow: false };
        for (name, entry) in checkpoint.entries() {
            if names.ignored.iter().any(|part| name.starts_with(part) || name.ends_with(part)) {
                continue;
            }
            let elements = entry.elements() as u64;
            // Vectors are f32 whatever the precision.
            let bytes = match precision {
                _ if entry.shape.len() < 2 => elements * F32,
                Precision::Stored => entry.bytes().min(elements * F32),
                Precision::F32 => elements * F32,
                Precision::Bf16 | Precision::F16 => elements * 2,
            };
            weights.total += bytes;
            weights.narrow |= bytes < elements * F32;
            if bytes != entry.bytes() {
                weights.conversion = weights.conversion.max(entry.bytes());
            }
        }
        weights
    }

    fn and(self, other: Self) -> Self {
        Self {
            total: self.total + other.total,
            conversion: self.conversion.max(other.conversion),
            narrow: self.narrow || other.narrow,
        }
    }

    /// Some rows of a weight in f32, and what they give.
    fn panel(&self, tokens: u64, width: u64) -> u64 {
        if self.narrow { F32 * (PANEL * width + PANEL.min(width) * tokens) } else { 0 }
    }
}

fn file_bytes(files: &[PathBuf]) -> u64 {
    files.iter().filter_map(|file| Some(file.metadata().ok()?.len())).sum()
}
