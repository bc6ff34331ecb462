//! Locks on directories that others may move away (`flock`).

use std::fs::{File, Metadata, TryLockError};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// How often a directory that is replaced while it is locked is tried again.
const ATTEMPT_LIMIT: usize = 64;

/// How a directory is locked.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// With others.
    Shared,
    /// Alone.
    Exclusive,
}

/// Locks the directory that stands at `path`, without waiting; `None` if somebody has it in a way that excludes this.
///
/// Between the open and the lock it may be moved away, and another may take its name: what counts is that the lock is
/// on what stands at `path` when it is held.  `path` not being there is an error of that kind.
pub(super) fn try_lock(path: &Path, mode: Mode) -> io::Result<Option<File>> {
    for _ in 0..ATTEMPT_LIMIT {
        let file = File::open(path)?;
        let locked = match mode {
            Mode::Shared => file.try_lock_shared(),
            Mode::Exclusive => file.try_lock(),
        };
        match locked {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(None),
            // A file system without locks: who only wants to use it goes on, for a prune cannot remove anything there.
            Err(TryLockError::Error(_)) if mode == Mode::Shared => {}
            Err(TryLockError::Error(error)) => return Err(error),
        }
        if stands_at(&file, path)? {
            return Ok(Some(file));
        }
    }
    Err(io::Error::other("it is replaced again and again"))
}

/// Locks as [`try_lock`] does, but waits.
pub(super) fn lock(path: &Path, mode: Mode) -> io::Result<File> {
    for _ in 0..ATTEMPT_LIMIT {
        let file = File::open(path)?;
        match mode {
            Mode::Shared => file.lock_shared()?,
            Mode::Exclusive => file.lock()?,
        }
        if stands_at(&file, path)? {
            return Ok(file);
        }
    }
    Err(io::Error::other("it is replaced again and again"))
}

/// Whether an open file is what stands at `path`.
pub(super) fn stands_at(file: &File, path: &Path) -> io::Result<bool> {
    let identity = |metadata: Metadata| (metadata.dev(), metadata.ino());
    match std::fs::symlink_metadata(path) {
        Ok(there) => Ok(identity(there) == identity(file.metadata()?)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}
