#![allow(clippy::unwrap_used)]

use super::fixture::*;
use crate::image::{Descriptor, media_type as mt};
use serde_json::json;
use wiremock::matchers::{body_string_contains, header, method, path, query_param};
use wiremock::{Mock, MockServer, ResponseTemplate};

fn challenge(server: &MockServer, scope: &str) -> ResponseTemplate {
    let text = format!("Bearer realm=\"{}/token\",service=\"svc\",scope=\"{scope}\"", server.uri());
    ResponseTemplate::new(401).insert_header("WWW-Authenticate", text.as_str())
}

fn auth(server: &MockServer, entry: serde_json::Value) -> String {
    json!({"auths": {server.address().to_string(): entry}}).to_string()
}

#[test]
fn a_token_is_fetched_once_and_used_again() {
    let (server, image) = (start(), Image::new(b"x"));
    let answer = ResponseTemplate::new(200).set_body_raw(image.manifest, mt::MANIFEST);
    mount(
        &server,
        [
            Mock::given(path("/token"))
                .and(query_param("scope", "repository:app:pull"))
                .and(query_param("service", "svc"))
                .and(header("Authorization", "Basic dTpw"))
                .respond_with(ResponseTemplate::new(200).set_body_json(json!({"token": "T", "expires_in": 300})))
                .expect(1),
            Mock::given(path("/v2/app/manifests/1")).and(header("Authorization", "Bearer T")).respond_with(answer),
            Mock::given(method("GET")).respond_with(challenge(&server, "repository:app:pull")).expect(1),
        ],
    );
    let client = client_with("", Some(&auth(&server, json!({"auth": "dTpw"}))));
    client.manifest(&reference(&server, "app:1")).unwrap();
    client.manifest(&reference(&server, "app:1")).unwrap();
}

#[test]
fn an_identity_token_is_posted_and_a_stale_token_replaced() {
    let (server, image) = (start(), Image::new(b"x"));
    let token = |t: &str| ResponseTemplate::new(200).set_body_json(json!({"access_token": t}));
    let answer = ResponseTemplate::new(200).set_body_raw(image.manifest, mt::MANIFEST);
    mount(
        &server,
        [
            Mock::given(method("POST"))
                .and(path("/token"))
                .and(body_string_contains("grant_type=refresh_token"))
                .and(body_string_contains("refresh_token=R%26"))
                .respond_with(token("OLD"))
                .up_to_n_times(1),
            Mock::given(method("POST")).and(path("/token")).respond_with(token("NEW")),
            Mock::given(header("Authorization", "Bearer OLD")).respond_with(answer.clone()).up_to_n_times(1),
            Mock::given(header("Authorization", "Bearer NEW")).respond_with(answer),
            Mock::given(method("GET")).respond_with(challenge(&server, "")),
        ],
    );
    let client = client_with("", Some(&auth(&server, json!({"identitytoken": "R&"}))));
    for _ in 0..3 {
        client.manifest(&reference(&server, "app:1")).unwrap();
    }
    let posts = lines(&server).iter().filter(|l| l.starts_with("POST")).count();
    assert_eq!(posts, 2);
}

#[test]
fn a_refused_login_names_the_file_and_not_the_password() {
    let server = start();
    let basic = ResponseTemplate::new(401).insert_header("WWW-Authenticate", "Basic realm=x");
    mount(&server, [Mock::given(method("GET")).respond_with(basic).expect(2)]);
    let client = client_with("", Some(&auth(&server, json!({"username": "u", "password": "s3cret"}))));
    let error = client.manifest(&reference(&server, "app:1")).unwrap_err();
    let text = error.to_string();
    let start = format!("`{0}` wants a login for pulling `app`; the credentials from `", server.address());
    assert!(text.starts_with(&start) && text.ends_with("auth.json` were sent"), "{text}");
    assert!(!format!("{error:?}").contains("s3cret"));
}

#[test]
fn a_login_that_is_missing_says_so() {
    let server = start();
    let basic = ResponseTemplate::new(401).insert_header("WWW-Authenticate", "Basic realm=x");
    mount(&server, [Mock::given(method("GET")).respond_with(basic)]);
    let error = client().manifest(&reference(&server, "app:1")).unwrap_err().to_string();
    let expected = format!("`{}` wants a login for pulling `app`; no credentials were found for it", server.address());
    assert_eq!(error, expected);
}

#[test]
fn a_token_service_that_refuses_is_a_login_error() {
    let server = start();
    mount(
        &server,
        [
            Mock::given(path("/token")).respond_with(ResponseTemplate::new(401)).expect(1),
            Mock::given(method("GET")).respond_with(challenge(&server, "")),
        ],
    );
    let error = client().manifest(&reference(&server, "app:1")).unwrap_err().to_string();
    assert!(error.contains("wants a login for pulling `app`"), "{error}");
}

#[test]
fn a_realm_on_another_host_does_not_get_the_password() {
    let (server, thief) = (start(), start());
    let text = format!("Bearer realm=\"http://localhost:{}/token\",service=\"s\"", thief.address().port());
    let challenge = ResponseTemplate::new(401).insert_header("WWW-Authenticate", text.as_str());
    mount(&server, [Mock::given(method("GET")).respond_with(challenge)]);
    let client = client_with("", Some(&auth(&server, json!({"auth": "dTpw"}))));
    let error = client.blob(&reference(&server, "app:1"), &Descriptor::of(mt::LAYER, b"x")).unwrap_err().to_string();
    assert!(error.contains("refusing to send credentials"), "{error}");
    assert!(lines(&thief).is_empty());
}
