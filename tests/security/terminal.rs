//! Text of strangers in messages and listings: it steers neither a terminal nor a CI system.

use super::bench::Bench;
use super::layout::{Image, busybox};
use super::rungs::any_account;
use serde_json::json;

/// Sets the title, clears the screen, writes the clipboard, and begins a line anew.
const STEER: &str = "\u{1b}]0;title\u{7}\u{1b}[2J\u{1b}]52;c;ZXZpbA==\u{7}\r\u{9b}31m";

#[track_caller]
fn assert_harmless(text: &str) {
    // CSI as one character steers, too.
    let steers = |c: char| c.is_control() && !matches!(c, '\n' | '\t');
    assert!(!text.contains(steers), "{}", text.escape_debug());
}

#[test]
fn names_of_files_and_words_of_a_dockerfile_do_not_steer_the_terminal() {
    let bench = Bench::new(any_account());
    let name = format!("name{STEER}");
    bench.write(&name, "x");
    bench.write("a/b", "x");
    bench.write(".dockerignore", format!("{name}-ignored\n[{STEER}\n"));
    let lines = [
        format!("COPY \"missing{STEER}\" /x"),
        format!("COPY {name} /x/"),
        format!("COPY a {STEER}"),
        format!("LABEL {STEER}={STEER}"),
        format!("ENV A={STEER}\nCOPY --chown=$A a /x"),
        format!("FORM {STEER}"),
        STEER.to_owned(),
        format!("USER {STEER}\nCOPY --chown=nobody{STEER} a /x"),
        format!("WORKDIR /{STEER}\nCOPY a {STEER}/"),
        format!("FROM base AS {STEER}"),
        format!("FROM {STEER}"),
        format!("COPY --from={STEER} a b"),
        format!("COPY --chmod={STEER} a b"),
        format!("ADD --checksum={STEER} http://localhost:1/{STEER} /x"),
        format!("ADD https://localhost:1/x.git#{STEER} /x"),
        format!("# check=skip={STEER}"),
        format!("RUN --mount=type={STEER} true"),
        format!("RUN --mount=type=secret,id={STEER},required true"),
        format!("HEALTHCHECK --interval={STEER} CMD true"),
        format!("COPY <<{STEER} /x"),
    ];
    for ignore in [format!("{name}-ignored\n"), format!("[{STEER}\n")] {
        bench.write(".dockerignore", ignore);
        for line in &lines {
            for mode in ["plain", "quiet", "rawjson"] {
                bench.write("Dockerfile", format!("FROM base\n{line}\n"));
                let context = bench.text("context");
                let result = bench.run(&[&format!("--progress={mode}"), "--explain", &context], |_| {});
                assert_harmless(&result.text);
            }
        }
    }
    for arguments in [["context"].as_slice(), &["context", "--why", &name], &["lint"]] {
        let output = bench.program().args(arguments).current_dir(bench.path("context")).output().unwrap();
        assert_harmless(&String::from_utf8_lossy(&[output.stdout, output.stderr].concat()));
    }
}

#[test]
fn listings_of_an_image_do_not_steer_the_terminal() {
    let bench = Bench::new(any_account());
    let mut image = Image::of([busybox().end()]);
    image.config = json!({
        "Env": ["PATH=/bin", format!("A={STEER}")], "Labels": {STEER: STEER}, "Cmd": [STEER], "Entrypoint": [STEER],
        "User": STEER, "WorkingDir": format!("/{STEER}"), "ExposedPorts": {STEER: {}}, "StopSignal": STEER,
        "Volumes": {format!("/{STEER}"): {}}, "Healthcheck": {"Test": ["CMD", STEER]},
    });
    bench.evil(&image);
    let result = bench.build(&format!("FROM evil\nLABEL a=\"{STEER}\"\nCMD echo {STEER}\n"), &["-t", "a/b:c"]);
    assert_harmless(&result.text);
    for arguments in [
        ["images"].as_slice(),
        &["images", "--digests"],
        &["history", "a/b:c"],
        &["history", "--no-trunc", "a/b:c"],
        &["inspect", "a/b:c"],
        &["inspect", "--format", "{{.Config.Labels}} {{.Config.User}} {{.Config.Cmd}}", "a/b:c"],
        &["du"],
        &["rmi", "a/b:c"],
    ] {
        let output = bench.program().args(arguments).output().unwrap();
        assert_harmless(&String::from_utf8_lossy(&[output.stdout, output.stderr].concat()));
    }
}
