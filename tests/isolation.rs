//! Enters each rung that this machine allows, in a process of its own, and runs a step there.
//!
//! Without the usual harness: a rung is entered once, by a program that has a single thread.
//! `isolation step RUNG DIRECTORY [COUNT]` runs `COUNT` steps and tells how long each took;
//! `isolation sleep RUNG DIRECTORY SECONDS` runs one that sleeps.
#![allow(clippy::unwrap_used)]

use cooper::layer::Kind;
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
    if arguments.get(1).is_some_and(|argument| argument == "owners") {
        return owners(&arguments[2], Path::new(&arguments[3]));
    }
    if arguments.get(1).is_some_and(|argument| argument == "sleep") {
        let directory = Path::new(&arguments[3]);
        let (entered, runner) = prepare(&arguments[2], directory);
        return run(&runner, &entered, directory, &["/bin/sleep", &arguments[4]], false);
    }
    if arguments.iter().any(|argument| argument == "--list") {
        return;
    }
    for rung in [Rung::Root, Rung::Rootless, Rung::SingleId] {
        if let Err(wall) = probe().allows(rung) {
            eprintln!("skipped: isolation `{rung}`: {wall}");
        } else if !Path::new("/bin/busybox").exists() {
            eprintln!("skipped: isolation `{rung}`: no static /bin/busybox");
        } else {
            steps_run_as_root_of_their_world(rung);
            a_layer_has_the_owners_that_programs_gave(rung);
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

/// What root's part of the test does; every look must agree with what was done.
const AS_ROOT: &str = r#"set -e
mkdir /d /d/sub; echo x > /d/file; ln -s file /d/link; mkfifo /d/pipe; ln /d/file /d/second
chown 1000:7 /d/file; chown -h 5:6 /d/link; chown 8 /d/pipe; chown :9 /d/sub
echo `stat -c %u:%g /d/file /d/second /d/link /d/pipe /d/sub /d`
chmod 6755 /d/file; chown 1000 /d/file; stat -c %a /d/file
cp -a /d /copy; mv /d/file /d/moved; rm /d/second
chown 0:0 /copy/pipe; chown 3 /lower-link /lower-file; chown -h 4 /lower-link
mkdir -m 2755 /shared; chown :50 /shared; chmod g+s /shared; touch /shared/f; mkdir /shared/s
chown 1000:1000 /home; chmod 1777 /home; stat -c %u:%g / /lower-file
su other -c 'id -u; id -g; touch /home/other; mkdir /home/dir; ln -s x /home/l'
"#;

/// What the user's part does.
const AS_USER: &str = r#"set -e
id; echo a > /home/mine; echo b >> /home/mine; test -O /home/mine; mkfifo /home/p
chown 1001 /home/mine && exit 1; chown :1000 /home/mine; stat -c %U:%G:%u:%g /home/mine
"#;

/// What the programs of [`AS_ROOT`] and [`AS_USER`] print, and then the layer: type, owner and path.
const OWNERS: &str = "\
1000:7 1000:7 5:6 8:0 0:9 0:0
755
0:0
3:0
11
12 
uid=1000(app) gid=1000 groups=44(video),1000
chown: /home/mine: Operation not permitted
app:UNKNOWN:1000:1000 
d 0:0 copy
- 1000:7 copy/file
l 5:6 copy/link
p 0:0 copy/pipe
h 1000:7 copy/second
d 0:9 copy/sub
d 0:0 d
l 5:6 d/link
- 1000:7 d/moved
p 8:0 d/pipe
d 0:9 d/sub
d 0:0 dev
d 0:0 etc
d 1000:1000 home
d 11:12 home/dir
l 11:12 home/l
- 1000:1000 home/mine
- 11:12 home/other
p 1000:1000 home/p
- 3:0 lower-file
l 4:0 lower-link
d 0:0 proc
d 0:50 shared
- 0:50 shared/f
d 0:50 shared/s
d 0:0 sys
";

fn a_layer_has_the_owners_that_programs_gave(rung: Rung) {
    let directory = tempfile::tempdir_in("/tmp").unwrap();
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["owners", rung.name()])
        .arg(directory.path())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(text, OWNERS, "{rung}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Runs in the rung: two steps that make files for others, and prints the layer.
fn owners(rung: &str, directory: &Path) {
    let (entered, runner) = prepare(rung, directory);
    let lower = directory.join("lower");
    std::fs::write(
        lower.join("etc/passwd"),
        "root:x:0:0::/:/bin/sh\napp:x:1000:1000::/home:/bin/sh\nother:x:11:12::/home:/bin/sh\n",
    )
    .unwrap();
    std::fs::write(lower.join("etc/group"), "video:x:44:app\n").unwrap();
    std::fs::create_dir(lower.join("home")).unwrap();
    std::fs::write(lower.join("lower-file"), "x").unwrap();
    symlink("lower-file", lower.join("lower-link")).unwrap();
    run(&runner, &entered, directory, &["/bin/sh", "-c", AS_ROOT], true);
    println!();
    run_as("app", &runner, &entered, directory, &["/bin/sh", "-c", AS_USER], true);
    println!();
    let upper = cooper::sys::Root::open(&directory.join("upper")).unwrap();
    let mut entries = snapshot::upper::entries(&upper, Some(entered.overlay_form)).unwrap();
    while let Some((entry, _)) = entries.next().unwrap() {
        let kind = match entry.kind {
            Kind::Directory => 'd',
            Kind::File { .. } => '-',
            Kind::Symlink { .. } => 'l',
            Kind::Hardlink { .. } => 'h',
            Kind::Fifo => 'p',
            _ => '?',
        };
        println!("{kind} {}:{} {}", entry.uid, entry.gid, entry.path.display());
    }
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
        for applet in [
            "sh", "id", "test", "sleep", "touch", "chown", "chmod", "stat", "echo", "true", "ls", "mkdir", "ln",
            "mkfifo", "cp", "mv", "rm", "mknod", "find", "su", "cat", "chroot",
        ] {
            symlink("busybox", lower.join("bin").join(applet)).unwrap();
        }
    }
    snapshot::overlay_works(directory, entered.overlay_form).unwrap();
    let started = Instant::now();
    let runner = Runner::new().unwrap().on(entered.rung);
    eprintln!("runner {:?}", started.elapsed());
    (entered, runner)
}

fn run(runner: &Runner, entered: &Entered, directory: &Path, argv: &[&str], is_told: bool) {
    run_as("", runner, entered, directory, argv, is_told);
}

fn run_as(user: &str, runner: &Runner, entered: &Entered, directory: &Path, argv: &[&str], is_told: bool) {
    let [lower, upper] = ["lower", "upper"].map(|name| directory.join(name));
    let work = tempfile::tempdir_in(directory).unwrap().keep();
    let mounted = snapshot::mount(&[lower], &upper, &work, entered.overlay_form).unwrap();
    let spec = RunSpec {
        root: &mounted.root,
        aside: None,
        argv: argv.iter().map(Into::into).collect(),
        env: vec![("PATH".into(), "/bin".into())],
        cwd: "/".into(),
        user: user.into(),
        additional_gids: Vec::new(),
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
