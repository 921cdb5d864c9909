//! Stops a run whose loss has gone wrong, before good checkpoints are replaced by bad ones.

use serde::{Deserialize, Serialize};

use super::GuardConfig;

/// What the guard has seen; part of a checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub(super) struct Guard {
    /// Running mean of the losses that were no spikes.
    pub(super) mean: f64,
    /// Losses in it.
    seen: u64,
    /// Spikes in a row.
    pub(super) spikes: u64,
}

impl Guard {
    /// Takes note of a loss; `false` when the run should stop.
    pub(super) fn accepts(&mut self, loss: f64, config: &GuardConfig) -> bool {
        let settled = self.seen >= config.window;
        if config.spike_factor > 0.0 && settled && loss > config.spike_factor * self.mean {
            self.spikes += 1;
            return self.spikes < config.spike_patience;
        }
        self.spikes = 0;
        self.seen += 1;
        self.mean += (loss - self.mean) / self.seen.min(config.window.max(1)) as f64;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_loss_that_stays_up_stops_the_run() {
        let config = GuardConfig { spike_factor: 3.0, spike_patience: 3, window: 10 };
        let mut guard = Guard::default();
        assert!((0..10).all(|i| guard.accepts(if i == 0 { 50.0 } else { 1.0 }, &config)), "the start may be wild");
        assert!((0..20).all(|_| guard.accepts(1.0, &config)));
        assert!(guard.accepts(100.0, &config) && guard.accepts(100.0, &config), "two are not yet three");
        assert!(guard.accepts(1.0, &config) && guard.spikes == 0);
        assert!(guard.mean < 3.0, "spikes do not move the mean: {}", guard.mean);
        assert!([1, 2].iter().all(|_| guard.accepts(100.0, &config)) && !guard.accepts(100.0, &config));
    }
}
