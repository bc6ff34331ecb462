//! The parts that the rungs are made of, one by one: whether each is allowed here, and what would lift it if not.
//!
//! The rungs are chosen by [`Probe::allows`] alone; this is for the person who wants to know why.

use super::probe::{IdMap, Probe, Rung, Wall, find_program, reason};
use super::surroundings::Surroundings;
use crate::sys::attempt::{self, Mount};
use std::io;

/// One part and whether it is allowed.
#[derive(Debug, Clone)]
pub struct Finding {
    /// What it is, in the field's words.
    pub name: &'static str,
    /// How it is had, or what stands in the way.
    pub verdict: Result<String, Wall>,
}

/// Tries every part that needs no directory.  Must be called before the program enters a rung; leaves no trace.
pub fn survey(probe: &Probe) -> Vec<Finding> {
    let surroundings = Surroundings::detect();
    let yes = |result: Result<(), Wall>, how: &str| result.map(|()| how.to_owned());
    vec![
        Finding { name: "mounts as root", verdict: yes(probe.root_mounts().clone(), "in a mount namespace") },
        Finding {
            name: "user namespaces",
            verdict: yes(probe.user_namespace().clone(), "with mounts and processes of their own"),
        },
        Finding { name: "subordinate ids", verdict: probe.id_map().as_ref().map(ids).map_err(Clone::clone) },
        Finding { name: "a new /proc", verdict: new_proc(probe, surroundings) },
        Finding { name: "chroot", verdict: as_root(attempt::chroot(), "CAP_SYS_CHROOT", surroundings) },
        Finding { name: "chown", verdict: as_root(attempt::chown(), "CAP_CHOWN", surroundings) },
        Finding { name: "seccomp notification", verdict: notification(surroundings) },
        Finding { name: "control groups", verdict: super::cgroup::delegated() },
        Finding { name: "tracing", verdict: yes(probe.allows(Rung::Trace), "paths can be answered, programs traced") },
        Finding { name: "private network", verdict: network_helper() },
    ]
}

fn ids(map: &IdMap) -> String {
    match map {
        IdMap::Helpers { programs: [newuidmap, _], uids, .. } => {
            let count: u64 = uids.iter().map(|line| u64::from(line.count)).sum();
            format!("{count} ids, mapped by `{}`", newuidmap.display())
        }
        IdMap::Own { .. } => "every id, with CAP_SETUID and CAP_SETGID".to_owned(),
    }
}

/// A new /proc is refused where the one that is there has masks over it, which would be missing from the new one.
fn new_proc(probe: &Probe, surroundings: Surroundings) -> Result<String, Wall> {
    let own = libc::CLONE_NEWNS | libc::CLONE_NEWPID;
    let namespaces = match (probe.root_mounts(), probe.user_namespace()) {
        (Ok(()), _) => own,
        (_, Ok(())) => own | libc::CLONE_NEWUSER,
        (Err(_), Err(_)) => return Err(Wall::new("it wants mounts as root or user namespaces", "")),
    };
    attempt::mount(namespaces, Mount::Proc).map(|()| "steps see their own processes alone".to_owned()).map_err(
        |error| {
            Wall::new(
                format!("refused ({}): steps see the processes of this container", reason(&error)),
                surroundings.setting("securityContext: {procMount: Unmasked}", "--security-opt systempaths=unconfined"),
            )
        },
    )
}

fn as_root(attempt: io::Result<()>, capability: &str, surroundings: Surroundings) -> Result<String, Wall> {
    attempt.map(|()| "allowed".to_owned()).map_err(|error| {
        let name = capability.trim_start_matches("CAP_");
        let kubernetes = format!("securityContext: {{runAsUser: 0, capabilities: {{add: [{name}]}}}}");
        Wall::new(
            format!("refused ({}): it wants {capability}", reason(&error)),
            surroundings.setting(&kubernetes, &format!("--user 0 --cap-add {name}")),
        )
    })
}

fn notification(surroundings: Surroundings) -> Result<String, Wall> {
    let found = attempt::seccomp_notification().map(|()| "owners and /proc can be emulated".to_owned());
    found.map_err(|error| {
        let lift = surroundings
            .setting("securityContext: {seccompProfile: {type: Unconfined}}", "--security-opt seccomp=unconfined");
        Wall::new(format!("refused ({}): it wants Linux 5.0 and the system call `seccomp`", reason(&error)), lift)
    })
}

/// Programs that connect a network namespace without privileges, the better one first.
const NETWORK_HELPERS: [&str; 2] = ["pasta", "slirp4netns"];

fn network_helper() -> Result<String, Wall> {
    let found = NETWORK_HELPERS.iter().find_map(|name| find_program(name));
    found.map(|path| format!("by `{}`", path.display())).ok_or_else(|| {
        Wall::new("neither `pasta` nor `slirp4netns` is there", "install the package `passt` for `--network=private`")
    })
}
