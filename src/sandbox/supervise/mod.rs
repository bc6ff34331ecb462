//! Answers system calls of a step in the builder: what the step's isolation cannot do for real is emulated.
//!
//! A filter in the step sends the calls that some [`Emulation`] watches; a thread of the builder answers them one by
//! one.  A call costs 7 µs where the kernel lets caller and answerer take turns on one CPU (Linux 6.6), and 60 µs
//! before; so the set of calls is small, and what is not ours is let through first thing.
//!
//! An emulation is a convenience and never a border: the arguments can change while they are looked at.

mod caller;
mod identity;
pub(in crate::sandbox) mod proc;
mod status;

pub use crate::sandbox::seccomp::{Watch, When};
pub use crate::sys::notify::Answer;
pub use caller::{CURRENT_DIRECTORY, Call, Paths};
pub use status::Status;

use crate::sandbox::seccomp::{call_name, watch_program};
use crate::sys::Root;
use crate::sys::notify::{Listener, Notification, receive_descriptor};
use crate::sys::process::unshare;
use crate::sys::restrict::Instruction;
use rustix::fs::Mode;
use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

/// The call that gives a process another root; it has no other way without CAP_SYS_ADMIN.
const CHANGE_ROOT: &str = "chroot";

/// Something that a step's isolation lacks and that is made up for by answering system calls.
pub trait Emulation: Send {
    /// Returns the calls that it wants to see.
    fn watches(&self) -> Vec<Watch>;

    /// Answers one of them; [`Answer::Continue`] leaves it to the next emulation, and at last to the kernel.
    fn answer(&mut self, call: &Call<'_>) -> Answer;
}

/// The emulations of one step.
pub struct Supervisor<'a> {
    emulations: Vec<Box<dyn Emulation + 'a>>,
    watches: Vec<Vec<Watch>>,
    names: HashMap<(u32, i32), Option<&'static str>>,
    root: SharedRoot,
    paths: Option<Arc<dyn Paths>>,
}

/// The root that all processes of a step have, as long as none has changed its own.
enum SharedRoot {
    Unknown,
    Open(Root),
    /// Some process has another one, so everyone is asked.
    Several,
}

impl<'a> Supervisor<'a> {
    /// Puts emulations together; the first that answers a call wins.
    pub fn new(emulations: Vec<Box<dyn Emulation + 'a>>) -> Supervisor<'a> {
        let watches = emulations.iter().map(|emulation| emulation.watches()).collect();
        Supervisor { emulations, watches, names: HashMap::new(), root: SharedRoot::Unknown, paths: None }
    }

    /// Says that processes may have mounts and roots of their own: with all capabilities they can have both.
    pub fn with_several_roots(self) -> Supervisor<'a> {
        Supervisor { root: SharedRoot::Several, ..self }
    }

    /// Says what paths mean, where the kernel does not know.
    pub fn with_paths(self, paths: Arc<dyn Paths>) -> Supervisor<'a> {
        Supervisor { paths: Some(paths), root: SharedRoot::Several, ..self }
    }

    /// Returns the filter that the step's process installs with [`crate::sys::notify::install_listener`].
    pub fn program(&self) -> Vec<Instruction> {
        watch_program(&self.watches())
    }

    /// Returns the calls that must be seen.
    pub fn watches(&self) -> Vec<Watch> {
        let own = Watch { call: CHANGE_ROOT, when: When::Always };
        [self.watches.concat(), vec![own]].concat()
    }

    /// Waits for the listener to come over `socket` and answers calls until the last process of the step is gone; returns
    /// whether one came.
    ///
    /// This thread has a file mode mask of its own from then on.  When this fails, every call that is watched fails with ENOSYS.
    pub fn serve(&mut self, socket: &OwnedFd) -> io::Result<bool> {
        let Some(fd) = receive_descriptor(socket.as_fd())? else { return Ok(false) };
        // What is made for a step has the mode that the step's own mask leaves; this process's is not to be asked.
        // Where that is refused (rung 4) nothing is made either.
        if unshare(libc::CLONE_FS).is_ok() {
            rustix::process::umask(Mode::empty());
        }
        let listener = Listener::new(fd);
        while let Some(notification) = listener.receive()? {
            let name = *self
                .names
                .entry((notification.arch, notification.number))
                .or_insert_with(|| call_name(notification.arch, notification.number));
            let answer = match name {
                Some(name) => self.answer(name, &notification, &listener),
                None => Answer::Continue,
            };
            listener.answer(&notification, answer)?;
        }
        Ok(true)
    }

    fn answer(&mut self, name: &'static str, notification: &Notification, listener: &Listener) -> Answer {
        if name == CHANGE_ROOT {
            self.root = SharedRoot::Several;
        }
        if let SharedRoot::Unknown = self.root
            && let Ok(root) = Call::new(name, notification, listener, None).root()
        {
            self.root = SharedRoot::Open(root);
        }
        let root = if let SharedRoot::Open(root) = &self.root { Some(root) } else { None };
        let call = &Call::new(name, notification, listener, root).with_paths(self.paths.as_deref());
        for (emulation, watches) in self.emulations.iter_mut().zip(&self.watches) {
            if !watches.iter().any(|watch| watch.call == call.name) {
                continue;
            }
            match emulation.answer(call) {
                Answer::Continue => {}
                answer => return answer,
            }
        }
        Answer::Continue
    }
}

#[cfg(test)]
mod tests;
