//! A build context that comes as a stream: a tar from standard input or a URL, or a lone Dockerfile.
//!
//! The tar is unpacked below a directory of the store by the same code that unpacks for ADD, as in BuildKit, so that what
//! holds there (limits, nothing outside, whiteouts) holds here.

use crate::layer::{ArchiveOptions, Format, UnpackError, Unpacked, decompress, sniff, unpack_archive};
use crate::sys::Root;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// Largest Dockerfile that is taken from a stream.
pub const DOCKERFILE_LIMIT_BYTES: u64 = 16 << 20;
/// What the kind of a stream is told by: one block of a tar.
const START_BYTES: u64 = 512;

/// What a stream turned out to be.
#[derive(Debug)]
pub enum Stream<R> {
    /// A tar, perhaps compressed; the whole stream from its first byte.
    Archive(io::Chain<io::Cursor<Vec<u8>>, R>),
    /// Text: a Dockerfile with an empty context, as for `docker build -`.
    Dockerfile(Vec<u8>),
}

/// Why a stream is no context.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// Nothing came.
    #[error("the build context is empty: neither a tar nor a Dockerfile came")]
    Empty,
    /// Neither a tar nor text.
    #[error("the build context is neither a tar nor a Dockerfile")]
    Unknown,
    /// A Dockerfile of improbable size.
    #[error("the Dockerfile is larger than {limit} bytes")]
    TooLarge {
        /// The limit.
        limit: u64,
    },
    /// The stream broke off.
    #[error("read the build context")]
    Read(#[source] io::Error),
    /// The directory could not be made.
    #[error("make a directory for the build context in `{}`", path.display())]
    Directory {
        /// Where.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The tar is bad, or cannot be unpacked here.
    #[error("unpack the build context")]
    Unpack(#[from] UnpackError),
}

/// An unpacked context; its directory is removed when this is dropped.
#[derive(Debug)]
pub struct UnpackedContext {
    directory: tempfile::TempDir,
    /// What was unpacked, and what was left out.
    pub unpacked: Unpacked,
    /// Whether the owners of the tar are those of the files.
    pub keep_owner: bool,
}

impl UnpackedContext {
    /// Returns the directory, to be opened with [`LocalContext::unpacked`](super::local::LocalContext::unpacked).
    pub fn path(&self) -> &Path {
        self.directory.path()
    }
}

/// Tells by its start what a stream is; a Dockerfile is read to its end.
pub fn identify<R: Read>(mut stream: R) -> Result<Stream<R>, ArchiveError> {
    let mut start = Vec::new();
    stream.by_ref().take(START_BYTES).read_to_end(&mut start).map_err(ArchiveError::Read)?;
    if start.is_empty() {
        return Err(ArchiveError::Empty);
    }
    let is_zero_block = start.len() as u64 == START_BYTES && start.iter().all(|byte| *byte == 0);
    if is_zero_block || sniff(&start) != Format::Other {
        return Ok(Stream::Archive(io::Cursor::new(start).chain(stream)));
    }
    if start.contains(&0) {
        return Err(ArchiveError::Unknown);
    }
    let mut text = start;
    let rest = DOCKERFILE_LIMIT_BYTES + 1 - text.len() as u64;
    stream.take(rest).read_to_end(&mut text).map_err(ArchiveError::Read)?;
    if text.len() as u64 > DOCKERFILE_LIMIT_BYTES {
        return Err(ArchiveError::TooLarge { limit: DOCKERFILE_LIMIT_BYTES });
    }
    Ok(Stream::Dockerfile(text))
}

/// Unpacks a tar, perhaps compressed, into a new directory below `temporary`.
///
/// Owners are set, and count, where this process may set them.
pub fn unpack(archive: impl Read + Send, temporary: &Path) -> Result<UnpackedContext, ArchiveError> {
    let made = |source| ArchiveError::Directory { path: temporary.to_owned(), source };
    let directory = tempfile::Builder::new().prefix("context-").tempdir_in(temporary).map_err(made)?;
    let root = Root::open(directory.path()).map_err(made)?;
    let is_root = rustix::process::geteuid().is_root();
    let options = ArchiveOptions { sets_owners: is_root, makes_devices: is_root, ..ArchiveOptions::default() };
    let tar = decompress(archive).map_err(ArchiveError::Read)?;
    let unpacked = unpack_archive(tar, &root, Path::new("/"), &options)?;
    Ok(UnpackedContext { directory, unpacked, keep_owner: is_root })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::context::local::LocalContext;
    use crate::context::select::{SelectOptions, select};
    use std::io::Write;

    /// A tar of files and links (`name -> target`), each owned by 5:6.
    fn tar_of(paths: &[&str]) -> Vec<u8> {
        let mut tar = tar::Builder::new(Vec::new());
        for path in paths {
            let mut header = tar::Header::new_gnu();
            header.set_uid(5);
            header.set_gid(6);
            header.set_mode(0o640);
            let (name, target) = path.split_once(" -> ").map_or((*path, None), |(name, target)| (name, Some(target)));
            // Not through `set_path`, which refuses the names that are tested here.
            header.as_gnu_mut().unwrap().name[..name.len()].copy_from_slice(name.as_bytes());
            let content = if target.is_some() { "" } else { name };
            header.set_size(content.len() as u64);
            if let Some(target) = target {
                header.set_entry_type(tar::EntryType::Symlink);
                header.set_link_name(target).unwrap();
            }
            header.set_cksum();
            tar.append(&header, content.as_bytes()).unwrap();
        }
        tar.into_inner().unwrap()
    }

    fn unpacked(stream: &[u8]) -> (tempfile::TempDir, Result<UnpackedContext, ArchiveError>) {
        let store = tempfile::tempdir().unwrap();
        let Stream::Archive(archive) = identify(stream).unwrap() else { panic!("an archive") };
        let result = unpack(archive, store.path());
        (store, result)
    }

    #[test]
    fn tars_of_every_compression_become_a_context() {
        let tar = tar_of(&["Dockerfile", "d/a", ".dockerignore"]);
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(&tar).unwrap();
        let mut bzip2 = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
        bzip2.write_all(&tar).unwrap();
        let mut xz = xz2::write::XzEncoder::new(Vec::new(), 1);
        xz.write_all(&tar).unwrap();
        let zstd = zstd::encode_all(tar.as_slice(), 1).unwrap();
        for stream in [gzip.finish().unwrap(), bzip2.finish().unwrap(), xz.finish().unwrap(), zstd, tar] {
            let (_store, context) = unpacked(&stream);
            let context = context.unwrap();
            let local =
                LocalContext::unpacked(context.path(), Some(Path::new("Dockerfile")), context.keep_owner).unwrap();
            let selected = select(local.tree(), &["d"], SelectOptions::default()).unwrap();
            let file = &selected.selection.items[0].entries[1];
            let owner = if context.keep_owner { (5, 6) } else { (0, 0) };
            assert_eq!((file.path.to_str(), file.mode, (file.uid, file.gid)), (Some("a"), 0o640, owner));
        }
    }

    #[test]
    fn nothing_is_written_outside() {
        for names in [&["../evil"][..], &["/evil"], &["l -> ../..", "l/evil"], &["l -> /", "l/evil"], &["a/../../evil"]]
        {
            let (store, context) = unpacked(&tar_of(names));
            assert!(!store.path().join("evil").exists(), "{names:?}");
            assert!(!Path::new("/evil").exists(), "{names:?}");
            drop(context);
            assert_eq!(std::fs::read_dir(store.path()).unwrap().count(), 0, "{names:?}");
        }
    }

    #[test]
    fn text_is_a_dockerfile() {
        let text = "FROM scratch\n".repeat(100);
        let Stream::Dockerfile(found) = identify(text.as_bytes()).unwrap() else { panic!("a Dockerfile") };
        assert_eq!(found, text.as_bytes());
        assert!(matches!(identify(&b""[..]), Err(ArchiveError::Empty)));
        assert!(matches!(identify(&b"PK\x03\x04\0\0"[..]), Err(ArchiveError::Unknown)));
        assert!(matches!(identify(io::repeat(b'#')), Err(ArchiveError::TooLarge { .. })));
    }

    #[test]
    fn a_truncated_or_compressed_other_thing_is_an_error() {
        let tar = tar_of(&["Dockerfile", "a"]);
        assert!(unpacked(&tar[..700]).1.is_err());
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(b"FROM scratch").unwrap();
        assert!(unpacked(&gzip.finish().unwrap()).1.is_err());
        assert_eq!(unpacked(&[0; 1024]).1.unwrap().unpacked.entries, 0);
    }
}
