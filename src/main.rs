//! The program `cooper`.
#![allow(clippy::result_large_err)]

use cooper::cli;
use cooper::diag::{Diagnostic, Exit};

fn main() -> std::process::ExitCode {
    cli::main(
        std::env::args_os(),
        cli::Backend {
            build: |_, _| Err(Diagnostic::error(Exit::Bug, "this binary was made without the build engine")),
        },
    )
}
