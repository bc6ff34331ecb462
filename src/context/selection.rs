//! What a COPY, ADD or bind mount selects from a tree of files.
//!
//! One walk serves both the cache key and the copying: what was digested is what is copied.

use std::ffi::OsString;
use std::path::PathBuf;

/// Everything that the sources of one COPY name in one tree, in the order of the sources.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Selection {
    /// The things named; a wildcard gives one for each match, sorted.
    pub items: Vec<Item>,
}

/// One file or directory that a source names, links in its path followed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// Real path in the source tree, starting with `/`, without links and `..`.
    pub origin: PathBuf,
    /// The last component as matched (before links were followed): the name it has in a destination directory.
    /// Empty for the root of the tree.
    pub name: OsString,
    /// With `--parents`: the directories to recreate below the destination, outermost first, with the metadata of the
    /// source's; their `path` is relative to the destination.  Empty otherwise.
    pub parents: Vec<Entry>,
    /// The thing itself (`path` empty) and, for a directory, what is in it after ignore rules and `--exclude`, parents before
    /// children, sorted by bytes; `path` is relative to `origin`.
    pub entries: Vec<Entry>,
}

/// One file, directory or other node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Where, relative (see [`Item`]).
    pub path: PathBuf,
    /// What it is.
    pub kind: EntryKind,
    /// The permission bits with setuid, setgid and sticky (12 bits).
    pub mode: u32,
    /// Owner as the tree has it; a local context's files count as 0:0.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Modification time, seconds since the epoch.
    pub mtime_seconds: i64,
    /// And nanoseconds.
    pub mtime_nanoseconds: u32,
    /// Device and inode, to find hard links; `None` where there is but one link.
    pub inode: Option<(u64, u64)>,
}

/// What a node is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EntryKind {
    /// A directory.
    Directory,
    /// A regular file.
    File {
        /// Its size.
        size_bytes: u64,
    },
    /// A symbolic link.
    Symlink {
        /// Its target as it stands.
        target: OsString,
    },
    /// A FIFO.
    Fifo,
    /// A socket; copied as an empty file.
    Socket,
    /// A character device.
    CharDevice {
        /// Device number.
        rdev: u64,
    },
    /// A block device.
    BlockDevice {
        /// Device number.
        rdev: u64,
    },
}
