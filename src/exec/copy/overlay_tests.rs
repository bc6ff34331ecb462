//! Copies into an overlay that is mounted nowhere, as a step's root file system is.
#![allow(clippy::unwrap_used)]

use super::testtree::*;
use super::*;
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags};

/// An overlay with `lower` below and `upper` above; `None`, said aloud, where this machine has none.
fn overlay(bench: &Bench) -> Option<Root> {
    let mount = || -> rustix::io::Result<_> {
        let context = rustix::mount::fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
        for (key, name) in [("lowerdir", "lower"), ("upperdir", "upper"), ("workdir", "work")] {
            let path = bench.dest.join(name);
            std::fs::create_dir_all(&path).map_err(|_| rustix::io::Errno::IO)?;
            rustix::mount::fsconfig_set_string(&context, key, &*path.to_string_lossy())?;
        }
        rustix::mount::fsconfig_create(&context)?;
        rustix::mount::fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty())
    };
    match mount() {
        Ok(fd) => Some(Root::from_fd(fd)),
        Err(error) => {
            eprintln!("skipped: no overlay can be mounted here: {error}");
            None
        }
    }
}

#[test]
fn the_upper_directory_holds_what_was_copied_and_the_lower_one_is_untouched() {
    let bench = Bench::new()
        .file("s/file", "new")
        .file("s/d/inner", "new")
        .in_dest("lower/file", "old")
        .in_dest("lower/d/kept", "old")
        .in_dest("lower/other/x", "");
    std::fs::hard_link(bench.dest.join("lower/file"), bench.dest.join("lower/twin")).unwrap();
    let Some(root) = overlay(&bench) else { return };
    chmod(bench.source.join("s/d"), 0o700);
    let source = Root::open(&bench.source).unwrap();
    apply(&bench.select(&["s"]), &source, &root, &to("/")).unwrap();
    let metadata = FileMetadata { mode: 0o644, mtime: None };
    place_bytes("EOF".as_ref(), b"text", metadata, &root, &to("/other/")).unwrap();
    assert_eq!(
        listing(&bench.dest.join("upper")),
        ["d dir 700", "d/inner 644 \"new\"", "file 644 \"new\"", "other dir 755", "other/EOF 644 \"text\"",]
    );
    assert_eq!(
        listing(&bench.dest.join("lower")),
        ["d dir 755", "d/kept 644 \"old\"", "file 644 \"old\"", "other dir 755", "other/x 644 \"\"", "twin = file"]
    );
}
