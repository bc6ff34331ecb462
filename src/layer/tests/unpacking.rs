//! Honest layers in overlay form.

use super::*;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};

fn mode(cell: &Cell, path: &str) -> u32 {
    cell.path(path).symlink_metadata().unwrap().mode() & 0o7777
}

fn is_opaque(cell: &Cell, path: &str) -> bool {
    let file = std::fs::File::open(cell.path(path)).unwrap().into();
    crate::sys::read_xattr(&file, "trusted.overlay.opaque").unwrap().as_deref() == Some(b"y")
}

fn is_whiteout(cell: &Cell, path: &str) -> bool {
    let metadata = cell.path(path).symlink_metadata().unwrap();
    metadata.file_type().is_char_device() && metadata.rdev() == 0
}

#[test]
fn metadata_is_the_tars() {
    if !is_root("metadata_is_the_tars") {
        return;
    }
    let cell = Cell::new();
    let capability: &[u8] = b"\x01\0\0\x02\0\x0a\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
    let mut file = Raw::file("d/f", b"body");
    file.put(100, b"0004755\0").put(108, b"0001750\0").put(116, b"0000062\0");
    let mut directory = Raw::directory("d", 0o2775);
    directory.put(116, b"0000062\0").put(136, b"00000000144\0");
    let mut link = Raw::link(b'2', "d/l", "nowhere");
    link.put(108, b"0000007\0").put(136, b"00000000001\0");
    let mut device = Raw::new(b'3', "d/null");
    device.put(100, b"0000666\0").put(329, b"0000001\0").put(337, b"0000003\0");
    let records = [("SCHILY.xattr.security.capability", capability), ("mtime", b"1.5")];
    let tar = tar_of([directory, Raw::pax(&records), file, link, device, Raw::directory("d/e", 0o700)]);
    let unpacked = cell.unpack(&tar).unwrap();
    assert_eq!((unpacked.entries, unpacked.bytes), (5, 4));

    let metadata = cell.path("d/f").metadata().unwrap();
    assert_eq!((metadata.mode() & 0o7777, metadata.uid(), metadata.gid()), (0o4755, 1000, 50));
    assert_eq!((metadata.mtime(), metadata.mtime_nsec()), (1, 500_000_000));
    let file = std::fs::File::open(cell.path("d/f")).unwrap().into();
    assert_eq!(crate::sys::read_xattr(&file, CAPABILITY_XATTR).unwrap().as_deref(), Some(capability));
    // The directory's time is its own although entries were made in it later.
    let metadata = cell.path("d").metadata().unwrap();
    assert_eq!((metadata.mtime(), metadata.gid(), mode(&cell, "d")), (100, 50, 0o2775));
    let metadata = cell.path("d/l").symlink_metadata().unwrap();
    assert_eq!((metadata.mtime(), metadata.uid()), (1, 7));
    let metadata = cell.path("d/null").metadata().unwrap();
    assert_eq!((metadata.rdev(), metadata.mode() & 0o7777), (rustix::fs::makedev(1, 3), 0o666));
}

#[test]
fn parents_that_are_not_named_are_plain() {
    let cell = Cell::new();
    cell.unpack(&tar_of([Raw::file("a/b/c", b"")])).unwrap();
    for path in ["a", "a/b"] {
        let metadata = cell.path(path).metadata().unwrap();
        assert_eq!((metadata.mode() & 0o7777, metadata.uid(), metadata.mtime()), (0o755, owner_here(), 0));
    }
}

#[test]
fn the_last_of_several_entries_wins() {
    let cell = Cell::new();
    let tar = tar_of([
        Raw::file("f", b"first"),
        Raw::file("f", b"second"),
        Raw::directory("d", 0o700),
        Raw::file("d/below", b""),
        Raw::file("d", b"file now"),
        Raw::file("g", b""),
        Raw::directory("g", 0o711),
        Raw::directory("g", 0o751),
        Raw::directory("e", 0o755),
        Raw::file("e/kept", b""),
        Raw::directory("e", 0o700),
    ]);
    cell.unpack(&tar).unwrap();
    assert_eq!(std::fs::read(cell.path("f")).unwrap(), b"second");
    assert_eq!(std::fs::read(cell.path("d")).unwrap(), b"file now");
    assert_eq!((mode(&cell, "g"), mode(&cell, "e")), (0o751, 0o700));
    assert!(cell.path("e/kept").exists());
}

#[test]
fn whiteouts_take_the_overlay_form() {
    if !is_root("whiteouts_take_the_overlay_form") {
        return;
    }
    let cell = Cell::new();
    let tar = tar_of([
        Raw::file("d/.wh.gone", b""),
        Raw::file("o/.wh..wh..opq", b""),
        Raw::file("o/new", b""),
        // A whiteout is about lower layers, before and after what the layer itself has.
        Raw::file(".wh.before", b""),
        Raw::file("before/x", b""),
        Raw::file("after/x", b""),
        Raw::file(".wh.after", b""),
        Raw::file(".wh.file", b""),
        Raw::file("file", b"new"),
        Raw::file(".wh..wh.plnk", b""),
    ]);
    let unpacked = cell.unpack(&tar).unwrap();
    assert_eq!(unpacked.entries, 9);
    assert!(is_whiteout(&cell, "d/gone"));
    assert!(is_opaque(&cell, "o") && is_opaque(&cell, "before") && is_opaque(&cell, "after") && !is_opaque(&cell, "d"));
    assert!(cell.path("before/x").exists() && cell.path("after/x").exists());
    assert_eq!(std::fs::read(cell.path("file")).unwrap(), b"new");
    assert!(!cell.path(".wh..wh.plnk").exists());
}

#[test]
fn a_hard_link_into_a_lower_layer_is_named() {
    let cell = Cell::new();
    let error = cell.unpack(&tar_of([Raw::link(b'1', "a", "lower/file")])).unwrap_err();
    assert_eq!(error.to_string(), "hard link `a` has no target in the archive: `lower/file`");
}

#[test]
fn holes_stay_holes() {
    let cell = Cell::new();
    let records = [("GNU.sparse.map", &b"8388608,4"[..]), ("GNU.sparse.size", b"16777216")];
    cell.unpack(&tar_of([Raw::pax(&records), Raw::file("sparse", b"data")])).unwrap();
    let content = std::fs::read(cell.path("sparse")).unwrap();
    assert_eq!((content.len(), &content[8_388_608..8_388_612]), (16_777_216, &b"data"[..]));
    assert!(cell.path("sparse").metadata().unwrap().blocks() * 512 < 2_000_000);
}

#[test]
fn devices_can_be_left_out() {
    let cell = Cell::new();
    let mut device = Raw::new(b'4', "dev/sda");
    device.put(329, b"0000010\0");
    let options = UnpackOptions { makes_devices: false, ..layer_options() };
    let unpacked = unpack_layer(tar_of([device]).as_slice(), &cell.root(), options).unwrap();
    assert_eq!(unpacked.skipped_devices, [Path::new("dev/sda")]);
    assert!(!cell.path("dev/sda").exists());
}

#[test]
fn the_stream_is_read_to_its_end() {
    let cell = Cell::new();
    let mut tar = tar_of([Raw::file("f", b"")]);
    tar.extend_from_slice(&[0; 9000]);
    let mut reader = crate::image::Sha256Reader::new(tar.as_slice());
    unpack_layer(&mut reader, &cell.root(), layer_options()).unwrap();
    let (_, digest, size) = reader.finish();
    assert_eq!((digest, size), (crate::image::Digest::of(&tar), tar.len() as u64));
}

#[test]
fn a_read_only_mode_does_not_stop_the_unpacking() {
    let cell = Cell::new();
    let tar = tar_of([
        Raw::directory("d", 0o755),
        Raw::file("d/f", b"1"),
        Raw::directory("d", 0o555),
        Raw::file("d/g", b"2"),
    ]);
    let mut seen = Vec::new();
    let mut observe = |entry: &Entry| seen.push(entry.path.clone());
    let options = UnpackOptions { observe: Some(&mut observe), ..layer_options() };
    unpack_layer(tar.as_slice(), &cell.root(), options).unwrap();
    assert_eq!(seen, ["d", "d/f", "d", "d/g"].map(Path::new));
    assert_eq!(mode(&cell, "d"), 0o555);
    std::fs::set_permissions(cell.path("d"), std::fs::Permissions::from_mode(0o755)).unwrap();
}
