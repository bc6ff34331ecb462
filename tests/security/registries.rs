//! Registries that contradict themselves, send one elsewhere without end, or answer a push with lies.

use super::bench::{Bench, Outcome};
use super::downloads::{Answer, Request, Server, pull, registry, small};
use super::layout::{Image, MANIFEST, digest};
use super::rungs::any_account;
use super::tar::Tar;
use std::io::Write;

#[test]
fn a_name_that_changes_between_two_questions_gives_one_image_or_none() {
    let (first, second) = (small(), Image::of([Tar::new().file("f", b"other").end()]));
    let [first, second] = [first, second].map(|image| (serde_json::to_vec(&image.manifest()).unwrap(), image));
    let (old, new) = (first.0.clone(), second.0.clone());
    let server = registry(&first.1, move |request| {
        let manifest = if request.method == "HEAD" { &old } else { &new };
        let answer = Answer::ok(manifest.clone()).header("Content-Type", MANIFEST);
        // What is asked for by digest is what the digest says, or not there.
        if request.path.contains("/manifests/sha256:") {
            let known = [&old, &new].into_iter().find(|manifest| request.path.ends_with(&digest(manifest)));
            let known = known.map(|manifest| Answer::ok(manifest.clone()).header("Content-Type", MANIFEST));
            return Some(known.unwrap_or(Answer::status(404)));
        }
        request.path.contains("/manifests/").then(|| answer.header("Docker-Content-Digest", &digest(manifest)))
    });
    for _ in 0..2 {
        let bench = Bench::new(any_account());
        let result = pull(&bench, &server);
        // The second image's layer is nowhere: its manifest must not be taken for the first's.
        assert!((0..5).contains(&result.code), "{}", result.text);
        let blobs = bench.path("store/oci/blobs/sha256");
        let kept = std::fs::read_dir(blobs).unwrap().map(|entry| entry.unwrap());
        for blob in kept {
            let content = std::fs::read(blob.path()).unwrap();
            assert_eq!(digest(&content)[7..], *blob.file_name().to_str().unwrap());
        }
    }
}

#[test]
fn redirects_without_end_and_into_rings_are_given_up() {
    for part in ["/manifests/", "/blobs/"] {
        for target in ["same", "next", "other"] {
            let other = Server::start(|_| Answer::status(302).header("Location", "/v2/a/b/blobs/x"));
            let elsewhere = format!("http://127.0.0.1:{}/x", other.port());
            let server = registry(&small(), move |request| {
                let location = match target {
                    "same" => request.path.clone(),
                    "next" => format!("{}x", request.path),
                    _ => elsewhere.clone(),
                };
                request.path.contains(part).then(|| Answer::status(307).header("Location", &location))
            });
            pull(&Bench::new(any_account()), &server).refused("");
            let asked = server.seen().len() + other.seen().len();
            assert!(asked < 150, "{part} {target}: {asked} requests");
        }
    }
}

#[test]
fn a_blob_in_another_coding_is_not_taken_for_the_blob() {
    let image = small();
    let layer = image.layers[0].clone();
    for coding in ["gzip", "deflate", "br", "zstd"] {
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(&layer.0).unwrap();
        let (packed, name) = (gzip.finish().unwrap(), layer.1.clone());
        let server = registry(&image, move |request| {
            let answer = Answer::ok(packed.clone()).header("Content-Encoding", coding);
            request.path.ends_with(&name).then_some(answer)
        });
        let bench = Bench::new(any_account());
        let result = pull(&bench, &server);
        assert!((0..5).contains(&result.code), "{}", result.text);
        let blob = bench.path("store/oci/blobs/sha256").join(&layer.1[7..]);
        assert!(!blob.exists() || std::fs::read(blob).unwrap() == layer.0);
    }
}

#[test]
fn challenges_and_tokens_without_measure_or_sense_are_refused() {
    let challenges = [
        "Bearer".to_owned(),
        "Bearer realm=".into(),
        "Bearer realm=\"".into(),
        format!("Bearer realm=\"http://localhost/{}\"", "x".repeat(60_000)),
        "Basic, ".repeat(5_000),
        "Bearer realm=\"file:///etc/passwd\",service=\"s\"".into(),
        "Bearer realm=\"http://[::1\",service=\"s\"".into(),
        "Digest realm=\"x\", Negotiate, NTLM".into(),
    ];
    for challenge in challenges {
        let server = registry(&small(), move |_| Some(Answer::status(401).header("WWW-Authenticate", &challenge)));
        pull(&Bench::new(any_account()), &server).refused("");
        assert!(server.seen().len() < 50);
    }
    for token in [
        "{\"token\":\"a\\r\\nX-Evil: 1\"}",
        "{\"token\":\"\u{e9}\\u0000\"}",
        "{\"token\":7}",
        "[]",
        "",
        "{\"token\":\"\"}",
    ] {
        let server = Server::start_with_host(|host| {
            move |request: &Request| {
                if request.path.starts_with("/token") {
                    return Answer::ok(token);
                }
                let challenge = format!("Bearer realm=\"http://{host}/token\",service=\"s\"");
                Answer::status(401).header("WWW-Authenticate", &challenge)
            }
        });
        pull(&Bench::new(any_account()), &server).refused("");
        assert!(!server.seen().iter().any(|request| request.head.contains("X-Evil: 1")), "{token}");
    }
}

/// Pushes an image to a server.
#[track_caller]
fn push(bench: &Bench, server: &Server, flags: &[&str]) -> Outcome {
    bench.write("f", "x");
    let name = format!("{}/a/b:c", server.host());
    let flags = [&["-t", &name, "--push"], flags].concat();
    bench.build("FROM scratch\nCOPY f /f\n", &flags)
}

/// To which method an answer is a lie, its status and its headers.
type Lie<'a> = (&'static str, u16, &'a [(&'a str, &'a str)]);

#[test]
fn lies_about_a_push_are_told() {
    let wrong = digest(b"something else");
    let lies: [Lie<'_>; 7] = [
        // Whole uploads that lead to another host, out of http, or nowhere.
        ("POST", 202, &[("Location", "http://127.0.0.1:9/v2/a/b/blobs/uploads/1")]),
        ("POST", 202, &[("Location", "file:///etc/passwd")]),
        ("POST", 202, &[]),
        ("POST", 307, &[("Location", "http://127.0.0.1:9/")]),
        ("PUT", 307, &[("Location", "http://127.0.0.1:9/")]),
        ("PUT", 201, &[("Docker-Content-Digest", &wrong)]),
        ("POST", 201, &[("Docker-Content-Digest", &wrong)]),
    ];
    for (method, status, headers) in lies {
        let headers: Vec<(String, String)> = headers.iter().map(|(n, v)| (n.to_string(), v.to_string())).collect();
        let server = Server::start(move |request| {
            let lie =
                || headers.iter().fold(Answer::status(status), |answer, (name, value)| answer.header(name, value));
            match request.method.as_str() {
                asked if asked == method => lie(),
                "POST" => Answer::status(202).header("Location", "/v2/a/b/blobs/uploads/1"),
                "PUT" | "PATCH" => Answer::status(201),
                _ => Answer::status(404),
            }
        });
        push(&Bench::new(any_account()), &server, &[]).refused("");
        assert!(server.seen().len() < 100, "{method} {status}: {} requests", server.seen().len());
    }
}

#[test]
fn a_name_that_is_taken_is_kept_if_that_is_asked_for() {
    let bench = Bench::new(any_account());
    bench.write("f", "x");
    // A registry that remembers what a name stands for.
    let named: std::sync::Arc<std::sync::Mutex<Option<String>>> = std::sync::Arc::default();
    let store = named.clone();
    let server = Server::start(move |request| {
        let manifest =
            |name: &str| Answer::ok("").header("Content-Type", MANIFEST).header("Docker-Content-Digest", name);
        match request.method.as_str() {
            "POST" => Answer::status(202).header("Location", "/v2/a/b/blobs/uploads/1"),
            "PUT" | "PATCH" => Answer::status(201),
            _ if request.path.contains("/manifests/") => {
                store.lock().unwrap().as_deref().map_or(Answer::status(404), |name| manifest(name).stating(7))
            }
            _ => Answer::status(404),
        }
    });
    let name = format!("{}/a/b:c", server.host());
    bench.build("FROM scratch\nCOPY f /f\n", &["-t", &name]).succeeded();
    let push = |flags: &[&str]| {
        let output = bench.program().arg("push").args(flags).arg(&name).output().unwrap();
        (output.status.code(), String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap())
    };
    // There is nothing by that name.
    let (code, own, text) = push(&["--quiet", "--immutable"]);
    assert_eq!(code, Some(0), "{text}");
    // Then the same, then something else.
    *named.lock().unwrap() = Some(own.trim().to_owned());
    assert_eq!(push(&["--immutable"]).0, Some(0));
    *named.lock().unwrap() = Some(digest(b"of somebody else"));
    let before = server.seen().len();
    let (code, _, text) = push(&["--immutable"]);
    assert!(code == Some(4) && text.contains("is not overwritten"), "{text}");
    assert!(server.seen()[before..].iter().all(|request| request.method == "HEAD"), "nothing was sent");
    assert_eq!(push(&[]).0, Some(0), "without the flag a name is written as ever");
}
