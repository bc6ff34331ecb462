//! `cooper inspect`: everything about an image, as JSON.

use crate::diag::{Diagnostic, Exit};
use crate::image::ImageConfig;
use serde::Serialize;

/// Prints what an image consists of, as JSON
#[derive(Debug, clap::Args)]
pub struct InspectArgs {
    /// Names or ids of images
    #[arg(value_name = "IMAGE", required = true)]
    pub images: Vec<String>,
}

/// An image as it is printed.
#[derive(Debug, Serialize)]
pub struct ImageReport {
    /// Digest of the manifest (or index).
    pub digest: String,
    /// Names.
    pub names: Vec<String>,
    /// `os/architecture[/variant]`.
    pub platform: String,
    /// Sum of the compressed layers and JSON documents.
    pub size_bytes: u64,
    /// Annotations of the manifest.
    pub annotations: std::collections::BTreeMap<String, String>,
    /// The layers, lowest first.
    pub layers: Vec<LayerReport>,
    /// The config document.
    pub config: ImageConfig,
}

/// A layer as it is printed.
#[derive(Debug, Serialize)]
pub struct LayerReport {
    /// Digest of the compressed bytes.
    pub digest: String,
    /// Digest of the tar.
    pub diff_id: String,
    /// Media type.
    pub media_type: String,
    /// Compressed size.
    pub size_bytes: u64,
}

/// Returns the reports as one JSON array.
pub fn format(reports: &[ImageReport]) -> Result<String, Diagnostic> {
    let text = serde_json::to_string_pretty(reports).map_err(|error| Diagnostic::from_error(Exit::Bug, &error))?;
    Ok(text + "\n")
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn reports_are_an_array() {
        assert_eq!(format(&[]).unwrap(), "[]\n");
        let config = r#"{"architecture":"amd64","os":"linux","config":{"Env":["A=b"]},"rootfs":{"type":"layers","diff_ids":[]}}"#;
        let report = ImageReport {
            digest: "sha256:00".into(),
            names: vec!["app:1".into()],
            platform: "linux/amd64".into(),
            size_bytes: 1,
            annotations: Default::default(),
            layers: vec![],
            config: serde_json::from_str(config).unwrap(),
        };
        let value: serde_json::Value = serde_json::from_str(&format(&[report]).unwrap()).unwrap();
        assert_eq!(value[0]["names"][0], "app:1");
        assert_eq!(value[0]["config"]["config"]["Env"][0], "A=b");
    }
}
