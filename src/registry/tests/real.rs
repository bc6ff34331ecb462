#![allow(clippy::unwrap_used)]

use super::fixture::*;
use crate::image::{Descriptor, Digest, Reference, media_type as mt};
use crate::registry::{BlobSource, Client, Progress, PushBlob, PushManifest, RegistryError};
use crate::transport;
use std::io::Read;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// `u` and `s3cret`.
const HTPASSWD: &str = "u:$2b$05$abcdefghijklmnopqrstuuLK7U1u6pVRmL7L1BBM2aS35PSZnDXlK\n";

fn blobs(image: &Image, dir: &Path) -> [PushBlob; 2] {
    let file = dir.join("layer");
    std::fs::write(&file, &image.layer).unwrap();
    let config = image.config.clone().into();
    [
        PushBlob { descriptor: image.layer_descriptor(), source: BlobSource::File(file), mount_from: None },
        PushBlob {
            descriptor: Descriptor::of(mt::CONFIG, &image.config),
            source: BlobSource::Bytes(config),
            mount_from: None,
        },
    ]
}

fn push(client: &Client, reference: &Reference, image: &Image, blobs: &[PushBlob]) -> Result<Digest, RegistryError> {
    let top = PushManifest { media_type: mt::MANIFEST.into(), bytes: image.manifest.clone().into() };
    client.push(reference, blobs, &[], &top)
}

fn layer(client: &Client, reference: &Reference) -> Vec<u8> {
    let got = client.resolve(reference, &"linux/amd64".parse().unwrap()).unwrap();
    let mut bytes = Vec::new();
    client.blob(reference, &got.manifest.layers[0]).unwrap().read_to_end(&mut bytes).unwrap();
    bytes
}

#[test]
fn an_image_goes_there_and_back() {
    let Some(registry) = real_registry("an_image_goes_there_and_back", |_| String::new(), "") else { return };
    let image = Image::new(&vec![7; 3 << 20]);
    let sent = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&sent);
    let progress: Progress = Arc::new(move |_, current, total| {
        assert!(current <= total);
        counter.fetch_max(current, Ordering::Relaxed);
    });
    let client = client().with_progress(progress);
    let one: Reference = format!("{}/team/one:1", registry.host).parse().unwrap();
    let mut blobs = blobs(&image, registry.dir.path());
    assert_eq!(push(&client, &one, &image, &blobs).unwrap(), Digest::of(&image.manifest));
    assert_eq!(sent.load(Ordering::Relaxed), 3 << 20);
    assert_eq!(layer(&client, &one), image.layer);

    // The file is gone: only a mount can bring the layer into the second repository.
    let two: Reference = format!("{}/two:x", registry.host).parse().unwrap();
    blobs.iter_mut().for_each(|b| b.mount_from = Some(one.clone()));
    std::fs::write(registry.dir.path().join("layer"), vec![8; 3 << 20]).unwrap();
    push(&client, &two, &image, &blobs).unwrap();
    assert_eq!(layer(&client, &two), image.layer);
    let top = PushManifest { media_type: mt::MANIFEST.into(), bytes: image.manifest.clone().into() };
    client.put_manifest(&format!("{}/two:y", registry.host).parse().unwrap(), &top).unwrap();
    let mut tags = client.tags(&two).unwrap();
    tags.sort();
    assert_eq!(tags, ["x", "y"]);
    assert_eq!(client.head(&two).unwrap(), Descriptor::of(mt::MANIFEST, &image.manifest));
}

#[test]
fn a_cut_connection_is_mended_in_both_directions() {
    const NAME: &str = "a_cut_connection_is_mended_in_both_directions";
    let Some(registry) = real_registry(NAME, |_| String::new(), "") else { return };
    let bytes: Vec<u8> = (0..4u32 << 20).map(|n| (n % 251) as u8).collect();
    let image = Image::new(&bytes);
    let blobs = blobs(&image, registry.dir.path());
    let through_proxy = || {
        let cuts = Arc::new(AtomicUsize::new(0));
        let address = cutting_proxy(&registry.host, 2 << 20, Arc::clone(&cuts));
        let reference: Reference = format!("{address}/app:1").parse().unwrap();
        (reference, cuts)
    };
    let (reference, cuts) = through_proxy();
    push(&client(), &reference, &image, &blobs).unwrap();
    assert_eq!(cuts.load(Ordering::SeqCst), 1);
    let (reference, cuts) = through_proxy();
    assert!(layer(&client(), &reference) == bytes);
    assert_eq!(cuts.load(Ordering::SeqCst), 1);
}

#[test]
fn another_client_reads_what_was_pushed() {
    const NAME: &str = "another_client_reads_what_was_pushed";
    if let Err(e) = Command::new("skopeo").arg("--version").output() {
        return eprintln!("skipped {NAME}: `skopeo` cannot be run: {e}");
    }
    let Some(registry) = real_registry(NAME, |_| String::new(), "") else { return };
    let image = Image::new(b"layer");
    let reference: Reference = format!("{}/app:1", registry.host).parse().unwrap();
    let mut manifest = Descriptor::of(mt::MANIFEST, &image.manifest);
    manifest.platform = Some("linux/amd64".parse().unwrap());
    let index = serde_json::json!({"schemaVersion": 2, "mediaType": mt::INDEX, "manifests": [manifest]}).to_string();
    let manifests = [PushManifest { media_type: mt::MANIFEST.into(), bytes: image.manifest.clone().into() }];
    let top = PushManifest { media_type: mt::INDEX.into(), bytes: index.into() };
    client().push(&reference, &blobs(&image, registry.dir.path()), &manifests, &top).unwrap();
    let out = registry.dir.path().join("out");
    let mut skopeo = Command::new("skopeo");
    skopeo.args(["--override-arch=amd64", "--override-os=linux", "copy", "--src-tls-verify=false"]);
    let output = skopeo.arg(format!("docker://{reference}")).arg(format!("dir:{}", out.display())).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert_eq!(std::fs::read(out.join("manifest.json")).unwrap(), image.manifest);
    assert_eq!(std::fs::read(out.join(Digest::of(b"layer").hex())).unwrap(), b"layer");
}

#[test]
fn wrong_bytes_are_refused_by_the_registry() {
    let Some(registry) = real_registry("wrong_bytes_are_refused_by_the_registry", |_| String::new(), "") else {
        return;
    };
    let image = Image::new(b"right");
    let blobs = blobs(&image, registry.dir.path());
    std::fs::write(registry.dir.path().join("layer"), b"wrong").unwrap();
    let reference = format!("{}/app:1", registry.host).parse().unwrap();
    let error = push(&client(), &reference, &image, &blobs).unwrap_err();
    assert!(matches!(error, RegistryError::Status { status: 400, .. }), "{error}");
    assert!(error.to_string().contains("DIGEST_INVALID"), "{error}");
}

#[test]
fn a_registry_with_passwords_lets_in_who_has_one() {
    let protect = |dir: &Path| {
        std::fs::write(dir.join("htpasswd"), HTPASSWD).unwrap();
        format!("auth: {{htpasswd: {{realm: r, path: {}/htpasswd}}}}\n", dir.display())
    };
    let Some(registry) = real_registry("a_registry_with_passwords_lets_in_who_has_one", protect, "") else { return };
    let image = Image::new(b"layer");
    let blobs = blobs(&image, registry.dir.path());
    let reference: Reference = format!("{}/app:1", registry.host).parse().unwrap();
    let auth = |password: &str| {
        format!(r#"{{"auths":{{"{}/app":{{"username":"u","password":"{password}"}}}}}}"#, registry.host)
    };
    let good = client_with("", Some(&auth("s3cret")));
    push(&good, &reference, &image, &blobs).unwrap();
    assert_eq!(layer(&good, &reference), b"layer");
    for client in [client(), client_with("", Some(&auth("wrong")))] {
        let error = client.manifest(&reference).unwrap_err();
        assert!(matches!(error, RegistryError::Unauthorized { .. }), "{error}");
    }
}

/// Makes a certificate for 127.0.0.1, `crt` and `key` in a directory; `None` with a reason where there is no openssl.
fn certificate(test: &str, dir: &Path) -> Option<[String; 2]> {
    let path = |name: &str| dir.join(name).display().to_string();
    let mut openssl = Command::new("openssl");
    openssl.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]);
    openssl.args(["-days", "2", "-subj", "/CN=test", "-addext", "subjectAltName=IP:127.0.0.1"]);
    openssl.args(["-addext", "basicConstraints=critical,CA:FALSE"]);
    match openssl.args(["-keyout", &path("key"), "-out", &path("crt")]).output() {
        Ok(output) => assert!(output.status.success(), "{output:?}"),
        Err(e) => {
            eprintln!("skipped {test}: `openssl` cannot be run: {e}");
            return None;
        }
    }
    Some([path("crt"), path("key")])
}

#[test]
fn a_host_that_asks_for_a_certificate_is_shown_one() {
    const NAME: &str = "a_host_that_asks_for_a_certificate_is_shown_one";
    let dir = tempfile::tempdir().unwrap();
    let Some([crt, key]) = certificate(NAME, dir.path()) else { return };
    let tls = format!(", tls: {{certificate: {crt}, key: {key}, clientcas: [{crt}]}}");
    let Some(registry) = real_registry(NAME, |_| String::new(), &tls) else { return };
    let reference: Reference = format!("{}/app:1", registry.host).parse().unwrap();
    let own = dir.path().join(&registry.host);
    std::fs::create_dir(&own).unwrap();
    std::fs::copy(&crt, own.join("ca.crt")).unwrap();
    let ask = || {
        let certificate_dirs = vec![dir.path().to_owned()];
        let transport = transport::Options { certificate_dirs, ..transport::Options::default() };
        let client = Client::new(crate::registry::Options { transport, ..Default::default() });
        client.manifest(&reference).unwrap_err()
    };
    let error = ask();
    assert!(matches!(error, RegistryError::Transport(_)), "{error}");
    std::fs::copy(&crt, own.join("client.cert")).unwrap();
    std::fs::copy(&key, own.join("client.key")).unwrap();
    let error = ask();
    assert!(matches!(error, RegistryError::UnknownManifest { .. }), "{error}");
}

#[test]
fn a_private_authority_is_trusted_for_its_host_alone() {
    const NAME: &str = "a_private_authority_is_trusted_for_its_host_alone";
    let dir = tempfile::tempdir().unwrap();
    let Some([crt, key]) = certificate(NAME, dir.path()) else { return };
    let tls = format!(", tls: {{certificate: {crt}, key: {key}}}");
    let Some(registry) = real_registry(NAME, |_| String::new(), &tls) else { return };
    let reference: Reference = format!("{}/app:1", registry.host).parse().unwrap();
    let trusted = dir.path().join("certs.d").join(&registry.host);
    std::fs::create_dir_all(&trusted).unwrap();
    std::fs::copy(&crt, trusted.join("ca.crt")).unwrap();
    let with = |certificate_dirs, root_certificates| {
        let transport = transport::Options { certificate_dirs, root_certificates, ..transport::Options::default() };
        Client::new(crate::registry::Options { transport, ..Default::default() })
    };
    let by_host = with(vec![dir.path().join("certs.d")], Vec::new());
    let by_file = with(Vec::new(), vec![dir.path().join("crt")]);
    for client in [by_host, by_file] {
        let error = client.manifest(&reference).unwrap_err();
        assert!(matches!(error, RegistryError::UnknownManifest { .. }), "{error}");
    }
    let error = with(Vec::new(), Vec::new()).manifest(&reference).unwrap_err();
    assert!(error.to_string().contains("invalid peer certificate"), "{error}");
    // Insecure: any certificate will do.
    let conf = format!("[[registry]]\nlocation='{}'\ninsecure=true", registry.host);
    let error = client_with(&conf, None).manifest(&reference).unwrap_err();
    assert!(matches!(error, RegistryError::UnknownManifest { .. }), "{error}");
}
