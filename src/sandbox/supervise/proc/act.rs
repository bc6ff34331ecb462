//! Calls that give the step something of /proc or change what a descriptor in it stands for.

use super::{Found, Listing, Proc, errno, text};
use crate::sandbox::chroot::descendants;
use crate::sandbox::supervise::{Answer, Call};
use rustix::fs::{AtFlags, CWD, FileType, Gid, Mode, OFlags, Timespec, Timestamps, Uid};
use rustix::io::Errno;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

impl Proc {
    /// `openat2`: its flags are behind a pointer, and with limits of its own (`RESOLVE_*`) the kernel must resolve the path.
    pub(super) fn open_how(&mut self, call: &Call<'_>, how: &[u8]) -> Result<Answer, Errno> {
        let word = |at: usize| how.get(at..at + 8).and_then(|word| Some(u64::from_ne_bytes(word.try_into().ok()?)));
        match (word(0).map(u32::try_from), word(16)) {
            (Some(Ok(flags)), Some(0)) => self.open(call, 1, OFlags::from_bits_retain(flags)),
            _ => Ok(Answer::Continue),
        }
    }

    pub(super) fn open(&mut self, call: &Call<'_>, index: usize, flags: OFlags) -> Result<Answer, Errno> {
        let place = match self.find(call, index)? {
            Found::Other => return Ok(Answer::Continue),
            Found::Device(_) if flags.contains(OFlags::NOFOLLOW) => return Ok(Answer::Continue),
            Found::Proc if flags.contains(OFlags::PATH) => {
                let fd = rustix::fs::open("/proc", flags | OFlags::CLOEXEC, Mode::empty())?;
                return Ok(given(fd, flags));
            }
            Found::Proc => {
                self.list()?;
                return Ok(Answer::Continue);
            }
            Found::Place(place) | Found::Device(place) => place,
        };
        if place.is_read_only && flags.intersects(OFlags::WRONLY | OFlags::RDWR | OFlags::CREATE | OFlags::TRUNC) {
            return Err(Errno::ROFS);
        }
        if let Some(text) = place.text {
            let content = self.text(text);
            let fd = text::file(&content).map_err(|error| errno(&error))?;
            return Ok(given(fd, flags));
        }
        let fd = match place.link {
            Some(link) if flags.contains(OFlags::NOFOLLOW) => open_now(&link.path, flags)?,
            _ => open_now(&place.path, flags)?,
        };
        Ok(given(fd, flags))
    }

    /// A program named by a link of /proc: the kernel finds it through a link of that name in the step's own /proc.
    pub(super) fn execute(&mut self, call: &Call<'_>, index: usize) -> Result<Answer, Errno> {
        let (Found::Place(place) | Found::Device(place)) = self.find(call, index)? else {
            return Ok(Answer::Continue);
        };
        let Some(magic) = place.magic else { return Ok(Answer::Continue) };
        let target = rustix::fs::readlink(&place.path, Vec::new())?;
        let target = self.inside(Path::new(std::ffi::OsStr::from_bytes(target.as_bytes())));
        self.as_root(|listing| listing.link(&magic, &target))?;
        Ok(Answer::Continue)
    }

    /// `/proc/self/fd/N` as a source: how a file without a name gets one.
    pub(super) fn link(&mut self, call: &Call<'_>) -> Result<Answer, Errno> {
        if call.number(4) & AtFlags::SYMLINK_FOLLOW.bits() == 0 {
            return Ok(Answer::Continue);
        }
        let (Found::Place(place) | Found::Device(place)) = self.find(call, 1)? else { return Ok(Answer::Continue) };
        let target = call.path(3).and_then(|path| call.parent(call.number(2), &path));
        let (directory, name) = target.map_err(|error| errno(&error))?;
        rustix::fs::linkat(CWD, &place.path, directory, name, AtFlags::SYMLINK_FOLLOW)?;
        Ok(Answer::Return(0))
    }

    /// Mode, owner and times of what a descriptor stands for, by its name in /proc: C libraries do so for links.
    pub(super) fn change(&mut self, call: &Call<'_>) -> Result<Answer, Errno> {
        let is_at = call.name.ends_with("at") || call.name.ends_with("at2");
        let index = usize::from(is_at);
        let flags = match call.name {
            "lchown" => AtFlags::SYMLINK_NOFOLLOW.bits(),
            "fchmodat2" | "utimensat" => call.number(3),
            "fchownat" => call.number(4),
            _ => 0,
        };
        if flags & AtFlags::SYMLINK_NOFOLLOW.bits() != 0 {
            return Ok(Answer::Continue);
        }
        let place = match self.find(call, index)? {
            Found::Place(place) | Found::Device(place) => place,
            Found::Other | Found::Proc => return Ok(Answer::Continue),
        };
        if place.is_read_only {
            return Err(Errno::ROFS);
        }
        let path = &place.path;
        match call.name {
            "chmod" | "fchmodat" | "fchmodat2" => {
                rustix::fs::chmod(path, Mode::from_raw_mode(call.number(index + 1) & 0o7777))?;
            }
            "chown" | "fchownat" => {
                let id = |number: u32| (number != u32::MAX).then_some(number);
                let (uid, gid) = (id(call.number(index + 1)), id(call.number(index + 2)));
                rustix::fs::chown(path, uid.map(Uid::from_raw), gid.map(Gid::from_raw))?;
            }
            "utimensat" if call.is_native() => {
                rustix::fs::utimensat(CWD, path, &times(call, index + 1)?, AtFlags::empty())?;
            }
            _ => return Ok(Answer::Continue),
        }
        Ok(Answer::Return(0))
    }

    /// Brings the step's own /proc up to date, for a program that lists it.
    fn list(&mut self) -> Result<(), Errno> {
        let reaper = self.first.map_or(0, |first| first.reaper);
        let processes = descendants(reaper).map_err(|error| errno(&error))?;
        let processes: Vec<String> = processes.iter().map(i32::to_string).collect();
        self.as_root(|listing| listing.update(&processes))
    }

    fn as_root(&mut self, work: impl FnOnce(&mut Listing) -> Result<(), Errno>) -> Result<(), Errno> {
        self.identity.become_root().map_err(|error| errno(&error))?;
        work(&mut self.listing)
    }
}

fn given(fd: OwnedFd, flags: OFlags) -> Answer {
    Answer::Descriptor { fd, close_on_exec: flags.contains(OFlags::CLOEXEC) }
}

/// Opens without waiting for the other end of a FIFO: all other calls of the step would wait with it.
fn open_now(path: &PathBuf, flags: OFlags) -> Result<OwnedFd, Errno> {
    let flags = flags & !(OFlags::CREATE | OFlags::EXCL) | OFlags::NOCTTY | OFlags::CLOEXEC;
    let waits = !flags.intersects(OFlags::NONBLOCK | OFlags::PATH)
        && rustix::fs::stat(path).is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Fifo);
    if !waits {
        return rustix::fs::open(path, flags, Mode::empty());
    }
    let fd = rustix::fs::open(path, flags | OFlags::NONBLOCK, Mode::empty())?;
    rustix::fs::fcntl_setfl(&fd, flags & !OFlags::NONBLOCK)?;
    Ok(fd)
}

/// Reads the times of `utimensat`; none at all means now.
fn times(call: &Call<'_>, index: usize) -> Result<Timestamps, Errno> {
    const NOW: Timespec = Timespec { tv_sec: 0, tv_nsec: rustix::fs::UTIME_NOW };
    if call.argument(index) == 0 {
        return Ok(Timestamps { last_access: NOW, last_modification: NOW });
    }
    let bytes = call.read(index, 32).map_err(|_| Errno::FAULT)?;
    let mut words = bytes.chunks_exact(8).map(|word| word.try_into().map_or(0, i64::from_ne_bytes));
    let mut time = || Timespec { tv_sec: words.next().unwrap_or(0), tv_nsec: words.next().unwrap_or(0) };
    Ok(Timestamps { last_access: time(), last_modification: time() })
}
