//! What is written for the user: directories and archives.

use super::layout::{Image, busybox};
use super::rungs::{EVERY, WITH_RUN, any_account, on};
use super::tar::Tar;
use std::fs;
use std::os::unix::fs::{FileTypeExt, symlink};

#[test]
fn a_directory_is_written_inside_only() {
    on(EVERY, |bench| {
        let image = Image::of([
            Tar::new()
                .file("a/file", b"evil")
                .file("b", b"evil")
                .directory("c/inner", 0o777)
                .symlink("d", &bench.outside(""))
                .symlink("e", "../../../../outside/file")
                .end(),
            Tar::new().file("f/file", b"evil").end(),
        ]);
        bench.evil(&image);
        let dest = bench.path("out");
        fs::create_dir(&dest).unwrap();
        symlink(bench.outside(""), dest.join("a")).unwrap();
        symlink(bench.outside("/file"), dest.join("b")).unwrap();
        symlink("../outside", dest.join("c")).unwrap();
        symlink("../outside/inner", dest.join("f")).unwrap();
        for _ in 0..2 {
            let output = format!("-otype=local,dest={}", dest.display());
            bench.build("FROM evil\n", &[&output]);
            fs::remove_file(dest.join("a")).ok();
        }
        // Into an empty place everything goes, links as links.
        let output = format!("-otype=local,dest={}", bench.text("new"));
        bench.build("FROM evil\n", &[&output]).succeeded();
        assert!(bench.path("new/d").is_symlink() && bench.path("new/a/file").is_file());
        bench.build("FROM evil\n", &[&output]);
    });
}

#[test]
fn devices_are_not_made_in_a_directory_of_the_users() {
    on(EVERY, |bench| {
        bench.evil(&Image::of([Tar::new()
            .entry(b'3', "null", "", 0o666, b"")
            .entry(b'4', "disk", "", 0o666, b"")
            .file("f", b"1")
            .end()]));
        let output = format!("-otype=local,dest={}", bench.text("new"));
        bench.build("FROM evil\n", &[&output]);
        for name in ["null", "disk"] {
            let metadata = bench.path("new").join(name).symlink_metadata();
            let is_device = metadata.is_ok_and(|m| m.file_type().is_char_device() || m.file_type().is_block_device());
            assert!(!is_device, "{name}");
        }
    });
}

#[test]
fn archives_tell_nothing_of_the_builder() {
    on(WITH_RUN, |bench| {
        bench.write("f", "x");
        let text = "FROM base\nCOPY f /f\nRUN echo x > /g\nWORKDIR /w\n";
        for kind in ["tar", "oci", "docker"] {
            let dest = bench.text(&format!("{kind}.tar"));
            bench.build(text, &["-t", "x.test/y:z", &format!("-otype={kind},dest={dest}")]).succeeded();
            let bytes = fs::read(&dest).unwrap();
            let mut archive = tar::Archive::new(bytes.as_slice());
            for entry in archive.entries().unwrap() {
                let entry = entry.unwrap();
                let path = entry.path().unwrap().into_owned();
                assert!(path.is_relative() && !path.components().any(|part| part.as_os_str() == ".."), "{path:?}");
                let header = entry.header();
                assert!(header.username_bytes().is_none_or(<[u8]>::is_empty), "{path:?}");
                assert!(header.groupname_bytes().is_none_or(<[u8]>::is_empty), "{path:?}");
            }
            for word in [bench.path("").to_str().unwrap(), "attack-", "/var/lib/cooper"] {
                assert!(!contains(&bytes, word.trim_end_matches('/').as_bytes()), "{kind}: {word}");
            }
        }
    });
}

#[test]
fn an_archive_replaces_a_link_and_does_not_write_through_it() {
    let bench = any_account();
    let bench = super::bench::Bench::new(bench);
    for kind in ["tar", "oci", "docker"] {
        let dest = bench.path("out.tar");
        symlink(bench.outside("/file"), &dest).unwrap();
        bench.build("FROM base\n", &[&format!("-otype={kind},dest={}", dest.display())]);
        fs::remove_file(dest).unwrap();
    }
    for flag in ["--iidfile", "--metadata-file"] {
        symlink(bench.outside("/file"), bench.path("id")).unwrap();
        bench.build("FROM base\n", &[flag, &bench.text("id")]);
        fs::remove_file(bench.path("id")).unwrap();
    }
}

#[test]
fn setuid_bits_are_kept_in_headers() {
    on(WITH_RUN, |bench| {
        bench.evil(&Image::of([busybox().file_with_mode("s", 0o4755, b"x").end()]));
        let dest = bench.text("out.tar");
        bench
            .build("FROM evil\nRUN cp /bin/busybox /t && chmod 6755 /t\n", &[&format!("-otype=tar,dest={dest}")])
            .succeeded();
        let bytes = fs::read(&dest).unwrap();
        let mut archive = tar::Archive::new(bytes.as_slice());
        let modes: Vec<(String, u32)> = archive
            .entries()
            .unwrap()
            .map(|entry| {
                let entry = entry.unwrap();
                (entry.path().unwrap().display().to_string(), entry.header().mode().unwrap() & 0o7777)
            })
            .collect();
        assert!(modes.contains(&("s".into(), 0o4755)) && modes.contains(&("t".into(), 0o6755)), "{modes:?}");
    });
}

/// Whether bytes are found in others.
pub fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    haystack.windows(needle.len()).any(|window| window == needle)
}
