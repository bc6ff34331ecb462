//! Where something goes in a root: links followed, missing directories made.

use super::node::{self, timestamps};
use super::{CopyError, WantedOwner};
use crate::sys::{Root, components_reversed};
use rustix::fs::{FileType, Mode, OFlags};
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

/// Links followed in one path, as the kernel has it.
const MAX_LINKS: usize = 40;

/// Directories that were made.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Created {
    /// How many.
    pub count: u64,
    /// Owners that could not be given.
    pub owners: Vec<WantedOwner>,
}

/// Returns the path below `root`, starting with `/` and without links, that `path` names.
///
/// Unlike [`Root::canonical`] the path need not exist: a link to nothing stands for its target, and what follows a
/// missing component is taken as it is.  `..` stops at the root.
pub fn resolve(root: &Root, path: &Path) -> Result<PathBuf, CopyError> {
    let mut resolved = PathBuf::from("/");
    let mut rest = components_reversed(path);
    let mut links = 0;
    let mut is_missing = false;
    while let Some(part) = rest.pop() {
        if part == ".." {
            resolved.pop();
            is_missing = false;
            continue;
        }
        let next = resolved.join(&part);
        // Below a missing directory there is nothing to look at.
        let stat = if is_missing { None } else { root.stat(&next, false).map_err(CopyError::write(&next))? };
        let Some(stat) = stat else {
            is_missing = true;
            resolved = next;
            continue;
        };
        if FileType::from_raw_mode(stat.st_mode) != FileType::Symlink {
            resolved = next;
            continue;
        }
        links += 1;
        if links > MAX_LINKS {
            return Err(CopyError::Write { path: next, source: rustix::io::Errno::LOOP.into() });
        }
        let target = PathBuf::from(root.read_link(&next).map_err(CopyError::write(&next))?);
        if target.is_absolute() {
            resolved = PathBuf::from("/");
        }
        rest.extend(components_reversed(&target));
    }
    Ok(resolved)
}

/// Makes the missing directories of a resolved path, with `owner` (0:0 by default) and `mode` (12 bits, no umask).
pub fn make_directories(root: &Root, path: &Path, owner: Option<(u32, u32)>, mode: u32) -> Result<Created, CopyError> {
    make_directories_at(root, path, owner, mode, None)
}

/// Like [`make_directories`], with the modification time in seconds of what is made.
pub(super) fn make_directories_at(
    root: &Root,
    path: &Path,
    owner: Option<(u32, u32)>,
    mode: u32,
    epoch: Option<i64>,
) -> Result<Created, CopyError> {
    let mut created = Created::default();
    if is_directory(root, path)? == Some(true) {
        return Ok(created);
    }
    let mut made = Vec::new();
    let mut current = PathBuf::from("/");
    for component in path.components().skip(1) {
        current.push(component);
        match is_directory(root, &current)? {
            Some(true) => continue,
            Some(false) => return Err(CopyError::Blocked { path: current }),
            None => made.push((current.clone(), make_directory(root, &current)?)),
        }
    }
    created.count = made.len() as u64;
    // Innermost first: making a directory changes the time of the one it is in.
    for (path, directory) in made.into_iter().rev() {
        let (uid, gid) = owner.unwrap_or((0, 0));
        let given = node::set_owner_and_mode(&directory, uid, gid, mode).map_err(CopyError::write(&path))?;
        if let Some(seconds) = epoch {
            rustix::fs::futimens(&directory, &timestamps(seconds, 0))
                .map_err(|error| CopyError::Write { path: path.clone(), source: error.into() })?;
        }
        if !given {
            created.owners.push(WantedOwner { path, uid, gid });
        }
    }
    Ok(created)
}

/// Whether a resolved path is a directory, `None` if nothing stands there.
pub(super) fn is_directory(root: &Root, path: &Path) -> Result<Option<bool>, CopyError> {
    let stat = root.stat(path, false).map_err(CopyError::write(path))?;
    Ok(stat.map(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Directory))
}

/// Makes one directory, mode 0700 for now.
fn make_directory(root: &Root, path: &Path) -> Result<OwnedFd, CopyError> {
    let make = || -> io::Result<OwnedFd> {
        let (parent, name) = root.parent(path)?;
        rustix::fs::mkdirat(&parent, &name, Mode::RWXU)?;
        Ok(rustix::fs::openat(&parent, &name, node::DIRECTORY, Mode::empty())?)
    };
    make().map_err(CopyError::write(path))
}

/// Opens a directory of a root by its resolved path, to make things in it.
pub(super) fn open_directory(root: &Root, path: &Path) -> io::Result<OwnedFd> {
    root.open_at(path, OFlags::PATH | OFlags::DIRECTORY, Mode::empty())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn a_path_need_not_exist() {
        let directory = tempfile::tempdir().unwrap();
        let root = Root::open(directory.path()).unwrap();
        std::fs::create_dir_all(directory.path().join("a/b")).unwrap();
        symlink("/a", directory.path().join("to-a")).unwrap();
        symlink("../../outside/x", directory.path().join("a/b/out")).unwrap();
        symlink("loop", directory.path().join("loop")).unwrap();
        for (path, expected) in [
            ("/", "/"),
            ("/../..", "/"),
            ("/to-a/b", "/a/b"),
            ("/to-a/new/deep", "/a/new/deep"),
            ("/new/../to-a", "/a"),
            ("/a/b/out", "/outside/x"),
            ("/a/b/out/../y", "/outside/y"),
            ("relative/./x", "/relative/x"),
        ] {
            assert_eq!(resolve(&root, Path::new(path)).unwrap(), Path::new(expected), "{path}");
        }
        assert!(matches!(resolve(&root, Path::new("/loop/x")), Err(CopyError::Write { .. })));
    }
}
