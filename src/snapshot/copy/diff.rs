//! What a step changed in a work tree, found by comparison and written as overlayfs would have left it.
//!
//! A node is the same when type, inode, time of birth, owner, mode, size and times are.  The time of change cannot be set by
//! anybody, so no program hides what it did.  In a tree of hard links it says nothing (other trees link the same files),
//! and nothing there is ever written in place.

use super::merge::{Widened, at};
use super::node::{Nodes, open_directory, set_metadata};
use super::{Sharing, WorkTree};
use crate::layer::make_whiteout;
use crate::sys::overlay::OverlayForm;
use crate::sys::{Root, read_directory};
use rustix::fs::{AtFlags, FileType, Mode, Statx, StatxFlags, XattrFlags};
use rustix::io::Errno;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

/// Paths (relative, no links) whose time of change says nothing: something was put in their place for a while and taken away.
pub type Unchanged = HashSet<PathBuf>;

/// What was in a tree: the nodes of each directory, by its path below the root.
#[derive(Debug, Default)]
pub(super) struct Record {
    root: Option<Seen>,
    directories: HashMap<PathBuf, BTreeMap<OsString, Seen>>,
    newest_change: (i64, u32),
}

/// What is compared of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Seen {
    inode: u64,
    born: (i64, u32),
    mode: u16,
    owner: (u32, u32),
    size_bytes: u64,
    device: (u32, u32),
    modified: (i64, u32),
    changed: (i64, u32),
}

impl Seen {
    fn of(stat: &Statx) -> Seen {
        let is_directory = FileType::from_raw_mode(stat.stx_mode.into()) == FileType::Directory;
        Seen {
            inode: stat.stx_ino,
            born: (stat.stx_btime.tv_sec, stat.stx_btime.tv_nsec),
            mode: stat.stx_mode,
            owner: (stat.stx_uid, stat.stx_gid),
            // That of a directory is the file system's business.
            size_bytes: if is_directory { 0 } else { stat.stx_size },
            device: (stat.stx_rdev_major, stat.stx_rdev_minor),
            modified: (stat.stx_mtime.tv_sec, stat.stx_mtime.tv_nsec),
            changed: (stat.stx_ctime.tv_sec, stat.stx_ctime.tv_nsec),
        }
    }

    fn is_directory(&self) -> bool {
        FileType::from_raw_mode(self.mode.into()) == FileType::Directory
    }

    fn is_same_node(&self, other: &Seen) -> bool {
        (self.inode, self.born) == (other.inode, other.born) && self.is_directory() == other.is_directory()
    }
}

fn is_closed(stat: &rustix::fs::Stat) -> bool {
    stat.st_mode & 0o400 == 0
}

fn look(directory: BorrowedFd<'_>, name: &OsStr) -> io::Result<Seen> {
    let wanted = StatxFlags::BASIC_STATS | StatxFlags::BTIME;
    let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT;
    Ok(Seen::of(&rustix::fs::statx(directory, name, flags, wanted)?))
}

impl Record {
    /// Looks at every node of a tree.
    pub(super) fn of(root: &Root) -> io::Result<Record> {
        let mut record = Record { root: Some(look(root.as_fd(), OsStr::new("."))?), ..Record::default() };
        record.fill(&open_directory(root.as_fd(), OsStr::new("."))?, &mut PathBuf::new())?;
        Ok(record)
    }

    fn fill(&mut self, directory: &OwnedFd, path: &mut PathBuf) -> io::Result<()> {
        let mut nodes = BTreeMap::new();
        for entry in read_directory(directory)? {
            path.push(&entry.name);
            let seen = look(directory.as_fd(), &entry.name).map_err(|error| at(path, &error))?;
            if seen.is_directory() {
                let below = open_directory(directory.as_fd(), &entry.name).map_err(|error| at(path, &error))?;
                self.fill(&below, path)?;
            }
            path.pop();
            self.note(&seen);
            nodes.insert(entry.name, seen);
        }
        self.directories.insert(path.clone(), nodes);
        Ok(())
    }

    fn note(&mut self, seen: &Seen) {
        self.newest_change = self.newest_change.max(seen.changed);
    }

    /// Returns the latest time of change (seconds, nanoseconds).
    pub(super) fn newest_change(&self) -> (i64, u32) {
        self.newest_change
    }
}

/// Writes the difference into `layer` and returns what is there now.
pub(super) fn write(
    before: &Record,
    tree: &WorkTree,
    layer: &Root,
    form: OverlayForm,
    unchanged: &Unchanged,
) -> io::Result<Record> {
    let (root, sharing) = (tree.root(), tree.sharing());
    let directory = open_directory(root.as_fd(), OsStr::new("."))?;
    let mut diff = Diff {
        before,
        after: Record { root: Some(look(root.as_fd(), OsStr::new("."))?), ..Record::default() },
        layer,
        nodes: Nodes::new(layer, sharing),
        sharing,
        form,
        unchanged,
        widened: &tree.widened,
        made: HashSet::from([PathBuf::new()]),
        path: PathBuf::new(),
    };
    diff.directory(&directory, before.root.is_some())?;
    Ok(diff.after)
}

struct Diff<'a> {
    before: &'a Record,
    after: Record,
    layer: &'a Root,
    nodes: Nodes<'a>,
    sharing: Sharing,
    form: OverlayForm,
    unchanged: &'a Unchanged,
    widened: &'a Widened,
    /// Directories that the layer has.
    made: HashSet<PathBuf>,
    path: PathBuf,
}

impl Diff<'_> {
    /// Compares a directory; `was_there` is whether it is the one that stood here before.
    fn directory(&mut self, directory: &OwnedFd, was_there: bool) -> io::Result<()> {
        let before = self.before;
        let known = if was_there { before.directories.get(&self.path) } else { None };
        let mut nodes = BTreeMap::new();
        for entry in read_directory(directory)? {
            self.path.push(&entry.name);
            let seen = self.entry(directory, &entry.name, known.and_then(|known| known.get(&entry.name)));
            let seen = seen.map_err(|error| at(&self.path, &error))?;
            self.path.pop();
            self.after.note(&seen);
            nodes.insert(entry.name, seen);
        }
        for name in known.into_iter().flatten().map(|(name, _)| name).filter(|name| !nodes.contains_key(*name)) {
            let layer = self.layer_directory(&self.path.clone())?;
            make_whiteout(layer.as_fd(), name, self.form)?;
        }
        // What is in the layer has been written, so owner, mode and time stay as they are set now.
        if self.made.contains(&self.path) {
            let layer = self.layer_directory(&self.path.clone())?;
            let mut stat = rustix::fs::fstat(directory)?;
            if let Some(mode) = self.widened.get(&self.path).filter(|mode| stat.st_mode & 0o077 == **mode & 0o077) {
                stat.st_mode = stat.st_mode & !0o7777 | mode;
            }
            set_metadata(directory, &layer, &stat)?;
        }
        self.after.directories.insert(self.path.clone(), nodes);
        Ok(())
    }

    fn entry(&mut self, directory: &OwnedFd, name: &OsStr, before: Option<&Seen>) -> io::Result<Seen> {
        let now = look(directory.as_fd(), name)?;
        if !now.is_directory() {
            if !before.is_some_and(|before| self.is_same(before, &now)) {
                let layer = self.layer_directory(&self.parent())?;
                let stat = rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW)?;
                self.nodes.put(directory.as_fd(), layer.as_fd(), name, &stat, &self.path)?;
                // To read one that its mode closes to its owner is a change of its mode.
                return if is_closed(&stat) { look(directory.as_fd(), name) } else { Ok(now) };
            }
            return Ok(now);
        }
        let was_there = before.is_some_and(|before| before.is_same_node(&now));
        if !was_there || !before.is_some_and(|before| self.is_same(before, &now)) {
            let layer = self.layer_directory(&self.path.clone())?;
            if !was_there && before.is_some() {
                rustix::fs::fsetxattr(&layer, self.form.opaque_xattr(), b"y", XattrFlags::empty())?;
            }
        }
        self.directory(&open_directory(directory.as_fd(), name)?, was_there)?;
        Ok(now)
    }

    fn is_same(&self, before: &Seen, now: &Seen) -> bool {
        let is_link = self.sharing == Sharing::Linked && !now.is_directory();
        let ignores_change = is_link || self.unchanged.contains(&self.path);
        before == now || (ignores_change && *before == Seen { changed: before.changed, ..*now })
    }

    fn parent(&self) -> PathBuf {
        self.path.parent().unwrap_or(Path::new("")).to_owned()
    }

    /// Opens a directory of the layer, making it and those above it.
    fn layer_directory(&mut self, path: &Path) -> io::Result<OwnedFd> {
        let mut here = open_directory(self.layer.as_fd(), OsStr::new("."))?;
        let mut made = PathBuf::new();
        for name in path {
            made.push(name);
            if self.made.insert(made.clone()) {
                match rustix::fs::mkdirat(&here, name, Mode::RWXU) {
                    Ok(()) | Err(Errno::EXIST) => {}
                    Err(error) => return Err(error.into()),
                }
            }
            here = open_directory(here.as_fd(), name)?;
        }
        Ok(here)
    }
}
