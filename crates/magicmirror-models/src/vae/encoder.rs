use std::ops::ControlFlow;

use burn::module::Module;
use burn::tensor::Tensor;

use super::causal::{CausalConv3d, CausalState};
use super::chunks::{Steps, VIDEO_FRAMES, chunks};
use super::resnet::{EPSILON, Norm, NormSettings, ResnetBlock};
use super::tiling::TileGrid;
use super::{Tiling, VaeConfig, VaeError};
use crate::nn::Conv2d;
use crate::weights::{Names, Params};

/// Frames to the distribution of their latents.
#[derive(Module, Debug)]
pub struct VaeEncoder {
    conv_in: CausalConv3d,
    levels: Vec<Level>,
    middle: Vec<ResnetBlock>,
    norm_out: Norm,
    conv_out: CausalConv3d,
    #[module(skip)]
    frame_channels: usize,
    #[module(skip)]
    spatial_ratio: usize,
    #[module(skip)]
    tiles: TileGrid,
}

/// A normal distribution of latents, each value independent; latents are not scaled.
#[derive(Debug, Clone)]
pub struct Posterior {
    /// Mean, and mode, `[batch, channels, frames, height, width]`.
    pub mean: Tensor<5>,
    /// Logarithm of the variance in −30..=20, same shape.
    pub logvar: Tensor<5>,
}

impl Posterior {
    /// Latents drawn with the given standard normal noise.
    pub fn sample(&self, noise: Tensor<5>) -> Tensor<5> {
        self.mean.clone() + (self.logvar.clone() * 0.5).exp() * noise
    }
}

impl VaeEncoder {
    /// For loading the encoder alone from a file that holds the decoder as well.
    pub const NAMES: Names<'static> = Names { prefix: "", ignored: &["decoder."] };

    /// Declares the encoder's parameters under diffusers' names. The configuration must be valid.
    pub fn new(config: &VaeConfig, params: &mut Params<'_, '_>) -> Self {
        let mut params = params.at("encoder");
        let widths = &config.block_out_channels;
        let (first, last) = (widths[0], widths[widths.len() - 1]);
        let plain = NormSettings { groups: config.norm_num_groups, epsilon: config.norm_eps, latent_channels: None };
        let conv_in = CausalConv3d::new(&mut params, "conv_in", config.in_channels, first);
        let levels = (0..widths.len()).map(|i| Level::new(config, &mut params.at("down_blocks").at(i), i, plain));
        Self {
            conv_in,
            levels: levels.collect(),
            middle: ResnetBlock::stack(&mut params.at("mid_block"), last, last, 2, plain),
            norm_out: Norm::new(&mut params, "norm_out", last, NormSettings { epsilon: EPSILON, ..plain }),
            conv_out: CausalConv3d::new(&mut params, "conv_out", last, 2 * config.latent_channels),
            frame_channels: config.in_channels,
            spatial_ratio: config.spatial_compression_ratio(),
            tiles: config.tiles(),
        }
    }

    /// Encodes a video or, as a single frame, an image.
    ///
    /// `progress` is told after each network call how many of how many are done, and may stop the work.
    ///
    /// # Shapes
    /// - frames: `[batch, 3, frames, height, width]` in −1..=1; height and width are multiples of 8
    /// - output: `[batch, channels, latent frames, height / 8, width / 8]`, see [`VaeConfig::latent_frames`]
    ///
    /// # Errors
    /// When the frames have another shape, their tiles do not fit together, or `progress` breaks off.
    pub fn encode(
        &self,
        frames: Tensor<5>,
        tiling: Tiling,
        progress: &mut dyn FnMut(usize, usize) -> ControlFlow<()>,
    ) -> Result<Posterior, VaeError> {
        let dims @ [batch, channels, count, height, width] = frames.dims();
        let whole = |size: usize| size > 0 && size.is_multiple_of(self.spatial_ratio);
        if batch == 0 || count == 0 || channels != self.frame_channels || !whole(height) || !whole(width) {
            let (wanted, ratio) = (self.frame_channels, self.spatial_ratio);
            let rule = format!("it needs {wanted} channels and a height and width that are multiples of {ratio}");
            return Err(VaeError::Shape { found: dims, rule });
        }
        let plan = self.tiles.encoding(tiling, [height, width])?;
        let tiles = plan.map_or(1, |plan| plan.count([height, width]));
        let mut steps = Steps::new(tiles * chunks(count, VIDEO_FRAMES).len(), progress);
        let moments = match plan {
            Some(plan) => plan.run(&frames, |tile| self.encode_chunks(&tile, &mut steps))?,
            None => self.encode_chunks(&frames, &mut steps)?,
        };
        let channels = moments.dims()[1] / 2;
        let mean = moments.clone().narrow(1, 0, channels);
        Ok(Posterior { mean, logvar: moments.narrow(1, channels, channels).clamp(-30.0, 20.0) })
    }

    /// One chunk of frames to the mean and logarithm of variance of its latents, `2 · channels` in all.
    ///
    /// # Shapes
    /// - frames: `[batch, 3, frames, height, width]`
    /// - output: `[batch, 2 · channels, latent frames, height / 8, width / 8]`
    pub fn forward(&self, frames: Tensor<5>, state: &mut CausalState) -> Tensor<5> {
        let mut hidden = self.conv_in.forward(frames, state);
        for level in &self.levels {
            hidden = level.forward(hidden, state);
        }
        for block in &self.middle {
            hidden = block.forward(hidden, None, state);
        }
        let hidden = self.norm_out.forward_silu(hidden, None);
        let moments = self.conv_out.forward(hidden, state);
        state.next_chunk();
        moments
    }

    fn encode_chunks(&self, frames: &Tensor<5>, steps: &mut Steps<'_>) -> Result<Tensor<5>, VaeError> {
        let ranges = chunks(frames.dims()[2], VIDEO_FRAMES);
        let mut state = CausalState::new(ranges.len());
        let mut encoded = Vec::with_capacity(ranges.len());
        for range in ranges {
            encoded.push(self.forward(frames.clone().narrow(2, range.start, range.len()), &mut state));
            steps.advance()?;
        }
        Ok(Tensor::cat(encoded, 2))
    }
}

/// Residual blocks at one resolution, and the way to the next.
#[derive(Module, Debug)]
struct Level {
    resnets: Vec<ResnetBlock>,
    downsample: Option<Downsample>,
}

impl Level {
    fn new(config: &VaeConfig, params: &mut Params<'_, '_>, index: usize, norms: NormSettings) -> Self {
        let widths = &config.block_out_channels;
        let (inputs, outputs) = (widths[index.saturating_sub(1)], widths[index]);
        Self {
            resnets: ResnetBlock::stack(params, inputs, outputs, config.layers_per_block, norms),
            downsample: (index + 1 < widths.len())
                .then(|| Downsample::new(params, outputs, index < config.temporal_levels())),
        }
    }

    fn forward(&self, x: Tensor<5>, state: &mut CausalState) -> Tensor<5> {
        let x = self.resnets.iter().fold(x, |x, block| block.forward(x, None, state));
        match &self.downsample {
            Some(downsample) => downsample.forward(x),
            None => x,
        }
    }
}

/// Halves height and width, and the number of frames where asked to.
#[derive(Module, Debug)]
struct Downsample {
    conv: Conv2d,
    #[module(skip)]
    in_time: bool,
}

impl Downsample {
    fn new(params: &mut Params<'_, '_>, channels: usize, in_time: bool) -> Self {
        let conv = Conv2d::new(&mut params.at("downsamplers.0"), "conv", channels, channels, 3)
            .with_stride(2)
            .with_padding_after(1);
        Self { conv, in_time }
    }

    fn forward(&self, x: Tensor<5>) -> Tensor<5> {
        let x = if self.in_time { halve_frames(x) } else { x };
        self.conv.forward_frames(x)
    }
}

/// Means of pairs of frames; the first of an odd number stands for itself.
fn halve_frames(x: Tensor<5>) -> Tensor<5> {
    let [batch, channels, frames, height, width] = x.dims();
    if frames == 1 {
        return x;
    }
    if frames % 2 == 1 {
        let rest = halve_frames(x.clone().narrow(2, 1, frames - 1));
        return Tensor::cat(vec![x.narrow(2, 0, 1), rest], 2);
    }
    let pairs = x.reshape([batch, channels, frames / 2, 2, height * width]);
    let sums = pairs.clone().narrow(3, 0, 1) + pairs.narrow(3, 1, 1);
    (sums * 0.5).reshape([batch, channels, frames / 2, height, width])
}
