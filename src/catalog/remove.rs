//! Names taken from images, and images that have none left.

use super::find::find_if_there;
use super::image::StoredImage;
use super::{Found, find};
use crate::diag::{Diagnostic, Exit};
use crate::exec::store_failure;
use crate::image::{Descriptor, Digest, Reference};
use crate::store::{NamedImage, Store};

/// What was removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Removed {
    /// A name.
    Name(String),
    /// An image, by its id.
    Image(Digest),
}

/// Removes a name, or by its id an image with its name; with `force` an image with all its names.
///
/// The blobs go with the next prune, which knows whether anything else needs them.
pub fn remove(store: &Store, text: &str, force: bool) -> Result<Vec<Removed>, Diagnostic> {
    let Found { name, descriptor } = match find_if_there(store, text)? {
        Some(found) => found,
        None if force => return Ok(Vec::new()),
        None => find(store, text)?,
    };
    // Read first: afterwards nothing says what its id was.
    let (id, manifests) = match StoredImage::read(store, &descriptor) {
        Ok(image) => (image.id(), image.documents.iter().map(|(document, _)| document.digest).collect()),
        Err(_) => (descriptor.digest, vec![descriptor.digest]),
    };
    let gone = match name {
        Some(name) => forget_name(store, &name, &descriptor)?,
        None => forget_all(store, text, &descriptor, force)?,
    };
    let mut removed: Vec<Removed> = gone.iter().filter_map(familiar).map(Removed::Name).collect();
    let is_left = |image: &NamedImage| image.descriptor.digest == descriptor.digest;
    if !store.images().map_err(store_failure)?.iter().any(is_left) {
        // What is known of where it came from would keep its blobs.
        store.forget_pulled(|pulled| manifests.contains(&pulled.manifest.digest)).map_err(store_failure)?;
        removed.push(Removed::Image(id));
    }
    Ok(removed)
}

fn forget_name(store: &Store, name: &Reference, descriptor: &Descriptor) -> Result<Vec<NamedImage>, Diagnostic> {
    // A name with a digest may have been found under a tag.
    let matches = |image: &NamedImage| match (&image.name, name.digest) {
        (Some(full), _) if *full == name.to_string() => true,
        (Some(full), Some(digest)) => {
            image.descriptor.digest == digest
                && descriptor.digest == digest
                && full.parse::<Reference>().is_ok_and(|other| other.name() == name.name())
        }
        _ => false,
    };
    store.forget_images(matches).map_err(store_failure)
}

fn forget_all(store: &Store, text: &str, descriptor: &Descriptor, force: bool) -> Result<Vec<NamedImage>, Diagnostic> {
    let is_it = |image: &NamedImage| image.descriptor.digest == descriptor.digest;
    let names: Vec<String> =
        store.images().map_err(store_failure)?.iter().filter(|i| is_it(i)).filter_map(familiar).collect();
    if names.len() > 1 && !force {
        return Err(Diagnostic::error(Exit::Usage, format!("image `{text}` has several names"))
            .note(names.join("\n"))
            .hint("name the one that is to go, or remove all of them with `--force`"));
    }
    store.forget_images(is_it).map_err(store_failure)
}

fn familiar(image: &NamedImage) -> Option<String> {
    let name = image.name.as_ref()?;
    Some(name.parse::<Reference>().map_or_else(|_| name.clone(), |name| name.familiar()))
}
