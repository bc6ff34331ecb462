//! RUN: a command in the sandbox, its mounts, its log.

use super::filesystem::FileSystem;
use super::layers::{Workspace, Writer};
use super::mounts::Mounts;
use super::steps::Build;
use crate::diag::{Diagnostic, Exit};
use crate::event::{Stream, Task};
use crate::plan::graph::{Network, RunOp, Step};
use crate::sandbox::{Bounds, Cgroups, Exceeded, ExitStatus, Resources, RunError, RunSpec, Rung};
use crate::store::LogFile;
use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};

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
    if matches!(session.entered().rung, Rung::Chroot | Rung::Trace) && op.network == Network::None {
        task.detail("no network by a filter of system calls: no sockets but local ones, and no 127.0.0.1 either");
    }
    let workspace = Workspace::open(session, base, Writer::Any)?;
    let mut mounts = Mounts::prepare(build, op, task)?;
    let mut log = session.store().log_file(session.build_id(), step.id.0).map_err(super::session::store_failure)?;
    let limit = build.request.step_log_limit_bytes;
    let mut output = Output { task, log: &mut log, limit, left: limit.unwrap_or(u64::MAX), failure: None };
    session.look_at_capabilities(op.capabilities);
    let leaf = session.cgroups(&build.request.resources).map(Cgroups::leaf).transpose();
    let leaf = leaf.map_err(|error| Diagnostic::from_error(Exit::Isolation, &error))?;
    let bounds = Bounds { capabilities: op.capabilities, cgroup: leaf.as_ref(), timeout: build.request.step_timeout };
    let spec = RunSpec { bounds, ..spec(op, &workspace, &mut mounts) };
    let targets: Vec<PathBuf> = spec.mounts.iter().map(|mount| mount.target().to_owned()).collect();
    let status = session.runner()?.run(&spec, &mut |stream, bytes| output.take(stream, bytes), session.cancel());
    let Output { failure, left, .. } = output;
    let log = Log { path: log.path(), is_clipped: left == 0 };
    drop(mounts);
    if let Some(error) = failure {
        return Err(super::session::store_failure(error));
    }
    match status {
        Ok(status) if status.success() => Ok(base.with(workspace.seal_without(session, &targets)?)),
        Ok(status) => {
            let exceeded = leaf.map(|leaf| leaf.exceeded()).unwrap_or_default();
            Err(failed(op, &status, &log, told(exceeded, &build.request.resources)))
        }
        Err(RunError::Timeout(timeout)) => Err(timed_out(op, &RunError::Timeout(timeout), &log)),
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
        bounds: Bounds::default(),
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

/// Takes what the command writes, up to a limit: to the log, and to the reporter as it comes.
struct Output<'a> {
    task: &'a Task,
    log: &'a mut LogFile,
    limit: Option<u64>,
    left: u64,
    failure: Option<crate::store::StoreError>,
}

impl Output<'_> {
    fn take(&mut self, stream: Stream, bytes: &[u8]) {
        if self.left == 0 {
            return;
        }
        let taken = usize::try_from(self.left).map_or(bytes.len(), |left| bytes.len().min(left));
        self.hand_on(stream, &bytes[..taken]);
        self.left -= taken as u64;
        if let (0, Some(limit)) = (self.left, self.limit) {
            let limit = size_text(limit);
            self.hand_on(stream, format!("\n[output clipped at {limit}: `--step-log-limit`]\n").as_bytes());
        }
    }

    fn hand_on(&mut self, stream: Stream, bytes: &[u8]) {
        self.task.output(stream, bytes);
        if self.failure.is_none() {
            self.failure = self.log.write(bytes).err();
        }
    }
}

/// Returns a number of bytes in the largest unit that divides it.
fn size_text(bytes: u64) -> String {
    let units = [(30, "GiB"), (20, "MiB"), (10, "KiB")];
    let unit = units.into_iter().find(|(shift, _)| bytes != 0 && bytes.is_multiple_of(1 << shift));
    unit.map_or_else(|| format!("{bytes} bytes"), |(shift, name)| format!("{} {name}", bytes >> shift))
}

/// Where the output of a step is, for a hint.
struct Log<'a> {
    path: &'a Path,
    is_clipped: bool,
}

impl fmt::Display for Log<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = if self.is_clipped { "output up to its limit" } else { "whole output" };
        write!(f, "the {what} is in `{}`", self.path.display())
    }
}

/// Says which limit a step ran into.
fn told(exceeded: Exceeded, resources: &Resources) -> Option<String> {
    if exceeded.memory_kills > 0 {
        let limit = resources.memory_bytes.map(|bytes| format!(" (limit {}, `--memory`)", size_text(bytes)));
        return Some(format!("killed: out of memory{}", limit.unwrap_or_default()));
    }
    let limit = resources.pids.filter(|_| exceeded.refused_processes > 0)?;
    Some(format!("processes could not be started: it may have {limit} at once (`--pids-limit`)"))
}

fn timed_out(op: &RunOp, error: &RunError, log: &Log<'_>) -> Diagnostic {
    Diagnostic::error(Exit::Step, format!("process {:?} was killed: {error} (`--step-timeout`)", op.argv.join(" ")))
        .hint(log.to_string())
}

fn failed(op: &RunOp, status: &ExitStatus, log: &Log<'_>, limit: Option<String>) -> Diagnostic {
    let command = op.argv.join(" ");
    let mut diagnostic = Diagnostic::error(
        Exit::Step,
        format!("process {command:?} did not complete successfully: exit code: {}", status.shell_code()),
    );
    if let Some(meaning) = limit.or_else(|| meaning(status)) {
        diagnostic = diagnostic.label(meaning);
    }
    diagnostic.hint(log.to_string())
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
    let is_machines = matches!(error, RunError::Setup { .. } | RunError::Network { .. });
    let exit = if is_machines { Exit::Isolation } else { Exit::Step };
    let cause = Diagnostic::from_error(exit, error);
    let mut diagnostic = Diagnostic::error(exit, format!("cannot run {:?}: {}", op.argv.join(" "), cause.message));
    diagnostic.notes = cause.notes;
    if let RunError::Network { mend, .. } = error {
        return diagnostic.hint(mend.clone());
    }
    diagnostic
}
