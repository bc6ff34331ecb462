//! `cooper build`: from the command line to a request, and from the result to what is printed.

mod annotation;
mod args;
pub mod call;
mod limits;
mod output;
pub mod refused;
mod request;
mod run;
mod source;
mod value;

pub use args::{BuildArgs, with_boolean_values};
pub use request::request;
pub use source::{dockerfile_source, parse_build_arg};
pub use value::parse_size;

use crate::cli::diagnostic::Style;
use crate::diag::{Diagnostic, Exit};
use crate::event::Reporter;
use crate::exec::request::{BuildRequest, BuildResult};
use crate::plan::inspect::Inspected;
use crate::progress::{Face, Mode};
use crate::sys::interrupt;
use std::io::Write;
use std::process::ExitCode;

/// What of the environment matters to a build.
#[derive(Debug, Clone, Default)]
pub struct Environment {
    /// BUILDKIT_PROGRESS.
    pub progress: Option<String>,
    /// SOURCE_DATE_EPOCH.
    pub source_date_epoch: Option<String>,
}

impl Environment {
    /// Reads the environment of this process; an empty variable counts as not set.
    pub fn of_process() -> Environment {
        let read = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
        Environment { progress: read("BUILDKIT_PROGRESS"), source_date_epoch: read("SOURCE_DATE_EPOCH") }
    }
}

/// Runs the command.  Progress goes to standard error; standard output has the digest with `-q`.
///
/// `build` is what builds.
pub fn run(
    args: BuildArgs,
    build: impl FnOnce(BuildRequest, &Reporter) -> Result<BuildResult, Diagnostic>,
    style: Style,
    out: &mut dyn Write,
) -> Result<(), Diagnostic> {
    let environment = Environment::of_process();
    let mode = mode(&args, &environment)?;
    let request = request(args, &environment)?;
    let _ = interrupt::install();
    let (reporter, receiver) = Reporter::new();
    let face = Face::start(mode, style, receiver);
    let result = build(request, &reporter);
    // The face ends when the last sender is gone.
    drop(reporter);
    face.join();
    if result.is_err() && !matches!(mode, Mode::Quiet | Mode::None) {
        // Sets the error apart from the progress above it.
        eprintln!();
    }
    let result = result?;
    if let (Mode::Quiet, Some(digest)) = (mode, &result.digest) {
        writeln!(out, "{digest}").map_err(|error| Diagnostic::from_error(Exit::Step, &error))?;
    }
    Ok(())
}

/// Answers a `--call`: the Dockerfile is looked at and nothing is built.  The answer goes to standard output.
///
/// `inspect` is what looks at it, at all stages where its second argument says so.
pub fn answer(
    args: BuildArgs,
    question: call::Question,
    inspect: impl FnOnce(&BuildRequest, bool, &Reporter) -> Result<Inspected, Diagnostic>,
    style: Style,
    out: &mut dyn Write,
) -> Result<ExitCode, Diagnostic> {
    let call = args.call();
    let request = request(args, &Environment::of_process())?;
    let _ = interrupt::install();
    let (reporter, receiver) = Reporter::new();
    // What is looked up on the way is of no interest.
    let face = Face::start(Mode::None, style, receiver);
    let inspected = inspect(&request, question == call::Question::Check, &reporter);
    drop(reporter);
    face.join();
    call::answer(call, question, inspected?, style, out)
}

/// Returns how progress is shown: `-q`, else `--progress`, else BUILDKIT_PROGRESS.
fn mode(args: &BuildArgs, environment: &Environment) -> Result<Mode, Diagnostic> {
    match args.progress {
        Some(mode) if args.quiet && !matches!(mode, Mode::Auto | Mode::Quiet) => Err(Diagnostic::error(
            Exit::Usage,
            format!("`--quiet` and `--progress={}` contradict each other", mode.name()),
        )),
        _ if args.quiet => Ok(Mode::Quiet),
        Some(mode) => Ok(mode),
        None => match &environment.progress {
            None => Ok(Mode::Auto),
            Some(name) => Mode::from_name(name).ok_or_else(|| {
                Diagnostic::error(Exit::Usage, format!("BUILDKIT_PROGRESS names no progress mode: `{name}`"))
            }),
        },
    }
}

#[cfg(test)]
mod tests;
