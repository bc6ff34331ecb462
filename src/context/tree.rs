//! A tree of files that sources are looked up in: a context on disk, or the file system of a step.

use super::ignore::{DirectoryState, IgnoreRules};
use super::selection::{Entry, EntryKind};
use crate::sys::Root;
use crate::sys::owner::{Device, Owner};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat, makedev};
use std::ffi::{OsStr, OsString};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

/// A tree and how to look at it.
#[derive(Debug, Clone, Copy)]
pub struct Tree<'a> {
    /// Its root.
    pub root: &'a Root,
    /// What of it is not there for a build; `None` for file systems of steps.
    pub ignore: Option<&'a IgnoreRules>,
    /// Whether owners count; in a local context everything is 0:0.
    pub keep_owner: bool,
}

/// What identifies the content of a file without reading it (the stat cache's key, next to the path).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct FileStamp {
    /// Size.
    pub size_bytes: u64,
    /// Modification time, seconds and nanoseconds.
    pub mtime: (i64, u32),
    /// Time of the last change of the inode, seconds and nanoseconds.
    pub ctime: (i64, u32),
    /// Inode number.
    pub inode: u64,
    /// Device number.
    pub device: u64,
}

impl FileStamp {
    /// Returns the stamp of a file.
    pub fn of(stat: &Stat) -> FileStamp {
        // The casts are of types that differ between architectures; all values fit.
        #[allow(clippy::unnecessary_cast)]
        FileStamp {
            size_bytes: stat.st_size as u64,
            mtime: (stat.st_mtime as i64, stat.st_mtime_nsec as u32),
            ctime: (stat.st_ctime as i64, stat.st_ctime_nsec as u32),
            inode: stat.st_ino as u64,
            device: stat.st_dev as u64,
        }
    }
}

impl Tree<'_> {
    /// Makes the entry of a node that was just statted.
    ///
    /// `recorded` returns what is kept aside of it, see [`crate::sys::owner::wanted`]; not asked for where owners do not count.
    pub(super) fn entry(
        &self,
        path: PathBuf,
        stat: &Stat,
        kind: EntryKind,
        recorded: impl FnOnce() -> io::Result<Option<Owner>>,
    ) -> io::Result<Entry> {
        let recorded = if self.keep_owner { recorded()? } else { None };
        let (uid, gid) = match recorded {
            Some(owner) => (owner.uid, owner.gid),
            None if self.keep_owner => (stat.st_uid, stat.st_gid),
            None => (0, 0),
        };
        let kind = match recorded.and_then(|owner| owner.device) {
            Some(Device { is_block, major, minor }) => {
                let rdev = makedev(major, minor);
                if is_block { EntryKind::BlockDevice { rdev } } else { EntryKind::CharDevice { rdev } }
            }
            None => kind,
        };
        let stamp = FileStamp::of(stat);
        let is_shared = !matches!(kind, EntryKind::Directory) && stat.st_nlink > 1;
        Ok(Entry {
            path,
            kind,
            mode: stat.st_mode & 0o7777,
            uid,
            gid,
            mtime_seconds: stamp.mtime.0,
            mtime_nanoseconds: stamp.mtime.1,
            inode: is_shared.then_some((stamp.device, stamp.inode)),
        })
    }

    /// Returns the ignore state of a path relative to the root.
    pub(super) fn state_of(&self, path: &[u8]) -> DirectoryState {
        self.ignore.map(|rules| rules.descend(path)).unwrap_or_default()
    }

    /// Lists a directory, without following a link in its last component: names in the order of their bytes.
    pub(super) fn list(&self, directory: &Path) -> io::Result<(OwnedFd, Vec<OsString>)> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW;
        let fd = self.root.open_at(directory, flags, Mode::empty())?;
        let mut buffer = [MaybeUninit::<u8>::uninit(); 16 * 1024];
        let mut names = Vec::new();
        let mut entries = rustix::fs::RawDir::new(fd.as_fd(), &mut buffer);
        while let Some(entry) = entries.next() {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if name != b"." && name != b".." {
                names.push(OsString::from_vec(name.to_vec()));
            }
        }
        names.sort_unstable();
        Ok((fd, names))
    }
}

/// Stats a name in a directory, links not followed; `None` if it is gone.
pub(super) fn stat_at(directory: &OwnedFd, name: &OsStr) -> io::Result<Option<Stat>> {
    match rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(stat)),
        Err(rustix::io::Errno::NOENT) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Returns the kind of a statted node; `read_link` is asked for the target of a link.
pub(super) fn kind_of(stat: &Stat, read_link: impl FnOnce() -> io::Result<OsString>) -> io::Result<EntryKind> {
    #[allow(clippy::unnecessary_cast)]
    let rdev = stat.st_rdev as u64;
    Ok(match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => EntryKind::Directory,
        FileType::RegularFile => EntryKind::File { size_bytes: FileStamp::of(stat).size_bytes },
        FileType::Symlink => EntryKind::Symlink { target: read_link()? },
        FileType::Fifo => EntryKind::Fifo,
        FileType::Socket => EntryKind::Socket,
        FileType::CharacterDevice => EntryKind::CharDevice { rdev },
        FileType::BlockDevice => EntryKind::BlockDevice { rdev },
        _ => return Err(io::Error::new(io::ErrorKind::Unsupported, "a file of unknown type")),
    })
}

/// Reads the target of the link `name` in a directory.
pub(super) fn read_link_at(directory: &OwnedFd, name: &OsStr) -> io::Result<OsString> {
    let target = rustix::fs::readlinkat(directory, name, Vec::new())?;
    Ok(OsStr::from_bytes(target.as_bytes()).to_owned())
}

/// Joins a relative path that may be empty; a slash at the end would make the kernel follow a link.
pub(super) fn join(origin: &Path, relative: &Path) -> PathBuf {
    if relative.as_os_str().is_empty() { origin.to_owned() } else { origin.join(relative) }
}

/// A path of the tree as ignore rules see it: without the slash at its start.
pub(super) fn rule_path(path: &Path) -> &[u8] {
    let bytes = path.as_os_str().as_bytes();
    bytes.strip_prefix(b"/").unwrap_or(bytes)
}
