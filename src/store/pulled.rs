//! Which manifest a reference meant when it was last looked up.
//!
//! A build whose base is known asks no registry; `--pull` does.

use super::live::list;
use super::{IoContext, Store, StoreError, VERSION, file};
use crate::image::{Descriptor, Platform};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// Largest entry that is read.
pub(super) const LIMIT_BYTES: u64 = 1 << 16;

/// What a reference meant.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Pulled {
    version: u32,
    /// The reference, normalised.
    pub reference: String,
    /// For which platform.
    pub platform: Platform,
    /// The manifest; its bytes and those of the config are blobs of the layout.
    pub manifest: Descriptor,
    /// When it was looked up, seconds since the epoch.
    pub looked_up: i64,
}

impl Pulled {
    /// Returns an entry of the present version.
    pub fn new(reference: String, platform: Platform, manifest: Descriptor, looked_up: i64) -> Pulled {
        Pulled { version: VERSION, reference, platform, manifest, looked_up }
    }
}

impl Store {
    /// Returns what a reference meant last, and notes its use; a damaged entry is as good as none.
    pub fn pulled(&self, reference: &str, platform: &Platform) -> Result<Option<Pulled>, StoreError> {
        let content = match file::read_and_renew(&self.pulled_path(reference, platform), LIMIT_BYTES) {
            Err(StoreError::Damaged { .. }) => None,
            other => other?,
        };
        let pulled = content.and_then(|content| serde_json::from_slice::<Pulled>(&content).ok());
        Ok(pulled.filter(|p| p.version == VERSION && p.reference == reference && p.platform == *platform))
    }

    /// Returns all that is known of references; damaged entries are left out.
    pub fn all_pulled(&self) -> Result<Vec<Pulled>, StoreError> {
        let read = |path: PathBuf| {
            let content = file::read_limited(&path, LIMIT_BYTES).ok().flatten()?;
            serde_json::from_slice::<Pulled>(&content).ok().filter(|pulled| pulled.version == VERSION)
        };
        Ok(list(&self.root().join("pulled"))?.into_iter().filter_map(read).collect())
    }

    /// Forgets what is known of references that `which` chooses.
    pub fn forget_pulled(&self, which: impl Fn(&Pulled) -> bool) -> Result<(), StoreError> {
        for pulled in self.all_pulled()?.into_iter().filter(|pulled| which(pulled)) {
            let path = self.pulled_path(&pulled.reference, &pulled.platform);
            match std::fs::remove_file(&path) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error).during("remove", &path)?,
                _ => {}
            }
        }
        Ok(())
    }

    /// Remembers what a reference means.
    pub fn put_pulled(&self, pulled: &Pulled) -> Result<(), StoreError> {
        let content = serde_json::to_vec(pulled).unwrap_or_default();
        let path = self.pulled_path(&pulled.reference, &pulled.platform);
        file::write_atomically(self.root(), &path, &content, file::Replace::Always)
    }

    fn pulled_path(&self, reference: &str, platform: &Platform) -> PathBuf {
        let name = blake3::hash(format!("{reference}\0{platform}").as_bytes());
        self.root().join("pulled").join(name.to_hex().as_str())
    }
}
