//! Masks as COCO has them: run lengths, column by column, starting with pixels outside, in COCO's compressed string.
//!
//! Source: `rleToString` and `rleFrString` of pycocotools (`common/maskApi.c`). `pycocotools.mask.decode` reads them.

use serde::{Deserialize, Serialize};

/// Which pixels belong to something.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mask {
    /// Height, width.
    pub size: [usize; 2],
    /// Run lengths, column by column, the first of pixels outside, as COCO's compressed string.
    pub counts: String,
}

impl Mask {
    /// From 8-bit coverage, row by row: half covered and more is inside.
    ///
    /// # Panics
    /// If there are not `width` × `height` values.
    pub fn from_coverage(coverage: &[u8], width: usize, height: usize) -> Self {
        assert_eq!(coverage.len(), width * height, "coverage of a {width}×{height} picture");
        let mut runs = vec![0];
        let mut inside = false;
        for column in 0..width {
            for row in 0..height {
                if (coverage[row * width + column] >= 128) != inside {
                    inside = !inside;
                    runs.push(0);
                }
                *runs.last_mut().expect("there is a run") += 1;
            }
        }
        Self { size: [height, width], counts: compress(&runs) }
    }

    /// 255 inside, 0 outside, row by row; `None` if the string is none of COCO's or does not fill the picture.
    pub fn to_coverage(&self) -> Option<Vec<u8>> {
        let [height, width] = self.size;
        let area = height.checked_mul(width)?;
        let mut columns = Vec::new();
        for (index, run) in decompress(&self.counts)?.into_iter().enumerate() {
            let end = columns.len().checked_add(usize::try_from(run).ok()?).filter(|end| *end <= area)?;
            columns.resize(end, if index % 2 == 0 { 0 } else { 255 });
        }
        let rows = || (0..area).map(|pixel| columns[pixel % width * height + pixel / width]).collect();
        (columns.len() == area).then(rows)
    }
}

/// Each run, from the fourth on as its difference to the last but one, in groups of 5 bits with a sixth that says
/// whether more follow, lowest first, as characters from '0' on.
fn compress(runs: &[i64]) -> String {
    let mut text = String::new();
    for (index, run) in runs.iter().enumerate() {
        let mut value = if index > 2 { run - runs[index - 2] } else { *run };
        loop {
            let group = value & 0x1f;
            value >>= 5;
            // The sign is the highest bit of the last group.
            let more = value != if group & 0x10 == 0 { 0 } else { -1 };
            text.push(char::from(48 + group as u8 + if more { 0x20 } else { 0 }));
            if !more {
                break;
            }
        }
    }
    text
}

fn decompress(text: &str) -> Option<Vec<i64>> {
    let mut runs: Vec<i64> = Vec::new();
    let mut bytes = text.bytes();
    while let Some(first) = bytes.next() {
        let (mut value, mut shift, mut byte) = (0i64, 0, first);
        loop {
            let group = byte.checked_sub(48).filter(|group| *group < 64)?;
            value |= i64::from(group & 0x1f).checked_shl(shift).filter(|_| shift < 50)?;
            shift += 5;
            if group & 0x20 == 0 {
                if group & 0x10 != 0 {
                    value |= -1 << shift;
                }
                break;
            }
            byte = bytes.next()?;
        }
        if runs.len() > 2 {
            value += runs[runs.len() - 2];
        }
        runs.push(value);
    }
    Some(runs)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Discs, and the strings that pycocotools 2.0.10 gives for them: `mask.encode(np.asfortranarray(disc))["counts"]`
    /// with `disc = (x - w // 2)**2 + (y - h // 2)**2 < r * r`.
    #[test]
    fn strings_are_those_of_pycocotools() {
        let circle = |width: usize, height: usize, radius: i64| -> Vec<u8> {
            let inside = |index: usize| {
                let (x, y) = ((index % width) as i64 - width as i64 / 2, (index / width) as i64 - height as i64 / 2);
                x * x + y * y < radius * radius
            };
            (0..width * height).map(|index| if inside(index) { 255 } else { 0 }).collect()
        };
        let cases = [
            (6, 4, 2, "9310003"),
            (5, 5, 9, "0i0"),
            (5, 5, 0, "i0"),
            (
                96,
                144,
                40,
                "`Z1a0k38I6K4L4L4M2N2M4M2N2N2N2N2N2O0O2N2N2O0O2O0O2O0O2O000O2O00000O2O00000000000000000000000000000000001N1000001N10001N101N101N101N2N2N101N2N2N2N2N2N3L3N2N3L4L4L5J7HTR1",
            ),
        ];
        for (width, height, radius, counts) in cases {
            let coverage = circle(width, height, radius);
            let mask = Mask::from_coverage(&coverage, width, height);
            assert_eq!(mask, Mask { size: [height, width], counts: counts.into() }, "{width}×{height}, {radius}");
            assert_eq!(mask.to_coverage(), Some(coverage));
        }
    }

    #[test]
    fn what_is_no_mask_is_refused() {
        for counts in ["", "5", "X", "~~", "0ooooooooooooooo1", "61", "\u{e9}", "1o"] {
            assert_eq!(Mask { size: [2, 3], counts: counts.into() }.to_coverage(), None, "{counts}");
        }
        assert!(Mask { size: [2, 3], counts: "6".into() }.to_coverage().is_some());
    }
}
