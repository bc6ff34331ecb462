//! Reads an upper directory of an overlay, or a whole root file system, as the entries of a tar.
//!
//! The upper directory is the difference: its whiteouts and opaque marks are read as such, and nothing below it is
//! looked at.  Entries come in the order of their names' bytes, a directory before what it holds, so that the same
//! tree gives the same tar.

use super::search::Search;
use crate::layer::{
    CAPABILITY_XATTR, Compression, Entry, Kind, LayerBlob, LayerWriter, TarWriter, Timestamp, is_whiteout, printable,
};
use crate::sys::overlay::OverlayForm;
use crate::sys::owner::{self, Device, Owner};
use crate::sys::{Root, list_xattrs, read_directory, read_xattr};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat, major, minor};
use rustix::io::Errno;
use std::collections::{BTreeMap, HashMap};
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

/// Most directories that are open at a time; those above are opened again on the way back.
const MAX_OPEN_DIRECTORIES: usize = 64;

/// Why a tree cannot be read as entries.
#[derive(Debug, thiserror::Error)]
pub enum UpperError {
    /// A system call failed.
    #[error("cannot read `{}`: {error}", printable(path))]
    Io {
        /// The path below the root.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// The overlay was mounted with `metacopy` or `redirect_dir`, whose upper directory is no complete difference.
    #[error("`{}` is only in part in the upper directory, by the overlay's `{xattr}`", printable(path))]
    Partial {
        /// The path below the root.
        path: PathBuf,
        /// The xattr that says so.
        xattr: String,
    },
    /// The tar cannot be written.
    #[error("cannot write the layer: {0}")]
    Write(io::Error),
}

/// Walks a tree; see [`entries`].
pub struct Entries<'a> {
    root: &'a Root,
    form: Option<OverlayForm>,
    directories: Vec<Directory>,
    /// The first path of each file with several names.
    links: HashMap<(u64, u64), PathBuf>,
    /// A mark that follows the directory it belongs to.
    opaque: Option<Entry>,
}

struct Directory {
    path: PathBuf,
    fd: Option<OwnedFd>,
    names: std::vec::IntoIter<OsString>,
}

/// What a file's extended attributes say.
#[derive(Default)]
struct Attributes {
    kept: BTreeMap<Vec<u8>, Vec<u8>>,
    is_opaque: bool,
}

/// Returns the entries below `root`, without the root itself.
///
/// With a `form`, whiteouts and opaque marks are read as overlayfs has them; with `None` the tree is taken as it
/// is.  Of xattrs only `security.capability` is kept; sockets are skipped, as they are in every tar.
pub fn entries(root: &Root, form: Option<OverlayForm>) -> Result<Entries<'_>, UpperError> {
    let mut entries = Entries { root, form, directories: Vec::new(), links: HashMap::new(), opaque: None };
    let fd = open(root.as_fd(), OsStr::new("."), OFlags::DIRECTORY).map_err(at(Path::new("/")))?;
    if entries.attributes(&fd).map_err(at(Path::new("/")))?.is_opaque {
        entries.opaque = Some(Entry::new("", Kind::Opaque, 0));
    }
    entries.enter(PathBuf::new(), fd).map_err(at(Path::new("/")))?;
    Ok(entries)
}

impl Entries<'_> {
    /// Returns the next entry, and the open file when it is a regular one with content.
    #[allow(clippy::should_implement_trait, reason = "errors end the walk, which an iterator does not say")]
    pub fn next(&mut self) -> Result<Option<(Entry, Option<File>)>, UpperError> {
        if let Some(opaque) = self.opaque.take() {
            return Ok(Some((opaque, None)));
        }
        while let Some(directory) = self.directories.last_mut() {
            let Some(name) = directory.names.next() else {
                self.directories.pop();
                continue;
            };
            let path = directory.path.join(&name);
            let found = self.entry(&path, &name).map_err(at(&path))?;
            if found.is_some() {
                return Ok(found);
            }
        }
        Ok(None)
    }

    fn entry(&mut self, path: &Path, name: &OsStr) -> Result<Option<(Entry, Option<File>)>, Problem> {
        let has_whiteouts = self.form.is_some();
        let directory = self.here()?;
        let stat = rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW)?;
        if has_whiteouts && is_whiteout(directory, name, &stat) {
            return Ok(Some((Entry::new(path, Kind::Whiteout, 0), None)));
        }
        let recorded = owner::wanted_at(directory, name, &stat)?;
        let mut entry = self.described(path, &stat, recorded);
        let file_type = FileType::from_raw_mode(stat.st_mode);
        if file_type != FileType::Directory && stat.st_nlink > 1 {
            if let Some(first) = self.links.get(&(stat.st_dev, stat.st_ino)) {
                entry.kind = Kind::Hardlink { target: first.clone() };
                return Ok(Some((entry, None)));
            }
            self.links.insert((stat.st_dev, stat.st_ino), path.to_owned());
        }
        let device = (major(stat.st_rdev), minor(stat.st_rdev));
        entry.kind = match file_type {
            FileType::Directory => return Ok(Some((self.directory(entry, name)?, None))),
            FileType::RegularFile => match recorded.and_then(|owner| owner.device) {
                Some(Device { is_block: true, major, minor }) => Kind::BlockDevice { major, minor },
                Some(Device { is_block: false, major, minor }) => Kind::CharDevice { major, minor },
                None => return self.file(entry, name, &stat).map(Some),
            },
            FileType::Symlink => {
                let target = rustix::fs::readlinkat(self.here()?, name, Vec::new())?;
                Kind::Symlink { target: OsString::from_vec(target.into_bytes()) }
            }
            FileType::CharacterDevice => Kind::CharDevice { major: device.0, minor: device.1 },
            FileType::BlockDevice => Kind::BlockDevice { major: device.0, minor: device.1 },
            FileType::Fifo => Kind::Fifo,
            _ => return Ok(None),
        };
        Ok(Some((entry, None)))
    }

    fn described(&self, path: &Path, stat: &Stat, recorded: Option<Owner>) -> Entry {
        let (uid, gid) = recorded.map_or((stat.st_uid, stat.st_gid), |owner| (owner.uid, owner.gid));
        let mtime = Timestamp { seconds: stat.st_mtime, nanoseconds: u32::try_from(stat.st_mtime_nsec).unwrap_or(0) };
        let size_bytes = u64::try_from(stat.st_size).unwrap_or(0);
        Entry { uid, gid, mtime, ..Entry::new(path, Kind::File { size_bytes }, stat.st_mode & 0o7777) }
    }

    fn directory(&mut self, mut entry: Entry, name: &OsStr) -> Result<Entry, Problem> {
        let fd = open(self.here()?, name, OFlags::DIRECTORY)?;
        let attributes = self.attributes(&fd)?;
        entry.kind = Kind::Directory;
        entry.xattrs = attributes.kept;
        if attributes.is_opaque {
            self.opaque = Some(Entry::new(entry.path.clone(), Kind::Opaque, 0));
        }
        self.enter(entry.path.clone(), fd)?;
        Ok(entry)
    }

    fn file(&mut self, mut entry: Entry, name: &OsStr, stat: &Stat) -> Result<(Entry, Option<File>), Problem> {
        // Not blocking, in case that a FIFO has taken the place of the file.
        let fd = open(self.here()?, name, OFlags::NONBLOCK)?;
        entry.xattrs = self.attributes(&fd)?.kept;
        let file = (stat.st_size > 0).then(|| File::from(fd));
        Ok((entry, file))
    }

    fn attributes(&self, fd: &OwnedFd) -> Result<Attributes, Problem> {
        let mut attributes = Attributes::default();
        for name in list_xattrs(fd)? {
            let Ok(name) = String::from_utf8(name) else { continue };
            if name == CAPABILITY_XATTR {
                if let Some(value) = read_xattr(fd, &name)? {
                    attributes.kept.insert(name.into_bytes(), without_namespace(value));
                }
            } else if name == owner::KEPT_CAPABILITY_XATTR && owner::is_aside() {
                if let Some(value) = read_xattr(fd, &name)? {
                    attributes.kept.insert(CAPABILITY_XATTR.into(), value);
                }
            } else if let Some(form) = self.form {
                let prefix = form.opaque_xattr().trim_end_matches("opaque");
                match name.strip_prefix(prefix) {
                    Some("opaque") => attributes.is_opaque = read_xattr(fd, &name)?.as_deref() == Some(b"y"),
                    Some("metacopy" | "redirect") => {
                        return Err(Problem::Partial(name));
                    }
                    _ => {}
                }
            }
        }
        Ok(attributes)
    }

    fn enter(&mut self, path: PathBuf, fd: OwnedFd) -> io::Result<()> {
        let names: Vec<OsString> = read_directory(&fd)?.into_iter().map(|entry| entry.name).collect();
        if let Some(above) = self.directories.len().checked_sub(MAX_OPEN_DIRECTORIES) {
            self.directories[above].fd = None;
        }
        self.directories.push(Directory { path, fd: Some(fd), names: names.into_iter() });
        Ok(())
    }

    /// The directory that is being read.
    fn here(&mut self) -> io::Result<BorrowedFd<'_>> {
        let Some(directory) = self.directories.last_mut() else { return Ok(self.root.as_fd()) };
        let fd = match directory.fd.take() {
            Some(fd) => fd,
            None => self.root.open_at(&directory.path, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty())?,
        };
        let fd: &OwnedFd = directory.fd.insert(fd);
        Ok(fd.as_fd())
    }
}

/// How a layer is written.
#[derive(Default)]
pub struct LayerOptions<'a> {
    /// Later times become this one, in seconds (`rewrite-timestamp=true`).
    pub clamp_mtime: Option<i64>,
    /// What is looked for in the files as they go by.
    pub search: Option<&'a mut Search>,
}

/// Writes an upper directory as a compressed layer, in one read of every file.
pub fn write_layer<W: Write + Send + 'static>(
    upper: &Root,
    form: OverlayForm,
    out: W,
    compression: Compression,
    options: LayerOptions<'_>,
) -> Result<(LayerBlob, W), UpperError> {
    let writer = LayerWriter::new(out, compression).map_err(UpperError::Write)?;
    let writer = write_entries(entries(upper, Some(form))?, writer, options)?;
    writer.finish().map_err(UpperError::Write)
}

/// Adds a whole root file system to a tar, as for the output `type=tar`; `mtime` is the time of everything, in seconds.
///
/// A `directory` that is not empty gets an entry of its own, and every name is below it.
pub fn append_tree<W: Write>(
    writer: &mut TarWriter<W>,
    root: &Root,
    directory: &Path,
    mtime: Option<i64>,
) -> Result<(), UpperError> {
    let stamp = |time: Timestamp| mtime.map_or(time, |seconds| Timestamp { seconds, nanoseconds: 0 });
    if !directory.as_os_str().is_empty() {
        let mut top = Entry::new(directory, Kind::Directory, 0o755);
        top.mtime = stamp(top.mtime);
        writer.append(&top, &mut io::empty()).map_err(UpperError::Write)?;
    }
    append_entries(writer, entries(root, None)?, None, |mut entry| {
        entry.mtime = stamp(entry.mtime);
        entry.path = directory.join(&entry.path);
        if let Kind::Hardlink { target } = &mut entry.kind {
            *target = directory.join(&*target);
        }
        entry
    })
}

/// Looks for something in the files of an upper directory.
pub fn search(upper: &Root, form: OverlayForm, search: &mut Search) -> Result<(), UpperError> {
    let mut entries = entries(upper, Some(form))?;
    while let Some((entry, file)) = entries.next()? {
        let Some(file) = file else { continue };
        io::copy(&mut search.reading(&entry.path, file), &mut io::sink()).map_err(at(&entry.path))?;
    }
    Ok(())
}

fn write_entries<W: Write>(entries: Entries<'_>, out: W, options: LayerOptions<'_>) -> Result<W, UpperError> {
    let mut writer = TarWriter::new(out);
    let latest = options.clamp_mtime.map(|seconds| Timestamp { seconds, nanoseconds: 0 });
    append_entries(&mut writer, entries, options.search, |entry| Entry {
        mtime: latest.map_or(entry.mtime, |latest| entry.mtime.min(latest)),
        ..entry
    })?;
    writer.finish().map_err(UpperError::Write)
}

fn append_entries<W: Write>(
    writer: &mut TarWriter<W>,
    mut entries: Entries<'_>,
    mut search: Option<&mut Search>,
    change: impl Fn(Entry) -> Entry,
) -> Result<(), UpperError> {
    while let Some((entry, file)) = entries.next()? {
        let entry = change(entry);
        let written = match (file, &mut search) {
            (Some(file), Some(search)) => writer.append(&entry, &mut search.reading(&entry.path, file)),
            (Some(mut file), None) => writer.append(&entry, &mut file),
            (None, _) => writer.append(&entry, &mut io::empty()),
        };
        written.map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => UpperError::Io { path: entry.path.clone(), error },
            _ => UpperError::Write(error),
        })?;
    }
    Ok(())
}

/// Turns version 3 of file capabilities, which belongs to a user namespace, into version 2, which belongs to the
/// image (capabilities(7), section File capability extended attribute versioning).
fn without_namespace(mut value: Vec<u8>) -> Vec<u8> {
    /// Length of version 3: version 2 and the uid of the namespace's root.
    const VERSION_3_BYTES: usize = 24;
    if value.len() == VERSION_3_BYTES && value[3] == 3 {
        value[3] = 2;
        value.truncate(VERSION_3_BYTES - 4);
    }
    value
}

fn open(directory: BorrowedFd<'_>, name: &OsStr, flags: OFlags) -> io::Result<OwnedFd> {
    let flags = flags | OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match rustix::fs::openat(directory, name, flags, Mode::empty()) {
        // One's own file that its mode closes to oneself (0000).
        Err(Errno::ACCESS) => {
            let path = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let closed = rustix::fs::openat(directory, name, path, Mode::empty())?;
            Ok(owner::overriding(&closed, || rustix::fs::openat(directory, name, flags, Mode::empty()))?)
        }
        result => Ok(result?),
    }
}

/// What is wrong, before the path is known.
enum Problem {
    Io(io::Error),
    Partial(String),
}

impl<E: Into<io::Error>> From<E> for Problem {
    fn from(error: E) -> Problem {
        Problem::Io(error.into())
    }
}

fn at<P: Into<Problem>>(path: &Path) -> impl Fn(P) -> UpperError + '_ {
    |problem| match problem.into() {
        Problem::Io(error) => UpperError::Io { path: path.to_owned(), error },
        Problem::Partial(xattr) => UpperError::Partial { path: path.to_owned(), xattr },
    }
}

#[cfg(test)]
#[path = "upper_tests.rs"]
mod tests;
