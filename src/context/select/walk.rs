//! Walks below one directory: everything in it that the rules leave.
//!
//! One level after the other, the directories of a level side by side.  No recursion, so the depth of a hostile tree
//! costs no stack; directories are opened by their path from the root and closed before the next level, so it costs no descriptors either.

use super::SelectError;
use crate::context::ignore::{DirectoryState, IgnoreRules};
use crate::context::selection::{Entry, EntryKind};
use crate::context::tree::{FileStamp, Tree, join, kind_of, read_link_at, rule_path, stat_at};
use crate::sys::owner;
use rayon::prelude::*;
use std::borrow::Cow;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Most entries that one source may select.
pub const ENTRIES_LIMIT: usize = 10_000_000;
/// From how many names on one directory is statted by several threads.
const SPLIT_FROM: usize = 512;

/// One set of rules and from where its paths count.
#[derive(Clone, Copy)]
struct Filter<'a> {
    rules: &'a IgnoreRules,
    /// Added before paths relative to the origin.
    prefix: &'a [u8],
}

/// A walk below `origin`.
pub(super) struct Walk<'a> {
    pub(super) tree: &'a Tree<'a>,
    /// Real path of the directory.
    pub(super) origin: &'a Path,
    /// `--exclude` and the path of the origin relative to the directory from which it counts.
    pub(super) exclude: Option<(&'a IgnoreRules, &'a [u8])>,
}

/// A directory still to be read.
struct Pending {
    path: PathBuf,
    states: [DirectoryState; 2],
}

/// What was found in a directory.
struct Child {
    entry: Entry,
    stamp: FileStamp,
    is_included: bool,
    /// The directory's place in the order of reading, if it is to be read.
    directory: Option<usize>,
}

impl<'a> Walk<'a> {
    /// Returns what is in the directory, sorted, parents before children; ignored directories only for what they hold.
    pub(super) fn run(&self) -> Result<Vec<(Entry, FileStamp)>, SelectError> {
        let filters = self.filters();
        let mut read: Vec<Vec<Child>> = Vec::new();
        let mut level = vec![Pending { path: PathBuf::new(), states: self.root_states(&filters) }];
        let (mut planned, mut found) = (1, 0);
        while !level.is_empty() {
            let results: Vec<_> = if level.len() == 1 {
                level.iter().map(|directory| self.read(directory, &filters)).collect()
            } else {
                level.par_iter().map(|directory| self.read(directory, &filters)).collect()
            };
            let mut next = Vec::new();
            for (directory, result) in level.iter().zip(results) {
                let path = || join(self.origin, &directory.path);
                let children = result.map_err(|source| SelectError::Read { path: path(), source })?;
                found += children.len();
                let mut kept = Vec::with_capacity(children.len());
                for (mut child, pending) in children {
                    if let Some(pending) = pending {
                        child.directory = Some(planned);
                        planned += 1;
                        next.push(pending);
                    }
                    kept.push(child);
                }
                read.push(kept);
            }
            if found > ENTRIES_LIMIT {
                return Err(SelectError::TooMany { limit: ENTRIES_LIMIT });
            }
            level = next;
        }
        Ok(flatten(read))
    }

    fn filters(&self) -> Vec<Filter<'a>> {
        let ignore = self.tree.ignore.map(|rules| Filter { rules, prefix: rule_path(self.origin) });
        let exclude = self.exclude.map(|(rules, prefix)| Filter { rules, prefix });
        ignore.into_iter().chain(exclude).filter(|filter| !filter.rules.is_empty()).collect()
    }

    fn root_states(&self, filters: &[Filter<'_>]) -> [DirectoryState; 2] {
        let mut states = <[DirectoryState; 2]>::default();
        for (state, filter) in states.iter_mut().zip(filters).filter(|(_, filter)| !filter.prefix.is_empty()) {
            *state = filter.rules.descend(filter.prefix);
        }
        states
    }

    fn read(&self, directory: &Pending, filters: &[Filter<'_>]) -> io::Result<Vec<(Child, Option<Pending>)>> {
        let (fd, names) = self.tree.list(&join(self.origin, &directory.path))?;
        let child = |name: &OsString| self.child(&fd, directory, name, filters).transpose();
        if names.len() >= SPLIT_FROM {
            names.par_iter().with_min_len(SPLIT_FROM / 4).filter_map(child).collect()
        } else {
            names.iter().filter_map(child).collect()
        }
    }

    /// Looks at one name; `None` if it is left out or gone.
    fn child(
        &self,
        fd: &OwnedFd,
        parent: &Pending,
        name: &OsStr,
        filters: &[Filter<'_>],
    ) -> io::Result<Option<(Child, Option<Pending>)>> {
        let path = parent.path.join(name);
        // What is ignored for sure is not even statted, so an unreadable file in an ignored place is no error.
        let (mut is_included, mut states) = (true, [None, None]);
        for (index, filter) in filters.iter().enumerate() {
            let full = filter.path(&path);
            if filter.rules.is_file_ignored(&parent.states[index], &full) {
                let state = filter.rules.enter(&parent.states[index], &full);
                if !filter.rules.may_except_below(&full, &state) {
                    return Ok(None);
                }
                states[index] = Some(state);
                is_included = false;
            }
        }
        let Some(stat) = stat_at(fd, name)? else { return Ok(None) };
        let kind = kind_of(&stat, || read_link_at(fd, name))?;
        let is_directory = kind == EntryKind::Directory;
        if !is_included && !is_directory {
            return Ok(None);
        }
        let pending = is_directory.then(|| {
            let mut entered = <[DirectoryState; 2]>::default();
            for (index, filter) in filters.iter().enumerate() {
                let enter = || filter.rules.enter(&parent.states[index], &filter.path(&path));
                entered[index] = states[index].take().unwrap_or_else(enter);
            }
            Pending { path: path.clone(), states: entered }
        });
        let entry = self.tree.entry(path, &stat, kind, || owner::wanted_at(fd, name, &stat))?;
        Ok(Some((Child { entry, stamp: FileStamp::of(&stat), is_included, directory: None }, pending)))
    }
}

impl Filter<'_> {
    fn path<'p>(&self, relative: &'p Path) -> Cow<'p, [u8]> {
        let relative = relative.as_os_str().as_bytes();
        if self.prefix.is_empty() {
            Cow::Borrowed(relative)
        } else {
            Cow::Owned([self.prefix, b"/", relative].concat())
        }
    }
}

/// Puts the directories' children in one list, without what is left out and holds nothing.
fn flatten(read: Vec<Vec<Child>>) -> Vec<(Entry, FileStamp)> {
    // A directory is read after its parent, so from the end on children come first.
    let mut holds = vec![false; read.len()];
    for (index, children) in read.iter().enumerate().rev() {
        holds[index] = children.iter().any(|child| child.is_included || child.directory.is_some_and(|at| holds[at]));
    }
    let mut read: Vec<_> = read.into_iter().map(Vec::into_iter).collect();
    let (mut flat, mut open) = (Vec::new(), vec![0]);
    while let Some(&top) = open.last() {
        let Some(child) = read[top].next() else {
            open.pop();
            continue;
        };
        if child.is_included || child.directory.is_some_and(|at| holds[at]) {
            flat.push((child.entry, child.stamp));
            open.extend(child.directory);
        }
    }
    flat
}
