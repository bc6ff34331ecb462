//! What a user calls an image: a name, a name with a digest, an id, the beginning of an id.

use super::image::StoredImage;
use crate::diag::{Diagnostic, Exit, nearest};
use crate::exec::store_failure;
use crate::image::{Descriptor, Digest, Reference};
use crate::store::{NamedImage, Store};
use std::collections::BTreeMap;

/// An image that was found.
#[derive(Debug, Clone, PartialEq)]
pub struct Found {
    /// The name it was found by; `None` when it was found by its id.
    pub name: Option<Reference>,
    /// Its manifest or index.
    pub descriptor: Descriptor,
}

/// Finds the one image that `text` means.
///
/// Names come first, as with Docker: an image named `cafe` hides one whose id begins so.
pub fn find(store: &Store, text: &str) -> Result<Found, Diagnostic> {
    let images = store.images().map_err(store_failure)?;
    find_among(store, &images, text)?.ok_or_else(|| unknown(&images, text))
}

/// Finds the image that `text` means if there is one; the beginning of several ids is an error all the same.
pub fn find_if_there(store: &Store, text: &str) -> Result<Option<Found>, Diagnostic> {
    find_among(store, &store.images().map_err(store_failure)?, text)
}

fn find_among(store: &Store, images: &[NamedImage], text: &str) -> Result<Option<Found>, Diagnostic> {
    if let Ok(reference) = text.parse::<Reference>()
        && let Some(descriptor) = by_name(images, &reference)
    {
        return Ok(Some(Found { name: Some(reference), descriptor }));
    }
    Ok(by_id(store, images, text)?.map(|descriptor| Found { name: None, descriptor }))
}

/// Returns a name that an image can be given: one without a digest.
pub fn parse_name(text: &str) -> Result<Reference, Diagnostic> {
    let name: Reference = text.parse().map_err(|error| Diagnostic::from_error(Exit::Usage, &error))?;
    match name.digest {
        None => Ok(name),
        Some(_) => Err(Diagnostic::error(Exit::Usage, format!("a name for an image cannot hold a digest: `{text}`"))),
    }
}

fn by_name(images: &[NamedImage], reference: &Reference) -> Option<Descriptor> {
    let full = reference.to_string();
    let exact = images.iter().find(|image| image.name.as_deref() == Some(&full));
    let by_digest = || {
        let digest = reference.digest?;
        let repository = |name: &str| name.parse::<Reference>().is_ok_and(|name| name.name() == reference.name());
        images.iter().find(|image| image.descriptor.digest == digest && image.name.as_deref().is_some_and(repository))
    };
    exact.or_else(by_digest).map(|image| image.descriptor.clone())
}

/// An id is the digest of the config, as Docker has it; that of the manifest or index is taken too.
fn by_id(store: &Store, images: &[NamedImage], text: &str) -> Result<Option<Descriptor>, Diagnostic> {
    let hex = text.strip_prefix("sha256:").unwrap_or(text);
    let is_prefix =
        (1..=64).contains(&hex.len()) && hex.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    if !is_prefix {
        return Ok(None);
    }
    let begins = |digest: &Digest| digest.hex().starts_with(hex);
    let mut matches: BTreeMap<Digest, &NamedImage> = BTreeMap::new();
    for image in images {
        let by_manifest = begins(&image.descriptor.digest);
        if by_manifest || StoredImage::read(store, &image.descriptor).is_ok_and(|stored| begins(&stored.id())) {
            matches.insert(image.descriptor.digest, image);
        }
    }
    if matches.len() > 1 {
        let list: Vec<String> = matches
            .values()
            .map(|image| format!("{} {}", &image.descriptor.digest.hex()[..12], shown(image)))
            .collect();
        return Err(Diagnostic::error(Exit::Usage, format!("`{text}` is the beginning of several images' ids"))
            .note(list.join("\n"))
            .hint("write more digits of the id, or a name"));
    }
    Ok(matches.into_values().next().map(|image| image.descriptor.clone()))
}

/// Returns a name as users write it.
fn shown(image: &NamedImage) -> String {
    match &image.name {
        Some(name) => name.parse::<Reference>().map_or_else(|_| name.clone(), |name| name.familiar()),
        None => "<none>".to_owned(),
    }
}

fn unknown(images: &[NamedImage], text: &str) -> Diagnostic {
    let diagnostic = Diagnostic::error(Exit::Usage, format!("no such image: `{text}`"));
    let names: Vec<String> = images.iter().filter(|image| image.name.is_some()).map(shown).collect();
    let wanted = text.parse::<Reference>().map_or_else(|_| text.to_owned(), |reference| reference.familiar());
    // Another tag of the same repository is nearer than anything that is spelled alike.
    let repository =
        |name: &str| name.rsplit_once(':').map_or(name.to_owned(), |(repository, _)| repository.to_owned());
    let tags: Vec<&String> = names.iter().filter(|name| repository(name) == repository(&wanted)).take(5).collect();
    if !tags.is_empty() {
        let list: Vec<String> = tags.iter().map(|name| format!("`{name}`")).collect();
        return diagnostic.hint(format!("there is {}", list.join(", ")));
    }
    match nearest(&wanted, names.iter().map(String::as_str)) {
        Some(name) => diagnostic.hint(format!("did you mean `{name}`?")),
        None => {
            diagnostic.hint("`cooper images` lists what the store has, `cooper pull` gets an image from a registry")
        }
    }
}
