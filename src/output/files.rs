//! The small files beside an image: `--iidfile`, `--metadata-file`.

use super::archive;
use super::image::Assembled;
use crate::image::{Descriptor, Digest};
use serde_json::json;
use std::io::{self, BufWriter, Write};
use std::path::Path;

/// Returns what buildx calls the image's id: the digest of its config, or of the index when there are several images.
pub fn image_id(images: &[Assembled], top: &Descriptor) -> Digest {
    match images {
        [image] => image.config_descriptor.digest,
        _ => top.digest,
    }
}

/// Writes the image's id, without a line end as buildx does.
pub fn write_id(path: &Path, id: &Digest) -> io::Result<()> {
    write_whole(path, id.to_string().as_bytes())
}

/// Writes what scripts read after a build, with buildx' names.
pub fn write_metadata(path: &Path, images: &[Assembled], top: &Descriptor, names: &[String]) -> io::Result<()> {
    let mut metadata = json!({ "containerimage.descriptor": top, "containerimage.digest": top.digest });
    if let [image] = images {
        metadata["containerimage.config.digest"] = json!(image.config_descriptor.digest);
    }
    if !names.is_empty() {
        metadata["image.name"] = json!(names.join(","));
    }
    write_whole(path, &serde_json::to_vec_pretty(&metadata)?)
}

fn write_whole(path: &Path, content: &[u8]) -> io::Result<()> {
    let (target, rename) = archive::open_target(path)?;
    let mut writer = BufWriter::new(target);
    writer.write_all(content)?;
    archive::close_target(writer, rename)
}
