//! Descriptors of paths alone (`O_PATH`), which the kernel lets nobody hand over.
//!
//! For a file or a directory one for reading is given instead.  For a link, a socket or a device a file in memory is: it can
//! do nothing, and whoever asks what it is, or what it leads to, is told of what it stands for.

use super::Step;
use super::tasks::Caller;
use super::view::{Node, name_of};
use rustix::fs::{CWD, MemfdFlags, Mode, OFlags};
use rustix::io::Errno;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

/// What the names of such files begin with.
const NAME: &str = "cooper-path-";
/// Most of them in one step; each costs a descriptor until its end.
const LIMIT: usize = 512;

impl Step {
    /// Opens what a descriptor of a thread stands for, by its path only.
    pub(super) fn open_descriptor(&self, caller: &Caller<'_>, number: u32) -> io::Result<OwnedFd> {
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        let fd = match rustix::fs::openat(CWD, caller.descriptor(number), flags, Mode::empty()) {
            Err(Errno::NOENT) => return Err(Errno::BADF.into()),
            result => result?,
        };
        if super::lock(&self.tokens).is_empty() {
            return Ok(fd);
        }
        let name = name_of(fd.as_fd())?;
        let token = name.to_str().and_then(|name| name.strip_prefix("/memfd:")?.strip_prefix(NAME));
        let index = token.and_then(|token| token.split(' ').next()?.parse::<usize>().ok());
        match index.and_then(|index| super::lock(&self.tokens).get(index).cloned()) {
            Some(node) => node.try_clone(),
            None => Ok(fd),
        }
    }

    /// Returns what stands for something of which only the path is open.
    pub(super) fn token(&self, node: &Node) -> io::Result<OwnedFd> {
        let mut tokens = super::lock(&self.tokens);
        if tokens.len() >= LIMIT {
            return Err(Errno::NFILE.into());
        }
        let fd = rustix::fs::memfd_create(format!("{NAME}{}", tokens.len()), MemfdFlags::CLOEXEC)?;
        tokens.push(node.fd.clone());
        Ok(fd)
    }
}
