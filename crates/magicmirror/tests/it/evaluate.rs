//! `evaluate`: from videos and photos to numbers, tables and a page.

use std::fs;
use std::time::SystemTime;

use image::imageops::{self, FilterType};
use image::{Rgb, RgbImage};
use serde_json::Value;

use crate::lab::Lab;

/// The portrait, and somebody who is not quite the same.
fn write_people(lab: &Lab) -> RgbImage {
    let portrait = imageops::crop_imm(&lab.astronaut(), 130, 10, 200, 200).to_image();
    portrait.save(lab.path("ada.png")).unwrap();
    let wide = imageops::resize(&portrait, 200, 150, FilterType::CatmullRom);
    wide.save(lab.path("bea.png")).unwrap();
    portrait
}

fn write_clip(lab: &Lab, name: &str, frames: &[RgbImage]) {
    fs::create_dir_all(lab.path(name)).unwrap();
    for (index, frame) in frames.iter().enumerate() {
        frame.save(lab.path(&format!("{name}/{index}.png"))).unwrap();
    }
}

fn write_manifest(lab: &Lab, lines: &[&str]) {
    fs::write(lab.path("set.jsonl"), lines.join("\n")).unwrap();
}

fn evaluate(lab: &Lab, options: &[&str]) -> Value {
    lab.run_well(&[&["evaluate", "set.jsonl", "--output", "out/judged"], options].concat());
    lab.json("out/judged/results.json")
}

fn number(result: &Value, name: &str) -> f64 {
    result["metrics"][name].as_f64().unwrap_or_else(|| panic!("{name} in {}", result["metrics"]))
}

fn meadow() -> RgbImage {
    RgbImage::from_pixel(200, 200, Rgb([90, 120, 60]))
}

const ADA: &str =
    r#"{"video":"still","references":["ada.png"],"prompt":"a woman img","model":"a,b <x>","identity":"ada","seed":5}"#;
const BEA: &str = r#"{"video":"wide","references":["bea.png"],"model":"other","identity":"bea"}"#;

#[test]
fn a_video_of_the_reference_scores_one_and_stands_still() {
    let lab = Lab::new();
    let portrait = write_people(&lab);
    write_clip(&lab, "still", &vec![portrait; 3]);
    write_clip(&lab, "wide", &[image::open(lab.path("bea.png")).unwrap().into_rgb8()]);
    write_manifest(&lab, &[ADA, "", BEA]);
    let results = evaluate(&lab, &[]);
    let video = &results["videos"][0];
    for (name, expected) in [
        ("face_found", 1.0),
        ("dlib_cosine", 1.0),
        ("dlib_distance", 0.0),
        ("dlib_same_person", 1.0),
        ("dlib_decay", 0.0),
        ("fm_ref", 0.0),
        ("fm_inter", 0.0),
    ] {
        assert!((number(video, name) - expected).abs() < 1e-4, "{name}: {}", number(video, name));
    }
    assert!(number(video, "dlib_cosine_strangers") < 0.999);
    assert_eq!((video["video"].as_str(), video["seed"].as_u64()), (Some("still"), Some(5)));
    assert_eq!(video["frames"].as_array().unwrap().len(), 3);
    assert_eq!(results["videos"][1]["metrics"]["fm_inter"], Value::Null, "one frame does not move");
    assert_eq!(results["models"][0]["metrics"]["dlib_retrieval_top1"]["mean"], 1.0);
    let absent = results["not_computed"].to_string();
    assert!(["arcface.onnx", "mobilefacenet.safetensors", "facesim_cur"].iter().all(|name| absent.contains(name)));

    let read = |name: &str| fs::read_to_string(lab.path(&format!("out/judged/{name}"))).unwrap();
    let page = read("report.html");
    assert_eq!(page.matches("src=").count(), page.matches("src='data:image/jpeg;base64,").count());
    for reaching in ["href", "<link", "url(", "@import", "fetch(", "<!--"] {
        assert!(!page.contains(reaching), "the page needs nothing else: {reaching}");
    }
    assert!(page.contains("a,b &lt;x&gt;") && !page.contains("<x>"), "names are text");
    assert_eq!(page.matches("<article").count(), 2);
    assert!(read("table.csv").contains("\n\"a,b <x>\",1,0,3,0,1,"), "{}", read("table.csv"));
    assert!(read("table.md").contains("| dlib_cosine ↑ | 1.000 |"), "{}", read("table.md"));
}

#[test]
fn translation_moves_the_face_and_not_its_expression() {
    let lab = Lab::new();
    write_people(&lab);
    let moving: Vec<RgbImage> =
        (0..4).map(|step| imageops::crop_imm(&lab.astronaut(), 130 - 12 * step, 10, 200, 200).to_image()).collect();
    write_clip(&lab, "still", &moving);
    write_manifest(&lab, &[ADA]);
    let video = evaluate(&lab, &[])["videos"][0].clone();
    // Twelve pixels of a diagonal of about 140, five times in the length of all differences.
    let expected = 12.0 * 5f64.sqrt() / 140.0;
    assert!((number(&video, "fm_inter") / expected - 1.0).abs() < 0.15, "{} {expected}", number(&video, "fm_inter"));
    // The detector is a pixel or two off. If position counted, it would be 18 pixels of 87, five times: 0.46.
    assert!(number(&video, "fm_ref") < 0.1, "{}", number(&video, "fm_ref"));
    let strided = evaluate(&lab, &["--frame-stride", "3"])["videos"][0].clone();
    assert_eq!(strided["frames"][1]["frame"], 3);
    assert!(number(&strided, "fm_inter") > 2.5 * number(&video, "fm_inter"));
}

#[test]
fn videos_without_a_face_are_counted() {
    let lab = Lab::new();
    let portrait = write_people(&lab);
    write_clip(&lab, "still", &[portrait, meadow()]);
    write_clip(&lab, "wide", &[meadow(), meadow()]);
    write_manifest(&lab, &[ADA, &BEA.replace("other", "a,b <x>")]);
    let results = evaluate(&lab, &[]);
    assert_eq!(results["videos"][1]["metrics"]["dlib_cosine"], Value::Null);
    assert_eq!(results["videos"][1]["metrics"]["dlib_cosine_all_frames"], 0.0);
    let model = &results["models"][0];
    assert_eq!((model["videos_without_face"].as_u64(), model["frames_without_face"].as_u64()), (Some(1), Some(3)));
    assert_eq!(model["metrics"]["dlib_cosine"]["videos"], 1);
    assert_eq!(model["metrics"]["face_found"]["mean"], 0.25);
    assert_eq!(model["metrics"]["dlib_retrieval_top1"]["mean"], 0.5, "no face is a miss");
    for file in ["report.html", "table.md"] {
        let text = fs::read_to_string(lab.path(&format!("out/judged/{file}"))).unwrap();
        assert!(text.contains("1 of 2 videos and 3 of 4 sampled frames show no face"), "{file}");
    }
}

#[test]
fn what_was_measured_is_not_measured_again() {
    let lab = Lab::new();
    let portrait = write_people(&lab);
    write_clip(&lab, "still", &[portrait]);
    fs::write(lab.path("wide"), "no video").unwrap();
    write_manifest(&lab, &[ADA, BEA]);
    let ran = lab.run(&["evaluate", "set.jsonl", "--output", "out/judged"]);
    assert_eq!(ran.code, Some(2));
    for part in ["1 of 2 videos cannot be judged", "set.jsonl:2: ", "wide", "hint: mend or remove them"] {
        assert!(ran.stderr.contains(part), "{part}: {}", ran.stderr);
    }
    assert_eq!(lab.names_in("out/judged"), ["cache"], "no half results");
    let kept = lab.names_in("out/judged/cache");
    assert_eq!(kept.len(), 5, "two photos, one video, its backdrop and its action");
    let times = |names: &[String]| -> Vec<SystemTime> {
        let time =
            |name: &String| fs::metadata(lab.path(&format!("out/judged/cache/{name}"))).unwrap().modified().unwrap();
        names.iter().map(time).collect()
    };
    let before = times(&kept);

    fs::remove_file(lab.path("wide")).unwrap();
    write_clip(&lab, "wide", &[meadow()]);
    let results = evaluate(&lab, &["--jobs", "2"]);
    assert_eq!(lab.names_in("out/judged/cache").len(), 8);
    assert_eq!(times(&kept), before);
    fs::remove_dir_all(lab.path("out/judged")).unwrap();
    assert_eq!(evaluate(&lab, &[]), results, "in one go, one after the other");
}

#[test]
fn a_folder_is_a_manifest() {
    let lab = Lab::new();
    let portrait = write_people(&lab);
    fs::create_dir(lab.path("set")).unwrap();
    fs::rename(lab.path("ada.png"), lab.path("set/ada.png")).unwrap();
    write_clip(&lab, "set/ours/ada_1", &[portrait]);
    lab.run_well(&["evaluate", "set", "--output", "out/judged"]);
    let video = lab.json("out/judged/results.json")["videos"][0].clone();
    assert_eq!((video["model"].as_str(), video["identity"].as_str()), (Some("ours"), Some("ada")));
    assert!(number(&video, "dlib_cosine") > 0.9999);
}

#[test]
fn held_out_people_are_drawn_generated_and_judged() {
    let lab = Lab::new();
    let data =
        ["data", "people", "--output", "data", "--pairs", "7", "--clips", "0", "--identities", "14", "--test", "0.1"];
    lab.run_well(&[&data[..], &["--validation", "0"]].concat());
    let people =
        ["evaluate", "people", "--data", "data", "--backbone", "backbone", "--output", "people", "--identities", "2"];
    lab.run_well(&[&people[..], &["--seed", "5"]].concat());
    let lines = |name: &str| -> Vec<Value> {
        let text = fs::read_to_string(lab.path(name)).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    let (truth, to_make) = (lines("people/truth.jsonl"), lines("people/manifest.jsonl"));
    assert_eq!((truth.len(), to_make.len()), (8, 8));
    let frames = lab.names_in("people/truth/0-1");
    assert_eq!(frames.len(), 17);
    let frame = |model: &str| image::open(lab.path(&format!("people/{model}/0-1/{}", frames[0]))).unwrap().into_rgb8();
    assert_eq!(frame("truth").dimensions(), (144, 96), "the backbone's size");
    assert!(frame("truth") != frame("truth-vae"));
    for (ours, plain) in to_make.chunks(2).map(|lines| (&lines[0], &lines[1])) {
        let prompt = ours["prompt"].as_str().unwrap();
        assert!(prompt.contains(" img"), "{prompt}");
        assert_eq!(plain["prompt"].as_str().unwrap(), prompt.replace(" img", ""));
        assert_eq!((&ours["identity"], &ours["seed"]), (&plain["identity"], &plain["seed"]));
        assert!(lab.path("people").join(ours["references"][0].as_str().unwrap()).is_file());
        assert_eq!(plain["references"], Value::from(Vec::<String>::new()));
    }

    let short =
        ["--manifest", "people/manifest.jsonl", "--frames", "5", "--height", "32", "--width", "48", "--steps", "1"];
    let model = ["generate", "--backbone", "backbone", "--adapter", "adapter", "--output", "videos"];
    lab.run_well(&[&model[..], &short].concat());
    let judge =
        ["evaluate", "people/truth.jsonl", "videos/manifest.jsonl", "--output", "out/judged", "--frame-stride", "8"];
    lab.run_well(&[&judge[..], &["--relative-to", "truth", "--sheets"]].concat());
    let results = lab.json("out/judged/results.json");
    let models: Vec<&Value> = results["models"].as_array().unwrap().iter().map(|model| &model["model"]).collect();
    assert_eq!(models, ["truth", "truth-vae", "magicmirror", "backbone"]);
    let of_truth = &results["models"][0]["metrics"];
    assert_eq!(of_truth["backdrop_colour"]["mean"], 1.0, "drawn walls have their colour");
    assert_eq!(of_truth["backdrop_colour"]["videos"], 2, "every other prompt names it");
    assert!(of_truth["dlib_gap"]["mean"].as_f64().unwrap() > 0.02, "{of_truth}");
    let relative = &results["relative"][0];
    assert_eq!((&relative["to"], relative["models"].as_object().unwrap().len()), (&Value::from("truth"), 3));
    let of_noise = &relative["models"]["magicmirror"]["dlib_gap"];
    assert_eq!((&of_noise["mean"], &of_noise["videos"]), (&Value::from(0.0), &Value::from(4)), "noise shows nobody");
    let table = fs::read_to_string(lab.path("out/judged/table.md")).unwrap();
    assert!(table.contains("\n| by truth | backbone | magicmirror | truth-vae |\n"), "{table}");
    assert_eq!(lab.names_in("out/judged/sheets"), ["1-1.png", "2-1.png", "3-1.png", "4-1.png"]);

    for (changes, says) in [
        (&["--identities", "8"][..], "be from 1 to 7, the people of the data set's test split"),
        (&["--clips", "9"], "--clips is 9"),
        (&["--model", "truth"], "this name is taken"),
        (&["--data", "backbone"], "there is no dataset.json"),
    ] {
        let usual = people.chunks(2).filter(|pair| !changes.contains(&pair[0])).flatten().copied();
        let ran = lab.run(&usual.chain(changes.iter().copied()).collect::<Vec<_>>());
        assert_eq!(ran.code, Some(2), "{changes:?}: {}", ran.stderr);
        assert!(ran.stderr.contains(says), "{changes:?}: {}", ran.stderr);
    }
    let ran = lab.run(&[&judge[..], &["--relative-to", "nobody"]].concat());
    assert!(ran.code == Some(2) && ran.stderr.contains("--relative-to nobody"), "{}", ran.stderr);
}

struct Case {
    lines: &'static str,
    options: &'static [&'static str],
    message: &'static [&'static str],
}

#[test]
fn bad_input_is_told() {
    let lab = Lab::new();
    let portrait = write_people(&lab);
    write_clip(&lab, "still", &[portrait]);
    meadow().save(lab.path("meadow.png")).unwrap();
    fs::create_dir(lab.path("empty")).unwrap();
    fs::write(lab.path("nothing.gif"), "").unwrap();
    let cases = [
        Case { lines: "{\"video\":\"still\"}\n{", options: &[], message: &["line 2", "set.jsonl"] },
        Case { lines: "{\"video\":\"gone.mp4\"}", options: &[], message: &["line 1: there is no video at gone.mp4"] },
        Case {
            lines: "\n{\"video\":\"still\",\"references\":[\"gone.png\"]}",
            options: &[],
            message: &["line 2: there is no reference photo at gone.png"],
        },
        Case {
            lines: "{\"video\":\"still\",\"references\":[\"meadow.png\"]}",
            options: &[],
            message: &["no face found in: meadow.png"],
        },
        Case { lines: "{\"video\":\"empty\"}", options: &[], message: &["set.jsonl:1", "no video frames in: empty"] },
        Case { lines: "{\"video\":\"nothing.gif\"}", options: &[], message: &["set.jsonl:1", "nothing.gif"] },
        Case { lines: ADA, options: &["--frame-stride", "0"], message: &["--frame-stride is 0"] },
        Case { lines: ADA, options: &["--recogniser", "ada.png"], message: &["ada.png"] },
        Case { lines: ADA, options: &["--weights", "gone"], message: &["gone", "--weights"] },
        Case { lines: ADA, options: &["--output", "ada.png"], message: &["ada.png"] },
    ];
    for case in cases {
        write_manifest(&lab, &[case.lines]);
        let output = if case.options.contains(&"--output") { &[][..] } else { &["--output", "out/judged"] };
        let ran = lab.run(&[&["evaluate", "set.jsonl"], output, case.options].concat());
        assert_eq!(ran.code, Some(2), "{}: {}", case.lines, ran.stderr);
        for part in case.message {
            assert!(ran.stderr.contains(part), "{}: {part} in {}", case.lines, ran.stderr);
        }
        assert!(!lab.path("out/judged/results.json").exists());
    }
}
