//! Entries of a layer whose numbers, times, attributes or order are extreme.

use super::bench::Bench;
use super::layout::Image;
use super::rungs::{EVERY, any_account, on};
use super::tar::Tar;

/// Builds on an image and gives what comes out as a tar, too.
#[track_caller]
fn export(bench: &Bench, tars: impl IntoIterator<Item = Vec<u8>>) -> super::bench::Outcome {
    bench.evil(&Image::of(tars));
    bench.write("f", "x");
    let output = format!("-otype=tar,dest={}", bench.text("out.tar"));
    bench.build("FROM evil\nCOPY f /d/f\nCOPY --from=evil / /copy/\n", &[&output, "-otype=image"])
}

#[test]
fn ids_that_mean_something_else_are_refused() {
    // All ones is no id: the kernel takes it for `leave it as it is`, and the file would stay the builder's.
    for (key, value) in [
        ("uid", "4294967295"),
        ("gid", "4294967295"),
        ("uid", "4294967296"),
        ("gid", "-1"),
        ("uid", "99999999999999999999"),
        ("uid", "0x1"),
    ] {
        let tar = Tar::new().pax(&[(key, value.as_bytes())]).file("d/file", b"1").end();
        export(&Bench::new(any_account()), [tar]).refused("cannot unpack layer");
    }
}

#[test]
fn times_beyond_all_clocks_are_taken_or_refused_in_words() {
    on(EVERY, |bench| {
        for value in [
            "-1",
            "-62135596801",
            "253402300800",
            "9223372036854775807",
            "-9223372036854775808",
            "99999999999999999999999",
            "1.9999999999999999999",
            "1.-5",
            "abc",
            "",
        ] {
            let records: &[(&str, &[u8])] = &[("mtime", value.as_bytes()), ("atime", value.as_bytes())];
            let tar = Tar::new().pax(records).directory("d", 0o755).pax(records).file("d/file", b"1").pax(records);
            let result = export(&bench, [tar.symlink("d/link", "file").end()]);
            assert!((0..5).contains(&result.code), "{value}: {}", result.text);
        }
    });
}

#[test]
fn hard_links_in_a_ring_are_refused() {
    on(EVERY, |bench| {
        for ring in [
            Tar::new().hard_link("a", "b").hard_link("b", "a"),
            Tar::new().hard_link("a", "a"),
            Tar::new().directory("d", 0o755).hard_link("d/d", "d"),
            Tar::new().hard_link("a", "."),
            Tar::new().symlink("s", ".").hard_link("a", "s/s/s/s/b").file("b", b"1"),
        ] {
            export(&bench, [ring.end()]).refused("cannot unpack layer");
        }
    });
}

#[test]
fn whiteouts_of_nothing_and_of_themselves_are_harmless() {
    on(EVERY, |bench| {
        let first =
            Tar::new().file(".wh.a", b"").file("d/.wh..wh..opq", b"").file(".wh..wh..opq", b"").file("d/x", b"1");
        let second = Tar::new().file(".wh.d", b"").file("d/y", b"2").file("d/.wh.y", b"").file(".wh.nothing", b"");
        export(&bench, [first.end(), second.end()]).succeeded();
        assert!(tar::Archive::new(std::fs::File::open(bench.path("out.tar")).unwrap()).entries().unwrap().all(
            |entry| {
                let name = entry.unwrap().path().unwrap().display().to_string();
                !name.contains(".wh.") && !name.ends_with("/x")
            }
        ));
    });
}

#[test]
fn attributes_without_measure_or_meaning_are_dropped_or_refused() {
    on(EVERY, |bench| {
        let long = vec![b'x'; 70_000];
        let many: Vec<(String, Vec<u8>)> =
            (0..200).map(|n| (format!("SCHILY.xattr.user.n{n}"), vec![b'x'; 4000])).collect();
        let many: Vec<(&str, &[u8])> = many.iter().map(|(name, value)| (name.as_str(), value.as_slice())).collect();
        let forged: &[(&str, &[u8])] = &[
            ("SCHILY.xattr.user.cooper.owner", b"1234:1234"),
            ("SCHILY.xattr.system.posix_acl_access", b"garbage"),
            ("SCHILY.xattr.security.capability", b"garbage"),
            ("SCHILY.xattr.security.selinux", b"system_u:object_r:shadow_t:s0\0"),
        ];
        for records in [
            &[("SCHILY.xattr.user.long", long.as_slice())][..],
            &many,
            &[("SCHILY.xattr.", b"1".as_slice())],
            &[("SCHILY.xattr.user.", b"1".as_slice())],
            forged,
        ] {
            let tar = Tar::new().pax(records).directory("d", 0o755).pax(records).file("d/file", b"1").end();
            let result = export(&bench, [tar]);
            assert!((0..5).contains(&result.code), "{}", result.text);
            if result.code == 0 {
                let archive = std::fs::read(bench.path("out.tar")).unwrap();
                let mut archive = tar::Archive::new(archive.as_slice());
                let mut entries = archive.entries().unwrap().map(Result::unwrap);
                let file = entries.find(|entry| entry.path().unwrap().ends_with("d/file")).unwrap();
                assert_eq!(file.header().uid().unwrap(), 0);
            }
        }
    });
}
