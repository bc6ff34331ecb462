#![allow(clippy::unwrap_used)]
use super::*;
use std::fs;

fn form() -> Option<OverlayForm> {
    if rustix::process::geteuid().is_root() {
        return Some(OverlayForm::Trusted);
    }
    eprintln!("skipped: overlay mounts need root");
    None
}

fn layers(count: usize) -> (tempfile::TempDir, Vec<PathBuf>) {
    let directory = tempfile::Builder::new().prefix("a,b:c\\d").tempdir_in("/tmp").unwrap();
    let paths: Vec<PathBuf> = (0..count).map(|i| directory.path().join(format!("layer:{i},x=y"))).collect();
    for (i, path) in paths.iter().enumerate() {
        fs::create_dir(path).unwrap();
        fs::write(path.join("top"), i.to_string()).unwrap();
        fs::write(path.join(format!("f{i}")), "").unwrap();
    }
    (directory, paths)
}

fn pair(directory: &Path) -> [PathBuf; 2] {
    ["upper", "work"].map(|name| {
        let path = directory.join(name);
        fs::create_dir_all(&path).unwrap();
        path
    })
}

#[test]
fn five_hundred_layers_with_colons_and_commas_are_one_tree() {
    let Some(form) = form() else { return };
    let (directory, lower) = layers(LAYER_LIMIT);
    let [upper, work] = pair(directory.path());
    let mounted = mount(&lower, &upper, &work, form).unwrap();
    assert_eq!(mounted.root.read_limited(Path::new("top"), 10).unwrap().unwrap(), b"0");
    assert!(mounted.root.stat(Path::new("f499"), false).unwrap().is_some());
    let mut more = lower.clone();
    more.push(lower[0].clone());
    assert_eq!(mount(&more, &upper, &work, form).unwrap_err().kind(), io::ErrorKind::InvalidInput);
}

#[test]
fn kernels_without_one_option_a_layer_stack_more_than_one_value_holds() {
    let Some(form) = form() else { return };
    let (directory, lower) = layers(400);
    let opened: Vec<OwnedFd> = lower.iter().map(|path| place(path).unwrap()).collect();
    let names: Vec<String> = opened.iter().map(by_descriptor).collect();
    for (count, name) in [(3, "few"), (150, "many")] {
        let [upper, work] = pair(&directory.path().join(name));
        let writable = [place(&upper).unwrap(), place(&work).unwrap()];
        let root = Root::from_fd(stack_joined(&names[..count], Some(&writable), form, &work).unwrap());
        assert_eq!(root.read_limited(Path::new("top"), 10).unwrap().unwrap(), b"0");
        assert!(root.stat(Path::new(&format!("f{}", count - 1)), false).unwrap().is_some());
        root.open_at(Path::new("new"), rustix::fs::OFlags::CREATE, rustix::fs::Mode::RUSR).unwrap();
        assert!(upper.join("new").exists());
        let view = Root::from_fd(stack_joined(&names[..count], None, form, &work).unwrap());
        let refused = view.open_at(Path::new("new"), rustix::fs::OFlags::CREATE, rustix::fs::Mode::RUSR).unwrap_err();
        assert_eq!(refused.raw_os_error(), Some(libc::EROFS));
    }
    let error = stack_joined(&names, None, form, &directory.path().join("work")).unwrap_err();
    assert!(is_too_many(&error) && error.to_string().starts_with("400 layers are more than"), "{error}");
    let left = fs::read_dir(directory.path().join("many")).unwrap().count();
    assert_eq!(left, 2, "no mount point stays");
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!mounts.contains("/mount-"), "{mounts}");
}

#[test]
fn a_view_of_no_one_and_two_layers_applies_whiteouts() {
    let Some(form) = form() else { return };
    let (directory, lower) = layers(2);
    let scratch = directory.path().join("scratch");
    fs::create_dir(&scratch).unwrap();
    assert!(view(&[], &scratch, form).unwrap().stat(Path::new("top"), false).unwrap().is_none());
    let whiteout = lower[0].join("f1");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &whiteout,
        rustix::fs::FileType::CharacterDevice,
        rustix::fs::Mode::empty(),
        0,
    )
    .unwrap();
    for count in [1, 2] {
        let root = view(&lower[..count], &scratch, form).unwrap();
        assert!(root.stat(Path::new("f1"), false).unwrap().is_none(), "{count}");
        assert!(root.stat(Path::new("f0"), false).unwrap().is_some());
        let flags = rustix::fs::OFlags::CREATE | rustix::fs::OFlags::WRONLY;
        assert!(root.open_at(Path::new("new"), flags, rustix::fs::Mode::RUSR).is_err(), "read-only");
    }
}

#[test]
fn what_is_written_and_removed_is_in_the_upper_directory() {
    let Some(form) = form() else { return };
    let (directory, lower) = layers(1);
    let [upper, work] = pair(directory.path());
    let mounted = mount(&lower, &upper, &work, form).unwrap();
    let (parent, name) = mounted.root.parent(Path::new("f0")).unwrap();
    rustix::fs::unlinkat(&parent, name, rustix::fs::AtFlags::empty()).unwrap();
    drop(mounted);
    use std::os::unix::fs::MetadataExt;
    assert_eq!(fs::symlink_metadata(upper.join("f0")).unwrap().rdev(), 0);
    assert!(mount(&lower, &upper, &work, form).is_err(), "a work directory serves once");
    fs::create_dir(directory.path().join("second")).unwrap();
    let empty = mount(&[], &upper, &directory.path().join("second"), form);
    assert!(empty.is_ok(), "{empty:?}");
}

#[test]
fn an_overlay_is_refused_as_a_place_for_a_store() {
    let Some(form) = form() else { return };
    assert!(overlay_works(Path::new("/tmp"), form).is_ok());
    assert!(matches!(overlay_works(Path::new("/nonexistent"), form), Err(OverlayRefused::Kernel { .. })));
}
