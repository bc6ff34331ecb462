//! Hostile layers and archives: whatever they say, nothing beside the root changes.

use super::*;
use std::os::unix::fs::{FileTypeExt, MetadataExt};

#[test]
fn no_name_leads_outside() {
    let cell = Cell::new();
    let names = ["../x1", "a/../../x2", "/x3", "./..//x4", "../outside/x5", "a\\..\\x6"];
    cell.unpack(&tar_of(names.map(|name| Raw::file(name, b"evil")))).unwrap();
    for inside in ["x1", "x2", "x3", "x4", "outside/x5", "a\\..\\x6"] {
        assert!(cell.path(inside).is_file(), "{inside}");
    }
}

#[test]
fn the_root_stays_a_directory() {
    for name in [".", "/", "./", "", "a/..", ".."] {
        let cell = Cell::new();
        for raw in [
            Raw::link(b'2', name, &cell.outside("")),
            Raw::file(name, b""),
            Raw::link(b'1', name, "f"),
            Raw::new(b'6', name),
        ] {
            let result = cell.unpack(&tar_of([Raw::file("f", b""), raw]));
            assert!(matches!(result, Err(UnpackError::RootType)), "`{name}`: {result:?}");
        }
    }
}

#[test]
fn links_planted_earlier_do_not_lead_outside() {
    let targets = |cell: &Cell| {
        [
            cell.outside(""),
            "../outside".to_owned(),
            "../../../../../../outside".to_owned(),
            "..".to_owned(),
            "/".to_owned(),
        ]
    };
    for n in 0..5 {
        let cell = Cell::new();
        let target = &targets(&cell)[n];
        let planted = || vec![Raw::link(b'2', "l", target), Raw::link(b'2', "m", "l"), Raw::link(b'2', "n", "m")];
        for name in ["l", "n"] {
            for raw in [
                Raw::file(&format!("{name}/file"), b"evil"),
                Raw::directory(&format!("{name}/dir"), 0o777),
                Raw::file(&format!("{name}/.wh.file"), b""),
                Raw::file(&format!("{name}/.wh..wh..opq"), b""),
                Raw::link(b'1', &format!("{name}/hard"), "l/file"),
                Raw::directory(name, 0o777),
                Raw::file(name, b"evil"),
            ] {
                let mut tar = planted();
                tar.push(raw);
                // Refused or made inside: both are fine, and the cell looks at the canary.
                let tar = tar_of(tar);
                let _ = cell.unpack(&tar);
                let _ = cell.add(&tar, "/", &archive_options());
                let _ = cell.add(&tar, "/l", &archive_options());
            }
        }
    }
}

#[test]
fn a_directory_in_the_place_of_a_link_leaves_its_target_alone() {
    let cell = Cell::new();
    cell.unpack(&tar_of([Raw::link(b'2', "d", &cell.outside("")), Raw::directory("d", 0o777)])).unwrap();
    let metadata = cell.path("d").symlink_metadata().unwrap();
    assert!(metadata.is_dir());
    assert_eq!(metadata.mode() & 0o7777, 0o777);
}

#[test]
fn hard_links_are_resolved_inside() {
    let cell = Cell::new();
    for target in
        [cell.outside("file"), "../outside/file".to_owned(), "nothing".to_owned(), "l".to_owned(), "/".to_owned()]
    {
        let result = cell.unpack(&tar_of([Raw::link(b'1', "l", &target)]));
        assert!(matches!(result, Err(UnpackError::LinkTarget { .. })), "{target}: {result:?}");
    }
    // A link to a link is a second name of the link, and what is written over it goes nowhere else.
    let tar = tar_of([Raw::link(b'2', "s", &cell.outside("file")), Raw::link(b'1', "h", "s"), Raw::file("h", b"evil")]);
    cell.unpack(&tar).unwrap();
    assert!(cell.path("s").is_symlink() && cell.path("h").is_file());
    // Through a planted directory link.
    let tar = tar_of([Raw::link(b'2', "d", &cell.outside("")), Raw::link(b'1', "h2", "d/file")]);
    assert!(matches!(cell.unpack(&tar), Err(UnpackError::LinkTarget { .. })));
}

#[test]
fn a_hard_link_to_itself_keeps_the_file() {
    let cell = Cell::new();
    cell.unpack(&tar_of([Raw::file("f", b"kept"), Raw::link(b'1', "f", "f"), Raw::link(b'1', "./f", "/f")])).unwrap();
    assert_eq!(std::fs::read(cell.path("f")).unwrap(), b"kept");
}

#[test]
fn overlay_marks_cannot_be_spoofed() {
    if !is_root("overlay_marks_cannot_be_spoofed") {
        return;
    }
    let cell = Cell::new();
    let xattrs: &[(&str, &[u8])] = &[
        ("SCHILY.xattr.trusted.overlay.opaque", b"y"),
        ("SCHILY.xattr.trusted.overlay.redirect", b"/etc"),
        ("SCHILY.xattr.user.overlay.metacopy", b""),
        ("SCHILY.xattr.user.kept", b"1"),
    ];
    let tar = tar_of([Raw::pax(xattrs), Raw::directory("d", 0o755), Raw::pax(xattrs), Raw::file("f", b"1")]);
    assert_eq!(cell.unpack(&tar).unwrap().dropped_xattrs, 6);
    for name in ["d", "f"] {
        let file = std::fs::File::open(cell.path(name)).unwrap().into();
        assert_eq!(crate::sys::list_xattrs(&file).unwrap(), [b"user.kept"]);
    }
    let mut device = Raw::new(b'3', "gone");
    device.put(329, b"0000000\0").put(337, b"0000000\0");
    let result = cell.unpack(&tar_of([device]));
    assert!(matches!(result, Err(UnpackError::WhiteoutDevice { .. })), "{result:?}");
}

#[test]
fn odd_whiteouts_are_refused() {
    for name in [".wh.", ".wh..", ".wh...", "a/.wh.", ".wh.a/b"] {
        let cell = Cell::new();
        assert!(matches!(cell.unpack(&tar_of([Raw::file(name, b"")])), Err(UnpackError::Whiteout(_))), "{name}");
        assert!(walk(&cell.path("")).is_empty());
        let result = cell.add(&tar_of([Raw::file(name, b"")]), "/", &archive_options());
        assert!(matches!(result, Err(UnpackError::Whiteout(_))), "{name}");
    }
}

#[test]
fn an_archive_cannot_remove_what_is_outside() {
    let cell = Cell::new();
    std::os::unix::fs::symlink(cell.outside(""), cell.path("l")).unwrap();
    std::os::unix::fs::symlink("../../outside", cell.path("m")).unwrap();
    for name in ["l/.wh.file", "m/.wh.file", "m/.wh..wh..opq", "../outside/.wh.file", "l/.wh..wh..opq"] {
        let _ = cell.add(&tar_of([Raw::file(name, b"")]), "/", &archive_options());
    }
}

#[test]
fn honest_links_with_many_dots_unpack() {
    let cell = Cell::new();
    let tar = tar_of([
        Raw::file("etc/pki/ca", b"1"),
        Raw::link(b'2', "usr/share/a/b/c", "../../../../../../etc/pki"),
        Raw::file("usr/share/a/b/c/more", b"2"),
    ]);
    cell.unpack(&tar).unwrap();
    assert_eq!(std::fs::read(cell.path("etc/pki/more")).unwrap(), b"2");
    assert!(cell.path("usr/share/a/b/c").is_symlink());
}

#[test]
fn nothing_that_is_left_is_a_socket_or_a_surprise() {
    let cell = Cell::new();
    cell.unpack(&tar_of([Raw::new(b'6', "pipe"), Raw::file("pipe/below", b"")])).unwrap();
    // The directory that an entry needs takes the place of the pipe.
    assert!(cell.path("pipe").is_dir() && !cell.path("pipe").metadata().unwrap().file_type().is_fifo());
}

#[test]
fn messages_do_not_steer_the_terminal() {
    let cell = Cell::new();
    let error = cell.unpack(&tar_of([Raw::link(b'1', "\u{1b}]0;title\u{7}", "x")])).unwrap_err().to_string();
    assert!(!error.contains(char::is_control), "{}", error.escape_debug());
}
