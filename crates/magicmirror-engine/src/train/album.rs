//! Photos and clips of your own as training examples: files with captions beside them, or a manifest.
//!
//! Nobody has said where the faces are: they are looked for when the run is prepared. Who has no other photo is their own
//! reference, as the paper has it for LAION-Face.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use image::RgbImage;
use magicmirror_media::{MediaError, ReadOptions, VideoReader, decode_image, read_photo};
use serde::Deserialize;

use super::TrainError;
use super::data::{Example, Examples, ReferencePhoto};
use crate::EngineError;
use crate::dataset::{Files, Layout};
use crate::files::read_text;

/// Frames per second that are taken where the configuration does not say: CogVideoX's.
const FPS: f64 = 8.0;

/// Most photos that are taken of those that a manifest has of a person.
const MOST_REFERENCES: usize = 4;

const IMAGES: [&str; 4] = ["jpg", "jpeg", "png", "webp"];
const VIDEOS: [&str; 6] = ["mp4", "mov", "webm", "mkv", "avi", "gif"];

/// The manifest of a folder.
pub(super) const MANIFEST: &str = "metadata.jsonl";

/// Images, or clips of which so many frames are taken.
pub(super) struct Album {
    items: Vec<Item>,
    files: Files,
    frames: usize,
    fps: f64,
}

struct Item {
    key: String,
    target: Source,
    caption: Caption,
    references: Vec<Source>,
}

/// A picture or clip: a file, or part of a tar file.
enum Source {
    Path(PathBuf),
    Member { index: usize, extension: String },
}

enum Caption {
    Given(String),
    /// The text file of a sample.
    Beside(usize),
}

/// A line of a manifest; paths are relative to it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    image: Option<PathBuf>,
    /// A video file, an animation or a folder of PNGs.
    video: Option<PathBuf>,
    caption: String,
    #[serde(default)]
    references: Vec<PathBuf>,
    /// Whoever has the same name is the same person.
    person: Option<String>,
}

impl Album {
    /// `KEY.jpg` with `KEY.txt` and perhaps `KEY.reference0.jpg`, …, in a folder, in folders in it and in tar files in it.
    ///
    /// # Errors
    /// When something cannot be read.
    pub(super) fn of_files(folder: &Path, frames: usize, fps: Option<f64>) -> Result<Self, EngineError> {
        let mut files = Files::default();
        files.add(folder, Layout::Folder)?;
        let entries = fs::read_dir(folder).map_err(EngineError::io(folder))?;
        let mut paths: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
        paths.sort();
        for path in paths {
            let hidden = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
            if path.is_dir() && !hidden {
                files.add(&path, Layout::Folder)?;
            } else if path.extension() == Some(OsStr::new("tar")) {
                files.add(&path, Layout::Webdataset)?;
            }
        }
        let wanted = if frames == 1 { &IMAGES[..] } else { &VIDEOS[..] };
        let item = |index: usize| {
            let source = |extension: &str| match files.path(index, extension) {
                Some(path) => Source::Path(path),
                None => Source::Member { index, extension: extension.to_owned() },
            };
            let is = |extension: &&str, of: &[&str]| of.contains(&extension.to_lowercase().as_str());
            let references = files.extensions(index).filter(|extension| {
                extension
                    .strip_prefix("reference")
                    .and_then(|rest| rest.split_once('.'))
                    .is_some_and(|(_, extension)| is(&extension, &IMAGES))
            });
            Some(Item {
                key: format!("{}/{}", files.shard(index).display(), files.key(index)),
                target: source(files.extensions(index).find(|extension| is(extension, wanted))?),
                caption: Caption::Beside(index),
                references: references.map(source).collect(),
            })
        };
        let items = (0..files.len()).filter_map(item).collect();
        Ok(Self { items, files, frames, fps: fps.unwrap_or(FPS) })
    }

    /// What a manifest names: JSON Lines.
    ///
    /// # Errors
    /// When it cannot be read, or a line is not as it should be.
    pub(super) fn of_manifest(path: &Path, frames: usize, fps: Option<f64>) -> Result<Self, EngineError> {
        let folder = path.parent().unwrap_or(Path::new(""));
        let mut lines = Vec::new();
        for (number, text) in read_text(path)?.lines().enumerate().filter(|(_, text)| !text.trim().is_empty()) {
            let invalid = |reason| TrainError::Manifest { path: path.to_owned(), line: number + 1, reason };
            let line: Line = serde_json::from_str(text).map_err(|error| invalid(error.to_string()))?;
            if line.image.is_some() == line.video.is_some() {
                return Err(invalid("it must have either image or video".into()).into());
            }
            lines.push(line);
        }
        let mut people: HashMap<&str, Vec<&PathBuf>> = HashMap::new();
        for Line { image, person, .. } in &lines {
            if let (Some(image), Some(person)) = (image, person) {
                people.entry(person).or_default().push(image);
            }
        }
        let items = lines.iter().filter_map(|line| {
            let target = if frames == 1 { line.image.as_ref() } else { line.video.as_ref() }?;
            let others = line.person.as_deref().and_then(|person| people.get(person));
            let others = others.map_or(Vec::new(), |photos| others_than(target, photos));
            let references = if line.references.is_empty() { others } else { line.references.iter().collect() };
            Some(Item {
                key: target.display().to_string(),
                target: Source::Path(folder.join(target)),
                caption: Caption::Given(line.caption.clone()),
                references: references.into_iter().map(|path| Source::Path(folder.join(path))).collect(),
            })
        });
        let items = items.collect();
        Ok(Self { items, files: Files::default(), frames, fps: fps.unwrap_or(FPS) })
    }

    fn photo(&self, source: &Source) -> Result<RgbImage, EngineError> {
        Ok(match source {
            Source::Path(path) => read_photo(path)?,
            Source::Member { index, extension } => {
                let name = PathBuf::from(format!("{}.{extension}", self.files.key(*index)));
                decode_image(&name, &self.files.read(*index, extension)?)?
            }
        })
    }

    fn clip(&self, source: &Source) -> Result<Vec<RgbImage>, EngineError> {
        match source {
            Source::Path(path) => Ok(self.frames_of(path)?),
            Source::Member { index, extension } => {
                // Videos are read by path, by another program.
                let folder = std::env::temp_dir();
                let mut file = tempfile::Builder::new()
                    .suffix(&format!(".{extension}"))
                    .tempfile_in(&folder)
                    .map_err(EngineError::io(&folder))?;
                let bytes = self.files.read(*index, extension)?;
                file.write_all(&bytes).map_err(EngineError::io(file.path()))?;
                Ok(self.frames_of(file.path())?)
            }
        }
    }

    /// So many frames as are trained, from the start, at the rate that is trained; all of a clip that is slower.
    fn frames_of(&self, path: &Path) -> Result<Vec<RgbImage>, MediaError> {
        let reader = VideoReader::open(path, &ReadOptions { still_fps: self.fps, ..ReadOptions::default() })?;
        let step = (reader.fps() / self.fps).max(1.0);
        let mut frames = Vec::new();
        for (number, frame) in reader.enumerate() {
            let frame = frame?;
            if number == (frames.len() as f64 * step).round() as usize {
                frames.push(frame);
            }
            if frames.len() == self.frames {
                break;
            }
        }
        Ok(frames)
    }
}

/// Other photos of a person, from the one after `target` on; one for a photo, so that all take part equally.
fn others_than<'a>(target: &PathBuf, photos: &[&'a PathBuf]) -> Vec<&'a PathBuf> {
    match photos.iter().position(|photo| *photo == target) {
        None => photos.iter().copied().take(MOST_REFERENCES).collect(),
        Some(own) => photos.iter().copied().cycle().skip(own + 1).take(1).filter(|photo| *photo != target).collect(),
    }
}

impl Examples for Album {
    fn len(&self) -> usize {
        self.items.len()
    }

    fn key(&self, index: usize) -> String {
        self.items[index].key.clone()
    }

    fn get(&self, index: usize) -> Result<Example, EngineError> {
        let Item { target, caption, references, .. } = &self.items[index];
        let frames = if self.frames == 1 { vec![self.photo(target)?] } else { self.clip(target)? };
        let caption = match caption {
            Caption::Given(caption) => caption.clone(),
            Caption::Beside(index) => String::from_utf8_lossy(&self.files.read(*index, "txt")?).trim().to_owned(),
        };
        let mut photos = references.iter().map(|source| self.photo(source)).collect::<Result<Vec<_>, _>>()?;
        if photos.is_empty() {
            photos.extend(frames.get(frames.len() / 2).cloned());
        }
        let references = photos.into_iter().map(|image| ReferencePhoto { image, face: None }).collect();
        Ok(Example { frames, faces: None, caption, references, identity: None })
    }
}

#[cfg(test)]
mod tests {
    use magicmirror_media::write_png;

    use super::*;

    fn grey(path: &Path, value: u8) {
        write_png(path, &RgbImage::from_pixel(8, 8, image::Rgb([value; 3]))).unwrap();
    }

    fn colours(photos: &[ReferencePhoto]) -> Vec<u8> {
        photos.iter().map(|photo| photo.image.get_pixel(0, 0)[0]).collect()
    }

    #[test]
    fn captions_and_references_lie_beside_pictures() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::create_dir(path("more")).unwrap();
        for (name, value) in
            [("a.png", 1), ("a.reference0.png", 2), ("a.reference1.png", 3), ("more/b.PNG", 4), ("c.png", 5)]
        {
            grey(&path("x.png"), value);
            fs::rename(path("x.png"), path(name)).unwrap();
        }
        fs::write(path("a.txt"), "a man img\n").unwrap();
        fs::write(path("more/b.txt"), "a woman img").unwrap();
        fs::write(path("LICENSE"), "").unwrap();
        let mut tar = tar::Builder::new(fs::File::create(path("0.tar")).unwrap());
        tar.append_path_with_name(path("a.png"), "d.png").unwrap();
        tar.append_path_with_name(path("a.txt"), "d.txt").unwrap();
        tar.into_inner().unwrap();

        let album = Album::of_files(folder.path(), 1, None).unwrap();
        assert_eq!(album.len(), 4);
        let a = album.get(0).unwrap();
        assert_eq!((a.caption.as_str(), colours(&a.references)), ("a man img", vec![2, 3]));
        let c = album.get(1).unwrap_err().to_string();
        assert!(c.contains("it has no txt"), "{c}");
        let [d, b] = [2, 3].map(|index| album.get(index).unwrap());
        assert_eq!((d.caption.as_str(), colours(&d.references)), ("a man img", vec![1]), "its own reference");
        assert_eq!((b.caption.as_str(), colours(&b.references)), ("a woman img", vec![4]));
        assert_eq!(Album::of_files(folder.path(), 5, None).unwrap().len(), 0, "there is no clip");
    }

    #[test]
    fn a_manifest_knows_other_photos_of_a_person() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::create_dir(path("clip")).unwrap();
        for (name, value) in
            [("1.png", 1), ("2.png", 2), ("3.png", 3), ("clip/0.png", 10), ("clip/1.png", 11), ("clip/2.png", 12)]
        {
            grey(&path(name), value);
        }
        let text = r#"{"image": "1.png", "caption": "a man img", "person": "x"}
            {"image": "2.png", "caption": "a man img", "person": "x"}
            {"image": "3.png", "caption": "a man img", "person": "y"}

            {"video": "clip", "caption": "a man img walks", "person": "x"}
            {"video": "clip", "caption": "a man img walks", "references": ["3.png"]}
            {"video": "clip", "caption": "a man img walks"}"#;
        fs::write(path(MANIFEST), text).unwrap();
        let open = |frames| Album::of_manifest(&path(MANIFEST), frames, None).unwrap();
        let references = |album: &Album| {
            (0..album.len()).map(|index| colours(&album.get(index).unwrap().references)).collect::<Vec<_>>()
        };
        assert_eq!(references(&open(1)), [[2], [1], [3]]);
        let clips = open(3);
        assert_eq!(references(&clips), [vec![1, 2], vec![3], vec![11]]);
        let frames: Vec<u8> = clips.get(0).unwrap().frames.iter().map(|frame| frame.get_pixel(0, 0)[0]).collect();
        assert_eq!(frames, [10, 11, 12]);

        for (line, expected) in [
            (r#"{"image": "1.png", "caption": "", "refs": []}"#, "line 2: unknown field `refs`"),
            (r#"{"caption": ""}"#, "line 2: it must have either image or video"),
        ] {
            fs::write(path(MANIFEST), format!("\n{line}")).unwrap();
            let error = Album::of_manifest(&path(MANIFEST), 1, None).err().unwrap().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}
