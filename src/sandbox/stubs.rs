//! Mount points made for one step in its root file system, and taken away again after it.
//!
//! The upper directory of a step is its layer, so an empty file left for `/etc/hosts` would be in the image.  Removal
//! goes by real paths through [`Root`] and removes only what is still as it was made: a step that puts a link in the
//! place of a parent gains nothing (BuildKit CVE-2024-23652).

use super::mountpoint::{Kind, Making, ensure};
use crate::sys::Root;
use rustix::fs::{AtFlags, FileType, Stat, Timespec, Timestamps};
use std::io;
use std::path::{Path, PathBuf};

/// What was made, in order.
#[derive(Debug, Default)]
pub(super) struct Stubs {
    made: Vec<Made>,
    directories: Vec<Touched>,
}

#[derive(Debug)]
struct Made {
    path: PathBuf,
    kind: Kind,
    inode: u64,
}

/// A directory that was there before, with its time of modification before and after stubs were made in it.
#[derive(Debug)]
struct Touched {
    path: PathBuf,
    before: Stat,
    after: Option<(i64, i64)>,
}

impl Stubs {
    /// Makes a mount point where there is none, to be removed later.
    pub(super) fn make(&mut self, root: &Root, path: &Path, kind: Kind) -> io::Result<()> {
        ensure(root, path, kind, &mut |making| {
            match making {
                Making::Before { directory } => self.touch(root, directory)?,
                Making::After { path, kind } => {
                    if let Some(stat) = root.stat(path, false)? {
                        self.made.push(Made { path: path.to_owned(), kind, inode: stat.st_ino });
                    }
                }
            }
            Ok(())
        })?;
        Ok(())
    }

    fn touch(&mut self, root: &Root, directory: &Path) -> io::Result<()> {
        let known = self.directories.iter().any(|touched| touched.path == directory);
        if known || self.made.iter().any(|made| made.path == directory) {
            return Ok(());
        }
        if let Some(before) = root.stat(directory, false)? {
            self.directories.push(Touched { path: directory.to_owned(), before, after: None });
        }
        Ok(())
    }

    /// Notes the times of the directories as the step finds them.
    pub(super) fn seal(&mut self, root: &Root) -> io::Result<()> {
        for touched in &mut self.directories {
            touched.after = root.stat(&touched.path, false)?.map(|stat| modified(&stat));
        }
        Ok(())
    }

    /// Removes what is still as it was made and sets back the times of the directories that it was in.
    pub(super) fn remove(self, root: &Root) -> io::Result<()> {
        let mut last = Vec::with_capacity(self.directories.len());
        for touched in &self.directories {
            last.push(root.stat(&touched.path, false)?);
        }
        for made in self.made.iter().rev() {
            remove_unchanged(root, made)?;
        }
        for (touched, last) in self.directories.iter().zip(last) {
            let Some(last) = last else { continue };
            if FileType::from_raw_mode(last.st_mode) != FileType::Directory {
                continue;
            }
            // The step's own changes of the directory count; ours do not.
            let wanted = if touched.after == Some(modified(&last)) { &touched.before } else { &last };
            set_times(root, &touched.path, wanted)?;
        }
        Ok(())
    }
}

fn remove_unchanged(root: &Root, made: &Made) -> io::Result<()> {
    let Some(stat) = root.stat(&made.path, false)? else { return Ok(()) };
    let is_ours = stat.st_ino == made.inode
        && match made.kind {
            Kind::Directory => FileType::from_raw_mode(stat.st_mode) == FileType::Directory,
            Kind::File => FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile && stat.st_size == 0,
        };
    if !is_ours {
        return Ok(());
    }
    let (parent, name) = root.parent(&made.path)?;
    let flags = if made.kind == Kind::Directory { AtFlags::REMOVEDIR } else { AtFlags::empty() };
    match rustix::fs::unlinkat(&parent, &name, flags) {
        // The step put something into it, which stays.
        Err(rustix::io::Errno::NOTEMPTY) => Ok(()),
        result => Ok(result?),
    }
}

fn modified(stat: &Stat) -> (i64, i64) {
    (stat.st_mtime, stat.st_mtime_nsec as i64)
}

fn set_times(root: &Root, path: &Path, stat: &Stat) -> io::Result<()> {
    let directory = root.open_dir(path)?;
    let times = Timestamps {
        last_access: Timespec { tv_sec: 0, tv_nsec: rustix::fs::UTIME_OMIT },
        last_modification: Timespec { tv_sec: stat.st_mtime, tv_nsec: stat.st_mtime_nsec as _ },
    };
    Ok(rustix::fs::utimensat(&directory, "", &times, AtFlags::EMPTY_PATH)?)
}
