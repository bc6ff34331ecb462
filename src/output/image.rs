//! From layers to an image: config, manifest, and the documents' digests.

use crate::exec::FinishedLayer;
use crate::image::{Descriptor, History, ImageConfig, Manifest, RootFs, media_type};
use crate::plan::graph::{HistoryItem, Target};
use jiff::Timestamp;
use std::collections::BTreeMap;

/// An image whose documents are written but not yet put anywhere.
#[derive(Debug, Clone)]
pub struct Assembled {
    /// The config.
    pub config: Vec<u8>,
    /// The manifest.
    pub manifest: Vec<u8>,
    /// Names the manifest, platform included.
    pub descriptor: Descriptor,
    /// Names the config.
    pub config_descriptor: Descriptor,
    /// The layers, lowest first.
    pub layers: Vec<FinishedLayer>,
    /// When it was made, seconds since the epoch.
    pub created: i64,
}

impl Assembled {
    /// Returns the sum of layers and documents in bytes.
    pub fn size_bytes(&self) -> u64 {
        let layers: u64 = self.layers.iter().map(|layer| layer.descriptor.size_bytes).sum();
        layers + self.config_descriptor.size_bytes + self.descriptor.size_bytes
    }
}

/// Which family of media types is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MediaTypes {
    /// The OCI image specification's.
    Oci,
    /// Docker's, schema 2.
    Docker,
}

/// Writes config and manifest of a target.
pub fn assemble(
    target: &Target,
    layers: Vec<FinishedLayer>,
    media_types: MediaTypes,
    annotations: &BTreeMap<String, String>,
) -> Assembled {
    let created = creation_time(target, &layers);
    let config = ImageConfig {
        created: Some(rfc3339(created)),
        rootfs: RootFs { kind: "layers".into(), diff_ids: layers.iter().map(|layer| layer.diff_id).collect() },
        history: history(target, &layers, created),
        ..target.config.clone()
    };
    let config = serde_json::to_vec(&config).unwrap_or_default();
    let (manifest_type, config_type) = match media_types {
        MediaTypes::Oci => (media_type::MANIFEST, media_type::CONFIG),
        MediaTypes::Docker => (media_type::DOCKER_MANIFEST, media_type::DOCKER_CONFIG),
    };
    let config_descriptor = Descriptor::of(config_type, &config);
    let layers: Vec<FinishedLayer> =
        layers.into_iter().map(|layer| layer.with_media_types(media_types == MediaTypes::Docker)).collect();
    let manifest = Manifest {
        schema_version: 2,
        media_type: manifest_type.into(),
        config: config_descriptor.clone(),
        layers: layers.iter().map(|layer| layer.descriptor.clone()).collect(),
        annotations: annotations.clone(),
        extra: BTreeMap::new(),
    };
    let manifest = serde_json::to_vec(&manifest).unwrap_or_default();
    let mut descriptor = Descriptor::of(manifest_type, &manifest);
    descriptor.platform = Some(target.platform.clone());
    Assembled { config, manifest, descriptor, config_descriptor, layers, created }
}

/// When the image was made: SOURCE_DATE_EPOCH, or when the youngest layer was.
///
/// Not the present: a build in which nothing changed gives the same image, digest and all.
fn creation_time(target: &Target, layers: &[FinishedLayer]) -> i64 {
    let base =
        || target.config.created.as_deref().and_then(|text| text.parse::<Timestamp>().ok()).map(Timestamp::as_second);
    let youngest = layers.iter().filter_map(|layer| layer.created).max();
    target.epoch.or(youngest).or_else(base).unwrap_or_else(|| Timestamp::now().as_second())
}

/// Entries of this build take the time of their layer; those without one, of the layer before them, or of the first.
fn history(target: &Target, layers: &[FinishedLayer], created: i64) -> Vec<History> {
    let mut own = layers.iter().filter_map(|layer| layer.created);
    let mut latest = layers.iter().find_map(|layer| layer.created).unwrap_or(created);
    let mut stamp = |entry: &History| {
        if !entry.empty_layer {
            latest = own.next().unwrap_or(latest);
        }
        History { created: Some(rfc3339(target.epoch.unwrap_or(latest))), ..entry.clone() }
    };
    target
        .history
        .iter()
        .map(|item| match item {
            HistoryItem::Base(entry) => entry.clone(),
            HistoryItem::New(entry) => stamp(entry),
        })
        .collect()
}

/// Returns a time as RFC 3339 in UTC.
pub fn rfc3339(seconds: i64) -> String {
    Timestamp::from_second(seconds).unwrap_or(Timestamp::UNIX_EPOCH).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_go_writes_them() {
        assert_eq!(rfc3339(0), "1970-01-01T00:00:00Z");
        assert_eq!(rfc3339(1_500_000_000), "2017-07-14T02:40:00Z");
    }
}
