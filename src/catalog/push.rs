//! An image of the store to a registry, with all its platforms.

use super::compress::compressed;
use super::{StoredImage, Transfer};
use crate::diag::{Diagnostic, Exit};
use crate::event::{Outcome, Task};
use crate::exec::store_failure;
use crate::image::{Descriptor, Digest, Reference};
use crate::registry::{BlobSource, Progress, PushBlob, PushManifest};
use std::sync::Arc;

/// Pushes an image under a name and returns the digest that it has there.
///
/// A layer that came from a repository of the same registry is linked there instead of sent.  With `keeps_name` it is
/// an error if the name stands for another image.
pub fn push(
    transfer: &Transfer<'_>,
    image: &StoredImage,
    destination: &Reference,
    keeps_name: bool,
) -> Result<Digest, Diagnostic> {
    let task = transfer.reporter.start(format!("push {}", destination.familiar()));
    let result = push_image(transfer, image, destination, keeps_name, &task);
    task.end(match &result {
        Ok(_) => Outcome::Done,
        Err(error) => Outcome::Failed(error.message.clone()),
    });
    result
}

fn push_image(
    transfer: &Transfer<'_>,
    image: &StoredImage,
    destination: &Reference,
    keeps_name: bool,
    task: &Task,
) -> Result<Digest, Diagnostic> {
    transfer.complete(&image.blobs, task)?;
    let image = &compressed(transfer, image.clone(), task)?;
    let blob = |descriptor: &Descriptor| PushBlob {
        descriptor: descriptor.clone(),
        source: BlobSource::File(transfer.store.blob_path(&descriptor.digest)),
        mount_from: transfer.origin(&descriptor.digest).filter(|o| o.registry == destination.registry).cloned(),
    };
    let blobs: Vec<PushBlob> = image.blobs.iter().map(blob).collect();
    let mut manifests: Vec<PushManifest> = image
        .documents
        .iter()
        .map(|(descriptor, bytes)| PushManifest {
            media_type: descriptor.media_type.clone(),
            bytes: bytes.clone().into(),
        })
        .collect();
    let top = manifests
        .pop()
        .ok_or_else(|| Diagnostic::error(Exit::Bug, format!("image {} has no documents", image.top.digest)))?;
    let (reporter, id) = (transfer.reporter.clone(), task.id());
    let progress: Progress = Arc::new(move |item, current_bytes, total_bytes| {
        reporter.send(crate::event::Event::Progress { task: id, item: item.to_owned(), current_bytes, total_bytes });
    });
    let client = transfer.client()?.with_progress(progress);
    let client = if keeps_name { client.keeping_names() } else { client };
    let digest = client
        .push(destination, &blobs, &manifests, &top)
        .map_err(|error| Diagnostic::from_error(Exit::Network, &error))?;
    remember(transfer, image, destination)?;
    Ok(digest)
}

/// Notes where the layers are now: a later push to the same registry links them.
fn remember(transfer: &Transfer<'_>, image: &StoredImage, destination: &Reference) -> Result<(), Diagnostic> {
    let now = jiff::Timestamp::now().as_second();
    for platform in &image.images {
        // Under its digest, so that a build that names the tag asks the registry all the same.
        let reference = Reference { tag: None, ..destination.with_digest(platform.descriptor.digest) };
        let pulled = crate::store::Pulled::new(
            reference.to_string(),
            platform.config.platform().normalised(),
            platform.descriptor.clone(),
            now,
        );
        transfer.store.put_pulled(&pulled).map_err(store_failure)?;
    }
    Ok(())
}
