#![allow(clippy::unwrap_used)]

use super::fixture::*;
use crate::image::{Descriptor, Digest, media_type as mt};
use crate::registry::{BlobSource, PushBlob, PushManifest, RegistryError};
use serde_json::json;
use wiremock::matchers::{body_bytes, header, method, path, query_param};
use wiremock::{Mock, MockServer, ResponseTemplate};

const BYTES: &[u8] = b"0123456789";

fn blob() -> PushBlob {
    PushBlob {
        descriptor: Descriptor::of(mt::LAYER, BYTES),
        source: BlobSource::Bytes(bytes::Bytes::from_static(BYTES)),
        mount_from: None,
    }
}

fn status(code: u16) -> ResponseTemplate {
    ResponseTemplate::new(code)
}

fn session(code: u16, id: &str) -> ResponseTemplate {
    status(code).insert_header("Location", format!("/v2/app/blobs/uploads/{id}?state=s").as_str())
}

fn missing() -> Mock {
    Mock::given(method("HEAD")).respond_with(status(404))
}

fn opened(id: &str) -> Mock {
    Mock::given(method("POST")).and(path("/v2/app/blobs/uploads/")).respond_with(session(202, id))
}

fn push(server: &MockServer) -> Result<(), RegistryError> {
    client().push_blobs(&reference(server, "app:1"), &[blob()])
}

#[test]
fn a_blob_that_is_there_is_not_sent() {
    let server = start();
    mount(&server, [Mock::given(method("HEAD")).respond_with(status(200).set_body_bytes(BYTES))]);
    push(&server).unwrap();
    assert_eq!(lines(&server), [format!("HEAD /v2/app/blobs/{}", Digest::of(BYTES))]);
}

#[test]
fn a_blob_is_sent_whole() {
    let server = start();
    let put = Mock::given(method("PUT"))
        .and(path("/v2/app/blobs/uploads/a"))
        .and(query_param("state", "s"))
        .and(query_param("digest", Digest::of(BYTES).to_string()))
        .and(body_bytes(BYTES));
    mount(&server, [missing(), opened("a"), put.respond_with(status(201)).expect(1)]);
    push(&server).unwrap();
}

#[test]
fn a_declined_mount_goes_on_in_the_session_it_opened() {
    let server = start();
    let mounted = Mock::given(method("POST"))
        .and(query_param("mount", Digest::of(BYTES).to_string()))
        .and(query_param("from", "other/base"));
    let put = Mock::given(method("PUT")).and(path("/v2/app/blobs/uploads/m")).and(body_bytes(BYTES));
    mount(
        &server,
        [missing(), mounted.respond_with(session(202, "m")).expect(1), put.respond_with(status(201)).expect(1)],
    );
    let from = Some(reference(&server, "other/base:1"));
    client().push_blobs(&reference(&server, "app:1"), &[PushBlob { mount_from: from, ..blob() }]).unwrap();
}

#[test]
fn a_mount_asks_for_both_scopes_and_a_refused_one_is_done_without() {
    let server = start();
    let realm = format!("Bearer realm=\"{}/token\",service=\"s\"", server.uri());
    let challenge = status(401).insert_header("WWW-Authenticate", realm.as_str());
    let token = |t: &str| status(200).set_body_json(json!({"token": t}));
    mount(
        &server,
        [
            Mock::given(path("/token"))
                .and(query_param("scope", "repository:other/base:pull"))
                .respond_with(token("BOTH"))
                .expect(1),
            Mock::given(path("/token"))
                .and(query_param("scope", "repository:app:pull,push"))
                .respond_with(token("OWN")),
            Mock::given(header("Authorization", "Bearer BOTH")).respond_with(status(403)),
            Mock::given(method("HEAD")).and(header("Authorization", "Bearer OWN")).respond_with(status(404)),
            Mock::given(method("POST")).and(header("Authorization", "Bearer OWN")).respond_with(session(202, "a")),
            Mock::given(method("PUT")).and(header("Authorization", "Bearer OWN")).respond_with(status(201)).expect(1),
            Mock::given(wiremock::matchers::any()).respond_with(challenge),
        ],
    );
    let from = Some(reference(&server, "other/base:1"));
    client().push_blobs(&reference(&server, "app:1"), &[PushBlob { mount_from: from, ..blob() }]).unwrap();
}

#[test]
fn a_token_that_ends_mid_push_is_replaced() {
    let server = start();
    let realm = format!("Bearer realm=\"{}/token\",service=\"s\"", server.uri());
    let challenge = status(401).insert_header("WWW-Authenticate", realm.as_str());
    let token = |t: &str| status(200).set_body_json(json!({"token": t}));
    let put = || Mock::given(method("PUT")).and(body_bytes(BYTES));
    mount(
        &server,
        [
            Mock::given(path("/token")).respond_with(token("ONE")).up_to_n_times(1),
            Mock::given(path("/token")).respond_with(token("TWO")),
            put().and(header("Authorization", "Bearer ONE")).respond_with(challenge.clone()).expect(1),
            put().and(header("Authorization", "Bearer TWO")).respond_with(status(201)).expect(1),
            Mock::given(method("HEAD")).and(header("Authorization", "Bearer ONE")).respond_with(status(404)),
            Mock::given(method("POST")).and(header("Authorization", "Bearer ONE")).respond_with(session(202, "a")),
            Mock::given(wiremock::matchers::any()).respond_with(challenge),
        ],
    );
    push(&server).unwrap();
}

#[test]
fn an_upload_that_broke_goes_on_where_the_registry_says() {
    let server = start();
    mount(
        &server,
        [
            missing(),
            opened("a"),
            Mock::given(method("PUT")).and(body_bytes(BYTES)).respond_with(status(502)).expect(1),
            Mock::given(method("GET"))
                .and(path("/v2/app/blobs/uploads/a"))
                .respond_with(session(204, "b").insert_header("Range", "0-3"))
                .expect(1),
            Mock::given(method("PATCH"))
                .and(path("/v2/app/blobs/uploads/b"))
                .and(header("Content-Range", "4-9"))
                .and(body_bytes(&BYTES[4..]))
                .respond_with(session(202, "c"))
                .expect(1),
            Mock::given(method("PUT")).and(path("/v2/app/blobs/uploads/c")).respond_with(status(201)).expect(1),
        ],
    );
    push(&server).unwrap();
}

#[test]
fn an_upload_waits_as_long_as_it_is_told_to() {
    let server = start();
    let busy = status(429).insert_header("Retry-After", "1");
    mount(
        &server,
        [
            missing(),
            opened("a"),
            Mock::given(method("GET")).respond_with(session(204, "a").insert_header("Range", "0-0")),
            Mock::given(method("PUT")).respond_with(busy).up_to_n_times(1),
            Mock::given(method("PUT")).and(body_bytes(BYTES)).respond_with(status(201)).expect(1),
        ],
    );
    let start = std::time::Instant::now();
    push(&server).unwrap();
    assert!(start.elapsed() >= std::time::Duration::from_secs(1), "{:?}", start.elapsed());
}

#[test]
fn a_session_that_is_lost_is_opened_anew() {
    let server = start();
    mount(
        &server,
        [
            missing(),
            opened("a").up_to_n_times(1),
            opened("b"),
            Mock::given(method("PUT")).and(path("/v2/app/blobs/uploads/a")).respond_with(status(404)).expect(1),
            Mock::given(method("PUT")).and(path("/v2/app/blobs/uploads/b")).respond_with(status(201)).expect(1),
        ],
    );
    push(&server).unwrap();
}

#[test]
fn a_registry_that_takes_no_whole_blob_gets_chunks() {
    let server = start();
    mount(
        &server,
        [
            missing(),
            opened("a"),
            Mock::given(method("PUT")).and(body_bytes(BYTES)).respond_with(status(413)).expect(1),
            Mock::given(method("GET")).respond_with(session(204, "a").insert_header("Range", "0-0")),
            Mock::given(method("PATCH")).and(header("Content-Range", "0-9")).respond_with(session(202, "b")).expect(1),
            Mock::given(method("PUT")).and(path("/v2/app/blobs/uploads/b")).respond_with(status(201)).expect(1),
        ],
    );
    push(&server).unwrap();
}

#[test]
fn an_upload_does_not_leave_its_host() {
    let (server, thief) = (start(), start());
    let away = status(202).insert_header("Location", format!("{}/x?s3cret", thief.uri()).as_str());
    mount(&server, [missing(), Mock::given(method("POST")).respond_with(away)]);
    let error = push(&server).unwrap_err().to_string();
    assert!(error.contains("to go on at another place") && !error.contains("s3cret"), "{error}");
    assert!(lines(&thief).is_empty());
}

#[test]
fn a_digest_that_the_registry_computed_differently_is_an_error() {
    let server = start();
    let lie = status(201).insert_header("Docker-Content-Digest", Digest::of(b"lie").to_string().as_str());
    mount(&server, [missing(), opened("a"), Mock::given(method("PUT")).respond_with(lie)]);
    assert!(matches!(push(&server), Err(RegistryError::DigestMismatch { what: "a blob", .. })));
    let manifest = PushManifest { media_type: mt::MANIFEST.into(), bytes: "{}".into() };
    let error = client().put_manifest(&reference(&server, "app:1"), &manifest).unwrap_err();
    assert!(matches!(error, RegistryError::DigestMismatch { what: "the manifest", .. }), "{error}");
}

#[test]
fn a_file_of_another_length_is_not_sent() {
    let server = start();
    let short = PushBlob { source: BlobSource::Bytes("012".into()), ..blob() };
    let error = client().push_blobs(&reference(&server, "app:1"), &[short]).unwrap_err();
    assert!(matches!(error, RegistryError::Source { .. }), "{error}");
    assert!(lines(&server).is_empty());
}
