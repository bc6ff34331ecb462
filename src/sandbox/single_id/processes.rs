//! Which process of a step believes to be whom.
//!
//! As long as no process has changed its ids all are what the step began with, and nothing is looked up.  From then on
//! a process that is seen for the first time is what its parent is.

use super::credentials::Credentials;
use crate::sandbox::supervise::Status;
use crate::sys::process::pidfd;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::Pid;
use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::sync::Arc;

/// Processes that are remembered before those that have ended are forgotten; each costs a descriptor.
const SWEEP_FROM: usize = 128;
/// How many parents are asked.
const ANCESTRY_LIMIT: usize = 64;

/// The processes of one step.
pub struct Processes {
    initial: Arc<Credentials>,
    known: HashMap<u32, Known>,
    /// Threads that are not the first of their process, and their processes.
    threads: HashMap<u32, u32>,
    sweep_at: usize,
    has_changed: bool,
}

struct Known {
    credentials: Arc<Credentials>,
    /// Tells when it has ended, so that its number may be another's.
    process: OwnedFd,
}

impl Processes {
    /// All processes are what the first one is.
    pub fn new(initial: Credentials) -> Processes {
        Processes {
            initial: Arc::new(initial),
            known: HashMap::new(),
            threads: HashMap::new(),
            sweep_at: SWEEP_FROM,
            has_changed: false,
        }
    }

    /// Returns who a thread believes to be.
    pub fn get(&mut self, thread: u32) -> Arc<Credentials> {
        if !self.has_changed {
            return self.initial.clone();
        }
        self.find(thread, ANCESTRY_LIMIT)
    }

    /// Makes a thread and all others of its process someone else.
    pub fn set(&mut self, thread: u32, credentials: Credentials) {
        self.has_changed = true;
        let process = self.process_of(thread);
        self.remember(process, Arc::new(credentials));
    }

    fn find(&mut self, thread: u32, ancestry: usize) -> Arc<Credentials> {
        if let Some(credentials) = self.remembered(thread) {
            return credentials;
        }
        let status = Status::of(thread);
        let process = status.process().unwrap_or(thread);
        if process != thread {
            self.threads.insert(thread, process);
            if let Some(credentials) = self.remembered(process) {
                return credentials;
            }
        }
        let credentials = match status.parent() {
            Some(parent) if parent > 1 && parent != std::process::id() && ancestry > 0 => {
                self.find(parent, ancestry - 1)
            }
            _ => self.initial.clone(),
        };
        self.remember(process, credentials.clone());
        credentials
    }

    fn remembered(&mut self, thread: u32) -> Option<Arc<Credentials>> {
        let process = self.threads.get(&thread).copied().unwrap_or(thread);
        let known = self.known.get(&process)?;
        if has_ended(&known.process) {
            self.known.remove(&process);
            self.threads.remove(&thread);
            return None;
        }
        Some(known.credentials.clone())
    }

    fn process_of(&mut self, thread: u32) -> u32 {
        if self.known.contains_key(&thread) {
            return thread;
        }
        self.threads.get(&thread).copied().or_else(|| Status::of(thread).process()).unwrap_or(thread)
    }

    fn remember(&mut self, process: u32, credentials: Arc<Credentials>) {
        let Some(handle) = Pid::from_raw(process.cast_signed()).and_then(|pid| pidfd(pid).ok()) else { return };
        self.known.insert(process, Known { credentials, process: handle });
        if self.known.len() >= self.sweep_at {
            self.known.retain(|_, known| !has_ended(&known.process));
            let known = &self.known;
            self.threads.retain(|_, process| known.contains_key(process));
            self.sweep_at = SWEEP_FROM.max(2 * self.known.len());
        }
    }
}

fn has_ended(process: &OwnedFd) -> bool {
    poll(&mut [PollFd::new(process, PollFlags::IN)], Some(&Timespec::default())) != Ok(0)
}
