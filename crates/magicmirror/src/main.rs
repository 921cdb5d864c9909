//! The command line of MagicMirror.

mod cli;
mod device;
mod progress;

use std::process::ExitCode;

use clap::Parser;
use magicmirror_engine::EngineError;

fn main() -> ExitCode {
    match cli::Cli::parse().run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            progress::print_error(&error);
            let stopped = error.downcast_ref().is_some_and(EngineError::is_stop);
            ExitCode::from(if stopped { progress::STOPPED } else { 2 })
        }
    }
}
