//! What the planner asks of the world: manifests and configs of images.
//!
//! The store is asked first.  A base that is known costs no request, so a build that changes nothing works without a network;
//! `--pull` asks the registry again.

use super::contexts::Context;
use super::remote;
use super::request::BuildRequest;
use super::session::{Session, store_failure};
use crate::diag::{Diagnostic, Exit};
use crate::image::validate::{self, Document, ValidateError, document};
use crate::image::{Descriptor, Digest, Index, Platform, Reference};
use crate::plan::graph::ImageFacts;
use crate::plan::{Facts, FoundDevice, ImageSource, NamedContext, TimeSource};
use crate::store::{Pulled, REF_NAME};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Largest manifest or index that is read.
pub(super) const MANIFEST_LIMIT_BYTES: u64 = 4 << 20;
/// Largest image config that is read.
pub(super) const CONFIG_LIMIT_BYTES: u64 = 8 << 20;
/// How deep indexes may be nested.
const INDEX_DEPTH_LIMIT: usize = 4;

/// In [`ImageFacts::origin`]: the blobs are in the store.
pub(super) const ORIGIN_STORE: &str = "store";
/// In [`ImageFacts::origin`]: the blobs are in the OCI layout at the path that follows.
pub(super) const ORIGIN_LAYOUT: &str = "oci-layout:";

/// Answers from the store, from OCI layouts and from registries.
pub struct KnownImages<'a> {
    session: &'a Session,
    pull: bool,
    answers: HashMap<(String, Platform), Arc<ImageFacts>>,
    context: &'a Context,
    named: &'a [(String, NamedContext)],
    times: HashMap<String, Option<i64>>,
    device_directories: Option<&'a [PathBuf]>,
}

impl<'a> KnownImages<'a> {
    /// Returns one for a build and its main context.
    pub fn new(session: &'a Session, request: &'a BuildRequest, context: &'a Context) -> KnownImages<'a> {
        KnownImages {
            session,
            pull: request.pull,
            answers: HashMap::new(),
            context,
            named: &request.build_contexts,
            times: HashMap::new(),
            device_directories: None,
        }
    }

    /// Lets it know the devices of this machine, from these directories or the standard ones.
    pub fn with_devices(self, directories: &'a [PathBuf]) -> KnownImages<'a> {
        KnownImages { device_directories: Some(directories), ..self }
    }

    fn reference(&self, text: &str, platform: &Platform) -> Result<ImageFacts, Diagnostic> {
        let reference: Reference = text.parse().map_err(|error| Diagnostic::from_error(Exit::Usage, &error))?;
        if !self.pull
            && let Some(facts) = self.in_store(&reference, platform)?
        {
            return Ok(facts);
        }
        self.in_registry(&reference, platform)
    }

    fn in_store(&self, reference: &Reference, platform: &Platform) -> Result<Option<ImageFacts>, Diagnostic> {
        let store = self.session.store();
        // One that was pulled or built for another platform is not what is meant.
        let fits = |image: &Descriptor| {
            image.platform.as_ref().is_none_or(|own| platform.compatible().contains(&own.normalised()))
        };
        if let Some(descriptor) = store.image(reference).map_err(store_failure)?.filter(fits) {
            let blobs = StoreBlobs(self.session);
            return read_image(&blobs, &descriptor, platform, ORIGIN_STORE.into()).map(Some);
        }
        let name = reference.to_string();
        let Some(pulled) = store.pulled(&name, platform).map_err(store_failure)? else { return Ok(None) };
        // What a prune removed or a crash damaged is asked for again.
        Ok(read_image(&StoreBlobs(self.session), &pulled.manifest, platform, name).ok())
    }

    fn in_registry(&self, reference: &Reference, platform: &Platform) -> Result<ImageFacts, Diagnostic> {
        let task = self.session.reporter().start(format!("[internal] load metadata for {reference}"));
        let resolved = match self.session.client()?.resolve(reference, platform) {
            Ok(resolved) => resolved,
            Err(error) => {
                task.end(crate::event::Outcome::Failed(error.to_string()));
                return Err(Diagnostic::from_error(Exit::Network, &error));
            }
        };
        let store = self.session.store();
        let name = reference.to_string();
        store.write_blob(&resolved.manifest_bytes).map_err(store_failure)?;
        store.write_blob(&resolved.config_bytes).map_err(store_failure)?;
        let now = jiff::Timestamp::now().as_second();
        let pulled = Pulled::new(name.clone(), platform.clone(), resolved.descriptor.clone(), now);
        store.put_pulled(&pulled).map_err(store_failure)?;
        task.end(crate::event::Outcome::Done);
        read_image(&StoreBlobs(self.session), &resolved.descriptor, platform, name)
    }

    fn layout(&self, text: &str, platform: &Platform) -> Result<ImageFacts, Diagnostic> {
        let (path, tag, digest) = split_layout(text)?;
        let blobs = LayoutBlobs(path.clone());
        let descriptor = layout_descriptor(&path, tag.as_deref(), digest.as_ref())?;
        read_image(&blobs, &descriptor, platform, format!("{ORIGIN_LAYOUT}{}", path.display()))
    }
}

impl Facts for KnownImages<'_> {
    fn image(&mut self, source: ImageSource<'_>, platform: &Platform) -> Result<Arc<ImageFacts>, Diagnostic> {
        let key = (format!("{source:?}"), platform.clone());
        if let Some(facts) = self.answers.get(&key) {
            return Ok(facts.clone());
        }
        let facts = match source {
            ImageSource::Reference(text) => self.reference(text, platform),
            ImageSource::OciLayout(text) => self.layout(text, platform),
        }?;
        let facts = Arc::new(facts);
        self.answers.insert(key, facts.clone());
        Ok(facts)
    }

    fn devices(&mut self, name: &str) -> Result<Option<Vec<FoundDevice>>, Diagnostic> {
        let Some(directories) = self.device_directories else { return Ok(None) };
        let devices = self.session.devices(directories);
        let found = |name: String| FoundDevice { is_auto_allowed: devices.is_auto_allowed(&name), name };
        Ok(Some(devices.find(name).into_iter().map(found).collect()))
    }

    fn time(&mut self, source: TimeSource<'_>) -> Result<Option<i64>, Diagnostic> {
        let key = format!("{source:?}");
        if let Some(known) = self.times.get(&key) {
            return Ok(*known);
        }
        let time = match source {
            TimeSource::Main => self.context.time(),
            TimeSource::Named(index) => match &self.named[index].1 {
                NamedContext::Files(location) => remote::time_of_named(self.session, location)?,
                NamedContext::Image(_) | NamedContext::OciLayout(_) => None,
            },
            TimeSource::Remote(source) => remote::time_of_source(self.session, source)?,
        };
        self.times.insert(key, time);
        Ok(time)
    }

    fn device_problems(&self) -> Vec<String> {
        self.device_directories
            .map(|directories| self.session.devices(directories).problems().to_vec())
            .unwrap_or_default()
    }

    fn ignored_by(&self, path: &str) -> Option<String> {
        self.context.tree().ignore?.certainly_ignored(path).map(|verdict| verdict.to_string())
    }
}

/// Small blobs by digest.
trait Blobs {
    fn read(&self, digest: &Digest, limit_bytes: u64) -> Result<Vec<u8>, Diagnostic>;
}

struct StoreBlobs<'a>(&'a Session);

impl Blobs for StoreBlobs<'_> {
    fn read(&self, digest: &Digest, limit_bytes: u64) -> Result<Vec<u8>, Diagnostic> {
        let content = self.0.store().read_blob(digest, limit_bytes).map_err(store_failure)?;
        content.ok_or_else(|| Diagnostic::error(Exit::Step, format!("the store does not have blob {digest}")))
    }
}

struct LayoutBlobs(PathBuf);

impl Blobs for LayoutBlobs {
    fn read(&self, digest: &Digest, limit_bytes: u64) -> Result<Vec<u8>, Diagnostic> {
        let content = read_file(&self.0.join("blobs/sha256").join(digest.hex()), limit_bytes)?;
        if Digest::of(&content) == *digest {
            return Ok(content);
        }
        Err(Diagnostic::error(
            Exit::Usage,
            format!("blob {digest} of the OCI layout `{}` has another digest", self.0.display()),
        ))
    }
}

fn read_image(
    blobs: &dyn Blobs,
    top: &Descriptor,
    platform: &Platform,
    origin: String,
) -> Result<ImageFacts, Diagnostic> {
    let invalid =
        |error: &ValidateError| Diagnostic::from_error(Exit::Usage, error).note(format!("in image {}", top.digest));
    let mut descriptor = top.clone();
    for _ in 0..INDEX_DEPTH_LIMIT {
        let content = blobs.read(&descriptor.digest, MANIFEST_LIMIT_BYTES)?;
        match document(&content, &descriptor.media_type).map_err(|error| invalid(&error))? {
            Document::Index(index) => descriptor = choose(&index, platform)?.clone(),
            Document::Manifest(manifest) => {
                let config = blobs.read(&manifest.config.digest, CONFIG_LIMIT_BYTES)?;
                let config = validate::config(&config, &manifest.config).map_err(|error| invalid(&error))?;
                validate::pulled(&manifest, &config).map_err(|error| invalid(&error))?;
                return Ok(ImageFacts { origin, manifest: descriptor, layers: manifest.layers, config });
            }
        }
    }
    Err(Diagnostic::error(
        Exit::Usage,
        format!("image {} has indexes nested more than {INDEX_DEPTH_LIMIT} deep", top.digest),
    ))
}

fn choose<'a>(index: &'a Index, platform: &Platform) -> Result<&'a Descriptor, Diagnostic> {
    index.choose(platform).ok_or_else(|| {
        Diagnostic::error(Exit::Usage, format!("no match for platform in manifest: {platform} is not among them"))
            .note(format!("the image is there for {}", index.platforms().join(", ")))
            .hint("name one of them with `--platform`")
    })
}

/// Splits `PATH[:tag][@digest]`.
fn split_layout(text: &str) -> Result<(PathBuf, Option<String>, Option<Digest>), Diagnostic> {
    let (rest, digest) = match text.split_once("@sha256:") {
        Some((rest, hex)) => {
            let digest =
                format!("sha256:{hex}").parse().map_err(|error| Diagnostic::from_error(Exit::Usage, &error))?;
            (rest, Some(digest))
        }
        None => (text, None),
    };
    match rest.rsplit_once(':') {
        Some((path, tag)) if !tag.contains('/') && !path.is_empty() => Ok((path.into(), Some(tag.to_owned()), digest)),
        _ => Ok((rest.into(), None, digest)),
    }
}

fn layout_descriptor(path: &Path, tag: Option<&str>, digest: Option<&Digest>) -> Result<Descriptor, Diagnostic> {
    let content = read_file(&path.join("index.json"), MANIFEST_LIMIT_BYTES)?;
    let damaged = |reason: String| {
        Diagnostic::error(Exit::Usage, format!("the OCI layout `{}` cannot be read", path.display())).note(reason)
    };
    let index: Index = serde_json::from_slice(&content).map_err(|error| damaged(error.to_string()))?;
    let has_tag = |descriptor: &Descriptor, tag: &str| {
        descriptor.annotations.get(REF_NAME).is_some_and(|name| name == tag || name.rsplit(':').next() == Some(tag))
    };
    let found = index.manifests.iter().find(|descriptor| match (digest, tag) {
        (Some(digest), _) => descriptor.digest == *digest,
        (None, Some(tag)) => has_tag(descriptor, tag),
        (None, None) => index.manifests.len() == 1 || has_tag(descriptor, "latest"),
    });
    match (found, digest) {
        (Some(descriptor), _) => Ok(descriptor.clone()),
        // A digest need not be in index.json: it may name a manifest inside an index.
        (None, Some(digest)) => {
            let size_bytes = std::fs::metadata(path.join("blobs/sha256").join(digest.hex())).map(|m| m.len());
            let size_bytes = size_bytes.map_err(|error| damaged(format!("{digest}: {error}")))?;
            Ok(Descriptor::new("", *digest, size_bytes))
        }
        (None, None) => {
            let names: Vec<&str> =
                index.manifests.iter().filter_map(|d| d.annotations.get(REF_NAME)).map(String::as_str).collect();
            Err(damaged(format!("it has no image `{}`; it has: {}", tag.unwrap_or("latest"), names.join(", "))))
        }
    }
}

fn read_file(path: &Path, limit_bytes: u64) -> Result<Vec<u8>, Diagnostic> {
    use std::io::Read;
    let failed =
        |reason: String| Diagnostic::error(Exit::Usage, format!("cannot read `{}`", path.display())).note(reason);
    let file = std::fs::File::open(path).map_err(|error| failed(error.to_string()))?;
    let mut content = Vec::new();
    file.take(limit_bytes + 1).read_to_end(&mut content).map_err(|error| failed(error.to_string()))?;
    if content.len() as u64 > limit_bytes {
        return Err(failed(format!("it is larger than {limit_bytes} bytes")));
    }
    Ok(content)
}
