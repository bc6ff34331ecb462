//! Files that are there whole or not at all.

use super::{IoContext, StoreError};
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// What happens when the file is there already.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Replace {
    /// The new one takes its place.
    Always,
    /// The old one stays; that is no error.
    Never,
}

/// Writes a file below `tmp/` of the store at `root` and renames it to `path`.
///
/// Not synced: what is lost in a power cut is a cache.  A file that a power cut leaves empty is read as damaged, which is a miss.
pub(super) fn write_atomically(root: &Path, path: &Path, content: &[u8], replace: Replace) -> Result<(), StoreError> {
    let tmp = root.join("tmp");
    let mut file = tempfile::Builder::new().prefix("f-").tempfile_in(&tmp).during("make a file in", &tmp)?;
    file.write_all(content).during("write", path)?;
    match replace {
        Replace::Always => file.persist(path).map(drop).map_err(|e| e.error).during("rename to", path),
        Replace::Never => match file.persist_noclobber(path) {
            Err(e) if e.error.kind() != std::io::ErrorKind::AlreadyExists => Err(e.error).during("rename to", path),
            _ => Ok(()),
        },
    }
}

/// Makes a file, or empties it, that nobody else may read whatever the umask.
pub(super) fn create(path: &Path) -> std::io::Result<std::fs::File> {
    std::fs::File::options().write(true).create(true).truncate(true).mode(0o600).open(path)
}

/// Reads a file of at most `limit_bytes`; `None` if it is not there.
pub(super) fn read_limited(path: &Path, limit_bytes: u64) -> Result<Option<Vec<u8>>, StoreError> {
    let file = match std::fs::File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).during("open", path),
    };
    let mut content = Vec::new();
    file.take(limit_bytes + 1).read_to_end(&mut content).during("read", path)?;
    if content.len() as u64 > limit_bytes {
        return Err(StoreError::Damaged { path: path.to_owned(), reason: format!("larger than {limit_bytes} bytes") });
    }
    Ok(Some(content))
}
