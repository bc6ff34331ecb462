//! Lists of extended attributes, without the one that owners are kept in.
//!
//! Programs that copy all attributes of a file (`rsync -X`, `cp --preserve=xattr`) would copy its owner with them.

use super::{opened, target};
use crate::sandbox::supervise::{Answer, Call};
use crate::sys::owner::OWNER_XATTR;
use rustix::io::Errno;
use std::io;
use std::os::fd::AsRawFd;

/// Longest list (`XATTR_LIST_MAX`), bytes.
const LIST_BYTES: usize = 64 << 10;

/// Answers a call of the listxattr family.
pub(super) fn list(call: &Call<'_>) -> io::Result<Answer> {
    const CURRENT: u32 = libc::AT_FDCWD.cast_unsigned();
    const NOFOLLOW: u32 = libc::AT_SYMLINK_NOFOLLOW.unsigned_abs();
    let found = match call.name {
        "flistxattr" => opened(call, call.number(0)).map(Some),
        name => target(call, CURRENT, &call.path(0)?, if name == "llistxattr" { NOFOLLOW } else { 0 }),
    };
    // Whatever is wrong, the kernel says it better.
    let Ok(Some(found)) = found else { return Ok(Answer::Continue) };
    let mut list = vec![0; LIST_BYTES];
    let length = rustix::fs::listxattr(format!("/proc/self/fd/{}", found.file.as_raw_fd()), &mut list[..])?;
    let names = list[..length].split_inclusive(|byte| *byte == 0);
    let names: Vec<u8> =
        names.filter(|name| name.strip_suffix(b"\0") != Some(OWNER_XATTR.as_bytes())).flatten().copied().collect();
    if names.len() == length {
        return Ok(Answer::Continue);
    }
    match usize::try_from(call.argument(2)).unwrap_or(usize::MAX) {
        0 => {}
        size if size < names.len() => return Err(Errno::RANGE.into()),
        _ => call.write(1, &names)?,
    }
    Ok(Answer::Return(i64::try_from(names.len()).unwrap_or(0)))
}
