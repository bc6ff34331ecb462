//! The control group of one step: made, limited, asked what happened in it, and removed with all that runs in it.

use super::LeafError;
use super::resources::Setting;
use rustix::fs::{FlockOperation, flock};
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How the names of the groups of steps begin.
pub(super) const PREFIX: &str = "cooper-step-";
/// How long the end of killed processes is waited for.
const REMOVAL_TIMEOUT: Duration = Duration::from_secs(2);
/// Largest file of a control group that is read.
const FILE_LIMIT_BYTES: u64 = 1 << 20;

/// The control group of one step; dropping it kills what is in it.
///
/// Its directory is locked as long as it lives, so that another build can tell it from one that a killed build left:
/// process ids would not do, for a group may be shared by containers that do not see each other's.
#[derive(Debug)]
pub struct Leaf {
    path: PathBuf,
    processes: File,
    _lock: File,
}

/// Which limits a step ran into.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Exceeded {
    /// Processes that were killed because memory ran out.
    pub memory_kills: u64,
    /// Attempts to start a process or thread that were refused.
    pub refused_processes: u64,
}

impl Leaf {
    pub(super) fn new(path: &Path, settings: &[Setting]) -> Result<Leaf, LeafError> {
        let failed = |source| LeafError::Make { path: path.to_owned(), source };
        let lock = make(path).map_err(failed)?;
        let processes = File::options().write(true).open(path.join("cgroup.procs")).map_err(failed)?;
        // From here on a failure removes what was made.
        let leaf = Leaf { path: path.to_owned(), processes, _lock: lock };
        for Setting { flag, file, value, is_implied } in settings {
            match write(&path.join(file), value) {
                Err(error) if *is_implied && error.kind() == io::ErrorKind::NotFound => {}
                Err(source) => return Err(LeafError::Setting { flag, file, value: value.clone(), source }),
                Ok(()) => {}
            }
        }
        Ok(leaf)
    }

    /// Returns the file through which a process enters the group, by writing `0` into it.
    pub fn processes(&self) -> BorrowedFd<'_> {
        self.processes.as_fd()
    }

    /// Returns which limits were run into.
    pub fn exceeded(&self) -> Exceeded {
        let count = |file: &str, name: &str| {
            let text = read(&self.path.join(file)).unwrap_or_default();
            field(&text, name)
        };
        Exceeded { memory_kills: count("memory.events", "oom_kill"), refused_processes: count("pids.events", "max") }
    }
}

impl Drop for Leaf {
    fn drop(&mut self) {
        // What cannot be removed now, the next build removes.
        let _ = remove(&self.path);
    }
}

/// Makes a group and locks it.
fn make(path: &Path) -> io::Result<File> {
    loop {
        fs::create_dir(path)?;
        let directory = File::open(path)?;
        flock(&directory, FlockOperation::LockExclusive)?;
        // Between the two lines above another build may have taken it for abandoned.
        if path.exists() {
            return Ok(directory);
        }
    }
}

/// Removes the groups below a directory that nobody holds.
pub(super) fn remove_abandoned(parent: &Path) {
    let Ok(entries) = fs::read_dir(parent) else { return };
    for entry in entries.flatten().filter(|entry| entry.file_name().to_string_lossy().starts_with(PREFIX)) {
        let Ok(directory) = File::open(entry.path()) else { continue };
        if flock(&directory, FlockOperation::NonBlockingLockExclusive).is_ok() {
            // Another build may be at it too.
            let _ = remove(&entry.path());
        }
    }
}

/// Kills what is in a group and removes it.
fn remove(path: &Path) -> io::Result<()> {
    let deadline = Instant::now() + REMOVAL_TIMEOUT;
    loop {
        match fs::remove_dir(path) {
            Err(error) if error.raw_os_error() == Some(libc::EBUSY) && Instant::now() < deadline => {}
            result => return result,
        }
        kill(path)?;
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn kill(path: &Path) -> io::Result<()> {
    match write(&path.join("cgroup.kill"), "1") {
        // Before Linux 5.14.
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            for pid in processes(path)? {
                // It may have ended by itself.
                let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
            }
            Ok(())
        }
        result => result,
    }
}

/// Returns the processes of a group, without those that this process cannot see.
pub(super) fn processes(path: &Path) -> io::Result<Vec<rustix::process::Pid>> {
    let text = read(&path.join("cgroup.procs"))?;
    let numbers = text.lines().filter_map(|line| line.parse().ok());
    Ok(numbers.filter_map(rustix::process::Pid::from_raw).collect())
}

/// Returns the number behind a name in lines of name and number.
fn field(text: &str, name: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.and_then(|number| number.trim().parse().ok()).unwrap_or(0)
}

/// Writes a value in one piece, as the kernel wants it.
pub(super) fn write(path: &Path, value: &str) -> io::Result<()> {
    File::options().write(true).open(path)?.write_all(value.as_bytes())
}

/// Reads a file of a control group.
pub(super) fn read(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    io::Read::read_to_string(&mut io::Read::take(File::open(path)?, FILE_LIMIT_BYTES), &mut text)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn events_are_read_by_their_whole_name() {
        let text = "low 0\noom 3\noom_kill 2\noom_group_kill 1\n";
        assert_eq!((field(text, "oom_kill"), field(text, "oom"), field(text, "max")), (2, 3, 0));
    }

    #[test]
    fn groups_that_somebody_holds_are_not_taken_for_abandoned() {
        let parent = tempfile::tempdir().unwrap();
        let [held, left, other] = ["cooper-step-1-0", "cooper-step-2-0", "other"].map(|name| parent.path().join(name));
        let _lock = make(&held).unwrap();
        fs::create_dir(&left).unwrap();
        fs::create_dir(&other).unwrap();
        remove_abandoned(parent.path());
        assert_eq!((held.exists(), left.exists(), other.exists()), (true, false, true));
    }
}
