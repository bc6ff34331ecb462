//! Pushes an image: blobs side by side, then what refers to them, the name last.

use super::client::{Answer, Client, refusal};
use super::endpoint::{Access, Endpoint};
use super::{RegistryError, upload};
use crate::image::{Descriptor, Digest, Reference};
use crate::transport::{Body, Request, block_on};
use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt};
use http::header::CONTENT_TYPE;
use http::{HeaderName, Method};
use std::collections::BTreeSet;
use std::path::PathBuf;

/// Blobs that are sent at the same time; more gain nothing and make registries say 429.
const PARALLEL_BLOBS: usize = 4;

/// Where a blob's bytes are.
#[derive(Debug, Clone)]
pub enum BlobSource {
    /// In a file, whole.
    File(PathBuf),
    /// In memory.
    Bytes(Bytes),
}

/// A blob to push.
#[derive(Debug, Clone)]
pub struct PushBlob {
    /// Its type, digest and size.
    pub descriptor: Descriptor,
    /// Its bytes.
    pub source: BlobSource,
    /// A repository that has it; on the same registry it is linked instead of sent.
    pub mount_from: Option<Reference>,
}

/// A manifest or index to push.
#[derive(Debug, Clone)]
pub struct PushManifest {
    /// Its media type.
    pub media_type: String,
    /// Its bytes, exactly.
    pub bytes: Bytes,
}

impl Client {
    /// Pushes blobs, then `manifests` by digest, then `top` under the reference's name; returns the digest of `top`.
    ///
    /// For an image of several platforms `manifests` are those of the platforms and `top` is the index.
    pub fn push(
        &self,
        reference: &Reference,
        blobs: &[PushBlob],
        manifests: &[PushManifest],
        top: &PushManifest,
    ) -> Result<Digest, RegistryError> {
        block_on(async {
            let endpoint = self.primary(reference)?;
            self.check_name(&endpoint, reference, top).await?;
            self.push_all(&endpoint, blobs).await?;
            for manifest in manifests {
                self.put(&endpoint, &Digest::of(&manifest.bytes).to_string(), manifest).await?;
            }
            // Layers take their time, in which somebody else may have pushed.
            self.check_name(&endpoint, reference, top).await?;
            self.put(&endpoint, &name(reference, top)?, top).await
        })
    }

    /// Pushes blobs alone.
    pub fn push_blobs(&self, reference: &Reference, blobs: &[PushBlob]) -> Result<(), RegistryError> {
        block_on(async { self.push_all(&self.primary(reference)?, blobs).await })
    }

    /// Pushes one manifest under a reference's tag (else its digest), e.g. a further tag of a pushed image.
    pub fn put_manifest(&self, reference: &Reference, manifest: &PushManifest) -> Result<Digest, RegistryError> {
        block_on(async { self.put(&self.primary(reference)?, &name(reference, manifest)?, manifest).await })
    }

    /// Fails where a name that is to be kept stands for something else than `top`.
    ///
    /// The distribution-spec has no way to write a name only if it is not there, so what another writes between the
    /// question and our own writing is not seen.
    async fn check_name(
        &self,
        endpoint: &Endpoint,
        reference: &Reference,
        top: &PushManifest,
    ) -> Result<(), RegistryError> {
        if !self.keeps_names() || reference.tag.is_none() {
            return Ok(());
        }
        let named = Reference { digest: None, ..reference.clone() };
        let actual = match self.named_at(endpoint, &named).await {
            Ok(descriptor) => descriptor.digest,
            Err(RegistryError::UnknownManifest { .. }) => return Ok(()),
            Err(error) => return Err(error),
        };
        let wanted = Digest::of(&top.bytes);
        if actual == wanted {
            return Ok(());
        }
        Err(RegistryError::NameTaken { reference: named.to_string(), registry: endpoint.host.clone(), actual, wanted })
    }

    async fn push_all(&self, endpoint: &Endpoint, blobs: &[PushBlob]) -> Result<(), RegistryError> {
        let mut seen = BTreeSet::new();
        let distinct: Vec<&PushBlob> = blobs.iter().filter(|b| seen.insert(b.descriptor.digest)).collect();
        for blob in &distinct {
            check_source(blob)?;
        }
        futures_util::stream::iter(distinct.into_iter().map(|blob| upload::push(self, endpoint, blob)))
            .buffer_unordered(PARALLEL_BLOBS)
            .try_collect()
            .await
    }

    async fn put(&self, endpoint: &Endpoint, version: &str, manifest: &PushManifest) -> Result<Digest, RegistryError> {
        let digest = Digest::of(&manifest.bytes);
        let url = self.url(endpoint, &format!("manifests/{version}")).await?;
        let request = Request::new(Method::PUT, url)
            .header(CONTENT_TYPE, &manifest.media_type)
            .body(Body::Bytes(manifest.bytes.clone()));
        let answer = self.send(endpoint, Access::Push, &[], &request).await?;
        if !answer.response.status().is_success() {
            return Err(refusal(endpoint, Access::Push, answer.response, answer.credentials).await);
        }
        check_returned(endpoint, "the manifest", digest, &answer)?;
        Ok(digest)
    }
}

/// Returns what a manifest is put under: the tag, else the digest, which must be its own.
fn name(reference: &Reference, manifest: &PushManifest) -> Result<String, RegistryError> {
    let actual = Digest::of(&manifest.bytes);
    match (&reference.tag, reference.digest) {
        (_, Some(expected)) if expected != actual => Err(RegistryError::DigestMismatch {
            what: "the manifest to push",
            registry: reference.registry.clone(),
            expected,
            actual: actual.to_string(),
        }),
        (Some(tag), _) => Ok(tag.clone()),
        (None, _) => Ok(actual.to_string()),
    }
}

/// Fails early where a file has another length than its descriptor: the registry would only find out at the end.
fn check_source(blob: &PushBlob) -> Result<(), RegistryError> {
    let failed = |reason: String| RegistryError::Source { digest: blob.descriptor.digest, reason };
    let length = match &blob.source {
        BlobSource::Bytes(bytes) => bytes.len() as u64,
        BlobSource::File(path) => {
            std::fs::metadata(path).map_err(|e| failed(format!("`{}`: {e}", path.display())))?.len()
        }
    };
    let expected = blob.descriptor.size_bytes;
    if length == expected { Ok(()) } else { Err(failed(format!("it has {length} bytes, not {expected}"))) }
}

/// Compares the digest that a registry computed with ours.
pub(super) fn check_returned(
    endpoint: &Endpoint,
    what: &'static str,
    expected: Digest,
    answer: &Answer,
) -> Result<(), RegistryError> {
    let returned = answer.response.header(HeaderName::from_static("docker-content-digest"));
    match returned {
        // Digests of other algorithms say nothing about ours.
        Some(actual) if actual.starts_with("sha256:") && actual != expected.to_string() => {
            Err(RegistryError::DigestMismatch {
                what,
                registry: endpoint.host.clone(),
                expected,
                actual: actual.chars().take(100).collect(),
            })
        }
        _ => Ok(()),
    }
}
