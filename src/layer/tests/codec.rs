//! What is written is read, here and by another reader; what is malformed is refused.

use super::*;
use proptest::prelude::*;
use std::collections::BTreeMap;

/// Entries that need each of the pax records.
fn honest_entries() -> Vec<(Entry, Vec<u8>)> {
    let long = format!("{}/{}", "d".repeat(120), "n".repeat(120));
    let split = format!("{}/{}", "p".repeat(150), "n".repeat(90));
    let mut capable = Entry::new("bin/ping", Kind::File { size_bytes: 4 }, 0o4755);
    capable.xattrs.insert(b"security.capability".to_vec(), b"\x01\0\0\x02\0\x0a\0\0\0\0\0\0\0\0\0\0\0\0\0\0".to_vec());
    let mut owned = Entry::new("owned", Kind::Directory, 0o2775);
    (owned.uid, owned.gid) = (3_000_000_000, 2_097_151);
    let mut old = Entry::new("old", Kind::Fifo, 0o600);
    old.mtime.seconds = -5;
    let mut late = Entry::new("late", Kind::Fifo, 0o600);
    late.mtime.seconds = 1 << 34;
    let link = |name: &str, target: &str| Entry::new(name, Kind::Symlink { target: target.into() }, 0o777);
    let entries = [
        capable,
        owned,
        old,
        late,
        Entry::new(&long, Kind::File { size_bytes: 513 }, 0o644),
        Entry::new(&split, Kind::File { size_bytes: 512 }, 0o644),
        Entry::new(&split, Kind::Directory, 0o755),
        Entry::new("naïve", Kind::File { size_bytes: 0 }, 0o644),
        link("link", "../../../etc/x"),
        link("long-link", &long),
        link("unicode-link", "ü"),
        Entry::new("hard", Kind::Hardlink { target: long.clone().into() }, 0o644),
        Entry::new("dev/null", Kind::CharDevice { major: 1, minor: 3 }, 0o666),
        Entry::new("dev/sda", Kind::BlockDevice { major: 8, minor: 0 }, 0o660),
    ];
    entries
        .into_iter()
        .enumerate()
        .map(|(i, entry)| {
            let body = body_of(&entry, i);
            (entry, body)
        })
        .collect()
}

fn body_of(entry: &Entry, seed: usize) -> Vec<u8> {
    match entry.kind {
        Kind::File { size_bytes } => (0..size_bytes as usize).map(|n| (n + seed) as u8).collect(),
        _ => Vec::new(),
    }
}

fn write_all(entries: &[(Entry, Vec<u8>)]) -> Vec<u8> {
    let mut writer = TarWriter::new(Vec::new());
    for (entry, body) in entries {
        writer.append(entry, &mut body.as_slice()).unwrap();
    }
    writer.finish().unwrap()
}

#[test]
fn what_is_written_is_read() {
    let entries = honest_entries();
    let tar = write_all(&entries);
    assert_eq!(read_all(&tar).unwrap(), entries);
    assert!(tar == write_all(&entries));
}

#[test]
fn another_reader_sees_the_same() {
    let entries = honest_entries();
    let tar = write_all(&entries);
    let mut archive = ::tar::Archive::new(tar.as_slice());
    let mut seen = Vec::new();
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        let mut body = Vec::new();
        entry.read_to_end(&mut body).unwrap();
        seen.push((
            entry.path().unwrap().components().collect::<PathBuf>(),
            entry.link_name().unwrap().map(|l| l.into_owned()),
            body,
        ));
    }
    let expected: Vec<_> = read_all(&tar)
        .unwrap()
        .into_iter()
        .map(|(entry, body)| {
            let link = match entry.kind {
                Kind::Symlink { target } => Some(PathBuf::from(target)),
                Kind::Hardlink { target } => Some(target),
                _ => None,
            };
            (entry.path, link, body)
        })
        .collect();
    assert_eq!(seen, expected);
}

#[test]
fn the_tar_crates_archives_are_read() {
    let mut builder = ::tar::Builder::new(Vec::new());
    let long = "x/".repeat(100) + "file";
    for (name, body) in [("short", &b"1"[..]), (long.as_str(), b"22")] {
        let mut header = ::tar::Header::new_gnu();
        header.set_size(body.len() as u64);
        header.set_mode(0o644);
        builder.append_data(&mut header, name, body).unwrap();
    }
    let mut header = ::tar::Header::new_gnu();
    header.set_entry_type(::tar::EntryType::Symlink);
    header.set_size(0);
    header.set_uid(1 << 31);
    builder.append_link(&mut header, "link", &long).unwrap();
    let entries = read_all(&builder.into_inner().unwrap()).unwrap();
    let seen: Vec<_> = entries.iter().map(|(entry, body)| (entry.path.to_str().unwrap(), body.as_slice())).collect();
    assert_eq!(seen, [("short", &b"1"[..]), (&long, b"22"), ("link", b"")]);
    assert_eq!((entries[2].0.uid, &entries[2].0.kind), (1 << 31, &Kind::Symlink { target: long.into() }));
}

#[test]
fn only_what_does_not_fit_costs_an_extended_header() {
    let plain = Entry::new("a", Kind::File { size_bytes: 0 }, 0o644);
    let with_time = Entry { mtime: Timestamp { seconds: 1_700_000_000, nanoseconds: 5 }, ..plain.clone() };
    let with_xattr = Entry { xattrs: BTreeMap::from([(b"user.x".to_vec(), b"y".to_vec())]), ..plain.clone() };
    for entry in [plain, with_time, with_xattr] {
        assert_eq!(write_all(&[(entry, Vec::new())]).len(), 512 + 1024);
    }
}

#[test]
fn a_body_that_is_too_short_is_an_error() {
    let entry = Entry::new("a", Kind::File { size_bytes: 10 }, 0o644);
    let error = TarWriter::new(Vec::new()).append(&entry, &mut &b"short"[..]).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::UnexpectedEof);
}

#[test]
fn records_are_by_length_and_smuggle_nothing() {
    // A value with a newline and what looks like a record behind it.
    let tar = tar_of([Raw::pax(&[("comment", b"x\n17 path=smuggled\ny")]), Raw::file("honest", b"1")]);
    assert_eq!(paths(&tar), [Path::new("honest")]);
    // A nested tar in an entry whose size only the record gives, with the header's size 0.
    let nested = tar_of([Raw::file("smuggled", b"evil")]);
    let mut outer = Raw::file("outer", &nested);
    outer.size(0);
    let size = nested.len().to_string();
    let tar = tar_of([Raw::pax(&[("size", size.as_bytes())]), outer, Raw::file("after", b"")]);
    assert_eq!(paths(&tar), [Path::new("outer"), Path::new("after")]);
    // The size in the header is larger than the record's.
    let mut outer = Raw::file("outer", &[7; 512]);
    outer.size(1024);
    let tar = tar_of([Raw::pax(&[("size", b"512")]), outer, Raw::file("after", b"")]);
    assert_eq!(paths(&tar), [Path::new("outer"), Path::new("after")]);
}

#[test]
fn gnu_names_and_global_comments_are_read() {
    let long = "l".repeat(300);
    let name = |flag| {
        let mut raw = Raw::file("././@LongLink", format!("{long}\0").as_bytes());
        raw.block[156] = flag;
        raw
    };
    let mut comment = Raw::pax(&[("comment", b"git")]);
    comment.block[156] = b'g';
    let tar = tar_of([comment, name(b'L'), name(b'K'), Raw::link(b'2', "short", "short"), Raw::file("b", b"")]);
    let entries = read_all(&tar).unwrap();
    assert_eq!(entries[0].0.path, Path::new(&long));
    assert_eq!(entries[0].0.kind, Kind::Symlink { target: long.into() });
    assert_eq!(entries[1].0.path, Path::new("b"));
}

#[test]
fn what_readers_disagree_about_is_refused() {
    let global = |key| {
        let mut raw = Raw::pax(&[(key, b"x")]);
        raw.block[156] = b'g';
        raw
    };
    let long = || {
        let mut raw = Raw::file("long", b"other\0");
        raw.block[156] = b'L';
        raw
    };
    let pax = |records: &[(&str, &[u8])]| Raw::pax(records);
    let f = || Raw::file("f", b"");
    let mut old_directory = Raw::file("dir/", b"data");
    old_directory.block[156] = 0;
    let mut malformed = Raw::file("x", b"12 path=a\n");
    malformed.block[156] = b'x';
    let mut negative = f();
    negative.put(124, b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff");
    let cases = [
        ("global path", vec![global("path"), f()]),
        ("global size", vec![global("size"), f()]),
        ("path twice", vec![pax(&[("path", b"a"), ("path", b"b")]), f()]),
        ("two extended headers", vec![pax(&[("path", b"a")]), pax(&[("path", b"b")]), f()]),
        ("path in both dialects", vec![pax(&[("path", b"a")]), long(), f()]),
        ("NUL in a path", vec![pax(&[("path", b"a\0b")]), f()]),
        ("NUL in a key", vec![pax(&[("pa\0th", b"a")]), f()]),
        ("bad size", vec![pax(&[("size", b"-1")]), f()]),
        ("uid too large", vec![pax(&[("uid", b"4294967296")]), f()]),
        ("bad length", vec![malformed, f()]),
        ("directory with data", vec![old_directory]),
        ("negative size", vec![negative]),
        ("unknown type", vec![Raw::new(b'Z', "z")]),
        ("header without entry", vec![pax(&[("path", b"a")])]),
        ("sparse symlink", vec![pax(&[("GNU.sparse.size", b"4")]), Raw::link(b'2', "l", "t")]),
        (
            "sparse map out of order",
            vec![pax(&[("GNU.sparse.map", b"4,1,0,1"), ("GNU.sparse.size", b"9")]), Raw::file("f", b"ab")],
        ),
        (
            "sparse map beyond the end",
            vec![pax(&[("GNU.sparse.map", b"8,2"), ("GNU.sparse.size", b"9")]), Raw::file("f", b"ab")],
        ),
        (
            "sparse map without data",
            vec![pax(&[("GNU.sparse.map", b"0,9"), ("GNU.sparse.size", b"9")]), Raw::file("f", b"ab")],
        ),
    ];
    for (name, raws) in cases {
        assert!(read_all(&tar_of(raws)).is_err(), "{name}");
    }
}

#[test]
fn limits_have_names() {
    let limit = |tar: &[u8], limits: Limits| {
        let mut reader = TarReader::new(tar, limits);
        loop {
            match reader.next() {
                Ok(Some(_)) => {}
                Ok(None) => return "none",
                Err(TarError::Limit { what, .. }) => return what,
                Err(error) => panic!("{error}"),
            }
        }
    };
    let files = |n: usize| tar_of((0..n).map(|i| Raw::file(&format!("f{i}"), b"12345")));
    assert_eq!(limit(&files(3), Limits { entries: 2, ..Limits::default() }), "entries");
    assert_eq!(limit(&files(3), Limits { total_bytes: 14, ..Limits::default() }), "bytes");
    assert_eq!(limit(&files(3), Limits { entries: 3, total_bytes: 15, ..Limits::default() }), "none");
    let deep = "a/".repeat(600) + "f";
    let path = |path: &[u8]| tar_of([Raw::pax(&[("path", path)]), Raw::file("f", b"")]);
    assert_eq!(limit(&path(deep.as_bytes()), Limits::default()), "names in a path");
    assert_eq!(limit(&path(&[b'a'; 5000]), Limits::default()), "bytes of a path");
    let mut huge = Raw::pax(&[]);
    huge.size(1 << 30);
    assert_eq!(limit(&tar_of([huge]), Limits::default()), "bytes of an extended header");
    let sparse = [("GNU.sparse.map", &b"9223372036854775800,2"[..]), ("GNU.sparse.size", b"9223372036854775807")];
    assert_eq!(limit(&tar_of([Raw::pax(&sparse), Raw::file("f", b"ab")]), Limits::default()), "bytes");
}

#[test]
fn sparse_files_of_all_forms_are_whole() {
    let expected = [&[0; 4][..], b"data", &[0; 6], b"xy", &[0; 4]].concat();
    let body = b"dataxy";
    let numbers: &[(&str, &[u8])] = &[
        ("GNU.sparse.size", b"20"),
        ("GNU.sparse.numblocks", b"2"),
        ("GNU.sparse.offset", b"4"),
        ("GNU.sparse.numbytes", b"4"),
        ("GNU.sparse.offset", b"14"),
        ("GNU.sparse.numbytes", b"2"),
    ];
    let map: &[(&str, &[u8])] =
        &[("GNU.sparse.map", b"4,4,14,2"), ("GNU.sparse.size", b"20"), ("GNU.sparse.name", b"real")];
    let version_1: &[(&str, &[u8])] = &[
        ("GNU.sparse.major", b"1"),
        ("GNU.sparse.minor", b"0"),
        ("GNU.sparse.name", b"real"),
        ("GNU.sparse.realsize", b"20"),
    ];
    let mut with_map = b"2\n4\n4\n14\n2\n".to_vec();
    with_map.resize(512, 0);
    with_map.extend_from_slice(body);
    let mut old = Raw::file("real", body);
    old.block[156] = b'S';
    old.put(257, b"ustar  \0").put(386, b"00000000004 00000000004\0").put(410, b"00000000016 00000000002\0");
    old.put(483, b"00000000024\0");
    for raws in [
        vec![Raw::pax(numbers), Raw::file("real", body)],
        vec![Raw::pax(map), Raw::file("GNUSparseFile.0/real", body)],
        vec![Raw::pax(version_1), Raw::file("GNUSparseFile.0/real", &with_map)],
        vec![old],
    ] {
        let tar = tar_of(raws.into_iter().chain([Raw::file("after", b"1")]));
        let seen: Vec<_> = read_all(&tar).unwrap().into_iter().map(|(entry, body)| (entry.path, body)).collect();
        assert_eq!(seen, [("real".into(), expected.clone()), ("after".into(), b"1".to_vec())]);
    }
}

#[test]
fn every_truncation_is_an_error_or_a_clean_end() {
    let tar = write_all(&honest_entries());
    let whole = read_all(&tar).unwrap().len();
    for length in (0..tar.len() - 1024).step_by(97) {
        match read_all(&tar[..length]) {
            Ok(entries) => assert!(length % 512 == 0 && entries.len() < whole, "{length}"),
            Err(error) => assert!(matches!(error, TarError::Truncated), "{length}: {error}"),
        }
    }
}

proptest! {
    #[test]
    fn arbitrary_bytes_do_not_panic(bytes in proptest::collection::vec(any::<u8>(), 0..4096)) {
        let _ = read_all(&bytes);
    }

    /// Bytes of a good tar are changed, and the checksums mended so that the change is looked at.
    #[test]
    fn mutated_tars_do_not_panic(changes in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 1..12)) {
        let mut tar = write_all(&honest_entries());
        for (index, byte) in changes {
            let index = index.index(tar.len());
            tar[index] = byte;
            let block = &mut tar[index / 512 * 512..][..512];
            block[148..156].fill(b' ');
            let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
            block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        }
        let _ = read_all(&tar);
    }

    #[test]
    fn any_entry_survives_the_tar(
        path in "[a-zé\n][a-zé/\n]{0,300}[a-z]", mode in 0..0o10000u32, uid: u32, gid: u32, seconds in -1i64 << 40..1 << 40,
        body in proptest::collection::vec(any::<u8>(), 0..2000),
    ) {
        let path = super::super::entry::clean(path.as_bytes());
        let mtime = Timestamp { seconds, nanoseconds: 0 };
        let kind = Kind::File { size_bytes: body.len() as u64 };
        let entry = Entry { uid, gid, mtime, ..Entry::new(path, kind, mode) };
        let entries = [(entry, body)];
        prop_assert_eq!(&read_all(&write_all(&entries)).unwrap()[..], &entries[..]);
    }
}
