//! /proc for a step that has none mounted: what it opens there the builder opens, and hands over.
//!
//! The step sees itself, its own processes and what is the same for all; other processes are not there.

use super::{Answer, Call, Emulation, Watch, When};
use crate::sandbox::chroot::parent_of;
use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;
use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Component, Path, PathBuf};

/// Longest way from a process up to the builder.
const GENERATIONS: usize = 4096;
/// Links of /proc/PID that lead to what another process has; below them lies no part of /proc.
const MAGIC: [&str; 4] = ["root", "cwd", "exe", "fd"];

/// Answers what a step asks of /proc.
pub struct Proc {
    /// The step's root as this process names it.
    root: PathBuf,
    builder: i32,
}

impl Proc {
    /// `root` is the step's root by its real path.
    pub fn new(root: PathBuf) -> Proc {
        Proc { root, builder: i32::try_from(std::process::id()).unwrap_or_default() }
    }

    /// Returns what stands in the builder's /proc for a path of the step, if it is one of /proc.
    fn translate(&self, call: &Call<'_>, path: &Path) -> Option<Result<Place, Errno>> {
        let device = path.strip_prefix("/dev").ok();
        let path = match device {
            Some(device) => Path::new("/proc/self").join(standard_stream(device)?),
            None => path.to_owned(),
        };
        let is_device = device.is_some();
        let mut components = path.strip_prefix("/proc").ok()?.components();
        // The directory itself is the step's own: the machine's lists processes that are not there for the step.
        let first = components.next()?;
        let rest = components.as_path();
        if path.components().any(|component| component == Component::ParentDir) {
            return None;
        }
        let first = first.as_os_str();
        let own = call.pid().to_string();
        let pid = match first.to_str() {
            Some("self" | "thread-self") => own.as_str(),
            Some(number) if number.bytes().all(|byte| byte.is_ascii_digit()) => {
                if !self.is_of_step(number) {
                    return Some(Err(Errno::NOENT));
                }
                number
            }
            _ => return Some(Ok(Place { path: below(Path::new("/proc").join(first), rest), is_device, own: None })),
        };
        let mut parts = rest.iter();
        let (file, depth) = (parts.next(), parts.count());
        let is_link = file.is_some_and(|file| MAGIC.iter().any(|magic| file == *magic));
        let is_descriptor = file.is_some_and(|file| file == "fd");
        // Further down the path is in the file system of the step, which it resolves itself.
        if is_link && depth > usize::from(is_descriptor) {
            return None;
        }
        let is_self = file.is_none() && first.as_bytes().ends_with(b"self");
        let path = below(Path::new("/proc").join(pid), rest);
        Some(Ok(Place { path, is_device, own: is_self.then_some(own.clone()) }))
    }

    /// Whether a process was started by a step of this builder.
    fn is_of_step(&self, pid: &str) -> bool {
        let Ok(mut pid) = pid.parse::<i32>() else { return false };
        for _ in 0..GENERATIONS {
            match parent_of(pid) {
                Some((parent, _)) if parent == self.builder => return true,
                Some((parent, _)) if parent > 1 => pid = parent,
                _ => return false,
            }
        }
        false
    }

    fn open(&self, call: &Call<'_>, path: usize, flags: usize) -> Answer {
        let Some(place) = self.place(call, path) else { return Answer::Continue };
        let place = match place {
            Ok(place) => place,
            Err(error) => return Answer::Fail(error.raw_os_error()),
        };
        let flags = OFlags::from_bits_retain(call.number(flags)) & !(OFlags::CREATE | OFlags::EXCL);
        match rustix::fs::openat(CWD, &place.path, flags | OFlags::NOCTTY | OFlags::CLOEXEC, Mode::empty()) {
            Ok(fd) => Answer::Descriptor { fd, close_on_exec: flags.contains(OFlags::CLOEXEC) },
            Err(error) => Answer::Fail(error.raw_os_error()),
        }
    }

    fn read_link(&self, call: &Call<'_>, path: usize) -> Answer {
        let Some(place) = self.place(call, path) else { return Answer::Continue };
        // The links in /dev are there, and are what they look like.
        if place.as_ref().is_ok_and(|place| place.is_device) {
            return Answer::Continue;
        }
        let target = place.and_then(|place| match place.own {
            Some(own) => Ok(own.into_bytes()),
            None => rustix::fs::readlink(&place.path, Vec::new()).map(|target| self.inside(target.into_bytes())),
        });
        let size = usize::try_from(call.argument(path + 2)).unwrap_or(usize::MAX);
        match target {
            Ok(target) => {
                let target = &target[..target.len().min(size)];
                Answer::of(call.write(path + 1, target).map(|()| target.len() as i64))
            }
            Err(error) => Answer::Fail(error.raw_os_error()),
        }
    }

    /// Reads a path of the caller; `None` if it has nothing to do with /proc.
    fn place(&self, call: &Call<'_>, index: usize) -> Option<Result<Place, Errno>> {
        // The shortest name that is ours is `/proc`: most others are told apart by a few bytes.
        let start = call.read(index, 5).ok()?;
        if start != b"/proc" && start != b"/dev/" {
            return None;
        }
        let path = call.path(index).ok()?;
        self.translate(call, &path)
    }

    /// Returns the target of a link as the step names it.
    fn inside(&self, target: Vec<u8>) -> Vec<u8> {
        let target = PathBuf::from(OsString::from_vec(target));
        match target.strip_prefix(&self.root) {
            Ok(inside) => Path::new("/").join(inside).into_os_string().into_vec(),
            Err(_) => target.into_os_string().into_vec(),
        }
    }
}

/// Where something is in the builder's /proc.
struct Place {
    path: PathBuf,
    /// Whether the step said it by a link in /dev.
    is_device: bool,
    /// The target of `/proc/self`, if it is that.
    own: Option<String>,
}

/// Joins paths; with nothing to join there is no slash at the end, which would ask for a directory.
fn below(mut path: PathBuf, rest: &Path) -> PathBuf {
    if !rest.as_os_str().is_empty() {
        path.push(rest);
    }
    path
}

/// Returns the file of /proc/self that a name in /dev is a link to.
fn standard_stream(device: &Path) -> Option<PathBuf> {
    match device.to_str()? {
        "stdin" => Some("fd/0".into()),
        "stdout" => Some("fd/1".into()),
        "stderr" => Some("fd/2".into()),
        _ if device.starts_with("fd") => Some(device.to_owned()),
        _ => None,
    }
}

impl Emulation for Proc {
    fn watches(&self) -> Vec<Watch> {
        ["open", "openat", "readlink", "readlinkat"].map(|call| Watch { call, when: When::Always }).into()
    }

    fn answer(&mut self, call: &Call<'_>) -> Answer {
        match call.name {
            "open" => self.open(call, 0, 1),
            "openat" => self.open(call, 1, 2),
            "readlink" => self.read_link(call, 0),
            "readlinkat" => self.read_link(call, 1),
            _ => Answer::Continue,
        }
    }
}
