use std::ops::ControlFlow;

use burn::module::Module;
use burn::tensor::Tensor;

use super::causal::{CausalConv3d, CausalState};
use super::chunks::{LATENT_FRAMES, Steps, chunks};
use super::resnet::{EPSILON, Norm, NormSettings, ResnetBlock, repeat_to};
use super::tiling::TileGrid;
use super::{Tiling, VaeConfig, VaeError};
use crate::nn::Conv2d;
use crate::weights::{Names, Params};

/// Latents to frames.
#[derive(Module, Debug)]
pub struct VaeDecoder {
    conv_in: CausalConv3d,
    middle: Vec<ResnetBlock>,
    levels: Vec<Level>,
    norm_out: Norm,
    conv_out: CausalConv3d,
    #[module(skip)]
    latent_channels: usize,
    #[module(skip)]
    tiles: TileGrid,
}

impl VaeDecoder {
    /// For loading the decoder alone from a file that holds the encoder as well.
    pub const NAMES: Names<'static> = Names { prefix: "", ignored: &["encoder."] };

    /// Declares the decoder's parameters under diffusers' names. The configuration must be valid.
    pub fn new(config: &VaeConfig, params: &mut Params<'_, '_>) -> Self {
        let mut params = params.at("decoder");
        let widths = &config.block_out_channels;
        let (first, last) = (widths[widths.len() - 1], widths[0]);
        let norms = NormSettings {
            groups: config.norm_num_groups,
            epsilon: EPSILON,
            latent_channels: Some(config.latent_channels),
        };
        let conv_in = CausalConv3d::new(&mut params, "conv_in", config.latent_channels, first);
        let middle = ResnetBlock::stack(&mut params.at("mid_block"), first, first, 2, norms);
        let levels = (0..widths.len()).map(|i| Level::new(config, &mut params.at("up_blocks").at(i), i, norms));
        Self {
            conv_in,
            middle,
            levels: levels.collect(),
            norm_out: Norm::new(&mut params, "norm_out", last, norms),
            conv_out: CausalConv3d::new(&mut params, "conv_out", last, config.out_channels),
            latent_channels: config.latent_channels,
            tiles: config.tiles(),
        }
    }

    /// Decodes all latents and returns all frames.
    ///
    /// `progress` is told after each network call how many of how many are done, and may stop the work.
    ///
    /// # Shapes
    /// - latents: `[batch, channels, latent frames, latent height, latent width]`, not scaled
    /// - output: `[batch, 3, frames, 8 · latent height, 8 · latent width]`, about −1..=1; for the number of frames see
    ///   [`VaeConfig::decoded_frames`]
    ///
    /// # Errors
    /// When the latents have another shape, their tiles do not fit together, or `progress` breaks off.
    pub fn decode(
        &self,
        latents: Tensor<5>,
        tiling: Tiling,
        progress: &mut dyn FnMut(usize, usize) -> ControlFlow<()>,
    ) -> Result<Tensor<5>, VaeError> {
        let mut decoded = Vec::new();
        self.decode_each(latents, tiling, progress, &mut |frames| {
            decoded.push(frames);
            ControlFlow::Continue(())
        })?;
        Ok(Tensor::cat(decoded, 2))
    }

    /// As [`Self::decode`], but hands the frames to `emit` chunk by chunk, in order, so that not all have to be held.
    /// With tiles all come at the end, when the last tile is done.
    ///
    /// # Errors
    /// As [`Self::decode`], and when `emit` breaks off.
    pub fn decode_each(
        &self,
        latents: Tensor<5>,
        tiling: Tiling,
        progress: &mut dyn FnMut(usize, usize) -> ControlFlow<()>,
        emit: &mut dyn FnMut(Tensor<5>) -> ControlFlow<()>,
    ) -> Result<(), VaeError> {
        let dims @ [batch, channels, count, height, width] = latents.dims();
        if batch * count * height * width == 0 || channels != self.latent_channels {
            let rule = format!("it needs {} channels", self.latent_channels);
            return Err(VaeError::Shape { found: dims, rule });
        }
        let mut emit = |frames| match emit(frames) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(()) => Err(VaeError::Cancelled),
        };
        let plan = self.tiles.decoding(tiling, [height, width])?;
        let tiles = plan.map_or(1, |plan| plan.count([height, width]));
        let mut steps = Steps::new(tiles * chunks(count, LATENT_FRAMES).len(), progress);
        let Some(plan) = plan else { return self.decode_chunks(&latents, &mut steps, &mut emit) };
        let mut sizes = Vec::new();
        let frames = plan.run(&latents, |tile| {
            let mut decoded = Vec::new();
            self.decode_chunks(&tile, &mut steps, &mut |frames| {
                decoded.push(frames);
                Ok(())
            })?;
            sizes = decoded.iter().map(|frames: &Tensor<5>| frames.dims()[2]).collect();
            Ok(Tensor::cat(decoded, 2))
        })?;
        frames.split_with_sizes(sizes, 2).into_iter().try_for_each(emit)
    }

    /// One chunk of latents to frames.
    ///
    /// # Shapes
    /// - latents: `[batch, channels, latent frames, latent height, latent width]`
    /// - output: `[batch, 3, frames, 8 · latent height, 8 · latent width]`
    pub fn forward(&self, latents: Tensor<5>, state: &mut CausalState) -> Tensor<5> {
        let mut hidden = self.conv_in.forward(latents.clone(), state);
        for block in &self.middle {
            hidden = block.forward(hidden, Some(&latents), state);
        }
        for level in &self.levels {
            hidden = level.forward(hidden, &latents, state);
        }
        let hidden = self.norm_out.forward_silu(hidden, Some(&latents));
        let frames = self.conv_out.forward(hidden, state);
        state.next_chunk();
        frames
    }

    fn decode_chunks(
        &self,
        latents: &Tensor<5>,
        steps: &mut Steps<'_>,
        emit: &mut dyn FnMut(Tensor<5>) -> Result<(), VaeError>,
    ) -> Result<(), VaeError> {
        let ranges = chunks(latents.dims()[2], LATENT_FRAMES);
        let mut state = CausalState::new(ranges.len());
        for range in ranges {
            emit(self.forward(latents.clone().narrow(2, range.start, range.len()), &mut state))?;
            steps.advance()?;
        }
        Ok(())
    }
}

/// Residual blocks at one resolution, and the way to the next.
#[derive(Module, Debug)]
struct Level {
    resnets: Vec<ResnetBlock>,
    upsample: Option<Upsample>,
}

impl Level {
    fn new(config: &VaeConfig, params: &mut Params<'_, '_>, index: usize, norms: NormSettings) -> Self {
        let mut widths = config.block_out_channels.clone();
        widths.reverse();
        let (inputs, outputs) = (widths[index.saturating_sub(1)], widths[index]);
        Self {
            resnets: ResnetBlock::stack(params, inputs, outputs, config.layers_per_block + 1, norms),
            upsample: (index + 1 < widths.len())
                .then(|| Upsample::new(params, outputs, index < config.temporal_levels())),
        }
    }

    fn forward(&self, x: Tensor<5>, latents: &Tensor<5>, state: &mut CausalState) -> Tensor<5> {
        let x = self.resnets.iter().fold(x, |x, block| block.forward(x, Some(latents), state));
        match &self.upsample {
            Some(upsample) => upsample.forward(x),
            None => x,
        }
    }
}

/// Doubles height and width, and the number of frames where asked to.
#[derive(Module, Debug)]
struct Upsample {
    conv: Conv2d,
    #[module(skip)]
    in_time: bool,
}

impl Upsample {
    fn new(params: &mut Params<'_, '_>, channels: usize, in_time: bool) -> Self {
        let conv = Conv2d::new(&mut params.at("upsamplers.0"), "conv", channels, channels, 3).with_padding(1);
        Self { conv, in_time }
    }

    fn forward(&self, x: Tensor<5>) -> Tensor<5> {
        let [_, _, frames, height, width] = x.dims();
        let frames = match frames {
            1 => 1,
            _ if !self.in_time => frames,
            _ if frames % 2 == 1 => 2 * frames - 1,
            _ => 2 * frames,
        };
        self.conv.forward_frames(repeat_to(x, [frames, 2 * height, 2 * width]))
    }
}
