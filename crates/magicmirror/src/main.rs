//! The command line of MagicMirror.

mod cli;
mod device;
mod progress;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    match cli::Cli::parse().run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            progress::print_error(&error);
            ExitCode::from(2)
        }
    }
}
