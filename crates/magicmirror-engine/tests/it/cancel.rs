//! Runs that are asked to stop.

use std::sync::atomic::{AtomicBool, Ordering};

use burn::tensor::Device;
use magicmirror_engine::generate::{Generated, Request, generate};
use magicmirror_engine::{Control, EngineError, Event, Stage};

use crate::tiny_model;

/// Runs until `stop` says of an event that it is enough; returns how many events followed, too.
fn run_until(request: &Request, stop: impl Fn(&Event) -> bool) -> (Result<Generated, EngineError>, usize) {
    let cancelled = AtomicBool::new(false);
    let mut followed = 0;
    let mut listener = |event: Event| {
        followed += usize::from(cancelled.load(Ordering::Relaxed));
        if stop(&event) {
            cancelled.store(true, Ordering::Relaxed);
        }
    };
    let result = generate(request, &Device::flex(), &mut Control::new(&mut listener, &cancelled));
    (result, followed)
}

/// Whether an event is the one to stop at.
type Moment<'a> = &'a dyn Fn(&Event) -> bool;

#[test]
fn a_run_that_is_asked_to_stop_writes_nothing() {
    let (model, outputs) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let request = Request {
        output: outputs.path().join("video.mp4"),
        tensors: Some(outputs.path().join("tensors.safetensors")),
        ..tiny_model(model.path())
    };
    let advanced = |event: &Event, at: Stage, from: f64| match *event {
        Event::Advanced { stage, done } => stage == at && done >= from,
        _ => false,
    };
    let started = |event: &Event, at: Stage| matches!(event, Event::Started { stage, .. } if *stage == at);
    let moments: [(&str, Moment<'_>); 6] = [
        ("before the first stage", &|event| matches!(event, Event::Plan(_))),
        ("first prompt", &|event| advanced(event, Stage::EncodePrompt, 1.0)),
        ("loading", &|event| started(event, Stage::LoadTransformer)),
        ("within the second step", &|event| advanced(event, Stage::Denoise, 1.3)),
        ("last block of the last step", &|event| advanced(event, Stage::Denoise, 2.0)),
        ("decoding", &|event| advanced(event, Stage::Decode, 0.1)),
    ];
    for (moment, stop) in moments {
        let (result, _) = run_until(&request, stop);
        match result {
            Err(error @ EngineError::Cancelled) => {
                assert_eq!(error.to_string(), "stopped: nothing was written");
            }
            other => panic!("{moment}: {other:?}"),
        }
        let left: Vec<_> = std::fs::read_dir(outputs.path()).unwrap().collect();
        assert!(left.is_empty(), "{moment}: {left:?}");
    }
    // Sampling is left within a block, not at the end of the step.
    let (_, followed) = run_until(&request, |event| advanced(event, Stage::Denoise, 1.3));
    assert_eq!(followed, 0);
}

#[test]
fn a_wish_to_stop_that_comes_while_writing_comes_too_late() {
    let (model, outputs) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let request = Request { output: outputs.path().join("video.mp4"), ..tiny_model(model.path()) };
    let writing = |event: &Event| matches!(event, Event::Started { stage: Stage::Write, .. });
    let generated = run_until(&request, writing).0.unwrap();
    assert!(generated.output.is_file() && generated.report.is_file());
}
