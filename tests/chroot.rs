//! Builds with isolation `chroot`, as root: what a step finds in place of mounts and namespaces.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A store and a context with busybox.
struct Bench {
    directory: tempfile::TempDir,
}

/// A busybox image; steps are added.
const BASE: &str = "FROM scratch AS base\nCOPY --chmod=755 busybox /bin/busybox\nCOPY etc /etc\n\
    SHELL [\"/bin/busybox\", \"sh\", \"-ec\"]\nENV PATH=/bin\nRUN /bin/busybox --install -s /bin && mkdir /tmp\n";

impl Bench {
    /// Returns `None`, and says so, where the tests cannot run.
    fn new() -> Option<Bench> {
        if !rustix::process::geteuid().is_root() || !Path::new("/bin/busybox").exists() {
            eprintln!("skipped: isolation `chroot` needs root, and the tests a static /bin/busybox");
            return None;
        }
        let bench = Bench { directory: tempfile::Builder::new().prefix("chroot-").tempdir_in("/tmp").unwrap() };
        fs::create_dir_all(bench.path("context/etc")).unwrap();
        fs::copy("/bin/busybox", bench.path("context/busybox")).unwrap();
        let users = "root:x:0:0::/:/bin/sh\napp:x:1000:1000::/:/bin/sh\n";
        fs::write(bench.path("context/etc/passwd"), users).unwrap();
        Some(bench)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn command(&self, steps: &str, arguments: &[&str]) -> Command {
        fs::write(self.path("context/Dockerfile"), format!("{BASE}{steps}")).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_cooper"));
        let isolation = if arguments.contains(&"--isolation") { &[][..] } else { &["--isolation", "chroot"] };
        command.args(["build", "--progress", "plain"]).args(isolation).args(arguments);
        command.arg(self.path("context")).env("COOPER_ROOT", self.path("store")).stdin(Stdio::null());
        command
    }

    /// Builds and returns whether that worked, and what was shown.
    fn build(&self, steps: &str, arguments: &[&str]) -> (bool, String) {
        let output = self.command(steps, arguments).output().unwrap();
        (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
    }

    /// Runs a script, one line a step, and returns what was shown.
    #[track_caller]
    fn runs(&self, script: &str) -> String {
        let steps: String = script.lines().map(|line| format!("RUN {}\n", line.trim())).collect();
        let (works, text) = self.build(&steps, &[]);
        assert!(works, "{text}");
        text
    }
}

#[test]
fn a_step_finds_itself_in_proc() {
    let Some(bench) = Bench::new() else { return };
    bench.runs(
        "test $(readlink /proc/self/exe) = /bin/busybox && test -d /proc/self/fd && test -r /proc/cpuinfo
         test $(readlink /proc/self/cwd) = / && cd /etc && test $(readlink /proc/self/cwd) = /etc
         sh -c 'test $(cat /proc/$$/comm) = sh && test -d /proc/$$ && test $(readlink /proc/$$/root) = /'
         sh -c 'test $(stat -L -c %t:%T /proc/self/fd/0) = $(stat -L -c %t:%T /dev/stdin) && test -w /dev/stdout'
         test -e /dev/fd/0 && ! test -e /dev/fd/77 && echo x > /dev/stderr && echo y | cat /dev/stdin | grep y
         exec 7> /tmp/f && chmod 600 /dev/fd/7 && test $(stat -c %a /tmp/f) = 600
         test $(ls -l /proc/self/fd | wc -l) -ge 4 && test $(ls /proc/self/task | wc -l) = 1
         (exec -a sh /proc/self/exe -c 'echo again') | grep again
         awk '/MemTotal/ { exit !($2 > 0) }' /proc/meminfo && grep -q processor /proc/cpuinfo
         nproc && free && uptime && df / && test $(stat -f -c %t /proc) = 9fa0
         test $(uname -n) = buildkitsandbox && test $(cat /proc/sys/kernel/hostname) = buildkitsandbox",
    );
}

#[test]
fn a_step_sees_its_own_processes_and_no_others() {
    let Some(bench) = Bench::new() else { return };
    let builder = std::process::id();
    bench.runs(&format!(
        "test $(cat /proc/1/comm) = busybox && ! test -e /proc/{builder} && ! cat /proc/{builder}/comm
         sleep 100 & ps | grep -q 'sleep 10[0]' && ! ps | grep -q coope[r]
         (sleep 99 &) ; test $(pidof sleep | wc -w) = 1"
    ));
}

#[test]
fn the_kernels_settings_cannot_be_written() {
    let Some(bench) = Bench::new() else { return };
    bench.runs(
        "! sh -c 'echo x > /proc/sys/kernel/hostname' && ! touch /sys/x && test -d /sys/kernel
         (! test -e /proc/kcore || test $(wc -c < /proc/kcore) = 0) && ! echo 1 > /proc/sysrq-trigger",
    );
}

#[test]
fn mounts_are_those_that_a_step_would_have() {
    let Some(bench) = Bench::new() else { return };
    bench.runs(
        "test \"$(cut -d' ' -f2 /proc/mounts | xargs echo)\" = '/ /proc /sys /dev/shm'
         ln -s ../proc/self/mounts /etc/mtab && cut -d' ' -f2 /etc/mtab | grep -qx /
         test \"$(cut -d' ' -f5 /proc/self/mountinfo | xargs echo)\" = '/ /proc /sys /dev/shm'
         test $(stat -c %a /dev/shm) = 1777 && touch /dev/shm/x && echo > /dev/null && head -c 1 /dev/urandom",
    );
}

#[test]
fn other_users_find_themselves_too() {
    let Some(bench) = Bench::new() else { return };
    bench.runs("su app -c 'test $(readlink /proc/self/exe) = /bin/busybox && test $(id -u) = 1000 && cat /proc/self/maps' > /tmp/maps");
    let (works, text) = bench.build(
        "USER app\nRUN grep -q 'Uid:.1000' /proc/self/status && ! cat /proc/1/mem && echo x | cat /dev/stdin\n\
         RUN test -r /proc/self/environ && ! sh -c 'exec 3< /etc/passwd; echo > /proc/self/fd/3'\n",
        &[],
    );
    assert!(works, "{text}");
}

#[test]
fn nothing_of_it_is_in_the_image() {
    let Some(bench) = Bench::new() else { return };
    let steps = "RUN ls /proc /sys /dev > /dev/null; ls /sys/firmware /proc/acpi; touch /dev/shm/x; (exec -a true /proc/self/exe); mkdir -p /sys/y\n";
    let destination = bench.path("out");
    let output = format!("type=local,dest={}", destination.display());
    let (works, text) = bench.build(steps, &["-o", &output]);
    assert!(works, "{text}");
    for directory in ["proc", "sys", "dev"] {
        assert_eq!(fs::read_dir(destination.join(directory)).unwrap().count(), 0, "{directory}");
    }
}

#[test]
fn no_network_is_no_socket_but_a_local_one() {
    let Some(bench) = Bench::new() else { return };
    let (works, text) = bench.build(
        "RUN --network=none ! nc -w 1 127.0.0.1 80 2> /tmp/e && grep 'not supported' /tmp/e && test $(ip -o link 2> /tmp/i | wc -l) = 0\n",
        &[],
    );
    assert!(works, "{text}");
    assert!(text.contains("no 127.0.0.1"), "{text}");
}

#[test]
fn what_is_shared_is_said() {
    let Some(bench) = Bench::new() else { return };
    let (works, text) = bench.build("", &[]);
    assert!(works && text.contains("RUN shares files, processes and network of this container"), "{text}");
    let output = bench.command("", &["--isolation", "none", "--no-cache"]).output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(3), "{text}");
    assert!(text.contains("isolation `none` runs no commands"), "{text}");
}

/// A cache, a secret and a file system in memory.
const MOUNTS: &str =
    "--mount=type=cache,target=/cache --mount=type=secret,id=s,target=/run/s --mount=type=tmpfs,target=/t";

#[test]
fn what_stands_for_a_mount_stays_out_of_the_image_whatever_a_step_does_to_it() {
    let Some(bench) = Bench::new() else { return };
    fs::write(bench.path("secret"), "hush").unwrap();
    let secret = format!("id=s,src={}", bench.path("secret").display());
    let steps = [
        "echo kept > /cache/f; cat /run/s | grep -q hush; touch /t/x",
        "grep kept /cache/f; mv /cache /moved; mv /run/s /stolen; mv /t /tt",
        "grep kept /cache/f; ln /run/s /linked; mkdir /deep; mv /cache /deep/c; mkdir /cache; echo no > /cache/no",
        "grep kept /cache/f; ! test -e /cache/no; rm -r /cache /run/s /t",
        "test -d /cache && ! test -e /cache/f && test $(stat -c %a /cache) = 755",
    ];
    let steps: String = steps.iter().map(|step| format!("RUN {MOUNTS} {step}\n")).collect();
    let destination = bench.path("out");
    let output = format!("type=local,dest={}", destination.display());
    let (works, text) = bench.build(&steps, &["-o", &output, "--secret", &secret]);
    assert!(works, "{text}");
    let mut names: Vec<_> =
        fs::read_dir(&destination).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    assert_eq!(names, ["bin", "deep", "dev", "etc", "linked", "proc", "sys", "tmp"]);
    assert_eq!(fs::read(destination.join("linked")).unwrap(), b"", "another name of a secret");
    assert_eq!(fs::read_dir(destination.join("deep")).unwrap().count(), 0);
}

#[test]
fn a_killed_build_loses_no_cache_and_leaves_nothing_in_the_next() {
    let Some(bench) = Bench::new() else { return };
    fs::write(bench.path("secret"), "hush").unwrap();
    let secret = format!("id=s,src={}", bench.path("secret").display());
    let fill = format!("RUN {MOUNTS} for i in 0 1 2 3 4 5 6 7 8 9; do echo $i > /cache/$i; done\n");
    assert!(bench.build(&fill, &["--secret", &secret]).0);
    let slow =
        format!("RUN {MOUNTS} touch /half; for i in $(ls /cache); do cat /cache/$i; sleep 0.05; done; echo $RANDOM\n");
    for attempt in 0..12_u64 {
        let mut child = bench
            .command(&slow, &["--secret", &secret, "--no-cache-filter", "base"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(std::time::Duration::from_millis(40 + attempt * 131 % 900));
        child.kill().unwrap();
        child.wait().unwrap();
    }
    // What is younger might be another build's that is about to lock it.
    std::thread::sleep(std::time::Duration::from_millis(1100));
    let destination = bench.path("out");
    let output = format!("type=local,dest={}", destination.display());
    let look = format!("RUN {MOUNTS} test $(cat /cache/* | wc -l) = 10 && ! test -e /half\n");
    let (works, text) = bench.build(&look, &["-o", &output, "--secret", &secret]);
    assert!(works, "{text}");
    let left = fs::read_dir(bench.path("store/tmp")).unwrap().map(|entry| entry.unwrap().file_name());
    let left: Vec<_> =
        left.filter(|name| ["w-", "l-"].iter().any(|start| name.to_string_lossy().starts_with(start))).collect();
    assert!(left.is_empty(), "work of killed builds: {left:?}");
    for mount in fs::read_dir(bench.path("store/mounts")).unwrap() {
        let names = fs::read_dir(mount.unwrap().path()).unwrap();
        assert!(names.map(|name| name.unwrap().file_name()).all(|name| name != "away"));
    }
    assert!(!destination.join("half").exists() && !destination.join("cache").exists());
}

#[test]
fn a_killed_build_leaves_nothing_running() {
    let Some(bench) = Bench::new() else { return };
    let seconds = format!("97{}", std::process::id());
    let is_running = || {
        let wanted = format!("sleep\0{seconds}\0");
        let mut processes = fs::read_dir("/proc").unwrap().filter_map(Result::ok);
        processes.any(|entry| fs::read(entry.path().join("cmdline")).is_ok_and(|line| line == wanted.as_bytes()))
    };
    let wait_until = |running: bool| {
        let started = std::time::Instant::now();
        while is_running() != running {
            assert!(started.elapsed().as_secs() < 60, "running is not {running}");
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    };
    let steps = format!("RUN (setsid sh -c 'sleep {seconds}; true' &) ; sleep 1000\n");
    let mut child = bench.command(&steps, &[]).stderr(Stdio::null()).spawn().unwrap();
    wait_until(true);
    child.kill().unwrap();
    child.wait().unwrap();
    wait_until(false);
}
