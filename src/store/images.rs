//! The names of images: `oci/index.json`.

use super::{IoContext, Store, StoreError, file};
use crate::image::{Descriptor, Index, Reference, media_type};
use std::path::PathBuf;

/// Largest index.json that is read.
const INDEX_LIMIT_BYTES: u64 = 64 << 20;

/// The annotation that names an image in a layout (image-spec, annotations.md).
pub const REF_NAME: &str = "org.opencontainers.image.ref.name";
/// The annotation that containerd names an image by.
const CONTAINERD_NAME: &str = "io.containerd.image.name";

/// An image in the store.
#[derive(Debug, Clone, PartialEq)]
pub struct NamedImage {
    /// Its full name, e.g. `docker.io/library/app:1`; `None` for one that was made without a name.
    pub name: Option<String>,
    /// Its manifest or index.
    pub descriptor: Descriptor,
}

impl Store {
    /// Returns all images, in the order in which they were named.
    pub fn images(&self) -> Result<Vec<NamedImage>, StoreError> {
        let named =
            |descriptor: Descriptor| NamedImage { name: descriptor.annotations.get(REF_NAME).cloned(), descriptor };
        Ok(self.read_index()?.manifests.into_iter().map(named).collect())
    }

    /// Returns the image of that name.
    pub fn image(&self, reference: &Reference) -> Result<Option<Descriptor>, StoreError> {
        let name = reference.to_string();
        Ok(self.images()?.into_iter().find(|image| image.name.as_deref() == Some(&name)).map(|image| image.descriptor))
    }

    /// Names an image, taking each name from the image that had it.
    ///
    /// All names change at once: a reader sees the old index or the new one.
    pub fn name_image(&self, names: &[Reference], descriptor: &Descriptor) -> Result<(), StoreError> {
        self.change_index(|manifests| {
            for name in names.iter().map(Reference::to_string) {
                manifests.retain(|other| other.annotations.get(REF_NAME) != Some(&name));
                let mut named = descriptor.clone();
                named.annotations.insert(CONTAINERD_NAME.into(), name.clone());
                named.annotations.insert(REF_NAME.into(), name);
                manifests.push(named);
            }
            if names.is_empty() && !manifests.iter().any(|other| other.digest == descriptor.digest) {
                manifests.push(descriptor.clone());
            }
        })
    }

    /// Removes the entries that `which` chooses and returns them.
    pub fn forget_images(&self, which: impl Fn(&NamedImage) -> bool) -> Result<Vec<NamedImage>, StoreError> {
        let mut gone = Vec::new();
        self.change_index(|manifests| {
            manifests.retain(|descriptor| {
                let image =
                    NamedImage { name: descriptor.annotations.get(REF_NAME).cloned(), descriptor: descriptor.clone() };
                let goes = which(&image);
                if goes {
                    gone.push(image);
                }
                !goes
            });
        })?;
        Ok(gone)
    }

    fn index_path(&self) -> PathBuf {
        self.oci_layout().join("index.json")
    }

    fn read_index(&self) -> Result<Index, StoreError> {
        let path = self.index_path();
        let damaged = |reason: String| StoreError::Damaged { path: path.clone(), reason };
        let content = file::read_limited(&path, INDEX_LIMIT_BYTES)?.ok_or_else(|| damaged("it is missing".into()))?;
        serde_json::from_slice(&content).map_err(|error| damaged(error.to_string()))
    }

    fn change_index(&self, change: impl FnOnce(&mut Vec<Descriptor>)) -> Result<(), StoreError> {
        let lock_path = self.root().join("images.lock");
        let lock = file::create(&lock_path).during("open", &lock_path)?;
        lock.lock().during("lock", &lock_path)?;
        let mut index = self.read_index()?;
        change(&mut index.manifests);
        index.media_type = media_type::INDEX.into();
        let content = serde_json::to_vec(&index).unwrap_or_default();
        file::write_atomically(self.root(), &self.index_path(), &content, file::Replace::Always)
    }
}
