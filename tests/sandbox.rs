//! Steps that really run: as root, in a busybox root file system in a temporary directory.
#![allow(clippy::unwrap_used)]

use cooper::plan::graph::Network;
use cooper::sandbox::{Cancel, ExitStatus, MountSpec, RunError, RunSpec, Runner};
use cooper::snapshot;
use cooper::sys::Root;
use cooper::sys::mount::open_path;
use cooper::sys::overlay::OverlayForm;
use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

/// A layer with busybox, and an overlay on it.
struct Bench {
    directory: tempfile::TempDir,
}

impl Bench {
    /// Returns `None`, and says so, where the tests cannot run.
    fn new() -> Option<Bench> {
        if !rustix::process::geteuid().is_root() || !Path::new("/bin/busybox").exists() {
            eprintln!("skipped: running steps needs root and a static /bin/busybox");
            return None;
        }
        let bench = Bench { directory: tempfile::Builder::new().prefix("step-").tempdir_in("/tmp").unwrap() };
        let lower = bench.lower();
        for path in ["bin", "etc", "tmp", "root"] {
            fs::DirBuilder::new().recursive(true).mode(0o755).create(lower.join(path)).unwrap();
        }
        fs::copy("/bin/busybox", lower.join("bin/busybox")).unwrap();
        for applet in ["sh", "cat", "ls", "id", "echo", "true", "sleep", "grep", "touch", "rm", "mkdir", "ln", "stat"] {
            symlink("busybox", lower.join("bin").join(applet)).unwrap();
        }
        fs::write(lower.join("etc/passwd"), "root:x:0:0::/root:/bin/sh\napp:x:1000:1001::/home/app:/bin/sh\n").unwrap();
        fs::write(lower.join("etc/group"), "root:x:0:\napp:x:1001:\nvideo:x:44:app\n").unwrap();
        fs::create_dir(bench.upper()).unwrap();
        Some(bench)
    }

    fn lower(&self) -> PathBuf {
        self.directory.path().join("lower")
    }

    fn upper(&self) -> PathBuf {
        self.directory.path().join("upper")
    }

    fn mount(&self) -> Root {
        let work = tempfile::tempdir_in(self.directory.path()).unwrap().keep();
        snapshot::mount(&[self.lower()], &self.upper(), &work, OverlayForm::Trusted).unwrap().root
    }

    fn run(&self, script: &str, change: impl FnOnce(&mut RunSpec<'_>)) -> Result<(ExitStatus, String), RunError> {
        self.run_until(script, change, &Cancel::new().unwrap())
    }

    fn run_until(
        &self,
        script: &str,
        change: impl FnOnce(&mut RunSpec<'_>),
        cancel: &Cancel,
    ) -> Result<(ExitStatus, String), RunError> {
        let root = self.mount();
        let mut spec = RunSpec {
            aside: None,
            root: &root,
            argv: ["/bin/sh", "-c", script].map(OsString::from).to_vec(),
            env: vec![("PATH".into(), "/bin".into())],
            cwd: "/".into(),
            user: String::new(),
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
        change(&mut spec);
        let runner = Runner::with_executable(Path::new(env!("CARGO_BIN_EXE_cooper"))).unwrap();
        let mut output = Vec::new();
        let status = runner.run(&spec, &mut |_, bytes| output.extend_from_slice(bytes), cancel)?;
        Ok((status, String::from_utf8(output).unwrap()))
    }

    fn output(&self, script: &str) -> String {
        let (status, output) = self.run(script, |_| {}).unwrap();
        assert_eq!(status, ExitStatus::Code(0), "{output}");
        output
    }

    /// Returns the paths in the upper directory, which is the layer.
    fn layer(&self) -> Vec<String> {
        fn walk(directory: &Path, root: &Path, found: &mut Vec<String>) {
            for entry in fs::read_dir(directory).unwrap() {
                let path = entry.unwrap().path();
                found.push(path.strip_prefix(root).unwrap().display().to_string());
                if fs::symlink_metadata(&path).unwrap().is_dir() {
                    walk(&path, root, found);
                }
            }
        }
        let mut found = Vec::new();
        walk(&self.upper(), &self.upper(), &mut found);
        found.sort();
        found
    }
}

#[test]
fn capabilities_and_limits_are_those_of_docker() {
    let Some(bench) = Bench::new() else { return };
    let output =
        bench.output("grep -E '^(Cap|NoNewPrivs|Seccomp:)' /proc/self/status; umask; echo $$; id; pwd; echo $HOME");
    let fields: Vec<&str> = output.split_whitespace().collect();
    let all = "00000000a80425fb";
    let none = "0000000000000000";
    let wanted = format!(
        "CapInh: {none} CapPrm: {all} CapEff: {all} CapBnd: {all} CapAmb: {none} NoNewPrivs: 0 Seccomp: 2 \
         0022 1 uid=0(root) gid=0(root) groups=0(root) / /root"
    );
    assert_eq!(fields.join(" "), wanted);
    let (_, output) = bench.run("grep -E '^Cap' /proc/self/status", |spec| spec.user = "app".into()).unwrap();
    let wanted = format!("CapInh: {none} CapPrm: {none} CapEff: {none} CapBnd: {all} CapAmb: {none}");
    assert_eq!(output.split_whitespace().collect::<Vec<_>>().join(" "), wanted);
    let (_, output) =
        bench.run("grep -E '^(CapEff|Seccomp:)' /proc/self/status", |spec| spec.is_insecure = true).unwrap();
    let own = fs::read_to_string("/proc/self/status").unwrap();
    let own = own.lines().find(|line| line.starts_with("CapEff")).unwrap();
    assert_eq!(output, format!("{own}\nSeccomp:\t0\n"));
}

#[test]
fn nothing_of_the_builders_root_is_left_above_the_steps_root() {
    let Some(bench) = Bench::new() else { return };
    let script = "ls /..; grep -c ' / / ' /proc/self/mountinfo";
    let (status, output) = bench.run(script, |_| ()).unwrap();
    assert_eq!(status, ExitStatus::Code(0));
    assert_eq!(output, "bin\ndev\netc\nproc\nroot\nsys\ntmp\n1\n");
}

#[test]
fn a_step_has_three_descriptors_and_only_its_own_environment() {
    let Some(bench) = Bench::new() else { return };
    // The fourth is the directory that `ls` reads.
    assert_eq!(bench.output("ls /proc/self/fd"), "0\n1\n2\n3\n");
    // Of pid 1; its children have what the shell adds.
    assert_eq!(
        bench.output("cat /proc/1/environ | busybox tr '\\0' '\\n' | busybox sort -u"),
        "HOME=/root\nPATH=/bin\n"
    );
    assert_eq!(bench.output("cat; cat /dev/stdin; echo end"), "end\n");
    let (_, output) = bench.run("cat", |spec| spec.stdin = Some(b"hello".to_vec())).unwrap();
    assert_eq!(output, "hello");
}

#[test]
fn the_kernels_files_are_masked_and_read_only() {
    let Some(bench) = Bench::new() else { return };
    let script = "cat /proc/kcore /proc/keys /proc/timer_list 2>/dev/null; for d in /proc/scsi /proc/acpi /sys/firmware; do ls $d 2>/dev/null; done
        for f in /proc/sys/kernel/hostname /sys/x /proc/sysrq-trigger /proc/irq/x; do (echo x > $f) 2>/dev/null && echo wrote $f; done
        mount -t tmpfs t /tmp 2>/dev/null && echo mounted; ls /dev; stat -c %t:%T /dev/null; echo > /dev/null; (echo ok >/dev/stderr) 2>&1; cat /etc/hosts";
    let output = bench.output(script);
    let wanted = "core\nfd\nfull\nmqueue\nnull\nptmx\npts\nrandom\nshm\nstderr\nstdin\nstdout\ntty\nurandom\nzero\n1:3\nok\n\
                  127.0.0.1\tlocalhost step\n::1\tlocalhost ip6-localhost ip6-loopback\n";
    assert_eq!(output, wanted);
    let output = bench.output("grep -c . /proc/self/mountinfo; grep ' / / ' /proc/self/mountinfo");
    assert!(output.contains(" - overlay "), "{output}");
}

#[test]
fn links_in_place_of_kernel_directories_are_refused() {
    for directory in ["proc", "sys", "dev"] {
        let Some(bench) = Bench::new() else { return };
        let outside = bench.directory.path().join("outside");
        fs::create_dir(&outside).unwrap();
        symlink(&outside, bench.lower().join(directory)).unwrap();
        let error = bench.run("true", |_| {}).unwrap_err();
        assert!(matches!(error, RunError::HostileMountPoint(_)), "{error}");
        assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
    }
}

#[test]
fn links_in_place_of_etc_files_stay_inside() {
    let Some(bench) = Bench::new() else { return };
    let outside = bench.directory.path().join("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("hosts"), "canary").unwrap();
    symlink(outside.join("hosts"), bench.lower().join("etc/hosts")).unwrap();
    symlink("../../../../run/resolve/stub.conf", bench.lower().join("etc/resolv.conf")).unwrap();
    assert!(bench.output("cat /etc/hosts; echo x > /etc/hosts; ls /run/resolve").contains("localhost"));
    assert_eq!(fs::read_to_string(outside.join("hosts")).unwrap(), "canary");
    assert_eq!(bench.layer().iter().filter(|path| path.contains("run") || path.contains("outside")).count(), 0);
}

#[test]
fn stubs_of_mount_points_are_removed_and_times_kept() {
    let Some(bench) = Bench::new() else { return };
    let modified = fs::metadata(bench.lower().join("etc")).unwrap();
    let secret = |target: &str| MountSpec::File {
        target: target.into(),
        content: b"s3cret".to_vec(),
        mode: 0o400,
        uid: 0,
        gid: 0,
    };
    let (status, output) = bench
        .run(
            "cat /run/secrets/a /x/y/z; ls /etc/hosts /etc/resolv.conf; (echo >> /x/y/z) 2>/dev/null || echo ro",
            |spec| {
                spec.mounts = vec![secret("/run/secrets/a"), secret("/x/y/z")];
            },
        )
        .unwrap();
    assert_eq!((status, output.as_str()), (ExitStatus::Code(0), "s3crets3cret/etc/hosts\n/etc/resolv.conf\nro\n"));
    assert_eq!(bench.layer(), ["dev", "etc", "proc", "sys"]);
    let after = fs::metadata(bench.upper().join("etc")).unwrap();
    assert_eq!((after.mtime(), after.mtime_nsec()), (modified.mtime(), modified.mtime_nsec()));
    // What the step puts beside a stub stays.
    bench.run("echo x > /run/secrets/b", |spec| spec.mounts = vec![secret("/run/secrets/a")]).unwrap();
    assert_eq!(bench.layer(), ["dev", "etc", "proc", "run", "run/secrets", "run/secrets/b", "sys"]);
}

#[test]
fn a_kernel_directory_made_for_a_mount_point_goes_with_it() {
    let Some(bench) = Bench::new() else { return };
    let (status, output) = bench
        .run("cat /dev/pipes/EOF", |spec| {
            let target = "/dev/pipes/EOF".into();
            spec.mounts = vec![MountSpec::File { target, content: b"script".to_vec(), mode: 0o755, uid: 0, gid: 0 }];
        })
        .unwrap();
    assert_eq!((status, output.as_str()), (ExitStatus::Code(0), "script"));
    assert_eq!(bench.layer(), ["etc", "proc", "sys"]);
}

#[test]
fn a_link_put_over_a_parent_of_a_mount_point_leads_nowhere() {
    let Some(bench) = Bench::new() else { return };
    let outside = bench.directory.path().join("outside");
    fs::create_dir_all(outside.join("b")).unwrap();
    let script = format!(
        "ln -s {} /new; busybox umount /a/b 2>/dev/null; busybox mv /a /moved; ln -s {} /a",
        outside.display(),
        outside.display()
    );
    bench
        .run(&script, |spec| {
            spec.mounts = vec![MountSpec::Tmpfs { target: "/a/b".into(), size_bytes: None, mode: 0o1777 }];
        })
        .unwrap();
    assert!(outside.join("b").is_dir());
}

#[test]
fn mounts_of_every_kind_show_what_they_should() {
    let Some(bench) = Bench::new() else { return };
    let cache = bench.directory.path().join("cache");
    fs::create_dir(&cache).unwrap();
    fs::write(cache.join("old"), "old").unwrap();
    let view = snapshot::view(&[bench.lower()], &cache, OverlayForm::Trusted).unwrap();
    let script = "cat /c/old; echo new > /c/new; (echo > /ro/x) 2>/dev/null || echo ro; cat /v/passwd | grep -c root; \
                  stat -c %a /t; cat /c/in/s; grep ' /t ' /proc/self/mountinfo | grep -c size=1024k";
    let (status, output) = bench
        .run(script, |spec| {
            let bind = |target: &str, read_only| MountSpec::Bind {
                source: open_path(&cache).unwrap(),
                target: target.into(),
                read_only,
                is_recursive: false,
            };
            spec.mounts = vec![
                bind("/c", false),
                bind("/ro", true),
                MountSpec::Overlay {
                    mount: std::os::fd::AsFd::as_fd(&view).try_clone_to_owned().unwrap(),
                    source: "/etc".into(),
                    target: "/v".into(),
                    read_only: true,
                },
                MountSpec::Tmpfs { target: "/t".into(), size_bytes: Some(1 << 20), mode: 0o1777 },
                MountSpec::File { target: "/c/in/s".into(), content: b"in\n".to_vec(), mode: 0o444, uid: 0, gid: 0 },
            ];
        })
        .unwrap();
    assert_eq!((status, output.as_str()), (ExitStatus::Code(0), "oldro\n1\n1777\nin\n1\n"));
    assert_eq!(fs::read_to_string(cache.join("new")).unwrap(), "new\n");
    assert_eq!(bench.layer(), ["dev", "etc", "proc", "sys"]);
}

#[test]
fn a_link_in_a_cache_leads_a_mount_inside_the_image_only() {
    let Some(bench) = Bench::new() else { return };
    let [cache, outside] = ["cache", "outside"].map(|name| {
        let path = bench.directory.path().join(name);
        fs::create_dir(&path).unwrap();
        path
    });
    symlink(&outside, cache.join("sub")).unwrap();
    symlink("/proc/self/root/etc", cache.join("magic")).unwrap();
    let mounts = |target: &str| {
        let source = open_path(&cache).unwrap();
        let tmpfs = MountSpec::Tmpfs { target: target.into(), size_bytes: None, mode: 0o755 };
        vec![MountSpec::Bind { source, target: "/c".into(), read_only: false, is_recursive: false }, tmpfs]
    };
    bench.run("touch /c/sub/x", |spec| spec.mounts = mounts("/c/sub")).unwrap();
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
    let error = bench.run("true", |spec| spec.mounts = mounts("/c/magic/y")).unwrap_err();
    assert!(matches!(error, RunError::Setup { .. }), "{error}");
    let error = bench.run("true", |spec| spec.mounts = mounts("/proc/sys")).unwrap_err();
    assert_eq!(error.to_string(), "set up the step: mount /proc/sys: the target is inside /proc");
}

#[test]
fn limits_sizes_and_names_are_those_asked_for() {
    let Some(bench) = Bench::new() else { return };
    let script =
        "ulimit -n; ulimit -Hn; busybox df -k /dev/shm | grep -c 8192; busybox hostname; grep x.test /etc/hosts";
    let (_, output) = bench
        .run(script, |spec| {
            spec.ulimits = vec![("nofile".into(), 100, 200)];
            spec.shm_size_bytes = Some(8 << 20);
            spec.hostname = "named".into();
            spec.extra_hosts = vec![("x.test".into(), "10.0.0.1".into())];
        })
        .unwrap();
    assert_eq!(output, "100\n200\n1\nnamed\n10.0.0.1\tx.test\n");
    let error = bench.run("true", |spec| spec.ulimits = vec![("nosuch".into(), 1, 1)]).unwrap_err();
    assert_eq!(error.to_string(), "unknown resource limit `nosuch`");
    let error = bench.run("true", |spec| spec.extra_hosts = vec![("a\nb".into(), "1".into())]).unwrap_err();
    assert!(matches!(error, RunError::Host(_)));
}

#[test]
fn users_are_those_of_the_image() {
    let Some(bench) = Bench::new() else { return };
    for (user, wanted) in [
        ("app", "uid=1000(app) gid=1001(app) groups=44(video),1001(app) /home/app\n"),
        ("1000", "uid=1000(app) gid=1001(app) groups=44(video),1001(app) /home/app\n"),
        ("app:video", "uid=1000(app) gid=44(video) groups=44(video) /home/app\n"),
        ("1234", "uid=1234 gid=0(root) groups=0(root) /\n"),
        (":video", "uid=0(root) gid=44(video) groups=44(video) /root\n"),
    ] {
        let (_, output) = bench.run("echo `id` $HOME > /dev/stdout", |spec| spec.user = user.into()).unwrap();
        assert_eq!(output, wanted, "{user}");
    }
    let error = bench.run("true", |spec| spec.user = "nosuch".into()).unwrap_err();
    assert_eq!(error.to_string(), "unable to find user nosuch: no matching entries in passwd file");
    fs::remove_file(bench.lower().join("etc/passwd")).unwrap();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        bench.lower().join("etc/passwd"),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::from_raw_mode(0o644),
        0,
    )
    .unwrap();
    assert!(matches!(bench.run("true", |_| {}).unwrap_err(), RunError::User(_)));
}

#[test]
fn the_working_directory_is_made_and_never_outside() {
    let Some(bench) = Bench::new() else { return };
    let (_, output) = bench.run("pwd; stat -c %u:%a .", |spec| spec.cwd = "/w/x".into()).unwrap();
    assert_eq!(output, "/w/x\n0:755\n");
    for cwd in ["/proc/self/fd/7", "/proc/1", "/link"] {
        let link = bench.lower().join("link");
        let _ = fs::remove_file(&link);
        symlink("/proc/self/cwd", &link).unwrap();
        assert!(bench.run("pwd", |spec| spec.cwd = cwd.into()).is_err(), "{cwd}");
    }
}

#[test]
fn no_network_is_a_loopback_alone() {
    let Some(bench) = Bench::new() else { return };
    let script = "busybox ip -o link | grep -c .; busybox ip -o link | grep -c LOOPBACK,UP; busybox ping -c1 -W1 127.0.0.1 >/dev/null && echo pong";
    let (_, output) = bench.run(script, |spec| spec.network = Network::None).unwrap();
    assert_eq!(output, "1\n1\npong\n");
}

#[test]
fn how_a_command_ends_is_told() {
    let Some(bench) = Bench::new() else { return };
    assert_eq!(bench.run("exit 7", |_| {}).unwrap().0, ExitStatus::Code(7));
    assert_eq!(bench.run("sh -c 'kill -9 $$'; exit $?", |_| {}).unwrap().0, ExitStatus::Code(137));
    let argv = |argv: &[&str]| argv.iter().map(OsString::from).collect::<Vec<_>>();
    let (status, output) = bench.run("", |spec| spec.argv = argv(&["nosuch"])).unwrap();
    assert_eq!((status.shell_code(), output.as_str()), (127, "exec: \"nosuch\": executable file not found in $PATH\n"));
    let (status, output) = bench.run("", |spec| spec.argv = argv(&["/etc/passwd"])).unwrap();
    assert_eq!((status.shell_code(), output.as_str()), (126, "exec: \"/etc/passwd\": permission denied\n"));
    let (_, output) = bench.run("", |spec| spec.argv = argv(&["echo", "by path"])).unwrap();
    assert_eq!(output, "by path\n");
}

#[test]
fn output_is_complete() {
    let Some(bench) = Bench::new() else { return };
    let output = bench.output("i=0; while [ $i -lt 20000 ]; do echo line $i; i=$((i+1)); done");
    assert_eq!(output.lines().count(), 20000);
}

#[test]
fn what_is_left_in_the_background_is_killed() {
    let Some(bench) = Bench::new() else { return };
    let started = std::time::Instant::now();
    bench.output("(sleep 1; echo x > /late) & echo started");
    assert!(started.elapsed().as_millis() < 900);
    std::thread::sleep(std::time::Duration::from_millis(1200));
    assert!(!bench.upper().join("late").exists());
}

#[test]
fn a_canceled_step_ends_at_once() {
    let Some(bench) = Bench::new() else { return };
    let cancel = Cancel::new().unwrap();
    let other = cancel.clone();
    let thread = std::thread::spawn(move || {
        std::thread::sleep(std::time::Duration::from_millis(200));
        other.cancel();
    });
    let started = std::time::Instant::now();
    let error = bench.run_until("sleep 30 & sleep 30", |_| {}, &cancel).unwrap_err();
    thread.join().unwrap();
    assert!(matches!(error, RunError::Canceled) && started.elapsed().as_secs() < 5);
    assert!(cancel.is_canceled());
}

#[test]
fn the_programs_file_cannot_be_reached_or_changed() {
    let Some(bench) = Bench::new() else { return };
    let program = Path::new(env!("CARGO_BIN_EXE_cooper"));
    let before = fs::metadata(program).unwrap();
    // A command that is a script of the program itself: executes `/proc/self/exe` and tries to write to it.
    let shell = bench.lower().join("bin/evil");
    fs::write(&shell, "#!/proc/self/exe\n").unwrap();
    fs::set_permissions(&shell, fs::Permissions::from_mode(0o755)).unwrap();
    let _ = bench.run("", |spec| spec.argv = vec!["/bin/evil".into()]);
    bench.output("for p in /proc/[0-9]*; do (echo x > $p/exe) 2>/dev/null; done; true");
    let after = fs::metadata(program).unwrap();
    assert_eq!((before.len(), before.mtime(), before.ino()), (after.len(), after.mtime(), after.ino()));
}
