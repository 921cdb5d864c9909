//! Ctrl-C.
#![cfg(unix)]

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

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
