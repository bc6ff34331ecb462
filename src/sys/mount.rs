//! The mount API by descriptor (`fsopen`, `open_tree`, `mount_setattr`, `move_mount`), Linux 5.12 and later.
//!
//! No mount is made by path: a file system is a descriptor of a mount that is attached nowhere until it is moved onto
//! another descriptor.  What a stranger's tree puts at a path in between cannot redirect it (runc CVE-2021-30465).
#![allow(unsafe_code)]

use rustix::fs::{AtFlags, CWD, OFlags, StatxFlags};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags,
    fsconfig_create, fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen, move_mount, open_tree,
};
use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

/// Mount attribute bits of `mount_setattr(2)`.
pub use rustix::mount::MountAttrFlags as Attributes;

/// An option of a new file system.
#[derive(Debug, Clone, Copy)]
pub enum FsOption<'a> {
    /// A name without value.
    Flag(&'a str),
    /// A name and its value.
    Value(&'a str, &'a str),
}

/// Makes a new instance of a file system and returns its mount, attached nowhere.
pub fn new_mount(kind: &str, options: &[FsOption<'_>], attributes: Attributes) -> io::Result<OwnedFd> {
    let context = fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC)?;
    for option in options {
        match option {
            FsOption::Flag(name) => fsconfig_set_flag(context.as_fd(), *name)?,
            FsOption::Value(name, value) => fsconfig_set_string(context.as_fd(), *name, *value)?,
        }
    }
    fsconfig_create(context.as_fd())?;
    Ok(fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, attributes)?)
}

/// Like [`new_mount`] by `mount(2)`, which takes longer options; `point` is an empty directory that nobody else uses.
///
/// Options that do not fit the page that there is for them are `E2BIG`.
pub fn new_mount_classic(
    kind: &str,
    options: &[FsOption<'_>],
    attributes: Attributes,
    point: &Path,
) -> io::Result<OwnedFd> {
    /// Bytes of all options, NUL included: the smallest page.
    const OPTIONS_BYTES: usize = 4096;
    let options: Vec<String> = options
        .iter()
        .map(|option| match option {
            FsOption::Flag(name) => (*name).to_owned(),
            FsOption::Value(name, value) => format!("{name}={value}"),
        })
        .collect();
    let options = CString::new(options.join(","))?;
    if options.count_bytes() >= OPTIONS_BYTES {
        return Err(rustix::io::Errno::TOOBIG.into());
    }
    rustix::mount::mount(kind, point, kind, MountFlags::empty(), options.as_c_str())?;
    // What is on the mount point is a way to the copy and goes whether that was made or not.
    let copied = open_path(point).and_then(|place| clone_mount(place.as_fd(), false));
    rustix::mount::unmount(point, UnmountFlags::DETACH)?;
    let copied = copied?;
    set_attributes(copied.as_fd(), attributes, false)?;
    Ok(copied)
}

/// Returns a copy of the mount (or of the part of it) that `source` stands for, attached nowhere.
pub fn clone_mount(source: BorrowedFd<'_>, recursive: bool) -> io::Result<OwnedFd> {
    let mut flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_EMPTY_PATH;
    if recursive {
        flags |= OpenTreeFlags::AT_RECURSIVE;
    }
    Ok(open_tree(source, "", flags)?)
}

/// Attaches a mount that is attached nowhere onto the file or directory `target`.
pub fn attach(mount: BorrowedFd<'_>, target: BorrowedFd<'_>) -> io::Result<()> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    Ok(move_mount(mount, "", target, "", flags)?)
}

/// Sets attributes on a mount, and on all below it if `recursive`.
pub fn set_attributes(mount: BorrowedFd<'_>, attributes: Attributes, recursive: bool) -> io::Result<()> {
    set(mount, c"", libc::mount_attr { attr_set: u64::from(attributes.bits()), ..NO_CHANGE }, recursive)
}

/// Makes every mount of this namespace private, so that nothing that is mounted here shows elsewhere or the reverse.
pub fn make_all_private() -> io::Result<()> {
    set(CWD, c"/", libc::mount_attr { propagation: libc::MS_PRIVATE, ..NO_CHANGE }, true)
}

const NO_CHANGE: libc::mount_attr = libc::mount_attr { attr_set: 0, attr_clr: 0, propagation: 0, userns_fd: 0 };

fn set(at: BorrowedFd<'_>, path: &CStr, attributes: libc::mount_attr, recursive: bool) -> io::Result<()> {
    let mut flags = if path.is_empty() { libc::AT_EMPTY_PATH } else { 0 };
    if recursive {
        flags |= libc::AT_RECURSIVE;
    }
    // SAFETY: `path` ends in NUL and `attributes` is a live structure of the size that is given.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            at.as_raw_fd(),
            path.as_ptr(),
            flags,
            &raw const attributes,
            size_of::<libc::mount_attr>(),
        )
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Makes the attached mount `root` this namespace's root directory and drops the old one with all that is on it.
///
/// After `pivot_root(".", ".")` the old root lies on top of the new one, and more may be stacked on the old root itself.  An
/// unmount takes what is uppermost, so it is repeated until nothing is left; then `..` is checked to end at the new root,
/// for whatever stayed would be one `..` away from every path of the step.
pub fn pivot(root: BorrowedFd<'_>) -> io::Result<()> {
    let old = open_path(Path::new("/"))?;
    rustix::process::fchdir(root)?;
    rustix::process::pivot_root(".", ".")?;
    rustix::process::fchdir(&old)?;
    rustix::mount::unmount(".", UnmountFlags::DETACH)?;
    while rustix::mount::unmount(".", UnmountFlags::DETACH).is_ok() {}
    rustix::process::chdir("/")?;
    let place = |path: &str| {
        let place = rustix::fs::statx(CWD, path, AtFlags::empty(), StatxFlags::MNT_ID | StatxFlags::INO)?;
        io::Result::Ok((place.stx_mnt_id, place.stx_ino))
    };
    let new = rustix::fs::statx(root, "", AtFlags::EMPTY_PATH, StatxFlags::MNT_ID | StatxFlags::INO)?;
    if place("..")? == (new.stx_mnt_id, new.stx_ino) {
        return Ok(());
    }
    Err(io::Error::other("the old root is still there"))
}

/// Opens a trusted path as a place, without opening what is there.
pub fn open_path(path: &Path) -> io::Result<OwnedFd> {
    Ok(rustix::fs::openat(CWD, path, OFlags::PATH | OFlags::CLOEXEC, rustix::fs::Mode::empty())?)
}

/// Returns the attributes that file systems of data get: no devices, no set-uid programs.
pub fn data_attributes() -> Attributes {
    MountAttrFlags::MOUNT_ATTR_NODEV | MountAttrFlags::MOUNT_ATTR_NOSUID
}
