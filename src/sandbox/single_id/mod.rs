//! Users, groups and owners in a user namespace that has one id: played for a step's programs, recorded for its layer.
//!
//! The kernel knows one user there, root.  What programs ask for beyond that (chown, setuid, mknod of a device) the
//! builder answers: it keeps the owner aside ([`crate::sys::owner`]) and remembers who a process believes to be, and
//! later questions (stat, getuid) get answers that agree.  Rights are not played: whoever a process believes to be, it
//! reads and writes as root, so that a step may succeed here that would be refused elsewhere, and not the reverse.

mod attributes;
mod capabilities;
mod chown;
mod create;
mod credentials;
mod ids;
mod look;
mod peer;
mod processes;

use super::supervise::{Answer, Call, Emulation, Watch, When};
use super::user::User;
use crate::sys::owner::Owner;
use credentials::Credentials;
use processes::Processes;
use rustix::fs::{FileType, OFlags, Stat};
use rustix::io::Errno;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

/// Plays users and owners for one step.
pub(super) struct SingleId {
    processes: Processes,
    /// Whether the kernel knows not even root as an owner: a file without a record is shown as root's.
    is_without_owners: bool,
}

impl SingleId {
    /// The step's first process believes to be `user`.
    pub(super) fn new(user: &User) -> SingleId {
        SingleId { processes: Processes::new(Credentials::of(user)), is_without_owners: false }
    }

    /// For a step outside any user namespace, in which its files are the builder's own.
    pub(super) fn without_owners(self) -> SingleId {
        SingleId { is_without_owners: true, ..self }
    }

    /// Gives a process the rights of a set-user-id or set-group-id program that it has executed.
    pub(super) fn executed(&mut self, process: u32, user: Option<u32>, group: Option<u32>) -> io::Result<()> {
        let credentials = self.processes.get(process);
        let mut changed = (*credentials).clone();
        changed.execute(user, group);
        if changed == *credentials { Ok(()) } else { self.processes.set(process, changed) }
    }
}

/// Calls that cannot succeed in a namespace of one id and that programs do not go on without: owners, users, groups.
///
/// Names with 32 are those of i386.
pub(super) const MUST_SUCCEED: &[&str] = &[
    "chown",
    "fchown",
    "lchown",
    "fchownat",
    "chown32",
    "fchown32",
    "lchown32",
    "setuid",
    "setreuid",
    "setresuid",
    "setuid32",
    "setreuid32",
    "setresuid32",
    "setgid",
    "setregid",
    "setresgid",
    "setgid32",
    "setregid32",
    "setresgid32",
    "setgroups",
    "setgroups32",
];

/// Calls that are always seen besides those that must succeed.
const ALWAYS: &[&str] = &[
    "setfsuid",
    "setfsuid32",
    "setfsgid",
    "setfsgid32",
    "getgroups",
    "getgroups32",
    "getuid",
    "geteuid",
    "getgid",
    "getegid",
    "getuid32",
    "geteuid32",
    "getgid32",
    "getegid32",
    "getresuid",
    "getresgid",
    "getresuid32",
    "getresgid32",
    "capset",
    "listxattr",
    "llistxattr",
    "flistxattr",
    "execve",
    "execveat",
    "mknod",
    "mknodat",
    "mkdir",
    "mkdirat",
    "symlink",
    "symlinkat",
    "creat",
    "stat",
    "lstat",
    "newfstatat",
];

impl Emulation for SingleId {
    fn watches(&self) -> Vec<Watch> {
        const CREATE: u32 = libc::O_CREAT.unsigned_abs();
        /// STATX_UID and STATX_GID: who does not ask for owners need not be told.
        const OWNERS: u32 = 0x18;
        /// PR_SET_KEEPCAPS and PR_SET_SECUREBITS have it, and few others.
        const KEEPING: u32 = libc::PR_SET_KEEPCAPS.unsigned_abs();
        const LOCKS: u32 = processes::RLIMIT_LOCKS;
        let always = MUST_SUCCEED.iter().chain(ALWAYS);
        let mut watches: Vec<Watch> = always.map(|call| Watch { call, when: When::Always }).collect();
        watches.extend([
            Watch { call: "open", when: When::AnyBit { argument: 1, bits: CREATE } },
            Watch { call: "openat", when: When::AnyBit { argument: 2, bits: CREATE } },
            Watch { call: "statx", when: When::AnyBit { argument: 3, bits: OWNERS } },
            // Only the bits of one limit's number, which others have as well.
            Watch { call: "prlimit64", when: When::AnyBit { argument: 1, bits: LOCKS } },
            Watch { call: "setrlimit", when: When::AnyBit { argument: 0, bits: LOCKS } },
            Watch { call: "getrlimit", when: When::AnyBit { argument: 0, bits: LOCKS } },
            // SO_PEERCRED has the bit, and the options that servers ask for all the time have not.
            Watch { call: "getsockopt", when: When::AnyBit { argument: 2, bits: 16 } },
            Watch { call: "prctl", when: When::AnyBit { argument: 0, bits: KEEPING } },
            Watch { call: "fstat", when: When::NotStandardStream { argument: 0 } },
        ]);
        watches
    }

    fn answer(&mut self, call: &Call<'_>) -> Answer {
        let answered = match call.name.trim_end_matches("32") {
            "chown" | "fchown" | "lchown" | "fchownat" => self.chown(call),
            "stat" | "lstat" | "fstat" | "newfstatat" | "statx" => {
                look::answer(call, self.is_without_owners.then(Owner::default))
            }
            "open" | "openat" | "creat" | "mkdir" | "mkdirat" | "symlink" | "symlinkat" | "mknod" | "mknodat" => {
                self.create(call)
            }
            "listxattr" | "llistxattr" | "flistxattr" => attributes::list(call),
            "execve" | "execveat" => self.execute(call),
            "getsockopt" => self.peer(call),
            "prlimit64" | "setrlimit" | "getrlimit" => processes::limits(call),
            "prctl" | "capset" => self.keep_capabilities(call),
            name => return self.ids(name, call),
        };
        answered.unwrap_or_else(|error| Answer::Fail(error.raw_os_error().unwrap_or(libc::EIO)))
    }
}

/// What a call with a path, a directory and flags is about.
struct Target {
    file: OwnedFd,
    stat: Stat,
}

/// Opens what a call is about; `None` if it is something of the kernel's that only the caller can reach.
///
/// `flags` are those of the `*at` calls: AT_SYMLINK_NOFOLLOW, AT_EMPTY_PATH.
fn target(call: &Call<'_>, directory: u32, path: &Path, flags: u32) -> io::Result<Option<Target>> {
    let follows = flags & libc::AT_SYMLINK_NOFOLLOW.unsigned_abs() == 0;
    if path.as_os_str().is_empty() {
        if flags & libc::AT_EMPTY_PATH.unsigned_abs() == 0 {
            return Err(Errno::NOENT.into());
        }
        if directory == libc::AT_FDCWD.cast_unsigned() {
            let file = call.open(directory, Path::new("."), OFlags::PATH)?;
            return Ok(Some(Target { stat: rustix::fs::fstat(&file)?, file }));
        }
        return opened(call, directory).map(Some);
    }
    let nofollow = if follows { OFlags::empty() } else { OFlags::NOFOLLOW };
    match call.open(directory, path, OFlags::PATH | nofollow) {
        Ok(file) => Ok(Some(Target { stat: rustix::fs::fstat(&file)?, file })),
        // A link into /proc (`/dev/stdout`), or a name in it that is the caller's own.
        Err(error) if matches!(Errno::from_io_error(&error), Some(Errno::LOOP | Errno::NOENT)) && is_kernels(path) => {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// Opens what a descriptor of the caller stands for.
fn opened(call: &Call<'_>, number: u32) -> io::Result<Target> {
    let file = call.opened(number)?;
    call.is_still_there()?;
    Ok(Target { stat: rustix::fs::fstat(&file)?, file })
}

fn is_kernels(path: &Path) -> bool {
    path.starts_with("/dev") || path.starts_with("/proc") || !path.is_absolute()
}

impl Target {
    fn file_type(&self) -> FileType {
        FileType::from_raw_mode(self.stat.st_mode)
    }
}
