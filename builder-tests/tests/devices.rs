//! `RUN --device`: devices of the machine by their CDI names.
#![allow(clippy::unwrap_used)]

use builder_tests::{Bench, Who, need};
use rstest::rstest;

const SPEC: &str = r#"
cdiVersion: "0.7.0"
kind: example.com/dev
containerEdits:
  env: ["VENDOR=example"]
devices:
- name: zero
  containerEdits:
    env: ["WHICH=zero"]
    deviceNodes:
    - {path: /dev/example/zero, hostPath: /dev/zero, fileMode: 0666}
    mounts:
    - {hostPath: HOST/library, containerPath: /opt/library, options: [ro, nosuid, rbind, rprivate]}
- name: other
  containerEdits:
    env: ["WHICH=other"]
- name: hooked
  containerEdits:
    hooks: [{hookName: createContainer, path: /usr/bin/vendor-hook, args: [vendor-hook, ldcache]}]
"#;

fn bench(who: Who, dockerfile: &str) -> Option<Bench> {
    if !need(["busybox"]) || !who.is_here() {
        return None;
    }
    let bench = Bench::new().base().by(who).file("Dockerfile", dockerfile);
    let directory = bench.path("cdi");
    std::fs::create_dir_all(directory.join("library")).unwrap();
    std::fs::write(directory.join("library/lib.so"), "code\n").unwrap();
    std::fs::write(directory.join("example.yaml"), SPEC.replace("HOST", directory.to_str().unwrap())).unwrap();
    Some(bench)
}

#[rstest]
fn a_step_has_the_nodes_files_and_variables_of_its_device(#[values(Who::Caller, Who::Ordinary)] who: Who) {
    let dockerfile = "FROM base\n\
        RUN --device=example.com/dev=zero,required test -c /dev/example/zero && head -c 3 /dev/example/zero | wc -c > /out \
        && cat /opt/library/lib.so >> /out && ! touch /opt/library/new && echo $VENDOR $WHICH >> /out\n\
        RUN test ! -e /dev/example && test ! -e /opt/library && test -z \"$WHICH\"\n";
    let Some(bench) = bench(who, dockerfile) else { return };
    let directory = bench.path("cdi");
    bench.build(["-t", "app:1", "--allow", "device", "--cdi-spec-dir", directory.to_str().unwrap()]).success();
    let image = bench.image("app:1");
    assert_eq!(image.text("out"), "3\ncode\nexample zero\n");
    assert!(!image.has("opt"), "what is mounted leaves no trace: {}", image.listing(1));
}

#[test]
fn a_device_is_granted_by_name_and_without_it_a_step_runs_only_if_it_can() {
    let Some(bench) = bench(Who::Caller, "FROM base\nRUN --device=example.com/dev=zero echo ${WHICH-none} > /out\n")
    else {
        return;
    };
    let directory = bench.path("cdi");
    let specs = ["--cdi-spec-dir", directory.to_str().unwrap()];
    bench.build(["-t", "app:1", specs[0], specs[1]]).exits(2).says("--allow device=example.com/dev=zero");
    bench.build(["-t", "app:1", specs[0], specs[1], "--allow", "device=example.com/dev=zero"]).success();
    assert_eq!(bench.image("app:1").text("out"), "zero\n");
    bench.build(["-t", "app:1", "--cdi-spec-dir", "/nowhere"]).success().says("the step runs without it");
    assert_eq!(bench.image("app:1").text("out"), "none\n");
    bench.write("Dockerfile", "FROM base\nRUN --device=example.com/dev=seven,required true\n");
    bench.build(["--allow", "device", specs[0], specs[1]]).exits(2).says("required device `example.com/dev=seven`");
}

#[test]
fn a_hook_is_refused_by_name() {
    let Some(bench) = bench(Who::Caller, "FROM base\nRUN --device=example.com/dev=hooked true\n") else { return };
    let directory = bench.path("cdi");
    bench
        .build(["--allow", "device", "--cdi-spec-dir", directory.to_str().unwrap()])
        .exits(2)
        .says("the `createContainer` hook `/usr/bin/vendor-hook`");
}

#[test]
fn without_mounts_there_are_no_devices() {
    let Some(bench) = bench(Who::Caller, "FROM base\nRUN --device=example.com/dev=zero true\n") else { return };
    if !rustix::process::geteuid().is_root() {
        return eprintln!("skipped: chroot needs root");
    }
    let directory = bench.path("cdi");
    let specs = ["--allow", "device", "--cdi-spec-dir", directory.to_str().unwrap()];
    bench.build(["--isolation", "chroot", specs[0], specs[1], specs[2], specs[3]]).exits(3).says("isolation `chroot`");
}
