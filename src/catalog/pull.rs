//! An image from a registry into the store.

use super::Transfer;
use crate::diag::{Diagnostic, Exit};
use crate::event::{Outcome, Task};
use crate::exec::store_failure;
use crate::image::{Descriptor, Digest, Platform, Reference};
use crate::registry::Resolved;
use crate::store::Pulled;

/// What a pull has done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pull {
    /// The image's name.
    pub name: Reference,
    /// The digest that the registry has for the name: of the index, where there is one.
    pub digest: Digest,
    /// Whether the store had the image under that name already.
    pub is_up_to_date: bool,
    /// Bytes of layers that came.
    pub fetched_bytes: u64,
}

/// Copies the image of a platform with all its blobs, and names it.
///
/// Layers come as blobs and are unpacked by the first build that needs them.
pub fn pull(transfer: &Transfer<'_>, reference: &Reference, platform: &Platform) -> Result<Pull, Diagnostic> {
    let task = transfer.reporter.start(format!("pull {}", reference.familiar()));
    let result = pull_image(transfer, reference, platform, &task);
    task.end(match &result {
        Ok(pull) if pull.is_up_to_date => Outcome::Cached,
        Ok(_) => Outcome::Done,
        Err(error) => Outcome::Failed(error.message.clone()),
    });
    result
}

fn pull_image(
    transfer: &Transfer<'_>,
    reference: &Reference,
    platform: &Platform,
    task: &Task,
) -> Result<Pull, Diagnostic> {
    let store = transfer.store;
    let image = transfer
        .client()?
        .resolve(reference, platform)
        .map_err(|error| Diagnostic::from_error(Exit::Network, &error))?;
    // A digest says which image it is; a tag beside it says nothing that is checked.
    let name = match reference.digest {
        Some(_) => Reference { tag: None, ..reference.clone() },
        None => reference.clone(),
    };
    let before = store.image(&name).map_err(store_failure)?;
    let missing: Vec<(Reference, &Descriptor)> = image
        .manifest
        .layers
        .iter()
        .filter(|layer| !store.has_blob(&layer.digest, layer.size_bytes))
        .map(|layer| (image.reference.clone(), layer))
        .collect();
    transfer.fetch(&missing, task)?;
    let is_up_to_date = missing.is_empty() && before.is_some_and(|before| before.digest == image.descriptor.digest);
    let fetched_bytes = missing.iter().map(|(_, layer)| layer.size_bytes).sum();
    let digest = image.reference.digest.unwrap_or(image.descriptor.digest);
    keep(transfer, &name, platform, &image)?;
    Ok(Pull { name, digest, is_up_to_date, fetched_bytes })
}

/// Writes documents, then the name, then what later builds and pushes want to know of where it came from.
fn keep(transfer: &Transfer<'_>, name: &Reference, platform: &Platform, image: &Resolved) -> Result<(), Diagnostic> {
    let store = transfer.store;
    store.write_blob(&image.config_bytes).map_err(store_failure)?;
    store.write_blob(&image.manifest_bytes).map_err(store_failure)?;
    let mut descriptor = image.descriptor.clone();
    descriptor.annotations.clear();
    descriptor.platform = Some(image.config.platform());
    store.name_image(std::slice::from_ref(name), &descriptor).map_err(store_failure)?;
    let now = jiff::Timestamp::now().as_second();
    let pulled = Pulled::new(name.to_string(), platform.clone(), image.descriptor.clone(), now);
    store.put_pulled(&pulled).map_err(store_failure)
}
