//! Makes the directory of a WORKDIR.

use crate::exec::copy::{CopyError, Created, make_directories, resolve};
use crate::sys::Root;
use rustix::fs::{Mode, OFlags};
use std::path::Path;

/// Makes all missing directories of `path`, mode 0755, for the user in force.
///
/// Links on the way are followed inside the root and dangling ones get their target; directories that are there stay
/// as they are.  `epoch` (seconds) is the time of the directory itself; its new parents have the clock's.
pub fn make(root: &Root, path: &Path, owner: (u32, u32), epoch: Option<i64>) -> Result<Created, CopyError> {
    let resolved = resolve(root, path)?;
    let created = make_directories(root, &resolved, Some(owner), 0o755)?;
    if let (Some(seconds), true) = (epoch, created.count > 0) {
        let failed = |error| CopyError::Write { path: resolved.clone(), source: error };
        let directory = root.open_at(&resolved, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty()).map_err(failed)?;
        let times = super::copy::timestamps(seconds, 0);
        rustix::fs::futimens(&directory, &times).map_err(|error| failed(error.into()))?;
    }
    Ok(created)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::os::unix::fs::{MetadataExt, symlink};

    fn root() -> (tempfile::TempDir, Root) {
        let directory = tempfile::tempdir().unwrap();
        let root = Root::open(directory.path()).unwrap();
        (directory, root)
    }

    fn own() -> (u32, u32) {
        if rustix::process::geteuid().is_root() {
            return (77, 88);
        }
        eprintln!("owners other than one's own are not tested: not root");
        (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw())
    }

    #[test]
    fn all_missing_directories_belong_to_the_user() {
        let (directory, root) = root();
        std::fs::create_dir(directory.path().join("there")).unwrap();
        let before = std::fs::metadata(directory.path().join("there")).unwrap();
        let owner = own();
        assert_eq!(make(&root, Path::new("/there/a/b"), owner, Some(1_000_000)).unwrap().count, 2);
        let of = |path: &str| std::fs::metadata(directory.path().join(path)).unwrap();
        assert_eq!((of("there").uid(), of("there").gid()), (before.uid(), before.gid()));
        for path in ["there/a", "there/a/b"] {
            assert_eq!((of(path).uid(), of(path).gid(), of(path).mode() & 0o7777), (owner.0, owner.1, 0o755));
        }
        assert_eq!(of("there/a/b").mtime(), 1_000_000);
        assert_ne!(of("there/a").mtime(), 1_000_000);
    }

    #[test]
    fn an_existing_directory_is_left_alone() {
        let (directory, root) = root();
        let path = directory.path().join("d");
        std::fs::create_dir(&path).unwrap();
        let before = std::fs::metadata(&path).unwrap();
        assert_eq!(make(&root, Path::new("/d"), own(), Some(5)).unwrap().count, 0);
        let after = std::fs::metadata(&path).unwrap();
        assert_eq!((before.uid(), before.mode(), before.mtime()), (after.uid(), after.mode(), after.mtime()));
    }

    #[test]
    fn links_are_followed_inside_the_root_and_dangling_ones_get_their_target() {
        let (directory, root) = root();
        symlink("/real/deep", directory.path().join("link")).unwrap();
        symlink("../../../up", directory.path().join("up-link")).unwrap();
        make(&root, Path::new("/link/a"), own(), None).unwrap();
        make(&root, Path::new("/up-link"), own(), None).unwrap();
        assert!(directory.path().join("real/deep/a").is_dir());
        assert!(directory.path().join("up").is_dir());
        assert!(directory.path().join("link").is_symlink());
    }

    #[test]
    fn a_file_in_the_way_is_an_error() {
        let (directory, root) = root();
        std::fs::write(directory.path().join("f"), "").unwrap();
        for path in ["/f", "/f/a"] {
            let error = make(&root, Path::new(path), own(), None).unwrap_err();
            assert_eq!(error.to_string(), "cannot make directory `/f`: it is there and not a directory");
        }
    }
}
