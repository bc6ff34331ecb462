//! What a test needs of the machine, asked for by name.

use std::path::Path;

/// Whether this process is root.
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Whether a program can be found.
pub fn has_program(name: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/sbin".into()])
        .any(|directory: std::path::PathBuf| directory.join(name).is_file())
}

/// Says that a test cannot run here.
///
/// Where `COOPER_TESTS_COMPLETE` is set, as `./test` does for root, that is a failure: silence would be one too.
pub fn skip(reason: &str) {
    assert!(std::env::var_os("COOPER_TESTS_COMPLETE").is_none(), "cannot be skipped here: {reason}");
    let test = std::thread::current().name().unwrap_or("test").to_owned();
    eprintln!("SKIPPED {test}: {reason}");
}

/// Returns whether the machine has everything named, which is `root`, `busybox` or a program; if not, says what lacks.
#[must_use]
pub fn need<const N: usize>(names: [&str; N]) -> bool {
    let lacking: Vec<&str> = names
        .into_iter()
        .filter(|name| match *name {
            "root" => !is_root(),
            "busybox" => !Path::new("/bin/busybox").exists(),
            program => !has_program(program),
        })
        .collect();
    if !lacking.is_empty() {
        skip(&format!("needs {}", lacking.join(" and ")));
    }
    lacking.is_empty()
}
