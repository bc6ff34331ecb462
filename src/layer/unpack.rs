//! Unpacks a layer into a directory that overlayfs takes as a lower layer.

use super::entry::{Entry, Kind, Timestamp};
use super::limits::Limits;
use super::place::{PlaceOptions, Placed, Placer, UnpackError, at, open_directory};
use super::reader::TarReader;
use crate::sys::overlay::OverlayForm;
use crate::sys::{Root, read_xattr};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, XattrFlags};
use rustix::io::Errno;
use std::ffi::OsStr;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};

/// How a layer is unpacked.
pub struct UnpackOptions<'a> {
    /// How whiteouts and opaque directories are marked.
    pub whiteouts: OverlayForm,
    /// What the tar may ask for.
    pub limits: Limits,
    /// Whether owners are set; a user namespace with one id cannot.
    pub sets_owners: bool,
    /// Whether device nodes are made; else they are left out and listed.
    pub makes_devices: bool,
    /// Called with each entry after it is in place, e.g. to record owners.
    pub observe: Option<&'a mut dyn FnMut(&Entry)>,
}

impl UnpackOptions<'_> {
    /// Returns the options of a builder that runs as root.
    pub fn new(whiteouts: OverlayForm) -> Self {
        UnpackOptions { whiteouts, limits: Limits::default(), sets_owners: true, makes_devices: true, observe: None }
    }
}

/// What was unpacked.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Unpacked {
    /// Number of entries, whiteouts included.
    pub entries: u64,
    /// Bytes of file content.
    pub bytes: u64,
    /// Device nodes that were left out.
    pub skipped_devices: Vec<PathBuf>,
    /// Number of xattrs that were left out: overlayfs's own, and those that this machine does not allow.
    pub dropped_xattrs: u64,
    /// Directories that only have entries below them and none of their own, the root as an empty path: they were made
    /// 0755 and root's, and in an overlay they cover what the layers below say of them.
    pub implied_directories: Vec<PathBuf>,
}

impl Unpacked {
    pub(super) fn new(entries: u64, placed: Placed) -> Unpacked {
        Unpacked {
            entries,
            bytes: placed.bytes,
            skipped_devices: placed.skipped_devices,
            dropped_xattrs: placed.dropped_xattrs,
            implied_directories: placed.implied_directories,
        }
    }
}

/// Unpacks an uncompressed tar into an empty directory, in overlay form, and reads it to its very end.
///
/// The directory is left in an unfinished state after an error.  A hard link to a file of a lower layer is an error
/// that names the file, as with containerd's overlay snapshotter.
pub fn unpack_layer(tar: impl Read, dest: &Root, options: UnpackOptions<'_>) -> Result<Unpacked, UnpackError> {
    let UnpackOptions { whiteouts: form, limits, sets_owners, makes_devices, mut observe } = options;
    let place = PlaceOptions {
        sets_owners,
        owner: None,
        makes_devices,
        parents_mtime: Some(Timestamp::default()),
        form: Some(form),
    };
    let mut placer = Placer::new(dest, place);
    let mut reader = TarReader::new(tar, limits);
    let mut entries = 0;
    while let Some(entry) = reader.next()? {
        let Some(entry) = entry.into_layer_form()? else { continue };
        match entry.kind {
            Kind::Whiteout => whiteout(&mut placer, &entry.path, form).map_err(at(&entry.path))?,
            Kind::Opaque => opaque(&mut placer, &entry.path, form).map_err(at(&entry.path))?,
            _ => placer.place(&entry, &mut reader)?,
        }
        entries += 1;
        if let Some(observe) = &mut observe {
            observe(&entry);
        }
    }
    reader.drain()?;
    let placed = placer.finish()?;
    Ok(Unpacked::new(entries, placed))
}

/// Hides what lower layers have at a path.  What this layer itself has there stays: a whiteout is about lower layers
/// wherever it stands in the tar (image-spec, layer.md), so that a directory becomes opaque instead.
fn whiteout(placer: &mut Placer<'_>, path: &Path, form: OverlayForm) -> io::Result<()> {
    let (directory, name) = placer.parent_of(path)?;
    match rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) {
        Err(Errno::NOENT) => make_whiteout(directory, name, form),
        Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::Directory => {
            Ok(rustix::fs::fsetxattr(open_directory(directory, name)?, form.opaque_xattr(), b"y", XattrFlags::empty())?)
        }
        // Any other file hides what is below it already.
        Ok(_) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

pub(crate) fn make_whiteout(directory: BorrowedFd<'_>, name: &OsStr, form: OverlayForm) -> io::Result<()> {
    match rustix::fs::mknodat(directory, name, FileType::CharacterDevice, Mode::empty(), 0) {
        // Refused by a seccomp profile, or by a kernel before 5.8 in a user namespace.
        Err(Errno::PERM) => make_xattr_whiteout(directory, name, form),
        result => Ok(result?),
    }
}

/// The form without a device: an empty file with a xattr, in a directory that says that there are such files.
fn make_xattr_whiteout(directory: BorrowedFd<'_>, name: &OsStr, form: OverlayForm) -> io::Result<()> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = rustix::fs::openat(directory, name, flags, Mode::RUSR | Mode::WUSR)?;
    rustix::fs::fsetxattr(&file, form.whiteout_xattr(), b"y", XattrFlags::empty())?;
    let parent = open_directory(directory, OsStr::new("."))?;
    if read_xattr(&parent, form.opaque_xattr())?.is_none() {
        rustix::fs::fsetxattr(&parent, form.opaque_xattr(), b"x", XattrFlags::empty())?;
    }
    Ok(())
}

fn opaque(placer: &mut Placer<'_>, path: &Path, form: OverlayForm) -> io::Result<()> {
    // As the directory of a name in it: made if it is missing, links to it followed inside the root.
    let inside = path.join("any");
    let (directory, _) = placer.parent_of(&inside)?;
    let directory = open_directory(directory.as_fd(), OsStr::new("."))?;
    Ok(rustix::fs::fsetxattr(directory, form.opaque_xattr(), b"y", XattrFlags::empty())?)
}
