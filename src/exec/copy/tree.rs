//! Writes the entries of one item: directories, then files side by side, then hard links, then what directories look like.
//!
//! Directories are made with mode 0700 and get their own mode, owner and time when everything in them is written: a
//! read-only directory could not be filled without privileges, and filling changes the time.

use super::node::{self, NodeError, timestamps};
use super::place::Writer;
use super::target::open_directory;
use super::{CopyError, CopyStats, WantedOwner};
use crate::context::selection::{Entry, EntryKind, Item};
use rayon::prelude::*;
use rustix::fs::{AtFlags, FileType, Mode};
use rustix::io::Errno;
use std::collections::{BTreeMap, HashMap};
use std::ffi::OsStr;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

/// Files written by one thread with one pair of open directories.
const BATCH_FILES: usize = 256;

/// Bytes and files below which threads cost more than they save.
const ALONE_FILES: usize = 32;
const ALONE_BYTES: u64 = 8 << 20;

/// Files of one source directory for one destination directory.
pub(super) struct Batch<'a> {
    pub source_dir: PathBuf,
    pub dest_dir: PathBuf,
    pub tasks: Vec<FileTask<'a>>,
}

/// One thing to write that is no directory.
pub(super) struct FileTask<'a> {
    pub entry: &'a Entry,
    pub source_name: &'a OsStr,
    pub dest_name: &'a OsStr,
}

/// A directory whose looks are to be set.
struct Finish<'a> {
    path: PathBuf,
    entry: &'a Entry,
}

/// A hard link to be made: existing name, new name.
type Link = (PathBuf, PathBuf);

impl Batch<'_> {
    pub fn is_full(&self) -> bool {
        self.tasks.len() >= BATCH_FILES
    }

    fn size_bytes(&self) -> u64 {
        self.tasks.iter().map(|task| task.size_bytes()).sum()
    }
}

impl FileTask<'_> {
    fn size_bytes(&self) -> u64 {
        if let EntryKind::File { size_bytes } = self.entry.kind { size_bytes } else { 0 }
    }
}

impl Writer<'_> {
    /// Writes a directory's contents into `target`, which exists unless `with_root`: then it is an entry like others.
    pub(super) fn write_tree(&mut self, item: &Item, target: PathBuf, with_root: bool) -> Result<(), CopyError> {
        let finishes = self.make_tree(item, &target, with_root)?;
        let (batches, links) = plan_files(item, &target);
        self.write_batches(&batches)?;
        for (from, to) in &links {
            self.link(from, to)?;
        }
        for finish in finishes.iter().rev() {
            self.finish_directory(finish)?;
        }
        // As BuildKit does, the destination takes the time of the source; the root of a context has none worth taking.
        if !with_root && (self.placement.keep_owner || item.origin != Path::new("/")) {
            self.set_time(&target, &item.entries[0])?;
        }
        Ok(())
    }

    /// Makes the directories of an item, parents first.
    fn make_tree<'a>(&mut self, item: &'a Item, target: &Path, with_root: bool) -> Result<Vec<Finish<'a>>, CopyError> {
        let mut finishes = Vec::new();
        let mut parent: Option<(PathBuf, OwnedFd)> = None;
        let directories = item.entries.iter().filter(|entry| entry.kind == EntryKind::Directory);
        for entry in directories.skip(usize::from(!with_root)) {
            let path = if entry.path.as_os_str().is_empty() { target.to_owned() } else { target.join(&entry.path) };
            let above = path.parent().unwrap_or(Path::new("/"));
            if parent.as_ref().is_none_or(|(known, _)| known != above) {
                let fd = open_directory(self.dest, above).map_err(CopyError::write(above))?;
                parent = Some((above.to_owned(), fd));
            }
            if let (Some((_, fd)), Some(name)) = (&parent, path.file_name()) {
                self.stats.directories += u64::from(make_or_find(fd, name, &path)?);
            }
            finishes.push(Finish { path, entry });
        }
        Ok(finishes)
    }

    /// Makes a directory that `--parents` recreates; one that is there takes the source's mode only.
    pub(super) fn make_parent(&mut self, path: &Path, entry: &Entry) -> Result<(), CopyError> {
        let above = path.parent().unwrap_or(Path::new("/"));
        let parent = open_directory(self.dest, above).map_err(CopyError::write(above))?;
        let name = path.file_name().unwrap_or(OsStr::new("."));
        if make_or_find(&parent, name, path)? {
            self.stats.directories += 1;
            return self.set_looks(path, entry);
        }
        let directory = self.open_to_change(path)?;
        rustix::fs::fchmod(&directory, Mode::from_raw_mode(entry.mode))
            .map_err(|error| CopyError::Write { path: path.to_owned(), source: error.into() })
    }

    fn finish_directory(&mut self, finish: &Finish<'_>) -> Result<(), CopyError> {
        self.set_looks(&finish.path, finish.entry)?;
        self.set_time(&finish.path, finish.entry)
    }

    fn set_looks(&mut self, path: &Path, entry: &Entry) -> Result<(), CopyError> {
        let directory = self.open_to_change(path)?;
        let (uid, gid) = self.owner_of(entry);
        let mode = self.mode_of(entry);
        if !node::set_owner_and_mode(&directory, uid, gid, mode).map_err(CopyError::write(path))? {
            self.stats.owners.push(WantedOwner { path: path.to_owned(), uid, gid });
        }
        Ok(())
    }

    fn set_time(&self, path: &Path, entry: &Entry) -> Result<(), CopyError> {
        let times = timestamps(entry.mtime_seconds, entry.mtime_nanoseconds);
        rustix::fs::utimensat(
            self.dest_parent(path)?,
            path.file_name().unwrap_or(OsStr::new(".")),
            &times,
            AtFlags::SYMLINK_NOFOLLOW,
        )
        .map_err(|error| CopyError::Write { path: path.to_owned(), source: error.into() })
    }

    fn dest_parent(&self, path: &Path) -> Result<OwnedFd, CopyError> {
        let above = path.parent().unwrap_or(Path::new("/"));
        open_directory(self.dest, above).map_err(CopyError::write(above))
    }

    fn open_to_change(&self, path: &Path) -> Result<OwnedFd, CopyError> {
        self.dest.open_at(path, node::DIRECTORY, Mode::empty()).map_err(CopyError::write(path))
    }

    /// Writes batches, whose paths are all different, on several threads if there is enough to do.
    pub(super) fn write_batches(&mut self, batches: &[Batch<'_>]) -> Result<(), CopyError> {
        let files: usize = batches.iter().map(|batch| batch.tasks.len()).sum();
        let bytes: u64 = batches.iter().map(Batch::size_bytes).sum();
        let this = &*self;
        let done: Vec<CopyStats> = if files < ALONE_FILES && bytes < ALONE_BYTES {
            batches.iter().map(|batch| this.write_batch(batch)).collect::<Result<_, _>>()?
        } else {
            batches.par_iter().map(|batch| this.write_batch(batch)).collect::<Result<_, _>>()?
        };
        for stats in done {
            self.stats.add(stats);
        }
        Ok(())
    }

    fn write_batch(&self, batch: &Batch<'_>) -> Result<CopyStats, CopyError> {
        let mut stats = CopyStats::default();
        // A directory that became something else is a change of the source, not a failure to read it.
        let source = open_directory(self.source, &batch.source_dir).map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory => {
                CopyError::Changed { path: batch.source_dir.clone() }
            }
            _ => CopyError::Read { path: batch.source_dir.clone(), source: error },
        })?;
        let dest = open_directory(self.dest, &batch.dest_dir).map_err(CopyError::write(&batch.dest_dir))?;
        for task in &batch.tasks {
            self.write_task(batch, task, source.as_fd(), dest.as_fd(), &mut stats)?;
        }
        Ok(stats)
    }

    /// Makes a hard link to a file that this copy has written.
    fn link(&mut self, from: &Path, to: &Path) -> Result<(), CopyError> {
        let name = |path: &'_ Path| path.file_name().unwrap_or(OsStr::new(".")).to_owned();
        let (from_dir, to_dir) = (self.dest_parent(from)?, self.dest_parent(to)?);
        let (from, to_name) = (name(from), name(to));
        let make = || rustix::fs::linkat(&from_dir, &from, &to_dir, &to_name, AtFlags::empty());
        node::replace(to_dir.as_fd(), &to_name, make).map_err(|error| failed(error, to))?;
        self.stats.others += 1;
        Ok(())
    }

    /// Returns the owner of something copied.
    pub(super) fn owner_of(&self, entry: &Entry) -> (u32, u32) {
        match self.placement.chown {
            Some(owner) => owner,
            None if self.placement.keep_owner => (entry.uid, entry.gid),
            None => (0, 0),
        }
    }

    /// Returns the mode of something copied.
    pub(super) fn mode_of(&self, entry: &Entry) -> u32 {
        let is_directory = entry.kind == EntryKind::Directory;
        self.placement.chmod.as_ref().map_or(entry.mode, |mode| mode.apply(entry.mode, is_directory))
    }
}

/// Turns a failure at a path of the root into an error.
pub(super) fn failed(error: NodeError, path: &Path) -> CopyError {
    match error {
        NodeError::IsADirectory => CopyError::IsADirectory { path: path.to_owned() },
        NodeError::Io(source) => CopyError::Write { path: path.to_owned(), source },
    }
}

/// Makes a directory, mode 0700 for now; returns whether it was not there.
fn make_or_find(parent: &OwnedFd, name: &OsStr, path: &Path) -> Result<bool, CopyError> {
    let failed = |error: Errno| CopyError::Write { path: path.to_owned(), source: error.into() };
    match rustix::fs::mkdirat(parent, name, Mode::RWXU) {
        Ok(()) => Ok(true),
        Err(Errno::EXIST) => {
            let stat = rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW).map_err(failed)?;
            match FileType::from_raw_mode(stat.st_mode) {
                FileType::Directory => Ok(false),
                _ => Err(CopyError::NotADirectory { path: path.to_owned() }),
            }
        }
        Err(error) => Err(failed(error)),
    }
}

/// Sorts what is no directory into batches by directory, and further names of one file into links.
fn plan_files<'a>(item: &'a Item, target: &Path) -> (Vec<Batch<'a>>, Vec<Link>) {
    let mut first_names: HashMap<(u64, u64), PathBuf> = HashMap::new();
    let mut links = Vec::new();
    let mut by_directory: BTreeMap<&Path, Vec<FileTask<'a>>> = BTreeMap::new();
    for entry in &item.entries {
        let (Some(parent), Some(name)) = (entry.path.parent(), entry.path.file_name()) else { continue };
        if entry.kind == EntryKind::Directory {
            continue;
        }
        if let (Some(inode), EntryKind::File { .. }) = (entry.inode, &entry.kind) {
            if let Some(first) = first_names.get(&inode) {
                links.push((first.clone(), target.join(&entry.path)));
                continue;
            }
            first_names.insert(inode, target.join(&entry.path));
        }
        by_directory.entry(parent).or_default().push(FileTask { entry, source_name: name, dest_name: name });
    }
    let mut batches = Vec::new();
    for (directory, tasks) in by_directory {
        let mut tasks = tasks.into_iter().peekable();
        while tasks.peek().is_some() {
            batches.push(Batch {
                source_dir: item.origin.join(directory),
                dest_dir: target.join(directory),
                tasks: tasks.by_ref().take(BATCH_FILES).collect(),
            });
        }
    }
    (batches, links)
}

impl CopyStats {
    pub(super) fn add(&mut self, other: CopyStats) {
        self.files += other.files;
        self.bytes += other.bytes;
        self.directories += other.directories;
        self.others += other.others;
        self.unpacked += other.unpacked;
        self.skipped_devices.extend(other.skipped_devices);
        self.owners.extend(other.owners);
    }
}
