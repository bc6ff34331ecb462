//! The command line: typed arguments, one file for each command, diagnostics, exit codes.
// Errors of commands end the program: that a diagnostic is moved by value costs nothing that matters.
#![allow(clippy::result_large_err)]

pub mod archive;
pub mod build;
mod completion;
pub mod context;
pub mod diagnostic;
pub mod disk;
pub mod doctor;
mod engine;
pub mod history;
pub mod images;
pub mod inspect;
pub mod lint;
pub mod names;
mod panic;
pub mod stored;
pub mod table;
pub mod template;

use crate::diag::{Diagnostic, Exit};
use crate::sys::interrupt;
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use diagnostic::Style;
use std::ffi::OsString;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

/// Builds container images from Dockerfiles, without a daemon.
#[derive(Debug, Parser)]
#[command(
    name = "cooper",
    version,
    about,
    max_term_width = 100,
    subcommand_required = true,
    arg_required_else_help = true
)]
struct Cooper {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Build(Box<build::BuildArgs>),
    Images(images::ImagesArgs),
    Inspect(inspect::InspectArgs),
    History(history::HistoryArgs),
    Tag(names::TagArgs),
    Rmi(names::RmiArgs),
    Pull(names::PullArgs),
    Push(names::PushArgs),
    Save(archive::SaveArgs),
    Load(archive::LoadArgs),
    Du(disk::DuArgs),
    Prune(disk::PruneArgs),
    Store(disk::StoreArgs),
    Doctor(doctor::DoctorArgs),
    Completion(completion::CompletionArgs),
    Context(context::ContextArgs),
    Lint(lint::LintArgs),
}

/// Runs the program and returns its exit code; `args` begin with the program's name.
///
/// Called by the name `build` (a link), the program is `cooper build`.
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let style = Style::of_stderr();
    panic::install(style);
    let matches = match command().try_get_matches_from(with_command(args.into_iter().collect())) {
        Ok(matches) => matches,
        Err(error) => {
            // Help and version are errors for clap, but not for the user.
            let code = if error.use_stderr() { Exit::Usage as u8 } else { 0 };
            let _ = error.print();
            return ExitCode::from(code);
        }
    };
    match run(&matches, style) {
        Ok(code) => code,
        Err(_) if interrupt::requested() => {
            eprintln!("interrupted");
            ExitCode::from(interrupt::EXIT_CODE)
        }
        Err(diagnostic) => {
            let _ = std::io::stderr().write_all(diagnostic::render(&diagnostic, style).as_bytes());
            ExitCode::from(diagnostic.exit as u8)
        }
    }
}

/// Returns the command line without the flags that are only refused.
pub fn documented_command() -> clap::Command {
    Cooper::command().mut_subcommand("build", build::with_boolean_values)
}

/// Returns the whole command line as clap knows it.
fn command() -> clap::Command {
    // As with Go's flags, the last of a flag that is given twice counts.
    documented_command().mut_subcommand("build", |build| build::refused::add(build).args_override_self(true))
}

fn run(matches: &clap::ArgMatches, style: Style) -> Result<ExitCode, Diagnostic> {
    if let Some(matches) = matches.subcommand_matches("build") {
        build::refused::check(matches)?;
    }
    let cooper = Cooper::from_arg_matches(matches)
        .map_err(|error| Diagnostic::error(Exit::Bug, format!("the command line is not understood: {error}")))?;
    let mut out = std::io::stdout().lock();
    match cooper.command {
        Command::Build(args) => {
            // Before the first thread: the whole program moves into its namespaces.
            let engine = engine::Engine::enter(args.isolation.as_deref())?;
            if let Some(question) = args.call().question {
                let inspect = |request: &_, all_stages, reporter: &_| engine.inspect(request, all_stages, reporter);
                return build::answer(*args, question, inspect, style, &mut out);
            }
            build::run(*args, |request, reporter| engine.build(&request, reporter), style, &mut out)?;
        }
        Command::Images(args) => images::run(&args, &engine::users_store()?, &mut out)?,
        Command::Inspect(args) => inspect::run(&args, &engine::users_store()?, &mut out)?,
        Command::History(args) => history::run(&args, &engine::users_store()?, &mut out)?,
        Command::Tag(args) => names::tag(&args, &engine::users_store()?)?,
        Command::Rmi(args) => names::rmi(&args, &engine::users_store()?, &mut out)?,
        Command::Pull(args) => names::pull(&args, &engine::users_store()?, style, &mut out)?,
        Command::Push(args) => names::push(&args, &engine::users_store()?, style, &mut out)?,
        Command::Save(args) => {
            // The archive goes there, past this lock.
            drop(out);
            archive::save(&args, &engine::users_store()?, style)?;
        }
        Command::Load(args) => archive::load(&args, &engine::users_store()?, &mut out)?,
        // What touches layers goes where their owners exist, before the first thread.
        Command::Du(args) => disk::du(&args, &engine::Engine::enter(None)?.store()?, &mut out)?,
        Command::Prune(args) => disk::prune(&args, &engine::Engine::enter(None)?.store()?, &mut out)?,
        Command::Store(disk::StoreArgs { command: disk::StoreCommand::Check(args) }) => {
            disk::check(&args, &engine::Engine::enter(None)?.store()?, &mut out)?;
        }
        Command::Doctor(args) => doctor::run(&args, &mut out)?,
        Command::Completion(args) => completion::run(&args, &mut out)?,
        Command::Context(args) => context::run(&args, &mut out)?,
        Command::Lint(args) => return lint::run(&args, style, &mut out),
    }
    Ok(ExitCode::SUCCESS)
}

/// Puts `build` behind the program's name if it is called by that name.
fn with_command(mut args: Vec<OsString>) -> Vec<OsString> {
    if args.first().map(Path::new).and_then(Path::file_name).is_some_and(|name| name == "build") {
        args.splice(0..1, ["cooper".into(), "build".into()]);
    }
    args
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        command().debug_assert();
    }

    #[test]
    fn a_link_named_build_is_the_command() {
        let called = |name: &str| with_command(vec![name.into(), ".".into()]);
        assert_eq!(called("/usr/bin/build"), ["cooper", "build", "."]);
        assert_eq!(called("cooper"), ["cooper", "."]);
        assert!(with_command(Vec::new()).is_empty());
    }
}
