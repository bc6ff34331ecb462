//! Hostile contexts and Dockerfiles.

use super::bench::{Bench, Outcome};
use super::layout::Image;
use super::rungs::{EVERY, WITH_RUN, any_account, on};
use super::tar::Tar;
use std::fs;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};

fn make_pipe(path: &std::path::Path) {
    rustix::fs::mknodat(rustix::fs::CWD, path, rustix::fs::FileType::Fifo, rustix::fs::Mode::from_raw_mode(0o666), 0)
        .unwrap();
}

#[test]
fn a_directory_flipped_to_a_link_during_the_build_gives_inside_bytes_or_an_error() {
    let bench = Bench::new(any_account());
    for n in 0..200 {
        bench.write(&format!("d/sub/f{n}"), "inside");
    }
    fs::write(bench.path("outside/inner/f1"), "canary of f1").unwrap();
    let bench = bench.with_new_canary();
    let (real, aside) = (bench.path("context/d/sub"), bench.path("context/aside"));
    let outside = bench.path("outside/inner");
    let is_done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !is_done.load(Ordering::Relaxed) {
                fs::rename(&real, &aside).unwrap();
                symlink(&outside, &real).unwrap();
                std::thread::yield_now();
                fs::remove_file(&real).unwrap();
                fs::rename(&aside, &real).unwrap();
            }
        });
        let mut built = 0;
        for n in 0..40 {
            let dest = bench.path(&format!("out{n}"));
            let output = format!("-otype=local,dest={}", dest.display());
            let result = bench.build("FROM scratch\nCOPY d /d\n", &[&output]);
            if result.code == 0 {
                built += 1;
                assert_no_canary(&dest);
            }
        }
        is_done.store(true, Ordering::Relaxed);
        eprintln!("{built} of 40 builds went through");
    });
}

fn assert_no_canary(path: &std::path::Path) {
    let metadata = path.symlink_metadata().unwrap();
    if metadata.is_dir() {
        fs::read_dir(path).unwrap().for_each(|entry| assert_no_canary(&entry.unwrap().path()));
    } else if metadata.is_file() {
        assert!(!fs::read_to_string(path).unwrap_or_default().contains("canary"), "{}", path.display());
    }
}

#[test]
fn sources_outside_of_the_context_are_not_read() {
    let bench = Bench::new(any_account());
    let context = bench.path("context");
    symlink(bench.outside("/file"), context.join("absolute")).unwrap();
    symlink("../outside/file", context.join("relative")).unwrap();
    symlink(bench.outside("/inner"), context.join("dir")).unwrap();
    symlink("loop", context.join("loop")).unwrap();
    for source in [
        "absolute",
        "relative",
        "dir/file",
        "dir/",
        "../outside/file",
        "/../outside/file",
        "loop",
        "*/../../outside/file",
    ] {
        let dest = bench.path("out");
        let output = format!("-otype=local,dest={}", dest.display());
        bench.build(&format!("FROM scratch\nCOPY {source} /out\n"), &[&output]);
        if dest.exists() {
            assert_no_canary(&dest);
            fs::remove_dir_all(dest).unwrap();
        }
    }
}

#[test]
fn pipes_sockets_and_devices_of_a_context_do_not_hang_the_build() {
    on(WITH_RUN, |bench| {
        make_pipe(&bench.path("context/pipe"));
        let _socket = UnixListener::bind(bench.path("context/socket")).unwrap();
        symlink("/dev/zero", bench.path("context/zero")).unwrap();
        bench.write("f", "x");
        bench.build("FROM base\nCOPY . /all\nADD pipe /pipe\nRUN test -f /all/f\n", &[]);
        bench.build("FROM scratch\nCOPY zero /zero\n", &[]).refused("zero");
        bench.build("FROM base\nRUN --mount=type=bind,source=pipe,target=/m test -p /m\n", &[]);
    });
}

#[test]
fn an_ignore_file_is_neither_followed_outside_nor_read_without_end() {
    let bench = Bench::new(any_account());
    bench.write("f", "x");
    let ignore = bench.path("context/.dockerignore");
    symlink(bench.outside("/file"), &ignore).unwrap();
    let result = bench.build("FROM scratch\nCOPY f /\n", &[]);
    assert!(!result.text.contains("canary"), "{}", result.text);
    fs::remove_file(&ignore).unwrap();
    fs::File::create(&ignore).unwrap().set_len(1 << 30).unwrap();
    bench.build("FROM scratch\nCOPY f /\n", &[]).refused("larger");
    fs::remove_file(&ignore).unwrap();
    make_pipe(&ignore);
    bench.build("FROM scratch\nCOPY f /\n", &[]).refused("");
    fs::remove_file(&ignore).unwrap();
    bench.write(&"a".repeat(200), "x");
    fs::write(&ignore, format!("{}b\n!f\n", "**a".repeat(60))).unwrap();
    bench.build("FROM scratch\nCOPY . /\n", &[]).succeeded();
}

#[test]
fn a_dockerfile_that_is_no_file_or_too_large_is_refused() {
    let bench = Bench::new(any_account());
    let dockerfile = bench.path("context/Dockerfile");
    make_pipe(&dockerfile);
    bench.build_as_is(&[]).refused("regular file");
    fs::remove_file(&dockerfile).unwrap();
    symlink("/dev/zero", &dockerfile).unwrap();
    bench.build_as_is(&[]).refused("regular file");
    fs::remove_file(&dockerfile).unwrap();
    fs::create_dir(&dockerfile).unwrap();
    bench.build_as_is(&[]).refused("regular file");
    fs::remove_dir(&dockerfile).unwrap();
    fs::File::create(&dockerfile).unwrap().set_len(1 << 30).unwrap();
    bench.build_as_is(&[]).refused("larger than");
}

#[test]
fn a_dockerfile_cannot_make_the_program_busy() {
    let bench = Bench::new(any_account());
    // A value that doubles sixty times.
    let mut text = String::from("FROM scratch\nARG A0=xxxxxxxxxxxxxxxx\n");
    (0..60).for_each(|n| text.push_str(&format!("ARG A{}=$A{n}$A{n}\n", n + 1)));
    bench.build(&format!("{text}LABEL a=$A60\n"), &[]).refused("A");
    // One line of fifteen megabytes, a hundred thousand stages, a million instructions.
    bench.build(&format!("FROM scratch\nLABEL a={}\n", "x".repeat(15 << 20)), &[]);
    bench.build(&"FROM scratch\n".repeat(100_000), &[]);
    bench.build(&format!("FROM scratch\n{}", "ENV a=1\n".repeat(500_000)), &[]);
    bench
        .build(&format!("FROM scratch\nLABEL a={}x{}\n", "${a:-".repeat(100_000), "}".repeat(100_000)), &[])
        .refused("");
    bench.build(&format!("FROM scratch\nRUN {}\n", "\\\n".repeat(2_000_000)), &[]).refused("");
    bench.build("FROM scratch\nCOPY --chmod=99999999999999999999 . /\n", &[]).refused("");
    bench.build("FROM scratch\nONBUILD ONBUILD COPY a b\n", &[]).refused("");
    bench.build_bytes(&[0xff, 0xfe, b'F', 0, b'R', 0]).refused("");
}

impl Bench {
    /// Builds a Dockerfile that need not be text.
    #[track_caller]
    fn build_bytes(&self, dockerfile: &[u8]) -> Outcome {
        self.write("Dockerfile", dockerfile);
        self.build_as_is(&[])
    }

    /// Builds what comes on standard input.
    #[track_caller]
    fn build_stream(&self, stream: &[u8], flags: &[&str]) -> Outcome {
        fs::write(self.path("stream"), stream).unwrap();
        let input = fs::File::open(self.path("stream")).unwrap();
        self.run(&[&["--progress=plain"], flags, &["-"]].concat(), |command| {
            command.stdin(Stdio::from(input));
        })
    }
}

#[test]
fn a_context_that_is_a_hostile_tar_stays_inside() {
    on(EVERY, |bench| {
        bench.evil(&Image::of([Tar::new().directory("a", 0o755).file("a/below", b"1").end()]));
        let dockerfile = b"FROM evil\nCOPY . /c\n";
        let outside = bench.outside("");
        let attacks = [
            Tar::new().file("../x", b"evil").file("a/../../x", b"evil").file("/x", b"evil").file("./..//x", b"evil"),
            Tar::new()
                .symlink("l", &outside)
                .file("l/file", b"evil")
                .directory("l/inner", 0o777)
                .file("l/.wh.file", b""),
            Tar::new().symlink("l", "..").file("l/outside/file", b"evil").file("l/elsewhere/file", b"evil"),
            Tar::new().hard_link("h", &format!("{outside}/file")).file("h", b"evil"),
            Tar::new().hard_link("h", "../../outside/file"),
            Tar::new().symlink(".", &outside).file("file", b"evil"),
            Tar::new().symlink(".dockerignore", &format!("{outside}/file")),
            Tar::new().symlink("d", &outside).file("f", b"1").symlink("d/file", "f"),
            Tar::new().entry(b'6', "pipe", "", 0o666, b""),
        ];
        for (n, attack) in attacks.into_iter().enumerate() {
            let tar = attack.file("Dockerfile", dockerfile).end();
            let outs = [bench.path(&format!("out{n}")), bench.path(&format!("out-add{n}"))];
            let [streamed, added] = outs.each_ref().map(|out| format!("-otype=local,dest={}", out.display()));
            bench.build_stream(&tar, &[&streamed]);
            // And as the archive of an ADD.
            bench.write("a.tar", &tar);
            bench.build("FROM evil\nADD a.tar /a/\nADD a.tar /\n", &[&added]);
            outs.iter().filter(|out| out.exists()).for_each(|out| assert_no_canary(out));
        }
        for trap in [
            Tar::new().symlink("Dockerfile", &format!("{outside}/file")),
            Tar::new().entry(b'6', "Dockerfile", "", 0o644, b""),
        ] {
            let result = bench.build_stream(&trap.end(), &[]).refused("Dockerfile");
            assert!(!result.text.contains("canary"), "{}", result.text);
        }
        let trap = Tar::new().symlink("sub", &outside).file("Dockerfile", b"FROM scratch\nCOPY . /\n");
        let result = bench.build_stream(&trap.end(), &["-f", "sub/file"]).refused("");
        assert!(!result.text.contains("canary"), "{}", result.text);
    });
}

#[test]
fn ignore_files_beside_a_dockerfile_of_a_tar_are_those_of_the_tar() {
    let bench = Bench::new(any_account());
    fs::write(bench.path("outside/inner/Dockerfile.dockerignore"), "[canary\n").unwrap();
    let bench = bench.with_new_canary();
    let tar =
        Tar::new().symlink("sub", &bench.outside("/inner")).file("Dockerfile", b"FROM scratch\nCOPY Dockerfile /\n");
    for path in ["sub/Dockerfile", "../../../outside/inner/Dockerfile"] {
        let result = bench.build_stream(&tar.clone().end(), &["-f", path]).refused("Dockerfile");
        assert!(!result.text.contains("[canary"), "{}", result.text);
    }
}

#[test]
fn a_dockerfile_from_a_stream_is_not_written_where_a_flag_points() {
    let bench = Bench::new(any_account());
    for path in
        [bench.outside("/file"), bench.outside("/new"), "../outside/file".into(), "../../../../outside/file".into()]
    {
        bench.build_stream(b"FROM scratch\nCOPY . /\n", &["-f", &path]).refused("ambiguous Dockerfile source");
    }
    bench.build_stream(b"FROM scratch\nWORKDIR /x\n", &[]).succeeded();
}

#[test]
fn only_archives_are_unpacked_and_nothing_in_them_is() {
    on(WITH_RUN, |bench| {
        let inner = Tar::new().file("smuggled", b"1").end();
        bench.write("a.tar", Tar::new().file("inner.tar", &inner).end());
        bench.write("text.tar.gz", "no archive");
        let text = "FROM base\nADD a.tar text.tar.gz /a/\nADD --unpack=false a.tar /b/\n\
                    RUN test -f /a/inner.tar && ! test -e /a/smuggled && test -f /a/text.tar.gz && test -f /b/a.tar\n";
        bench.build(text, &[]).succeeded();
        bench.build("FROM base\nADD --checksum=sha256:00 https://localhost:1/x /x\n", &[]).refused("");
    });
}
