//! What of the store something needs: the blobs and layers that images, known bases and records name.

use super::pulled::{self, Pulled};
use super::records::{self, Record};
use super::{IoContext, LayerId, LayerMeta, Store, StoreError, file};
use crate::image::validate::{CONFIG_LIMIT_BYTES, Document, MANIFEST_LIMIT_BYTES, document};
use crate::image::{Digest, ImageConfig, chain_ids};
use std::collections::HashSet;
use std::path::{Path, PathBuf};

/// Largest description of a layer that is read.
const META_LIMIT_BYTES: u64 = 1 << 20;

/// Blobs and unpacked layers of some images.
#[derive(Debug, Default)]
pub(super) struct Parts {
    /// Manifests, configs and layers.
    pub(super) blobs: HashSet<Digest>,
    /// The layers' names when they are unpacked.
    pub(super) layers: HashSet<LayerId>,
}

impl Parts {
    /// Adds what manifests and indexes name.  What is missing or damaged names nothing.
    pub(super) fn add(&mut self, store: &Store, mut manifests: Vec<Digest>) {
        while let Some(digest) = manifests.pop() {
            if !self.blobs.insert(digest) {
                continue;
            }
            let Ok(Some(content)) = store.read_blob(&digest, MANIFEST_LIMIT_BYTES) else { continue };
            match document(&content, "") {
                Ok(Document::Manifest(manifest)) => {
                    self.blobs.insert(manifest.config.digest);
                    self.blobs.extend(manifest.layers.iter().map(|layer| layer.digest));
                    self.add_layers(store, &manifest.config.digest);
                }
                Ok(Document::Index(index)) => manifests.extend(index.manifests.iter().map(|manifest| manifest.digest)),
                Err(_) => {}
            }
        }
    }

    fn add_layers(&mut self, store: &Store, config: &Digest) {
        let Ok(Some(content)) = store.read_blob(config, CONFIG_LIMIT_BYTES) else { return };
        let Ok(config) = serde_json::from_slice::<ImageConfig>(&content) else { return };
        self.layers.extend(chain_ids(&config.rootfs.diff_ids).iter().map(LayerId::of_chain));
    }
}

/// Returns the manifests of known bases in the given files below `pulled/`.
pub(super) fn bases(paths: &[PathBuf]) -> Vec<Digest> {
    let read = |path: &PathBuf| {
        let content = file::read_limited(path, pulled::LIMIT_BYTES).ok().flatten()?;
        Some(serde_json::from_slice::<Pulled>(&content).ok()?.manifest.digest)
    };
    paths.iter().filter_map(read).collect()
}

/// Returns the layers that records in the given files below `records/` name.
pub(super) fn recorded_layers(paths: &[PathBuf]) -> HashSet<LayerId> {
    let read = |path: &PathBuf| {
        if !Store::is_record(&file_name(path)) {
            return None;
        }
        let content = file::read_limited(path, records::RECORD_LIMIT_BYTES).ok().flatten()?;
        serde_json::from_slice::<Record>(&content).ok()
    };
    paths.iter().filter_map(read).flat_map(|record| record.layers).collect()
}

/// Returns the blobs that are compressed forms of the given layer directories.
pub(super) fn layer_blobs(directories: &[PathBuf]) -> Vec<Digest> {
    let read = |directory: &PathBuf| {
        let content = file::read_limited(&directory.join("meta.json"), META_LIMIT_BYTES).ok().flatten()?;
        serde_json::from_slice::<LayerMeta>(&content).ok()
    };
    directories.iter().filter_map(read).flat_map(|meta| meta.blobs).map(|blob| blob.digest).collect()
}

/// Returns the paths in a directory; one that is not there is empty.
pub(super) fn list(directory: &Path) -> Result<Vec<PathBuf>, StoreError> {
    let entries = match std::fs::read_dir(directory) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.during("list", directory)?,
    };
    entries.map(|entry| entry.map(|entry| entry.path()).during("list", directory)).collect()
}

/// Returns the last part of a path as text.
pub(super) fn file_name(path: &Path) -> String {
    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}
