use std::f64::consts::PI;

/// Classifier-free guidance: how far to go from the unconditional prediction towards, and past, the conditional one.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Guidance {
    /// The scale g; at 1 or below there is no guidance.
    pub scale: f64,
    /// Whether the weight varies over the steps, as the released 5B recipe has it.
    pub dynamic: bool,
}

impl Guidance {
    /// Whether the unconditional prediction is needed at all.
    pub fn is_active(&self) -> bool {
        self.scale > 1.0
    }

    /// The weight at a timestep of a run of `steps` steps.
    ///
    /// Dynamic: `1 + g (1 − cos(π ((N − t)/N)⁵)) / 2` with t the timestep of training (999 … 19), not the number of the
    /// step: an irregular sequence in `[1, 1 + g]`. Upstream computes it so; it is so sensitive that it needs f64.
    pub fn weight(&self, timestep: usize, steps: usize) -> f64 {
        if !self.dynamic {
            return self.scale;
        }
        let steps = steps as f64;
        1.0 + self.scale * ((1.0 - (PI * ((steps - timestep as f64) / steps).powf(5.0)).cos()) / 2.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Values computed from the same expression with Python's `math`, g = 6, N = 50.
    #[test]
    fn dynamic_weights_are_upstreams() {
        let guidance = Guidance { scale: 6.0, dynamic: true };
        let expected = [2.29, 2.54, 6.97, 6.42, 2.79, 4.27, 1.04, 4.17, 1.62, 6.98];
        for (i, expected) in expected.into_iter().enumerate() {
            let weight = guidance.weight(999 - 20 * i, 50);
            assert!((weight - expected).abs() < 0.006, "step {i}: {weight}, expected {expected}");
        }
    }

    #[test]
    fn no_guidance_at_one() {
        assert!(!Guidance { scale: 1.0, dynamic: false }.is_active());
        assert!(Guidance { scale: 1.01, dynamic: false }.is_active());
    }
}
