//! Whose build it is.

use crate::cooper_binary;
use crate::need::{is_root, skip};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The account with subordinate ids that `./test` makes.
pub const ORDINARY: &str = "cooper-test";

/// Who runs cooper.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Who {
    /// The user who runs the tests.
    Caller,
    /// As root: the ordinary account [`ORDINARY`].
    Ordinary,
}

impl Who {
    /// Whether the machine has such a user; if not, says so.
    #[must_use]
    pub fn is_here(self) -> bool {
        if self == Who::Caller {
            return true;
        }
        if !is_root() {
            eprintln!("the caller is an ordinary user: tested once");
            return false;
        }
        let accounts = std::fs::read_to_string("/etc/subuid").unwrap_or_default();
        let is_there = accounts.lines().any(|line| line.starts_with(&format!("{ORDINARY}:")));
        if !is_there {
            skip(&format!("needs the account `{ORDINARY}` with subordinate ids"));
        }
        is_there
    }

    /// Returns a command that runs cooper as this user, with an environment made from nothing.
    pub(crate) fn command(self, home: &Path) -> Command {
        let mut command = match self {
            Who::Caller => Command::new(cooper_binary()),
            Who::Ordinary => {
                let mut command = Command::new("/usr/sbin/runuser");
                command.args(["-u", ORDINARY, "--"]).arg(reachable_binary());
                command
            }
        };
        let path = std::env::var_os("PATH").unwrap_or_default();
        command.env_clear().env("PATH", path).env("HOME", home);
        command
    }

    /// Returns the user's id.
    pub fn uid(self) -> u32 {
        if self == Who::Caller {
            return rustix::process::geteuid().as_raw();
        }
        let output = Command::new("id").args(["-u", ORDINARY]).output().expect("id runs");
        String::from_utf8_lossy(&output.stdout).trim().parse().expect("id prints a number")
    }
}

/// Returns the binary, or a copy of it where the ordinary account cannot reach it, as below `/root`.
fn reachable_binary() -> PathBuf {
    let binary = cooper_binary();
    let reached = Command::new("/usr/sbin/runuser")
        .args(["-u", ORDINARY, "--", "test", "-x"])
        .arg(&binary)
        .stderr(Stdio::null())
        .status()
        .expect("runuser runs");
    if reached.success() {
        return binary;
    }
    let metadata = binary.metadata().unwrap();
    let modified = metadata.modified().unwrap().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos();
    let directory = PathBuf::from(format!("/tmp/cooper-under-test-{modified}"));
    let copy = directory.join("cooper");
    if !copy.exists() {
        std::fs::create_dir_all(&directory).unwrap();
        let unfinished = directory.join(format!("cooper.{}", std::process::id()));
        std::fs::copy(&binary, &unfinished).unwrap();
        std::fs::rename(&unfinished, &copy).unwrap();
    }
    copy
}
