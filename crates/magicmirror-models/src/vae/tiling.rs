//! Large frames in overlapping tiles, cross-faded: less memory, and a slightly different result.

use burn::tensor::Tensor;

use super::VaeError;

/// Whether frames pass through the network whole.
///
/// A tile has half the height and width of the videos that the autoencoder was trained on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Tiling {
    /// Whole frames.
    #[default]
    Off,
    /// Tiles where a frame is larger than one.
    Auto,
    /// Tiles in any case. A frame that only just fits in a tile is still cut, at the overlap.
    On,
}

const OVERLAP_HEIGHT: f64 = 1.0 / 6.0;
const OVERLAP_WIDTH: f64 = 1.0 / 5.0;

const HEIGHT: usize = 3;
const WIDTH: usize = 4;

/// The tiles of one autoencoder, for both directions.
#[derive(Debug, Clone, Copy)]
pub(super) struct TileGrid {
    sample: [usize; 2],
    ratio: usize,
}

impl TileGrid {
    /// Tiles of `height` by `width` pixels; a latent pixel stands for `ratio` by `ratio` of them.
    pub(super) fn new(height: usize, width: usize, ratio: usize) -> Self {
        Self { sample: [height, width], ratio }
    }

    /// The tiles to encode frames of `size` in, if `tiling` asks for them.
    pub(super) fn encoding(&self, tiling: Tiling, size: [usize; 2]) -> Result<Option<TilePlan>, VaeError> {
        self.plan(tiling, size, self.sample, self.latent(), |stride, limit| stride == limit * self.ratio)
    }

    /// The tiles to decode latents of `size` in, if `tiling` asks for them.
    pub(super) fn decoding(&self, tiling: Tiling, size: [usize; 2]) -> Result<Option<TilePlan>, VaeError> {
        self.plan(tiling, size, self.latent(), self.sample, |stride, limit| stride * self.ratio == limit)
    }

    fn plan(
        &self,
        tiling: Tiling,
        size: [usize; 2],
        input: [usize; 2],
        output: [usize; 2],
        fits: impl Fn(usize, usize) -> bool,
    ) -> Result<Option<TilePlan>, VaeError> {
        let tiled = match tiling {
            Tiling::Off => false,
            Tiling::Auto => size[0] > input[0] || size[1] > input[1],
            Tiling::On => true,
        };
        if !tiled {
            return Ok(None);
        }
        let plan = TilePlan {
            rows: Axis::new(input[0], output[0], OVERLAP_HEIGHT),
            columns: Axis::new(input[1], output[1], OVERLAP_WIDTH),
        };
        let whole = [plan.rows, plan.columns].iter().all(|axis| axis.stride > 0 && fits(axis.stride, axis.kept));
        if whole { Ok(Some(plan)) } else { Err(VaeError::Tiles { height: self.sample[0], width: self.sample[1] }) }
    }

    fn latent(&self) -> [usize; 2] {
        self.sample.map(|size| size / self.ratio)
    }
}

/// Tiles along one axis.
#[derive(Debug, Clone, Copy)]
struct Axis {
    /// Size of a tile, before the network.
    tile: usize,
    /// From one tile to the next, before the network.
    stride: usize,
    /// Cross-faded part of a tile, behind the network.
    blend: usize,
    /// Part of a tile that is kept, behind the network.
    kept: usize,
}

impl Axis {
    fn new(input: usize, output: usize, overlap: f64) -> Self {
        let blend = (output as f64 * overlap) as usize;
        Self { tile: input, stride: (input as f64 * (1.0 - overlap)) as usize, blend, kept: output - blend }
    }

    /// Start and size of each tile.
    fn tiles(self, size: usize) -> impl Iterator<Item = (usize, usize)> {
        (0..size).step_by(self.stride).map(move |start| (start, self.tile.min(size - start)))
    }
}

/// How frames of one size are cut, and put together again behind the network.
#[derive(Debug, Clone, Copy)]
pub(super) struct TilePlan {
    rows: Axis,
    columns: Axis,
}

impl TilePlan {
    /// Number of tiles for an input of `size`.
    pub(super) fn count(&self, [height, width]: [usize; 2]) -> usize {
        self.rows.tiles(height).count() * self.columns.tiles(width).count()
    }

    /// Passes each tile of `x` through `network` and joins the results. A tile is faded into the one above, then into
    /// the one to its left, both of which have been faded into theirs before.
    pub(super) fn run(
        &self,
        x: &Tensor<5>,
        mut network: impl FnMut(Tensor<5>) -> Result<Tensor<5>, VaeError>,
    ) -> Result<Tensor<5>, VaeError> {
        let [.., height, width] = x.dims();
        let mut above: Vec<Tensor<5>> = Vec::new();
        let mut joined_rows = Vec::new();
        for (top, tile_height) in self.rows.tiles(height) {
            let band = x.clone().narrow(HEIGHT, top, tile_height);
            let mut row: Vec<Tensor<5>> = Vec::new();
            for (left, tile_width) in self.columns.tiles(width) {
                let mut tile = network(band.clone().narrow(WIDTH, left, tile_width))?;
                if let Some(above) = above.get(row.len()) {
                    tile = cross_fade(above, tile, HEIGHT, self.rows.blend);
                }
                if let Some(left) = row.last() {
                    tile = cross_fade(left, tile, WIDTH, self.columns.blend);
                }
                row.push(tile);
            }
            let kept = row.iter().map(|tile| crop(tile, HEIGHT, self.rows.kept)).collect::<Vec<_>>();
            let kept = kept.iter().map(|tile| crop(tile, WIDTH, self.columns.kept)).collect();
            joined_rows.push(Tensor::cat(kept, WIDTH));
            above = row;
        }
        Ok(Tensor::cat(joined_rows, HEIGHT))
    }
}

fn crop(tile: &Tensor<5>, axis: usize, size: usize) -> Tensor<5> {
    tile.clone().narrow(axis, 0, size.min(tile.dims()[axis]))
}

/// Fades from the end of `before` to the start of `tile` over `extent` pixels.
fn cross_fade(before: &Tensor<5>, tile: Tensor<5>, axis: usize, extent: usize) -> Tensor<5> {
    let (before_size, size) = (before.dims()[axis], tile.dims()[axis]);
    let extent = extent.min(before_size).min(size);
    if extent == 0 {
        return tile;
    }
    let weights = |weight: fn(f64) -> f64| {
        let values: Vec<f32> = (0..extent).map(|i| weight(i as f64 / extent as f64) as f32).collect();
        let mut shape = [1; 5];
        shape[axis] = extent;
        Tensor::<1>::from_floats(values.as_slice(), &tile.device()).cast(tile.dtype()).reshape(shape)
    };
    let end = before.clone().narrow(axis, before_size - extent, extent);
    let start = tile.clone().narrow(axis, 0, extent);
    let faded = end * weights(|x| 1.0 - x) + start * weights(|x| x);
    if extent == size { faded } else { Tensor::cat(vec![faded, tile.narrow(axis, extent, size - extent)], axis) }
}
