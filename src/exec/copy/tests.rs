#![allow(clippy::unwrap_used)]

use super::testtree::*;
use super::*;
use crate::exec::mode::parse_chmod;
use std::ffi::OsStr;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::Path;

#[test]
fn a_file_goes_to_its_destination() {
    for (destination, expected) in [
        ("/b", vec!["b 644 \"A\""]),
        ("/d/", vec!["d dir 755", "d/a 644 \"A\""]),
        ("/d/.", vec!["d dir 755", "d/a 644 \"A\""]),
        ("/d/e/b", vec!["d dir 755", "d/e dir 755", "d/e/b 644 \"A\""]),
        ("/", vec!["a 644 \"A\""]),
        ("/../x/../b", vec!["b 644 \"A\""]),
    ] {
        let bench = Bench::new().file("a", "A");
        bench.copy_to(&["a"], destination).unwrap();
        assert_eq!(bench.tree(), expected, "{destination}");
    }
}

#[test]
fn an_existing_directory_takes_files_without_a_slash() {
    let bench = Bench::new().file("a", "A").in_dest("d/old", "");
    bench.copy_to(&["a"], "/d").unwrap();
    assert_eq!(bench.tree(), ["d dir 755", "d/a 644 \"A\"", "d/old 644 \"\""]);
}

#[test]
fn of_several_files_to_one_name_the_last_wins() {
    let bench = Bench::new().file("a", "A").file("b", "B").file("sub/a", "A2");
    bench.copy_to(&["a", "b"], "/x").unwrap();
    bench.copy_to(&["a", "b", "sub/a"], "/dir/").unwrap();
    assert_eq!(bench.tree(), ["dir dir 755", "dir/a 644 \"A2\"", "dir/b 644 \"B\"", "x 644 \"B\""]);
}

#[test]
fn a_directory_gives_its_contents() {
    for (destination, prefix) in [("/d", "d/"), ("/d/", "d/"), ("/", "")] {
        let bench = Bench::new().file("src/a", "A").file("src/sub/b", "B").in_dest("old", "");
        chmod(bench.source.join("src"), 0o700);
        chmod(bench.source.join("src/sub"), 0o2750);
        bench.copy_to(&["src"], destination).unwrap();
        let mut expected = vec![
            format!("{prefix}a 644 \"A\""),
            "old 644 \"\"".into(),
            format!("{prefix}sub dir 2750"),
            format!("{prefix}sub/b 644 \"B\""),
        ];
        if !prefix.is_empty() {
            expected.push("d dir 755".into());
        }
        expected.sort();
        let mut tree = bench.tree();
        tree.sort();
        assert_eq!(tree, expected, "{destination}");
    }
}

#[test]
fn an_existing_destination_keeps_mode_and_owner_but_existing_subdirectories_do_not() {
    let bench = Bench::new().file("src/sub/b", "B").in_dest("d/sub/old", "");
    chmod(bench.dest.join("d"), 0o711);
    chmod(bench.dest.join("d/sub"), 0o700);
    chmod(bench.source.join("src/sub"), 0o751);
    bench.copy(&["src"], &Placement { chmod: Some(parse_chmod("o-x").unwrap()), ..to("/d") }).unwrap();
    assert_eq!(bench.tree(), ["d dir 711", "d/sub dir 750", "d/sub/b 644 \"B\"", "d/sub/old 644 \"\""]);
}

#[test]
fn nothing_selected_makes_nothing() {
    let bench = Bench::new();
    assert_eq!(bench.copy_to(&[], "/a/b/").unwrap(), CopyStats::default());
    assert_eq!(bench.tree(), Vec::<String>::new());
}

#[test]
fn created_directories_take_chmod_and_chown() {
    if !is_root("chown") {
        return;
    }
    let bench = Bench::new().file("f", "x").file("tree/sub/g", "y");
    let placement = |destination: &str, mode: &str| Placement {
        chown: Some((5, 6)),
        chmod: Some(parse_chmod(mode).unwrap()),
        ..to(destination)
    };
    bench.copy(&["f"], &placement("/parent/sub/f", "770")).unwrap();
    bench.copy(&["tree"], &placement("/t", "1777")).unwrap();
    assert_eq!(
        bench.tree(),
        [
            "parent dir 770 5:6",
            "parent/sub dir 770 5:6",
            "parent/sub/f 770 \"x\" 5:6",
            "t dir 777 5:6",
            "t/sub dir 1777 5:6",
            "t/sub/g 1777 \"y\" 5:6",
        ]
    );
}

#[test]
fn setuid_bits_of_files_are_kept_and_symbolic_modes_leave_made_directories_alone() {
    let bench = Bench::new().file("s/f", "x");
    chmod(bench.source.join("s/f"), 0o6777);
    bench.copy(&["s"], &Placement { chmod: Some(parse_chmod("a+w").unwrap()), ..to("/new/d") }).unwrap();
    assert_eq!(bench.tree(), ["new dir 755", "new/d dir 755", "new/d/f 6777 \"x\""]);
}

#[test]
fn owners_are_kept_from_stages_only() {
    if !is_root("chown") {
        return;
    }
    let bench = Bench::new().file("s/d/f", "x");
    symlink("f", bench.source.join("s/d/l")).unwrap();
    for path in ["s", "s/d", "s/d/f", "s/d/l"] {
        std::os::unix::fs::lchown(bench.source.join(path), Some(7), Some(8)).unwrap();
    }
    bench.copy(&["s"], &Placement { keep_owner: true, ..to("/stage") }).unwrap();
    bench.copy_to(&["s"], "/context").unwrap();
    bench.copy(&["s"], &Placement { keep_owner: true, chown: Some((1, 2)), ..to("/chown") }).unwrap();
    assert_eq!(
        bench.tree(),
        [
            "chown dir 755 1:2",
            "chown/d dir 755 1:2",
            "chown/d/f 644 \"x\" 1:2",
            "chown/d/l -> f 1:2",
            "context dir 755",
            "context/d dir 755",
            "context/d/f 644 \"x\"",
            "context/d/l -> f",
            "stage dir 755",
            "stage/d dir 755 7:8",
            "stage/d/f 644 \"x\" 7:8",
            "stage/d/l -> f 7:8",
        ]
    );
}

#[test]
fn the_destination_is_resolved_through_links_of_the_image() {
    let bench = Bench::new()
        .file("foo", "new")
        .file("dir/sub/x", "x")
        .in_dest("real", "old")
        .in_dest("target/keep", "")
        .link_in_dest("/real", "link")
        .link_in_dest("/nowhere/deep", "dangling")
        .link_in_dest("../../target", "escape");
    bench.copy_to(&["foo"], "/link").unwrap();
    bench.copy_to(&["foo"], "/dangling").unwrap();
    bench.copy_to(&["dir"], "/escape").unwrap();
    assert_eq!(
        bench.tree(),
        [
            "dangling -> /nowhere/deep",
            "escape -> ../../target",
            "link -> /real",
            "nowhere dir 755",
            "nowhere/deep 644 \"new\"",
            "real 644 \"new\"",
            "target dir 755",
            "target/keep 644 \"\"",
            "target/sub dir 755",
            "target/sub/x 644 \"x\"",
        ]
    );
}

#[test]
fn a_link_inside_the_destination_directory_is_replaced_not_followed() {
    let bench = Bench::new().file("s/foo", "new").in_dest("real", "old").link_in_dest("real", "foo");
    bench.copy_to(&["s/foo"], "/").unwrap();
    assert_eq!(bench.tree(), ["foo 644 \"new\"", "real 644 \"old\""]);
}

#[test]
fn a_replaced_file_keeps_its_content_under_its_other_names() {
    let bench = Bench::new().file("f", "new").in_dest("f", "old");
    std::fs::hard_link(bench.dest.join("f"), bench.dest.join("other")).unwrap();
    bench.copy_to(&["f"], "/f").unwrap();
    assert_eq!(bench.tree(), ["f 644 \"new\"", "other 644 \"old\""]);
}

#[test]
fn directories_and_files_do_not_replace_one_another() {
    let onto = |origins: &[&str], destination: &str| {
        let bench = Bench::new()
            .file("dir/sub/x", "")
            .file("file", "")
            .file("other/sub", "a file")
            .in_dest("f", "")
            .in_dest("d/sub/y", "")
            .in_dest("e/sub", "")
            .in_dest("g/file/x", "")
            .link_in_dest("d", "to-d")
            .in_dest("h/x", "")
            .link_in_dest("../d/sub", "h/sub");
        bench.copy_to(origins, destination).unwrap_err().to_string()
    };
    assert_eq!(onto(&["dir"], "/f"), "cannot copy to non-directory: `/f`");
    assert_eq!(onto(&["dir"], "/e"), "cannot copy to non-directory: `/e/sub`");
    assert_eq!(onto(&["dir"], "/h"), "cannot copy to non-directory: `/h/sub`");
    assert_eq!(onto(&["other"], "/d"), "cannot replace directory `/d/sub` with a file");
    assert_eq!(onto(&["other"], "/to-d"), "cannot replace directory `/d/sub` with a file");
    assert_eq!(onto(&["file"], "/g"), "cannot replace directory `/g/file` with a file");
    assert_eq!(onto(&["file"], "/f/"), "cannot make directory `/f`: it is there and not a directory");
    assert_eq!(onto(&["file"], "/f/x"), "cannot make directory `/f`: it is there and not a directory");
}

#[test]
fn hard_links_stay_within_one_directory_source() {
    let bench = Bench::new().file("h/a", "x").file("h/d/z", "");
    for name in ["h/b", "h/d/c"] {
        std::fs::hard_link(bench.source.join("h/a"), bench.source.join(name)).unwrap();
    }
    bench.copy_to(&["h"], "/h").unwrap();
    bench.copy_to(&["h/a", "h/b"], "/two/").unwrap();
    // Again over what is there.
    bench.copy_to(&["h"], "/h").unwrap();
    assert_eq!(
        bench.tree(),
        [
            "h dir 755",
            "h/a 644 \"x\"",
            "h/b = h/a",
            "h/d dir 755",
            "h/d/c = h/a",
            "h/d/z 644 \"\"",
            "two dir 755",
            "two/a 644 \"x\"",
            "two/b 644 \"x\"",
        ]
    );
}

#[test]
fn special_files_are_copied_and_sockets_become_empty_files() {
    let bench = Bench::new().file("s/f", "");
    let of = |name: &str| bench.source.join("s").join(name);
    let _socket = std::os::unix::net::UnixListener::bind(of("socket")).unwrap();
    chmod(of("socket"), 0o750);
    let mknod = |name: &str, kind, rdev| rustix::fs::mknodat(rustix::fs::CWD, of(name), kind, 0o644.into(), rdev);
    mknod("fifo", rustix::fs::FileType::Fifo, 0).unwrap();
    let mut expected = vec!["d dir 755", "d/f 644 \"\"", "d/fifo fifo 644", "d/socket 750 \"\""];
    if is_root("mknod of devices") {
        mknod("null", rustix::fs::FileType::CharacterDevice, rustix::fs::makedev(1, 3)).unwrap();
        mknod("blk", rustix::fs::FileType::BlockDevice, rustix::fs::makedev(7, 99)).unwrap();
        expected.extend(["d/null char 644 1:3", "d/blk block 644 7:99"]);
        expected.sort();
    }
    bench.copy_to(&["s"], "/d").unwrap();
    assert_eq!(bench.tree(), expected);
}

#[test]
fn times_are_kept_of_files_and_directories_but_not_of_what_is_made() {
    let bench = Bench::new().file("s/d/f", "x");
    symlink("f", bench.source.join("s/d/l")).unwrap();
    for (path, seconds) in [("s/d/f", 100), ("s/d/l", 200), ("s/d", 300), ("s", 400)] {
        set_mtime(bench.source.join(path), seconds, 123_456_789);
    }
    bench.copy(&["s"], &Placement { epoch: Some(9), ..to("/new/s") }).unwrap();
    let time = |path: &str| {
        let stat = std::fs::symlink_metadata(bench.dest.join(path)).unwrap();
        (stat.mtime(), stat.mtime_nsec())
    };
    for (path, seconds) in [("new/s/d/f", 100), ("new/s/d/l", 200), ("new/s/d", 300), ("new/s", 400)] {
        assert_eq!(time(path), (seconds, 123_456_789), "{path}");
    }
    assert_eq!(time("new"), (9, 0));
}

#[test]
fn capabilities_are_kept_from_stages_and_other_attributes_never() {
    if !is_root("security.capability") {
        return;
    }
    const VALUE: &[u8] = b"\x01\x00\x00\x02\x00\x04\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00";
    let bench = Bench::new().file("s/f", "x");
    let file = bench.source.join("s/f");
    let set = |name, value| rustix::fs::setxattr(&file, name, value, rustix::fs::XattrFlags::empty()).unwrap();
    set("security.capability", VALUE);
    set("user.note", b"n");
    bench.copy(&["s"], &Placement { keep_owner: true, chown: Some((3, 4)), ..to("/stage") }).unwrap();
    bench.copy_to(&["s"], "/context").unwrap();
    let names = |path: &str| {
        let mut names = vec![0; 256];
        let length = rustix::fs::listxattr(bench.dest.join(path), &mut names).unwrap();
        String::from_utf8(names[..length].to_vec()).unwrap()
    };
    assert_eq!(names("stage/f"), "security.capability\0");
    assert_eq!(names("context/f"), "");
}

#[test]
fn parents_are_recreated_with_the_sources_mode() {
    let bench = Bench::new().file("a/b/f", "f").file("a/c/g", "g").in_dest("out/a/old", "");
    chmod(bench.source.join("a"), 0o711);
    chmod(bench.source.join("a/b"), 0o750);
    chmod(bench.source.join("a/c"), 0o700);
    chmod(bench.dest.join("out/a"), 0o700);
    let mut selection = bench.select(&["a/b/f", "a/c"]);
    let parent = |path: &str| entry(&bench.source.join(path), Path::new(path));
    selection.items[0].parents = vec![parent("a"), parent("a/b")];
    selection.items[1].parents = vec![parent("a")];
    bench.apply(&selection, &Placement { parents: true, ..to("/out") }).unwrap();
    assert_eq!(
        bench.tree(),
        [
            "out dir 755",
            "out/a dir 711",
            "out/a/b dir 750",
            "out/a/b/f 644 \"f\"",
            "out/a/c dir 700",
            "out/a/c/g 644 \"g\"",
            "out/a/old 644 \"\"",
        ]
    );
}

#[test]
fn a_parent_of_several_matches_keeps_the_mode_it_was_made_with() {
    let bench = Bench::new().file("a/f", "f").file("a/g", "g").file("a/h", "h");
    chmod(bench.source.join("a"), 0o711);
    let mut selection = bench.select(&["a/f", "a/g"]);
    for item in &mut selection.items {
        item.parents = vec![entry(&bench.source.join("a"), Path::new("a"))];
    }
    let placement = Placement { parents: true, chmod: Some(parse_chmod("600").unwrap()), ..to("/out") };
    bench.apply(&selection, &placement).unwrap();
    assert!(bench.tree().contains(&"out/a dir 600".to_owned()), "{:?}", bench.tree());
    // The next source is a copy of its own, which finds the directory there.
    selection.items.truncate(1);
    bench.apply(&selection, &placement).unwrap();
    assert!(bench.tree().contains(&"out/a dir 711".to_owned()), "{:?}", bench.tree());
}

#[test]
fn a_heredoc_is_a_file_of_mode_644() {
    let bench = Bench::new();
    let dest = Root::open(&bench.dest).unwrap();
    let metadata = FileMetadata { mode: 0o644, mtime: None };
    let place = |placement: &Placement| place_bytes(OsStr::new("EOF"), b"text", metadata, &dest, placement).unwrap();
    place(&Placement { epoch: Some(77), ..to("/d/") });
    place(&Placement { chmod: Some(parse_chmod("777").unwrap()), ..to("/e/f") });
    place(&to("/d"));
    assert_eq!(bench.tree(), ["d dir 755", "d/EOF 644 \"text\"", "e dir 777", "e/f 777 \"text\""]);
}

#[test]
fn a_download_keeps_its_time() {
    let bench = Bench::new().file("blob", "bytes").in_dest("d/x", "");
    let dest = Root::open(&bench.dest).unwrap();
    let file = std::fs::File::open(bench.source.join("blob")).unwrap();
    let metadata = FileMetadata { mode: 0o600, mtime: Some((0, 0)) };
    let stats = place_file(OsStr::new("name"), &file, metadata, &dest, &to("/d/")).unwrap();
    assert_eq!((stats.files, stats.bytes), (1, 5));
    assert_eq!(bench.tree(), ["d dir 755", "d/name 600 \"bytes\"", "d/x 644 \"\""]);
    assert_eq!(std::fs::metadata(bench.dest.join("d/name")).unwrap().mtime(), 0);
    let error = place_file(OsStr::new("x"), &file, metadata, &dest, &to("/d/x/")).unwrap_err();
    assert_eq!(error.to_string(), "cannot make directory `/d/x`: it is there and not a directory");
}

#[test]
fn many_files_are_written_the_same_by_threads() {
    let mut bench = Bench::new();
    for i in 0..700 {
        bench = bench.file(&format!("s/d{}/f{i}", i % 7), &format!("content {i}"));
    }
    let stats = bench.copy_to(&["s"], "/t").unwrap();
    assert_eq!((stats.files, stats.directories), (700, 8));
    assert_eq!(listing(&bench.source.join("s")), listing(&bench.dest.join("t")));
    let names: Vec<String> = (0..700).map(|i| format!("s/d{}/f{i}", i % 7)).collect();
    bench.copy_to(&names.iter().map(String::as_str).collect::<Vec<_>>(), "/flat/").unwrap();
    assert_eq!(std::fs::read_dir(bench.dest.join("flat")).unwrap().count(), 700);
    assert_eq!(std::fs::read_to_string(bench.dest.join("flat/f699")).unwrap(), "content 699");
}
