//! Trees become layers and layers trees, without loss.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::layer::{Limits, TarReader, UnpackOptions, decompress, unpack_layer};
use std::ffi::CString;
use std::os::unix::fs::{PermissionsExt, symlink};

const CAPABILITY_2: &[u8] = b"\x01\0\0\x02\0\x04\0\0\0\0\0\0\0\0\0\0\0\0\0\0";

struct Tree {
    dir: tempfile::TempDir,
}

impl Tree {
    fn new() -> Tree {
        Tree { dir: tempfile::tempdir().unwrap() }
    }

    fn path(&self, path: &str) -> PathBuf {
        self.dir.path().join(path)
    }

    fn root(&self) -> Root {
        Root::open(self.dir.path()).unwrap()
    }

    fn xattr(&self, path: &str, name: &str, value: &[u8]) {
        rustix::fs::lsetxattr(self.path(path), name, value, rustix::fs::XattrFlags::empty()).unwrap();
    }

    fn whiteout(&self, path: &str) {
        let path = CString::new(self.path(path).into_os_string().into_encoded_bytes()).unwrap();
        rustix::fs::mknodat(rustix::fs::CWD, &path, FileType::CharacterDevice, Mode::empty(), 0).unwrap();
    }

    fn layer(&self, compression: Compression) -> (LayerBlob, Vec<u8>) {
        write_layer(&self.root(), OverlayForm::Trusted, Vec::new(), compression, LayerOptions::default()).unwrap()
    }

    fn paths(&self, form: Option<OverlayForm>) -> Vec<String> {
        let root = self.root();
        let mut entries = entries(&root, form).unwrap();
        let mut paths = Vec::new();
        while let Some((entry, _)) = entries.next().unwrap() {
            let kind = match &entry.kind {
                Kind::File { .. } => "file".to_owned(),
                Kind::Hardlink { target } => format!("hard link to {}", target.display()),
                Kind::CharDevice { major, minor } => format!("device {major}:{minor}"),
                other => format!("{other:?}").to_lowercase(),
            };
            paths.push(format!("{} {kind}", entry.path.display()));
        }
        paths
    }
}

fn is_root(test: &str) -> bool {
    let is_root = rustix::process::geteuid().is_root();
    if !is_root {
        eprintln!("skipped, needs root: {test}");
    }
    is_root
}

/// One of everything that an upper directory can hold.
fn full_tree() -> Tree {
    let tree = Tree::new();
    for directory in ["b/opaque/deep", "a-b", "a"] {
        std::fs::create_dir_all(tree.path(directory)).unwrap();
    }
    std::fs::write(tree.path("a/file"), "content").unwrap();
    std::fs::write(tree.path("a/empty"), "").unwrap();
    std::fs::write(tree.path("b/opaque/big"), vec![7; 3_000_000]).unwrap();
    std::fs::hard_link(tree.path("a/file"), tree.path("b/second")).unwrap();
    symlink("../nowhere", tree.path("a/link")).unwrap();
    std::fs::set_permissions(tree.path("a/file"), PermissionsExt::from_mode(0o6755)).unwrap();
    std::os::unix::fs::chown(tree.path("a/empty"), Some(70_000), Some(5)).unwrap();
    tree.xattr("a/empty", "security.capability", CAPABILITY_2);
    tree.xattr("a/empty", "user.dropped", b"1");
    tree.xattr("b/opaque", "trusted.overlay.opaque", b"y");
    tree.xattr("b", "trusted.overlay.origin", b"x");
    tree.whiteout("a/gone");
    rustix::fs::mknodat(rustix::fs::CWD, tree.path("pipe"), FileType::Fifo, Mode::RUSR, 0).unwrap();
    drop(std::os::unix::net::UnixListener::bind(tree.path("socket")).unwrap());
    tree
}

#[test]
fn an_upper_directory_is_read_in_order() {
    if !is_root("an_upper_directory_is_read_in_order") {
        return;
    }
    let expected = [
        "a directory",
        "a/empty file",
        "a/file file",
        "a/gone whiteout",
        "a/link symlink { target: \"../nowhere\" }",
        "a-b directory",
        "b directory",
        "b/opaque directory",
        "b/opaque opaque",
        "b/opaque/big file",
        "b/opaque/deep directory",
        "b/second hard link to a/file",
        "pipe fifo",
    ];
    let tree = full_tree();
    assert_eq!(tree.paths(Some(OverlayForm::Trusted)), expected);
    let plain = tree.paths(None);
    assert!(plain.contains(&"a/gone device 0:0".to_owned()) && !plain.contains(&"b/opaque opaque".to_owned()));
}

#[test]
fn a_layer_unpacked_and_written_again_is_the_same() {
    if !is_root("a_layer_unpacked_and_written_again_is_the_same") {
        return;
    }
    let tree = full_tree();
    for compression in [Compression::Gzip(None), Compression::Zstd(None), Compression::Uncompressed] {
        let (blob, bytes) = tree.layer(compression);
        assert_eq!(blob.digest, crate::image::Digest::of(&bytes));
        let copy = Tree::new();
        let mut tar = crate::image::Sha256Reader::new(decompress(bytes.as_slice()).unwrap());
        unpack_layer(&mut tar, &copy.root(), UnpackOptions::new(OverlayForm::Trusted)).unwrap();
        let (_, diff_id, size_bytes) = tar.finish();
        assert_eq!((diff_id, size_bytes), (blob.diff_id, blob.uncompressed_bytes));
        assert_eq!(copy.layer(compression).0, blob);
    }
}

#[test]
fn only_file_capabilities_are_kept_and_belong_to_the_image() {
    if !is_root("only_file_capabilities_are_kept_and_belong_to_the_image") {
        return;
    }
    let tree = full_tree();
    let (_, tar) = tree.layer(Compression::Uncompressed);
    let mut reader = TarReader::new(tar.as_slice(), Limits::default());
    while let Some(entry) = reader.next().unwrap() {
        let expected = match entry.path.to_str().unwrap() {
            "a/empty" => vec![(CAPABILITY_XATTR.as_bytes().to_vec(), CAPABILITY_2.to_vec())],
            _ => Vec::new(),
        };
        assert_eq!(entry.xattrs.into_iter().collect::<Vec<_>>(), expected, "{}", entry.path.display());
    }
    let version_3 = b"\x01\0\0\x03\0\x04\0\0\0\0\0\0\0\0\0\0\0\0\0\0\xa0\x86\x01\0".to_vec();
    assert_eq!(without_namespace(version_3), CAPABILITY_2);
    assert_eq!(without_namespace(CAPABILITY_2.to_vec()), CAPABILITY_2);
}

#[test]
fn whiteouts_without_devices_are_read() {
    let tree = Tree::new();
    std::fs::write(tree.path("gone"), "").unwrap();
    std::fs::write(tree.path("empty"), "").unwrap();
    tree.xattr("gone", "user.overlay.whiteout", b"y");
    // "x" says that there are such files here, and not that the directory is opaque.
    tree.xattr("", "user.overlay.opaque", b"x");
    assert_eq!(tree.paths(Some(OverlayForm::User)), ["empty file", "gone whiteout"]);
}

#[test]
fn a_partial_upper_directory_is_refused() {
    for xattr in ["user.overlay.metacopy", "user.overlay.redirect"] {
        let tree = Tree::new();
        std::fs::create_dir(tree.path("d")).unwrap();
        tree.xattr("d", xattr, b"1");
        let root = tree.root();
        let error = entries(&root, Some(OverlayForm::User)).unwrap().next().unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("`d` is only in part in the upper directory, by the overlay's `{xattr}`")
        );
    }
}

#[test]
fn times_are_clamped() {
    let tree = Tree::new();
    tree.with_an_old_and_a_new_file();
    let options = LayerOptions { clamp_mtime: Some(100), ..LayerOptions::default() };
    let form = OverlayForm::Trusted;
    let (_, tar) = write_layer(&tree.root(), form, Vec::new(), Compression::Uncompressed, options).unwrap();
    assert_eq!(times(&tar), [("new".into(), 100), ("old".into(), 5)]);
}

#[test]
fn a_tree_is_written_below_a_directory_and_at_one_time() {
    let tree = Tree::new();
    tree.with_an_old_and_a_new_file();
    let mut writer = TarWriter::new(Vec::new());
    append_tree(&mut writer, &tree.root(), Path::new("linux_arm"), Some(9)).unwrap();
    assert_eq!(
        times(&writer.finish().unwrap()),
        [("linux_arm".into(), 9), ("linux_arm/new".into(), 9), ("linux_arm/old".into(), 9)]
    );
}

impl Tree {
    fn with_an_old_and_a_new_file(&self) {
        std::fs::write(self.path("new"), "").unwrap();
        std::fs::write(self.path("old"), "").unwrap();
        let old = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(5);
        std::fs::File::open(self.path("old")).unwrap().set_modified(old).unwrap();
    }
}

fn times(tar: &[u8]) -> Vec<(PathBuf, i64)> {
    let mut reader = TarReader::new(tar, Limits::default());
    let mut seen = Vec::new();
    while let Some(entry) = reader.next().unwrap() {
        seen.push((entry.path, entry.mtime.seconds));
    }
    seen
}

#[test]
fn a_deep_tree_needs_few_descriptors() {
    let tree = Tree::new();
    let deep = "d/".repeat(300);
    std::fs::create_dir_all(tree.path(&deep)).unwrap();
    // Entries after the deep directory, on each level, need the way back.
    for depth in [0, 1, 100, 299] {
        std::fs::write(tree.path(&format!("{}z", "d/".repeat(depth))), "").unwrap();
    }
    let paths = tree.paths(None);
    assert_eq!((paths.len(), paths.last().unwrap().as_str()), (304, "z file"));
}

/// Mounts two layers and a writable upper directory, attached nowhere; `None` where overlayfs may not be mounted here.
fn overlay(lower: &[&Tree], scratch: &Tree) -> Option<Root> {
    use rustix::mount::{
        FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsconfig_set_string, fsmount, fsopen,
    };
    std::fs::create_dir_all(scratch.path("upper")).unwrap();
    std::fs::create_dir_all(scratch.path("work")).unwrap();
    let context = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC).ok()?;
    for layer in lower.iter().rev() {
        fsconfig_set_string(&context, "lowerdir+", layer.dir.path()).ok()?;
    }
    fsconfig_set_string(&context, "upperdir", scratch.path("upper")).ok()?;
    fsconfig_set_string(&context, "workdir", scratch.path("work")).ok()?;
    fsconfig_create(&context).ok()?;
    Some(Root::from_fd(fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty()).ok()?))
}

#[test]
fn overlayfs_sees_unpacked_layers_as_their_tars_say() {
    let (base, change, scratch) = (Tree::new(), Tree::new(), Tree::new());
    let write = |entries: &[Entry]| {
        let mut writer = TarWriter::new(Vec::new());
        entries.iter().for_each(|entry| writer.append(entry, &mut io::empty()).unwrap());
        writer.finish().unwrap()
    };
    let file = |path: &str| Entry::new(path, Kind::File { size_bytes: 0 }, 0o644);
    let mark = |path: &str, kind| Entry::new(path, kind, 0);
    let unpack = |tree: &Tree, entries: &[Entry]| {
        let options = UnpackOptions::new(OverlayForm::Trusted);
        unpack_layer(write(entries).as_slice(), &tree.root(), options).map(|_| ())
    };
    if !is_root("overlayfs_sees_unpacked_layers_as_their_tars_say") {
        return;
    }
    unpack(&base, &["gone", "kept", "dir/gone", "opaque/old", "again/old"].map(file)).unwrap();
    let again = [mark("again", Kind::Whiteout), file("again/new")];
    let marks = [mark("gone", Kind::Whiteout), mark("dir/gone", Kind::Whiteout), mark("opaque", Kind::Opaque)];
    unpack(&change, &[&marks[..], &again, &[file("opaque/new")]].concat()).unwrap();
    let Some(root) = overlay(&[&base, &change], &scratch) else {
        eprintln!("skipped, overlayfs cannot be mounted: overlayfs_sees_unpacked_layers_as_their_tars_say");
        return;
    };
    let expected = ["again", "again/new", "dir", "kept", "opaque", "opaque/new"];
    assert_eq!(paths_of(&root, None), expected);

    // What a step removes and replaces in the mount is what its upper directory says.
    let remove = |path: &str| {
        let (directory, name) = root.parent(Path::new(path)).unwrap();
        crate::sys::remove_tree(&directory, &name).unwrap();
    };
    remove("kept");
    remove("opaque");
    rustix::fs::mkdirat(&root, "opaque", Mode::from_raw_mode(0o755)).unwrap();
    let upper = Root::open(&scratch.path("upper")).unwrap();
    assert_eq!(paths_of(&upper, Some(OverlayForm::Trusted)), ["kept", "opaque", "opaque"]);
}

fn paths_of(root: &Root, form: Option<OverlayForm>) -> Vec<String> {
    let mut entries = entries(root, form).unwrap();
    std::iter::from_fn(|| entries.next().unwrap()).map(|(entry, _)| entry.path.display().to_string()).collect()
}
