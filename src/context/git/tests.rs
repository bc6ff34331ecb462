#![allow(clippy::unwrap_used)]

use super::url::parse_with;
use super::*;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

fn source(text: &str) -> GitSource {
    parse(text).unwrap().unwrap()
}

#[test]
fn urls_are_told_from_paths() {
    for text in [
        "./github.com/x/y",
        "../a.git",
        "dir/a.git",
        "https://example.com/foo",
        "https://example.com/foo.git/",
        "https://example.com/foo.git.bar",
        "custom.xyz/moby/buildkit.git",
        "file:///srv/x.git",
        "ftp://example.com/x.git",
        "ext::sh -c whoami",
        "user@host",
        "a b@host:c",
    ] {
        assert_eq!(parse(text), Ok(None), "{text}");
    }
    for (text, remote) in [
        ("https://example.com/foo.git", "https://example.com/foo.git"),
        ("https://example.com/foo.git#main:sub", "https://example.com/foo.git"),
        ("http://example.com:81/foo.git?ref=x", "http://example.com:81/foo.git"),
        ("git://example.com/foo", "git://example.com/foo"),
        ("ssh://git@example.com:22/foo.git", "ssh://git@example.com:22/foo.git"),
        ("git@github.com:moby/buildkit.git#v1", "git@github.com:moby/buildkit.git"),
        ("git@github.com:moby/buildkit?ref=v1", "git@github.com:moby/buildkit"),
        ("github.com/moby/buildkit#master", "https://github.com/moby/buildkit"),
    ] {
        assert_eq!(source(text).remote, remote, "{text}");
    }
    assert!(source("github.com/moby/buildkit").may_be_a_path);
}

#[test]
fn fragment_and_query_say_what_is_wanted() {
    let all = source(
        "https://h/x.git?branch=b&subdir=/a/./b/&commit=ABCDEF&keep-git-dir&submodules=0&mtime=commit&fetch-by-commit=1",
    );
    assert_eq!(all.reference.as_deref(), Some("refs/heads/b"));
    assert_eq!(all.subdir.as_deref(), Some("a/b"));
    assert_eq!(all.checksum.as_deref(), Some("abcdef"));
    assert_eq!((all.keep_git_dir, all.submodules), (Some(true), false));
    assert!(all.commit_time && all.fetch_by_commit);
    let parts = |text: &str| {
        let source = source(text);
        (source.reference.unwrap_or_default(), source.subdir.unwrap_or_default())
    };
    for (text, reference, subdir) in [
        ("https://h/x.git#release/1.2:a/b", "release/1.2", "a/b"),
        ("https://h/x.git#:a", "", "a"),
        ("https://h/x.git#main:", "main", ""),
        ("https://h/x.git#a%2Fb+c", "a/b+c", ""),
        ("https://h/x.git?tag=v1", "refs/tags/v1", ""),
        ("https://h/x.git?tag=refs/tags/v1", "refs/tags/v1", ""),
        ("https://h/x.git?ref=v1#v1", "v1", ""),
        ("git@h:x?subdir=d#v1", "v1", "d"),
    ] {
        assert_eq!(parts(text), (reference.to_owned(), subdir.to_owned()), "{text}");
    }
}

#[test]
fn what_could_be_an_option_or_climb_is_refused() {
    for text in [
        "https://h/x.git#--upload-pack=touch",
        "https://h/x.git?ref=-u",
        "https://h/x.git#a/-b",
        "https://h/x.git#a b",
        "https://h/x.git#a%20b",
        "https://h/x.git?ref=a:b",
        "https://h/x.git#a..b",
        "https://h/x.git#a^{}",
        "https://h/x.git#*",
        "https://h/x.git#a.lock",
        "https://h/x.git#main:../up",
        "https://h/x.git#main:a/../../up",
        "https://h/x.git?subdir=.git/hooks",
        "https://h/x.git?subdir=.GIT",
        "ssh://-oProxyCommand=touch/x.git",
        "ssh://-o@h/x.git",
        "https://-h/x.git",
        "git@-h:x",
        "git@h:-x",
        "git@h:",
        "https://h/x.git?commit=xyz",
        "https://h/x.git?unknown=1",
        "https://h/x.git?ref=",
        "https://h/x.git?ref=a&ref=b",
        "https://h/x.git?ref=a#b",
        "https://h/x.git?tag=a&branch=b",
        "https://h/x.git?submodules=maybe",
        "https://h/x.git?mtime=now",
        "https://u%0aurl=x:p@h/x.git",
    ] {
        assert!(parse(text).is_err(), "{text}");
    }
}

#[test]
fn credentials_are_not_in_the_remote_nor_in_debug_output() {
    let source = source("https://us%65r:to%2Bken@h/x.git#main");
    assert_eq!(source.remote, "https://h/x.git");
    let credentials = source.credentials.as_ref().unwrap();
    assert_eq!((credentials.user.as_str(), credentials.password.as_str()), ("user", "to+ken"));
    assert!(!format!("{source:?}").contains("ken"));
    let token = parse("https://t0k3n@h/x.git").unwrap().unwrap();
    assert_eq!(token.remote, "https://h/x.git");
}

/// A repository of this machine, and a place for checkouts.
struct Repository {
    directory: tempfile::TempDir,
    options: GitOptions,
}

impl Repository {
    /// `None`, said aloud, where there is no git.
    fn new() -> Option<Repository> {
        Repository::with_format("sha1")
    }

    fn with_format(format: &str) -> Option<Repository> {
        if Command::new("git").arg("--version").output().is_err() {
            eprintln!("skipped: Git tests need git");
            return None;
        }
        let directory = tempfile::tempdir().unwrap();
        let options = GitOptions { allow_file: true, ..GitOptions::default() };
        let repository = Repository { directory, options };
        std::fs::create_dir(repository.path("origin")).unwrap();
        repository.git(&["init", "--quiet", "-b", "main", &format!("--object-format={format}")]);
        Some(repository)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn git_in(&self, directory: &str, arguments: &[&str]) -> String {
        let output = Command::new("git")
            .args(["-c", "user.name=t", "-c", "user.email=t@t", "-c", "protocol.file.allow=always"])
            .args(arguments)
            .current_dir(self.path(directory))
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_COMMITTER_DATE", "1500000000 +0000")
            .output()
            .unwrap();
        assert!(output.status.success(), "git {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    fn git(&self, arguments: &[&str]) -> String {
        self.git_in("origin", arguments)
    }

    fn commit(&self, files: &[(&str, &str)]) -> String {
        for (path, content) in files {
            let path = self.path("origin").join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, content).unwrap();
        }
        self.git(&["add", "-A"]);
        self.git(&["commit", "--quiet", "-m", "change"]);
        self.git(&["rev-parse", "HEAD"])
    }

    /// Writes a program that stands for git.
    fn wrapper(&self, script: &str) -> PathBuf {
        let path = self.path("git-wrapper");
        // By another process: a file that some thread's child still has open for writing cannot be executed.
        let script = format!("#!/bin/sh\n{script}\n");
        let write = ["-c", "printf %s \"$1\" > \"$0\"", path.to_str().unwrap(), &script];
        assert!(Command::new("sh").args(write).status().unwrap().success());
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        path
    }

    fn source(&self, suffix: &str) -> GitSource {
        parse_with(&format!("file://{}{suffix}", self.path("origin").display()), true).unwrap().unwrap()
    }

    fn resolve(&self, suffix: &str) -> Result<Resolved, GitError> {
        resolve(&self.source(suffix), &self.options, self.directory.path())
    }

    fn check_out(&self, suffix: &str, keep_git_dir: bool) -> Result<Checkout, GitError> {
        let source = self.source(suffix);
        let resolved = resolve(&source, &self.options, self.directory.path())?;
        let directory = tempfile::tempdir_in(self.directory.path()).unwrap().keep();
        check_out(&source, &resolved, keep_git_dir, &self.options, &directory)
    }
}

fn names(path: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        std::fs::read_dir(path).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn a_branch_a_tag_and_a_commit_are_found_and_checked_out() {
    let Some(repository) = Repository::new() else { return };
    let first = repository.commit(&[("a", "one"), ("sub/b", "b")]);
    repository.git(&["tag", "-a", "v1", "-m", "annotated"]);
    repository.git(&["tag", "light"]);
    let second = repository.commit(&[("a", "two")]);
    let third = repository.commit(&[("a", "three")]);
    for (suffix, commit, content) in [
        ("", &third, "three"),
        ("#main", &third, "three"),
        ("#refs/heads/main", &third, "three"),
        ("#v1", &first, "one"),
        ("?tag=light", &first, "one"),
        (&format!("#{second}"), &second, "two"),
        (&format!("?ref=main&commit={}", &third[..8]), &third, "three"),
        (&format!("?commit={second}&fetch-by-commit"), &second, "two"),
    ] {
        let checkout = repository.check_out(suffix, false).unwrap();
        assert_eq!(&checkout.commit, commit, "{suffix}");
        assert_eq!(std::fs::read_to_string(checkout.root.join("a")).unwrap(), content, "{suffix}");
        assert_eq!(names(&checkout.root), ["a", "sub"], "{suffix}");
    }
}

#[test]
fn a_repository_of_sha_256_works() {
    let Some(repository) = Repository::with_format("sha256") else { return };
    let commit = repository.commit(&[("a", "one")]);
    assert_eq!(commit.len(), 64);
    for suffix in ["#main".to_owned(), format!("#{commit}")] {
        let checkout = repository.check_out(&suffix, false).unwrap();
        assert_eq!((checkout.commit.as_str(), names(&checkout.root)), (commit.as_str(), vec!["a".to_owned()]));
    }
}

#[test]
fn what_is_not_there_is_said() {
    let Some(repository) = Repository::new() else { return };
    let commit = repository.commit(&[("a", "one")]);
    let error = repository.resolve("#nothing").unwrap_err().to_string();
    assert!(error.ends_with("does not contain ref `nothing`"), "{error}");
    let error = repository.resolve("?ref=main&commit=0000").unwrap_err().to_string();
    assert_eq!(error, format!("expected checksum to match 0000, got {commit}"));
    let error = repository.check_out(&format!("#{}", "1".repeat(40)), false).unwrap_err().to_string();
    assert!(error.starts_with("git could not fetch") || error.ends_with("any more"), "{error}");
    let mut source = repository.source("");
    source.remote.push_str("-missing");
    let error = resolve(&source, &repository.options, repository.directory.path()).unwrap_err();
    assert!(matches!(error, GitError::Command { .. }), "{error}");
}

#[test]
fn a_tag_checksum_may_be_of_the_tag_or_of_its_commit() {
    let Some(repository) = Repository::new() else { return };
    let commit = repository.commit(&[("a", "one")]);
    repository.git(&["tag", "-a", "v1", "-m", "annotated"]);
    let tag = repository.git(&["rev-parse", "v1"]);
    for id in [&commit, &tag] {
        assert_eq!(repository.resolve(&format!("?tag=v1&commit={id}")).unwrap().commit, commit);
    }
}

#[test]
fn a_branch_that_moves_after_its_resolution_still_gives_the_resolved_commit() {
    let Some(repository) = Repository::new() else { return };
    let first = repository.commit(&[("a", "one")]);
    let source = repository.source("#main");
    let resolved = resolve(&source, &repository.options, repository.directory.path()).unwrap();
    repository.commit(&[("a", "two")]);
    let directory = repository.path("checkout");
    std::fs::create_dir(&directory).unwrap();
    let checkout = check_out(&source, &resolved, false, &repository.options, &directory).unwrap();
    assert_eq!(checkout.commit, first);
    assert_eq!(std::fs::read_to_string(checkout.root.join("a")).unwrap(), "one");
}

#[test]
fn a_server_that_gives_no_commits_by_id_is_asked_for_everything() {
    let Some(mut repository) = Repository::new() else { return };
    let first = repository.commit(&[("a", "one")]);
    repository.commit(&[("a", "two")]);
    let source = repository.source("#main");
    let resolved = Resolved { commit: first.clone(), ..repository.resolve("#main").unwrap() };
    // Version 0 of the protocol refuses what no reference names.
    repository.options.program = repository.wrapper("exec git -c protocol.version=0 \"$@\"").into();
    for resolved in [resolved, Resolved { commit: first.clone(), reference: None }] {
        let directory = tempfile::tempdir_in(repository.directory.path()).unwrap().keep();
        let checkout = check_out(&source, &resolved, false, &repository.options, &directory).unwrap();
        assert_eq!(std::fs::read_to_string(checkout.root.join("a")).unwrap(), "one");
    }
}

#[test]
fn modes_are_those_that_git_tracks_and_times_can_be_the_commits() {
    let Some(repository) = Repository::new() else { return };
    std::fs::write(repository.path("origin/run"), "").unwrap();
    std::fs::set_permissions(repository.path("origin/run"), std::fs::Permissions::from_mode(0o700)).unwrap();
    repository.commit(&[("d/f", "")]);
    let checkout = repository.check_out("?mtime=commit", false).unwrap();
    let metadata = |path: &str| std::fs::metadata(checkout.root.join(path)).unwrap();
    let mode = |path: &str| metadata(path).permissions().mode() & 0o7777;
    assert_eq!((mode("run"), mode("d"), mode("d/f")), (0o755, 0o755, 0o644));
    use std::os::unix::fs::MetadataExt;
    assert_eq!((metadata("d").mtime(), metadata("d/f").mtime()), (1_500_000_000, 1_500_000_000));
}

#[test]
fn the_git_directory_is_kept_on_demand_and_works() {
    let Some(repository) = Repository::new() else { return };
    let commit = repository.commit(&[("a", "one")]);
    let checkout = repository.check_out("#main", true).unwrap();
    let name = checkout.root.file_name().unwrap().to_str().unwrap();
    assert_eq!(repository.git_in(name, &["rev-parse", "HEAD", "main"]), format!("{commit}\n{commit}"));
    assert_eq!(repository.git_in(name, &["status", "--porcelain"]), "");
    assert!(!checkout.root.join(".git/FETCH_HEAD").exists());
}

#[test]
fn a_subdirectory_is_inside_and_no_link() {
    let Some(repository) = Repository::new() else { return };
    symlink("/etc", repository.path("origin/out")).unwrap();
    symlink("real", repository.path("origin/in")).unwrap();
    repository.commit(&[("real/f", "x"), ("file", "")]);
    let checkout = repository.check_out("#main:real", true).unwrap();
    assert_eq!(names(&checkout.root), ["f"]);
    for subdir in ["out", "in", "file", "missing"] {
        let error = repository.check_out(&format!("#main:{subdir}"), false).unwrap_err();
        assert!(matches!(error, GitError::Subdirectory { .. }), "{subdir}: {error}");
    }
}

#[test]
fn submodules_come_along_and_their_git_files_do_not() {
    let Some(repository) = Repository::new() else { return };
    repository.commit(&[("a", "one")]);
    std::fs::create_dir(repository.path("module")).unwrap();
    repository.git_in("module", &["init", "--quiet", "-b", "main"]);
    std::fs::write(repository.path("module/inner"), "from the submodule").unwrap();
    repository.git_in("module", &["add", "-A"]);
    repository.git_in("module", &["commit", "--quiet", "-m", "x"]);
    let url = format!("file://{}", repository.path("module").display());
    repository.git(&["submodule", "--quiet", "add", &url, "mod"]);
    repository.commit(&[]);
    let with = repository.check_out("", false).unwrap();
    assert_eq!(names(&with.root.join("mod")), ["inner"]);
    let without = repository.check_out("?submodules=false", false).unwrap();
    assert_eq!(names(&without.root.join("mod")), Vec::<String>::new());
}

#[test]
fn repositories_of_this_machine_are_refused() {
    let Some(mut repository) = Repository::new() else { return };
    repository.commit(&[("a", "one")]);
    let source = repository.source("");
    repository.options.allow_file = false;
    let error = resolve(&source, &repository.options, repository.directory.path()).unwrap_err().to_string();
    assert!(error.contains("not allowed"), "{error}");
}

#[test]
fn the_configuration_of_a_repository_above_does_not_count() {
    let Some(repository) = Repository::new() else { return };
    let commit = repository.commit(&[("a", "one")]);
    let above = repository.path("above");
    std::fs::create_dir_all(above.join("scratch")).unwrap();
    repository.git_in("above", &["init", "--quiet"]);
    repository.git_in("above", &["config", "url.file:///nowhere.insteadOf", "file:///"]);
    let resolved = resolve(&repository.source(""), &repository.options, &above.join("scratch")).unwrap();
    assert_eq!(resolved.commit, commit);
}

#[test]
fn a_missing_git_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let options = GitOptions { program: "no-such-git".into(), ..GitOptions::default() };
    let error = resolve(&source("https://h/x.git"), &options, directory.path()).unwrap_err();
    assert_eq!(error.to_string(), "`no-such-git` is needed for Git repositories and is not installed");
}

/// Asks for a password, then says that there is nothing; returns the first `Authorization` header.
fn serve_unauthorized(listener: std::net::TcpListener) -> Option<String> {
    for stream in listener.incoming().take(8) {
        let mut stream = stream.unwrap();
        let lines = BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok);
        let head: Vec<String> = lines.take_while(|line| !line.is_empty()).collect();
        let authorization = head.iter().find(|line| line.to_lowercase().starts_with("authorization:"));
        let status = if authorization.is_some() { "404 Not Found" } else { "401 Unauthorized" };
        let answer = format!(
            "HTTP/1.1 {status}\r\nWWW-Authenticate: Basic realm=\"x\"\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        );
        stream.write_all(answer.as_bytes()).unwrap();
        if let Some(line) = authorization {
            return Some(line.split_once(' ')?.1.to_owned());
        }
    }
    None
}

#[test]
fn credentials_reach_the_server_but_no_argument_and_no_message() {
    use base64::Engine;
    let Some(repository) = Repository::new() else { return };
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = std::thread::spawn(move || serve_unauthorized(listener));
    let log = repository.path("arguments");
    let wrapper = repository.wrapper(&format!("echo \"$@\" >> {}\nexec git \"$@\"", log.display()));
    let options = GitOptions { program: wrapper.into(), ..GitOptions::default() };
    let source = source(&format!("http://user:t0k3n@127.0.0.1:{port}/x.git"));
    let error = resolve(&source, &options, repository.directory.path()).unwrap_err();
    assert!(!format!("{error} {error:?}").contains("t0k3n"), "{error}");
    let expected = base64::engine::general_purpose::STANDARD.encode("user:t0k3n");
    assert_eq!(server.join().unwrap(), Some(format!("Basic {expected}")));
    let arguments = std::fs::read_to_string(log).unwrap();
    assert!(arguments.contains("ls-remote") && !arguments.contains("t0k3n"), "{arguments}");
}
