//! Images from archives of `docker save` and from OCI layouts.
//!
//! Nothing is believed: every blob of a layout has the digest that names it, every layer of a Docker archive the diff id
//! that the config gives it, every name is one that a user could have written.

use super::find::parse_name;
use super::members::{Member, Members};
use crate::diag::{Diagnostic, Exit};
use crate::exec::store_failure;
use crate::image::validate::{
    self, CONFIG_LIMIT_BYTES, Document, INDEX_DEPTH_LIMIT, LAYER_LIMIT, MANIFEST_LIMIT_BYTES, ValidateError,
};
use crate::image::{Descriptor, Digest, ImageConfig, Index, Manifest, Platform, Reference, Sha256Reader, media_type};
use crate::layer::{Format, decompress, sniff};
use crate::store::{REF_NAME, Store};
use serde::Deserialize;
use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// Most images of one archive.
const IMAGE_LIMIT: usize = 1024;

/// An image that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loaded {
    /// Its names.
    pub names: Vec<Reference>,
    /// Its id.
    pub id: Digest,
}

/// Reads all images of a file, a directory or, without `path`, of standard input.
pub fn load(store: &Store, path: Option<&Path>) -> Result<Vec<Loaded>, Diagnostic> {
    let members = match path {
        Some(path) if path.is_dir() => Members::of_directory(store, path)?,
        Some(path) => {
            let file = File::open(path).map_err(|error| {
                Diagnostic::error(Exit::Usage, format!("cannot open `{}`", path.display())).note(error.to_string())
            })?;
            Members::of_tar(store, file)?
        }
        None => Members::of_tar(store, io::stdin())?,
    };
    let mut loader = Loader { store, members, layers: HashMap::new() };
    let docker = loader.docker_entries()?;
    match loader.members.document("index.json")? {
        Some(index) => loader.layout(&index, &docker.unwrap_or_default()),
        None => match docker {
            Some(entries) => entries.iter().map(|entry| loader.docker_image(entry)).collect(),
            None => Err(malformed("it has neither `index.json` nor `manifest.json`")
                .hint("`cooper load` reads what `docker save`, `podman save` and `cooper save` write")),
        },
    }
}

/// An entry of manifest.json.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DockerEntry {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    layers: Vec<String>,
}

impl DockerEntry {
    fn names(&self) -> Result<Vec<Reference>, Diagnostic> {
        self.repo_tags.iter().flatten().map(|tag| parse_name(tag)).collect()
    }
}

struct Loader<'a> {
    store: &'a Store,
    members: Members<'a>,
    /// Layers of Docker archives that were taken: two images may share one.
    layers: HashMap<PathBuf, (Descriptor, Digest)>,
}

impl Loader<'_> {
    fn docker_entries(&self) -> Result<Option<Vec<DockerEntry>>, Diagnostic> {
        let Some(content) = self.members.document("manifest.json")? else { return Ok(None) };
        let entries: Vec<DockerEntry> =
            serde_json::from_slice(&content).map_err(|error| malformed(&format!("`manifest.json`: {error}")))?;
        check_count("images", entries.len(), IMAGE_LIMIT)?;
        Ok(Some(entries))
    }

    fn layout(&mut self, index: &[u8], docker: &[DockerEntry]) -> Result<Vec<Loaded>, Diagnostic> {
        let index: Index =
            serde_json::from_slice(index).map_err(|error| malformed(&format!("`index.json`: {error}")))?;
        check_count("images", index.manifests.len(), IMAGE_LIMIT)?;
        let mut loaded: Vec<(Descriptor, Loaded)> = Vec::new();
        for mut descriptor in index.manifests {
            let mut names = layout_name(&descriptor)?;
            descriptor.annotations.clear();
            let (top, id) = self.image(&descriptor)?;
            if names.is_empty() {
                let has_config = |entry: &&DockerEntry| entry.config.ends_with(&id.hex());
                names = docker.iter().find(has_config).map_or(Ok(Vec::new()), DockerEntry::names)?;
            }
            // An image of two names stands in the index twice.
            match loaded.iter_mut().find(|(other, _)| other.digest == top.digest) {
                Some((_, image)) => image.names.extend(names),
                None => loaded.push((top, Loaded { names, id })),
            }
        }
        // Names last, when everything is there.
        for (descriptor, image) in &loaded {
            self.store.name_image(&image.names, descriptor).map_err(store_failure)?;
        }
        Ok(loaded.into_iter().map(|(_, image)| image).collect())
    }

    /// Takes an image of a layout and returns what stands for it, and its id.
    fn image(&mut self, descriptor: &Descriptor) -> Result<(Descriptor, Digest), Diagnostic> {
        let content = self.document(descriptor)?;
        let document = validate::document(&content, &descriptor.media_type).map_err(|error| invalid(&error))?;
        let Document::Index(index) = document else {
            let config = self.tree(descriptor, INDEX_DEPTH_LIMIT)?;
            let mut descriptor = descriptor.clone();
            descriptor.platform = config.as_ref().map(|(_, config)| config.platform());
            let id = config.map_or(descriptor.digest, |(id, _)| id);
            return Ok((descriptor, id));
        };
        // `docker save` writes the index of all platforms and the blobs of one.
        let is_there = |manifest: &&Descriptor| self.is_there(&manifest.digest);
        let there: Vec<Descriptor> = index.manifests.iter().filter(is_there).cloned().collect();
        if there.len() == index.manifests.len() {
            self.tree(descriptor, INDEX_DEPTH_LIMIT)?;
            return Ok((descriptor.clone(), descriptor.digest));
        }
        let present = Index { manifests: there, ..index };
        match present.choose(&Platform::host()).or(present.manifests.first()).cloned() {
            Some(manifest) => self.image(&manifest),
            None => Err(malformed(&format!("no image of index {} is in it", descriptor.digest))),
        }
    }

    fn is_there(&self, digest: &Digest) -> bool {
        let path = self.members.resolve(Path::new(&blob_name(digest)));
        match &self.members {
            Members::Spooled { files, .. } => files.contains_key(&path) || self.store.blob_size(digest).is_some(),
            Members::Directory { root, .. } => root.stat(&path, true).is_ok_and(|stat| stat.is_some()),
        }
    }

    /// Takes a manifest or index and all that it names; returns id and config of a manifest.
    fn tree(&mut self, top: &Descriptor, depth: usize) -> Result<Option<(Digest, ImageConfig)>, Diagnostic> {
        if depth == 0 {
            return Err(malformed(&format!("indexes are nested more than {INDEX_DEPTH_LIMIT} deep")));
        }
        let content = self.document(top)?;
        let mut result = None;
        match validate::document(&content, &top.media_type).map_err(|error| invalid(&error))? {
            Document::Index(index) => {
                for manifest in &index.manifests {
                    self.tree(manifest, depth - 1)?;
                }
            }
            Document::Manifest(manifest) => {
                for blob in manifest.layers.iter().chain([&manifest.config]) {
                    self.blob(blob)?;
                }
                let config =
                    self.store.read_blob(&manifest.config.digest, CONFIG_LIMIT_BYTES).map_err(store_failure)?;
                let config =
                    validate::config(&config.unwrap_or_default(), &manifest.config).map_err(|e| invalid(&e))?;
                // Attestations have layers that are none.
                if top.platform.as_ref().is_none_or(|platform| platform.os != "unknown") {
                    validate::pulled(&manifest, &config).map_err(|error| invalid(&error))?;
                }
                result = Some((manifest.config.digest, config));
            }
        }
        self.store.write_blob(&content).map_err(store_failure)?;
        Ok(result)
    }

    /// Reads a manifest or index, from the archive or, if it was taken already, from the store.
    fn document(&self, descriptor: &Descriptor) -> Result<Vec<u8>, Diagnostic> {
        let content = match self.members.document(&blob_name(&descriptor.digest))? {
            Some(content) => Some(content),
            None => self.store.read_blob(&descriptor.digest, MANIFEST_LIMIT_BYTES).map_err(store_failure)?,
        };
        let content = content.ok_or_else(|| missing(&descriptor.digest))?;
        if content.len() as u64 > MANIFEST_LIMIT_BYTES {
            return Err(malformed(&format!("manifest {} is too large", descriptor.digest)));
        }
        check_digest(&descriptor.digest, &Digest::of(&content))?;
        Ok(content)
    }

    fn blob(&mut self, blob: &Descriptor) -> Result<(), Diagnostic> {
        match self.members.take(&blob_name(&blob.digest))? {
            Some(Member { path, digest, size_bytes }) => {
                check_digest(&blob.digest, &digest)?;
                if size_bytes != blob.size_bytes {
                    return Err(malformed(&format!("{digest} has {size_bytes} bytes, not {}", blob.size_bytes)));
                }
                self.store.adopt_path(path, &digest).map_err(store_failure)
            }
            // Taken for an image before this one, or built here.
            None if self.store.has_blob(&blob.digest, blob.size_bytes) => Ok(()),
            None => Err(missing(&blob.digest)),
        }
    }

    fn docker_image(&mut self, entry: &DockerEntry) -> Result<Loaded, Diagnostic> {
        let names = entry.names()?;
        let config_bytes = self
            .members
            .document(&entry.config)?
            .ok_or_else(|| malformed(&format!("`{}` is missing", entry.config.escape_debug())))?;
        let config: ImageConfig = serde_json::from_slice(&config_bytes)
            .map_err(|error| malformed(&format!("image configuration: {error}")))?;
        check_count("layers", entry.layers.len(), LAYER_LIMIT)?;
        let (layers, diff_ids) = (entry.layers.len(), config.rootfs.diff_ids.len());
        if layers != diff_ids {
            return Err(invalid(&ValidateError::DiffIds { layers, diff_ids }));
        }
        let layers = entry.layers.iter().zip(&config.rootfs.diff_ids).map(|(name, id)| self.docker_layer(name, id));
        let layers = layers.collect::<Result<Vec<_>, _>>()?;
        let config_descriptor = Descriptor::of(media_type::CONFIG, &config_bytes);
        let manifest = Manifest {
            schema_version: 2,
            media_type: media_type::MANIFEST.into(),
            config: config_descriptor.clone(),
            layers,
            annotations: BTreeMap::new(),
            extra: BTreeMap::new(),
        };
        let manifest = serde_json::to_vec(&manifest)
            .map_err(|error| Diagnostic::error(Exit::Bug, "cannot write a manifest").note(error.to_string()))?;
        let mut descriptor = Descriptor::of(media_type::MANIFEST, &manifest);
        descriptor.platform = Some(config.platform());
        self.store.write_blob(&config_bytes).map_err(store_failure)?;
        self.store.write_blob(&manifest).map_err(store_failure)?;
        self.store.name_image(&names, &descriptor).map_err(store_failure)?;
        Ok(Loaded { names, id: config_descriptor.digest })
    }

    /// Takes a layer, compressed or not.
    fn docker_layer(&mut self, name: &str, diff_id: &Digest) -> Result<Descriptor, Diagnostic> {
        let path = self.members.resolve(Path::new(name));
        let (descriptor, found) = match self.layers.get(&path) {
            Some(known) => known.clone(),
            None => {
                let member = self.members.take(name)?;
                let member = member.ok_or_else(|| malformed(&format!("layer `{}` is missing", name.escape_debug())))?;
                let taken = self.take_layer(member)?;
                self.layers.entry(path).or_insert(taken).clone()
            }
        };
        check_digest(diff_id, &found)?;
        Ok(descriptor)
    }

    fn take_layer(&self, member: Member) -> Result<(Descriptor, Digest), Diagnostic> {
        let failed = |error: io::Error| malformed("a layer cannot be read").note(error.to_string());
        let mut start = Vec::new();
        File::open(&member.path).map_err(failed)?.take(512).read_to_end(&mut start).map_err(failed)?;
        let media_type = match sniff(&start) {
            Format::Gzip => media_type::LAYER_GZIP,
            Format::Zstd => media_type::LAYER_ZSTD,
            _ => {
                let descriptor = Descriptor::new(media_type::LAYER, member.digest, member.size_bytes);
                self.store.adopt_path(member.path, &member.digest).map_err(store_failure)?;
                return Ok((descriptor, member.digest));
            }
        };
        let file = File::open(&member.path).map_err(failed)?;
        let mut tar = Sha256Reader::new(decompress(file).map_err(failed)?);
        io::copy(&mut tar, &mut io::sink()).map_err(failed)?;
        let diff_id = tar.finish().1;
        let descriptor = Descriptor::new(media_type, member.digest, member.size_bytes);
        self.store.adopt_path(member.path, &member.digest).map_err(store_failure)?;
        Ok((descriptor, diff_id))
    }
}

/// Returns the name in a layout's index: containerd's, else one that is more than a tag.
fn layout_name(descriptor: &Descriptor) -> Result<Vec<Reference>, Diagnostic> {
    if let Some(name) = descriptor.annotations.get("io.containerd.image.name") {
        return Ok(vec![name.parse().map_err(|error| Diagnostic::from_error(Exit::Usage, &error))?]);
    }
    let name = descriptor.annotations.get(REF_NAME).filter(|name| name.contains([':', '/']));
    name.map(|name| parse_name(name)).into_iter().collect()
}

fn blob_name(digest: &Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}

fn check_digest(expected: &Digest, found: &Digest) -> Result<(), Diagnostic> {
    if expected == found { Ok(()) } else { Err(malformed(&format!("what should be {expected} is {found}"))) }
}

fn check_count(what: &'static str, count: usize, limit: usize) -> Result<(), Diagnostic> {
    if count <= limit { Ok(()) } else { Err(invalid(&ValidateError::TooMany { what, count, limit })) }
}

fn missing(digest: &Digest) -> Diagnostic {
    malformed(&format!("blob {digest} is missing"))
}

fn malformed(reason: &str) -> Diagnostic {
    Diagnostic::error(Exit::Usage, format!("the archive cannot be used: {reason}"))
}

fn invalid(error: &ValidateError) -> Diagnostic {
    Diagnostic::from_error(Exit::Usage, error)
}
