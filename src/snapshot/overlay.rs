//! Overlay mounts by descriptor: layers stacked with the new mount API, attached nowhere.
//!
//! Each layer is one `lowerdir+` of its own, so a colon or a comma in a path is nothing special and the page that
//! `mount(2)` has for options is no limit.  Kernels before 6.8 do not know `lowerdir+`; there the list is a string of
//! descriptors (`/proc/self/fd/N`), which are short and hold no special character either.  The new mount API takes 255 bytes
//! of it, 14 layers or so; what is longer goes through `mount(2)`, whose page is enough for more than 200.

use super::Mounted;
use crate::sys::Root;
use crate::sys::mount::{Attributes, FsOption, new_mount, new_mount_classic};
use crate::sys::overlay::OverlayForm;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

/// Layers that the kernel stacks at most.
pub const LAYER_LIMIT: usize = 500;

/// Bytes that `fsconfig` takes as the value of an option, NUL included.
const FSCONFIG_VALUE_BYTES: usize = 256;

/// Stacks `lower` (the top layer first) and the writable `upper`; `work` is an empty directory beside `upper`.
///
/// `work` serves one mount: the kernel marks it, and refuses it afterwards.
/// An empty `lower` gives a file system that holds `upper` alone.
pub fn mount(lower: &[PathBuf], upper: &Path, work: &Path, form: OverlayForm) -> io::Result<Mounted> {
    let empty;
    let lower = if lower.is_empty() {
        empty = [empty_directory(work)?];
        &empty
    } else {
        lower
    };
    let writable = [place(upper)?, place(work)?];
    let fd = stack(lower, Some(&writable), form, work)?;
    Ok(Mounted { root: Root::from_fd(fd) })
}

/// Returns a read-only view of `lower` (the top layer first) with whiteouts applied.
///
/// `scratch` is a directory of the caller in which an empty directory may be made, for overlayfs wants two layers.
pub fn view(lower: &[PathBuf], scratch: &Path, form: OverlayForm) -> io::Result<Root> {
    let fd = match lower {
        [] => return Root::open(&empty_directory(scratch)?),
        // One layer may still hold whiteouts and marks, so it is not simply opened.
        [single] => stack(&[single.clone(), empty_directory(scratch)?], None, form, scratch)?,
        several => stack(several, None, form, scratch)?,
    };
    Ok(Root::from_fd(fd))
}

/// Makes the directory that stands in for a layer where there is none; it stays empty and is found again.
fn empty_directory(beside: &Path) -> io::Result<PathBuf> {
    // A sibling: overlayfs wants `work` itself empty, and the layers apart from it.
    let path = beside.parent().unwrap_or(beside).join("empty");
    match std::fs::DirBuilder::new().mode(0o755).create(&path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => Ok(path),
    }
}

fn place(path: &Path) -> io::Result<OwnedFd> {
    crate::sys::mount::open_path(path)
}

fn by_descriptor(fd: &OwnedFd) -> String {
    format!("/proc/self/fd/{}", fd.as_raw_fd())
}

/// `beside` is a directory in whose parent a mount point may be made.
fn stack(lower: &[PathBuf], writable: Option<&[OwnedFd; 2]>, form: OverlayForm, beside: &Path) -> io::Result<OwnedFd> {
    if lower.len() > LAYER_LIMIT {
        return Err(too_many(lower.len(), LAYER_LIMIT));
    }
    let lower = lower.iter().map(|path| place(path)).collect::<io::Result<Vec<_>>>()?;
    let names: Vec<String> = lower.iter().map(by_descriptor).collect();
    let singly: Vec<FsOption<'_>> = names.iter().map(|name| FsOption::Value("lowerdir+", name)).collect();
    match stack_options(&singly, writable, form, new_overlay) {
        // A kernel that knows `lowerdir+` says the same again here, so a true refusal stays what it is.
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => stack_joined(&names, writable, form, beside)
            .map_err(|again| if is_too_many(&again) { again } else { error }),
        result => result,
    }
}

/// Stacks layers as kernels before 6.8 want them named.
fn stack_joined(
    names: &[String],
    writable: Option<&[OwnedFd; 2]>,
    form: OverlayForm,
    beside: &Path,
) -> io::Result<OwnedFd> {
    let joined = names.join(":");
    let lower = [FsOption::Value("lowerdir", &joined)];
    if joined.len() < FSCONFIG_VALUE_BYTES {
        return stack_options(&lower, writable, form, new_overlay);
    }
    let point = tempfile::Builder::new().prefix("mount-").tempdir_in(beside.parent().unwrap_or(beside))?;
    let mounted = stack_options(&lower, writable, form, |options, attributes| {
        new_mount_classic("overlay", options, attributes, point.path())
    });
    mounted.map_err(|error| match error.raw_os_error() {
        Some(libc::E2BIG) => {
            let most = names.len() * OPTIONS_BYTES / joined.len();
            too_many(names.len(), most)
        }
        _ => error,
    })
}

/// Bytes that `mount(2)` takes as options, without the other options.
const OPTIONS_BYTES: usize = 3900;

fn too_many(count: usize, limit: usize) -> io::Error {
    let text = format!("{count} layers are more than overlayfs stacks here ({limit})");
    io::Error::new(io::ErrorKind::InvalidInput, text)
}

fn is_too_many(error: &io::Error) -> bool {
    error.raw_os_error().is_none() && error.kind() == io::ErrorKind::InvalidInput
}

fn new_overlay(options: &[FsOption<'_>], attributes: Attributes) -> io::Result<OwnedFd> {
    new_mount("overlay", options, attributes)
}

fn stack_options(
    lower: &[FsOption<'_>],
    writable: Option<&[OwnedFd; 2]>,
    form: OverlayForm,
    make: impl Fn(&[FsOption<'_>], Attributes) -> io::Result<OwnedFd>,
) -> io::Result<OwnedFd> {
    let writable = writable.map(|[upper, work]| [by_descriptor(upper), by_descriptor(work)]);
    let mut options = lower.to_vec();
    if let Some([upper, work]) = &writable {
        options.extend([FsOption::Value("upperdir", upper), FsOption::Value("workdir", work)]);
        // The upper directory must be readable as a diff: no redirects, no files of metadata alone.
        options.extend([FsOption::Value("index", "off"), FsOption::Value("xino", "off")]);
        // Or the end of the mount would write the whole disk out.  An upper directory of a build that was killed is
        // thrown away, and what is kept is synced by who keeps it.
        options.push(FsOption::Flag("volatile"));
    }
    options.extend([FsOption::Value("redirect_dir", "off"), FsOption::Value("metacopy", "off")]);
    if form == OverlayForm::User {
        options.push(FsOption::Flag("userxattr"));
    }
    let attributes = if writable.is_some() { Attributes::empty() } else { Attributes::MOUNT_ATTR_RDONLY };
    match make(&options, attributes) {
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {
            options.retain(|option| match (form, option) {
                // Linux 5.10 and later.
                (OverlayForm::Trusted, FsOption::Flag("volatile")) => false,
                // `userxattr` implies both, and some kernels refuse to hear it again.
                (OverlayForm::User, FsOption::Value("redirect_dir" | "metacopy", _)) => false,
                _ => true,
            });
            make(&options, attributes).map_err(|_| error)
        }
        result => result,
    }
}

/// Why overlay mounts are not possible in a store directory.
#[derive(Debug, thiserror::Error)]
pub enum OverlayRefused {
    /// The directory itself lies on an overlay.
    #[error("`{}` is on an overlay file system, which cannot hold the upper directory of another{}", directory.display(), hint(instead.as_deref()))]
    OnOverlay {
        /// The store.
        directory: PathBuf,
        /// A directory that would do.
        instead: Option<PathBuf>,
    },
    /// The kernel refused.
    #[error("mount an overlay in `{}`", directory.display())]
    Kernel {
        /// The store.
        directory: PathBuf,
        /// Why.
        source: io::Error,
    },
}

fn hint(instead: Option<&Path>) -> String {
    instead.map(|path| format!("; `{}` could", path.display())).unwrap_or_default()
}

/// Mounts an overlay once in `directory`, writes to it, and says why not if that fails.
pub fn overlay_works(directory: &Path, form: OverlayForm) -> Result<(), OverlayRefused> {
    match try_overlay(directory, form) {
        Ok(()) => Ok(()),
        Err(_) if is_overlay(directory) => {
            let candidates = ["/var/lib", "/var/tmp", "/tmp", "/dev/shm", "/run"].map(Path::new);
            let instead = candidates.into_iter().find(|path| !is_overlay(path) && try_overlay(path, form).is_ok());
            Err(OverlayRefused::OnOverlay { directory: directory.to_owned(), instead: instead.map(Path::to_owned) })
        }
        Err(source) => Err(OverlayRefused::Kernel { directory: directory.to_owned(), source }),
    }
}

fn is_overlay(path: &Path) -> bool {
    const OVERLAYFS_SUPER_MAGIC: i64 = 0x794c_7630;
    rustix::fs::statfs(path).is_ok_and(|stat| stat.f_type == OVERLAYFS_SUPER_MAGIC)
}

fn try_overlay(directory: &Path, form: OverlayForm) -> io::Result<()> {
    let trial = tempfile::Builder::new().prefix("overlay-").tempdir_in(directory)?;
    let [lower, upper, work] = ["lower", "upper", "work"].map(|name| trial.path().join(name));
    for path in [&lower, &upper, &work] {
        std::fs::create_dir(path)?;
    }
    let mounted = mount(std::slice::from_ref(&lower), &upper, &work, form)?;
    let made = mounted.root.open_at(
        Path::new("x"),
        rustix::fs::OFlags::CREATE | rustix::fs::OFlags::WRONLY,
        rustix::fs::Mode::from_raw_mode(0o600),
    );
    drop(mounted);
    made.map(drop)
}

#[cfg(test)]
mod tests;
