//! The program as a user starts it: arguments in, exit code, messages and files out.

#![allow(clippy::unwrap_used)]

mod analyze;
mod bad_input;
mod cancel;
mod evaluate;
mod faces;
mod identity;
mod lab;
mod manifest;
mod models;
mod outputs;
