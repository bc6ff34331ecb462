//! Places in a root file system that a mount is put onto: found or made without ever leaving the root.

use crate::sys::{Root, components_reversed};
use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

/// What stands at a mount point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Directory,
    File,
}

/// How many links a path may go through, the kernel's limit.
const LINK_LIMIT: usize = 40;

/// Makes what is missing of `path` and returns its real path in the root (no links, no `..`).
///
/// `watch` hears of each entry before and after it is made, and may refuse it before.
/// Links are followed inside the root, dangling ones too, as the kernel does with `RESOLVE_IN_ROOT`.
pub(super) fn ensure(
    root: &Root,
    path: &Path,
    kind: Kind,
    watch: &mut dyn FnMut(Making<'_>) -> io::Result<()>,
) -> io::Result<PathBuf> {
    let mut resolved = PathBuf::from("/");
    let mut rest = components_reversed(path);
    let mut links = 0;
    while let Some(part) = rest.pop() {
        if part == ".." {
            resolved.pop();
            continue;
        }
        let next = resolved.join(&part);
        match root.stat(&next, false)? {
            None => {
                let entry = if rest.is_empty() { kind } else { Kind::Directory };
                watch(Making::Before { directory: &resolved })?;
                make(root, &next, entry)?;
                watch(Making::After { path: &next, kind: entry })?;
                resolved = next;
            }
            Some(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::Symlink => {
                links += 1;
                if links > LINK_LIMIT {
                    return Err(rustix::io::Errno::LOOP.into());
                }
                let link = open(root, &next)?;
                // Links of /proc name places of the builder, which would be made inside the image.
                if is_proc(link.as_fd())? {
                    return Err(io::Error::other("the path goes through a link in /proc"));
                }
                let target = PathBuf::from(root.read_link(&next)?);
                if target.is_absolute() {
                    resolved = PathBuf::from("/");
                }
                rest.extend(components_reversed(&target));
            }
            Some(_) => resolved = next,
        }
    }
    Ok(resolved)
}

/// News of [`ensure`].
#[derive(Debug)]
pub(super) enum Making<'a> {
    /// Something will be made in this directory.
    Before { directory: &'a Path },
    /// This was made.
    After { path: &'a Path, kind: Kind },
}

fn make(root: &Root, path: &Path, kind: Kind) -> io::Result<()> {
    let (parent, name) = root.parent(path)?;
    let result = match kind {
        Kind::Directory => rustix::fs::mkdirat(&parent, &name, Mode::from_raw_mode(0o755)),
        Kind::File => {
            let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            rustix::fs::openat(&parent, &name, flags, Mode::from_raw_mode(0o644)).map(drop)
        }
    };
    match result {
        // Another step made it in a cache that both have mounted.
        Err(rustix::io::Errno::EXIST) => Ok(()),
        result => Ok(result?),
    }
}

/// Opens a real path as a place to mount onto; a link there is not followed and cannot be mounted onto.
pub(super) fn open(root: &Root, path: &Path) -> io::Result<OwnedFd> {
    root.open_at(path, OFlags::PATH | OFlags::NOFOLLOW, Mode::empty())
}

/// Returns what kind of mount point fits this mount source.
pub(super) fn kind_of(fd: &OwnedFd) -> io::Result<Kind> {
    let stat = rustix::fs::statat(fd, "", AtFlags::EMPTY_PATH)?;
    Ok(match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => Kind::Directory,
        _ => Kind::File,
    })
}

/// Whether a place is in a proc file system.
pub(super) fn is_proc(place: BorrowedFd<'_>) -> io::Result<bool> {
    Ok(rustix::fs::fstatfs(place)?.f_type == libc::PROC_SUPER_MAGIC)
}
