//! Cache records: which layers a step with a given key made.

use super::{LayerId, Store, StoreError, VERSION, file};
use crate::image::Digest;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// Largest record that is read; one with 500 layers has 30 KiB.
pub(super) const RECORD_LIMIT_BYTES: u64 = 1 << 20;

/// The name of a record: 32 bytes, a BLAKE3 hash.
pub type Key = [u8; 32];

/// What a step made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    pub(super) version: u32,
    /// Every layer of the resulting file system above the base image's, lowest first.
    ///
    /// All of them and not just the step's own: a layer is a difference to exactly those below it, and a step below that
    /// has been run again may have made another one.  The base image is part of the key.  Under the content key of a
    /// `COPY --link`, whose layer is a difference to nothing, there is that layer alone.
    pub layers: Vec<LayerId>,
    /// When the step ran, seconds since the epoch.
    pub created: i64,
    /// How long it took, milliseconds.
    pub elapsed_ms: u64,
}

impl Record {
    /// Returns a record of the present version.
    pub fn new(layers: Vec<LayerId>, created: i64, elapsed_ms: u64) -> Record {
        Record { version: VERSION, layers, created, elapsed_ms }
    }
}

impl Store {
    /// Returns the record of a key and notes its use; one that is damaged or of another version is a miss.
    pub fn record(&self, key: &Key) -> Result<Option<Record>, StoreError> {
        let content = match file::read_and_renew(&self.record_path(key), RECORD_LIMIT_BYTES) {
            Err(StoreError::Damaged { .. }) => None,
            other => other?,
        };
        let record = content.and_then(|content| serde_json::from_slice::<Record>(&content).ok());
        Ok(record.filter(|record| record.version == VERSION))
    }

    /// Writes the record of a key; the newest wins.
    pub fn put_record(&self, key: &Key, record: &Record) -> Result<(), StoreError> {
        let content = serde_json::to_vec(record).unwrap_or_default();
        file::write_atomically(self.root(), &self.record_path(key), &content, file::Replace::Always)
    }

    /// Returns what was written for `slot` last: the description of a step, to tell why it misses now.
    pub fn description(&self, slot: &Key) -> Option<Vec<u8>> {
        file::read_limited(&self.description_path(slot), RECORD_LIMIT_BYTES * 64).ok().flatten()
    }

    /// Keeps the description of the step at `slot` (a place in a Dockerfile).
    pub fn put_description(&self, slot: &Key, description: &[u8]) -> Result<(), StoreError> {
        file::write_atomically(self.root(), &self.description_path(slot), description, file::Replace::Always)
    }

    /// Returns digest and size of the compressed form of an uncompressed layer, if it was made before.
    pub fn compressed_form(&self, layer: &Digest, encoding: &str) -> Option<(Digest, u64)> {
        let path = self.compressed_form_path(layer, encoding);
        let content = file::read_and_renew(&path, RECORD_LIMIT_BYTES).ok().flatten()?;
        let (version, digest, size_bytes) = serde_json::from_slice::<(u32, Digest, u64)>(&content).ok()?;
        (version == VERSION).then_some((digest, size_bytes))
    }

    /// Remembers the compressed form of a layer.
    pub fn put_compressed_form(&self, layer: &Digest, encoding: &str, form: (Digest, u64)) -> Result<(), StoreError> {
        let content = serde_json::to_vec(&(VERSION, form.0, form.1)).unwrap_or_default();
        let path = self.compressed_form_path(layer, encoding);
        file::write_atomically(self.root(), &path, &content, file::Replace::Always)
    }

    fn compressed_form_path(&self, layer: &Digest, encoding: &str) -> PathBuf {
        self.root().join("records").join(format!("blob-{}-{encoding}", layer.hex()))
    }

    fn record_path(&self, key: &Key) -> PathBuf {
        self.root().join("records").join(hex::encode(key))
    }

    /// Whether a file below `records/` is a record, and neither a description nor the compressed form of a layer.
    pub(super) fn is_record(name: &str) -> bool {
        name.len() == 64 && name.bytes().all(|b| b.is_ascii_hexdigit())
    }

    fn description_path(&self, slot: &Key) -> PathBuf {
        self.root().join("records").join(format!("why-{}", hex::encode(slot)))
    }
}
