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
use std::ffi::OsString;
use std::path::PathBuf;

/// The name that BuildKit gives the machine of a step.
const DEFAULT_HOSTNAME: &str = "buildkitsandbox";

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
    let mut output = Output { task, log: &mut log, failure: None };
    let spec = spec(op, &workspace, &mut mounts);
    let targets: Vec<PathBuf> = spec.mounts.iter().map(|mount| mount.target().to_owned()).collect();
    let status = session.runner()?.run(&spec, &mut |stream, bytes| output.take(stream, bytes), session.cancel());
    let failure = output.failure;
    drop(mounts);
    if let Some(error) = failure {
        return Err(super::session::store_failure(error));
    }
    match status {
        Ok(status) if status.success() => Ok(base.with(workspace.seal_without(session, &targets)?)),
        Ok(status) => Err(failed(op, &status, &log)),
        Err(error) => Err(not_run(op, &error)),
    }
}

fn spec<'a>(op: &'a RunOp, workspace: &'a Workspace, mounts: &mut Mounts) -> RunSpec<'a> {
    RunSpec {
        root: workspace.root(),
        aside: Some(workspace.aside()),
        argv: op.argv.iter().map(Into::into).collect(),
        env: environment(op, mounts),
        cwd: (&op.cwd).into(),
        user: op.user.clone(),
        additional_gids: mounts.additional_gids().to_vec(),
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

/// Returns the variables of a step, each once: what the C library does with two of one name differs.
fn environment(op: &RunOp, mounts: &Mounts) -> Vec<(OsString, OsString)> {
    let mut env: Vec<(OsString, OsString)> = Vec::with_capacity(op.env.len());
    for (name, value) in op.env.iter().chain(&op.unkeyed_env).chain(mounts.env()) {
        match env.iter_mut().find(|(known, _)| known == name.as_str()) {
            Some(known) => known.1 = value.into(),
            None => env.push((name.into(), value.into())),
        }
    }
    env
}

/// Takes what the command writes: to the log whole, and to the reporter as it comes.
struct Output<'a> {
    task: &'a Task,
    log: &'a mut LogFile,
    failure: Option<crate::store::StoreError>,
}

impl Output<'_> {
    fn take(&mut self, stream: Stream, bytes: &[u8]) {
        self.task.output(stream, bytes);
        if self.failure.is_none() {
            self.failure = self.log.write(bytes).err();
        }
    }
}

fn failed(op: &RunOp, status: &ExitStatus, log: &LogFile) -> Diagnostic {
    let command = op.argv.join(" ");
    let mut diagnostic = Diagnostic::error(
        Exit::Step,
        format!("process {command:?} did not complete successfully: exit code: {}", status.shell_code()),
    );
    if let Some(meaning) = meaning(status) {
        diagnostic = diagnostic.label(meaning);
    }
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
