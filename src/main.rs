//! The program `cooper`.

use cooper::{cli, sandbox};
use std::process::ExitCode;

fn main() -> ExitCode {
    // First of all: a step's process is this program too.
    if std::env::args_os().nth(1).is_some_and(|argument| argument == sandbox::RUN_ARGUMENT) {
        sandbox::child_main();
    }
    cli::main(std::env::args_os())
}
