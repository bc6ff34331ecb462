#![allow(clippy::unwrap_used)]

use super::*;
use http::Method;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use wiremock::matchers::{header_exists, method, path};
use wiremock::{Mock, MockServer, ResponseTemplate};

fn transport() -> Transport {
    Transport::new(Options { backoff: Duration::from_millis(2), certificate_dirs: Vec::new(), ..Options::default() })
}

fn url(server: &MockServer, path: &str) -> url::Url {
    format!("{}{path}", server.uri()).parse().unwrap()
}

#[test]
fn too_many_requests_are_tried_again_after_the_time_the_server_names() {
    block_on(async {
        let server = MockServer::start().await;
        let busy = ResponseTemplate::new(429).insert_header("Retry-After", "1");
        Mock::given(path("/")).respond_with(busy).up_to_n_times(1).mount(&server).await;
        Mock::given(path("/")).respond_with(ResponseTemplate::new(200).set_body_string("ok")).mount(&server).await;
        let start = Instant::now();
        let response = transport().send(&Request::get(url(&server, "/"))).await.unwrap();
        assert_eq!(response.bytes(2).await.unwrap(), b"ok");
        assert!(start.elapsed() >= Duration::from_secs(1), "{:?}", start.elapsed());
    });
}

#[test]
fn a_server_that_wants_a_long_wait_gets_no_second_request() {
    block_on(async {
        let server = MockServer::start().await;
        let busy = ResponseTemplate::new(429).insert_header("Retry-After", "3600");
        Mock::given(path("/")).respond_with(busy).expect(1).mount(&server).await;
        let response = transport().send(&Request::get(url(&server, "/"))).await.unwrap();
        assert_eq!(response.status(), 429);
    });
}

#[test]
fn server_errors_are_tried_five_times_and_posts_once() {
    block_on(async {
        let server = MockServer::start().await;
        Mock::given(method("GET")).respond_with(ResponseTemplate::new(500)).expect(5).mount(&server).await;
        Mock::given(method("POST")).respond_with(ResponseTemplate::new(500)).expect(1).mount(&server).await;
        let transport = transport();
        for method in [Method::GET, Method::POST] {
            let response = transport.send(&Request::new(method, url(&server, "/"))).await.unwrap();
            assert_eq!(response.status(), 500);
        }
    });
}

#[test]
fn bodies_over_the_limit_are_refused() {
    block_on(async {
        let server = MockServer::start().await;
        Mock::given(path("/")).respond_with(ResponseTemplate::new(200).set_body_bytes([0; 101])).mount(&server).await;
        let response = transport().send(&Request::get(url(&server, "/?token=s3cret"))).await.unwrap();
        let error = response.bytes(100).await.unwrap_err();
        assert!(matches!(error, TransportError::TooLarge { limit_bytes: 100, .. }), "{error}");
        assert!(!error.to_string().contains("s3cret"), "{error}");
    });
}

#[test]
fn another_host_does_not_see_the_authorization() {
    block_on(async {
        let (first, second) = (MockServer::start().await, MockServer::start().await);
        let away = ResponseTemplate::new(307).insert_header("Location", url(&second, "/b").as_str());
        Mock::given(path("/a")).and(header_exists("Authorization")).respond_with(away).mount(&first).await;
        Mock::given(path("/b")).respond_with(ResponseTemplate::new(200)).mount(&second).await;
        let request = Request::get(url(&first, "/a")).header(http::header::AUTHORIZATION, "Bearer x");
        assert_eq!(transport().send(&request).await.unwrap().status(), 200);
        let seen = second.received_requests().await.unwrap();
        assert_eq!(seen.len(), 1);
        assert!(!seen[0].headers.contains_key("authorization"));
    });
}

#[test]
fn endless_redirects_end() {
    block_on(async {
        let server = MockServer::start().await;
        let again = ResponseTemplate::new(302).insert_header("Location", "/");
        Mock::given(path("/")).respond_with(again).expect(11).mount(&server).await;
        let error = transport().send(&Request::get(url(&server, "/"))).await.unwrap_err();
        assert!(error.to_string().ends_with("there are too many"), "{error}");
    });
}

#[test]
fn plain_http_must_be_asked_for() {
    let error = block_on(transport().send(&Request::get("http://registry.test/".parse().unwrap()))).unwrap_err();
    assert!(matches!(error, TransportError::PlainHttp { .. }), "{error}");
}

#[test]
fn a_refused_connection_names_the_host() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let request = Request::get(format!("http://user:s3cret@{address}/").parse().unwrap());
    let error = block_on(transport().send(&request)).unwrap_err().to_string();
    assert!(error.starts_with(&format!("cannot reach `{address}`: ")) && error.contains("refused"), "{error}");
    assert!(!error.contains("s3cret"), "{error}");
}

#[test]
fn a_silent_server_is_given_up() {
    block_on(async {
        let server = MockServer::start().await;
        let late = ResponseTemplate::new(200).set_delay(Duration::from_secs(20));
        Mock::given(path("/")).respond_with(late).mount(&server).await;
        let transport = Transport::new(Options { idle_timeout: Duration::from_millis(50), ..Options::default() });
        let request = Request { retry: Retry::Never, ..Request::get(url(&server, "/")) };
        let error = transport.send(&request).await.unwrap_err();
        assert!(matches!(error, TransportError::Idle { .. }), "{error}");
    });
}

#[test]
fn a_part_of_a_file_is_streamed_and_counted() {
    block_on(async {
        let server = MockServer::start().await;
        Mock::given(method("PUT")).respond_with(ResponseTemplate::new(201)).mount(&server).await;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("blob");
        std::fs::write(&path, "0123456789").unwrap();
        let count = std::sync::Arc::new(AtomicU64::new(0));
        let counter = std::sync::Arc::clone(&count);
        let mut request =
            Request::new(Method::PUT, url(&server, "/")).body(Body::File { path, offset_bytes: 2, length_bytes: 5 });
        request.sent = Some(std::sync::Arc::new(move |n| counter.store(n, Ordering::Relaxed)));
        assert_eq!(transport().send(&request).await.unwrap().status(), 201);
        let seen = server.received_requests().await.unwrap();
        assert_eq!((seen[0].body.as_slice(), count.load(Ordering::Relaxed)), (b"23456".as_slice(), 5));
        assert_eq!(seen[0].headers["content-length"], "5");
    });
}

#[test]
fn a_malformed_certificate_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let host = dir.path().join("x.test");
    std::fs::create_dir(&host).unwrap();
    std::fs::write(host.join("ca.crt"), "-----BEGIN CERTIFICATE-----\nAAAA!\n-----END CERTIFICATE-----\n").unwrap();
    let transport = Transport::new(Options { certificate_dirs: vec![dir.path().to_owned()], ..Options::default() });
    let error = block_on(transport.send(&Request::get("https://x.test/".parse().unwrap()))).unwrap_err();
    assert!(matches!(error, TransportError::Certificate { .. }), "{error}");
}
