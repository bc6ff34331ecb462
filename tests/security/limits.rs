//! Steps that use up a machine, and what lies between a step and the machine beside the file system.

use super::bench::Bench;
use super::rungs::{APART, WITH_RUN, on};
use std::fs;

/// Whether limits of control groups can be had for an account.
fn has_control_groups(bench: &Bench) -> bool {
    let flags = ["--pids-limit=1000", "--memory=1g", "--no-cache"];
    let has = !bench.build("FROM base\nRUN true\n", &flags).succeeded().text.contains("no effect");
    if !has {
        eprintln!("skipped: no control groups of version 2 are delegated here");
    }
    has
}

#[test]
fn a_fork_bomb_ends_at_the_limit_of_processes() {
    on(WITH_RUN, |bench| {
        if !has_control_groups(&bench) {
            return;
        }
        let text = "FROM base\nRUN b() { b | b & }; b; sleep 1; sleep 9875 & wait; false\n";
        let failed = bench.build(text, &["--pids-limit=60", "--step-timeout=20s"]);
        failed.refused("60 at once (`--pids-limit`)");
        assert!(!processes().any(|line| line == b"sleep\09875\0"));
    });
}

#[test]
fn a_memory_hog_is_killed_and_nothing_else_is() {
    on(WITH_RUN, |bench| {
        if has_control_groups(&bench) {
            let failed = bench.build("FROM base\nRUN tail /dev/zero\n", &["--memory=64m"]);
            failed.refused("killed: out of memory (limit 64 MiB, `--memory`)");
        }
    });
}

#[test]
fn endless_output_fills_neither_disk_nor_memory_and_ends_in_time() {
    on(WITH_RUN, |bench| {
        let flags = ["--step-log-limit=256k", "--step-timeout=3s"];
        let failed = bench.build("FROM base\nRUN yes\n", &flags).refused("did not end within 3s");
        assert!(failed.text.contains("[output clipped at 256 KiB"));
        assert!(failed.text.len() < 8 << 20, "{} bytes were shown", failed.text.len());
        let logs = fs::read_dir(bench.path("store/logs")).unwrap().flatten();
        for log in logs.flat_map(|build| fs::read_dir(build.path()).unwrap().flatten()) {
            assert!(log.metadata().unwrap().len() < 300 << 10, "{}", log.path().display());
        }
        assert!(!processes().any(|line| line == b"yes\0"));
    });
}

/// Returns the arguments of every process.
fn processes() -> impl Iterator<Item = Vec<u8>> {
    let entries = fs::read_dir("/proc").unwrap().filter_map(Result::ok);
    entries.filter_map(|entry| fs::read(entry.path().join("cmdline")).ok())
}

/// Tries what would cross from a step to the machine: keys, other processes, memory and messages by key and by name.
const NEIGHBOUR: &str = r#"
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/msg.h>
#include <sys/ptrace.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>
static void told(const char *what, long result) {
    printf("%s: %s\n", what, result >= 0 ? "REACHED" : strerrorname_np(errno));
}
int main(int argc, char **argv) {
    int pid = atoi(argv[1]), key = atoi(argv[2]);
    if (!strcmp(argv[3], "make")) {
        told("shm", shmget(key, 4096, IPC_CREAT | 0666));
        told("msg", msgget(key, IPC_CREAT | 0666));
        told("sem", semget(key, 1, IPC_CREAT | 0666));
        return 0;
    }
    if (!strcmp(argv[3], "remove")) {
        told("shm", shmctl(shmget(key, 0, 0), IPC_RMID, 0));
        told("msg", msgctl(msgget(key, 0), IPC_RMID, 0));
        told("sem", semctl(semget(key, 0, 0), 0, IPC_RMID));
        return 0;
    }
    char byte, name[64];
    struct iovec here = { &byte, 1 }, there = { (void *)0x400000, 1 };
    told("add_key", syscall(SYS_add_key, "user", "cooper", "x", 1, -3));
    told("request_key", syscall(SYS_request_key, "user", "cooper", 0, 0));
    told("keyctl", syscall(SYS_keyctl, 0, -3, 0));
    told("ptrace", ptrace(PTRACE_ATTACH, pid, 0, 0));
    told("memory", process_vm_readv(pid, &here, 1, &there, 1, 0));
    told("signal", kill(pid, 0));
    told("pidfd", syscall(SYS_pidfd_open, pid, 0));
    told("shm", shmget(key, 0, 0));
    told("msg", msgget(key, 0));
    told("sem", semget(key, 0, 0));
    snprintf(name, sizeof name, "/cooper-%d", key);
    told("shm_open", shm_open(name, O_RDWR, 0));
    return 0;
}
"#;

#[test]
fn keys_processes_and_memory_of_the_machine_are_out_of_reach() {
    let directory = tempfile::tempdir().unwrap();
    let (source, program) = (directory.path().join("neighbour.c"), directory.path().join("neighbour"));
    fs::write(&source, NEIGHBOUR).unwrap();
    let compiled =
        std::process::Command::new("cc").args(["-static", "-D_GNU_SOURCE", "-o"]).arg(&program).arg(&source).status();
    if !compiled.is_ok_and(|status| status.success()) {
        eprintln!("skipped: no C compiler that links statically");
        return;
    }
    // A number that no process of a step has: its own namespace begins at 1.
    let (pid, key) = (std::process::id().to_string(), (std::process::id() % 100_000 + 70_000).to_string());
    let run = |what: &str| std::process::Command::new(&program).args([&pid, &key, what]).output().unwrap().stdout;
    assert_eq!(run("make"), b"shm: REACHED\nmsg: REACHED\nsem: REACHED\n");
    let shared = format!("/dev/shm/cooper-{key}");
    fs::write(&shared, "x").unwrap();
    fs::set_permissions(&shared, std::os::unix::fs::PermissionsExt::from_mode(0o666)).unwrap();
    on(APART, |bench| {
        bench.write("neighbour", fs::read(&program).unwrap());
        let text = format!(
            "FROM base\nCOPY --chmod=755 neighbour /n\nRUN /n {pid} {key} try > /told; sed 's/^/told /' /told\n"
        );
        let output = bench.build(&text, &[]).succeeded().text;
        let told: Vec<&str> =
            output.lines().filter_map(|line| line.split_once(" told ").map(|(_, told)| told)).collect();
        let wanted = [
            "add_key: EPERM",
            "request_key: EPERM",
            "keyctl: EPERM",
            "ptrace: ESRCH",
            "memory: ESRCH",
            "signal: ESRCH",
            "pidfd: ESRCH",
            "shm: ENOENT",
            "msg: ENOENT",
            "sem: ENOENT",
            "shm_open: ENOENT",
        ];
        assert_eq!(told, wanted, "{output}");
    });
    fs::remove_file(&shared).unwrap();
    assert_eq!(run("remove"), b"shm: REACHED\nmsg: REACHED\nsem: REACHED\n");
}
