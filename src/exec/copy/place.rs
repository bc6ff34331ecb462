//! Finds the place of each item of a selection and writes it there.

use super::target::{Created, is_directory, make_directories_at, resolve};
use super::tree::{Batch, FileTask};
use super::{CopyError, CopyStats, Placement};
use crate::context::selection::{Entry, EntryKind, Item, Selection};
use crate::sys::Root;
use crate::sys::bytes::DataPath;
use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

/// Writes one selection.
pub(super) struct Writer<'a> {
    pub(super) source: &'a Root,
    pub(super) dest: &'a Root,
    pub(super) placement: &'a Placement,
    pub(super) data: DataPath,
    pub(super) stats: CopyStats,
    /// Directories of the source that `--parents` has recreated: a further match in one leaves it alone.
    parents_made: HashSet<PathBuf>,
}

/// Consecutive files on their way into one directory; written together.
#[derive(Default)]
struct Pending<'a> {
    batches: Vec<Batch<'a>>,
    names: HashSet<&'a OsStr>,
}

impl<'a> Writer<'a> {
    pub fn new(source: &'a Root, dest: &'a Root, placement: &'a Placement) -> Writer<'a> {
        let (data, stats) = (DataPath::default(), CopyStats::default());
        Writer { source, dest, placement, data, stats, parents_made: HashSet::new() }
    }

    /// Writes everything and returns what was done.
    pub fn write(mut self, selection: &'a Selection) -> Result<CopyStats, CopyError> {
        let mut pending = Pending::default();
        // With `--parents` BuildKit copies the directory that matches are looked for in, so that the destination is
        // made even when there is none.
        if self.placement.parents && selection.items.is_empty() {
            let destination = resolve(self.dest, Path::new(&self.placement.destination))?;
            self.make_directories(&destination)?;
        }
        // Known as soon as one file has made it: the directory that files go into.
        let mut directory: Option<PathBuf> = None;
        for item in &selection.items {
            let Some(thing) = item.entries.first() else { continue };
            if self.placement.parents || thing.kind == EntryKind::Directory {
                self.flush(&mut pending)?;
                self.write_item(item, thing)?;
                directory = None;
                continue;
            }
            let into = match directory.take() {
                Some(into) => into,
                None => match self.file_target(&item.name)? {
                    (into, None) => into,
                    (parent, Some(name)) => {
                        self.write_file(item, thing, parent, name)?;
                        continue;
                    }
                },
            };
            self.defer(&mut pending, item, thing, &into)?;
            directory = Some(into);
        }
        self.flush(&mut pending)?;
        self.stats.owners.sort();
        Ok(self.stats)
    }

    /// Returns the directory a file goes into, and its name there if that is not its own.
    pub(super) fn file_target(&mut self, name: &OsStr) -> Result<(PathBuf, Option<OsString>), CopyError> {
        let destination = Path::new(&self.placement.destination);
        let (ensured, is_marked) = split_destination(&self.placement.destination);
        let ensured = resolve(self.dest, Path::new(ensured))?;
        self.make_directories(&ensured)?;
        if is_marked {
            return Ok((ensured, None));
        }
        let target = resolve(self.dest, destination)?;
        if is_directory(self.dest, &target)? == Some(true) {
            return Ok((target, None));
        }
        let parent = target.parent().unwrap_or(Path::new("/")).to_owned();
        self.make_directories(&parent)?;
        let last = target.file_name().unwrap_or(name).to_owned();
        Ok((parent, Some(last)))
    }

    fn defer(
        &mut self,
        pending: &mut Pending<'a>,
        item: &'a Item,
        thing: &'a Entry,
        into: &Path,
    ) -> Result<(), CopyError> {
        if !pending.names.insert(&item.name) {
            // Two files of one name: the later one wins, so they cannot be written side by side.
            self.flush(pending)?;
            pending.names.insert(&item.name);
        }
        let (source_dir, source_name) = split_origin(&item.origin);
        let task = FileTask { entry: thing, source_name, dest_name: &item.name };
        match pending.batches.last_mut() {
            Some(batch) if batch.source_dir == source_dir && !batch.is_full() => batch.tasks.push(task),
            _ => pending.batches.push(Batch {
                source_dir: source_dir.to_owned(),
                dest_dir: into.to_owned(),
                tasks: vec![task],
            }),
        }
        Ok(())
    }

    fn flush(&mut self, pending: &mut Pending<'a>) -> Result<(), CopyError> {
        pending.names.clear();
        let batches = std::mem::take(&mut pending.batches);
        self.write_batches(&batches)
    }

    /// Writes a file under another name than its own.
    fn write_file(&mut self, item: &Item, thing: &Entry, dest_dir: PathBuf, name: OsString) -> Result<(), CopyError> {
        let (source_dir, source_name) = split_origin(&item.origin);
        let task = FileTask { entry: thing, source_name, dest_name: &name };
        self.write_batches(&[Batch { source_dir: source_dir.to_owned(), dest_dir, tasks: vec![task] }])
    }

    /// Writes a directory, or with `--parents` anything.
    fn write_item(&mut self, item: &Item, thing: &Entry) -> Result<(), CopyError> {
        let destination = resolve(self.dest, Path::new(&self.placement.destination))?;
        if is_directory(self.dest, &destination)? == Some(false) {
            return Err(CopyError::NotADirectory { path: destination });
        }
        self.make_directories(&destination)?;
        if !self.placement.parents || item.name.is_empty() {
            return self.write_tree(item, destination, false);
        }
        let sources = item.origin.ancestors().skip(1).take(item.parents.len()).collect::<Vec<_>>();
        for (parent, source) in item.parents.iter().zip(sources.into_iter().rev()) {
            if self.parents_made.insert(source.to_owned()) {
                self.make_parent(&destination.join(&parent.path), parent)?;
            }
        }
        let into = item.parents.last().map_or(destination.clone(), |parent| destination.join(&parent.path));
        if thing.kind == EntryKind::Directory {
            self.write_tree(item, into.join(&item.name), true)
        } else {
            self.write_file(item, thing, into, item.name.clone())
        }
    }

    pub(super) fn make_directories(&mut self, path: &Path) -> Result<(), CopyError> {
        let mode = self.placement.chmod.as_ref().map_or(0o755, |mode| mode.made_directory());
        let made = make_directories_at(self.dest, path, self.placement.chown, mode, self.placement.epoch)?;
        self.count(made);
        Ok(())
    }

    pub(super) fn count(&mut self, made: Created) {
        self.stats.directories += made.count;
        self.stats.owners.extend(made.owners);
    }
}

/// Returns the part of a destination that is a directory for certain, and whether that is all of it.
fn split_destination(destination: &str) -> (&str, bool) {
    let slash = destination.rfind('/').map_or(0, |at| at + 1);
    match &destination[slash..] {
        "" | "." | ".." => (destination, true),
        _ => (&destination[..slash], false),
    }
}

/// Returns directory and name of something that is not the root of its tree.
fn split_origin(origin: &Path) -> (&Path, &OsStr) {
    (origin.parent().unwrap_or(Path::new("/")), origin.file_name().unwrap_or(OsStr::new(".")))
}
