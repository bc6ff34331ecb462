//! What the store holds and what can go.
//!
//! A layer in use is held by a shared lock; a prune takes an exclusive one without waiting, so it never touches what a
//! build works with and no build ever waits for it.  Blobs are kept while an image, a known base or a layer names them.

use super::{IoContext, Store, StoreError, records::Record};
use crate::image::{Digest, Index, Manifest};
use std::collections::HashSet;
use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// Largest manifest that is read while looking for what is in use.
const MANIFEST_LIMIT_BYTES: u64 = 4 << 20;
/// How long something in `tmp/` may stand before it counts as left by a killed build.
const TMP_AGE: Duration = Duration::from_secs(24 * 3600);
/// How long a blob may stand unnamed: a build writes blobs before the manifest that names them.
const BLOB_AGE: Duration = Duration::from_secs(3600);

/// What a prune removes.
#[derive(Debug, Clone, Default)]
pub struct PruneOptions {
    /// Cache mounts and known bases too, and all cache records, whatever their age.
    pub all: bool,
    /// Only what was not used for so long.
    pub older_than: Option<Duration>,
}

/// What a prune removed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Pruned {
    /// Number of records, layers, blobs, mounts, logs and temporaries.
    pub items: usize,
    /// Disk space freed, in bytes.
    pub bytes: u64,
}

/// Disk space of each part of the store, in bytes, and the number of things in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Usage {
    /// The directory, e.g. `layers`.
    pub part: &'static str,
    /// Number of things.
    pub items: usize,
    /// Allocated bytes.
    pub bytes: u64,
}

/// Measures the store.
pub fn usage(store: &Store) -> Result<Vec<Usage>, StoreError> {
    let parts = ["layers", "oci/blobs/sha256", "mounts", "records", "pulled", "contexts", "logs", "tmp"];
    parts
        .into_iter()
        .map(|part| {
            let entries = list(&store.root().join(part))?;
            Ok(Usage { part, items: entries.len(), bytes: entries.iter().map(|path| size_on_disk(path)).sum() })
        })
        .collect()
}

/// Removes what nothing needs: leftovers of killed builds, old records, and then the layers and blobs nobody names.
pub fn prune(store: &Store, options: &PruneOptions) -> Result<Pruned, StoreError> {
    let mut pruned = Pruned::default();
    let age = options.older_than.unwrap_or_default();
    remove_old(&store.root().join("tmp"), TMP_AGE, &mut pruned)?;
    remove_old(&store.root().join("logs"), age, &mut pruned)?;
    remove_old(&store.root().join("records"), age, &mut pruned)?;
    if options.all {
        for part in ["pulled", "contexts"] {
            remove_old(&store.root().join(part), age, &mut pruned)?;
        }
        remove_unlocked(store, &list(&store.root().join("mounts"))?, &mut pruned)?;
    }
    let live = live_layers(store)?;
    let name = |path: &PathBuf| path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    let dead: Vec<PathBuf> =
        list(&store.root().join("layers"))?.into_iter().filter(|p| !live.contains(&name(p))).collect();
    remove_unlocked(store, &dead, &mut pruned)?;
    remove_blobs(store, &mut pruned)?;
    Ok(pruned)
}

/// The layers that a record names.
fn live_layers(store: &Store) -> Result<HashSet<String>, StoreError> {
    let mut live = HashSet::new();
    for path in list(&store.root().join("records"))? {
        let record = std::fs::read(&path).ok().and_then(|content| serde_json::from_slice::<Record>(&content).ok());
        live.extend(record.into_iter().flat_map(|record| record.layers).map(|id| id.as_str().to_owned()));
    }
    Ok(live)
}

fn remove_unlocked(store: &Store, directories: &[PathBuf], pruned: &mut Pruned) -> Result<(), StoreError> {
    for directory in directories {
        let Ok(lock) = File::open(directory) else { continue };
        if lock.try_lock().is_err() {
            continue;
        }
        // First out of sight, then deleted at leisure: nobody ever sees half a layer.
        let grave = store.temporary()?;
        let bytes = size_on_disk(directory);
        if std::fs::rename(directory, grave.path().join("gone")).is_ok() {
            grave.close().during("remove", directory)?;
            pruned.items += 1;
            pruned.bytes += bytes;
        }
    }
    Ok(())
}

fn remove_blobs(store: &Store, pruned: &mut Pruned) -> Result<(), StoreError> {
    let live = live_blobs(store)?;
    for path in list(&store.root().join("oci/blobs/sha256"))? {
        let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        if !live.contains(&name) && is_older(&path, BLOB_AGE) {
            let bytes = size_on_disk(&path);
            std::fs::remove_file(&path).during("remove", &path)?;
            pruned.items += 1;
            pruned.bytes += bytes;
        }
    }
    Ok(())
}

/// The blobs that images, known bases and layers name, as hexadecimal digits.
fn live_blobs(store: &Store) -> Result<HashSet<String>, StoreError> {
    let mut live = HashSet::new();
    let mut manifests: Vec<Digest> = store.images()?.iter().map(|image| image.descriptor.digest).collect();
    for path in list(&store.root().join("pulled"))? {
        let pulled = std::fs::read(&path).ok().and_then(|c| serde_json::from_slice::<super::Pulled>(&c).ok());
        manifests.extend(pulled.map(|pulled| pulled.manifest.digest));
    }
    while let Some(digest) = manifests.pop() {
        if !live.insert(digest.hex()) {
            continue;
        }
        let Ok(Some(content)) = store.read_blob(&digest, MANIFEST_LIMIT_BYTES) else { continue };
        if let Ok(manifest) = serde_json::from_slice::<Manifest>(&content) {
            live.insert(manifest.config.digest.hex());
            live.extend(manifest.layers.iter().map(|layer| layer.digest.hex()));
        } else if let Ok(index) = serde_json::from_slice::<Index>(&content) {
            manifests.extend(index.manifests.iter().map(|manifest| manifest.digest));
        }
    }
    for path in list(&store.root().join("layers"))? {
        let meta = std::fs::read(path.join("meta.json")).ok();
        let meta = meta.and_then(|content| serde_json::from_slice::<super::LayerMeta>(&content).ok());
        live.extend(meta.into_iter().flat_map(|meta| meta.blobs).map(|blob| blob.digest.hex()));
    }
    Ok(live)
}

fn remove_old(directory: &Path, age: Duration, pruned: &mut Pruned) -> Result<(), StoreError> {
    for path in list(directory)?.into_iter().filter(|path| is_older(path, age)) {
        let bytes = size_on_disk(&path);
        let removed = if path.is_dir() { std::fs::remove_dir_all(&path) } else { std::fs::remove_file(&path) };
        // Another prune may have been faster.
        if removed.is_ok() {
            pruned.items += 1;
            pruned.bytes += bytes;
        }
    }
    Ok(())
}

fn is_older(path: &Path, age: Duration) -> bool {
    let modified = std::fs::symlink_metadata(path).and_then(|metadata| metadata.modified());
    modified.is_ok_and(|modified| SystemTime::now().duration_since(modified).unwrap_or_default() >= age)
}

fn list(directory: &Path) -> Result<Vec<PathBuf>, StoreError> {
    let entries = std::fs::read_dir(directory).during("list", directory)?;
    entries.map(|entry| entry.map(|entry| entry.path()).during("list", directory)).collect()
}

/// Allocated bytes of a file or tree; hard links are counted once for each name.
fn size_on_disk(path: &Path) -> u64 {
    let Ok(metadata) = std::fs::symlink_metadata(path) else { return 0 };
    let own = metadata.blocks() * 512;
    if !metadata.is_dir() {
        return own;
    }
    let children = std::fs::read_dir(path).into_iter().flatten().flatten();
    own + children.map(|child| size_on_disk(&child.path())).sum::<u64>()
}
