//! Where a context can come from.
#![allow(clippy::unwrap_used)]

use builder_tests::{Bench, FileServer, Who, git, git_daemon, need, tar_of};
use cooper::layer::{Entry, Kind};
use flate2::{Compression, write::GzEncoder};
use rstest::rstest;
use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;

const DOCKERFILE: &[u8] = b"FROM scratch\nCOPY a /a\n";

fn tar() -> Vec<u8> {
    let file = |name: &str, content: &[u8]| {
        (Entry::new(name, Kind::File { size_bytes: content.len() as u64 }, 0o644), content.to_vec())
    };
    tar_of(&[file("Dockerfile", DOCKERFILE), file("a", b"from a tar")])
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[rstest]
fn a_tar_on_standard_input(#[values(Who::Caller, Who::Ordinary)] who: Who, #[values(false, true)] is_gzip: bool) {
    if !who.is_here() {
        return;
    }
    let bench = Bench::new().by(who);
    let input = if is_gzip { gzip(&tar()) } else { tar() };
    bench.build_from(&input, ["-t", "app:1", "-"]).success();
    assert_eq!(bench.image("app:1").text("a"), "from a tar");
}

#[test]
fn a_lone_dockerfile_on_standard_input() {
    let bench = Bench::new();
    bench.build_from(b"FROM scratch\nCOPY <<X /a\nhello\nX\n", ["-t", "app:1", "-"]).success();
    assert_eq!(bench.image("app:1").text("a"), "hello\n");
}

#[test]
fn a_dockerfile_on_standard_input_for_a_directory() {
    let bench = Bench::new().file("a", "in the directory");
    let context = bench.context();
    bench.build_from(DOCKERFILE, ["-t", "app:1", "-f", "-", context.to_str().unwrap()]).success();
    assert_eq!(bench.image("app:1").text("a"), "in the directory");
}

#[test]
fn a_compressed_tar_by_http() {
    let server = FileServer::start(BTreeMap::from([("/context.tar.gz".into(), gzip(&tar()))]));
    let bench = Bench::new();
    let url = server.url("/context.tar.gz");
    bench.build_bare(["-t", "app:1", &url]).success();
    assert_eq!(bench.image("app:1").text("a"), "from a tar");
    bench.build_bare(["-t", "app:1", &server.url("/missing.tar.gz")]).exits(4).says("404");
}

#[test]
fn a_file_by_http_with_a_checksum() {
    let server = FileServer::start(BTreeMap::from([("/file".into(), b"fetched".to_vec())]));
    let dockerfile = |digest: String| format!("FROM scratch\nADD --checksum={digest} {} /f\n", server.url("/file"));
    let right = cooper::image::Digest::of(b"fetched").to_string();
    let bench = Bench::new().file("Dockerfile", dockerfile(right));
    bench.build(["-t", "app:1"]).success();
    assert_eq!(bench.image("app:1").listing(0), "f 0600 0:0 f \"fetched\"\n");
    bench.write("Dockerfile", dockerfile(format!("sha256:{}", "0".repeat(64))));
    assert_ne!(bench.build(["-t", "app:1"]).code, 0);
}

fn repository(path: &Path) -> String {
    std::fs::create_dir_all(path.join("sub")).unwrap();
    std::fs::write(path.join("Dockerfile"), DOCKERFILE).unwrap();
    std::fs::write(path.join("a"), "from git").unwrap();
    std::fs::write(path.join("sub/Dockerfile"), "FROM scratch\nCOPY b /b\n").unwrap();
    std::fs::write(path.join("sub/b"), "below").unwrap();
    for arguments in [&["init", "-q", "-b", "main"][..], &["add", "."], &["commit", "-qm", "one"], &["tag", "v1"]] {
        git(path, arguments);
    }
    std::fs::write(path.join("a"), "newer").unwrap();
    git(path, &["commit", "-qam", "two"]);
    git(path, &["rev-parse", "v1"])
}

#[test]
fn source_date_epoch_is_the_time_of_the_commit_or_of_the_newest_file() {
    if !need(["git"]) {
        return;
    }
    let bench = Bench::new();
    repository(&bench.path("repos/r"));
    let committed = git(&bench.path("repos/r"), &["show", "--no-patch", "--format=%ct", "v1"]);
    let created = |seconds: &str| {
        let argument = format!("SOURCE_DATE_EPOCH={}", seconds.trim());
        bench.build_from(b"FROM scratch\nCOPY <<X /\nX\n", ["-t", "app:n", "--build-arg", &argument, "-"]).success();
        bench.image("app:n").config.created
    };
    let (url, _daemon) = git_daemon(&bench.path("repos"));
    bench.build_bare(["-t", "app:1", "--build-arg", "SOURCE_DATE_EPOCH=context", &format!("{url}/r#v1")]).success();
    assert_eq!(bench.image("app:1").config.created, created(&committed));

    let dockerfile = format!(
        "ARG SOURCE_DATE_EPOCH=src\nFROM scratch AS src\nADD {url}/r#v1 /\nFROM scratch\nCOPY --from=src / /\n"
    );
    bench.write("Dockerfile", dockerfile).build(["-t", "app:2"]).success();
    assert_eq!(bench.image("app:2").config.created, created(&committed));

    let server = FileServer::start(BTreeMap::from([("/context.tar".into(), tar())]));
    let named = format!("src={}", server.url("/context.tar"));
    bench.write("Dockerfile", "FROM scratch\nCOPY Dockerfile /\n");
    bench.build(["-t", "app:3", "--build-arg", "SOURCE_DATE_EPOCH=src", "--build-context", &named]).success();
    assert_eq!(bench.image("app:3").config.created, created("0"));
    let main = server.url("/context.tar");
    bench.build_bare(["-t", "app:4", "--build-arg", "SOURCE_DATE_EPOCH=context", &main]).success();
    assert_eq!(bench.image("app:4").config.created, created("0"));

    let local = bench.build(["-t", "app:5", "--build-arg", "SOURCE_DATE_EPOCH=context"]);
    local.success().says("the context has no time of its own");
}

#[rstest]
fn a_git_repository(#[values(Who::Caller, Who::Ordinary)] who: Who) {
    if !need(["git"]) || !who.is_here() {
        return;
    }
    let bench = Bench::new().by(who);
    let commit = repository(&bench.path("repos/r"));
    git(&bench.path("repos/r"), &["config", "uploadpack.allowAnySHA1InWant", "true"]);
    let (url, _daemon) = git_daemon(&bench.path("repos"));
    bench.build_bare(["-t", "app:1", &format!("{url}/r")]).success();
    assert_eq!(bench.image("app:1").text("a"), "newer");
    for version in ["v1", &commit] {
        bench.build_bare(["-t", "app:1", &format!("{url}/r#{version}")]).success();
        assert_eq!(bench.image("app:1").text("a"), "from git");
    }
    bench.build_bare(["-t", "app:1", &format!("{url}/r#main:sub")]).success();
    assert_eq!(bench.image("app:1").listing(0), "f 0644 0:0 b \"below\"\n");
    bench.write("Dockerfile", format!("FROM scratch\nADD {url}/r#v1 /src\n")).build(["-t", "app:2"]).success();
    assert_eq!(bench.image("app:2").text("src/a"), "from git");
}

/// Whether wildcards without a match are an error depends on what else is read; these are BuildKit's answers.
#[rstest]
#[case("COPY none* /q/\n", true)]
#[case("COPY d*/none* /q/\n", true)]
#[case("COPY d/none* /q/\n", false)]
#[case("COPY a /a\nCOPY d/none* /q/\n", false)]
#[case("COPY d/x /x\nCOPY d/none* /q/\n", true)]
#[case("COPY d/e/y /y\nCOPY d/none* /q/\n", true)]
#[case("COPY . /all/\nCOPY d/none* /q/\n", true)]
#[case("COPY d/x d/none* /q/\n", true)]
#[case("COPY link/none* /q/\n", false)]
#[case("COPY d /d\nCOPY link/none* /q/\n", true)]
#[case("COPY d/**/**/y /q/\n", true)]
#[case("COPY --parents d/none* /q/\n", true)]
#[case("COPY --from=other d/none* d/z /q/\n", true)]
#[case("COPY --from=other d/z /z\nCOPY --from=other d/none* /q/\n", false)]
fn a_wildcard_without_a_match_needs_its_directory_for_something(#[case] lines: &str, #[case] builds: bool) {
    let bench = Bench::new().file("a", "a").file("d/x", "x").file("d/e/y", "y").file("other/d/z", "z");
    let bench = bench.symlink("link", "d").file("Dockerfile", format!("FROM scratch\n{lines}"));
    let other = format!("other={}", bench.context().join("other").display());
    let run = bench.build(["--build-context", other.as_str(), "-t", "app:1"]);
    if builds {
        run.success();
    } else {
        run.exits(2).says("none*\": not found");
    }
}
