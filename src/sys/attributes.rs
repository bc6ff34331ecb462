//! Modes and extended attributes, without following links.
#![allow(unsafe_code)]

use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;
use std::ffi::{CString, OsStr};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

/// `fchmodat2(2)`, Linux 6.6: the same number on every architecture since the tables were joined.
const FCHMODAT2: libc::c_long = 452;

/// Largest value of an extended attribute, and largest list of names (`XATTR_SIZE_MAX` of Linux).
const XATTR_BYTES: usize = 65536;

/// Sets the mode of `name` in a directory; a symbolic link there is an error and is not followed.
///
/// Uses `fchmodat2`, and before Linux 6.6 a descriptor of the file by its name in procfs.
pub fn chmod_at(directory: impl AsFd, name: &OsStr, mode: Mode) -> io::Result<()> {
    let path = CString::new(name.as_bytes())?;
    let fd = directory.as_fd().as_raw_fd();
    // SAFETY: the descriptor and the string outlive the call, which writes to no memory of this process.
    let result = unsafe { libc::syscall(FCHMODAT2, fd, path.as_ptr(), mode.bits(), libc::AT_SYMLINK_NOFOLLOW) };
    if result == 0 {
        return Ok(());
    }
    let error = io::Error::last_os_error();
    if !matches!(error.raw_os_error(), Some(libc::ENOSYS | libc::EPERM)) {
        return Err(error);
    }
    let file = rustix::fs::openat(directory, name, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?;
    if FileType::from_raw_mode(rustix::fs::fstat(&file)?.st_mode) == FileType::Symlink {
        return Err(Errno::OPNOTSUPP.into());
    }
    Ok(rustix::fs::chmod(format!("/proc/self/fd/{}", file.as_raw_fd()), mode)?)
}

/// Returns the value of an extended attribute, or `None` if there is none or the file system knows none.
pub fn read_xattr(file: &OwnedFd, name: &str) -> io::Result<Option<Vec<u8>>> {
    let mut value = [0u8; 256];
    match rustix::fs::fgetxattr(file, name, &mut value[..]) {
        Ok(length) => Ok(Some(value[..length].to_vec())),
        Err(Errno::NODATA | Errno::OPNOTSUPP) => Ok(None),
        Err(Errno::RANGE) => {
            let mut value = vec![0u8; XATTR_BYTES];
            let length = rustix::fs::fgetxattr(file, name, &mut value[..])?;
            value.truncate(length);
            Ok(Some(value))
        }
        Err(error) => Err(error.into()),
    }
}

/// Returns the names of a file's extended attributes.
pub fn list_xattrs(file: &OwnedFd) -> io::Result<Vec<Vec<u8>>> {
    let mut names = [0u8; 1024];
    match rustix::fs::flistxattr(file, &mut names[..]) {
        Ok(length) => Ok(split_names(&names[..length])),
        Err(Errno::RANGE) => {
            let mut names = vec![0u8; XATTR_BYTES];
            let length = rustix::fs::flistxattr(file, &mut names[..])?;
            Ok(split_names(&names[..length]))
        }
        Err(Errno::OPNOTSUPP) => Ok(Vec::new()),
        Err(error) => Err(error.into()),
    }
}

fn split_names(names: &[u8]) -> Vec<Vec<u8>> {
    names.split(|byte| *byte == 0).filter(|name| !name.is_empty()).map(<[u8]>::to_vec).collect()
}

/// Makes `openat2` fail with `errno` in this thread, as a seccomp profile does that does not know the call.
#[cfg(test)]
pub(super) fn refuse_openat2(errno: i32) -> io::Result<()> {
    let instruction = |code: u32, jt, jf, k| libc::sock_filter { code: code as u16, jt, jf, k };
    let mut filter = [
        instruction(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, 0),
        instruction(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 0, 1, libc::SYS_openat2 as u32),
        instruction(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ERRNO | errno as u32),
        instruction(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ALLOW),
    ];
    let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_mut_ptr() };
    // SAFETY: both calls only read their arguments, and the program outlives them; the filter holds for this thread.
    let result = unsafe {
        libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
        libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, std::ptr::from_ref(&program))
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn chmod_at_does_not_follow_links() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        std::fs::write(&file, "").unwrap();
        std::os::unix::fs::symlink("file", dir.path().join("link")).unwrap();
        let fd = std::fs::File::open(dir.path()).unwrap();
        chmod_at(&fd, OsStr::new("file"), Mode::from_raw_mode(0o4711)).unwrap();
        assert_eq!(file.metadata().unwrap().permissions().mode() & 0o7777, 0o4711);
        assert!(chmod_at(&fd, OsStr::new("link"), Mode::from_raw_mode(0o777)).is_err());
        assert_eq!(file.metadata().unwrap().permissions().mode() & 0o7777, 0o4711);
    }
}
