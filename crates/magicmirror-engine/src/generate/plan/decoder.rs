//! What the VAE's decoder holds while it works on one chunk: a walk through its layers.

use magicmirror_models::vae::VaeConfig;

use super::F32;

/// A kernel of 3×3×3.
const KERNEL: u64 = 27;
/// Frames that a causal convolution needs of the chunk before.
const EARLIER: u64 = 2;

/// Bytes at the worst moment of decoding so many latent frames to frames of a size in pixels; the frames that come out
/// are not counted.
pub(super) fn activations(vae: &VaeConfig, latent_frames: usize, [height, width]: [usize; 2]) -> u64 {
    // The first chunk takes the odd frame, and has the most.
    let first = match latent_frames {
        1 => 1,
        count if count % 2 == 1 => 3,
        _ => 2,
    };
    let scale = vae.spatial_compression_ratio();
    let mut walk = Walk {
        latent_frames: first,
        frames: first,
        pixels: (height / scale * (width / scale)) as u64,
        carries: latent_frames > first as usize,
        carried: 0,
        peak: 0,
    };
    let widths: Vec<u64> = vae.block_out_channels.iter().rev().map(|&channels| channels as u64).collect();
    let temporal_levels = vae.temporal_compression_ratio.trailing_zeros() as usize;
    walk.convolve(0, vae.latent_channels as u64, widths[0]);
    for _ in 0..2 {
        walk.resnet(widths[0], widths[0]);
    }
    for (level, &channels) in widths.iter().enumerate() {
        walk.resnet(widths[level.saturating_sub(1)], channels);
        for _ in 0..vae.layers_per_block {
            walk.resnet(channels, channels);
        }
        if level + 1 < widths.len() {
            walk.upsample(channels, level < temporal_levels);
        }
    }
    let last = widths[widths.len() - 1];
    walk.modulate(walk.tensor(last));
    walk.convolve(0, last, vae.out_channels as u64);
    walk.peak + walk.carried
}

/// Where in the network we are, and what was held at most.
struct Walk {
    latent_frames: u64,
    frames: u64,
    pixels: u64,
    /// Whether there is another chunk, for which convolutions keep their last frames.
    carries: bool,
    carried: u64,
    peak: u64,
}

impl Walk {
    fn planes(&self, channels: u64, frames: u64) -> u64 {
        F32 * channels * frames * self.pixels
    }

    /// A tensor of the present size.
    fn tensor(&self, channels: u64) -> u64 {
        self.planes(channels, self.frames)
    }

    fn hold(&mut self, bytes: u64) {
        self.peak = self.peak.max(bytes);
    }

    /// The input (after the first chunk with earlier frames before it) twice, for the convolution pads a copy, and the output.
    fn convolve(&mut self, beside: u64, inputs: u64, outputs: u64) {
        let mut extended = self.tensor(inputs);
        if self.carries {
            let earlier = self.planes(inputs, EARLIER);
            self.hold(beside + 2 * (extended + earlier));
            extended += earlier;
            self.carried += earlier;
        }
        self.hold(beside + 2 * extended + self.tensor(outputs) + scratch(KERNEL, inputs, outputs));
    }

    /// Beside the tensors held, the factor or summand that latents give, while it is repeated to the present size.
    fn modulate(&mut self, beside: u64) {
        let channels = beside / self.planes(1, self.frames);
        self.hold(beside + self.repetition(channels, self.latent_frames, self.frames));
    }

    fn resnet(&mut self, inputs: u64, outputs: u64) {
        let [input, output] = [inputs, outputs].map(|channels| self.tensor(channels));
        self.hold(2 * input + self.repetition(inputs, self.latent_frames, self.frames));
        if inputs != outputs {
            self.hold(2 * input + output);
        }
        self.convolve(output, inputs, outputs);
        self.hold(2 * output + self.repetition(outputs, self.latent_frames, self.frames));
        self.convolve(output, outputs, outputs);
    }

    /// Repeats the pixels, then the frames, then convolves each frame.
    fn upsample(&mut self, channels: u64, in_time: bool) {
        let before = self.tensor(channels);
        let frames = match self.frames {
            1 => 1,
            frames if !in_time => frames,
            frames if frames % 2 == 1 => 2 * frames - 1,
            frames => 2 * frames,
        };
        self.pixels *= 4;
        self.hold(before + self.tensor(channels));
        self.hold(self.repetition(channels, self.frames, frames));
        self.frames = frames;
        self.hold(3 * self.tensor(channels) + scratch(KERNEL / 3, channels, channels));
    }

    /// Frames before and after they are repeated; of an odd number all but the first once more.
    fn repetition(&self, channels: u64, from: u64, to: u64) -> u64 {
        match to {
            _ if to == from => self.planes(channels, to),
            _ if to % 2 == 1 => self.planes(channels, from + 2 * to),
            _ => self.planes(channels, from + to),
        }
    }
}

/// The weight widened, and packed for the convolution; of a causal kernel also the sums over its first frames, which are two
/// thirds as much again.
fn scratch(kernel: u64, inputs: u64, outputs: u64) -> u64 {
    F32 * 3 * kernel * inputs * outputs
}
