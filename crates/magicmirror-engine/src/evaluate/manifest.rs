//! Which videos are judged, against which photos: a file of JSON lines, or a folder that follows a convention.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::EngineError;
use crate::files::read_text;

/// One line of a manifest: a video that is to be made, or judged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// The video: a file, or a folder of PNGs.
    pub video: PathBuf,
    /// Photos of the person; may be left out where nobody in particular is meant.
    #[serde(default)]
    pub references: Vec<PathBuf>,
    /// What the video shows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompt: Option<String>,
    /// What made the video; results are given for each model.
    #[serde(default = "unnamed")]
    pub model: String,
    /// Who the person is; by default those with the same photos are one. All photos of one identity count for all its
    /// videos.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub identity: String,
    /// Seed of the noise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
}

impl Entry {
    /// A line of JSON, with its end.
    pub(crate) fn to_line(&self) -> String {
        serde_json::to_string(self).expect("an entry is plain data") + "\n"
    }
}

/// Entries, and the folder that their paths start from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    /// At least one.
    pub entries: Vec<Entry>,
    /// Where relative paths start.
    pub folder: PathBuf,
    /// The file or folder itself.
    pub path: PathBuf,
    /// Where each entry stands.
    sources: Vec<Source>,
}

/// Where an entry stands.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Source {
    /// The file or folder.
    path: PathBuf,
    /// From 1; none in a folder.
    line: Option<usize>,
}

/// A name for models that have none.
fn unnamed() -> String {
    "unnamed".to_owned()
}

impl Manifest {
    /// Reads one manifest or several, whose entries then come one after the other.
    ///
    /// # Errors
    /// As [`Self::read`], and when two name the same video.
    ///
    /// # Panics
    /// If there is no path.
    pub fn read_all(paths: &[PathBuf]) -> Result<Self, EngineError> {
        let (first, others) = paths.split_first().expect("at least one manifest");
        let mut all = Self::read(first)?;
        if others.is_empty() {
            return Ok(all);
        }
        all.move_to_root();
        for path in others {
            let mut other = Self::read(path)?;
            other.move_to_root();
            if let Some(index) = other.entries.iter().position(|entry| all.has_video(entry)) {
                return Err(other.invalid(index, "the video of another manifest again"));
            }
            all.entries.append(&mut other.entries);
            all.sources.append(&mut other.sources);
        }
        Ok(all)
    }

    /// Reads a manifest, or a folder (see [`Self::of_folder`]).
    ///
    /// # Errors
    /// When it cannot be read; a line that is wrong is named by its number.
    pub fn read(path: &Path) -> Result<Self, EngineError> {
        if path.is_dir() {
            return Self::of_folder(path);
        }
        let text = read_text(path)?;
        let mut manifest = Self::new(parent(path), path);
        for (index, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
            let entry: Entry = serde_json::from_str(line).map_err(|error| {
                // The parser counts lines within the line.
                let reason = error.to_string().replace(" at line 1 column", " at column");
                invalid(path, Some(index + 1), reason)
            })?;
            if let Some(earlier) = manifest.entries.iter().position(|earlier| earlier.video == entry.video) {
                let earlier = manifest.sources[earlier].line.unwrap_or_default();
                return Err(invalid(path, Some(index + 1), format!("the video of line {earlier} again")));
            }
            manifest.entries.push(entry);
            manifest.sources.push(Source { path: path.to_owned(), line: Some(index + 1) });
        }
        if manifest.entries.is_empty() {
            return Err(invalid(path, None, "there is no line in it"));
        }
        manifest.name_identities();
        Ok(manifest)
    }

    /// Reads a folder: photos `NAME.jpg` (or .jpeg, .png, .webp) and the videos `NAME.*` or `NAME_*` of that person beside
    /// them, or in a sub-folder for each model. Further photos of a person are `NAME/*` in a sub-folder `references`, where
    /// single photos may be as well. A video is a .mp4, .mov, .webm, .mkv, .avi or .gif file, an animated .webp, or a folder
    /// of PNGs. Prompt and seed come from the report that `generate` writes beside a video.
    ///
    /// # Errors
    /// When it cannot be read, or holds no video.
    pub fn of_folder(folder: &Path) -> Result<Self, EngineError> {
        let references = folder.join("references");
        let mut photos: BTreeMap<String, Vec<PathBuf>> = BTreeMap::new();
        for path in list(folder)?.into_iter().chain(if references.is_dir() { list(&references)? } else { Vec::new() }) {
            let of_one = path.parent() == Some(&references) && path.is_dir();
            let found = if of_one { list(&path)? } else { vec![path.clone()] };
            photos.entry(stem(&path)).or_default().extend(found.into_iter().filter(|path| is_photo(path)));
        }
        photos.retain(|_, photos| !photos.is_empty());
        let mut manifest = Self::new(folder, folder);
        let model = folder.canonicalize().map_or_else(|_| unnamed(), |folder| stem(&folder));
        for path in list(folder)?.into_iter().filter(|path| *path != references) {
            if is_video(&path) {
                manifest.add(&path, &model, &photos);
            } else if path.is_dir() {
                for video in list(&path)?.into_iter().filter(|path| is_video(path)) {
                    manifest.add(&video, &stem(&path), &photos);
                }
            }
        }
        if manifest.entries.is_empty() {
            return Err(invalid(folder, None, "there is no video in it"));
        }
        manifest.name_identities();
        Ok(manifest)
    }

    /// A path of an entry, from where the program runs.
    pub fn resolve(&self, path: &Path) -> PathBuf {
        self.folder.join(path)
    }

    /// Where an entry stands, for messages.
    pub(crate) fn place(&self, entry: usize) -> String {
        let Source { path, line } = &self.sources[entry];
        format!("{}{}", path.display(), line.map_or_else(String::new, |line| format!(":{line}")))
    }

    /// An error about an entry.
    pub(crate) fn invalid(&self, entry: usize, reason: impl Into<String>) -> EngineError {
        let Source { path, line } = &self.sources[entry];
        invalid(path, *line, reason)
    }

    fn new(folder: &Path, path: &Path) -> Self {
        Self { entries: Vec::new(), folder: folder.to_owned(), path: path.to_owned(), sources: Vec::new() }
    }

    /// Makes paths start from where the program runs.
    fn move_to_root(&mut self) {
        for entry in &mut self.entries {
            let paths = std::iter::once(&mut entry.video).chain(&mut entry.references);
            paths.for_each(|path| *path = self.folder.join(&*path));
        }
        self.folder = PathBuf::new();
    }

    fn has_video(&self, entry: &Entry) -> bool {
        self.entries.iter().any(|other| other.video == entry.video)
    }

    fn add(&mut self, video: &Path, model: &str, photos: &BTreeMap<String, Vec<PathBuf>>) {
        let name = stem(video);
        let belongs =
            |person: &&String| name.strip_prefix(*person).is_some_and(|rest| rest.is_empty() || rest.starts_with('_'));
        let person = photos.keys().filter(belongs).max_by_key(|person| person.len());
        let relative = |path: &Path| path.strip_prefix(&self.folder).unwrap_or(path).to_owned();
        let (prompt, seed) = said_by_report(video);
        self.sources.push(Source { path: self.path.clone(), line: None });
        self.entries.push(Entry {
            video: relative(video),
            references: person
                .map(|person| photos[person].iter().map(|path| relative(path)).collect())
                .unwrap_or_default(),
            prompt,
            model: model.to_owned(),
            identity: person.cloned().unwrap_or_default(),
            seed,
        });
    }

    /// Gives those without a name, but with photos, the name of their first photo; other photos, another name.
    fn name_identities(&mut self) {
        let mut names: BTreeMap<Vec<PathBuf>, String> = BTreeMap::new();
        let mut taken: Vec<String> = self.entries.iter().map(|entry| entry.identity.clone()).collect();
        for entry in self.entries.iter_mut().filter(|entry| entry.identity.is_empty() && !entry.references.is_empty()) {
            let name = names.entry(entry.references.clone()).or_insert_with(|| {
                let first = stem(&entry.references[0]);
                let mut numbered = (2..).map(|number| format!("{first} ({number})"));
                let mut name = first.clone();
                while taken.contains(&name) {
                    name = numbered.next().unwrap_or_default();
                }
                taken.push(name.clone());
                name
            });
            entry.identity.clone_from(name);
        }
    }
}

/// An error about a manifest, or about one of its lines.
fn invalid(path: &Path, line: Option<usize>, reason: impl Into<String>) -> EngineError {
    let reason = reason.into();
    let reason = line.map_or(reason.clone(), |line| format!("line {line}: {reason}"));
    EngineError::InvalidFile { what: "manifest", reason, path: path.to_owned() }
}

/// Prompt and seed in the report beside a generated video, if there is one.
fn said_by_report(video: &Path) -> (Option<String>, Option<u64>) {
    #[derive(Deserialize)]
    struct Report {
        settings: Settings,
    }
    #[derive(Deserialize)]
    struct Settings {
        prompt: String,
        seed: u64,
    }
    let mut path = video.as_os_str().to_owned();
    path.push(".json");
    let report = std::fs::read_to_string(path).ok().and_then(|text| serde_json::from_str::<Report>(&text).ok());
    report.map_or((None, None), |report| (Some(report.settings.prompt), Some(report.settings.seed)))
}

/// The folder of a file, empty for a bare name.
fn parent(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new(""))
}

/// What is in a folder, sorted; hidden files left out.
pub(super) fn list(folder: &Path) -> Result<Vec<PathBuf>, EngineError> {
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(EngineError::io(folder))? {
        let entry = entry.map_err(EngineError::io(folder))?;
        if !entry.file_name().to_string_lossy().starts_with('.') {
            paths.push(entry.path());
        }
    }
    paths.sort();
    Ok(paths)
}

/// The name without its extension (a folder's whole name).
pub(super) fn stem(path: &Path) -> String {
    let name = if path.is_dir() { path.file_name() } else { path.file_stem() };
    name.unwrap_or_default().to_string_lossy().into_owned()
}

fn extension(path: &Path) -> String {
    path.extension().unwrap_or_default().to_string_lossy().to_ascii_lowercase()
}

/// Whether a file is a still photo, by its name; an animated WebP is told by its content.
pub(super) fn is_photo(path: &Path) -> bool {
    match extension(path).as_str() {
        "jpg" | "jpeg" | "png" => path.is_file(),
        "webp" => path.is_file() && !is_video(path),
        _ => false,
    }
}

fn is_video(path: &Path) -> bool {
    if path.is_dir() {
        // A person's photos are `references/NAME`; what else holds PNGs and no video is a video.
        let Ok(inside) = list(path) else { return false };
        return inside.iter().any(|path| extension(path) == "png") && !inside.iter().any(|path| is_video(path));
    }
    match extension(path).as_str() {
        "mp4" | "mov" | "webm" | "mkv" | "avi" | "gif" => true,
        "webp" => {
            matches!(magicmirror_media::read_photo(path), Err(magicmirror_media::MediaError::AnimatedImage { .. }))
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn manifest(text: &str) -> Result<Manifest, EngineError> {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("set.jsonl");
        fs::write(&path, text).expect("written");
        Manifest::read(&path)
    }

    #[test]
    fn identities_without_a_name_are_told_apart_by_their_photos() {
        let lines = "{\"video\":\"a.gif\",\"references\":[\"x/me.jpg\"]}\n\n\
                     {\"video\":\"b.gif\",\"references\":[\"y/me.jpg\"],\"prompt\":\"p\",\"model\":\"m\",\"seed\":7}\n\
                     {\"video\":\"c.gif\",\"references\":[\"x/me.jpg\"]}\n{\"video\":\"d.gif\"}\n";
        let read = manifest(lines).expect("valid");
        let names: Vec<&str> = read.entries.iter().map(|entry| entry.identity.as_str()).collect();
        assert_eq!(names, ["me", "me (2)", "me", ""]);
        assert_eq!(read.sources.iter().filter_map(|source| source.line).collect::<Vec<_>>(), [1, 3, 4, 5]);
        assert_eq!((read.entries[0].model.as_str(), read.entries[1].model.as_str()), ("unnamed", "m"));
    }

    #[test]
    fn several_manifests_are_one_after_the_other() {
        let folder = tempfile::tempdir().expect("a folder");
        let paths = ["a/set.jsonl", "b/set.jsonl"].map(|name| folder.path().join(name));
        for (path, photo) in paths.iter().zip(["me.jpg", "/photos/me.jpg"]) {
            fs::create_dir_all(parent(path)).expect("a folder");
            fs::write(path, format!("{{\"video\":\"x.gif\",\"references\":[{photo:?}]}}\n")).expect("written");
        }
        let all = Manifest::read_all(&paths).expect("valid");
        let videos: Vec<&Path> = all.entries.iter().map(|entry| entry.video.as_path()).collect();
        assert_eq!(videos, [folder.path().join("a/x.gif"), folder.path().join("b/x.gif")]);
        assert_eq!(all.entries[0].references, [folder.path().join("a/me.jpg")]);
        assert_eq!(all.entries[1].references, [PathBuf::from("/photos/me.jpg")]);
        assert_eq!(all.place(1), format!("{}:1", paths[1].display()));
        let twice = [paths[0].clone(), paths[0].clone()];
        let message = Manifest::read_all(&twice).expect_err("the same video").to_string();
        assert!(message.contains("line 1: the video of another manifest again"), "{message}");
    }

    #[test]
    fn wrong_lines_are_named() {
        for (text, parts) in [
            ("{\"video\":\"a.gif\"}\n{\"vidio\":\"b.gif\"}", ["line 2: unknown field `vidio`", "set.jsonl"]),
            ("\n{\"video\":\"a.gif\"", ["line 2: EOF", "at column 16"]),
            ("{\"video\":\"a.gif\"}\n\n{\"video\":\"a.gif\"}", ["line 3", "the video of line 1 again"]),
            ("{\"video\":\"a.gif\",\"seed\":-1}", ["line 1", "-1"]),
            ("{\"prompt\":\"a man\"}", ["line 1", "missing field `video`"]),
            ("  \n", ["there is no line in it", "set.jsonl"]),
        ] {
            let message = manifest(text).expect_err(text).to_string();
            assert!(parts.iter().all(|part| message.contains(part)), "{text:?}: {message}");
        }
    }

    #[test]
    fn a_folder_pairs_videos_with_the_longest_name() {
        let folder = tempfile::tempdir().expect("a folder");
        let root = folder.path().join("set");
        for name in [
            "ada.jpg",
            "ada_2.png",
            "ada_1.mp4",
            "ada_2_x.gif",
            "adam.gif",
            "b/ada.mp4",
            "b/ada_3/0.png",
            "references/bo/1.jpg",
        ] {
            let path = root.join(name);
            fs::create_dir_all(parent(&path)).expect("a folder");
            fs::write(&path, "").expect("written");
        }
        fs::write(root.join("ada_1.mp4.json"), "{\"settings\":{\"prompt\":\"a woman\",\"seed\":3,\"steps\":1}}")
            .expect("written");
        let read = Manifest::read(&root).expect("videos");
        let seen: Vec<(&str, &str, &str)> = read
            .entries
            .iter()
            .map(|entry| (entry.video.to_str().unwrap_or(""), entry.model.as_str(), entry.identity.as_str()))
            .collect();
        assert_eq!(
            seen,
            [
                ("ada_1.mp4", "set", "ada"),
                ("ada_2_x.gif", "set", "ada_2"),
                ("adam.gif", "set", ""),
                ("b/ada.mp4", "b", "ada"),
                ("b/ada_3", "b", "ada"),
            ]
        );
        assert_eq!((read.entries[0].prompt.as_deref(), read.entries[0].seed), (Some("a woman"), Some(3)));
        assert_eq!(read.entries[1].references, [PathBuf::from("ada_2.png")]);
    }
}
