//! How much disk space the store takes, and for what.

use super::live::{Parts, file_name, list};
use super::lock::{self, Mode};
use super::{IoContext, Store, StoreError};
use crate::image::Digest;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::SystemTime;

/// The parts of a store that hold what builds made: directory and what a user calls it.
const PARTS: [(&str, &str); 8] = [
    ("oci/blobs/sha256", "images"),
    ("layers", "layers"),
    ("mounts", "cache mounts"),
    ("records", "records"),
    ("pulled", "known bases"),
    ("contexts", "stat caches"),
    ("logs", "logs"),
    ("tmp", "temporary"),
];

/// Disk space of a part of the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Usage {
    /// What it is, e.g. `layers`.
    pub part: &'static str,
    /// Number of things.
    pub items: u64,
    /// Those that an image needs, or for layers and mounts, that a build uses now.
    pub active: u64,
    /// Allocated bytes.
    pub bytes: u64,
    /// Allocated bytes of those that are not active.
    pub reclaimable_bytes: u64,
}

/// A layer or a cache mount.
#[derive(Debug, Clone)]
pub struct Item {
    /// What it is, `layers` or `cache mounts`.
    pub part: &'static str,
    /// Its name.
    pub id: String,
    /// Allocated bytes.
    pub bytes: u64,
    /// When it was used last.
    pub last_used: SystemTime,
    /// Whether a build uses it now.
    pub is_in_use: bool,
}

/// Measures the store.
pub fn usage(store: &Store) -> Result<Vec<Usage>, StoreError> {
    let mut needed = Parts::default();
    needed.add(store, store.images()?.iter().map(|image| image.descriptor.digest).collect());
    PARTS.iter().map(|(directory, part)| measure(store, directory, part, &needed)).collect()
}

fn measure(store: &Store, directory: &str, part: &'static str, needed: &Parts) -> Result<Usage, StoreError> {
    let mut usage = Usage { part, items: 0, active: 0, bytes: 0, reclaimable_bytes: 0 };
    for path in list(&store.root().join(directory))? {
        let bytes = size_on_disk(&path);
        let is_active = match part {
            "images" => {
                format!("sha256:{}", file_name(&path)).parse::<Digest>().is_ok_and(|d| needed.blobs.contains(&d))
            }
            "layers" | "cache mounts" => is_in_use(&path),
            _ => false,
        };
        usage.items += 1;
        usage.active += u64::from(is_active);
        usage.bytes += bytes;
        usage.reclaimable_bytes += if is_active { 0 } else { bytes };
    }
    Ok(usage)
}

/// Returns all layers and cache mounts, the one used last first.
pub fn items(store: &Store) -> Result<Vec<Item>, StoreError> {
    let mut items = Vec::new();
    for (directory, part) in PARTS.iter().filter(|(directory, _)| matches!(*directory, "layers" | "mounts")) {
        for path in list(&store.root().join(directory))? {
            let metadata = std::fs::symlink_metadata(&path).during("look at", &path)?;
            items.push(Item {
                part,
                id: file_name(&path),
                bytes: size_on_disk(&path),
                last_used: metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH),
                is_in_use: is_in_use(&path),
            });
        }
    }
    items.sort_by_key(|item| std::cmp::Reverse(item.last_used));
    Ok(items)
}

/// Whether somebody holds a lock on a directory.
fn is_in_use(directory: &Path) -> bool {
    matches!(lock::try_lock(directory, Mode::Exclusive), Ok(None))
}

/// Returns the allocated bytes of a file or tree; hard links are counted once for each name.
pub(super) fn size_on_disk(path: &Path) -> u64 {
    let Ok(metadata) = std::fs::symlink_metadata(path) else { return 0 };
    let own = metadata.blocks() * 512;
    if !metadata.is_dir() {
        return own;
    }
    let children = std::fs::read_dir(path).into_iter().flatten().flatten();
    own + children.map(|child| size_on_disk(&child.path())).sum::<u64>()
}
