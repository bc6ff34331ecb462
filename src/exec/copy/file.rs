//! Writes one thing that is no directory: from the source tree, from memory, or from an open file.

use super::node::{self, timestamps};
use super::place::Writer;
use super::target::open_directory;
use super::tree::{Batch, FileTask, failed};
use super::{CopyError, CopyStats, Placement, WantedOwner};
use crate::context::selection::{Entry, EntryKind};
use crate::sys::Root;
use crate::sys::bytes::write_at;
use crate::sys::owner::{self, Device, make_device};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat, major, minor};
use rustix::io::Errno;
use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

/// What a file that is made rather than copied looks like, before `--chown` and `--chmod`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileMetadata {
    /// Permission bits: 0644 for a heredoc, 0600 for a download.
    pub mode: u32,
    /// Modification time, seconds and nanoseconds; the clock's (or [`Placement::epoch`]) if there is none.
    pub mtime: Option<(i64, u32)>,
}

/// Writes a heredoc: `content` under `name`, or under the destination's name if that is no directory.
pub fn place_bytes(
    name: &OsStr,
    content: &[u8],
    metadata: FileMetadata,
    dest: &Root,
    placement: &Placement,
) -> Result<CopyStats, CopyError> {
    place(name, metadata, dest, placement, |_, file| {
        write_at(file, content, 0)?;
        Ok(content.len() as u64)
    })
}

/// Writes the content of an open file, e.g. a download, like [`place_bytes`].
pub fn place_file(
    name: &OsStr,
    content: &File,
    metadata: FileMetadata,
    dest: &Root,
    placement: &Placement,
) -> Result<CopyStats, CopyError> {
    place(name, metadata, dest, placement, |writer, file| {
        let size_bytes = content.metadata()?.len();
        writer.data.copy(content.as_fd(), file.as_fd(), size_bytes, false)
    })
}

fn place(
    name: &OsStr,
    metadata: FileMetadata,
    dest: &Root,
    placement: &Placement,
    fill: impl FnOnce(&Writer<'_>, &OwnedFd) -> io::Result<u64>,
) -> Result<CopyStats, CopyError> {
    let mut writer = Writer::new(dest, dest, placement);
    let (directory, other_name) = writer.file_target(name)?;
    let name = other_name.as_deref().unwrap_or(name);
    let path = directory.join(name);
    let parent = open_directory(dest, &directory).map_err(CopyError::write(&directory))?;
    let file = node::create_file(parent.as_fd(), name).map_err(|error| failed(error, &path))?;
    let finish = || -> io::Result<(u64, bool)> {
        let bytes = fill(&writer, &file)?;
        let (uid, gid) = placement.chown.unwrap_or((0, 0));
        let mode = placement.chmod.as_ref().map_or(metadata.mode, |mode| mode.apply(metadata.mode, false));
        let given = node::set_owner_and_mode(&file, uid, gid, mode)?;
        if let Some((seconds, nanoseconds)) = metadata.mtime.or(placement.epoch.map(|epoch| (epoch, 0))) {
            rustix::fs::futimens(&file, &timestamps(seconds, nanoseconds))?;
        }
        Ok((bytes, given))
    };
    let (bytes, given) = finish().map_err(CopyError::write(&path))?;
    let mut stats = writer.stats;
    stats.files += 1;
    stats.bytes += bytes;
    if !given {
        let (uid, gid) = placement.chown.unwrap_or((0, 0));
        stats.owners.push(WantedOwner { path, uid, gid });
    }
    stats.owners.sort();
    Ok(stats)
}

/// The directories and names of one task.
struct Ends<'a> {
    source: BorrowedFd<'a>,
    dest: BorrowedFd<'a>,
    batch: &'a Batch<'a>,
    task: &'a FileTask<'a>,
}

impl Ends<'_> {
    fn source_path(&self) -> PathBuf {
        self.batch.source_dir.join(self.task.source_name)
    }

    fn dest_path(&self) -> PathBuf {
        self.batch.dest_dir.join(self.task.dest_name)
    }

    fn changed(&self) -> CopyError {
        CopyError::Changed { path: self.source_path() }
    }

    fn write_failed(&self, source: impl Into<io::Error>) -> CopyError {
        CopyError::Write { path: self.dest_path(), source: source.into() }
    }
}

impl Writer<'_> {
    /// Writes one thing of a batch.
    pub(super) fn write_task(
        &self,
        batch: &Batch<'_>,
        task: &FileTask<'_>,
        source: BorrowedFd<'_>,
        dest: BorrowedFd<'_>,
        stats: &mut CopyStats,
    ) -> Result<(), CopyError> {
        let ends = Ends { source, dest, batch, task };
        let owner = self.owner_of(task.entry);
        let given = match task.entry.kind {
            EntryKind::File { size_bytes } => {
                stats.files += 1;
                stats.bytes += size_bytes;
                self.write_regular(&ends, size_bytes, owner)?
            }
            EntryKind::CharDevice { .. } | EntryKind::BlockDevice { .. } => match self.write_other(&ends, owner) {
                // A user namespace makes no devices, whoever asks.
                Err(CopyError::Write { path, source }) if source.kind() == io::ErrorKind::PermissionDenied => {
                    stats.skipped_devices.push(path);
                    return Ok(());
                }
                written => {
                    stats.others += 1;
                    written?
                }
            },
            _ => {
                stats.others += 1;
                self.write_other(&ends, owner)?
            }
        };
        if !given {
            stats.owners.push(WantedOwner { path: ends.dest_path(), uid: owner.0, gid: owner.1 });
        }
        Ok(())
    }

    fn write_regular(&self, ends: &Ends<'_>, size_bytes: u64, owner: (u32, u32)) -> Result<bool, CopyError> {
        let entry = ends.task.entry;
        let (source, stat) =
            open_selected(ends.source, ends.task.source_name, entry, self.placement.verify_unchanged, || {
                ends.source_path()
            })?;
        let file =
            node::create_file(ends.dest, ends.task.dest_name).map_err(|error| failed(error, &ends.dest_path()))?;
        let is_sparse = (stat.st_blocks as u64).saturating_mul(512) < size_bytes;
        let copied = self.data.copy(source.as_fd(), file.as_fd(), size_bytes, is_sparse);
        if copied.map_err(|error| ends.write_failed(error))? != size_bytes {
            return Err(ends.changed());
        }
        // Bytes written while they were read would be neither the old nor the new content.
        if self.placement.verify_unchanged && !rustix::fs::fstat(&source).is_ok_and(|stat| has_time(&stat, entry)) {
            return Err(ends.changed());
        }
        let given = node::set_owner_and_mode(&file, owner.0, owner.1, self.mode_of(entry));
        let given = given.map_err(|error| ends.write_failed(error))?;
        if self.placement.keep_owner {
            copy_capability(&source, &file).map_err(|error| ends.write_failed(error))?;
        }
        let times = timestamps(entry.mtime_seconds, entry.mtime_nanoseconds);
        rustix::fs::futimens(&file, &times).map_err(|error| ends.write_failed(error))?;
        Ok(given)
    }

    /// Makes a link, FIFO, device, or the empty file that a socket becomes.
    fn write_other(&self, ends: &Ends<'_>, owner: (u32, u32)) -> Result<bool, CopyError> {
        let (entry, dest, name) = (ends.task.entry, ends.dest, ends.task.dest_name);
        let mknod = |kind, rdev| {
            node::replace(dest, name, || rustix::fs::mknodat(dest, name, kind, Mode::RUSR | Mode::WUSR, rdev))
        };
        let made = match &entry.kind {
            EntryKind::Symlink { target } => {
                node::replace(dest, name, || rustix::fs::symlinkat(target.as_os_str(), dest, name))
            }
            EntryKind::Fifo => mknod(FileType::Fifo, 0),
            EntryKind::CharDevice { rdev } | EntryKind::BlockDevice { rdev } => {
                let is_block = matches!(entry.kind, EntryKind::BlockDevice { .. });
                let device = Device { is_block, major: major(*rdev), minor: minor(*rdev) };
                node::replace(dest, name, || make_device(dest, name, device, Mode::RUSR | Mode::WUSR))
            }
            EntryKind::Socket | EntryKind::File { .. } | EntryKind::Directory => mknod(FileType::RegularFile, 0),
        };
        made.map_err(|error| failed(error, &ends.dest_path()))?;
        let is_link = matches!(entry.kind, EntryKind::Symlink { .. });
        let mode = (!is_link).then(|| self.mode_of(entry));
        let given = node::set_owner_and_mode_at(dest, name, owner, mode).map_err(|error| ends.write_failed(error))?;
        let times = timestamps(entry.mtime_seconds, entry.mtime_nanoseconds);
        rustix::fs::utimensat(dest, name, &times, AtFlags::SYMLINK_NOFOLLOW)
            .map_err(|error| ends.write_failed(error))?;
        Ok(given)
    }
}

/// Opens a file of the source and makes sure that it is what was selected.
///
/// By its parent's descriptor and without following a link: between selection and copy a context may be changed by
/// someone who would like a file of the host in the image (docker CVE-2018-15664).  Without blocking, for a FIFO in its
/// place would wait for ever.
pub(super) fn open_selected(
    parent: BorrowedFd<'_>,
    name: &OsStr,
    entry: &Entry,
    verify_unchanged: bool,
    path: impl Fn() -> PathBuf,
) -> Result<(OwnedFd, Stat), CopyError> {
    let failed = |error: Errno| match error {
        Errno::LOOP | Errno::NOENT | Errno::NXIO | Errno::NOTDIR => CopyError::Changed { path: path() },
        _ => CopyError::Read { path: path(), source: error.into() },
    };
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = rustix::fs::openat(parent, name, flags, Mode::empty()).map_err(failed)?;
    let stat = rustix::fs::fstat(&file).map_err(failed)?;
    let is_same = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile
        && matches!(entry.kind, EntryKind::File { size_bytes } if stat.st_size as u64 == size_bytes)
        && (!verify_unchanged || has_time(&stat, entry));
    if is_same { Ok((file, stat)) } else { Err(CopyError::Changed { path: path() }) }
}

fn has_time(stat: &Stat, entry: &Entry) -> bool {
    stat.st_mtime == entry.mtime_seconds && stat.st_mtime_nsec as u32 == entry.mtime_nanoseconds
}

/// Copies the file capabilities, if there are any; without the right to set them they are lost, as in BuildKit.
fn copy_capability(source: &OwnedFd, dest: &OwnedFd) -> io::Result<()> {
    let Some(value) = owner::capability(source)? else { return Ok(()) };
    match owner::set_capability(dest, &value) {
        Ok(()) | Err(Errno::PERM | Errno::NOTSUP) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
