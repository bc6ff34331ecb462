#![allow(clippy::unwrap_used)]

use super::fixture::*;
use crate::image::{Descriptor, Digest, media_type as mt};
use crate::registry::RegistryError;
use rstest::rstest;
use serde_json::json;
use std::io::{Read, Write};
use wiremock::matchers::{header, method, path};
use wiremock::{Mock, ResponseTemplate};

fn platform() -> crate::image::Platform {
    "linux/amd64".parse().unwrap()
}

/// Answers each connection to a port with the next of some raw answers, then closes it.
fn raw_server(answers: Vec<Vec<u8>>) -> (String, std::thread::JoinHandle<Vec<String>>) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let host = listener.local_addr().unwrap().to_string();
    let thread = std::thread::spawn(move || {
        let mut seen = Vec::new();
        let mut answers = answers.into_iter();
        while answers.len() > 0 {
            let (mut stream, _) = listener.accept().unwrap();
            let (mut request, mut byte) = (Vec::new(), [0]);
            while !request.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap_or(0) == 1 {
                request.push(byte[0]);
                // The first byte of a TLS handshake: the client looks whether there is TLS here.
                if request[0] == 0x16 {
                    break;
                }
            }
            if request.first() == Some(&b'G') {
                seen.push(String::from_utf8(request).unwrap());
                stream.write_all(&answers.next().unwrap()).unwrap();
            }
        }
        seen
    });
    (host, thread)
}

fn read(reader: &mut impl Read) -> Result<Vec<u8>, RegistryError> {
    let mut bytes = Vec::new();
    match reader.read_to_end(&mut bytes) {
        Ok(_) => Ok(bytes),
        Err(e) => Err(*e.into_inner().unwrap().downcast().unwrap()),
    }
}

#[test]
fn an_image_is_resolved_through_its_index() {
    let (server, image) = (start(), Image::new(b"layer"));
    let mut inner = Descriptor::of(mt::MANIFEST, &image.manifest);
    inner.platform = Some(platform());
    let index = json!({"schemaVersion": 2, "manifests": [inner]}).to_string();
    mount(
        &server,
        [
            manifest_mock("1", index.as_bytes(), mt::INDEX),
            manifest_mock(&inner.digest.to_string(), &image.manifest, mt::MANIFEST),
            blob_mock(&image.config),
            blob_mock(&image.layer),
        ],
    );
    let reference = reference(&server, "app:1");
    let got = client().resolve(&reference, &platform()).unwrap();
    assert_eq!(got.reference, reference.with_digest(Digest::of(index.as_bytes())));
    assert_eq!(got.index.unwrap().bytes, index.as_bytes());
    assert_eq!((got.manifest_bytes, got.config_bytes), (image.manifest.clone(), image.config.clone()));
    let mut blob = client().blob(&reference, &got.manifest.layers[0]).unwrap();
    assert_eq!(read(&mut blob).unwrap(), b"layer");
    let error = client().resolve(&reference, &"linux/s390x".parse().unwrap()).unwrap_err();
    let expected = format!("no match for platform `linux/s390x` in `{reference}`; it has: linux/amd64");
    assert_eq!(error.to_string(), expected);
}

#[rstest]
#[case::ambiguous(json!({"schemaVersion": 2, "layers": [], "manifests": []}), mt::MANIFEST, "is a manifest and an index at once")]
#[case::wrong_type(json!({"schemaVersion": 2, "mediaType": mt::INDEX, "manifests": []}), mt::MANIFEST, "but it came as")]
#[case::schema1(json!({"schemaVersion": 1, "fsLayers": []}), "application/vnd.docker.distribution.manifest.v1+prettyjws", "schema 1")]
#[case::nothing(json!({"schemaVersion": 2}), mt::MANIFEST, "malformed manifest")]
#[case::no_json(json!("x"), mt::MANIFEST, "malformed manifest")]
fn documents_that_are_not_images_are_refused(
    #[case] document: serde_json::Value,
    #[case] content_type: &str,
    #[case] message: &str,
) {
    let server = start();
    mount(&server, [manifest_mock("1", document.to_string().as_bytes(), content_type)]);
    let error = client().resolve(&reference(&server, "app:1"), &platform()).unwrap_err();
    assert!(matches!(error, RegistryError::Invalid { .. }) && error.to_string().contains(message), "{error}");
}

#[test]
fn a_chart_is_no_image_and_its_config_is_not_asked_for() {
    let (server, image) = (start(), Image::new(b"x"));
    let text =
        String::from_utf8(image.manifest).unwrap().replace(mt::CONFIG, "application/vnd.cncf.helm.config.v1+json");
    mount(&server, [manifest_mock("1", text.as_bytes(), mt::MANIFEST)]);
    let error = client().resolve(&reference(&server, "app:1"), &platform()).unwrap_err().to_string();
    assert!(
        error.ends_with(
            "this is no container image: a configuration of type `application/vnd.cncf.helm.config.v1+json`"
        ),
        "{error}"
    );
    assert_eq!(lines(&server), ["GET /v2/app/manifests/1"]);
}

#[test]
fn a_manifest_that_is_not_its_digest_is_refused() {
    let (server, other) = (start(), Digest::of(b"other"));
    mount(&server, [manifest_mock(&other.to_string(), &Image::new(b"x").manifest, mt::MANIFEST)]);
    let error = client().manifest(&reference(&server, &format!("app@{other}"))).unwrap_err();
    assert!(matches!(error, RegistryError::DigestMismatch { expected, .. } if expected == other), "{error}");
}

#[test]
fn a_registry_that_lies_about_its_digest_is_caught() {
    let server = start();
    let answer = ResponseTemplate::new(200)
        .set_body_raw(Image::new(b"x").manifest, mt::MANIFEST)
        .insert_header("Docker-Content-Digest", Digest::of(b"lie").to_string().as_str());
    mount(&server, [Mock::given(method("GET")).respond_with(answer)]);
    let error = client().manifest(&reference(&server, "app:1")).unwrap_err();
    assert!(matches!(error, RegistryError::DigestMismatch { .. }), "{error}");
}

#[test]
fn an_index_that_holds_itself_ends() {
    // A true cycle needs a SHA-256 fixed point, so a chain that is deep enough stands for it.
    let server = start();
    let mut bytes = json!({"schemaVersion": 2, "mediaType": mt::INDEX, "manifests": []}).to_string();
    for _ in 0..8 {
        mount(&server, [manifest_mock(&Digest::of(bytes.as_bytes()).to_string(), bytes.as_bytes(), mt::INDEX)]);
        let mut inner = Descriptor::of(mt::INDEX, bytes.as_bytes());
        inner.platform = Some(platform());
        bytes = json!({"schemaVersion": 2, "mediaType": mt::INDEX, "manifests": [inner]}).to_string();
    }
    mount(&server, [manifest_mock("1", bytes.as_bytes(), mt::INDEX)]);
    let error = client().resolve(&reference(&server, "app:1"), &platform()).unwrap_err();
    assert!(matches!(error, RegistryError::TooDeep { .. }), "{error}");
}

#[rstest]
#[case::wrong(b"12345", "has the digest")]
#[case::long(b"123456", "6 bytes, not 5")]
fn a_blob_that_is_not_its_descriptor_fails_before_its_end(#[case] bytes: &[u8], #[case] message: &str) {
    let (server, wanted) = (start(), Descriptor::of(mt::LAYER, b"right"));
    let answer = ResponseTemplate::new(200).set_body_bytes(bytes);
    mount(&server, [Mock::given(method("GET")).respond_with(answer)]);
    let error = match client().blob(&reference(&server, "app:1"), &wanted) {
        Ok(mut reader) => {
            let error = read(&mut reader).unwrap_err();
            assert!(reader.read(&mut [0; 8]).is_err(), "an end after a failure");
            error
        }
        Err(error) => error,
    };
    assert!(error.to_string().contains(message), "{error}");
}

#[rstest]
#[case::short("righ", 4)]
#[case::long("right, and more", 15)]
fn a_blob_of_untold_length_is_held_to_its_descriptor(#[case] body: &str, #[case] length: u64) {
    let chunked = format!("HTTP/1.1 200 x\r\nTransfer-Encoding: chunked\r\n\r\n{length:x}\r\n{body}\r\n0\r\n\r\n");
    let (host, _thread) = raw_server(vec![chunked.into(); 7]);
    let reference = format!("{host}/app:1").parse().unwrap();
    let mut reader = client().blob(&reference, &Descriptor::of(mt::LAYER, b"right")).unwrap();
    let error = read(&mut reader).unwrap_err();
    assert!(matches!(error, RegistryError::SizeMismatch { expected: 5, actual, .. } if actual == length), "{error}");
}

#[test]
fn a_mirror_that_breaks_midway_is_relieved_by_the_next() {
    let first = "HTTP/1.1 200 x\r\nContent-Length: 10\r\nConnection: close\r\n\r\n01234";
    let refused = "HTTP/1.1 403 x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    let (mirror, _thread) = raw_server(vec![first.into(), refused.into()]);
    let own = start();
    let rest = ResponseTemplate::new(206).insert_header("Content-Range", "bytes 5-9/10").set_body_bytes(b"56789");
    mount(&own, [Mock::given(header("Range", "bytes=5-")).respond_with(rest).expect(1)]);
    let conf = format!(
        "[[registry]]\nprefix='example.test'\nlocation='{}'\n[[registry.mirror]]\nlocation='{mirror}'\n",
        own.address()
    );
    let descriptor = Descriptor::of(mt::LAYER, b"0123456789");
    let mut reader = client_with(&conf, None).blob(&"example.test/app".parse().unwrap(), &descriptor).unwrap();
    assert_eq!(read(&mut reader).unwrap(), b"0123456789");
}

#[rstest]
#[case::partial("HTTP/1.1 206 x\r\nContent-Length: 5\r\nContent-Range: bytes 5-9/10\r\n\r\n56789")]
#[case::range_not_heeded("HTTP/1.1 200 x\r\nContent-Length: 10\r\n\r\n0123456789")]
fn a_broken_download_is_taken_up_where_it_broke(#[case] second: &str) {
    let first = "HTTP/1.1 200 x\r\nContent-Length: 10\r\nConnection: close\r\n\r\n01234";
    let (host, thread) = raw_server(vec![first.into(), second.into()]);
    let reference = format!("{host}/app:1").parse().unwrap();
    let descriptor = Descriptor::of(mt::LAYER, b"0123456789");
    assert_eq!(read(&mut client().blob(&reference, &descriptor).unwrap()).unwrap(), b"0123456789");
    let seen = thread.join().unwrap();
    assert!(!seen[0].contains("range:") && seen[1].contains("range: bytes=5-"), "{seen:?}");
}

#[test]
fn a_server_that_resumes_elsewhere_is_refused() {
    let first = "HTTP/1.1 200 x\r\nContent-Length: 10\r\nConnection: close\r\n\r\n01234";
    let second = "HTTP/1.1 206 x\r\nContent-Length: 6\r\nContent-Range: bytes 4-9/10\r\n\r\n456789";
    let (host, _thread) = raw_server(vec![first.into(), second.into()]);
    let reference = format!("{host}/app:1").parse().unwrap();
    let error = read(&mut client().blob(&reference, &Descriptor::of(mt::LAYER, b"0123456789")).unwrap()).unwrap_err();
    assert!(matches!(error, RegistryError::Protocol { .. }), "{error}");
}

#[test]
fn mirrors_that_fail_are_passed_over() {
    let (busy, wrong, own, image) = (start(), start(), start(), Image::new(b"layer"));
    mount(&busy, [Mock::given(method("GET")).respond_with(ResponseTemplate::new(503))]);
    mount(&wrong, [Mock::given(method("GET")).respond_with(ResponseTemplate::new(200).set_body_string("hello"))]);
    mount(&own, [manifest_mock("1", &image.manifest, mt::MANIFEST), blob_mock(&image.config)]);
    let conf = format!(
        "[[registry]]\nprefix='example.test'\nlocation='{}'\n[[registry.mirror]]\nlocation='{}'\n[[registry.mirror]]\nlocation='{}'\n",
        own.address(),
        busy.address(),
        wrong.address()
    );
    let got = client_with(&conf, None).resolve(&"example.test/app:1".parse().unwrap(), &platform()).unwrap();
    assert_eq!(got.reference.to_string(), format!("example.test/app:1@{}", Digest::of(&image.manifest)));
    // Five attempts for the manifest; after that it is known to be down.
    assert_eq!((lines(&busy).len(), lines(&own).len()), (5, 2));
}

#[test]
fn a_mirrors_word_counts_when_there_is_no_way_to_the_registry() {
    let mirror = start();
    let unreachable = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let conf = format!(
        "[[registry]]\nprefix='example.test'\nlocation='{unreachable}'\n[[registry.mirror]]\nlocation='{}'\n",
        mirror.address()
    );
    let error = client_with(&conf, None).resolve(&"example.test/app:1".parse().unwrap(), &platform()).unwrap_err();
    assert!(
        matches!(&error, RegistryError::UnknownManifest { registry, .. } if *registry == mirror.address().to_string())
    );
}

#[test]
fn errors_are_told_apart() {
    let server = start();
    let body = json!({"errors": [{"code": "DENIED", "message": "not\nfor you"}]});
    let limited = ResponseTemplate::new(429).insert_header("Retry-After", "7200");
    mount(
        &server,
        [
            Mock::given(path("/v2/app/manifests/denied")).respond_with(ResponseTemplate::new(403).set_body_json(body)),
            Mock::given(path("/v2/app/manifests/limited")).respond_with(limited),
            Mock::given(path("/v2/app/manifests/teapot")).respond_with(ResponseTemplate::new(418)),
        ],
    );
    let fail = |tag: &str| client().manifest(&reference(&server, &format!("app:{tag}"))).unwrap_err().to_string();
    let host = server.address();
    assert_eq!(
        fail("denied"),
        format!("`{host}` denies pulling `app`; no credentials were found for it: not for you (DENIED)")
    );
    assert_eq!(
        fail("limited"),
        format!("`{host}` limits the rate of requests and asks to wait 7200 seconds; no credentials were found for it")
    );
    assert_eq!(fail("teapot"), format!("pulling `app`: `{host}` answered 418"));
    assert_eq!(fail("none"), format!("`{host}/app:none` is not found in `{host}`"));
    let gone = Descriptor::of(mt::LAYER, b"gone");
    let error = client().blob(&reference(&server, "app:1"), &gone).unwrap_err();
    assert!(matches!(error, RegistryError::UnknownBlob { .. }), "{error}");
}

#[test]
fn a_head_without_digest_becomes_a_get() {
    let (server, image) = (start(), Image::new(b"x"));
    mount(
        &server,
        [
            Mock::given(method("HEAD")).respond_with(ResponseTemplate::new(200)),
            manifest_mock("1", &image.manifest, mt::MANIFEST),
        ],
    );
    let descriptor = client().head(&reference(&server, "app:1")).unwrap();
    assert_eq!(descriptor, Descriptor::of(mt::MANIFEST, &image.manifest));
    assert_eq!(lines(&server), ["HEAD /v2/app/manifests/1", "GET /v2/app/manifests/1"]);
}

#[test]
fn a_blob_is_redirected_without_the_token() {
    let (server, storage) = (start(), start());
    let bytes = b"layer";
    let away = ResponseTemplate::new(307).insert_header("Location", format!("{}/data?sig=1", storage.uri()).as_str());
    mount(
        &server,
        [
            Mock::given(header("Authorization", "Basic dTpw")).respond_with(away),
            Mock::given(method("GET"))
                .respond_with(ResponseTemplate::new(401).insert_header("WWW-Authenticate", "Basic realm=x")),
        ],
    );
    mount(&storage, [Mock::given(path("/data")).respond_with(ResponseTemplate::new(200).set_body_bytes(bytes))]);
    let auth = json!({"auths": {server.address().to_string(): {"auth": "dTpw"}}}).to_string();
    let client = client_with("", Some(&auth));
    let mut blob = client.blob(&reference(&server, "app:1"), &Descriptor::of(mt::LAYER, bytes)).unwrap();
    assert_eq!(read(&mut blob).unwrap(), bytes);
    assert!(requests(&storage).iter().all(|r| !r.headers.contains_key("authorization")));
}
