//! Puts one node of a tree into another, with its metadata.

use super::Sharing;
use crate::sys::bytes::DataPath;
use crate::sys::{Root, chmod_at, owner};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat, Timespec, Timestamps, UTIME_OMIT};
use rustix::io::Errno;
use std::collections::HashMap;
use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

/// Copies nodes into one tree; remembers which files have several names.
pub(super) struct Nodes<'a> {
    target: &'a Root,
    sharing: Sharing,
    data: DataPath,
    /// First path in the target of each file with several names.
    links: HashMap<(u64, u64), PathBuf>,
}

impl<'a> Nodes<'a> {
    pub(super) fn new(target: &'a Root, sharing: Sharing) -> Nodes<'a> {
        Nodes { target, sharing, data: DataPath::default(), links: HashMap::new() }
    }

    /// Puts what is no directory under the same name into another directory, where nothing has the name.
    ///
    /// `path` is its path in the target.  Sockets are left out, as they are in every layer, and so are devices where none can
    /// be made.
    pub(super) fn put(
        &mut self,
        from: BorrowedFd<'_>,
        to: BorrowedFd<'_>,
        name: &OsStr,
        stat: &Stat,
        path: &Path,
    ) -> io::Result<()> {
        if self.sharing == Sharing::Linked && is_linked(rustix::fs::linkat(from, name, to, name, AtFlags::empty()))? {
            return Ok(());
        }
        if stat.st_nlink > 1 {
            if let Some(first) = self.links.get(&(stat.st_dev, stat.st_ino)) {
                let (directory, first) = self.target.parent(first)?;
                return Ok(rustix::fs::linkat(directory, &first, to, name, AtFlags::empty())?);
            }
            self.links.insert((stat.st_dev, stat.st_ino), path.to_owned());
        }
        self.copy(from, to, name, stat)
    }

    fn copy(&self, from: BorrowedFd<'_>, to: BorrowedFd<'_>, name: &OsStr, stat: &Stat) -> io::Result<()> {
        let mode = Mode::from_raw_mode(stat.st_mode & 0o7777);
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => return self.copy_file(from, to, name, stat),
            FileType::Symlink => {
                let target = rustix::fs::readlinkat(from, name, Vec::new())?;
                rustix::fs::symlinkat(target, to, name)?;
                own_at(from, to, name, stat)?;
            }
            kind @ (FileType::Fifo | FileType::CharacterDevice | FileType::BlockDevice) => {
                match rustix::fs::mknodat(to, name, kind, Mode::RUSR | Mode::WUSR, stat.st_rdev) {
                    Err(Errno::PERM) if kind != FileType::Fifo => return Ok(()),
                    result => result?,
                }
                own_at(from, to, name, stat)?;
                chmod_at(to, name, mode)?;
            }
            _ => return Ok(()),
        }
        Ok(rustix::fs::utimensat(to, name, &modified(stat), AtFlags::SYMLINK_NOFOLLOW)?)
    }

    fn copy_file(&self, from: BorrowedFd<'_>, to: BorrowedFd<'_>, name: &OsStr, stat: &Stat) -> io::Result<()> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let source = match rustix::fs::openat(from, name, flags, Mode::empty()) {
            // One's own file that its mode closes to oneself (0000).
            Err(Errno::ACCESS) => {
                let path = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let closed = rustix::fs::openat(from, name, path, Mode::empty())?;
                let open = || rustix::fs::openat(from, name, flags, Mode::empty());
                owner::overriding(&closed, open)?
            }
            result => result?,
        };
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::openat(to, name, flags, Mode::RUSR | Mode::WUSR)?;
        let size_bytes = u64::try_from(stat.st_size).unwrap_or(0);
        let is_sparse = (stat.st_blocks as u64).saturating_mul(512) < size_bytes;
        if self.data.copy(source.as_fd(), file.as_fd(), size_bytes, is_sparse)? != size_bytes {
            return Err(io::Error::other("the file was cut short while it was copied"));
        }
        set_metadata(&source, &file, stat)
    }
}

/// Whether a link was made; `false` where the file has to be copied.
fn is_linked(result: rustix::io::Result<()>) -> io::Result<bool> {
    match result {
        Ok(()) => Ok(true),
        // Another file system, too many names, or one that knows no links or protects this kind of file.
        Err(Errno::XDEV | Errno::MLINK | Errno::PERM | Errno::OPNOTSUPP) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Gives a file or directory what another has: owner, mode, capabilities, time; in the order in which none undoes another.
pub(super) fn set_metadata(from: &OwnedFd, to: &OwnedFd, stat: &Stat) -> io::Result<()> {
    if owner::is_aside() {
        owner::record(to, owner::recorded(from, stat)?.unwrap_or_default())?;
    } else {
        let now = rustix::fs::fstat(to)?;
        if (now.st_uid, now.st_gid) != (stat.st_uid, stat.st_gid) {
            owner::set(to, stat.st_uid, stat.st_gid)?;
        }
        owner::copy_device(from, to, stat)?;
    }
    rustix::fs::fchmod(to, Mode::from_raw_mode(stat.st_mode & 0o7777))?;
    if FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile
        && let Some(value) = owner::capability(from)?
    {
        owner::set_capability(to, &value)?;
    }
    Ok(rustix::fs::futimens(to, &modified(stat))?)
}

fn own_at(from: BorrowedFd<'_>, to: BorrowedFd<'_>, name: &OsStr, stat: &Stat) -> io::Result<()> {
    if owner::is_aside() {
        let Some(wanted) = owner::wanted_at(from, name, stat)? else { return Ok(()) };
        return owner::set_at(to, name, wanted.uid, wanted.gid);
    }
    let now = rustix::fs::statat(to, name, AtFlags::SYMLINK_NOFOLLOW)?;
    if (now.st_uid, now.st_gid) == (stat.st_uid, stat.st_gid) {
        return Ok(());
    }
    owner::set_at(to, name, stat.st_uid, stat.st_gid)
}

fn modified(stat: &Stat) -> Timestamps {
    Timestamps {
        last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
        last_modification: Timespec { tv_sec: stat.st_mtime, tv_nsec: stat.st_mtime_nsec as _ },
    }
}

/// Opens a directory below another, not following a link.
pub(super) fn open_directory(directory: BorrowedFd<'_>, name: &OsStr) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(directory, name, flags, Mode::empty())?)
}
