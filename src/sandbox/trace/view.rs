//! What the paths of a step mean: its root, and what is mounted over it without a mount.
//!
//! A table says which directory or file of the machine stands at which place of the step's root.  A path is walked name by
//! name, by descriptor and without ever following a link in the kernel, so neither `..`, nor a link, nor a directory that is
//! moved meanwhile leads to anything that is not in the root or in the table.

use super::tasks::Caller;
use crate::sys::{components_reversed, owner};
use rustix::fs::{CWD, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;
use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Most links on the way, as in the kernel.
const LINK_LIMIT: u32 = 40;

pub(super) const PATH_ONLY: OFlags = OFlags::PATH.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Something that stands at a place of the step's root.
#[derive(Debug)]
pub(super) struct Place {
    /// Its root directory, or the file itself.
    pub fd: Arc<OwnedFd>,
    /// Its name on the machine.
    pub name: PathBuf,
    /// Whether changes are refused.
    pub is_read_only: bool,
    /// Whether it is the machine's /proc.
    pub is_proc: bool,
}

impl Place {
    /// Takes what a descriptor stands for.
    pub(super) fn of(fd: OwnedFd, is_read_only: bool) -> io::Result<Place> {
        let name = name_of(fd.as_fd())?;
        Ok(Place { fd: Arc::new(fd), name, is_read_only, is_proc: false })
    }
}

/// Returns the name that the kernel has for a descriptor.
pub(super) fn name_of(fd: BorrowedFd<'_>) -> io::Result<PathBuf> {
    let name = rustix::fs::readlink(format!("/proc/self/fd/{}", fd.as_raw_fd()), Vec::new())?;
    Ok(PathBuf::from(OsString::from_vec(name.into_bytes())))
}

/// The file system of a step.
#[derive(Debug)]
pub(super) struct View {
    /// The root first.
    places: Vec<Place>,
    /// Where the places are, by their real paths in the step.
    mounts: HashMap<PathBuf, usize>,
}

/// A directory that paths begin at.
#[derive(Debug, Clone)]
pub(super) struct Directory {
    /// The directory.
    pub fd: Arc<OwnedFd>,
    /// Its real path in the step, at the time when it was found.
    pub path: PathBuf,
    place: usize,
}

/// What a path has led to.
#[derive(Debug)]
pub(super) struct Found {
    /// The directory that it is in, or would be.
    pub directory: Directory,
    /// Its name there; none where the path ends at the root, at `..` or at something mounted.
    pub name: Option<OsString>,
    /// What is there, if anything.
    pub node: Option<Node>,
    /// Its real path in the step.
    pub path: PathBuf,
    /// Whether changes of it are refused.
    pub is_read_only: bool,
}

/// Something that exists.
#[derive(Debug)]
pub(super) struct Node {
    /// By its path only; a link is not followed.
    pub fd: Arc<OwnedFd>,
    /// Its metadata, as it is on disk.
    pub stat: Stat,
    place: usize,
}

impl Node {
    pub(super) fn file_type(&self) -> FileType {
        FileType::from_raw_mode(self.stat.st_mode)
    }

    /// Returns a name by which the builder can reach it for calls that take no descriptor.
    pub(super) fn own_path(&self) -> String {
        format!("/proc/self/fd/{}", self.fd.as_raw_fd())
    }
}

impl Found {
    /// Whether it is on the same file system, as the step sees it.
    pub(super) fn is_beside(&self, other: &Found) -> bool {
        self.directory.place == other.directory.place
    }

    /// Whether something that exists could get a name here.
    pub(super) fn can_hold(&self, node: &Node) -> bool {
        self.directory.place == node.place
    }

    /// Returns what is there, or ENOENT.
    pub(super) fn existing(&self) -> Result<&Node, Errno> {
        self.node.as_ref().ok_or(Errno::NOENT)
    }

    /// Returns the directory and the name of something that can be made, removed or renamed.
    pub(super) fn entry(&self) -> Result<(BorrowedFd<'_>, &OsStr), Errno> {
        let name = self.name.as_deref().ok_or(Errno::BUSY)?;
        if self.is_read_only { Err(Errno::ROFS) } else { Ok((self.directory.fd.as_fd(), name)) }
    }
}

impl View {
    /// Begins with the root alone.
    pub(super) fn new(root: Place) -> View {
        View { places: vec![root], mounts: HashMap::new() }
    }

    /// Puts something at a real path of the step.
    pub(super) fn mount(&mut self, at: PathBuf, place: Place) {
        self.places.push(place);
        self.mounts.insert(at, self.places.len() - 1);
    }

    /// Returns the root directory.
    pub(super) fn root(&self) -> Directory {
        Directory { fd: self.places[0].fd.clone(), path: PathBuf::from("/"), place: 0 }
    }

    /// Returns the path in the step of something with this name on the machine.
    pub(super) fn inside(&self, name: &Path) -> Option<PathBuf> {
        self.locate(name).map(|(path, _)| path)
    }

    fn locate(&self, name: &Path) -> Option<(PathBuf, usize)> {
        let root = [(Path::new("/"), 0)].into_iter();
        let all = root.chain(self.mounts.iter().map(|(at, place)| (at.as_path(), *place)));
        let fitting =
            all.filter_map(|(at, place)| Some((name.strip_prefix(&self.places[place].name).ok()?, at, place)));
        let (rest, at, place) = fitting.min_by_key(|(rest, ..)| rest.as_os_str().len())?;
        Some((if rest.as_os_str().is_empty() { at.to_owned() } else { at.join(rest) }, place))
    }

    /// Takes a directory that a process has open.
    pub(super) fn directory(&self, fd: OwnedFd) -> io::Result<Directory> {
        if FileType::from_raw_mode(rustix::fs::fstat(&fd)?.st_mode) != FileType::Directory {
            return Err(Errno::NOTDIR.into());
        }
        // One that is not ours comes from nowhere that a step can reach.
        let (path, place) = self.locate(&name_of(fd.as_fd())?).ok_or(Errno::NOENT)?;
        Ok(Directory { fd: Arc::new(fd), path, place })
    }

    /// Takes what a process has open, and whether changes of it are refused.
    pub(super) fn opened(&self, fd: OwnedFd) -> io::Result<(Node, bool)> {
        let place = self.locate(&name_of(fd.as_fd())?).map(|(_, place)| place);
        let is_read_only = place.is_some_and(|place| self.places[place].is_read_only);
        Ok((Node { stat: rustix::fs::fstat(&fd)?, fd: Arc::new(fd), place: place.unwrap_or(0) }, is_read_only))
    }

    /// Takes a directory that a path has led to.
    pub(super) fn as_directory(&self, found: Found) -> io::Result<Directory> {
        let node = found.node.ok_or(Errno::NOENT)?;
        if node.file_type() != FileType::Directory {
            return Err(Errno::NOTDIR.into());
        }
        Ok(Directory { fd: node.fd, path: found.path, place: node.place })
    }

    /// Returns the target of a link, as the step names it.
    pub(super) fn read_link(&self, caller: &Caller<'_>, found: &Found) -> io::Result<OsString> {
        let node = found.existing()?;
        if node.file_type() != FileType::Symlink {
            return Err(Errno::INVAL.into());
        }
        if self.places[node.place].is_proc
            && let Some(link) = caller.proc_link(&found.path)
        {
            let name = match link? {
                ProcLink::Text(text) => return Ok(text),
                ProcLink::Descriptor(path) => rustix::fs::readlink(path, Vec::new())?,
            };
            let name = PathBuf::from(OsString::from_vec(name.into_bytes()));
            // Pipes and the like have names that are no paths.
            return Ok(self.inside(&name).unwrap_or(name).into_os_string());
        }
        Ok(OsString::from_vec(rustix::fs::readlinkat(&*node.fd, "", Vec::new())?.into_bytes()))
    }

    /// Finds what a path of a process leads to; the last name may be missing.
    pub(super) fn find(&self, caller: &Caller<'_>, from: &Directory, path: &Path, follow: bool) -> io::Result<Found> {
        if path.as_os_str().is_empty() {
            return Err(Errno::NOENT.into());
        }
        let mut walk = Walk { view: self, caller, trail: vec![from.clone()], rest: Vec::new(), links: 0 };
        walk.push(path.as_os_str());
        let bytes = path.as_os_str().as_bytes();
        let wants_directory = bytes.ends_with(b"/") || bytes.ends_with(b"/.") || bytes == b".";
        walk.run(follow || wants_directory, wants_directory)
    }
}

struct Walk<'a> {
    view: &'a View,
    caller: &'a Caller<'a>,
    /// The directories that the walk came through, the current one last.
    trail: Vec<Directory>,
    /// The names that are still to be walked, the next one last.
    rest: Vec<OsString>,
    links: u32,
}

/// Where a link leads.
enum Target {
    /// To a path, as its text says.
    Text(OsString),
    /// To an open file of a process.
    Open(OwnedFd),
}

impl Walk<'_> {
    fn here(&self) -> Directory {
        self.trail.last().cloned().unwrap_or_else(|| self.view.root())
    }

    /// Puts a path in front of what is left to walk.
    fn push(&mut self, path: &OsStr) {
        if path.as_bytes().starts_with(b"/") {
            self.trail = vec![self.view.root()];
        }
        self.rest.extend(components_reversed(Path::new(path)));
    }

    fn run(mut self, follow: bool, wants_directory: bool) -> io::Result<Found> {
        while let Some(name) = self.rest.pop() {
            if name == ".." {
                self.ascend();
                continue;
            }
            if name.len() > 255 {
                return Err(Errno::NAMETOOLONG.into());
            }
            let is_last = self.rest.is_empty();
            let directory = self.here();
            let path = directory.path.join(&name);
            let Some((node, is_mount)) = self.node(&directory, &name, &path)? else {
                if !is_last {
                    return Err(Errno::NOENT.into());
                }
                let is_read_only = self.view.places[directory.place].is_read_only;
                return Ok(Found { directory, name: Some(name), node: None, path, is_read_only });
            };
            match node.file_type() {
                FileType::Symlink if !is_last || follow => match self.target(&node, &path)? {
                    Target::Text(text) => self.push(&text),
                    Target::Open(fd) if is_last => return self.opened(directory, fd, wants_directory),
                    Target::Open(fd) => self.trail = vec![self.view.directory(fd)?],
                },
                FileType::Directory if !is_last => {
                    self.trail.push(Directory { fd: node.fd, path, place: node.place });
                }
                kind if !is_last || wants_directory && kind != FileType::Directory => {
                    return Err(Errno::NOTDIR.into());
                }
                _ => {
                    let is_read_only = self.view.places[node.place].is_read_only;
                    let name = Some(name).filter(|_| !is_mount);
                    return Ok(Found { directory, name, node: Some(node), path, is_read_only });
                }
            }
        }
        // The root, or a directory that `..` or a link has led to.
        let directory = self.here();
        let stat = rustix::fs::fstat(&directory.fd)?;
        let is_read_only = self.view.places[directory.place].is_read_only;
        let node = Some(Node { fd: directory.fd.clone(), stat, place: directory.place });
        Ok(Found { path: directory.path.clone(), directory, name: None, node, is_read_only })
    }

    fn opened(&self, directory: Directory, fd: OwnedFd, wants_directory: bool) -> io::Result<Found> {
        let stat = rustix::fs::fstat(&fd)?;
        if wants_directory && FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
            return Err(Errno::NOTDIR.into());
        }
        let located = self.view.locate(&name_of(fd.as_fd())?);
        let place = located.as_ref().map_or(directory.place, |(_, place)| *place);
        let path = located.map(|(path, _)| path).unwrap_or_default();
        let is_read_only = self.view.places[place].is_read_only && !self.view.places[place].is_proc;
        Ok(Found { directory, name: None, node: Some(Node { fd: Arc::new(fd), stat, place }), path, is_read_only })
    }

    fn ascend(&mut self) {
        if self.trail.len() > 1 {
            self.trail.pop();
            return;
        }
        // Above where the walk began: found anew, from the root down.
        let above = self.here().path.parent().map(Path::to_owned).unwrap_or_default();
        self.trail = vec![self.view.root()];
        self.rest.extend(components_reversed(&above));
    }

    /// Looks at a name in a directory; with whether something is mounted there.
    fn node(&self, directory: &Directory, name: &OsStr, path: &Path) -> io::Result<Option<(Node, bool)>> {
        if let Some(place) = self.view.mounts.get(path) {
            let fd = self.view.places[*place].fd.clone();
            return Ok(Some((Node { stat: rustix::fs::fstat(&fd)?, fd, place: *place }, true)));
        }
        if self.view.places[directory.place].is_proc && !self.caller.sees(path) {
            return Ok(None);
        }
        let open = || rustix::fs::openat(&directory.fd, name, PATH_ONLY, Mode::empty());
        match owner::overriding(&directory.fd, open) {
            Ok(fd) => {
                let stat = rustix::fs::fstat(&fd)?;
                Ok(Some((Node { fd: Arc::new(fd), stat, place: directory.place }, false)))
            }
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    fn target(&mut self, link: &Node, path: &Path) -> io::Result<Target> {
        self.links += 1;
        if self.links > LINK_LIMIT {
            return Err(Errno::LOOP.into());
        }
        if self.view.places[link.place].is_proc
            && let Some(target) = self.caller.proc_link(path)
        {
            let magic = match target? {
                ProcLink::Text(text) => return Ok(Target::Text(text)),
                ProcLink::Descriptor(name) => name,
            };
            let open = rustix::fs::openat(CWD, magic, OFlags::PATH | OFlags::CLOEXEC, Mode::empty());
            return Ok(Target::Open(open?));
        }
        let text = rustix::fs::readlinkat(&*link.fd, "", Vec::new())?;
        Ok(Target::Text(OsString::from_vec(text.into_bytes())))
    }
}

/// Where a link of /proc leads.
pub(super) enum ProcLink {
    /// To a path of the step.
    Text(OsString),
    /// To what an entry of the machine's /proc leads to.
    Descriptor(PathBuf),
}
