//! Puts a layer on top of a merged tree: what overlayfs would show of the two.

use super::Sharing;
use super::node::{Nodes, open_directory, set_metadata};
use crate::layer::is_whiteout;
use crate::sys::overlay::OverlayForm;
use crate::sys::{Root, owner, read_directory, read_xattr, remove_tree};
use rustix::fs::{AtFlags, FileType, Mode};
use rustix::io::Errno;
use std::collections::HashMap;
use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

/// Deepest directory of a layer; each level holds two descriptors.
const DEPTH_LIMIT: usize = 400;

/// Merges `layer` into `target`.
///
/// `widened` takes the directories that got more permissions than they have in the layer, with the mode they have there.
pub(super) fn apply(
    layer: &Root,
    target: &Root,
    sharing: Sharing,
    form: OverlayForm,
    widened: &mut Widened,
) -> io::Result<()> {
    let from = open_directory(layer.as_fd(), OsStr::new("."))?;
    let to = open_directory(target.as_fd(), OsStr::new("."))?;
    let mut merge = Merge { nodes: Nodes::new(target, sharing), form, widened, path: PathBuf::new(), depth: 0 };
    if merge.is_opaque(&from)? {
        clear(&to)?;
    }
    merge.directory(&from, &to)
}

/// Modes of directories, by their path below the root.
pub(super) type Widened = HashMap<PathBuf, u32>;

/// What an owner without privileges needs of a directory to make entries in it.
const OWNER_BITS: u32 = 0o700;

struct Merge<'a> {
    nodes: Nodes<'a>,
    form: OverlayForm,
    widened: &'a mut Widened,
    path: PathBuf,
    depth: usize,
}

impl Merge<'_> {
    fn directory(&mut self, from: &OwnedFd, to: &OwnedFd) -> io::Result<()> {
        if self.depth >= DEPTH_LIMIT {
            return Err(Errno::NAMETOOLONG.into());
        }
        self.depth += 1;
        for entry in read_directory(from)? {
            self.path.push(&entry.name);
            let merged = self.entry(from.as_fd(), to.as_fd(), &entry.name);
            merged.map_err(|error| at(&self.path, &error))?;
            self.path.pop();
        }
        self.depth -= 1;
        let stat = rustix::fs::fstat(from)?;
        set_metadata(from, to, &stat)?;
        let mode = stat.st_mode & 0o7777;
        if mode & OWNER_BITS != OWNER_BITS && owner::is_aside() {
            rustix::fs::fchmod(to, Mode::from_raw_mode(mode | OWNER_BITS))?;
            self.widened.insert(self.path.clone(), mode);
        } else {
            self.widened.remove(&self.path);
        }
        Ok(())
    }

    fn entry(&mut self, from: BorrowedFd<'_>, to: BorrowedFd<'_>, name: &OsStr) -> io::Result<()> {
        let stat = rustix::fs::statat(from, name, AtFlags::SYMLINK_NOFOLLOW)?;
        if is_whiteout(from, name, &stat) {
            return remove_tree(to, name);
        }
        if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
            remove_tree(to, name)?;
            return self.nodes.put(from, to, name, &stat, &self.path);
        }
        let from = open_directory(from, name)?;
        let to = self.target_directory(&from, to, name)?;
        self.directory(&from, &to)
    }

    /// The directory to merge into: the one that is there, unless the layer hides it, or a new one.
    fn target_directory(&self, from: &OwnedFd, to: BorrowedFd<'_>, name: &OsStr) -> io::Result<OwnedFd> {
        let is_directory = match rustix::fs::statat(to, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => FileType::from_raw_mode(stat.st_mode) == FileType::Directory,
            Err(Errno::NOENT) => false,
            Err(error) => return Err(error.into()),
        };
        if !is_directory || self.is_opaque(from)? {
            remove_tree(to, name)?;
            rustix::fs::mkdirat(to, name, Mode::RWXU)?;
        }
        let directory = open_directory(to, name)?;
        // Its final mode comes when all is in it.
        rustix::fs::fchmod(&directory, Mode::from_raw_mode(OWNER_BITS))?;
        Ok(directory)
    }

    fn is_opaque(&self, directory: &OwnedFd) -> io::Result<bool> {
        Ok(read_xattr(directory, self.form.opaque_xattr())?.as_deref() == Some(b"y"))
    }
}

fn clear(directory: &OwnedFd) -> io::Result<()> {
    read_directory(directory)?.iter().try_for_each(|entry| remove_tree(directory, &entry.name))
}

/// Names the path that an operation failed at, once.
pub(super) fn at(path: &Path, error: &io::Error) -> io::Error {
    match error.get_ref() {
        Some(_) => io::Error::new(error.kind(), error.to_string()),
        None => io::Error::new(error.kind(), format!("`{}`: {error}", path.display())),
    }
}
