//! Enters each rung that this machine allows, in a process of its own, and runs a step there.
//!
//! Without the usual harness: a rung is entered once, by a program that has a single thread.
//! `isolation step RUNG DIRECTORY [COUNT]` runs `COUNT` steps and tells how long each took;
//! `isolation sleep RUNG DIRECTORY SECONDS` runs one that sleeps.
#![allow(clippy::unwrap_used)]

use cooper::plan::graph::Network;
use cooper::sandbox::{Cancel, Entered, ExitStatus, RUN_ARGUMENT, RunSpec, Rung, Runner, child_main, enter, probe};
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
    if arguments.get(1).is_some_and(|argument| argument == "sleep") {
        let directory = Path::new(&arguments[3]);
        let (entered, runner) = prepare(&arguments[2], directory);
        return run(&runner, &entered, directory, &["/bin/sleep", &arguments[4]], false);
    }
    if arguments.iter().any(|argument| argument == "--list") {
        return;
    }
    for rung in [Rung::Root, Rung::Rootless] {
        if let Err(wall) = probe().allows(rung) {
            eprintln!("skipped: isolation `{rung}`: {wall}");
        } else if !Path::new("/bin/busybox").exists() {
            eprintln!("skipped: isolation `{rung}`: no static /bin/busybox");
        } else {
            steps_run_as_root_of_their_world(rung);
            a_killed_build_leaves_nothing_running(rung);
        }
    }
}

fn steps_run_as_root_of_their_world(rung: Rung) {
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

fn a_killed_build_leaves_nothing_running(rung: Rung) {
    let directory = tempfile::tempdir_in("/tmp").unwrap();
    let seconds = format!("98{}", std::process::id());
    let is_running = || {
        let wanted = format!("/bin/sleep\0{seconds}\0");
        let mut processes = std::fs::read_dir("/proc").unwrap().filter_map(Result::ok);
        processes.any(|entry| std::fs::read(entry.path().join("cmdline")).is_ok_and(|line| line == wanted.as_bytes()))
    };
    let wait_until = |running: bool| {
        let started = Instant::now();
        while is_running() != running {
            assert!(started.elapsed().as_secs() < 20, "isolation `{rung}`: running is not {running}");
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    };
    let mut build = Command::new(std::env::current_exe().unwrap())
        .args(["sleep", rung.name()])
        .arg(directory.path())
        .arg(&seconds)
        .spawn()
        .unwrap();
    wait_until(true);
    build.kill().unwrap();
    build.wait().unwrap();
    wait_until(false);
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!mounts.contains(directory.path().to_str().unwrap()), "{mounts}");
}

/// Runs in the rung: a step that makes a file, changes its owner, and looks at its devices.
fn step(rung: &str, directory: &Path, count: u32) {
    let (entered, runner) = prepare(rung, directory);
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

/// Enters the rung and makes a layer of busybox.
fn prepare(rung: &str, directory: &Path) -> (Entered, Runner) {
    let started = Instant::now();
    let probe = probe();
    let (rung, reason) = probe.choose(Some(rung)).unwrap();
    let probed = started.elapsed();
    let entered = enter(&probe, rung).unwrap();
    let all = started.elapsed();
    eprintln!("{rung} ({reason}): probe {probed:?}, enter {:?}", all - probed);
    entered.can_run.as_ref().unwrap();
    let lower = directory.join("lower");
    for path in ["lower/bin", "lower/etc", "upper"] {
        std::fs::create_dir_all(directory.join(path)).unwrap();
    }
    if !lower.join("bin/sh").exists() {
        std::fs::copy("/bin/busybox", lower.join("bin/busybox")).unwrap();
        for applet in ["sh", "id", "test", "sleep", "touch", "chown", "stat", "echo", "true", "ls"] {
            symlink("busybox", lower.join("bin").join(applet)).unwrap();
        }
    }
    snapshot::overlay_works(directory, entered.overlay_form).unwrap();
    let started = Instant::now();
    let runner = Runner::new().unwrap();
    eprintln!("runner {:?}", started.elapsed());
    (entered, runner)
}

fn run(runner: &Runner, entered: &Entered, directory: &Path, argv: &[&str], is_told: bool) {
    let [lower, upper] = ["lower", "upper"].map(|name| directory.join(name));
    let work = tempfile::tempdir_in(directory).unwrap().keep();
    let mounted = snapshot::mount(&[lower], &upper, &work, entered.overlay_form).unwrap();
    let spec = RunSpec {
        root: &mounted.root,
        aside: None,
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
