//! Writes what a COPY or ADD has selected into a root file system.
//!
//! The rules are those of BuildKit: a directory gives its contents, a file goes to the destination or into it if that
//! is a directory, and what has to be made on the way takes `--chown` and `--chmod`.  The destination is resolved
//! through links inside the root; below it no link is ever followed.
//!
//! One selection is written item by item, in order, because a later source may overwrite an earlier one.  Within an
//! item every path is written once, so its files are written by several threads.

mod archive;
mod download;
mod file;
mod node;
mod place;
mod target;
mod tree;

#[cfg(test)]
mod archive_tests;
#[cfg(test)]
mod measure;
#[cfg(test)]
mod overlay_tests;
#[cfg(test)]
mod race_tests;
#[cfg(test)]
mod select_tests;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod testtree;

pub use archive::{AddError, apply_add, unpack_file};
pub use download::download_name;
pub use file::{FileMetadata, place_bytes, place_file};
pub(crate) use node::timestamps;
pub use target::{Created, make_directories, resolve};

use crate::context::selection::Selection;
use crate::exec::mode::ModeSpec;
use crate::sys::Root;
use std::io;
use std::path::PathBuf;

/// Where and how a selection is written.
#[derive(Debug, Clone, Default)]
pub struct Placement {
    /// Absolute path in the root; with `/` or `/.` at its end it is a directory.
    pub destination: String,
    /// `--chown`, looked up: user and group of everything copied and made.
    pub chown: Option<(u32, u32)>,
    /// `--chmod`: mode of everything copied and (octal only) made.
    pub chmod: Option<ModeSpec>,
    /// `--parents`: items keep the directories in front of them, and a directory is copied as itself, not its contents.
    pub parents: bool,
    /// Whether files keep the owner they have in the source (stages, images, archives); otherwise they are 0:0.
    /// File capabilities are kept under the same condition.
    pub keep_owner: bool,
    /// Whether the source can change while it is read (a local context): size and time of every file must then be
    /// those that were selected, or bytes would be filed under a key that is not theirs.
    pub verify_unchanged: bool,
    /// Modification time of directories and files that are made rather than copied, seconds; the clock's by default.
    pub epoch: Option<i64>,
}

/// What was written.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CopyStats {
    /// Regular files, hard links not counted.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Directories that were made.
    pub directories: u64,
    /// Links, hard links, devices, FIFOs.
    pub others: u64,
    /// Entries of unpacked archives; their bytes are in [`CopyStats::bytes`].
    pub unpacked: u64,
    /// Device nodes that this process may not make and that were left out.
    pub skipped_devices: Vec<PathBuf>,
    /// Owners that this process may not give: they have to be recorded beside the tree.  Sorted by path.
    pub owners: Vec<WantedOwner>,
}

/// An owner that a file should have and that the kernel did not let this process set.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct WantedOwner {
    /// Real path below the root, starting with `/`.
    pub path: PathBuf,
    /// User.
    pub uid: u32,
    /// Group.
    pub gid: u32,
}

/// Why a copy failed; paths are those of the source tree or of the root, starting with `/`.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// A directory was to be copied where something else stands.
    #[error("cannot copy to non-directory: `{path}`")]
    NotADirectory {
        /// What stands in the way.
        path: PathBuf,
    },
    /// A directory was to be made where something else stands.
    #[error("cannot make directory `{path}`: it is there and not a directory")]
    Blocked {
        /// What stands in the way.
        path: PathBuf,
    },
    /// A file was to be written where a directory stands.
    #[error("cannot replace directory `{path}` with a file")]
    IsADirectory {
        /// The directory.
        path: PathBuf,
    },
    /// The source is not what was selected any more.
    #[error("`{path}` changed while it was copied")]
    Changed {
        /// Path in the source tree.
        path: PathBuf,
    },
    /// The source could not be read.
    #[error("cannot read `{path}`")]
    Read {
        /// Path in the source tree.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The root could not be written.
    #[error("cannot write `{path}`")]
    Write {
        /// Path in the root.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl CopyError {
    fn write(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> CopyError {
        let path = path.into();
        move |source| CopyError::Write { path, source }
    }
}

/// Writes a selection of `source` into the root `dest`.
///
/// An empty selection (a wildcard without a match) writes nothing, not even the destination's parents, but with
/// [`Placement::parents`] the destination is made.  With `--link`
/// the root is an empty directory that becomes a layer of its own; nothing else differs.  On an error the root holds a
/// part of the selection and must be thrown away.
pub fn apply(selection: &Selection, source: &Root, dest: &Root, placement: &Placement) -> Result<CopyStats, CopyError> {
    place::Writer::new(source, dest, placement).write(selection)
}
