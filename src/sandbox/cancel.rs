//! A request to stop that wakes whoever waits in `poll`.

use rustix::event::EventfdFlags;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

/// A request to stop, shared by all who run something; once made it stays.
#[derive(Debug, Clone)]
pub struct Cancel(Arc<OwnedFd>);

impl Cancel {
    /// Returns a request that is not made yet.
    pub fn new() -> io::Result<Cancel> {
        let flags = EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK;
        Ok(Cancel(Arc::new(rustix::event::eventfd(0, flags)?)))
    }

    /// Makes the request; safe from any thread, any number of times.
    pub fn cancel(&self) {
        // Never read, so it stays readable; a full counter means that it was made.
        let _ = rustix::io::write(&self.0, &1_u64.to_ne_bytes());
    }

    /// Whether the request was made.
    pub fn is_canceled(&self) -> bool {
        let mut fds = [rustix::event::PollFd::new(&self.0, rustix::event::PollFlags::IN)];
        matches!(rustix::event::poll(&mut fds, Some(&Default::default())), Ok(1))
    }
}

impl AsFd for Cancel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
