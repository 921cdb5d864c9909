//! One frame as PNG.

use std::io::Write;
use std::path::Path;

use image::RgbImage;

use super::Provenance;
use crate::MediaError;

/// Encode `image`, which has pixels, into `writer`; `path` is for messages.
pub(crate) fn encode_png(
    path: &Path,
    writer: &mut impl Write,
    image: &RgbImage,
    provenance: Option<&Provenance>,
) -> Result<(), MediaError> {
    encode(writer, image, provenance).map_err(|error| match error {
        png::EncodingError::IoError(source) => MediaError::write(path)(source),
        other => MediaError::encode(path, "PNG")(other),
    })
}

fn encode(
    writer: &mut impl Write,
    image: &RgbImage,
    provenance: Option<&Provenance>,
) -> Result<(), png::EncodingError> {
    let mut encoder = png::Encoder::new(writer, image.width(), image.height());
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_depth(png::BitDepth::Eight);
    if let Some(provenance) = provenance {
        add_text(&mut encoder, "Title", Provenance::TITLE)?;
        add_text(&mut encoder, "Software", &provenance.generator)?;
        add_text(&mut encoder, "Comment", &provenance.comment())?;
        encoder.add_itxt_chunk("XML:com.adobe.xmp".into(), provenance.xmp())?;
    }
    let mut writer = encoder.write_header()?;
    writer.write_image_data(image.as_raw())?;
    writer.finish()
}

/// A `tEXt` chunk, or `iTXt` for what `tEXt` cannot hold.
fn add_text(encoder: &mut png::Encoder<'_, impl Write>, keyword: &str, text: &str) -> Result<(), png::EncodingError> {
    if text.is_ascii() {
        encoder.add_text_chunk(keyword.into(), text.into())
    } else {
        encoder.add_itxt_chunk(keyword.into(), text.into())
    }
}
