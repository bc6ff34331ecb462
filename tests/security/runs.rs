//! Hostile commands, and images made to trap the program that runs them.

use super::bench::everywhere;
use super::layout::{Image, busybox};
use super::tar::Tar;
use serde_json::json;
use std::fs;

/// An image of busybox with something more in a layer above.
fn image_with(more: Tar) -> Image {
    Image::of([busybox().end(), more.end()])
}

#[test]
fn a_step_has_three_descriptors_and_stands_in_the_image() {
    everywhere(|bench| {
        // `ls` itself opens the fourth, to list them.
        let seen = bench.build(
            "FROM base\nRUN echo fds: $(ls /proc/self/fd | tr '\\n' ' ') cwd: $(readlink /proc/self/cwd)\n",
            &[],
        );
        assert!(seen.succeeded().text.contains("fds: 0 1 2 3 cwd: /\n"));
    });
}

#[test]
fn no_working_directory_leads_out() {
    everywhere(|bench| {
        for n in 3..24 {
            let text = format!(
                "FROM base\nWORKDIR /proc/self/fd/{n}\nRUN ! ls ../../../../outside && ! ls ../../../../../work\n"
            );
            let result = bench.build(&text, &[]);
            if result.code == 0 {
                // Then it is a directory of that name in the image, which the kernel's files hide.
                assert!(!result.text.contains("attack-"), "{}", result.text);
            }
        }
        let escape = bench.text("outside");
        let text = format!(
            "FROM base\nRUN ln -s {escape} /w && ln -s /proc/self/cwd /c\nWORKDIR /w\nWORKDIR /c\nWORKDIR /w/inner\nRUN true\n"
        );
        bench.build(&text, &[]);
    });
}

#[test]
fn kernel_directories_of_an_image_that_are_links_lead_nowhere() {
    everywhere(|bench| {
        for name in ["proc", "sys", "dev"] {
            for target in [bench.outside(""), "/etc".into(), "/bin".into(), "..".into()] {
                bench.evil(&image_with(Tar::new().symlink(name, &target)));
                let result = bench.build(
                    "FROM evil\nRUN test -d /proc/self && echo x > /dev/null && test -e /bin/sh\n",
                    &["--no-cache"],
                );
                assert!(result.code == 0 || result.text.contains(name), "{}", result.text);
            }
        }
    });
}

#[test]
fn files_of_an_image_that_the_program_replaces_may_be_links() {
    everywhere(|bench| {
        for name in ["etc/resolv.conf", "etc/hosts", "etc/hostname"] {
            for target in [
                bench.outside("/file"),
                "../../../../outside/file".into(),
                "/proc/self/exe".into(),
                "/bin/busybox".into(),
            ] {
                bench.evil(&image_with(Tar::new().symlink(name, &target)));
                bench.build(
                    "FROM evil\nRUN echo evil >> /etc/hosts; echo evil >> /etc/resolv.conf; test -x /bin/sh\n",
                    &["--no-cache"],
                );
            }
            bench.evil(&image_with(Tar::new().directory(name, 0o755).file(&format!("{name}/x"), b"1")));
            bench.build("FROM evil\nRUN true\n", &["--no-cache"]);
        }
    });
}

#[test]
fn masks_do_not_use_the_images_null_device() {
    everywhere(|bench| {
        let trap = Tar::new()
            .file("dev/null", b"attacker's")
            .symlink("dev/console", &bench.outside("/file"))
            .symlink("dev/pts", &bench.outside(""))
            .symlink("dev/ptmx", "/etc/passwd");
        bench.evil(&image_with(trap));
        let script = "test -c /dev/null && for f in /proc/kcore /proc/keys /proc/timer_list; do ! grep -q attacker $f || exit 1; done; \
                      ! test -s /proc/kcore";
        bench.build(&format!("FROM evil\nRUN {script}\n"), &[]).succeeded();
    });
}

#[test]
fn kernel_settings_cannot_be_written() {
    everywhere(|bench| {
        let text = "FROM base\nRUN for f in /proc/sys/kernel/core_pattern /proc/sys/kernel/hostname /proc/sysrq-trigger /sys/kernel/uevent_helper; do \
                    if (echo x > $f) 2>/dev/null; then echo WROTE $f; fi; done; true\n";
        let result = bench.build(text, &[]).succeeded();
        assert!(!result.text.contains("\nWROTE") && !result.text.contains(" WROTE /"), "{}", result.text);
    });
}

#[test]
fn the_program_cannot_be_overwritten_by_what_it_runs() {
    everywhere(|bench| {
        let program = env!("CARGO_BIN_EXE_cooper");
        let before = fs::read(program).unwrap();
        let script = "for e in /proc/*/exe; do (echo evil > $e) 2>/dev/null; (cp /bin/true $e) 2>/dev/null; done; true";
        bench.build(&format!("FROM base\nRUN {script}\n"), &[]);
        // A shell that is the program itself.
        bench.evil(&image_with(
            Tar::new().file_with_mode("bin/trap", 0o755, b"#!/proc/self/exe\n").symlink("bin/loop", "/proc/self/exe"),
        ));
        bench.build("FROM evil\nSHELL [\"/bin/trap\"]\nRUN x\n", &[]);
        bench.build("FROM evil\nRUN [\"/bin/loop\", \"build\"]\n", &[]);
        bench.build("FROM evil\nRUN [\"/proc/self/exe\", \"-c\", \"true\"]\n", &[]);
        assert!(before == fs::read(program).unwrap());
    });
}

#[test]
fn environments_of_the_builder_are_not_seen() {
    everywhere(|bench| {
        bench.write("Dockerfile", "FROM base\nENV A=1\nRUN env; cat /proc/*/environ; cat /proc/*/cmdline\n");
        let context = bench.text("context");
        let result = bench.run(&["--progress=plain", &context], |command| {
            command.env("BUILDER_TOKEN", "s3ntinel-of-env").env("DOCKER_AUTH_CONFIG", "{\"auths\":{}}");
        });
        assert!(!result.succeeded().text.contains("s3ntinel-of-env"));
    });
}

#[test]
fn credentials_and_sockets_of_the_builder_are_not_in_reach() {
    everywhere(|bench| {
        fs::create_dir_all(bench.path("home/.docker")).unwrap();
        fs::write(
            bench.path("home/.docker/config.json"),
            "{\"auths\":{\"r.test\":{\"auth\":\"czNudGluZWw6czNudGluZWw=\"}}}",
        )
        .unwrap();
        bench.write("Dockerfile", "FROM base\nRUN env; cat /proc/mounts; find / -name config.json -o -name '*.sock' 2>/dev/null; cat /proc/keys 2>/dev/null; true\n");
        let context = bench.text("context");
        let result = bench
            .run(&["--progress=plain", &context], |command| {
                command.env("SSH_AUTH_SOCK", "/tmp/agent-of-the-builder.sock");
            })
            .succeeded();
        let output: String = result.text.lines().filter(|line| !line.contains("RUN env")).collect();
        for word in ["agent-of-the-builder", "/.docker", "docker/config", "SSH_AUTH_SOCK"] {
            assert!(!output.contains(word), "{word}: {}", result.text);
        }
    });
}

#[test]
fn capabilities_and_groups_are_those_of_the_image() {
    everywhere(|bench| {
        let text = "FROM base\nRUN grep -q '^CapInh:.0000000000000000$' /proc/self/status && grep -q '^CapAmb:.0000000000000000$' /proc/self/status\n\
                    RUN grep -q '^NoNewPrivs:.*' /proc/self/status && test \"$(id -G)\" = 0\n\
                    USER app\nRUN grep -q '^CapEff:.0000000000000000$' /proc/self/status && test \"$(id -u) $(id -G)\" = '1000 1001 44'\n";
        bench.build(text, &[]).succeeded();
    });
}

#[test]
fn ids_that_wrap_are_refused() {
    everywhere(|bench| {
        bench.write("f", "x");
        for id in ["4294967296", "-1", "2147483648:0", "0:4294967295", "99999999999999999999"] {
            bench.build(&format!("FROM base\nUSER {id}\nRUN id\n"), &[]).refused("");
            bench.build(&format!("FROM base\nCOPY --chown={id} f /f\n"), &[]).refused("");
        }
    });
}

#[test]
fn user_files_of_an_image_may_be_traps() {
    everywhere(|bench| {
        let traps = [
            ("a link out", Tar::new().symlink("etc/passwd", "/etc/../../../../../../etc/passwd")),
            ("a pipe", Tar::new().entry(b'6', "etc/passwd", "", 0o644, b"")),
            ("a directory", Tar::new().directory("etc/passwd", 0o755)),
            ("a loop", Tar::new().symlink("etc/passwd", "passwd")),
        ];
        for (what, trap) in traps {
            bench.evil(&image_with(trap));
            let result = bench.build("FROM evil\nUSER nobody-here\nRUN id\n", &[]);
            assert!(result.code != 0, "{what}: {}", result.text);
        }
        // Eleven mebibytes, over the limit of ten.
        let huge = vec![b'\n'; 11 << 20];
        bench.evil(&image_with(Tar::new().file("etc/passwd", &huge)));
        bench.build("FROM evil\nUSER app\nRUN id\n", &[]).refused("passwd");
    });
}

#[test]
fn what_is_left_in_the_background_does_not_reach_the_layer() {
    everywhere(|bench| {
        let text = "FROM base\nRUN (sleep 1; echo late > /late) & (setsid sh -c 'sleep 1; echo late > /later' &) 2>/dev/null; echo done\n\
                    RUN sleep 2; ! test -e /late && ! test -e /later\n";
        bench.build(text, &[]).succeeded();
    });
}

#[test]
fn a_parent_of_a_mount_point_that_became_a_link_is_not_cleaned_up_through() {
    everywhere(|bench| {
        let target = bench.outside("");
        for mount in
            ["type=tmpfs,target=/a/b/inner", "type=cache,target=/a/b/closed", "type=bind,source=f,target=/a/b/file"]
        {
            bench.write("f", "x");
            let text = format!(
                "FROM base\nRUN --mount={mount} mv /a /moved; rm -rf /a; mkdir -p /a; ln -s {target} /a/b; ls /a/b/ ; true\nRUN true\n"
            );
            bench.build(&text, &[]);
        }
    });
}

#[test]
fn mount_targets_that_are_links_stay_inside() {
    everywhere(|bench| {
        let outside = bench.outside("");
        bench.evil(&image_with(Tar::new().symlink("link", &outside).symlink("up", "../../../../../../../../..")));
        bench.write("f", "evil");
        let text = format!(
            "FROM evil\nRUN --mount=type=tmpfs,target=/link/inner echo evil > /link/inner/file\n\
             RUN --mount=type=cache,target=/link/new echo evil > /link/new/file\n\
             RUN --mount=type=tmpfs,target=/up{outside} echo evil > /up{outside}/file\n\
             RUN --mount=type=bind,source=f,target=/link/file,rw echo more > /link/file\n"
        );
        bench.build(&text, &[]);
    });
}

#[test]
fn sources_of_mounts_that_are_links_stay_in_their_image() {
    everywhere(|bench| {
        let outside = bench.outside("");
        bench.evil(&image_with(
            Tar::new().symlink("link", &outside).symlink("root", "/").symlink("up", "../../../../.."),
        ));
        for source in ["/link", "/up/tmp", "/link/file"] {
            let text = format!(
                "FROM base\nRUN --mount=type=bind,from=evil,source={source},target=/m,rw cat /m/file /m && echo READ; ls /m\n"
            );
            let result = bench.build(&text, &["--no-cache"]);
            assert!(!result.text.contains("canary"), "{}", result.text);
        }
        bench.build("FROM base\nRUN --mount=type=bind,from=evil,source=/root,target=/m test -e /m/bin/busybox && ! test -e /m/outside\n", &[]).succeeded();
        for source in ["../../outside", "../outside", "/../outside/file"] {
            let text = format!("FROM base\nRUN --mount=type=bind,source={source},target=/m ls /m; cat /m /m/file\n");
            assert!(!bench.build(&text, &[]).text.contains("canary"));
        }
    });
}

#[test]
fn names_of_caches_are_never_paths() {
    everywhere(|bench| {
        let long = "x".repeat(4096);
        for id in ["../../../outside", "/etc", "..", ".", "a/../../b", &bench.outside(""), &long] {
            let text = format!(
                "FROM base\nRUN --mount=type=cache,id={id},target=/c test -z \"$(ls -A /c)\" && echo evil > /c/file\n"
            );
            bench.build(&text, &["--no-cache"]).succeeded();
        }
    });
}

#[test]
fn a_cache_swapped_while_another_step_mounts_it_leads_nowhere() {
    everywhere(|bench| {
        let outside = bench.outside("");
        let swap = format!(
            "for i in $(seq 300); do rm -rf /c/sub; ln -s {outside} /c/sub; rm -f /c/sub; mkdir -p /c/sub/inner; done"
        );
        let mut text = format!(
            "FROM base AS swap\nRUN --mount=type=cache,id=k,target=/c mkdir -p /c/sub\nRUN --mount=type=cache,id=k,target=/c {swap}; touch /s\n"
        );
        for n in 0..8 {
            text.push_str(&format!(
                "FROM base AS m{n}\nRUN --mount=type=cache,id=k,target=/c,source=sub ls /c; cat /c/file; echo evil > /c/file; touch /c/evil{n}; touch /s{n}\n\
                 RUN --mount=type=cache,id=k,target=/t --mount=type=tmpfs,target=/t/sub echo evil > /t/sub/file; touch /s{n}\n"
            ));
        }
        text.push_str("FROM base\nCOPY --from=swap /s /\n");
        (0..8).for_each(|n| text.push_str(&format!("COPY --from=m{n} /s{n} /\n")));
        for _ in 0..3 {
            let result = bench.build(&text, &["--jobs=6", "--no-cache"]);
            assert!(!result.text.contains("canary of"), "{}", result.text);
            bench.build(&text.replace(",source=sub", ""), &["--jobs=6", "--no-cache"]);
        }
    });
}

#[test]
fn a_stage_that_changes_is_not_seen_by_a_stage_that_mounts_it() {
    everywhere(|bench| {
        let text = format!(
            "FROM base AS a\nRUN mkdir /d && echo first > /d/f\nFROM a AS b\nRUN rm -r /d && ln -s {} /d && echo x > /b\n\
                    FROM base AS c\nRUN --mount=type=bind,from=a,source=/d,target=/m sleep 0.3 2>/dev/null; test $(cat /m/f) = first && ! (echo x > /m/f) 2>/dev/null && touch /c\n\
                    FROM base\nCOPY --from=b /b /\nCOPY --from=c /c /\n",
            bench.outside("")
        );
        bench.build(&text, &["--jobs=4"]).succeeded();
    });
}

#[test]
fn privileges_are_not_granted_by_a_dockerfile() {
    everywhere(|bench| {
        bench.build("FROM base\nRUN --security=insecure true\n", &[]).refused("security.insecure");
        bench.build("FROM base\nRUN --network=host true\n", &[]).refused("network.host");
        bench.build("FROM base\nRUN --device=vendor.com/gpu true\n", &[]).refused("device");
        for options in
            ["bind-propagation=rshared,dev", "bind-propagation=suid", "propagation=shared", "relabel=shared,exec"]
        {
            bench.build(&format!("FROM base\nRUN --mount=type=bind,target=/m,{options} true\n"), &[]).refused("");
        }
        // A frontend is never fetched or run.
        bench.build("# syntax=localhost:1/evil/frontend:latest\nFROM base\nRUN true\n", &[]).succeeded();
    });
}

#[test]
fn volumes_stay_inside() {
    everywhere(|bench| {
        let mut image = image_with(Tar::new().symlink("v", &bench.outside("")));
        image.config = json!({"Env": ["PATH=/bin"], "Volumes": {"../../../outside": {}, "/v": {}}});
        bench.evil(&image);
        bench.build("FROM evil\nVOLUME ../../outside\nVOLUME /v/inner\nRUN ! test -e /v/file; true\n", &[]).succeeded();
    });
}

#[test]
fn output_of_a_step_does_not_steer_the_terminal() {
    everywhere(|bench| {
        let text = "FROM base\nRUN printf '\\033]0;title\\007\\033[2J\\033]52;c;ZXZpbA==\\007\\033]8;;http://evil\\033\\\\x\\n::set-output name=a::b\\n##vso[task.setvariable]x\\n'; exit ";
        for code in [0, 3] {
            bench.write("Dockerfile", format!("{text}{code}\n"));
            for mode in ["plain", "rawjson", "quiet", "auto"] {
                let context = bench.text("context");
                let result = bench.run(&[&format!("--progress={mode}"), "--no-cache", &context], |command| {
                    command.env("CI", "true").env("GITHUB_ACTIONS", "true");
                });
                assert!(!result.text.contains(['\u{1b}', '\u{7}']), "{mode} {code}: {}", result.text.escape_debug());
                let steers = |line: &str| line.starts_with("::") || line.starts_with("##vso[");
                assert!(!result.text.lines().any(|line| steers(line.trim_start())), "{mode} {code}: {}", result.text);
            }
        }
    });
}

#[test]
fn limits_stop_a_bomb_and_leave_nothing_behind() {
    everywhere(|bench| {
        let text = "FROM base\nRUN i=0; while test $i -lt 400; do sleep 9876 & i=$((i+1)); done; true\n";
        bench.build(text, &["--ulimit", "nofile=64"]);
        let mut processes = fs::read_dir("/proc").unwrap().filter_map(Result::ok);
        assert!(
            !processes.any(|entry| fs::read(entry.path().join("cmdline")).is_ok_and(|line| line == b"sleep\09876\0"))
        );
    });
}

/// Flags that put limits on a step, if limits of control groups can be had for an account.
fn has_control_groups(bench: &super::bench::Bench) -> bool {
    let flags = ["--pids-limit=1000", "--memory=1g", "--no-cache"];
    let has = !bench.build("FROM base\nRUN true\n", &flags).succeeded().text.contains("no effect");
    if !has {
        eprintln!("skipped for {}: no control groups of version 2 are delegated here", bench.account.name);
    }
    has
}

#[test]
fn a_fork_bomb_ends_at_the_limit_of_processes() {
    everywhere(|bench| {
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
    everywhere(|bench| {
        if has_control_groups(&bench) {
            let failed = bench.build("FROM base\nRUN tail /dev/zero\n", &["--memory=64m"]);
            failed.refused("killed: out of memory (limit 64 MiB, `--memory`)");
        }
    });
}

#[test]
fn endless_output_fills_neither_disk_nor_memory_and_ends_in_time() {
    everywhere(|bench| {
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
    for isolation in ["auto", "single-id"] {
        everywhere(|bench| {
            bench.write("neighbour", fs::read(&program).unwrap());
            let text = format!(
                "FROM base\nCOPY --chmod=755 neighbour /n\nRUN /n {pid} {key} try > /told; sed 's/^/told /' /told\n"
            );
            let output = bench.build(&text, &["--isolation", isolation]).succeeded().text;
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
    }
    fs::remove_file(&shared).unwrap();
    assert_eq!(run("remove"), b"shm: REACHED\nmsg: REACHED\nsem: REACHED\n");
}
