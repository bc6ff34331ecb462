//! What `cooper lint` says of Dockerfiles with a mistake, as a user reads it: `tests/data/errors.txt` has the texts.
//!
//! A case is a line `>>>` with the Dockerfile, its line ends written `\n`, and below it what is printed.
//! `UPDATE_ERRORS=1 cargo test --test error_texts` writes what is printed anew; read the difference.

#![allow(clippy::unwrap_used)]

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

const MARK: &str = ">>> ";

fn said(dockerfile: &str) -> String {
    let empty = tempfile::tempdir().unwrap();
    let mut cooper = Command::new(env!("CARGO_BIN_EXE_cooper"))
        .args(["lint", "-f", "-"])
        .arg(empty.path())
        .env("NO_COLOR", "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    cooper.stdin.take().unwrap().write_all(dockerfile.as_bytes()).unwrap();
    let output = cooper.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(2), "{dockerfile}");
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn mistakes_are_told_with_place_reason_and_hint() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/errors.txt");
    let known = std::fs::read_to_string(&path).unwrap();
    let cases = known.lines().filter_map(|line| line.strip_prefix(MARK));
    let now: String =
        cases.map(|case| format!("{MARK}{case}\n{}\n", said(&case.replace("\\n", "\n")).trim_end())).collect();
    if std::env::var_os("UPDATE_ERRORS").is_some() {
        std::fs::write(&path, now).unwrap();
        return;
    }
    assert!(known.matches(MARK).count() > 60);
    assert_eq!(now, known);
}
