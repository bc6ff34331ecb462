//! A network of a step's own, connected to the machine's from outside by a program made for that.
//!
//! To bring packets from one network namespace into another takes root of the machine, or a TCP/IP stack in a program.
//! pasta (package `passt`) and slirp4netns are such programs, and what podman uses; cooper starts one for a step and
//! ends it with the step.  Neither lets the step reach services that listen on the machine's 127.0.0.1.

use super::cancel::Cancel;
use super::chroot::pid_of;
use super::probe::find_program;
use super::run::io_error;
use super::spec::RunError;
use crate::sys::mount::{attach, clone_mount, open_path};
use crate::sys::process::{Child, Command, spawn};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{MemfdFlags, Mode, OFlags, memfd_create};
use rustix::mount::{UnmountFlags, unmount};
use std::ffi::CString;
use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::fd::{AsFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long the program may take until the step has a route.
const READY_TIMEOUT: Duration = Duration::from_secs(10);
/// How often that is looked at.
const READY_INTERVAL: Timespec = Timespec { tv_sec: 0, tv_nsec: 2_000_000 };
/// Bytes of the program's messages that are shown when it fails.
const MESSAGE_LIMIT_BYTES: u64 = 4096;

/// The programs, the better first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Maps ports and addresses one to one: faster, and the step has the machine's address.
    Pasta,
    /// A network behind address translation.
    Slirp,
}

/// What connects networks of steps.
#[derive(Debug)]
pub(super) struct Connector {
    kind: Kind,
    program: PathBuf,
}

/// A step's connection; dropping it ends it.
#[derive(Debug)]
pub(super) struct Connection {
    child: Child,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.child.kill();
        // It is killed: there is no other way for it to end.
        let _ = self.child.wait();
    }
}

impl Connector {
    /// Finds the program.
    pub(super) fn find() -> Result<Connector, RunError> {
        let programs = [(Kind::Pasta, "pasta"), (Kind::Slirp, "slirp4netns")];
        let mut found = programs.into_iter().filter_map(|(kind, name)| Some((kind, find_program(name)?)));
        found.next().map(|(kind, program)| Connector { kind, program }).ok_or_else(|| RunError::Network {
            what: "neither `pasta` nor `slirp4netns` is there".to_owned(),
            mend: "install the package `passt` (or `slirp4netns`)".to_owned(),
        })
    }

    /// Returns the address of the resolver that a step finds in its network, which asks the machine's.
    pub(super) fn nameserver(&self) -> &'static str {
        match self.kind {
            Kind::Pasta => "169.254.1.1",
            Kind::Slirp => "10.0.2.3",
        }
    }

    /// Connects the network namespace of a step's process, then opens the gate behind which that waits.
    pub(super) fn connect(&self, step: &Child, gate: OwnedFd, cancel: &Cancel) -> Result<Connection, RunError> {
        let failed = io_error("connect the step's network");
        let pid = pid_of(step.as_fd()).ok_or_else(|| failed(io::ErrorKind::NotFound.into()))?;
        let namespace = Namespace::new(pid).map_err(&failed)?;
        let messages = memfd_create(c"messages", MemfdFlags::CLOEXEC).map_err(|error| failed(error.into()))?;
        let child = self.start(&namespace.path(), &messages).map_err(&failed)?;
        let connection = Connection { child };
        let deadline = Instant::now() + READY_TIMEOUT;
        while !has_route(pid) {
            let mut fds = [PollFd::new(&connection.child, PollFlags::IN), PollFd::new(cancel, PollFlags::IN)];
            match poll(&mut fds, Some(&READY_INTERVAL)) {
                Err(error) if error != rustix::io::Errno::INTR => return Err(failed(error.into())),
                _ => {}
            }
            if !fds[1].revents().is_empty() {
                return Err(RunError::Canceled);
            }
            if !fds[0].revents().is_empty() || Instant::now() > deadline {
                return Err(self.failure(messages));
            }
        }
        // The program has it open; the name would outlive a builder that is killed.
        drop(namespace);
        File::from(gate).write_all(b"x").map_err(&failed)?;
        Ok(connection)
    }

    fn start(&self, namespace: &Path, messages: &OwnedFd) -> io::Result<Child> {
        let executable = rustix::fs::open(&self.program, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
        let null = File::open("/dev/null")?;
        let path = namespace.as_os_str().as_bytes();
        let words: Vec<&[u8]> = match self.kind {
            // No port of the machine is opened, none of the step's, and the machine itself is not behind the gateway.
            Kind::Pasta => vec![
                b"pasta",
                b"--foreground",
                b"--quiet",
                b"--stderr",
                b"--runas",
                b"0",
                b"--config-net",
                b"--no-netns-quit",
                b"--no-map-gw",
                b"-t",
                b"none",
                b"-u",
                b"none",
                b"-T",
                b"none",
                b"-U",
                b"none",
                b"--dns-forward",
                self.nameserver().as_bytes(),
                b"--netns",
                path,
            ],
            Kind::Slirp => vec![
                b"slirp4netns",
                b"--configure",
                b"--mtu=65520",
                b"--disable-host-loopback",
                b"--netns-type=path",
                path,
                b"tap0",
            ],
        };
        let argv: Result<Vec<CString>, _> = words.into_iter().map(CString::new).collect();
        spawn(&Command {
            executable: executable.as_fd(),
            argv: &argv?,
            namespaces: 0,
            cgroup: None,
            stdio: [null.as_fd(), messages.as_fd(), messages.as_fd()],
            keep: &[] as &[RawFd],
        })
    }

    fn failure(&self, messages: OwnedFd) -> RunError {
        let mut text = Vec::new();
        let mut file = File::from(messages);
        // What cannot be read is not told.
        let _ = file.rewind().and_then(|()| file.take(MESSAGE_LIMIT_BYTES).read_to_end(&mut text));
        let text = String::from_utf8_lossy(&text);
        // pasta complains of a missing syslog before everything else.
        let last = text.lines().rev().find(|line| !line.trim().is_empty() && !line.contains("syslog"));
        RunError::Network {
            what: format!("`{}` failed: {}", self.program.display(), last.unwrap_or("it did not say why").trim()),
            mend: "try it by hand, or use `--network=host`".to_owned(),
        }
    }
}

/// A network namespace under a name: by `/proc` only who has all capabilities of its process may open it, and these
/// programs give theirs up.
#[derive(Debug)]
struct Namespace {
    directory: tempfile::TempDir,
}

impl Namespace {
    fn new(pid: i32) -> io::Result<Namespace> {
        let namespace = Namespace { directory: tempfile::Builder::new().prefix("cooper-net-").tempdir()? };
        let file = File::create(namespace.path())?;
        let source = rustix::fs::open(format!("/proc/{pid}/ns/net"), OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
        attach(clone_mount(source.as_fd(), false)?.as_fd(), open_path(&namespace.path())?.as_fd())?;
        drop(file);
        Ok(namespace)
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("net")
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        // The mount namespace is ours alone and goes with us.
        let _ = unmount(self.path(), UnmountFlags::DETACH);
    }
}

/// Whether a process's network has a route that leaves it.
fn has_route(pid: i32) -> bool {
    let lines = |name: &str| std::fs::read_to_string(format!("/proc/{pid}/net/{name}")).unwrap_or_default();
    let is_default = |line: &str| line.split_ascii_whitespace().nth(1) == Some("00000000");
    let is_default_6 =
        |line: &str| line.starts_with(&format!("{:032x} 00 ", 0)) && line.split_ascii_whitespace().last() != Some("lo");
    lines("route").lines().any(is_default) || lines("ipv6_route").lines().any(is_default_6)
}

/// Returns the resolver's configuration of a step: the machine's, with another server.
pub(super) fn with_nameserver(resolv_conf: &[u8], nameserver: &str) -> Vec<u8> {
    let mut text = format!("nameserver {nameserver}\n").into_bytes();
    let kept = |line: &&[u8]| !line.trim_ascii_start().starts_with(b"nameserver");
    for line in resolv_conf.split(|byte| *byte == b'\n').filter(kept).filter(|line| !line.is_empty()) {
        text.extend_from_slice(line);
        text.push(b'\n');
    }
    text
}

/// Waits in the step's process until its network is connected.
pub(super) fn wait_at(gate: OwnedFd) -> io::Result<()> {
    let mut byte = [0];
    match File::from(gate).read(&mut byte)? {
        1 => Ok(()),
        _ => Err(io::Error::other("the builder gave up")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_server_changes_in_the_resolvers_configuration() {
        let own = b"# local\nnameserver 127.0.0.53\n  nameserver ::1\nsearch a.example\noptions edns0";
        let changed = with_nameserver(own, "10.0.2.3");
        assert_eq!(changed, b"nameserver 10.0.2.3\n# local\nsearch a.example\noptions edns0\n");
        assert_eq!(with_nameserver(b"", "1.2.3.4"), b"nameserver 1.2.3.4\n");
    }

    #[test]
    fn a_process_that_has_ended_has_no_route() {
        assert!(!has_route(i32::MAX));
    }
}
