//! Images to registries.

use super::image::Assembled;
use super::layout::image_index;
use crate::diag::{Diagnostic, Exit};
use crate::event::Task;
use crate::exec::Session;
use crate::image::Reference;
use crate::registry::{BlobSource, PushBlob, PushManifest};
use std::collections::BTreeMap;

/// Pushes an image under all its names: blobs, manifests, and the names last.
pub fn push(
    session: &Session,
    names: &[Reference],
    images: &[Assembled],
    index_annotations: &BTreeMap<String, String>,
    task: &Task,
) -> Result<(), Diagnostic> {
    let manifest = |image: &Assembled| PushManifest {
        media_type: image.descriptor.media_type.clone(),
        bytes: image.manifest.clone().into(),
    };
    let mut manifests: Vec<PushManifest> = images.iter().map(manifest).collect();
    let top = match manifests.as_slice() {
        [_] => manifests.remove(0),
        _ => {
            let (descriptor, index) = image_index(images, index_annotations);
            PushManifest { media_type: descriptor.media_type, bytes: index.into() }
        }
    };
    let blobs: Vec<PushBlob> = images.iter().flat_map(|image| blobs(session, image)).collect();
    for name in names {
        task.detail(format!("pushing {name}"));
        session
            .client()?
            .push(name, &blobs, &manifests, &top)
            .map_err(|error| Diagnostic::from_error(Exit::Network, &error))?;
    }
    Ok(())
}

fn blobs(session: &Session, image: &Assembled) -> Vec<PushBlob> {
    let layer = |layer: &crate::exec::FinishedLayer| PushBlob {
        descriptor: layer.descriptor.clone(),
        source: BlobSource::File(session.store().blob_path(&layer.descriptor.digest)),
        mount_from: None,
    };
    let config = PushBlob {
        descriptor: image.config_descriptor.clone(),
        source: BlobSource::Bytes(image.config.clone().into()),
        mount_from: None,
    };
    image.layers.iter().map(layer).chain([config]).collect()
}
