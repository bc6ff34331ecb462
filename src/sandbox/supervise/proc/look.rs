//! Calls that only look: at the target of a link, at what something is, at whether it may be used.

use super::{Found, Place, Proc};
use crate::sandbox::supervise::{Answer, Call};
use crate::sys::notify::{stat_bytes, statfs_bytes, statx_bytes};
use rustix::fs::{Access, AtFlags, CWD, StatxFlags};
use rustix::io::Errno;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Bytes of each name in `struct utsname`.
const UTS_NAME_BYTES: usize = 65;
/// Largest value, and largest list, of attributes.
const ATTRIBUTE_BYTES: usize = 64 << 10;
/// The execution domain in which a 64-bit machine calls itself a 32-bit one.
const PERSONALITY_32_BIT: u32 = 8;

impl Proc {
    pub(super) fn read_link(&mut self, call: &Call<'_>, index: usize) -> Result<Answer, Errno> {
        let target = match self.find(call, index)? {
            // The links in /dev are there, and are what they look like.
            Found::Other | Found::Device(_) | Found::Proc => return Ok(Answer::Continue),
            Found::Place(Place { link: Some(link), .. }) => link.text.into_bytes(),
            Found::Place(place) => {
                let target = rustix::fs::readlink(&place.path, Vec::new())?;
                let target = Path::new(std::ffi::OsStr::from_bytes(target.as_bytes()));
                self.inside(target).into_os_string().into_encoded_bytes()
            }
        };
        let size = call.argument(index + 2);
        if size == 0 {
            return Err(Errno::INVAL);
        }
        let target = &target[..target.len().min(usize::try_from(size).unwrap_or(usize::MAX))];
        Ok(Answer::of(call.write(index + 1, target).map(|()| target.len() as i64)))
    }

    pub(super) fn look(&mut self, call: &Call<'_>) -> Result<Answer, Errno> {
        // Other interfaces have structures of their own; `statx` and `access` are the same everywhere.
        if !call.is_native() && matches!(call.name, "stat" | "lstat" | "newfstatat" | "statfs") {
            return Ok(Answer::Continue);
        }
        // The path, the flags, and the rest.
        let (index, flags, rest) = match call.name {
            "stat" | "access" | "statfs" => (0, 0, 1),
            "lstat" => (0, AtFlags::SYMLINK_NOFOLLOW.bits(), 1),
            "newfstatat" => (1, call.number(3), 2),
            "statx" => (1, call.number(2), 4),
            "faccessat" => (1, 0, 2),
            _ => (1, call.number(3), 2),
        };
        let flags = AtFlags::from_bits_retain(flags);
        let follows = !flags.contains(AtFlags::SYMLINK_NOFOLLOW);
        let path = match self.find(call, index)? {
            Found::Proc => Path::new("/proc").to_owned(),
            Found::Device(_) if !follows => return Ok(Answer::Continue),
            Found::Other => return Ok(Answer::Continue),
            Found::Place(Place { link: Some(link), .. }) if !follows => link.path,
            Found::Place(place) | Found::Device(place) => place.path,
        };
        let written = match call.name {
            "statx" => {
                let mask = StatxFlags::from_bits_retain(call.number(3));
                call.write(rest, statx_bytes(&rustix::fs::statx(CWD, &path, flags, mask)?))
            }
            "statfs" => call.write(rest, statfs_bytes(&rustix::fs::statfs(&path)?)),
            "access" | "faccessat" | "faccessat2" => {
                let wanted = Access::from_bits_retain(call.number(rest));
                rustix::fs::accessat(CWD, &path, wanted, flags)?;
                Ok(())
            }
            _ => call.write(rest, stat_bytes(&rustix::fs::statat(CWD, &path, flags)?)),
        };
        Ok(Answer::of(written.map(|()| 0)))
    }

    /// Attributes of what a descriptor stands for; /proc itself has none.
    pub(super) fn attributes(&mut self, call: &Call<'_>) -> Result<Answer, Errno> {
        let is_list = call.name.ends_with("listxattr");
        let place = match self.find(call, 0)? {
            Found::Place(place) | Found::Device(place) => place,
            Found::Other | Found::Proc => return Ok(Answer::Continue),
        };
        if matches!(call.name, "lgetxattr" | "llistxattr") {
            return if is_list { Ok(Answer::Return(0)) } else { Err(Errno::OPNOTSUPP) };
        }
        let (buffer, size) = if is_list { (1, 2) } else { (2, 3) };
        let mut bytes = vec![0; usize::try_from(call.argument(size)).unwrap_or(0).min(ATTRIBUTE_BYTES)];
        let count = if is_list {
            rustix::fs::listxattr(&place.path, &mut bytes)?
        } else {
            let name = call.path(1).map_err(|_| Errno::FAULT)?;
            rustix::fs::getxattr(&place.path, &name, &mut bytes)?
        };
        let read = bytes.get(..count).unwrap_or_default();
        Ok(Answer::of(call.write(buffer, read).map(|()| count as i64)))
    }

    /// The name of the machine is the builder's; the step has its own.
    pub(super) fn uname(&mut self, call: &Call<'_>) -> Result<Answer, Errno> {
        if self.identity.become_caller(call.pid()).is_err() {
            return Ok(Answer::Continue);
        }
        let uts = rustix::system::uname();
        let machine = if is_32_bit(call) { c"i686" } else { uts.machine() };
        let names = [
            uts.sysname().to_bytes(),
            self.hostname.as_bytes(),
            uts.release().to_bytes(),
            uts.version().to_bytes(),
            machine.to_bytes(),
            uts.domainname().to_bytes(),
        ];
        let mut bytes = [[0; UTS_NAME_BYTES]; 6];
        for (field, name) in bytes.iter_mut().zip(names) {
            let len = name.len().min(UTS_NAME_BYTES - 1);
            field[..len].copy_from_slice(&name[..len]);
        }
        Ok(Answer::of(call.write(0, bytes.as_flattened()).map(|()| 0)))
    }
}

/// Whether the caller has asked to be taken for a 32-bit program (`linux32`, `setarch i386`).
fn is_32_bit(call: &Call<'_>) -> bool {
    let personality = std::fs::read_to_string(call.proc_path("personality")).unwrap_or_default();
    let personality = u32::from_str_radix(personality.trim(), 16).unwrap_or(0);
    cfg!(target_arch = "x86_64") && personality & 0xff == PERSONALITY_32_BIT
}
