//! Hostile base images.

use super::bench::Bench;
use super::layout::{self, Image, busybox, descriptor, digest, write_blob, write_index};
use super::rungs::{EVERY, WITH_RUN, any_account, on};
use super::tar::Tar;
use serde_json::json;
use std::io::Write;

/// Builds something that looks at every path an attack may have planted, and returns how that went.
#[track_caller]
fn use_of(bench: &Bench, tars: impl IntoIterator<Item = Vec<u8>>) -> super::bench::Outcome {
    bench.evil(&Image::of(tars));
    bench.write("f", "x");
    bench.build("FROM evil\nCOPY f /l/planted\nCOPY f /d/planted\nWORKDIR /l/made\n", &[])
}

/// What an attacker writes through a planted link, and into the directory it points at.
fn through(name: &str) -> Vec<Tar> {
    vec![
        Tar::new().file(&format!("{name}/file"), b"evil"),
        Tar::new().directory(&format!("{name}/inner"), 0o777),
        Tar::new().directory(name, 0o777),
        Tar::new().file(&format!("{name}/.wh.file"), b""),
        Tar::new().file(&format!("{name}/.wh..wh..opq"), b""),
        Tar::new().file(&format!(".wh.{name}"), b""),
        Tar::new().hard_link("stolen", &format!("{name}/file")),
        Tar::new().hard_link(&format!("{name}/hard"), "bin/busybox"),
        Tar::new().symlink(&format!("{name}/file"), "/"),
        Tar::new().entry(b'6', &format!("{name}/pipe"), "", 0o666, b""),
        Tar::new().pax(&[("SCHILY.xattr.user.evil", b"1")]).directory(name, 0o755),
    ]
}

#[test]
fn links_planted_by_one_layer_lead_a_later_one_nowhere() {
    let account = any_account();
    for target in ["OUTSIDE", "../../../../../../../../OUTSIDE", "..", "/"] {
        for attack in through("l") {
            let bench = Bench::new(account);
            let target = target.replace("OUTSIDE", &bench.outside(""));
            let plant = Tar::new().symlink("l", &target).symlink("d", "l").end();
            use_of(&bench, [busybox().end(), plant, attack.end()]);
        }
    }
}

#[test]
fn links_planted_in_the_same_layer_lead_nowhere() {
    on(EVERY, |bench| {
        for attack in through("l") {
            let mut tar = busybox().symlink("l", &bench.outside("")).symlink("d", "l").end();
            tar.truncate(tar.len() - 1024);
            tar.extend(attack.end());
            use_of(&bench, [tar]);
        }
    });
}

#[test]
fn a_root_that_is_no_directory_is_refused_by_name() {
    for name in [".", "/", "./", ".."] {
        let bench = Bench::new(any_account());
        for root in [Tar::new().symlink(name, &bench.outside("")), Tar::new().file(name, b"x")] {
            use_of(&bench, [busybox().end(), root.end()]).refused("cannot unpack layer");
        }
    }
}

#[test]
fn names_that_climb_stay_inside() {
    let bench = Bench::new(any_account());
    let depth = "../".repeat(24);
    let mut tar = busybox();
    for name in ["../x", "a/../../x", "/x", "./..//x", "..\\x"] {
        tar = tar.file(name, b"evil");
    }
    let outside = bench.outside("/file");
    let name = format!("{depth}{}", outside.trim_start_matches('/'));
    if name.len() <= 100 {
        tar = tar.file(&name, b"evil");
    }
    use_of(&bench, [tar.end()]).succeeded();
}

#[test]
fn hard_links_to_the_outside_are_refused() {
    let bench = Bench::new(any_account());
    for target in [bench.outside("/file"), "../../outside/file".into(), "elsewhere/../../outside/file".into()] {
        let tar = busybox().hard_link("h", &target).file("h", b"evil");
        use_of(&bench, [tar.end()]).refused("cannot unpack layer");
    }
}

#[test]
fn whiteouts_with_odd_names_are_refused() {
    for name in [".wh.", ".wh..", ".wh...", "a/.wh.", ".wh.a/b"] {
        let bench = Bench::new(any_account());
        use_of(&bench, [busybox().end(), Tar::new().file(name, b"").end()]).refused("cannot unpack layer");
    }
}

#[test]
fn overlay_attributes_of_a_layer_hide_and_redirect_nothing() {
    on(WITH_RUN, |bench| {
        let spoof: &[(&str, &[u8])] = &[
            ("SCHILY.xattr.trusted.overlay.opaque", b"y"),
            ("SCHILY.xattr.trusted.overlay.redirect", b"/secret"),
            ("SCHILY.xattr.user.overlay.opaque", b"y"),
            ("SCHILY.xattr.user.overlay.redirect", b"/secret"),
            ("SCHILY.xattr.user.overlay.whiteout", b""),
            ("SCHILY.xattr.user.overlay.metacopy", b""),
        ];
        let below =
            busybox().directory("secret", 0o700).file("secret/s", b"s").directory("d", 0o755).file("d/kept", b"1");
        let above = Tar::new().pax(spoof).directory("d", 0o755).pax(spoof).file("d/f", b"2");
        bench.evil(&Image::of([below.end(), above.end()]));
        let seen = bench.build("FROM evil\nRUN cat /d/kept && cat /d/f && ! test -e /d/s && echo all-there\n", &[]);
        assert!(seen.succeeded().text.contains("all-there"));
    });
}

#[test]
fn a_device_that_means_a_deletion_is_refused() {
    let bench = Bench::new(any_account());
    let mut tar = Tar::new().entry(b'3', "bin", "", 0o644, b"").end();
    tar[329..337].copy_from_slice(b"0000000\0");
    tar[337..345].copy_from_slice(b"0000000\0");
    tar[148..156].copy_from_slice(b"        ");
    let sum: u32 = tar[..512].iter().map(|&byte| u32::from(byte)).sum();
    tar[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    use_of(&bench, [busybox().end(), tar]).refused("cannot unpack layer");
}

#[test]
fn of_two_entries_with_one_name_the_last_counts() {
    on(WITH_RUN, |bench| {
        let tar = busybox().file("f", b"first").file("./f", b"second").directory("g", 0o700).file("g", b"file");
        bench.evil(&Image::of([tar.end()]));
        bench.build("FROM evil\nRUN test \"$(cat /f /g)\" = secondfile\n", &[]).succeeded();
    });
}

#[test]
fn sizes_that_two_readers_see_differently_are_refused_or_seen_as_go_does() {
    let inner = Tar::new().file("smuggled", b"evil").end();
    let outer = Tar::new().pax(&[("size", inner.len().to_string().as_bytes())]);
    // A header of size 0 whose records say more: the body is a body.
    let tar = outer.entry_of_size(b'0', "outer", "", 0o644, 0, &inner).file("after", b"1").end();
    let bench = Bench::new(any_account());
    bench.evil(&Image::of([tar]));
    let result = bench.build("FROM evil AS e\nFROM scratch\nCOPY --from=e /outer /after /\n", &[]);
    if result.code == 0 {
        bench.build("FROM evil AS e\nFROM scratch\nCOPY --from=e /smuggled /\n", &[]).refused("smuggled");
    }
    for broken in ["5 a=b\n", "99999 path=x\n", "12 path=x", "9 pa\0h=x\n", "x path=y\n"] {
        let tar = Tar::new().entry(b'x', "p", "", 0o644, broken.as_bytes()).file("f", b"1").end();
        use_of(&Bench::new(any_account()), [tar]).refused("cannot unpack layer");
    }
}

/// Bytes that do not compress, of a tar.
fn noisy_tar(len: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let noise: Vec<u8> = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    })
    .take(len)
    .collect();
    Tar::new().file("noise", &noise).end()
}

fn compressed(tar: &[u8]) -> [(&'static str, Vec<u8>); 3] {
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(tar).unwrap();
    let mut xz = xz2::write::XzEncoder::new(Vec::new(), 0);
    xz.write_all(tar).unwrap();
    [("gzip", gzip.finish().unwrap()), ("zstd", zstd::encode_all(tar, 1).unwrap()), ("xz", xz.finish().unwrap())]
}

#[test]
fn a_layer_cut_at_any_kibibyte_is_refused_in_bounded_time() {
    let tar = noisy_tar(12 << 10);
    for (format, whole) in compressed(&tar) {
        let bench = Bench::new(any_account());
        let honest = Image { layers: vec![(whole.clone(), digest(&tar))], config: json!({}) };
        bench.evil(&honest);
        bench.build("FROM evil\nLABEL a=1\nWORKDIR /x\n", &["--no-cache"]).succeeded();
        for len in (1..whole.len()).step_by(1024) {
            let bench = Bench::new(any_account());
            bench.evil(&Image { layers: vec![(whole[..len].to_vec(), digest(&tar))], config: json!({}) });
            let result = bench.build("FROM evil\nWORKDIR /x\n", &[]);
            assert!(result.code != 0, "{format} cut at {len}: {}", result.text);
            // Nothing is held after a failure: an honest build goes on in the same store.
            bench.build("FROM scratch\nCOPY Dockerfile /\n", &[]).succeeded();
        }
    }
}

#[test]
fn a_layer_that_is_not_what_its_digests_say_is_refused() {
    let bench = Bench::new(any_account());
    let tar = busybox().end();
    // Another diff id.
    bench.evil(&Image { layers: vec![(tar.clone(), digest(b"other"))], config: json!({}) });
    bench.build("FROM evil\nWORKDIR /x\n", &[]).refused("but the config says");
    // The bytes of another blob by its name.
    let image = Image::of([tar.clone()]);
    bench.evil(&image);
    let other = Tar::new().file("evil", b"1").end();
    std::fs::write(bench.path("evil/blobs/sha256").join(&digest(&tar)[7..]), &other).unwrap();
    bench.build("FROM evil\nWORKDIR /x\n", &[]).refused("digest");
    // And again: the refusal left nothing behind that a second build would believe.
    bench.build("FROM evil\nWORKDIR /x\n", &[]).refused("digest");
    // A true digest with a false size.
    let mut manifest = image.manifest();
    manifest["layers"][0]["size"] = json!(tar.len() + 1);
    let bench = Bench::new(any_account());
    image.write_with(&bench.path("evil"), &manifest);
    bench.build("FROM evil\nWORKDIR /x\n", &[]).refused("size");
}

#[test]
fn a_document_that_is_manifest_and_index_is_refused() {
    let bench = Bench::new(any_account());
    let image = Image::of([busybox().end()]);
    let mut both = image.manifest();
    both["manifests"] = json!([descriptor(layout::MANIFEST, b"x")]);
    image.write_with(&bench.path("evil"), &both);
    bench.build("FROM evil\nWORKDIR /x\n", &[]).refused("`manifests`");
    // A document whose own media type is not the descriptor's.
    let mut other = image.manifest();
    other["mediaType"] = json!(layout::INDEX);
    image.write_with(&bench.path("evil"), &other);
    bench.build("FROM evil\nWORKDIR /x\n", &[]).refused("but it came as");
}

#[test]
fn indexes_without_end_and_digests_that_are_paths_are_refused() {
    let bench = Bench::new(any_account());
    let evil = bench.path("evil");
    let image = Image::of([busybox().end()]);
    image.write(&evil);
    // Sixty indexes, one in the other.
    let mut inner = descriptor(layout::MANIFEST, &serde_json::to_vec(&image.manifest()).unwrap());
    for _ in 0..60 {
        let index = serde_json::to_vec(&json!({"schemaVersion": 2, "mediaType": layout::INDEX, "manifests": [inner]}));
        let index = index.unwrap();
        write_blob(&evil, &index);
        inner = descriptor(layout::INDEX, &index);
    }
    write_index(&evil, &inner);
    bench.build("FROM evil\nWORKDIR /x\n", &[]).refused("deep");
    for digest in ["sha256:../../../../outside/file", "sha256:", "", "sha256:ABCD", "md5:00", "../x"] {
        write_index(&evil, &json!({"mediaType": layout::MANIFEST, "digest": digest, "size": 6}));
        bench.build("FROM evil\nWORKDIR /x\n", &[]).refused("digest");
    }
}

#[test]
fn documents_of_a_gibibyte_are_not_read() {
    for name in ["index.json", "manifest", "config"] {
        let bench = Bench::new(any_account());
        let image = Image::of([busybox().end()]);
        bench.evil(&image);
        let manifest = serde_json::to_vec(&image.manifest()).unwrap();
        let path = match name {
            "manifest" => format!("evil/blobs/sha256/{}", &digest(&manifest)[7..]),
            "config" => format!("evil/blobs/sha256/{}", &digest(&image.config_bytes())[7..]),
            _ => "evil/index.json".into(),
        };
        std::fs::File::options().write(true).open(bench.path(&path)).unwrap().set_len(1 << 30).unwrap();
        bench.build("FROM evil\nWORKDIR /x\n", &[]).refused("larger than");
    }
}

#[test]
fn bombs_meet_a_limit_with_a_name() {
    let refused = |tar: Vec<u8>| use_of(&Bench::new(any_account()), [tar]).refused("cannot unpack layer");
    // A file of 8 EiB.
    let record: &[(&str, &[u8])] = &[("size", b"9223372036854775807")];
    refused(Tar::new().pax(record).file("f", b"x").end());
    // A sparse file of a tebibyte and no bytes.
    let sparse: &[(&str, &[u8])] = &[
        ("GNU.sparse.major", b"0"),
        ("GNU.sparse.minor", b"1"),
        ("GNU.sparse.size", b"1099511627776"),
        ("GNU.sparse.map", b"1099511627776,0"),
        ("GNU.sparse.numblocks", b"1"),
    ];
    refused(Tar::new().pax(sparse).file("f", b"").end());
    // A path of a hundred thousand directories.
    let deep = "d/".repeat(100_000);
    refused(Tar::new().pax(&[("path", deep.as_bytes())]).file("f", b"").end());
    // A record of a gibibyte.
    refused(Tar::new().entry_of_size(b'x', "p", "", 0o644, 1 << 30, b"12 path=abc\n").end());
}

#[test]
fn what_follows_the_end_of_a_layer_is_not_read_for_ever() {
    // Four gibibytes of zeros behind a complete tar, in half a megabyte.
    let mut encoder = zstd::Encoder::new(Vec::new(), 1).unwrap();
    encoder.write_all(&busybox().end()).unwrap();
    let zeros = vec![0u8; 1 << 20];
    for _ in 0..(4 << 10) {
        encoder.write_all(&zeros).unwrap();
    }
    let blob = encoder.finish().unwrap();
    let bench = Bench::new(any_account());
    bench.evil(&Image { layers: vec![(blob, digest(b"whatever"))], config: json!({}) });
    bench.build("FROM evil\nWORKDIR /x\n", &[]).refused("behind its end");
}

#[test]
fn messages_and_labels_of_an_image_do_not_steer_the_terminal() {
    let bench = Bench::new(any_account());
    let name = "\u{1b}]0;title\u{7}\u{1b}[2J";
    let result = use_of(&bench, [busybox().hard_link(name, "nowhere\u{1b}[2J").end()]);
    assert!(result.code != 0 && !result.text.contains(['\u{1b}', '\u{7}']), "{}", result.text.escape_debug());
    let mut image = Image::of([busybox().end()]);
    image.config = json!({"Env": ["PATH=/bin"], "Labels": {"\u{1b}]0;a\u{7}": "\u{1b}[2J"}, "User": "\u{1b}[2Jx"});
    bench.evil(&image);
    let result = bench.build("FROM evil\nRUN true\nLABEL b=1\n", &[]);
    assert!(!result.text.contains('\u{1b}'), "{}", result.text.escape_debug());
}

#[test]
fn honest_layers_with_long_links_unpack() {
    on(WITH_RUN, |bench| {
        let tar = busybox()
            .file("etc/pki/ca.pem", b"ca")
            .symlink("usr/share/pki/a/b/ca.pem", "../../../../../../../../etc/pki/ca.pem");
        bench.evil(&Image::of([tar.end()]));
        bench.build("FROM evil\nRUN test $(cat /usr/share/pki/a/b/ca.pem) = ca\n", &[]).succeeded();
    });
}

#[test]
fn an_image_cannot_reach_the_store_or_the_program() {
    on(WITH_RUN, |bench: Bench| {
        let program = env!("CARGO_BIN_EXE_cooper");
        let tar =
            busybox().symlink("l", &bench.text("store")).symlink("m", program).symlink("var", &bench.text("store"));
        bench.evil(&Image::of([tar.end(), Tar::new().file("l/oci/index.json", b"evil").file("m", b"evil").end()]));
        bench.write("f", "evil");
        let before = std::fs::metadata(program).unwrap();
        bench.build("FROM evil\nCOPY f /l/oci/index.json\nCOPY f /var/oci/index.json\nRUN true\n", &[]);
        let index = std::fs::read_to_string(bench.path("store/oci/index.json")).unwrap();
        assert!(index.contains("schemaVersion"), "{index}");
        let after = std::fs::metadata(program).unwrap();
        assert_eq!((before.len(), before.modified().unwrap()), (after.len(), after.modified().unwrap()));
    });
}
