//! Trees for tests: made from a table, selected by a walk, compared as a whole.
#![allow(clippy::unwrap_used)]

use super::{CopyError, CopyStats, Placement, apply};
use crate::context::selection::{Entry, EntryKind, Item, Selection};
use crate::sys::Root;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::Metadata;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// A source tree and a root to copy into.
pub struct Bench {
    _directory: tempfile::TempDir,
    pub source: PathBuf,
    pub dest: PathBuf,
}

/// Whether owners, devices and capabilities can be tested; says so if not.
pub fn is_root(what: &str) -> bool {
    let is_root = rustix::process::geteuid().is_root();
    if !is_root {
        eprintln!("skipped: {what} needs root");
    }
    is_root
}

impl Bench {
    pub fn new() -> Bench {
        let directory = tempfile::tempdir().unwrap();
        let (source, dest) = (directory.path().join("source"), directory.path().join("dest"));
        for path in [&source, &dest] {
            std::fs::create_dir(path).unwrap();
        }
        Bench { _directory: directory, source, dest }
    }

    /// Writes a file of the source (or of `dest/..`) and its parents.
    pub fn file(self, path: &str, content: &str) -> Bench {
        write(&self.source.join(path), content);
        self
    }

    pub fn in_dest(self, path: &str, content: &str) -> Bench {
        write(&self.dest.join(path), content);
        self
    }

    pub fn link_in_dest(self, target: &str, path: &str) -> Bench {
        std::os::unix::fs::symlink(target, self.dest.join(path)).unwrap();
        self
    }

    pub fn select(&self, origins: &[&str]) -> Selection {
        Selection { items: origins.iter().map(|origin| select(&self.source, origin)).collect() }
    }

    pub fn copy(&self, origins: &[&str], placement: &Placement) -> Result<CopyStats, CopyError> {
        self.apply(&self.select(origins), placement)
    }

    pub fn apply(&self, selection: &Selection, placement: &Placement) -> Result<CopyStats, CopyError> {
        let (source, dest) = (Root::open(&self.source).unwrap(), Root::open(&self.dest).unwrap());
        apply(selection, &source, &dest, placement)
    }

    /// Copies to a destination with nothing else asked for.
    pub fn copy_to(&self, origins: &[&str], destination: &str) -> Result<CopyStats, CopyError> {
        self.copy(origins, &to(destination))
    }

    pub fn tree(&self) -> Vec<String> {
        listing(&self.dest)
    }
}

pub fn to(destination: &str) -> Placement {
    Placement { destination: destination.into(), ..Placement::default() }
}

fn write(path: &Path, content: &str) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, content).unwrap();
}

pub fn chmod(path: impl AsRef<Path>, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

pub fn set_mtime(path: impl AsRef<Path>, seconds: i64, nanoseconds: u32) {
    let times = super::node::timestamps(seconds, nanoseconds);
    rustix::fs::utimensat(rustix::fs::CWD, path.as_ref(), &times, rustix::fs::AtFlags::SYMLINK_NOFOLLOW).unwrap();
}

/// Selects one thing of a tree as the context's walk does, nothing ignored.
pub fn select(tree: &Path, origin: &str) -> Item {
    let top = tree.join(origin.trim_start_matches('/'));
    let mut entries = vec![entry(&top, Path::new(""))];
    if top.is_dir() && !top.is_symlink() {
        walk(&top, Path::new(""), &mut entries);
    }
    let origin = Path::new("/").join(origin);
    let name = origin.file_name().map(OsString::from).unwrap_or_default();
    Item { origin, name, parents: Vec::new(), entries }
}

fn walk(top: &Path, below: &Path, entries: &mut Vec<Entry>) {
    let mut names: Vec<OsString> =
        std::fs::read_dir(top.join(below)).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    for name in names {
        let path = below.join(name);
        let found = entry(&top.join(&path), &path);
        let is_directory = found.kind == EntryKind::Directory;
        entries.push(found);
        if is_directory {
            walk(top, &path, entries);
        }
    }
}

pub fn entry(file: &Path, path: &Path) -> Entry {
    let stat = std::fs::symlink_metadata(file).unwrap();
    let kind = stat.file_type();
    let kind = match () {
        () if kind.is_dir() => EntryKind::Directory,
        () if kind.is_symlink() => EntryKind::Symlink { target: std::fs::read_link(file).unwrap().into() },
        () if kind.is_fifo() => EntryKind::Fifo,
        () if kind.is_socket() => EntryKind::Socket,
        () if kind.is_char_device() => EntryKind::CharDevice { rdev: stat.rdev() },
        () if kind.is_block_device() => EntryKind::BlockDevice { rdev: stat.rdev() },
        () => EntryKind::File { size_bytes: stat.len() },
    };
    Entry {
        path: path.to_owned(),
        kind,
        mode: stat.mode() & 0o7777,
        uid: stat.uid(),
        gid: stat.gid(),
        mtime_seconds: stat.mtime(),
        mtime_nanoseconds: stat.mtime_nsec() as u32,
        inode: (stat.nlink() > 1 && !stat.is_dir()).then(|| (stat.dev(), stat.ino())),
    }
}

/// Lists a tree: a line for each path with type, mode, owner if it is not 0:0, and content, target or device.
pub fn listing(top: &Path) -> Vec<String> {
    let mut item = select(top, "/");
    item.entries.remove(0);
    let mut first_names = BTreeMap::new();
    let own = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    let describe = |entry: &Entry| {
        let file = top.join(&entry.path);
        let stat = std::fs::symlink_metadata(&file).unwrap();
        let what = what(&file, &stat, entry, &mut first_names);
        let owner = match (entry.uid, entry.gid) {
            owner if owner == own => String::new(),
            (uid, gid) => format!(" {uid}:{gid}"),
        };
        format!("{} {what}{owner}", entry.path.display())
    };
    item.entries.iter().map(describe).collect()
}

fn what(file: &Path, stat: &Metadata, entry: &Entry, first_names: &mut BTreeMap<u64, PathBuf>) -> String {
    let mode = entry.mode;
    let major_minor = |rdev| format!("{}:{}", rustix::fs::major(rdev), rustix::fs::minor(rdev));
    match &entry.kind {
        EntryKind::Directory => format!("dir {mode:o}"),
        EntryKind::Symlink { target } => format!("-> {}", target.display()),
        EntryKind::Fifo => format!("fifo {mode:o}"),
        EntryKind::Socket => format!("socket {mode:o}"),
        EntryKind::CharDevice { rdev } => format!("char {mode:o} {}", major_minor(*rdev)),
        EntryKind::BlockDevice { rdev } => format!("block {mode:o} {}", major_minor(*rdev)),
        EntryKind::File { .. } => {
            if let Some(first) = first_names.get(&stat.ino()) {
                return format!("= {}", first.display());
            }
            first_names.insert(stat.ino(), entry.path.clone());
            let content = std::fs::read(file).unwrap_or_else(|_| b"(unreadable)".to_vec());
            format!("{mode:o} {:?}", String::from_utf8_lossy(&content))
        }
    }
}
