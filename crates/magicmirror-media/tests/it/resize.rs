//! Bit for bit what Pillow gives; `fixtures/resize.py` made the expected images.

use std::path::{Path, PathBuf};

use magicmirror_media::{Filter, read_photo, resize};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/fixtures").join(name)
}

#[test]
fn equals_pillow() {
    let source = read_photo(fixture("resize_source.png")).unwrap();
    let mut wrong = Vec::new();
    for (name, filter) in [("bilinear", Filter::Bilinear), ("bicubic", Filter::Bicubic)] {
        for (width, height) in [(16, 16), (61, 47), (37, 12), (9, 29), (1, 1), (38, 29), (5, 90)] {
            let expected = read_photo(fixture(&format!("resize_{name}_{width}x{height}.png"))).unwrap();
            if resize(&source, width, height, filter).unwrap() != expected {
                wrong.push(format!("{name} {width}x{height}"));
            }
        }
    }
    assert_eq!(wrong, [""; 0]);
}
