//! Checks documents that came from outside before anything is built on them.

use super::media_type as mt;
use super::{Descriptor, ImageConfig, Index, Manifest};
use serde::Deserialize;
use serde_json::value::RawValue;

/// Most layers that an image may have; overlayfs itself takes some 500.
pub const LAYER_LIMIT: usize = 1024;
/// Most manifests that an index may have.
pub const INDEX_LIMIT: usize = 1024;
/// How deep indexes may lie in indexes.
pub const INDEX_DEPTH_LIMIT: usize = 4;
/// Most bytes of a manifest or index (distribution-spec, section Pushing Manifests).
pub const MANIFEST_LIMIT_BYTES: u64 = 4 << 20;
/// Most bytes of an image configuration.
pub const CONFIG_LIMIT_BYTES: u64 = 8 << 20;

/// A document that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ValidateError {
    /// It is not JSON of the right shape.
    #[error("malformed {what}: {reason}")]
    Malformed {
        /// Which document.
        what: &'static str,
        /// Why, from the JSON reader.
        reason: String,
    },
    /// A document that is both a manifest and an index means different things to different readers (CVE-2021-41190).
    #[error("the document is a manifest and an index at once: it has both `{0}` and `{1}`")]
    Ambiguous(&'static str, &'static str),
    /// Docker's oldest format.
    #[error(
        "the image has a manifest of Docker's schema 1, which is no longer supported; push it again with a tool of today"
    )]
    Schema1,
    /// A schema version that is not 2.
    #[error("unknown schema version: {0}")]
    SchemaVersion(u32),
    /// What the document says it is differs from what it was handed out as.
    #[error("the document says it is `{inside}`, but it came as `{outside}`")]
    MediaTypeMismatch {
        /// `mediaType` in the document.
        inside: String,
        /// `Content-Type` or the descriptor's media type.
        outside: String,
    },
    /// A media type that no image has.
    #[error("this is no container image: {what} of type `{media_type}`")]
    MediaType {
        /// Which part.
        what: &'static str,
        /// Its media type.
        media_type: String,
    },
    /// A limit is passed.
    #[error("too many {what}: {count}, the limit is {limit}")]
    TooMany {
        /// What.
        what: &'static str,
        /// How many.
        count: usize,
        /// The limit.
        limit: usize,
    },
    /// Layers and diff ids do not pair up.
    #[error("the manifest has {layers} layers, but the configuration has {diff_ids} diff ids")]
    DiffIds {
        /// Layers in the manifest.
        layers: usize,
        /// Diff ids in the configuration.
        diff_ids: usize,
    },
    /// Layers and history do not pair up.
    #[error("the manifest has {layers} layers, but the history tells of {history}")]
    History {
        /// Layers in the manifest.
        layers: usize,
        /// Entries of the history that made a layer.
        history: usize,
    },
    /// The config blob is not the one that the manifest names.
    #[error("the configuration does not have the digest or size that the manifest gives")]
    ConfigDigest,
}

/// A manifest or an index.
#[derive(Debug, Clone, PartialEq)]
pub enum Document {
    /// One image.
    Manifest(Manifest),
    /// Several.
    Index(Index),
}

/// The fields that tell the kinds of documents apart.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Shape<'a> {
    #[serde(default)]
    schema_version: u32,
    #[serde(default)]
    media_type: String,
    #[serde(borrow)]
    config: Option<&'a RawValue>,
    #[serde(borrow)]
    layers: Option<&'a RawValue>,
    #[serde(borrow)]
    manifests: Option<&'a RawValue>,
    #[serde(borrow)]
    fs_layers: Option<&'a RawValue>,
}

/// Parses a manifest or index.  `outside` is the media type it was handed out under, empty where unknown.
///
/// The returned document's `media_type` is never empty.
pub fn document(bytes: &[u8], outside: &str) -> Result<Document, ValidateError> {
    let malformed = |what| move |e: serde_json::Error| ValidateError::Malformed { what, reason: e.to_string() };
    let shape: Shape<'_> = serde_json::from_slice(bytes).map_err(malformed("manifest"))?;
    check_shape(&shape, outside)?;
    let inside = if shape.media_type.is_empty() { outside } else { &shape.media_type };
    if shape.manifests.is_some() {
        let mut index: Index = serde_json::from_slice(bytes).map_err(malformed("index"))?;
        index.media_type = or_default(inside, mt::INDEX);
        check_type("a document", &index.media_type, &[mt::INDEX, mt::DOCKER_LIST])?;
        check_count("manifests in the index", index.manifests.len(), INDEX_LIMIT)?;
        return Ok(Document::Index(index));
    }
    let mut manifest: Manifest = serde_json::from_slice(bytes).map_err(malformed("manifest"))?;
    manifest.media_type = or_default(inside, mt::MANIFEST);
    check_type("a document", &manifest.media_type, &[mt::MANIFEST, mt::DOCKER_MANIFEST])?;
    check_count("layers", manifest.layers.len(), LAYER_LIMIT)?;
    Ok(Document::Manifest(manifest))
}

fn or_default(media_type: &str, default: &str) -> String {
    if is_unspecific(media_type) { default.to_owned() } else { media_type.to_owned() }
}

/// Whether a `Content-Type` says nothing about the document.
fn is_unspecific(media_type: &str) -> bool {
    ["", "application/json", "application/octet-stream", "text/plain"].contains(&media_type)
}

fn check_shape(shape: &Shape<'_>, outside: &str) -> Result<(), ValidateError> {
    if shape.schema_version == 1 || shape.fs_layers.is_some() || outside.contains("distribution.manifest.v1") {
        return Err(ValidateError::Schema1);
    }
    if shape.schema_version != 2 {
        return Err(ValidateError::SchemaVersion(shape.schema_version));
    }
    for (present, name) in [(shape.layers.is_some(), "layers"), (shape.config.is_some(), "config")] {
        if present && shape.manifests.is_some() {
            return Err(ValidateError::Ambiguous(name, "manifests"));
        }
    }
    if !shape.media_type.is_empty() && !is_unspecific(outside) && shape.media_type != outside {
        return Err(ValidateError::MediaTypeMismatch { inside: shape.media_type.clone(), outside: outside.to_owned() });
    }
    Ok(())
}

fn check_type(what: &'static str, media_type: &str, known: &[&str]) -> Result<(), ValidateError> {
    if known.contains(&media_type) {
        Ok(())
    } else {
        Err(ValidateError::MediaType { what, media_type: media_type.to_owned() })
    }
}

fn check_count(what: &'static str, count: usize, limit: usize) -> Result<(), ValidateError> {
    if count > limit { Err(ValidateError::TooMany { what, count, limit }) } else { Ok(()) }
}

/// Parses the configuration that a manifest names.
pub fn config(bytes: &[u8], descriptor: &Descriptor) -> Result<ImageConfig, ValidateError> {
    if Descriptor::of("", bytes).digest != descriptor.digest || bytes.len() as u64 != descriptor.size_bytes {
        return Err(ValidateError::ConfigDigest);
    }
    serde_json::from_slice(bytes)
        .map_err(|e| ValidateError::Malformed { what: "image configuration", reason: e.to_string() })
}

/// Checks that a manifest and its configuration are one usable image, as anybody might have made it.
pub fn pulled(manifest: &Manifest, config: &ImageConfig) -> Result<(), ValidateError> {
    config_type(manifest)?;
    for layer in &manifest.layers {
        if !is_layer(&layer.media_type) {
            return Err(ValidateError::MediaType { what: "a layer", media_type: layer.media_type.clone() });
        }
    }
    let (layers, diff_ids) = (manifest.layers.len(), config.rootfs.diff_ids.len());
    if layers == diff_ids { Ok(()) } else { Err(ValidateError::DiffIds { layers, diff_ids }) }
}

/// Checks that a manifest's configuration is one of an image: charts and signatures come in manifests too.
pub fn config_type(manifest: &Manifest) -> Result<(), ValidateError> {
    check_type("a configuration", &manifest.config.media_type, &[mt::CONFIG, mt::DOCKER_CONFIG])
}

/// Checks an image that cooper made: as [`pulled`], and the history tells of every layer.
///
/// Images from elsewhere are not held to the history: some builders write none or too much, and it harms nobody.
pub fn image(manifest: &Manifest, config: &ImageConfig) -> Result<(), ValidateError> {
    pulled(manifest, config)?;
    let (layers, history) = (manifest.layers.len(), config.history.iter().filter(|h| !h.empty_layer).count());
    if layers == history { Ok(()) } else { Err(ValidateError::History { layers, history }) }
}

/// Tells whether a media type is that of a layer: a tar, perhaps compressed, perhaps marked as not for distribution.
pub fn is_layer(media_type: &str) -> bool {
    let oci = ["application/vnd.oci.image.layer.v1.tar", "application/vnd.oci.image.layer.nondistributable.v1.tar"];
    let docker = [mt::DOCKER_LAYER, "application/vnd.docker.image.rootfs.foreign.diff.tar"];
    let ends = |bases: [&str; 2], ends: [&str; 3]| {
        bases.iter().any(|base| media_type.strip_prefix(base).is_some_and(|end| ends.contains(&end)))
    };
    ends(oci, ["", "+gzip", "+zstd"]) || ends(docker, ["", ".gzip", ".zstd"])
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use rstest::rstest;
    use serde_json::json;

    fn manifest_json(layers: usize) -> serde_json::Value {
        let d = |t: &str| json!({"mediaType": t, "digest": format!("sha256:{}", "a".repeat(64)), "size": 1});
        json!({"schemaVersion": 2, "mediaType": mt::MANIFEST, "config": d(mt::CONFIG), "layers": vec![d(mt::LAYER_GZIP); layers]})
    }

    fn parse(value: &serde_json::Value, outside: &str) -> Result<Document, ValidateError> {
        document(value.to_string().as_bytes(), outside)
    }

    fn manifest(layers: usize) -> Manifest {
        match parse(&manifest_json(layers), mt::MANIFEST).unwrap() {
            Document::Manifest(manifest) => manifest,
            Document::Index(_) => panic!("an index"),
        }
    }

    #[rstest]
    #[case("manifests", json!([]), ValidateError::Ambiguous("layers", "manifests"))]
    #[case("fsLayers", json!([]), ValidateError::Schema1)]
    #[case("schemaVersion", json!(1), ValidateError::Schema1)]
    #[case("schemaVersion", json!(3), ValidateError::SchemaVersion(3))]
    #[case("mediaType", json!("x/y"), ValidateError::MediaTypeMismatch { inside: "x/y".into(), outside: mt::MANIFEST.into() })]
    fn a_document_that_is_not_what_it_seems_is_refused(
        #[case] field: &str,
        #[case] value: serde_json::Value,
        #[case] error: ValidateError,
    ) {
        let mut document = manifest_json(1);
        document[field] = value;
        assert_eq!(parse(&document, mt::MANIFEST), Err(error));
    }

    #[test]
    fn a_config_next_to_manifests_is_ambiguous_too() {
        let both = json!({"schemaVersion": 2, "manifests": [], "config": {}});
        assert_eq!(parse(&both, mt::INDEX), Err(ValidateError::Ambiguous("config", "manifests")));
    }

    #[test]
    fn the_content_type_stands_in_for_a_missing_media_type() {
        let mut document = manifest_json(0);
        document.as_object_mut().unwrap().remove("mediaType");
        for (outside, expected) in
            [(mt::DOCKER_MANIFEST, mt::DOCKER_MANIFEST), ("application/json", mt::MANIFEST), ("", mt::MANIFEST)]
        {
            let Document::Manifest(m) = parse(&document, outside).unwrap() else { panic!("an index") };
            assert_eq!(m.media_type, expected);
        }
        assert!(matches!(parse(&document, mt::INDEX), Err(ValidateError::MediaType { .. })));
    }

    #[test]
    fn counts_are_limited() {
        assert!(matches!(parse(&manifest_json(LAYER_LIMIT + 1), ""), Err(ValidateError::TooMany { .. })));
        let index = json!({"schemaVersion": 2, "manifests": vec![manifest_json(0)["config"].clone(); INDEX_LIMIT + 1]});
        assert!(matches!(parse(&index, ""), Err(ValidateError::TooMany { .. })));
    }

    #[test]
    fn layers_diff_ids_and_history_pair_up() {
        let config: ImageConfig = serde_json::from_value(json!({
            "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{}", "b".repeat(64))]},
            "history": [{"empty_layer": true}, {}, {}],
        }))
        .unwrap();
        assert_eq!(pulled(&manifest(1), &config), Ok(()));
        assert_eq!(pulled(&manifest(2), &config), Err(ValidateError::DiffIds { layers: 2, diff_ids: 1 }));
        assert_eq!(image(&manifest(1), &config), Err(ValidateError::History { layers: 1, history: 2 }));
        let mut chart = manifest(1);
        chart.config.media_type = "application/vnd.cncf.helm.config.v1+json".into();
        assert!(matches!(pulled(&chart, &config), Err(ValidateError::MediaType { .. })));
    }

    #[rstest]
    #[case(mt::LAYER, true)]
    #[case(mt::LAYER_ZSTD, true)]
    #[case(mt::DOCKER_LAYER_GZIP, true)]
    #[case("application/vnd.oci.image.layer.nondistributable.v1.tar+gzip", true)]
    #[case("application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", true)]
    #[case("application/vnd.oci.image.layer.v1.tar+xz", false)]
    #[case("text/plain", false)]
    fn layers_are_told_by_media_type(#[case] media_type: &str, #[case] is: bool) {
        assert_eq!(is_layer(media_type), is);
    }
}
