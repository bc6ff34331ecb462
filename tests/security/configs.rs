//! Hostile image configs and files of users, and links of a base image under what the Dockerfile writes to.

use super::bench::Bench;
use super::layout::{Image, busybox};
use super::rungs::{EVERY, WITH_RUN, any_account, on};
use super::tar::Tar;
use serde_json::json;
use std::fs;

#[test]
fn configs_that_make_no_sense_are_refused_or_harmless() {
    on(WITH_RUN, |bench| {
        for config in [
            json!({"Env": ["PATH=/bin", "A", "=x", "B=\u{0}c"]}),
            json!({"Env": ["PATH=/bin\u{0}", "LD_PRELOAD=/evil.so"]}),
            json!({"Env": ["PATH=/bin", "BASH_ENV=/evil", "A=\u{1b}[2J\nB=c"]}),
            json!({"Env": ["PATH=/bin"], "WorkingDir": "../../../../outside"}),
            json!({"Env": ["PATH=/bin"], "WorkingDir": "/proc/self/root"}),
            json!({"Env": ["PATH=/bin"], "WorkingDir": "/a\u{0}b"}),
            json!({"Env": ["PATH=/bin"], "User": "\u{0}"}),
            json!({"Env": ["PATH=/bin"], "User": "0:0:0"}),
            json!({"Env": ["PATH=/bin"], "User": "4294967295"}),
            json!({"Env": ["PATH=/bin"], "Shell": []}),
            json!({"Env": ["PATH=/bin"], "Shell": [""]}),
            json!({"Env": ["PATH=/bin"], "OnBuild": ["RUN --security=insecure true"]}),
            json!({"Env": ["PATH=/bin"], "OnBuild": ["ONBUILD RUN true", "FROM base", "COPY --from=base / /"]}),
            json!({"Env": "PATH=/bin"}),
            json!([]),
        ] {
            let mut image = Image::of([busybox().end()]);
            image.config = config;
            bench.evil(&image);
            let result = bench.build("FROM evil\nRUN pwd; ls; true\nCOPY Dockerfile .\n", &["--no-cache"]);
            assert!((0..5).contains(&result.code), "{}", result.text);
            assert!(!result.text.contains("canary") && !result.text.contains('\u{1b}'), "{}", result.text);
        }
    });
}

#[test]
fn users_and_groups_without_measure_are_refused_or_taken() {
    on(WITH_RUN, |bench| {
        let line =
            format!("root:x:0:0::/root:/bin/sh\nlong:x:1:1:{}:/:/bin/sh\napp:x:7:7::/:/bin/sh\n", "x".repeat(8 << 20));
        bench.evil(&Image::of([busybox().end(), Tar::new().file("etc/passwd", line.as_bytes()).end()]));
        bench.build("FROM evil\nUSER app\nRUN test $(id -u) = 7\n", &[]).succeeded();
        for entry in ["app:x:4294967295:1", "app:x:-1:1", "app:x:4294967296:0", "app:x::", "app", "app:x:1:99999999999"]
        {
            bench.evil(&Image::of([busybox().end(), Tar::new().file("etc/passwd", entry.as_bytes()).end()]));
            bench.build("FROM evil\nUSER app\nRUN test $(id -u) = 0\n", &["--no-cache"]).refused("");
        }
        // More groups than a process may be in.
        let groups: String = (1..600_000).map(|n| format!(":x:{n}:app\n")).collect();
        bench.evil(&Image::of([busybox().end(), Tar::new().file("etc/group", groups.as_bytes()).end()]));
        bench.build("FROM evil\nUSER app\nRUN true\n", &[]).refused("groups");
    });
}

#[test]
fn a_user_file_of_a_gibibyte_is_not_read() {
    let bench = Bench::new(any_account());
    // A sparse file, as a layer can hold one in a few hundred bytes.
    let sparse: &[(&str, &[u8])] = &[
        ("GNU.sparse.major", b"0"),
        ("GNU.sparse.minor", b"1"),
        ("GNU.sparse.size", b"1073741824"),
        ("GNU.sparse.map", b"1073741824,0"),
        ("GNU.sparse.numblocks", b"1"),
    ];
    let tar = Tar::new().pax(sparse).file("etc/passwd", b"");
    bench.evil(&Image::of([busybox().end(), tar.end()]));
    bench.build("FROM evil\nUSER app\nRUN true\n", &[]).refused("larger than");
    bench.build("FROM evil\nCOPY --chown=app Dockerfile /f\n", &[]).refused("larger than");
}

#[test]
fn links_of_a_base_image_lead_copies_nowhere_else() {
    on(EVERY, |bench| {
        let outside = bench.outside("");
        let tar = Tar::new()
            .symlink("l", &outside)
            .symlink("up", "../../../../../../../..")
            .symlink("file", &format!("{outside}/file"))
            .symlink("loop", "loop")
            .directory("real", 0o755)
            .symlink("real/in", &format!("{outside}/inner"));
        bench.evil(&Image::of([tar.end()]));
        bench.write("f", "evil");
        bench.write("d/sub/f", "evil");
        bench.write("d/file", "evil");
        for destination in
            ["/l/file", "/l/", "/file", "/l/inner/file", &format!("/up{outside}/file"), "/real/in/file", "/loop/f"]
        {
            for flags in ["", "--link ", "--parents ", "--link --parents ", "--chown=1:1 --chmod=777 "] {
                bench.build(&format!("FROM evil\nCOPY {flags}f {destination}\n"), &[]);
                bench.build(&format!("FROM evil\nADD {flags}d {destination}\n").replace("--parents ", ""), &[]);
            }
        }
        bench.build(&format!("FROM evil\nWORKDIR /l/made\nWORKDIR /up{outside}/made\nWORKDIR /file\nCOPY f f\n"), &[]);
        bench.build("FROM evil\nWORKDIR /real/in/made\nCOPY f .\nVOLUME /l/inner\n", &[]);
    });
}

#[test]
fn copies_from_an_image_read_that_image_alone() {
    on(EVERY, |bench| {
        let outside = bench.outside("");
        let tar = Tar::new()
            .symlink("l", &outside)
            .symlink("up", "../../../../../../../..")
            .symlink("file", &format!("{outside}/file"))
            .directory("d", 0o755)
            .symlink("d/in", &format!("{outside}/inner"))
            .symlink("proc", "/proc/self/root");
        bench.evil(&Image::of([tar.end()]));
        for source in [
            "/l/file",
            "/l/",
            "/l/*",
            "/file",
            "/f*",
            "/d",
            "/d/in/file",
            "/d/*/file",
            &format!("/up{outside}/file"),
            &format!("../../../../../../..{outside}/file"),
            &format!("/proc{outside}/file"),
        ] {
            for flags in ["", "--parents ", "--link "] {
                let dest = bench.path("out");
                let output = format!("-otype=local,dest={}", dest.display());
                bench.build(&format!("FROM scratch\nCOPY --from=evil {flags}{source} /out/\n"), &[&output]);
                super::contexts::assert_no_canary(&dest);
                let _ = fs::remove_dir_all(dest);
            }
        }
    });
}
