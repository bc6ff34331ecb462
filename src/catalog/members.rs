//! The files of an image archive, whatever their order in it, or of a layout's directory.
//!
//! An archive may come through a pipe, and what its files are is told by one that may be the last: so each is put
//! below `tmp/` of the store as it comes, digested on the way.

use crate::diag::{Diagnostic, Exit};
use crate::exec::store_failure;
use crate::image::{Digest, Sha256Writer};
use crate::layer::{Kind, Limits, TarReader, decompress};
use crate::store::Store;
use crate::sys::Root;
use rustix::fs::{Mode, OFlags};
use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Component, Path, PathBuf};

/// Most files of an archive.
const MEMBER_LIMIT: u64 = 100_000;
/// Largest JSON document of an archive.
pub const DOCUMENT_LIMIT_BYTES: u64 = 8 << 20;
/// Most links that lead from one to the next.
const LINK_LIMIT: usize = 8;
/// The documents by which an archive is understood: one that is too large is refused before it is read.
const DOCUMENTS: [&str; 4] = ["index.json", "manifest.json", "oci-layout", "repositories"];

/// A file taken out of an archive.
pub struct Member {
    /// Where it is now.
    pub path: tempfile::TempPath,
    /// Its digest.
    pub digest: Digest,
    /// Its size in bytes.
    pub size_bytes: u64,
}

/// The files of an archive or a directory.
pub enum Members<'a> {
    /// An archive's, below `tmp/` of the store.
    Spooled {
        /// By path.
        files: HashMap<PathBuf, Member>,
        /// Old archives have links where two images share a layer.
        links: HashMap<PathBuf, PathBuf>,
    },
    /// A directory's.
    Directory {
        /// Where copies go.
        store: &'a Store,
        /// The directory.
        root: Root,
    },
}

impl<'a> Members<'a> {
    /// Reads an archive, compressed or not.
    pub fn of_tar(store: &'a Store, input: impl Read + Send) -> Result<Members<'a>, Diagnostic> {
        let failed = |error: &dyn std::error::Error| {
            let mut diagnostic = Diagnostic::from_error(Exit::Usage, error);
            diagnostic.notes.insert(0, std::mem::replace(&mut diagnostic.message, "cannot read the archive".into()));
            diagnostic
        };
        let input = decompress(input).map_err(|error| failed(&error))?;
        let mut tar = TarReader::new(input, Limits { entries: MEMBER_LIMIT, ..Limits::default() });
        let (mut files, mut links) = (HashMap::new(), HashMap::new());
        while let Some(entry) = tar.next().map_err(|error| failed(&error))? {
            match entry.kind {
                Kind::File { size_bytes } => {
                    check_entry(&entry.path, size_bytes, tar.is_sparse())?;
                    let member = spool(store, &mut tar)?;
                    files.insert(entry.path, member);
                }
                Kind::Symlink { target } => {
                    let base = entry.path.parent().unwrap_or(Path::new("")).to_owned();
                    links.extend(normal(&base, Path::new(&target)).map(|target| (entry.path, target)));
                }
                Kind::Hardlink { target } => {
                    links.insert(entry.path, target);
                }
                _ => {}
            }
        }
        Ok(Members::Spooled { files, links })
    }

    /// Opens a directory.
    pub fn of_directory(store: &'a Store, path: &Path) -> Result<Members<'a>, Diagnostic> {
        let root = Root::open(path).map_err(|error| unreadable(path, &error))?;
        Ok(Members::Directory { store, root })
    }

    /// Reads a small file; `None` if it is not there.
    pub fn document(&self, name: &str) -> Result<Option<Vec<u8>>, Diagnostic> {
        let path = Path::new(name);
        let content = match self {
            Members::Directory { root, .. } => root.read_limited(path, DOCUMENT_LIMIT_BYTES),
            Members::Spooled { files, .. } => match files.get(&self.resolve(path)) {
                None => Ok(None),
                Some(member) if member.size_bytes > DOCUMENT_LIMIT_BYTES => return Err(too_large(path)),
                Some(member) => std::fs::read(&member.path).map(Some),
            },
        };
        content.map_err(|error| unreadable(path, &error))
    }

    /// Takes a file out; `None` if it is not there (any more).
    pub fn take(&mut self, name: &str) -> Result<Option<Member>, Diagnostic> {
        let path = self.resolve(Path::new(name));
        match self {
            Members::Spooled { files, .. } => Ok(files.remove(&path)),
            Members::Directory { store, root } => {
                let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
                match root.open_at(&path, flags, Mode::empty()) {
                    Ok(fd) => spool(store, &mut File::from(fd)).map(Some),
                    Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
                    Err(error) => Err(unreadable(&path, &error)),
                }
            }
        }
    }

    /// Returns the path that a path stands for when its links are followed.
    pub fn resolve(&self, path: &Path) -> PathBuf {
        let Some(mut path) = normal(Path::new(""), path) else { return path.to_owned() };
        if let Members::Spooled { links, .. } = self {
            for _ in 0..LINK_LIMIT {
                match links.get(&path) {
                    Some(target) => path = target.clone(),
                    None => break,
                }
            }
        }
        path
    }
}

fn check_entry(path: &Path, size_bytes: u64, is_sparse: bool) -> Result<(), Diagnostic> {
    // A few bytes would fill the disk.
    if is_sparse {
        return Err(Diagnostic::error(Exit::Usage, format!("malicious archive: `{}` is sparse", path.display())));
    }
    let is_document = DOCUMENTS.iter().any(|name| path == Path::new(name));
    if is_document && size_bytes > DOCUMENT_LIMIT_BYTES { Err(too_large(path)) } else { Ok(()) }
}

fn too_large(path: &Path) -> Diagnostic {
    Diagnostic::error(
        Exit::Usage,
        format!("malicious archive: `{}` is larger than {DOCUMENT_LIMIT_BYTES} bytes", path.display()),
    )
}

fn unreadable(path: &Path, error: &io::Error) -> Diagnostic {
    Diagnostic::error(Exit::Usage, format!("cannot read `{}`", path.display())).note(error.to_string())
}

fn spool(store: &Store, content: &mut impl Read) -> Result<Member, Diagnostic> {
    let file = store.blob_file().map_err(store_failure)?;
    let (file, path) = file.into_parts();
    let mut writer = Sha256Writer::new(file);
    io::copy(content, &mut writer).map_err(|error| {
        Diagnostic::error(Exit::Step, "cannot copy the archive to the store").note(error.to_string())
    })?;
    let (_, digest, size_bytes) = writer.finish();
    Ok(Member { path, digest, size_bytes })
}

/// Returns `path` seen from `base` without `.` and `..`; `None` where it leads out.
fn normal(base: &Path, path: &Path) -> Option<PathBuf> {
    let mut normal = base.to_owned();
    for component in path.components() {
        match component {
            Component::Normal(name) => normal.push(name),
            Component::CurDir => {}
            Component::ParentDir => {
                if !normal.pop() {
                    return None;
                }
            }
            Component::RootDir => normal = PathBuf::new(),
            Component::Prefix(_) => return None,
        }
    }
    Some(normal)
}
