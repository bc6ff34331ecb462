//! Sockets with names in the file system: made, bound and connected by the builder, inside the step's root.
//!
//! The builder keeps a duplicate of every such socket until it has a name or a peer, for it cannot take one out of another
//! process.  Sockets of other families are the kernel's business.

use super::Step;
use super::tasks::Caller;
use super::view::Found;
use crate::sandbox::supervise::{Answer, CURRENT_DIRECTORY, Call};
use rustix::fs::{FileType, Mode};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SendFlags, SocketAddrUnix, SocketFlags, SocketType};
use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Duplicates that are kept; the oldest go first.
const LIMIT: usize = 256;
/// Bytes of a message without a connection.
const MESSAGE_LIMIT_BYTES: usize = 256 << 10;
/// Bytes of an address of this family.
const ADDRESS_BYTES: usize = 110;

/// Sockets without name and peer, by their inodes.
#[derive(Debug, Default)]
pub(super) struct Sockets(VecDeque<(u64, OwnedFd)>);

impl Step {
    /// Answers a call about sockets.
    pub(super) fn socket(&self, call: &Call<'_>, caller: &Caller<'_>) -> io::Result<Answer> {
        match call.name {
            "socket" => return self.make_socket(call),
            "bind" => return self.bind(call, caller),
            "connect" => {
                let Some((socket, address)) = self.addressed(call, caller, (1, 2))? else {
                    return Ok(Answer::Continue);
                };
                let (address, _node) = self.reachable(caller, &address)?;
                rustix::net::connect(&socket, &address)?;
                self.forget(&socket)?;
            }
            _ => {
                let Some((socket, address)) = self.addressed(call, caller, (4, 5))? else {
                    return Ok(Answer::Continue);
                };
                let message =
                    call.read(1, usize::try_from(call.argument(2)).unwrap_or(usize::MAX).min(MESSAGE_LIMIT_BYTES))?;
                let flags = SendFlags::from_bits_retain(call.number(3)) | SendFlags::NOSIGNAL;
                let (address, _node) = self.reachable(caller, &address)?;
                let count = rustix::net::sendto(&socket, &message, flags, &address)?;
                return Ok(Answer::Return(i64::try_from(count).unwrap_or(0)));
            }
        }
        Ok(Answer::Return(0))
    }

    fn make_socket(&self, call: &Call<'_>) -> io::Result<Answer> {
        let kind = call.number(1);
        let flags = SocketFlags::from_bits_retain(kind & (SocketFlags::NONBLOCK | SocketFlags::CLOEXEC).bits());
        let close_on_exec = flags.contains(SocketFlags::CLOEXEC);
        let kind = SocketType::from_raw(kind & 0xf);
        let fd = rustix::net::socket_with(AddressFamily::UNIX, kind, flags | SocketFlags::CLOEXEC, None)?;
        let mut sockets = super::lock(&self.sockets);
        sockets.0.push_back((rustix::fs::fstat(&fd)?.st_ino, fd.try_clone()?));
        if sockets.0.len() > LIMIT {
            sockets.0.pop_front();
        }
        Ok(Answer::Descriptor { fd, close_on_exec })
    }

    /// Returns the socket of a call and its address; `None` for other families.
    fn addressed(
        &self,
        call: &Call<'_>,
        caller: &Caller<'_>,
        (at, length): (usize, usize),
    ) -> io::Result<Option<(OwnedFd, Vec<u8>)>> {
        let length = call.number(length) as usize;
        if length < 2 {
            return Ok(None);
        }
        let address = call.read(at, length.min(ADDRESS_BYTES))?;
        let is_unix = address.starts_with(&(libc::AF_UNIX as u16).to_ne_bytes());
        let name = rustix::fs::readlink(caller.descriptor(call.number(0)), Vec::new()).map_err(|_| Errno::BADF)?;
        let name = String::from_utf8_lossy(name.as_bytes()).into_owned();
        let inode = name.strip_prefix("socket:[").and_then(|name| name.strip_suffix(']')?.parse::<u64>().ok());
        let sockets = super::lock(&self.sockets);
        let known = sockets.0.iter().find(|(known, _)| Some(*known) == inode);
        match known {
            Some((_, socket)) if is_unix => Ok(Some((socket.try_clone()?, address[2..].to_vec()))),
            // One that has a name or a peer, or came from elsewhere.
            _ if is_unix => Err(if inode.is_some() { Errno::CONNREFUSED } else { Errno::NOTSOCK }.into()),
            _ => Ok(None),
        }
    }

    fn forget(&self, socket: &OwnedFd) -> io::Result<()> {
        let inode = rustix::fs::fstat(socket)?.st_ino;
        super::lock(&self.sockets).0.retain(|(known, _)| *known != inode);
        Ok(())
    }

    /// Returns the address by which the builder reaches what an address of the step names, as long as the file is open.
    fn reachable(&self, caller: &Caller<'_>, address: &[u8]) -> io::Result<(SocketAddrUnix, Option<Found>)> {
        let path = match address {
            [0, name @ ..] => return Ok((SocketAddrUnix::new_abstract_name(name)?, None)),
            path => until_nul(path),
        };
        let from = self.start(caller, CURRENT_DIRECTORY, path)?;
        let found = self.view.find(caller, &from, path, true)?;
        let node = found.existing()?;
        if node.file_type() != FileType::Socket {
            return Err(Errno::CONNREFUSED.into());
        }
        Ok((SocketAddrUnix::new(node.own_path())?, Some(found)))
    }

    fn bind(&self, call: &Call<'_>, caller: &Caller<'_>) -> io::Result<Answer> {
        let Some((socket, address)) = self.addressed(call, caller, (1, 2))? else { return Ok(Answer::Continue) };
        let path = match address.as_slice() {
            [] => return Err(Errno::OPNOTSUPP.into()),
            [0, name @ ..] => {
                rustix::net::bind(&socket, &SocketAddrUnix::new_abstract_name(name)?)?;
                return Ok(Answer::Return(0));
            }
            path => until_nul(path),
        };
        let from = self.start(caller, CURRENT_DIRECTORY, path)?;
        let found = self.view.find(caller, &from, path, false)?;
        if found.node.is_some() {
            return Err(Errno::ADDRINUSE.into());
        }
        let (directory, name) = found.entry()?;
        let own = format!("/proc/self/fd/{}/", directory.as_raw_fd()).into_bytes();
        rustix::net::bind(&socket, &SocketAddrUnix::new([own.as_slice(), name.as_bytes()].concat())?)?;
        crate::sys::chmod_at(directory, name, Mode::from_raw_mode(0o777 & !caller.fs.umask))?;
        Ok(Answer::Return(0))
    }
}

fn until_nul(path: &[u8]) -> &Path {
    Path::new(std::ffi::OsStr::from_bytes(path.split(|byte| *byte == 0).next().unwrap_or_default()))
}
