//! Resolves a path inside a root one component at a time, where the kernel cannot do it in one call.
//!
//! Each component is opened without following links, so that what is checked is what is entered; a link is read
//! and its text resolved in the root, and `..` goes back to a descriptor that the walk came through instead of asking
//! the kernel, so that a directory that is moved meanwhile leads nowhere else.

use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags, StatxFlags};
use rustix::io::Errno;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Component, Path};

/// Most links on the way, as in the kernel.
const MAX_LINKS: u32 = 40;

/// Opens `path` below `root` as `openat2(RESOLVE_IN_ROOT)` does.
///
/// A magic link of procfs is taken by its text, in the root, where `RESOLVE_NO_MAGICLINKS` would refuse it: neither
/// leads out.
pub(super) fn open(root: BorrowedFd<'_>, path: &Path, flags: OFlags, mode: Mode) -> io::Result<OwnedFd> {
    let mut walk = Walk { root, directories: Vec::new(), rest: Vec::new(), links: 0 };
    let flags = walk.push(path.as_os_str(), flags | OFlags::CLOEXEC)?;
    while let Some(name) = walk.rest.pop() {
        if name == ".." {
            walk.directories.pop();
        } else if walk.rest.is_empty() {
            match walk.open_last(&name, flags, mode)? {
                Last::Opened(fd) => return Ok(fd),
                Last::Link(target) => {
                    walk.push(&target, flags)?;
                }
            }
        } else {
            walk.enter(&name)?;
        }
    }
    // The root, or a directory that `..` has led back to.
    Ok(rustix::fs::openat(walk.here(), ".", flags & !OFlags::NOFOLLOW, mode)?)
}

/// Opens `path` below `mount` by names alone: no link, no `..`, no other file system that is mounted on the way.
///
/// The error is ELOOP or ENOTDIR at a link and EXDEV at a mount, as of `openat2` with `RESOLVE_BENEATH`,
/// `RESOLVE_NO_SYMLINKS` and `RESOLVE_NO_XDEV`.
pub fn open_on_mount(mount: BorrowedFd<'_>, path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
    match rustix::fs::openat2(mount, path, flags, Mode::empty(), resolve) {
        Err(Errno::NOSYS | Errno::PERM) => names_on_mount(mount, path),
        result => Ok(result?),
    }
}

fn names_on_mount(mount: BorrowedFd<'_>, path: &Path) -> io::Result<OwnedFd> {
    let id = |fd: BorrowedFd<'_>| {
        rustix::fs::statx(fd, "", AtFlags::EMPTY_PATH, StatxFlags::MNT_ID).map(|stat| stat.stx_mnt_id)
    };
    let own = id(mount)?;
    let mut here = mount.try_clone_to_owned()?;
    for component in path.components() {
        let Component::Normal(name) = component else { return Err(Errno::XDEV.into()) };
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        here = rustix::fs::openat(&here, name, flags, Mode::empty())?;
        if id(here.as_fd())? != own {
            return Err(Errno::XDEV.into());
        }
    }
    match FileType::from_raw_mode(rustix::fs::fstat(&here)?.st_mode) {
        FileType::Symlink => Err(Errno::LOOP.into()),
        _ => Ok(here),
    }
}

struct Walk<'a> {
    root: BorrowedFd<'a>,
    /// The directories from below the root to the current one.
    directories: Vec<OwnedFd>,
    /// The components that are still to be walked, next one last.
    rest: Vec<OsString>,
    links: u32,
}

enum Last {
    Opened(OwnedFd),
    Link(OsString),
}

impl Walk<'_> {
    fn here(&self) -> BorrowedFd<'_> {
        self.directories.last().map_or(self.root, AsFd::as_fd)
    }

    /// Puts a path in front of what is left to walk.  A slash at the end asks for a directory, links followed.
    fn push(&mut self, path: &OsStr, flags: OFlags) -> io::Result<OFlags> {
        if path.is_empty() {
            return Err(Errno::NOENT.into());
        }
        if path.as_bytes().starts_with(b"/") {
            self.directories.clear();
        }
        let names = Path::new(path).components().rev().filter_map(|component| match component {
            Component::Normal(name) => Some(name.to_owned()),
            Component::ParentDir => Some(OsString::from("..")),
            _ => None,
        });
        self.rest.extend(names);
        let wants_directory = path.as_bytes().ends_with(b"/") || path.as_bytes().ends_with(b"/.");
        Ok(if wants_directory { (flags | OFlags::DIRECTORY) & !OFlags::NOFOLLOW } else { flags })
    }

    fn enter(&mut self, name: &OsStr) -> io::Result<()> {
        let fd =
            rustix::fs::openat(self.here(), name, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?;
        match FileType::from_raw_mode(rustix::fs::fstat(&fd)?.st_mode) {
            FileType::Directory => self.directories.push(fd),
            FileType::Symlink => {
                let target = self.follow(&fd)?;
                self.push(&target, OFlags::empty())?;
            }
            _ => return Err(Errno::NOTDIR.into()),
        }
        Ok(())
    }

    fn open_last(&mut self, name: &OsStr, flags: OFlags, mode: Mode) -> io::Result<Last> {
        let follows = !flags.contains(OFlags::NOFOLLOW) && !flags.contains(OFlags::CREATE | OFlags::EXCL);
        if follows {
            let probe = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            match rustix::fs::openat(self.here(), name, probe, Mode::empty()) {
                Ok(fd) if FileType::from_raw_mode(rustix::fs::fstat(&fd)?.st_mode) == FileType::Symlink => {
                    return Ok(Last::Link(self.follow(&fd)?));
                }
                Ok(_) => {}
                Err(Errno::NOENT) if flags.contains(OFlags::CREATE) => {}
                Err(error) => return Err(error.into()),
            }
        }
        // Never followed here: a link that took the name's place after the probe is an error (ELOOP).
        let nofollow = if flags.contains(OFlags::CREATE | OFlags::EXCL) { OFlags::empty() } else { OFlags::NOFOLLOW };
        Ok(Last::Opened(rustix::fs::openat(self.here(), name, flags | nofollow, mode)?))
    }

    fn follow(&mut self, link: &OwnedFd) -> io::Result<OsString> {
        self.links += 1;
        if self.links > MAX_LINKS {
            return Err(Errno::LOOP.into());
        }
        Ok(OsString::from_vec(rustix::fs::readlinkat(link, "", Vec::new())?.into_bytes()))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::sys::Root;
    use std::os::unix::fs::{MetadataExt, symlink};

    /// A root with links of all kinds beside a file that must stay out of reach.
    fn tree() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("outside"), "canary").unwrap();
        let root = dir.path().join("root");
        std::fs::create_dir_all(root.join("a/b/c")).unwrap();
        std::fs::write(root.join("a/file"), "inside").unwrap();
        for (target, link) in [
            ("../outside", "up"),
            ("../../../../../../outside", "far-up"),
            ("/a/file", "absolute"),
            ("a/b/c/../../file", "dotted"),
            ("a/b", "directory"),
            ("loop", "loop"),
            ("nowhere", "dangling"),
            ("/", "slash"),
        ] {
            symlink(target, root.join(link)).unwrap();
        }
        symlink(dir.path().join("outside"), root.join("out")).unwrap();
        dir
    }

    const PATHS: &[&str] = &[
        "",
        ".",
        "/",
        "..",
        "a",
        "a/",
        "a/.",
        "a/file",
        "a/file/",
        "a/file/x",
        "/a/b/../file",
        "up",
        "far-up",
        "absolute",
        "absolute/",
        "dotted",
        "directory",
        "directory/",
        "directory/c",
        "directory/..",
        "directory/../file",
        "loop",
        "dangling",
        "slash",
        "slash/a/file",
        "out",
        "missing",
        "missing/x",
        "../../outside",
        "a/../../a/file",
        "slash/../a",
    ];

    #[test]
    fn the_walk_agrees_with_openat2() {
        let dir = tree();
        let root = Root::open(&dir.path().join("root")).unwrap();
        for flags in [
            OFlags::PATH,
            OFlags::PATH | OFlags::NOFOLLOW,
            OFlags::RDONLY,
            OFlags::RDONLY | OFlags::NOFOLLOW,
            OFlags::RDONLY | OFlags::DIRECTORY,
        ] {
            for path in PATHS {
                let identity = |fd: io::Result<OwnedFd>| {
                    let stat = fd.and_then(|fd| std::fs::File::from(fd).metadata());
                    stat.map(|stat| (stat.dev(), stat.ino())).map_err(|error| error.raw_os_error())
                };
                let kernel = identity(root.open_at(Path::new(path), flags, Mode::empty()));
                let name = if path.is_empty() { "." } else { path };
                let walked = identity(open(root.as_fd(), Path::new(name), flags, Mode::empty()));
                assert_eq!(walked, kernel, "`{path}` with {flags:?}");
            }
        }
    }

    #[test]
    fn the_walk_creates_inside_only() {
        let dir = tree();
        let root = Root::open(&dir.path().join("root")).unwrap();
        let flags = OFlags::WRONLY | OFlags::CREATE;
        open(root.as_fd(), Path::new("dangling"), flags, Mode::RUSR).unwrap();
        assert!(dir.path().join("root/nowhere").exists());
        open(root.as_fd(), Path::new("far-up"), flags, Mode::RUSR).unwrap();
        assert!(dir.path().join("root/outside").exists());
        let exclusive = open(root.as_fd(), Path::new("loop"), flags | OFlags::EXCL, Mode::RUSR);
        assert_eq!(exclusive.unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(std::fs::read_to_string(dir.path().join("outside")).unwrap(), "canary");
    }

    #[test]
    fn names_on_a_mount_are_those_that_openat2_finds() {
        let dir = tree();
        let root = Root::open(&dir.path().join("root")).unwrap();
        let (proc, top) = (std::fs::File::open("/proc").unwrap(), std::fs::File::open("/").unwrap());
        let links = ["a/file", "a/b/c", "a/file/x", "up", "out", "directory", "directory/c", "missing", "a/../a"];
        let cases: [(BorrowedFd<'_>, &[&str]); 3] = [
            (root.as_fd(), &links),
            (proc.as_fd(), &["sys/kernel/hostname", "self/stat", "self", "mounts", "nowhere"]),
            (top.as_fd(), &["etc", "proc", "proc/stat"]),
        ];
        for (mount, paths) in cases {
            for path in paths {
                let identity = |fd: io::Result<OwnedFd>| {
                    let stat = fd.and_then(|fd| Ok(rustix::fs::fstat(&fd)?));
                    stat.map(|stat| (stat.st_dev, stat.st_ino)).ok()
                };
                let kernel = identity(open_on_mount(mount, Path::new(path)));
                let walked = identity(names_on_mount(mount, Path::new(path)));
                // `..` is not walked at all, wherever it leads.
                assert_eq!(walked, kernel.filter(|_| !path.contains("..")), "{path}");
            }
        }
    }

    #[test]
    fn a_root_works_where_seccomp_refuses_openat2() {
        let dir = tree();
        let path = dir.path().join("root");
        for errno in [libc::EPERM, libc::ENOSYS] {
            let path = path.clone();
            // A filter holds for the thread that installs it.
            let refused = std::thread::spawn(move || {
                super::super::attributes::refuse_openat2(errno).unwrap();
                let root = Root::open(&path).unwrap();
                let direct =
                    rustix::fs::openat2(&root, ".", OFlags::PATH, Mode::empty(), rustix::fs::ResolveFlags::empty());
                assert_eq!(direct.unwrap_err().raw_os_error(), errno);
                assert_eq!(root.read_limited(Path::new("absolute"), 100).unwrap().unwrap(), b"inside");
                assert!(root.read_limited(Path::new("out"), 100).unwrap().is_none());
                root.canonical(Path::new("directory/c")).unwrap()
            });
            assert_eq!(refused.join().unwrap(), Path::new("/a/b/c"));
        }
    }
}
