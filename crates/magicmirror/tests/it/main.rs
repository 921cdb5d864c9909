//! The program as a user starts it: arguments in, exit code, messages and files out.

#![allow(clippy::unwrap_used)]

mod bad_input;
mod cancel;
mod data;
mod faces;
mod identity;
mod lab;
mod models;
mod outputs;
mod train;
