//! Paths of a tree with links followed, as far as the ignore rules let them be seen.

use super::walk::Walk;
use super::{Missing, SelectError};
use crate::context::selection::{Entry, EntryKind};
use crate::context::tree::{FileStamp, Tree, rule_path};
use crate::sys::owner;
use rustix::fs::{FileType, Mode, OFlags, Stat};
use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Most links followed on one path, as in the kernel.
const LINKS_LIMIT: usize = 40;

/// A node of the tree.
pub(super) struct Node {
    /// Its real path, starting with `/`.
    pub(super) path: PathBuf,
    pub(super) stat: Stat,
}

impl Node {
    pub(super) fn is_directory(&self) -> bool {
        self.file_type() == FileType::Directory
    }

    pub(super) fn file_type(&self) -> FileType {
        FileType::from_raw_mode(self.stat.st_mode)
    }
}

/// Resolves a cleaned path, links followed inside the root; `Err(Ok(..))` says why nothing is there.
///
/// Step by step rather than by one openat2: each link on the way must be there for the build too, and the real path is
/// what the rules count from.  Whatever is done with the result goes through the root once more, so a race gains nothing.
pub(super) fn resolve(tree: &Tree<'_>, path: &[u8], follow_last: bool) -> Result<Result<Node, Missing>, SelectError> {
    let read = |path: &Path, source| SelectError::Read { path: path.to_owned(), source };
    let mut at = PathBuf::from("/");
    let mut stat = stat_root(tree)?;
    let mut rest: VecDeque<OsString> = components(path);
    let mut links = 0;
    while let Some(name) = rest.pop_front() {
        if name == ".." {
            at.pop();
            stat = tree.root.stat(&at, false).map_err(|error| read(&at, error))?.ok_or_else(|| gone(&at))?;
            continue;
        }
        if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
            return Ok(Err(Missing::default()));
        }
        let next = at.join(&name);
        let Some(found) = tree.root.stat(&next, false).map_err(|error| read(&next, error))? else {
            return Ok(Err(Missing { nearest: nearest(tree, &at, &name), ..Missing::default() }));
        };
        let is_followed = follow_last || !rest.is_empty();
        if FileType::from_raw_mode(found.st_mode) == FileType::Symlink && is_followed {
            links += 1;
            if links > LINKS_LIMIT {
                return Err(read(&next, rustix::io::Errno::LOOP.into()));
            }
            if let Some(missing) = hidden(tree, &next, &found)? {
                return Ok(Err(missing));
            }
            let target = tree.root.read_link(&next).map_err(|error| read(&next, error))?;
            if target.as_bytes().starts_with(b"/") {
                at = PathBuf::from("/");
                stat = stat_root(tree)?;
            }
            for name in components(target.as_bytes()).into_iter().rev() {
                rest.push_front(name);
            }
            continue;
        }
        (at, stat) = (next, found);
    }
    Ok(match hidden(tree, &at, &stat)? {
        Some(missing) => Err(missing),
        None => Ok(Node { path: at, stat }),
    })
}

/// Returns why a node that is on disk is not there for the build, if it is not.
pub(super) fn hidden(tree: &Tree<'_>, path: &Path, stat: &Stat) -> Result<Option<Missing>, SelectError> {
    let Some(rules) = tree.ignore else { return Ok(None) };
    let relative = rule_path(path);
    let state = rules.descend(relative);
    if relative.is_empty() || !state.is_ignored() {
        return Ok(None);
    }
    let is_directory = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
    if is_directory && rules.may_except_below(relative, &state) {
        let walk = Walk { tree, origin: path, exclude: None };
        if !walk.run()?.is_empty() {
            return Ok(None);
        }
    }
    Ok(Some(Missing { exists_but_ignored_by: rules.verdict_of(&state), nearest: None }))
}

/// Makes the entry of a node, with a path of its own.
pub(super) fn entry_of(tree: &Tree<'_>, node: &Node, path: PathBuf) -> Result<(Entry, FileStamp), SelectError> {
    let kind: EntryKind = crate::context::tree::kind_of(&node.stat, || tree.root.read_link(&node.path))
        .map_err(|source| SelectError::Read { path: node.path.clone(), source })?;
    let recorded = || {
        let flags = OFlags::PATH | OFlags::NOFOLLOW;
        owner::wanted(&node.stat, || tree.root.open_at(&node.path, flags, Mode::empty()))
    };
    let entry = tree.entry(path, &node.stat, kind, recorded);
    let entry = entry.map_err(|source| SelectError::Read { path: node.path.clone(), source })?;
    Ok((entry, FileStamp::of(&node.stat)))
}

fn stat_root(tree: &Tree<'_>) -> Result<Stat, SelectError> {
    let root = Path::new("/");
    let error = |source| SelectError::Read { path: root.to_owned(), source };
    tree.root.stat(root, true).map_err(error)?.ok_or_else(|| gone(root))
}

fn gone(path: &Path) -> SelectError {
    SelectError::Read { path: path.to_owned(), source: std::io::ErrorKind::NotFound.into() }
}

/// The components of a path without `.`; `..` of a link's target is kept.
fn components(path: &[u8]) -> VecDeque<OsString> {
    let parts = path.split(|byte| *byte == b'/').filter(|part| !part.is_empty() && *part != b".");
    parts.map(|part| OsStr::from_bytes(part).to_owned()).collect()
}

/// Returns the name in a directory that is most like the one not found, as a path of the tree.
fn nearest(tree: &Tree<'_>, directory: &Path, name: &OsStr) -> Option<String> {
    let (_, names) = tree.list(directory).ok()?;
    let names: Vec<_> = names.iter().filter_map(|name| name.to_str()).collect();
    let found = crate::diag::nearest(name.to_str()?, names)?;
    let path = directory.join(found);
    let is_visible = !tree.state_of(rule_path(&path)).is_ignored();
    is_visible.then(|| String::from_utf8_lossy(rule_path(&path)).into_owned())
}
