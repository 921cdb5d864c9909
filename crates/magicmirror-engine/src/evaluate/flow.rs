//! Optical flow between frames, and what follows from a flow alone.

use std::path::PathBuf;

use burn::tensor::{Device, Tensor, TensorData};
use image::RgbImage;
use magicmirror_models::flow::Raft;

use super::metric::Released;
use crate::EngineError;
use crate::files::sha256_of_files;

/// Updates of the flow, as VBench and EvalCrafter ask of RAFT.
const ITERATIONS: usize = 20;
/// RAFT's weights.
pub(super) const RAFT: Released = Released {
    files: &["raft-things.pth", "raft-things.safetensors"],
    origin: "models.zip of https://github.com/princeton-vl/RAFT \
             (https://dl.dropboxusercontent.com/s/4j4z58wuv8o0mfz/models.zip)",
};

/// RAFT, and what tells its weights from others.
pub(super) struct FlowNetwork {
    raft: Raft,
    device: Device,
    pub(super) fingerprint: String,
}

impl FlowNetwork {
    pub(super) fn load(path: PathBuf, device: &Device) -> Result<Self, EngineError> {
        let raft = Raft::load(&path, device)?;
        Ok(Self { raft, device: device.clone(), fingerprint: sha256_of_files(&[path])? })
    }

    /// The flow between two pictures; what RAFT takes for 0 to 255 is the pictures' value times `scale`.
    pub(super) fn between(&self, first: &Picture, second: &Picture, scale: f64) -> Flow {
        let tensor = |picture: &Picture| {
            let shape = [1, 3, picture.height, picture.width];
            Tensor::<4>::from_data(TensorData::new(picture.planes.clone(), shape), &self.device) * scale
        };
        let flow = self.raft.forward(tensor(first), tensor(second), ITERATIONS);
        let values = flow.into_data_as::<f32>().try_to_vec::<f32>().expect("f32 after conversion");
        let (across, down) = values.split_at(first.width * first.height);
        Flow { width: first.width, height: first.height, across: across.to_vec(), down: down.to_vec() }
    }
}

/// An RGB picture as planes, 0 to 1.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Picture {
    pub(super) width: usize,
    pub(super) height: usize,
    /// `[3, height, width]`
    pub(super) planes: Vec<f32>,
}

impl Picture {
    pub(super) fn of(image: &RgbImage) -> Self {
        let planes = (0..3).flat_map(|channel| image.pixels().map(move |pixel| f32::from(pixel[channel]) / 255.0));
        Self { width: image.width() as usize, height: image.height() as usize, planes: planes.collect() }
    }

    /// Half the size, each pixel the mean of four; an odd last row or column is dropped. A side of one pixel stays.
    pub(super) fn halved(&self) -> Self {
        let (width, height) = ((self.width / 2).max(1), (self.height / 2).max(1));
        let mut planes = Vec::with_capacity(3 * width * height);
        for plane in self.planes.chunks_exact(self.width * self.height) {
            for y in 0..height {
                for x in 0..width {
                    let at = |x: usize, y: usize| plane[y.min(self.height - 1) * self.width + x.min(self.width - 1)];
                    let (x, y) = (2 * x, 2 * y);
                    planes.push(0.25 * (at(x, y) + at(x + 1, y) + at(x, y + 1) + at(x + 1, y + 1)));
                }
            }
        }
        Self { width, height, planes }
    }
}

/// How far each pixel of a frame moves to the next, in pixels to the right and down.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Flow {
    pub(super) width: usize,
    pub(super) height: usize,
    /// `[height, width]`
    pub(super) across: Vec<f32>,
    /// `[height, width]`
    pub(super) down: Vec<f32>,
}

impl Flow {
    /// Where the pixel of this index goes.
    pub(super) fn target(&self, index: usize) -> [f32; 2] {
        let (x, y) = (index % self.width, index / self.width);
        [x as f32 + self.across[index], y as f32 + self.down[index]]
    }

    /// Mean length of the fastest 5 % of the pixels (VBench).
    pub(super) fn fastest(&self) -> f64 {
        let mut lengths: Vec<f32> = self.across.iter().zip(&self.down).map(|(x, y)| x.hypot(*y)).collect();
        lengths.sort_unstable_by(|a, b| b.total_cmp(a));
        let count = ((lengths.len() as f64 * 0.05) as usize).max(1);
        lengths[..count].iter().map(|&length| f64::from(length)).sum::<f64>() / count as f64
    }

    /// A plane of the flow's size at the places where its pixels go, bilinear; the border goes on outside.
    pub(super) fn sample(&self, plane: &[f32]) -> Vec<f32> {
        (0..self.across.len()).map(|index| bilinear(plane, self.width, self.height, self.target(index))).collect()
    }

    /// The flow of the same size that `later` has where this one's pixels go.
    pub(super) fn follow(&self, later: &Self) -> Self {
        Self { across: self.sample(&later.across), down: self.sample(&later.down), ..*self }
    }
}

fn bilinear(plane: &[f32], width: usize, height: usize, [x, y]: [f32; 2]) -> f32 {
    let (left, top) = (x.floor(), y.floor());
    let (right_part, lower_part) = (x - left, y - top);
    let at = |x: f32, y: f32| {
        let clamped = |value: f32, length: usize| value.clamp(0.0, (length - 1) as f32) as usize;
        plane[clamped(y, height) * width + clamped(x, width)]
    };
    let upper = at(left, top) * (1.0 - right_part) + at(left + 1.0, top) * right_part;
    let lower = at(left, top + 1.0) * (1.0 - right_part) + at(left + 1.0, top + 1.0) * right_part;
    upper * (1.0 - lower_part) + lower * lower_part
}
