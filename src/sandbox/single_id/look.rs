//! Calls that look at a file: they tell the owner that is recorded, and the device that a file stands for.

use super::{Target, opened, target};
use crate::sandbox::supervise::{Answer, Call};
use crate::sys::notify::{stat_bytes, statx_bytes};
use crate::sys::owner::{self, Device, Owner};
use rustix::fs::{AtFlags, FileType, StatxFlags, makedev};
use std::io;
use std::path::PathBuf;

/// What a look is about and where the answer goes.
struct Look {
    directory: u32,
    path: PathBuf,
    flags: u32,
    /// The argument that points to the structure.
    buffer: usize,
}

/// Answers a call of the stat family; `unrecorded` is the owner of files without a record, if the kernel does not tell it.
pub(super) fn answer(call: &Call<'_>, unrecorded: Option<Owner>) -> io::Result<Answer> {
    // Other interfaces have structures of their own; `statx` is the same everywhere.
    if !call.is_native() && call.name != "statx" {
        return Ok(Answer::Continue);
    }
    let found = match call.name {
        "fstat" => opened(call, call.number(0)).map(|target| Some((target, 1))),
        _ => look(call).and_then(|look| {
            Ok(target(call, look.directory, &look.path, look.flags)?.map(|target| (target, look.buffer)))
        }),
    };
    // Whatever is wrong, the kernel says it better.
    let Ok(Some((target, buffer))) = found else { return Ok(Answer::Continue) };
    let recorded = owner::recorded(&target.file, &target.stat);
    let Some(owner) = recorded.ok().flatten().or(unrecorded) else { return Ok(Answer::Continue) };
    match call.name {
        "statx" => write_statx(call, &target, owner, buffer)?,
        _ => write_stat(call, target, owner, buffer)?,
    }
    Ok(Answer::Return(0))
}

fn look(call: &Call<'_>) -> io::Result<Look> {
    const CURRENT: u32 = libc::AT_FDCWD.cast_unsigned();
    const NOFOLLOW: u32 = libc::AT_SYMLINK_NOFOLLOW.unsigned_abs();
    let (directory, path, flags, buffer) = match call.name {
        "stat" => (CURRENT, 0, 0, 1),
        "lstat" => (CURRENT, 0, NOFOLLOW, 1),
        "newfstatat" => (call.number(0), 1, call.number(3), 2),
        _ => (call.number(0), 1, call.number(2), 4),
    };
    // From Linux 6.11 on no path at all means an empty one.
    let path = if call.argument(path) == 0 { PathBuf::new() } else { call.path(path)? };
    Ok(Look { directory, path, flags, buffer })
}

fn write_stat(call: &Call<'_>, target: Target, owner: Owner, buffer: usize) -> io::Result<()> {
    let mut stat = target.stat;
    (stat.st_uid, stat.st_gid) = (owner.uid, owner.gid);
    if let Some(device) = owner.device {
        stat.st_mode = device_mode(stat.st_mode, device);
        stat.st_rdev = makedev(device.major, device.minor);
    }
    call.write(buffer, stat_bytes(&stat))
}

fn write_statx(call: &Call<'_>, target: &Target, owner: Owner, buffer: usize) -> io::Result<()> {
    let mask = StatxFlags::from_bits_retain(call.number(3));
    let mut stat = rustix::fs::statx(&target.file, "", AtFlags::EMPTY_PATH, mask)?;
    (stat.stx_uid, stat.stx_gid) = (owner.uid, owner.gid);
    if let Some(device) = owner.device {
        stat.stx_mode = u16::try_from(device_mode(u32::from(stat.stx_mode), device)).unwrap_or(stat.stx_mode);
        (stat.stx_rdev_major, stat.stx_rdev_minor) = (device.major, device.minor);
    }
    call.write(buffer, statx_bytes(&stat))
}

fn device_mode(mode: u32, device: Device) -> u32 {
    let kind = if device.is_block { FileType::BlockDevice } else { FileType::CharacterDevice };
    kind.as_raw_mode() | (mode & 0o7777)
}
