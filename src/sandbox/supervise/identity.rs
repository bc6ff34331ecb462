//! Whose rights an answer is given with: those of the caller, whatever the builder may do.

use crate::sys::restrict;
use std::fs::File;
use std::io::{self, Read};

/// Bytes of `/proc/PID/status`; a process has 65536 groups at most.
const STATUS_LIMIT_BYTES: u64 = 1 << 20;

/// Who a thread acts as.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Ids {
    uid: u32,
    gid: u32,
    groups: Vec<u32>,
}

/// The ids with which the answering thread looks at files.
///
/// Without CAP_SYS_PTRACE the memory of another user's process cannot be read either, so `su` in a step needs this too.
#[derive(Debug)]
pub(super) struct Identity {
    current: Option<Ids>,
}

impl Identity {
    pub(super) fn new() -> Identity {
        Identity { current: None }
    }

    /// Acts as the user of a thread from now on; returns the process that the thread is of.
    pub(super) fn become_caller(&mut self, pid: u32) -> io::Result<u32> {
        let mut status = String::new();
        File::open(format!("/proc/{pid}/status"))?.take(STATUS_LIMIT_BYTES).read_to_string(&mut status)?;
        let (process, ids) = parse(&status).ok_or(io::ErrorKind::InvalidData)?;
        self.become_ids(ids)?;
        Ok(process)
    }

    /// Acts as root again.
    pub(super) fn become_root(&mut self) -> io::Result<()> {
        self.become_ids(Ids { uid: 0, gid: 0, groups: Vec::new() })
    }

    fn become_ids(&mut self, ids: Ids) -> io::Result<()> {
        if self.current.as_ref() == Some(&ids) {
            return Ok(());
        }
        self.current = None;
        restrict::act_as(ids.uid, ids.gid, &ids.groups)?;
        self.current = Some(ids);
        Ok(())
    }
}

/// Returns the process of a thread and the ids with which it looks at files.
fn parse(status: &str) -> Option<(u32, Ids)> {
    let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    // Real, effective, saved, and that for files.
    let for_files = |name| field(name)?.split_ascii_whitespace().nth(3)?.parse().ok();
    let groups = field("Groups")?.split_ascii_whitespace().map(str::parse).collect::<Result<_, _>>().ok()?;
    let process = field("Tgid")?.trim().parse().ok()?;
    Some((process, Ids { uid: for_files("Uid")?, gid: for_files("Gid")?, groups }))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_ids_for_files_and_the_process_are_read() {
        let status = "Name:\tx y\nTgid:\t7\nPid:\t9\nUid:\t1\t2\t3\t4\nGid:\t5\t6\t7\t8\nGroups:\t10 11 \n";
        assert_eq!(parse(status), Some((7, Ids { uid: 4, gid: 8, groups: vec![10, 11] })));
        assert_eq!(parse("Tgid:\t7\n"), None);
    }
}
