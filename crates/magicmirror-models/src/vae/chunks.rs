//! Which frames pass through the network together.

use std::ops::{ControlFlow, Range};

use super::VaeError;

/// Video frames that are encoded at once.
pub(super) const VIDEO_FRAMES: usize = 8;
/// Latent frames that are decoded at once.
pub(super) const LATENT_FRAMES: usize = 2;

/// Cuts `frames` into chunks of `size`; the first takes the remainder as well.
pub(super) fn chunks(frames: usize, size: usize) -> Vec<Range<usize>> {
    let remainder = frames % size;
    let end = |chunk: usize| (size * (chunk + 1) + remainder).min(frames);
    (0..(frames / size).max(1)).map(|chunk| if chunk == 0 { 0..end(0) } else { end(chunk - 1)..end(chunk) }).collect()
}

/// Reports how many of a known number of network calls are done, and passes on the wish to stop.
pub(super) struct Steps<'a> {
    done: usize,
    total: usize,
    report: &'a mut dyn FnMut(usize, usize) -> ControlFlow<()>,
}

impl<'a> Steps<'a> {
    pub(super) fn new(total: usize, report: &'a mut dyn FnMut(usize, usize) -> ControlFlow<()>) -> Self {
        Self { done: 0, total, report }
    }

    pub(super) fn advance(&mut self) -> Result<(), VaeError> {
        self.done += 1;
        match (self.report)(self.done, self.total) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(()) => Err(VaeError::Cancelled),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::chunks;

    #[test]
    fn the_first_chunk_takes_the_remainder() {
        let ends = |frames, size| chunks(frames, size).iter().map(|chunk| (chunk.start, chunk.end)).collect::<Vec<_>>();
        assert_eq!(ends(49, 8), [(0, 9), (9, 17), (17, 25), (25, 33), (33, 41), (41, 49)]);
        assert_eq!(ends(13, 2), [(0, 3), (3, 5), (5, 7), (7, 9), (9, 11), (11, 13)]);
        assert_eq!(ends(4, 2), [(0, 2), (2, 4)]);
        assert_eq!(ends(1, 2), [(0, 1)]);
        assert_eq!(ends(5, 8), [(0, 5)]);
        assert_eq!(ends(15, 8), [(0, 15)]);
    }
}
