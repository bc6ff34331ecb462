//! OCI layouts and docker-load archives, as tar or directory.

use super::archive::Archive;
use super::image::Assembled;
use crate::exec::Session;
use crate::image::{Descriptor, Index, Reference, media_type};
use serde_json::json;
use std::collections::BTreeMap;
use std::io;

/// Everything about a layout besides the images.
#[derive(Debug, Default)]
pub struct LayoutOptions {
    /// Names of the image.
    pub names: Vec<Reference>,
    /// Annotations of the descriptor in index.json.
    pub descriptor_annotations: BTreeMap<String, String>,
    /// Annotations of the index, when there is one (several platforms).
    pub index_annotations: BTreeMap<String, String>,
    /// Whether `manifest.json` for `docker load` is written too.
    pub docker: bool,
}

/// Writes an OCI layout with the given image (one for each platform).
pub fn write_layout(
    session: &Session,
    images: &[Assembled],
    options: &LayoutOptions,
    out: &mut Archive,
) -> io::Result<()> {
    for layer in images.iter().flat_map(|image| &image.layers) {
        out.add_file(&blob_name(&layer.descriptor), &session.store().blob_path(&layer.descriptor.digest))?;
    }
    for image in images {
        out.add_bytes(&blob_name(&image.config_descriptor), &image.config)?;
        out.add_bytes(&blob_name(&image.descriptor), &image.manifest)?;
    }
    let top = top_descriptor(images, options, out)?;
    let manifests = named(&top, options, images);
    let index = Index {
        schema_version: 2,
        media_type: media_type::INDEX.into(),
        manifests,
        annotations: BTreeMap::new(),
        extra: BTreeMap::new(),
    };
    out.add_bytes("index.json", &serde_json::to_vec(&index)?)?;
    if options.docker {
        out.add_bytes("manifest.json", &docker_manifest(images, options)?)?;
    }
    out.add_bytes("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#)
}

/// One image stands for itself; several are put behind an index of their own.
fn top_descriptor(images: &[Assembled], options: &LayoutOptions, out: &mut Archive) -> io::Result<Descriptor> {
    if let [image] = images {
        return Ok(image.descriptor.clone());
    }
    let (descriptor, content) = image_index(images, &options.index_annotations);
    out.add_bytes(&blob_name(&descriptor), &content)?;
    Ok(descriptor)
}

/// Returns the index of the images of several platforms, and its descriptor; it is of the same family as its manifests.
pub fn image_index(images: &[Assembled], annotations: &BTreeMap<String, String>) -> (Descriptor, Vec<u8>) {
    let is_docker = images.iter().any(|image| image.descriptor.media_type == media_type::DOCKER_MANIFEST);
    let media_type = if is_docker { media_type::DOCKER_LIST } else { media_type::INDEX };
    let index = Index {
        schema_version: 2,
        media_type: media_type.into(),
        manifests: images.iter().map(|image| image.descriptor.clone()).collect(),
        annotations: annotations.clone(),
        extra: BTreeMap::new(),
    };
    let content = serde_json::to_vec(&index).unwrap_or_default();
    (Descriptor::of(media_type, &content), content)
}

fn named(top: &Descriptor, options: &LayoutOptions, images: &[Assembled]) -> Vec<Descriptor> {
    let mut plain = top.clone();
    plain.annotations.extend(options.descriptor_annotations.clone());
    let created = images.iter().map(|image| image.created).max().unwrap_or_default();
    plain.annotations.insert("org.opencontainers.image.created".into(), super::image::rfc3339(created));
    let with_name = |name: &Reference| {
        let mut descriptor = plain.clone();
        descriptor.annotations.insert("io.containerd.image.name".into(), name.to_string());
        if let Some(tag) = &name.tag {
            descriptor.annotations.insert(crate::store::REF_NAME.into(), tag.clone());
        }
        descriptor
    };
    if options.names.is_empty() { vec![plain] } else { options.names.iter().map(with_name).collect() }
}

/// The list that `docker load` reads; its names are the short ones.
fn docker_manifest(images: &[Assembled], options: &LayoutOptions) -> io::Result<Vec<u8>> {
    let tags: Vec<String> = options.names.iter().map(Reference::familiar).collect();
    let entries: Vec<_> = images
        .iter()
        .map(|image| {
            let layers: Vec<String> = image.layers.iter().map(|layer| blob_name(&layer.descriptor)).collect();
            json!({ "Config": blob_name(&image.config_descriptor), "RepoTags": tags, "Layers": layers })
        })
        .collect();
    Ok(serde_json::to_vec(&entries)?)
}

fn blob_name(descriptor: &Descriptor) -> String {
    format!("blobs/sha256/{}", descriptor.digest.hex())
}
