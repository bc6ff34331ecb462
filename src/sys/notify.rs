//! Seccomp user notification: a filter hands chosen system calls of a process to another one, which answers them.
//!
//! See seccomp_unotify(2).  What the caller passed by pointer can change at any time, so an answer that matters must
//! be the result of what the supervisor itself did, never [`Answer::Continue`] after a look at the arguments.
#![allow(unsafe_code)]

use super::restrict::Instruction;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
};
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

/// Bytes of a path, its NUL included (`PATH_MAX`).
const PATH_BYTES: usize = 4096;

/// One intercepted system call; its caller waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct Notification {
    /// Names it in the answer.
    pub id: u64,
    /// The calling thread, as this process sees it.
    pub pid: u32,
    flags: u32,
    /// Number of the call.
    pub number: i32,
    /// `AUDIT_ARCH_*` of the caller's interface.
    pub arch: u32,
    /// Where the caller is.
    pub instruction: u64,
    /// The arguments as they stand in registers.
    pub arguments: [u64; 6],
}

/// What a call returns to its caller.
#[derive(Debug)]
pub enum Answer {
    /// The kernel does what was asked.
    Continue,
    /// The call returns this value.
    Return(i64),
    /// The call fails with this `errno`.
    Fail(i32),
    /// The answer comes from somebody else, by [`Listener::reply`].
    Later,
    /// The call returns a duplicate of this descriptor, made in the caller.
    Descriptor {
        /// What is duplicated.
        fd: OwnedFd,
        /// Whether the caller's is closed by exec.
        close_on_exec: bool,
    },
}

impl Answer {
    /// Turns the outcome of a system call made for the caller into what the caller sees.
    pub fn of(result: io::Result<i64>) -> Answer {
        match result {
            Ok(value) => Answer::Return(value),
            Err(error) => Answer::Fail(error.raw_os_error().unwrap_or(libc::EIO)),
        }
    }
}

/// The end of a filter at which its notifications arrive.
#[derive(Debug)]
pub struct Listener {
    fd: OwnedFd,
}

#[repr(C)]
struct Response {
    id: u64,
    value: i64,
    error: i32,
    flags: u32,
}

#[repr(C)]
struct AddDescriptor {
    id: u64,
    flags: u32,
    source: u32,
    target: u32,
    target_flags: u32,
}

const RECEIVE: libc::Ioctl = 0xc050_2100_u32 as libc::Ioctl;
const SEND: libc::Ioctl = 0xc018_2101_u32 as libc::Ioctl;
const IS_VALID: libc::Ioctl = 0x4008_2102;
const ADD_DESCRIPTOR: libc::Ioctl = 0x4018_2103;
const SET_FLAGS: libc::Ioctl = 0x4008_2104;

/// The caller's and the supervisor's thread take turns on one CPU: a call costs a fraction (Linux 6.6).
const SYNC_WAKE_UP: u64 = 1;
/// Answers in one step with the new descriptor (Linux 5.14).
const ADD_AND_SEND: u32 = 2;
const FLAG_CONTINUE: u32 = 1;
const FLAG_NEW_LISTENER: libc::c_ulong = 1 << 3;
/// Once received, a call is only ended by a deadly signal: what was done for it is not done twice (Linux 5.19).
const FLAG_WAIT_KILLABLE: libc::c_ulong = 1 << 5;

fn check(result: libc::c_long) -> io::Result<libc::c_long> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// Installs a filter whose `SECCOMP_RET_USER_NOTIF` goes to the descriptor that is returned.
///
/// Needs CAP_SYS_ADMIN or `no_new_privs`.  A process has one listener at most; a second is `EBUSY`.
pub fn install_listener(program: &[Instruction]) -> io::Result<OwnedFd> {
    let len = u16::try_from(program.len()).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    let filter = libc::sock_fprog { len, filter: program.as_ptr().cast::<libc::sock_filter>().cast_mut() };
    let install = |flags: libc::c_ulong| {
        // SAFETY: `Instruction` has the layout of `sock_filter`; the kernel copies the program and does not write to it.
        check(unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, flags, &raw const filter) })
    };
    let fd = match install(FLAG_NEW_LISTENER | FLAG_WAIT_KILLABLE) {
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => install(FLAG_NEW_LISTENER)?,
        result => result?,
    };
    // SAFETY: the kernel has just made this descriptor for us, and marks it to be closed by exec.
    Ok(unsafe { OwnedFd::from_raw_fd(RawFd::try_from(fd).map_err(io::Error::other)?) })
}

/// Makes a call that does nothing for its caller but be seen by the supervisor, and returns the error that it answers.
pub fn ask_supervisor() -> io::Result<()> {
    // SAFETY: the call takes no arguments and changes nothing.
    check(unsafe { libc::syscall(libc::SYS_getuid) }).map(drop)
}

/// Sends a descriptor over a connected socket.
pub fn send_descriptor(socket: impl AsFd, fd: BorrowedFd<'_>) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let fds = [fd];
    control.push(SendAncillaryMessage::ScmRights(&fds));
    rustix::net::sendmsg(socket, &[IoSlice::new(b"x")], &mut control, SendFlags::NOSIGNAL)?;
    Ok(())
}

/// Waits for a descriptor; `None` when the other side has closed the socket without sending one.
pub fn receive_descriptor(socket: impl AsFd) -> io::Result<Option<OwnedFd>> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0];
    loop {
        match rustix::net::recvmsg(&socket, &mut [IoSliceMut::new(&mut byte)], &mut control, RecvFlags::CMSG_CLOEXEC) {
            Err(rustix::io::Errno::INTR) => continue,
            result => result?,
        };
        break;
    }
    Ok(control.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
        _ => None,
    }))
}

impl Listener {
    /// Takes the descriptor that [`install_listener`] returned.
    pub fn new(fd: OwnedFd) -> Listener {
        let listener = Listener { fd };
        // SAFETY: the request takes a number, not a pointer.  Older kernels refuse it, and are slower.
        let _ = unsafe { libc::ioctl(listener.fd.as_raw_fd(), SET_FLAGS, SYNC_WAKE_UP) };
        listener
    }

    /// Waits for a call; `None` when no process is left that could make one.
    pub fn receive(&self) -> io::Result<Option<Notification>> {
        loop {
            let mut fds = [rustix::event::PollFd::new(&self.fd, rustix::event::PollFlags::IN)];
            match rustix::event::poll(&mut fds, None) {
                Err(rustix::io::Errno::INTR) => continue,
                result => result?,
            };
            if !fds[0].revents().contains(rustix::event::PollFlags::IN) {
                return Ok(None);
            }
            // SAFETY: an all-zero notification is valid, and what the kernel wants to be given.
            let mut notification: Notification = unsafe { std::mem::zeroed() };
            // SAFETY: the structure is live and of the size that the request's number says.
            match check(unsafe { libc::ioctl(self.fd.as_raw_fd(), RECEIVE, &raw mut notification) }.into()) {
                Ok(_) => return Ok(Some(notification)),
                // The caller was killed before we came to it.
                Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::EINTR)) => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Answers a call.  That the caller has gone meanwhile is no error.
    pub fn answer(&self, notification: &Notification, answer: Answer) -> io::Result<()> {
        let (value, error, flags) = match answer {
            Answer::Continue => (0, 0, FLAG_CONTINUE),
            Answer::Return(value) => (value, 0, 0),
            Answer::Fail(errno) => (0, -errno, 0),
            Answer::Later => return Ok(()),
            Answer::Descriptor { fd, close_on_exec } => {
                return self.answer_descriptor(notification, &fd, close_on_exec);
            }
        };
        let mut response = Response { id: notification.id, value, error, flags };
        // SAFETY: the structure is live and of the size that the request's number says.
        gone_is_fine(check(unsafe { libc::ioctl(self.fd.as_raw_fd(), SEND, &raw mut response) }.into()))
    }

    fn answer_descriptor(&self, notification: &Notification, fd: &OwnedFd, close_on_exec: bool) -> io::Result<()> {
        let mut request = AddDescriptor {
            id: notification.id,
            flags: ADD_AND_SEND,
            source: fd.as_raw_fd().unsigned_abs(),
            target: 0,
            target_flags: if close_on_exec { libc::O_CLOEXEC.unsigned_abs() } else { 0 },
        };
        // SAFETY: the structure is live and of the size that the request's number says.
        let added = check(unsafe { libc::ioctl(self.fd.as_raw_fd(), ADD_DESCRIPTOR, &raw mut request) }.into());
        match added {
            // The caller must not hang: its table of descriptors is full, or the kernel cannot answer in one step.
            Err(error) if error.raw_os_error() != Some(libc::ENOENT) => {
                self.answer(notification, Answer::Fail(error.raw_os_error().unwrap_or(libc::EMFILE)))
            }
            result => gone_is_fine(result),
        }
    }

    /// Returns the means to answer a call from another thread.
    pub fn reply(&self, notification: &Notification) -> io::Result<Reply> {
        Ok(Reply { listener: Listener { fd: self.fd.try_clone()? }, notification: *notification })
    }

    /// Whether the caller still waits for the answer, so that its process id means the same process.
    pub fn is_valid(&self, notification: &Notification) -> bool {
        // SAFETY: the id is live.
        unsafe { libc::ioctl(self.fd.as_raw_fd(), IS_VALID, &raw const notification.id) == 0 }
    }
}

/// An answer that is still to be given.
#[derive(Debug)]
pub struct Reply {
    listener: Listener,
    notification: Notification,
}

impl Reply {
    /// Answers the call.
    pub fn answer(self, answer: Answer) -> io::Result<()> {
        self.listener.answer(&self.notification, answer)
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

fn gone_is_fine(result: io::Result<libc::c_long>) -> io::Result<()> {
    match result {
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(()),
        result => result.map(drop),
    }
}

/// Reads from the memory of another process; returns how many bytes could be read.
pub fn read_memory(pid: u32, address: u64, buffer: &mut [u8]) -> io::Result<usize> {
    let local = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    let remote = libc::iovec { iov_base: address as *mut libc::c_void, iov_len: buffer.len() };
    // SAFETY: the local range is live and writable; the remote one is checked by the kernel.
    let read = unsafe { libc::process_vm_readv(pid.cast_signed(), &raw const local, 1, &raw const remote, 1, 0) };
    usize::try_from(read).map_err(|_| io::Error::last_os_error())
}

/// Reads a path, a string that ends in NUL, from the memory of another process; without the NUL.
pub fn read_path(pid: u32, address: u64) -> io::Result<Vec<u8>> {
    /// Smallest page: a read that stays inside one page never fails for what lies behind the string.
    const PAGE_BYTES: u64 = 4096;
    let mut path = vec![0; PATH_BYTES];
    let mut len = 0;
    while len < PATH_BYTES {
        let at = address.wrapping_add(len as u64);
        let in_page = usize::try_from(PAGE_BYTES - at % PAGE_BYTES).unwrap_or(PATH_BYTES);
        let end = PATH_BYTES.min(len + in_page.min(256));
        let count = read_memory(pid, at, &mut path[len..end])?;
        if let Some(nul) = path[len..len + count].iter().position(|byte| *byte == 0) {
            path.truncate(len + nul);
            return Ok(path);
        }
        if count == 0 {
            return Err(io::Error::from_raw_os_error(libc::EFAULT));
        }
        len += count;
    }
    Err(io::Error::from_raw_os_error(libc::ENAMETOOLONG))
}

/// Returns the bytes of what `stat` and its like fill in, as the kernel of this machine lays them out.
pub fn stat_bytes(stat: &rustix::fs::Stat) -> &[u8] {
    // SAFETY: the structure is the kernel's own, all integers, and fully initialized, for the kernel filled it in.
    unsafe { std::slice::from_raw_parts(std::ptr::from_ref(stat).cast(), size_of_val(stat)) }
}

/// Returns the bytes of what `statx` fills in.
pub fn statx_bytes(stat: &rustix::fs::Statx) -> &[u8] {
    // SAFETY: as above.
    unsafe { std::slice::from_raw_parts(std::ptr::from_ref(stat).cast(), size_of_val(stat)) }
}

/// Returns the bytes of what `statfs` fills in, for 64-bit programs.
pub fn statfs_bytes(stat: &rustix::fs::StatFs) -> &[u8] {
    // SAFETY: as above.
    unsafe { std::slice::from_raw_parts(std::ptr::from_ref(stat).cast(), size_of_val(stat)) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn descriptors_travel_over_sockets_and_an_end_is_none() {
        let (left, right) = std::os::unix::net::UnixStream::pair().unwrap();
        let file = tempfile::tempfile().unwrap();
        send_descriptor(&left, file.as_fd()).unwrap();
        let received = receive_descriptor(&right).unwrap().unwrap();
        let identity = |fd: BorrowedFd<'_>| rustix::fs::fstat(fd).map(|stat| (stat.st_dev, stat.st_ino)).unwrap();
        assert_eq!(identity(received.as_fd()), identity(file.as_fd()));
        drop(left);
        assert!(receive_descriptor(&right).unwrap().is_none());
    }

    #[test]
    fn strings_of_a_process_are_read() {
        let pid = std::process::id();
        let path = [b"/a/long/path/".repeat(60).as_slice(), b"\0rest"].concat();
        assert_eq!(read_path(pid, path.as_ptr() as u64).unwrap(), path[..path.len() - 5]);
        assert_eq!(read_path(pid, 1).unwrap_err().raw_os_error(), Some(libc::EFAULT));
        let endless = vec![b'x'; 2 * PATH_BYTES];
        assert_eq!(read_path(pid, endless.as_ptr() as u64).unwrap_err().raw_os_error(), Some(libc::ENAMETOOLONG));
    }
}
