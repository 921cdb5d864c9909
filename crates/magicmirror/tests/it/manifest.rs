//! `evaluate prompts` and `generate --manifest`: a set of videos, made in one run.

use std::fs;
use std::time::SystemTime;

use serde_json::Value;

use crate::lab::{Lab, Ran, generate};

const SET: [&str; 3] = [
    r#"{"video":"a.gif","references":["astronaut.png"],"prompt":"a man img walking in the park","identity":"ada","seed":4}"#,
    r#"{"video":"more/b.gif","references":["astronaut.png","astronaut.png"],"prompt":"a woman img smiling"}"#,
    r#"{"video":"c.gif","prompt":"a street in warm light","model":"plain","seed":6}"#,
];

fn write_set(lab: &Lab, lines: &[&str]) {
    fs::write(lab.path("set.jsonl"), lines.join("\n")).unwrap();
}

/// A short generation of the set.
fn arguments(changes: &[&str]) -> Vec<String> {
    let usual = ["--prompt", "-", "--adapter", "adapter", "--manifest", "set.jsonl", "--output", "out/set"];
    generate(&[&usual[..], changes].concat())
}

fn make(lab: &Lab, changes: &[&str]) -> Ran {
    lab.run_well(&arguments(changes))
}

fn modified(lab: &Lab, name: &str) -> SystemTime {
    fs::metadata(lab.path(name)).unwrap().modified().unwrap()
}

/// The tiny model shows no faces, so of equals the first is kept; the line without a photo has nobody to be like.
#[test]
fn candidates_are_made_for_lines_with_photos() {
    let lab = Lab::new();
    write_set(&lab, &[SET[0], SET[2]]);
    make(&lab, &[]);
    let alone = fs::read(lab.path("out/set/a.gif")).unwrap();
    let ran = make(&lab, &["--candidates", "2"]);
    assert!(ran.stderr.contains("no face was found in any of 2 candidates: the first is kept"), "{}", ran.stderr);
    assert!(ran.stderr.contains("candidate 2 of 2"), "{}", ran.stderr);
    assert!(alone == fs::read(lab.path("out/set/a.gif")).unwrap());
    let report = lab.json("out/set/a.gif.json");
    assert_eq!(report["candidates"], serde_json::json!([{"seed": 4, "likeness": -1.0}, {"seed": 5, "likeness": -1.0}]));
    assert!(report["seconds"]["compare_faces"].as_f64().is_some());
    assert_eq!(lab.json("out/set/c.gif.json").get("candidates"), None);

    // What is left to make has no photos, but the set has.
    fs::remove_file(lab.path("out/set/c.gif")).unwrap();
    let ran = make(&lab, &["--candidates", "2"]);
    assert!(ran.stderr.contains("1 videos made, 1 kept"), "{}", ran.stderr);
}

#[test]
fn each_line_gives_the_video_that_it_would_give_alone() {
    let lab = Lab::new();
    write_set(&lab, &SET);
    let ran = make(&lab, &[]);
    assert!(ran.stderr.contains("3 videos made, 0 kept: out/set/manifest.jsonl"), "{}", ran.stderr);
    assert_eq!(ran.stderr.matches("loading transformer").count(), 1, "{}", ran.stderr);
    assert_eq!(lab.names_in("out/set"), ["a.gif", "a.gif.json", "c.gif", "c.gif.json", "manifest.jsonl", "more"]);

    let photo = ["--adapter", "adapter", "--reference", "astronaut.png"];
    for (name, options) in [
        ("a.gif", [&photo[..], &["--seed", "4"]].concat()),
        ("more/b.gif", [&photo[..], &["--reference", "astronaut.png", "--prompt", "a woman img smiling"]].concat()),
        ("c.gif", vec!["--prompt", "a street in warm light", "--seed", "6"]),
    ] {
        lab.run_well(&generate(&[&options[..], &["--output", "out/alone.gif"]].concat()));
        let (alone, together) = (lab.path("out/alone.gif"), lab.path(&format!("out/set/{name}")));
        assert!(fs::read(alone).unwrap() == fs::read(together).unwrap(), "{name}");
        let (alone, together) = (lab.json("out/alone.gif.json"), lab.json(&format!("out/set/{name}.json")));
        assert_eq!(
            (&alone["settings"], &alone["weights_sha256"]["vae"]),
            (&together["settings"], &together["weights_sha256"]["vae"])
        );
        assert_eq!(alone["references"], together["references"]);
        assert!(together["seconds"]["denoise"].as_f64().unwrap() > 0.0);
    }

    let judged = lab.run_well(&["evaluate", "out/set/manifest.jsonl", "--output", "out/judged"]);
    assert!(judged.stderr.contains("3 videos"), "{}", judged.stderr);
    let models: Vec<Value> = lab.json("out/judged/results.json")["models"].as_array().unwrap().clone();
    assert_eq!(models.iter().map(|model| model["model"].as_str().unwrap()).collect::<Vec<_>>(), ["unnamed", "plain"]);
}

#[test]
fn only_what_is_missing_or_was_changed_is_made() {
    let lab = Lab::new();
    write_set(&lab, &SET);
    make(&lab, &[]);
    let before = fs::read(lab.path("out/set/c.gif")).unwrap();
    fs::remove_file(lab.path("out/set/c.gif")).unwrap();
    write_set(&lab, &[SET[0], &SET[1].replace("smiling", "reading"), SET[2]]);
    let (kept, changed) = (modified(&lab, "out/set/a.gif"), modified(&lab, "out/set/more/b.gif"));
    let ran = make(&lab, &[]);
    assert!(ran.stderr.contains("2 videos made, 1 kept"), "{}", ran.stderr);
    assert_eq!(modified(&lab, "out/set/a.gif"), kept);
    assert!(modified(&lab, "out/set/more/b.gif") > changed);
    assert!(fs::read(lab.path("out/set/c.gif")).unwrap() == before);
    let ran = make(&lab, &[]);
    assert!(ran.stderr.contains("0 videos made, 3 kept") && !ran.stderr.contains("loading"), "{}", ran.stderr);
    fs::rename(lab.path("out/set"), lab.path("out/moved")).unwrap();
    let moved: Vec<String> = arguments(&[]).iter().map(|argument| argument.replace("out/set", "out/moved")).collect();
    assert!(lab.run_well(&moved).stderr.contains("0 videos made, 3 kept"));
    fs::rename(lab.path("out/moved"), lab.path("out/set")).unwrap();
    let ran = make(&lab, &["--steps", "3"]);
    assert!(ran.stderr.contains("3 videos made, 0 kept"), "other settings, other videos: {}", ran.stderr);
}

#[test]
fn a_run_that_was_stopped_goes_on_with_what_it_has() {
    let lab = Lab::new();
    write_set(&lab, &SET);
    make(&lab, &[]);
    let expected = fs::read(lab.path("out/set/a.gif")).unwrap();
    fs::remove_dir_all(lab.path("out/set")).unwrap();
    let mut child = lab.command(&arguments(&["--steps", "400"])).stderr(std::process::Stdio::null()).spawn().unwrap();
    let started = std::time::Instant::now();
    let is_latents = |name: &str| name.starts_with("latents-") && name.ends_with(".safetensors");
    let latents = || {
        fs::read_dir(lab.path("out/set/work"))
            .is_ok_and(|files| files.flatten().any(|file| is_latents(&file.file_name().to_string_lossy())))
    };
    while !latents() && started.elapsed().as_secs() < 60 {
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    // No warning at all, as when the power fails.
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(latents() && !lab.path("out/set/a.gif").exists(), "one video is sampled, none is decoded");
    let ran = make(&lab, &["--steps", "400"]);
    assert!(ran.stderr.contains("3 videos made"), "{}", ran.stderr);
    assert!(!ran.stderr.contains("video 1 of 3"), "the first is sampled already: {}", ran.stderr);
    assert!(ran.stderr.contains("video 3 of 3"), "{}", ran.stderr);
    assert!(fs::read(lab.path("out/set/a.gif")).unwrap() != expected, "more steps give another video");
    lab.run_well(&generate(&[
        "--adapter",
        "adapter",
        "--reference",
        "astronaut.png",
        "--seed",
        "4",
        "--steps",
        "400",
        "--output",
        "out/alone.gif",
    ]));
    assert!(fs::read(lab.path("out/set/a.gif")).unwrap() == fs::read(lab.path("out/alone.gif")).unwrap());
}

#[test]
fn lines_that_cannot_be_made_are_told_before_anything_is() {
    let lab = Lab::new();
    for (line, parts) in [
        (r#"{"video":"b.gif"}"#, ["line 2", "there is no prompt"]),
        (r#"{"video":"../b.gif","prompt":"a man"}"#, ["line 2", "not a name within the output folder: ../b.gif"]),
        (r#"{"video":"b.xyz","prompt":"a man"}"#, ["b.xyz", "hint"]),
        (
            r#"{"video":"b.gif","prompt":"a man","references":["gone.png"]}"#,
            ["line 2", "no reference photo at gone.png"],
        ),
        (r#"{"video":"b.gif","prompt":"a tree","references":["astronaut.png"]}"#, ["set.jsonl:2", "a tree"]),
    ] {
        write_set(&lab, &[SET[2], line]);
        let ran = lab.run(&arguments(&[]));
        assert_eq!(ran.code, Some(2), "{line}");
        for part in parts {
            assert!(ran.stderr.contains(part), "{line}: {part} in {}", ran.stderr);
        }
        assert!(!lab.path("out/set/c.gif").exists(), "{line}");
    }
    let both = lab.run(&generate(&["--manifest", "set.jsonl"]));
    assert!(both.code == Some(2) && both.stderr.contains("--manifest"), "{}", both.stderr);
}

#[test]
fn prompts_are_written_for_everybody() {
    let lab = Lab::new();
    for name in ["people/woman/ada.png", "people/elderly-man/bo/1.png", "people/elderly-man/bo/2.png"] {
        fs::create_dir_all(lab.path(name).parent().unwrap()).unwrap();
        fs::copy(lab.path("astronaut.png"), lab.path(name)).unwrap();
    }
    let prompts = ["evaluate", "prompts", "--people", "people", "--output", "set.jsonl", "--extension", "gif"];
    let ran = lab.run_well(&[&prompts[..], &["--seed", "9", "--per-identity", "2"]].concat());
    assert!(ran.stderr.contains("2 people") && ran.stderr.contains("4 videos"), "{}", ran.stderr);
    let text = fs::read_to_string(lab.path("set.jsonl")).unwrap();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let told = |line: &Value| (line["identity"].clone(), line["video"].clone(), line["seed"].clone());
    assert_eq!(told(&lines[0]), ("bo".into(), "bo_1.gif".into(), 9.into()));
    assert_eq!(told(&lines[3]), ("ada".into(), "ada_2.gif".into(), 12.into()));
    assert_eq!(
        lines[0]["references"],
        serde_json::json!(["people/elderly-man/bo/1.png", "people/elderly-man/bo/2.png"])
    );
    assert!(lines[0]["prompt"].as_str().unwrap().to_lowercase().starts_with("an elderly man img "), "{text}");
    assert!(lines[3]["prompt"].as_str().unwrap().to_lowercase().starts_with("a woman img "), "{text}");
    let ran = make(&lab, &["--steps", "1"]);
    assert!(ran.stderr.contains("4 videos made"), "{}", ran.stderr);

    fs::rename(lab.path("people/woman"), lab.path("people/lady")).unwrap();
    let ran = lab.run(&prompts);
    assert!(ran.code == Some(2) && ran.stderr.contains("there is no group lady: man, woman"), "{}", ran.stderr);
    fs::write(lab.path("list.jsonl"), "\n{\"identity\":\"x\",\"group\":\"boy\",\"references\":[\"gone.png\"]}")
        .unwrap();
    let ran = lab.run(&["evaluate", "prompts", "--people", "list.jsonl", "--output", "set.jsonl"]);
    assert!(
        ran.code == Some(2) && ran.stderr.contains("line 2: there is no reference photo at gone.png"),
        "{}",
        ran.stderr
    );
}
