//! Hostile commands, and images made to trap the program that runs them.

use super::layout::{Image, busybox};
use super::rungs::{APART, WITH_RUN, on};
use super::tar::Tar;
use cooper::sandbox::Rung;
use serde_json::json;
use std::fs;

/// An image of busybox with something more in a layer above.
fn image_with(more: Tar) -> Image {
    Image::of([busybox().end(), more.end()])
}

#[test]
fn a_step_has_three_descriptors_and_stands_in_the_image() {
    on(WITH_RUN, |bench| {
        let text = "FROM base\nRUN i=3; while test $i -lt 100; do if (true <&$i) 2>/dev/null; then echo LEAKED $i; fi; i=$((i+1)); done; \
                    echo cwd: $(readlink /proc/self/cwd)\n";
        let seen = bench.build(text, &[]).succeeded();
        assert!(seen.text.contains(" cwd: /\n"), "{}", seen.text);
        assert!(!(3..100).any(|n| seen.text.contains(&format!(" LEAKED {n}\n"))), "{}", seen.text);
    });
    on(APART, |bench| {
        // `ls` itself opens the fourth, to list them.
        let seen = bench.build("FROM base\nRUN echo fds: $(ls /proc/self/fd | tr '\\n' ' ')\n", &[]);
        assert!(seen.succeeded().text.contains("fds: 0 1 2 3\n"));
    });
}

#[test]
fn no_working_directory_leads_out() {
    on(WITH_RUN, |bench| {
        for n in [3, 4, 5, 6, 7, 8, 9, 11, 15] {
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
    on(WITH_RUN, |bench| {
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
    on(WITH_RUN, |bench| {
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
    on(APART, |bench| {
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
    on(APART, |bench| {
        let text = "FROM base\nRUN for f in /proc/sys/kernel/core_pattern /proc/sys/kernel/hostname /proc/sysrq-trigger /sys/kernel/uevent_helper; do \
                    if (echo x > $f) 2>/dev/null; then echo WROTE $f; fi; done; true\n";
        let result = bench.build(text, &[]).succeeded();
        assert!(!result.text.contains("\nWROTE") && !result.text.contains(" WROTE /"), "{}", result.text);
    });
}

#[test]
fn the_program_cannot_be_overwritten_by_what_it_runs() {
    on(WITH_RUN, |bench| {
        let program = env!("CARGO_BIN_EXE_cooper");
        let before = fs::read(program).unwrap();
        let script = "for e in /proc/*/exe /proc/self/exe /proc/1/exe /proc/$PPID/exe; do (echo evil > $e) 2>/dev/null; (cp /bin/true $e) 2>/dev/null; done; true";
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
    on(WITH_RUN, |bench| {
        bench.write("Dockerfile", "FROM base\nENV A=1\nRUN env; cat /proc/*/environ /proc/self/environ /proc/1/environ /proc/$PPID/environ; cat /proc/*/cmdline /proc/$PPID/cmdline; true\n");
        let context = bench.text("context");
        let result = bench.run(&["--progress=plain", &context], |command| {
            command.env("BUILDER_TOKEN", "s3ntinel-of-env").env("DOCKER_AUTH_CONFIG", "{\"auths\":{}}");
        });
        assert!(!result.succeeded().text.contains("s3ntinel-of-env"));
    });
}

#[test]
fn credentials_and_sockets_of_the_builder_are_not_in_reach() {
    on(WITH_RUN, |bench| {
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
    on(WITH_RUN, |bench| {
        // With one id there is one user: its rights in its own namespace are those of root, whatever USER says.
        let effective = if bench.account.rung == Rung::SingleId {
            ""
        } else {
            "grep -q '^CapEff:.0000000000000000$' /proc/self/status && "
        };
        let text = format!(
            "FROM base\nRUN grep -q '^CapInh:.0000000000000000$' /proc/self/status && grep -q '^CapAmb:.0000000000000000$' /proc/self/status\n\
                    RUN grep -q '^NoNewPrivs:.*' /proc/self/status && test \"$(id -G)\" = 0\n\
                    USER app\nRUN {effective}test \"$(id -u) $(id -G)\" = '1000 1001 44'\n"
        );
        bench.build(&text, &[]).succeeded();
    });
}

#[test]
fn ids_that_wrap_are_refused() {
    on(WITH_RUN, |bench| {
        bench.write("f", "x");
        for id in ["4294967296", "-1", "2147483648:0", "0:4294967295", "99999999999999999999"] {
            bench.build(&format!("FROM base\nUSER {id}\nRUN id\n"), &[]).refused("");
            bench.build(&format!("FROM base\nCOPY --chown={id} f /f\n"), &[]).refused("");
        }
    });
}

#[test]
fn user_files_of_an_image_may_be_traps() {
    on(WITH_RUN, |bench| {
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
    on(WITH_RUN, |bench| {
        let text = "FROM base\nRUN (sleep 1; echo late > /late) & (setsid sh -c 'sleep 1; echo late > /later' &) 2>/dev/null; echo done\n\
                    RUN sleep 2; ! test -e /late && ! test -e /later\n";
        bench.build(text, &[]).succeeded();
    });
}

#[test]
fn a_parent_of_a_mount_point_that_became_a_link_is_not_cleaned_up_through() {
    on(WITH_RUN, |bench| {
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
    on(WITH_RUN, |bench| {
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
    on(WITH_RUN, |bench| {
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
    on(WITH_RUN, |bench| {
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
    on(WITH_RUN, |bench| {
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
    on(WITH_RUN, |bench| {
        let text = format!(
            "FROM base AS a\nRUN mkdir /d && echo first > /d/f\nFROM a AS b\nRUN rm -r /d && ln -s {} /d && echo x > /b\n\
                    FROM base AS c\nRUN --mount=type=bind,from=a,source=/d,target=/m sleep 0.3 2>/dev/null; test $(cat /m/f) = first && if (echo x > /m/f) 2>/dev/null; then echo WRITTEN; fi; touch /c\n\
                    FROM base\nCOPY --from=b /b /\nCOPY --from=c /c /\nCOPY --from=a /d/f /f\nRUN --mount=type=bind,from=a,source=/d,target=/m test $(cat /f) = first && test $(cat /m/f) = first\n",
            bench.outside("")
        );
        let result = bench.build(&text, &["--jobs=4"]).succeeded();
        // Without mounts it is a private copy, which goes with the step.
        assert!(bench.account.rung == Rung::Chroot || !result.text.contains(" WRITTEN\n"), "{}", result.text);
    });
}

#[test]
fn privileges_are_not_granted_by_a_dockerfile() {
    on(WITH_RUN, |bench| {
        bench.build("FROM base\nRUN --security=insecure true\n", &[]).refused("security.insecure");
        bench.build("FROM base\nRUN --network=host true\n", &[]).refused("network.host");
        bench.build("FROM base\nRUN --device=vendor.com/gpu,required true\n", &[]).refused("device");
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
    on(WITH_RUN, |bench| {
        let mut image = image_with(Tar::new().symlink("v", &bench.outside("")));
        image.config = json!({"Env": ["PATH=/bin"], "Volumes": {"../../../outside": {}, "/v": {}}});
        bench.evil(&image);
        bench.build("FROM evil\nVOLUME ../../outside\nVOLUME /v/inner\nRUN ! test -e /v/file; true\n", &[]).succeeded();
    });
}

#[test]
fn output_of_a_step_does_not_steer_the_terminal() {
    on(WITH_RUN, |bench| {
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
    on(WITH_RUN, |bench| {
        let text = "FROM base\nRUN i=0; while test $i -lt 400; do sleep 9876 & i=$((i+1)); done; true\n";
        bench.build(text, &["--ulimit", "nofile=64"]);
        let mut processes = fs::read_dir("/proc").unwrap().filter_map(Result::ok);
        assert!(
            !processes.any(|entry| fs::read(entry.path().join("cmdline")).is_ok_and(|line| line == b"sleep\09876\0"))
        );
    });
}
