//! Files that are there whole or not at all.

use super::{IoContext, StoreError};
use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::{Duration, SystemTime};

/// How old the time of the last use may be before it is written anew: a prune thinks in hours, a build in milliseconds.
const RENEWAL_AGE: Duration = Duration::from_secs(600);

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
    match open(path)? {
        Some(file) => read(file, path, limit_bytes).map(Some),
        None => Ok(None),
    }
}

/// Reads a file as [`read_limited`] does, and notes that it was used.
pub(super) fn read_and_renew(path: &Path, limit_bytes: u64) -> Result<Option<Vec<u8>>, StoreError> {
    let Some(file) = open(path)? else { return Ok(None) };
    renew(&file);
    read(file, path, limit_bytes).map(Some)
}

/// Sets the time of the last use of a file or directory, which is that of its last modification.
///
/// That it cannot be set (a store on a read-only disk) harms nothing: a prune may take it for older than it is.
pub(super) fn renew(file: &File) {
    let now = SystemTime::now();
    let modified = file.metadata().and_then(|metadata| metadata.modified());
    if modified.is_ok_and(|modified| now.duration_since(modified).unwrap_or_default() >= RENEWAL_AGE) {
        let _ = file.set_modified(now);
    }
}

fn open(path: &Path) -> Result<Option<File>, StoreError> {
    match File::open(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).during("open", path),
    }
}

fn read(file: File, path: &Path, limit_bytes: u64) -> Result<Vec<u8>, StoreError> {
    let mut content = Vec::new();
    file.take(limit_bytes + 1).read_to_end(&mut content).during("read", path)?;
    if content.len() as u64 > limit_bytes {
        return Err(StoreError::Damaged { path: path.to_owned(), reason: format!("larger than {limit_bytes} bytes") });
    }
    Ok(content)
}
