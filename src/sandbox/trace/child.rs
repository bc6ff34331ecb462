//! The step's own processes: one that executes the command, and above it one that ends what the command leaves behind.

use crate::sandbox::child::{Failed, STAGE_TRACE, empty_stdin, execute, set_limits, stage};
use crate::sandbox::chroot::wait;
use crate::sandbox::seccomp;
use crate::sandbox::wire::{Pool, Spec};
use crate::sys::capability::Capabilities;
use crate::sys::process::{self, Fork};
use crate::sys::{notify, restrict};
use std::convert::Infallible;
use std::io;
use std::os::fd::OwnedFd;

/// Runs the command of a specification.  Returns in the command's process, and only when that cannot be executed.
///
/// The builder reads from `builder`, a pipe, as long as it lives.
pub(in crate::sandbox) fn run(spec: &Spec, pool: &Pool, builder: &OwnedFd) -> Result<Infallible, Failed> {
    // Orphans of the step become children of this process, so that none gets away.
    rustix::process::set_child_subreaper(Some(rustix::process::getpid()))
        .map_err(|error| stage("become the reaper of the step", "")(error.into()))?;
    match process::fork_single_threaded().map_err(stage("start the command's process", ""))? {
        Fork::Parent(child) => {
            // Or the supervisor would wait for a listener from here.
            drop(spec.supervision.as_ref().map(|supervision| process::take_descriptor(supervision.socket)));
            process::exit_now(wait(&child, builder))
        }
        Fork::Child => {
            confine(spec)?;
            execute(spec, pool)
        }
    }
}

/// Gives up what the command must not have, and hands its calls to the builder.
fn confine(spec: &Spec) -> Result<(), Failed> {
    empty_stdin(spec)?;
    rustix::process::chdir("/").map_err(|error| stage("leave the working directory", "")(error.into()))?;
    set_limits(spec)?;
    restrict::set_capabilities(0).map_err(stage("drop capabilities", ""))?;
    restrict::die_with_parent().map_err(stage("tie the step to the builder", ""))?;
    rustix::thread::set_no_new_privs(true).map_err(|error| stage("give up privileges", "")(error.into()))?;
    restrict::install_filter(&seccomp::docker_profile(Capabilities(spec.capabilities)))
        .map_err(stage("install the seccomp filter", ""))?;
    if spec.has_own_network {
        restrict::install_filter(&seccomp::local_sockets_program()).map_err(stage("take the network away", ""))?;
    }
    hand_over(spec).map_err(stage(STAGE_TRACE, ""))
}

/// From here on every path is the builder's business, and this process is traced.
fn hand_over(spec: &Spec) -> io::Result<()> {
    let supervision = spec.supervision.as_ref().ok_or(io::ErrorKind::InvalidInput)?;
    let socket = process::take_descriptor(supervision.socket)?;
    let listener = notify::install_listener(&supervision.program)?;
    notify::send_descriptor(&socket, std::os::fd::AsFd::as_fd(&listener))?;
    drop((listener, socket));
    notify::ask_supervisor()
}
