//! Changes of owners: recorded, and told to the kernel as a change to the only owner that there is.

use super::credentials::Credentials;
use super::{SingleId, Target, opened, target};
use crate::sandbox::supervise::{Answer, Call};
use crate::sys::owner::{self, Owner};
use rustix::fs::{AtFlags, FileType, OFlags, Timespec, Timestamps};
use rustix::io::Errno;
use std::ffi::OsStr;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

/// The id that leaves an owner as it is.
const UNCHANGED: u32 = u32::MAX;

impl SingleId {
    pub(super) fn chown(&mut self, call: &Call<'_>) -> io::Result<Answer> {
        const CURRENT: u32 = libc::AT_FDCWD.cast_unsigned();
        const NOFOLLOW: u32 = libc::AT_SYMLINK_NOFOLLOW.unsigned_abs();
        let (directory, path, flags, wanted) = match call.name.trim_end_matches("32") {
            "fchown" => (call.number(0), None, 0, (call.number(1), call.number(2))),
            "chown" => (CURRENT, Some(0), 0, (call.number(1), call.number(2))),
            "lchown" => (CURRENT, Some(0), NOFOLLOW, (call.number(1), call.number(2))),
            _ => (call.number(0), Some(1), call.number(4), (call.number(2), call.number(3))),
        };
        let path = path.map(|index| call.path(index)).transpose()?;
        let found = match &path {
            Some(path) => target(call, directory, path, flags)?,
            None => Some(opened(call, directory)?),
        };
        // The step's own pipes and the like: nobody will look at their owner.
        let Some(found) = found else { return Ok(Answer::Return(0)) };
        let current = owner::recorded(&found.file, &found.stat)?.unwrap_or_default();
        let credentials = self.processes.get(call.pid());
        check(&credentials, current, wanted)?;
        let kept = |new: u32, old: u32| if new == UNCHANGED { old } else { new };
        let owner = Owner { uid: kept(wanted.0, current.uid), gid: kept(wanted.1, current.gid), ..current };
        change(&found, owner)?;
        if let (Some(path), FileType::Symlink) = (&path, found.file_type())
            && !self.is_without_owners
        {
            let (parent, name) = call.parent(directory, path)?;
            renew_link(&parent, &name, owner)?;
        }
        Ok(Answer::Return(0))
    }
}

/// The rule of chown(2): root may do all, an owner may give a file to another of its groups.
fn check(credentials: &Credentials, current: Owner, (uid, gid): (u32, u32)) -> Result<(), Errno> {
    let is_own = credentials.user.files == current.uid;
    let keeps_user = uid == UNCHANGED || (is_own && uid == current.uid);
    let may_have_group = gid == UNCHANGED || (is_own && (gid == current.gid || credentials.has_group(gid)));
    if credentials.may_chown() || (keeps_user && may_have_group) { Ok(()) } else { Err(Errno::PERM) }
}

/// Lets the kernel do what belongs to a change of owner (set-user-id bits and capabilities go, the time of change is
/// now, a file of a lower layer is copied up), and records the owner.
fn change(target: &Target, owner: Owner) -> io::Result<()> {
    let is_file = matches!(target.file_type(), FileType::RegularFile | FileType::Directory | FileType::Symlink);
    let own = (rustix::process::geteuid(), rustix::process::getegid());
    if target.stat.st_uid != own.0.as_raw() {
        // Something of the machine's: its devices in /dev, a directory that was mounted.
        return if is_file { Err(Errno::PERM.into()) } else { Ok(()) };
    }
    rustix::fs::chownat(&target.file, "", Some(own.0), Some(own.1), AtFlags::EMPTY_PATH)?;
    owner::drop_capability(&target.file)?;
    match owner::record(&target.file, owner) {
        // A file system without attributes, or one of the kernel's: nothing of it comes into a layer.
        Err(error) if matches!(Errno::from_io_error(&error), Some(Errno::OPNOTSUPP | Errno::PERM | Errno::ACCESS)) => {
            Ok(())
        }
        result => result,
    }
}

/// Replaces a link by a new one.  Its owner is kept by its inode, and one that overlayfs has copied up from a lower
/// layer shows another inode in the mount than the upper directory, and so the layer, has.
fn renew_link(parent: &OwnedFd, name: &OsStr, owner: Owner) -> io::Result<()> {
    const PATH_ONLY: OFlags = OFlags::PATH.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
    let old = rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)?;
    if FileType::from_raw_mode(old.st_mode) != FileType::Symlink || old.st_nlink != 1 {
        return Ok(());
    }
    let text = rustix::fs::readlinkat(parent, name, Vec::new())?;
    let new = format!(".cooper-link-{}-{}", old.st_dev, old.st_ino);
    rustix::fs::symlinkat(text, parent, &new)?;
    let time = |seconds, nanoseconds: u64| Timespec { tv_sec: seconds, tv_nsec: nanoseconds.cast_signed() };
    let times = Timestamps {
        last_access: time(old.st_atime, old.st_atime_nsec),
        last_modification: time(old.st_mtime, old.st_mtime_nsec),
    };
    let put = || -> io::Result<()> {
        rustix::fs::utimensat(parent, &new, &times, AtFlags::SYMLINK_NOFOLLOW)?;
        let file = rustix::fs::openat(parent, &new, PATH_ONLY, rustix::fs::Mode::empty())?;
        owner::record(&file, owner)?;
        Ok(rustix::fs::renameat(parent, Path::new(&new), parent, name)?)
    };
    put().inspect_err(|_| {
        // What is left of a failure would be in the image.
        let _ = rustix::fs::unlinkat(parent, &new, AtFlags::empty());
    })
}
