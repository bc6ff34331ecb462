//! The step's own processes: one that executes the command, and above it one that ends what the command leaves behind.

use super::processes::kill_descendants;
use crate::sandbox::child::empty_stdin;
use crate::sandbox::child::{Failed, confine_ids, execute, hand_calls_to_builder, set_limits, stage};
use crate::sandbox::mountpoint::{Kind, ensure};
use crate::sandbox::seccomp;
use crate::sandbox::wire::{Pool, Spec};
use crate::sys::capability::Capabilities;
use crate::sys::process::{self, Child, ExitStatus, Fork};
use crate::sys::{Root, restrict};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::Mode;
use std::convert::Infallible;
use std::ffi::OsStr;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Runs the command of a specification.  Returns in the command's process, and only when that cannot be executed.
///
/// The builder reads from `builder`, a pipe, as long as it lives.
pub(in crate::sandbox) fn run(spec: &Spec, pool: &Pool, builder: &OwnedFd) -> Result<Infallible, Failed> {
    rustix::process::umask(Mode::empty());
    // Orphans of the step become children of this process, so that none gets away.
    rustix::process::set_child_subreaper(Some(rustix::process::getpid()))
        .map_err(|error| stage("become the reaper of the step", "")(error.into()))?;
    let root = process::take_descriptor(spec.root).map(Root::from_fd).map_err(stage("take the root", ""))?;
    match process::fork_single_threaded().map_err(stage("start the command's process", ""))? {
        Fork::Parent(child) => {
            // Or the supervisor would wait for a listener from here.
            drop((root, spec.supervision.as_ref().map(|supervision| process::take_descriptor(supervision.socket))));
            process::exit_now(wait(&child, builder))
        }
        Fork::Child => {
            enter(&root, spec, pool)?;
            confine(spec)?;
            execute(spec, pool)
        }
    }
}

/// Waits for the command, or for the end of the builder, ends what is left, and returns the command's exit code as a shell
/// would.
pub(in crate::sandbox) fn wait(child: &Child, builder: &OwnedFd) -> i32 {
    // Who is killed with the builder cannot end the others of the step.
    let outlives = rustix::process::set_parent_process_death_signal(None).is_ok();
    let mut fds = [PollFd::new(child, PollFlags::IN), PollFd::new(builder, PollFlags::empty())];
    while outlives && matches!(poll(&mut fds, None), Err(rustix::io::Errno::INTR)) {}
    let is_abandoned = !fds[1].revents().is_empty();
    if is_abandoned {
        child.kill();
    }
    let status = child.wait().unwrap_or(ExitStatus::Code(1));
    let us = i32::try_from(std::process::id()).unwrap_or_default();
    // Without /proc there is nothing to find them by.
    let _ = kill_descendants(us);
    status.shell_code()
}

fn enter(root: &Root, spec: &Spec, pool: &Pool) -> Result<(), Failed> {
    let cwd = Path::new(OsStr::from_bytes(pool.get(spec.cwd)));
    let name = cwd.display().to_string();
    let real = ensure(root, cwd, Kind::Directory, &mut |_| Ok(()))
        .map_err(stage("make the working directory", name.clone()))?;
    let directory = root.open_dir(&real).map_err(stage("open the working directory", name.clone()))?;
    let entered = (|| {
        rustix::process::fchdir(root)?;
        rustix::process::chroot(".")?;
        Ok(rustix::process::fchdir(&directory)?)
    })();
    entered.map_err(stage("change the root", name))?;
    empty_stdin(spec)
}

/// Gives up what the command must not have, and hands the calls that are answered to the builder.
fn confine(spec: &Spec) -> Result<(), Failed> {
    set_limits(spec)?;
    if !spec.is_insecure {
        match restrict::limit_bounding_set(spec.capabilities) {
            // Without CAP_SETPCAP what the container has is what its steps have.
            Err(error) if error.raw_os_error() == Some(libc::EPERM) => {}
            result => result.map_err(stage("limit capabilities", ""))?,
        }
    }
    install_profile(profile(spec)).map_err(stage("install the seccomp filter", ""))?;
    if spec.has_own_network {
        restrict::install_filter(&seccomp::local_sockets_program()).map_err(stage("take the network away", ""))?;
    }
    if let Some(supervision) = &spec.supervision {
        // Where another supervisor is on already, or on an old kernel, the step does with the files that stand for /proc.
        let _ = hand_calls_to_builder(supervision);
    }
    confine_ids(spec)
}

/// Installs Docker's profile; the price of any filter without CAP_SYS_ADMIN is that set-uid programs stay without effect.
fn install_profile(program: Vec<restrict::Instruction>) -> io::Result<()> {
    match restrict::install_filter(&program) {
        Err(error) if error.raw_os_error() == Some(libc::EACCES) => {
            rustix::thread::set_no_new_privs(true)?;
            restrict::install_filter(&program)
        }
        result => result,
    }
}

fn profile(spec: &Spec) -> Vec<restrict::Instruction> {
    let everything = restrict::Instruction { code: 0x06, jump_true: 0, jump_false: 0, operand: 0x7fff_0000 };
    if spec.is_insecure { vec![everything] } else { seccomp::docker_profile(Capabilities(spec.capabilities)) }
}
