//! Who is at the other end of a socket, for servers that trust the kernel to tell (PostgreSQL, D-Bus, sudo's).

use super::SingleId;
use crate::sandbox::supervise::{Answer, Call, Status};
use crate::sys::process::pidfd;
use rustix::process::{Pid, PidfdGetfdFlags, pidfd_getfd};
use std::io;

impl SingleId {
    /// Answers `getsockopt` for `SO_PEERCRED` (unix(7)).
    ///
    /// The kernel tells who the peer was when it connected; here it is who it is now.
    pub(super) fn peer(&mut self, call: &Call<'_>) -> io::Result<Answer> {
        const LEVEL: u32 = libc::SOL_SOCKET.unsigned_abs();
        const PEER: u32 = libc::SO_PEERCRED.unsigned_abs();
        /// Bytes of `struct ucred`: three numbers.
        const UCRED_BYTES: u32 = 12;
        if (call.number(1), call.number(2)) != (LEVEL, PEER) {
            return Ok(Answer::Continue);
        }
        // What is no socket, or has no peer, the kernel refuses best; and so a structure that is too short.
        let size = call.read(4, size_of::<u32>())?;
        let is_short = u32::from_ne_bytes([size[0], size[1], size[2], size[3]]) < UCRED_BYTES;
        let Some(peer) = peer_of(call).filter(|_| !is_short) else { return Ok(Answer::Continue) };
        let Some(inside) = Status::of(peer).innermost() else { return Ok(Answer::Continue) };
        let credentials = self.processes.get(peer);
        let ids = [inside, credentials.user.effective, credentials.group.effective];
        call.write(3, &ids.map(u32::to_ne_bytes).concat())?;
        call.write(4, &UCRED_BYTES.to_ne_bytes())?;
        Ok(Answer::Return(0))
    }
}

/// Returns the process at the other end of a socket of the caller, by the number that it has for the builder.
fn peer_of(call: &Call<'_>) -> Option<u32> {
    let process = Status::of(call.pid()).process()?.cast_signed();
    let handle = pidfd(Pid::from_raw(process)?).ok()?;
    let socket = pidfd_getfd(handle, call.number(0).cast_signed(), PidfdGetfdFlags::empty()).ok()?;
    call.is_still_there().ok()?;
    let peer = rustix::net::sockopt::socket_peercred(socket).ok()?;
    Some(peer.pid.as_raw_nonzero().get().unsigned_abs())
}
