//! The root file system of a step: layers stacked by overlayfs, or a copy where it is refused.

pub mod copy;
pub mod overlay;
pub mod search;
pub mod upper;

pub use overlay::{LAYER_LIMIT, OverlayRefused, mount, overlay_works, view};

use crate::sys::{Root, owner};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat, Timespec, Timestamps};
use rustix::io::Errno;
use std::io;
use std::path::Path;

/// A writable root file system; gone from memory when dropped, what was written stays in the upper directory.
#[derive(Debug)]
pub struct Mounted {
    /// The merged tree: a mount that is attached nowhere.
    pub root: Root,
}

/// Gives a directory the owner, mode and time that it has in the uppermost of some layers; `lower` begins with that one.
///
/// In an overlay the uppermost directory decides for all below it, so one that is made anew must begin with what it covers.
/// Nothing happens where no layer has the directory.
pub fn copy_directory_metadata(lower: &[Root], root: &Root, path: &Path) -> io::Result<()> {
    for layer in lower {
        let Some(stat) = layer.stat(path, false)? else { continue };
        if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
            return Ok(());
        }
        let directory = root.open_at(path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW, Mode::empty())?;
        let (uid, gid) = owner_of(layer, path, &stat)?;
        owner::set(&directory, uid, gid)?;
        rustix::fs::fchmod(&directory, Mode::from_raw_mode(stat.st_mode & 0o7777))?;
        let time =
            |seconds, nanoseconds: u64| Timespec { tv_sec: seconds, tv_nsec: nanoseconds.try_into().unwrap_or(0) };
        let modified = time(stat.st_mtime, stat.st_mtime_nsec);
        rustix::fs::futimens(&directory, &Timestamps { last_access: modified, last_modification: modified })?;
        return Ok(());
    }
    Ok(())
}

/// Removes a directory from an upper directory if it holds nothing and says nothing else than the layers below do, and then
/// the one that it was in.
///
/// A mount point made in a directory of a lower layer brings a copy of that directory into the upper one, which stays when
/// the mount point is gone.  `lower` begins with the uppermost layer.
pub fn drop_untouched(upper: &Root, lower: &[Root], path: &Path) -> io::Result<()> {
    // All looked at first: to remove one changes the time of the one it is in.
    let above = path.ancestors().filter(|directory| directory.file_name().is_some());
    let found = above.map(|directory| Ok((directory, upper.stat(directory, false)?)));
    for (directory, own) in found.collect::<io::Result<Vec<_>>>()? {
        let Some(own) = own else { continue };
        let mut below = lower.iter().filter_map(|layer| Some((layer, layer.stat(directory, false).transpose()?)));
        let Some((layer, below)) = below.next() else { return Ok(()) };
        if metadata(upper, directory, &own)? != metadata(layer, directory, &below?)? {
            return Ok(());
        }
        let (parent, name) = upper.parent(directory)?;
        match rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR) {
            Ok(()) => {}
            Err(Errno::NOTEMPTY | Errno::EXIST | Errno::NOTDIR) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// What a layer says of a directory.
fn metadata(layer: &Root, path: &Path, stat: &Stat) -> io::Result<(u32, (u32, u32), i64, u64)> {
    Ok((stat.st_mode, owner_of(layer, path, stat)?, stat.st_mtime, stat.st_mtime_nsec))
}

fn owner_of(layer: &Root, path: &Path, stat: &Stat) -> io::Result<(u32, u32)> {
    if owner::is_aside() {
        let directory = layer.open_at(path, OFlags::PATH | OFlags::NOFOLLOW, Mode::empty())?;
        let recorded = owner::recorded(&directory, stat)?.unwrap_or_default();
        return Ok((recorded.uid, recorded.gid));
    }
    Ok((stat.st_uid, stat.st_gid))
}
