//! The documents of an image in the store, read and checked.

use crate::diag::{Diagnostic, Exit};
use crate::exec::store_failure;
use crate::image::validate::{
    self, CONFIG_LIMIT_BYTES, Document, INDEX_DEPTH_LIMIT, INDEX_LIMIT, MANIFEST_LIMIT_BYTES, ValidateError,
};
use crate::image::{Descriptor, Digest, ImageConfig, Manifest, Platform};
use crate::store::Store;
use std::collections::BTreeMap;

/// The image of one platform.
#[derive(Debug, Clone)]
pub struct PlatformImage {
    /// Names the manifest.
    pub descriptor: Descriptor,
    /// The manifest.
    pub manifest: Manifest,
    /// The config's bytes.
    pub config_bytes: Vec<u8>,
    /// The config.
    pub config: ImageConfig,
}

impl PlatformImage {
    /// Returns the sum of layers and documents in bytes.
    pub fn size_bytes(&self) -> u64 {
        let layers: u64 = self.manifest.layers.iter().map(|layer| layer.size_bytes).sum();
        layers.saturating_add(self.manifest.config.size_bytes).saturating_add(self.descriptor.size_bytes)
    }
}

/// An image as a name stands for it: of one platform, or an index of several.
#[derive(Debug, Clone)]
pub struct StoredImage {
    /// Its manifest or index.
    pub top: Descriptor,
    /// All manifests and indexes, those that are referred to before what refers to them; `top` is the last.
    pub documents: Vec<(Descriptor, Vec<u8>)>,
    /// The images by platform, in the order of the index.
    pub images: Vec<PlatformImage>,
    /// Layers and configs, each once, those of attestations too.
    pub blobs: Vec<Descriptor>,
}

impl StoredImage {
    /// Reads an image's documents.
    pub fn read(store: &Store, top: &Descriptor) -> Result<StoredImage, Diagnostic> {
        let mut reader =
            Reader { store, documents: Vec::new(), images: Vec::new(), blobs: BTreeMap::new(), order: Vec::new() };
        reader.document(top, INDEX_DEPTH_LIMIT)?;
        if reader.images.is_empty() {
            return Err(Diagnostic::error(Exit::Usage, format!("{} holds no image", top.digest)));
        }
        let blobs = reader.order.iter().filter_map(|digest| reader.blobs.remove(digest)).collect();
        Ok(StoredImage { top: top.clone(), documents: reader.documents, images: reader.images, blobs })
    }

    /// Returns the image's id: the digest of its config, or of the index when there are several images.
    pub fn id(&self) -> Digest {
        match self.images.as_slice() {
            [image] if self.documents.len() == 1 => image.manifest.config.digest,
            _ => self.top.digest,
        }
    }

    /// Returns the image for this machine's platform, else the first.
    pub fn main(&self) -> &PlatformImage {
        let host = Platform::host();
        self.images.iter().find(|image| image.config.platform().normalised() == host).unwrap_or(&self.images[0])
    }

    /// Returns the sum of all blobs and documents in bytes.
    pub fn size_bytes(&self) -> u64 {
        let blobs = self.blobs.iter().chain(self.documents.iter().map(|(descriptor, _)| descriptor));
        blobs.fold(0, |sum: u64, blob| sum.saturating_add(blob.size_bytes))
    }
}

struct Reader<'a> {
    store: &'a Store,
    documents: Vec<(Descriptor, Vec<u8>)>,
    images: Vec<PlatformImage>,
    blobs: BTreeMap<Digest, Descriptor>,
    order: Vec<Digest>,
}

impl Reader<'_> {
    fn document(&mut self, descriptor: &Descriptor, depth: usize) -> Result<(), Diagnostic> {
        if self.documents.iter().any(|(known, _)| known.digest == descriptor.digest) {
            return Ok(());
        }
        let invalid = |error: ValidateError| invalid(descriptor, &error);
        if depth == 0 || self.documents.len() > INDEX_LIMIT {
            return Err(Diagnostic::error(Exit::Usage, format!("image {} is nested too deep", descriptor.digest)));
        }
        let bytes = self.bytes(&descriptor.digest, MANIFEST_LIMIT_BYTES)?;
        match validate::document(&bytes, &descriptor.media_type).map_err(invalid)? {
            Document::Index(index) => {
                index.manifests.iter().try_for_each(|manifest| self.document(manifest, depth - 1))?;
            }
            Document::Manifest(manifest) => self.manifest(descriptor, manifest)?,
        }
        self.documents.push((descriptor.clone(), bytes));
        Ok(())
    }

    fn manifest(&mut self, descriptor: &Descriptor, manifest: Manifest) -> Result<(), Diagnostic> {
        for blob in manifest.layers.iter().chain([&manifest.config]) {
            if self.blobs.insert(blob.digest, blob.clone()).is_none() {
                self.order.push(blob.digest);
            }
        }
        if is_attestation(descriptor) {
            return Ok(());
        }
        let invalid = |error: ValidateError| invalid(descriptor, &error);
        validate::config_type(&manifest).map_err(invalid)?;
        let config_bytes = self.bytes(&manifest.config.digest, CONFIG_LIMIT_BYTES)?;
        let config = validate::config(&config_bytes, &manifest.config).map_err(invalid)?;
        validate::pulled(&manifest, &config).map_err(invalid)?;
        self.images.push(PlatformImage { descriptor: descriptor.clone(), manifest, config_bytes, config });
        Ok(())
    }

    fn bytes(&self, digest: &Digest, limit_bytes: u64) -> Result<Vec<u8>, Diagnostic> {
        let content = self.store.read_blob(digest, limit_bytes).map_err(store_failure)?;
        content.ok_or_else(|| {
            Diagnostic::error(Exit::Step, format!("the store does not have blob {digest}"))
                .hint("`cooper store check` tells what else is missing; pull, load or build the image again")
        })
    }
}

/// Whether a manifest in an index is one of BuildKit's attestations, which no platform runs.
fn is_attestation(descriptor: &Descriptor) -> bool {
    descriptor.annotations.contains_key("vnd.docker.reference.type")
        || descriptor.platform.as_ref().is_some_and(|platform| platform.os == "unknown")
}

fn invalid(descriptor: &Descriptor, error: &ValidateError) -> Diagnostic {
    Diagnostic::from_error(Exit::Usage, error).note(format!("in image {}", descriptor.digest))
}
