//! What of the store can go.
//!
//! A layer in use is held by a shared lock; a prune takes an exclusive one without waiting, so it never touches what a
//! build works with and no build ever waits for it.  Blobs are kept while an image, a known base or a layer names them.
//! A build writes blobs before the manifest that names them: while any other program has the store open, blobs that were
//! written or asked for in the last hour stay too.

use super::live::{self, Parts, file_name, list};
use super::lock::{self, Mode};
use super::mounts::RESET;
use super::usage::size_on_disk;
use super::{IoContext, LayerId, Store, StoreError};
use crate::image::Digest;
use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// How long something in `tmp/` may stand before it counts as left by a killed build.
const TMP_AGE: Duration = Duration::from_secs(24 * 3600);
/// How long a blob may stand unnamed while builds run.
const BLOB_AGE: Duration = Duration::from_secs(3600);

/// What a prune removes.
#[derive(Debug, Clone, Default)]
pub struct PruneOptions {
    /// Images without a name, known bases and their unpacked layers, and cache mounts too.
    pub all: bool,
    /// Only what was not used for so long.
    pub older_than: Option<Duration>,
    /// Only tells.
    pub dry_run: bool,
}

/// What a prune removed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pruned {
    /// Images, layers, blobs and mounts by name.
    pub names: Vec<String>,
    /// Disk space freed, in bytes.
    pub bytes: u64,
}

/// Removes what nothing needs: leftovers of killed builds, cache records, and then the layers and blobs nobody names.
pub fn prune(store: &Store, options: &PruneOptions) -> Result<Pruned, StoreError> {
    let mut sweep = Sweep { store, options, pruned: Pruned::default(), gone: HashSet::new() };
    let age = options.older_than.unwrap_or_default();
    sweep.leftovers()?;
    sweep.files("logs", age)?;
    let records = sweep.files("records", age)?;
    sweep.mounts(age)?;
    if options.all {
        sweep.files("pulled", age)?;
        sweep.files("contexts", age)?;
        sweep.nameless_images()?;
    }
    sweep.layers(age, &records)?;
    sweep.blobs(age)?;
    Ok(sweep.pruned)
}

struct Sweep<'a> {
    store: &'a Store,
    options: &'a PruneOptions,
    pruned: Pruned,
    /// Layers that are gone, or in a dry run would be.
    gone: HashSet<PathBuf>,
}

impl Sweep<'_> {
    /// Removes what killed builds left in `tmp/`.  What a running build has there is locked or young.
    fn leftovers(&mut self) -> Result<(), StoreError> {
        if !self.options.dry_run {
            self.store.bring_back_mounts()?;
        }
        for path in list(&self.store.root().join("tmp"))?.into_iter().filter(|path| is_older(path, TMP_AGE)) {
            let is_free = !path.is_dir() || matches!(lock::try_lock(&path, Mode::Exclusive), Ok(Some(_)));
            if is_free {
                self.remove(&path);
            }
        }
        Ok(())
    }

    /// Removes the files of a part that are old enough and returns the others.
    fn files(&mut self, part: &str, age: Duration) -> Result<Vec<PathBuf>, StoreError> {
        let (old, young): (Vec<PathBuf>, Vec<PathBuf>) =
            list(&self.store.root().join(part))?.into_iter().partition(|path| is_older(path, age));
        old.iter().for_each(|path| self.remove(path));
        Ok(young)
    }

    fn mounts(&mut self, age: Duration) -> Result<(), StoreError> {
        let goes = |path: &PathBuf| file_name(path).contains(RESET) || (self.options.all && is_older(path, age));
        let mounts: Vec<PathBuf> = list(&self.store.root().join("mounts"))?.into_iter().filter(goes).collect();
        for path in mounts {
            self.remove_unlocked("cache mount", &path)?;
        }
        Ok(())
    }

    fn nameless_images(&mut self) -> Result<(), StoreError> {
        let is_nameless = |image: &super::NamedImage| image.name.is_none();
        let gone: Vec<_> = match self.options.dry_run {
            true => self.store.images()?.into_iter().filter(is_nameless).collect(),
            false => self.store.forget_images(is_nameless)?,
        };
        self.pruned.names.extend(gone.iter().map(|image| format!("image {}", image.descriptor.digest)));
        Ok(())
    }

    /// Returns what images and known bases need, as of now.
    fn needed(&self, age: Duration) -> Result<Parts, StoreError> {
        let is_kept = |image: &super::NamedImage| image.name.is_some() || !self.options.all;
        let images = self.store.images()?.into_iter().filter(is_kept).map(|image| image.descriptor.digest);
        let mut bases = list(&self.store.root().join("pulled"))?;
        // Those that go are gone, but for a dry run.
        bases.retain(|path| !(self.options.all && self.options.dry_run && is_older(path, age)));
        let mut needed = Parts::default();
        needed.add(self.store, images.chain(live::bases(&bases)).collect());
        Ok(needed)
    }

    /// Removes the layers that neither a record nor an image names.
    fn layers(&mut self, age: Duration, records: &[PathBuf]) -> Result<(), StoreError> {
        let mut needed = live::recorded_layers(records);
        needed.extend(self.needed(age)?.layers);
        let needed: HashSet<&str> = needed.iter().map(LayerId::as_str).collect();
        for path in list(&self.store.root().join("layers"))? {
            let is_needed = needed.contains(file_name(&path).as_str()) && !self.may_unpack_again(&path, age);
            if !is_needed && is_older(&path, age) {
                let is_gone = self.remove_unlocked("layer", &path)?;
                self.gone.extend(is_gone.then_some(path));
            }
        }
        Ok(())
    }

    /// Whether a layer is that of an image, and is to go all the same: its blob stays.
    fn may_unpack_again(&self, path: &Path, age: Duration) -> bool {
        self.options.all && file_name(path).starts_with("chain-") && is_older(path, age)
    }

    fn blobs(&mut self, age: Duration) -> Result<(), StoreError> {
        let alone = self.store.presence.try_lock().is_ok();
        let result = self.unneeded_blobs(age, if alone { Duration::ZERO } else { BLOB_AGE });
        // Back to one among many.
        let _ = self.store.presence.lock_shared();
        result
    }

    /// Only now it is asked what is needed: a build that ended a moment ago has named its image.
    fn unneeded_blobs(&mut self, age: Duration, blob_age: Duration) -> Result<(), StoreError> {
        let mut needed = self.needed(age)?.blobs;
        let mut layers = list(&self.store.root().join("layers"))?;
        layers.retain(|path| !self.gone.contains(path));
        needed.extend(live::layer_blobs(&layers));
        for path in list(&self.store.root().join("oci/blobs/sha256"))? {
            let digest = format!("sha256:{}", file_name(&path)).parse::<Digest>();
            if !digest.is_ok_and(|digest| needed.contains(&digest)) && is_older(&path, blob_age) {
                self.remove_blob(&path, blob_age)?;
            }
        }
        Ok(())
    }

    /// Takes a blob away, and puts it back if a build has asked for it in between.
    fn remove_blob(&mut self, path: &Path, age: Duration) -> Result<(), StoreError> {
        let bytes = size_on_disk(path);
        if !self.options.dry_run {
            let grave = self.store.temporary()?;
            let aside = grave.path().join("blob");
            match std::fs::rename(path, &aside) {
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
                other => other.during("remove", path)?,
            }
            if !is_older(&aside, age) {
                return std::fs::rename(&aside, path).during("put back", path);
            }
        }
        self.pruned.names.push(format!("blob sha256:{}", file_name(path)));
        self.pruned.bytes += bytes;
        Ok(())
    }

    /// Removes a directory unless somebody uses it; returns whether it is gone.
    fn remove_unlocked(&mut self, kind: &str, directory: &Path) -> Result<bool, StoreError> {
        let Ok(Some(lock)) = lock::try_lock(directory, Mode::Exclusive) else { return Ok(false) };
        let bytes = size_on_disk(directory);
        if !self.options.dry_run {
            // First out of sight, then deleted at leisure: nobody ever sees half a layer.
            let grave = self.store.temporary()?;
            if std::fs::rename(directory, grave.path().join("gone")).is_err() {
                return Ok(false);
            }
            drop(lock);
            grave.close().during("remove", directory)?;
        }
        self.pruned.names.push(format!("{kind} {}", file_name(directory)));
        self.pruned.bytes += bytes;
        Ok(true)
    }

    fn remove(&mut self, path: &Path) {
        let bytes = size_on_disk(path);
        let removed = match self.options.dry_run {
            true => Ok(()),
            false if path.is_dir() => std::fs::remove_dir_all(path),
            false => std::fs::remove_file(path),
        };
        // Another prune may have been faster.
        if removed.is_ok() {
            self.pruned.bytes += bytes;
        }
    }
}

fn is_older(path: &Path, age: Duration) -> bool {
    let modified = std::fs::symlink_metadata(path).and_then(|metadata| metadata.modified());
    modified.is_ok_and(|modified| SystemTime::now().duration_since(modified).unwrap_or_default() >= age)
}
