//! A root directory by descriptor, and the only way to paths below it.
//!
//! Every path inside a root file system comes from strangers: a layer, a context, a RUN.  All are resolved by the
//! kernel with `openat2(RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS)`, so that neither `..` nor a link of any kind leaves
//! the root, also while another process changes the tree.  A check of a path followed by its use could be raced
//! (runc CVE-2021-30465, docker CVE-2018-15664), which is why no function here returns a path outside the root.

use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

/// A root file system on disk.
#[derive(Debug)]
pub struct Root {
    fd: OwnedFd,
}

impl Root {
    /// Opens a directory as a root.  `path` itself is trusted.
    pub fn open(path: &Path) -> io::Result<Root> {
        let fd = rustix::fs::openat(CWD, path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        Ok(Root { fd })
    }

    /// Takes a descriptor of a directory, e.g. of a mount that is attached nowhere.
    pub fn from_fd(fd: OwnedFd) -> Root {
        Root { fd }
    }

    /// Gives the descriptor back.
    pub fn into_fd(self) -> OwnedFd {
        self.fd
    }

    /// Duplicates the handle.
    pub fn try_clone(&self) -> io::Result<Root> {
        Ok(Root { fd: self.fd.try_clone()? })
    }

    /// Opens a path below the root, following links inside the root.
    pub fn open_at(&self, path: &Path, flags: OFlags, mode: Mode) -> io::Result<OwnedFd> {
        open_in_root(self.fd.as_fd(), path, flags | OFlags::CLOEXEC, mode)
    }

    /// Opens a directory below the root for use as a new root (a mount source, a build context's subdirectory).
    pub fn open_dir(&self, path: &Path) -> io::Result<Root> {
        Ok(Root { fd: self.open_at(path, OFlags::PATH | OFlags::DIRECTORY, Mode::empty())? })
    }

    /// Resolves all but the last component and returns the directory and the last component's name.
    ///
    /// The name is never empty, `.` or `..`; a path without a last component (`/`, `a/..`) is an error of kind
    /// `InvalidInput`.  What the caller does with the name must not follow links (`AT_SYMLINK_NOFOLLOW`, `O_NOFOLLOW`).
    pub fn parent(&self, path: &Path) -> io::Result<(OwnedFd, OsString)> {
        let name = match path.components().next_back() {
            Some(Component::Normal(name)) => name.to_owned(),
            _ => return Err(io::Error::new(io::ErrorKind::InvalidInput, "the path has no last component")),
        };
        let directory = path.parent().unwrap_or(Path::new("/"));
        Ok((self.open_at(directory, OFlags::PATH | OFlags::DIRECTORY, Mode::empty())?, name))
    }

    /// Returns the metadata of a path, following a final link inside the root or not; `None` if it is not there.
    pub fn stat(&self, path: &Path, follow: bool) -> io::Result<Option<rustix::fs::Stat>> {
        let flags = if follow { OFlags::PATH } else { OFlags::PATH | OFlags::NOFOLLOW };
        match self.open_at(path, flags, Mode::empty()) {
            Ok(fd) => Ok(Some(rustix::fs::fstat(&fd)?)),
            Err(error) if is_absent(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Returns the target of the link at `path`.
    pub fn read_link(&self, path: &Path) -> io::Result<OsString> {
        let fd = self.open_at(path, OFlags::PATH | OFlags::NOFOLLOW, Mode::empty())?;
        Ok(OsString::from(OsStr::from_bytes(rustix::fs::readlinkat(&fd, "", Vec::new())?.as_bytes())))
    }

    /// Reads a regular file of at most `limit_bytes` bytes, following links inside the root; `None` if it is not there.
    ///
    /// Opened without blocking and checked by descriptor, so that a FIFO or a device in the place of
    /// `/etc/passwd` can neither hang the build nor be read (buildah CVE-2024-9676).
    pub fn read_limited(&self, path: &Path, limit_bytes: u64) -> io::Result<Option<Vec<u8>>> {
        use std::io::Read;
        let fd = match self.open_at(path, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY, Mode::empty()) {
            Ok(fd) => fd,
            Err(error) if is_absent(&error) => return Ok(None),
            Err(error) => return Err(error),
        };
        let stat = rustix::fs::fstat(&fd)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("`{}` is not a regular file", path.display()),
            ));
        }
        let mut content = Vec::new();
        std::fs::File::from(fd).take(limit_bytes + 1).read_to_end(&mut content)?;
        if content.len() as u64 > limit_bytes {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!("`{}` is larger than {limit_bytes} bytes", path.display()),
            ));
        }
        Ok(Some(content))
    }

    /// Returns the real path below the root of an existing `path`: no links, no `..`; starts with `/`.
    ///
    /// For messages and for joining names onto; it may be stale as soon as it is returned.
    pub fn canonical(&self, path: &Path) -> io::Result<PathBuf> {
        let mut resolved = PathBuf::from("/");
        let mut rest: Vec<OsString> = components_reversed(path);
        let mut links = 0;
        while let Some(part) = rest.pop() {
            if part == ".." {
                resolved.pop();
                continue;
            }
            let next = resolved.join(&part);
            let stat = self.stat(&next, false)?.ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
            if FileType::from_raw_mode(stat.st_mode) != FileType::Symlink {
                resolved = next;
                continue;
            }
            links += 1;
            if links > 40 {
                return Err(Errno::LOOP.into());
            }
            let target = PathBuf::from(self.read_link(&next)?);
            if target.is_absolute() {
                resolved = PathBuf::from("/");
            }
            rest.extend(components_reversed(&target));
        }
        Ok(resolved)
    }
}

impl AsFd for Root {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Whether an error says that nothing stands at the path.
fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

/// Returns the names of a path, the last one first, as a walk that follows links takes them from a stack; `..` stays.
pub(crate) fn components_reversed(path: &Path) -> Vec<OsString> {
    path.components()
        .rev()
        .filter_map(|component| match component {
            Component::Normal(name) => Some(name.to_owned()),
            Component::ParentDir => Some("..".into()),
            _ => None,
        })
        .collect()
}

fn open_in_root(root: BorrowedFd<'_>, path: &Path, flags: OFlags, mode: Mode) -> io::Result<OwnedFd> {
    // An empty path means the root itself, and an absolute one is taken from the root by RESOLVE_IN_ROOT.
    let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    loop {
        match rustix::fs::openat2(root, path, flags, mode, ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS) {
            // A rename raced with the resolution of `..`; the kernel asks for another try.
            Err(Errno::AGAIN) => continue,
            // Kernels before 5.6, and the seccomp profiles of older container runtimes.  A true EPERM, of an
            // immutable file for example, comes back from the walk.
            Err(Errno::NOSYS | Errno::PERM) => return super::walk::open(root, path, flags, mode),
            result => return Ok(result?),
        }
    }
}
