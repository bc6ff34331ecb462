//! Takes away opaque marks that hide nothing.
//!
//! Overlayfs marks every directory that it makes in the place of something removed, a file or a link too. In a tar the mark
//! is `.wh..wh..opq` inside of that directory; who looks at the marks of a layer first, as the specification of images
//! allows, finds the link still there and empties the directory that it points to.

use crate::sys::overlay::OverlayForm;
use crate::sys::{Root, read_directory, read_xattr};
use rustix::fs::{FileType, Mode, OFlags};
use std::io;
use std::path::{Path, PathBuf};

/// Removes the marks of directories of an upper directory that are no directories in the layers below.
///
/// `lower` begins with the uppermost layer.
pub fn drop_idle_marks(upper: &Root, lower: &[Root], form: OverlayForm) -> io::Result<()> {
    let mut open = vec![PathBuf::from("/")];
    while let Some(path) = open.pop() {
        let directory = upper.open_at(&path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW, Mode::empty())?;
        let is_marked = read_xattr(&directory, form.opaque_xattr())?.as_deref() == Some(b"y");
        if is_marked && !is_directory(lower, &path)? {
            rustix::fs::fremovexattr(&directory, form.opaque_xattr())?;
        }
        for entry in read_directory(&directory)? {
            let below = path.join(&entry.name);
            let is_directory = match entry.is_directory {
                Some(is_directory) => is_directory,
                None => is_directory_of(upper, &below)?.unwrap_or(false),
            };
            if is_directory {
                open.push(below);
            }
        }
    }
    Ok(())
}

/// Whether the uppermost layer that has a path has a directory there.
fn is_directory(lower: &[Root], path: &Path) -> io::Result<bool> {
    for layer in lower {
        if let Some(is_directory) = is_directory_of(layer, path)? {
            return Ok(is_directory);
        }
    }
    Ok(false)
}

/// Whether a path of a layer is a directory, `None` where there is nothing.
fn is_directory_of(layer: &Root, path: &Path) -> io::Result<Option<bool>> {
    let stat = layer.stat(path, false)?;
    Ok(stat.map(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Directory))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    #[test]
    fn marks_stay_where_there_is_a_directory_below() {
        let directory = tempfile::tempdir().unwrap();
        let root = |name: &str| Root::open(&directory.path().join(name)).unwrap();
        for path in
            ["upper/d/was-directory", "upper/d/was-link", "upper/new", "top", "bottom/d/was-directory", "bottom/d/x"]
        {
            fs::create_dir_all(directory.path().join(path)).unwrap();
        }
        symlink("x", directory.path().join("bottom/d/was-link")).unwrap();
        let form = OverlayForm::User;
        let file = |path: &str| -> std::os::fd::OwnedFd {
            fs::File::open(directory.path().join("upper").join(path)).unwrap().into()
        };
        let marked = ["d/was-directory", "d/was-link", "new"];
        for path in marked {
            rustix::fs::fsetxattr(file(path), form.opaque_xattr(), b"y", rustix::fs::XattrFlags::empty()).unwrap();
        }
        drop_idle_marks(&root("upper"), &[root("top"), root("bottom")], form).unwrap();
        let left = marked.map(|path| read_xattr(&file(path), form.opaque_xattr()).unwrap().is_some());
        assert_eq!(left, [true, false, false]);
    }
}
