//! The mounts of a step, made by its own process in its own mount namespace.
//!
//! Every mount is attached by descriptor onto a descriptor that was resolved inside the root.  /proc and /sys are
//! masked through descriptors of the very mounts, and the masks come from the machine's own devices: what an image
//! ships at `/proc`, `/dev/null` or below them has no say (runc CVE-2019-19921, CVE-2023-27561, CVE-2025-31133).

use super::child::{Failed, stage};
use super::mountpoint::{self, Kind, ensure, is_proc, kind_of};
use super::wire::{self, Bytes, Pool, Spec};
use crate::sys::mount::{
    Attributes, FsOption, attach, clone_mount, data_attributes, new_mount, open_path, set_attributes,
};
use crate::sys::{Root, open_on_mount, owner, process};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, makedev};
use std::ffi::{OsStr, OsString};
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// What of /proc and /sys is hidden, as Docker does it.
const MASKED_PROC: [&str; 9] =
    ["acpi", "asound", "interrupts", "kcore", "keys", "latency_stats", "sched_debug", "scsi", "timer_list"];
const MASKED_SYS: [&str; 2] = ["firmware", "devices/virtual/powercap"];
/// What of /proc cannot be written.
const READ_ONLY_PROC: [&str; 5] = ["bus", "fs", "irq", "sys", "sysrq-trigger"];

/// Name, major and minor number of the device nodes of /dev.
pub(super) const DEVICES: [(&str, u32, u32); 6] =
    [("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9), ("tty", 5, 0)];
pub(super) const DEVICE_LINKS: [(&str, &str); 6] = [
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("core", "/proc/kcore"),
    ("ptmx", "pts/ptmx"),
];

/// Attributes of file systems that hold neither programs nor devices.
const NOTHING_SPECIAL: Attributes =
    Attributes::MOUNT_ATTR_NODEV.union(Attributes::MOUNT_ATTR_NOSUID).union(Attributes::MOUNT_ATTR_NOEXEC);

/// A file system in memory that is over the builder's root while mounts are made, and goes with it.
///
/// It holds what must be attached somewhere before a part of it can be mounted.
pub(super) struct Staging {
    fd: OwnedFd,
    count: usize,
}

impl Staging {
    pub(super) fn new() -> io::Result<Staging> {
        let fd = new_mount("tmpfs", &[FsOption::Value("mode", "0700")], data_attributes())?;
        attach(fd.as_fd(), open_path(Path::new("/"))?.as_fd())?;
        Ok(Staging { fd, count: 0 })
    }

    fn name(&mut self) -> String {
        self.count += 1;
        self.count.to_string()
    }

    fn attach(&mut self, mount: BorrowedFd<'_>, kind: Kind) -> io::Result<()> {
        let name = self.name();
        match kind {
            Kind::Directory => rustix::fs::mkdirat(&self.fd, &name, Mode::RWXU)?,
            Kind::File => drop(create(self.fd.as_fd(), &name, 0o600)?),
        }
        let place = rustix::fs::openat(&self.fd, &name, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
        attach(mount, place.as_fd())
    }

    pub(super) fn attach_root(&mut self, mount: OwnedFd) -> io::Result<Root> {
        self.attach(mount.as_fd(), Kind::Directory)?;
        Ok(Root::from_fd(mount))
    }

    /// Makes one of the step's mounts.
    pub(super) fn mount(&mut self, root: &Root, mount: &wire::Mount, pool: &Pool) -> Result<(), Failed> {
        let target = match mount {
            wire::Mount::Attach { target, .. }
            | wire::Mount::Tmpfs { target, .. }
            | wire::Mount::Device { target, .. }
            | wire::Mount::File { target, .. } => path(pool, *target),
        };
        let name = target.display().to_string();
        let fd = self.source(mount, pool).map_err(stage("prepare the mount", name.clone()))?;
        let put = |fd: OwnedFd| {
            let real = ensure(root, target, kind_of(&fd)?, &mut |_| Ok(()))?;
            let place = mountpoint::open(root, &real)?;
            if is_proc(place.as_fd())? {
                return Err(io::Error::other("the target is inside /proc"));
            }
            attach(fd.as_fd(), place.as_fd())
        };
        put(fd).map_err(stage("mount", name))
    }

    /// Returns a mount that is attached nowhere.
    fn source(&mut self, mount: &wire::Mount, pool: &Pool) -> io::Result<OwnedFd> {
        match mount {
            wire::Mount::Attach { mount, source, read_only, .. } => {
                let mut mount = process::take_descriptor(*mount)?;
                if let Some(source) = source {
                    self.attach(mount.as_fd(), Kind::Directory)?;
                    let part = Root::from_fd(mount).open_at(path(pool, *source), OFlags::PATH, Mode::empty())?;
                    mount = clone_mount(part.as_fd(), false)?;
                }
                if *read_only {
                    set_attributes(mount.as_fd(), Attributes::MOUNT_ATTR_RDONLY, false)?;
                }
                Ok(mount)
            }
            wire::Mount::Tmpfs { size_bytes, mode, .. } => {
                let mode = format!("{mode:o}");
                let size = size_bytes.map(|size| size.to_string());
                let mut options = vec![FsOption::Value("mode", &mode)];
                options.extend(size.as_deref().map(|size| FsOption::Value("size", size)));
                new_mount("tmpfs", &options, data_attributes())
            }
            wire::Mount::Device { source, .. } => {
                let source = source.map(process::take_descriptor).transpose()?;
                match (self.device(mount), source) {
                    // Nobody makes devices in a user namespace.
                    (Err(error), Some(source)) if error.raw_os_error() == Some(libc::EPERM) => Ok(source),
                    (made, _) => made,
                }
            }
            wire::Mount::File { content, mode, uid, gid, read_only, .. } => {
                let mount = self.file(pool.get(*content), *mode, *uid, *gid)?;
                if *read_only {
                    set_attributes(mount.as_fd(), Attributes::MOUNT_ATTR_RDONLY, false)?;
                }
                Ok(mount)
            }
        }
    }

    /// Returns a mount of a new device node.
    fn device(&mut self, node: &wire::Mount) -> io::Result<OwnedFd> {
        let wire::Mount::Device { is_block, major, minor, mode, uid, gid, .. } = node else {
            return Err(rustix::io::Errno::INVAL.into());
        };
        // Not the file system that files are in: its nodes cannot be opened.
        let directory = new_mount("tmpfs", &[FsOption::Value("mode", "0700")], Attributes::MOUNT_ATTR_NOSUID)?;
        self.attach(directory.as_fd(), Kind::Directory)?;
        let kind = if *is_block { FileType::BlockDevice } else { FileType::CharacterDevice };
        rustix::fs::mknodat(&directory, "node", kind, Mode::from_raw_mode(*mode), makedev(*major, *minor))?;
        let (uid, gid) = (rustix::fs::Uid::from_raw(*uid), rustix::fs::Gid::from_raw(*gid));
        rustix::fs::chownat(&directory, "node", Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
        let place = rustix::fs::openat(&directory, "node", OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
        clone_mount(place.as_fd(), false)
    }

    /// Returns a mount of a new file in memory.
    fn file(&mut self, content: &[u8], mode: u32, uid: u32, gid: u32) -> io::Result<OwnedFd> {
        let name = self.name();
        let mut file = std::fs::File::from(create(self.fd.as_fd(), &name, 0o600)?);
        file.write_all(content)?;
        match owner::set(&file, uid, gid) {
            // Kept aside it needs an attribute, which files in memory have from Linux 6.6 on.
            Err(error) if error.raw_os_error() == Some(libc::EOPNOTSUPP) && owner::is_aside() => {}
            result => result?,
        }
        rustix::fs::fchmod(&file, Mode::from_raw_mode(mode & 0o7777))?;
        let place = rustix::fs::openat(&self.fd, &name, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
        clone_mount(place.as_fd(), false)
    }
}

fn path(pool: &Pool, bytes: Bytes) -> &Path {
    Path::new(OsStr::from_bytes(pool.get(bytes)))
}

fn create(directory: BorrowedFd<'_>, name: &str, mode: u32) -> io::Result<OwnedFd> {
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(directory, name, flags, Mode::from_raw_mode(mode))?)
}

/// Mounts /proc, /dev and /sys.
pub(super) fn kernel_mounts(root: &Root, spec: &Spec) -> Result<(), Failed> {
    let proc = mount_proc(root).map_err(stage("mount", "/proc"))?;
    let sys = mount_sys(root).map_err(stage("mount", "/sys"))?;
    mount_dev(root, spec.shm_size_bytes).map_err(stage("mount", "/dev"))?;
    if spec.is_insecure {
        return Ok(());
    }
    for name in READ_ONLY_PROC {
        make_read_only(proc.as_fd(), name).map_err(stage("make read-only", format!("/proc/{name}")))?;
    }
    let mut mask = Mask::new().map_err(stage("prepare masks", ""))?;
    for name in MASKED_PROC {
        mask.hide(proc.as_fd(), name).map_err(stage("mask", format!("/proc/{name}")))?;
    }
    for name in MASKED_SYS {
        mask.hide(sys.as_fd(), name).map_err(stage("mask", format!("/sys/{name}")))?;
    }
    for name in throttle_directories(sys.as_fd()).map_err(stage("look for", "/sys/devices/system/cpu"))? {
        mask.hide(sys.as_fd(), &name).map_err(stage("mask", format!("/sys/{name}")))?;
    }
    Ok(())
}

fn attach_at(root: &Root, path: &str, mount: &OwnedFd) -> io::Result<()> {
    attach(mount.as_fd(), mountpoint::open(root, Path::new(path))?.as_fd())
}

fn mount_proc(root: &Root) -> io::Result<OwnedFd> {
    let mount = match new_mount("proc", &[], NOTHING_SPECIAL) {
        // In a container that hides parts of its /proc a new one is refused; its own shows us too.
        Err(error) if error.raw_os_error() == Some(libc::EPERM) => {
            clone_mount(open_path(Path::new("/proc"))?.as_fd(), true)?
        }
        result => result?,
    };
    attach_at(root, "/proc", &mount)?;
    Ok(mount)
}

fn mount_sys(root: &Root) -> io::Result<OwnedFd> {
    let read_only = Attributes::MOUNT_ATTR_RDONLY;
    let mount = match new_mount("sysfs", &[], NOTHING_SPECIAL | read_only) {
        // A new sysfs belongs to a network namespace, and we share one that is not ours.
        Err(error) if error.raw_os_error() == Some(libc::EPERM) => {
            let mount = clone_mount(open_path(Path::new("/sys"))?.as_fd(), true)?;
            set_attributes(mount.as_fd(), read_only, true)?;
            mount
        }
        result => result?,
    };
    attach_at(root, "/sys", &mount)?;
    Ok(mount)
}

fn mount_dev(root: &Root, shm_size_bytes: u64) -> io::Result<()> {
    let options = [FsOption::Value("mode", "0755"), FsOption::Value("size", "65536k")];
    let dev = new_mount("tmpfs", &options, Attributes::MOUNT_ATTR_NOSUID)?;
    for (name, target) in DEVICE_LINKS {
        rustix::fs::symlinkat(target, &dev, name)?;
    }
    for directory in ["pts", "shm", "mqueue"] {
        rustix::fs::mkdirat(&dev, directory, Mode::from_raw_mode(0o755))?;
    }
    attach_at(root, "/dev", &dev)?;
    for (name, major, minor) in DEVICES {
        make_device(dev.as_fd(), name, major, minor)?;
    }
    let inside = |name: &str| rustix::fs::openat(&dev, name, OFlags::PATH | OFlags::CLOEXEC, Mode::empty());
    attach(new_pts()?.as_fd(), inside("pts")?.as_fd())?;
    let size = shm_size_bytes.to_string();
    let options = [FsOption::Value("mode", "1777"), FsOption::Value("size", &size)];
    attach(new_mount("tmpfs", &options, NOTHING_SPECIAL)?.as_fd(), inside("shm")?.as_fd())?;
    attach(new_mount("mqueue", &[], NOTHING_SPECIAL)?.as_fd(), inside("mqueue")?.as_fd())
}

fn new_pts() -> io::Result<OwnedFd> {
    let attributes = Attributes::MOUNT_ATTR_NOSUID | Attributes::MOUNT_ATTR_NOEXEC;
    let options = [FsOption::Value("ptmxmode", "0666"), FsOption::Value("mode", "0620"), FsOption::Value("gid", "5")];
    match new_mount("devpts", &options, attributes) {
        // The group tty has no id in this user namespace.
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => new_mount("devpts", &options[..2], attributes),
        result => result,
    }
}

/// Makes a device node, or mounts the machine's where nodes cannot be made (in a user namespace).
fn make_device(dev: BorrowedFd<'_>, name: &str, major: u32, minor: u32) -> io::Result<()> {
    let mode = Mode::from_raw_mode(0o666);
    match rustix::fs::mknodat(dev, name, FileType::CharacterDevice, mode, makedev(major, minor)) {
        Err(rustix::io::Errno::PERM) => {}
        result => return Ok(result?),
    }
    let source = open_device(name, major, minor)?;
    drop(create(dev, name, 0o666)?);
    let place = rustix::fs::openat(dev, name, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
    attach(clone_mount(source.as_fd(), false)?.as_fd(), place.as_fd())
}

/// Opens the machine's device node and makes sure that it is the one.
fn open_device(name: &str, major: u32, minor: u32) -> io::Result<OwnedFd> {
    let source = open_path(&Path::new("/dev").join(name))?;
    let stat = rustix::fs::statat(&source, "", AtFlags::EMPTY_PATH)?;
    let is_device = FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice;
    if is_device && stat.st_rdev == makedev(major, minor) {
        return Ok(source);
    }
    Err(io::Error::other(format!("/dev/{name} of this machine is not the device {major}:{minor}")))
}

/// Opens an entry of /proc or /sys, of that very file system; `None` if this kernel does not have it.
fn open_kernel_entry(mount: BorrowedFd<'_>, name: &str) -> io::Result<Option<OwnedFd>> {
    match open_on_mount(mount, Path::new(name)) {
        Ok(fd) => Ok(Some(fd)),
        // XDEV: the container that we are in has put its own mask or mount there.
        Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ENOTDIR | libc::EXDEV)) => Ok(None),
        Err(error) => Err(error),
    }
}

fn make_read_only(proc: BorrowedFd<'_>, name: &str) -> io::Result<()> {
    let Some(place) = open_kernel_entry(proc, name)? else { return Ok(()) };
    let copy = clone_mount(place.as_fd(), true)?;
    set_attributes(copy.as_fd(), Attributes::MOUNT_ATTR_RDONLY, true)?;
    attach(copy.as_fd(), place.as_fd())
}

/// What is put over files and directories that are to be hidden.
struct Mask {
    file: OwnedFd,
    directory: Option<OwnedFd>,
}

impl Mask {
    fn new() -> io::Result<Mask> {
        Ok(Mask { file: open_device("null", 1, 3)?, directory: None })
    }

    fn hide(&mut self, mount: BorrowedFd<'_>, name: &str) -> io::Result<()> {
        let Some(place) = open_kernel_entry(mount, name)? else { return Ok(()) };
        if kind_of(&place)? == Kind::File {
            return attach(clone_mount(self.file.as_fd(), false)?.as_fd(), place.as_fd());
        }
        // One empty file system serves all directories: made for the first, cloned for the rest.
        if let Some(first) = &self.directory {
            return attach(clone_mount(first.as_fd(), false)?.as_fd(), place.as_fd());
        }
        let empty = new_mount("tmpfs", &[], NOTHING_SPECIAL | Attributes::MOUNT_ATTR_RDONLY)?;
        attach(empty.as_fd(), place.as_fd())?;
        self.directory = Some(empty);
        Ok(())
    }
}

/// Returns the directories that tell how often a CPU was throttled.
fn throttle_directories(sys: BorrowedFd<'_>) -> io::Result<Vec<String>> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let cpus = match rustix::fs::openat(sys, "devices/system/cpu", flags, Mode::empty()) {
        Ok(fd) => fd,
        Err(rustix::io::Errno::NOENT) => return Ok(Vec::new()),
        Err(error) => return Err(error.into()),
    };
    let mut found = Vec::new();
    for entry in rustix::fs::Dir::new(cpus)? {
        let name: OsString = OsStr::from_bytes(entry?.file_name().to_bytes()).to_owned();
        let Some(name) = name.to_str().filter(|name| name.starts_with("cpu")) else { continue };
        if name[3..].bytes().all(|byte| byte.is_ascii_digit()) && name.len() > 3 {
            found.push(format!("devices/system/cpu/{name}/thermal_throttle"));
        }
    }
    Ok(found)
}
