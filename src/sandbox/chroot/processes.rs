//! The processes below a process, by what /proc says, for where there is no pid namespace to end them with.

use rustix::process::{Pid, Signal, WaitOptions, kill_process, wait};
use std::collections::HashMap;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// How often the list is read again: a program that forks faster than it is killed is let go in the end.
const ROUNDS: usize = 1000;

/// Returns the number of the process that a handle stands for; `None` when it has ended.
pub(in crate::sandbox) fn pid_of(handle: BorrowedFd<'_>) -> Option<i32> {
    let text = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", handle.as_raw_fd())).ok()?;
    let number = text.lines().find_map(|line| line.strip_prefix("Pid:"))?;
    number.trim().parse().ok().filter(|pid| *pid > 0)
}

/// Kills all processes that come from `ancestor`, which itself stays.
///
/// They must not be able to leave: `ancestor` or a process above it is their reaper (`PR_SET_CHILD_SUBREAPER`).
pub(in crate::sandbox) fn kill_descendants(ancestor: i32) -> io::Result<()> {
    for _ in 0..ROUNDS {
        let alive = descendants(ancestor)?;
        if alive.is_empty() {
            return Ok(());
        }
        for pid in alive.into_iter().filter_map(Pid::from_raw) {
            // It may have ended by itself.
            let _ = kill_process(pid, Signal::KILL);
        }
        if ancestor.unsigned_abs() == std::process::id() {
            reap()?;
        }
        std::thread::yield_now();
    }
    Ok(())
}

/// Takes the exit codes of children that have ended, which nobody wants to know.
fn reap() -> io::Result<()> {
    loop {
        match wait(WaitOptions::NOHANG) {
            Ok(Some(_)) | Err(rustix::io::Errno::INTR) => {}
            Ok(None) | Err(rustix::io::Errno::CHILD) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
    }
}

/// Returns the processes below one that are not dead yet.
pub(in crate::sandbox) fn descendants(ancestor: i32) -> io::Result<Vec<i32>> {
    let mut children: HashMap<i32, Vec<(i32, bool)>> = HashMap::new();
    for entry in std::fs::read_dir("/proc")? {
        let name = entry?.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse::<i32>().ok()) else { continue };
        if let Some((parent, is_dead)) = parent_of(pid) {
            children.entry(parent).or_default().push((pid, is_dead));
        }
    }
    let mut found = Vec::new();
    let mut next = vec![ancestor];
    while let Some(parent) = next.pop() {
        for (pid, is_dead) in children.remove(&parent).unwrap_or_default() {
            next.push(pid);
            if !is_dead {
                found.push(pid);
            }
        }
    }
    Ok(found)
}

/// Returns the parent of a process and whether it is dead and only waits for its parent; `None` when it is gone.
pub(in crate::sandbox) fn parent_of(pid: i32) -> Option<(i32, bool)> {
    let stat = std::fs::read(format!("/proc/{pid}/stat")).ok()?;
    // The name of the program is in parentheses and may hold any byte, parentheses too.
    let end = stat.iter().rposition(|byte| *byte == b')')?;
    let rest = std::str::from_utf8(stat.get(end + 1..)?).ok()?;
    let mut fields = rest.split_ascii_whitespace();
    let state = fields.next()?;
    Some((fields.next()?.parse().ok()?, matches!(state, "Z" | "X")))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::os::fd::AsFd;

    #[test]
    fn a_process_is_found_below_its_parent_and_killed_with_its_children() {
        let mut shell =
            std::process::Command::new("/bin/sh").args(["-c", "sleep 1000 & sleep 1000 & wait"]).spawn().unwrap();
        let pid = i32::try_from(shell.id()).unwrap();
        let handle = crate::sys::process::pidfd(Pid::from_raw(pid).unwrap()).unwrap();
        assert_eq!(pid_of(handle.as_fd()), Some(pid));
        while descendants(pid).unwrap().len() < 2 {
            std::thread::yield_now();
        }
        let me = i32::try_from(std::process::id()).unwrap();
        assert_eq!(parent_of(pid), Some((me, false)));
        kill_descendants(pid).unwrap();
        assert_eq!(shell.wait().unwrap().code(), Some(0));
        assert_eq!(parent_of(pid), None);
    }
}
