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

/// Traces a child.
pub fn trace() -> io::Result<()> {
    in_child(0, trace_in_child, std::ptr::null_mut())
}

/// Has a filter hand over the system calls of a child, of which it makes none.
pub fn listener() -> io::Result<()> {
    in_child(0, listener_in_child, std::ptr::null_mut())
}

/// Reads the memory of a child, by the call that is for other processes.
pub fn read_memory() -> io::Result<()> {
    in_child(0, read_memory_in_child, std::ptr::null_mut())
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

extern "C" fn trace_in_child(_: *mut c_void) -> c_int {
    // SAFETY: the request has no arguments, and the child ends without a stop.
    if unsafe { libc::ptrace(libc::PTRACE_TRACEME, 0, 0, 0) } < 0 { errno() } else { 0 }
}

extern "C" fn listener_in_child(_: *mut c_void) -> c_int {
    const NEW_LISTENER: libc::c_ulong = 1 << 3;
    let mut allow = libc::sock_filter { code: 0x06, jt: 0, jf: 0, k: libc::SECCOMP_RET_ALLOW };
    let filter = libc::sock_fprog { len: 1, filter: &raw mut allow };
    // SAFETY: both calls are about the child alone; the program is live while it is copied.
    unsafe {
        if libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 {
            return errno();
        }
        if libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, NEW_LISTENER, &raw const filter) < 0 {
            return errno();
        }
    }
    0
}

extern "C" fn read_memory_in_child(_: *mut c_void) -> c_int {
    let (source, mut target) = (1_u8, 0_u8);
    let local = libc::iovec { iov_base: (&raw mut target).cast(), iov_len: 1 };
    let remote = libc::iovec { iov_base: (&raw const source).cast_mut().cast(), iov_len: 1 };
    // SAFETY: both vectors describe a live byte of the child's stack.
    let count = unsafe { libc::process_vm_readv(libc::getpid(), &raw const local, 1, &raw const remote, 1, 0) };
    if count == 1 { 0 } else { errno() }
}
