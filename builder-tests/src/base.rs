//! A base image made by code: a static busybox and what a small root file system has.

use crate::tar_of;
use cooper::image::{Descriptor, Digest, Index, Manifest, Platform, media_type, to_json};
use cooper::layer::{Entry, Kind};
use serde_json::json;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

const APPLETS: &[&str] = &[
    "addgroup",
    "adduser",
    "awk",
    "cat",
    "chmod",
    "chown",
    "cp",
    "cut",
    "date",
    "dd",
    "df",
    "echo",
    "env",
    "false",
    "find",
    "grep",
    "head",
    "hostname",
    "id",
    "ip",
    "kill",
    "ln",
    "ls",
    "mkdir",
    "mknod",
    "mkfifo",
    "mount",
    "mv",
    "printf",
    "ps",
    "pwd",
    "readlink",
    "rm",
    "rmdir",
    "sed",
    "seq",
    "sh",
    "sha256sum",
    "sleep",
    "sort",
    "stat",
    "sync",
    "tail",
    "tar",
    "test",
    "touch",
    "tr",
    "true",
    "umount",
    "uname",
    "wc",
    "wget",
    "whoami",
    "yes",
];
const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\napp:x:1000:1001:app:/home/app:/bin/sh\n";
const GROUP: &str = "root:x:0:\napp:x:1001:\nvideo:x:44:app\n";

/// Writes the image as an OCI layout into a new directory, named `latest`.
pub fn write_base(layout: &Path) {
    let blobs = layout.join("blobs/sha256");
    fs::create_dir_all(&blobs).unwrap();
    fs::write(layout.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
    let put = |content: &[u8]| fs::write(blobs.join(Digest::of(content).hex()), content).unwrap();
    let layer = layer();
    put(&layer);
    let config = config(&Digest::of(&layer));
    put(&config);
    let manifest = to_json(&Manifest {
        schema_version: 2,
        media_type: media_type::MANIFEST.into(),
        config: Descriptor::of(media_type::CONFIG, &config),
        layers: vec![Descriptor::of(media_type::LAYER, &layer)],
        annotations: BTreeMap::new(),
        extra: BTreeMap::new(),
    })
    .unwrap();
    put(&manifest);
    let mut named = Descriptor::of(media_type::MANIFEST, &manifest);
    named.platform = Some(Platform::host());
    named.annotations.insert("org.opencontainers.image.ref.name".into(), "latest".into());
    let index = Index {
        schema_version: 2,
        media_type: media_type::INDEX.into(),
        manifests: vec![named],
        annotations: BTreeMap::new(),
        extra: BTreeMap::new(),
    };
    fs::write(layout.join("index.json"), to_json(&index).unwrap()).unwrap();
}

fn config(diff_id: &Digest) -> Vec<u8> {
    let platform = Platform::host();
    let config = json!({
        "created": "2020-01-01T00:00:00Z",
        "architecture": platform.architecture,
        "os": platform.os,
        "config": {"Env": ["PATH=/usr/bin:/bin"], "Cmd": ["/bin/sh"]},
        "rootfs": {"type": "layers", "diff_ids": [diff_id]},
        "history": [{"created": "2020-01-01T00:00:00Z", "created_by": "base"}],
    });
    serde_json::to_vec(&config).unwrap()
}

fn layer() -> Vec<u8> {
    let busybox = fs::read("/bin/busybox").expect("`/bin/busybox` is readable: install busybox-static");
    let directory = |path: &str, mode| (Entry::new(path, Kind::Directory, mode), Vec::new());
    let file = |path: &str, mode, content: &[u8]| {
        (Entry::new(path, Kind::File { size_bytes: content.len() as u64 }, mode), content.to_vec())
    };
    let mut entries = vec![directory("bin", 0o755), file("bin/busybox", 0o755, &busybox)];
    for applet in APPLETS {
        entries
            .push((Entry::new(format!("bin/{applet}"), Kind::Symlink { target: "busybox".into() }, 0o777), Vec::new()));
    }
    entries.extend([
        directory("dev", 0o755),
        directory("etc", 0o755),
        file("etc/passwd", 0o644, PASSWD.as_bytes()),
        file("etc/group", 0o644, GROUP.as_bytes()),
        directory("home", 0o755),
        directory("proc", 0o555),
        directory("root", 0o700),
        directory("sys", 0o555),
        directory("tmp", 0o1777),
    ]);
    tar_of(&entries)
}
