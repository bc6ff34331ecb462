//! What is put over parts of a root file system for the time of a step, without a mount: what is there is moved aside.
//!
//! Every place is held by the descriptor of its directory, so that putting things back does not follow what the step made of
//! the path to it.

use crate::sandbox::mountpoint::{self, Kind};
use crate::sandbox::rootfs::{DEVICE_LINKS, DEVICES};
use crate::sandbox::spec::{MountSpec, RunError};
use crate::sys::{Root, chmod_at, remove_tree};
use rustix::fs::{AtFlags, CWD, FileType, Gid, Mode, OFlags, Stat, Timespec, Timestamps, UTIME_OMIT, Uid, makedev};
use std::ffi::{OsStr, OsString};
use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

/// What covers a root file system, in the order in which it was put there.
pub(in crate::sandbox) struct Covers<'a> {
    root: &'a Root,
    aside: OwnedFd,
    placed: Vec<Placed>,
}

struct Placed {
    directory: OwnedFd,
    name: OsString,
    /// Times of the directory before, and after we were done with it.
    before: Stat,
    after: Option<Stat>,
    /// The name under which that which was there is kept.
    kept: Option<String>,
    /// Where it came from and goes back to; else it is removed.
    origin: Option<PathBuf>,
}

impl<'a> Covers<'a> {
    /// `aside` is a directory on the file system of the root.
    pub(in crate::sandbox) fn new(root: &'a Root, aside: &Path) -> Result<Covers<'a>, RunError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let aside = rustix::fs::open(aside, flags, Mode::empty())
            .map_err(|error| RunError::Io { stage: "open the directory beside the root", source: error.into() })?;
        Ok(Covers { root, aside, placed: Vec::new() })
    }

    /// Covers what every step needs, then what this one asks for.
    pub(in crate::sandbox) fn put(
        &mut self,
        files: &[(&'static str, Vec<u8>)],
        mounts: &[MountSpec],
    ) -> Result<(), RunError> {
        let at = |path: &Path| {
            let path = path.to_owned();
            move |source| RunError::MountPoint { path, source }
        };
        for (path, make) in [("/proc", &make_proc as Make<'_>), ("/dev", &make_dev)] {
            self.cover(Path::new(path), Kind::Directory, None, make).map_err(at(Path::new(path)))?;
        }
        for (path, content) in files {
            let path = Path::new(path);
            self.cover(path, Kind::File, None, &|to, name| make_file(to, name, content, 0o644, (0, 0)))
                .map_err(at(path))?;
        }
        for mount in mounts {
            self.put_mount(mount).map_err(at(mount.target()))?;
        }
        self.seal().map_err(|source| RunError::Io { stage: "look at mount points", source })
    }

    fn put_mount(&mut self, mount: &MountSpec) -> io::Result<()> {
        match mount {
            MountSpec::Bind { source, target, .. } => {
                let origin = rustix::fs::readlink(format!("/proc/self/fd/{}", source.as_raw_fd()), Vec::new())?;
                let origin = PathBuf::from(OsString::from_vec(origin.into_bytes()));
                let kind = mountpoint::kind_of(source)?;
                let from = origin.clone();
                self.cover(target, kind, Some(origin), &move |to, name| Ok(rustix::fs::renameat(CWD, &from, to, name)?))
            }
            MountSpec::Tmpfs { target, mode, .. } => self.cover(target, Kind::Directory, None, &|to, name| {
                rustix::fs::mkdirat(to, name, Mode::RWXU)?;
                chmod_at(to, name, Mode::from_raw_mode(*mode))
            }),
            MountSpec::File { target, content, mode, uid, gid } => {
                self.cover(target, Kind::File, None, &|to, name| make_file(to, name, content, *mode, (*uid, *gid)))
            }
            MountSpec::Overlay { .. } | MountSpec::Device { .. } => {
                Err(io::Error::other("there are no mounts to attach here"))
            }
        }
    }

    fn cover(&mut self, target: &Path, kind: Kind, origin: Option<PathBuf>, make: Make<'_>) -> io::Result<()> {
        let real = mountpoint::ensure(self.root, target, kind, &mut |_| Ok(()))?;
        let (directory, name) = self.root.parent(&real)?;
        let before = rustix::fs::fstat(&directory)?;
        let kept = format!("kept-{}", self.placed.len());
        rustix::fs::renameat(&directory, &name, &self.aside, &kept)?;
        let fd = directory.try_clone()?;
        self.placed.push(Placed { directory, name: name.clone(), before, after: None, kept: Some(kept), origin: None });
        make(fd.as_fd(), &name)?;
        if let Some(last) = self.placed.last_mut() {
            last.origin = origin;
        }
        Ok(())
    }

    /// Notes the times of directories as the step finds them.
    fn seal(&mut self) -> io::Result<()> {
        for placed in &mut self.placed {
            placed.after = Some(rustix::fs::fstat(&placed.directory)?);
        }
        Ok(())
    }

    /// Takes everything away again, the last first.
    pub(in crate::sandbox) fn remove(self) -> io::Result<()> {
        let mut result = Ok(());
        let found: Vec<_> = self.placed.iter().map(|placed| rustix::fs::fstat(&placed.directory)).collect();
        for placed in self.placed.iter().rev() {
            let removed = placed.remove(&self.aside);
            result = result.and(removed);
        }
        // In the order in which they were covered, so that the first, which knows the time before all of it, has the last word.
        for (placed, found) in self.placed.iter().zip(found).rev() {
            let restored = found.map_err(io::Error::from).and_then(|found| placed.restore_time(&found));
            result = result.and(restored);
        }
        result
    }
}

impl Placed {
    fn remove(&self, aside: &OwnedFd) -> io::Result<()> {
        let name = self.name.as_os_str();
        match &self.origin {
            Some(origin) => rustix::fs::renameat(&self.directory, name, CWD, origin)?,
            None => remove_tree(&self.directory, name)?,
        }
        match &self.kept {
            Some(kept) => match rustix::fs::renameat(aside, kept, &self.directory, name) {
                // The step has removed the directory that it was in.
                Err(rustix::io::Errno::NOENT) => Ok(()),
                result => Ok(result?),
            },
            None => Ok(()),
        }
    }

    /// The step's own changes of the directory count; ours do not.
    fn restore_time(&self, found: &Stat) -> io::Result<()> {
        let is_untouched = self.after.is_none_or(|after| modified(&after) == modified(found));
        let wanted = if is_untouched { &self.before } else { found };
        let times = Timestamps {
            last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
            last_modification: Timespec { tv_sec: wanted.st_mtime, tv_nsec: wanted.st_mtime_nsec as _ },
        };
        let path = format!("/proc/self/fd/{}", self.directory.as_raw_fd());
        match rustix::fs::utimensat(CWD, path, &times, AtFlags::empty()) {
            Err(rustix::io::Errno::NOENT) => Ok(()),
            result => Ok(result?),
        }
    }
}

fn modified(stat: &Stat) -> (i64, i64) {
    (stat.st_mtime, stat.st_mtime_nsec as i64)
}

/// Makes something under a name that is free.
type Make<'m> = &'m dyn Fn(BorrowedFd<'_>, &OsStr) -> io::Result<()>;

fn make_file(to: BorrowedFd<'_>, name: &OsStr, content: &[u8], mode: u32, owner: (u32, u32)) -> io::Result<()> {
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut file = std::fs::File::from(rustix::fs::openat(to, name, flags, Mode::RUSR | Mode::WUSR)?);
    file.write_all(content)?;
    rustix::fs::fchown(&file, Some(Uid::from_raw(owner.0)), Some(Gid::from_raw(owner.1)))?;
    Ok(rustix::fs::fchmod(&file, Mode::from_raw_mode(mode & 0o7777))?)
}

fn make_directory(to: BorrowedFd<'_>, name: &OsStr, mode: u32) -> io::Result<OwnedFd> {
    rustix::fs::mkdirat(to, name, Mode::RWXU)?;
    chmod_at(to, name, Mode::from_raw_mode(mode))?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(to, name, flags, Mode::empty())?)
}

/// Files of /proc that many programs read; copies, for those whose calls cannot be answered (and for `stat`).
const PROC_FILES: [&str; 8] = ["cpuinfo", "filesystems", "loadavg", "meminfo", "mounts", "stat", "uptime", "version"];
/// Most of one that is copied, bytes.
const PROC_FILE_LIMIT_BYTES: u64 = 4 << 20;

fn make_proc(to: BorrowedFd<'_>, name: &OsStr) -> io::Result<()> {
    let proc = make_directory(to, name, 0o555)?;
    for name in PROC_FILES {
        let mut content = Vec::new();
        // What this container hides, its steps do without.
        let Ok(file) = std::fs::File::open(Path::new("/proc").join(name)) else { continue };
        let read = io::Read::read_to_end(&mut io::Read::take(file, PROC_FILE_LIMIT_BYTES), &mut content);
        if read.is_ok() {
            make_file(proc.as_fd(), OsStr::new(name), &content, 0o444, (0, 0))?;
        }
    }
    let own = make_directory(proc.as_fd(), OsStr::new("self"), 0o555)?;
    make_directory(own.as_fd(), OsStr::new("fd"), 0o555).map(drop)
}

fn make_dev(to: BorrowedFd<'_>, name: &OsStr) -> io::Result<()> {
    let dev = make_directory(to, name, 0o755)?;
    for (name, major, minor) in DEVICES {
        rustix::fs::mknodat(&dev, name, FileType::CharacterDevice, Mode::RUSR | Mode::WUSR, makedev(major, minor))?;
        chmod_at(&dev, OsStr::new(name), Mode::from_raw_mode(0o666))?;
    }
    for (name, target) in DEVICE_LINKS {
        rustix::fs::symlinkat(target, &dev, name)?;
    }
    for (name, mode) in [("pts", 0o755), ("shm", 0o1777), ("mqueue", 0o1777)] {
        make_directory(dev.as_fd(), OsStr::new(name), mode)?;
    }
    match rustix::fs::openat(&dev, "null", OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty()) {
        Err(rustix::io::Errno::ACCESS) => Err(io::Error::other(
            "the store is on a file system that is mounted `nodev`; set COOPER_ROOT to a directory on another",
        )),
        result => Ok(result.map(drop)?),
    }
}
