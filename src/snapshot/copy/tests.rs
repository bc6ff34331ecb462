//! Work trees against what overlayfs does with the same layers and the same changes.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::snapshot::overlay::{mount, overlay_works};
use crate::snapshot::upper::entries;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::PathBuf;

const FORM: OverlayForm = OverlayForm::User;

/// A layer directory with these files; a name that ends in a slash is a directory.
fn layer(at: &Path, names: &[&str]) -> PathBuf {
    for name in names {
        let path = at.join(name);
        if name.ends_with('/') {
            std::fs::create_dir_all(path).unwrap();
        } else {
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, name).unwrap();
        }
    }
    at.to_owned()
}

fn tree(scratch: &Path, layers: &[&PathBuf], sharing: Sharing, form: OverlayForm) -> WorkTree {
    let store = crate::store::Store::open(&scratch.join("store")).unwrap();
    let mut tree = WorkTree::new(store.work_directory().unwrap(), sharing).unwrap();
    layers.iter().for_each(|layer| tree.apply(layer, form).unwrap());
    tree.begin().unwrap();
    tree
}

/// Every entry of a tree with what counts of it, one a line.
fn listing(root: &Root, form: Option<OverlayForm>) -> Vec<String> {
    let mut entries = entries(root, form).unwrap();
    let mut lines = Vec::new();
    while let Some((entry, file)) = entries.next().unwrap() {
        let mut content = String::new();
        if let Some(mut file) = file {
            io::Read::read_to_string(&mut file, &mut content).unwrap();
        }
        let (mode, owner) = (entry.mode, (entry.uid, entry.gid));
        lines.push(format!("{} {:?} {mode:o} {owner:?} {content}", entry.path.display(), entry.kind));
    }
    lines
}

fn changes(tree: &mut WorkTree, scratch: &Path, form: OverlayForm) -> Vec<String> {
    let upper = tempfile::tempdir_in(scratch).unwrap();
    let root = Root::open(upper.path()).unwrap();
    tree.write_changes(&root, form, &Unchanged::default()).unwrap();
    listing(&root, Some(form))
}

fn at(tree: &WorkTree) -> PathBuf {
    tree.aside().join("root")
}

/// What a step might do, in every form that has a trace of its own.
fn change(root: &Path) {
    let path = |name: &str| root.join(name);
    std::fs::write(path("same-size"), "SAME-SIZE").unwrap();
    std::fs::set_permissions(path("mode"), PermissionsExt::from_mode(0o4755)).unwrap();
    std::fs::remove_file(path("dir/gone")).unwrap();
    std::fs::remove_dir_all(path("dropped")).unwrap();
    std::fs::remove_dir_all(path("replaced")).unwrap();
    std::fs::create_dir(path("replaced")).unwrap();
    std::fs::write(path("replaced/new"), "x").unwrap();
    std::fs::remove_dir_all(path("becomes-file")).unwrap();
    std::fs::write(path("becomes-file"), "f").unwrap();
    std::fs::remove_file(path("becomes-dir")).unwrap();
    std::fs::create_dir(path("becomes-dir")).unwrap();
    std::fs::create_dir_all(path("fresh/deep")).unwrap();
    std::fs::write(path("fresh/deep/a"), "a").unwrap();
    std::fs::hard_link(path("fresh/deep/a"), path("fresh/b")).unwrap();
    symlink("../nowhere", path("dir/link")).unwrap();
    std::fs::rename(path("moved"), path("dir/moved")).unwrap();
}

const BASE: [&str; 11] = [
    "same-size",
    "mode",
    "dir/gone",
    "dir/kept",
    "dropped/a/b",
    "replaced/old",
    "becomes-file/x",
    "becomes-dir",
    "moved",
    "deep/in/here",
    "empty/",
];

fn base(scratch: &Path) -> PathBuf {
    layer(&scratch.join("base"), &BASE)
}

#[test]
fn changes_are_those_that_overlayfs_leaves() {
    let scratch = tempfile::tempdir().unwrap();
    let form = OverlayForm::Trusted;
    if let Err(refused) = overlay_works(scratch.path(), form) {
        eprintln!("skipped, {refused}: changes_are_those_that_overlayfs_leaves");
        return;
    }
    let lower = base(scratch.path());
    let [upper, work] = ["upper", "work"].map(|name| scratch.path().join(name));
    [&upper, &work].iter().for_each(|path| std::fs::create_dir(path).unwrap());
    let mounted = mount(std::slice::from_ref(&lower), &upper, &work, form).unwrap();
    let inside = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&std::os::fd::AsFd::as_fd(&mounted.root)));
    change(Path::new(&inside));
    drop(mounted);
    let mut tree = tree(scratch.path(), &[&lower], Sharing::Copied, form);
    change(&at(&tree));
    let expected = listing(&Root::open(&upper).unwrap(), Some(form));
    assert_eq!(changes(&mut tree, scratch.path(), form), expected);
}

#[test]
fn a_step_that_does_nothing_leaves_nothing() {
    let scratch = tempfile::tempdir().unwrap();
    let lower = base(scratch.path());
    for sharing in [Sharing::Copied, Sharing::Linked] {
        let mut tree = tree(scratch.path(), &[&lower], sharing, FORM);
        assert_eq!(changes(&mut tree, scratch.path(), FORM), Vec::<String>::new());
    }
}

#[test]
fn layers_made_of_changes_merge_to_the_tree_they_came_from() {
    let scratch = tempfile::tempdir().unwrap();
    let lower = base(scratch.path());
    let mut first = tree(scratch.path(), &[&lower], Sharing::Copied, FORM);
    change(&at(&first));
    let upper = scratch.path().join("upper");
    std::fs::create_dir(&upper).unwrap();
    first.write_changes(&Root::open(&upper).unwrap(), FORM, &Unchanged::default()).unwrap();
    for sharing in [Sharing::Copied, Sharing::Linked] {
        let again = tree(scratch.path(), &[&lower, &upper], sharing, FORM);
        assert_eq!(listing(again.root(), None), listing(first.root(), None));
    }
}

#[test]
fn only_the_last_step_is_in_its_changes() {
    let scratch = tempfile::tempdir().unwrap();
    let lower = base(scratch.path());
    let mut tree = tree(scratch.path(), &[&lower], Sharing::Copied, FORM);
    change(&at(&tree));
    changes(&mut tree, scratch.path(), FORM);
    tree.begin().unwrap();
    std::fs::remove_file(at(&tree).join("dir/moved")).unwrap();
    let lines = changes(&mut tree, scratch.path(), FORM);
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert!(lines[0].starts_with("dir Directory") && lines[1].starts_with("dir/moved Whiteout"), "{lines:?}");
}

#[test]
fn writing_into_a_copied_tree_leaves_the_layers_alone() {
    let scratch = tempfile::tempdir().unwrap();
    let lower = base(scratch.path());
    let tree = tree(scratch.path(), &[&lower], Sharing::Copied, FORM);
    std::fs::write(at(&tree).join("dir/kept"), "changed").unwrap();
    assert_eq!(std::fs::read_to_string(lower.join("dir/kept")).unwrap(), "dir/kept");
}

#[test]
fn what_mounts_covered_has_not_changed() {
    let scratch = tempfile::tempdir().unwrap();
    let lower = base(scratch.path());
    let mut tree = tree(scratch.path(), &[&lower], Sharing::Copied, FORM);
    let (file, aside) = (at(&tree).join("dir/kept"), tree.aside().join("kept"));
    let directory = std::fs::File::open(at(&tree).join("dir")).unwrap();
    let before = directory.metadata().unwrap().modified().unwrap();
    std::fs::rename(&file, &aside).unwrap();
    std::fs::rename(&aside, &file).unwrap();
    directory.set_modified(before).unwrap();
    let upper = tempfile::tempdir_in(scratch.path()).unwrap();
    let upper = Root::open(upper.path()).unwrap();
    let unchanged = ["dir", "dir/kept"].map(PathBuf::from).into();
    tree.write_changes(&upper, FORM, &unchanged).unwrap();
    assert_eq!(listing(&upper, Some(FORM)), Vec::<String>::new());
}
