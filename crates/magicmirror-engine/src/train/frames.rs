use burn::tensor::Tensor;
use magicmirror_models::dit::Positions;

use super::random::{self, Draw};

/// Evenly spaced latent frames of a clip, at their places in time. Frames of one clip say much the same, so that some of more
/// clips teach more for the same computing **(ours)**.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frames {
    all: usize,
    first: usize,
    stride: usize,
    pub(super) count: usize,
}

impl Frames {
    /// Of `all` frames `count`, or all if there are not so many; the same for all clips of a step.
    pub(super) fn drawn(count: usize, all: usize, seed: u64, step: u64) -> Self {
        let count = count.min(all);
        let draw = |below, place| random::below(below, seed, step, place, Draw::Frame);
        let stride = if count > 1 { 1 + draw((all - 1) / (count - 1), 0) } else { 1 };
        Self { all, first: draw(all - (count - 1) * stride, 1), stride, count }
    }

    /// All frames of a clip.
    pub(super) fn whole(all: usize) -> Self {
        Self { all, first: 0, stride: 1, count: all }
    }

    /// Of `all` frames `count` from the first on.
    #[cfg(test)]
    pub(super) fn spaced(all: usize, count: usize, stride: usize) -> Self {
        Self { all, first: 0, stride, count }
    }

    fn numbers(self) -> impl Iterator<Item = usize> {
        (0..self.count).map(move |index| self.first + index * self.stride)
    }

    /// Their values, of which each frame has `of_frame`.
    pub(super) fn of<T: Copy>(self, values: &[T], of_frame: usize) -> impl Iterator<Item = T> {
        self.numbers().flat_map(move |frame| values[frame * of_frame..(frame + 1) * of_frame].iter().copied())
    }

    /// Theirs of `[batch, frames, …]`.
    pub(super) fn of_tensor(self, clips: &Tensor<5>) -> Tensor<5> {
        Tensor::cat(self.numbers().map(|frame| clips.clone().narrow(1, frame, 1)).collect(), 1)
    }

    /// Their positions, of those of all places in time, where the clip has a frame every `stride`th.
    pub(super) fn of_positions(self, positions: Positions, stride: usize) -> Positions {
        let places = (self.all - 1) * stride + 1;
        if self.count == places {
            return positions;
        }
        positions.of_frames(places, &self.numbers().map(|number| number * stride).collect::<Vec<_>>())
    }

    /// How many there are in the clip.
    pub(super) fn all(self) -> usize {
        self.all
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use burn::tensor::{Device, TensorData};

    use super::*;

    #[test]
    fn they_are_evenly_spaced_and_differ_from_step_to_step() {
        let numbers = |step, all| Frames::drawn(3, all, 7, step).numbers().collect::<Vec<_>>();
        assert_eq!(numbers(0, 2), [0, 1], "there are no three");
        let drawn: BTreeSet<Vec<usize>> = (0..200).map(|step| numbers(step, 6)).collect();
        let expected = [[0, 1, 2], [0, 2, 4], [1, 2, 3], [1, 3, 5], [2, 3, 4], [3, 4, 5]];
        assert_eq!(drawn, expected.map(Vec::from).into());
    }

    #[test]
    fn values_and_tensors_are_cut_alike() {
        let values = [1.0_f32, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0];
        let frames = Frames { all: 4, first: 1, stride: 2, count: 2 };
        let cut: Vec<f32> = frames.of(&values, 2).collect();
        assert_eq!(cut, [3.0, 4.0, 7.0, 8.0]);
        let clip = Tensor::<5>::from_data(TensorData::new(values.to_vec(), [1, 4, 1, 1, 2]), &Device::flex());
        assert_eq!(frames.of_tensor(&clip).into_data().try_to_vec::<f32>().unwrap(), cut);
        assert_eq!(Frames::whole(4).of_tensor(&clip).into_data(), clip.into_data());
    }
}
