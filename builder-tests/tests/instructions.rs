//! What each instruction does to an image, as root and as an ordinary user.
#![allow(clippy::unwrap_used)]

use builder_tests::{Bench, Who, need};
use rstest::rstest;
use std::path::Path;

/// Returns a bench with a base image, if the machine can run steps as this user.
fn bench(who: Who, dockerfile: &str) -> Option<Bench> {
    (need(["busybox"]) && who.is_here()).then(|| Bench::new().base().by(who).file("Dockerfile", dockerfile))
}

#[rstest]
fn a_user_is_who_the_test_says(#[values(Who::Caller, Who::Ordinary)] who: Who) {
    let dockerfile = "FROM base\nRUN id -u > /id && cat /proc/self/uid_map | tr -s ' ' > /map\n";
    let Some(bench) = bench(who, dockerfile) else { return };
    bench.build(["-t", "app:1"]).success();
    let image = bench.image("app:1");
    assert_eq!(image.text("id"), "0\n");
    let first: Vec<String> = image.text("map").split_whitespace().map(str::to_owned).collect();
    assert_eq!(first[1], who.uid().to_string(), "root of the step is the user who builds");
    if who == Who::Ordinary {
        assert_ne!(who.uid(), 0);
    }
}

#[rstest]
fn run_changes_files_and_only_what_it_touched_is_in_the_layer(#[values(Who::Caller, Who::Ordinary)] who: Who) {
    let dockerfile = "FROM base\nRUN echo hi > /etc/motd && rm /etc/group && mkdir -p /a/b && ln -s b /a/c\n";
    let Some(bench) = bench(who, dockerfile) else { return };
    bench.build(["-t", "app:1"]).success();
    let expected = "d 0755 0:0 a\nd 0755 0:0 a/b\nl 0777 0:0 a/c -> b\nd 0755 0:0 etc\nf 0000 0:0 etc/.wh.group \"\"\n\
                    f 0644 0:0 etc/motd \"hi\\n\"\n";
    assert_eq!(bench.image("app:1").listing(1), expected);
}

#[rstest]
fn copies_as_docker_does(#[values(Who::Caller, Who::Ordinary)] who: Who) {
    let dockerfile = "FROM base\nCOPY a /srv/\nCOPY --chown=app:video --chmod=0750 a /b\nCOPY --chown=7:8 d /d\n";
    let Some(bench) = bench(who, dockerfile) else { return };
    let bench = bench.file("a", "hi").file("d/e", "x").symlink("d/l", "e");
    bench.chmod("a", 0o644).chmod("d/e", 0o600).chmod("d", 0o755);
    bench.build(["-t", "app:1"]).success();
    let expected = "d 0755 0:0 srv\nf 0644 0:0 srv/a \"hi\"\n--\nf 0750 1000:44 b \"hi\"\n--\n\
                    d 0755 7:8 d\nf 0600 7:8 d/e \"x\"\nl 0777 7:8 d/l -> e\n";
    assert_eq!(bench.image("app:1").listing(1), expected);
}

#[rstest]
fn user_workdir_and_env_hold_for_run(#[values(Who::Caller, Who::Ordinary)] who: Who) {
    let dockerfile = "FROM base\nENV GREETING='hello world'\nWORKDIR /w\nWORKDIR x\nRUN chown app /w/x\nUSER app\n\
                      RUN echo \"$(id -un):$(id -gn) $(pwd) $GREETING\" > out\n";
    let Some(bench) = bench(who, dockerfile) else { return };
    bench.build(["-t", "app:1"]).success();
    let image = bench.image("app:1");
    assert_eq!(image.text("w/x/out"), "app:app /w/x hello world\n");
    let out = &image.files()[Path::new("w/x/out")].entry;
    assert_eq!((out.uid, out.gid), (1000, 1001));
}

#[test]
fn metadata_instructions_fill_the_configuration() {
    let dockerfile = "FROM scratch\nARG V=2\nLABEL a=b v=$V\nENV K=\"x y\"\nEXPOSE 80 53/udp\nVOLUME /data\nUSER 5:6\n\
                      WORKDIR /w\nSTOPSIGNAL SIGINT\nHEALTHCHECK --interval=5s CMD [\"/ok\"]\nENTRYPOINT [\"/e\"]\nCMD a b\n\
                      SHELL [\"/s\", \"-c\"]\nONBUILD COPY . /\n";
    let bench = Bench::new().file("Dockerfile", dockerfile);
    bench.build(["-t", "app:1"]).success();
    let config = serde_json::to_value(&bench.image("app:1").config.config).unwrap();
    let expected = serde_json::json!({
        "User": "5:6",
        "ExposedPorts": {"53/udp": {}, "80/tcp": {}},
        "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "K=x y"],
        "Entrypoint": ["/e"],
        "Cmd": ["/bin/sh", "-c", "a b"],
        "ArgsEscaped": true,
        "Healthcheck": {"Test": ["CMD", "/ok"], "Interval": 5_000_000_000u64},
        "Volumes": {"/data": {}},
        "WorkingDir": "/w",
        "Labels": {"a": "b", "v": "2"},
        "OnBuild": ["COPY . /"],
        "StopSignal": "SIGINT",
        "Shell": ["/s", "-c"],
    });
    assert_eq!(config, expected);
}

#[rstest]
fn add_unpacks_archives_and_copy_does_not(#[values(Who::Caller, Who::Ordinary)] who: Who) {
    use cooper::layer::{Entry, Kind};
    let dockerfile = "FROM base\nADD a.tar /added/\nCOPY a.tar /copied/\n";
    let Some(bench) = bench(who, dockerfile) else { return };
    let tar = builder_tests::tar_of(&[(Entry::new("in/side", Kind::File { size_bytes: 2 }, 0o640), b"ok".to_vec())]);
    let bench = bench.file("a.tar", &tar);
    bench.build(["-t", "app:1"]).success();
    let image = bench.image("app:1");
    let side = &image.files()[Path::new("added/in/side")];
    assert_eq!((side.entry.mode, &side.content[..]), (0o640, &b"ok"[..]));
    assert_eq!(image.files()[Path::new("copied/a.tar")].content, tar);
}

#[rstest]
fn heredocs_are_scripts_and_files(#[values(Who::Caller, Who::Ordinary)] who: Who) {
    let dockerfile = "FROM base\nARG WHO=you\nRUN <<EOF\necho one > /one\necho $WHO > /two\nEOF\n\
                      COPY <<-\"RAW\" <<COOKED /etc/app/\n\t$WHO raw\nRAW\n$WHO cooked\nCOOKED\n\
                      RUN <<X awk '{print $2}' > /three\na b\nX\n";
    let Some(bench) = bench(who, dockerfile) else { return };
    bench.build(["-t", "app:1", "--build-arg", "WHO=me"]).success();
    let image = bench.image("app:1");
    let texts = ["one", "two", "etc/app/RAW", "etc/app/COOKED", "three"].map(|path| image.text(path));
    assert_eq!(texts, ["one\n", "me\n", "$WHO raw\n", "me cooked\n", "b\n"]);
}

#[rstest]
fn stages_are_built_only_when_needed(#[values(Who::Caller, Who::Ordinary)] who: Who) {
    let dockerfile = "FROM base AS broken\nRUN false\nFROM base AS build\nRUN echo made > /made\n\
                      FROM scratch\nCOPY --from=build /made /m\n";
    let Some(bench) = bench(who, dockerfile) else { return };
    let built = bench.build(["-t", "app:1"]);
    assert_eq!(built.success().steps(), ["RAN COPY --from=build /made /m", "RAN RUN echo made > /made"]);
    assert_eq!(bench.image("app:1").listing(0), "f 0644 0:0 m \"made\\n\"\n");
    bench.build(["--target", "broken"]).exits(1).says("RUN false");
}

#[test]
fn named_contexts_replace_stages_and_images() {
    let bench = Bench::new().file("Dockerfile", "FROM scratch\nCOPY --from=other a /a\n").file("sub/a", "named");
    let context = format!("other={}", bench.context().join("sub").display());
    bench.build(["-t", "app:1", "--build-context", &context]).success();
    assert_eq!(bench.image("app:1").text("a"), "named");
}

#[rstest]
fn onbuild_runs_in_the_next_build(#[values(Who::Caller, Who::Ordinary)] who: Who) {
    let Some(bench) = bench(who, "FROM base\nONBUILD COPY a /a\nONBUILD RUN cat /a > /b\n") else { return };
    let bench = bench.file("a", "trigger");
    let layout = bench.out("parent");
    bench.build(["-o", &format!("type=oci,tar=false,dest={}", layout.display())]).success();
    bench.write("Dockerfile", "FROM parent\n");
    let parent = format!("parent=oci-layout://{}", layout.display());
    bench.build(["-t", "app:1", "--build-context", &parent]).success();
    let image = bench.image("app:1");
    assert_eq!(image.text("b"), "trigger");
    assert_eq!(image.config.config.on_build, Vec::<String>::new());
}

#[test]
fn dockerignore_keeps_files_out() {
    let bench = Bench::new().file("Dockerfile", "FROM scratch\nCOPY . /\n");
    let bench = bench.file(".dockerignore", "**/*.log\nnode_modules\n!keep.log\n.dockerignore\nDockerfile\n");
    for path in ["a", "x.log", "keep.log", "d/y.log", "node_modules/m"] {
        bench.write(path, path);
    }
    bench.build(["-t", "app:1"]).success();
    let files: Vec<_> = bench.image("app:1").files().into_keys().map(|path| path.display().to_string()).collect();
    assert_eq!(files, ["a", "d", "keep.log"]);
}

#[test]
fn what_dockerignore_hides_is_named_as_the_reason() {
    let bench = Bench::new().file("Dockerfile", "FROM scratch\nCOPY dist/a /a\n").file("dist/a", "x");
    bench.file(".dockerignore", "dist\n").build(["-t", "app:1"]).exits(2).says(".dockerignore").says("Dockerfile:2");
}

#[test]
fn parents_are_kept_of_something_below_the_start() {
    let bench = Bench::new().file("d/e/f", "f");
    for source in [".", "d/./", "/"] {
        bench.write("Dockerfile", format!("FROM scratch\nCOPY --parents {source} /out/\n"));
        bench.build(["-t", "app:1"]).exits(2).says("no parent directories that `--parents` could keep").says("./*");
    }
    bench.write("Dockerfile", "FROM scratch\nCOPY --parents d/./e /out/\n").build(["-t", "app:1"]).success();
    assert!(bench.image("app:1").has("out/e/f"));
}

#[test]
fn add_reads_an_archive_to_its_end_and_no_further() {
    let file = cooper::layer::Entry::new("one", cooper::layer::Kind::File { size_bytes: 3 }, 0o644);
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut encoder, &builder_tests::tar_of(&[(file, b"abc".to_vec())])).unwrap();
    let whole = encoder.finish().unwrap();
    let bench = Bench::new().file("Dockerfile", "FROM scratch\nADD a.gz /\n");
    for archive in [&whole[..whole.len() - 4], &[&whole[..], b"junk"].concat()] {
        bench.write("a.gz", archive).build(["-t", "app:1"]).success();
        assert_eq!(bench.image("app:1").text("one"), "abc");
    }
}

#[test]
fn a_trigger_that_will_fail_is_told_when_it_is_written() {
    let bench = Bench::new().file("Dockerfile", "FROM scratch\nONBUILD COPY nothing\n");
    bench.build(["-t", "app:1"]).success().says("fails the build of every image on top of this one");
    assert_eq!(bench.image("app:1").config.config.on_build, ["COPY nothing"]);
}
