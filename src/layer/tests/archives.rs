//! ADD of an archive into a live root file system.

use super::*;
use std::os::unix::fs::{MetadataExt, symlink};

fn add(cell: &Cell, dest: &str, raws: Vec<Raw>) -> Unpacked {
    cell.add(&tar_of(raws), dest, &archive_options()).unwrap()
}

#[test]
fn directories_take_over_the_tars_metadata_and_keep_their_content() {
    let cell = Cell::new();
    std::fs::create_dir(cell.path("d")).unwrap();
    std::fs::write(cell.path("d/kept"), "kept").unwrap();
    add(&cell, "/", vec![Raw::directory("d", 0o1777), Raw::file("d/new", b"")]);
    assert_eq!(cell.path("d").metadata().unwrap().mode() & 0o7777, 0o1777);
    assert!(cell.path("d/kept").exists() && cell.path("d/new").exists());
}

#[test]
fn the_destination_keeps_its_looks() {
    let cell = Cell::new();
    add(&cell, "/d", vec![Raw::directory("./", 0o700), Raw::file("./f", b"")]);
    assert_eq!(cell.path("d").metadata().unwrap().mode() & 0o7777, 0o755);
}

#[test]
fn a_link_gives_way_to_a_directory_and_is_followed_in_a_path() {
    let cell = Cell::new();
    std::fs::create_dir_all(cell.path("usr/lib")).unwrap();
    symlink("usr/lib", cell.path("lib")).unwrap();
    symlink("usr/lib", cell.path("replaced")).unwrap();
    add(&cell, "/", vec![Raw::file("lib/x", b"1"), Raw::directory("replaced", 0o755), Raw::file("replaced/y", b"2")]);
    assert!(cell.path("lib").is_symlink() && cell.path("usr/lib/x").exists());
    assert!(cell.path("replaced").symlink_metadata().unwrap().is_dir());
    assert!(!cell.path("usr/lib/y").exists());
}

#[test]
fn names_stay_below_the_destination() {
    let cell = Cell::new();
    symlink("/", cell.path("slash")).unwrap();
    add(&cell, "/a/b", vec![Raw::file("../../up", b""), Raw::file("/absolute", b"")]);
    assert!(cell.path("a/b/up").exists() && cell.path("a/b/absolute").exists());
    add(&cell, "slash/c", vec![Raw::file("f", b"")]);
    assert!(cell.path("c/f").exists());
}

#[test]
fn what_is_in_the_way_is_replaced() {
    let cell = Cell::new();
    std::fs::create_dir_all(cell.path("d/below")).unwrap();
    std::fs::write(cell.path("f"), "old").unwrap();
    symlink("f", cell.path("l")).unwrap();
    add(&cell, "/", vec![Raw::file("d", b"file"), Raw::file("l", b"new"), Raw::file("f/x", b"")]);
    assert_eq!(std::fs::read(cell.path("d")).unwrap(), b"file");
    assert_eq!(std::fs::read(cell.path("l")).unwrap(), b"new");
    assert!(cell.path("f/x").exists());
}

#[test]
fn whiteouts_remove() {
    let cell = Cell::new();
    std::fs::create_dir_all(cell.path("d/e/f")).unwrap();
    std::fs::write(cell.path("x"), "").unwrap();
    std::fs::create_dir(cell.path("o")).unwrap();
    std::fs::write(cell.path("o/old"), "").unwrap();
    let whiteouts = [".wh.x", "d/.wh.e", ".wh.absent", "o/.wh..wh..opq"].map(|name| Raw::file(name, b""));
    add(&cell, "/", whiteouts.into_iter().chain([Raw::file("o/new", b"")]).collect());
    let mut left = walk(&cell.path(""));
    left.sort();
    assert_eq!(left, ["d", "o", "o/new"].map(Path::new));
}

#[test]
fn the_header_of_a_hard_link_counts_for_the_file() {
    let cell = Cell::new();
    let mut link = Raw::link(b'1', "second", "first");
    link.put(100, b"0000600\0");
    add(&cell, "/", vec![Raw::file("first", b"1"), link]);
    let metadata = cell.path("first").metadata().unwrap();
    assert_eq!((metadata.nlink(), metadata.mode() & 0o7777), (2, 0o600));
}

#[test]
fn chown_applies_to_everything_that_has_an_entry() {
    if !is_root("chown_applies_to_everything_that_has_an_entry") {
        return;
    }
    let cell = Cell::new();
    let options = ArchiveOptions { chown: Some((12, 34)), ..ArchiveOptions::default() };
    let mut device = Raw::new(b'4', "new/dev");
    device.put(329, b"0000010\0");
    let raws = vec![
        Raw::file("new/file", b""),
        Raw::link(b'2', "new/link", "x"),
        Raw::link(b'1', "new/hard", "new/file"),
        device,
        Raw::new(b'6', "new/pipe"),
    ];
    cell.add(&tar_of(raws), "/made/dest", &options).unwrap();
    let owned = walk(&cell.path(""));
    assert_eq!(owned.len(), 8);
    for path in owned {
        let metadata = cell.path(path.to_str().unwrap()).symlink_metadata().unwrap();
        let is_implied = ["made", "made/dest", "made/dest/new"].iter().any(|implied| path == Path::new(implied));
        let expected = if is_implied { (0, 0) } else { (12, 34) };
        assert_eq!((metadata.uid(), metadata.gid()), expected, "{}", path.display());
    }
}
