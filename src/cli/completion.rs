//! `cooper completion`: a script that completes command lines.

use crate::diag::{Diagnostic, Exit};
use clap_complete::Shell;
use std::io::Write;

/// Prints a completion script for a shell
#[derive(Debug, clap::Args)]
pub struct CompletionArgs {
    /// The shell
    #[arg(value_enum)]
    pub shell: Shell,
}

/// Runs the command.
pub fn run(args: &CompletionArgs, out: &mut dyn Write) -> Result<(), Diagnostic> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut super::documented_command(), "cooper", &mut script);
    out.write_all(&script).map_err(|error| Diagnostic::from_error(Exit::Step, &error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shell_gets_a_script() {
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            let mut script = Vec::new();
            assert!(run(&CompletionArgs { shell }, &mut script).is_ok());
            let script = String::from_utf8_lossy(&script);
            assert!(script.contains("metadata-file") && !script.contains("--builder"), "{shell}: {script}");
        }
    }
}
