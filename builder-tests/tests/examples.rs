//! Every directory of `examples/` is built, each as its README says.
#![allow(clippy::unwrap_used)]

use builder_tests::{Bench, Image, Outcome, Who, cooper_binary, need, tar_of};
use cooper::layer::{Entry, Kind};
use rstest::rstest;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

fn example(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples").join(name)
}

/// Returns a bench whose context is a copy of the example, and whose base image is called `base`.
fn bench(who: Who, name: &str) -> Option<Bench> {
    if !need(["busybox"]) || !who.is_here() {
        return None;
    }
    let bench = Bench::new().base().by(who);
    fs::remove_dir(bench.context()).unwrap();
    assert!(Command::new("cp").arg("-r").arg(example(name)).arg(bench.context()).status().unwrap().success());
    Some(bench)
}

fn build(bench: &Bench) -> Outcome {
    bench.build(["-t", "app:1", "--build-arg", "BASE=base"])
}

#[test]
fn all_examples_are_known_here() {
    let mut names: Vec<String> = fs::read_dir(example("."))
        .unwrap()
        .flatten()
        .filter(|item| item.path().join("Dockerfile").exists())
        .map(|item| item.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    assert_eq!(names, ["cache", "heredoc", "multistage", "secrets", "self", "site"]);
}

#[rstest]
fn own_binary(#[values(Who::Caller, Who::Ordinary)] who: Who) {
    let Some(bench) = bench(who, "self") else { return };
    fs::copy(cooper_binary(), bench.context().join("cooper")).unwrap();
    let built = build(&bench);
    let output = built.success().output_of("RUN [\"/bin/cooper\", \"--version\"]");
    assert_eq!(
        output,
        format!("cooper {}\n", env!("CARGO_PKG_VERSION")),
        "the binary is static: nothing else is there"
    );
    let config = bench.image("app:1").config.config;
    assert_eq!((config.entrypoint, config.cmd), (Some(vec!["/bin/cooper".into()]), Some(vec!["--help".into()])));
    assert_eq!(build(&bench).success().steps().iter().filter(|step| step.starts_with("RAN")).count(), 0);
}

#[rstest]
fn site(#[values(Who::Caller, Who::Ordinary)] who: Who) {
    let Some(bench) = bench(who, "site") else { return };
    build(&bench).success();
    let image = bench.image("app:1");
    let files: Vec<PathBuf> = image.files().into_keys().filter(|path| path.starts_with("srv/www")).collect();
    assert_eq!(files, ["srv/www", "srv/www/css", "srv/www/css/site.css", "srv/www/index.html"].map(PathBuf::from));
    assert_eq!(image.config.config.user, "1000:1000");
}

#[rstest]
fn cache(#[values(Who::Caller, Who::Ordinary)] who: Who) {
    let Some(bench) = bench(who, "cache") else { return };
    build(&bench).success().says("counting");
    assert_eq!(bench.image("app:1").text("count"), "5\n");
    bench.build(["-t", "app:1", "--build-arg", "BASE=base", "--no-cache"]).success().silent_about(" counting");
    assert_eq!(bench.image("app:1").text("count"), "5\n");
}

#[rstest]
fn secrets(#[values(Who::Caller, Who::Ordinary)] who: Who) {
    let Some(bench) = bench(who, "secrets") else { return };
    let bench = bench.env("TOKEN", "hunter2-hunter2");
    build(&bench).exits(2).says("--secret id=token");
    bench.build(["-t", "app:1", "--build-arg", "BASE=base", "--secret", "id=token,env=TOKEN"]).success();
    let fingerprint = &cooper::image::Digest::of(b"hunter2-hunter2").hex()[..8];
    assert_eq!(bench.image("app:1").text("token-fingerprint"), format!("{fingerprint}\n"));
    assert_eq!(bench.files_with("hunter2-hunter2"), Vec::<PathBuf>::new());
}

#[rstest]
fn heredoc(#[values(Who::Caller, Who::Ordinary)] who: Who) {
    let Some(bench) = bench(who, "heredoc") else { return };
    bench.build(["-t", "app:1", "--build-arg", "BASE=base", "--build-arg", "NAME=tests"]).success();
    assert_eq!(bench.image("app:1").text("greeted"), "Hello, tests\n");
}

/// Adds a stand-in for a compiler to the base image: it makes a script of what the program prints.
fn write_compiler(context: &Path) {
    let compiler = "#!/bin/sh\nwhile test \"$1\" != -o; do shift; done\n\
                    { echo '#!/bin/sh'; sed -n 's/.*puts(\\(\".*\"\\)).*/echo \\1/p' \"$3\"; } > \"$2\" && chmod 755 \"$2\"\n";
    let size_bytes = compiler.len() as u64;
    let entry = Entry::new("bin/cc", Kind::File { size_bytes }, 0o755);
    fs::write(context.join("cc.tar"), tar_of(&[(entry, compiler.into())])).unwrap();
    fs::write(context.join("Dockerfile"), "FROM base\nADD cc.tar /\n").unwrap();
}

#[rstest]
fn multistage(#[values(Who::Caller, Who::Ordinary)] who: Who) {
    let Some(bench) = bench(who, "multistage") else { return };
    let toolchain = bench.path("toolchain");
    fs::create_dir(&toolchain).unwrap();
    fs::set_permissions(&toolchain, fs::Permissions::from_mode(0o755)).unwrap();
    write_compiler(&toolchain);
    let layout = bench.out("gcc");
    let base = format!("base=oci-layout://{}", bench.path("base").display());
    let output = format!("type=oci,tar=false,dest={}", layout.display());
    let toolchain = toolchain.to_str().unwrap();
    bench.build_bare(["--build-context", &base, "-o", &output, toolchain]).success();
    assert_eq!(Image::only(&layout).layers.len(), 2);
    let gcc = format!("gcc=oci-layout://{}", layout.display());
    bench.build(["-t", "app:1", "--build-context", &gcc, "--build-arg", "BASE=gcc"]).success();
    let image = bench.image("app:1");
    assert_eq!(image.text("hello"), "#!/bin/sh\necho \"Hello from scratch\"\n");
    assert_eq!(image.files().len(), 2, "nothing but the program and the mark: {}", image.listing(0));
}
