//! Hostile Git repositories, fetched by the real git from a real server.

use super::bench::Bench;
use super::contexts::assert_no_canary;
use super::rungs::any_account;
use std::fs;
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// A server of the repositories below a directory; it ends with the test.
struct Daemon {
    child: Child,
    port: u16,
}

impl Daemon {
    /// Starts one; `None` where git or its daemon is not there.
    fn start(bench: &Bench) -> Option<Daemon> {
        let path = String::from_utf8(Command::new("git").arg("--exec-path").output().ok()?.stdout).ok()?;
        let program = PathBuf::from(path.trim()).join("git-daemon");
        if !program.exists() {
            assert!(std::env::var_os("COOPER_TESTS_COMPLETE").is_none(), "no git-daemon");
            eprintln!("skipped: no git-daemon");
            return None;
        }
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let child = Command::new(program)
            .args(["--export-all", "--listen=127.0.0.1", &format!("--port={port}")])
            .arg(format!("--base-path={}", bench.text("home")))
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .env("HOME", bench.path("home"))
            .env("GIT_CONFIG_COUNT", "1")
            .env("GIT_CONFIG_KEY_0", "safe.directory")
            .env("GIT_CONFIG_VALUE_0", "*")
            .spawn()
            .unwrap();
        let daemon = Daemon { child, port };
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            std::thread::sleep(Duration::from_millis(20));
        }
        Some(daemon)
    }

    fn url(&self, name: &str) -> String {
        format!("git://127.0.0.1:{}/{name}/.git", self.port)
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // git-daemon serves each connection by a child that ends with it.
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

/// Runs git in a repository below `home`.
#[track_caller]
fn git(bench: &Bench, name: &str, arguments: &[&str]) -> String {
    let output = Command::new("git")
        .args(["-c", "user.name=a", "-c", "user.email=a@b", "-c", "protocol.file.allow=always", "-C"])
        .arg(bench.path("home").join(name))
        .args(arguments)
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("HOME", bench.path("home"))
        .stderr(Stdio::piped())
        .output()
        .unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// Makes a repository with some files, not committed.
fn repository(bench: &Bench, name: &str, files: &[(&str, &str)]) {
    for (file, content) in files {
        let path = bench.path("home").join(name).join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
    git(bench, name, &["init", "--quiet", "-b", "main"]);
}

/// Commits everything there is.
fn commit(bench: &Bench, name: &str) -> String {
    git(bench, name, &["add", "-A", "-f"]);
    git(bench, name, &["commit", "--quiet", "--allow-empty", "-m", "x"]);
    git(bench, name, &["rev-parse", "HEAD"])
}

/// Builds the repository as the context, and as the source of an ADD; nothing of what is outside may come along.
fn use_of(bench: &Bench, url: &str) -> [i32; 2] {
    let (context, added) = (bench.path("home/out-context"), bench.path("home/out-add"));
    let as_context = format!("-otype=local,dest={}", context.display());
    let first = bench.run(&["--progress=plain", &as_context, url], |_| {});
    let as_source = format!("-otype=local,dest={}", added.display());
    let second = bench.build(&format!("FROM scratch\nADD {url} /r\n"), &[&as_source]);
    for (result, out) in [(&first, &context), (&second, &added)] {
        assert!((0..5).contains(&result.code) && !result.text.contains("canary"), "{}", result.text);
        assert_no_canary(out);
        let _ = fs::remove_dir_all(out);
    }
    [first.code, second.code]
}

const DOCKERFILE: (&str, &str) = ("Dockerfile", "FROM scratch\nCOPY . /r\n");

#[test]
fn submodules_run_nothing_and_read_nothing_of_this_machine() {
    let bench = Bench::new(any_account());
    let marker = bench.outside("/hacked");
    let Some(daemon) = Daemon::start(&bench) else { return };
    // What a hook of a submodule would be, if its directory could be chosen.
    repository(&bench, "module", &[("hooks/post-checkout", &format!("#!/bin/sh\ntouch {marker}\n")), ("f", "inner")]);
    let inner = commit(&bench, "module");
    repository(&bench, "private", &[("f", "canary of a repository of this machine")]);
    let private = commit(&bench, "private");
    let (good, own) = (daemon.url("module"), format!("file://{}", bench.text("home/private")));
    let touch = format!("touch {marker}");
    let cases: [(&str, &str, &str, &str, &str); 9] = [
        ("sub", "sub", &good, &inner, ""),
        ("sub", "sub", &good, &inner, &format!("update = !{touch}")),
        ("sub", "sub", &format!("ext::sh -c {}", touch.replace(' ', "% ")), &inner, ""),
        ("sub", "sub", &format!("-u{}", touch.replace(' ', "${IFS}")), &inner, ""),
        ("sub", "sub", &format!("ssh://-oProxyCommand={}/x", touch.replace(' ', "${IFS}")), &inner, ""),
        ("sub", "sub", &own, &private, ""),
        ("sub", "sub", &bench.text("home/private"), &private, ""),
        ("../../hooks", "sub", &good, &inner, ""),
        ("sub", "../../../../sub", &good, &inner, ""),
    ];
    for (n, (name, path, url, commit_id, more)) in cases.iter().enumerate() {
        let repo = format!("evil{n}");
        let modules = format!("[submodule \"{name}\"]\n\tpath = {path}\n\turl = {url}\n\t{more}\n");
        repository(&bench, &repo, &[DOCKERFILE, (".gitmodules", &modules)]);
        git(&bench, &repo, &["add", "-A"]);
        git(&bench, &repo, &["update-index", "--add", "--cacheinfo", &format!("160000,{commit_id},sub")]);
        git(&bench, &repo, &["commit", "--quiet", "-m", "x"]);
        let codes = use_of(&bench, &daemon.url(&repo));
        assert!(n != 0 || codes == [0, 0], "an honest submodule comes along");
    }
}

#[test]
fn links_and_filters_of_a_repository_lead_nowhere() {
    let bench = Bench::new(any_account());
    let Some(daemon) = Daemon::start(&bench) else { return };
    let (outside, marker) = (bench.outside(""), bench.outside("/hacked"));
    let attributes = "* filter=evil diff=evil merge=evil\n";
    let settings = format!("[filter \"evil\"]\n\tsmudge = touch {marker}\n[core]\n\tfsmonitor = touch {marker}\n");
    repository(&bench, "links", &[DOCKERFILE, (".gitattributes", attributes), (".gitconfig", &settings), ("a/f", "1")]);
    let home = bench.path("home/links");
    for (link, target) in [
        ("file", format!("{outside}/file")),
        ("dir", outside.clone()),
        ("climbs", "../../../../outside/inner".to_owned()),
        (".dockerignore", format!("{outside}/file")),
        ("a/git", "../.git/config".to_owned()),
    ] {
        symlink(target, home.join(link)).unwrap();
    }
    commit(&bench, "links");
    let url = daemon.url("links");
    for fragment in
        ["", "#main", "#main:a", "#main:dir", "#main:climbs", "#:dir/inner", "#main:file", "#refs/heads/main"]
    {
        use_of(&bench, &format!("{url}{fragment}"));
    }
    for source in ["file", "dir/file", "climbs/file", "a/git", "*/file"] {
        fs::write(home.join("Dockerfile"), format!("FROM scratch\nCOPY {source} /r/\n")).unwrap();
        commit(&bench, "links");
        use_of(&bench, &url);
    }
    // The Dockerfile itself is a link.
    fs::remove_file(home.join("Dockerfile")).unwrap();
    symlink(format!("{outside}/file"), home.join("Dockerfile")).unwrap();
    commit(&bench, "links");
    assert_ne!(use_of(&bench, &url)[0], 0);
}
