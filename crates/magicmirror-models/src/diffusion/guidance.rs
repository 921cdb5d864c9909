use std::f64::consts::PI;

use burn::tensor::Tensor;

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

/// Guidance away from what the transformer predicts without some of its blocks: sharper, for one call more in each step.
///
/// Source: Spatiotemporal Skip Guidance with residual skip, arXiv 2411.18664, section 4.
#[derive(Debug, Clone, PartialEq)]
pub struct SkipGuidance {
    /// What is added is the difference times so much; at 0 there is no such guidance.
    pub scale: f64,
    /// The blocks left out, from 0.
    pub blocks: Vec<usize>,
}

impl SkipGuidance {
    /// Whether the worse prediction is needed at all.
    pub fn is_active(&self) -> bool {
        self.scale > 0.0
    }

    /// `velocity`, led away from `worse`: what is predicted without the blocks where `conditional` is with all.
    pub fn apply(&self, velocity: Tensor<5>, conditional: Tensor<5>, worse: Tensor<5>) -> Tensor<5> {
        velocity + (conditional - worse) * self.scale
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;

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
    fn skip_guidance_leads_away_from_the_worse_prediction() {
        let constant = |value: f32| Tensor::<5>::full([1; 5], value, &Device::flex());
        let skip = SkipGuidance { scale: 2.0, blocks: vec![0] };
        let led = skip.apply(constant(10.0), constant(3.0), constant(2.5)).into_scalar::<f32>();
        assert!((led - 11.0).abs() < 1e-6, "{led}");
    }

    #[test]
    fn no_guidance_at_one() {
        assert!(!Guidance { scale: 1.0, dynamic: false }.is_active());
        assert!(Guidance { scale: 1.01, dynamic: false }.is_active());
    }
}
