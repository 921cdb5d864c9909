//! Training examples, and how they are brought to the sizes that are trained.

use image::RgbImage;
use magicmirror_media::{Filter, crop, resize};
use serde::{Deserialize, Serialize};

use crate::EngineError;
use crate::identity::DetectedFace;

/// One example: what is to be shown, and photos of the person.
#[derive(Debug, Clone)]
pub struct Example {
    /// One image, or the frames of a clip, all of one size.
    pub frames: Vec<RgbImage>,
    /// The face in each frame, where there is one; `None` where nobody has said, and faces are looked for.
    pub faces: Option<Vec<Option<TargetFace>>>,
    /// What the frames show, with a class word.
    pub caption: String,
    /// Photos of the person.
    pub references: Vec<ReferencePhoto>,
    /// Whom it shows, if that has a number.
    pub identity: Option<u64>,
}

/// The face in a frame.
#[derive(Debug, Clone, PartialEq)]
pub struct TargetFace {
    /// Left, top, right, bottom, pixels.
    pub bounds: [f32; 4],
    /// Left eye, right eye, nose, left and right corner of the mouth, pixels.
    pub landmarks: [[f32; 2]; 5],
    /// How far each pixel belongs to the face, 0 to 255, row by row.
    pub mask: Vec<u8>,
}

impl TargetFace {
    /// How far each place of the latents belongs to the face, 0 to 1, `[latent frames, rows, columns]`: of frames of
    /// `width × height` pixels, of which `scale` a side and `ratio` over time share a latent.
    pub(super) fn region(
        faces: &[Option<Self>],
        (width, height): (u32, u32),
        scale: usize,
        ratio: usize,
    ) -> (Vec<f32>, [usize; 3]) {
        let (columns, rows) = (width as usize / scale, height as usize / scale);
        let latent_frames = (faces.len() - 1) / ratio + 1;
        let mut region = vec![0f32; latent_frames * rows * columns];
        for (frame, face) in faces.iter().enumerate() {
            let Some(face) = face else { continue };
            // The first latent frame stands for one frame, all others for `ratio`.
            let (latent, share) = if frame == 0 { (0, 1.0) } else { (frame.div_ceil(ratio), ratio as f32) };
            let cells = &mut region[latent * rows * columns..(latent + 1) * rows * columns];
            for (pixel, covered) in face.mask.iter().enumerate() {
                let (row, column) = (pixel / width as usize / scale, pixel % width as usize / scale);
                if row < rows && column < columns {
                    cells[row * columns + column] += f32::from(*covered) / 255.0 / (share * (scale * scale) as f32);
                }
            }
        }
        (region, [latent_frames, rows, columns])
    }
}

/// A photo of the person.
#[derive(Debug, Clone)]
pub struct ReferencePhoto {
    /// The photo.
    pub image: RgbImage,
    /// The face in it, if it is known already; else it is looked for.
    pub face: Option<DetectedFace>,
}

/// A data set: examples by number, in no particular order.
pub trait Examples: Send + Sync {
    /// How many there are.
    fn len(&self) -> usize;

    /// Whether there are none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A name for messages.
    fn key(&self, index: usize) -> String;

    /// Reads one.
    ///
    /// # Errors
    /// When it is broken.
    fn get(&self, index: usize) -> Result<Example, EngineError>;
}

/// A data set and how often its examples are drawn: an entry of `data.images` or `data.clips`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SourceConfig {
    /// Folder of the data set, or a manifest.
    pub path: std::path::PathBuf,
    /// How often its examples are drawn, relative to those of the other sets.
    #[serde(default = "one")]
    pub weight: f64,
}

fn one() -> f64 {
    1.0
}

/// Part of the examples that may be broken, if the configuration does not say.
pub(super) fn most_bad() -> f64 {
    0.01
}

/// Pixels of the frames that are trained, written as `width x height` (`"720x480"`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct FrameSize {
    /// Pixels.
    pub width: usize,
    /// Pixels.
    pub height: usize,
}

impl TryFrom<String> for FrameSize {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let numbers =
            text.split_once('x').and_then(|(width, height)| Some((width.parse().ok()?, height.parse().ok()?)));
        match numbers {
            Some((width, height)) if width > 0 && height > 0 => Ok(Self { width, height }),
            _ => Err(format!("{text} is not a size: write it as WIDTHxHEIGHT, as in 720x480")),
        }
    }
}

impl From<FrameSize> for String {
    fn from(FrameSize { width, height }: FrameSize) -> Self {
        format!("{width}x{height}")
    }
}

impl FrameSize {
    /// The size whose shape is nearest to that of an image.
    fn nearest(sizes: &[Self], image: &RgbImage) -> Option<Self> {
        let shape = |width: f64, height: f64| (width / height).ln();
        let wanted = shape(f64::from(image.width()), f64::from(image.height()));
        let distance = |size: &Self| (shape(size.width as f64, size.height as f64) - wanted).abs();
        sizes.iter().min_by(|a, b| distance(a).total_cmp(&distance(b))).copied()
    }
}

impl Example {
    /// Values of its frames.
    pub(super) fn values(&self) -> usize {
        self.frames.iter().map(|frame| frame.as_raw().len()).sum()
    }

    /// The first `frames` frames at the size of the nearest shape: enlarged or reduced to cover it, the middle cut out.
    ///
    /// # Errors
    /// What is wrong with the example, in words.
    pub(super) fn fit(mut self, sizes: &[FrameSize], frames: usize) -> Result<Self, String> {
        if self.references.is_empty() {
            return Err("there is no reference photo".into());
        }
        let known = self.faces.as_ref().map_or(self.frames.len(), Vec::len);
        if self.frames.len() < frames || known != self.frames.len() {
            return Err(format!("{} frames and {known} faces, {frames} needed", self.frames.len()));
        }
        self.frames.truncate(frames);
        let size = FrameSize::nearest(sizes, &self.frames[0]).ok_or("there is no size to train at")?;
        let from = self.frames[0].dimensions();
        if self.frames.iter().any(|frame| frame.dimensions() != from) {
            return Err("its frames have different sizes".into());
        }
        let fit = Fit::new(from, size);
        let fitted = self.frames.iter().map(|frame| fit.image(frame).map_err(|error| error.to_string()));
        self.frames = fitted.collect::<Result<_, String>>()?;
        if let Some(faces) = &mut self.faces {
            faces.truncate(frames);
            for face in faces.iter_mut().flatten() {
                fit.face(face)?;
            }
        }
        Ok(self)
    }
}

/// From one size to another without distortion.
struct Fit {
    from: (u32, u32),
    scaled: (u32, u32),
    offset: (u32, u32),
    size: (u32, u32),
    scale: [f32; 2],
}

impl Fit {
    fn new(from: (u32, u32), size: FrameSize) -> Self {
        let (width, height) = from;
        let size = (size.width as u32, size.height as u32);
        let scale = (f64::from(size.0) / f64::from(width)).max(f64::from(size.1) / f64::from(height));
        let scaled = |length: u32, least: u32| ((f64::from(length) * scale).round() as u32).max(least);
        let scaled = (scaled(width, size.0), scaled(height, size.1));
        let offset = ((scaled.0 - size.0) / 2, (scaled.1 - size.1) / 2);
        let scale = [scaled.0 as f32 / width as f32, scaled.1 as f32 / height as f32];
        Self { from, scaled, offset, size, scale }
    }

    fn image(&self, image: &RgbImage) -> Result<RgbImage, magicmirror_media::MediaError> {
        let resized = if image.dimensions() == self.scaled {
            image.clone()
        } else {
            resize(image, self.scaled.0, self.scaled.1, Filter::Bicubic)?
        };
        crop(&resized, self.offset.0, self.offset.1, self.size.0, self.size.1)
    }

    fn face(&self, face: &mut TargetFace) -> Result<(), String> {
        let pixels = face.mask.iter().flat_map(|&covered| [covered; 3]).collect();
        let mask = RgbImage::from_raw(self.from.0, self.from.1, pixels);
        let mask = self.image(&mask.ok_or("a mask has another size than its frame")?);
        face.mask = mask.map_err(|error| error.to_string())?.pixels().map(|pixel| pixel[0]).collect();
        face.landmarks = face.landmarks.map(|point| self.point(point));
        let [left, top, right, bottom] = face.bounds;
        let ([left, top], [right, bottom]) = (self.point([left, top]), self.point([right, bottom]));
        face.bounds = [left, top, right, bottom];
        Ok(())
    }

    /// Pixel centres have whole coordinates.
    fn point(&self, [x, y]: [f32; 2]) -> [f32; 2] {
        let [across, down] = self.scale;
        [(x + 0.5) * across - 0.5 - self.offset.0 as f32, (y + 0.5) * down - 0.5 - self.offset.1 as f32]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn landmarks_and_mask_go_where_their_pixels_go() {
        let mut frame = RgbImage::new(40, 20);
        let mut mask = vec![0; 800];
        for (x, y) in [(22, 8), (23, 8), (22, 9), (23, 9)] {
            frame.put_pixel(x, y, image::Rgb([255; 3]));
            mask[y as usize * 40 + x as usize] = 255;
        }
        let face = TargetFace { bounds: [21.5, 7.5, 23.5, 9.5], landmarks: [[22.5, 8.5]; 5], mask };
        let references = vec![ReferencePhoto { image: frame.clone(), face: None }];
        let faces = Some(vec![Some(face)]);
        let example = Example { frames: vec![frame], faces, caption: String::new(), references, identity: None };
        let sizes = [FrameSize { width: 60, height: 60 }, FrameSize { width: 30, height: 60 }];
        let fitted = example.fit(&sizes, 1).unwrap();
        assert_eq!(fitted.frames[0].dimensions(), (60, 60), "the shape nearest to 40×20");
        let faces = fitted.faces.unwrap();
        let face = faces[0].as_ref().unwrap();
        assert_eq!(face.bounds.map(|edge| edge.to_string()), ["35.5", "23.5", "41.5", "29.5"]);
        let [x, y] = face.landmarks[0];
        assert_eq!((x, y), (38.5, 26.5), "three times as large, a quarter cut off at the left");
        let at = |x: f32, y: f32| y as usize * 60 + x as usize;
        assert!(fitted.frames[0].get_pixel(x as u32, y as u32)[0] > 200);
        assert!(face.mask[at(x, y)] > 200 && face.mask[at(x - 6.0, y)] < 20);
    }
}
