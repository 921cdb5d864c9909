//! The paper's set of videos to make (appendix A.2): people of seven groups, four prompts of VBench for each.
//!
//! The paper takes its 77 single-person prompts from VBench's list after a language model had written them longer; which
//! these were is not known. Here the choice is made from VBench's own short prompts: those about `a person` alone that do
//! not need a second one, nor undress them. For babies it has four prompts of its own; so have we.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use magicmirror_models::weights::write_aside;
use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use serde::Deserialize;

use super::manifest::{Entry, is_photo, list, stem};
use crate::EngineError;
use crate::files::{ensure_writable, read_text};

/// VBench's single-person prompts (Apache-2.0), in the form of its `VBench_full_info.json`.
const VBENCH: &str = include_str!("../../../../assets/prompts/vbench_single_person.json");

/// What `a person` becomes, by group.
const GROUPS: [(&str, &str); 7] = [
    ("man", "a man"),
    ("woman", "a woman"),
    ("elderly man", "an elderly man"),
    ("elderly woman", "an elderly woman"),
    ("boy", "a boy"),
    ("girl", "a girl"),
    ("baby", "a baby"),
];

/// Prompts about a person that need another, are about somebody else, or undress whoever is meant.
const LEFT_OUT: [&str; 15] = [
    "a person and ",
    "award",
    "baby",
    "bandaging",
    "getting a haircut",
    "hugging",
    "kissing",
    "massaging legs",
    "petting animal",
    "playing chess",
    "rock scissors paper",
    "shaking hands",
    "sword fighting",
    "taking a shower",
    "wrestling",
];

/// What children are not shown doing.
const NOT_FOR_CHILDREN: [&str; 8] = [
    "beer",
    "shaving beard",
    "driving car",
    "motorcycling",
    "sharpening knives",
    "smoking",
    "throwing axe",
    "counting money",
];

/// What a baby does.
const OF_BABIES: [&str; 4] = [
    "a person crawling on a soft carpet in a bright living room",
    "a person sitting on a blanket and laughing, looking into the camera",
    "a person playing with colourful wooden blocks",
    "a person lying on the bed and looking around, in warm morning light",
];

/// Who is to be shown, and how the set is drawn.
#[derive(Debug, Clone)]
pub struct PromptsRequest {
    /// A folder `GROUP/NAME.jpg` or `GROUP/NAME/*.jpg`, or a file of JSON lines `{identity, group, references[]}`.
    pub people: PathBuf,
    /// VBench's `VBench_full_info.json`; by default the prompts that come with the program.
    pub prompts: Option<PathBuf>,
    /// Prompts for each person.
    pub count: usize,
    /// Decides which prompts; the videos' seeds count on from it.
    pub seed: u64,
    /// Name of the model in the manifest.
    pub model: String,
    /// Extension of the videos.
    pub extension: String,
    /// The manifest to write.
    pub output: PathBuf,
}

/// Somebody to be shown.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Person {
    identity: String,
    group: String,
    references: Vec<PathBuf>,
}

/// Writes a manifest for `generate --manifest`; returns how many people and prompts there are.
///
/// # Errors
/// When people or prompts cannot be read, or there are too few prompts for a person.
pub fn write_prompts(request: &PromptsRequest) -> Result<(usize, usize), EngineError> {
    ensure_writable(&request.output)?;
    let people = if request.people.is_dir() { people_in(&request.people)? } else { people_of(&request.people)? };
    let text = request.prompts.as_deref().map(read_text).transpose()?;
    let prompts = single_person(text.as_deref().unwrap_or(VBENCH)).map_err(|reason| EngineError::InvalidFile {
        what: "list of prompts in the form of VBench_full_info.json",
        reason,
        path: request.prompts.clone().unwrap_or_default(),
    })?;
    let entries = draw(request, &people, &prompts)?;
    write_aside(&request.output, entries.iter().map(Entry::to_line).collect::<String>().as_bytes())?;
    Ok((people.len(), entries.len()))
}

/// So many prompts for each person, each prompt as often as any other.
fn draw(request: &PromptsRequest, people: &[Person], prompts: &[String]) -> Result<Vec<Entry>, EngineError> {
    let mut order: Vec<&str> = prompts.iter().map(String::as_str).collect();
    order.shuffle(&mut ChaCha8Rng::seed_from_u64(request.seed));
    let mut used: BTreeMap<&str, usize> = BTreeMap::new();
    let mut entries: Vec<Entry> = Vec::new();
    for person in people {
        let mut suitable: Vec<&str> = match person.group.as_str() {
            "baby" => OF_BABIES.to_vec(),
            group => order.iter().copied().filter(|prompt| is_suitable(prompt, group)).collect(),
        };
        suitable.sort_by_key(|prompt| used.get(prompt).copied().unwrap_or(0));
        if suitable.len() < request.count {
            return Err(EngineError::OutOfRange {
                option: "--per-identity",
                value: request.count.to_string(),
                rule: format!("be at most {}, the number of prompts for the group {}", suitable.len(), person.group),
                hint: "4 is what the paper takes".into(),
            });
        }
        for (number, prompt) in suitable.into_iter().take(request.count).enumerate() {
            *used.entry(prompt).or_default() += 1;
            entries.push(Entry {
                video: format!("{}_{}.{}", person.identity, number + 1, request.extension).into(),
                references: person.references.iter().map(|photo| from_folder_of(&request.output, photo)).collect(),
                prompt: Some(place(prompt, &person.group)),
                model: request.model.clone(),
                identity: person.identity.clone(),
                seed: Some(request.seed + entries.len() as u64),
            });
        }
    }
    Ok(entries)
}

/// The prompts of VBench's file that are about one person, each once.
fn single_person(json: &str) -> Result<Vec<String>, String> {
    #[derive(Deserialize)]
    struct Prompt {
        prompt_en: String,
    }
    let all: Vec<Prompt> = serde_json::from_str(json).map_err(|error| error.to_string())?;
    let mut prompts: Vec<String> = Vec::new();
    for Prompt { prompt_en } in all {
        let lower = prompt_en.to_lowercase();
        if lower.starts_with("a person ")
            && !LEFT_OUT.iter().any(|part| lower.contains(part))
            && !prompts.contains(&prompt_en)
        {
            prompts.push(prompt_en);
        }
    }
    if prompts.is_empty() { Err("no prompt in it is about a single person".into()) } else { Ok(prompts) }
}

fn is_suitable(prompt: &str, group: &str) -> bool {
    let any = |parts: &[&str]| parts.iter().any(|part| prompt.contains(part));
    match group {
        "boy" | "girl" => !any(&NOT_FOR_CHILDREN),
        "woman" | "elderly woman" => !any(&["beard"]),
        _ => true,
    }
}

/// Puts the group's word in the place of `a person`, and the trigger behind it.
fn place(prompt: &str, group: &str) -> String {
    let words = GROUPS.iter().find(|(name, _)| *name == group).map_or("a person", |(_, words)| words);
    let capital = prompt.starts_with('A') || OF_BABIES.contains(&prompt);
    let words = if capital { format!("A{}", &words[1..]) } else { words.to_owned() };
    format!("{words} img{}", &prompt["a person".len()..])
}

/// `GROUP/NAME.jpg` and `GROUP/NAME/*.jpg`.
fn people_in(folder: &Path) -> Result<Vec<Person>, EngineError> {
    let mut people = Vec::new();
    for group in list(folder)?.into_iter().filter(|path| path.is_dir()) {
        let name = known_group(&stem(&group)).map_err(|reason| EngineError::InvalidFile {
            what: "folder of people",
            reason,
            path: group.clone(),
        })?;
        for person in list(&group)? {
            let inside = if person.is_dir() { list(&person)? } else { vec![person.clone()] };
            let references: Vec<PathBuf> = inside.into_iter().filter(|path| is_photo(path)).collect();
            if !references.is_empty() {
                people.push(Person { identity: stem(&person), group: name.to_owned(), references });
            }
        }
    }
    let problem = (people.is_empty()).then(|| "there is no photo GROUP/NAME.jpg in it".to_owned());
    let problem = problem.or_else(|| repeated(&people).map(|name| format!("two people are called {name}")));
    problem.map_or(Ok(people), |reason| {
        Err(EngineError::InvalidFile { what: "folder of people", reason, path: folder.to_owned() })
    })
}

/// One person a line.
fn people_of(file: &Path) -> Result<Vec<Person>, EngineError> {
    let invalid = |reason: String| EngineError::InvalidFile { what: "list of people", reason, path: file.to_owned() };
    let mut people: Vec<Person> = Vec::new();
    for (index, line) in read_text(file)?.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let wrong = |reason: String| invalid(format!("line {}: {reason}", index + 1));
        let mut person: Person = serde_json::from_str(line).map_err(|error| wrong(error.to_string()))?;
        known_group(&person.group).map(str::to_owned).map(|group| person.group = group).map_err(wrong)?;
        if person.identity.is_empty() || person.identity.contains(['/', '\\']) {
            return Err(wrong(format!("not a name for files: {:?}", person.identity)));
        }
        let folder = file.parent().unwrap_or(Path::new(""));
        person.references.iter_mut().for_each(|photo| *photo = folder.join(&*photo));
        match person.references.iter().find(|photo| !photo.is_file()) {
            Some(photo) => return Err(wrong(format!("there is no reference photo at {}", photo.display()))),
            None if person.references.is_empty() => return Err(wrong("there are no reference photos".into())),
            None => people.push(person),
        }
    }
    if people.is_empty() {
        return Err(invalid("there is no line in it".into()));
    }
    repeated(&people).map_or(Ok(()), |name| Err(invalid(format!("two people are called {name}"))))?;
    Ok(people)
}

/// A name that two people have.
fn repeated(people: &[Person]) -> Option<&str> {
    let mut names = std::collections::BTreeSet::new();
    people.iter().map(|person| person.identity.as_str()).find(|name| !names.insert(*name))
}

/// One of the seven, also with `-` or `_` between its words.
fn known_group(name: &str) -> Result<&'static str, String> {
    let name = name.replace(['-', '_'], " ");
    GROUPS
        .iter()
        .map(|(group, _)| *group)
        .find(|group| *group == name)
        .ok_or_else(|| format!("there is no group {name}: man, woman, elderly man, elderly woman, boy, girl, baby"))
}

/// A path from the folder of a file, where it lies below that; else from the root.
fn from_folder_of(file: &Path, path: &Path) -> PathBuf {
    let absolute = |path: &Path| std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let (file, path) = (absolute(file), absolute(path));
    file.parent().and_then(|folder| path.strip_prefix(folder).ok()).map_or(path.clone(), Path::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(count: usize) -> PromptsRequest {
        PromptsRequest {
            people: PathBuf::new(),
            prompts: None,
            count,
            seed: 7,
            model: "ours".into(),
            extension: "mp4".into(),
            output: "/set/list.jsonl".into(),
        }
    }

    fn person(identity: &str, group: &str) -> Person {
        Person { identity: identity.into(), group: group.into(), references: vec!["/set/photos/a.jpg".into()] }
    }

    #[test]
    fn the_class_word_and_the_trigger_are_placed() {
        for (prompt, group, placed) in [
            ("A person is riding a bike", "man", "A man img is riding a bike"),
            ("a person eating a burger", "elderly woman", "an elderly woman img eating a burger"),
            ("A person is riding a bike", "elderly man", "An elderly man img is riding a bike"),
            (OF_BABIES[2], "baby", "A baby img playing with colourful wooden blocks"),
        ] {
            assert_eq!(place(prompt, group), placed);
        }
    }

    #[test]
    fn the_prompts_that_come_with_the_program_are_all_about_one_person() {
        let prompts = single_person(VBENCH).expect("valid");
        let all: Vec<serde_json::Value> = serde_json::from_str(VBENCH).expect("JSON");
        assert_eq!(prompts.len(), all.len(), "nothing in it is left out");
        assert!(prompts.len() >= 77, "as many as the paper's: {}", prompts.len());
    }

    #[test]
    fn everybody_has_different_prompts_and_all_prompts_are_used() {
        let prompts = single_person(VBENCH).expect("valid");
        let people: Vec<Person> = (0..50).map(|index| person(&format!("p{index}"), GROUPS[index % 7].0)).collect();
        let entries = draw(&request(4), &people, &prompts).expect("enough prompts");
        assert_eq!(entries.len(), 200);
        let mut times: BTreeMap<String, usize> = BTreeMap::new();
        for own in entries.chunks(4) {
            let mut different: Vec<_> = own.iter().map(|entry| entry.prompt.clone()).collect();
            different.sort();
            different.dedup();
            assert_eq!(different.len(), 4, "{own:?}");
            for entry in own.iter().filter(|entry| !entry.prompt.as_ref().is_some_and(|p| p.contains("baby"))) {
                let prompt = entry.prompt.as_deref().unwrap_or_default();
                let (_, action) = prompt.split_once(" img").expect("a trigger");
                *times.entry(action.to_owned()).or_default() += 1;
            }
        }
        assert_eq!(times.len(), prompts.len(), "every prompt has its turn");
        assert!(times.values().all(|times| *times <= 3), "{times:?}");
        assert_eq!((entries[5].seed, entries[5].video.to_str()), (Some(12), Some("p1_2.mp4")));
        assert_eq!(entries[5].references, [PathBuf::from("photos/a.jpg")]);
        let boys = entries.iter().filter_map(|e| e.prompt.as_deref()).filter(|prompt| prompt.contains(" boy "));
        assert!(boys.clone().count() > 0 && !boys.into_iter().any(|p| p.contains("smoking") || p.contains("beer")));
    }

    #[test]
    fn too_few_prompts_are_told() {
        let error = draw(&request(5), &[person("kim", "baby")], &[]).expect_err("four are known");
        assert!(error.to_string().contains("at most 4"), "{error}");
    }
}
