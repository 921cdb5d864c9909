//! The hair styles, as what to grow.

use rand::Rng;
use rand_chacha::ChaCha8Rng;

use crate::person::HairStyle;

/// Which way hair is combed at the root.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Comb {
    /// Away from the whorl, as it grows.
    Whorl,
    /// To the back.
    Back,
    /// To the forehead, off it at the sides.
    Forward,
    /// To both sides of a parting this many metres from the middle.
    Parted(f32),
}

/// A style.
pub(crate) struct Style {
    /// Metres at the top of the head.
    pub(crate) top: f32,
    /// Metres above the ears and at the nape.
    pub(crate) sides: f32,
    /// Metres above the skin, at the top.
    pub(crate) lift: f32,
    /// The same at the sides.
    pub(crate) side_lift: f32,
    pub(crate) comb: Comb,
    /// 0 stays as combed, 1 hangs.
    pub(crate) weight: f32,
    /// Sideways swing of a lock, metres.
    pub(crate) wave: f32,
    /// Metres from wave to wave.
    pub(crate) wavelength: f32,
    /// Metres from curl to curl of the strands in a lock; 0: they are straight.
    pub(crate) curl: f32,
    /// Half the width of a lock, metres.
    pub(crate) half_width: f32,
    /// Locks.
    pub(crate) locks: usize,
    /// Locks that fall onto the forehead.
    pub(crate) fringe: bool,
    /// Where locks are bound together.
    pub(crate) bound: Option<Bound>,
    /// Hair ends at this height, metres above the eyes (which lie at 0).
    pub(crate) ends: f32,
    /// Fur on the scalp instead of, or below, the locks: thickness, metres.
    pub(crate) fur: f32,
    /// How thick hairs of the fur stand, 0 to 1.
    pub(crate) thickness: f32,
    /// Unevenness of the fur's thickness, 0 to 1.
    pub(crate) fur_bumps: f32,
}

/// How bound hair ends.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Bound {
    /// A ball on top, behind.
    Bun,
    /// A tail at the back that falls over a shoulder.
    Ponytail,
    /// Two braids that fall before the shoulders.
    Braids,
}

impl Style {
    /// What to grow for a style; `None` for a bare head.
    pub(crate) fn of(style: HairStyle) -> Option<Self> {
        let short = Self {
            top: 0.045,
            sides: 0.018,
            lift: 0.013,
            side_lift: 0.004,
            comb: Comb::Whorl,
            weight: 0.04,
            wave: 0.0,
            wavelength: 0.05,
            curl: 0.0,
            half_width: 0.0075,
            locks: 420,
            fringe: false,
            bound: None,
            ends: -1.0,
            fur: 0.004,
            thickness: 1.0,
            fur_bumps: 0.2,
        };
        let long = Self {
            top: 0.62,
            sides: 0.44,
            lift: 0.016,
            side_lift: 0.012,
            comb: Comb::Parted(0.0),
            weight: 0.22,
            half_width: 0.0125,
            locks: 300,
            ends: -0.26,
            ..short
        };
        let bound = Self {
            comb: Comb::Back,
            lift: 0.006,
            side_lift: 0.004,
            half_width: 0.008,
            locks: 340,
            fur: 0.002,
            ..short
        };
        Some(match style {
            HairStyle::Bald => return None,
            HairStyle::Buzz => Self { locks: 0, fur: 0.0035, thickness: 0.68, fur_bumps: 0.1, ..short },
            HairStyle::Fuzz => Self { locks: 0, fur: 0.003, thickness: 0.45, fur_bumps: 0.6, ..short },
            HairStyle::Short => Self { comb: Comb::Forward, ..short },
            HairStyle::Receding => Self { top: 0.03, lift: 0.007, comb: Comb::Back, ..short },
            HairStyle::SidePart => Self {
                top: 0.075,
                sides: 0.024,
                lift: 0.017,
                side_lift: 0.005,
                comb: Comb::Parted(0.034),
                weight: 0.06,
                ..short
            },
            HairStyle::Fringe => Self { fringe: true, ends: -0.12, top: 0.30, sides: 0.2, comb: Comb::Whorl, ..long },
            HairStyle::Bob => Self {
                ends: -0.085,
                top: 0.26,
                sides: 0.16,
                lift: 0.02,
                side_lift: 0.020,
                comb: Comb::Parted(0.03),
                ..long
            },
            HairStyle::LongStraight => long,
            HairStyle::LongWavy => Self {
                half_width: 0.014,
                locks: 260,
                wave: 0.009,
                wavelength: 0.085,
                lift: 0.022,
                side_lift: 0.022,
                comb: Comb::Parted(0.025),
                ..long
            },
            HairStyle::Curly => Self {
                top: 0.17,
                sides: 0.15,
                lift: 0.036,
                side_lift: 0.034,
                wave: 0.006,
                wavelength: 0.07,
                curl: 0.026,
                half_width: 0.0135,
                locks: 380,
                weight: 0.16,
                comb: Comb::Whorl,
                ends: -0.14,
                ..long
            },
            HairStyle::Afro => Self { locks: 0, fur: 0.060, fur_bumps: 0.35, ..short },
            HairStyle::Bun => Self { bound: Some(Bound::Bun), ..bound },
            HairStyle::Ponytail => Self { bound: Some(Bound::Ponytail), ..bound },
            HairStyle::Braids => Self { bound: Some(Bound::Braids), comb: Comb::Parted(0.0), ..bound },
        })
    }

    /// The style as one person wears it: a little longer or shorter, fuller or flatter, sometimes with a fringe.
    pub(crate) fn varied(self, random: &mut ChaCha8Rng) -> Self {
        let mut vary = |spread: f32| 1.0 + spread * (2.0 * random.random::<f32>() - 1.0);
        let comb = match self.comb {
            Comb::Parted(place) => Comb::Parted((place + 0.008 * (vary(1.0) - 1.0)) * (vary(1.0) - 1.0).signum()),
            comb => comb,
        };
        let fringed = self.top > 0.2 || self.bound.is_some();
        Self {
            top: self.top * vary(0.2),
            sides: self.sides * vary(0.25),
            lift: self.lift * vary(0.25),
            side_lift: self.side_lift * vary(0.25),
            comb,
            wave: self.wave * vary(0.3),
            wavelength: self.wavelength * vary(0.25),
            ends: self.ends * vary(0.2),
            fur: self.fur * vary(0.2),
            fringe: self.fringe || fringed && vary(1.0) < 0.5,
            ..self
        }
    }
}
