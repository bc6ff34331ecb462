//! Everything that outlives a build, as plain files.
//!
//! ```text
//! oci/        an OCI image layout: blobs, and index.json with the names of images
//! layers/     unpacked layers: a file tree in overlay form and what is known of it
//! records/    cache records by key
//! pulled/     which digest a reference meant when it was last looked up
//! mounts/     cache mounts            contexts/   stat caches
//! logs/       full output of RUNs     tmp/        everything in the making
//! ```
//!
//! Files are written below `tmp/` and renamed; a record is written after what it names.  So a process that is killed
//! leaves at worst something in `tmp/`, which the next prune removes.  There is no lock that makes builds wait: a layer in use
//! is held by a shared lock of its own, and the names of images by one that is held for a rename.  Last uses are the times
//! of files: a hit renews that of its record, its layers and what it knows of its base.

mod blobs;
mod check;
mod file;
mod form;
mod images;
mod layers;
mod live;
mod lock;
mod logs;
mod mounts;
mod prune;
mod pulled;
mod records;
#[cfg(test)]
mod tests;
mod usage;

pub use blobs::BlobWriter;
pub use check::{Finding, check};
pub use form::{TreeForm, Usable};
pub use images::{NamedImage, REF_NAME};
pub use layers::{BlobInfo, HeldLayer, LayerId, LayerMeta, PendingLayer, Snapshot};
pub use logs::LogFile;
pub use mounts::HeldMount;
pub use prune::{PruneOptions, Pruned, prune};
pub use pulled::Pulled;
pub use records::{Key, Record};
pub use usage::{Item, Usage, items, usage};

use std::fs::File;
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The version of everything the store writes; a record of another version is a miss.
pub const VERSION: u32 = 1;

/// A store on disk.
#[derive(Debug, Clone)]
pub struct Store {
    root: PathBuf,
    /// Held shared while a store is open, so that a prune knows whether it is alone.
    presence: Arc<File>,
}

/// Why the store cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A file of it cannot be read or written.
    #[error("store: cannot {action} `{path}`")]
    Io {
        /// What was tried.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The directory is somebody else's, or others may write to it.
    #[error("refusing the store `{path}`: {reason}")]
    Unsafe {
        /// The directory.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// Its trees are in a form that this process cannot use.
    #[error("the store `{}` {found}, {wanted}", path.display())]
    Form {
        /// The store.
        path: PathBuf,
        /// The form of what is there.
        found: TreeForm,
        /// What this process can use.
        wanted: Usable,
    },
    /// A file of it does not say what it should.
    #[error("store: `{path}` is damaged: {reason}")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// No directory is known for it.
    #[error("no directory for the store: neither COOPER_ROOT nor HOME is set")]
    NoHome,
}

impl StoreError {
    /// Whether the disk or the quota is full.
    pub fn is_disk_full(&self) -> bool {
        matches!(self, StoreError::Io { source, .. } if matches!(source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded))
    }
}

pub(crate) trait IoContext<T> {
    /// Says what was tried on which file.
    fn during(self, action: &'static str, path: &Path) -> Result<T, StoreError>;
}

impl<T, E: Into<io::Error>> IoContext<T> for Result<T, E> {
    fn during(self, action: &'static str, path: &Path) -> Result<T, StoreError> {
        self.map_err(|source| StoreError::Io { action, path: path.to_owned(), source: source.into() })
    }
}

/// The file whose lock tells who has the store open.
const PRESENCE: &str = "open.lock";

const DIRECTORIES: [&str; 9] =
    ["layers", "records", "pulled", "mounts", "contexts", "logs", "tmp", "oci/blobs/sha256", "empty"];

impl Store {
    /// Returns where the store of this user is: `$COOPER_ROOT`, for root `/var/lib/cooper`, else
    /// `$XDG_DATA_HOME/cooper` or `~/.local/share/cooper`.
    ///
    /// `is_root` is whether the *user* is root, not whether a user namespace makes it look so.
    pub fn default_root(is_root: bool) -> Result<PathBuf, StoreError> {
        let from_env = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        if let Some(root) = from_env("COOPER_ROOT") {
            return Ok(root);
        }
        if is_root {
            return Ok("/var/lib/cooper".into());
        }
        let data = from_env("XDG_DATA_HOME").or_else(|| from_env("HOME").map(|home| home.join(".local/share")));
        Ok(data.ok_or(StoreError::NoHome)?.join("cooper"))
    }

    /// Opens the store at `root`, making it if it is not there.
    pub fn open(root: &Path) -> Result<Store, StoreError> {
        let root = std::path::absolute(root).during("find", root)?;
        // The marker is made last: where it stands, everything else does.
        let marker = root.join("oci/oci-layout");
        if !marker.exists() {
            make_directory(&root)?;
            // Before anything is put there.
            refuse_foreign(&root)?;
            DIRECTORIES.iter().try_for_each(|name| make_directory(&root.join(name)))?;
            // It is what a file system of no image shows as its root, which every user of the image may enter.
            let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
            std::fs::set_permissions(root.join("empty"), mode).during("set the mode of", &root)?;
            file::write_atomically(&root, &root.join("oci/index.json"), EMPTY_INDEX, file::Replace::Never)?;
            file::write_atomically(&root, &marker, b"{\"imageLayoutVersion\":\"1.0.0\"}", file::Replace::Never)?;
        }
        refuse_foreign(&root)?;
        let presence = root.join(PRESENCE);
        let presence =
            File::options().create(true).append(true).mode(0o600).open(&presence).during("open", &presence)?;
        // Waits only while a prune that is alone here deletes blobs.  A file system without locks has no such prune.
        let _ = presence.lock_shared();
        Ok(Store { root, presence: Arc::new(presence) })
    }

    /// Returns its directory.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Returns the path of an OCI layout that other tools can read.
    pub fn oci_layout(&self) -> PathBuf {
        self.root.join("oci")
    }

    /// Returns where the stat cache of a context is kept; `identity` tells contexts apart.
    pub fn stat_cache_path(&self, identity: &[u8]) -> PathBuf {
        self.root.join("contexts").join(blake3::hash(identity).to_hex().as_str())
    }

    /// Makes a directory below `tmp/` that is removed when dropped.
    pub fn temporary(&self) -> Result<tempfile::TempDir, StoreError> {
        let tmp = self.root.join("tmp");
        tempfile::Builder::new().prefix("t-").tempdir_in(&tmp).during("make a directory in", &tmp)
    }

    /// Returns an empty directory, which an overlay without lower layers needs.
    pub fn empty_directory(&self) -> PathBuf {
        self.root.join("empty")
    }
}

const EMPTY_INDEX: &[u8] =
    br#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}"#;

fn make_directory(path: &Path) -> Result<(), StoreError> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path).during("make", path)
}

/// A store that others can write to would run their layers as ours (moby CVE-2021-41091).
fn refuse_foreign(root: &Path) -> Result<(), StoreError> {
    let metadata = std::fs::metadata(root).during("look at", root)?;
    let us = rustix::process::geteuid().as_raw();
    let unsafe_because = |reason: String| Err(StoreError::Unsafe { path: root.to_owned(), reason });
    if metadata.uid() != us {
        return unsafe_because(format!("it belongs to user {}, not to user {us}", metadata.uid()));
    }
    if metadata.mode() & 0o022 != 0 {
        return unsafe_because(format!("others may write to it (mode {:04o})", metadata.mode() & 0o7777));
    }
    Ok(())
}
