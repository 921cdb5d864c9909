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
            let stopped = matches!(error.downcast_ref(), Some(EngineError::Cancelled | EngineError::Paused { .. }));
            ExitCode::from(if stopped { progress::STOPPED } else { 2 })
        }
    }
}
