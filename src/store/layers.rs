//! Unpacked layers: file trees in overlay form, each in a directory of its own.
//!
//! `layers/ID/fs` is the tree, `layers/ID/meta.json` what is known of it.  A layer of a base image is named by its chain id,
//! since directories that its tar implies take their metadata from the layers below; one that a step made has a
//! random name, so that two builds of the same step never write to the same place.

use super::lock::{self, Mode};
use super::{IoContext, Store, StoreError, VERSION, file};
use crate::image::Digest;
use crate::sys::{Root, owner};
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

/// File beside the tree with the owners that its links have, see [`owner::list_nodes`].
const OWNERS: &str = "owners";
/// Bytes that a description may have.
const META_LIMIT_BYTES: u64 = 1 << 20;
/// How often a layer is given a name that is taken by one on its way out.
const SEAL_ATTEMPT_LIMIT: usize = 100;

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
    /// During which run of the kernel its tree was written, or last found whole.
    boot: String,
    /// How large its tree is; `None` until somebody has looked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    size: Option<TreeSize>,
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
        LayerMeta {
            version: VERSION,
            created,
            boot: boot_id().to_owned(),
            size: None,
            diff_id: None,
            blobs: Vec::new(),
        }
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
    /// See [`owner::nodes_recorded`].
    nodes_recorded: u64,
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
        let lock = lock::try_lock(path, Mode::Shared).during("lock", path)?;
        let lock = lock.ok_or(io::ErrorKind::ResourceBusy).map_err(io::Error::from).during("lock", path)?;
        Ok(PendingLayer { directory, lock, nodes_recorded: owner::nodes_recorded() })
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
        write_owners(&pending)?;
        let content = serde_json::to_vec(meta).unwrap_or_default();
        let described = source.join("meta.json");
        file::create(&described).and_then(|mut file| file.write_all(&content)).during("write", &described)?;
        // The name may be taken: by the same layer, made by another build; by one that a prune takes away before it can be held;
        // or by one that cannot be used, damaged or of another version, which then gives way.
        let mut attempts = 0;
        loop {
            attempts += 1;
            let Err(error) = std::fs::rename(source, &target) else {
                let _ = pending.directory.keep();
                return Ok(HeldLayer { id, directory: target, _lock: Arc::new(pending.lock) });
            };
            if let Some(held) = self.hold_layer(&id)? {
                return Ok(held);
            }
            if attempts == SEAL_ATTEMPT_LIMIT {
                return Err(error).during("rename to", &target);
            }
            let grave = self.temporary()?;
            let _ = std::fs::rename(&target, grave.path().join("layer"));
        }
    }

    /// Takes a layer into use; `None` if it is not there.
    pub fn hold_layer(&self, id: &LayerId) -> Result<Option<HeldLayer>, StoreError> {
        let directory = self.layer_path(id);
        // Only a prune locks a layer for itself alone, and what a prune has locked is as good as gone.
        let lock = match lock::try_lock(&directory, Mode::Shared) {
            Ok(Some(lock)) => lock,
            Ok(None) => return Ok(None),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).during("lock", &directory),
        };
        learn_owners(&directory)?;
        let held = HeldLayer { id: id.clone(), directory, _lock: Arc::new(lock) };
        file::renew(&held._lock);
        // Without a description: a prune has moved it away between the open and the lock.
        match held.meta() {
            Ok(meta) => Ok(self.is_whole(&held, meta)?.then_some(held)),
            Err(StoreError::Damaged { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Notes how large the tree of a layer is, so that it can be trusted after the machine was started anew.
    pub fn measure_layer(&self, layer: &HeldLayer) -> Result<(), StoreError> {
        let mut meta = layer.meta()?;
        meta.size = Some(TreeSize::of(&layer.tree())?);
        self.update_layer_meta(layer, &meta)
    }

    /// Whether a layer is as it was written.
    ///
    /// Trees are not synced: that would cost more than most steps.  What the same run of the kernel wrote is there.  After a
    /// restart, which may have been a power cut, the number of files and bytes must be what was noted.
    fn is_whole(&self, layer: &HeldLayer, mut meta: LayerMeta) -> Result<bool, StoreError> {
        if meta.boot == boot_id() {
            return Ok(true);
        }
        if meta.size.is_none() || meta.size != Some(TreeSize::of(&layer.tree())?) {
            return Ok(false);
        }
        meta.boot = boot_id().to_owned();
        self.update_layer_meta(layer, &meta)?;
        Ok(true)
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

/// What a tree must still have after a power cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
struct TreeSize {
    files: u64,
    bytes: u64,
}

impl TreeSize {
    fn of(directory: &Path) -> Result<TreeSize, StoreError> {
        let mut size = TreeSize::default();
        let mut todo = vec![directory.to_owned()];
        while let Some(directory) = todo.pop() {
            for entry in std::fs::read_dir(&directory).during("list", &directory)? {
                let entry = entry.during("list", &directory)?;
                let metadata = entry.metadata().during("look at", &entry.path())?;
                size.files += 1;
                if metadata.is_dir() {
                    todo.push(entry.path());
                } else {
                    size.bytes += metadata.len();
                }
            }
        }
        Ok(size)
    }
}

/// Writes the owners of the links and FIFOs of a layer beside its tree, where files cannot have owners.
fn write_owners(pending: &PendingLayer) -> Result<(), StoreError> {
    if owner::nodes_recorded() == pending.nodes_recorded {
        return Ok(());
    }
    let tree = pending.tree();
    let list = Root::open(&tree).and_then(|tree| owner::list_nodes(&tree)).during("read", &tree)?;
    if list.is_empty() {
        return Ok(());
    }
    let path = pending.directory.path().join(OWNERS);
    file::create(&path).and_then(|mut file| file.write_all(&list)).during("write", &path)
}

/// Reads them back.
fn learn_owners(directory: &Path) -> Result<(), StoreError> {
    if !owner::is_aside() {
        return Ok(());
    }
    let path = directory.join(OWNERS);
    let read = || match std::fs::read(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        result => result,
    };
    owner::learn_nodes(&directory.join("fs"), read).during("read", &path)
}

/// Returns what tells one run of the kernel from another; empty where there is no /proc, and then all are one.
fn boot_id() -> &'static str {
    static BOOT: OnceLock<String> = OnceLock::new();
    BOOT.get_or_init(|| {
        std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned()
    })
}

pub(super) fn random_name() -> String {
    use std::hash::{BuildHasher, Hasher, RandomState};
    let word = || RandomState::new().build_hasher().finish();
    format!("{:016x}{:016x}", word(), word() ^ u64::from(std::process::id()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// A store with one measured layer of one file, and the layer's description as written by an earlier run of the kernel.
    fn restarted() -> (tempfile::TempDir, Store, LayerId) {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(&directory.path().join("store")).unwrap();
        let pending = store.new_layer().unwrap();
        std::fs::write(pending.tree().join("file"), "content").unwrap();
        let layer = store.seal_layer(pending, None, &LayerMeta::new(0)).unwrap();
        store.measure_layer(&layer).unwrap();
        let mut meta = layer.meta().unwrap();
        meta.boot = "an earlier run".into();
        store.update_layer_meta(&layer, &meta).unwrap();
        (directory, store, layer.id)
    }

    #[test]
    fn a_layer_that_survived_a_restart_whole_is_used() {
        let (_directory, store, id) = restarted();
        let held = store.hold_layer(&id).unwrap().unwrap();
        assert_eq!(held.meta().unwrap().boot, boot_id());
    }

    #[test]
    fn a_damaged_layer_gives_its_name_to_a_new_one() {
        let (_directory, store, _) = restarted();
        let id = LayerId::of_chain(&Digest::of(b"chain"));
        let seal = || store.seal_layer(store.new_layer().unwrap(), Some(id.clone()), &LayerMeta::new(0)).unwrap();
        drop(seal());
        std::fs::write(store.layer_path(&id).join("meta.json"), "{").unwrap();
        assert!(store.hold_layer(&id).unwrap().is_none());
        drop(seal());
        assert!(store.hold_layer(&id).unwrap().is_some());
    }

    #[test]
    fn a_layer_that_lost_bytes_in_a_power_cut_is_not_used() {
        let (_directory, store, id) = restarted();
        std::fs::write(store.layer_path(&id).join("fs/file"), "").unwrap();
        assert!(store.hold_layer(&id).unwrap().is_none());
    }
}
