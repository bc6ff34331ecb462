//! What RUN may use and do: capabilities, time, output, control groups, a network of its own.
#![allow(clippy::unwrap_used)]

use builder_tests::{Bench, Outcome, need, skip};
use rstest::rstest;
use std::process::Command;

const DOCKER: u64 = 0xa804_25fb;

fn capabilities(isolation: &str, flags: &[&str]) -> u64 {
    let bench =
        Bench::new().base().file("Dockerfile", "FROM base\nRUN grep -E '^Cap(Eff|Bnd)' /proc/self/status > /c\n");
    bench.build([&["--isolation", isolation, "-t", "app:1"], flags].concat()).success();
    let text = bench.image("app:1").text("c");
    let sets: Vec<u64> = text.split_whitespace().filter_map(|word| u64::from_str_radix(word, 16).ok()).collect();
    assert_eq!(sets[0], sets[1], "root of a step has all that it may have");
    sets[0]
}

#[rstest]
fn capabilities_are_dockers_and_change_by_flags(#[values("root", "rootless", "single-id", "chroot")] isolation: &str) {
    if !need(["root", "busybox"]) {
        return;
    }
    let all = [&["--cap-drop", "all"][..], &["--cap-add", "SYS_PTRACE", "--cap-drop=cap_chown,MKNOD"]];
    assert_eq!(capabilities(isolation, &[]), DOCKER);
    assert_eq!(capabilities(isolation, all[0]), 0);
    assert_eq!(capabilities(isolation, all[1]), (DOCKER | 1 << 19) & !(1 | 1 << 27));
}

#[test]
fn capabilities_are_part_of_a_steps_key_and_of_its_seccomp_profile() {
    if !need(["root", "busybox"]) {
        return;
    }
    let step = "RUN unshare -m true && echo yes || echo no";
    let bench = Bench::new().base().file("Dockerfile", format!("FROM base\n{step}\n"));
    assert!(bench.build(["-t", "app:1"]).success().output_of(step).contains("no"));
    let added = bench.build(["-t", "app:1", "--cap-add", "SYS_ADMIN"]);
    assert!(added.success().output_of(step).contains("yes"), "{}", added.stderr);
    bench.build(["-t", "app:1", "--cap-drop", "CHOWN", "--cap-add", "chown"]).exits(2).says("CAP_CHOWN");
    bench.build(["-t", "app:1"]).success().cached(step);
    bench.write("Dockerfile", "FROM base\nRUN chroot / true\n");
    bench.build(["--cap-drop", "SYS_CHROOT"]).exits(1);
    bench.build(["-t", "app:1"]).success();
}

#[test]
fn a_step_that_does_not_end_is_ended() {
    if !need(["busybox"]) {
        return;
    }
    let mark = format!("33{}", std::process::id());
    let bench = Bench::new().base().file("Dockerfile", format!("FROM base\nRUN sleep {mark} & sleep {mark}\n"));
    bench
        .build(["--step-timeout", "300ms"])
        .exits(1)
        .says("did not end within 300ms (`--step-timeout`)")
        .says("Dockerfile:2");
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    let mut lines = processes.filter_map(|item| std::fs::read(item.path().join("cmdline")).ok());
    assert!(!lines.any(|line| line == format!("sleep\0{mark}\0").as_bytes()));
    bench.write("Dockerfile", "FROM base\nRUN true\n").build(["--step-timeout", "1m"]).success();
}

#[test]
fn output_is_clipped_where_the_command_line_says() {
    if !need(["busybox"]) {
        return;
    }
    let step = "RUN yes | head -c 100000; false";
    let bench = Bench::new().base().file("Dockerfile", format!("FROM base\n{step}\n"));
    let clipped = bench.build(["--step-log-limit", "1k", "-t", "app:1"]);
    clipped.exits(1).says("[output clipped at 1 KiB: `--step-log-limit`]");
    assert_eq!(clipped.output_of(step).matches('y').count(), 512);
    let logs = std::fs::read_dir(bench.store().join("logs")).unwrap().flatten();
    let sizes = logs.flat_map(|build| std::fs::read_dir(build.path()).unwrap().flatten());
    let sizes: Vec<u64> = sizes.map(|log| log.metadata().unwrap().len()).collect();
    assert!(sizes.iter().all(|size| *size < 1200), "{sizes:?}");
    bench.build(["--step-log-limit=-1", "-t", "app:1"]).exits(1).silent_about("clipped");
}

/// Returns whether limits of control groups can be had here.
fn are_limits_had(bench: &Bench) -> bool {
    let probed = bench.build(["--pids-limit", "1000", "--memory", "1g", "--no-cache", "-t", "probe:1"]);
    !probed.success().stderr.contains("no effect")
}

#[test]
fn limits_of_control_groups_hold_or_it_is_said_that_they_do_not() {
    if !need(["busybox"]) {
        return;
    }
    let bench = Bench::new().base().file("Dockerfile", "FROM base\nRUN true\n");
    if !are_limits_had(&bench) {
        let told = bench.build(["--pids-limit", "20", "--cpus", "0.5", "--no-cache"]);
        told.success().says("`--cpus`, `--pids-limit` have no effect: ");
        return;
    }
    bench.write("Dockerfile", "FROM base\nRUN for i in $(seq 40); do sleep 5 & done; wait; false\n");
    bench.build(["--pids-limit", "20"]).exits(1).says("it may have 20 at once (`--pids-limit`)");
    bench.write("Dockerfile", "FROM base\nRUN tail /dev/zero\n");
    bench.build(["--memory", "32m"]).exits(1).says("killed: out of memory (limit 32 MiB, `--memory`)");
    bench.write("Dockerfile", "FROM base\nRUN cat /sys/fs/cgroup/cpu.max /sys/fs/cgroup/pids.max > /l\n");
    bench.build(["--cpus", "0.5", "--pids-limit", "30", "-t", "app:1", "--cgroup-parent", "/cooper-test"]).success();
    assert_eq!(bench.image("app:1").text("l"), "50000 100000\n30\n");
    let parent = std::path::Path::new("/sys/fs/cgroup/cooper-test");
    assert_eq!(std::fs::read_dir(parent).unwrap().flatten().filter(|entry| entry.path().is_dir()).count(), 0);
    std::fs::remove_dir(parent).unwrap();
}

#[test]
fn limits_of_control_groups_are_no_part_of_a_steps_key() {
    if !need(["busybox"]) {
        return;
    }
    let bench = Bench::new().base().file("Dockerfile", "FROM base\nRUN echo x > /x\n");
    bench.build(["-t", "app:1"]).success();
    let flags =
        ["-t", "app:1", "--memory", "1g", "--pids-limit", "100", "--step-timeout", "1h", "--step-log-limit", "1m"];
    bench.build(flags).success().cached("RUN echo x > /x");
}

/// A network with an address that is the default route's, and another with a server, neither of them real.
const MACHINE: &str = "ip link set lo up && ip tuntap add dev d0 mode tap && ip addr add 10.9.9.1/24 dev d0 && \
    ip link set d0 up && ip route add default via 10.9.9.254 && ip addr add 10.8.8.1/32 dev lo && \
    echo nameserver 10.8.8.1 > \"$1\" && mount --bind \"$1\" /etc/resolv.conf && \
    { test -z \"$2\" || mount --bind /dev/null \"$(command -v \"$2\")\"; } && \
    { busybox httpd -f -p 18999 -h \"$(dirname \"$1\")\" & server=$!; } && sleep 0.2 && shift 2 && \"$@\"; \
    code=$?; kill $server; exit $code";

/// Builds where only one of the programs that connect networks is there, on a machine of its own.
fn build_on_machine(bench: &Bench, without: &str, isolation: &str) -> Outcome {
    std::fs::write(bench.path("answer"), "answer\n").unwrap();
    let mut build = bench.build_command(["--isolation", isolation, "--network", "private", "-t", "app:1"]);
    build.arg(bench.context());
    let mut command = Command::new("unshare");
    command.args(["-n", "-m", "sh", "-c", MACHINE, "sh"]).arg(bench.path("resolv.conf")).arg(without);
    command.arg(build.get_program()).args(build.get_args());
    build.get_envs().for_each(|(name, value)| {
        command.env(name, value.unwrap_or_default());
    });
    if let Some(directory) = build.get_current_dir() {
        command.current_dir(directory);
    }
    Outcome::of(command.output().unwrap())
}

#[rstest]
fn a_private_network_reaches_what_the_machine_reaches_and_not_its_loopback(
    #[values("root", "rootless", "single-id")] isolation: &str,
    #[values("pasta", "slirp4netns")] program: &str,
) {
    if !need(["root", "busybox", "pasta", "slirp4netns", "ip", "unshare"]) {
        return;
    }
    if !std::path::Path::new("/dev/net/tun").exists() {
        return skip("needs /dev/net/tun");
    }
    // Ended by hand: an old pasta does not pass on that the server has closed its side.
    let get = |address: &str| {
        format!("{{ printf 'GET /answer HTTP/1.0\\r\\n\\r\\n'; sleep 1; }} | timeout 3 nc {address} 18999")
    };
    let (far, own) = (get("10.8.8.1"), get("127.0.0.1"));
    let dockerfile = format!(
        "FROM base\nRUN {far} | grep answer > /far; {own} > /own 2>&1; cp /etc/resolv.conf /r; ip link | grep -c UP > /n\n"
    );
    let bench = Bench::new().base().file("Dockerfile", dockerfile);
    let without = if program == "slirp4netns" { "pasta" } else { "slirp4netns" };
    let built = build_on_machine(&bench, without, isolation);
    built.success();
    let image = bench.image("app:1");
    assert_eq!(image.text("far"), "answer\n", "{}", built.stderr);
    assert!(image.text("own").contains("refused"), "{}", image.text("own"));
    assert_eq!(image.text("n"), "2\n", "loopback and the connection");
    let resolver = if program == "pasta" { "169.254.1.1" } else { "10.0.2.3" };
    assert_eq!(image.text("r"), format!("nameserver {resolver}\n"));
    let left = Command::new("pgrep").args(["-f", &bench.path("").display().to_string()]).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&left.stdout), "");
}

#[test]
fn without_a_program_that_connects_it_a_private_network_is_an_error_with_a_remedy() {
    if !need(["root", "busybox", "unshare"]) {
        return;
    }
    let bench = Bench::new().base().file("Dockerfile", "FROM base\nRUN true\n");
    let hide = "for p in pasta slirp4netns; do f=$(command -v $p) && mount --bind /dev/null $f; done; exec \"$@\"";
    let mut build = bench.build_command(["--network", "private"]);
    build.arg(bench.context());
    let mut command = Command::new("unshare");
    command.args(["-m", "sh", "-c", hide, "sh"]).arg(build.get_program()).args(build.get_args());
    build.get_envs().for_each(|(name, value)| {
        command.env(name, value.unwrap_or_default());
    });
    let refused = Outcome::of(command.output().unwrap());
    refused.exits(3).says("neither `pasta` nor `slirp4netns` is there").says("install the package `passt`");
}

#[rstest]
fn networks_that_are_not_there_are_refused(#[values("bridge", "pasta", "container:x")] name: &str) {
    Bench::new().file("Dockerfile", "FROM scratch\n").build(["--network", name]).exits(2).says("`private`");
}

#[test]
fn only_the_command_line_can_ask_for_a_private_network() {
    let bench = Bench::new().base().file("Dockerfile", "FROM base\nRUN --network=private true\n");
    bench.build(["-t", "app:1"]).exits(2).says("private");
}

#[rstest]
fn no_network_is_a_loopback_that_is_up(#[values("root", "rootless", "single-id")] isolation: &str) {
    if !need(["root", "busybox"]) {
        return;
    }
    let bench = Bench::new().base().file("Dockerfile", "FROM base\nRUN ip -o link > /l && ping -c 1 127.0.0.1\n");
    bench.build(["--network", "none", "--isolation", isolation, "-t", "app:1"]).success();
    let links = bench.image("app:1").text("l");
    assert!(links.lines().count() == 1 && links.contains("LOOPBACK,UP"), "{links}");
}
