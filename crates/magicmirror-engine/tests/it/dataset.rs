//! Data sets of people: made, read back, damaged, gone on with.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::num::NonZero;
use std::path::Path;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicBool, Ordering};

use magicmirror_engine::dataset::{
    Dataset, DatasetError, Kind, Layout, Machine, MakeRequest, Recipe, Split, inspect, make_people,
};
use magicmirror_engine::{Control, EngineError, Event};
use magicmirror_people::graph::Choices;
use magicmirror_people::scene::Size;
use tempfile::TempDir;

fn recipe() -> Recipe {
    Recipe {
        generator: "test".into(),
        seed: 5,
        identities: 21,
        pairs: 6,
        clips: 3,
        size: Size { width: 48, height: 32 },
        reference_size: 64,
        frames: 5,
        fps: 8.0,
        choices: Choices::default(),
        validation: 0.2,
        test: 0.2,
        samples_per_shard: 2,
        layout: Layout::Webdataset,
    }
}

fn request(output: &Path) -> MakeRequest {
    MakeRequest { recipe: recipe(), output: output.to_owned(), workers: NonZero::new(2), machine: Machine::ALONE }
}

fn make(request: &MakeRequest) -> Result<Vec<String>, EngineError> {
    let mut warnings = Vec::new();
    let mut listener = |event| {
        if let Event::Warning(message) = event {
            warnings.push(message);
        }
    };
    make_people(request, &mut Control::new(&mut listener, &AtomicBool::new(false)))?;
    Ok(warnings)
}

/// A data set that is only read.
fn base() -> &'static Path {
    static BASE: LazyLock<TempDir> = LazyLock::new(|| {
        let folder = tempfile::tempdir().unwrap();
        make(&request(folder.path())).unwrap();
        folder
    });
    BASE.path()
}

/// A copy of it, to be damaged.
fn copy() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, bytes) in files(base()) {
        fs::write(folder.path().join(name), bytes).unwrap();
    }
    folder
}

/// Every file below a folder but the contact sheets, which show what there was at the time.
fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        if path.is_dir() {
            files.extend(self::files(&path).into_iter().map(|(inner, bytes)| (format!("{name}/{inner}"), bytes)));
        } else if !name.starts_with("contact-sheet") {
            files.insert(name, fs::read(path).unwrap());
        }
    }
    files
}

fn is_tar(name: &str) -> bool {
    Path::new(name).extension().is_some_and(|extension| extension == "tar")
}

#[test]
fn the_same_bytes_come_from_any_number_of_workers_and_machines() {
    let [one, parts, other] = [(); 3].map(|()| tempfile::tempdir().unwrap());
    make(&MakeRequest { workers: NonZero::new(1), ..request(one.path()) }).unwrap();
    for index in [2, 0, 1] {
        let machine = Machine { index, of: 3 };
        make(&MakeRequest { machine, workers: NonZero::new(4), ..request(parts.path()) }).unwrap();
        assert!(parts.path().join(format!("contact-sheet-{index}-of-3.png")).is_file());
    }
    let files = [base(), one.path(), parts.path()].map(files);
    assert_eq!(files[0].len(), 1 + 2 * recipe().shards().len());
    assert!(files[0] == files[1], "1 and 2 workers");
    assert!(files[0] == files[2], "1 and 3 machines");
    let machine = Machine { index: 0, of: recipe().shards().len() };
    make(&MakeRequest { recipe: Recipe { seed: 6, ..recipe() }, machine, ..request(other.path()) }).unwrap();
    assert!(self::files(other.path())["train-pair-00000.tar"] != files[0]["train-pair-00000.tar"]);
}

#[test]
fn a_folder_holds_what_a_tar_file_holds() {
    let folder = tempfile::tempdir().unwrap();
    let again = || {
        let recipe = Recipe { layout: Layout::Folder, ..recipe() };
        make(&MakeRequest { recipe, ..request(folder.path()) }).unwrap()
    };
    again();
    let unpacked = files(folder.path());
    let mut count = 0;
    for (shard, bytes) in files(base()).iter().filter(|(name, _)| is_tar(name)) {
        for entry in tar::Archive::new(&bytes[..]).entries().unwrap() {
            let mut entry = entry.unwrap();
            let name = format!("{}/{}", shard.trim_end_matches(".tar"), entry.path().unwrap().display());
            let mut bytes = Vec::new();
            std::io::copy(&mut entry, &mut bytes).unwrap();
            assert!(unpacked[&name] == bytes, "{name}");
            count += 1;
        }
    }
    assert_eq!(unpacked.keys().filter(|name| name.contains('/')).count(), count);
    assert!(again().is_empty());
    fs::write(folder.path().join("train-pair-00000/train-pair-0000001.txt"), "a man img").unwrap();
    assert_eq!(again().len(), 1);
    assert!(files(folder.path()) == unpacked);
}

#[test]
fn what_is_read_is_what_is_true() {
    let dataset = Dataset::open(base()).unwrap();
    let mut identities: BTreeMap<Split, BTreeSet<u64>> = BTreeMap::new();
    for (kind, split) in Kind::ALL.into_iter().flat_map(|kind| Split::ALL.map(|split| (kind, split))) {
        let samples = dataset.samples(kind, split).unwrap();
        assert_eq!(samples.len() as u64, recipe().count(kind, split), "{kind:?} {split:?}");
        for (index, sample) in samples.iter().enumerate() {
            let sample = sample.unwrap();
            let truth = &sample.metadata;
            assert_eq!((truth.kind, truth.split, truth.index, truth.synthetic), (kind, split, index as u64, true));
            assert_eq!(recipe().split(truth.identity.number), split);
            identities.entry(split).or_default().insert(truth.identity.number);
            let class_word = format!("{} img", truth.identity.group.class_word());
            assert!(truth.caption.contains(&class_word), "{}", truth.caption);
            assert_eq!(sample.frames.len(), if kind == Kind::Pair { 1 } else { 5 });
            assert!((1..=4).contains(&sample.references.len()));
            for reference in &truth.references {
                assert!(reference.key_frame < sample.frames.len());
                assert_ne!(reference.scene.background.place, truth.scene.background.place);
            }
            let truths = truth.frames.iter().chain(truth.references.iter().map(|reference| &reference.truth));
            for (truth, picture) in truths.zip(sample.frames.iter().chain(&sample.references)) {
                assert_eq!(truth.mask.size, [picture.height() as usize, picture.width() as usize]);
                let mask = truth.mask.to_coverage().unwrap();
                let [left, top, right, bottom] = truth.face_box;
                let inside = (0..mask.len()).filter(|&pixel| mask[pixel] > 0);
                let (width, mut area) = (picture.width() as usize, 0);
                for pixel in inside {
                    let (x, y) = ((pixel % width) as f32 + 0.5, (pixel / width) as f32 + 0.5);
                    assert!(
                        x > left - 1.5 && x < right + 1.5 && y > top - 1.5 && y < bottom + 1.5,
                        "{x} {y} outside {:?}, person {}",
                        truth.face_box,
                        sample.metadata.identity.number
                    );
                    area += 1;
                }
                let share = area as f32 / ((right - left) * (bottom - top));
                assert!((0.2..=1.0).contains(&share), "{share} of the face's box is face");
                assert!(truth.landmarks.iter().all(|[x, y]| (left..right).contains(x) && (top..bottom).contains(y)));
            }
        }
    }
    let all: usize = identities.values().map(BTreeSet::len).sum();
    assert_eq!(all, identities.values().flatten().collect::<BTreeSet<_>>().len(), "no identity is in two splits");
}

#[test]
fn damaged_shards_are_found_and_made_anew() {
    let folder = copy();
    let before = files(folder.path());
    let path = |name: &str| folder.path().join(name);
    let names: Vec<&String> = before.keys().filter(|name| is_tar(name)).collect();
    let cut = &before[names[0]];
    fs::write(path(names[0]), &cut[..cut.len() / 2]).unwrap();
    let mut flipped = before[names[1]].clone();
    flipped[700] ^= 1;
    fs::write(path(names[1]), flipped).unwrap();
    fs::remove_file(path(&names[2].replace(".tar", ".json"))).unwrap();
    fs::write(path(&names[3].replace(".tar", ".json")), "{").unwrap();
    fs::remove_file(path(names[4])).unwrap();
    for name in ["train-pair-00000.tar", names[0]] {
        // A cut file is an error that names it, not a panic or a short data set.
        let dataset = Dataset::open(folder.path()).unwrap();
        let broken = dataset.shards().into_iter().find(|plan| *name == plan.name() + ".tar").unwrap();
        if let Err(error) = dataset.samples_of(&broken) {
            assert!(matches!(error, DatasetError::Shard { .. }) && error.to_string().contains(name), "{error}");
        }
    }
    let inspection = inspect(folder.path(), &mut Control::new(&mut |_| {}, &AtomicBool::new(false))).unwrap();
    assert_eq!((inspection.problems.len(), inspection.shards), (5, names.len() - 5), "{:?}", inspection.problems);
    let warnings = make(&request(folder.path())).unwrap();
    assert_eq!(warnings.len(), 5, "{warnings:?}");
    assert!(files(folder.path()) == before);
    assert!(make(&request(folder.path())).unwrap().is_empty());
}

#[test]
fn a_broken_sample_is_an_error_and_the_others_are_read() {
    let folder = tempfile::tempdir().unwrap();
    let recipe = Recipe {
        layout: Layout::Folder,
        clips: 0,
        identities: 7,
        pairs: 4,
        test: 0.0,
        validation: 0.0,
        samples_per_shard: 4,
        ..recipe()
    };
    make(&MakeRequest { recipe, ..request(folder.path()) }).unwrap();
    let file = |name: &str| folder.path().join("train-pair-00000").join(name);
    fs::write(file("train-pair-0000000.png"), "not a picture").unwrap();
    fs::remove_file(file("train-pair-0000001.reference0.png")).unwrap();
    fs::write(file("train-pair-0000002.json"), "{}").unwrap();
    let samples = Dataset::open(folder.path()).unwrap().samples(Kind::Pair, Split::Train).unwrap();
    let results: Vec<_> = samples.iter().collect();
    for (index, part) in [(0, "train-pair-0000000"), (1, "it has no reference0.png"), (2, "its JSON")] {
        let error = results[index].as_ref().unwrap_err().to_string();
        assert!(error.contains(part), "{error}");
    }
    assert!(results.len() == 4 && results[3].is_ok());
}

#[test]
fn a_run_that_is_asked_to_stop_leaves_whole_shards_and_can_go_on() {
    let folder = tempfile::tempdir().unwrap();
    let cancelled = AtomicBool::new(false);
    let mut listener = |event| {
        if let Event::Advanced { done, .. } = event
            && done > 5.0
        {
            cancelled.store(true, Ordering::Relaxed);
        }
    };
    let result = make_people(&request(folder.path()), &mut Control::new(&mut listener, &cancelled));
    let Err(EngineError::Dataset(DatasetError::Stopped { whole: finished, all })) = result else {
        panic!("{result:?}");
    };
    assert_eq!(all, recipe().shards().len());
    // Their records, and the recipe.
    assert_eq!(files(folder.path()).len(), 1 + 2 * finished);
    assert!((1..all).contains(&finished));
    assert!(make(&request(folder.path())).unwrap().is_empty());
    assert!(files(folder.path()) == files(base()));
}
