//! Reading and removing directories by descriptor.

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags};
use rustix::io::Errno;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;

/// Deepest tree that is removed; each level holds a descriptor.
const MAX_REMOVED_DEPTH: usize = 400;

/// A name in a directory.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct DirectoryEntry {
    /// The name.
    pub name: OsString,
    /// Whether it is a directory; `None` where the file system does not say.
    pub is_directory: Option<bool>,
}

/// Returns what a directory holds, without `.` and `..`, sorted by the bytes of the names.
pub fn read_directory(directory: impl AsFd) -> io::Result<Vec<DirectoryEntry>> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let mut stream = Dir::new(rustix::fs::openat(directory, ".", flags, Mode::empty())?)?;
    let mut entries = Vec::new();
    while let Some(entry) = stream.read() {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            let is_directory = match entry.file_type() {
                FileType::Unknown => None,
                file_type => Some(file_type == FileType::Directory),
            };
            entries.push(DirectoryEntry { name: OsStr::from_bytes(name).to_owned(), is_directory });
        }
    }
    entries.sort_unstable();
    Ok(entries)
}

/// Removes `name` from a directory with all that is below it, without following links; it may be absent.
pub fn remove_tree(directory: impl AsFd, name: &OsStr) -> io::Result<()> {
    remove_level(directory.as_fd(), name, 0)
}

fn remove_level(directory: BorrowedFd<'_>, name: &OsStr, depth: usize) -> io::Result<()> {
    match rustix::fs::unlinkat(directory, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => return Ok(()),
        Err(Errno::ISDIR | Errno::PERM) => {}
        Err(error) => return Err(error.into()),
    }
    match rustix::fs::unlinkat(directory, name, AtFlags::REMOVEDIR) {
        Ok(()) | Err(Errno::NOENT) => return Ok(()),
        Err(Errno::NOTEMPTY | Errno::EXIST) => {}
        Err(error) => return Err(error.into()),
    }
    if depth >= MAX_REMOVED_DEPTH {
        return Err(Errno::NAMETOOLONG.into());
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let below = rustix::fs::openat(directory, name, flags, Mode::empty())?;
    for entry in read_directory(&below)? {
        remove_level(below.as_fd(), &entry.name, depth + 1)?;
    }
    Ok(rustix::fs::unlinkat(directory, name, AtFlags::REMOVEDIR)?)
}
