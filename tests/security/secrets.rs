//! Secrets are nowhere but where they were asked for: everything that a build writes is searched.

use super::bench::Bench;
use super::outputs::contains;
use super::rungs::{WITH_RUN, on};
use std::fs;
use std::io::Read;
use std::path::Path;

/// What is searched for: no part of a path or of a word.
const SENTINEL: &str = "s3nt1nel-7f3a9c";

/// Panics if the sentinel is in a name or a file below a directory, compressed or not.
fn assert_no_sentinel(path: &Path) {
    assert!(!path.to_string_lossy().contains(SENTINEL), "{}", path.display());
    let metadata = path.symlink_metadata().unwrap();
    if metadata.is_dir() {
        fs::read_dir(path).unwrap().for_each(|entry| assert_no_sentinel(&entry.unwrap().path()));
    } else if metadata.is_file() {
        let bytes = fs::read(path).unwrap();
        assert!(!contains(&bytes, SENTINEL.as_bytes()), "{}", path.display());
        let mut plain = Vec::new();
        let _ = flate2::read::MultiGzDecoder::new(bytes.as_slice()).read_to_end(&mut plain);
        assert!(!contains(&plain, SENTINEL.as_bytes()), "{} unpacked", path.display());
    }
}

fn assert_clean(bench: &Bench) {
    assert_no_sentinel(&bench.path("store"));
    for entry in fs::read_dir(bench.path("")).unwrap() {
        let path = entry.unwrap().path();
        if path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("out")) && !path.ends_with("outside")
        {
            assert_no_sentinel(&path);
        }
    }
}

#[test]
fn the_search_finds_what_is_there() {
    let directory = tempfile::tempdir().unwrap();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut gzip, SENTINEL.as_bytes()).unwrap();
    fs::write(directory.path().join("f.gz"), gzip.finish().unwrap()).unwrap();
    assert!(std::panic::catch_unwind(|| assert_no_sentinel(directory.path())).is_err());
}

#[test]
fn secrets_of_a_step_leave_no_trace() {
    on(WITH_RUN, |bench| {
        fs::write(bench.path("home/secret"), SENTINEL).unwrap();
        let text = format!(
            "FROM base\nRUN --mount=type=secret,id=a --mount=type=secret,id=b,env=B --mount=type=secret,id=a,target=/etc/deep/secret,mode=0444 \
             test $(cat /run/secrets/a) = {0}\"{1}\" && test $B = {0}\"{1}\" && test $(cat /etc/deep/secret) = $B\n\
             RUN ! test -s /run/secrets/a && ! test -s /etc/deep/secret && test -z \"$B\"\n",
            &SENTINEL[..5],
            &SENTINEL[5..]
        );
        bench.write("Dockerfile", &text);
        let (context, oci, meta) = (bench.text("context"), bench.text("out.tar"), bench.text("out.json"));
        let arguments = [
            "--progress=plain",
            &format!("--secret=id=a,src={}", bench.text("home/secret")),
            "--secret=id=b,env=TOKEN",
            &format!("-otype=oci,dest={oci}"),
            "-otype=image",
            &format!("--metadata-file={meta}"),
            "--explain",
            &context,
        ];
        for _ in 0..2 {
            let result = bench.run(&arguments, |command| {
                command.env("TOKEN", SENTINEL);
            });
            let text = result.succeeded().text;
            assert!(!text.contains(SENTINEL) && !text.contains("is in the image"), "{text}");
            assert_clean(&bench);
        }
    });
}

/// Builds with the sentinel as the secrets `a`, a file, and `b`, a variable.
#[track_caller]
fn build_with_secrets(bench: &Bench, dockerfile: &str, flags: &[&str]) -> String {
    fs::write(bench.path("home/secret"), format!("{SENTINEL}\n")).unwrap();
    bench.write("Dockerfile", dockerfile);
    let (file, context) = (format!("--secret=id=a,src={}", bench.text("home/secret")), bench.text("context"));
    let arguments = [&["--progress=plain", &file, "--secret=id=b,env=TOKEN"], flags, &[&context]].concat();
    let result = bench.run(&arguments, |command| {
        command.env("TOKEN", SENTINEL);
    });
    let text = result.succeeded().text;
    assert!(!text.contains(SENTINEL), "{text}");
    text
}

#[test]
fn a_step_that_keeps_its_secret_is_told() {
    on(WITH_RUN, |bench| {
        let text = "FROM base\n\
                    RUN --mount=type=secret,id=a cp /run/secrets/a /kept\n\
                    RUN --mount=type=secret,id=b,env=B mkdir -p /etc/app && echo \"token=$B;\" > /etc/app/conf\n\
                    RUN --mount=type=secret,id=a test -s /run/secrets/a && touch /fine\n";
        let local = format!("-otype=local,dest={}", bench.text("home/out"));
        let archive = format!("-otype=oci,dest={}", bench.text("home/out.tar"));
        for output in [&["-otype=image"], &[local.as_str()], &[archive.as_str()]] {
            let told = build_with_secrets(&bench, text, &[output.as_slice(), &["--no-cache"]].concat());
            for told_of in [
                "Dockerfile:2:1: secret `a` is in the image: `/kept` has it from [1/4] RUN",
                "Dockerfile:3:1: secret `b` is in the image: `/etc/app/conf` has it from [2/4] RUN",
            ] {
                assert!(told.contains(told_of), "{told_of}: {told}");
            }
            assert!(!told.contains("Dockerfile:4:1"), "{told}");
        }
    });
}

#[test]
fn a_secret_of_a_stage_is_told_where_it_comes_into_the_image() {
    on(WITH_RUN, |bench| {
        let text = "FROM base AS stage\nRUN --mount=type=secret,id=a cp /run/secrets/a /kept\nFROM base\n";
        assert!(!build_with_secrets(&bench, text, &[]).contains("is in the image"));
        let copy = format!("{text}COPY --from=stage /bin/busybox /b\nCOPY --from=stage /kept /copied\n");
        let told = build_with_secrets(&bench, &copy, &["--no-cache"]);
        assert!(told.contains("Dockerfile:5:1: secret `a` is in the image: `/copied` has it from"), "{told}");
        assert!(!told.contains("`/kept`") && !told.contains("`/b`"), "{told}");
    });
}

#[test]
fn a_forwarded_agent_leaves_no_trace() {
    on(WITH_RUN, |bench| {
        let directory = bench.path("home").join(SENTINEL);
        fs::create_dir_all(&directory).unwrap();
        let agent = directory.join("agent");
        let _listener = std::os::unix::net::UnixListener::bind(&agent).unwrap();
        bench.write(
            "Dockerfile",
            "FROM base\nRUN --mount=type=ssh test -S $SSH_AUTH_SOCK && env && cat /proc/self/mountinfo; ls -l /run/buildkit; touch /x\n\
             RUN --mount=type=ssh,target=/sock test -S /sock\nRUN test -z \"$SSH_AUTH_SOCK\" && ! test -e /sock && ! test -e /run/buildkit\n",
        );
        let (context, archive) = (bench.text("context"), bench.text("out.tar"));
        let given = format!("--ssh=default={}", agent.display());
        for flags in [["--ssh=default", "-otype=image"], [given.as_str(), &format!("-otype=oci,dest={archive}")]] {
            let arguments = ["--progress=plain", flags[0], flags[1], "--explain", "--no-cache", &context];
            let result = bench.run(&arguments, |command| {
                command.env("SSH_AUTH_SOCK", &agent);
            });
            assert!(!result.text.contains(SENTINEL), "{}", result.text);
            result.succeeded();
            assert_clean(&bench);
        }
    });
}

#[test]
fn a_failed_step_does_not_tell_its_secrets() {
    on(WITH_RUN, |bench| {
        bench.write("Dockerfile", "FROM base\nRUN --mount=type=secret,id=b,env=B test -z \"$B\"\n");
        let context = bench.text("context");
        let result = bench.run(&["--progress=plain", "--secret=id=b,env=TOKEN", &context], |command| {
            command.env("TOKEN", SENTINEL);
        });
        assert!(!result.refused("exit code").text.contains(SENTINEL));
        assert_clean(&bench);
    });
}

#[test]
fn proxies_with_passwords_leave_no_trace() {
    on(WITH_RUN, |bench| {
        bench.write("Dockerfile", "FROM base\nRUN test -n \"$HTTPS_PROXY\" && echo x > /x\n");
        let context = bench.text("context");
        let proxy = format!("--build-arg=HTTPS_PROXY=http://u:{SENTINEL}@proxy.test:1");
        for _ in 0..2 {
            let result = bench.run(&["--progress=plain", "--explain", &proxy, &context], |_| {});
            assert!(!result.succeeded().text.contains(SENTINEL));
        }
        assert_clean(&bench);
    });
}

#[test]
fn an_argument_that_no_stage_declares_leaves_no_trace() {
    on(WITH_RUN, |bench| {
        bench.write("f", "x");
        let argument = format!("--build-arg=TOKEN={SENTINEL}");
        let result =
            bench.build("ARG TOKEN\nFROM base\nCOPY f /f\nRUN test -z \"$TOKEN\"\n", &[&argument, "--explain"]);
        assert!(!result.succeeded().text.contains(SENTINEL));
        assert_clean(&bench);
    });
}

#[test]
fn a_declared_argument_is_in_the_history_alone_and_there_is_a_warning() {
    on(WITH_RUN, |bench| {
        bench.write("f", "x");
        let argument = format!("--build-arg=TOKEN={SENTINEL}");
        let text = "FROM base\nARG TOKEN\nCOPY f /f\nRUN test -n \"$TOKEN\"\n";
        for _ in 0..2 {
            let result = bench.build(text, &[&argument, "--explain"]).succeeded();
            assert!(
                result.text.contains("SecretsUsedInArgOrEnv") && !result.text.contains(SENTINEL),
                "{}",
                result.text
            );
        }
        for name in ["records", "logs", "layers", "pulled", "contexts", "tmp"] {
            assert_no_sentinel(&bench.path("store").join(name));
        }
    });
}

#[test]
fn credentials_of_registries_and_repositories_leave_no_trace() {
    let bench = Bench::new(super::rungs::any_account());
    let server = super::downloads::Server::start(|_| super::downloads::Answer::status(404));
    fs::create_dir_all(bench.path("home/.docker")).unwrap();
    let auth = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, format!("u:{SENTINEL}"));
    let config = format!("{{\"auths\":{{\"{}\":{{\"auth\":\"{auth}\"}}}}}}", server.host());
    fs::write(bench.path("home/.docker/config.json"), config).unwrap();
    let host = server.host();
    let result = bench.build(&format!("FROM {host}/x/y:z\n"), &[]).refused("");
    assert!(!result.text.contains(SENTINEL) && !result.text.contains(&auth), "{}", result.text);
    for url in [format!("http://u:{SENTINEL}@{host}/r.git"), format!("http://{SENTINEL}@{host}/r.git#main:sub")] {
        let result = bench.run(&["--progress=plain", &url], |_| {}).refused("");
        assert!(!result.text.contains(SENTINEL), "{}", result.text);
        let result = bench.build(&format!("FROM scratch\nADD {url} /r\n"), &[]).refused("");
        let told = result.text.lines().filter(|line| !line.contains("| ADD") && !line.contains("] ADD"));
        assert!(!told.collect::<String>().contains(SENTINEL), "{}", result.text);
    }
    let url = format!("http://u:{SENTINEL}@{host}/f?token={SENTINEL}");
    let result = bench.run(&["--progress=plain", &url], |_| {}).refused("404");
    assert!(!result.text.contains(SENTINEL), "{}", result.text);
    assert_clean(&bench);
}
