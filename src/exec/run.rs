//! RUN: a command in the sandbox, its mounts, its log.

use super::filesystem::FileSystem;
use super::layers::{Workspace, Writer};
use super::mounts::Mounts;
use super::steps::Build;
use crate::diag::{Diagnostic, Exit};
use crate::event::{Stream, Task};
use crate::plan::graph::{RunOp, Step};
use crate::sandbox::{ExitStatus, RunError, RunSpec};
use crate::store::LogFile;
use std::collections::VecDeque;
use std::path::PathBuf;

/// The name that BuildKit gives the machine of a step.
const DEFAULT_HOSTNAME: &str = "buildkitsandbox";
/// How many of the last lines of output an error repeats.
const TAIL_LINES: usize = 20;
/// Longest piece of a line that is kept for an error, in bytes.
const TAIL_LINE_BYTES: usize = 2000;

/// Runs the command and returns the file system it leaves.
pub fn run(
    build: &Build<'_>,
    step: &Step,
    op: &RunOp,
    base: &FileSystem,
    task: &Task,
) -> Result<FileSystem, Diagnostic> {
    let session = build.session;
    let workspace = Workspace::open(session, base, Writer::Any)?;
    let mut mounts = Mounts::prepare(build, op, task)?;
    let mut log = session.store().log_file(session.build_id(), step.id.0).map_err(super::session::store_failure)?;
    let mut output = Output { task, log: &mut log, tail: Tail::default(), failure: None };
    let spec = spec(op, &workspace, &mut mounts);
    let targets: Vec<PathBuf> = spec.mounts.iter().map(|mount| mount.target().to_owned()).collect();
    let status = session.runner()?.run(&spec, &mut |stream, bytes| output.take(stream, bytes), session.cancel());
    let Output { tail, failure, .. } = output;
    drop(mounts);
    if let Some(error) = failure {
        return Err(super::session::store_failure(error));
    }
    match status {
        Ok(status) if status.success() => Ok(base.with(workspace.seal_without(session, &targets)?)),
        Ok(status) => Err(failed(op, &status, tail, &log)),
        Err(error) => Err(not_run(op, &error)),
    }
}

fn spec<'a>(op: &'a RunOp, workspace: &'a Workspace, mounts: &mut Mounts) -> RunSpec<'a> {
    let env = op.env.iter().chain(&op.unkeyed_env).chain(mounts.env());
    let env = env.map(|(name, value)| (name.into(), value.into())).collect();
    RunSpec {
        root: workspace.root(),
        aside: Some(workspace.aside()),
        argv: op.argv.iter().map(Into::into).collect(),
        env,
        cwd: (&op.cwd).into(),
        user: op.user.clone(),
        mounts: mounts.take_specs(),
        network: op.network,
        hostname: op.hostname.clone().unwrap_or_else(|| DEFAULT_HOSTNAME.to_owned()),
        extra_hosts: op.extra_hosts.clone(),
        shm_size_bytes: op.shm_size_bytes,
        ulimits: op.ulimits.clone(),
        is_insecure: op.insecure,
        stdin: None,
    }
}

/// Takes what the command writes: to the log whole, to the reporter as it comes, and the end of it for an error.
struct Output<'a> {
    task: &'a Task,
    log: &'a mut LogFile,
    tail: Tail,
    failure: Option<crate::store::StoreError>,
}

impl Output<'_> {
    fn take(&mut self, stream: Stream, bytes: &[u8]) {
        self.task.output(stream, bytes);
        self.tail.take(bytes);
        if self.failure.is_none() {
            self.failure = self.log.write(bytes).err();
        }
    }
}

/// The last lines of an output.
#[derive(Debug, Default)]
struct Tail {
    lines: VecDeque<Vec<u8>>,
    is_line_open: bool,
}

impl Tail {
    fn take(&mut self, bytes: &[u8]) {
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            if !self.is_line_open {
                self.lines.push_back(Vec::new());
            }
            if self.lines.len() > TAIL_LINES {
                self.lines.pop_front();
            }
            self.is_line_open = piece.last() != Some(&b'\n');
            let Some(line) = self.lines.back_mut() else { continue };
            let room = TAIL_LINE_BYTES.saturating_sub(line.len());
            line.extend(piece.iter().filter(|byte| **byte != b'\n').take(room));
        }
    }

    fn into_lines(self) -> impl Iterator<Item = String> {
        self.lines.into_iter().map(|line| String::from_utf8_lossy(&line).trim_end().to_owned())
    }
}

fn failed(op: &RunOp, status: &ExitStatus, tail: Tail, log: &LogFile) -> Diagnostic {
    let command = op.argv.join(" ");
    let mut diagnostic = Diagnostic::error(
        Exit::Step,
        format!("process {command:?} did not complete successfully: exit code: {}", status.shell_code()),
    );
    if let Some(meaning) = meaning(status) {
        diagnostic = diagnostic.label(meaning);
    }
    diagnostic.notes = tail.into_lines().collect();
    diagnostic.hint(format!("the whole output is in `{}`", log.path().display()))
}

/// Says what an exit code usually means.
fn meaning(status: &ExitStatus) -> Option<String> {
    let signal = match status {
        ExitStatus::Signal(signal) => *signal,
        ExitStatus::Code(code @ 129..=159) => code - 128,
        ExitStatus::Code(126) => return Some("the command cannot be executed".into()),
        ExitStatus::Code(127) => return Some("the command was not found".into()),
        ExitStatus::Code(_) => return None,
    };
    let name = nix::sys::signal::Signal::try_from(signal)
        .map_or_else(|_| format!("signal {signal}"), |signal| signal.to_string());
    let cause = if signal == 9 { ", perhaps because memory ran out" } else { "" };
    Some(format!("killed by {name}{cause}"))
}

fn not_run(op: &RunOp, error: &RunError) -> Diagnostic {
    let exit = if matches!(error, RunError::Setup { .. }) { Exit::Isolation } else { Exit::Step };
    let cause = Diagnostic::from_error(exit, error);
    let mut diagnostic = Diagnostic::error(exit, format!("cannot run {:?}: {}", op.argv.join(" "), cause.message));
    diagnostic.notes = cause.notes;
    diagnostic
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tail_keeps_the_last_lines_and_joins_pieces() {
        let mut tail = Tail::default();
        for i in 0..30 {
            tail.take(format!("line {i}").as_bytes());
            tail.take(b" end\n");
        }
        tail.take(b"open");
        let lines: Vec<String> = tail.into_lines().collect();
        assert_eq!(lines.len(), TAIL_LINES);
        assert_eq!(lines[0], "line 11 end");
        assert_eq!(lines[TAIL_LINES - 1], "open");
    }
}
