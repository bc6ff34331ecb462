//! Hostile servers: registries, files for ADD, repositories.

use super::bench::Bench;
use super::layout::{Image, MANIFEST, busybox, digest};
use super::rungs::any_account;
use serde_json::json;
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// A request as it came.
#[derive(Debug, Clone)]
pub struct Request {
    pub method: String,
    pub path: String,
    pub head: String,
}

/// What a server answers.
#[derive(Debug, Clone)]
pub struct Answer {
    head: String,
    body: Vec<u8>,
    /// Stated instead of the length of the body.
    stated_bytes: Option<u64>,
    /// How often the body is sent.
    times: u64,
}

impl Answer {
    pub fn ok(body: impl Into<Vec<u8>>) -> Answer {
        Answer { head: "200 OK\r\n".into(), body: body.into(), stated_bytes: None, times: 1 }
    }

    pub fn status(status: u16) -> Answer {
        Answer { head: format!("{status} As Asked\r\n"), body: Vec::new(), stated_bytes: None, times: 1 }
    }

    pub fn header(mut self, name: &str, value: &str) -> Answer {
        self.head.push_str(&format!("{name}: {value}\r\n"));
        self
    }
}

/// A server on the loopback that keeps what it was asked.
pub struct Server {
    address: SocketAddr,
    seen: Arc<Mutex<Vec<Request>>>,
}

impl Server {
    pub fn start(answer: impl Fn(&Request) -> Answer + Send + Sync + 'static) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let server = Server { address: listener.local_addr().unwrap(), seen: Arc::default() };
        let (seen, answer) = (server.seen.clone(), Arc::new(answer));
        std::thread::spawn(move || {
            for connection in listener.incoming().map_while(Result::ok) {
                let (seen, answer) = (seen.clone(), answer.clone());
                std::thread::spawn(move || serve(connection, &seen, &*answer));
            }
        });
        server
    }

    /// Returns host and port.
    pub fn host(&self) -> String {
        format!("localhost:{}", self.address.port())
    }

    /// Returns what it was asked so far.
    pub fn seen(&self) -> Vec<Request> {
        self.seen.lock().unwrap().clone()
    }
}

fn serve(mut connection: TcpStream, seen: &Mutex<Vec<Request>>, answer: &dyn Fn(&Request) -> Answer) {
    connection.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") && matches!(connection.read(&mut byte), Ok(1)) {
        head.push(byte[0]);
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let mut words = head.split(' ');
    let (Some(method), Some(path)) = (words.next(), words.next()) else { return };
    let request = Request { method: method.into(), path: path.into(), head: head.clone() };
    seen.lock().unwrap().push(request.clone());
    let Answer { head, body, stated_bytes, times } = answer(&request);
    let length = stated_bytes.unwrap_or(body.len() as u64);
    let _ = write!(connection, "HTTP/1.1 {head}Content-Length: {length}\r\nConnection: close\r\n\r\n");
    for _ in 0..times {
        if request.method == "HEAD" || connection.write_all(&body).is_err() {
            return;
        }
    }
}

/// A registry with one image; `change` may answer otherwise.
fn registry(image: &Image, change: impl Fn(&Request) -> Option<Answer> + Send + Sync + 'static) -> Server {
    let manifest = serde_json::to_vec(&image.manifest()).unwrap();
    let mut blobs: Vec<Vec<u8>> = image.layers.iter().map(|(bytes, _)| bytes.clone()).collect();
    blobs.push(image.config_bytes());
    Server::start(move |request| {
        if let Some(answer) = change(request) {
            return answer;
        }
        if request.path.contains("/manifests/") {
            return Answer::ok(manifest.clone())
                .header("Content-Type", MANIFEST)
                .header("Docker-Content-Digest", &digest(&manifest));
        }
        let blob = blobs.iter().find(|blob| request.path.ends_with(&digest(blob)));
        blob.map_or(Answer::status(404), |blob| Answer::ok(blob.clone()))
    })
}

fn small() -> Image {
    Image::of([super::tar::Tar::new().file("f", b"1").end()])
}

fn layer_of(image: &Image) -> String {
    image.layers[0].1.clone()
}

/// Builds on the server's image.
#[track_caller]
fn pull(bench: &Bench, server: &Server) -> super::bench::Outcome {
    bench.build(&format!("FROM {}/a/b:c\nWORKDIR /x\n", server.host()), &[])
}

#[test]
fn an_honest_registry_is_built_on() {
    pull(&Bench::new(any_account()), &registry(&small(), |_| None)).succeeded();
}

#[test]
fn bytes_that_are_not_their_digest_are_refused_and_not_kept() {
    let image = small();
    let name = layer_of(&image);
    let lies: [(&str, Answer); 4] = [
        ("other bytes", Answer::ok(super::tar::Tar::new().file("f", b"2").end())),
        ("fewer bytes", Answer::ok(image.layers[0].0[..512].to_vec())),
        ("more bytes", Answer::ok([image.layers[0].0.clone(), vec![0; 4096]].concat())),
        ("no bytes", Answer::ok("")),
    ];
    for (what, lie) in lies {
        let bench = Bench::new(any_account());
        let path = name.clone();
        let server = registry(&image, move |request| request.path.ends_with(&path).then(|| lie.clone()));
        let result = pull(&bench, &server);
        assert!((1..5).contains(&result.code), "{what}: {}", result.text);
        assert!(!bench.path("store/oci/blobs/sha256").join(&name[7..]).exists(), "{what}");
    }
    for path in ["/manifests/", "config"] {
        let config = digest(&image.config_bytes());
        let path = if path == "config" { config } else { path.to_owned() };
        let lie = registry(&image, move |request| {
            request.path.contains(&path).then(|| Answer::ok(r#"{"schemaVersion":2}"#).header("Content-Type", MANIFEST))
        });
        pull(&Bench::new(any_account()), &lie).refused("");
    }
    let lie = registry(&image, |request| {
        let answer = Answer::ok(serde_json::to_vec(&small().manifest()).unwrap()).header("Content-Type", MANIFEST);
        request.path.contains("/manifests/").then(|| answer.header("Docker-Content-Digest", &digest(b"other")))
    });
    pull(&Bench::new(any_account()), &lie).refused("");
}

#[test]
fn answers_without_end_meet_a_limit() {
    for part in ["/manifests/", "config", "blob"] {
        let image = small();
        let part = match part {
            "config" => digest(&image.config_bytes()),
            "blob" => layer_of(&image),
            other => other.to_owned(),
        };
        let server = registry(&image, move |request| {
            let mut answer = Answer::ok(vec![b' '; 1 << 20]).header("Content-Type", MANIFEST);
            (answer.stated_bytes, answer.times) = (Some(1 << 40), 1 << 20);
            request.path.contains(&part).then_some(answer)
        });
        pull(&Bench::new(any_account()), &server).refused("");
    }
    // Errors and headers too.
    let server = registry(&small(), |_| {
        let mut answer = Answer::status(400);
        (answer.body, answer.times, answer.stated_bytes) = (vec![b'x'; 1 << 20], 1 << 20, Some(1 << 40));
        Some(answer)
    });
    let result = pull(&Bench::new(any_account()), &server).refused("");
    assert!(result.text.len() < 1 << 18, "{} bytes of message", result.text.len());
    let server = registry(&small(), |_| Some(Answer::ok("").header("X", &"x".repeat(8 << 20))));
    pull(&Bench::new(any_account()), &server).refused("");
    // What a server says does not steer the terminal.
    let server = registry(&small(), |_| {
        let body = "{\"errors\":[{\"code\":\"DENIED\",\"message\":\"\\u001b]0;t\\u0007\\u001b[2J\"}]}";
        Some(Answer { body: body.into(), ..Answer::status(400) })
    });
    let result = pull(&Bench::new(any_account()), &server).refused("");
    assert!(!result.text.contains('\u{1b}'), "{}", result.text.escape_debug());
}

/// Gives the bench a password for a server.
fn log_in(bench: &Bench, host: &str) {
    fs::create_dir_all(bench.path("home/.docker")).unwrap();
    // `u:password`
    let config = json!({"auths": {host: {"auth": "dTpwYXNzd29yZA=="}}});
    fs::write(bench.path("home/.docker/config.json"), config.to_string()).unwrap();
}

fn has_credentials(request: &Request) -> bool {
    request.head.to_lowercase().contains("authorization:") || request.head.contains("dTpwYXNzd29yZA")
}

#[test]
fn another_host_sees_no_credentials() {
    let image = small();
    let layer = image.layers[0].clone();
    let other = Server::start(move |_| Answer::ok(layer.0.clone()));
    let location = format!("http://127.0.0.1:{}/blob", other.address.port());
    let name = layer_of(&image);
    let server = registry(&image, move |request| {
        if !has_credentials(request) {
            return Some(Answer::status(401).header("WWW-Authenticate", "Basic realm=\"x\""));
        }
        request.path.ends_with(&name).then(|| Answer::status(307).header("Location", &location))
    });
    let bench = Bench::new(any_account());
    log_in(&bench, &server.host());
    pull(&bench, &server).succeeded();
    assert!(server.seen().iter().any(has_credentials));
    assert!(!other.seen().is_empty() && !other.seen().iter().any(has_credentials), "{:?}", other.seen());
}

#[test]
fn a_realm_elsewhere_sees_no_password() {
    let other = Server::start(|_| Answer::ok("{\"token\":\"t\"}"));
    let realm = format!("Bearer realm=\"http://127.0.0.1:{}/token\",service=\"s\"", other.address.port());
    let server = registry(&small(), move |_| Some(Answer::status(401).header("WWW-Authenticate", &realm)));
    let bench = Bench::new(any_account());
    log_in(&bench, &server.host());
    pull(&bench, &server).refused("");
    assert!(!other.seen().iter().any(has_credentials), "{:?}", other.seen());
}

#[test]
fn addresses_in_a_manifest_are_not_asked() {
    let other = Server::start(|_| Answer::status(404));
    let image = Image::of([busybox().end()]);
    let mut manifest = image.manifest();
    manifest["layers"][0]["urls"] = json!([format!("http://{}/layer", other.host())]);
    let manifest = serde_json::to_vec(&manifest).unwrap();
    let server = registry(&image, move |request| {
        request.path.contains("/manifests/").then(|| Answer::ok(manifest.clone()).header("Content-Type", MANIFEST))
    });
    pull(&Bench::new(any_account()), &server);
    assert!(other.seen().is_empty(), "{:?}", other.seen());
}

#[test]
fn references_that_are_no_references_are_refused_before_anything_is_asked() {
    let server = Server::start(|_| Answer::status(404));
    let host = server.host();
    let long = "a".repeat(10 << 10);
    for name in [
        "../../x",
        "a/../b",
        "A/B",
        "a//b",
        "a@sha256:00",
        "a@md5:00",
        "a:../x",
        "\u{430}lpine",
        "a b",
        &long,
        "a:b:c",
        "a?x=y",
        "a#x",
        "%2e%2e",
    ] {
        Bench::new(any_account()).build(&format!("FROM {host}/{name}\nWORKDIR /x\n"), &[]).refused("");
        assert!(server.seen().is_empty(), "{name}: {:?}", server.seen());
    }
}

#[test]
fn a_download_is_not_led_elsewhere() {
    for location in ["file:///etc/passwd", "ftp://localhost/x", "gopher://localhost/", "//../x", "data:text/plain,x"] {
        let server = Server::start(move |_| Answer::status(302).header("Location", location));
        let bench = Bench::new(any_account());
        let output = format!("-otype=local,dest={}", bench.text("out"));
        let result = bench.build(&format!("FROM scratch\nADD http://{}/f /f\n", server.host()), &[&output]);
        assert!(result.code != 0 && !bench.path("out").exists(), "{location}: {}", result.text);
    }
    // A ring of redirects.
    let server = Server::start(|request| Answer::status(302).header("Location", &format!("{}x", request.path)));
    Bench::new(any_account()).build(&format!("FROM scratch\nADD http://{}/f /f\n", server.host()), &[]).refused("");
}

#[test]
fn a_download_with_another_checksum_is_not_used() {
    let server = Server::start(|_| Answer::ok("evil"));
    let bench = Bench::new(any_account());
    let good = digest(b"good");
    let text = format!("FROM scratch\nADD --checksum={good} http://{}/f /f\n", server.host());
    for _ in 0..2 {
        bench.build(&text, &[]).refused("digest mismatch");
    }
    // Names that the server chooses or that climb.
    for path in ["..%2f..%2foutside%2ffile", "%2e%2e", "a%00b", "..", "%2Fetc%2Fpasswd"] {
        let bench = Bench::new(any_account());
        bench.build(&format!("FROM scratch\nADD http://{}/{path} /d/\n", server.host()), &[]);
    }
}

#[test]
fn repositories_that_are_options_or_climb_are_refused() {
    let bench = Bench::new(any_account());
    let marker = bench.outside("/hacked");
    let touch = format!("touch${{IFS}}{marker}");
    let urls = [
        format!("https://localhost:1/r.git#--upload-pack={touch}"),
        format!("https://localhost:1/r.git#-u{touch}"),
        "https://localhost:1/r.git#--output=x".into(),
        format!("ssh://-oProxyCommand={touch}/r.git"),
        format!("-oProxyCommand={touch}@localhost:r.git"),
        format!("git@-oProxyCommand={touch}:r.git"),
        "https://localhost:1/r.git#main:../..".into(),
        "https://localhost:1/r.git#main:/etc/../..".into(),
        "https://localhost:1/r.git#a b".into(),
        "https://localhost:1/r.git#a..b".into(),
        "git://localhost:1/--upload-pack=x.git".into(),
    ];
    for url in &urls {
        bench.run(&["--progress=plain", "--", url], |_| {}).refused("");
        bench.build(&format!("FROM scratch\nADD {url} /r\n"), &[]).refused("");
    }
    for url in [format!("ext::sh -c {touch}"), format!("fd::{touch}"), "file:///etc".into()] {
        bench.run(&["--progress=plain", "--", &url], |_| {}).refused("");
        bench.build(&format!("FROM scratch\nADD {url} /r\n"), &[]).refused("");
    }
}
