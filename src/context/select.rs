//! Which files the sources of a COPY, an ADD or a bind mount name.
//!
//! As BuildKit does it: wildcards go component by component, a link that is named is followed inside the root and one
//! that is found in a directory is kept, what ignore rules leave out is not found.  Only what a source names is read: a
//! `COPY a /a` never looks at the rest of the context.

mod parents;
mod resolve;
mod walk;

pub use walk::ENTRIES_LIMIT;

use super::clean::clean;
use super::glob::{go_match, has_wildcards};
use super::ignore::{IgnoreRules, PatternError, Verdict};
use super::selection::{Entry, Item, Selection};
use super::tree::{FileStamp, Tree, rule_path};
use crate::diag::{Diagnostic, Exit};
use resolve::{Node, entry_of, hidden, resolve};
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use walk::Walk;

/// How sources are understood.
#[derive(Debug, Clone, Copy, Default)]
pub struct SelectOptions<'a> {
    /// `--parents`: keep the directories behind the `/./`, `**` works.
    pub parents: bool,
    /// `--exclude`: counts from the directory that is copied.
    pub exclude: Option<&'a IgnoreRules>,
}

/// A selection together with what the stat cache needs to know of its files.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Selected {
    /// What is selected.
    pub selection: Selection,
    /// For each item a stamp for each of its entries.
    pub stamps: Vec<Vec<FileStamp>>,
    /// The sources with wildcards that matched nothing; by itself no error.
    pub unmatched: Vec<Unmatched>,
}

/// A source with wildcards that matched nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unmatched {
    /// The source as written.
    pub pattern: String,
    /// The directory that its first wildcard was looked for in, links resolved; the root with `--parents`.
    pub directory: PathBuf,
}

/// Why nothing is there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Missing {
    /// The rule, if the path is on disk and an ignore rule took it out.
    pub exists_but_ignored_by: Option<Verdict>,
    /// A path that may have been meant.
    pub nearest: Option<String>,
}

/// Why a source selects nothing.
#[derive(Debug, thiserror::Error)]
pub enum SelectError {
    /// A source without wildcards that is not there.
    #[error("{:?}: not found{}", pattern, reason(missing))]
    Missing {
        /// The source as a path from the root of the tree.
        pattern: String,
        /// Why.
        missing: Missing,
    },
    /// A source whose wildcards are not well formed.
    #[error("syntax error in pattern `{pattern}`")]
    BadPattern {
        /// The source.
        pattern: String,
    },
    /// A source of `--parents` that names the directory to start in and nothing below it.
    #[error("`{pattern}` has no parent directories that `--parents` could keep")]
    NoParents {
        /// The source.
        pattern: String,
    },
    /// A source of `--parents` that is not well formed.
    #[error(transparent)]
    BadParentsPattern(#[from] PatternError),
    /// More files than one step may have.
    #[error("more than {limit} files are selected")]
    TooMany {
        /// The limit.
        limit: usize,
    },
    /// The file system failed.
    #[error("read `{}` in the source tree", path.display())]
    Read {
        /// Path from the root of the tree.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl SelectError {
    /// Returns what to tell the user; the caller knows the place in the Dockerfile.
    pub fn to_diagnostic(&self) -> Diagnostic {
        let (pattern, missing) = match self {
            SelectError::Missing { pattern, missing } => (pattern, missing),
            SelectError::NoParents { .. } => {
                return Diagnostic::from_error(Exit::Usage, self)
                    .hint("leave out `--parents`, or say what of the directory is copied, e.g. `./*`");
            }
            _ => return Diagnostic::from_error(Exit::Step, self),
        };
        let diagnostic = Diagnostic::error(Exit::Usage, format!("{pattern:?}: not found"));
        match (&missing.exists_but_ignored_by, &missing.nearest) {
            (Some(verdict), _) => diagnostic.label(excluded_by(verdict)).hint(format!(
                "add `!{}` after line {} of `{}`, or remove the pattern",
                pattern.trim_start_matches('/'),
                verdict.line,
                verdict.file
            )),
            (None, Some(nearest)) => diagnostic.hint(format!("did you mean `{nearest}`?")),
            (None, None) => diagnostic,
        }
    }
}

fn reason(missing: &Missing) -> String {
    match (&missing.exists_but_ignored_by, &missing.nearest) {
        (Some(verdict), _) => format!(", {}", excluded_by(verdict)),
        (None, Some(nearest)) => format!(", did you mean `{nearest}`"),
        (None, None) => String::new(),
    }
}

fn excluded_by(verdict: &Verdict) -> String {
    format!("excluded by {}:{} `{}`", verdict.file, verdict.line, verdict.pattern)
}

/// Selects what the sources of one COPY or ADD name, in their order.
///
/// # Errors
///
/// [`SelectError::Missing`] for a source without wildcards (or the part before them) that is not there.
pub fn select(
    tree: Tree<'_>,
    patterns: &[impl AsRef<OsStr>],
    options: SelectOptions<'_>,
) -> Result<Selected, SelectError> {
    let mut selected = Selected::default();
    for pattern in patterns {
        let before = selected.selection.items.len();
        let pattern = pattern.as_ref().as_bytes();
        if options.parents {
            parents::select(&tree, pattern, options.exclude, &mut selected)?;
        } else {
            for (name, node) in named(&tree, &absolute(pattern))? {
                selected.add_tree(&tree, &name, &node, options.exclude)?;
            }
        }
        if selected.selection.items.len() == before {
            let directory = if options.parents { PathBuf::from("/") } else { searched(&tree, &absolute(pattern))? };
            selected.unmatched.push(Unmatched { pattern: text(pattern), directory });
        }
    }
    Ok(selected)
}

/// Selects one path and everything below it, for a bind mount.
pub fn select_path(tree: Tree<'_>, path: &Path) -> Result<Selected, SelectError> {
    let path = absolute(path.as_os_str().as_bytes());
    let node =
        resolve(&tree, &path, true)?.map_err(|missing| SelectError::Missing { pattern: text(&path), missing })?;
    let mut selected = Selected::default();
    selected.add_tree(&tree, &base_name(&path), &node, None)?;
    Ok(selected)
}

impl Selected {
    /// Adds a node and, for a directory, what is in it.
    fn add_tree(
        &mut self,
        tree: &Tree<'_>,
        name: &OsStr,
        node: &Node,
        exclude: Option<&IgnoreRules>,
    ) -> Result<(), SelectError> {
        let mut entries = vec![entry_of(tree, node, PathBuf::new())?];
        if node.is_directory() {
            let exclude = exclude.map(|rules| (rules, b"".as_slice()));
            entries.extend(Walk { tree, origin: &node.path, exclude }.run()?);
        }
        self.add(node.path.clone(), name.to_owned(), Vec::new(), entries);
        Ok(())
    }

    fn add(&mut self, origin: PathBuf, name: OsString, parents: Vec<Entry>, entries: Vec<(Entry, FileStamp)>) {
        let (entries, stamps) = entries.into_iter().unzip();
        self.selection.items.push(Item { origin, name, parents, entries });
        self.stamps.push(stamps);
    }
}

/// Returns the nodes that a cleaned source names, each with the name it was matched by.
fn named(tree: &Tree<'_>, source: &[u8]) -> Result<Vec<(OsString, Node)>, SelectError> {
    let missing = |path: &[u8]| {
        let pattern = text(path);
        move |missing| SelectError::Missing { pattern, missing }
    };
    let parts: Vec<&[u8]> = source.split(|byte| *byte == b'/').filter(|part| !part.is_empty()).collect();
    let Some(wild) = parts.iter().position(|part| has_wildcards(part)) else {
        let node = resolve(tree, source, true)?.map_err(missing(source))?;
        return Ok(vec![(base_name(source), node)]);
    };
    for part in &parts[wild..] {
        go_match(part, "").map_err(|_| SelectError::BadPattern { pattern: text(source) })?;
    }
    let base = resolve(tree, &parts[..wild].join(&b'/'), true)?.map_err(missing(source))?;
    let mut nodes = Vec::new();
    for path in expand(tree, base, &parts[wild..])? {
        let followed = resolve(tree, rule_path(&path), true)?.map_err(missing(path.as_os_str().as_bytes()))?;
        nodes.push((path.file_name().unwrap_or_default().to_owned(), followed));
    }
    Ok(nodes)
}

/// Returns the directory that the first wildcard of a cleaned source is looked for in.
fn searched(tree: &Tree<'_>, source: &[u8]) -> Result<PathBuf, SelectError> {
    let parts = source.split(|byte| *byte == b'/').take_while(|part| !has_wildcards(part));
    let base = parts.collect::<Vec<_>>().join(&b'/');
    Ok(resolve(tree, &base, true)?.map_or_else(|_| PathBuf::from("/"), |node| node.path))
}

/// Matches the components from the first with a wildcard on; links on the way are not followed.
fn expand(tree: &Tree<'_>, base: Node, parts: &[&[u8]]) -> Result<Vec<PathBuf>, SelectError> {
    let mut level = if base.is_directory() { vec![base.path] } else { Vec::new() };
    for (index, part) in parts.iter().enumerate() {
        let is_last = index + 1 == parts.len();
        let mut next = Vec::new();
        for directory in &level {
            let read = |source| SelectError::Read { path: directory.clone(), source };
            let (fd, names) = tree.list(directory).map_err(read)?;
            for name in names.iter().filter(|name| go_match(part, name.as_bytes()) == Ok(true)) {
                let path = directory.join(name);
                let Some(stat) = super::tree::stat_at(&fd, name).map_err(read)? else { continue };
                let node = Node { path, stat };
                if (is_last || node.is_directory()) && hidden(tree, &node.path, &node.stat)?.is_none() {
                    next.push(node.path);
                }
            }
        }
        level = next;
    }
    Ok(level)
}

/// Makes a source absolute and clean; `..` stops at the root.
fn absolute(source: &[u8]) -> Vec<u8> {
    clean(&[b"/", source].concat())
}

fn base_name(path: &[u8]) -> OsString {
    Path::new(OsStr::from_bytes(path)).file_name().unwrap_or_default().to_owned()
}

fn text(path: &[u8]) -> String {
    String::from_utf8_lossy(path).into_owned()
}

#[cfg(test)]
mod tests;
