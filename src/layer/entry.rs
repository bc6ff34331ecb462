//! One entry of a layer: a path and what stands there.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

/// Prefix of a whiteout's name (image-spec, layer.md, section Whiteouts).
pub(crate) const WHITEOUT_PREFIX: &[u8] = b".wh.";
/// Name of the file that makes a directory opaque (image-spec, layer.md, section Opaque Whiteout).
pub(crate) const OPAQUE_NAME: &[u8] = b".wh..wh..opq";
/// Prefix of what AUFS kept for itself; old images have such files and every unpacker skips them.
const AUFS_PREFIX: &[u8] = b".wh..wh.";

/// One entry of a tar, or of a directory tree on its way into one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Relative path without leading slash, `.` or `..`; empty for the root.
    pub path: PathBuf,
    /// What stands there.
    pub kind: Kind,
    /// Permission bits with setuid, setgid and sticky: 12 bits.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Time of the last modification.
    pub mtime: Timestamp,
    /// Extended attributes by name.
    pub xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
}

/// What stands at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// A directory.
    Directory,
    /// A regular file.
    File {
        /// Length of its content, holes included.
        size_bytes: u64,
    },
    /// A symbolic link.
    Symlink {
        /// Its target as written; never resolved outside a root.
        target: OsString,
    },
    /// Another name of a file of the same layer.
    Hardlink {
        /// The file's path, in the form of [`Entry::path`].
        target: PathBuf,
    },
    /// A character device.
    CharDevice {
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
    /// A block device.
    BlockDevice {
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
    /// A named pipe.
    Fifo,
    /// The removal of what a lower layer has at the path; `.wh.NAME` in a tar.
    Whiteout,
    /// The removal of all that lower layers have below the directory at the path; `.wh..wh..opq` in a tar.
    Opaque,
}

/// Seconds since the epoch and nanoseconds in that second.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Timestamp {
    /// Seconds, negative before 1970.
    pub seconds: i64,
    /// Nanoseconds after that second, below 10^9.
    pub nanoseconds: u32,
}

/// A name that begins as a whiteout and is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("malformed whiteout `{}`", printable(.0))]
pub struct MalformedWhiteout(pub PathBuf);

impl Entry {
    /// Returns an entry owned by root, without xattrs, of time 0.
    pub fn new(path: impl Into<PathBuf>, kind: Kind, mode: u32) -> Entry {
        let mtime = Timestamp::default();
        Entry { path: path.into(), kind, mode, uid: 0, gid: 0, mtime, xattrs: BTreeMap::new() }
    }

    /// Reads the entry's name as a layer's: whiteout files become [`Kind::Whiteout`] and [`Kind::Opaque`], with the
    /// path that they are about; `None` for the leftovers of AUFS.
    ///
    /// A whiteout of nothing, of `.` or of `..`, and anything below a whiteout, is refused: unpackers disagree about
    /// them (umoci took `.wh.` for an opaque mark).
    pub fn into_layer_form(mut self) -> Result<Option<Entry>, MalformedWhiteout> {
        let bytes = self.path.as_os_str().as_bytes();
        if !bytes.windows(WHITEOUT_PREFIX.len()).any(|window| window == WHITEOUT_PREFIX) {
            return Ok(Some(self));
        }
        let mut names = self.path.iter().map(OsStrExt::as_bytes);
        let last = names.next_back().unwrap_or_default();
        for name in names {
            if name.starts_with(AUFS_PREFIX) {
                return Ok(None);
            }
            if name.starts_with(WHITEOUT_PREFIX) {
                return Err(MalformedWhiteout(self.path));
            }
        }
        let parent = self.path.parent().unwrap_or(Path::new(""));
        let (path, kind) = match last.strip_prefix(WHITEOUT_PREFIX) {
            None => return Ok(Some(self)),
            Some(_) if last == OPAQUE_NAME => (parent.to_owned(), Kind::Opaque),
            Some(_) if last.starts_with(AUFS_PREFIX) => return Ok(None),
            Some(b"" | b"." | b"..") => return Err(MalformedWhiteout(self.path)),
            Some(name) => (parent.join(OsStr::from_bytes(name)), Kind::Whiteout),
        };
        self.path = path;
        self.kind = kind;
        Ok(Some(self))
    }

    /// Returns the path as a layer's tar has it: whiteouts under their file names.
    pub(crate) fn tar_path(&self) -> PathBuf {
        match self.kind {
            Kind::Opaque => self.path.join(OsStr::from_bytes(OPAQUE_NAME)),
            Kind::Whiteout => {
                let name = self.path.file_name().unwrap_or_default().as_bytes();
                self.path.with_file_name(OsString::from_vec([WHITEOUT_PREFIX, name].concat()))
            }
            _ => self.path.clone(),
        }
    }
}

/// Returns the path without leading slash, `.`, `..` and doubled slashes, by the text alone.
///
/// `..` stops at the root, as in Go's `filepath.Clean` of a rooted path, which is what Docker and containerd apply
/// to the names in a layer.
pub(crate) fn clean(path: &[u8]) -> PathBuf {
    let mut names: Vec<&[u8]> = Vec::new();
    for name in path.split(|byte| *byte == b'/') {
        match name {
            b"" | b"." => {}
            b".." => {
                names.pop();
            }
            name => names.push(name),
        }
    }
    PathBuf::from(OsString::from_vec(names.join(&b'/')))
}

/// A path for a message: what a terminal would obey is escaped.
pub(crate) fn printable(path: &Path) -> String {
    path.to_string_lossy().escape_debug().collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn file(path: &str) -> Entry {
        Entry::new(path, Kind::File { size_bytes: 0 }, 0o644)
    }

    #[test]
    fn paths_are_cleaned_and_stay_inside() {
        for (path, cleaned) in [
            ("../x", "x"),
            ("a/../../x", "x"),
            ("/etc//passwd", "etc/passwd"),
            ("./..//x", "x"),
            ("./", ""),
            ("", ""),
            ("a\\..\\b", "a\\..\\b"),
        ] {
            assert_eq!(clean(path.as_bytes()), Path::new(cleaned), "{path}");
        }
    }

    #[test]
    fn whiteouts_are_read_by_name() {
        let read = |path| file(path).into_layer_form().map(|e| e.map(|e| (e.path.display().to_string(), e.kind)));
        assert_eq!(read("a/.wh.b"), Ok(Some(("a/b".into(), Kind::Whiteout))));
        assert_eq!(read(".wh..wh..opq"), Ok(Some(("".into(), Kind::Opaque))));
        assert_eq!(read("a/.wh..wh..opq"), Ok(Some(("a".into(), Kind::Opaque))));
        assert_eq!(read(".wh..wh.plnk/1.2"), Ok(None));
        assert_eq!(read("x.wh.y"), Ok(Some(("x.wh.y".into(), Kind::File { size_bytes: 0 }))));
        for bad in [".wh.", "a/.wh..", ".wh...", ".wh.a/b"] {
            assert_eq!(read(bad), Err(MalformedWhiteout(bad.into())), "{bad}");
        }
    }

    #[test]
    fn the_names_of_whiteouts_come_back() {
        for path in ["a/.wh.b", ".wh..wh..opq", "a/.wh..wh..opq", "a/b"] {
            let entry = file(path).into_layer_form().unwrap().unwrap();
            assert_eq!(entry.tar_path(), Path::new(path));
        }
    }
}
