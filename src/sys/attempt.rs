//! What the kernel lets this process do, found by doing it where nothing of it stays.
//!
//! A seccomp filter or a security module may refuse with any errno what every setting allows, so only an attempt
//! tells.  Each is made in a child that ends at once, with mounts that are attached nowhere, or on a file in memory.
#![allow(unsafe_code)]

use super::process::{ExitStatus, clone_vfork};
use rustix::fs::{MemfdFlags, memfd_create};
use std::ffi::{CStr, c_char, c_int, c_void};
use std::io;

/// A file system whose mounting is attempted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mount {
    /// One that every mount namespace may have.
    Tmpfs,
    /// One that wants a pid namespace of its own, and is refused where the container hides parts of its own.
    Proc,
}

/// Makes `namespaces` (`CLONE_NEW*`) and a mount in them, attached nowhere.
///
/// A security module may let the namespace be made and then refuse all that one would make it for
/// (`kernel.apparmor_restrict_unprivileged_userns`), so only a mount tells.
pub fn mount(namespaces: c_int, mount: Mount) -> io::Result<()> {
    let kind = match mount {
        Mount::Tmpfs => c"tmpfs",
        Mount::Proc => c"proc",
    };
    in_child(namespaces, mount_in_child, kind.as_ptr().cast_mut().cast())
}

/// Changes the root directory of a child to the one it has.
pub fn chroot() -> io::Result<()> {
    in_child(0, chroot_in_child, std::ptr::null_mut())
}

/// Gives a file in memory to another user and group.
pub fn chown() -> io::Result<()> {
    let file = memfd_create(c"owner", MemfdFlags::CLOEXEC)?;
    let another = 1;
    let [uid, gid] = [rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw()].map(|id| id ^ another);
    let (uid, gid) = (rustix::fs::Uid::from_raw(uid), rustix::fs::Gid::from_raw(gid));
    Ok(rustix::fs::fchown(file, Some(uid), Some(gid))?)
}

/// Asks whether filters can hand system calls to another process (`SECCOMP_RET_USER_NOTIF`, Linux 5.0).
pub fn seccomp_notification() -> io::Result<()> {
    let action: u32 = libc::SECCOMP_RET_USER_NOTIF;
    // SAFETY: the kernel reads four live bytes.
    let result =
        unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_GET_ACTION_AVAIL, 0, std::ptr::from_ref(&action)) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Runs `attempt` in a child with the given namespaces and returns what it returned: 0 or an errno.
///
/// `attempt` runs in our memory while we wait; it may only make system calls.
fn in_child(namespaces: c_int, attempt: extern "C" fn(*mut c_void) -> c_int, argument: *mut c_void) -> io::Result<()> {
    match clone_vfork(namespaces, attempt, argument)?.wait()? {
        ExitStatus::Code(0) => Ok(()),
        ExitStatus::Code(errno) => Err(io::Error::from_raw_os_error(errno)),
        ExitStatus::Signal(_) => Err(io::Error::from_raw_os_error(libc::EPERM)),
    }
}

fn errno() -> c_int {
    // SAFETY: the C library's errno of this thread is always there.
    unsafe { *libc::__errno_location() }
}

extern "C" fn mount_in_child(kind: *mut c_void) -> c_int {
    // SAFETY: `mount` passes a literal that ends in NUL; the rest are system calls with literal arguments.
    unsafe {
        let kind = CStr::from_ptr(kind.cast::<c_char>());
        let context = libc::syscall(libc::SYS_fsopen, kind.as_ptr(), 0);
        if context < 0 {
            return errno();
        }
        let null = std::ptr::null::<c_char>();
        const FSCONFIG_CMD_CREATE: c_int = 6;
        if libc::syscall(libc::SYS_fsconfig, context, FSCONFIG_CMD_CREATE, null, null, 0) < 0 {
            return errno();
        }
        if libc::syscall(libc::SYS_fsmount, context, 0, 0) < 0 {
            return errno();
        }
    }
    0
}

extern "C" fn chroot_in_child(_: *mut c_void) -> c_int {
    // SAFETY: a system call with a literal argument; the child has its own root directory.
    if unsafe { libc::chroot(c"/".as_ptr()) } < 0 { errno() } else { 0 }
}
