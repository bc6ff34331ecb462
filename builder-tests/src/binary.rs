//! Where the program under test is.

use std::path::PathBuf;

/// Returns the path of `cooper`, which cargo puts beside the directory of the test executables.
///
/// Cargo tells the path of a binary only to tests of the binary's own package.  `COOPER_BINARY` names another one,
/// e.g. a release build.
pub fn cooper_binary() -> PathBuf {
    if let Some(path) = std::env::var_os("COOPER_BINARY") {
        return path.into();
    }
    let test = std::env::current_exe().expect("the test executable has a path");
    let path = test.parent().and_then(|deps| deps.parent()).expect("it lies in `deps`").join("cooper");
    assert!(path.exists(), "`{}` is missing: run `cargo build --bin cooper` first, as `./test` does", path.display());
    path
}
