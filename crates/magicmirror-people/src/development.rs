//! What a camera makes of light: exposure, white balance, contrast and colour of a photo.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::colour::{Rgb, mix, scale};

/// Light that contrast leaves as it is: a grey card's.
const MIDDLE: f32 = 0.18;

/// How a photo comes out.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Development {
    /// What all light is multiplied by.
    pub exposure: f32,
    /// What each channel is multiplied by besides.
    pub balance: Rgb,
    /// Exponent of light over that of a grey card: below 1 flat, above 1 hard.
    pub contrast: f32,
    /// 0 black and white, 1 as it is, above 1 gaudy.
    pub saturation: f32,
}

impl Development {
    /// One as photos of strangers have it; every twelfth is black and white.
    pub fn from_seed(seed: u64) -> Self {
        let random = &mut ChaCha8Rng::seed_from_u64(seed);
        let mut stops = |darkest: f32, brightest: f32| libm::exp2f(random.random_range(darkest..brightest));
        let (exposure, warmth, green) = (stops(-1.1, 0.8), stops(-0.35, 0.35), stops(-0.06, 0.06));
        let contrast = stops(-0.3, 0.4);
        let saturation = if random.random_range(0..12) == 0 { 0.0 } else { random.random_range(0.6..1.3) };
        Self { exposure, balance: [warmth, green, 1.0 / warmth], contrast, saturation }
    }

    /// What becomes of one pixel's linear light.
    pub fn apply(&self, light: Rgb) -> Rgb {
        let exposed = [0, 1, 2].map(|channel| light[channel] * self.exposure * self.balance[channel]);
        let [red, green, blue] = exposed;
        let luminance = 0.2126 * red + 0.7152 * green + 0.0722 * blue;
        if luminance <= 0.0 {
            return [0.0; 3];
        }
        let harder = libm::powf(luminance / MIDDLE, self.contrast - 1.0);
        scale(mix([luminance; 3], exposed, self.saturation), harder).map(|channel| channel.max(0.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(one: Rgb, other: Rgb) -> bool {
        (0..3).all(|channel| (one[channel] - other[channel]).abs() < 1e-6)
    }

    #[test]
    fn light_stays_as_it_is_or_goes_as_said() {
        let plain = Development { exposure: 1.0, balance: [1.0; 3], contrast: 1.0, saturation: 1.0 };
        let light = [0.5, 0.2, 0.05];
        assert!(near(plain.apply(light), light));
        assert!(near(plain.apply([0.0; 3]), [0.0; 3]));
        assert!(near(Development { exposure: 0.5, ..plain }.apply(light), [0.25, 0.1, 0.025]));
        assert!(near(Development { balance: [2.0, 1.0, 0.5], ..plain }.apply(light), [1.0, 0.2, 0.025]));
        let [red, green, blue] = Development { saturation: 0.0, ..plain }.apply(light);
        assert!(red.to_bits() == green.to_bits() && green.to_bits() == blue.to_bits());
        let hard = Development { contrast: 1.3, ..plain };
        assert!(near(hard.apply([MIDDLE; 3]), [MIDDLE; 3]));
        assert!(hard.apply([0.6; 3])[0] > 0.6 && hard.apply([0.05; 3])[0] < 0.05);
    }

    #[test]
    fn photos_differ_and_some_are_black_and_white() {
        let photos: Vec<_> = (0..600).map(Development::from_seed).collect();
        assert_eq!(photos[3], Development::from_seed(3));
        let grey = photos.iter().filter(|photo| photo.saturation <= 0.0).count();
        assert!((30..75).contains(&grey), "{grey} of 600 are black and white");
        let seen =
            |what: &dyn Fn(&Development) -> bool| assert!(photos.iter().filter(|photo| what(photo)).count() > 60);
        seen(&|photo| photo.exposure < 0.6);
        seen(&|photo| photo.exposure > 1.4);
        seen(&|photo| photo.balance[0] > 1.15);
        seen(&|photo| photo.balance[2] > 1.15);
        seen(&|photo| photo.contrast > 1.15);
    }
}
