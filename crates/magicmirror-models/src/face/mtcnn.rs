//! MTCNN (arXiv 1604.02878): three small networks, each judging what the one before let through.
//!
//! Source: facenet-pytorch 2.6.0, `models/mtcnn.py`, `models/utils/detect_face.py`, whose boxes, landmarks and order are
//! reproduced, quirks included: the pixel added to a box's sides by the second and third stage only, crops that are cut at
//! the image's edge and stretched, boxes that reach outside. Departure: a box that lies outside the image is dropped at
//! once (there it shifts the scores of all later boxes).

use std::ops::Range;
use std::path::Path;

use burn::module::Module;
use burn::tensor::module::max_pool2d;
use burn::tensor::ops::MaxPoolOptions;
use burn::tensor::{Device, Tensor, TensorData, activation};
use rayon::prelude::*;

use super::detector::{Face, FaceDetector, RgbPixels};
use super::layers::PRelu;
use crate::nn::{Conv2d, Linear};
use crate::weights::{Checkpoint, Names, Params, Precision, WeightsError};

/// Side of the window that the first network judges, in pixels.
const WINDOW: usize = 12;
/// Pixels between these windows.
const STRIDE: usize = 2;
/// The first network is given strips of about so many windows: on a large photo the whole would fill the memory.
const STRIP_WINDOWS: usize = 1 << 16;
/// Crops that the second and third network are given at once.
const BATCH: usize = 256;

/// What counts as a face.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MtcnnConfig {
    /// Smallest side of a face, in pixels. The time taken falls with its square.
    pub min_face_size: f64,
    /// Least scores that the three networks must give.
    pub thresholds: [f32; 3],
    /// Ratio between two sizes at which faces are looked for.
    pub factor: f64,
}

impl Default for MtcnnConfig {
    fn default() -> Self {
        Self { min_face_size: 20.0, thresholds: [0.6, 0.7, 0.7], factor: 0.709 }
    }
}

/// The detector.
#[derive(Debug)]
pub struct Mtcnn {
    nets: MtcnnNets,
    config: MtcnnConfig,
    device: Device,
}

impl Mtcnn {
    /// Reads the three state dicts under `pnet.`, `rnet.`, `onet.` from one safetensors file.
    ///
    /// # Errors
    /// When the file cannot be read or holds other networks.
    pub fn load(path: &Path, config: MtcnnConfig, device: &Device) -> Result<Self, WeightsError> {
        let checkpoint = Checkpoint::open_file(path)?;
        let (nets, _) = checkpoint.load(Names::default(), Precision::F32, device, MtcnnNets::new)?;
        Ok(Self { nets, config, device: device.clone() })
    }

    /// What counts as a face from now on.
    pub fn set_config(&mut self, config: MtcnnConfig) {
        self.config = config;
    }

    /// All sizes at which the image is searched, as factors.
    fn scales(&self, image: &RgbPixels<'_>) -> Vec<f64> {
        let window = WINDOW as f64;
        let mut scale = window / self.config.min_face_size;
        let mut side = image.width().min(image.height()) as f64 * scale;
        let mut scales = Vec::new();
        while side >= window {
            scales.push(scale);
            scale *= self.config.factor;
            side *= self.config.factor;
        }
        scales
    }

    /// First stage: windows that may hold a face.
    fn propose(&self, image: &RgbPixels<'_>) -> Vec<Candidate> {
        let mut all = Vec::new();
        for scale in self.scales(image) {
            let mut found = self.propose_at(image, scale);
            suppress(&mut found, 0.5);
            all.extend(found);
        }
        suppress(&mut all, 0.7);
        for candidate in &mut all {
            candidate.refine(0.0);
            candidate.make_square();
        }
        all
    }

    fn propose_at(&self, image: &RgbPixels<'_>, scale: f64) -> Vec<Candidate> {
        let [height, width] = [image.height(), image.width()].map(|side| (side as f64 * scale + 1.0) as usize);
        // Two valid convolutions follow one and a pooling to half, rounded up.
        let windows = |side: usize| (side - 2).div_ceil(STRIDE) - 4;
        let (rows, columns) = (windows(height), windows(width));
        let whole = Region::of(image);
        let strip = (STRIP_WINDOWS / columns).max(8);
        let mut found = Vec::new();
        for first in (0..rows).step_by(strip) {
            let last = (first + strip).min(rows);
            let end = if last == rows { height } else { STRIDE * (last - 1) + WINDOW };
            let pixels = resize_area(image, whole, [height, width], STRIDE * first..end);
            let x = Tensor::from_data(TensorData::new(pixels, [1, end - STRIDE * first, width, 3]), &self.device);
            let (offsets, probability) = self.nets.pnet.forward(x.permute([0, 3, 1, 2]));
            let plane = (last - first) * columns;
            let (offsets, probability) = (values(offsets), values(probability));
            for (index, &score) in probability[plane..].iter().enumerate() {
                if score < self.config.thresholds[0] {
                    continue;
                }
                let (x, y) = (index % columns, first + index / columns);
                let start = |position: usize| ((STRIDE * position + 1) as f32 / scale as f32).floor();
                let end = |position: usize| ((STRIDE * position + WINDOW) as f32 / scale as f32).floor();
                found.push(Candidate {
                    bounds: [start(x), start(y), end(x), end(y)],
                    score,
                    offsets: [0, 1, 2, 3].map(|side| offsets[side * plane + index]),
                    landmarks: [[0.0; 2]; 5],
                });
            }
        }
        found
    }

    /// Second stage: rejects and improves.
    fn refine(&self, image: &RgbPixels<'_>, candidates: Vec<Candidate>) -> Vec<Candidate> {
        let mut kept = Vec::new();
        for (batch, crops) in self.crops(image, &candidates, 24) {
            let (offsets, probability) = self.nets.rnet.forward(crops);
            let (offsets, probability) = (values(offsets), values(probability));
            for (index, candidate) in batch.into_iter().enumerate() {
                let score = probability[2 * index + 1];
                if score > self.config.thresholds[1] {
                    let offsets = [0, 1, 2, 3].map(|side| offsets[4 * index + side]);
                    kept.push(Candidate { score, offsets, ..candidate });
                }
            }
        }
        suppress(&mut kept, 0.7);
        for candidate in &mut kept {
            candidate.refine(1.0);
            candidate.make_square();
        }
        kept
    }

    /// Third stage: the final judgement, with landmarks.
    fn judge(&self, image: &RgbPixels<'_>, candidates: Vec<Candidate>) -> Vec<Candidate> {
        let mut kept = Vec::new();
        for (batch, crops) in self.crops(image, &candidates, 48) {
            let (offsets, landmarks, probability) = self.nets.onet.forward(crops);
            let (offsets, landmarks, probability) = (values(offsets), values(landmarks), values(probability));
            for (index, candidate) in batch.into_iter().enumerate() {
                let score = probability[2 * index + 1];
                if score <= self.config.thresholds[2] {
                    continue;
                }
                let [left, top, right, bottom] = candidate.bounds;
                // Five horizontal positions, then five vertical ones, as parts of the box.
                let position = |point: usize| landmarks[10 * index + point];
                let landmarks = [0, 1, 2, 3, 4].map(|point| {
                    [
                        (right - left + 1.0) * position(point) + left - 1.0,
                        (bottom - top + 1.0) * position(5 + point) + top - 1.0,
                    ]
                });
                let mut candidate = Candidate {
                    score,
                    offsets: [0, 1, 2, 3].map(|side| offsets[4 * index + side]),
                    landmarks,
                    ..candidate
                };
                candidate.refine(1.0);
                kept.push(candidate);
            }
        }
        suppress_contained(&mut kept, 0.7);
        kept
    }

    /// The candidates' pixels, `[batch, 3, size, size]`; what lies outside the image is cut off before the resizing.
    fn crops<'a>(
        &'a self,
        image: &'a RgbPixels<'_>,
        candidates: &'a [Candidate],
        size: usize,
    ) -> impl Iterator<Item = (Vec<Candidate>, Tensor<4>)> + 'a {
        let inside: Vec<(Candidate, Region)> = candidates
            .iter()
            .filter_map(|candidate| Some((*candidate, Region::inside(image, candidate.bounds)?)))
            .collect();
        let batches: Vec<Vec<_>> = inside.chunks(BATCH).map(<[_]>::to_vec).collect();
        batches.into_iter().map(move |batch| {
            let pixels: Vec<f32> =
                batch.iter().flat_map(|&(_, region)| resize_area(image, region, [size; 2], 0..size)).collect();
            let x = Tensor::from_data(TensorData::new(pixels, [batch.len(), size, size, 3]), &self.device);
            (batch.into_iter().map(|(candidate, _)| candidate).collect(), x.permute([0, 3, 1, 2]))
        })
    }
}

impl FaceDetector for Mtcnn {
    fn detect(&self, image: &RgbPixels<'_>) -> Vec<Face> {
        let candidates = self.propose(image);
        let candidates = self.refine(image, candidates);
        let mut faces: Vec<Face> = self
            .judge(image, candidates)
            .into_iter()
            .map(|Candidate { bounds, score, landmarks, .. }| Face { bounds, score, landmarks })
            .collect();
        faces.sort_by(|a, b| b.area().total_cmp(&a.area()));
        faces
    }
}

fn values<const D: usize>(x: Tensor<D>) -> Vec<f32> {
    x.into_data().try_into_vec().unwrap_or_default()
}

#[derive(Debug, Clone, Copy)]
struct Candidate {
    bounds: [f32; 4],
    score: f32,
    /// How the network would move each side, as parts of the box's width and height.
    offsets: [f32; 4],
    landmarks: [[f32; 2]; 5],
}

impl Candidate {
    /// Moves the sides as the network said.
    fn refine(&mut self, extra: f32) {
        let [left, top, right, bottom] = self.bounds;
        let (width, height) = (right - left + extra, bottom - top + extra);
        let sizes = [width, height, width, height];
        for ((side, offset), size) in self.bounds.iter_mut().zip(self.offsets).zip(sizes) {
            *side += offset * size;
        }
    }

    /// Grows the shorter sides about the centre.
    fn make_square(&mut self) {
        let [left, top, right, bottom] = self.bounds;
        let (width, height) = (right - left, bottom - top);
        let side = width.max(height);
        let left = left + width * 0.5 - side * 0.5;
        let top = top + height * 0.5 - side * 0.5;
        self.bounds = [left, top, left + side, top + side];
    }
}

/// Keeps the best of each group of overlapping boxes, best first; overlap is intersection over union.
fn suppress(candidates: &mut Vec<Candidate>, threshold: f64) {
    suppress_by(candidates, |a, b| {
        let area = |[left, top, right, bottom]: [f32; 4]| (right - left) * (bottom - top);
        let common = intersection(a, b, 0.0);
        f64::from(common / (area(a) + area(b) - common)) > threshold
    });
}

/// The same with intersection over the smaller box, pixels counted inclusively.
fn suppress_contained(candidates: &mut Vec<Candidate>, threshold: f32) {
    suppress_by(candidates, |a, b| {
        let area = |[left, top, right, bottom]: [f32; 4]| (right - left + 1.0) * (bottom - top + 1.0);
        intersection(a, b, 1.0) / area(a).min(area(b)) > threshold
    });
}

fn intersection(a: [f32; 4], b: [f32; 4], extra: f32) -> f32 {
    let width = (a[2].min(b[2]) - a[0].max(b[0]) + extra).max(0.0);
    let height = (a[3].min(b[3]) - a[1].max(b[1]) + extra).max(0.0);
    width * height
}

fn suppress_by(candidates: &mut Vec<Candidate>, overlap: impl Fn([f32; 4], [f32; 4]) -> bool) {
    candidates.sort_by(|a, b| b.score.total_cmp(&a.score));
    let mut kept: Vec<Candidate> = Vec::new();
    for candidate in candidates.iter() {
        if !kept.iter().any(|better| overlap(better.bounds, candidate.bounds)) {
            kept.push(*candidate);
        }
    }
    *candidates = kept;
}

/// A part of an image, in whole pixels.
#[derive(Debug, Clone, Copy)]
struct Region {
    x: usize,
    y: usize,
    width: usize,
    height: usize,
}

impl Region {
    fn of(image: &RgbPixels<'_>) -> Self {
        Self { x: 0, y: 0, width: image.width(), height: image.height() }
    }

    /// The part of a box that lies inside the image, by the reference's rules: sides cut to whole pixels, the first pixel
    /// being number 1.
    fn inside(image: &RgbPixels<'_>, [left, top, right, bottom]: [f32; 4]) -> Option<Self> {
        let range = |start: f32, end: f32, size: usize| {
            let start = (start as i64).max(1) - 1;
            let end = (end as i64).min(size as i64);
            (start < end).then(|| (start as usize, (end - start) as usize))
        };
        let (x, width) = range(left, right, image.width())?;
        let (y, height) = range(top, bottom, image.height())?;
        Some(Self { x, y, width, height })
    }
}

/// Some rows of a region resized to `[height, width]`, three values a pixel, from −1 to 1. Each new pixel is the plain
/// mean of the old ones that it touches (adaptive average pooling), also where the image grows.
fn resize_area(image: &RgbPixels<'_>, region: Region, [height, width]: [usize; 2], rows: Range<usize>) -> Vec<f32> {
    let touched = |index: usize, from: usize, to: usize| index * from / to..((index + 1) * from).div_ceil(to);
    let mut output = vec![0f32; rows.len() * width * 3];
    output.par_chunks_mut(width * 3).zip(rows).for_each(|(output, row)| {
        let rows = touched(row, region.height, height);
        let mut sums = vec![0u32; 3 * region.width];
        for y in rows.clone() {
            let pixels = &image.row(region.y + y)[3 * region.x..][..sums.len()];
            for (sum, &value) in sums.iter_mut().zip(pixels) {
                *sum += u32::from(value);
            }
        }
        for (column, pixel) in output.chunks_exact_mut(3).enumerate() {
            let columns = touched(column, region.width, width);
            for (channel, value) in pixel.iter_mut().enumerate() {
                let sum: u32 = columns.clone().map(|x| sums[3 * x + channel]).sum();
                let mean = sum as f32 / rows.len() as f32 / columns.len() as f32;
                *value = (mean - 127.5) * 0.007_812_5;
            }
        }
    });
    output
}

/// The three networks.
#[derive(Module, Debug)]
pub struct MtcnnNets {
    /// Proposes.
    pub pnet: PNet,
    /// Refines.
    pub rnet: RNet,
    /// Puts out the final boxes and landmarks.
    pub onet: ONet,
}

impl MtcnnNets {
    /// Declares `pnet`, `rnet`, `onet`.
    pub fn new(params: &mut Params<'_, '_>) -> Self {
        Self {
            pnet: PNet::new(&mut params.at("pnet")),
            rnet: RNet::new(&mut params.at("rnet")),
            onet: ONet::new(&mut params.at("onet")),
        }
    }
}

/// A valid convolution, its rectifier, and a pooling to half the size, rounded up, where `pool` is its window.
#[derive(Module, Debug)]
struct Stage {
    conv: Conv2d,
    prelu: PRelu,
    #[module(skip)]
    pool: Option<usize>,
}

impl Stage {
    fn new(
        params: &mut Params<'_, '_>,
        number: usize,
        [inputs, outputs]: [usize; 2],
        kernel: usize,
        pool: Option<usize>,
    ) -> Self {
        Self {
            conv: Conv2d::new(params, &format!("conv{number}"), inputs, outputs, kernel),
            prelu: PRelu::new(params, &format!("prelu{number}"), outputs),
            pool,
        }
    }

    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let x = self.prelu.forward(self.conv.forward(x));
        match self.pool {
            Some(window) => max_pool2d(x, MaxPoolOptions::new([window; 2]).with_stride([2; 2]).with_ceil_mode(true)),
            None => x,
        }
    }
}

/// The reference flattens columns first, channels last.
fn flatten(x: Tensor<4>) -> Tensor<2> {
    x.permute([0, 3, 2, 1]).flatten(1, 3)
}

/// The proposing network.
#[derive(Module, Debug)]
pub struct PNet {
    stage1: Stage,
    stage2: Stage,
    stage3: Stage,
    conv4_1: Conv2d,
    conv4_2: Conv2d,
}

impl PNet {
    fn new(params: &mut Params<'_, '_>) -> Self {
        Self {
            stage1: Stage::new(params, 1, [3, 10], 3, Some(2)),
            stage2: Stage::new(params, 2, [10, 16], 3, None),
            stage3: Stage::new(params, 3, [16, 32], 3, None),
            conv4_1: Conv2d::new(params, "conv4_1", 32, 2, 1),
            conv4_2: Conv2d::new(params, "conv4_2", 32, 4, 1),
        }
    }

    /// Offsets of the sides and probabilities (no face, face) of every window.
    ///
    /// # Shapes
    /// - x: `[batch, 3, height, width]`, −1 to 1
    /// - output: `[batch, 4, height', width']`, `[batch, 2, height', width']`
    pub fn forward(&self, x: Tensor<4>) -> (Tensor<4>, Tensor<4>) {
        let x = self.stage3.forward(self.stage2.forward(self.stage1.forward(x)));
        (self.conv4_2.forward(x.clone()), activation::softmax(self.conv4_1.forward(x), 1))
    }
}

/// The refining network.
#[derive(Module, Debug)]
pub struct RNet {
    stage1: Stage,
    stage2: Stage,
    stage3: Stage,
    dense4: Linear,
    prelu4: PRelu,
    dense5_1: Linear,
    dense5_2: Linear,
}

impl RNet {
    fn new(params: &mut Params<'_, '_>) -> Self {
        Self {
            stage1: Stage::new(params, 1, [3, 28], 3, Some(3)),
            stage2: Stage::new(params, 2, [28, 48], 3, Some(3)),
            stage3: Stage::new(params, 3, [48, 64], 2, None),
            dense4: Linear::new(params, "dense4", 576, 128),
            prelu4: PRelu::new(params, "prelu4", 128),
            dense5_1: Linear::new(params, "dense5_1", 128, 2),
            dense5_2: Linear::new(params, "dense5_2", 128, 4),
        }
    }

    /// Offsets of the sides and probabilities (no face, face).
    ///
    /// # Shapes
    /// - x: `[batch, 3, 24, 24]`, −1 to 1
    /// - output: `[batch, 4]`, `[batch, 2]`
    pub fn forward(&self, x: Tensor<4>) -> (Tensor<2>, Tensor<2>) {
        let x = self.stage3.forward(self.stage2.forward(self.stage1.forward(x)));
        let x = self.prelu4.forward(self.dense4.forward(flatten(x)));
        (self.dense5_2.forward(x.clone()), activation::softmax(self.dense5_1.forward(x), 1))
    }
}

/// The network with the last word.
#[derive(Module, Debug)]
pub struct ONet {
    stage1: Stage,
    stage2: Stage,
    stage3: Stage,
    stage4: Stage,
    dense5: Linear,
    prelu5: PRelu,
    dense6_1: Linear,
    dense6_2: Linear,
    dense6_3: Linear,
}

impl ONet {
    fn new(params: &mut Params<'_, '_>) -> Self {
        Self {
            stage1: Stage::new(params, 1, [3, 32], 3, Some(3)),
            stage2: Stage::new(params, 2, [32, 64], 3, Some(3)),
            stage3: Stage::new(params, 3, [64, 64], 3, Some(2)),
            stage4: Stage::new(params, 4, [64, 128], 2, None),
            dense5: Linear::new(params, "dense5", 1152, 256),
            prelu5: PRelu::new(params, "prelu5", 256),
            dense6_1: Linear::new(params, "dense6_1", 256, 2),
            dense6_2: Linear::new(params, "dense6_2", 256, 4),
            dense6_3: Linear::new(params, "dense6_3", 256, 10),
        }
    }

    /// Offsets of the sides, landmarks (five horizontal, then five vertical positions), probabilities (no face, face).
    ///
    /// # Shapes
    /// - x: `[batch, 3, 48, 48]`, −1 to 1
    /// - output: `[batch, 4]`, `[batch, 10]`, `[batch, 2]`
    pub fn forward(&self, x: Tensor<4>) -> (Tensor<2>, Tensor<2>, Tensor<2>) {
        let x = self.stage2.forward(self.stage1.forward(x));
        let x = self.stage4.forward(self.stage3.forward(x));
        let x = self.prelu5.forward(self.dense5.forward(flatten(x)));
        (
            self.dense6_2.forward(x.clone()),
            self.dense6_3.forward(x.clone()),
            activation::softmax(self.dense6_1.forward(x), 1),
        )
    }
}
