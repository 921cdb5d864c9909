//! Colours: linear light inside, sRGB outside.

use std::sync::OnceLock;

use crate::scene::NamedColour;

/// Red, green, blue in linear light; 1 is white paper in full light.
pub type Rgb = [f32; 3];

/// A colour written as sRGB `0xRRGGBB`.
pub fn rgb(hex: u32) -> Rgb {
    static LINEAR: OnceLock<[f32; 256]> = OnceLock::new();
    let linear = LINEAR.get_or_init(|| std::array::from_fn(|byte| linear_from_srgb(byte as f32 / 255.0)));
    [hex >> 16, hex >> 8, hex].map(|byte| linear[(byte & 0xff) as usize])
}

/// Channel by channel: light that a surface throws back.
pub fn times(a: Rgb, b: Rgb) -> Rgb {
    [a[0] * b[0], a[1] * b[1], a[2] * b[2]]
}

/// `a` made brighter or darker.
pub fn scale(a: Rgb, factor: f32) -> Rgb {
    a.map(|channel| channel * factor)
}

/// Sum of two lights.
pub fn plus(a: Rgb, b: Rgb) -> Rgb {
    [a[0] + b[0], a[1] + b[1], a[2] + b[2]]
}

/// `a` where `amount` is 0, `b` where it is 1.
pub fn mix(a: Rgb, b: Rgb, amount: f32) -> Rgb {
    [0, 1, 2].map(|channel| a[channel] + (b[channel] - a[channel]) * amount)
}

/// Decodes one sRGB channel, 0 to 1.
pub fn linear_from_srgb(value: f32) -> f32 {
    if value <= 0.04045 { value / 12.92 } else { libm::powf((value + 0.055) / 1.055, 2.4) }
}

impl NamedColour {
    /// What cloth, paint or paper of this colour throws back of white light.
    pub fn albedo(self) -> Rgb {
        rgb(match self {
            Self::Red => 0xC8_1D_25,
            Self::Orange => 0xF0_7F_17,
            Self::Yellow => 0xF2_D0_2C,
            Self::Green => 0x2E_8B_3D,
            Self::Teal => 0x12_8C_8C,
            Self::Blue => 0x24_4F_C4,
            Self::Purple => 0x7A_33_A8,
            Self::Pink => 0xF0_8C_B4,
            Self::Brown => 0x70_45_26,
            Self::White => 0xEE_EE_EC,
            Self::Grey => 0x85_87_8A,
            Self::Black => 0x1A_1A_1D,
        })
    }
}

/// The named colour that a light looks most like, in Oklab (Björn Ottosson, 2020).
pub fn nearest_name(light: Rgb) -> NamedColour {
    let distance = |name: &NamedColour| {
        let (one, other) = (oklab(light), oklab(name.albedo()));
        (0..3).map(|axis| (one[axis] - other[axis]) * (one[axis] - other[axis])).sum::<f32>()
    };
    let mut names = NamedColour::ALL;
    names.sort_by(|one, other| distance(one).total_cmp(&distance(other)));
    names[0]
}

fn oklab([red, green, blue]: Rgb) -> [f32; 3] {
    let [l, m, s] = [
        0.412_221_46 * red + 0.536_332_55 * green + 0.051_445_995 * blue,
        0.211_903_5 * red + 0.680_699_5 * green + 0.107_396_96 * blue,
        0.088_302_46 * red + 0.281_718_85 * green + 0.629_978_7 * blue,
    ]
    .map(libm::cbrtf);
    [
        0.210_454_26 * l + 0.793_617_8 * m - 0.004_072_047 * s,
        1.977_998_5 * l - 2.428_592_2 * m + 0.450_593_7 * s,
        0.025_904_037 * l + 0.782_771_77 * m - 0.808_675_77 * s,
    ]
}
