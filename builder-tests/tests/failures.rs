//! What goes wrong: exit codes, whole messages, and nothing left behind.
#![allow(clippy::unwrap_used)]

use builder_tests::{Bench, Who, free_port, need};
use rstest::rstest;
use rustix::process::{Pid, Signal, kill_process};
use std::fs;
use std::process::Child;
use std::time::{Duration, Instant};

/// Longest wait for something that happens at once.
const LIMIT: Duration = Duration::from_secs(20);

#[track_caller]
fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < LIMIT, "waited in vain until {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn signal(child: &Child, signal: Signal) {
    kill_process(Pid::from_child(child), signal).unwrap();
}

/// Returns the command lines of the processes that have a word among their arguments.
fn processes_with(word: &str) -> Vec<String> {
    let lines = fs::read_dir("/proc").unwrap().flatten().filter_map(|item| fs::read(item.path().join("cmdline")).ok());
    let lines = lines.map(|line| String::from_utf8_lossy(&line).replace('\0', " "));
    lines.filter(|line| line.split(' ').any(|other| other == word)).collect()
}

fn mounts_below(bench: &Bench) -> Vec<String> {
    let directory = bench.path("").display().to_string();
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    mounts.lines().filter(|line| line.contains(&directory)).map(str::to_owned).collect()
}

#[rstest]
#[case::a_step_failed("FROM base\nRUN exit 3\n", 1)]
#[case::the_dockerfile_is_wrong("FROM base\nRNU true\n", 2)]
#[case::the_context_lacks_a_file("FROM base\nCOPY nothing /\n", 2)]
fn exit_codes_tell_the_class_of_failure(#[case] dockerfile: &str, #[case] code: i32) {
    if need(["busybox"]) {
        Bench::new().base().file("Dockerfile", dockerfile).build(["-t", "app:1"]).exits(code);
    }
}

#[test]
fn a_wrong_command_line_is_2() {
    let bench = Bench::new().file("Dockerfile", "FROM scratch\n");
    bench.build(["--no-such-flag"]).exits(2);
    bench.build(["-o", "type=nonsense"]).exits(2);
    bench.build_bare(["/nowhere"]).exits(2);
}

#[test]
fn a_machine_that_cannot_isolate_is_3() {
    let bench = Bench::new().file("Dockerfile", "FROM scratch\nCOPY Dockerfile /d\nRUN [\"/d\"]\n");
    bench.build(["--isolation", "none", "-t", "app:1"]).exits(3).says("Dockerfile:3");
}

#[test]
fn a_registry_that_does_not_answer_is_4() {
    let host = format!("127.0.0.1:{}", free_port());
    let bench = Bench::new().file("Dockerfile", format!("FROM {host}/x\nRUN true\n"));
    bench.build(["-t", "app:1"]).exits(4).says(&host);
}

#[test]
fn a_message_shows_what_where_why_and_what_to_do() {
    let bench = Bench::new().file("Dockerfile", "FROM scratch\nCOYP a /a\n");
    let failed = bench.build(["-t", "app:1"]);
    let expected =
        "error: unknown instruction: `COYP`\n --> Dockerfile:2:1\n  |\n2 | COYP a /a\n  | ^^^^ did you mean `COPY`?";
    assert_eq!((failed.code, failed.stdout.as_str()), (2, ""));
    assert!(failed.stderr.trim_end().ends_with(expected), "{}", failed.stderr);
}

#[test]
fn a_failed_step_shows_its_last_lines_and_keeps_its_log() {
    if !need(["busybox"]) {
        return;
    }
    let bench = Bench::new().base().file("Dockerfile", "FROM base\nRUN seq 1 30 && echo broken >&2 && exit 9\n");
    bench.build(["-q"]).exits(1).says("broken").says("exit code: 9").says("Dockerfile:2");
}

#[rstest]
fn an_interrupted_build_ends_with_130_and_leaves_nothing(#[values(Who::Caller, Who::Ordinary)] who: Who) {
    if !need(["busybox"]) || !who.is_here() {
        return;
    }
    let mark = format!("31{}", std::process::id());
    let bench = Bench::new().base().by(who).file("Dockerfile", format!("FROM base\nRUN sleep {mark} & sleep {mark}\n"));
    let child = bench.start(["-t", "app:1"]);
    wait_until("both sleeps run", || {
        processes_with(&mark).iter().filter(|line| line.starts_with("sleep")).count() == 2
    });
    match who {
        Who::Caller => signal(&child, Signal::INT),
        // What runuser passes on is not the question here: the signal goes to cooper itself.
        Who::Ordinary => {
            let children = format!("/proc/{0}/task/{0}/children", child.id());
            let id: i32 = fs::read_to_string(children).unwrap().trim().parse().unwrap();
            kill_process(Pid::from_raw(id).unwrap(), Signal::INT).unwrap();
        }
    }
    let output = builder_tests::Outcome::of(child.wait_with_output().unwrap());
    output.exits(130);
    wait_until("no process is left", || processes_with(&mark).is_empty());
    assert_eq!(mounts_below(&bench), Vec::<String>::new());
    if who == Who::Caller {
        bench.store_is_whole();
    }
}

#[test]
fn a_build_killed_at_any_moment_leaves_a_store_that_works() {
    if !need(["busybox"]) {
        return;
    }
    let mark = format!("32{}", std::process::id());
    let dockerfile =
        format!("FROM base\nCOPY a /a\nRUN dd if=/dev/urandom of=/r bs=1M count=4\nRUN rm /r && echo {mark} > /x\n");
    let bench = Bench::new().base().file("Dockerfile", &dockerfile);
    let whole = Instant::now();
    bench.write("a", "0").build(["-t", "app:1"]).success();
    let whole = whole.elapsed();
    // Spread over the length of a build; the moments are different in every run of the test anyhow.
    const ROUNDS: u32 = 16;
    for round in 0..ROUNDS {
        bench.write("a", round.to_string());
        let mut child = bench.start(["-t", "app:1"]);
        std::thread::sleep(whole * round / ROUNDS);
        signal(&child, Signal::KILL);
        child.wait().unwrap();
        bench.store_is_whole();
    }
    wait_until("no process is left", || processes_with(&bench.context().display().to_string()).is_empty());
    assert_eq!(mounts_below(&bench), Vec::<String>::new());
    bench.build(["-t", "app:1"]).success();
    assert_eq!(bench.image("app:1").text("x"), format!("{mark}\n"));
    bench.store_is_whole();
}

#[test]
fn two_builds_at_once_share_a_store() {
    if !need(["busybox"]) {
        return;
    }
    let dockerfile = "FROM base\nCOPY a /a\nRUN sleep 0.3 && cat /a > /b\nRUN cat /b /b > /c\n";
    let bench = Bench::new().base().file("Dockerfile", dockerfile).file("a", "x");
    let children: Vec<Child> = ["one", "two", "three"].map(|name| bench.start(["-t", name])).into();
    for child in children {
        builder_tests::Outcome::of(child.wait_with_output().unwrap()).success();
    }
    for name in ["one", "two", "three"] {
        assert_eq!(bench.image(&format!("{name}:latest")).text("c"), "xx");
    }
    bench.store_is_whole();
    bench.build(["-t", "app:1"]).success().cached("RUN cat /b /b > /c");
}

/// A small file system of its own, unmounted at the end.
struct SmallDisk(std::path::PathBuf);

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = rustix::mount::unmount(&self.0, rustix::mount::UnmountFlags::DETACH);
    }
}

#[test]
fn a_full_disk_is_said_plainly_and_harms_nothing() {
    if !need(["root", "busybox"]) {
        return;
    }
    let bench = Bench::new().base().file("Dockerfile", "FROM base\nRUN echo small > /small\n");
    let disk = bench.path("disk");
    fs::create_dir(&disk).unwrap();
    let options = c"size=16m,mode=0755";
    rustix::mount::mount("tmpfs", &disk, "tmpfs", rustix::mount::MountFlags::empty(), Some(options)).unwrap();
    let _disk = SmallDisk(disk.clone());
    let bench = bench.store_at(disk.join("store"));
    bench.build(["-t", "app:1"]).success();

    let big: Vec<u8> = (0..20_000_000u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    bench.write("Dockerfile", "FROM base\nCOPY big /big\n").write("big", big);
    let failed = bench.build(["-t", "app:2"]);
    assert_ne!(failed.code, 0);
    failed.says("No space left on device").silent_about("panicked");
    bench.store_is_whole();

    bench.write("Dockerfile", "FROM base\nRUN dd if=/dev/zero of=/big bs=1M count=20\n");
    bench.build(["-t", "app:2"]).exits(1).silent_about("panicked");
    bench.store_is_whole();

    bench.write("Dockerfile", "FROM base\nRUN echo small > /small\n");
    bench.build(["-t", "app:1"]).success().cached("RUN echo small > /small");
    assert_eq!(bench.image("app:1").text("small"), "small\n");
}
