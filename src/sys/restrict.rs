//! What a process gives up before it runs a stranger's program: ids, capabilities, system calls, descriptors.
#![allow(unsafe_code)]

use std::io;

/// One instruction of classic BPF.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[repr(C)]
pub struct Instruction {
    /// Operation.
    pub code: u16,
    /// Instructions to skip when true.
    pub jump_true: u8,
    /// Instructions to skip when false.
    pub jump_false: u8,
    /// Operand.
    pub operand: u32,
}

fn check(result: libc::c_long) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Installs a seccomp filter.  Needs CAP_SYS_ADMIN, and so leaves `no_new_privs` alone: set-uid programs work.
pub fn install_filter(program: &[Instruction]) -> io::Result<()> {
    let len = u16::try_from(program.len()).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    let filter = libc::sock_fprog { len, filter: program.as_ptr().cast::<libc::sock_filter>().cast_mut() };
    // SAFETY: `Instruction` has the layout of `sock_filter`; the kernel copies the program and does not write to it.
    check(unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, 0, &raw const filter) })
}

/// Returns the bounding set of this process; bit N is the capability N.
pub fn bounding_set() -> u64 {
    // SAFETY: prctl with integers only; numbers that the kernel does not know give an error.
    let has = |number: &u32| unsafe { libc::prctl(libc::PR_CAPBSET_READ, libc::c_ulong::from(*number), 0, 0, 0) } == 1;
    (0..64).filter(has).fold(0, |set, number| set | 1 << number)
}

/// Removes from the bounding set every capability that is not in `keep`.
pub fn limit_bounding_set(keep: u64) -> io::Result<()> {
    for capability in 0..64_u32 {
        // SAFETY: prctl with integers only.
        let present = unsafe { libc::prctl(libc::PR_CAPBSET_READ, libc::c_ulong::from(capability), 0, 0, 0) };
        if present < 0 {
            break; // The first number that the kernel does not know.
        }
        if present == 1 && keep & (1 << capability) == 0 {
            // SAFETY: as above.
            check(unsafe { libc::prctl(libc::PR_CAPBSET_DROP, libc::c_ulong::from(capability), 0, 0, 0) }.into())?;
        }
    }
    Ok(())
}

/// Sets permitted and effective capabilities to `keep` (as far as they are permitted), inheritable and ambient to none.
pub fn set_capabilities(keep: u64) -> io::Result<()> {
    #[repr(C)]
    struct Header {
        version: u32,
        pid: i32,
    }
    let mut header = Header { version: 0x2008_0522, pid: 0 };
    let mut sets = [[0_u32; 3]; 2];
    // SAFETY: header and sets are live and of the layout of version 3.
    check(unsafe { libc::syscall(libc::SYS_capget, &raw mut header, sets.as_mut_ptr()) })?;
    for (word, set) in sets.iter_mut().enumerate() {
        let kept = ((keep >> (32 * word)) as u32) & set[1];
        *set = [kept, kept, 0];
    }
    // SAFETY: as above, and prctl with integers only.
    unsafe {
        check(libc::syscall(libc::SYS_capset, &raw mut header, sets.as_ptr()))?;
        check(libc::prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0).into())
    }
}

/// Becomes this user with these groups.  Needs CAP_SETUID and CAP_SETGID.
pub fn become_user(uid: u32, gid: u32, groups: &[u32]) -> io::Result<()> {
    // SAFETY: the list is live and of the given length; the process has a single thread.
    unsafe {
        check(libc::syscall(libc::SYS_setgroups, groups.len(), groups.as_ptr()))?;
        check(libc::syscall(libc::SYS_setresgid, gid, gid, gid))?;
        check(libc::syscall(libc::SYS_setresuid, uid, uid, uid))
    }
}

/// Lets this thread do what another user may: its files are looked at with these ids, processes of that user can be read, and
/// what is needed to become another user next stays.
///
/// Only this thread changes, and it must not become anything else in another way.  Needs CAP_SETUID and CAP_SETGID.
pub fn act_as(uid: u32, gid: u32, groups: &[u32]) -> io::Result<()> {
    // SAFETY: the list is live and of the given length; the raw calls change the calling thread only.
    unsafe {
        // Back from 0 to 0 first: only this step brings capabilities over files back.
        libc::syscall(libc::SYS_setfsuid, 0);
        check(libc::syscall(libc::SYS_setgroups, groups.len(), groups.as_ptr()))?;
        check(libc::syscall(libc::SYS_setresgid, gid, 0, 0))?;
        libc::syscall(libc::SYS_setfsgid, gid);
        check(libc::syscall(libc::SYS_setresuid, uid, 0, 0))?;
        libc::syscall(libc::SYS_setfsuid, uid);
    }
    Ok(())
}

/// Asks for SIGKILL when the parent dies; lost at every change of user.
pub fn die_with_parent() -> io::Result<()> {
    // SAFETY: prctl with integers only.
    check(unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) }.into())
}

/// Marks every descriptor from 3 on to be closed by exec.
pub fn close_on_exec_from_3() -> io::Result<()> {
    // SAFETY: only flags of descriptors change.
    check(unsafe { libc::syscall(libc::SYS_close_range, 3, libc::c_uint::MAX, libc::CLOSE_RANGE_CLOEXEC) })
}

/// Joins a new, empty session keyring, so that keys of the builder are out of reach.
pub fn new_session_keyring() {
    // SAFETY: a null name asks for an anonymous keyring.  Kernels without keys, and quotas, make it fail: then there
    // is nothing to hide, or the keyring stays the one that the pid namespace's user sees anyway.
    unsafe { libc::syscall(libc::SYS_keyctl, libc::KEYCTL_JOIN_SESSION_KEYRING, std::ptr::null::<u8>()) };
}

/// Sets a resource limit by its number.
pub fn set_limit(resource: u32, soft: u64, hard: u64) -> io::Result<()> {
    let limit = libc::rlimit64 { rlim_cur: soft, rlim_max: hard };
    // SAFETY: the structure is live; a null pointer asks for no old value.
    check(unsafe {
        libc::syscall(libc::SYS_prlimit64, 0, resource, &raw const limit, std::ptr::null_mut::<libc::rlimit64>())
    })
}

/// Returns the soft and the hard limit of a process by the limit's number.
pub fn limit_of(process: u32, resource: u32) -> io::Result<(u64, u64)> {
    let mut limit = libc::rlimit64 { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the structure is live; a null pointer changes nothing.
    check(unsafe {
        libc::syscall(libc::SYS_prlimit64, process, resource, std::ptr::null::<libc::rlimit64>(), &raw mut limit)
    })?;
    Ok((limit.rlim_cur, limit.rlim_max))
}

/// Sets the soft limit of a process, whose hard limit stays as it is, given here.
pub fn set_soft_limit_of(process: u32, resource: u32, soft: u64, hard: u64) -> io::Result<()> {
    let limit = libc::rlimit64 { rlim_cur: soft, rlim_max: hard };
    // SAFETY: the structure is live; a null pointer asks for no old value.
    check(unsafe {
        libc::syscall(libc::SYS_prlimit64, process, resource, &raw const limit, std::ptr::null_mut::<libc::rlimit64>())
    })
}

/// Brings up the loopback interface of this network namespace.
pub fn loopback_up() -> io::Result<()> {
    use std::os::fd::AsRawFd;
    let socket = rustix::net::socket_with(
        rustix::net::AddressFamily::INET,
        rustix::net::SocketType::DGRAM,
        rustix::net::SocketFlags::CLOEXEC,
        None,
    )?;
    // SAFETY: an all-zero `ifreq` is valid; name and flags are set below, within bounds.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(b"lo") {
        *to = *from as libc::c_char;
    }
    request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as i16;
    // SAFETY: SIOCSIFFLAGS reads an `ifreq`.
    check(unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &raw mut request) }.into())
}
