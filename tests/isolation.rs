//! Enters each rung that this machine allows, in a process of its own, and runs a step there.
//!
//! Without the usual harness: a rung is entered once, by a program that has a single thread.
//! `isolation step RUNG DIRECTORY [COUNT]` runs `COUNT` steps and tells how long each took.
#![allow(clippy::unwrap_used)]

use cooper::plan::graph::Network;
use cooper::sandbox::{Cancel, ExitStatus, RUN_ARGUMENT, RunSpec, Rung, Runner, child_main, enter, probe};
use cooper::snapshot;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if arguments.get(1).is_some_and(|argument| argument == RUN_ARGUMENT) {
        child_main();
    }
    if arguments.get(1).is_some_and(|argument| argument == "step") {
        let count = arguments.get(4).map_or(0, |count| count.parse().unwrap());
        return step(&arguments[2], Path::new(&arguments[3]), count);
    }
    if arguments.iter().any(|argument| argument == "--list") {
        return;
    }
    for rung in [Rung::Root, Rung::Rootless] {
        steps_run_as_root_of_their_world(rung);
    }
}

fn steps_run_as_root_of_their_world(rung: Rung) {
    if let Err(wall) = probe().allows(rung) {
        return eprintln!("skipped: isolation `{rung}`: {wall}");
    }
    if !Path::new("/bin/busybox").exists() {
        return eprintln!("skipped: isolation `{rung}`: no static /bin/busybox");
    }
    let directory = tempfile::tempdir_in("/tmp").unwrap();
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["step", rung.name()])
        .arg(directory.path())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(text, "0 1000:7 dev,etc,file,proc,sys\n", "{rung}: {}", String::from_utf8_lossy(&output.stderr));
    println!("isolation `{rung}`: ok");
}

/// Runs in the rung: a step that makes a file, changes its owner, and looks at its devices.
fn step(rung: &str, directory: &Path, count: u32) {
    let started = Instant::now();
    let probe = probe();
    let (rung, reason) = probe.choose(Some(rung)).unwrap();
    let probed = started.elapsed();
    let entered = enter(&probe, rung).unwrap();
    let all = started.elapsed();
    eprintln!("{rung} ({reason}): probe {probed:?}, enter {:?}", all - probed);
    entered.can_run.as_ref().unwrap();
    let lower = directory.join("lower");
    for path in ["lower/bin", "lower/etc", "upper", "work"] {
        std::fs::create_dir_all(directory.join(path)).unwrap();
    }
    if !lower.join("bin/sh").exists() {
        std::fs::copy("/bin/busybox", lower.join("bin/busybox")).unwrap();
        for applet in ["sh", "id", "test", "touch", "chown", "stat", "echo", "true", "ls"] {
            symlink("busybox", lower.join("bin").join(applet)).unwrap();
        }
    }
    snapshot::overlay_works(directory, entered.overlay_form).unwrap();
    let started = Instant::now();
    let runner = Runner::new().unwrap();
    eprintln!("runner {:?}", started.elapsed());
    let script = "echo x > /dev/null && touch /file && chown 1000:7 /file && \
                  echo `id -u` `stat -c %u:%g /file`";
    run(&runner, &entered, directory, &["/bin/sh", "-c", script], true);
    let mut layer: Vec<_> = std::fs::read_dir(directory.join("upper"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    layer.sort();
    println!("{}", layer.join(","));
    let started = Instant::now();
    for _ in 0..count {
        run(&runner, &entered, directory, &["/bin/true"], false);
    }
    if count > 0 {
        eprintln!("mount and run {:?} each", started.elapsed() / count);
    }
}

fn run(runner: &Runner, entered: &cooper::sandbox::Entered, directory: &Path, argv: &[&str], is_told: bool) {
    let [lower, upper, work] = ["lower", "upper", "work"].map(|name| directory.join(name));
    let mounted = snapshot::mount(&[lower], &upper, &work, entered.overlay_form).unwrap();
    let spec = RunSpec {
        root: &mounted.root,
        argv: argv.iter().map(Into::into).collect(),
        env: vec![("PATH".into(), "/bin".into())],
        cwd: "/".into(),
        user: String::new(),
        mounts: Vec::new(),
        network: Network::Default,
        hostname: "step".into(),
        extra_hosts: Vec::new(),
        shm_size_bytes: None,
        ulimits: Vec::new(),
        is_insecure: false,
        stdin: None,
    };
    let mut output = Vec::new();
    let status = runner.run(&spec, &mut |_, bytes| output.extend_from_slice(bytes), &Cancel::new().unwrap()).unwrap();
    let text = String::from_utf8(output).unwrap();
    assert_eq!(status, ExitStatus::Code(0), "{text}");
    if is_told {
        print!("{} ", text.trim());
    }
}
