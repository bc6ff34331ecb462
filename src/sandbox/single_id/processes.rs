//! Which process of a step believes to be whom.
//!
//! The kernel keeps it: a process bears the number of what it believes in a resource limit that Linux has no use for
//! (`RLIMIT_LOCKS`).  New processes inherit limits at the moment of the fork, whoever their parent is afterwards, threads share
//! them, exec keeps them, and they end with the process: all as it is with real ids.  To ask costs one system call, and nothing
//! has to be watched or forgotten here.
//!
//! A step could give itself a number by hand; so it would believe something else, which it may.

use super::credentials::Credentials;
use crate::sandbox::supervise::{Answer, Call};
use crate::sys::restrict::{limit_of, set_soft_limit_of};
use rustix::io::Errno;
use std::collections::HashMap;
use std::io;
use std::sync::Arc;

/// The limit on file locks of Linux 2.4; the kernel has looked at it never since.
pub(super) const RLIMIT_LOCKS: u32 = 10;
/// Most different credentials of a step.
const CREDENTIALS_LIMIT: usize = 1 << 16;
/// Most supplementary groups in all of them together.
const GROUPS_LIMIT: usize = 1 << 20;

/// The processes of one step.
pub struct Processes {
    initial: Arc<Credentials>,
    /// What processes have changed to, by number.
    known: Vec<Arc<Credentials>>,
    numbers: HashMap<Arc<Credentials>, u64>,
    groups: usize,
}

impl Processes {
    /// All processes are what the first one is.
    pub fn new(initial: Credentials) -> Processes {
        Processes { initial: Arc::new(initial), known: Vec::new(), numbers: HashMap::new(), groups: 0 }
    }

    /// Returns who a thread believes to be.
    pub fn get(&self, thread: u32) -> Arc<Credentials> {
        // As long as no process has changed its ids nothing is looked up.
        let number = if self.known.is_empty() { None } else { number_of(thread) };
        number.and_then(|number| self.known.get(number)).unwrap_or(&self.initial).clone()
    }

    /// Makes a thread and all others of its process someone else.
    pub fn set(&mut self, thread: u32, credentials: Credentials) -> io::Result<()> {
        let (_, hard) = limit_of(thread, RLIMIT_LOCKS)?;
        if credentials == *self.initial {
            return set_soft_limit_of(thread, RLIMIT_LOCKS, hard, hard);
        }
        let number = self.number(credentials)?;
        let soft = hard.checked_sub(number + 1).ok_or(Errno::AGAIN)?;
        set_soft_limit_of(thread, RLIMIT_LOCKS, soft, hard)
    }

    fn number(&mut self, credentials: Credentials) -> Result<u64, Errno> {
        if let Some(number) = self.numbers.get(&credentials) {
            return Ok(*number);
        }
        let groups = self.groups + credentials.groups.len();
        if self.known.len() == CREDENTIALS_LIMIT || groups > GROUPS_LIMIT {
            return Err(Errno::AGAIN);
        }
        self.groups = groups;
        let (number, credentials) = (self.known.len() as u64, Arc::new(credentials));
        self.known.push(credentials.clone());
        self.numbers.insert(credentials, number);
        Ok(number)
    }
}

/// Returns the number that a process bears; `None` where none of its ancestors has changed its ids.
fn number_of(thread: u32) -> Option<usize> {
    // One that has ended has no limits, and nobody waits for its answer.
    let (soft, hard) = limit_of(thread, RLIMIT_LOCKS).ok()?;
    usize::try_from(hard.checked_sub(soft)?.checked_sub(1)?).ok()
}

/// Answers calls about resource limits: the one that bears numbers looks as if it were not there to be set.
///
/// Programs that start a session (`su`, `sudo`, `cron`) set all limits anew.
pub(super) fn limits(call: &Call<'_>) -> io::Result<Answer> {
    let is_prlimit = call.name == "prlimit64";
    if call.number(usize::from(is_prlimit)) != RLIMIT_LOCKS || (!is_prlimit && !call.is_native()) {
        return Ok(Answer::Continue);
    }
    // An old value is asked for.
    let old = match call.name {
        "prlimit64" => Some(3).filter(|index| call.argument(*index) != 0),
        "getrlimit" => Some(1),
        _ => None,
    };
    if let Some(index) = old {
        let (_, hard) = limit_of(call.pid(), RLIMIT_LOCKS)?;
        call.write(index, &[hard.to_ne_bytes(), hard.to_ne_bytes()].concat())?;
    }
    Ok(Answer::Return(0))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::sandbox::user::User;

    fn of(uid: u32, groups: usize) -> Credentials {
        Credentials::of(&User { uid, gid: uid, groups: vec![5; groups], home: "/".into() })
    }

    #[test]
    fn a_process_bears_what_it_was_given_and_its_children_inherit_it() {
        let own = std::process::id();
        let mut processes = Processes::new(of(0, 0));
        assert_eq!(*processes.get(own), of(0, 0));
        for uid in [7, 8, 7] {
            processes.set(own, of(uid, 1)).unwrap();
            assert_eq!(*processes.get(own), of(uid, 1));
        }
        assert_eq!(processes.known.len(), 2);
        let mut child = std::process::Command::new("sleep").arg("100").spawn().unwrap();
        processes.set(own, of(8, 1)).unwrap();
        assert_eq!((processes.get(child.id()).user, processes.get(own).user), (of(7, 0).user, of(8, 0).user));
        child.kill().unwrap();
        child.wait().unwrap();
        processes.set(own, of(0, 0)).unwrap();
        assert_eq!(*processes.get(own), of(0, 0));
    }

    #[test]
    fn a_step_cannot_make_the_builder_remember_without_end() {
        let own = std::process::id();
        let mut processes = Processes::new(of(0, 0));
        let most = (0..u32::MAX).find(|uid| processes.set(own, of(*uid, 1 << 16)).is_err());
        assert_eq!(most, Some(16));
        processes.set(own, of(3, 1 << 16)).unwrap();
        processes.set(own, of(0, 0)).unwrap();
    }
}
