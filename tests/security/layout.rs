//! OCI layouts made by hand, honest and otherwise.

use super::tar::Tar;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::fs;
use std::path::Path;

pub const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub const INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
pub const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

/// An image to be.
pub struct Image {
    /// The layers as they are stored, and the digest of what they unpack to.
    pub layers: Vec<(Vec<u8>, String)>,
    /// What the config says besides layers and platform.
    pub config: Value,
}

/// Returns the digest of bytes.
pub fn digest(bytes: &[u8]) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(bytes)))
}

/// Returns what image configs call this machine.
pub fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

impl Image {
    /// Returns an image of plain tars.
    pub fn of(tars: impl IntoIterator<Item = Vec<u8>>) -> Image {
        let layers = tars
            .into_iter()
            .map(|tar| {
                let id = digest(&tar);
                (tar, id)
            })
            .collect();
        Image { layers, config: json!({"Env": ["PATH=/bin"]}) }
    }

    /// Returns the config's bytes.
    pub fn config_bytes(&self) -> Vec<u8> {
        let diff_ids: Vec<&String> = self.layers.iter().map(|(_, id)| id).collect();
        let config = json!({
            "os": "linux", "architecture": architecture(), "config": self.config,
            "rootfs": {"type": "layers", "diff_ids": diff_ids},
        });
        serde_json::to_vec(&config).unwrap()
    }

    /// Returns the manifest.
    pub fn manifest(&self) -> Value {
        let config = self.config_bytes();
        let layers: Vec<Value> = self.layers.iter().map(|(bytes, _)| descriptor(LAYER, bytes)).collect();
        json!({"schemaVersion": 2, "mediaType": MANIFEST, "config": descriptor(CONFIG, &config), "layers": layers})
    }

    /// Writes it as the only image of a layout.
    pub fn write(&self, directory: &Path) {
        self.write_with(directory, &self.manifest());
    }

    /// Writes it with another manifest.
    pub fn write_with(&self, directory: &Path, manifest: &Value) {
        for (layer, _) in &self.layers {
            write_blob(directory, layer);
        }
        write_blob(directory, &self.config_bytes());
        let manifest = serde_json::to_vec(manifest).unwrap();
        write_blob(directory, &manifest);
        write_index(directory, &descriptor(MANIFEST, &manifest));
    }
}

/// Returns a descriptor of bytes.
pub fn descriptor(media_type: &str, bytes: &[u8]) -> Value {
    json!({"mediaType": media_type, "digest": digest(bytes), "size": bytes.len()})
}

/// Writes a blob by its digest, which is returned.
pub fn write_blob(directory: &Path, bytes: &[u8]) -> String {
    let digest = digest(bytes);
    fs::create_dir_all(directory.join("blobs/sha256")).unwrap();
    fs::write(directory.join("blobs/sha256").join(&digest[7..]), bytes).unwrap();
    digest
}

/// Writes the layout's own files with one image.
pub fn write_index(directory: &Path, top: &Value) {
    fs::create_dir_all(directory).unwrap();
    fs::write(directory.join("oci-layout"), br#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
    let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [top]});
    fs::write(directory.join("index.json"), serde_json::to_vec(&index).unwrap()).unwrap();
}

/// Returns a layer with busybox, a shell and its tools, and a user `app`; without busybox on this machine nothing in it runs.
pub fn busybox() -> Tar {
    let mut tar = Tar::new()
        .directory("bin", 0o755)
        .directory("etc", 0o755)
        .directory("tmp", 0o1777)
        .file_with_mode("bin/busybox", 0o755, &fs::read("/bin/busybox").unwrap_or_default())
        .file("etc/passwd", b"root:x:0:0::/root:/bin/sh\napp:x:1000:1001::/home/app:/bin/sh\n")
        .file("etc/group", b"root:x:0:\napp:x:1001:\nvideo:x:44:app\n");
    let applets = "sh cat ls id echo true sleep grep touch rm mkdir ln stat find env cp mv readlink seq dd chmod test rmdir tr printf mknod";
    for applet in applets.split(' ') {
        tar = tar.symlink(&format!("bin/{applet}"), "busybox");
    }
    tar
}
