//! Ctrl-C.
#![cfg(unix)]

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime};

use image::{Rgb, imageops};

use crate::lab::{Lab, generate};

#[test]
fn ctrl_c_stops_a_long_run_and_leaves_nothing() {
    let lab = Lab::new();
    // The shipped model is unpacked to a temporary folder, which must go, too.
    let args = generate(&["--backbone", "-", "--steps", "1000", "--tensors", "out/tensors.safetensors"]);
    let mut child = lab.command(&args).stderr(Stdio::piped()).spawn().unwrap();
    let mut stderr = BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap);
    assert!(stderr.any(|line| line.starts_with("loading transformer")), "it ended before the first step");
    assert!(!lab.names_in("tmp").is_empty());
    let killed = Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(killed.success());
    let rest: Vec<String> = stderr.collect();
    assert_eq!(child.wait().unwrap().code(), Some(130), "{rest:?}");
    assert!(rest.iter().any(|line| line == "error: stopped: nothing was written"), "{rest:?}");
    assert_eq!(lab.names_in("out"), [""; 0]);
    assert_eq!(lab.names_in("tmp"), [""; 0]);
}

/// What was judged until then is kept, and the next run takes it from there.
#[test]
fn ctrl_c_stops_evaluate_which_goes_on_later() {
    let lab = Lab::new();
    let portrait = imageops::crop_imm(&lab.astronaut(), 130, 10, 200, 200).to_image();
    portrait.save(lab.path("ada.png")).unwrap();
    let mut lines = Vec::new();
    for video in 0..40u8 {
        fs::create_dir(lab.path(&format!("{video}"))).unwrap();
        for frame in 0..4 {
            let mut picture = portrait.clone();
            picture.put_pixel(0, 0, Rgb([video, frame, 0]));
            picture.save(lab.path(&format!("{video}/{frame}.png"))).unwrap();
        }
        lines.push(format!(r#"{{"video":"{video}","references":["ada.png"],"model":"m","identity":"ada"}}"#));
    }
    fs::write(lab.path("set.jsonl"), lines.join("\n")).unwrap();
    let run = ["evaluate", "set.jsonl", "--output", "out/judged"];
    let mut child = lab.command(&run).stderr(Stdio::piped()).spawn().unwrap();
    let mut stderr = BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap);
    assert!(stderr.any(|line| line.starts_with("reading faces")), "it ended before the first video");
    // The photo is the first that is kept.
    while lab.names_in("out/judged/cache").len() < 2 {
        assert_eq!(child.try_wait().unwrap(), None);
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    let rest: Vec<String> = stderr.collect();
    assert_eq!(child.wait().unwrap().code(), Some(130), "{rest:?}");
    assert_eq!(lab.names_in("out/judged"), ["cache"], "no half results");
    let kept = lab.names_in("out/judged/cache");
    // The photo, then of each video its faces, its backdrop and its action.
    let all = 1 + 3 * 40;
    assert!(kept.len() < all, "it was stopped at the end");
    let written =
        |name: &String| fs::metadata(lab.path(&format!("out/judged/cache/{name}"))).unwrap().modified().unwrap();
    let before: Vec<SystemTime> = kept.iter().map(written).collect();
    lab.run_well(&run);
    assert_eq!(lab.names_in("out/judged/cache").len(), all);
    assert_eq!(kept.iter().map(written).collect::<Vec<_>>(), before, "measured again");
}
