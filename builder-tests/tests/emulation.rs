//! A program that looks at users and owners from all sides, on the rungs where they are real and where they are played.
#![allow(clippy::unwrap_used)]

use builder_tests::{Bench, Outcome, Who, need};
use std::path::Path;
use std::process::Command;

#[test]
fn users_and_owners_are_the_same_for_programs_whether_real_or_played() {
    if !need(["root", "busybox", "cc"]) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    compile(&directory.path().join("emulated"));
    let program = std::fs::read(directory.path().join("emulated")).unwrap();
    for (isolation, who) in [("root", Who::Caller), ("single-id", Who::Caller), ("single-id", Who::Ordinary)] {
        if !who.is_here() {
            continue;
        }
        let bench = Bench::new().base().by(who).file("emulated", &program);
        let bench = bench.file("Dockerfile", "FROM base\nCOPY --chmod=755 emulated /\nRUN /emulated\n");
        let built = bench.build(["--isolation", isolation, "-t", "emulated"]);
        assert!(built.code == 0, "`{isolation}` by {who:?}\n{}", built.output_of("RUN /emulated"));
    }
}

#[test]
fn where_calls_cannot_be_answered_changes_of_owners_and_users_succeed_and_do_nothing() {
    if !need(["root", "busybox", "cc"]) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let listener = directory.path().join("listener");
    compile(&listener);
    let script = "FROM base\nRUN touch /f && chown 1000:7 /f && chgrp -R 8 /etc && busybox su app -c 'touch /g' && stat -c %u:%g /f\n";
    let bench = Bench::new().base().file("Dockerfile", script);
    let build = bench.build_command(["--isolation", "single-id", "-t", "app"]);
    let mut below = Command::new(listener);
    below.arg(build.get_program()).args(build.get_args()).arg(bench.context());
    below.envs(build.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let built = Outcome::of(below.output().unwrap());
    built.success().says("0:0").says("what this step made belongs to root");
    let files = bench.image("app:latest").files();
    let owner = |path: &str| (files[Path::new(path)].entry.uid, files[Path::new(path)].entry.gid);
    assert_eq!([owner("f"), owner("g"), owner("etc")], [(0, 0); 3]);
}

/// Compiles the program of this name in `data/`.
fn compile(program: &Path) {
    let name = Path::new(program.file_name().unwrap()).with_extension("c");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name);
    let compiled =
        Command::new("cc").args(["-static", "-pthread", "-O1", "-w", "-o"]).arg(program).arg(source).status();
    assert!(compiled.unwrap().success());
}
