//! Where each video token is: rotary angles (5B, 1.5-5B) or an added table (2B).

use burn::tensor::{Device, Tensor, TensorData};

use super::{DitConfig, DitError};
use crate::nn::RotaryEmbedding;

/// Positions of the video tokens, in the order frame, row, column.
#[expect(clippy::large_enum_variant, reason = "there is one for each generation")]
#[derive(Debug, Clone)]
pub enum Positions {
    /// Turns queries and keys; `[tokens, head_dim]`.
    Rotary(RotaryEmbedding),
    /// Is added to the token embeddings; `[tokens, width]`.
    Absolute(Tensor<2>),
}

impl Positions {
    /// Positions for latents of a size (`frames` counts latent frames, padding included).
    ///
    /// # Errors
    /// When the size does not divide into patches, or exceeds what the checkpoint has positions for.
    pub fn new(
        config: &DitConfig,
        frames: usize,
        height: usize,
        width: usize,
        device: &Device,
    ) -> Result<Self, DitError> {
        let patch = config.patch_size;
        let size_error = |rule: String| Err(DitError::Size { height, width, rule });
        if height == 0 || width == 0 || !height.is_multiple_of(patch) || !width.is_multiple_of(patch) {
            return size_error(format!("height and width must be multiples of the patch size {patch}"));
        }
        let (rows, columns) = (height / patch, width / patch);
        let (base_rows, base_columns) = (config.sample_height / patch, config.sample_width / patch);
        if !config.use_rotary_positional_embeddings {
            return Ok(Self::Absolute(absolute_table(config, frames, rows, columns, device)));
        }
        let axes = match config.patch_size_t {
            None => {
                let region = crop_region((rows, columns), (base_rows, base_columns));
                [
                    (0..frames).map(|frame| frame as f32).collect(),
                    linspace(region.top, region.bottom, rows),
                    linspace(region.left, region.right, columns),
                ]
            }
            Some(patch_frames) => {
                if rows > base_rows || columns > base_columns {
                    return size_error(format!(
                        "its positions end at {}×{} latents",
                        base_rows * patch,
                        base_columns * patch
                    ));
                }
                [frames.div_ceil(patch_frames), rows, columns].map(|count| (0..count).map(|i| i as f32).collect())
            }
        };
        Ok(Self::Rotary(rotary(config.attention_head_dim, &axes, device)))
    }

    /// Those of some of the `all` frames that these positions are of, as if the others were not there.
    ///
    /// # Panics
    /// When there are no such frames.
    #[must_use]
    pub fn of_frames(&self, all: usize, frames: &[usize]) -> Self {
        let some = |table: &Tensor<2>| {
            let [tokens, width] = table.dims();
            let each = tokens / all;
            let parts = frames.iter().map(|frame| table.clone().narrow(0, frame * each, each));
            Tensor::cat(parts.collect(), 0).reshape([frames.len() * each, width])
        };
        match self {
            Self::Rotary(RotaryEmbedding { cos, sin }) => {
                Self::Rotary(RotaryEmbedding { cos: some(cos), sin: some(sin) })
            }
            Self::Absolute(table) => Self::Absolute(some(table)),
        }
    }
}

struct Region {
    top: f64,
    left: f64,
    bottom: f64,
    right: f64,
}

/// The part of the trained grid that a grid of another aspect covers: as large as fits, centred.
///
/// Source: `get_resize_crop_region_for_grid` (diffusers 58eb52c); rounding is to even, as Python's.
fn crop_region((rows, columns): (usize, usize), (base_rows, base_columns): (usize, usize)) -> Region {
    let [rows, columns, base_rows, base_columns] = [rows, columns, base_rows, base_columns].map(|n| n as f64);
    let (height, width) = if rows / columns > base_rows / base_columns {
        (base_rows, (base_rows / rows * columns).round_ties_even())
    } else {
        ((base_columns / columns * rows).round_ties_even(), base_columns)
    };
    let top = ((base_rows - height) / 2.0).round_ties_even();
    let left = ((base_columns - width) / 2.0).round_ties_even();
    Region { top, left, bottom: top + height, right: left + width }
}

/// `count` positions from `start`, the next of which would be `stop` if `start` is 0. The last one is
/// `stop · (count − 1) / count`, also where `start` is not 0: upstream's formula, kept for parity.
fn linspace(start: f64, stop: f64, count: usize) -> Vec<f32> {
    let last = stop * (count as f64 - 1.0) / count as f64;
    let step = if count > 1 { (last - start) / (count as f64 - 1.0) } else { 0.0 };
    (0..count).map(|i| (start + step * i as f64) as f32).collect()
}

/// Angles of three axes: a quarter of the channels for time, three eighths each for rows and columns.
fn rotary(head_dim: usize, [frames, rows, columns]: &[Vec<f32>; 3], device: &Device) -> RotaryEmbedding {
    let angles = |positions: &[f32], channels: usize| -> Vec<Vec<f32>> {
        let frequencies: Vec<f32> =
            (0..channels / 2).map(|i| (1.0 / 10_000f64.powf((2 * i) as f64 / channels as f64)) as f32).collect();
        positions.iter().map(|position| frequencies.iter().map(|frequency| position * frequency).collect()).collect()
    };
    let in_time = angles(frames, head_dim / 4);
    let in_rows = angles(rows, head_dim / 8 * 3);
    let in_columns = angles(columns, head_dim / 8 * 3);
    let tokens = frames.len() * rows.len() * columns.len();
    let mut cos = Vec::with_capacity(tokens * head_dim);
    let mut sin = Vec::with_capacity(tokens * head_dim);
    for frame in &in_time {
        for row in &in_rows {
            for column in &in_columns {
                for angle in frame.iter().chain(row).chain(column) {
                    cos.extend([angle.cos(); 2]);
                    sin.extend([angle.sin(); 2]);
                }
            }
        }
    }
    let table = |values: Vec<f32>| Tensor::from_data(TensorData::new(values, [tokens, head_dim]), device);
    RotaryEmbedding { cos: table(cos), sin: table(sin) }
}

/// Sines and cosines of frame, column and row: a quarter of the channels for time, three eighths each for the others.
fn absolute_table(config: &DitConfig, frames: usize, rows: usize, columns: usize, device: &Device) -> Tensor<2> {
    let embed = |count: usize, channels: usize, scale: f64| -> Vec<Vec<f32>> {
        let half = channels / 2;
        (0..count)
            .map(|position| {
                // Upstream divides in f32 and multiplies in f64.
                let position = f64::from(position as f32 / scale as f32);
                let angle = |i: usize| position / 10_000f64.powf(i as f64 / half as f64);
                (0..half).map(|i| angle(i).sin() as f32).chain((0..half).map(|i| angle(i).cos() as f32)).collect()
            })
            .collect()
    };
    let width = config.width();
    let in_time = embed(frames, width / 4, config.temporal_interpolation_scale);
    let in_rows = embed(rows, width / 4 * 3 / 2, config.spatial_interpolation_scale);
    let in_columns = embed(columns, width / 4 * 3 / 2, config.spatial_interpolation_scale);
    let mut values: Vec<f32> = Vec::with_capacity(frames * rows * columns * width);
    for frame in &in_time {
        for row in &in_rows {
            for column in &in_columns {
                values.extend(frame.iter().chain(column).chain(row));
            }
        }
    }
    Tensor::from_data(TensorData::new(values, [frames * rows * columns, width]), device)
}
