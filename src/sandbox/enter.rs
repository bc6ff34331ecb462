//! Moves the whole program into the namespaces of its rung, once, while it has a single thread.
//!
//! From then on the program is root as far as it can see: the store, the unpacking of layers and every mount need no
//! second way.  The mount namespace dies with the process, so a killed build leaves no mount.

use super::probe::{IdMap, IsolationError, Probe, Rung, Wall};
use super::subid::Mapping;
use crate::sys::overlay::OverlayForm;
use crate::sys::process::{ExitStatus, Fork, exit_now, fork_single_threaded, unshare};
use crate::sys::{mount, owner, restrict};
use rustix::pipe::{PipeFlags, pipe_with};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Command, Stdio};

/// Where the program now is.
#[derive(Debug, Clone)]
pub struct Entered {
    /// The rung.
    pub rung: Rung,
    /// The form of overlay metadata that mounts and layers have here.
    pub overlay_form: OverlayForm,
    /// Whether steps can be run and overlays mounted, and what stands in the way if not.
    pub can_run: Result<(), Wall>,
}

/// Enters a rung that [`Probe::choose`] gave.  Must be called before any thread is started.
pub fn enter(probe: &Probe, rung: Rung) -> Result<Entered, IsolationError> {
    let failed = |stage: &str| {
        let stage = stage.to_owned();
        move |source| IsolationError::Enter { rung, stage, source }
    };
    match rung {
        Rung::Root => {
            unshare(libc::CLONE_NEWNS).map_err(failed("make a mount namespace"))?;
            mount::make_all_private().map_err(failed("make mounts private"))?;
        }
        Rung::Rootless => {
            let map = probe.id_map().as_ref().map_err(|wall| IsolationError::Refused { rung, wall: wall.clone() })?;
            enter_user_namespace(map).map_err(failed("map ids"))?;
            restrict::become_user(0, 0, &[]).map_err(failed("become root of the user namespace"))?;
            owner::keep_devices_aside();
            mount::make_all_private().map_err(failed("make mounts private"))?;
        }
        Rung::SingleId => {
            enter_with_single_id(probe).map_err(failed("map the only id"))?;
            owner::keep_aside();
            mount::make_all_private().map_err(failed("make mounts private"))?;
        }
        // Without privileges no owner can be given to a file.
        Rung::Trace => owner::keep_aside(),
        Rung::None if probe.euid != 0 => owner::keep_aside(),
        Rung::Chroot | Rung::None => {}
    }
    let can_run = match rung {
        Rung::Root | Rung::Rootless | Rung::SingleId | Rung::Chroot | Rung::Trace => Ok(()),
        Rung::None => Err(wall_of_none(probe)),
    };
    Ok(Entered { rung, overlay_form: probe.overlay_form(rung), can_run })
}

/// Runs `attempt` on a rung, in a forked child.  Must be called while the program has a single thread.
///
/// The error is the child's message, or why there is none.
pub fn in_rung(probe: &Probe, rung: Rung, attempt: impl FnOnce() -> Result<(), String>) -> Result<(), String> {
    let broken = |error: io::Error| error.to_string();
    let report = pipe_with(PipeFlags::CLOEXEC).map_err(|error| broken(error.into()))?;
    match fork_single_threaded().map_err(broken)? {
        Fork::Child => {
            let outcome = enter(probe, rung).map_err(|error| error.to_string()).and_then(|_| attempt());
            let text = outcome.err().unwrap_or_default();
            // Without it the parent still sees the exit code.
            let _ = File::from(report.1).write_all(text.as_bytes());
            exit_now(i32::from(!text.is_empty()))
        }
        Fork::Parent(child) => {
            drop(report.1);
            let mut text = String::new();
            File::from(report.0).take(REPORT_LIMIT_BYTES).read_to_string(&mut text).map_err(broken)?;
            match child.wait().map_err(broken)? {
                ExitStatus::Code(0) => Ok(()),
                _ if text.is_empty() => Err("the attempt ended without a word".to_owned()),
                _ => Err(text),
            }
        }
    }
}

/// Bytes of a message that a child may send.
const REPORT_LIMIT_BYTES: u64 = 64 << 10;

/// Names the wall in front of the nearest rung on which steps run, and its mend.
fn wall_of_none(probe: &Probe) -> Wall {
    if let Some(able) = Rung::ALL.into_iter().find(|rung| *rung != Rung::None && probe.allows(*rung).is_ok()) {
        let mend = format!("leave `--isolation none` away: this machine allows isolation `{able}`");
        return Wall::new("isolation `none` runs no commands", mend);
    }
    let what = "this machine allows nothing that RUN could be isolated with";
    let nearest = if probe.euid == 0 { Rung::Chroot } else { Rung::SingleId };
    match probe.allows(nearest) {
        Ok(()) => Wall::new(what, ""),
        Err(wall) if probe.euid == 0 => Wall::new(format!("{what}: {}", wall.what), wall.mend),
        Err(wall) => Wall::new(
            format!("{what}: {}", wall.what),
            format!("{}; or run as root (in Kubernetes `runAsUser: 0`) for isolation `chroot`", wall.mend),
        ),
    }
}

/// Moves into a new user namespace whose ids a process that stays outside maps.
fn enter_user_namespace(map: &IdMap) -> io::Result<()> {
    let parent = std::process::id();
    let start = pipe_with(PipeFlags::CLOEXEC)?;
    let report = pipe_with(PipeFlags::CLOEXEC)?;
    let child = match fork_single_threaded()? {
        Fork::Child => {
            drop(start.1);
            exit_now(map_from_outside(start.0, report.1, map, parent))
        }
        Fork::Parent(child) => child,
    };
    drop((start.0, report.1));
    let unshared = unshare(libc::CLONE_NEWUSER | libc::CLONE_NEWNS);
    let mut start = File::from(start.1);
    let told = match &unshared {
        Ok(()) => start.write_all(b"x"),
        Err(_) => Ok(()),
    };
    drop(start);
    let mut text = String::new();
    let read = File::from(report.0).read_to_string(&mut text);
    let status = child.wait()?;
    unshared?;
    told?;
    read?;
    if status == ExitStatus::Code(0) { Ok(()) } else { Err(io::Error::other(text.trim().to_owned())) }
}

/// Moves into a new user namespace in which the user is root and nobody else exists.
fn enter_with_single_id(probe: &Probe) -> io::Result<()> {
    unshare(libc::CLONE_NEWUSER | libc::CLONE_NEWNS)?;
    // Who may leave a group could gain by it, so the kernel wants that ruled out first (user_namespaces(7)).
    std::fs::write("/proc/self/setgroups", "deny")?;
    let own = |id| [Mapping { inside: 0, outside: id, count: 1 }];
    write_map("uid_map", &own(probe.euid), std::process::id())?;
    write_map("gid_map", &own(probe.egid), std::process::id())
}

/// Waits until the parent is in its namespace, maps its ids, and returns the exit code.
fn map_from_outside(start: OwnedFd, report: OwnedFd, map: &IdMap, parent: u32) -> i32 {
    let mut byte = [0];
    if !matches!(File::from(start).read(&mut byte), Ok(1)) {
        return 1;
    }
    let result = match map {
        IdMap::Helpers { programs: [uid, gid], uids, gids } => run_helpers(&[(uid, uids), (gid, gids)], parent),
        IdMap::Own { uids, gids } => {
            write_map("uid_map", uids, parent).and_then(|()| write_map("gid_map", gids, parent))
        }
    };
    match result {
        Ok(()) => 0,
        Err(error) => {
            // Without it the parent still sees the exit code.
            let _ = File::from(report).write_all(error.to_string().as_bytes());
            1
        }
    }
}

/// Runs both helpers at once.
fn run_helpers(helpers: &[(&std::path::PathBuf, &Vec<Mapping>); 2], parent: u32) -> io::Result<()> {
    let mut running = Vec::with_capacity(2);
    for (program, map) in helpers {
        let mut command = Command::new(program);
        command.arg(parent.to_string()).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        for line in *map {
            command.args([line.inside, line.outside, line.count].map(|number| number.to_string()));
        }
        running.push((program, command.spawn()?));
    }
    for (program, child) in running {
        let output = child.wait_with_output()?;
        if !output.status.success() {
            let text = String::from_utf8_lossy(&output.stderr);
            return Err(io::Error::other(format!("`{}` failed: {}", program.display(), text.trim())));
        }
    }
    Ok(())
}

fn write_map(file: &str, map: &[Mapping], parent: u32) -> io::Result<()> {
    let lines: Vec<String> =
        map.iter().map(|line| format!("{} {} {}", line.inside, line.outside, line.count)).collect();
    let path = Path::new("/proc").join(parent.to_string()).join(file);
    // In one write, as the kernel wants it.
    let mut target = File::options().write(true).open(&path)?;
    target
        .write_all((lines.join("\n") + "\n").as_bytes())
        .map_err(|error| io::Error::new(error.kind(), format!("write {}: {error}", path.display())))
}
