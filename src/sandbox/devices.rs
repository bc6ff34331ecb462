//! Devices that steps make in a user namespace, where the kernel refuses them: files that stand for them in the layer.
//!
//! Nothing else of a step is touched, and `mknod` is so rare that this costs nothing.  A later `stat` shows the file that it is: to
//! answer that would cost every look at a file.

use super::supervise::{Answer, Call, Emulation, Status, Watch, When};
use crate::sys::owner::{self, Device};
use rustix::fs::{AtFlags, FileType, Mode, major, minor};
use rustix::io::Errno;
use std::ffi::OsStr;
use std::io;
use std::os::fd::OwnedFd;

/// The bit of a mode that devices have and files, FIFOs and sockets have not.
const DEVICE_BIT: u32 = 0o020_000;
/// CAP_MKNOD (capabilities(7)).
const CAP_MKNOD: u32 = 27;

/// Makes devices for a step's processes that have CAP_MKNOD in their namespace.
pub(super) struct Devices;

impl Emulation for Devices {
    fn watches(&self) -> Vec<Watch> {
        let with_bit = |argument| When::AnyBit { argument, bits: DEVICE_BIT };
        vec![Watch { call: "mknod", when: with_bit(1) }, Watch { call: "mknodat", when: with_bit(2) }]
    }

    fn answer(&mut self, call: &Call<'_>) -> Answer {
        let Some(request) = Request::of(call) else { return Answer::Continue };
        let status = Status::of(call.pid());
        if !status.has_capability(CAP_MKNOD) {
            return Answer::Fail(libc::EPERM);
        }
        let made = || {
            let (directory, name) = call.parent(request.directory, &call.path(request.path)?)?;
            request.make(&directory, &name, &status)
        };
        Answer::of(made().map(|()| 0))
    }
}

/// A call of mknod that asks for a device.
pub(super) struct Request {
    directory: u32,
    /// The argument with the path.
    path: usize,
    device: Device,
    mode: u32,
}

impl Request {
    /// Reads it; `None` for calls that ask for something else.
    pub fn of(call: &Call<'_>) -> Option<Request> {
        const CURRENT: u32 = libc::AT_FDCWD.cast_unsigned();
        let (directory, path) = match call.name {
            "mknod" => (CURRENT, 0),
            "mknodat" => (call.number(0), 1),
            _ => return None,
        };
        let mode = call.number(path + 1);
        let is_block = match FileType::from_raw_mode(mode) {
            FileType::BlockDevice => true,
            FileType::CharacterDevice => false,
            _ => return None,
        };
        // The number as user space has it in 32 bits.
        let number = u64::from(call.number(path + 2));
        let device = Device { is_block, major: major(number), minor: minor(number) };
        Some(Request { directory, path, device, mode })
    }

    /// Makes the file that stands for the device.
    ///
    /// `status` is the caller's.
    pub fn make(&self, directory: &OwnedFd, name: &OsStr, status: &Status) -> io::Result<()> {
        if (self.device.major, self.device.minor) == (0, 0) {
            // Overlayfs would take it for a whiteout.
            return Err(Errno::PERM.into());
        }
        // The file is made exclusively, so that a link there is not followed; mknod(2) says the same of it.
        if rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW).is_ok() {
            return Err(Errno::EXIST.into());
        }
        let mode = Mode::from_raw_mode(self.mode & 0o7777 & !status.umask());
        Ok(owner::make_device(directory, name, self.device, mode)?)
    }
}
