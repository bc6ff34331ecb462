//! Images as they leave the store: layers that it keeps uncompressed are compressed, once.

use super::{StoredImage, Transfer};
use crate::diag::{Diagnostic, Exit};
use crate::event::Task;
use crate::exec::store_failure;
use crate::image::validate::{Document, document};
use crate::image::{Descriptor, Digest, media_type};
use crate::layer::{Compression, LayerWriter};
use std::collections::HashMap;
use std::fs::File;
use std::io;

/// How layers leave the store: as every registry and tool takes them.
const COMPRESSION: Compression = Compression::Gzip(None);

/// Returns the image with all its layers compressed; one whose layers are is returned as it is.
///
/// The bytes, and so the digest, are the same each time.
pub fn compressed(transfer: &Transfer<'_>, image: StoredImage, task: &Task) -> Result<StoredImage, Diagnostic> {
    let mut changed: HashMap<Digest, Descriptor> = HashMap::new();
    for blob in &image.blobs {
        if let Some(media_type) = compressed_type(&blob.media_type) {
            task.detail(format!("compressing {}", blob.digest));
            let compressed = compress(transfer, blob, media_type)?;
            changed.insert(blob.digest, compressed);
        }
    }
    if changed.is_empty() {
        return Ok(image);
    }
    for (descriptor, bytes) in &image.documents {
        let bytes =
            match document(bytes, &descriptor.media_type).map_err(|e| Diagnostic::from_error(Exit::Usage, &e))? {
                Document::Manifest(mut manifest) => {
                    manifest.layers.iter_mut().for_each(|layer| replace(layer, &changed));
                    serde_json::to_vec(&manifest)
                }
                Document::Index(mut index) => {
                    index.manifests.iter_mut().for_each(|manifest| replace(manifest, &changed));
                    serde_json::to_vec(&index)
                }
            };
        let bytes =
            bytes.map_err(|error| Diagnostic::error(Exit::Bug, "cannot write a manifest").note(error.to_string()))?;
        let new = Descriptor::of(descriptor.media_type.clone(), &bytes);
        transfer.store.write_blob(&bytes).map_err(store_failure)?;
        changed.insert(descriptor.digest, new);
    }
    let mut top = image.top.clone();
    replace(&mut top, &changed);
    StoredImage::read(transfer.store, &top)
}

/// Puts the new blob in the place of the old one; platform and annotations stay.
fn replace(descriptor: &mut Descriptor, changed: &HashMap<Digest, Descriptor>) {
    if let Some(new) = changed.get(&descriptor.digest) {
        descriptor.media_type.clone_from(&new.media_type);
        descriptor.digest = new.digest;
        descriptor.size_bytes = new.size_bytes;
    }
}

fn compressed_type(media_type: &str) -> Option<&'static str> {
    match media_type {
        media_type::LAYER => Some(media_type::LAYER_GZIP),
        media_type::DOCKER_LAYER => Some(media_type::DOCKER_LAYER_GZIP),
        _ => None,
    }
}

fn compress(transfer: &Transfer<'_>, blob: &Descriptor, media_type: &str) -> Result<Descriptor, Diagnostic> {
    let store = transfer.store;
    let encoding = COMPRESSION.encoding();
    let known = store
        .compressed_form(&blob.digest, &encoding)
        .filter(|(digest, size_bytes)| store.has_blob(digest, *size_bytes));
    if let Some((digest, size_bytes)) = known {
        return Ok(Descriptor::new(media_type, digest, size_bytes));
    }
    let failed = |error: io::Error| {
        Diagnostic::error(Exit::Step, format!("cannot compress layer {}", blob.digest)).note(error.to_string())
    };
    let mut tar = File::open(store.blob_path(&blob.digest)).map_err(failed)?;
    let file = store.blob_file().map_err(store_failure)?;
    let mut writer = LayerWriter::new(file.reopen().map_err(failed)?, COMPRESSION).map_err(failed)?;
    io::copy(&mut tar, &mut writer).map_err(failed)?;
    let (written, _) = writer.finish().map_err(failed)?;
    // The digest of a layer that is not compressed is its diff id: a damaged blob must not get a new, valid name.
    if written.diff_id != blob.digest {
        return Err(failed(io::Error::other(format!("it is damaged: it has the digest {}", written.diff_id))));
    }
    store.adopt_blob(file, &written.digest).map_err(store_failure)?;
    store.put_compressed_form(&blob.digest, &encoding, (written.digest, written.size_bytes)).map_err(store_failure)?;
    Ok(Descriptor::new(media_type, written.digest, written.size_bytes))
}
