//! Makes one file system node that is no directory, and sets owner, mode and time.

use crate::sys::owner;
use rustix::fs::{AtFlags, FileType, Mode, OFlags, Timespec, Timestamps};
use rustix::io::Errno;
use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// How a directory is opened to be written to or changed.
pub(super) const DIRECTORY: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Why a node could not be made.
#[derive(Debug)]
pub(super) enum NodeError {
    /// A directory stands in its place.
    IsADirectory,
    /// The system says no.
    Io(io::Error),
}

impl From<Errno> for NodeError {
    fn from(error: Errno) -> NodeError {
        NodeError::Io(error.into())
    }
}

impl From<io::Error> for NodeError {
    fn from(error: io::Error) -> NodeError {
        NodeError::Io(error)
    }
}

/// Makes something under a name, replacing a file or link (never a directory) that has it.
///
/// The old file is unlinked, not overwritten: its other names and the programs that run from it keep their content.
pub(super) fn replace<T>(
    parent: BorrowedFd<'_>,
    name: &OsStr,
    make: impl Fn() -> Result<T, Errno>,
) -> Result<T, NodeError> {
    match make() {
        Err(Errno::EXIST) => {}
        result => return Ok(result?),
    }
    match rustix::fs::unlinkat(parent, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(make()?),
        Err(error) => {
            let stat = rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)?;
            if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
                return Err(NodeError::IsADirectory);
            }
            Err(error.into())
        }
    }
}

/// Makes an empty regular file, mode 0600 for now, and opens it for writing.
pub(super) fn create_file(parent: BorrowedFd<'_>, name: &OsStr) -> Result<OwnedFd, NodeError> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    replace(parent, name, || rustix::fs::openat(parent, name, flags, Mode::RUSR | Mode::WUSR))
}

/// Gives an open file or directory its owner and mode; returns whether the owner could be given.
///
/// The owner first, for chown takes setuid and setgid bits away.
pub(super) fn set_owner_and_mode(file: impl AsFd, uid: u32, gid: u32, mode: u32) -> io::Result<bool> {
    let given = is_given(owner::set(&file, uid, gid))?;
    rustix::fs::fchmod(&file, Mode::from_raw_mode(mode))?;
    Ok(given)
}

/// Like [`set_owner_and_mode`] for a node by its name; a link has no mode.
pub(super) fn set_owner_and_mode_at(
    parent: BorrowedFd<'_>,
    name: &OsStr,
    (uid, gid): (u32, u32),
    mode: Option<u32>,
) -> io::Result<bool> {
    let given = is_given(owner::set_at(parent, name, uid, gid))?;
    if let Some(mode) = mode {
        rustix::fs::chmodat(parent, name, Mode::from_raw_mode(mode), AtFlags::empty())?;
    }
    Ok(given)
}

/// Whether a chown succeeded; no right to do it, or an id that the user namespace does not have, is no error.
fn is_given(result: io::Result<()>) -> io::Result<bool> {
    match result {
        Ok(()) => Ok(true),
        Err(error) if matches!(Errno::from_io_error(&error), Some(Errno::PERM | Errno::INVAL)) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Returns access and modification time, both the same.
pub(crate) fn timestamps(seconds: i64, nanoseconds: u32) -> Timestamps {
    let time = Timespec { tv_sec: seconds, tv_nsec: nanoseconds.into() };
    Timestamps { last_access: time, last_modification: time }
}
