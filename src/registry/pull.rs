//! From a reference and a platform to a manifest and a configuration, every byte checked.

use super::RegistryError;
use super::client::{Answer, Client, refusal};
use super::endpoint::{Access, Endpoint};
use crate::image::validate::{
    self, CONFIG_LIMIT_BYTES, Document, INDEX_DEPTH_LIMIT, MANIFEST_LIMIT_BYTES, ValidateError,
};
use crate::image::{Descriptor, Digest, ImageConfig, Manifest, Platform, Reference, media_type};
use crate::transport::block_on;
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderName, Method, StatusCode};

/// The media types asked for.
const ACCEPTED: [&str; 4] =
    [media_type::INDEX, media_type::MANIFEST, media_type::DOCKER_LIST, media_type::DOCKER_MANIFEST];
const DOCKER_CONTENT_DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");

/// A manifest or index as a registry has it.
#[derive(Debug, Clone)]
pub struct Fetched {
    /// Its type, digest and size.
    pub descriptor: Descriptor,
    /// Its bytes, exactly.
    pub bytes: Vec<u8>,
    /// What they say.
    pub document: Document,
}

/// An image that a reference and a platform stand for.
#[derive(Debug, Clone)]
pub struct Resolved {
    /// The reference with the digest of what it named: of the index, where there is one.
    pub reference: Reference,
    /// The outermost index, where there is one.
    pub index: Option<Fetched>,
    /// Names the manifest.
    pub descriptor: Descriptor,
    /// The manifest's bytes.
    pub manifest_bytes: Vec<u8>,
    /// The manifest.
    pub manifest: Manifest,
    /// The configuration's bytes.
    pub config_bytes: Vec<u8>,
    /// The configuration.
    pub config: ImageConfig,
}

impl Client {
    /// Finds the image that a reference means for a platform.
    ///
    /// A reference to a single manifest is taken whatever its platform, as BuildKit does; the caller can compare
    /// [`ImageConfig::platform`].
    pub fn resolve(&self, reference: &Reference, platform: &Platform) -> Result<Resolved, RegistryError> {
        block_on(self.resolve_async(reference, platform))
    }

    /// Returns the manifest or index that a reference names, as it is.
    pub fn manifest(&self, reference: &Reference) -> Result<Fetched, RegistryError> {
        block_on(self.fetch(reference, None))
    }

    /// Returns the descriptor of what a reference names, by HEAD where the registry tells enough: cheap, and not counted
    /// by registries that limit pulls.
    pub fn head(&self, reference: &Reference) -> Result<Descriptor, RegistryError> {
        block_on(async {
            match self.mirrored(reference, |endpoint| self.head_at(endpoint, reference)).await? {
                Some(descriptor) => Ok(descriptor),
                None => Ok(self.fetch(reference, None).await?.descriptor),
            }
        })
    }

    async fn resolve_async(&self, reference: &Reference, platform: &Platform) -> Result<Resolved, RegistryError> {
        let mut fetched = self.fetch(reference, None).await?;
        let pinned = reference.with_digest(fetched.descriptor.digest);
        let mut outermost = None;
        for _ in 0..=INDEX_DEPTH_LIMIT {
            let index = match &fetched.document {
                Document::Manifest(manifest) => {
                    let manifest = manifest.clone();
                    return self.with_config(pinned, outermost, fetched, manifest).await;
                }
                Document::Index(index) => index,
            };
            let chosen = index.choose(platform).cloned().ok_or_else(|| RegistryError::NoPlatform {
                reference: reference.to_string(),
                platform: platform.to_string(),
                available: index.platforms(),
            })?;
            let inner = self.fetch(&reference.with_digest(chosen.digest), Some(&chosen)).await?;
            let outer = std::mem::replace(&mut fetched, inner);
            outermost.get_or_insert(outer);
        }
        Err(RegistryError::TooDeep { reference: reference.to_string(), limit: INDEX_DEPTH_LIMIT })
    }

    async fn with_config(
        &self,
        reference: Reference,
        index: Option<Fetched>,
        fetched: Fetched,
        manifest: Manifest,
    ) -> Result<Resolved, RegistryError> {
        let invalid = |source| RegistryError::Invalid { reference: reference.to_string(), source };
        // Before its blob is asked for: that of a chart or a signature is no image configuration.
        validate::config_type(&manifest).map_err(invalid)?;
        let config_bytes = self.blob_bytes(&reference, &manifest.config, CONFIG_LIMIT_BYTES).await?;
        let config = validate::config(&config_bytes, &manifest.config).map_err(invalid)?;
        validate::pulled(&manifest, &config).map_err(invalid)?;
        let Fetched { descriptor, bytes: manifest_bytes, .. } = fetched;
        Ok(Resolved { reference, index, descriptor, manifest_bytes, manifest, config_bytes, config })
    }

    /// Gets a manifest from the first mirror that has it whole.
    pub(super) async fn fetch(
        &self,
        reference: &Reference,
        expected: Option<&Descriptor>,
    ) -> Result<Fetched, RegistryError> {
        self.mirrored(reference, |endpoint| self.fetch_at(endpoint, reference, expected)).await
    }

    /// Tries the mirrors in order, then the registry itself, whose error is the one that counts.
    ///
    /// But when there is no way to the registry, a mirror that answered that the content is not there says more.
    pub(super) async fn mirrored<T, F: Future<Output = Result<T, RegistryError>>>(
        &self,
        reference: &Reference,
        attempt: impl Fn(Endpoint) -> F,
    ) -> Result<T, RegistryError> {
        let mut endpoints = self.endpoints(reference)?;
        let Some(own) = endpoints.pop() else {
            return Err(RegistryError::Blocked { name: reference.name() });
        };
        let mut missing = None;
        for mirror in endpoints {
            match attempt(mirror.clone()).await {
                Err(error) if error.is_mirrors_fault() => {
                    self.note_failure(&mirror, &error);
                    missing = missing.or_else(|| error.is_missing().then_some(error));
                }
                outcome => return outcome,
            }
        }
        match (attempt(own).await, missing) {
            (Err(RegistryError::Transport(_)), Some(missing)) => Err(missing),
            (outcome, _) => outcome,
        }
    }

    async fn fetch_at(
        &self,
        endpoint: Endpoint,
        reference: &Reference,
        expected: Option<&Descriptor>,
    ) -> Result<Fetched, RegistryError> {
        let answer = self.ask_manifest(&endpoint, Method::GET, reference).await?;
        let content_type = content_type(&answer);
        let claimed = answer.response.header(DOCKER_CONTENT_DIGEST).map(str::to_owned);
        let bytes = answer.response.bytes(MANIFEST_LIMIT_BYTES).await?;
        check_digest(&endpoint, reference, &bytes, claimed.as_deref())?;
        let invalid = |source| RegistryError::Invalid { reference: reference.to_string(), source };
        let document = validate::document(&bytes, &content_type).map_err(invalid)?;
        let inside = match &document {
            Document::Manifest(manifest) => &manifest.media_type,
            Document::Index(index) => &index.media_type,
        };
        let descriptor = Descriptor::of(inside.clone(), &bytes);
        if let Some(expected) = expected {
            check_expected(&endpoint, expected, &descriptor).map_err(|e| match e {
                Mismatch::Type(source) => invalid(source),
                Mismatch::Size(error) => *error,
            })?;
        }
        Ok(Fetched { descriptor, bytes, document })
    }

    /// Returns what a reference names in one registry, whatever its mirrors say.
    pub(super) async fn named_at(
        &self,
        endpoint: &Endpoint,
        reference: &Reference,
    ) -> Result<Descriptor, RegistryError> {
        match self.head_at(endpoint.clone(), reference).await? {
            Some(descriptor) => Ok(descriptor),
            None => Ok(self.fetch_at(endpoint.clone(), reference, None).await?.descriptor),
        }
    }

    async fn head_at(&self, endpoint: Endpoint, reference: &Reference) -> Result<Option<Descriptor>, RegistryError> {
        let answer = self.ask_manifest(&endpoint, Method::HEAD, reference).await?;
        let digest: Option<Digest> = answer.response.header(DOCKER_CONTENT_DIGEST).and_then(|d| d.parse().ok());
        let content_type = content_type(&answer);
        let (Some(digest), Some(size_bytes)) = (digest, answer.response.length_bytes()) else { return Ok(None) };
        Ok(ACCEPTED.contains(&content_type.as_str()).then(|| Descriptor::new(content_type, digest, size_bytes)))
    }

    async fn ask_manifest(
        &self,
        endpoint: &Endpoint,
        method: Method,
        reference: &Reference,
    ) -> Result<Answer, RegistryError> {
        let accept = ACCEPTED.join(", ");
        let what = format!("manifests/{}", reference.version());
        let answer = self.ask(endpoint, method, &what, &[(ACCEPT, &accept)]).await?;
        match answer.response.status() {
            StatusCode::OK => Ok(answer),
            StatusCode::NOT_FOUND => Err(RegistryError::UnknownManifest {
                reference: reference.to_string(),
                registry: endpoint.host.clone(),
            }),
            _ => Err(refusal(endpoint, Access::Pull, answer.response, answer.credentials).await),
        }
    }
}

fn content_type(answer: &Answer) -> String {
    let text = answer.response.header(CONTENT_TYPE).unwrap_or_default();
    text.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

/// Compares bytes with the digest they were asked by, else with the one that the registry claims.
fn check_digest(
    endpoint: &Endpoint,
    reference: &Reference,
    bytes: &[u8],
    claimed: Option<&str>,
) -> Result<(), RegistryError> {
    let actual = Digest::of(bytes);
    let claimed = claimed.and_then(|text| text.parse::<Digest>().ok());
    match reference.digest.or(claimed) {
        Some(expected) if expected != actual => Err(RegistryError::DigestMismatch {
            what: "the manifest",
            registry: endpoint.host.clone(),
            expected,
            actual: actual.to_string(),
        }),
        _ => Ok(()),
    }
}

enum Mismatch {
    Type(ValidateError),
    Size(Box<RegistryError>),
}

/// Compares a manifest with its descriptor in the index.
fn check_expected(endpoint: &Endpoint, expected: &Descriptor, actual: &Descriptor) -> Result<(), Mismatch> {
    if expected.size_bytes != actual.size_bytes {
        return Err(Mismatch::Size(Box::new(RegistryError::SizeMismatch {
            digest: expected.digest,
            registry: endpoint.host.clone(),
            expected: expected.size_bytes,
            actual: actual.size_bytes,
        })));
    }
    if !expected.media_type.is_empty() && expected.media_type != actual.media_type {
        let (inside, outside) = (actual.media_type.clone(), expected.media_type.clone());
        return Err(Mismatch::Type(ValidateError::MediaTypeMismatch { inside, outside }));
    }
    Ok(())
}
