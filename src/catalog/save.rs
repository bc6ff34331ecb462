//! Images of the store as archives and directories.

use super::compress::compressed;
use super::{StoredImage, Transfer};
use crate::diag::{Diagnostic, Exit};
use crate::event::{Outcome, Task};
use crate::image::{Descriptor, Index, Reference, media_type};
use crate::output::Archive;
use crate::store::REF_NAME;
use serde_json::json;
use std::collections::{BTreeMap, HashSet};
use std::io;
use std::path::Path;

/// What `save` writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum ArchiveFormat {
    /// A tar that `docker load` and `podman load` read.
    DockerArchive,
    /// An OCI layout in a tar.
    OciArchive,
    /// An OCI layout as a directory.
    OciDir,
    /// A directory of blobs and the manifest, what other tools call `dir:`.
    DockerDir,
}

impl ArchiveFormat {
    /// Whether it is a directory.
    pub fn is_directory(self) -> bool {
        matches!(self, ArchiveFormat::OciDir | ArchiveFormat::DockerDir)
    }
}

/// Writes images to `dest`, `-` being standard output; each comes with the name that it was asked for by.
pub fn save(
    transfer: &Transfer<'_>,
    images: &[(Option<Reference>, StoredImage)],
    format: ArchiveFormat,
    dest: &Path,
) -> Result<(), Diagnostic> {
    let task = transfer.reporter.start(format!("save to {}", dest.display()));
    let result = save_images(transfer, images, format, dest, &task);
    task.end(match &result {
        Ok(()) => Outcome::Done,
        Err(error) => Outcome::Failed(error.message.clone()),
    });
    result
}

fn save_images(
    transfer: &Transfer<'_>,
    images: &[(Option<Reference>, StoredImage)],
    format: ArchiveFormat,
    dest: &Path,
    task: &Task,
) -> Result<(), Diagnostic> {
    let mut leaving = Vec::with_capacity(images.len());
    for (name, image) in images {
        transfer.complete(&image.blobs, task)?;
        // As `docker save` does, an archive for `docker load` has the layers as they are.
        let image = match format {
            ArchiveFormat::DockerArchive => image.clone(),
            _ => compressed(transfer, image.clone(), task)?,
        };
        leaving.push((name.clone(), image));
    }
    let write = || -> io::Result<()> {
        let mut archive = if format.is_directory() { Archive::directory(dest)? } else { Archive::tar(dest)? };
        match (format, leaving.as_slice()) {
            (ArchiveFormat::DockerDir, [(_, image)]) => write_dir(transfer, image, &mut archive)?,
            _ => write_layout(transfer, &leaving, format, &mut archive)?,
        }
        archive.finish()
    };
    if format == ArchiveFormat::DockerDir && images.len() != 1 {
        return Err(Diagnostic::error(Exit::Usage, "`--format docker-dir` takes one image")
            .hint("write a directory for each, or an OCI layout for all with `--format oci-dir`"));
    }
    write().map_err(|error| {
        Diagnostic::error(Exit::Step, format!("cannot write `{}`", dest.display())).note(error.to_string())
    })
}

fn write_layout(
    transfer: &Transfer<'_>,
    images: &[(Option<Reference>, StoredImage)],
    format: ArchiveFormat,
    out: &mut Archive,
) -> io::Result<()> {
    let mut written = HashSet::new();
    for (_, image) in images {
        for blob in image.blobs.iter().filter(|blob| written.insert(blob.digest)) {
            out.add_file(&blob_name(blob), &transfer.store.blob_path(&blob.digest))?;
        }
        for (descriptor, bytes) in &image.documents {
            if written.insert(descriptor.digest) {
                out.add_bytes(&blob_name(descriptor), bytes)?;
            }
        }
    }
    let index = Index {
        schema_version: 2,
        media_type: media_type::INDEX.into(),
        manifests: images.iter().map(|(name, image)| named(image, name.as_ref(), images)).collect(),
        annotations: BTreeMap::new(),
        extra: BTreeMap::new(),
    };
    out.add_bytes("index.json", &serde_json::to_vec(&index)?)?;
    if format == ArchiveFormat::DockerArchive {
        out.add_bytes("manifest.json", &docker_manifest(images)?)?;
    }
    out.add_bytes("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#)
}

/// The tag is what other tools look for in a layout; where two images have the same one, the whole name.
fn named(image: &StoredImage, name: Option<&Reference>, all: &[(Option<Reference>, StoredImage)]) -> Descriptor {
    let mut descriptor = image.top.clone();
    descriptor.annotations.remove(REF_NAME);
    let Some(name) = name else { return descriptor };
    let full = name.to_string();
    let tag_of = |name: &Reference| name.tag.clone();
    let is_lone = all.iter().filter(|(other, _)| other.as_ref().and_then(tag_of) == name.tag).count() == 1;
    let reference = name.tag.clone().filter(|_| is_lone).unwrap_or_else(|| full.clone());
    descriptor.annotations.insert("io.containerd.image.name".into(), full);
    descriptor.annotations.insert(REF_NAME.into(), reference);
    descriptor
}

/// The list that `docker load` reads: one platform of each image; names of the same image stand together.
fn docker_manifest(images: &[(Option<Reference>, StoredImage)]) -> io::Result<Vec<u8>> {
    let mut entries: Vec<(Descriptor, Vec<String>, Vec<String>)> = Vec::new();
    for (name, image) in images {
        let manifest = &image.main().manifest;
        let tag = name.as_ref().filter(|name| name.tag.is_some()).map(Reference::familiar);
        match entries.iter_mut().find(|(config, ..)| config.digest == manifest.config.digest) {
            Some((_, tags, _)) => tags.extend(tag),
            None => {
                let layers = manifest.layers.iter().map(blob_name).collect();
                entries.push((manifest.config.clone(), tag.into_iter().collect(), layers));
            }
        }
    }
    let entries: Vec<_> = entries
        .iter()
        .map(|(config, tags, layers)| json!({ "Config": blob_name(config), "RepoTags": tags, "Layers": layers }))
        .collect();
    Ok(serde_json::to_vec(&entries)?)
}

/// One platform of an image in the form of the `dir:` transport of skopeo and podman.
fn write_dir(transfer: &Transfer<'_>, image: &StoredImage, out: &mut Archive) -> io::Result<()> {
    let main = image.main();
    for blob in main.manifest.layers.iter().chain([&main.manifest.config]) {
        out.add_file(&blob.digest.hex(), &transfer.store.blob_path(&blob.digest))?;
    }
    out.add_bytes("version", b"Directory Transport Version: 1.1\n")?;
    let manifest = image.documents.iter().find(|(descriptor, _)| descriptor.digest == main.descriptor.digest);
    out.add_bytes("manifest.json", manifest.map_or(&[][..], |(_, bytes)| bytes))
}

fn blob_name(descriptor: &Descriptor) -> String {
    format!("blobs/sha256/{}", descriptor.digest.hex())
}
