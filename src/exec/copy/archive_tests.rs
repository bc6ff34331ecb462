#![allow(clippy::unwrap_used)]

use super::testtree::*;
use super::*;
use crate::exec::mode::parse_chmod;
use crate::layer::ArchiveOptions;
use std::io::Write;
use std::path::Path;

/// A tar of `d/` (0750, 3:4) and `d/f` (0640, 5:6).
fn tar() -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    let mut append = |path: &str, kind, mode, (uid, gid), content: &[u8]| {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_uid(uid);
        header.set_gid(gid);
        header.set_mtime(1000);
        header.set_size(content.len() as u64);
        builder.append_data(&mut header, path, content).unwrap();
    };
    append("d/", tar::EntryType::Directory, 0o750, (3, 4), b"");
    append("d/f", tar::EntryType::Regular, 0o640, (5, 6), b"inner");
    builder.into_inner().unwrap()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn add(bench: &Bench, origins: &[&str], placement: &Placement) -> Result<CopyStats, AddError> {
    let (source, dest) = (Root::open(&bench.source).unwrap(), Root::open(&bench.dest).unwrap());
    apply_add(&bench.select(origins), &source, &dest, placement, &options())
}

/// Without root the owners of the archive cannot be set.
fn options() -> ArchiveOptions {
    ArchiveOptions { sets_owners: rustix::process::geteuid().is_root(), ..ArchiveOptions::default() }
}

fn bench(files: &[(&str, Vec<u8>)]) -> Bench {
    let bench = Bench::new();
    for (path, content) in files {
        std::fs::write(bench.source.join(path), content).unwrap();
    }
    bench
}

#[test]
fn archives_are_known_by_their_content() {
    if !is_root("owners of archives") {
        return;
    }
    for archive in [tar(), gzip(&tar()), zstd::encode_all(&tar()[..], 1).unwrap()] {
        let bench = bench(&[("plain.txt", archive)]);
        let stats = add(&bench, &["plain.txt"], &to("/out")).unwrap();
        assert_eq!(stats.unpacked, 2);
        assert_eq!(bench.tree(), ["out dir 755", "out/d dir 750 3:4", "out/d/f 640 \"inner\" 5:6"]);
    }
}

#[test]
fn what_is_no_archive_is_copied() {
    let bench = bench(&[("text.tar", b"text".to_vec()), ("empty.tar", Vec::new()), ("page.gz", gzip(b"page"))]);
    let stats = add(&bench, &["text.tar", "empty.tar", "page.gz"], &to("/")).unwrap();
    assert_eq!((stats.files, stats.unpacked), (3, 0));
    assert_eq!(std::fs::read(bench.dest.join("text.tar")).unwrap(), b"text");
    assert_eq!(std::fs::read(bench.dest.join("page.gz")).unwrap(), gzip(b"page"));
}

#[test]
fn an_archive_inside_a_directory_is_copied() {
    let bench = bench(&[]);
    std::fs::create_dir(bench.source.join("s")).unwrap();
    std::fs::write(bench.source.join("s/a.tar"), tar()).unwrap();
    add(&bench, &["s"], &to("/out")).unwrap();
    assert_eq!(std::fs::read(bench.dest.join("out/a.tar")).unwrap(), tar());
}

#[test]
fn chown_applies_to_what_is_unpacked_and_chmod_does_not() {
    if !is_root("chown") {
        return;
    }
    let bench = bench(&[("a", tar())]);
    let chmod = Some(parse_chmod("777").unwrap());
    add(&bench, &["a"], &Placement { chown: Some((8, 9)), chmod, ..to("/new/out") }).unwrap();
    assert_eq!(
        bench.tree(),
        ["new dir 755 8:9", "new/out dir 755 8:9", "new/out/d dir 750 8:9", "new/out/d/f 640 \"inner\" 8:9"]
    );
}

#[test]
fn archives_and_files_are_written_in_order() {
    let bench = bench(&[("a.tar", tar()), ("f", b"later".to_vec())]);
    add(&bench, &["a.tar", "f"], &to("/d/")).unwrap();
    assert_eq!(std::fs::read_to_string(bench.dest.join("d/d/f")).unwrap(), "inner");
    assert_eq!(std::fs::read_to_string(bench.dest.join("d/f")).unwrap(), "later");
}

#[test]
fn a_broken_archive_is_an_error_that_names_it() {
    let bytes = tar();
    let bench = bench(&[("a.tar", bytes[..bytes.len() - 1200].to_vec())]);
    let error = add(&bench, &["a.tar"], &to("/")).unwrap_err();
    assert_eq!(error.to_string(), "cannot unpack `/a.tar`");
}

#[test]
fn a_download_is_unpacked_on_demand_only_if_it_is_an_archive() {
    let bench = bench(&[("a", tar()), ("b", b"text".to_vec())]);
    let dest = Root::open(&bench.dest).unwrap();
    let unpack = |name: &str| {
        let file = std::fs::File::open(bench.source.join(name)).unwrap();
        unpack_file(&file, Path::new(name), &dest, &to("/out"), &options()).unwrap()
    };
    assert_eq!(unpack("b"), None);
    assert_eq!(unpack("a").unwrap().unpacked, 2);
    assert_eq!(std::fs::read_to_string(bench.dest.join("out/d/f")).unwrap(), "inner");
}

#[test]
fn owners_that_are_not_set_are_reported() {
    let bench = bench(&[("a", tar())]);
    std::fs::create_dir(bench.dest.join("real")).unwrap();
    std::os::unix::fs::symlink("/real", bench.dest.join("link")).unwrap();
    let (source, dest) = (Root::open(&bench.source).unwrap(), Root::open(&bench.dest).unwrap());
    let options = ArchiveOptions { sets_owners: false, ..options() };
    let add = |chown| {
        let placement = Placement { chown, ..to("/link") };
        let stats = apply_add(&bench.select(&["a"]), &source, &dest, &placement, &options).unwrap();
        stats.owners.into_iter().map(|o| format!("{} {}:{}", o.path.display(), o.uid, o.gid)).collect::<Vec<_>>()
    };
    assert_eq!(add(None), ["/real/d 3:4", "/real/d/f 5:6"]);
    assert_eq!(add(Some((8, 9))), ["/real/d 8:9", "/real/d/f 8:9"]);
}
