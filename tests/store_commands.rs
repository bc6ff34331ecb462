//! The commands on the store, run as users run them: the real binary, a store of its own, no network.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use cooper::image::Digest;
use cooper::layer::{Entry, Kind, TarWriter};
use serde_json::{Value, json};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// A store, and a directory to work in.
struct Bench {
    dir: tempfile::TempDir,
}

impl Bench {
    fn new() -> Bench {
        let bench = Bench { dir: tempfile::tempdir().unwrap() };
        std::fs::create_dir(bench.path("context")).unwrap();
        bench.context("content");
        bench
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn context(&self, content: &str) {
        std::fs::write(self.path("context/f"), content).unwrap();
        let dockerfile = "FROM scratch\nCOPY f /f\nENV A=b\nLABEL l=v\nCMD [\"/f\"]\n";
        std::fs::write(self.path("context/Dockerfile"), dockerfile).unwrap();
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_cooper"));
        command.args(args).current_dir(self.dir.path()).stdin(Stdio::null());
        command.env("COOPER_ROOT", self.path("store")).env("REGISTRY_AUTH_FILE", self.path("auth.json"));
        command.env("CONTAINERS_REGISTRIES_CONF", self.path("registries.conf"));
        std::fs::write(self.path("auth.json"), "{}").unwrap();
        std::fs::write(self.path("registries.conf"), "").unwrap();
        command
    }

    fn run(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    /// Runs a command that succeeds and returns its standard output.
    fn ok(&self, args: &[&str]) -> String {
        let output = self.run(args);
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// Runs a command that fails and returns its exit code and standard error.
    fn fails(&self, args: &[&str]) -> (i32, String) {
        let output = self.run(args);
        assert!(!output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stdout));
        (output.status.code().unwrap(), String::from_utf8_lossy(&output.stderr).into_owned())
    }

    fn build(&self, name: &str) -> String {
        self.ok(&["build", "-q", "-t", name, "context"]).trim().to_owned()
    }

    fn sound(&self) {
        let output = self.run(&["store", "check"]);
        assert_eq!(String::from_utf8_lossy(&output.stdout), "the store is sound\n");
    }

    fn inspect(&self, name: &str) -> Value {
        serde_json::from_str::<Value>(&self.ok(&["inspect", name])).unwrap()[0].clone()
    }
}

#[test]
fn an_image_is_listed_inspected_and_told_of() {
    let bench = Bench::new();
    let id = bench.build("app:1");
    assert_eq!(bench.ok(&["images", "--format", "{{.Repository}}:{{.Tag}}"]), "app:1\n");
    assert_eq!(bench.ok(&["images", "-q", "--no-trunc"]), format!("{id}\n"));
    assert_eq!(bench.ok(&["images", "-q", "app:2"]), "");
    let line: Value = serde_json::from_str(&bench.ok(&["images", "--format", "json"])).unwrap();
    assert_eq!((&line["Repository"], &line["ID"]), (&json!("app"), &json!(id[7..19])));
    let image = bench.inspect("docker.io/library/app:1");
    assert_eq!((&image["Id"], &image["RepoTags"]), (&json!(id), &json!(["app:1"])));
    assert_eq!((&image["Config"]["Labels"]["l"], &image["Os"]), (&json!("v"), &json!("linux")));
    assert_eq!(image["RootFS"]["Layers"].as_array().unwrap().len(), 1);
    assert_eq!(bench.ok(&["inspect", "-f", "{{.Id}}", &id[7..15]]), format!("{id}\n"));
    let digest = |document: &str| Digest::of(bench.ok(&["inspect", "--raw", document, "app:1"]).as_bytes()).to_string();
    assert_eq!(json!(digest("manifest")), image["Descriptor"]["digest"]);
    assert_eq!(digest("config"), id);
    let history = bench.ok(&["history", "--format", "{{.CreatedBy}}", "app:1"]);
    assert_eq!(history, "CMD [\"/f\"]\nLABEL l=v\nENV A=b\nCOPY f /f # buildkit\n");
}

#[test]
fn images_are_filtered() {
    let bench = Bench::new();
    bench.build("app:1");
    bench.ok(&["tag", "app:1", "localhost:5000/team/app:2"]);
    bench.context("another");
    bench.ok(&["build", "-q", "context"]);
    let names = |filter: &str| bench.ok(&["images", "--filter", filter, "--format", "{{.Repository}}:{{.Tag}}"]);
    assert_eq!(names("reference=app:*"), "app:1\n");
    assert_eq!(names("reference=localhost:5000/*/app"), "localhost:5000/team/app:2\n");
    assert_eq!(names("dangling=true"), "<none>:<none>\n");
    assert_eq!(names("label=l=v").lines().count(), 3);
    assert_eq!(names("label=l=w"), "");
    assert_eq!(bench.fails(&["images", "--filter", "colour=red"]).0, 2);
}

#[test]
fn names_are_given_and_taken() {
    let bench = Bench::new();
    let id = bench.build("app:1");
    bench.ok(&["tag", &id, "app:2", "x.io/y"]);
    let (code, error) = bench.fails(&["rmi", &id[7..19]]);
    assert!(code == 2 && error.contains("several names") && error.contains("x.io/y:latest"), "{error}");
    assert_eq!(bench.ok(&["rmi", "app:2"]), "Untagged: app:2\n");
    assert_eq!(
        bench.ok(&["rmi", "x.io/y", "app:1"]),
        format!("Untagged: x.io/y:latest\nUntagged: app:1\nDeleted: {id}\n")
    );
    assert_eq!(bench.ok(&["rmi", "-f", "app:1"]), "");
    let (code, error) = bench.fails(&["rmi", "app:1"]);
    assert!(code == 2 && error.contains("no such image: `app:1`"), "{error}");
    let freed = bench.ok(&["prune", "-f"]);
    assert_eq!(freed.lines().filter(|line| line.starts_with("blob ")).count(), 3, "{freed}");
    bench.sound();
}

#[test]
fn an_unknown_image_has_its_nearest_name_as_a_hint() {
    let bench = Bench::new();
    bench.build("webserver:1");
    assert!(bench.fails(&["inspect", "webservre:1"]).1.contains("did you mean `webserver:1`?"));
    assert!(bench.fails(&["history", "webserver:2"]).1.contains("there is `webserver:1`"));
    assert!(bench.fails(&["tag", "webserver:1", "UPPER"]).1.contains("lowercase"));
}

#[test]
fn the_beginning_of_several_ids_is_an_error() {
    let bench = Bench::new();
    // Of seventeen images two begin with the same digit.
    for n in 0..17 {
        bench.context(&n.to_string());
        bench.build(&format!("app:{n}"));
    }
    let ids = bench.ok(&["images", "-q", "--no-trunc"]);
    let first = |id: &str| id["sha256:".len()..][..1].to_owned();
    let digit = ids.lines().map(first).find(|digit| ids.lines().filter(|id| first(id) == *digit).count() > 1).unwrap();
    let (code, error) = bench.fails(&["inspect", &digit]);
    assert!(code == 2 && error.contains("beginning of several images' ids"), "{error}");
}

#[test]
fn a_saved_image_is_loaded_with_its_id() {
    for format in ["docker-archive", "oci-archive", "oci-dir"] {
        let (here, there) = (Bench::new(), Bench::new());
        let id = here.build("app:1");
        here.ok(&["tag", "app:1", "x.io/app:2"]);
        let file = here.path("saved");
        let file = file.to_str().unwrap();
        here.ok(&["save", "app:1", "x.io/app:2", "--format", format, "-o", file]);
        let loaded = there.ok(&["load", "-i", file]);
        assert_eq!(loaded, "Loaded image: app:1\nLoaded image: x.io/app:2\n", "{format}");
        assert_eq!(there.inspect("app:1")["Id"], json!(id));
        there.sound();
        // What was loaded is a base like any other.
        std::fs::write(there.path("context/Dockerfile"), "FROM app:1\nCOPY f /g\n").unwrap();
        there.build("above:1");
        assert_eq!(there.inspect("above:1")["Layers"].as_array().unwrap().len(), 2);
    }
}

#[test]
fn save_and_load_go_through_pipes() {
    let bench = Bench::new();
    let id = bench.build("app:1");
    let saved = bench.run(&["save", "app:1"]);
    assert!(saved.status.success() && !saved.stdout.is_empty());
    let there = Bench::new();
    let mut load = there.command(&["load"]);
    let mut load = load.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    load.stdin.take().unwrap().write_all(&saved.stdout).unwrap();
    assert_eq!(load.wait_with_output().unwrap().stdout, b"Loaded image: app:1\n");
    assert_eq!(there.inspect("app:1")["Id"], json!(id));
}

/// Returns an archive as `docker save` wrote it: uncompressed layers, a link for a layer that occurs twice.
fn docker_archive(config: &Value, entries: &[(&str, &[u8])], links: &[(&str, &str)]) -> Vec<u8> {
    let mut tar = TarWriter::new(Vec::new());
    let config = config.to_string().into_bytes();
    for (name, content) in entries.iter().copied().chain([("config.json", config.as_slice())]) {
        let entry = Entry::new(name, Kind::File { size_bytes: content.len() as u64 }, 0o644);
        tar.append(&entry, &mut &*content).unwrap();
    }
    for (name, target) in links {
        tar.append(&Entry::new(*name, Kind::Symlink { target: target.into() }, 0o777), &mut std::io::empty()).unwrap();
    }
    tar.finish().unwrap()
}

fn layer_tar() -> Vec<u8> {
    let mut tar = TarWriter::new(Vec::new());
    tar.append(&Entry::new("f", Kind::File { size_bytes: 2 }, 0o644), &mut &b"hi"[..]).unwrap();
    tar.finish().unwrap()
}

fn config(diff_ids: &[Digest]) -> Value {
    json!({"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": diff_ids}})
}

fn load(archive: &[u8]) -> (Bench, Output) {
    let bench = Bench::new();
    std::fs::write(bench.path("archive"), archive).unwrap();
    let output = bench.run(&["load", "-i", "archive"]);
    (bench, output)
}

#[test]
fn an_archive_of_an_old_docker_is_loaded() {
    let layer = layer_tar();
    let id = Digest::of(&layer);
    let list = br#"[{"Config":"config.json","RepoTags":["old:1"],"Layers":["a/layer.tar","b/layer.tar"]}]"#;
    let entries = [("manifest.json", &list[..]), ("a/layer.tar", &layer)];
    let (bench, output) = load(&docker_archive(&config(&[id, id]), &entries, &[("b/layer.tar", "../a/layer.tar")]));
    assert_eq!(String::from_utf8_lossy(&output.stdout), "Loaded image: old:1\n", "{output:?}");
    assert_eq!(bench.inspect("old:1")["Layers"].as_array().unwrap().len(), 2);
    bench.sound();
}

#[test]
fn a_hostile_archive_is_refused_and_leaves_nothing() {
    let layer = layer_tar();
    let id = Digest::of(&layer);
    let list =
        |tag: &str, layer: &str| format!(r#"[{{"Config":"config.json","RepoTags":["{tag}"],"Layers":["{layer}"]}}]"#);
    let good = list("a:1", "l.tar");
    let archive = |list: &str, config: &Value| {
        docker_archive(config, &[("manifest.json", list.as_bytes()), ("l.tar", &layer)], &[])
    };
    let wrong_index = |blob: &[u8]| {
        let name = format!("blobs/sha256/{}", Digest::of(b"promised").hex());
        let index =
            json!({"schemaVersion": 2, "manifests": [{"mediaType": "application/vnd.oci.image.manifest.v1+json",
            "digest": Digest::of(b"promised"), "size": blob.len()}]})
            .to_string();
        docker_archive(&json!({}), &[("index.json", index.as_bytes()), (&name, blob)], &[])
    };
    // A header that promises a gigabyte is enough to be refused.
    let huge = {
        let mut header = [0_u8; 1024];
        header[..13].copy_from_slice(b"manifest.json");
        header[100..108].copy_from_slice(b"0000644\0");
        header[124..136].copy_from_slice(b"10000000000\0");
        header[156] = b'0';
        header[148..156].copy_from_slice(b"        ");
        let sum: u32 = header[..512].iter().map(|b| u32::from(*b)).sum();
        header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        header.to_vec()
    };
    for (what, archive, reason) in [
        ("a layer that is another", archive(&good, &config(&[Digest::of(b"x")])), "should be"),
        ("fewer diff ids than layers", archive(&good, &config(&[])), "diff ids"),
        ("a name that is none", archive(&list("../../x", "l.tar"), &config(&[id])), "invalid image reference"),
        ("a layer outside", archive(&list("a:1", "../../../etc/passwd"), &config(&[id])), "is missing"),
        ("a document that is endless", huge, "larger than"),
        ("a blob that has another digest", wrong_index(b"delivered"), "should be"),
        ("no list of images", docker_archive(&json!({}), &[], &[]), "neither"),
        ("no archive", b"hello".to_vec(), "archive"),
        ("a list that is none", archive("[{]", &json!({})), "manifest.json"),
    ] {
        let (bench, output) = load(&archive);
        let error = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{what}: {error}");
        assert!(error.contains(reason), "{what}: {error}");
        assert_eq!(bench.ok(&["images", "-q"]), "", "{what}");
        assert_eq!(std::fs::read_dir(bench.path("store/tmp")).unwrap().count(), 0, "{what}");
    }
}

#[test]
fn the_layout_is_read_by_skopeo() {
    if Command::new("skopeo").arg("--version").output().is_err() {
        eprintln!("skipped the_layout_is_read_by_skopeo: there is no `skopeo`");
        return;
    }
    let bench = Bench::new();
    bench.build("app:1");
    bench.ok(&["save", "app:1", "--format", "docker-dir", "-o", "dir"]);
    bench.ok(&["save", "app:1", "-o", "docker.tar"]);
    let layers = bench.inspect("app:1")["RootFS"]["Layers"].clone();
    for (source, is_compressed) in [
        (format!("oci:{}:docker.io/library/app:1", bench.path("store/oci").display()), false),
        (format!("dir:{}", bench.path("dir").display()), true),
        (format!("docker-archive:{}:app:1", bench.path("docker.tar").display()), false),
    ] {
        let output = Command::new("skopeo").args(["inspect", &source]).output().unwrap();
        assert!(output.status.success(), "{source}: {}", String::from_utf8_lossy(&output.stderr));
        let image: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(image["Labels"]["l"], "v");
        assert_eq!(image["Layers"] != layers, is_compressed, "{source}");
    }
}

/// A registry of the distribution project on a free port; ended when dropped.
struct Registry {
    child: Child,
    port: u16,
    _dir: tempfile::TempDir,
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn registry(test: &str) -> Option<Registry> {
    let program = ["docker-registry", "registry"].into_iter().find(|name| {
        std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()).any(|dir| dir.join(name).is_file())
    });
    let Some(program) = program else {
        eprintln!("skipped {test}: there is no `docker-registry`");
        return None;
    };
    let dir = tempfile::tempdir().unwrap();
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let config = dir.path().join("config.yml");
    let text = format!(
        "version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {}}}}}\nhttp: {{addr: '127.0.0.1:{port}'}}\n",
        dir.path().join("data").display()
    );
    std::fs::write(&config, text).unwrap();
    let child = Command::new(program).arg("serve").arg(&config).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
    let registry = Registry { child: child.unwrap(), port, _dir: dir };
    let started = Instant::now();
    while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(started.elapsed() < Duration::from_secs(20), "the registry does not start");
        std::thread::sleep(Duration::from_millis(20));
    }
    Some(registry)
}

#[test]
fn an_image_is_pushed_and_pulled() {
    let Some(registry) = registry("an_image_is_pushed_and_pulled") else { return };
    let (here, there) = (Bench::new(), Bench::new());
    let id = here.build("app:1");
    let name = format!("localhost:{}/team/app:1", registry.port);
    let digest = here.ok(&["push", "-q", "app:1", &name]);
    assert_eq!(here.ok(&["push", "-q", "app:1", &name]), digest, "compression gives the same bytes");
    let pulled = there.ok(&["pull", &name]);
    assert_eq!(pulled, format!("Digest: {digest}Status: Downloaded newer image for {name}\n{name}\n"));
    assert!(there.ok(&["pull", &name]).contains("Status: Image is up to date"));
    assert_eq!(there.inspect(&name)["Id"], json!(id));
    assert_eq!(there.inspect(&name)["Layers"][0]["MediaType"], "application/vnd.oci.image.layer.v1.tar+gzip");
    there.sound();
    // By its digest, and into another repository of the registry.
    let by_digest = format!("localhost:{}/team/app@{}", registry.port, digest.trim());
    assert_eq!(there.ok(&["pull", "-q", &by_digest]), digest);
    let other = format!("localhost:{}/other:2", registry.port);
    assert_eq!(there.ok(&["push", "-q", &name, &other]), digest);
    // A blob that is gone comes again from where it was.
    let layer = there.inspect(&name)["Layers"][0]["Digest"].as_str().unwrap().replace("sha256:", "");
    std::fs::remove_file(there.path("store/oci/blobs/sha256").join(layer)).unwrap();
    there.ok(&["save", &name, "-o", "saved.tar"]);
    there.sound();
    drop(registry);
    assert_eq!(there.fails(&["push", &name]).0, 4);
}

#[test]
fn all_platforms_of_an_image_are_pushed() {
    let Some(registry) = registry("all_platforms_of_an_image_are_pushed") else { return };
    let bench = Bench::new();
    let manifests: Vec<Value> = ["amd64", "arm64"]
        .into_iter()
        .map(|architecture| {
            bench.ok(&["build", "-q", "--platform", &format!("linux/{architecture}"), "-t", "one:1", "context"]);
            bench.ok(&["save", "one:1", "--format", "oci-dir", "-o", "layout"]);
            let mut descriptor = bench.inspect("one:1")["Descriptor"].clone();
            let index: Value =
                serde_json::from_slice(&std::fs::read(bench.path("layout/index.json")).unwrap()).unwrap();
            descriptor["digest"] = index["manifests"][0]["digest"].clone();
            descriptor["size"] = index["manifests"][0]["size"].clone();
            descriptor["platform"] = json!({"os": "linux", "architecture": architecture});
            descriptor
        })
        .collect();
    let media_type = "application/vnd.oci.image.index.v1+json";
    let index = json!({"schemaVersion": 2, "mediaType": media_type, "manifests": manifests}).to_string();
    let digest = Digest::of(index.as_bytes());
    std::fs::write(bench.path("layout/blobs/sha256").join(digest.hex()), &index).unwrap();
    let top = json!({"mediaType": media_type, "digest": digest, "size": index.len(),
        "annotations": {"org.opencontainers.image.ref.name": "app:1"}});
    let top = json!({"schemaVersion": 2, "manifests": [top]}).to_string();
    std::fs::write(bench.path("layout/index.json"), top).unwrap();
    assert_eq!(bench.ok(&["load", "-i", "layout"]), "Loaded image: app:1\n");
    assert_eq!(bench.inspect("app:1")["Id"], json!(digest));
    assert_eq!(bench.inspect("app:1")["Platforms"], json!(["linux/amd64", "linux/arm64"]));
    let name = format!("localhost:{}/app:1", registry.port);
    bench.ok(&["push", "app:1", &name]);
    let there = Bench::new();
    for platform in ["linux/arm64", "linux/amd64"] {
        there.ok(&["pull", "--platform", platform, &name]);
        assert_eq!(json!(platform.strip_prefix("linux/").unwrap()), there.inspect(&name)["Architecture"]);
    }
    // What was pulled for another platform is no base for this one.
    let host = cooper::image::Platform::host();
    let other = if host.architecture == "arm64" { "linux/amd64" } else { "linux/arm64" };
    there.ok(&["pull", "--platform", other, &name]);
    std::fs::write(there.path("context/Dockerfile"), format!("FROM {name}\nCOPY f /g\n")).unwrap();
    there.build("above:1");
    assert_eq!(there.inspect("above:1")["Architecture"], json!(host.architecture));
}

#[test]
fn builds_and_prunes_do_not_disturb_each_other() {
    let bench = Bench::new();
    bench.build("kept:1");
    let mut builds = Vec::new();
    for n in 0..6 {
        let context = bench.path(&format!("context-{n}"));
        std::fs::create_dir(&context).unwrap();
        std::fs::write(context.join("f"), format!("{n}")).unwrap();
        let lines: String = (0..8).map(|line| format!("COPY f /f{line}\n")).collect();
        std::fs::write(context.join("Dockerfile"), format!("FROM kept:1\n{lines}")).unwrap();
        let name = format!("app:{n}");
        let args = ["build", "-t", &name, context.to_str().unwrap()];
        builds.push(bench.command(&args).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap());
        bench.ok(&["prune", "-a", "-f"]);
    }
    while builds.iter_mut().any(|build| build.try_wait().unwrap().is_none()) {
        bench.ok(&["prune", "-a", "-f"]);
    }
    for build in builds {
        let output = build.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    bench.ok(&["prune", "-a", "-f"]);
    assert_eq!(bench.ok(&["images", "-q"]).lines().count(), 7);
    bench.sound();
    // After a prune of everything images are still whole.
    for n in 0..6 {
        bench.ok(&["save", &format!("app:{n}"), "-o", "saved.tar"]);
    }
}

#[test]
fn a_damaged_store_is_told() {
    let bench = Bench::new();
    let id = bench.build("app:1");
    std::fs::write(bench.path("store/oci/blobs/sha256").join(&id[7..]), "x").unwrap();
    let output = bench.run(&["store", "check"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stdout).contains(&id[7..]));
    // It can still be listed and removed.
    assert_eq!(bench.ok(&["images", "--format", "{{.Repository}}"]), "app\n");
    bench.ok(&["rmi", "app:1"]);
}

#[test]
fn use_is_measured() {
    let bench = Bench::new();
    bench.build("app:1");
    let parts = bench.ok(&["du", "--format", "{{.Type}} {{.TotalCount}} {{.Active}}"]);
    assert!(parts.starts_with("images 3 3\nlayers 1 0\ncache mounts 0 0\n"), "{parts}");
    let layers = bench.ok(&["du", "-v", "--format", "json"]);
    let layer: Value = serde_json::from_str(&layers).unwrap();
    assert_eq!((&layer["Type"], &layer["InUse"]), (&json!("layers"), &json!(false)));
    let dry = bench.ok(&["prune", "--dry-run"]);
    assert!(dry.starts_with("layer ") && dry.contains("Reclaimable space"), "{dry}");
    assert_eq!(bench.ok(&["prune", "-f", "--filter", "until=1h"]), "Total reclaimed space: 0B\n");
    assert!(bench.ok(&["prune", "-f"]).starts_with("layer "));
    assert_eq!(bench.fails(&["prune", "--filter", "24h"]).0, 2);
}

#[test]
fn the_doctor_tells_of_this_machine() {
    let bench = Bench::new();
    let output = bench.run(&["doctor", "--format", "json"]);
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["rungs"].as_array().unwrap().len(), 6);
    let store = bench.path("store");
    assert_eq!(report["facts"]["store"], json!(store.to_str().unwrap()));
    let part = |name: &str| report["parts"].as_array().unwrap().iter().find(|part| part["name"] == name).cloned();
    for name in [
        "mounts as root",
        "user namespaces",
        "subordinate ids",
        "a new /proc",
        "chroot",
        "chown",
        "control groups",
        "tracing",
    ] {
        let part = part(name).unwrap_or_else(|| panic!("{name} is not reported"));
        assert!(part["allowed"] == true || !part["reason"].as_str().unwrap().is_empty(), "{part}");
    }
    assert!(matches!(output.status.code(), Some(0 | 3)), "{output:?}");
    assert!(Path::new(&store).exists());
}
