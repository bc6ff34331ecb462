//! `COPY --parents`: sources whose directories come along.
//!
//! What stands before the first `/./` names the directory to start in (wildcards as always, links followed); the rest is
//! matched below it as an ignore pattern would be, `**` included and without following links.

use super::resolve::{Node, entry_of, resolve};
use super::walk::Walk;
use super::{SelectError, Selected, absolute, base_name, named, text};
use crate::context::glob::has_wildcards;
use crate::context::ignore::{DirectoryState, IgnoreRules};
use crate::context::selection::Entry;
use crate::context::tree::{Tree, join, rule_path, stat_at};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Adds what one source selects.
pub(super) fn select(
    tree: &Tree<'_>,
    source: &[u8],
    exclude: Option<&IgnoreRules>,
    selected: &mut Selected,
) -> Result<(), SelectError> {
    let pivot = source.windows(3).position(|window| window == b"/./");
    let (start, below) = pivot.map_or((b"/".as_slice(), source), |at| (&source[..at], &source[at + 3..]));
    let (start, below) = (absolute(start), absolute(below)[1..].to_vec());
    if below.is_empty() {
        return Err(SelectError::NoParents { pattern: text(source) });
    }
    let before = selected.selection.items.len();
    for (_, node) in named(tree, &start)? {
        // A wildcard in front of the pivot may match files too; there is nothing below them.
        if !node.is_directory() {
            continue;
        }
        let include = IgnoreRules::from_patterns(&[text(&below)])?;
        Search { tree, pivot: &node.path, include: &include, exclude, selected }.run()?;
    }
    let is_required = !has_wildcards(&start) && !has_wildcards(&below);
    if is_required && selected.selection.items.len() == before {
        let path = [start.as_slice(), b"/", &below].concat();
        let missing = resolve(tree, &path, false)?.err().unwrap_or_default();
        return Err(SelectError::Missing { pattern: text(&absolute(&path)), missing });
    }
    Ok(())
}

/// The search for what matches below a pivot.
struct Search<'a> {
    tree: &'a Tree<'a>,
    pivot: &'a Path,
    include: &'a IgnoreRules,
    exclude: Option<&'a IgnoreRules>,
    selected: &'a mut Selected,
}

impl Search<'_> {
    /// Goes through the directories that may hold matches; a match is an item with all that is below it.
    fn run(&mut self) -> Result<(), SelectError> {
        let mut open = vec![PathBuf::new()];
        while let Some(directory) = open.pop() {
            let path = join(self.pivot, &directory);
            let read = |source| SelectError::Read { path: path.clone(), source };
            let (fd, names) = self.tree.list(&path).map_err(read)?;
            let include = self.include.descend(directory.as_os_str().as_bytes());
            let mut deeper = Vec::new();
            for name in names {
                let relative = directory.join(&name);
                let bytes = relative.as_os_str().as_bytes();
                let is_match = self.include.is_file_ignored(&include, bytes);
                if !is_match && !self.include.may_match_below(bytes) {
                    continue;
                }
                let Some(stat) = stat_at(&fd, &name).map_err(read)? else { continue };
                let node = Node { path: path.join(&name), stat };
                if is_match {
                    self.add(&relative, &node)?;
                } else if node.is_directory() && self.is_open(&node.path, bytes) {
                    deeper.push(relative);
                }
            }
            open.extend(deeper.into_iter().rev());
        }
        Ok(())
    }
}

impl Search<'_> {
    /// Adds a match with its parents, unless ignore rules or `--exclude` leave nothing of it.
    fn add(&mut self, relative: &Path, node: &Node) -> Result<(), SelectError> {
        let bytes = relative.as_os_str().as_bytes();
        if super::hidden(self.tree, &node.path, &node.stat)?.is_some() {
            return Ok(());
        }
        let state = self.exclude_state(bytes);
        let mut below = Vec::new();
        if node.is_directory() && self.is_open(&node.path, bytes) {
            let exclude = self.exclude.map(|rules| (rules, bytes));
            below = Walk { tree: self.tree, origin: &node.path, exclude }.run()?;
        }
        if state.is_ignored() && below.is_empty() {
            return Ok(());
        }
        let mut entries = vec![entry_of(self.tree, node, PathBuf::new())?];
        entries.extend(below);
        let parents = self.parents_of(relative)?;
        self.selected.add(node.path.clone(), base_name(bytes), parents, entries);
        Ok(())
    }

    /// Returns the directories between the pivot and a match, outermost first.
    fn parents_of(&self, relative: &Path) -> Result<Vec<Entry>, SelectError> {
        let mut parents = Vec::new();
        for parent in relative.ancestors().skip(1).filter(|parent| !parent.as_os_str().is_empty()) {
            let path = self.pivot.join(parent);
            if let Some(stat) =
                self.tree.root.stat(&path, false).map_err(|source| SelectError::Read { path: path.clone(), source })?
            {
                parents.push(entry_of(self.tree, &Node { path, stat }, parent.to_owned())?.0);
            }
        }
        parents.reverse();
        Ok(parents)
    }

    fn exclude_state(&self, relative: &[u8]) -> DirectoryState {
        self.exclude.map(|rules| rules.descend(relative)).unwrap_or_default()
    }

    /// Returns whether something below a directory may be left by ignore rules and `--exclude`.
    fn is_open(&self, path: &Path, relative: &[u8]) -> bool {
        let is_open = |rules: Option<&IgnoreRules>, state: DirectoryState, path: &[u8]| {
            !state.is_ignored() || rules.is_some_and(|rules| rules.may_except_below(path, &state))
        };
        let in_context = rule_path(path);
        is_open(self.tree.ignore, self.tree.state_of(in_context), in_context)
            && is_open(self.exclude, self.exclude_state(relative), relative)
    }
}
