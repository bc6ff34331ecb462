//! `cooper inspect`: everything about an image, as JSON.

use super::stored;
use super::template::Template;
use crate::catalog::{StoredImage, find};
use crate::diag::{Diagnostic, Exit};
use crate::exec::store_failure;
use crate::image::{Platform, Reference};
use crate::store::Store;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::io::Write;

/// Prints what an image consists of, as JSON with docker's names
#[derive(Debug, clap::Args)]
pub struct InspectArgs {
    /// Names or ids of images
    #[arg(value_name = "IMAGE", required = true)]
    pub images: Vec<String>,

    /// `json`, or a template such as `{{.Id}}` or `{{json .Config.Env}}`
    #[arg(short, long, value_name = "FORMAT")]
    pub format: Option<String>,

    /// Which image of several platforms [default: this machine's]
    #[arg(long, value_name = "OS/ARCH[/VARIANT]")]
    pub platform: Option<Platform>,

    /// Prints a document of the first image as it is, byte for byte
    #[arg(long, value_enum, value_name = "DOCUMENT", conflicts_with = "format")]
    pub raw: Option<RawDocument>,
}

/// A document that is printed as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum RawDocument {
    /// The index of an image of several platforms, else the manifest
    Index,
    /// The manifest of one platform
    Manifest,
    /// The configuration of one platform
    Config,
}

/// Runs the command.
pub fn run(args: &InspectArgs, store: &Store, out: &mut dyn Write) -> Result<(), Diagnostic> {
    let mut reports = Vec::with_capacity(args.images.len());
    for text in &args.images {
        let mut image = StoredImage::read(store, &find(store, text)?.descriptor)?;
        if let Some(platform) = &args.platform {
            select(&mut image, platform)?;
        }
        if let Some(document) = args.raw {
            let bytes = raw(&image, document);
            let written = out.write_all(bytes).and_then(|()| out.flush());
            return written.map_err(|error| Diagnostic::from_error(Exit::Step, &error));
        }
        reports.push(report(&image, &names(store, &image)?));
    }
    stored::print(out, &format(args.format.as_deref(), reports)?)
}

fn select(image: &mut StoredImage, platform: &Platform) -> Result<(), Diagnostic> {
    let there: Vec<String> = image.images.iter().map(|image| image.config.platform().to_string()).collect();
    image.images.retain(|image| image.config.platform().normalised() == *platform);
    if image.images.is_empty() {
        return Err(Diagnostic::error(Exit::Usage, format!("the image is not there for {platform}"))
            .hint(format!("it is there for {}", there.join(", "))));
    }
    Ok(())
}

fn raw(image: &StoredImage, document: RawDocument) -> &[u8] {
    let main = image.main();
    let digest = match document {
        RawDocument::Config => return &main.config_bytes,
        RawDocument::Index => image.top.digest,
        RawDocument::Manifest => main.descriptor.digest,
    };
    image.documents.iter().find(|(descriptor, _)| descriptor.digest == digest).map_or(&[], |(_, bytes)| bytes)
}

fn names(store: &Store, image: &StoredImage) -> Result<Vec<Reference>, Diagnostic> {
    let images = store.images().map_err(store_failure)?;
    let of_image = images.into_iter().filter(|other| other.descriptor.digest == image.top.digest);
    Ok(of_image.filter_map(|image| image.name?.parse().ok()).collect())
}

/// Returns an image as docker tells of it, and what docker does not tell: layers, platforms, annotations.
fn report(image: &StoredImage, names: &[Reference]) -> Value {
    let main = image.main();
    let (manifest, config) = (&main.manifest, &main.config);
    let tags: Vec<String> = names.iter().filter(|name| name.tag.is_some()).map(Reference::familiar).collect();
    let repositories: BTreeSet<String> = names.iter().map(stored::repository).collect();
    let digests: Vec<String> = repositories.iter().map(|name| format!("{name}@{}", image.top.digest)).collect();
    let layer = |(layer, diff_id): (&crate::image::Descriptor, &crate::image::Digest)| json!({ "Digest": layer.digest, "DiffId": diff_id, "MediaType": layer.media_type, "Size": layer.size_bytes });
    let layers: Vec<Value> = manifest.layers.iter().zip(&config.rootfs.diff_ids).map(layer).collect();
    let platforms: Vec<String> = image.images.iter().map(|image| image.config.platform().to_string()).collect();
    json!({
        "Id": image.id(),
        "RepoTags": tags,
        "RepoDigests": digests,
        "Comment": config.history.last().map(|entry| entry.comment.clone()).unwrap_or_default(),
        "Created": config.created,
        "Author": config.author,
        "Config": config.config,
        "Architecture": config.architecture,
        "Variant": config.variant,
        "Os": config.os,
        "Size": main.size_bytes(),
        "RootFS": { "Type": config.rootfs.kind, "Layers": config.rootfs.diff_ids },
        "Descriptor": { "mediaType": image.top.media_type, "digest": image.top.digest, "size": image.top.size_bytes },
        "Annotations": manifest.annotations,
        "Layers": layers,
        "Platforms": platforms,
    })
}

/// Returns the reports as one JSON array, or a line for each.
fn format(format: Option<&str>, reports: Vec<Value>) -> Result<String, Diagnostic> {
    let template = match format {
        None | Some("json") => {
            let text = crate::progress::json_pretty(&reports);
            return text.map(|text| text + "\n").map_err(|error| Diagnostic::from_error(Exit::Bug, &error));
        }
        Some(text) => text.parse::<Template>().map_err(|reason| Diagnostic::error(Exit::Usage, reason))?,
    };
    reports.iter().map(|report| template.apply(report).map(|line| line + "\n")).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn reports_are_an_array_or_lines() {
        assert_eq!(format(None, Vec::new()).unwrap(), "[]\n");
        let reports = || vec![json!({"Id": "a"}), json!({"Id": "b"})];
        assert_eq!(format(Some("{{.Id}}"), reports()).unwrap(), "a\nb\n");
        assert_eq!(format(Some("json"), vec![json!({})]).unwrap(), "[\n  {}\n]\n");
        assert!(format(Some("{{range}}"), reports()).is_err());
    }
}
