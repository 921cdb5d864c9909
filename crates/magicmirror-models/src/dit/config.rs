use serde::Deserialize;
use thiserror::Error;

/// Why a transformer cannot be built or run as asked.
#[derive(Debug, Error, Clone, PartialEq)]
pub enum DitError {
    /// A number in the configuration makes no sense.
    #[error("transformer configuration: {field} = {value}, but it must {rule}")]
    InvalidConfig {
        /// The field.
        field: &'static str,
        /// Its value.
        value: String,
        /// What holds for valid values.
        rule: &'static str,
    },
    /// A valid configuration of a model that is not implemented here.
    #[error("transformer configuration not supported: {field} = {value}\n\nhint: {hint}")]
    Unsupported {
        /// The field.
        field: &'static str,
        /// Its value.
        value: String,
        /// What is supported.
        hint: &'static str,
    },
    /// Latents of a size that the transformer has no positions for.
    #[error("this transformer cannot make {height}×{width} latents: {rule}")]
    Size {
        /// Height of the latents.
        height: usize,
        /// Width of the latents.
        width: usize,
        /// What holds for valid sizes.
        rule: String,
    },
}

/// The shape of the transformer: `transformer/config.json` of a released checkpoint.
///
/// Sizes named `sample_*` are those it was trained for, in latent pixels, except `sample_frames`: frames of video.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default)]
pub struct DitConfig {
    /// Attention heads.
    pub num_attention_heads: usize,
    /// Channels of one head.
    pub attention_head_dim: usize,
    /// Channels of the latents that go in.
    pub in_channels: usize,
    /// Channels of the velocity that comes out.
    pub out_channels: usize,
    /// Order of the timestep embedding: cosines first.
    pub flip_sin_to_cos: bool,
    /// Shift of the timestep embedding's frequencies.
    pub freq_shift: f64,
    /// Width of the time embedding.
    pub time_embed_dim: usize,
    /// Width of the `ofs` embedding of 1.5-5B-I2V.
    pub ofs_embed_dim: Option<usize>,
    /// Width of the text encoder's output.
    pub text_embed_dim: usize,
    /// Number of blocks.
    pub num_layers: usize,
    /// Whether query, key and value projections have a bias.
    pub attention_bias: bool,
    /// Latent width of the training data.
    pub sample_width: usize,
    /// Latent height of the training data.
    pub sample_height: usize,
    /// Video frames of the training data.
    pub sample_frames: usize,
    /// Side of a patch in latent pixels.
    pub patch_size: usize,
    /// Latent frames in a patch (1.5); absent: one frame, embedded by a convolution.
    pub patch_size_t: Option<usize>,
    /// Video frames for each latent frame.
    pub temporal_compression_ratio: usize,
    /// Tokens of a prompt.
    pub max_text_seq_length: usize,
    /// Activation of the feed-forward layers.
    pub activation_fn: String,
    /// Activation of the time embedding.
    pub timestep_activation_fn: String,
    /// Whether layer norms have weights.
    pub norm_elementwise_affine: bool,
    /// Epsilon of the layer norms.
    pub norm_eps: f64,
    /// Divisor of spatial positions (2B).
    pub spatial_interpolation_scale: f64,
    /// Divisor of temporal positions (2B).
    pub temporal_interpolation_scale: f64,
    /// Rotary positions (5B, 1.5) instead of absolute ones (2B).
    pub use_rotary_positional_embeddings: bool,
    /// A learned position table (image to video only).
    pub use_learned_positional_embeddings: bool,
}

impl Default for DitConfig {
    /// The defaults of the released format: what an absent field means.
    fn default() -> Self {
        Self {
            num_attention_heads: 30,
            attention_head_dim: 64,
            in_channels: 16,
            out_channels: 16,
            flip_sin_to_cos: true,
            freq_shift: 0.0,
            time_embed_dim: 512,
            ofs_embed_dim: None,
            text_embed_dim: 4096,
            num_layers: 30,
            attention_bias: true,
            sample_width: 90,
            sample_height: 60,
            sample_frames: 49,
            patch_size: 2,
            patch_size_t: None,
            temporal_compression_ratio: 4,
            max_text_seq_length: 226,
            activation_fn: "gelu-approximate".into(),
            timestep_activation_fn: "silu".into(),
            norm_elementwise_affine: true,
            norm_eps: 1e-5,
            spatial_interpolation_scale: 1.875,
            temporal_interpolation_scale: 1.0,
            use_rotary_positional_embeddings: false,
            use_learned_positional_embeddings: false,
        }
    }
}

impl DitConfig {
    /// CogVideoX-2B: absolute positions.
    pub fn cogvideox_2b() -> Self {
        Self::default()
    }

    /// CogVideoX-5B: rotary positions.
    pub fn cogvideox_5b() -> Self {
        Self { num_attention_heads: 48, num_layers: 42, use_rotary_positional_embeddings: true, ..Self::default() }
    }

    /// A transformer for tests: 5B's kind with 3 heads of 16 channels and 4 blocks.
    pub fn tiny() -> Self {
        Self {
            num_attention_heads: 3,
            attention_head_dim: 16,
            in_channels: 8,
            out_channels: 8,
            time_embed_dim: 24,
            text_embed_dim: 20,
            num_layers: 4,
            sample_width: 8,
            sample_height: 6,
            sample_frames: 9,
            max_text_seq_length: 18,
            use_rotary_positional_embeddings: true,
            ..Self::default()
        }
    }

    /// Width of a token: heads · channels of a head.
    pub fn width(&self) -> usize {
        self.num_attention_heads * self.attention_head_dim
    }

    /// Checks every number, and that the model is one of those implemented.
    ///
    /// # Errors
    /// The first field that is wrong, with its value.
    pub fn validate(&self) -> Result<(), DitError> {
        let positive = [
            ("num_attention_heads", self.num_attention_heads),
            ("attention_head_dim", self.attention_head_dim),
            ("in_channels", self.in_channels),
            ("out_channels", self.out_channels),
            ("time_embed_dim", self.time_embed_dim),
            ("text_embed_dim", self.text_embed_dim),
            ("num_layers", self.num_layers),
            ("sample_width", self.sample_width),
            ("sample_height", self.sample_height),
            ("sample_frames", self.sample_frames),
            ("patch_size", self.patch_size),
            ("patch_size_t", self.patch_size_t.unwrap_or(1)),
            ("temporal_compression_ratio", self.temporal_compression_ratio),
            ("max_text_seq_length", self.max_text_seq_length),
        ];
        for (field, value) in positive {
            if value == 0 || value > 1 << 24 {
                return Err(DitError::InvalidConfig { field, value: value.to_string(), rule: "be in 1..=16777216" });
            }
        }
        if self.num_layers > 1000 {
            let value = self.num_layers.to_string();
            return Err(DitError::InvalidConfig { field: "num_layers", value, rule: "be in 1..=1000" });
        }
        let head = self.attention_head_dim;
        if self.use_rotary_positional_embeddings && !head.is_multiple_of(16) {
            return Err(DitError::InvalidConfig {
                field: "attention_head_dim",
                value: head.to_string(),
                rule: "be a multiple of 16 (rotary positions split it 1/4, 3/8, 3/8 into pairs)",
            });
        }
        if !self.use_rotary_positional_embeddings && !self.width().is_multiple_of(16) {
            return Err(DitError::InvalidConfig {
                field: "attention_head_dim",
                value: head.to_string(),
                rule: "make the width, heads · attention_head_dim, a multiple of 16 (positions split it 1/4, 3/8, 3/8)",
            });
        }
        let unsupported = |field, value: String, hint| Err(DitError::Unsupported { field, value, hint });
        if self.use_learned_positional_embeddings || self.in_channels != self.out_channels {
            return unsupported(
                "in_channels",
                self.in_channels.to_string(),
                "image-to-video checkpoints are not supported, use a text-to-video one (2B, 5B, 1.5-5B)",
            );
        }
        if let Some(width) = self.ofs_embed_dim {
            return unsupported(
                "ofs_embed_dim",
                width.to_string(),
                "1.5-5B-I2V is not supported, use the text-to-video checkpoint",
            );
        }
        if self.activation_fn != "gelu-approximate" {
            return unsupported("activation_fn", self.activation_fn.clone(), "only gelu-approximate is implemented");
        }
        if self.timestep_activation_fn != "silu" {
            return unsupported(
                "timestep_activation_fn",
                self.timestep_activation_fn.clone(),
                "only silu is implemented",
            );
        }
        if !self.attention_bias || !self.norm_elementwise_affine {
            return unsupported(
                "attention_bias or norm_elementwise_affine",
                "false".into(),
                "all released checkpoints have both",
            );
        }
        if self.patch_size_t.is_some() && !self.use_rotary_positional_embeddings {
            return unsupported("patch_size_t", "with absolute positions".into(), "1.5-5B has rotary positions");
        }
        Ok(())
    }
}
