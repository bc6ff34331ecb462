//! `RUN`, `CMD`, `ENTRYPOINT` and `SHELL`: what runs a command.

use super::fault::{Fault, Result};
use super::flags::{FlagKind, Flags, Table};
use super::heredoc::Captured;
use super::statement::Statement;
use crate::diag::nearest;
use crate::dockerfile::ast::{Command, Kind, Run, Word};
use crate::dockerfile::mount;

const RUN_FLAGS: Table = &[
    ("mount", FlagKind::Texts),
    ("network", FlagKind::Text),
    ("security", FlagKind::Text),
    ("device", FlagKind::Texts),
];

/// The values of `--network`.
const NETWORKS: [&str; 3] = ["default", "none", "host"];

/// The values of `--security`.
const SECURITIES: [&str; 2] = ["sandbox", "insecure"];

/// Returns the command of an instruction that has a shell and an exec form.
pub(super) fn command(statement: &Statement<'_>) -> Command {
    match &statement.json {
        Some(words) => Command::Exec(words.iter().map(|word| word.node.clone()).collect()),
        None => Command::Shell(statement.args.spanned()),
    }
}

/// Parses `RUN`.
pub(super) fn parse(statement: &Statement<'_>, captured: &[Captured]) -> Result<Kind> {
    let flags = Flags::read(&statement.flags, RUN_FLAGS)?;
    if let Some(network) = flags.raw("network") {
        one_of("network mode", network, &NETWORKS)?;
    }
    if let Some(security) = flags.raw("security") {
        one_of("security mode", security, &SECURITIES)?;
    }
    let (mounts, devices) = (flags.texts("mount"), flags.texts("device"));
    for value in &mounts {
        mount::check_mount(&value.node).map_err(|error| refused(value, &error))?;
    }
    for value in &devices {
        mount::parse_device(&value.node).map_err(|error| refused(value, &error))?;
    }
    Ok(Kind::Run(Run {
        command: command(statement),
        heredocs: captured.iter().map(|captured| captured.heredoc.clone()).collect(),
        mounts,
        network: flags.text("network"),
        security: flags.text("security"),
        devices,
    }))
}

/// Parses `SHELL`.
pub(super) fn shell(statement: &Statement<'_>) -> Result<Kind> {
    Flags::read(&statement.flags, &[])?;
    match &statement.json {
        Some(words) if !words.is_empty() => Ok(Kind::Shell(words.iter().map(|word| word.node.clone()).collect())),
        None if !statement.args.text().is_empty() => {
            let text = statement.args.text();
            let fault = Fault::new(statement.args.span(), "SHELL requires the arguments to be in JSON form");
            if text.starts_with('[') {
                return Err(fault.hint("put double quotes around every member and a comma between two of them"));
            }
            let words: Vec<_> = text.split_whitespace().map(|word| format!("{word:?}")).collect();
            Err(fault.hint(format!("write `SHELL [{}]`", words.join(", "))))
        }
        _ => Err(statement.missing("SHELL requires at least one argument")),
    }
}

fn one_of(what: &str, value: &Word, known: &[&'static str]) -> Result<()> {
    if known.contains(&value.node.as_str()) {
        return Ok(());
    }
    let fault = Fault::new(value.span, format!("invalid {what}: `{}`", value.node));
    let fault = fault.hint(format!("use one of: {}", known.join(", ")));
    Err(match nearest(&value.node, known.iter().copied()) {
        Some(best) => fault.label(format!("did you mean `{best}`?")),
        None => fault,
    })
}

fn refused(value: &Word, error: &mount::MountError) -> Box<Fault> {
    let fault = Fault::new(mount::culprit(value, error), error.to_string());
    match error.hint() {
        Some(hint) => fault.hint(hint),
        None => fault,
    }
}
