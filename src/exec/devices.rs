//! The devices of a RUN: nodes and files of the machine that become mounts of the step.

use super::steps::Build;
use crate::diag::{Diagnostic, Exit};
use crate::plan::graph::RunOp;
use crate::sandbox::cdi::{DeviceMount, DeviceNode, Edits};
use crate::sandbox::{MountSpec, Rung};
use crate::sys::mount::open_path;
use rustix::fs::{AtFlags, FileType, major, minor, statat};
use std::io;
use std::path::Path;

/// What devices bring into a step.
pub struct Found {
    /// Variables.
    pub env: Vec<(String, String)>,
    /// Mounts.
    pub specs: Vec<MountSpec>,
    /// Groups of the step's user.
    pub additional_gids: Vec<u32>,
}

/// Fails if the step asks for devices in a way that is not possible, before anything is built.
pub fn check(build: &Build<'_>, op: &RunOp) -> Result<(), Diagnostic> {
    if op.devices.is_empty() {
        return Ok(());
    }
    let rung = build.session.entered().rung;
    if matches!(rung, Rung::Chroot | Rung::Trace) {
        let message = format!("`RUN --device` is not possible with isolation `{rung}`, where nothing can be mounted");
        return Err(Diagnostic::error(Exit::Isolation, message)
            .hint("build with isolation `root`, `rootless` or `single-id`; `cooper doctor` says what they take"));
    }
    match edits(build, op).refused.first() {
        None => Ok(()),
        Some(refused) => Err(Diagnostic::error(Exit::Usage, format!("{refused}, which cooper does not have"))
            .hint("build without `--device`, or write a CDI specification that does without it")),
    }
}

fn edits(build: &Build<'_>, op: &RunOp) -> Edits {
    build.session.devices(&build.request.cdi_spec_dirs).edits(&op.devices)
}

/// Opens what the devices of a step consist of.
pub fn find(build: &Build<'_>, op: &RunOp) -> Result<Found, Diagnostic> {
    let edits = edits(build, op);
    let mut specs = Vec::with_capacity(edits.nodes.len() + edits.mounts.len());
    for node in edits.nodes {
        specs.push(device(&node).map_err(|error| failure("the device node", &node.host_path, &error))?);
    }
    for mount in edits.mounts {
        specs.push(bind(&mount).map_err(|error| failure("a device's file", &mount.host_path, &error))?);
    }
    Ok(Found { env: edits.env, specs, additional_gids: edits.additional_gids })
}

fn bind(mount: &DeviceMount) -> io::Result<MountSpec> {
    let DeviceMount { host_path, path, read_only, is_recursive } = mount;
    let source = open_path(host_path)?;
    Ok(MountSpec::Bind { source, target: path.clone(), read_only: *read_only, is_recursive: *is_recursive, away: None })
}

fn device(node: &DeviceNode) -> io::Result<MountSpec> {
    let source = match (open_path(&node.host_path), node.number) {
        (Ok(source), _) => source,
        // A driver may say all there is to know of a node that the machine does not show.
        (Err(_), Some(number)) => return Ok(spec(node, None, number, 0o666)),
        (Err(error), None) => return Err(error),
    };
    let stat = statat(&source, "", AtFlags::EMPTY_PATH)?;
    let is_block = match FileType::from_raw_mode(stat.st_mode) {
        FileType::BlockDevice => true,
        FileType::CharacterDevice => false,
        FileType::Fifo if node.number.is_none() => {
            let target = node.path.clone();
            return Ok(MountSpec::Bind { source, target, read_only: false, is_recursive: false, away: None });
        }
        _ => return Err(io::Error::other("it is not a device")),
    };
    let own = (is_block, major(stat.st_rdev), minor(stat.st_rdev));
    let number = node.number.unwrap_or(own);
    Ok(spec(node, (number == own).then_some(source), number, stat.st_mode & 0o777))
}

fn spec(node: &DeviceNode, source: Option<std::os::fd::OwnedFd>, number: (bool, u32, u32), mode: u32) -> MountSpec {
    let target = node.path.clone();
    MountSpec::Device { source, target, number, mode: node.mode.unwrap_or(mode), uid: node.uid, gid: node.gid }
}

fn failure(what: &str, path: &Path, error: &io::Error) -> Diagnostic {
    Diagnostic::error(Exit::Step, format!("{what} `{}` cannot be had", path.display())).note(error.to_string())
}
