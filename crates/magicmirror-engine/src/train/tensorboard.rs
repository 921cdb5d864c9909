//! TensorBoard event files: records of the `Event` protocol buffer in TFRecord framing.
//!
//! Source: tensorflow/core/util/event.proto, tensorflow/core/framework/summary.proto, tensorflow/core/lib/io/record_writer.h.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use prost::Message;

#[derive(Clone, PartialEq, Message)]
struct Event {
    #[prost(double, tag = "1")]
    wall_time: f64,
    #[prost(int64, tag = "2")]
    step: i64,
    #[prost(oneof = "What", tags = "3, 5, 7")]
    what: Option<What>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
enum What {
    #[prost(string, tag = "3")]
    FileVersion(String),
    #[prost(message, tag = "5")]
    Summary(Summary),
    #[prost(message, tag = "7")]
    SessionLog(SessionLog),
}

#[derive(Clone, PartialEq, Message)]
struct Summary {
    #[prost(message, repeated, tag = "1")]
    values: Vec<Value>,
}

#[derive(Clone, PartialEq, Message)]
struct Value {
    #[prost(string, tag = "1")]
    tag: String,
    #[prost(float, tag = "2")]
    simple_value: f32,
}

#[derive(Clone, PartialEq, Message)]
struct SessionLog {
    #[prost(int32, tag = "1")]
    status: i32,
}

/// `SessionLog.START`: what other files say of this step and later ones is void.
const START: i32 = 1;

/// An event file that is being written.
pub(super) struct EventFile(File);

impl EventFile {
    /// Begins a file in a run's folder, at a step.
    pub(super) fn create(folder: &Path, step: u64) -> io::Result<Self> {
        let name = format!("events.out.tfevents.{:010.0}.magicmirror.{}", now(), std::process::id());
        let mut file = Self(File::create(folder.join(name))?);
        file.record(0, What::FileVersion("brain.Event:2".into()))?;
        file.record(step, What::SessionLog(SessionLog { status: START }))?;
        Ok(file)
    }

    /// Scalars of one step.
    pub(super) fn scalars<'a>(
        &mut self,
        step: u64,
        scalars: impl IntoIterator<Item = (&'a str, f64)>,
    ) -> io::Result<()> {
        let value = |(tag, value): (&str, f64)| Value { tag: tag.to_owned(), simple_value: value as f32 };
        self.record(step, What::Summary(Summary { values: scalars.into_iter().map(value).collect() }))
    }

    fn record(&mut self, step: u64, what: What) -> io::Result<()> {
        let event = Event { wall_time: now(), step: step as i64, what: Some(what) };
        self.0.write_all(&framed(&event.encode_to_vec()))
    }
}

/// Length, its checksum, data, its checksum.
fn framed(data: &[u8]) -> Vec<u8> {
    let length = (data.len() as u64).to_le_bytes();
    [&length[..], &masked(&length), data, &masked(data)].concat()
}

/// CRC-32C, turned and shifted, so that checksums of data that holds checksums stay good.
fn masked(data: &[u8]) -> [u8; 4] {
    crc32c::crc32c(data).rotate_right(15).wrapping_add(0xa282_ead8).to_le_bytes()
}

fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_those_of_tensorboards_own_writer() {
        // From tensorboard 2.21, goldens/make_training.py: its RecordWriter on Event(wall_time=1.5, step=7, summary of loss = 0.25).
        let event = Event {
            wall_time: 1.5,
            step: 7,
            what: Some(What::Summary(Summary { values: vec![Value { tag: "loss".into(), simple_value: 0.25 }] })),
        };
        assert_eq!(crate::files::hex(&framed(&event.encode_to_vec())), TENSORBOARD_BYTES);
    }

    const TENSORBOARD_BYTES: &str =
        "1a00000000000000129bd82d09000000000000f83f10072a0d0a0b0a046c6f7373150000803ec9d07b8d";
}
