//! What comes out, read back with cooper's reader and with other tools.
#![allow(clippy::unwrap_used)]

use builder_tests::{Bench, Image, Registry, need, read_tar};
use cooper::image::Digest;
use rstest::rstest;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const DOCKERFILE: &str = "FROM base\nCOPY a /srv/a\nRUN echo made > /made\nENV K=v\nCMD [\"/bin/sh\"]\n";

fn bench() -> Option<Bench> {
    need(["busybox"]).then(|| Bench::new().base().file("Dockerfile", DOCKERFILE).file("a", "hi"))
}

fn spec(kind: &str, path: &Path) -> String {
    format!("{kind},dest={}", path.display())
}

/// Runs another tool; returns what it prints.
#[track_caller]
fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?}: {error}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn extract(tar: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    run("tar", &["-xf", tar.to_str().unwrap(), "-C", to.to_str().unwrap()]);
}

#[test]
fn layout_and_tar_hold_the_same_image() {
    let Some(bench) = bench() else { return };
    let (directory, tar) = (bench.out("layout"), bench.out("image.tar"));
    let outputs = [spec("type=oci,tar=false", &directory), spec("type=oci", &tar)];
    bench.build(["-t", "app:1", "-o", "type=image", "-o", &outputs[0], "-o", &outputs[1]]).success();
    extract(&tar, &bench.out("unpacked"));
    let [one, other] = [Image::only(&directory), Image::only(&bench.out("unpacked"))];
    assert_eq!(one.digest, other.digest);
    // The store may keep layers in another form; they are the same layers.
    assert_eq!(one.manifest.config, bench.image("app:1").manifest.config);
}

#[rstest]
#[case("gzip", "application/vnd.oci.image.layer.v1.tar+gzip")]
#[case("zstd", "application/vnd.oci.image.layer.v1.tar+zstd")]
#[case("uncompressed", "application/vnd.oci.image.layer.v1.tar")]
fn layers_are_compressed_as_asked(#[case] compression: &str, #[case] media_type: &str) {
    let Some(bench) = bench() else { return };
    let layout = bench.out("layout");
    let output = format!("{},compression={compression},force-compression=true", spec("type=oci,tar=false", &layout));
    bench.build(["-o", &output]).success();
    let image = Image::only(&layout);
    let types: Vec<&str> = image.manifest.layers.iter().map(|layer| &*layer.media_type).collect();
    assert_eq!(types, [media_type; 3]);
    assert_eq!(image.text("srv/a"), "hi");
}

#[rstest]
#[case("gzip")]
#[case("zstd")]
fn the_bytes_of_layers_do_not_depend_on_the_number_of_threads(#[case] compression: &str) {
    let content: Vec<u8> = (0..6_000_000u32).map(|i| (i.wrapping_mul(2_654_435_761) >> (i % 29)) as u8).collect();
    let blobs = ["1", "7"].map(|threads| {
        let bench = Bench::new().env("RAYON_NUM_THREADS", threads).env("SOURCE_DATE_EPOCH", "1");
        let bench = bench.file("Dockerfile", "FROM scratch\nCOPY a /a\n").file("a", &content);
        let layout = bench.out("layout");
        let output = spec("type=oci,tar=false,rewrite-timestamp=true", &layout);
        bench.build(["-j", threads, "-o", &format!("{output},compression={compression}")]).success();
        Image::only(&layout).manifest.layers[0].digest
    });
    assert_eq!(blobs[0], blobs[1]);
}

#[test]
fn a_tree_is_written_as_directory_and_as_tar() {
    let bench = Bench::new().file("Dockerfile", "FROM scratch\nCOPY a /srv/a\nCOPY d /d\n");
    let bench = bench.file("a", "hi").file("d/e", "x").symlink("d/l", "e");
    bench.chmod("a", 0o755).chmod("d/e", 0o644);
    let (directory, tar) = (bench.out("tree"), bench.out("tree.tar"));
    bench.build(["-o", &directory.display().to_string(), "-o", &spec("type=tar", &tar)]).success();
    let mut paths: Vec<PathBuf> =
        read_tar(fs::File::open(&tar).unwrap()).into_iter().map(|(entry, _)| entry.path).collect();
    paths.sort();
    assert_eq!(paths, ["d", "d/e", "d/l", "srv", "srv/a"].map(PathBuf::from));
    assert_eq!(fs::read_to_string(directory.join("srv/a")).unwrap(), "hi");
    assert_eq!(fs::read_link(directory.join("d/l")).unwrap(), Path::new("e"));
    let piped = bench.build_command(["-o", "-"]).arg(bench.context()).output().unwrap();
    assert_eq!(read_tar(&piped.stdout[..]).len(), 5);
}

#[test]
fn the_files_for_scripts_agree() {
    let Some(bench) = bench() else { return };
    let (id, metadata) = (bench.out("id"), bench.out("metadata.json"));
    let files = ["--iidfile", id.to_str().unwrap(), "--metadata-file", metadata.to_str().unwrap()];
    let quiet = bench.build(["-q", "-t", "app:1"].into_iter().chain(files));
    let image = bench.image("app:1");
    let config = image.manifest.config.digest.to_string();
    assert_eq!(quiet.success().stdout, format!("{config}\n"), "the id, as buildx and docker print it");
    assert_eq!(quiet.stderr, "");
    assert_eq!(fs::read_to_string(&id).unwrap(), config);
    let metadata: serde_json::Value = serde_json::from_slice(&fs::read(&metadata).unwrap()).unwrap();
    assert_eq!(metadata["containerimage.digest"], image.digest.to_string());
    assert_eq!(metadata["containerimage.config.digest"], config);
}

#[test]
fn an_image_goes_to_a_registry_and_back() {
    let Some(bench) = bench() else { return };
    if !need(["docker-registry", "skopeo"]) {
        return;
    }
    let registry = Registry::start(&bench.path("registry"));
    let name = format!("{}/team/app:1", registry.host);
    fs::write(
        bench.path("registries.conf"),
        format!("[[registry]]\nlocation = \"{}\"\ninsecure = true\n", registry.host),
    )
    .unwrap();
    bench.build(["-t", &name, "--push"]).success();
    let copy = bench.out("copy");
    let destination = format!("oci:{}:back", copy.display());
    run(
        "skopeo",
        &[
            "--insecure-policy",
            "copy",
            "-q",
            "--preserve-digests",
            "--src-tls-verify=false",
            &format!("docker://{name}"),
            &destination,
        ],
    );
    let pushed = Image::named(&copy, "back");
    assert_eq!((pushed.text("made"), pushed.text("srv/a")), ("made\n".into(), "hi".into()));

    // It is a base image like any other, and pushing it again uploads nothing new.
    bench.write("Dockerfile", format!("FROM {name}\nRUN cat /made > /again\n"));
    bench.build(["-t", "app:2"]).success();
    assert_eq!(bench.image("app:2").text("again"), "made\n");
    let digest = format!("{}/team/app@{}", registry.host, pushed.digest);
    bench.write("Dockerfile", format!("FROM {digest}\n")).build(["-t", "app:3"]).success();
    assert_eq!(bench.image("app:3").manifest.layers, pushed.manifest.layers);
}

#[test]
fn umoci_unpacks_it() {
    let Some(bench) = bench() else { return };
    if !need(["root", "umoci"]) {
        return;
    }
    bench.build(["-t", "app:1"]).success();
    let layout = bench.out("layout");
    bench.build(["-t", "app:1", "-o", &spec("type=oci,tar=false", &layout)]).success();
    let index: serde_json::Value = serde_json::from_slice(&fs::read(layout.join("index.json")).unwrap()).unwrap();
    let tag = index["manifests"][0]["annotations"]["org.opencontainers.image.ref.name"].as_str().unwrap().to_owned();
    let bundle = bench.out("bundle");
    run("umoci", &["unpack", "--image", &format!("{}:{tag}", layout.display()), bundle.to_str().unwrap()]);
    assert_eq!(fs::read_to_string(bundle.join("rootfs/made")).unwrap(), "made\n");
    assert!(bundle.join("rootfs/bin/busybox").exists());
}

#[test]
fn podman_loads_the_docker_archive() {
    let Some(bench) = bench() else { return };
    if !need(["root", "podman"]) {
        return;
    }
    let tar = bench.out("docker.tar");
    bench.build(["-t", "app:1", "-o", &spec("type=docker", &tar)]).success();
    let (root, runroot) = (bench.path("podman"), bench.path("podman-run"));
    let place = ["--root", root.to_str().unwrap(), "--runroot", runroot.to_str().unwrap(), "--storage-driver", "vfs"];
    let podman = |arguments: &[&str]| run("podman", &[&place[..], arguments].concat());
    podman(&["load", "-q", "-i", tar.to_str().unwrap()]);
    let environment = podman(&["image", "inspect", "--format", "{{.Config.Env}}", "docker.io/library/app:1"]);
    assert_eq!(environment, "[PATH=/usr/bin:/bin K=v]\n");
}

#[test]
fn skopeo_reads_the_store_itself() {
    let Some(bench) = bench() else { return };
    if !need(["skopeo"]) {
        return;
    }
    bench.build(["-t", "app:1"]).success();
    let source = format!("oci:{}:docker.io/library/app:1", bench.store().join("oci").display());
    let config = run("skopeo", &["inspect", "--config", "--raw", &source]);
    assert_eq!(Digest::of(config.as_bytes()), bench.image("app:1").manifest.config.digest);
}

#[rstest]
#[case("type=oci,tar=false")]
#[case("type=oci,tar=false,compression=zstd,force-compression=true")]
fn the_same_source_gives_the_same_digest_anywhere(#[case] kind: &str) {
    if !need(["busybox"]) {
        return;
    }
    let digests = [0, 1].map(|_| {
        let bench = Bench::new().base().env("SOURCE_DATE_EPOCH", "1700000000");
        let bench = bench.file("Dockerfile", DOCKERFILE).file("a", "hi");
        bench.chmod("a", 0o644).touch_all();
        let layout = bench.out("layout");
        bench.build(["-o", &format!("{},rewrite-timestamp=true", spec(kind, &layout))]).success();
        let image = Image::only(&layout);
        assert_eq!(image.config.created.as_deref(), Some("2023-11-14T22:13:20Z"));
        image.digest
    });
    assert_eq!(digests[0], digests[1]);
}

#[test]
fn a_rebuilt_unpacked_image_has_the_same_layer() {
    let dockerfile = "FROM scratch\nCOPY . /\n";
    let bench = Bench::new()
        .env("SOURCE_DATE_EPOCH", "5")
        .file("Dockerfile", dockerfile)
        .file(".dockerignore", "Dockerfile\n.dockerignore\n");
    let bench = bench.file("a", "1").file("d/b", "2").symlink("d/l", "../a");
    let build = |bench: &Bench, context: &Path, name: &str| {
        let layout = bench.out(name);
        let output = spec("type=oci,tar=false,rewrite-timestamp=true", &layout);
        let file = bench.context().join("Dockerfile");
        bench
            .build_bare(["-f".as_ref(), file.as_os_str(), "-o".as_ref(), output.as_ref(), context.as_os_str()])
            .success();
        Image::only(&layout).config.rootfs.diff_ids
    };
    let first = build(&bench, &bench.context(), "one");
    let tree = bench.out("tree");
    bench.build(["-o", tree.to_str().unwrap()]).success();
    assert_eq!(build(&bench, &tree, "two"), first);
}
