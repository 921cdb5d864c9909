use serde::Deserialize;
use thiserror::Error;

use super::tiling::{TileGrid, Tiling};

/// Why an autoencoder cannot be built or run as asked.
#[derive(Debug, Error, Clone, PartialEq)]
pub enum VaeError {
    /// A value in the configuration makes no sense.
    #[error("autoencoder configuration: {field} = {value}, but it must {rule}")]
    InvalidConfig {
        /// The field.
        field: &'static str,
        /// Its value.
        value: String,
        /// What holds for valid values.
        rule: &'static str,
    },
    /// A valid configuration of a model that is not implemented here.
    #[error("autoencoder configuration not supported: {field} = {value}\n\nhint: {hint}")]
    Unsupported {
        /// The field.
        field: &'static str,
        /// Its value.
        value: String,
        /// What is supported.
        hint: &'static str,
    },
    /// Frames or latents that this network does not take.
    #[error("the autoencoder cannot take a tensor of shape {found:?}: {rule}")]
    Shape {
        /// Shape of the tensor.
        found: [usize; 5],
        /// What holds for valid shapes.
        rule: String,
    },
    /// Tiles whose overlaps do not fall on whole latent pixels.
    #[error(
        "tiles of {height}×{width} pixels do not fit together\n\nhint: switch tiling off, or use the \
         sample_height and sample_width the autoencoder was released with"
    )]
    Tiles {
        /// Height of a tile in pixels.
        height: usize,
        /// Width of a tile in pixels.
        width: usize,
    },
    /// The caller asked to stop.
    #[error("cancelled")]
    Cancelled,
}

/// The shape of the autoencoder: `vae/config.json` of a released checkpoint.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default)]
pub struct VaeConfig {
    /// Channels of the frames that are encoded.
    pub in_channels: usize,
    /// Channels of the frames that are decoded.
    pub out_channels: usize,
    /// Kinds of the encoder's levels.
    pub down_block_types: Vec<String>,
    /// Kinds of the decoder's levels.
    pub up_block_types: Vec<String>,
    /// Channels of each level, from frames to latents. All but the last halve height and width.
    pub block_out_channels: Vec<usize>,
    /// Channels of the latents.
    pub latent_channels: usize,
    /// Residual blocks of each level of the encoder; the decoder has one more.
    pub layers_per_block: usize,
    /// Activation.
    pub act_fn: String,
    /// Epsilon of the group norms in the encoder's residual blocks (all others have 1e-6).
    pub norm_eps: f64,
    /// Groups of the group norms.
    pub norm_num_groups: usize,
    /// Video frames for each latent frame, a power of two.
    pub temporal_compression_ratio: usize,
    /// Height of the training videos in pixels; a tile has half of it.
    pub sample_height: usize,
    /// Width of the training videos in pixels; a tile has half of it.
    pub sample_width: usize,
    /// Latents are multiplied by this before the denoiser sees them.
    pub scaling_factor: f64,
    /// Whether image-to-video variants divide the condition image's latents by the scaling factor (1.5).
    pub invert_scale_latents: bool,
    /// Offset of the latents; not part of this model.
    pub shift_factor: Option<f64>,
    /// Mean of the latents by channel; not part of this model.
    pub latents_mean: Option<Vec<f64>>,
    /// Deviation of the latents by channel; not part of this model.
    pub latents_std: Option<Vec<f64>>,
    /// A further convolution behind the encoder; no released model has it.
    pub use_quant_conv: bool,
    /// A further convolution before the decoder; no released model has it.
    pub use_post_quant_conv: bool,
}

impl Default for VaeConfig {
    /// The defaults of the released format: what an absent field means.
    fn default() -> Self {
        Self {
            in_channels: 3,
            out_channels: 3,
            down_block_types: vec![DOWN_BLOCK.into(); 4],
            up_block_types: vec![UP_BLOCK.into(); 4],
            block_out_channels: vec![128, 256, 256, 512],
            latent_channels: 16,
            layers_per_block: 3,
            act_fn: "silu".into(),
            norm_eps: 1e-6,
            norm_num_groups: 32,
            temporal_compression_ratio: 4,
            sample_height: 480,
            sample_width: 720,
            scaling_factor: 1.152_584_26,
            invert_scale_latents: false,
            shift_factor: None,
            latents_mean: None,
            latents_std: None,
            use_quant_conv: false,
            use_post_quant_conv: false,
        }
    }
}

const DOWN_BLOCK: &str = "CogVideoXDownBlock3D";
const UP_BLOCK: &str = "CogVideoXUpBlock3D";

impl VaeConfig {
    /// The autoencoder of CogVideoX-5B (2B differs in the scaling factor only).
    pub fn cogvideox() -> Self {
        Self { scaling_factor: 0.7, ..Self::default() }
    }

    /// An autoencoder for tests: the released structure with 4 to 8 channels; tiles are 48×40 pixels.
    pub fn tiny() -> Self {
        Self {
            block_out_channels: vec![4, 8, 8, 8],
            latent_channels: 4,
            layers_per_block: 1,
            norm_num_groups: 2,
            sample_height: 96,
            sample_width: 80,
            ..Self::cogvideox()
        }
    }

    /// Checks that this is an autoencoder that can be built here.
    ///
    /// # Errors
    /// [`VaeError::InvalidConfig`] or [`VaeError::Unsupported`], naming the field.
    pub fn validate(&self) -> Result<(), VaeError> {
        self.validate_values()?;
        let unsupported = |field, value: String, hint| Err(VaeError::Unsupported { field, value, hint });
        if !matches!(self.act_fn.as_str(), "silu" | "swish") {
            return unsupported("act_fn", self.act_fn.clone(), "only silu");
        }
        if let Some(kind) = self.down_block_types.iter().find(|kind| *kind != DOWN_BLOCK) {
            return unsupported("down_block_types", kind.clone(), "only CogVideoXDownBlock3D");
        }
        if let Some(kind) = self.up_block_types.iter().find(|kind| *kind != UP_BLOCK) {
            return unsupported("up_block_types", kind.clone(), "only CogVideoXUpBlock3D");
        }
        let absent = "no released CogVideoX has it";
        for (field, present) in [
            ("shift_factor", self.shift_factor.is_some()),
            ("latents_mean", self.latents_mean.is_some()),
            ("latents_std", self.latents_std.is_some()),
            ("use_quant_conv", self.use_quant_conv),
            ("use_post_quant_conv", self.use_post_quant_conv),
        ] {
            if present {
                return unsupported(field, "set".into(), absent);
            }
        }
        Ok(())
    }

    fn validate_values(&self) -> Result<(), VaeError> {
        let invalid = |field, value: String, rule| Err(VaeError::InvalidConfig { field, value, rule });
        for (field, value) in [
            ("in_channels", self.in_channels),
            ("out_channels", self.out_channels),
            ("latent_channels", self.latent_channels),
            ("layers_per_block", self.layers_per_block),
            ("norm_num_groups", self.norm_num_groups),
        ] {
            if value == 0 {
                return invalid(field, "0".into(), "be positive");
            }
        }
        if self.layers_per_block > 1000 {
            return invalid("layers_per_block", self.layers_per_block.to_string(), "be in 1..=1000");
        }
        let levels = self.block_out_channels.len();
        let channels = || format!("{:?}", self.block_out_channels);
        if levels == 0 || levels > 8 {
            return invalid("block_out_channels", channels(), "have between 1 and 8 levels");
        }
        if self.block_out_channels.iter().any(|&width| width == 0 || !width.is_multiple_of(self.norm_num_groups)) {
            return invalid("block_out_channels", channels(), "be multiples of norm_num_groups");
        }
        for (field, count) in
            [("down_block_types", self.down_block_types.len()), ("up_block_types", self.up_block_types.len())]
        {
            if count != levels {
                return invalid(field, format!("{count} kinds"), "have one entry for each of block_out_channels");
            }
        }
        let ratio = self.temporal_compression_ratio;
        if !ratio.is_power_of_two() || self.temporal_levels() >= levels {
            let rule = "be a power of two with no more halvings than there are levels but one";
            return invalid("temporal_compression_ratio", ratio.to_string(), rule);
        }
        for (field, value) in [("scaling_factor", self.scaling_factor), ("norm_eps", self.norm_eps)] {
            if !(value.is_finite() && value > 0.0) {
                return invalid(field, value.to_string(), "be positive");
            }
        }
        Ok(())
    }

    /// Checks, before long work, that latents of this height and width can be decoded in these tiles.
    ///
    /// # Errors
    /// [`VaeError::Tiles`] when tiles do not fit together.
    pub fn check_tiling(&self, tiling: Tiling, latent_size: [usize; 2]) -> Result<(), VaeError> {
        self.tiles().decoding(tiling, latent_size).map(drop)
    }

    /// Pixels to the side of a latent pixel.
    pub fn spatial_compression_ratio(&self) -> usize {
        1 << (self.block_out_channels.len() - 1)
    }

    /// Levels that halve the number of frames, the first ones of the encoder and of the decoder.
    pub(super) fn temporal_levels(&self) -> usize {
        self.temporal_compression_ratio.ilog2() as usize
    }

    pub(super) fn tiles(&self) -> TileGrid {
        TileGrid::new(self.sample_height / 2, self.sample_width / 2, self.spatial_compression_ratio())
    }
}
