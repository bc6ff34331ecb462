//! A step where the machine grants nothing at all: neither namespaces nor mounts nor a change of the root directory.
//!
//! Two mechanisms of an unprivileged process do instead.  A seccomp filter hands every call with a path to the builder
//! ([`crate::sandbox::supervise`]), which does it inside the step's root by descriptor and returns the result; nothing is let
//! through to the kernel with a path, so what a path means is decided in one place.  What only the process itself can do,
//! executing a program, is done for it by tracing it.  Users and owners are played as with a single id.

mod attributes;
mod child;
mod elf;
mod files;
mod program;
mod setup;
mod signals;
mod sockets;
mod stack;
mod tasks;
mod tokens;
mod tracer;
mod view;

pub(super) use child::run;
pub(super) use setup::{Prepared, prepare};
use tracer::Begin;

use super::seccomp::trace_program;
use super::single_id::SingleId;
use super::supervise::{Answer, Call, Emulation, Paths, Watch, When};
use super::user::User;
use crate::sys::owner;
use crate::sys::restrict::Instruction;
use program::Program;
use rustix::fs::OFlags;
use rustix::io::Errno;
use std::collections::{HashMap, HashSet};
use std::ffi::OsString;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tasks::{Fs, Tasks};
use view::{Directory, View};

/// The call by which a thread is given a descriptor: any that is always answered will do.
const ASKING: i64 = libc::SYS_getuid;
const ASKING_NAME: &str = "getuid";

/// Set-user-id and set-group-id bits of a mode.
const SET_USER: u32 = 0o4000;
const SET_GROUP: u32 = 0o2000;

/// One step, as the thread that answers calls and the thread that traces share it.
pub(super) struct Step {
    view: View,
    tasks: Tasks,
    /// Where the first process begins.
    cwd: Directory,
    /// Directory of the copies of programs.
    programs: PathBuf,
    /// The builder's own file mode mask, which cuts what it makes.
    own_umask: u32,
    /// Descriptors that threads are waiting for.
    given: Mutex<HashMap<u32, OwnedFd>>,
    /// Takes the first process; gone when it has come, or will not come.
    begin: Mutex<Option<Sender<Begin>>>,
    sockets: Mutex<sockets::Sockets>,
    /// What descriptors of paths alone stand for.
    tokens: Mutex<Vec<Arc<OwnedFd>>>,
    /// FIFOs that somebody waits for the other end of.
    fifos: Mutex<Vec<Arc<OwnedFd>>>,
    /// What has happened to processes since the last call was answered.
    events: Mutex<Vec<Executed>>,
}

/// A process has executed a program, which may give it the rights of its owner.
struct Executed {
    process: u32,
    user: Option<u32>,
    group: Option<u32>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Step {
    fn give(&self, thread: u32, fd: OwnedFd) {
        lock(&self.given).insert(thread, fd);
    }

    /// No first process will come any more.
    pub(super) fn close(&self) {
        lock(&self.begin).take();
        for fifo in lock(&self.fifos).drain(..) {
            let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&*fifo));
            // Opened at both ends for a moment, so that threads that wait for nobody any more are let go.
            let _ =
                rustix::fs::open(path, OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC, rustix::fs::Mode::empty());
        }
    }

    /// Lets the first process be traced; it waits for our answer.
    fn begin(&self, process: u32) -> Option<Answer> {
        let sender = lock(&self.begin).take()?;
        self.tasks.begin(process, Fs { cwd: self.cwd.clone(), umask: 0o022 });
        let (told, hear) = channel();
        let is_traced = sender
            .send((process, told))
            .map_err(io::Error::other)
            .and_then(|()| hear.recv().map_err(io::Error::other)?);
        Some(Answer::of(is_traced.map(|()| 0)))
    }

    /// Notes the rights that a set-user-id program gives.
    fn set_rights(&self, process: u32, program: &Program) {
        let Ok(stat) = rustix::fs::fstat(&program.original) else { return };
        let is_set = stat.st_mode & (SET_USER | SET_GROUP) != 0;
        let owner =
            if is_set { owner::recorded(&program.original, &stat).ok().flatten() } else { None }.unwrap_or_default();
        let bit = |bit: u32, id: u32| (stat.st_mode & bit != 0).then_some(id);
        let event = Executed { process, user: bit(SET_USER, owner.uid), group: bit(SET_GROUP, owner.gid) };
        lock(&self.events).push(event);
    }
}

/// Returns the filter of a step.
pub(super) fn filter(watches: &[Watch]) -> Vec<Instruction> {
    trace_program(watches, &["execve", "execveat"])
}

/// Answers the calls of one step.
pub(super) struct Traced {
    step: Arc<Step>,
    ids: SingleId,
    /// Calls that users and owners are played in.
    played: HashSet<&'static str>,
}

impl Traced {
    pub(super) fn new(step: Arc<Step>, user: &User) -> Traced {
        let ids = SingleId::new(user).without_owners();
        let lists = |call: &&str| call.ends_with("xattr");
        let played = ids.watches().iter().map(|watch| watch.call).filter(|call| !lists(call)).collect();
        Traced { step, ids, played }
    }
}

/// Calls with paths that are done here.
const WITH_PATHS: &[&str] = &[
    "open",
    "openat",
    "creat",
    "fstat",
    "statx",
    "access",
    "faccessat",
    "faccessat2",
    "readlink",
    "readlinkat",
    "mkdir",
    "mkdirat",
    "mknod",
    "mknodat",
    "symlink",
    "symlinkat",
    "link",
    "linkat",
    "unlink",
    "rmdir",
    "unlinkat",
    "rename",
    "renameat",
    "renameat2",
    "chmod",
    "fchmodat",
    "fchmodat2",
    "truncate",
    "utime",
    "utimes",
    "futimesat",
    "utimensat",
    "statfs",
    "chdir",
    "fchdir",
    "getcwd",
    "umask",
    "prctl",
    "fchmod",
    "bind",
    "connect",
    "kill",
    "tkill",
    "tgkill",
    "rt_sigqueueinfo",
    "rt_tgsigqueueinfo",
    "pidfd_open",
    "getxattr",
    "lgetxattr",
    "fgetxattr",
    "listxattr",
    "llistxattr",
    "flistxattr",
    "setxattr",
    "lsetxattr",
    "fsetxattr",
    "removexattr",
    "lremovexattr",
    "fremovexattr",
];

/// Calls that are refused, with the errno: programs know how to do without most of them.
const REFUSED: &[(&str, i32)] = &[
    ("openat2", libc::ENOSYS),
    ("getxattrat", libc::ENOSYS),
    ("setxattrat", libc::ENOSYS),
    ("listxattrat", libc::ENOSYS),
    ("removexattrat", libc::ENOSYS),
    ("name_to_handle_at", libc::EOPNOTSUPP),
    ("inotify_add_watch", libc::ENOSPC),
    ("fanotify_mark", libc::EPERM),
    ("statmount", libc::ENOSYS),
    ("listmount", libc::ENOSYS),
    ("chroot", libc::EPERM),
    // Tracing, and with it the memory of the builder, which is the same user's.
    ("ptrace", libc::EPERM),
    ("process_vm_readv", libc::EPERM),
    ("process_vm_writev", libc::EPERM),
    ("process_mrelease", libc::EPERM),
    // A thread that cannot be traced.
    ("clone", libc::EPERM),
];

fn refusal(name: &str) -> i32 {
    REFUSED.iter().find(|(call, _)| *call == name).map_or(libc::ENOSYS, |(_, errno)| *errno)
}

impl Emulation for Traced {
    fn watches(&self) -> Vec<Watch> {
        let always = |call| Watch { call, when: When::Always };
        let mut watches = self.ids.watches();
        watches.retain(|watch| !watch.call.starts_with("exec") && !WITH_PATHS.contains(&watch.call));
        watches.extend(WITH_PATHS.iter().filter(|call| **call != "fstat").map(|call| always(call)));
        watches.push(Watch { call: "fstat", when: When::NotStandardStream { argument: 0 } });
        let refused = REFUSED.iter().map(|(call, _)| *call).filter(|call| *call != "clone");
        watches.extend(refused.map(always));
        let with = |call, argument| Watch { call, when: When::NonZero { argument } };
        watches.extend([with("sendto", 4), with("prlimit64", 0)]);
        let value = libc::AF_UNIX.unsigned_abs();
        watches.push(Watch { call: "socket", when: When::Equals { argument: 0, value } });
        watches.push(Watch {
            call: "clone",
            when: When::AnyBit { argument: 0, bits: libc::CLONE_UNTRACED.unsigned_abs() },
        });
        watches
    }

    fn answer(&mut self, call: &Call<'_>) -> Answer {
        if call.name == ASKING_NAME
            && let Some(fd) = lock(&self.step.given).remove(&call.pid())
        {
            return Answer::Descriptor { fd, close_on_exec: true };
        }
        if let Some(answer) = self.step.begin(call.pid()) {
            return answer;
        }
        for event in lock(&self.step.events).drain(..) {
            // One that has ended meanwhile needs no rights.
            let _ = self.ids.executed(event.process, event.user, event.group);
        }
        if call.name.contains("chown")
            && let Err(error) = self.step.refuse_change(call)
        {
            return Answer::Fail(error.raw_os_error().unwrap_or(libc::EIO));
        }
        if self.played.contains(call.name) {
            match self.ids.answer(call) {
                Answer::Continue => {}
                answer => return answer,
            }
        }
        self.step.files(call)
    }
}

impl Paths for Step {
    fn open(&self, thread: u32, directory: u32, path: &Path, flags: OFlags) -> io::Result<OwnedFd> {
        self.open_path(thread, directory, path, flags)
    }

    fn parent(&self, thread: u32, directory: u32, path: &Path) -> io::Result<(OwnedFd, OsString)> {
        let caller = self.tasks.caller(thread).ok_or(Errno::SRCH)?;
        let from = self.start(&caller, directory, path)?;
        let found = self.view.find(&caller, &from, path, false)?;
        let (directory, name) = found.entry()?;
        Ok((directory.try_clone_to_owned()?, name.to_owned()))
    }

    fn opened(&self, thread: u32, number: u32) -> io::Result<OwnedFd> {
        self.open_descriptor(&self.tasks.caller(thread).ok_or(Errno::SRCH)?, number)
    }
}
