//! A program that looks at users and owners from all sides, on the rungs where they are real and where they are played.
#![allow(clippy::unwrap_used)]

use builder_tests::{Bench, Who, need};
use std::process::Command;

#[test]
fn users_and_owners_are_the_same_for_programs_whether_real_or_played() {
    if !need(["root", "busybox", "cc"]) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let program = directory.path().join("emulated");
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/emulated.c");
    let compiled =
        Command::new("cc").args(["-static", "-pthread", "-O1", "-w", "-o"]).arg(&program).arg(source).status();
    assert!(compiled.unwrap().success());
    let program = std::fs::read(program).unwrap();
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
