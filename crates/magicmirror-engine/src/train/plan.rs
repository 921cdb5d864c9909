//! The memory that a run needs, from its configuration and those of the models; no weights are read.

use std::fmt;

use burn::module::Module;
use burn::tensor::{Device, TensorData};
use magicmirror_models::adapter::{Adapter, AdapterConfig};
use magicmirror_models::dit::Dit;
use magicmirror_models::vae::VaeDecoder;
use magicmirror_models::weights::{Init, Params, TensorSource};

use super::objective::{FrozenPrecision, ModelConfig};
use super::{FrameSize, LossConfig, OptimiserConfig, RunConfig};
use crate::EngineError;
use crate::backbone::Backbone;
use crate::memory::Bytes;

const F32: u64 = 4;

/// Tensors of a block's tokens × width that are alive at once while a block is run again under autodiff: the results of
/// its layers (the feed-forward layer's count fourfold) and the gradients on their way. Counted; measured on the CPU, whose
/// fused operations keep less: at most 36 from 5,658 tokens on (BENCHMARKS.md).
const BLOCK_TENSORS: u64 = 40;

/// Bytes of one tensor of scores at most, and how many are alive at once on the way back, where attention goes by blocks of
/// queries (`nn/kernels/in_blocks.rs` of magicmirror-models); on the CPU they never leave the cache.
const SCORES: u64 = 256 << 20;
const SCORE_TENSORS: u64 = 5;

/// Tensors of the decoder's largest size (full frames, fewest channels) that its graph and convolutions hold: a bound for all
/// devices. Measured on the CPU, for each further pixel: 117 with Burn's convolutions, which other devices run; with our
/// own 50 for an image and 53 for a clip (`decoder_gradients` in `tests/memory`).
const DECODER_TENSORS: u64 = 120;

/// Copies of the adapter in main memory while it is written: the values to be exported, a module with them, its tensors.
const WRITTEN_COPIES: u64 = 3;

/// Memory of a training run by what takes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrainingPlan {
    /// On each device: what, and bytes.
    pub device: Vec<(&'static str, u64)>,
    /// In main memory, for all devices together.
    pub host: Vec<(&'static str, u64)>,
    /// Tokens of the largest sample: text, video, face.
    pub tokens: [u64; 3],
    /// Parameters: frozen transformer, adapter.
    pub parameters: [u64; 2],
}

impl TrainingPlan {
    /// Of a run on so many devices whose largest samples have so many frames and reference photos and one of these sizes.
    ///
    /// # Errors
    /// When a configuration cannot be read.
    pub(super) fn new(
        model: &ModelConfig,
        loss: &LossConfig,
        run: &RunConfig,
        optimiser: &OptimiserConfig,
        sizes: &[FrameSize],
        [frames, references]: [usize; 2],
        devices: usize,
    ) -> Result<Self, EngineError> {
        let backbone = Backbone::open(&model.backbone)?;
        let adapter = AdapterConfig::load(&model.adapter)?;
        let frozen = Count::of(|params| Dit::new(&backbone.dit, params));
        let trained = Count::of_adapter(&adapter)?;
        let patch = backbone.dit.patch_size * backbone.spatial_compression();
        let patch_frames = backbone.dit.patch_size_t.unwrap_or(1);
        let pixels = sizes.iter().map(|size| size.width * size.height).max().unwrap_or(0);
        let latent_frames = ((frames - 1) / backbone.vae.temporal_compression_ratio + 1).div_ceil(patch_frames);
        let text = backbone.dit.max_text_seq_length as u64;
        let video = (latent_frames * (pixels / patch.pow(2))) as u64;
        let face =
            if adapter.modules.structure_branch { (references * adapter.face_perceiver.tokens) as u64 } else { 0 };
        let one = (text + video + face) * backbone.dit.width() as u64 * F32 * run.micro_batch as u64;

        let samples = run.batch.div_ceil(devices.max(1));
        let gradients = if samples > run.micro_batch {
            ("gradients of the adapter and their sum, f32", 2 * trained.elements() * F32)
        } else {
            ("gradients of the adapter, f32", trained.elements() * F32)
        };
        let mut device = vec![
            ("frozen transformer", frozen.bytes(model.dtype)),
            ("adapter, f32", trained.elements() * F32),
            gradients,
        ];
        if model.recompute {
            device.push(("inputs of all blocks, f32", one * backbone.dit.num_layers as u64));
        }
        let all_scores = (text + video + face).pow(2) * backbone.dit.num_attention_heads as u64 * F32;
        let scores = SCORE_TENSORS * SCORES.min(all_scores * run.micro_batch as u64);
        let block = one * BLOCK_TENSORS;
        let mut graph = if model.recompute {
            ("one block under autodiff, f32", block + scores)
        } else {
            // Scores are those of one block at a time: attention computes them again.
            ("all blocks under autodiff, f32", block * backbone.dit.num_layers as u64 + scores)
        };
        if loss.identity_weight > 0.0 {
            let decoder = Count::of(|params| VaeDecoder::new(&backbone.vae, params));
            device.push(("frozen decoder", decoder.bytes(model.dtype)));
            let decoded = if frames == 1 { 1 } else { 2 * backbone.vae.temporal_compression_ratio as u64 };
            let channels = backbone.vae.block_out_channels.first().copied().unwrap_or(1) as u64;
            // The decoder's graph is gone before the first block is run again.
            let square = (loss.identity_side * backbone.spatial_compression()).pow(2);
            let pixels = if square > 0 { pixels.min(square) } else { pixels };
            let decoder = decoded * channels * pixels as u64 * F32 * DECODER_TENSORS * run.micro_batch as u64;
            if !model.recompute {
                // Both are there at once.
                device.push(("decoder under autodiff, f32", decoder));
            } else if decoder > graph.1 {
                graph = ("decoder under autodiff, f32", decoder);
            }
        }
        device.push(graph);
        let mut host =
            vec![("masters, f32", trained.elements() * F32), ("both moments, f32", trained.elements() * F32 * 2)];
        if optimiser.average_decay > 0.0 {
            host.push(("moving average, f32", trained.elements() * F32));
        }
        // More than a checkpoint's, both moments, and than the gradients of one device beside the sum of those before.
        host.push(("copies while the model is written, f32", trained.elements() * F32 * WRITTEN_COPIES));
        Ok(Self { device, host, tokens: [text, video, face], parameters: [frozen.elements(), trained.elements()] })
    }

    /// Bytes on each device.
    pub fn device_total(&self) -> u64 {
        self.device.iter().map(|(_, bytes)| bytes).sum()
    }

    /// Bytes in main memory, besides those of a device that computes there.
    pub fn host_total(&self) -> u64 {
        self.host.iter().map(|(_, bytes)| bytes).sum()
    }
}

impl fmt::Display for TrainingPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [text, video, face] = self.tokens;
        let [frozen, trained] = self.parameters.map(|count| count as f64 / 1e6);
        writeln!(f, "{frozen:.0} M parameters frozen, {trained:.0} M trained")?;
        writeln!(f, "a sample has {text} text, {video} video and {face} face tokens")?;
        for (place, lines, total) in
            [("on each device", &self.device, self.device_total()), ("in main memory", &self.host, self.host_total())]
        {
            writeln!(f, "{place}:")?;
            for (what, bytes) in lines {
                writeln!(f, "  {:>10}  {what}", Bytes(*bytes).to_string())?;
            }
            writeln!(f, "  {:>10}  in all", Bytes(total).to_string())?;
        }
        write!(
            f,
            "weights are exact, activations estimated; text encoder, VAE encoder and face encoders are gone before"
        )
    }
}

/// How many elements a network has, in matrices and in vectors (which are always f32).
#[derive(Default)]
struct Count {
    matrices: u64,
    vectors: u64,
}

impl Count {
    fn of<M: Module>(build: impl FnOnce(&mut Params<'_, '_>) -> M) -> Self {
        let mut count = Self::default();
        let _ = Params::build(&mut count, &Device::flex(), build);
        count
    }

    fn of_adapter(config: &AdapterConfig) -> Result<Self, EngineError> {
        let mut count = Self::default();
        for (_, shape) in Adapter::shapes(config)? {
            count.add(&shape);
        }
        Ok(count)
    }

    fn add(&mut self, shape: &[usize]) {
        let elements = shape.iter().product::<usize>() as u64;
        if shape.len() > 1 { self.matrices += elements } else { self.vectors += elements }
    }

    fn elements(&self) -> u64 {
        self.matrices + self.vectors
    }

    fn bytes(&self, precision: FrozenPrecision) -> u64 {
        let each = match precision {
            // Released checkpoints are in 16 bits.
            FrozenPrecision::Stored | FrozenPrecision::Bf16 => 2,
            FrozenPrecision::F32 => F32,
        };
        self.matrices * each + self.vectors * F32
    }
}

impl TensorSource for Count {
    fn tensor(&mut self, _name: &str, shape: &[usize], _init: Init) -> Option<TensorData> {
        self.add(shape);
        None
    }
}
