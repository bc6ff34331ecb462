//! Puts the entries of a tar below a root, one after the other: what layers and added archives have in common.
//!
//! Every entry's directory is resolved inside the root and held by descriptor; the entry itself is made under its
//! last name without ever following a link there.  So a link that an earlier entry planted can lead a later one to
//! another place inside the root and never outside (CVE-2020-10696, CVE-2021-38511, CVE-2026-33056).

use super::entry::{Entry, Kind, Timestamp, printable};
use super::reader::{TarError, TarReader};
use super::{MalformedWhiteout, writer::CAPABILITY_XATTR};
use crate::sys::overlay::OverlayForm;
use crate::sys::owner::{self, Device};
use crate::sys::{Root, chmod_at, read_xattr, remove_tree};
use rustix::fs::{
    AtFlags, FileType, Mode, OFlags, Stat, Timespec, Timestamps, UTIME_OMIT, XattrFlags, major, makedev, minor,
};
use rustix::io::Errno;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

/// Size of the buffer that file content is copied through.
const COPY_BYTES: usize = 256 << 10;
/// Mode of a directory that the tar has entries below and does not name.
const PARENT_MODE: u32 = 0o755;

/// Why a tar cannot be unpacked.
#[derive(Debug, thiserror::Error)]
pub enum UnpackError {
    /// The tar itself is bad.
    #[error(transparent)]
    Tar(#[from] TarError),
    /// A name that begins as a whiteout and is none.
    #[error("malicious tar entry: {0}")]
    Whiteout(#[from] MalformedWhiteout),
    /// The root would become something else than a directory (CVE-2021-29136).
    #[error("malicious tar entry: refusing to change the type of the root directory")]
    RootType,
    /// A device with the numbers 0:0, which overlayfs takes for a whiteout.
    #[error("malicious tar entry `{}`: device 0:0", printable(path))]
    WhiteoutDevice {
        /// The entry.
        path: PathBuf,
    },
    /// A hard link whose target is not in this layer.
    #[error("hard link `{}` has no target in the archive: `{}`", printable(path), printable(target))]
    LinkTarget {
        /// The entry.
        path: PathBuf,
        /// The target.
        target: PathBuf,
    },
    /// A system call failed.
    #[error("cannot unpack `{}`: {error}", printable(path))]
    Io {
        /// The entry.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
}

/// Adds the path to a system call's error.
pub(super) fn at(path: &Path) -> impl Fn(io::Error) -> UnpackError + '_ {
    |error| match error.get_ref() {
        // An error of the tar comes through `Read` while a file is being copied.
        Some(_) if error.kind() == io::ErrorKind::UnexpectedEof => UnpackError::Tar(TarError::Truncated),
        _ => UnpackError::Io { path: path.to_owned(), error },
    }
}

/// How entries are put into place.
#[derive(Debug, Clone)]
pub(super) struct PlaceOptions {
    /// Whether owners are set.
    pub sets_owners: bool,
    /// One owner for everything instead of the tar's.
    pub owner: Option<(u32, u32)>,
    /// Whether device nodes are made; else they are left out and listed.
    pub makes_devices: bool,
    /// Time of directories that only have entries below them; `None` leaves them at now.
    pub parents_mtime: Option<Timestamp>,
    /// The overlay form of a layer; `None` for a live root file system, which has no whiteouts.
    pub form: Option<OverlayForm>,
}

/// What is set on a directory when all entries are in place.
struct Finish {
    mtime: Option<Timestamp>,
    /// A mode that would keep its owner out of the directory.
    mode: Option<u32>,
}

/// The target of an unpacking.
pub(super) struct Placer<'a> {
    pub root: &'a Root,
    options: PlaceOptions,
    /// The directory of the last entry; most entries are in the same one as the one before.
    parent: Option<(PathBuf, OwnedFd)>,
    /// What is set last on directories: every entry made in one changes its time.
    directories: BTreeMap<PathBuf, Finish>,
    buffer: Vec<u8>,
    /// Directories that were made for what is in them and had no entry of their own; the root is the empty path.
    implied: BTreeSet<PathBuf>,
    pub bytes: u64,
    pub skipped_devices: Vec<PathBuf>,
    pub dropped_xattrs: u64,
}

/// What was put into place.
pub(super) struct Placed {
    pub bytes: u64,
    pub skipped_devices: Vec<PathBuf>,
    pub dropped_xattrs: u64,
    pub implied_directories: Vec<PathBuf>,
}

impl<'a> Placer<'a> {
    pub fn new(root: &'a Root, options: PlaceOptions) -> Placer<'a> {
        let buffer = vec![0; COPY_BYTES];
        Placer {
            root,
            options,
            parent: None,
            directories: BTreeMap::new(),
            buffer,
            implied: BTreeSet::from([PathBuf::new()]),
            bytes: 0,
            skipped_devices: Vec::new(),
            dropped_xattrs: 0,
        }
    }

    /// Makes an entry that is no whiteout, with its content and metadata.
    pub fn place<R: Read>(&mut self, entry: &Entry, body: &mut TarReader<R>) -> Result<(), UnpackError> {
        if entry.path.as_os_str().is_empty() {
            return self.place_root(entry);
        }
        let error = at(&entry.path);
        match &entry.kind {
            Kind::Directory => self.directory(entry).map_err(error),
            Kind::File { .. } => self.file(entry, body).map_err(error),
            Kind::Symlink { target } => self.symlink(entry, target).map_err(error),
            Kind::Hardlink { target } => self.hard_link(entry, target),
            Kind::CharDevice { major: 0, minor: 0 } => Err(UnpackError::WhiteoutDevice { path: entry.path.clone() }),
            Kind::CharDevice { major, minor } => {
                self.node(entry, FileType::CharacterDevice, makedev(*major, *minor)).map_err(error)
            }
            Kind::BlockDevice { major, minor } => {
                self.node(entry, FileType::BlockDevice, makedev(*major, *minor)).map_err(error)
            }
            Kind::Fifo => self.node(entry, FileType::Fifo, 0).map_err(error),
            Kind::Whiteout | Kind::Opaque => Ok(()),
        }
    }

    /// Sets the times of directories, and the modes that were kept back.
    pub fn finish(mut self) -> Result<Placed, UnpackError> {
        self.parent = None;
        // From the last to the first, so that what is below a directory is done before its mode closes it.
        for (path, finish) in std::mem::take(&mut self.directories).into_iter().rev() {
            self.finish_directory(&path, &finish).map_err(at(&path))?;
        }
        Ok(Placed {
            bytes: self.bytes,
            skipped_devices: self.skipped_devices,
            dropped_xattrs: self.dropped_xattrs,
            implied_directories: self.implied.into_iter().collect(),
        })
    }

    fn finish_directory(&mut self, path: &Path, finish: &Finish) -> io::Result<()> {
        let is_root = path.as_os_str().is_empty();
        let root = self.root;
        let (directory, name) = if is_root { (root.as_fd(), OsStr::new(".")) } else { self.parent_of(path)? };
        if let Some(mtime) = finish.mtime {
            let flags = if is_root { AtFlags::empty() } else { AtFlags::SYMLINK_NOFOLLOW };
            rustix::fs::utimensat(directory, name, &timestamps(mtime), flags)?;
        }
        match finish.mode {
            Some(mode) => chmod_at(directory, name, Mode::from_raw_mode(mode)),
            None => Ok(()),
        }
    }

    /// Sets what can be set on a directory before anything is made in it.
    fn begin_directory(&mut self, fd: &OwnedFd, entry: &Entry, mtime: Option<Timestamp>) -> io::Result<()> {
        /// What a builder without privileges needs of a directory to make entries in it.
        const OWNER_BITS: u32 = 0o700;
        let open_mode = entry.mode | OWNER_BITS;
        self.metadata(fd, entry, open_mode)?;
        let mode = (open_mode != entry.mode).then_some(entry.mode);
        if mtime.is_some() || mode.is_some() {
            self.directories.insert(entry.path.clone(), Finish { mtime, mode });
        }
        Ok(())
    }

    fn place_root(&mut self, entry: &Entry) -> Result<(), UnpackError> {
        if entry.kind != Kind::Directory {
            return Err(UnpackError::RootType);
        }
        let fd = open_directory(self.root.as_fd(), OsStr::new(".")).map_err(at(Path::new("/")))?;
        self.implied.remove(Path::new(""));
        self.begin_directory(&fd, entry, Some(entry.mtime)).map_err(at(Path::new("/")))
    }

    /// The directory of a path, made if it is missing, and the last name.
    pub fn parent_of<'p>(&mut self, path: &'p Path) -> io::Result<(BorrowedFd<'_>, &'p OsStr)> {
        let name = path.file_name().ok_or(Errno::INVAL)?;
        let directory = path.parent().unwrap_or(Path::new(""));
        if self.parent.as_ref().is_none_or(|(cached, _)| cached != directory) {
            let fd = self.open_or_make(directory)?;
            self.parent = Some((directory.to_owned(), fd));
        }
        let (_, fd) = self.parent.as_ref().ok_or(Errno::INVAL)?;
        Ok((fd.as_fd(), name))
    }

    /// Opens a directory, following links inside the root; what is missing is made, 0755 and root's.
    fn open_or_make(&mut self, path: &Path) -> io::Result<OwnedFd> {
        let flags = OFlags::PATH | OFlags::DIRECTORY;
        match self.root.open_at(path, flags, Mode::empty()) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            // A file in the way of a directory gives way, as in Docker; so does a whiteout of this layer.
            Err(error) if error.kind() == io::ErrorKind::NotADirectory => {}
            result => return result,
        }
        let mut made = PathBuf::new();
        let mut here = self.root.open_at(&made, flags, Mode::empty())?;
        for name in path {
            made.push(name);
            here = match self.root.open_at(&made, flags, Mode::empty()) {
                Ok(fd) => fd,
                Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                    self.make_parent(&here, name, &made)?
                }
                Err(error) => return Err(error),
            };
        }
        Ok(here)
    }

    fn make_parent(&mut self, directory: &OwnedFd, name: &OsStr, path: &Path) -> io::Result<OwnedFd> {
        let fd = match rustix::fs::mkdirat(directory, name, Mode::RWXU) {
            Ok(()) => open_directory(directory.as_fd(), name)?,
            Err(Errno::EXIST) => self.replace_by_directory(directory.as_fd(), name)?,
            Err(error) => return Err(error.into()),
        };
        let entry = Entry::new(path, Kind::Directory, PARENT_MODE);
        // Nobody asked for it, so it is root's whoever owns the rest, as in Docker.
        let owner = self.options.owner.take();
        let begun = self.begin_directory(&fd, &entry, self.options.parents_mtime);
        self.options.owner = owner;
        begun?;
        self.implied.insert(path.to_owned());
        Ok(fd)
    }

    fn directory(&mut self, entry: &Entry) -> io::Result<()> {
        let (directory, name) = self.parent_of(&entry.path)?;
        let fd = match rustix::fs::mkdirat(directory, name, Mode::RWXU) {
            Ok(()) => open_directory(directory, name)?,
            // A directory is kept and takes over owner and mode; anything else, links too, gives way.
            Err(Errno::EXIST) => match open_directory(directory, name) {
                Ok(fd) => fd,
                Err(error) if matches!(Errno::from_io_error(&error), Some(Errno::NOTDIR | Errno::LOOP)) => {
                    let directory = directory.try_clone_to_owned()?;
                    self.replace_by_directory(directory.as_fd(), name)?
                }
                Err(error) => return Err(error),
            },
            Err(error) => return Err(error.into()),
        };
        self.implied.remove(&entry.path);
        self.begin_directory(&fd, entry, Some(entry.mtime))
    }

    /// Makes a directory where something else stands.  In the place of a whiteout it is opaque, since what lower
    /// layers have below the name is removed all the same.
    fn replace_by_directory(&mut self, directory: BorrowedFd<'_>, name: &OsStr) -> io::Result<OwnedFd> {
        let stat = rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW)?;
        let was_whiteout = is_whiteout(directory, name, &stat);
        self.clear(directory, name)?;
        rustix::fs::mkdirat(directory, name, Mode::RWXU)?;
        let fd = open_directory(directory, name)?;
        if let (Some(form), true) = (self.options.form, was_whiteout) {
            rustix::fs::fsetxattr(&fd, form.opaque_xattr(), b"y", XattrFlags::empty())?;
        }
        Ok(fd)
    }

    fn file<R: Read>(&mut self, entry: &Entry, body: &mut TarReader<R>) -> io::Result<()> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = self
            .make(&entry.path, |directory, name| rustix::fs::openat(directory, name, flags, Mode::RUSR | Mode::WUSR))?;
        let mut file = std::fs::File::from(fd);
        self.bytes += copy(body, &mut file, &mut self.buffer)?;
        let fd = OwnedFd::from(file);
        self.metadata(&fd, entry, entry.mode)?;
        rustix::fs::futimens(&fd, &timestamps(entry.mtime))?;
        Ok(())
    }

    fn symlink(&mut self, entry: &Entry, target: &OsStr) -> io::Result<()> {
        self.make(&entry.path, |directory, name| rustix::fs::symlinkat(target, directory, name))?;
        self.owner_at(entry)?;
        self.time_at(entry)?;
        Ok(())
    }

    fn node(&mut self, entry: &Entry, file_type: FileType, device: u64) -> io::Result<()> {
        if file_type != FileType::Fifo && !self.options.makes_devices {
            self.skipped_devices.push(entry.path.clone());
            return Ok(());
        }
        let mode = Mode::from_raw_mode(0o600);
        let device =
            Device { is_block: file_type == FileType::BlockDevice, major: major(device), minor: minor(device) };
        self.make(&entry.path, |directory, name| match file_type {
            FileType::Fifo => rustix::fs::mknodat(directory, name, file_type, mode, 0),
            _ => owner::make_device(directory, name, device, mode),
        })?;
        self.owner_at(entry)?;
        let (directory, name) = self.parent_of(&entry.path)?;
        chmod_at(directory, name, Mode::from_raw_mode(entry.mode))?;
        self.time_at(entry)?;
        Ok(())
    }

    fn hard_link(&mut self, entry: &Entry, target: &Path) -> Result<(), UnpackError> {
        let missing = || UnpackError::LinkTarget { path: entry.path.clone(), target: target.to_owned() };
        let error = at(&entry.path);
        // Resolved in the root, whatever the process's working directory is (CVE-2026-50163).
        let (directory, name) = match self.root.parent(target) {
            Err(error) if is_absent(&error) => return Err(missing()),
            result => result.map_err(&error)?,
        };
        let stat = match rustix::fs::statat(&directory, &name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) if is_whiteout(directory.as_fd(), &name, &stat) => return Err(missing()),
            Err(Errno::NOENT) => return Err(missing()),
            result => result.map_err(|errno| error(errno.into()))?,
        };
        self.link(entry, &directory, &name, &stat).map_err(&error)?;
        self.linked_metadata(entry, &stat).map_err(&error)?;
        Ok(())
    }

    fn link(&mut self, entry: &Entry, from: &OwnedFd, target: &OsString, stat: &Stat) -> io::Result<()> {
        let (directory, name) = self.parent_of(&entry.path)?;
        if let Ok(there) = rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW)
            && (there.st_dev, there.st_ino) == (stat.st_dev, stat.st_ino)
        {
            // To itself, or made before: removing the name first could remove the file.
            return Ok(());
        }
        self.make(&entry.path, |directory, name| rustix::fs::linkat(from, target, directory, name, AtFlags::empty()))?;
        Ok(())
    }

    /// The header of a hard link sets owner, mode and time of the file it shares.
    fn linked_metadata(&mut self, entry: &Entry, stat: &Stat) -> io::Result<()> {
        let value = match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => self.capability(entry)?,
            _ => None,
        };
        self.owner_at(entry)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::Symlink {
            let (directory, name) = self.parent_of(&entry.path)?;
            chmod_at(directory, name, Mode::from_raw_mode(entry.mode))?;
        }
        if let Some((fd, value)) = value {
            owner::set_capability(&fd, &value)?;
        }
        self.time_at(entry)
    }

    /// The capabilities of a file, which a change of owner would take away.
    fn capability(&mut self, entry: &Entry) -> io::Result<Option<(OwnedFd, Vec<u8>)>> {
        let (directory, name) = self.parent_of(&entry.path)?;
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(directory, name, flags, Mode::empty())?;
        Ok(owner::capability(&fd)?.map(|value| (fd, value)))
    }

    /// Makes something that must not be there yet; what is there is removed first, and only then.
    fn make<T>(
        &mut self,
        path: &Path,
        make: impl Fn(BorrowedFd<'_>, &OsStr) -> rustix::io::Result<T>,
    ) -> io::Result<T> {
        let (directory, name) = self.parent_of(path)?;
        match make(directory, name) {
            Ok(made) => Ok(made),
            Err(Errno::EXIST) => {
                let directory = directory.try_clone_to_owned()?;
                self.clear(directory.as_fd(), name)?;
                self.forget(path);
                Ok(make(directory.as_fd(), name)?)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Removes what stands under a name, with all below it.
    fn clear(&mut self, directory: BorrowedFd<'_>, name: &OsStr) -> io::Result<()> {
        remove_tree(directory, name)?;
        // The cached directory may have been reached through what is gone.
        self.parent = None;
        Ok(())
    }

    /// Removes what stands at a path, given its directory.
    pub fn remove(&mut self, directory: &OwnedFd, name: &OsStr, path: &Path) -> io::Result<()> {
        self.clear(directory.as_fd(), name)?;
        self.forget(path);
        Ok(())
    }

    /// Opens a directory as a root of its own, making what is missing of it.
    pub fn directory_root(mut self, path: &Path) -> io::Result<Root> {
        // Names that only `..` and `.` make up lead to the root, and links on the way are the image's.
        let relative: PathBuf =
            path.components().filter(|c| matches!(c, Component::Normal(_) | Component::ParentDir)).collect();
        Ok(Root::from_fd(self.open_or_make(&relative)?))
    }

    /// Forgets the directories at and below a path that is something else now.
    fn forget(&mut self, path: &Path) {
        self.implied.retain(|implied| !implied.starts_with(path));
        // Paths are ordered by their names, so that all below one follow it.
        let below = self.directories.range(path.to_owned()..).map(|(directory, _)| directory);
        let gone: Vec<PathBuf> = below.take_while(|directory| directory.starts_with(path)).cloned().collect();
        for directory in gone {
            self.directories.remove(&directory);
        }
    }

    fn owner(&self, entry: &Entry) -> Option<(u32, u32)> {
        self.options.sets_owners.then(|| self.options.owner.unwrap_or((entry.uid, entry.gid)))
    }

    fn owner_at(&mut self, entry: &Entry) -> io::Result<()> {
        let Some((uid, gid)) = self.owner(entry) else { return Ok(()) };
        let (directory, name) = self.parent_of(&entry.path)?;
        owner::set_at(directory, name, uid, gid)
    }

    fn time_at(&mut self, entry: &Entry) -> io::Result<()> {
        let (directory, name) = self.parent_of(&entry.path)?;
        Ok(rustix::fs::utimensat(directory, name, &timestamps(entry.mtime), AtFlags::SYMLINK_NOFOLLOW)?)
    }

    /// Owner, mode and xattrs of an open file or directory, in the order in which none undoes another: a change of
    /// owner takes away setuid bits and capabilities.
    fn metadata(&mut self, fd: &OwnedFd, entry: &Entry, mode: u32) -> io::Result<()> {
        if let Some((uid, gid)) = self.owner(entry) {
            owner::set(fd, uid, gid)?;
        }
        rustix::fs::fchmod(fd, Mode::from_raw_mode(mode))?;
        for (name, value) in &entry.xattrs {
            // Overlayfs's own would make this layer show or hide files of others, ours give files away: never set.
            if is_overlay_xattr(name) || name.starts_with(owner::OWN_XATTRS.as_bytes()) {
                self.dropped_xattrs += 1;
                continue;
            }
            let set = match name.as_slice() == CAPABILITY_XATTR.as_bytes() {
                true => owner::set_capability(fd, value),
                false => rustix::fs::fsetxattr(fd, OsStr::from_bytes(name), value, XattrFlags::empty()),
            };
            match set {
                Ok(()) => {}
                // A user namespace may not set some, and some file systems know none.
                Err(Errno::PERM | Errno::OPNOTSUPP | Errno::INVAL) => self.dropped_xattrs += 1,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}

/// Whether a name is one of overlayfs's own extended attributes.
pub(crate) fn is_overlay_xattr(name: &[u8]) -> bool {
    name.starts_with(b"trusted.overlay.") || name.starts_with(b"user.overlay.")
}

/// Whether a file is a whiteout in one of overlayfs's two forms: a device 0:0, or an empty file with a xattr.
pub(crate) fn is_whiteout(directory: BorrowedFd<'_>, name: &OsStr, stat: &Stat) -> bool {
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::CharacterDevice => stat.st_rdev == 0,
        FileType::RegularFile if stat.st_size == 0 => {
            let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
            let Ok(fd) = rustix::fs::openat(directory, name, flags, Mode::empty()) else { return false };
            ["trusted.overlay.whiteout", "user.overlay.whiteout"]
                .iter()
                .any(|xattr| read_xattr(&fd, xattr).is_ok_and(|value| value.is_some()))
        }
        _ => false,
    }
}

/// Opens a directory to change it, not following a link.
pub(super) fn open_directory(directory: BorrowedFd<'_>, name: &OsStr) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(directory, name, flags, Mode::empty())?)
}

pub(super) fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory | io::ErrorKind::InvalidInput)
}

fn timestamps(mtime: Timestamp) -> Timestamps {
    Timestamps {
        last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
        last_modification: Timespec { tv_sec: mtime.seconds, tv_nsec: mtime.nanoseconds.into() },
    }
}

/// Copies a file's content; the holes of a sparse one stay holes.
fn copy<R: Read>(body: &mut TarReader<R>, file: &mut std::fs::File, buffer: &mut [u8]) -> io::Result<u64> {
    let is_sparse = body.is_sparse();
    let mut copied = 0u64;
    loop {
        let n = match body.read(buffer) {
            Ok(0) => break,
            Ok(n) => n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        copied += n as u64;
        if is_sparse && buffer[..n].iter().all(|byte| *byte == 0) {
            rustix::fs::seek(&*file, rustix::fs::SeekFrom::Start(copied))?;
        } else {
            file.write_all(&buffer[..n])?;
        }
    }
    if is_sparse {
        file.set_len(copied)?;
    }
    Ok(copied)
}
