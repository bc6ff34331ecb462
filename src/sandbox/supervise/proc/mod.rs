//! /proc and /sys for a step that has none mounted: what it opens there the builder opens and hands over, what it asks about
//! them the builder looks up.
//!
//! The step sees itself, its own processes and what is the same for all; other processes are not there.  What is done for it
//! is done with the rights of the user that asks.

mod act;
mod list;
mod look;
mod place;
mod text;

use super::identity::Identity;
use super::{Answer, Call, Emulation, Watch, When};
use crate::sandbox::chroot::parent_of;
use crate::sys::Root;
use list::Listing;
use place::{Caller, Meaning, Place, Text};
use rustix::fs::OFlags;
use rustix::io::Errno;
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::path::{Path, PathBuf};

/// Longest way from a process up to the first of its step.
const GENERATIONS: usize = 4096;

/// Answers what a step asks of /proc and /sys.
pub struct Proc {
    /// The step's root as this process names it.
    root: PathBuf,
    hostname: String,
    shm_size_bytes: u64,
    listing: Listing,
    identity: Identity,
    first: Option<First>,
}

/// The command's own process, which the step knows as 1 too.
#[derive(Debug, Clone, Copy)]
struct First {
    process: u32,
    /// What the step's processes come from, and what is not theirs.
    reaper: i32,
}

/// Returns the content of `/proc/mounts` for the step of a root.
pub(in crate::sandbox) fn mount_table(root: &Root, shm_size_bytes: u64) -> Vec<u8> {
    let path = std::fs::read_link(format!("/proc/self/fd/{}", root.as_fd().as_raw_fd()));
    text::mounts(&path.unwrap_or_else(|_| "/".into()), shm_size_bytes).0
}

/// What to do with a call, once its path is known.
enum Found {
    /// Nothing of ours.
    Other,
    /// /proc itself.
    Proc,
    /// Something below it.
    Place(Place),
    /// A link in /dev to something below it.
    Device(Place),
}

impl Proc {
    /// `root` is the step's root, `path` its real path.
    pub fn new(root: &Root, path: PathBuf, hostname: String, shm_size_bytes: u64) -> io::Result<Proc> {
        let (listing, identity) = (Listing::new(root)?, Identity::new());
        Ok(Proc { root: path, hostname, shm_size_bytes, listing, identity, first: None })
    }

    /// Finds what the path that an argument points to means; from then on this thread acts as the caller.
    fn find(&mut self, call: &Call<'_>, index: usize) -> Result<Found, Errno> {
        if !self.may_be_ours(call, index) {
            return Ok(Found::Other);
        }
        // A caller that is gone, or whose memory is closed to us: the kernel answers.
        let Ok(path) = call.path(index) else { return Ok(Found::Other) };
        self.find_path(call, &path)
    }

    fn find_path(&mut self, call: &Call<'_>, path: &Path) -> Result<Found, Errno> {
        let Ok(process) = self.identity.become_caller(call.pid()) else { return Ok(Found::Other) };
        let first = self.first(call);
        let caller = Caller { process, thread: call.pid() };
        match place::meaning(path, caller, |number| first.process_of(number)) {
            None => Ok(Found::Other),
            Some(Meaning::Absent) => Err(Errno::NOENT),
            Some(Meaning::Proc) => Ok(Found::Proc),
            Some(Meaning::Place(place)) => Ok(Found::Place(place)),
            Some(Meaning::Device(place)) => Ok(Found::Device(place)),
        }
    }

    /// The command's own process is the first that calls, to execute the command.
    fn first(&mut self, call: &Call<'_>) -> First {
        *self.first.get_or_insert_with(|| First::of(call.pid()))
    }

    /// Looks at the start of a path only: that is all that most calls cost.
    fn may_be_ours(&mut self, call: &Call<'_>, index: usize) -> bool {
        // The shortest name that is ours.
        let mut start = [0; 4];
        match call.read_into(index, &mut start) {
            // Another user's process.
            Err(error) if error.raw_os_error() == Some(libc::EPERM) => {
                let reached = self.identity.become_caller(call.pid());
                if reached.and_then(|_| call.read_into(index, &mut start)).is_err() {
                    return false;
                }
            }
            Err(_) => return false,
            Ok(()) => {}
        }
        matches!(&start, b"/pro" | b"/dev" | b"/sys")
    }

    /// Returns the target of a link as the step names it.
    fn inside(&self, target: &Path) -> PathBuf {
        match target.strip_prefix(&self.root) {
            Ok(inside) => Path::new("/").join(inside),
            Err(_) => target.to_owned(),
        }
    }

    fn text(&self, text: Text) -> Vec<u8> {
        match text {
            Text::Mounts => text::mounts(&self.root, self.shm_size_bytes).0,
            Text::MountInfo => text::mounts(&self.root, self.shm_size_bytes).1,
            Text::HostName => format!("{}\n", self.hostname).into_bytes(),
        }
    }

    fn answered(&mut self, call: &Call<'_>) -> Result<Answer, Errno> {
        match call.name {
            "open" => self.open(call, 0, OFlags::from_bits_retain(call.number(1))),
            "openat" => self.open(call, 1, OFlags::from_bits_retain(call.number(2))),
            "openat2" => match call.read(2, 24) {
                Ok(how) => self.open_how(call, &how),
                Err(_) => Ok(Answer::Continue),
            },
            "readlink" => self.read_link(call, 0),
            "readlinkat" => self.read_link(call, 1),
            "stat" | "lstat" | "newfstatat" | "statx" | "statfs" | "access" | "faccessat" | "faccessat2" => {
                self.look(call)
            }
            "getxattr" | "lgetxattr" | "listxattr" | "llistxattr" => self.attributes(call),
            "execve" => self.execute(call, 0),
            "execveat" => self.execute(call, 1),
            "linkat" => self.link(call),
            "uname" => self.uname(call),
            _ => self.change(call),
        }
    }
}

impl First {
    fn of(process: u32) -> First {
        let parent = i32::try_from(process).ok().and_then(parent_of);
        First { process, reaper: parent.map_or(0, |(parent, _)| parent) }
    }

    /// Returns the process that the step sees under a number.
    fn process_of(self, number: &str) -> Option<u32> {
        let process: u32 = number.parse().ok()?;
        if process == 1 {
            return Some(self.process);
        }
        let mut ancestor = i32::try_from(process).ok()?;
        for _ in 0..GENERATIONS {
            match parent_of(ancestor) {
                Some((parent, _)) if parent == self.reaper => return Some(process),
                Some((parent, _)) if parent > 1 => ancestor = parent,
                _ => return None,
            }
        }
        None
    }
}

fn errno(error: &io::Error) -> Errno {
    Errno::from_io_error(error).unwrap_or(Errno::IO)
}

/// Calls with a path, which is all that tells whether they are ours.
const BY_PATH: [&str; 15] = [
    "open",
    "readlink",
    "stat",
    "lstat",
    "statfs",
    "access",
    "chmod",
    "chown",
    "lchown",
    "execve",
    "uname",
    "getxattr",
    "lgetxattr",
    "listxattr",
    "llistxattr",
];
/// Calls with a directory and a path; only those without a directory of their own, as programs that walk a tree have it.
const AT_PATH: [&str; 13] = [
    "openat",
    "openat2",
    "readlinkat",
    "newfstatat",
    "statx",
    "faccessat",
    "faccessat2",
    "fchmodat",
    "fchmodat2",
    "fchownat",
    "utimensat",
    "linkat",
    "execveat",
];

impl Emulation for Proc {
    fn watches(&self) -> Vec<Watch> {
        const CURRENT: u32 = libc::AT_FDCWD.cast_unsigned();
        let by_path = BY_PATH.map(|call| Watch { call, when: When::Always });
        let at_path = AT_PATH.map(|call| Watch { call, when: When::Equals { argument: 0, value: CURRENT } });
        [by_path.as_slice(), &at_path].concat()
    }

    fn answer(&mut self, call: &Call<'_>) -> Answer {
        self.first(call);
        self.answered(call).unwrap_or_else(|error| Answer::Fail(error.raw_os_error()))
    }
}
