//! A context that changes while it is copied must never bring a file of the host into the image.
#![allow(clippy::unwrap_used)]

use super::testtree::*;
use super::*;
use std::os::unix::fs::symlink;
use std::sync::atomic::{AtomicBool, Ordering};

/// Changes the source after the selection, copies, and returns the error.
fn changed(change: impl FnOnce(&Bench)) -> String {
    let bench = Bench::new().file("s/d/f", "selected").file("secret", "from the host");
    let selection = bench.select(&["s"]);
    change(&bench);
    let error = bench.apply(&selection, &Placement { verify_unchanged: true, ..to("/t") }).unwrap_err();
    assert!(!bench.tree().iter().any(|line| line.contains("host")));
    error.to_string()
}

#[test]
fn what_is_not_what_was_selected_is_refused() {
    let file = |bench: &Bench| bench.source.join("s/d/f");
    let expected = "`/s/d/f` changed while it was copied";
    assert_eq!(changed(|bench| std::fs::remove_file(file(bench)).unwrap()), expected);
    assert_eq!(changed(|bench| std::fs::write(file(bench), "other size").unwrap()), expected);
    assert_eq!(changed(|bench| set_mtime(file(bench), 5, 0)), expected);
    let replace = |bench: &Bench| std::fs::remove_file(file(bench)).unwrap();
    let link = |bench: &Bench| {
        replace(bench);
        symlink(bench.source.join("secret"), file(bench)).unwrap();
    };
    assert_eq!(changed(link), expected);
    let fifo = |bench: &Bench| {
        replace(bench);
        rustix::fs::mknodat(rustix::fs::CWD, file(bench), rustix::fs::FileType::Fifo, 0o644.into(), 0).unwrap();
    };
    assert_eq!(changed(fifo), expected);
    let directory = |bench: &Bench| {
        replace(bench);
        std::fs::create_dir(file(bench)).unwrap();
    };
    assert_eq!(changed(directory), expected);
}

#[test]
fn a_directory_that_became_a_link_outside_is_refused() {
    let outside = tempfile::tempdir().unwrap();
    std::fs::write(outside.path().join("f"), "selecteD").unwrap();
    let swap = |bench: &Bench| {
        std::fs::remove_dir_all(bench.source.join("s/d")).unwrap();
        symlink(outside.path(), bench.source.join("s/d")).unwrap();
    };
    assert_eq!(changed(swap), "`/s/d` changed while it was copied");
}

#[test]
fn a_directory_flipped_during_the_copy_gives_inside_bytes_or_an_error() {
    let outside = tempfile::tempdir().unwrap();
    let mut bench = Bench::new();
    for i in 0..50 {
        bench = bench.file(&format!("s/d/f{i}"), "inside!");
        std::fs::write(outside.path().join(format!("f{i}")), "outside").unwrap();
    }
    symlink(outside.path(), bench.source.join("s/link")).unwrap();
    let mut selection = bench.select(&["s"]);
    selection.items[0].entries.retain(|entry| entry.path != std::path::Path::new("link"));
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let (directory, link) = (bench.source.join("s/d"), bench.source.join("s/link"));
            while !stop.load(Ordering::Relaxed) {
                let _ = rustix::fs::renameat_with(
                    rustix::fs::CWD,
                    &directory,
                    rustix::fs::CWD,
                    &link,
                    rustix::fs::RenameFlags::EXCHANGE,
                );
            }
        });
        for round in 0..20 {
            let _ = bench.apply(&selection, &to(&format!("/t{round}")));
        }
        stop.store(true, Ordering::Relaxed);
    });
    assert!(!bench.tree().iter().any(|line| line.contains("outside")));
}
