//! New files of processes that believe not to be root, and devices: made here, with their owner.
//!
//! Root's own new files need nothing: a file without a record is root's.

use super::SingleId;
use super::capabilities::CAP_MKNOD;
use super::credentials::Credentials;
use crate::sandbox::devices;
use crate::sandbox::supervise::{Answer, Call, Status};
use crate::sys::owner::{self, Owner};
use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

/// Set-group-id bit of a directory: what is made in it belongs to its group.
const SET_GROUP: u32 = 0o2000;

/// Where something is made.
struct Place {
    directory: OwnedFd,
    name: OsString,
    owner: Owner,
}

impl SingleId {
    pub(super) fn create(&mut self, call: &Call<'_>) -> io::Result<Answer> {
        const CURRENT: u32 = libc::AT_FDCWD.cast_unsigned();
        // The directory, and the arguments with the path, with the flags and with the mode.
        let (directory, path, flags, mode) = match call.name {
            "open" => (CURRENT, 0, call.number(1), call.number(2)),
            "openat" => (call.number(0), 1, call.number(2), call.number(3)),
            "creat" => (CURRENT, 0, (OFlags::CREATE | OFlags::WRONLY | OFlags::TRUNC).bits(), call.number(1)),
            "mkdir" | "mknod" => (CURRENT, 0, 0, call.number(1)),
            "mkdirat" | "mknodat" => (call.number(0), 1, 0, call.number(2)),
            "symlink" => (CURRENT, 1, 0, 0),
            _ => (call.number(1), 2, 0, 0),
        };
        let credentials = self.processes.get(call.pid());
        let device = devices::Request::of(call);
        if device.is_some() && !credentials.capabilities.has(CAP_MKNOD) {
            return Err(Errno::PERM.into());
        }
        // What cannot be found or is there already the kernel answers best.
        let Ok(place) = place(call, directory, call.path(path)?, &credentials) else { return Ok(Answer::Continue) };
        let is_there = rustix::fs::statat(&place.directory, &place.name, AtFlags::SYMLINK_NOFOLLOW).is_ok();
        if is_there || (place.owner == Owner::default() && device.is_none()) {
            return Ok(Answer::Continue);
        }
        let status = Status::of(call.pid());
        let file_type = FileType::from_raw_mode(mode);
        let mode = Mode::from_raw_mode(mode & 0o7777 & !status.umask());
        match (call.name, device) {
            ("open" | "openat" | "creat", _) => return place.open(OFlags::from_bits_retain(flags), mode),
            ("mkdir" | "mkdirat", _) => rustix::fs::mkdirat(&place.directory, &place.name, mode)?,
            ("symlink" | "symlinkat", _) => rustix::fs::symlinkat(call.path(0)?, &place.directory, &place.name)?,
            (_, Some(device)) => device.make(&place.directory, &place.name, &status)?,
            (_, None) => {
                let file_type = if file_type == FileType::Unknown { FileType::RegularFile } else { file_type };
                rustix::fs::mknodat(&place.directory, &place.name, file_type, mode, 0)?;
            }
        }
        owner::set_at(&place.directory, &place.name, place.owner.uid, place.owner.gid)?;
        Ok(Answer::Return(0))
    }
}

/// Finds where the caller makes something, and whose it will be.
fn place(call: &Call<'_>, directory: u32, path: PathBuf, credentials: &Credentials) -> io::Result<Place> {
    let (directory, name) = call.parent(directory, &path)?;
    let above = rustix::fs::fstat(&directory)?;
    let mut owner = Owner::new(credentials.user.files, credentials.group.files);
    if above.st_mode & SET_GROUP != 0 {
        owner.gid = owner::recorded(&directory, &above)?.unwrap_or_default().gid;
    }
    Ok(Place { directory, name, owner })
}

impl Place {
    fn open(&self, flags: OFlags, mode: Mode) -> io::Result<Answer> {
        let name: &OsStr = &self.name;
        let own = OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        match rustix::fs::openat(&self.directory, name, flags | own, mode) {
            Ok(fd) => {
                owner::set(&fd, self.owner.uid, self.owner.gid)?;
                Ok(Answer::Descriptor { fd, close_on_exec: flags.contains(OFlags::CLOEXEC) })
            }
            // Somebody else was first.
            Err(Errno::EXIST) => Ok(Answer::Continue),
            Err(error) => Err(error.into()),
        }
    }
}
