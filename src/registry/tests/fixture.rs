//! What the tests of this module share: an image made of bytes, and registries to put it into.
#![allow(clippy::unwrap_used)]

use crate::image::{Descriptor, Digest, Reference, media_type};
use crate::registry::{Client, CredentialStore, Options, Registries};
use crate::transport;
use serde_json::json;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use wiremock::matchers::{method, path};
use wiremock::{Mock, MockServer, ResponseTemplate};

/// A small image: its documents and one layer.
pub struct Image {
    pub layer: Vec<u8>,
    pub config: Vec<u8>,
    pub manifest: Vec<u8>,
}

impl Image {
    pub fn new(layer: &[u8]) -> Image {
        let config = json!({"architecture": "amd64", "os": "linux",
            "rootfs": {"type": "layers", "diff_ids": [Digest::of(layer)]}});
        let config = config.to_string().into_bytes();
        let manifest = json!({"schemaVersion": 2, "mediaType": media_type::MANIFEST,
            "config": Descriptor::of(media_type::CONFIG, &config),
            "layers": [Descriptor::of(media_type::LAYER, layer)]});
        Image { layer: layer.to_vec(), config, manifest: manifest.to_string().into_bytes() }
    }

    pub fn layer_descriptor(&self) -> Descriptor {
        Descriptor::of(media_type::LAYER, &self.layer)
    }
}

/// A client and the directory of its credentials.
pub struct TestClient {
    client: Client,
    _dir: tempfile::TempDir,
}

impl std::ops::Deref for TestClient {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.client
    }
}

/// A client without mirrors, credentials and patience.
pub fn client() -> TestClient {
    client_with("", None)
}

/// A client with the text of a registries.conf and of an auth.json.
pub fn client_with(registries: &str, auth: Option<&str>) -> TestClient {
    let dir = tempfile::tempdir().unwrap();
    let credentials = match auth {
        Some(text) => {
            let file = dir.path().join("auth.json");
            std::fs::write(&file, text).unwrap();
            CredentialStore::new(vec![file])
        }
        None => CredentialStore::default(),
    };
    let transport = transport::Options {
        backoff: Duration::from_millis(1),
        certificate_dirs: Vec::new(),
        ..transport::Options::default()
    };
    let registries = Registries::parse(registries).unwrap();
    TestClient { client: Client::new(Options { registries, credentials, transport }), _dir: dir }
}

pub fn start() -> MockServer {
    transport::block_on(MockServer::start())
}

pub fn mount(server: &MockServer, mocks: impl IntoIterator<Item = Mock>) {
    transport::block_on(async {
        for mock in mocks {
            server.register(mock).await;
        }
    });
}

pub fn requests(server: &MockServer) -> Vec<wiremock::Request> {
    transport::block_on(server.received_requests()).unwrap()
}

/// The requests as `METHOD /path`, those of the search for TLS left out.
pub fn lines(server: &MockServer) -> Vec<String> {
    requests(server).iter().map(|r| format!("{} {}", r.method, r.url.path())).collect()
}

pub fn reference(server: &MockServer, rest: &str) -> Reference {
    format!("{}/{rest}", server.address()).parse().unwrap()
}

/// Serves a manifest under a version.
pub fn manifest_mock(version: &str, bytes: &[u8], content_type: &str) -> Mock {
    Mock::given(method("GET"))
        .and(path(format!("/v2/app/manifests/{version}")))
        .respond_with(ResponseTemplate::new(200).set_body_raw(bytes.to_vec(), content_type))
}

/// Serves a blob.
pub fn blob_mock(bytes: &[u8]) -> Mock {
    Mock::given(method("GET"))
        .and(path(format!("/v2/app/blobs/{}", Digest::of(bytes))))
        .respond_with(ResponseTemplate::new(200).set_body_raw(bytes.to_vec(), "application/octet-stream"))
}

/// The distribution project's registry as a child process; ends with the value.
pub struct RealRegistry {
    child: Child,
    pub host: String,
    pub dir: tempfile::TempDir,
}

/// Starts it, `None` with a reason on the terminal where the program is not installed.  `extra` is YAML.
pub fn real_registry(test: &str, extra: impl Fn(&std::path::Path) -> String, http: &str) -> Option<RealRegistry> {
    let dir = tempfile::tempdir().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let root = dir.path().join("data");
    let config = format!(
        "version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {}}}}}\n\
         http: {{addr: \"127.0.0.1:{port}\"{}}}\n{}",
        root.display(),
        http.replace("DIR", &dir.path().display().to_string()),
        extra(dir.path())
    );
    std::fs::write(dir.path().join("config.yml"), config).unwrap();
    let mut command = Command::new("docker-registry");
    command.arg("serve").arg(dir.path().join("config.yml")).stdout(Stdio::null()).stderr(Stdio::null());
    let child = match command.spawn() {
        Ok(child) => child,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            eprintln!("skipped {test}: `docker-registry` is not installed");
            return None;
        }
        Err(e) => panic!("docker-registry: {e}"),
    };
    let registry = RealRegistry { child, host: format!("127.0.0.1:{port}"), dir };
    for _ in 0..400 {
        if TcpStream::connect(&registry.host).is_ok() {
            return Some(registry);
        }
        std::thread::sleep(Duration::from_millis(25));
    }
    panic!("docker-registry does not listen on {}", registry.host);
}

impl Drop for RealRegistry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A way to a host that is cut once, when a connection has carried so many bytes in one direction.
///
/// Returns its own address; `cuts` counts.
pub fn cutting_proxy(host: &str, after_bytes: usize, cuts: Arc<AtomicUsize>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let host = host.to_owned();
    std::thread::spawn(move || {
        for client in listener.incoming() {
            let (client, server) = (client.unwrap(), TcpStream::connect(&host).unwrap());
            for (mut from, mut to) in [(&client, &server), (&server, &client)]
                .map(|(from, to)| (from.try_clone().unwrap(), to.try_clone().unwrap()))
            {
                let cuts = Arc::clone(&cuts);
                std::thread::spawn(move || {
                    let (mut buffer, mut carried) = ([0; 16 << 10], 0);
                    while let Ok(n @ 1..) = from.read(&mut buffer) {
                        carried += n;
                        let is_time = carried > after_bytes
                            && cuts.compare_exchange(0, 1, Ordering::SeqCst, Ordering::SeqCst).is_ok();
                        if is_time || to.write_all(&buffer[..n]).is_err() {
                            break;
                        }
                    }
                    let _ = from.shutdown(Shutdown::Both);
                    let _ = to.shutdown(Shutdown::Both);
                });
            }
        }
    });
    address
}
