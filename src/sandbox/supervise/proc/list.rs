//! The step's own /proc, a plain directory: what a program sees that lists it, and links that the kernel follows for it.

use super::errno;
use crate::sys::{Root, read_directory};
use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;
use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long a program has to be executed by a link before the link can be another's.
const LINK_IN_USE: Duration = Duration::from_millis(5);

/// The directory.
#[derive(Debug)]
pub(super) struct Listing {
    proc: Root,
    /// Whether it has the names that are there for everybody.
    is_filled: bool,
    /// Links that were made, and when.
    links: Vec<(PathBuf, PathBuf, Instant)>,
}

impl Listing {
    pub(super) fn new(root: &Root) -> std::io::Result<Listing> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW;
        let proc = Root::from_fd(root.open_at(Path::new("/proc"), flags, Mode::empty())?);
        Ok(Listing { proc, is_filled: false, links: Vec::new() })
    }

    /// Makes an entry for everything that is there for the step, and for each of its processes.
    pub(super) fn update(&mut self, processes: &[String]) -> Result<(), Errno> {
        if !self.is_filled {
            self.fill()?;
            self.is_filled = true;
        }
        let entries = read_directory(&self.proc).map_err(|error| errno(&error))?;
        let mut missing: HashSet<&str> = processes.iter().map(String::as_str).collect();
        for entry in entries {
            let Some(name) = entry.name.to_str() else { continue };
            let is_process = name.bytes().all(|byte| byte.is_ascii_digit());
            if is_process && !missing.remove(name) {
                // One that has links of ours in it stays, and is answered as not there.
                let _ = rustix::fs::unlinkat(&self.proc, name, AtFlags::REMOVEDIR);
            }
        }
        missing.into_iter().try_for_each(|name| self.make_directory(name))
    }

    fn fill(&self) -> Result<(), Errno> {
        for entry in std::fs::read_dir("/proc").map_err(|error| errno(&error))? {
            let Ok(entry) = entry else { continue };
            let (name, kind) = (entry.file_name(), entry.file_type());
            let Some(name) = name.to_str().filter(|name| !name.bytes().all(|byte| byte.is_ascii_digit())) else {
                continue;
            };
            match kind {
                // `self` and its like: a directory says as much without a process.
                Ok(kind) if kind.is_dir() || kind.is_symlink() => self.make_directory(name)?,
                _ => {
                    let mode = Mode::from_raw_mode(0o444);
                    let made = rustix::fs::mknodat(&self.proc, name, FileType::RegularFile, mode, 0);
                    made.or_else(is_there)?;
                }
            }
        }
        Ok(())
    }

    fn make_directory(&self, name: &str) -> Result<(), Errno> {
        rustix::fs::mkdirat(&self.proc, name, Mode::from_raw_mode(0o555)).or_else(is_there)
    }

    /// Makes a link at a path below /proc, for a call that the kernel is about to do.
    pub(super) fn link(&mut self, path: &Path, target: &Path) -> Result<(), Errno> {
        if let Some(at) = self.links.iter().position(|(known, _, _)| known == path) {
            let (_, known, made) = self.links.swap_remove(at);
            if known != target {
                // Whoever it was made for may not have followed it yet.
                std::thread::sleep(LINK_IN_USE.saturating_sub(made.elapsed()));
            }
        }
        // By way of `Root`: the step may have put a link here.
        let parent = |path: &Path| self.proc.parent(path).map_err(|error| errno(&error));
        let mut made = PathBuf::new();
        for part in path.parent().into_iter().flatten() {
            made.push(part);
            let (directory, name) = parent(&made)?;
            rustix::fs::mkdirat(directory, name, Mode::from_raw_mode(0o555)).or_else(is_there)?;
        }
        let (directory, name) = parent(path)?;
        match rustix::fs::unlinkat(&directory, &name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(error) => return Err(error),
        }
        rustix::fs::symlinkat(target, &directory, &name)?;
        self.links.push((path.to_owned(), target.to_owned(), Instant::now()));
        Ok(())
    }
}

fn is_there(error: Errno) -> Result<(), Errno> {
    if error == Errno::EXIST { Ok(()) } else { Err(error) }
}
