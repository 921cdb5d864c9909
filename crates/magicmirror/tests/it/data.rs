//! `data`: making people, and looking into data sets.

use std::process::Command;

use serde_json::Value;

use crate::lab::{Lab, Ran};

/// Arguments that make a small data set in `out/people`, with these in place of or beside the usual ones.
fn people(changes: &[&str]) -> Vec<String> {
    let usual = [
        ("--output", "out/people"),
        ("--pairs", "4"),
        ("--clips", "1"),
        ("--identities", "7"),
        ("--size", "48x32"),
        ("--reference-size", "64"),
        ("--frames", "5"),
        ("--validation", "0"),
        ("--test", "0"),
        ("--per-shard", "2"),
    ];
    let mut args = vec!["data".to_owned(), "people".to_owned()];
    for (option, value) in usual.iter().filter(|(option, _)| !changes.contains(option)) {
        args.extend([(*option).to_owned(), (*value).to_owned()]);
    }
    args.extend(changes.iter().map(|change| (*change).to_owned()));
    args
}

const FILES: [&str; 8] = [
    "contact-sheet.png",
    "dataset.json",
    "train-clip-00000.json",
    "train-clip-00000.tar",
    "train-pair-00000.json",
    "train-pair-00000.tar",
    "train-pair-00001.json",
    "train-pair-00001.tar",
];

#[test]
fn a_data_set_is_made_gone_on_with_and_inspected() {
    let lab = Lab::new();
    let ran = lab.run_well(&people(&[]));
    assert!(ran.stderr.contains("out/people: 5 samples in 3 new shards"), "{}", ran.stderr);
    assert_eq!(ran.stdout, "");
    assert_eq!(lab.names_in("out/people"), FILES);
    let sheet = image::open(lab.path("out/people/contact-sheet.png")).unwrap();
    assert!(sheet.width() > 200 && sheet.height() > 60);

    let text = lab.run_well(&["data", "inspect", "out/people"]).stdout;
    for part in
        ["48x32, clips of 5 frames at 8 fps, seed 0", "3 shards", "train: 4 pairs, 1 clips of 4 people", "  group: "]
    {
        assert!(text.contains(part), "{part}: {text}");
    }
    let args = ["data", "inspect", "out/people", "--json", "--output", "out/sheet.png"];
    let inspection: Value = serde_json::from_str(&lab.run_well(&args).stdout).unwrap();
    assert_eq!(inspection["splits"]["train"]["pairs"], 4);
    assert_eq!(inspection["balance"]["group"]["man"], 2);
    assert!(lab.path("out/sheet.png").is_file());

    let shard = lab.path("out/people/train-pair-00001.tar");
    let before = std::fs::read(&shard).unwrap();
    std::fs::write(&shard, &before[..before.len() / 2]).unwrap();
    let ran = lab.run(&["data", "inspect", "out/people"]);
    assert_eq!(ran.code, Some(2));
    assert!(ran.stderr.contains("shard train-pair-00001: it is not as it was written"), "{}", ran.stderr);
    let ran = lab.run_well(&people(&[]));
    for part in ["warning: made anew", "train-pair-00001.tar", "2 of 3 shards are there already", "in 1 new shards"] {
        assert!(ran.stderr.contains(part), "{part}: {}", ran.stderr);
    }
    assert!(std::fs::read(&shard).unwrap() == before);
    let ran = lab.run_well(&people(&[]));
    assert!(ran.stderr.contains("nothing to make, all 3 shards are whole"), "{}", ran.stderr);
}

#[test]
fn what_cannot_be_made_is_refused_before_anything_is_written() {
    let lab = Lab::new();
    std::fs::write(lab.path("file"), "").unwrap();
    let cases: [(&[&str], &[&str]); 15] = [
        (&["--size", "100x96"], &["--size is 100x96", "the nearest valid size is 96x96"]),
        (&["--size", "96"], &["must be WxH"]),
        (&["--frames", "16"], &["--frames is 16", "the nearest valid number is 17"]),
        (&["--pairs", "0", "--clips", "0"], &["--pairs and --clips are both 0"]),
        (&["--action", "dance"], &["must be one of hold_still", "wink"]),
        (&["--lighting", "dark"], &["must be one of soft_daylight", "neon"]),
        (&["--clips", "0", "--camera", "still"], &["--action and --camera are for clips"]),
        (&["--validation", "0.5", "--test", "0.5"], &["both together below 1"]),
        (&["--validation", "1.5"], &["--validation is 1.5"]),
        (&["--identities", "0"], &["--identities is 0"]),
        (&["--workers", "0"], &["--workers"]),
        (&["--shard", "2/2"], &["must be i/n"]),
        (&["--per-shard", "0"], &["--per-shard is 0"]),
        (&["--output", "file"], &["cannot write: file"]),
        (&["--output", "."], &["holds other things already"]),
    ];
    for (changes, says) in cases {
        let ran = lab.run(&people(changes));
        assert_eq!(ran.code, Some(2), "{changes:?}: {}", ran.stderr);
        for part in says {
            assert!(ran.stderr.contains(part), "{changes:?} does not say {part:?}: {}", ran.stderr);
        }
        assert_eq!(lab.names_in("out"), [""; 0], "{changes:?}");
    }
    assert!(!lab.path("dataset.json").exists());
    let ran = lab.run(&["data", "inspect", "backbone"]);
    assert!(ran.code == Some(2) && ran.stderr.contains("there is no dataset.json"), "{}", ran.stderr);
}

#[test]
fn other_settings_do_not_mix() {
    let lab = Lab::new();
    lab.run_well(&people(&["--pairs", "2", "--clips", "0"]));
    let before = std::fs::read(lab.path("out/people/train-pair-00000.tar")).unwrap();
    let ran = lab.run(&people(&["--pairs", "2", "--clips", "0", "--seed", "3"]));
    assert_eq!(ran.code, Some(2));
    assert!(ran.stderr.contains("made with other settings (seed: 0 there, 3 now): out/people"), "{}", ran.stderr);
    assert!(std::fs::read(lab.path("out/people/train-pair-00000.tar")).unwrap() == before);
}

/// A file may not grow beyond some kilobytes: the system refuses to write on, as it does when a disk is full.
#[cfg(unix)]
#[test]
fn a_write_that_the_system_refuses_leaves_no_part_of_a_shard() {
    let lab = Lab::new();
    let program = lab.command(&people(&[]));
    let limited = "trap '' XFSZ; ulimit -f 16; exec \"$0\" \"$@\"";
    let mut shell = Command::new("sh");
    shell.arg("-c").arg(limited).arg(program.get_program()).args(program.get_args()).current_dir(lab.path(""));
    let ran = Ran::from(shell.output().unwrap());
    assert_eq!(ran.code, Some(2), "{}", ran.stderr);
    for part in
        ["error: cannot write: out/people/train-pair-00000.tar", "caused by: ", "hint: shards that are finished stay"]
    {
        assert!(ran.stderr.contains(part), "{part}: {}", ran.stderr);
    }
    assert_eq!(lab.names_in("out/people"), ["dataset.json"]);
    lab.run_well(&people(&[]));
    assert_eq!(lab.names_in("out/people"), FILES);
}

#[cfg(unix)]
#[test]
fn ctrl_c_leaves_whole_shards() {
    let lab = Lab::new();
    let args = people(&["--pairs", "1000", "--identities", "700"]);
    let mut child = lab.command(&args).stderr(std::process::Stdio::piped()).spawn().unwrap();
    let first = lab.path("out/people/train-pair-00000.json");
    let deadline = std::time::Instant::now() + std::time::Duration::from_mins(1);
    while !first.exists() {
        assert!(std::time::Instant::now() < deadline, "no shard in a minute");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    let ran = Ran::from(child_output(&mut child));
    assert_eq!(ran.code, Some(130), "{}", ran.stderr);
    assert!(ran.stderr.contains("shards are finished, nothing else was written"), "{}", ran.stderr);
    let names = lab.names_in("out/people");
    let count = |extension: &str| names.iter().filter(|name| name.ends_with(extension)).count();
    assert_eq!(count(".tar") + 1, count(".json"), "{names:?}");
    assert_eq!(count(".tar") + count(".json"), names.len(), "{names:?}");
}

#[cfg(unix)]
fn child_output(child: &mut std::process::Child) -> std::process::Output {
    use std::io::Read;
    let mut stderr = Vec::new();
    child.stderr.take().unwrap().read_to_end(&mut stderr).unwrap();
    std::process::Output { status: child.wait().unwrap(), stdout: Vec::new(), stderr }
}
