//! Unpacked layers: file trees in overlay form, each in a directory of its own.
//!
//! `layers/ID/fs` is the tree, `layers/ID/meta.json` what is known of it.  A layer of a base image is named by its chain id,
//! since directories that its tar implies take their metadata from the layers below; one that a step made has a
//! random name, so that two builds of the same step never write to the same place.

use super::{IoContext, Store, StoreError, VERSION, file};
use crate::image::Digest;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::Write;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

const META_LIMIT_BYTES: u64 = 1 << 20;

/// The name of a layer directory: letters, digits and `-` only.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct LayerId(String);

impl LayerId {
    /// Returns the id of a base image's layer (image-spec, config.md, section Layer ChainID).
    pub fn of_chain(chain_id: &Digest) -> LayerId {
        LayerId(format!("chain-{}", chain_id.hex()))
    }

    /// Returns the text of it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl<'de> Deserialize<'de> for LayerId {
    // It names a directory, so what a damaged or hostile record says is checked where it is read.
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<LayerId, D::Error> {
        let text = String::deserialize(deserializer)?;
        let valid =
            !text.is_empty() && text.len() <= 80 && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        if valid { Ok(LayerId(text)) } else { Err(serde::de::Error::custom("invalid layer id")) }
    }
}

/// What is known of a layer besides its files.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LayerMeta {
    version: u32,
    /// When it was made, seconds since the epoch.
    pub created: i64,
    /// Digest of the tar it was unpacked from, for a layer of a base image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub diff_id: Option<Digest>,
    /// Its compressed forms known so far.
    #[serde(default)]
    pub blobs: Vec<BlobInfo>,
}

/// One compressed form of a layer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BlobInfo {
    /// Encoder, version and level, e.g. `gzip-libdeflate-1.26-5`; what was written by another encoder has other bytes.
    pub encoding: String,
    /// OCI media type.
    pub media_type: String,
    /// Digest of the compressed bytes.
    pub digest: Digest,
    /// Their number.
    pub size_bytes: u64,
    /// Digest of the tar.
    pub diff_id: Option<Digest>,
}

impl LayerMeta {
    /// Returns what is known of a layer that was just made.
    pub fn new(created: i64) -> LayerMeta {
        LayerMeta { version: VERSION, created, diff_id: None, blobs: Vec::new() }
    }
}

/// A layer that is in use: while this lives, no prune removes it.
#[derive(Debug, Clone)]
pub struct HeldLayer {
    /// Its name.
    pub id: LayerId,
    directory: PathBuf,
    _lock: Arc<File>,
}

/// A stack of layers in use, lowest first: a root file system.
pub type Snapshot = Vec<HeldLayer>;

impl HeldLayer {
    /// Returns its file tree.
    pub fn tree(&self) -> PathBuf {
        self.directory.join("fs")
    }

    /// Reads what is known of it.
    pub fn meta(&self) -> Result<LayerMeta, StoreError> {
        let path = self.directory.join("meta.json");
        let damaged = |reason: String| StoreError::Damaged { path: path.clone(), reason };
        let content = file::read_limited(&path, META_LIMIT_BYTES)?.ok_or_else(|| damaged("it is missing".into()))?;
        let meta: LayerMeta = serde_json::from_slice(&content).map_err(|e| damaged(e.to_string()))?;
        if meta.version == VERSION { Ok(meta) } else { Err(damaged(format!("version {}", meta.version))) }
    }
}

/// A layer in the making, below `tmp/`; removed when dropped before it is sealed.
#[derive(Debug)]
pub struct PendingLayer {
    directory: tempfile::TempDir,
    lock: File,
}

impl PendingLayer {
    /// Returns the directory that becomes the layer's tree (the overlay's upper directory).
    pub fn tree(&self) -> PathBuf {
        self.directory.path().join("fs")
    }

    /// Returns the overlay's work directory.
    pub fn work(&self) -> PathBuf {
        self.directory.path().join("work")
    }
}

impl Store {
    /// Makes an empty layer to be filled.
    pub fn new_layer(&self) -> Result<PendingLayer, StoreError> {
        let tmp = self.root().join("tmp");
        let directory = tempfile::Builder::new().prefix("l-").tempdir_in(&tmp).during("make a directory in", &tmp)?;
        let path = directory.path();
        for (name, mode) in [("fs", 0o755), ("work", 0o700)] {
            std::fs::DirBuilder::new().mode(mode).create(path.join(name)).during("make", &path.join(name))?;
        }
        // The mode must not depend on the caller's umask: it is the mode of the image's root directory.
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(path.join("fs"), mode).during("set the mode of", path)?;
        let lock = hold(path)?;
        Ok(PendingLayer { directory, lock })
    }

    /// Gives a finished layer its name; `None` makes one up.  If the name is taken, the layer that has it is returned.
    pub fn seal_layer(
        &self,
        pending: PendingLayer,
        id: Option<LayerId>,
        meta: &LayerMeta,
    ) -> Result<HeldLayer, StoreError> {
        let id = id.unwrap_or_else(|| LayerId(format!("s-{}", random_name())));
        let target = self.layer_path(&id);
        let source = pending.directory.path();
        let _ = std::fs::remove_dir_all(source.join("work"));
        let content = serde_json::to_vec(meta).unwrap_or_default();
        let meta = source.join("meta.json");
        file::create(&meta).and_then(|mut file| file.write_all(&content)).during("write", &meta)?;
        match std::fs::rename(source, &target) {
            Ok(()) => {
                let _ = pending.directory.keep();
                Ok(HeldLayer { id, directory: target, _lock: Arc::new(pending.lock) })
            }
            Err(error) => match self.hold_layer(&id)? {
                Some(held) => Ok(held),
                None => Err(error).during("rename to", &target),
            },
        }
    }

    /// Takes a layer into use; `None` if it is not there.
    pub fn hold_layer(&self, id: &LayerId) -> Result<Option<HeldLayer>, StoreError> {
        let directory = self.layer_path(id);
        let lock = match hold(&directory) {
            Ok(lock) => lock,
            Err(StoreError::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        // A prune may have moved it away between the open and the lock.
        Ok(directory.join("meta.json").exists().then(|| HeldLayer { id: id.clone(), directory, _lock: Arc::new(lock) }))
    }

    /// Takes all layers of a stack into use; `None` if one is missing.
    pub fn hold_layers(&self, ids: &[LayerId]) -> Result<Option<Snapshot>, StoreError> {
        ids.iter().map(|id| self.hold_layer(id)).collect()
    }

    /// Writes what is known of a layer.
    pub fn update_layer_meta(&self, layer: &HeldLayer, meta: &LayerMeta) -> Result<(), StoreError> {
        let content = serde_json::to_vec(meta).unwrap_or_default();
        file::write_atomically(self.root(), &layer.directory.join("meta.json"), &content, file::Replace::Always)
    }

    pub(super) fn layer_path(&self, id: &LayerId) -> PathBuf {
        self.root().join("layers").join(id.as_str())
    }
}

/// Opens a layer directory and takes a shared lock on it, without waiting: only a prune takes an exclusive one, and what a
/// prune has locked is as good as gone.
fn hold(directory: &Path) -> Result<File, StoreError> {
    let file = File::open(directory).during("open", directory)?;
    match file.try_lock_shared() {
        Ok(()) => Ok(file),
        Err(std::fs::TryLockError::WouldBlock) => {
            Err(std::io::Error::from(std::io::ErrorKind::NotFound)).during("lock", directory)
        }
        // File systems without locks (some NFS): prune refuses to work there, so nothing is lost.
        Err(std::fs::TryLockError::Error(_)) => Ok(file),
    }
}

fn random_name() -> String {
    use std::hash::{BuildHasher, Hasher, RandomState};
    let word = || RandomState::new().build_hasher().finish();
    format!("{:016x}{:016x}", word(), word() ^ u64::from(std::process::id()))
}
