//! VBench's dynamic degree: whether enough of a video moves fast enough.
//!
//! Source: VBench @11abda9, `dynamic_degree.py`. Departure: a video of two frames, of which VBench asks for no moving pair
//! at all, needs one here, so that a still one is not dynamic.

use std::sync::atomic::{AtomicBool, Ordering};

use burn::tensor::Device;

use super::flow::{FlowNetwork, Picture, RAFT};
use super::metric::{Better, Clip, Column, Measured, Metric, Opened, WeightsFolder};
use crate::EngineError;

struct DynamicDegree {
    network: FlowNetwork,
    columns: Vec<Column>,
    fingerprint: String,
}

/// Opens the metric.
pub(super) fn open(folder: &WeightsFolder, device: &Device) -> Result<Opened, EngineError> {
    let columns = vec![
        Column::new(
            "dynamic_degree",
            Better::Higher,
            "VBench dynamic degree: 1 if in enough pairs of frames, at 8 frames a second, the fastest 5 % of the pixels \
             (RAFT) move by more than 6 pixels for each 256 of the shorter side",
        )
        .headline(),
        Column::new(
            "dynamic_degree_flow",
            Better::Neither,
            "what the dynamic degree decides by: mean flow of the fastest 5 % of the pixels, in pixels, mean over pairs",
        ),
    ];
    folder.open(&RAFT, columns, |path, columns| {
        let network = FlowNetwork::load(path, device)?;
        let fingerprint = format!("dynamic degree 1, {}", network.fingerprint);
        Ok(DynamicDegree { network, columns, fingerprint })
    })
}

impl Metric for DynamicDegree {
    fn columns(&self) -> &[Column] {
        &self.columns
    }

    fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    fn measure(&self, clip: &Clip<'_>, cancelled: &AtomicBool) -> Result<Measured, EngineError> {
        let interval = ((clip.fps / 8.0).round_ties_even() as usize).max(1);
        let frames: Vec<_> = clip.frames.iter().step_by(interval).collect();
        let mut speeds = Vec::new();
        for pair in frames.windows(2) {
            if cancelled.load(Ordering::Relaxed) {
                return Err(EngineError::Cancelled);
            }
            let flow = self.network.between(&Picture::of(pair[0]), &Picture::of(pair[1]), 255.0);
            speeds.push(flow.fastest());
        }
        let shorter = frames[0].width().min(frames[0].height());
        let dynamic = is_dynamic(&speeds, f64::from(shorter), clip.fps);
        let mean = (!speeds.is_empty()).then(|| speeds.iter().sum::<f64>() / speeds.len() as f64);
        Ok(Measured { numbers: vec![Some(f64::from(u8::from(dynamic))), mean], features: Vec::new() })
    }
}

/// From the speed of each pair of frames, in pixels.
fn is_dynamic(speeds: &[f64], shorter_side: f64, fps: f64) -> bool {
    let frames = (speeds.len() + 1) as f64;
    let threshold = (8.0 / fps).max(1.0) * 6.0 * (shorter_side / 256.0);
    let wanted = ((4.0 * (frames / 16.0)).round_ties_even() as usize).max(1);
    speeds.iter().filter(|&&speed| speed > threshold).count() >= wanted
}

#[cfg(test)]
mod tests {
    use super::super::flow::Flow;
    use super::*;

    /// 480 pixels: more than 11.25; of 49 frames: 12 pairs.
    #[test]
    fn thresholds_are_those_of_vbench() {
        let speeds = |fast: usize, speed: f64| {
            let mut speeds = vec![0.0; 48];
            speeds[..fast].fill(speed);
            speeds
        };
        assert!(is_dynamic(&speeds(12, 11.26), 480.0, 8.0));
        assert!(!is_dynamic(&speeds(11, 100.0), 480.0, 8.0));
        assert!(!is_dynamic(&speeds(48, 11.25), 480.0, 8.0));
        // At 4 frames a second things move twice as far.
        assert!(!is_dynamic(&speeds(48, 20.0), 480.0, 4.0));
    }

    #[test]
    fn what_stands_still_is_not_dynamic() {
        for frames in [1, 2, 3, 49] {
            assert!(!is_dynamic(&vec![0.0; frames - 1], 480.0, 8.0), "{frames} frames");
        }
    }

    /// A twentieth of the pixels moves by (3, 4), some of the others by less.
    #[test]
    fn the_fastest_pixels_count() {
        let mut flow = Flow { width: 20, height: 10, across: vec![0.0; 200], down: vec![0.0; 200] };
        for index in 0..10 {
            (flow.across[17 * index], flow.down[17 * index]) = (-3.0, 4.0);
            flow.across[17 * index + 1] = 1.0;
        }
        assert!((flow.fastest() - 5.0).abs() < 1e-6);
    }
}
